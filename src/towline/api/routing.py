"""What a route is, and how one request passes through it.

A route's handler sees a `Call`: who asks, in which language, with which body. It returns a struct or raises;
nothing else of HTTP reaches it. Every refusal, expected or not, becomes a documented body here, so no handler
can leak a stack trace. The order of the checks is that of a gateway in front of a service: route, size,
caller, project, content type, body.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from towline.api.wire.errors import (
    ApiError,
    IdentityError,
    IdentityErrorBody,
    as_api_error,
    render_error,
)
from towline.api.wire.fields import decode_json
from towline.api.wire.texts import Language, parse_language
from towline.domain.access import Role
from towline.service.ports import Caller, Clock

log = structlog.get_logger(__name__)

MAX_BODY_BYTES: Final = 12 * 1024 * 1024
# A client that is still sending would see a broken line instead of the refusal, so some more is read and
# dropped.
_MAX_DRAINED_BYTES: Final = 4 * MAX_BODY_BYTES
NO_CALLER: Final = Caller(project_id="", user_id="", user_name="")
_JSON: Final = "application/json"
_ENCODER: Final = msgspec.json.Encoder()
AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request."""

    caller: Caller
    body: bytes
    language: Language
    request_id: str
    query: Mapping[str, str]
    path: Mapping[str, str] = field(default_factory=dict)  # the words of the path that the route names
    subject_token: str = ""  # the token that a call of the identity service is about

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises: ApiError DRS.M00007."""
        return decode_json(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with a status or headers of its own; `body` None: there is none."""

    body: msgspec.Struct | None
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = msgspec.Struct | msgspec.Raw | dict[str, Any] | Reply
Handle = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path. A path that contains `{project_id}` is confined to the caller's project.

    `request` and `answer` describe the bodies in `/openapi.json`; None: there is none, or the call is not built.
    """

    method: str
    path: str
    handle: Handle
    status: int = 200
    is_open: bool = False  # no authentication: the call is how one gets a token
    request: Any = None
    answer: Any = None
    queries: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()  # that the call wants of its own
    role: Role | None = None  # None: reading for GET, else what changes something

    @property
    def needed_role(self) -> Role:
        """What the caller must be in the project of the path."""
        return self.role or (Role.READER if self.method == "GET" else Role.OPERATOR)

    @property
    def is_built(self) -> bool:
        return self.answer is not None or self.status == 204


class CallerFinder(Protocol):
    """Who sent a request."""

    async def caller_of(self, request: AnyRequest, body: bytes, *, now_us: int) -> Caller:
        """Raises: ApiError APIGW.0301."""
        ...


class Gate:
    """Takes requests through their routes."""

    def __init__(self, callers: CallerFinder, clock: Clock) -> None:
        self._callers = callers
        self._clock = clock

    async def answer(self, request: AnyRequest, route: Route) -> Response[bytes]:
        """The response to one request; never raises what a client caused."""
        language = parse_language(request.headers.get("x-language"))
        request_id: str = request.scope["state"]["request_id"]
        try:
            answer = await route.handle(await self._admit(request, route, language, request_id))
            if isinstance(answer, Reply):
                content = b"" if answer.body is None else _ENCODER.encode(answer.body)
                return _response(content, answer.status, answer.headers)
            return _response(_ENCODER.encode(answer), route.status)
        except HTTPException:
            raise
        except Exception as error:
            return answer_error(error, language=language, request_id=request_id)

    async def _admit(self, request: AnyRequest, route: Route, language: Language, request_id: str) -> Call:
        body = await read_body(request)
        now_us = self._clock.now_us()
        caller = NO_CALLER if route.is_open else await self._callers.caller_of(request, body, now_us=now_us)
        project_id = request.path_params.get("project_id")
        if project_id is not None and project_id != caller.project_id:
            raise ApiError("DRS.M00261")
        if project_id is not None and (caller.role is None or not caller.role.includes(route.needed_role)):
            raise ApiError("APIGW.0302", f"the call needs the role {route.needed_role.value}")
        if body:
            _check_content_type(request.headers.get("content-type"))
        return Call(
            caller=caller,
            body=body,
            language=language,
            request_id=request_id,
            query={name: request.query_params[name] for name in request.query_params},
            path={name: str(word) for name, word in request.path_params.items()},
            subject_token=request.headers.get("x-subject-token", ""),
        )


def answer_error(error: BaseException, *, language: Language, request_id: str) -> Response[bytes]:
    """The response for a call that failed as a whole; a defect is logged without its text (I7)."""
    if isinstance(error, WholeAnswer):
        return _response(_ENCODER.encode(error.body), error.status)
    refusal = as_api_error(error)
    if refusal.code == "DRS.M00004":
        frames = traceback.extract_tb(error.__traceback__)
        log.error(
            "request_failed",
            request_id=request_id,
            error=type(error).__name__,
            at=[f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-6:]],
        )
    body = render_error(refusal, language, request_id)
    return _response(_ENCODER.encode(body), refusal.http_status)


class WholeAnswer(Exception):
    """A whole-call refusal whose body is not the usual one."""

    def __init__(self, body: msgspec.Struct, status: int) -> None:
        super().__init__(str(status))
        self.body = body
        self.status = status


def identity_refusal(status: int, title: str, message: str) -> WholeAnswer:
    """A refusal in the shape of the identity service."""
    return WholeAnswer(IdentityErrorBody(error=IdentityError(code=status, message=message, title=title)), status)


async def read_body(request: AnyRequest) -> bytes:
    """The raw body. Raises: ApiError APIGW.0201 when it is larger than 12 MB."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        elif size > _MAX_DRAINED_BYTES:
            break
        else:
            parts.clear()
    if size > MAX_BODY_BYTES:
        raise ApiError("APIGW.0201")
    return b"".join(parts)


def _check_content_type(header: str | None) -> None:
    # A client that names no type at all can only mean the one type there is.
    if header and header.partition(";")[0].strip().lower() != _JSON:
        raise ApiError("DRS.M00007", http_status=415)


def _response(body: bytes, status: int, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    return Response(content=body, status_code=status, media_type=_JSON, headers=dict(headers or {}))

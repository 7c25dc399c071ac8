"""Joins routes, authentication and the web framework into one ASGI application.

Around Litestar stands `Front`, which sees every request first and every answer last: it gives each its
request id, accepts the gateway prefix `/drs`, counts, and turns whatever the framework refuses by itself (an
unknown path, a wrong method) into the bodies that a gateway gives.  Litestar finds the path of a request; what answers
there comes with the request, from the `Front` that it went through.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Final, cast

import msgspec
import structlog
from litestar import Litestar, Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Message, Method, Receive, Scope, Send

from towline.api.auth import Authenticator
from towline.api.openapi import render_openapi
from towline.api.routes.catalogue import CatalogueRoutes
from towline.api.routes.connections import ConnectionRoutes
from towline.api.routes.control import ControlRoutes
from towline.api.routes.databases import DatabaseRoutes
from towline.api.routes.health import METRICS_TYPE, HealthPages, RequestMeter
from towline.api.routes.identity import IdentityRoutes
from towline.api.routes.jobs import JobRoutes
from towline.api.routes.objects import ObjectRoutes
from towline.api.routes.outside import OutsideRoutes
from towline.api.routes.progress import ProgressRoutes
from towline.api.routes.structure import StructureRoutes
from towline.api.routes.tuning import TuningRoutes
from towline.api.routes.unbuilt import UnbuiltRoutes
from towline.api.routes.v5 import V5Routes
from towline.api.routing import AnyRequest, Gate, Route, answer_error
from towline.api.wire.errors import ApiError
from towline.api.wire.texts import parse_language
from towline.service.identity import IdentityService
from towline.service.jobs import JobService
from towline.service.ports import Clock, Outlets

log = structlog.get_logger(__name__)

_PROJECT_PATH: Final = "/v3/{project_id}/"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_PREFIXES: Final = ("/drs/v3/", "/drs/v5/")
_METHODS: Final[dict[str, Method]] = {"GET": "GET", "POST": "POST", "PUT": "PUT", "DELETE": "DELETE"}
_UNROUTED: Final = "unrouted"
Place = tuple[str, str]  # method and path
Served = dict[Place, Callable[[AnyRequest], Awaitable[Response[bytes]]]]


def create_app(
    jobs: JobService, identity: IdentityService, *, clock: Clock, version: str, outlets: Outlets | None = None
) -> ASGIApp:
    """The API as an ASGI application. It owns neither service; whoever made them closes them."""
    meter = RequestMeter()
    gate = Gate(Authenticator(identity), clock)
    routes = all_routes(jobs, identity, outlets)
    served: Served = {(route.method, route.path): partial(gate.answer, route=route) for route in routes}
    served |= _pages(HealthPages(jobs, meter, version=version), cache(lambda: render_openapi(routes, version=version)))
    return Front(_router(tuple(served)), served, meter)


@cache
def _router(places: tuple[Place, ...]) -> Litestar:
    """Finds what is served. It takes 0.1 s to make and knows no service, so the applications of a process share it."""
    return Litestar(
        route_handlers=[_build_handler(place) for place in places],
        exception_handlers={Exception: _answer_exception},
        request_max_body_size=None,  # the gate counts, and answers in the API's own shape
        openapi_config=None,  # ours is made from the same table as the routes, see openapi.py
        logging_config=None,  # logging belongs to the process, not to one application in it
        debug=False,
    )


def all_routes(jobs: JobService, identity: IdentityService, outlets: Outlets | None = None) -> list[Route]:
    """Every call that is served, with its full path."""
    outlets = outlets or Outlets()
    in_project = [
        *ProgressRoutes(jobs).table(),
        *JobRoutes(jobs).table(),
        *ConnectionRoutes(jobs).table(),
        *ControlRoutes(jobs).table(),
        *ObjectRoutes(jobs).table(),
        *CatalogueRoutes(jobs).table(),
        *StructureRoutes(jobs).table(),
        *DatabaseRoutes(jobs).table(),
        *TuningRoutes(jobs).table(),
        *OutsideRoutes(jobs, outlets).table(),
        *UnbuiltRoutes(jobs).table(),
    ]
    confined = [replace(route, path=_PROJECT_PATH + route.path) for route in in_project]
    return confined + V5Routes(jobs, outlets).table() + IdentityRoutes(identity).table()


def _build_handler(place: Place) -> HTTPRouteHandler:
    async def serve(request: Request[Any, Any, Any]) -> Response[bytes]:
        state = request.scope["state"]
        state["route"] = place[1]
        response: Response[bytes] = await state["served"][place](request)
        return response

    method, path = place
    # The response carries its status; the framework only wants to know one that allows a body.
    return HTTPRouteHandler(_PARAMETER.sub(r"{\1:str}", path), http_method=_METHODS[method], status_code=200)(serve)


def _pages(pages: HealthPages, openapi: Callable[[], bytes]) -> Served:
    async def healthz(_: AnyRequest) -> Response[bytes]:
        return Response(msgspec.json.encode(pages.health()), media_type="application/json")

    async def metrics(_: AnyRequest) -> Response[bytes]:
        return Response(await pages.metrics(), media_type=METRICS_TYPE)

    async def describe(_: AnyRequest) -> Response[bytes]:
        return Response(openapi(), media_type="application/json")

    return {("GET", "/openapi.json"): describe, ("GET", "/healthz"): healthz, ("GET", "/metrics"): metrics}


def _answer_exception(request: AnyRequest, error: Exception) -> Response[bytes]:
    """What the framework refuses by itself, in the bodies that clients understand."""
    state = request.scope["state"]
    language = parse_language(request.headers.get("x-language"))
    refusal: Exception = error
    if isinstance(error, (NotFoundException, MethodNotAllowedException)):
        # A gateway knows paths together with their methods, so a wrong method is an unknown call, too.
        refusal = ApiError("APIGW.0101", http_status=error.status_code)
    elif isinstance(error, HTTPException) and error.status_code < 500:
        refusal = ApiError("DRS.M00007", http_status=error.status_code)
    response = answer_error(refusal, language=language, request_id=state["request_id"])
    if isinstance(error, MethodNotAllowedException):
        response.headers.update(error.headers or {})  # RFC 9110: a 405 names the methods that there are
    return response


class Front:
    """The first to see a request and the last to see its answer."""

    def __init__(self, inner: ASGIApp, served: Served, meter: RequestMeter) -> None:
        self._inner = inner
        self._served = served
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._inner(scope, receive, send)
            return
        method, request_id, began_s = scope["method"], secrets.token_hex(16), time.perf_counter()
        state = {**(scope.get("state") or {}), "request_id": request_id, "route": _UNROUTED, "served": self._served}
        status = 500

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        inside = cast("Scope", {**scope, "state": state, "path": _without_prefix(scope["path"])})
        try:
            await self._inner(inside, receive, send_marked)
        finally:
            self._meter.count(method=method, route=state["route"], status=status, began_s=began_s)
            log.info(
                "request_answered",
                request_id=request_id,
                method=method,
                route=state["route"],
                status=status,
                took_ms=round((time.perf_counter() - began_s) * 1000, 1),
            )


def _without_prefix(path: str) -> str:
    """The path as routed. The raw path stays as it was sent, because that is what a client signs."""
    return path[len("/drs") :] if path.startswith(_PREFIXES) else path

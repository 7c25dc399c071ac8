"""From what went wrong inside to the code, status and body that a client gets.

An `ApiError` is a refusal in outside words. A `TowlineError` becomes one through the tables here; anything
else is a defect and answers DRS.M00004 without a detail, because its text may hold a row value or a secret
(I7).
"""

from __future__ import annotations

from typing import Final

import msgspec

from towline.api.wire.texts import TEXTS, Language, render_text
from towline.domain.errors import (
    ConnectionLost,
    ConnectionRefused,
    IdentityUnavailable,
    IllegalTransition,
    InvariantBroken,
    JobDeleted,
    JobNameTaken,
    JobNotFound,
    NotBuilt,
    RequestError,
    RowFilterExists,
    SetupError,
    StoreUnavailable,
    TowlineError,
    TransientError,
    UnknownParameter,
)
from towline.domain.jobs import Failure


class ApiError(Exception):
    """A refusal with a documented code. `detail` fills the gap of the code's text."""

    def __init__(self, code: str, detail: str = "", *, http_status: int | None = None) -> None:
        super().__init__(f"{code} {detail}".strip())
        self.code = code
        self.detail = detail
        self.http_status = http_status or TEXTS[code].http_status

    def text(self, language: Language) -> str:
        return render_text(self.code, self.detail, language)


def empty(parameter: str) -> ApiError:
    return ApiError("DRS.M00201", parameter)


def invalid(parameter: str) -> ApiError:
    return ApiError("DRS.M00202", parameter)


def not_built(what: str) -> ApiError:
    return ApiError("DRS.M00300", f"{what} is not built yet")


# The first class that fits decides, so the narrower ones stand first.
_CODE_OF_CLASS: Final[tuple[tuple[type[TowlineError], str], ...]] = (
    (JobNotFound, "DRS.M05003"),
    (JobDeleted, "DRS.M05004"),
    (JobNameTaken, "DRS.M00277"),
    (IllegalTransition, "DRS.M00304"),
    (NotBuilt, "DRS.M00300"),
    (RowFilterExists, "DRS.M07000"),
    (UnknownParameter, "DRS.M00303"),
    (RequestError, "DRS.M00305"),
    (ConnectionRefused, "DRS.M00305"),
    (ConnectionLost, "DRS.M01501"),
    (SetupError, "DRS.M00305"),
    (TransientError, "DRS.M01501"),
    (TowlineError, "DRS.M01501"),
)


def as_api_error(error: BaseException) -> ApiError:
    """The outside form of any error; a defect becomes DRS.M00004 and keeps its text to itself."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, TowlineError) and not isinstance(error, InvariantBroken):
        code = next(code for kind, code in _CODE_OF_CLASS if isinstance(error, kind))
        is_outage = isinstance(error, (StoreUnavailable, IdentityUnavailable))
        return ApiError(code, f"{error.message} {error.advice}".strip(), http_status=503 if is_outage else None)
    return ApiError("DRS.M00004")


def render_failure(failure: Failure) -> tuple[str, str]:
    """`error_code` and `error_msg` of a job that failed; the text begins with our own stable code."""
    return "DRS.M01501", f"{failure.code}: {failure.message} {failure.remedy}".strip()


class ErrorBody(msgspec.Struct, frozen=True):
    """Whole-call refusal of the service."""

    error_code: str
    error_msg: str


class GatewayErrorBody(msgspec.Struct, frozen=True):
    """Whole-call refusal of what stands in front of the service; it carries the request id."""

    error_msg: str
    error_code: str
    request_id: str


class IdentityError(msgspec.Struct, frozen=True):
    code: int
    message: str
    title: str


class IdentityErrorBody(msgspec.Struct, frozen=True):
    """Refusal of the token call."""

    error: IdentityError


def render_error(error: ApiError, language: Language, request_id: str) -> ErrorBody | GatewayErrorBody:
    """The body for a whole-call failure, in the shape of whoever refuses."""
    text = error.text(language)
    if error.code.startswith("APIGW."):
        return GatewayErrorBody(error_msg=text, error_code=error.code, request_id=request_id)
    return ErrorBody(error_code=error.code, error_msg=text)

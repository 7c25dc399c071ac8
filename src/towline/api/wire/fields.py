"""Reading request bodies: JSON to structs, and the rules that many fields share.

Members that a client may leave out are declared optional even where the API calls them mandatory; the rules
then name what is missing (DRS.M00201) instead of failing in the decoder. Numbers and text are accepted in
either form (section 0 of the API facts); a NUL or half a surrogate pair is not text, no store could keep it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import Enum
from typing import Any, Final, Generic, TypeVar

import msgspec

from towline.api.wire.errors import ApiError, empty, invalid

R = TypeVar("R")
S = TypeVar("S")
E = TypeVar("E", bound=Enum)

MAX_ITEMS: Final = 100
MAX_IDS: Final = 10_000
MAX_TEXT: Final = 256
_MAX_TIME_DIGITS: Final = 14

# Ids look like UUIDs but are not hexadecimal (their last group carries 'jb'), so no UUID parser fits them.
JOB_ID: Final = re.compile(r"[0-9a-z]{8}-[0-9a-z]{4}-[0-9a-z]{4}-[0-9a-z]{4}-[0-9a-z]{12}")
_JOB_IDS: Final = re.compile(f"{JOB_ID.pattern}(?:,{JOB_ID.pattern})*")
_JOB_ID_LENGTH: Final = 36
FORBIDDEN_IN_TEXT: Final = frozenset("!<>&'\"\\")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_ERROR_PATH: Final = re.compile(r"at `\$([^`]*)`")
_MEMBER: Final = re.compile(r"\.(\w+)")


class Text(str):
    """Text that may have been sent as a number."""

    __slots__ = ()


class Request(msgspec.Struct, kw_only=True):
    """Base of request structs. Unknown members are ignored."""


class Jobs(Request, Generic[R]):
    """The body of a call that does something to each job of a list."""

    jobs: list[R]


class JobIds(Request):
    """The body of a call that asks for jobs by their ids."""

    jobs: list[str]


def decode_json(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises: ApiError DRS.M00007."""
    try:
        value = msgspec.json.decode(body)
    # Deeply nested input exhausts the decoder's recursion allowance before its grammar.
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise ApiError("DRS.M00007") from None
    if not isinstance(value, dict):
        raise ApiError("DRS.M00007")
    return value


def convert(value: object, to: type[S], *, where: str = "jobs") -> S:
    """`value` as a request struct. Raises: ApiError DRS.M00202 naming the member that does not fit."""
    try:
        return msgspec.convert(value, to, strict=False, dec_hook=_convert_text)
    except msgspec.ValidationError as error:
        raise invalid(_member_of(error) or where) from None
    except (RecursionError, OverflowError):
        raise ApiError("DRS.M00007") from None


def _convert_text(kind: type, value: object) -> object:
    if kind is not Text:
        raise NotImplementedError(kind.__name__)
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise ValueError("text with a character that cannot be stored")
        return Text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(value)
    raise ValueError("text expected")


def _member_of(error: msgspec.ValidationError) -> str | None:
    # The decoder reports the place only inside its message: "... - at `$.jobs[0].source_endpoint.db_port`".
    path = _ERROR_PATH.search(str(error))
    names = _MEMBER.findall(path.group(1)) if path else []
    return names[-1] if names else None


def read_items(body: dict[str, Any], to: type[S], *, member: str = "jobs", max_items: int = MAX_ITEMS) -> list[S]:
    """The batch items of a request, each converted. Raises: ApiError for the first that does not fit."""
    return [convert(item, to, where=member) for item in read_raw_items(body, member=member, max_items=max_items)]


def read_raw_items(body: dict[str, Any], *, member: str = "jobs", max_items: int = MAX_ITEMS) -> list[dict[str, Any]]:
    """The batch items of a request as they came: a non-empty list of objects."""
    items = body.get(member)
    if items is None or items == []:
        raise empty(member)
    if not isinstance(items, list) or len(items) > max_items or not all(isinstance(item, dict) for item in items):
        raise invalid(member)
    return items


def read_ids(value: object, *, member: str = "jobs", max_ids: int = MAX_IDS) -> list[str]:
    """A non-empty list of well-formed job ids, as sent. Raises: ApiError DRS.M00201 or DRS.M00202."""
    if value is None or value == []:
        raise empty(member)
    if not isinstance(value, list) or len(value) > max_ids:
        raise invalid(member)
    if not all(isinstance(job_id, str) for job_id in value):
        raise invalid(member)
    # All at once, as there may be thousands. The length tells an id that holds a comma from two.
    joined = ",".join(value)
    if len(joined) != len(value) * (_JOB_ID_LENGTH + 1) - 1 or not _JOB_IDS.fullmatch(joined.lower()):
        raise invalid(member)
    return value


def require_id(value: str | None, parameter: str = "job_id") -> str:
    """A well-formed job id in its stored, lower-case form."""
    job_id = require_text(value, parameter).lower()
    if not JOB_ID.fullmatch(job_id):
        raise invalid(parameter)
    return job_id


def require_text(value: str | None, parameter: str, *, max_length: int = MAX_TEXT) -> str:
    """Text that is there and not empty."""
    if not value:
        raise empty(parameter)
    return check_text(value, parameter, max_length=max_length)


def check_text(value: str, parameter: str, *, max_length: int = MAX_TEXT, forbidden: bool = False) -> str:
    """Text within its length; with `forbidden`, also without the characters that the API forbids in it."""
    if len(value) > max_length or (forbidden and not FORBIDDEN_IN_TEXT.isdisjoint(value)):
        raise invalid(parameter)
    return str(value)


def require_word(value: str | None, words: Collection[str], parameter: str) -> str:
    """One of a closed set of words."""
    word = require_text(value, parameter)
    if word not in words:
        raise invalid(parameter)
    return word


def require_member(value: str | None, kind: type[E], parameter: str) -> E:
    """The enum member whose outside word is `value`."""
    require_word(value, {member.value for member in kind}, parameter)
    return kind(value)


def check_range(value: int, parameter: str, *, low: int, high: int) -> int:
    if not low <= value <= high:
        raise invalid(parameter)
    return value


def read_start_time(value: str | None) -> int | None:
    """Microseconds of the wanted start; None for now, which is what an absent or empty time means."""
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= _MAX_TIME_DIGITS):
        raise invalid("start_time")
    return int(value) * 1000


def has_duplicates(values: Sequence[str]) -> bool:
    return len(set(values)) != len(values)

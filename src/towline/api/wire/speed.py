"""Speed limits: hour ranges of the day in UTC, MB/s, both ways."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from towline.api.wire.errors import ApiError, empty, invalid
from towline.api.wire.fields import Request, Text, require_text
from towline.domain.jobs import SpeedWindow

_MAX_RANGES: Final = 3
_BYTES_PER_MB: Final = 1024 * 1024
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


class SpeedLimit(msgspec.Struct, frozen=True):
    """One range as an answer shows it."""

    begin: str
    end: str
    speed: str
    is_utc: bool = True


class SpeedLimitRequest(Request):
    """One range. The API says of both times that they are UTC, so `is_utc` changes nothing."""

    begin: Text | None = None
    end: Text | None = None
    speed: Text | None = None
    is_utc: bool | None = None


class LimitSpeedRequest(Request):
    """One item of batch-limit-speed."""

    job_id: Text | None = None
    speed_limit: list[SpeedLimitRequest] | None = None


class SpeedLimits(Request):
    """The body of batch-limit-speed."""

    speed_limits: list[LimitSpeedRequest]


def read_windows(ranges: Sequence[SpeedLimitRequest] | None) -> tuple[SpeedWindow, ...]:
    """The ranges of one job; an empty list means unlimited. Raises: ApiError, DRS.M00306 among them."""
    if ranges is None:
        raise empty("speed_limit")
    if len(ranges) > _MAX_RANGES:
        raise invalid("speed_limit")
    windows = tuple(_read_window(item) for item in ranges)
    hours = [hour for window in windows for hour in _hours(window)]
    if len(set(hours)) != len(hours):
        raise invalid("speed_limit")  # ranges of a job must not overlap
    return windows


def render_windows(windows: Sequence[SpeedWindow]) -> list[SpeedLimit]:
    return [
        SpeedLimit(
            begin=_clock(window.begin_minute),
            end=_clock(window.end_minute),
            speed=str(window.limit_bytes_per_s // _BYTES_PER_MB),
        )
        for window in windows
    ]


def _read_window(item: SpeedLimitRequest) -> SpeedWindow:
    begin, end = require_text(item.begin, "begin"), require_text(item.end, "end")
    begin_clock, end_clock = _CLOCK.fullmatch(begin), _CLOCK.fullmatch(end)
    if begin_clock is None:
        raise invalid("begin")
    if begin == end:
        raise ApiError("DRS.M00306")
    if end_clock is None or end_clock[2] != "59":
        raise invalid("end")
    speed = require_text(item.speed, "speed")
    if not (speed.isascii() and speed.isdigit() and len(speed) <= 4 and int(speed) >= 1):
        raise invalid("speed")
    return SpeedWindow(
        begin_minute=int(begin_clock[1]) * 60,  # documented: minutes of the begin are ignored
        end_minute=int(end_clock[1]) * 60 + 59,
        limit_bytes_per_s=int(speed) * _BYTES_PER_MB,
    )


def _hours(window: SpeedWindow) -> list[int]:
    first, last = window.begin_minute // 60, window.end_minute // 60
    return list(range(first, last + 1)) if first <= last else [*range(first, 24), *range(last + 1)]


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"

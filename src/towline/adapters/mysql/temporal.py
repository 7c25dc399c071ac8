"""Dates and times as the server's text protocol writes them in a session with time zone +00:00. Pure.

Zero dates and dates with zero parts stay as they are: nothing here knows a calendar, except for TIMESTAMP, which is
a number of seconds.  `fsp` is the number of digits of a second's fraction; two digits take a byte.

Forms: MySQL internals manual, "Date and Time Data Type Representation"; the forms of before 5.6.4, which MariaDB
still writes with `mysql56_temporal_format=OFF` and keeps in tables made long ago, are the `old_` ones.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Final

_CACHED_DATES: Final = 65_536
_SECONDS_PER_DAY: Final = 86_400
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_ZERO_DATETIME: Final = b"0000-00-00 00:00:00"

Renderer = Callable[[bytes], bytes]


def fraction_size(fsp: int) -> int:
    """How many bytes a fraction of `fsp` digits takes."""
    return (fsp + 1) // 2


YEARS: Final = [b"0000"] + [b"%d" % (1900 + number) for number in range(1, 256)]


@lru_cache(_CACHED_DATES)
def render_date(bits: int) -> bytes:
    """A DATE: day in 5 bits, month in 4, year in the rest."""
    return b"%04d-%02d-%02d" % (bits >> 9, bits >> 5 & 15, bits & 31)


def render_date_bytes(raw: bytes) -> bytes:
    return render_date(int.from_bytes(raw, "little"))


@lru_cache(_CACHED_DATES)
def _render_packed_date(bits: int) -> bytes:
    year, month = divmod(bits >> 5, 13)
    return b"%04d-%02d-%02d " % (year, month, bits & 31)


@lru_cache(_CACHED_DATES)
def _render_packed_clock(bits: int) -> bytes:
    return b"%02d:%02d:%02d" % (bits >> 12, bits >> 6 & 63, bits & 63)


@lru_cache(_CACHED_DATES)
def _render_day(days: int) -> bytes:
    day = date.fromordinal(_EPOCH_DAY + days)
    return b"%04d-%02d-%02d " % (day.year, day.month, day.day)


@lru_cache(_SECONDS_PER_DAY)
def _render_second(second: int) -> bytes:
    minutes, seconds = divmod(second, 60)
    return b"%02d:%02d:%02d" % (*divmod(minutes, 60), seconds)


def render_packed_datetime(bits: int) -> bytes:
    """Year * 13 + month, day in 5 bits, hour in 5, minute in 6, second in 6; without a fraction."""
    return _render_packed_date(bits >> 17) + _render_packed_clock(bits & 0x1FFFF)


def render_packed_time(bits: int) -> bytes:
    """Hour in 10 bits, minute in 6, second in 6; positive, without a fraction."""
    return b"%02d:%02d:%02d" % (bits >> 12 & 1023, bits >> 6 & 63, bits & 63)


def render_fraction(number: int, fsp: int) -> bytes:
    """The digits of a fraction that is stored in whole pairs of digits."""
    return b".%0*d" % (fraction_size(fsp) * 2, number) if fsp % 2 == 0 else (b".%0*d" % (fsp + 1, number))[:-1]


def datetime_renderer(fsp: int) -> Renderer:
    """DATETIME: five big-endian bytes with the highest bit set, then the fraction."""
    if fsp == 0:
        return lambda raw: render_packed_datetime(int.from_bytes(raw, "big") & 0x7FFFFFFFFF)

    def render(raw: bytes) -> bytes:
        bits = int.from_bytes(raw[:5], "big") & 0x7FFFFFFFFF
        return render_packed_datetime(bits) + render_fraction(int.from_bytes(raw[5:], "big"), fsp)

    return render


def render_timestamp(second: int) -> bytes:
    """Seconds since 1970 in UTC; 0 is the zero date."""
    if second == 0:
        return _ZERO_DATETIME
    days, seconds = divmod(second, _SECONDS_PER_DAY)
    return _render_day(days) + _render_second(seconds)


def timestamp_renderer(fsp: int) -> Renderer:
    """TIMESTAMP: four big-endian bytes, then the fraction."""
    if fsp == 0:
        return lambda raw: render_timestamp(int.from_bytes(raw, "big"))

    def render(raw: bytes) -> bytes:
        fraction = int.from_bytes(raw[4:], "big")
        second = int.from_bytes(raw[:4], "big")
        # The zero date has no fraction; the first second of 1970 may have one.
        text = b"1970-01-01 00:00:00" if second == 0 and fraction else render_timestamp(second)
        return text + render_fraction(fraction, fsp)

    return render


def time_renderer(fsp: int) -> Renderer:
    """TIME: three big-endian bytes and the fraction, together one number with an offset of half its range."""
    size = fraction_size(fsp)
    offset = 0x800000 << 8 * size

    def render(raw: bytes) -> bytes:
        number = int.from_bytes(raw, "big") - offset
        sign = b""
        if number < 0:
            sign, number = b"-", -number
        text = sign + render_packed_time(number >> 8 * size)
        return text + render_fraction(number & (1 << 8 * size) - 1, fsp) if fsp else text

    return render


# --- the old forms ----------------------------------------------------------------------------------

# MariaDB's addition to them: with a fraction they are big-endian numbers of these sizes, by its digits.
_OLD_DATETIME_SIZES: Final = (8, 6, 6, 7, 7, 7, 8)
_OLD_TIME_SIZES: Final = (3, 4, 4, 5, 5, 5, 6)
_SECONDS_IN_TIME: Final = 838 * 3600 + 59 * 60 + 60  # the longest TIME and a second


def old_datetime_size(fsp: int) -> int:
    return _OLD_DATETIME_SIZES[fsp]


def old_time_size(fsp: int) -> int:
    return _OLD_TIME_SIZES[fsp]


def old_datetime_renderer(fsp: int) -> Renderer:
    """The digits YYYYMMDDhhmmss as a number; with a fraction, mixed numbers of the parts."""
    if fsp == 0:
        return _render_old_datetime

    def render(raw: bytes) -> bytes:
        number, fraction = divmod(int.from_bytes(raw, "big"), 10**fsp)
        number, second = divmod(number, 60)
        number, minute = divmod(number, 60)
        number, hour = divmod(number, 24)
        number, day = divmod(number, 32)
        parts = (*divmod(number, 13), day, hour, minute, second, fsp, fraction)
        return b"%04d-%02d-%02d %02d:%02d:%02d.%0*d" % parts

    return render


def _render_old_datetime(raw: bytes) -> bytes:
    day, clock = divmod(int.from_bytes(raw, "little"), 1_000_000)
    return b"%04d-%02d-%02d %02d:%02d:%02d" % (
        day // 10_000,
        day // 100 % 100,
        day % 100,
        clock // 10_000,
        clock // 100 % 100,
        clock % 100,
    )


def old_time_renderer(fsp: int) -> Renderer:
    """The digits hhmmss as a signed number; with a fraction, seconds from below the shortest TIME on."""
    if fsp == 0:
        return _render_old_time
    zero = _SECONDS_IN_TIME * 10**fsp

    def render(raw: bytes) -> bytes:
        number = int.from_bytes(raw, "big") - zero
        sign = b"-" if number < 0 else b""
        second, fraction = divmod(abs(number), 10**fsp)
        return sign + b"%02d:%02d:%02d.%0*d" % (second // 3600, second // 60 % 60, second % 60, fsp, fraction)

    return render


def _render_old_time(raw: bytes) -> bytes:
    number = int.from_bytes(raw, "little", signed=True)
    sign = b"-" if number < 0 else b""
    number = abs(number)
    return sign + b"%02d:%02d:%02d" % (number // 10_000, number // 100 % 100, number % 100)


def old_timestamp_renderer(fsp: int) -> Renderer:
    """Seconds since 1970, little-endian; with a fraction, big-endian."""
    if fsp == 0:
        return lambda raw: render_timestamp(int.from_bytes(raw, "little"))

    def render(raw: bytes) -> bytes:
        second, fraction = int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:], "big")
        text = b"1970-01-01 00:00:00" if second == 0 and fraction else render_timestamp(second)
        return text + b".%0*d" % (fsp, fraction)

    return render

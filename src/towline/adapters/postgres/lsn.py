"""A place in PostgreSQL's write-ahead log."""

from __future__ import annotations

import re
from typing import Self

_TEXT = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_PAGE_HEADER_BYTES = 24
_FIRST_PAGE_HEADER_BYTES = 40


class Lsn(int):
    """A byte position in the log, written `X/Y` as the server does; a `Position`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError unless the text is `X/Y` in hexadecimal."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"not a log position: {text!r}")
        return cls(int(match[1], 16) << 32 | int(match[2], 16))

    def covers(self, other: Self, /) -> bool:
        """True when everything up to and including `other` lies at or before this position."""
        return self >= other

    def before_page_header(self, *, page_bytes: int, segment_bytes: int) -> Lsn:
        """The same place, named by the end of the last record rather than by the begin of the next.

        At a page boundary the two differ by the page's header; a reader of the log reports the former and
        "current insert position" the latter, and neither would ever cover the other on an idle server.
        """
        if self % segment_bytes == _FIRST_PAGE_HEADER_BYTES:
            return Lsn(self - _FIRST_PAGE_HEADER_BYTES)
        if self % page_bytes == _PAGE_HEADER_BYTES:
            return Lsn(self - _PAGE_HEADER_BYTES)
        return self

    def __str__(self) -> str:
        return f"{self >> 32:X}/{self & 0xFFFFFFFF:X}"

    def __repr__(self) -> str:
        return f"Lsn({self})"

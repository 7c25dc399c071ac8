"""Packed rows in the two forms that COPY reads. Pure.

Manual: COPY, "Binary Format" and "Text Format".  A packed row is nearly the binary form already: only the byte
of kind in front of each value goes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from struct import Struct
from typing import Final

from towline.domain.changes import split_row, value_of
from towline.domain.errors import InvariantBroken, Side

BINARY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
BINARY_TRAILER: Final = b"\xff\xff"
PIECE_BYTES: Final = 256 * 1024

_BINARY = b"b"[0]
_EMPTY = b"nu"  # NULL, or not sent because unchanged
_BINARY_NULL: Final = b"\xff\xff\xff\xff"
_TEXT_NULL: Final = rb"\N"
_COUNT = Struct(">H")
_LENGTH = Struct(">I")
_MARK = Struct(">HIi")  # number of columns, size of the mark, the mark
_SPECIAL = re.compile(rb"[\\\t\n\r]")


class RowEncoder:
    """Encodes rows of one relation for one COPY command."""

    def __init__(self, columns: int, *, is_binary: bool) -> None:
        self.is_binary = is_binary
        self._columns = columns

    def pieces(self, groups: Sequence[tuple[int | None, Iterable[bytes]]]) -> Iterator[bytes]:
        """The whole input of one COPY, in pieces of some size.

        A group's number becomes the first column of its rows; None adds no column.
        """
        size = 0
        parts: list[bytes] = [BINARY_HEADER] if self.is_binary else []
        for mark, rows in groups:
            encoded = self._binary(rows, mark) if self.is_binary else self._text(rows, mark)
            for row in encoded:
                parts.append(row)
                size += len(row)
                if size >= PIECE_BYTES:
                    yield b"".join(parts)
                    parts, size = [], 0
        if self.is_binary:
            parts.append(BINARY_TRAILER)
        yield b"".join(parts)

    def _binary(self, rows: Iterable[bytes], mark: int | None) -> Iterator[bytes]:
        columns = range(self._columns)
        head = _COUNT.pack(self._columns) if mark is None else _MARK.pack(self._columns + 1, 4, mark)
        unpack = _LENGTH.unpack_from
        for row in rows:
            parts = [head]
            position = 2
            for _ in columns:
                kind = row[position]
                position += 1
                if kind == _BINARY:
                    end = position + 4 + unpack(row, position)[0]
                    parts.append(row[position:end])
                    position = end
                elif kind in _EMPTY:
                    parts.append(_BINARY_NULL)
                else:
                    raise InvariantBroken("a text value in a binary stream", side=Side.SOURCE)
            yield b"".join(parts)

    def _text(self, rows: Iterable[bytes], mark: int | None) -> Iterator[bytes]:
        head = [] if mark is None else [b"%d" % mark]
        for row in rows:
            values = [_escape(value_of(cell)) for cell in split_row(row)]
            yield b"\t".join([*head, *values]) + b"\n"


def _escape(value: bytes | None) -> bytes:
    if value is None:
        return _TEXT_NULL
    if _SPECIAL.search(value) is None:
        return value
    value = value.replace(b"\\", rb"\\").replace(b"\t", rb"\t")
    return value.replace(b"\n", rb"\n").replace(b"\r", rb"\r")


async def as_source(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces as COPY input that lets the reader of the stream work in between."""
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)

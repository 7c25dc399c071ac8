"""Packed rows in the two forms that COPY reads. Pure.

Manual: COPY, "Binary Format" and "Text Format".  A packed row is nearly the binary form already: only the byte
of kind in front of each value goes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from struct import Struct
from typing import Final

from towline.domain.changes import column_kinds, split_row, value_of
from towline.domain.errors import InvariantBroken, Side

BINARY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
BINARY_TRAILER: Final = b"\xff\xff"
# Larger rows are cut: the driver copies a piece as a whole.
PIECE_BYTES: Final = 256 * 1024

_BINARY, _TEXT = b"bt"
_CELL_HEAD_BYTES = 5  # kind and length
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
            head = self._head(mark)
            encode: Callable[[bytes], bytes] | None = None
            for row in rows:
                if len(row) > PIECE_BYTES:
                    yield b"".join(parts)
                    parts, size = [], 0
                    yield from self._cut(row, head)
                    continue
                if encode is None:
                    encode = self._binary_encoder(head, row) if self.is_binary else self._text_encoder(head)
                encoded = encode(row)
                parts.append(encoded)
                size += len(encoded)
                if size >= PIECE_BYTES:
                    yield b"".join(parts)
                    parts, size = [], 0
        if self.is_binary:
            parts.append(BINARY_TRAILER)
        yield b"".join(parts)

    def _head(self, mark: int | None) -> bytes:
        if not self.is_binary:
            return b"" if mark is None else b"%d\t" % mark
        return _COUNT.pack(self._columns) if mark is None else _MARK.pack(self._columns + 1, 4, mark)

    def _binary_encoder(self, head: bytes, example: bytes) -> Callable[[bytes], bytes]:
        """For rows that are mostly of the same form as the example."""
        columns = range(self._columns)
        unpack = _LENGTH.unpack_from
        form, kinds_and_lengths, template = _learn_form(head, example)
        form_size, unpack_form = form.size, form.unpack

        def encode(row: bytes) -> bytes:
            if len(row) == form_size:
                fields = unpack_form(row)
                # From left to right: while these are the same, the next ones lie at the same places too.
                if fields[::2] == kinds_and_lengths:
                    return template % fields[1::2]
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
                    raise _text_in_binary()
            return b"".join(parts)

        return encode

    def _text_encoder(self, head: bytes) -> Callable[[bytes], bytes]:
        def encode(row: bytes) -> bytes:
            return head + b"\t".join([_escape(value_of(cell)) for cell in split_row(row)]) + b"\n"

        return encode

    def _cut(self, row: bytes, head: bytes) -> Iterator[bytes]:
        """One row in pieces; at no time is there more of it than the row itself and a piece."""
        yield head
        view = memoryview(row)
        position = 2
        for number, kind in enumerate(column_kinds(row)):
            if not self.is_binary and number:
                yield b"\t"
            position += 1
            if kind in _EMPTY:
                yield _BINARY_NULL if self.is_binary else _TEXT_NULL
                continue
            start, end = position + 4, position + 4 + _LENGTH.unpack_from(row, position)[0]
            if self.is_binary:
                if kind != _BINARY:
                    raise _text_in_binary()
                yield row[position:start]
            for at in range(start, end, PIECE_BYTES):
                piece = bytes(view[at : min(end, at + PIECE_BYTES)])
                yield piece if self.is_binary else _escape(piece)
            position = end
        if not self.is_binary:
            yield b"\n"


def _learn_form(head: bytes, row: bytes) -> tuple[Struct, tuple[bytes, ...], bytes]:
    """How to encode binary rows whose columns have kinds and lengths as this one's, without a walk over them.

    Returns what unpacks such a row into two fields a column (kind with length, value), the first fields, and the
    encoded row with a place for each value.
    """
    form, firsts, template = [">2x"], [], [head.replace(b"%", b"%%")]
    for cell in split_row(row):
        first = cell[:_CELL_HEAD_BYTES]
        if first[0] == _TEXT:
            raise _text_in_binary()
        form.append(f"{len(first)}s{len(cell) - len(first)}s")
        firsts.append(first)
        template.append((first[1:] or _BINARY_NULL).replace(b"%", b"%%") + b"%b")
    return Struct("".join(form)), tuple(firsts), b"".join(template)


def _text_in_binary() -> InvariantBroken:
    return InvariantBroken("a text value in a binary stream", side=Side.SOURCE)


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

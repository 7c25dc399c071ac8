"""Rows of the text protocol become input of PostgreSQL's COPY, a block at a time. Pure.

As in `text_rows`, a packet is turned into a line in its own bytes: what stands between two values becomes one byte that
stands for a separator, a NULL, a line's end or nothing at all.  These bytes are ones that UTF-8 never has, so they
cannot be taken for a value.  What is left is done for the whole block at once, by replacing bytes: escapes for values
that hold a backslash, a tab or a line break, then the marks by what they stand for.

Columns whose bytes are not PostgreSQL's text already (bytea, SET, other character sets; see `postgres_types`) are
converted cell by cell and put between the slices that stay as they are.

Whether a date or a JSON text is good is left to the target, which looks at each anyway and names line and column.  Of
bytes that are no UTF-8 it does not know the line for certain, so these are found here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from towline.adapters.mysql.postgres_types import Converter, Unrepresentable, escape_for_copy
from towline.adapters.mysql.text_rows import FIRST_LONG, HEAD_BYTES, Bytes, read_long
from towline.domain.errors import InvariantBroken, Side

_FIRST_NULL, _LINE_END, _SEPARATOR, _NULL, _PAD = range(0xFB, 0x100)
_AS_WRITTEN: Final = bytes.maketrans(bytes((_LINE_END, _SEPARATOR)), b"\n\t")
_NULLS: Final = ((bytes((_NULL,)), b"\xfd\\N"), (bytes((_FIRST_NULL,)), b"\\N"))
# How many bytes of a length follow its first one.
_WIDTHS: Final = np.zeros(256, np.int64)
_WIDTHS[0xFC], _WIDTHS[0xFD], _WIDTHS[0xFE] = 2, 3, 8
_ESCAPED: Final = ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"), (b"\r", b"\\r"))


class CellMisfit(Exception):
    """A value that has no equal on the target: its row in the block and its column, both from 0."""

    def __init__(self, row: int, column: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row
        self.column = column
        self.reason = reason


class CopyText:
    """Renders the rows of one query. `converters`: one per column, None where the bytes are the text already."""

    def __init__(self, converters: Sequence[Converter | None]) -> None:
        self._converters = tuple(converters)
        self._is_plain = all(convert is None for convert in converters)

    def render_block(self, buffer: bytearray, starts: array[int], end: int) -> bytes:
        """The lines for the packets that begin at `starts` and end at `end`; the buffer is used up.

        Raises: CellMisfit.
        """
        cells, structural = _mark(np.frombuffer(buffer, np.uint8, count=end), starts, len(self._converters), end)
        text = bytes(memoryview(buffer)[:end]) if self._is_plain else self._convert(buffer, cells, end)
        if np.count_nonzero(np.frombuffer(text, np.uint8) >= _FIRST_NULL) != structural:
            raise self._find_misfit(buffer, cells)
        for special, escaped in _ESCAPED:
            if special in text:
                text = text.replace(special, escaped)
        for null, written in _NULLS:
            if null in text:
                text = text.replace(null, written)
        text = text.translate(_AS_WRITTEN, bytes((_PAD,))) + b"\n"
        if not _is_text(text):
            raise self._find_misfit(buffer, cells)
        return text

    def render_rows(self, rows: Iterable[Sequence[bytes | None]]) -> bytes:
        """The lines for single rows."""
        lines = []
        for number, row in enumerate(rows):
            fields = []
            for column, (value, convert) in enumerate(zip(row, self._converters, strict=True)):
                if value is None:
                    fields.append(b"\\N")
                    continue
                try:
                    text = _require_text(value) if convert is None else convert(value)
                except Unrepresentable as error:
                    raise CellMisfit(number, column, str(error)) from None
                fields.append(escape_for_copy(text))
            lines.append(b"\t".join(fields) + b"\n")
        return b"".join(lines)

    def _convert(self, buffer: bytearray, cells: Sequence[_Cells], end: int) -> bytes:
        """The block with the values of some columns replaced. All marks stay."""
        columns = [
            (number, convert, cells[number].begins.tolist(), cells[number].ends.tolist(), cells[number].nulls.tolist())
            for number, convert in enumerate(self._converters)
            if convert is not None
        ]
        parts: list[bytes | bytearray] = []
        taken = 0
        for row in range(len(cells[0].ends)):
            for number, convert, begins, ends, nulls in columns:
                if nulls[row]:
                    continue
                begin, finish = begins[row], ends[row]
                try:
                    value = convert(bytes(buffer[begin:finish]))
                except Unrepresentable as error:
                    raise CellMisfit(row, number, str(error)) from None
                parts.append(buffer[taken:begin])
                parts.append(value)
                taken = finish
        parts.append(buffer[taken:end])
        return b"".join(parts)

    def _find_misfit(self, buffer: bytearray, cells: Sequence[_Cells]) -> Exception:
        """The first value that is no text that PostgreSQL has."""
        for number, convert in enumerate(self._converters):
            if convert is not None:
                continue
            spans = zip(cells[number].begins.tolist(), cells[number].ends.tolist(), strict=True)
            for row, (begin, finish) in enumerate(spans):
                try:
                    _require_text(bytes(buffer[begin:finish]))
                except Unrepresentable as error:
                    return CellMisfit(row, number, str(error))
        return InvariantBroken("a converted value is no UTF-8 text", side=Side.SOURCE)


def _is_text(value: bytes) -> bool:
    try:
        return "\0" not in value.decode()
    except UnicodeDecodeError:
        return False


def _require_text(value: bytes) -> bytes:
    if b"\0" in value:
        raise Unrepresentable("a zero byte in a text")
    if not _is_text(value):
        raise Unrepresentable("bytes that are no UTF-8 text")
    return value


@dataclass(frozen=True, slots=True)
class _Cells:
    """Where the values of one column lie in the block, by row; those of NULLs are empty."""

    begins: Bytes
    ends: Bytes
    nulls: Bytes


def _mark(data: Bytes, starts: array[int], columns: int, end: int) -> tuple[list[_Cells], int]:
    """Put marks between the values; returns where the values are and how many marks there are."""
    rows = np.frombuffer(starts, np.int64)
    at = rows + HEAD_BYTES
    cells: list[_Cells] = []
    pads: list[Bytes] = []
    for number in range(columns):
        first = data[at]
        size = first.astype(np.int64)
        nulls = first == FIRST_LONG
        long = np.flatnonzero(first >= FIRST_LONG)
        if len(long):
            read_long(data, at[long], first[long], size, long, pads, pad=_PAD)
        # Nothing stands in front of a row's first value.
        data[at] = np.where(nulls, _NULL if number else _FIRST_NULL, _SEPARATOR if number else _PAD)
        ends = at + size + 1
        cells.append(_Cells(at + 1 + _WIDTHS[first], ends, nulls))
        at = ends
    if int(at[-1]) != end or not np.array_equal(at[:-1], rows[1:]):
        raise InvariantBroken("a row packet does not hold what its length says", side=Side.SOURCE)
    for offset in range(HEAD_BYTES):
        data[rows + offset] = _PAD
    data[rows[1:]] = _LINE_END  # of the row before
    return cells, len(rows) * (columns + HEAD_BYTES) + sum(map(len, pads))

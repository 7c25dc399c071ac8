"""Rows of the text protocol become input of PostgreSQL's COPY, a block at a time. Pure.

As in `text_rows`, a packet is turned into a line in its own bytes: what stands between two values becomes one byte that
stands for a separator, a NULL, a line's end or nothing at all.  These bytes are ones that UTF-8 never has, so they
cannot be taken for a value.  What is left is done for the whole block at once, by replacing bytes: escapes for values
that hold a backslash, a tab or a line break, then the marks by what they stand for.

A block in which nothing needs an escape and no byte has to go is written at once, see `_Layout.write_directly`.

Columns whose bytes are not PostgreSQL's text already (bytea, SET, other character sets; see `postgres_types`) are
converted cell by cell and put between the slices that stay as they are.

Where zero dates become NULL, they are found for all rows of a block at once, and turned into NULLs before anything is
written; so a table that has none pays for the look only.

Whether a date or a JSON text is good is left to the target, which looks at each anyway and names line and column.  Of
bytes that are no UTF-8 it does not know the line for certain, so these are found here.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from towline.adapters.mysql.postgres_types import Converter, Unrepresentable, escape_for_copy
from towline.adapters.mysql.text_rows import FIRST_LONG, HEAD_BYTES, Bytes, read_long
from towline.adapters.mysql.zero_dates import find_zero_dates, has_zero
from towline.domain.errors import InvariantBroken, Side

_FIRST_NULL, _LINE_END, _SEPARATOR, _NULL, _PAD = range(0xFB, 0x100)
_AS_WRITTEN: Final = bytes.maketrans(bytes((_LINE_END, _SEPARATOR)), b"\n\t")
_TAB, _NEW_LINE, _BLANK = b"\t\n "
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
    """Renders the rows of one query. `converters`: one per column, None where the bytes are the text already.

    `skips_blanks`: the first column is of a type whose reader passes over blanks in front of a value, such as a number.
    `null_dates`: numbers of the columns in which zero dates become NULL; `replaced` counts those values, by number.
    """

    def __init__(
        self,
        converters: Sequence[Converter | None],
        *,
        skips_blanks: bool = False,
        null_dates: Sequence[int] = (),
    ) -> None:
        self._converters = tuple(converters)
        self._null_dates = frozenset(null_dates)
        self.replaced: Counter[int] = Counter()
        self._skips_blanks = skips_blanks
        self._is_plain = all(convert is None for convert in converters)

    def render_block(self, buffer: bytearray, starts: array[int], end: int) -> bytes:
        """The lines for the packets that begin at `starts` and end at `end`; the buffer is used up.

        Raises: CellMisfit.
        """
        data = np.frombuffer(buffer, np.uint8, count=end)
        layout = _measure(data, starts, len(self._converters), end)
        for column in self._null_dates:
            self.replaced[column] += layout.make_null(data, column, find_zero_dates(data, *layout.values(column)))
        if self._is_plain and self._skips_blanks and (text := layout.write_directly(buffer, data, end)):
            if _is_text(text):
                return text
            raise self._find_misfit(buffer, layout)
        structural = layout.write_marks(data)
        text = bytes(memoryview(buffer)[:end]) if self._is_plain else self._convert(buffer, layout, end)
        if np.count_nonzero(np.frombuffer(text, np.uint8) >= _FIRST_NULL) != structural:
            raise self._find_misfit(buffer, layout)
        for special, escaped in _ESCAPED:
            if special in text:
                text = text.replace(special, escaped)
        for null, written in _NULLS:
            if null in text:
                text = text.replace(null, written)
        text = text.translate(_AS_WRITTEN, bytes((_PAD,))) + b"\n"
        if not _is_text(text):
            raise self._find_misfit(buffer, layout)
        return text

    def render_rows(self, rows: Iterable[Sequence[bytes | None]]) -> bytes:
        """The lines for single rows."""
        lines = []
        for number, row in enumerate(rows):
            fields = []
            for column, (value, convert) in enumerate(zip(row, self._converters, strict=True)):
                if value is not None and column in self._null_dates and has_zero(value):
                    self.replaced[column] += 1
                    value = None
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

    def _convert(self, buffer: bytearray, layout: _Layout, end: int) -> bytes:
        """The block with the values of some columns replaced. All marks stay."""
        columns = [
            (number, convert, *layout.spans(number), layout.nulls[number].tolist())
            for number, convert in enumerate(self._converters)
            if convert is not None
        ]
        parts: list[bytes | bytearray] = []
        taken = 0
        for row in range(len(layout.rows)):
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

    def _find_misfit(self, buffer: bytearray, layout: _Layout) -> Exception:
        """The first value that is no text that PostgreSQL has."""
        for number, convert in enumerate(self._converters):
            if convert is not None:
                continue
            for row, (begin, finish) in enumerate(zip(*layout.spans(number), strict=True)):
                if layout.nulls[number][row]:
                    continue
                try:
                    _require_text(bytes(buffer[begin:finish]))
                except Unrepresentable as error:
                    return CellMisfit(row, number, str(error))
        return InvariantBroken("a converted value is no UTF-8 text", side=Side.SOURCE)


def _is_text(value: bytes) -> bool:
    if b"\0" in value:
        return False
    if value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _require_text(value: bytes) -> bytes:
    if b"\0" in value:
        raise Unrepresentable("a zero byte in a text")
    if not _is_text(value):
        raise Unrepresentable("bytes that are no UTF-8 text")
    return value


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are in a block: the packets, and for each column the lengths' first bytes and the values' ends."""

    rows: Bytes
    marks: list[Bytes]
    firsts: list[Bytes]
    ends: list[Bytes]
    nulls: list[Bytes]
    pads: list[Bytes]

    def spans(self, column: int) -> tuple[list[int], list[int]]:
        """Where the column's values begin and end, by row; those of NULLs are empty."""
        begins = self.marks[column] + 1 + _WIDTHS[self.firsts[column]]
        return begins.tolist(), self.ends[column].tolist()

    def values(self, column: int) -> tuple[Bytes, Bytes]:
        """The rows that have a value in the column, and where these begin."""
        rows = np.flatnonzero(~self.nulls[column])
        begins = self.marks[column][rows] + 1 + _WIDTHS[self.firsts[column][rows]]
        return rows, begins

    def make_null(self, data: Bytes, column: int, rows: Bytes) -> int:
        """NULL in the column of these rows, whose values are all of one size; returns how many."""
        if not len(rows):
            return 0
        begins = self.marks[column][rows] + 1
        size = int(self.ends[column][rows[0]] - begins[0])
        places = (begins[:, None] + np.arange(size)).ravel()
        data[places] = _PAD
        self.pads.append(places)
        self.nulls[column][rows] = True
        return len(rows)

    def write_marks(self, data: Bytes) -> int:
        """Put marks between the values and return how many."""
        for number, (at, nulls) in enumerate(zip(self.marks, self.nulls, strict=True)):
            # Nothing stands in front of a row's first value.
            data[at] = np.where(nulls, _NULL if number else _FIRST_NULL, _SEPARATOR if number else _PAD)
        for offset in range(HEAD_BYTES):
            data[self.rows + offset] = _PAD
        data[self.rows[1:]] = _LINE_END  # of the row before
        return len(self.rows) * (len(self.marks) + HEAD_BYTES) + sum(map(len, self.pads))

    def write_directly(self, buffer: bytearray, data: Bytes, end: int) -> bytes:
        """The lines at once, if no byte has to go and none needs an escape; b"" if not so.

        What is left of a packet's head is filled with blanks.
        """
        if self.pads or self.nulls[0].any():
            return b""
        for at, nulls in zip(self.marks, self.nulls, strict=True):
            data[at] = np.where(nulls, _NULL, _TAB)
        data[self.marks[0]] = _BLANK
        for offset in range(1, HEAD_BYTES):
            data[self.rows + offset] = _BLANK
        data[self.rows] = _NEW_LINE
        nulls = sum(int(np.count_nonzero(each)) for each in self.nulls)
        tabs = len(self.rows) * (len(self.marks) - 1) - nulls
        expected = ((_TAB, tabs), (_NEW_LINE, len(self.rows)), (_NULL, nulls))
        if any(int(np.count_nonzero(data == byte)) != count for byte, count in expected):
            return b""
        if any(buffer.find(special, 0, end) >= 0 for special in (b"\\", b"\r")):
            return b""
        text = b"".join((memoryview(buffer)[1:end], b"\n"))
        return text.replace(bytes((_NULL,)), b"\t\\N") if nulls else text


def _measure(data: Bytes, starts: array[int], columns: int, end: int) -> _Layout:
    rows = np.frombuffer(starts, np.int64)
    at = rows + HEAD_BYTES
    layout = _Layout(rows, [], [], [], [], [])
    for _ in range(columns):
        first = data[at]
        size = first.astype(np.int64)
        long = np.flatnonzero(first >= FIRST_LONG)
        if len(long):
            read_long(data, at[long], first[long], size, long, layout.pads, pad=_PAD)
        layout.marks.append(at)
        layout.firsts.append(first)
        layout.nulls.append(first == FIRST_LONG)
        at = at + size + 1
        layout.ends.append(at)
    if int(at[-1]) != end or not np.array_equal(at[:-1], rows[1:]):
        raise InvariantBroken("a row packet does not hold what its length says", side=Side.SOURCE)
    return layout

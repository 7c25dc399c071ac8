"""Rows of the text protocol become input of LOAD DATA, a block at a time, without an object per value. Pure.

A row packet is a 3-byte length, a sequence number and for each column a length and the bytes of the value.  A length
below 251 is one byte, 0xFB means NULL, 0xFC to 0xFE announce longer lengths (manual of the protocol: "Text Resultset
Row", "Length-Encoded Integer").  So what stands between two values takes as much room as a separator does, and the
input for LOAD DATA is made in the very same bytes: the four bytes of a packet's head become line ends and each
length becomes a separator.  Values are not moved.  One pass over all rows of a block per column finds the lengths.

LOAD DATA ignores everything between the end of a line and the text that lines start with, so a line may end with
four bytes as well as with one:

    LINES STARTING BY <SEPARATOR> TERMINATED BY <LINE_END> FIELDS TERMINATED BY <SEPARATOR> ESCAPED BY <ESCAPE>

Three cases need more room or less, and a pass over the block each: NULL takes two bytes more; the rest of a long
length goes; a value that holds one of the five control bytes used here gets an escape in front of it.  Whether a block
has such values is known from how many of these bytes are in it altogether.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any, Final

import numpy as np

from towline.domain.errors import InvariantBroken, Side

ESCAPE: Final = 0x1B
NULL_MARK: Final = 0x1C
PAD: Final = 0x1D
LINE_END: Final = 0x1E
SEPARATOR: Final = 0x1F
_FIRST_CONTROL, _CONTROLS = ESCAPE, 5
FIRST_LONG: Final = 0xFB  # NULL and the longer lengths

FORMAT_SQL: Final = (
    f"CHARACTER SET binary FIELDS TERMINATED BY X'{SEPARATOR:02X}' ENCLOSED BY '' ESCAPED BY X'{ESCAPE:02X}'"
    f" LINES STARTING BY X'{SEPARATOR:02X}' TERMINATED BY X'{LINE_END:02X}'"
)
"""What LOAD DATA has to be told."""
LAST_LINE_END: Final = bytes((LINE_END,))
"""Ends the last line of the input."""

_NULL_FIELD = bytes((SEPARATOR, ESCAPE, ord("N")))
_CONTROL = re.compile(rb"[\x1b-\x1f]")
HEAD_BYTES: Final = 4
_HEAD = Struct("<HB")  # the length's low and high part; the number of the packet does not matter
_END_PACKET_BYTES = 9

Bytes = Any  # numpy's uint8 array; its types are heavier than they help here


class PacketScanner:
    """Finds the row packets of a growing buffer, each once."""

    def __init__(self) -> None:
        self.starts = array("q")
        self.position = 0

    def scan(self, buffer: bytearray, end: int) -> None:
        """Take in all packets that lie completely in `buffer[:end]`."""
        position, append, unpack = self.position, self.starts.append, _HEAD.unpack_from
        last = end - HEAD_BYTES
        while position <= last:
            append(position)
            low, high = unpack(buffer, position)
            position += HEAD_BYTES + low + (high << 16)
        if position > end:
            position = self.starts.pop()  # it is not all there yet
        self.position = position

    def is_ended(self, buffer: bytearray) -> bool:
        """Whether the last packet found is the one after the last row, or an error."""
        if not self.starts:
            return False
        start = self.starts[-1]
        first = buffer[start + HEAD_BYTES] if self.position - start > HEAD_BYTES else 0
        return first == 0xFF or (first == 0xFE and self.position - start < HEAD_BYTES + _END_PACKET_BYTES)


def render_block(buffer: bytearray, starts: array[int], end: int, columns: int) -> bytes | memoryview:
    """Input of LOAD DATA for the row packets that begin at `starts` and end at `end`; the buffer is used up.

    What is returned may be a view of the buffer.
    """
    data = np.frombuffer(buffer, np.uint8, count=end)
    rows = np.frombuffer(starts, np.int64)
    at = rows + HEAD_BYTES
    marks: list[Bytes] = []
    pads: list[Bytes] = []
    has_nulls = False
    for _ in range(columns):
        first = data[at]
        size = first.astype(np.int64)
        is_long = first >= FIRST_LONG
        marks.append(at)
        if is_long.any():
            long = np.flatnonzero(is_long)
            has_nulls |= read_long(data, at[long], first[long], size, long, pads, pad=PAD)
            data[at] = np.where(first == FIRST_LONG, NULL_MARK, SEPARATOR)
        else:
            data[at] = SEPARATOR
        at = at + size + 1
    if int(at[-1]) != end or not np.array_equal(at[:-1], rows[1:]):
        raise InvariantBroken("a row packet does not hold what its length says", side=Side.SOURCE)
    for offset in range(HEAD_BYTES):
        data[rows + offset] = LINE_END
    structural = len(rows) * (columns + HEAD_BYTES) + sum(map(len, pads))
    if np.count_nonzero((data - _FIRST_CONTROL) < _CONTROLS) != structural:
        return _render_escaped(data, rows, marks, pads)
    if not has_nulls and not pads:
        return memoryview(buffer)[:end]
    out = bytes(memoryview(buffer)[:end])
    if has_nulls:
        out = out.replace(bytes((NULL_MARK,)), _NULL_FIELD)
    if pads:
        out = out.translate(None, bytes((PAD,)))
    return out


def read_long(data: Bytes, at: Bytes, first: Bytes, size: Bytes, rows: Bytes, pads: list[Bytes], *, pad: int) -> bool:
    """Put the lengths of NULLs and long values into `size`, and pads in place of the lengths' further bytes.

    Returns whether there are NULLs.
    """
    nulls = first == FIRST_LONG
    size[rows[nulls]] = 0
    for mark, width in ((0xFC, 2), (0xFD, 3), (0xFE, 8)):
        chosen = first == mark
        if not chosen.any():
            continue
        places = at[chosen]
        length = np.zeros(len(places), np.int64)
        for byte in range(1, width + 1):
            length |= data[places + byte].astype(np.int64) << (8 * (byte - 1))
            data[places + byte] = pad
            pads.append(places + byte)
        size[rows[chosen]] = length + width
    return bool(nulls.any())


def _render_escaped(data: Bytes, rows: Bytes, marks: list[Bytes], pads: list[Bytes]) -> bytes:
    """The same for a block in which values hold control bytes: each byte is kept, dropped or preceded by others."""
    heads = [rows + offset for offset in range(HEAD_BYTES)]
    is_control = (data - _FIRST_CONTROL) < _CONTROLS
    is_control[np.concatenate([*heads, *marks, *pads])] = False
    repeats = np.ones(len(data), np.int64)
    controls = np.flatnonzero(is_control)
    separators = np.concatenate(marks)
    nulls = separators[data[separators] == NULL_MARK]
    repeats[controls] = 2
    repeats[nulls] = len(_NULL_FIELD)
    if pads:
        repeats[np.concatenate(pads)] = 0
    out = np.repeat(data, repeats)
    ends = np.cumsum(repeats)
    out[ends[controls] - 2] = ESCAPE
    for offset, byte in enumerate(_NULL_FIELD):
        out[ends[nulls] - len(_NULL_FIELD) + offset] = byte
    return out.tobytes()


def split_packet(payload: bytes) -> list[bytes | None]:
    """The values of one row packet, for the few rows that are looked at one by one."""
    values: list[bytes | None] = []
    position = 0
    while position < len(payload):
        first = payload[position]
        position += 1
        if first == FIRST_LONG:
            values.append(None)
            continue
        size = first
        if first > FIRST_LONG:
            width = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
            size = int.from_bytes(payload[position : position + width], "little")
            position += width
        values.append(payload[position : position + size])
        position += size
    return values


def render_rows(rows: Iterable[Sequence[bytes | None]]) -> bytes:
    """Input of LOAD DATA for single rows."""
    parts = []
    for row in rows:
        parts.append(LAST_LINE_END)
        for value in row:
            parts.append(_NULL_FIELD if value is None else bytes((SEPARATOR,)) + _escape(value))
    return b"".join(parts)


def _escape(value: bytes) -> bytes:
    return _CONTROL.sub(b"\x1b\\g<0>", value) if _CONTROL.search(value) else value

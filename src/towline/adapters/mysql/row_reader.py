"""The rows of one SELECT, taken off the wire in blocks. Runs in a session's thread, see `session.py`."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from pymysql.err import raise_mysql_exception

from towline.adapters.mysql.copy_text import CellMisfit
from towline.adapters.mysql.session import COM_QUERY, Wire
from towline.adapters.mysql.text_rows import PacketScanner, render_block, render_rows, split_packet
from towline.domain.errors import InvariantBroken, Side

BLOCK_BYTES: Final = 1024 * 1024
_HEAD_BYTES = 4
_ERROR_PACKET = 0xFF


class RowForm(Protocol):
    """What rows are made into."""

    def render_block(self, buffer: bytearray, starts: array[int], end: int) -> bytes | memoryview:
        """For the packets that begin at `starts` and end at `end`; the buffer is used up."""
        ...

    def render_rows(self, rows: Iterable[Sequence[bytes | None]]) -> bytes: ...


class LoadForm:
    """Input of LOAD DATA."""

    def __init__(self, columns: int) -> None:
        self._columns = columns

    def render_block(self, buffer: bytearray, starts: array[int], end: int) -> bytes | memoryview:
        return render_block(buffer, starts, end, self._columns)

    def render_rows(self, rows: Iterable[Sequence[bytes | None]]) -> bytes:
        return render_rows(rows)


class RowReader:
    """`begin`, then `next_block` until it returns nothing."""

    def __init__(self, columns: int, form: RowForm | None = None) -> None:
        """`form`: input of LOAD DATA if none is given."""
        self._columns = columns
        self._form = form or LoadForm(columns)
        self.rows_before = 0  # the block at hand
        self._rows = 0
        self._carry = b""  # the begin of a packet whose end has not come yet
        self._is_ended = False

    def begin(self, wire: Wire, query: bytes) -> None:
        """Send the query and read what describes its columns."""
        wire.send_command(COM_QUERY, query)
        columns = wire.read_packet()
        # From 251 on the number takes two bytes behind a mark.
        if (columns[0] if len(columns) == 1 else int.from_bytes(columns[1:3], "little")) != self._columns:
            raise InvariantBroken("the source answered with other columns", side=Side.SOURCE)
        for _ in range(self._columns + 1):  # and the packet that ends them
            wire.read_packet()

    def next_block(self, wire: Wire) -> bytes | memoryview:
        """The next rows in the reader's form; empty after the last one."""
        self.rows_before = self._rows
        if self._is_ended:
            return b""
        buffer = bytearray(BLOCK_BYTES + len(self._carry))
        buffer[: len(self._carry)] = self._carry
        filled = len(self._carry)
        packets = PacketScanner()
        packets.scan(buffer, filled)
        with memoryview(buffer) as view:
            while filled < len(buffer) and not packets.is_ended(buffer):
                filled += wire.receive_into(view[filled:])
                packets.scan(buffer, filled)
        if packets.is_ended(buffer):
            self._is_ended = True
            self._end(buffer, packets, filled)
            self._carry = b""
        elif not packets.starts:
            return self._read_large(wire, buffer)
        else:
            self._carry = bytes(memoryview(buffer)[packets.position : filled])
        if not packets.starts:
            return b""
        self._rows += len(packets.starts)
        return self._form.render_block(buffer, packets.starts, packets.position)

    def skip_rest(self, wire: Wire) -> None:
        """Take the rest of the answer off the wire."""
        while not self._is_ended:
            with suppress(CellMisfit):
                self.next_block(wire)

    def _end(self, buffer: bytearray, packets: PacketScanner, filled: int) -> None:
        start = packets.starts.pop()
        if buffer[start + _HEAD_BYTES] == _ERROR_PACKET:
            raise_mysql_exception(bytes(buffer[start + _HEAD_BYTES : packets.position]))
        if filled != packets.position:
            raise InvariantBroken("bytes after the last row", side=Side.SOURCE)
        packets.position = start

    def _read_large(self, wire: Wire, buffer: bytearray) -> bytes:
        """A row larger than a block; rows of 16 MB and more come in several packets."""
        wire.give_back(buffer)
        self._carry = b""
        self._rows += 1
        return self._form.render_rows([split_packet(wire.read_packet())])

"""The messages of the pgoutput plugin, decoded. Pure.

Grammar: PostgreSQL manual, "Logical Replication Message Formats" (protocol versions 1 and 2); each message
comes in the CopyData frame of "Streaming Replication Protocol" (XLogData), whose header is 25 bytes.

A transaction is handed on when its Commit arrives, or in parts while it is larger than `part_bytes`.  Inside
a streamed block (version 2) every change names its own transaction id; those go to the sink in runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from struct import Struct
from struct import error as StructError
from typing import Final, TypeVar

from towline.adapters.postgres.large_rows import TakeRows
from towline.adapters.postgres.lsn import Lsn
from towline.domain.changes import (
    CHANGE_OVERHEAD_BYTES,
    DELETE,
    INSERT,
    TRUNCATE,
    UPDATE,
    Relation,
    RowChange,
    row_size,
)
from towline.domain.errors import InvariantBroken, Side
from towline.domain.tables import TableName
from towline.engine.ports import TransactionSink

XLOG_DATA_HEADER_BYTES: Final = 25
# Microseconds from 1970 to 2000: the server counts from the latter.
POSTGRES_EPOCH_US: Final = 946_684_800_000_000

_BEGIN, _COMMIT, _INSERT, _UPDATE, _DELETE, _TRUNCATE, _RELATION = b"BCIUDTR"
_STREAM_START, _STREAM_STOP, _STREAM_COMMIT, _STREAM_ABORT = b"SEcA"
_WITHOUT_CHANGE = b"RYOM"  # Relation, Type, Origin, Message
_ROW_KINDS = b"IUD"
_NEW = b"N"[0]
_OLD_KINDS = b"KO"  # the key's columns, or the whole row

_POSITION = Struct(">Q")
_COMMIT_BODY = Struct(">BQQq")  # flags, commit position, end position, time
_STREAM_COMMIT_BODY = Struct(">IBQQq")
_STREAM_ABORT_BODY = Struct(">II")
_TRUNCATE_BODY = Struct(">IB")
_COLUMN_TAIL = Struct(">Ii")  # type, type modifier
_ID = Struct(">I")
_COUNT = Struct(">H")

_Frame = TypeVar("_Frame", bytes, memoryview)

ChooseKey = Callable[[TableName, Sequence[str], Sequence[int], str], tuple[int, ...]]
"""(table, columns, numbers of the columns that the source marks as key, replica identity) -> key."""


def choose_marked_key(
    table: TableName, columns: Sequence[str], marked: Sequence[int], identity: str
) -> tuple[int, ...]:
    """The columns that the source marks; under FULL it marks all, which identify no row."""
    return () if identity == "f" else tuple(marked)


class PgoutputDecoder:
    """Decodes one connection's messages in order and hands transactions to the sink."""

    def __init__(self, sink: TransactionSink, *, part_bytes: int, choose_key: ChooseKey = choose_marked_key) -> None:
        self._sink = sink
        self._part_bytes = part_bytes
        self._choose_key = choose_key
        self._relations: dict[bytes, Relation] = {}
        self._changes: list[RowChange] = []
        self._size_bytes = 0
        self._begin = b""
        self._block: _StreamedBlock | None = None

    def feed(self, frames: Iterable[bytes]) -> None:
        """Decode XLogData frames.

        Raises:
            InvariantBroken: a message is not of the grammar.
        """
        with _grammar():
            self._feed(frames)

    def feed_large(self, frame: memoryview, take_rows: TakeRows) -> None:
        """Decode one XLogData frame of many megabytes; it is released, its rows come from `take_rows`.

        Raises:
            InvariantBroken: the message is not of the grammar.
        """
        with _grammar():
            kind, block = frame[25], self._block
            if kind not in _ROW_KINDS:
                self._feed([bytes(frame)])
            elif block is None:
                self._size_bytes += self._feed_row(frame, kind, 26, self._changes, take_rows)
                if self._size_bytes > self._part_bytes:
                    self._hand_on_part(self._changes, self._size_bytes)
                    self._changes, self._size_bytes = [], 0
            else:
                self._turn_to(block, frame)
                block.size_bytes += self._feed_row(frame, kind, 30, block.changes, take_rows)

    def _feed(self, frames: Iterable[bytes]) -> None:
        # The hot path: small rows at several hundred thousand a second, hence local names and no calls.
        relations = self._relations
        changes = self._changes
        size = self._size_bytes
        for frame in frames:
            kind = frame[25]
            if self._block is not None:
                self._feed_streamed(self._block, frame, kind)
            elif kind == _UPDATE and frame[30] == _NEW:
                changes.append((UPDATE, relations[frame[26:30]], frame[31:], None))
                size += len(frame) + CHANGE_OVERHEAD_BYTES
            elif kind == _INSERT:
                changes.append((INSERT, relations[frame[26:30]], frame[31:], None))
                size += len(frame) + CHANGE_OVERHEAD_BYTES
            elif kind == _COMMIT:
                _, _, end, time_us = _COMMIT_BODY.unpack_from(frame, 26)
                self._sink.transaction(changes, Lsn(end), time_us + POSTGRES_EPOCH_US, size)
                changes, size = [], 0
            elif kind == _BEGIN:
                self._begin = frame
            else:
                size += self._feed_rare(frame, kind, changes)
            if size > self._part_bytes:
                self._hand_on_part(changes, size)
                changes, size = [], 0
        self._changes = changes
        self._size_bytes = size

    def _hand_on_part(self, changes: list[RowChange], size_bytes: int) -> None:
        # One byte into the commit record, whose position the Begin tells in advance.
        position = Lsn(_POSITION.unpack_from(self._begin, 26)[0] + 1)
        self._sink.part(changes, position, size_bytes)

    def _feed_rare(self, frame: bytes, kind: int, changes: list[RowChange]) -> int:
        if kind == _STREAM_START:
            self._block = _StreamedBlock(*_ID.unpack_from(frame, 26))
        elif kind == _STREAM_COMMIT:
            xid, _, _, end, time_us = _STREAM_COMMIT_BODY.unpack_from(frame, 26)
            self._sink.commit_streamed(xid, Lsn(end), time_us + POSTGRES_EPOCH_US)
        elif kind == _STREAM_ABORT:
            self._sink.abort_streamed(*_STREAM_ABORT_BODY.unpack_from(frame, 26))
        else:
            return self._feed_change(frame, kind, 26, changes)
        return 0

    def _feed_streamed(self, block: _StreamedBlock, frame: bytes, kind: int) -> None:
        """A message between Stream Start and Stream Stop: it names its (sub)transaction after the kind."""
        if kind == _STREAM_STOP:
            block.hand_on(self._sink)
            self._block = None
            return
        self._turn_to(block, frame)
        block.size_bytes += self._feed_change(frame, kind, 30, block.changes)

    def _turn_to(self, block: _StreamedBlock, frame: bytes | memoryview) -> None:
        """Hand on what is full, or of another subtransaction than this frame."""
        xid = _ID.unpack_from(frame, 26)[0]
        if xid != block.subxid or block.size_bytes > self._part_bytes:
            block.hand_on(self._sink)
            block.subxid = xid

    def _feed_change(self, frame: bytes, kind: int, start: int, changes: list[RowChange]) -> int:
        """Decode the message whose body begins at `start` into `changes`; returns what that adds to their size."""
        if kind == _TRUNCATE:
            count: int
            count, flags = _TRUNCATE_BODY.unpack_from(frame, start)
            for position in range(start + 5, start + 5 + 4 * count, 4):
                relation = self._relations[frame[position : position + 4]]
                changes.append((TRUNCATE, relation, bytes([flags]), None))
            return count * CHANGE_OVERHEAD_BYTES
        if kind in _WITHOUT_CHANGE:
            if kind == _RELATION:
                self._learn_relation(frame, start)
            return 0
        return self._feed_row(frame, kind, start, changes, _take_rows)

    def _feed_row(
        self,
        frame: _Frame,
        kind: int,
        start: int,
        changes: list[RowChange],
        take_rows: Callable[[_Frame, Sequence[slice]], list[bytes]],
    ) -> int:
        relation = self._relations[bytes(frame[start : start + 4])]
        tuple_kind = frame[start + 4]
        size = len(frame)
        first = start + 5
        if kind == _INSERT and tuple_kind == _NEW:
            (new,) = take_rows(frame, [slice(first, None)])
            changes.append((INSERT, relation, new, None))
        elif kind == _DELETE and tuple_kind in _OLD_KINDS:
            (old,) = take_rows(frame, [slice(first, None)])
            changes.append((DELETE, relation, None, old))
        elif kind == _UPDATE and tuple_kind == _NEW:
            (new,) = take_rows(frame, [slice(first, None)])
            changes.append((UPDATE, relation, new, None))
        elif kind == _UPDATE and tuple_kind in _OLD_KINDS:
            end = first + row_size(frame, first)
            if frame[end] != _NEW:
                raise ValueError("an update without its new row")
            old, new = take_rows(frame, [slice(first, end), slice(end + 1, None)])
            changes.append((UPDATE, relation, new, old))
        else:
            raise ValueError("an unknown message")
        return size + CHANGE_OVERHEAD_BYTES

    def _learn_relation(self, frame: bytes, start: int) -> None:
        relation_id = frame[start : start + 4]
        schema, position = _read_text(frame, start + 4)
        name, position = _read_text(frame, position)
        identity = chr(frame[position])
        (count,) = _COUNT.unpack_from(frame, position + 1)
        position += 3
        columns, type_ids, marked = [], [], []
        for number in range(count):
            if frame[position] & 1:
                marked.append(number)
            column, position = _read_text(frame, position + 1)
            columns.append(column)
            type_ids.append(_COLUMN_TAIL.unpack_from(frame, position)[0])
            position += _COLUMN_TAIL.size
        # The plugin writes the system schema as an empty string.
        table = TableName(schema or "pg_catalog", name)
        key = self._choose_key(table, columns, marked, identity)
        relation = Relation(table, tuple(columns), tuple(type_ids), key)
        known = self._relations.get(relation_id)
        # The plugin repeats a table's form after every invalidation; only a new form is a new relation.
        if known is None or not known.has_shape_of(relation):
            self._relations[relation_id] = relation


@dataclass(slots=True)
class _StreamedBlock:
    """Changes of a transaction in progress, between Stream Start and Stream Stop."""

    xid: int
    subxid: int = 0
    changes: list[RowChange] = field(default_factory=list)
    size_bytes: int = 0

    def hand_on(self, sink: TransactionSink) -> None:
        if self.changes:
            sink.streamed(self.xid, self.subxid, self.changes, self.size_bytes)
            self.changes, self.size_bytes = [], 0


@contextmanager
def _grammar() -> Iterator[None]:
    try:
        yield
    except (IndexError, KeyError, ValueError, StructError) as error:
        raise InvariantBroken(
            f"a replication message cannot be decoded ({type(error).__name__})", side=Side.SOURCE
        ) from error


def _take_rows(frame: bytes, places: Sequence[slice]) -> list[bytes]:
    return [frame[place] for place in places]


def _read_text(frame: bytes, start: int) -> tuple[str, int]:
    end = frame.index(0, start)
    return frame[start:end].decode(), end + 1

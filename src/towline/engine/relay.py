"""The bounded buffer between reader and applier; what lies in it is already folded.

Theory of operation: the reader calls the sink's methods, which never block, and stops while the relay `is_full`.
Each whole transaction is folded into the open batch at once, so the reader's pace pays for the folding and a
batch can be taken at any moment.  The applier takes whatever is there: one transaction on a quiet
source, a full batch under load.  Both run on one event loop, so no step needs a lock.

What takes memory is counted when it comes in and released when the applier is `done` with it; overheads are part of
the count, so the bound is one of bytes and of changes.  A transaction larger than a batch passes in parts:
committed ones as they are received, those that came while in progress out of the spill.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from towline.domain.changes import CHANGE_OVERHEAD_BYTES, DDL, RowChange
from towline.domain.errors import SetupError, Side
from towline.domain.positions import Position
from towline.domain.tables import TableName
from towline.engine.batch import Batch
from towline.engine.spill import Spill


@dataclass(frozen=True, slots=True, eq=False)
class _Streamed:
    """A committed transaction whose changes wait in the spill; those of the tables in `held` are not wanted."""

    xid: int
    position: Position
    time_us: int
    held: Collection[TableName]


class RelayClosed(Exception):
    """The relay hands out nothing more; what was not applied will be sent again."""


class Relay:
    """A `TransactionSink` on one side, batches on the other."""

    def __init__(
        self,
        start: Position,
        spill: Spill,
        *,
        capacity_bytes: int,
        batch_bytes: int,
        tolerant_until: Position | None = None,
        table_floors: Mapping[TableName, Position] | None = None,
        only: frozenset[TableName] | None = None,
    ) -> None:
        """Transactions up to `start` are dropped; changes of a table up to its floor, or not in `only`, as well.

        What is handed in raises SetupError where the source's history does not pass a floor as a whole.
        """
        self._start = start
        # Everything up to here has been read; the commit time of the last transaction, if there was one.
        self.received: Position = start
        self.received_time_us: int | None = None
        self._spill = spill
        self._capacity_bytes = capacity_bytes
        self.batch_bytes = batch_bytes
        self._tolerant_until = tolerant_until
        self._floors = dict(table_floors or {})
        self._only = only
        self._sealed: deque[Batch | _Streamed] = deque()
        self._open: Batch | None = None
        self._parts: Iterator[Batch] | None = None
        self._is_in_parts = False
        self._held_bytes = 0
        self._news = asyncio.Event()
        self._ripe = asyncio.Event()
        self._is_at_end = False
        self._room = asyncio.Event()
        self.is_closed = False

    # --- the reader's side ------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        return self._held_bytes >= self._capacity_bytes

    @property
    def held_bytes(self) -> int:
        """What the changes in the relay take, those being applied included."""
        return self._held_bytes

    async def wait_room(self) -> None:
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    def transaction(self, changes: list[RowChange], position: Position, time_us: int, size_bytes: int) -> None:
        if self._start.covers(position):
            # The source may repeat what it was not told to forget (I5).
            return
        changes = self._wanted(changes, self._held_at(position))
        is_ddl = bool(changes) and changes[0][0] == DDL
        if is_ddl:
            # It commits by itself, so what came before it must be durable before it begins.
            self._seal()
        batch = self._open_batch(position)
        if changes:
            batch.add(changes, size_bytes)
            self._held_bytes += size_bytes
        batch.end_transaction(position, time_us)
        self.received, self.received_time_us = position, time_us
        self._is_at_end = False
        if self._is_in_parts or is_ddl or batch.size_bytes >= self.batch_bytes:
            self._is_in_parts = False
            self._seal()
        self._news.set()

    def part(self, changes: list[RowChange], position: Position, size_bytes: int) -> None:
        if self._start.covers(position):
            return
        changes = self._wanted(changes, self._held_at(position))
        if not self._is_in_parts:
            # Whole transactions before it keep their own batch (I2).
            self._seal()
            self._is_in_parts = True
        batch = self._open_batch(position)
        batch.add(changes, size_bytes)
        batch.is_complete = False
        self._held_bytes += size_bytes
        self._seal()
        self._news.set()

    def streamed(self, xid: int, subxid: int, changes: list[RowChange], size_bytes: int) -> None:
        self._spill.add(xid, subxid, changes, size_bytes)

    def abort_streamed(self, xid: int, subxid: int) -> None:
        self._spill.abort(xid, subxid)

    def commit_streamed(self, xid: int, position: Position, time_us: int) -> None:
        if self._start.covers(position):
            self._spill.abort(xid, xid)
            return
        self._seal()
        self._sealed.append(_Streamed(xid, position, time_us, self._held_at(position)))
        self.received, self.received_time_us = position, time_us
        self._news.set()
        self._ripe.set()

    def marker(self, position: Position) -> None:
        if self._is_in_parts or self._start.covers(position):
            return
        batch = self._open_batch(position)
        if batch.position is None or position.covers(batch.position):
            batch.position = position
        if position.covers(self.received):
            self.received = position
        self._news.set()
        # The source has nothing more to send for now.
        self._is_at_end = True
        self._ripe.set()

    # --- the applier's side -----------------------------------------------------------------------

    async def take(self) -> Batch:
        """Whatever is there, as soon as something is. Call `done` with it afterwards.

        Raises:
            RelayClosed: after `close`.
        """
        while True:
            if self.is_closed:
                raise RelayClosed
            batch = self._next()
            if batch is not None:
                return batch
            self._news.clear()
            await self._news.wait()

    @property
    def has_transactions(self) -> bool:
        """Whether a batch with changes can be taken without waiting."""
        is_open = self._open is not None and self._open.transactions > 0
        return not self.is_closed and (is_open or any(map(_is_work, self._sealed)))

    def oldest_time_us(self) -> int | None:
        """When the last transaction of the batch that comes next was committed, by the source's clock."""
        first = self._sealed[0] if self._sealed else self._open
        if isinstance(first, _Streamed):
            return first.time_us
        return None if first is None else first.source_time_us

    async def wait_ripe(self, timeout_s: float) -> None:
        """Wait until the next batch is full, or the source has nothing more to send, but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._ripe.wait()

    def done(self, batch: Batch) -> None:
        self._held_bytes -= batch.size_bytes
        self._room.set()

    def close(self) -> None:
        """Let `take` raise from now on."""
        self.is_closed = True
        self._news.set()
        self._ripe.set()

    def _next(self) -> Batch | None:
        if self._parts is not None:
            part = next(self._parts, None)
            if part is not None:
                return part
            self._parts = None
        if not self._sealed:
            self._seal()
        if not self._sealed:
            return None
        item = self._sealed.popleft()
        if not self._sealed and not self._is_at_end:
            self._ripe.clear()
        if isinstance(item, Batch):
            return item
        self._parts = self._read_streamed(item)
        return next(self._parts)

    def _read_streamed(self, item: _Streamed) -> Iterator[Batch]:
        """At least one batch; the last one is complete, and may be empty.

        A full part is handed out before the next one is read, and not kept: one may be as large as half of the memory.
        """
        batch = self._new_batch(item.position)
        for changes, size_bytes in self._spill.take(item.xid, part_bytes=self.batch_bytes):
            batch.add(self._wanted(changes, item.held), size_bytes)
            changes.clear()
            self._held_bytes += size_bytes
            if batch.size_bytes >= self.batch_bytes:
                batch.is_complete = False
                yield batch
                batch = self._new_batch(item.position)
        batch.end_transaction(item.position, item.time_us)
        yield batch

    # --- batches ----------------------------------------------------------------------------------

    def _open_batch(self, position: Position) -> Batch:
        """The batch for a transaction that commits at `position`."""
        is_tolerant = self._is_tolerant_at(position)
        if self._open is not None and self._open.is_tolerant != is_tolerant:
            self._seal()
        if self._open is None:
            self._open = Batch(is_tolerant=is_tolerant)
        return self._open

    def _new_batch(self, position: Position) -> Batch:
        return Batch(is_tolerant=self._is_tolerant_at(position))

    def _is_tolerant_at(self, position: Position) -> bool:
        if self._tolerant_until is None:
            return False
        if self._tolerant_until.covers(position):
            return True
        _require_passed(self._tolerant_until, position)
        return False

    def _seal(self) -> None:
        if self._open is not None:
            self._sealed.append(self._open)
            self._open = None
            self._ripe.set()

    def _held_at(self, position: Position) -> Collection[TableName]:
        """The tables whose snapshot holds what was committed at `position`.

        Asked in the order of commits: a floor that was passed is forgotten, and what is read out of the spill later
        must go by what was true at its commit (I4).
        """
        if self._floors:
            kept = {name: floor for name, floor in self._floors.items() if floor.covers(position)}
            for name in self._floors.keys() - kept.keys():
                _require_passed(self._floors[name], position)
            self._floors = kept
        return self._floors

    def _wanted(self, changes: list[RowChange], held: Collection[TableName]) -> list[RowChange]:
        """Without changes of tables that left, and those that the snapshot of their table already holds."""
        if self._only is not None:
            changes = [change for change in changes if change[1].table in self._only or change[0] == DDL]
        if not held:
            return changes
        return [change for change in changes if change[1].table not in held]


def _require_passed(snapshot: Position, position: Position) -> None:
    """What a snapshot holds comes before what it does not hold, in the order of the server that it was taken on.

    Another server may have committed the same transactions in another order.  There, what the target has from the
    snapshot already would come again behind it, and be taken for new (I4, I5).

    Raises:
        SetupError: it does; nothing of what follows was handed on.
    """
    if not position.covers(snapshot):
        raise SetupError(
            "the source's log has another order of commits than the server that the rows were copied from:"
            f" {position} comes before all of {snapshot} has come",
            side=Side.SOURCE,
            remedy="Let the job read from the server that it copied from until it has caught up, or end the job and"
            " start a new full copy; on replicas, replica_preserve_commit_order keeps the order.",
        )


def _is_work(item: Batch | _Streamed) -> bool:
    return isinstance(item, _Streamed) or item.transactions > 0


def payload_bytes(batch: Batch) -> int:
    """What the source sent for the batch, without our own overheads."""
    return max(0, batch.size_bytes - CHANGE_OVERHEAD_BYTES * len(batch.changes))

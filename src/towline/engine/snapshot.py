"""The full copy: chunks in parallel, resumable at the last finished chunk.

Theory of operation
-------------------
The first ("base") snapshot S1 has a position L1; the source keeps all later changes for the stream.  Workers take
groups of chunks from one queue.  Each worker owns one reader (a session of the source inside the snapshot) and
one writer (a session of the target).  A group's rows and its ledger rows commit in one target transaction, so
the ledger is exact after SIGKILL at any instant.

The snapshot dies with its sessions.  The rest is then read under a later snapshot Sk with position Lk.  Chunks are
ranges of pages, and an updated row may move to another page, so for a keyed table with finished chunks F:

* the remaining page ranges are read without rows written since the table's first snapshot: such a row version lay in
  the same page then, so it is in no chunk of F;
* one extra chunk of kind 'changed' holds every row of the table written since, wherever it lies, and replaces
  its older version on the target by key.

Rows of F that were deleted since, and stale versions of rows whose key changed, are put right by the stream: it starts
at L1 and is applied tolerantly (upserts, missing rows are no error) up to the newest Lk.  A row alive at Lk is
on the target either unchanged since its chunk was read, or through 'changed'; so an update in that window which
keeps the key and finds no row belongs to a row that dies within the window, and nothing is lost by skipping it.
An update that changes the key and does not send all values (unchanged TOAST) is different: the row under the old
key may be another one by then.  It makes the table start over under one snapshot (`TableMustStartOver`).
Until the stream covers Lk the job does not claim consistency; other unique indexes and foreign keys wait for it.

Where chunks are ranges of keys and the stream sends whole rows (MySQL), the theory is simpler.  A row stays in its
range for as long as it keeps its key, and a new key is a delete and an insert.  So the remaining ranges are read whole
under Sk, with no filter and no 'changed' chunk, and the stream is applied tolerantly from L1: on a row of F every
change does what it says; on a row read at Sk the changes up to Lk set it back and bring it forward again, and the
last one leaves it as it was at Lk, or deletes it once more.  Both end with the row at Lk.

The stream skips the changes of a table up to the position of the oldest snapshot that its chunks come from (its
floor).  A table whose chunks all come from one snapshot needs no more.  A table without a key, or without a log, cannot
be put right by the stream: it starts over.  So does a table that was rewritten (VACUUM FULL, TRUNCATE) since its chunks
were read.

Partitions that are one table on the target are tables of their own here, as no key is in two of them; but when one
starts over, all of them do, since the target's table is emptied as a whole.

Without a stream (full copy only) nothing could put deleted rows right: the copy goes on only if no transaction
at all wrote to the source in between; otherwise every table starts over.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from towline.domain.errors import InvariantBroken
from towline.domain.tables import Table, TableName
from towline.engine.chunking import Work, WorkQueue, chunk_bytes, plan_chunks, plan_groups, spread
from towline.engine.ports import (
    Chunk,
    ChunkDone,
    ChunkReader,
    ChunkWriter,
    CopyFacts,
    CopyTarget,
    Snapshot,
    SnapshotFact,
    TablePlan,
)
from towline.engine.progress import CopyFigures


@dataclass(frozen=True, slots=True)
class CopyPlan:
    """What is left to copy under one snapshot."""

    work: tuple[Work, ...]
    changed_since: Mapping[TableName, SnapshotFact]  # tables whose chunks come from several snapshots
    start_over: tuple[TableName, ...]


def plan_copy(
    tables: Sequence[Table],
    plans: Mapping[TableName, TablePlan],
    done: Sequence[ChunkDone],
    snapshots: Sequence[SnapshotFact],
    *,
    current: int,
    can_replay: bool,
) -> CopyPlan:
    """Decide what to read under snapshot `current`. Pure.

    `can_replay` is False for a job without a stream whose source was written to since an earlier snapshot.
    """
    by_number = {snapshot.number: snapshot for snapshot in snapshots}
    finished: dict[TableName, list[ChunkDone]] = defaultdict(list)
    for entry in done:
        finished[entry.chunk.table].append(entry)

    work: list[Work] = []
    changed_since: dict[TableName, SnapshotFact] = {}
    start_over: list[TableName] = []
    for table in tables:
        plan = plans[table.name]
        mine = finished.get(table.name, [])
        numbers = {entry.chunk.number for entry in mine if entry.chunk.kind == "pages"}
        planned = as_planned(table, plan)
        chunks = plan_chunks(planned, plan.chunk_pages, plan.bounds)
        remaining = [chunk for chunk in chunks if chunk.number not in numbers]
        used = {entry.snapshot_number for entry in mine}
        is_mixed = bool(remaining) and bool(used - {current})
        was_rewritten = bool(remaining) and bool(mine) and plan.storage_id != table.storage_id
        if was_rewritten or (is_mixed and not (table.key and table.is_logged)) or (used - {current} and not can_replay):
            start_over.append(table.name)
            continue
        if is_mixed and not plan.bounds:
            base = min(used)
            changed_since[table.name] = by_number[base]
            if not any(e.chunk.kind == "changed" and e.snapshot_number == current for e in mine):
                # I4: it replaces older versions only. First, so that no page of this snapshot is there without it.
                work.append((table, Chunk(table.name, current, 0, None, kind="changed")))
        elif mine and remaining and not plan.bounds and base_of(mine) != current:
            raise InvariantBroken(f"{table.name}: chunks of snapshot {base_of(mine)} under snapshot {current}")
        work.extend((planned, chunk) for chunk in (spread(remaining) if plan.bounds else remaining))
    again = with_siblings(start_over, tables)
    return CopyPlan(
        tuple(entry for entry in work if entry[0].name not in again),
        {name: since for name, since in changed_since.items() if name not in again},
        tuple(table.name for table in tables if table.name in again),
    )


def with_siblings(names: Collection[TableName], tables: Sequence[Table]) -> frozenset[TableName]:
    """The names with those of tables that lie in the same table of the target: it is emptied as a whole. Pure."""
    homes = {table.home for table in tables if table.home is not None and table.name in names}
    return frozenset(names) | {table.name for table in tables if table.home in homes}


def base_of(done: Sequence[ChunkDone]) -> int:
    return min(entry.snapshot_number for entry in done)


def used_snapshots(facts: CopyFacts) -> int:
    """How many snapshots the chunks on the target come from."""
    return len({entry.snapshot_number for entry in facts.done})


def as_planned(table: Table, plan: TablePlan) -> Table:
    """The table with the sizes it had when it was cut, so that it is cut the same way again."""
    return replace(table, pages=plan.pages, size_bytes=plan.size_bytes, estimated_rows=plan.estimated_rows)


def choose_replay(facts: CopyFacts) -> tuple[str, str]:
    """Where the stream begins and up to where it is tolerant: oldest and newest position of the chunks. Pure.

    The same twice when all chunks come from one snapshot: then every change is applied strictly.
    """
    position = {snapshot.number: snapshot.position for snapshot in facts.snapshots}
    used = {entry.snapshot_number for entry in facts.done} or {facts.snapshots[-1].number}
    return position[min(used)], position[max(used)]


def choose_floors(facts: CopyFacts) -> dict[TableName, str]:
    """For every table with chunks: the position of the oldest snapshot that they come from. Pure."""
    position = {snapshot.number: snapshot.position for snapshot in facts.snapshots}
    return {name: position[min(used)] for name, used in _snapshots_by_table(facts).items()}


def choose_mixed(facts: CopyFacts) -> frozenset[TableName]:
    """The tables whose chunks come from several snapshots. Pure."""
    return frozenset(name for name, used in _snapshots_by_table(facts).items() if len(used) > 1)


def _snapshots_by_table(facts: CopyFacts) -> dict[TableName, set[int]]:
    used: dict[TableName, set[int]] = defaultdict(set)
    for entry in facts.done:
        used[entry.chunk.table].add(entry.snapshot_number)
    return used


async def run_copy(
    plan: CopyPlan,
    snapshot: Snapshot,
    target: CopyTarget,
    *,
    snapshot_number: int,
    workers: int,
    figures: CopyFigures,
    take_bytes: Callable[[int], Awaitable[None]],
    on_done: Callable[[ChunkDone], None],
    should_stop: Callable[[], bool],
) -> bool:
    """Copy everything in `plan`; True when all of it is on the target, False when asked to stop.

    Groups committed before a failure stay done.

    Raises:
        ExceptionGroup: of what the failing workers raised.
    """
    copier = _Copier(plan, snapshot, target, snapshot_number, figures, take_bytes, on_done, should_stop)
    # Changed rows go one table a transaction, before the pages of any table.
    await copier.work_off([[entry] for entry in plan.work if entry[1].kind == "changed"], workers)
    await copier.work_off(plan_groups([entry for entry in plan.work if entry[1].kind != "changed"]), workers)
    return not should_stop()


@dataclass
class _Copier:
    """The workers of one copy and the queue that they share."""

    plan: CopyPlan
    snapshot: Snapshot
    target: CopyTarget
    snapshot_number: int
    figures: CopyFigures
    take_bytes: Callable[[int], Awaitable[None]]
    on_done: Callable[[ChunkDone], None]
    should_stop: Callable[[], bool]

    async def work_off(self, groups: list[list[Work]], workers: int) -> None:
        if not groups or self.should_stop():
            return
        queue = WorkQueue(groups)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(workers, len(groups))):
                tasks.create_task(self._worker(queue))

    async def _worker(self, queue: WorkQueue) -> None:
        reader = await self.snapshot.open_reader()
        try:
            writer = await self.target.open_writer()
            try:
                while not self.should_stop() and (group := queue.take()) is not None:
                    await self._copy_group(group, reader, writer)
                    queue.finish(group)
            finally:
                await writer.close()
        finally:
            await reader.close()

    async def _copy_group(self, group: list[Work], reader: ChunkReader, writer: ChunkWriter) -> None:
        weights = {chunk: chunk_bytes(table, chunk) for table, chunk in group}
        for chunk, weight in weights.items():
            self.figures.begin_chunk(chunk.table, weight)
        try:
            done = await writer.write(
                group,
                reader,
                snapshot_number=self.snapshot_number,
                changed_since=self.plan.changed_since,
                on_bytes=self._count,
            )
        except BaseException:
            for chunk, weight in weights.items():
                self.figures.abandon_chunk(chunk.table, weight)
            raise
        for entry in done:
            weight = weights[entry.chunk]
            self.figures.finish_chunk(
                entry.chunk.table, source_bytes=weight, rows=entry.rows, wire_bytes=entry.size_bytes
            )
            self.on_done(entry)

    async def _count(self, table: Table, size_bytes: int) -> None:
        self.figures.add_bytes(table.name, size_bytes)
        await self.take_bytes(size_bytes)

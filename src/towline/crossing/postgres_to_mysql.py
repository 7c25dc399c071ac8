"""A PostgreSQL source and a MySQL or MariaDB target, opened and taken over by one worker.

Schemas become databases of the same name.  The source side is that of PostgreSQL jobs: slot, publication, snapshots cut
by pages, positions in its log.  The target side is that of MySQL jobs: ledger, checkpoint and rows in one transaction.
Partitions of one table are one table on the target: source and ledger know the partitions, what writes goes by the
`NameMap` of `Partitions`.  Between the sides stand the forms of values (`to_mysql_values`) and the structure
(`to_mysql_structure`).  The slot is told of positions that are durable on the target only (I1); `engine/stream.py` sees
to that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from towline.adapters.mysql.applier import ApplierOptions, MyApplier
from towline.adapters.mysql.bookkeeping import remove_bookkeeping
from towline.adapters.mysql.connection import connect as connect_mysql
from towline.adapters.mysql.copy_target import MyCopyTarget
from towline.adapters.mysql.foreign_rows import Convert, ForeignRows
from towline.adapters.mysql.structure_target import MyStructureTarget
from towline.adapters.mysql.target_side import MyOwnership, MyTargetSide, take_over_target
from towline.adapters.postgres.connection import connect as connect_postgres
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.probe import PgProbe
from towline.adapters.postgres.slot_reader import PgSlotReader, StreamOptions
from towline.adapters.postgres.snapshot import PgChunkReader, PgCopySource, PgSnapshot
from towline.adapters.postgres.source_side import PgSourceSide, choose_feed, drop_feeds_after, look_at_source
from towline.crossing.to_mysql_catalog import read_homes, read_tables
from towline.crossing.to_mysql_checks import run_prechecks
from towline.crossing.to_mysql_structure import CrossStructureSource, find_homes
from towline.crossing.to_mysql_values import COPY_FORM, choose_converter, fit_block, select_value
from towline.domain.changes import Relation
from towline.domain.errors import Side, SnapshotLost, SourceChanged
from towline.domain.jobs import JobSpec
from towline.domain.prechecks import PrecheckItem
from towline.domain.tables import NameMap, ObjectSelection, Table, TableName, TableRename
from towline.engine.ports import Chunk, CopySource, Reporter, Sides, SnapshotFact, StreamSides


class CrossSides(PgSourceSide, MyTargetSide):
    """Implements `engine.ports.Sides`. Make it with `open_sides`."""

    def __init__(
        self,
        spec: JobSpec,
        owned: MyOwnership,
        *,
        feed: str,
        work_dir: Path,
        source_version: int,
        partitions: Partitions,
    ) -> None:
        epoch = owned.epoch
        PgSourceSide.__init__(self, spec, feed=feed)
        MyTargetSide.__init__(
            self,
            spec,
            owned=owned,
            structure_target=MyStructureTarget(spec.target, job_id=spec.job_id, epoch=epoch),
            copy_target=MyCopyTarget(
                spec.target,
                job_id=spec.job_id,
                epoch=epoch,
                policy=spec.conflict_policy,
                form=COPY_FORM,
                selection=spec.selection,
                names=partitions.names,
            ),
        )
        self._work_dir = work_dir
        self._source_version = source_version
        self._names = partitions.names
        self.structure_source = CrossStructureSource(
            spec.source, job_id=spec.job_id, target=owned.session.flavor, conversion=spec.conversion
        )
        self.copy_source = cast(
            CopySource, _CrossCopySource(spec, feed=feed, server_version=source_version, partitions=partitions)
        )

    def open_stream(self, tables: Sequence[Table], *, mixed: frozenset[TableName]) -> StreamSides:
        sides = _CrossStreamSides(
            self._spec,
            [table for table in tables if table.is_logged],
            epoch=self.epoch,
            feed=self._feed,
            source_version=self._source_version,
            spill_dir=self._work_dir / self._feed,
            mixed=mixed,
            names=self._names,
        )
        # Its positions are all `Lsn`: the engine gives back only positions that came from this side.
        return cast(StreamSides, sides)


async def open_sides(spec: JobSpec, *, epoch: int | None, work_dir: Path) -> CrossSides:
    """Connect to both servers and make this worker the job's only writer.

    Raises:
        ConnectionRefused, ServerUnreachable: one of the servers cannot be reached.
        LeaseLost: another worker owns the job.
    """
    source = await look_at_source(spec)
    owned = await take_over_target(spec, epoch=epoch, source_identity=source.identity)
    try:
        feed = await choose_feed(spec, epoch=owned.epoch, feed_epoch=owned.feed_epoch)
        partitions = await _find_partitions(spec, owned.epoch)
    except BaseException:
        owned.session.terminate()
        raise
    return CrossSides(
        spec,
        owned,
        feed=feed,
        work_dir=work_dir,
        source_version=source.version,
        partitions=partitions,
    )


@dataclass(frozen=True, slots=True)
class Partitions:
    """`homes`: for partitions that are one table on the target, that table.

    `made`: all tables that the target has been given; None when there are none yet.
    """

    homes: Mapping[TableName, TableName]
    made: frozenset[TableName] | None = None

    @property
    def names(self) -> NameMap:
        """What the job's tables are called on the target."""
        return NameMap(tables=tuple(TableRename(leaf, home) for leaf, home in self.homes.items()))

    def place(self, tables: Sequence[Table], selection: ObjectSelection) -> list[Table]:
        """The same with `home` as the target has it: a partition may have been made a table of its own.

        `selection`: what the tables were read for; partitions of others may have left the job.

        Raises SourceChanged: a partition came or went, so rows of it would be missing on the target, or stay there.

        SnapshotLost: nothing was made yet, so the next attempt goes by what there is now.
        """
        placed = [
            table if self.made is None or table.home in self.made else replace(table, home=None) for table in tables
        ]
        homes = {table.name: table.home for table in placed if table.home is not None}
        known = {leaf: home for leaf, home in self.homes.items() if selection.covers(home)}
        changed = sorted(leaf for leaf in {*homes, *known} if homes.get(leaf) != known.get(leaf))
        if not changed:
            return placed
        if self.made is None:
            raise SnapshotLost(f"{changed[0]} came or went as a partition while the job began", side=Side.SOURCE)
        verb = "became" if changed[0] in homes else "is no longer"
        raise SourceChanged(
            f"{changed[0]} {verb} a partition on the source after the job began; the target's table does not follow",
            side=Side.SOURCE,
            remedy="End the job and start a new one; create and drop partitions before a job or after the switch-over.",
        )


async def _find_partitions(spec: JobSpec, epoch: int) -> Partitions:
    target = MyStructureTarget(spec.target, job_id=spec.job_id, epoch=epoch)
    try:
        items, _ = await target.load_structure()
    finally:
        await target.close()
    if items:
        made = frozenset(item.table for item in items if item.kind == "TABLE" and item.table is not None)
        return Partitions(find_homes(items), made)
    connection = await connect_postgres(spec.source, purpose=f"{spec.job_id}:partitions", side=Side.SOURCE)
    try:
        with translated(Side.SOURCE, what="reading the partitions"):
            return Partitions(await read_homes(connection, spec.selection))
    finally:
        connection.terminate()


async def remove_traces(spec: JobSpec) -> None:
    """Drop slot and publication on the source and the job's bookkeeping on the target; safe to repeat.

    Raises:
        TowlineError: what went wrong; call again to remove the rest.
    """
    await drop_feeds_after(_forget_job(spec), spec)


async def _forget_job(spec: JobSpec) -> None:
    session = await connect_mysql(spec.target, purpose="end", side=Side.TARGET)
    try:
        await remove_bookkeeping(session, spec.job_id)
    finally:
        session.terminate()


class PostgresToMysql:
    """What `bootstrap` offers for this pair of families."""

    async def open_sides(self, spec: JobSpec, *, epoch: int | None, work_dir: Path) -> Sides:
        return await open_sides(spec, epoch=epoch, work_dir=work_dir)

    async def remove_traces(self, spec: JobSpec, *, reporter: Reporter, by_force: bool = False) -> None:
        await remove_traces(spec)

    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]:
        return await run_prechecks(spec)

    async def check_joining(self, spec: JobSpec) -> list[PrecheckItem]:
        return []  # nothing can, see `domain.jobs.takes_objects_in`


# --- copy -------------------------------------------------------------------------------------------


class _CrossCopySource(PgCopySource):
    """A PostgreSQL source whose chunk readers write what LOAD DATA reads."""

    def __init__(self, spec: JobSpec, *, feed: str, server_version: int, partitions: Partitions) -> None:
        super().__init__(
            spec.source,
            job_id=spec.job_id,
            feed=feed,
            server_version=server_version,
            render_column=select_value,
            edit=spec.edit,
        )
        self._conversion = spec.conversion
        self._partitions = partitions

    async def read_tables(self, selection: ObjectSelection) -> list[Table]:
        """Raises SourceChanged, SnapshotLost: partitions came or went."""
        async with self._session("catalog") as connection:
            tables = await read_tables(connection, selection, self._conversion)
        return self._partitions.place(tables, selection)

    async def open_base_snapshot(self, tables: Sequence[Table], *, follow: bool) -> PgSnapshot:
        return cast(PgSnapshot, _CrossSnapshot(await super().open_base_snapshot(tables, follow=follow)))

    async def open_later_snapshot(self, tables: Sequence[Table], *, follow: bool) -> PgSnapshot:
        return cast(PgSnapshot, _CrossSnapshot(await super().open_later_snapshot(tables, follow=follow)))


class _CrossSnapshot:
    def __init__(self, snapshot: PgSnapshot) -> None:
        self._snapshot = snapshot
        self.position = snapshot.position
        self.text = snapshot.text

    def shows_same_rows_as(self, text: str) -> bool:
        return self._snapshot.shows_same_rows_as(text)

    async def open_reader(self) -> _CrossReader:
        return _CrossReader(await self._snapshot.open_reader())

    async def close(self) -> None:
        await self._snapshot.close()


class _CrossReader:
    """Blocks of whole rows, as `COPY_FORM` describes them."""

    def __init__(self, reader: PgChunkReader) -> None:
        self._reader = reader

    async def read(self, table: Table, chunk: Chunk, *, changed_since: SnapshotFact | None) -> AsyncIterator[bytes]:
        async for block in self._reader.read(table, chunk, changed_since=changed_since):
            yield fit_block(block)

    async def read_key(self, table: Table, chunk: Chunk, *, row_number: int) -> str:
        return await self._reader.read_key(table, chunk, row_number=row_number)

    async def close(self) -> None:
        await self._reader.close()


# --- stream -----------------------------------------------------------------------------------------


class _CrossStreamSides:
    """Implements `engine.ports.StreamSides`."""

    def __init__(
        self,
        spec: JobSpec,
        tables: Sequence[Table],
        *,
        epoch: int,
        feed: str,
        source_version: int,
        spill_dir: Path,
        mixed: frozenset[TableName],
        names: NameMap,
    ) -> None:
        self._names = names
        self.spill_dir = spill_dir
        self.memory_bytes = spec.stream_memory_bytes
        self._spec = spec
        self._tables = tables
        self._epoch = epoch
        self._rows = ForeignRows(_Converters(tables).of, mixed)
        self._options = StreamOptions(
            slot=feed,
            publication=feed,
            server_version=source_version,
            is_binary=False,  # values are for another product: its own text is what both sides read
            part_bytes=self.memory_bytes // 8,
            large_rows_dir=spill_dir,
        )

    def new_changes(self) -> PgSlotReader:
        return PgSlotReader(self._spec.source, job_id=self._spec.job_id, options=self._options, tables=self._tables)

    def new_applier(self) -> MyApplier:
        options = ApplierOptions(
            self._spec.job_id, self._epoch, self._spec.conflict_policy, Lsn.parse, self._rows, self._names
        )
        return MyApplier(self._spec.target, options)

    def new_probe(self) -> PgProbe:
        heartbeat = self._spec.writes_heartbeat
        return PgProbe(self._spec.source, job_id=self._spec.job_id, writes_heartbeat=heartbeat)


class _Converters:
    """Chosen by the types that the columns had when the run began."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = {table.name: table for table in tables}

    def of(self, relation: Relation) -> Mapping[str, Convert]:
        """Raises SourceChanged when the source has a column that was not there."""
        table = self._tables.get(relation.table)
        columns = {column.name: column for column in table.columns} if table else {}
        unknown = [name for name in relation.columns if name not in columns]
        if unknown:
            raise SourceChanged(f"{relation.table} has a new column {unknown[0]}", side=Side.SOURCE)
        found = {name: choose_converter(relation.table, columns[name]) for name in relation.columns}
        return {name: convert for name, convert in found.items() if convert is not None}

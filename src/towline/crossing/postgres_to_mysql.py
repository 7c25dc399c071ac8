"""A PostgreSQL source and a MySQL or MariaDB target, opened and taken over by one worker.

Schemas become databases of the same name.  The source side is that of PostgreSQL jobs: slot, publication, snapshots cut
by pages, positions in its log.  The target side is that of MySQL jobs: ledger, checkpoint and rows in one transaction.
Between them stand the forms of values (`to_mysql_values`) and the structure (`to_mysql_structure`).  The slot is told
of positions that are durable on the target only (I1); `engine/stream.py` sees to that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from towline.adapters.mysql.applier import ApplierOptions, MyApplier
from towline.adapters.mysql.bookkeeping import (
    ensure_bookkeeping,
    hold_name,
    read_feed_epoch,
    remove_bookkeeping,
    take_over,
)
from towline.adapters.mysql.connection import connect as connect_mysql
from towline.adapters.mysql.copy_target import MyCopyTarget
from towline.adapters.mysql.diagnosis import MyTargetDiagnosis
from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.foreign_rows import Convert, ForeignRows
from towline.adapters.mysql.session import Session
from towline.adapters.postgres import slots
from towline.adapters.postgres.catalog import read_identity
from towline.adapters.postgres.connection import connect as connect_postgres
from towline.adapters.postgres.diagnosis import PgSourceDiagnosis
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.probe import PgProbe, read_current_position
from towline.adapters.postgres.slot_reader import PgSlotReader, StreamOptions
from towline.adapters.postgres.snapshot import PgChunkReader, PgCopySource, PgSnapshot
from towline.crossing.to_mysql_catalog import read_tables
from towline.crossing.to_mysql_checks import run_prechecks
from towline.crossing.to_mysql_structure import CrossStructureSource, CrossStructureTarget
from towline.crossing.to_mysql_values import COPY_FORM, choose_converter, fit_block, select_value
from towline.domain.changes import Relation
from towline.domain.errors import Side, SourceChanged, TowlineError
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.prechecks import PrecheckItem
from towline.domain.tables import ObjectSelection, Table, TableName
from towline.engine.ports import Chunk, CopySource, Sides, SnapshotFact, StreamSides


class CrossSides:
    """Implements `engine.ports.Sides`. Make it with `open_sides`."""

    def __init__(
        self,
        spec: JobSpec,
        *,
        epoch: int,
        feed: str,
        work_dir: Path,
        source_version: int,
        target: Flavor,
        owner: Session,
    ) -> None:
        self._spec = spec
        self._epoch = epoch
        self._work_dir = work_dir
        self._source_version = source_version
        self._feed = feed
        self._owner = owner
        self.structure_source = CrossStructureSource(
            spec.source, job_id=spec.job_id, target=target, conversion=spec.conversion
        )
        self.structure_target = CrossStructureTarget(spec.target, job_id=spec.job_id, epoch=epoch)
        self.copy_source = cast(CopySource, _CrossCopySource(spec, feed=feed, server_version=source_version))
        self.copy_target = MyCopyTarget(
            spec.target,
            job_id=spec.job_id,
            epoch=epoch,
            policy=spec.conflict_policy,
            form=COPY_FORM,
            selection=spec.selection,
        )

    async def read_source_position(self) -> Lsn:
        connection = await connect_postgres(
            self._spec.source, purpose=f"{self._spec.job_id}:position", side=Side.SOURCE
        )
        try:
            with translated(Side.SOURCE, what="reading the position"):
                return await read_current_position(connection)
        finally:
            connection.terminate()

    def parse_position(self, text: str) -> Lsn:
        return Lsn.parse(text)

    def open_stream(self, tables: Sequence[Table], *, mixed: frozenset[TableName]) -> StreamSides:
        sides = _CrossStreamSides(
            self._spec,
            [table for table in tables if table.is_logged],
            epoch=self._epoch,
            feed=self._feed,
            source_version=self._source_version,
            spill_dir=self._work_dir / self._feed,
            mixed=mixed,
        )
        # Its positions are all `Lsn`: the engine gives back only positions that came from this side.
        return cast(StreamSides, sides)

    def new_source_diagnosis(self) -> PgSourceDiagnosis:
        return PgSourceDiagnosis(self._spec.source, job_id=self._spec.job_id, slot=self._feed)

    def new_target_diagnosis(self) -> MyTargetDiagnosis:
        return MyTargetDiagnosis(self._spec.target, job_id=self._spec.job_id)

    async def close(self) -> None:
        await self.copy_target.close()
        await self.structure_target.close()
        self._owner.terminate()


async def open_sides(spec: JobSpec, *, epoch: int | None, work_dir: Path) -> CrossSides:
    """Connect to both servers and make this worker the job's only writer.

    Raises:
        ConnectionRefused, ServerUnreachable: one of the servers cannot be reached.
        LeaseLost: another worker owns the job.
    """
    source = await connect_postgres(spec.source, purpose=f"{spec.job_id}:identity", side=Side.SOURCE)
    try:
        with translated(Side.SOURCE, what="reading the server's identity"):
            identity = await read_identity(source)
            version = int(await source.fetchval("SELECT current_setting('server_version_num')"))
    finally:
        source.terminate()
    target = await connect_mysql(spec.target, purpose=f"{spec.job_id}:owner", side=Side.TARGET)
    try:
        await ensure_bookkeeping(target)
        mine = await take_over(target, spec.job_id, epoch=epoch, source_identity=identity)
        await hold_name(target, spec.job_id)
        feed = slots.feed_name(spec.job_id, await read_feed_epoch(target, spec.job_id) or mine)
        if mine > 1 and spec.mode is not TaskMode.FULL:
            # An earlier worker may have died between making a feed and remembering it.
            await slots.drop_feeds(spec.source, spec.job_id, keep=feed, below=mine)
    except BaseException:
        target.terminate()
        raise
    return CrossSides(
        spec,
        epoch=mine,
        feed=feed,
        work_dir=work_dir,
        source_version=version,
        target=target.flavor,
        owner=target,
    )


async def remove_traces(spec: JobSpec) -> None:
    """Drop slot and publication on the source and the job's bookkeeping on the target; safe to repeat.

    The target goes first: a worker that still runs loses its epoch there before its slot goes.  A side that cannot
    be cleaned does not keep the other one from it: a slot that is left behind fills the source's disk.

    Raises:
        TowlineError: what went wrong; call again to remove the rest.
    """
    failure: TowlineError | None = None
    try:
        session = await connect_mysql(spec.target, purpose="end", side=Side.TARGET)
        try:
            await remove_bookkeeping(session, spec.job_id)
        finally:
            session.terminate()
    except TowlineError as error:
        failure = error
    await slots.drop_feeds(spec.source, spec.job_id)
    if failure is not None:
        raise failure


class PostgresToMysql:
    """What `bootstrap` offers for this pair of families."""

    async def open_sides(self, spec: JobSpec, *, epoch: int | None, work_dir: Path) -> Sides:
        return await open_sides(spec, epoch=epoch, work_dir=work_dir)

    async def remove_traces(self, spec: JobSpec) -> None:
        await remove_traces(spec)

    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]:
        return await run_prechecks(spec)


# --- copy -------------------------------------------------------------------------------------------


class _CrossCopySource(PgCopySource):
    """A PostgreSQL source whose chunk readers write what LOAD DATA reads."""

    def __init__(self, spec: JobSpec, *, feed: str, server_version: int) -> None:
        super().__init__(
            spec.source,
            job_id=spec.job_id,
            feed=feed,
            server_version=server_version,
            render_column=select_value,
            edit=spec.edit,
        )
        self._conversion = spec.conversion

    async def read_tables(self, selection: ObjectSelection) -> list[Table]:
        async with self._session("catalog") as connection:
            return await read_tables(connection, selection, self._conversion)

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
    ) -> None:
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
        options = ApplierOptions(self._spec.job_id, self._epoch, self._spec.conflict_policy, Lsn.parse, self._rows)
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

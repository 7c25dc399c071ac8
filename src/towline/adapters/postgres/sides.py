"""Both PostgreSQL databases of a job, opened and taken over by one worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from towline.adapters.postgres import slots
from towline.adapters.postgres.bookkeeping import (
    ensure_bookkeeping,
    read_feed_epoch,
    remove_bookkeeping,
    take_over,
)
from towline.adapters.postgres.catalog import read_identity
from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.copy_target import PgCopyTarget
from towline.adapters.postgres.diagnosis import PgSourceDiagnosis, PgTargetDiagnosis
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.probe import read_current_position
from towline.adapters.postgres.snapshot import PgCopySource
from towline.adapters.postgres.stream_sides import PgStreamSides
from towline.adapters.postgres.structure_source import PgStructureSource
from towline.adapters.postgres.structure_target import PgStructureTarget
from towline.domain.errors import Side, TowlineError
from towline.domain.jobs import Endpoint, JobSpec, TaskMode
from towline.domain.tables import Table, TableName
from towline.engine.ports import StreamSides


class PgSides:
    """Implements `engine.ports.Sides`. Make it with `open_sides`."""

    def __init__(self, spec: JobSpec, *, epoch: int, feed: str, work_dir: Path, source_version: int) -> None:
        """`feed`: the slot and publication that the job has, or that this worker would make."""
        self._spec = spec
        self._epoch = epoch
        self._work_dir = work_dir
        self._source_version = source_version
        self._feed = feed
        self.structure_source = PgStructureSource(spec.source, job_id=spec.job_id)
        names = spec.selection.names
        self.structure_target = PgStructureTarget(spec.target, job_id=spec.job_id, epoch=epoch, names=names)
        self.copy_source = PgCopySource(
            spec.source, job_id=spec.job_id, feed=feed, server_version=source_version, edit=spec.edit
        )
        self.copy_target = PgCopyTarget(spec.target, job_id=spec.job_id, epoch=epoch, names=names)

    async def read_source_position(self) -> Lsn:
        connection = await connect(self._spec.source, purpose=f"{self._spec.job_id}:position", side=Side.SOURCE)
        try:
            with translated(Side.SOURCE, what="reading the position"):
                return await read_current_position(connection)
        finally:
            connection.terminate()

    def parse_position(self, text: str) -> Lsn:
        return Lsn.parse(text)

    def open_stream(self, tables: Sequence[Table], *, mixed: frozenset[TableName]) -> StreamSides:
        sides = PgStreamSides(
            self._spec,
            [table for table in tables if table.is_logged],
            epoch=self._epoch,
            slot=self._feed,
            publication=self._feed,
            source_version=self._source_version,
            spill_dir=self._work_dir / self._feed,
            mixed=mixed,
        )
        # Its positions are all `Lsn`: the engine gives back only positions that came from this side.
        return cast(StreamSides, sides)

    def new_source_diagnosis(self) -> PgSourceDiagnosis:
        return PgSourceDiagnosis(self._spec.source, job_id=self._spec.job_id, slot=self._feed)

    def new_target_diagnosis(self) -> PgTargetDiagnosis:
        return PgTargetDiagnosis(self._spec.target, job_id=self._spec.job_id)

    async def close(self) -> None:
        await self.copy_target.close()
        await self.structure_target.close()


async def open_sides(spec: JobSpec, *, epoch: int | None, work_dir: Path) -> PgSides:
    """Connect to both databases and make this worker the job's only writer.

    Raises:
        ConnectionRefused, ServerUnreachable: one of the databases cannot be reached.
        LeaseLost: another worker owns the job.
    """
    source = await connect(spec.source, purpose=f"{spec.job_id}:identity", side=Side.SOURCE)
    try:
        with translated(Side.SOURCE, what="reading the server's identity"):
            identity = await read_identity(source)
            version = int(await source.fetchval("SELECT current_setting('server_version_num')"))
    finally:
        source.terminate()
    target = await connect(spec.target, purpose=f"{spec.job_id}:take-over", side=Side.TARGET)
    try:
        with translated(Side.TARGET, what="taking the job over"):
            await ensure_bookkeeping(target)
            mine = await take_over(target, spec.job_id, epoch=epoch, source_identity=identity)
            feed = slots.feed_name(spec.job_id, await read_feed_epoch(target, spec.job_id) or mine)
    finally:
        target.terminate()
    if mine > 1 and spec.mode is not TaskMode.FULL:
        # An earlier worker may have died between making a feed and remembering it.
        await slots.drop_feeds(spec.source, spec.job_id, keep=feed, below=mine)
    return PgSides(spec, epoch=mine, feed=feed, work_dir=work_dir, source_version=version)


async def remove_traces(spec: JobSpec) -> None:
    """Drop slot and publication on the source and the job's bookkeeping on the target; safe to repeat.

    The target goes first: a worker that still runs loses its epoch there before its slot goes.  A side that cannot
    be cleaned does not keep the other one from it: a slot that is left behind fills the source's disk.

    Raises:
        TowlineError: what went wrong; call again to remove the rest.
    """
    failure: TowlineError | None = None
    try:
        await _forget(spec.target, spec.job_id)
    except TowlineError as error:
        failure = error
    await slots.drop_feeds(spec.source, spec.job_id)
    if failure is not None:
        raise failure


async def _forget(endpoint: Endpoint, job_id: str) -> None:
    connection = await connect(endpoint, purpose="end", side=Side.TARGET)
    try:
        with translated(Side.TARGET, what="removing the job's bookkeeping"):
            await remove_bookkeeping(connection, job_id)
    finally:
        connection.terminate()

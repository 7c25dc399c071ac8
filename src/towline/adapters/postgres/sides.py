"""Both PostgreSQL databases of a job, opened and taken over by one worker."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from towline.adapters.postgres import slots
from towline.adapters.postgres.bookkeeping import ensure_bookkeeping, remove_bookkeeping, take_over
from towline.adapters.postgres.catalog import read_identity
from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.copy_target import PgCopyTarget
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.probe import read_current_position
from towline.adapters.postgres.snapshot import PgCopySource
from towline.adapters.postgres.stream_sides import PgStreamSides
from towline.adapters.postgres.structure_source import PgStructureSource
from towline.adapters.postgres.structure_target import PgStructureTarget
from towline.domain.errors import Side, TowlineError
from towline.domain.jobs import Endpoint, JobSpec
from towline.domain.tables import Table, TableName
from towline.engine.ports import StreamSides


def slot_name(job_id: str) -> str:
    """The job's replication slot and publication: letters, digits and underscores only."""
    return "towline_" + re.sub(r"[^a-z0-9]", "_", job_id.lower())


class PgSides:
    """Implements `engine.ports.Sides`. Make it with `open_sides`."""

    def __init__(self, spec: JobSpec, *, epoch: int, work_dir: Path, source_version: int) -> None:
        self._spec = spec
        self._epoch = epoch
        self._work_dir = work_dir
        self._source_version = source_version
        name = slot_name(spec.job_id)
        self.structure_source = PgStructureSource(spec.source, job_id=spec.job_id)
        self.structure_target = PgStructureTarget(spec.target, job_id=spec.job_id, epoch=epoch)
        self.copy_source = PgCopySource(
            spec.source, job_id=spec.job_id, slot=name, publication=name, server_version=source_version
        )
        self.copy_target = PgCopyTarget(spec.target, job_id=spec.job_id, epoch=epoch)

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
        name = slot_name(self._spec.job_id)
        sides = PgStreamSides(
            self._spec,
            [table for table in tables if table.is_logged],
            epoch=self._epoch,
            slot=name,
            publication=name,
            source_version=self._source_version,
            spill_dir=self._work_dir / name,
            mixed=mixed,
        )
        # Its positions are all `Lsn`: the engine gives back only positions that came from this side.
        return cast(StreamSides, sides)

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
    finally:
        target.terminate()
    return PgSides(spec, epoch=mine, work_dir=work_dir, source_version=version)


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
    await _release(spec.source, slot_name(spec.job_id))
    if failure is not None:
        raise failure


async def _forget(endpoint: Endpoint, job_id: str) -> None:
    connection = await connect(endpoint, purpose="end", side=Side.TARGET)
    try:
        with translated(Side.TARGET, what="removing the job's bookkeeping"):
            await remove_bookkeeping(connection, job_id)
    finally:
        connection.terminate()


async def _release(endpoint: Endpoint, name: str) -> None:
    connection = await connect(endpoint, purpose="end", side=Side.SOURCE)
    try:
        with translated(Side.SOURCE, what="removing slot and publication"):
            await slots.drop_slot(endpoint, name)
            await slots.drop_publication(connection, name)
    finally:
        connection.terminate()

"""Both PostgreSQL databases of a job, opened and taken over by one worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from towline.adapters.postgres.copy_target import PgCopyTarget
from towline.adapters.postgres.snapshot import PgCopySource
from towline.adapters.postgres.source_side import PgSourceSide, choose_feed, drop_feeds_after, look_at_source
from towline.adapters.postgres.stream_sides import PgStreamSides
from towline.adapters.postgres.structure_source import PgStructureSource
from towline.adapters.postgres.structure_target import PgStructureTarget
from towline.adapters.postgres.target_side import PgTargetSide, forget_job, take_over_target
from towline.domain.jobs import JobSpec
from towline.domain.tables import Table, TableName
from towline.engine.ports import Reporter, StreamSides


class PgSides(PgSourceSide, PgTargetSide):
    """Implements `engine.ports.Sides`. Make it with `open_sides`."""

    def __init__(
        self, spec: JobSpec, *, epoch: int, feed: str, work_dir: Path, source_version: int, target_major: int
    ) -> None:
        names = spec.selection.names
        PgSourceSide.__init__(self, spec, feed=feed)
        PgTargetSide.__init__(
            self,
            spec,
            structure_target=PgStructureTarget(spec.target, job_id=spec.job_id, epoch=epoch, names=names),
            copy_target=PgCopyTarget(spec.target, job_id=spec.job_id, epoch=epoch, names=names),
        )
        self.epoch = epoch
        self._work_dir = work_dir
        self._source_version = source_version
        self.structure_source = PgStructureSource(spec.source, job_id=spec.job_id, target_major=target_major)
        self.copy_source = PgCopySource(
            spec.source, job_id=spec.job_id, feed=feed, server_version=source_version, edit=spec.edit
        )

    def open_stream(self, tables: Sequence[Table], *, mixed: frozenset[TableName]) -> StreamSides:
        sides = PgStreamSides(
            self._spec,
            [table for table in tables if table.is_logged],
            epoch=self.epoch,
            slot=self._feed,
            publication=self._feed,
            source_version=self._source_version,
            spill_dir=self._work_dir / self._feed,
            mixed=mixed,
        )
        # Its positions are all `Lsn`: the engine gives back only positions that came from this side.
        return cast(StreamSides, sides)


async def open_sides(spec: JobSpec, *, epoch: int | None, work_dir: Path) -> PgSides:
    """Connect to both databases and make this worker the job's only writer.

    Raises:
        ConnectionRefused, ServerUnreachable: one of the databases cannot be reached.
        LeaseLost: another worker owns the job.
    """
    source = await look_at_source(spec)
    owned = await take_over_target(spec, epoch=epoch, source_identity=source.identity)
    feed = await choose_feed(spec, epoch=owned.epoch, feed_epoch=owned.feed_epoch)
    return PgSides(
        spec,
        epoch=owned.epoch,
        feed=feed,
        work_dir=work_dir,
        source_version=source.version,
        target_major=owned.major,
    )


async def remove_traces(spec: JobSpec, *, reporter: Reporter, by_force: bool = False) -> None:
    """Drop slot and publication on the source and the job's bookkeeping on the target; safe to repeat.

    Raises:
        TowlineError: what went wrong; call again to remove the rest.
    """
    await drop_feeds_after(forget_job(spec), spec)

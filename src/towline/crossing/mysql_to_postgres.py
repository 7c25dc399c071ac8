"""MySQL and MariaDB to PostgreSQL: the source's adapter reads, and says everything in the target's own text.

A database becomes a schema of the same name.  The source converts values (see `adapters/mysql/postgres_types.py`), so
both meet in the form that COPY reads: the copy as whole blocks of it, the stream as packed rows of text.  Positions are
the source's; the target keeps them as text only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

from towline.adapters.mysql.binlog_reader import BinlogReader
from towline.adapters.mysql.gtid import parse_position
from towline.adapters.mysql.postgres_structure import MyStructureForPostgres
from towline.adapters.mysql.probe import MysqlProbe
from towline.adapters.mysql.snapshot import MyCopySource
from towline.adapters.mysql.source_side import MySourceSide, look_at_source
from towline.adapters.mysql.zero_dates import has_zero
from towline.adapters.postgres.applier import ApplierOptions, PgApplier
from towline.adapters.postgres.copy_target import PgCopyTarget
from towline.adapters.postgres.structure_target import PgStructureTarget
from towline.adapters.postgres.target_side import PgTargetSide, forget_job, take_over_target
from towline.crossing.kept_forms import TargetFormKeeper
from towline.crossing.mysql_to_postgres_checks import run_prechecks
from towline.crossing.mysql_to_postgres_ddl import run_source_ddl
from towline.domain.conversion import ZeroDates
from towline.domain.jobs import Endpoint, JobSpec, TaskMode
from towline.domain.positions import Position
from towline.domain.prechecks import PrecheckItem
from towline.domain.tables import Table, TableName
from towline.engine.ports import Checkpoint, Reporter, Sides, StreamSides


class MysqlToPostgres:
    """What `bootstrap` asks of a pair of families."""

    async def open_sides(self, spec: JobSpec, *, epoch: int | None, work_dir: Path) -> Sides:
        """Connect to both servers and make this worker the job's only writer.

        Raises:
            ConnectionRefused, ServerUnreachable: one of the servers cannot be reached.
            LeaseLost: another worker owns the job.
        """
        source = await look_at_source(spec)
        owned = await take_over_target(
            spec, epoch=epoch, source_identity=source.identity, find_obstacle=source.find_obstacle
        )
        sides = _Sides(spec, epoch=owned.epoch, work_dir=work_dir, is_mariadb=source.flavor.is_mariadb)
        # Its positions are all `BinlogPosition`: the engine gives back only positions that came from this side.
        return cast(Sides, sides)

    async def remove_traces(self, spec: JobSpec, *, reporter: Reporter, by_force: bool = False) -> None:
        """Drop the job's bookkeeping on the target; the source holds nothing. Safe to repeat."""
        await forget_job(spec)

    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]:
        return await run_prechecks(spec)

    async def check_joining(self, spec: JobSpec) -> list[PrecheckItem]:
        return []  # nothing can, see `domain.jobs.takes_objects_in`


class _Sides(MySourceSide, PgTargetSide):
    """Implements `engine.ports.Sides`."""

    def __init__(self, spec: JobSpec, *, epoch: int, work_dir: Path, is_mariadb: bool) -> None:
        MySourceSide.__init__(self, spec)
        PgTargetSide.__init__(
            self,
            spec,
            structure_target=PgStructureTarget(spec.target, job_id=spec.job_id, epoch=epoch),
            copy_target=PgCopyTarget(
                spec.target, job_id=spec.job_id, epoch=epoch, renews_tables=spec.mode is not TaskMode.FULL
            ),
        )
        self.epoch = epoch
        self._work_dir = work_dir
        self.structure_source = MyStructureForPostgres(spec.source, job_id=spec.job_id, conversion=spec.conversion)
        self.copy_source = MyCopySource(
            spec.source,
            job_id=spec.job_id,
            readers=spec.copy_workers,
            is_mariadb=is_mariadb,
            is_for_postgres=True,
            conversion=spec.conversion,
        )

    def open_stream(self, tables: Sequence[Table], *, mixed: frozenset[TableName]) -> StreamSides:
        # `mixed` needs nothing of its own: the binlog has whole rows, see `engine/snapshot.py`.
        spill_dir = self._work_dir / self._spec.job_id
        return cast(StreamSides, _StreamSides(self._spec, tables, epoch=self.epoch, spill_dir=spill_dir))


class _StreamSides:
    """Implements `engine.ports.StreamSides`."""

    def __init__(self, spec: JobSpec, tables: Sequence[Table], *, epoch: int, spill_dir: Path) -> None:
        """`spill_dir` must belong to this job alone."""
        self.spill_dir = spill_dir
        self.memory_bytes = spec.stream_memory_bytes
        self._spec = spec
        self._tables = tables
        self._epoch = epoch
        self._keeper = TargetFormKeeper(spec, [table.name for table in tables], epoch=epoch)

    def new_changes(self) -> BinlogReader:
        return BinlogReader(
            self._spec.source,
            job_id=self._spec.job_id,
            tables=self._tables,
            objects=self._spec.selection,
            part_bytes=self.memory_bytes // 8,
            keeper=self._keeper,
        )

    def new_applier(self) -> PgApplier:
        options = ApplierOptions(
            self._spec.job_id,
            self._epoch,
            self._spec.conflict_policy,
            is_binary=False,
            parse_position=parse_position,
            run_ddl=partial(run_source_ddl, job_id=self._spec.job_id),
            is_missing_date=has_zero if self._spec.conversion.zero_dates is ZeroDates.NULL else None,
        )
        return _Applier(self._spec.target, options, self._keeper)

    def new_probe(self) -> MysqlProbe:
        return MysqlProbe(self._spec.source, job_id=self._spec.job_id)


class _Applier(PgApplier):
    """Keeps the forms of the source's tables also when there is nothing to read yet."""

    def __init__(self, endpoint: Endpoint, options: ApplierOptions, keeper: TargetFormKeeper) -> None:
        super().__init__(endpoint, options)
        self._keeper = keeper

    async def open(self, start: Position) -> Checkpoint:
        checkpoint = await super().open(start)
        await self._keeper.read()
        return checkpoint

"""Both MySQL or MariaDB servers of a job, opened and taken over by one worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from towline.adapters.mysql.bookkeeping import fence_off, remove_bookkeeping
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.copy_target import MyCopyTarget
from towline.adapters.mysql.ending import bring_code
from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.snapshot import MyCopySource
from towline.adapters.mysql.source_side import MySourceSide, look_at_source
from towline.adapters.mysql.stream_sides import MyStreamSides
from towline.adapters.mysql.structure_source import MyStructureSource
from towline.adapters.mysql.structure_target import MyStructureTarget
from towline.adapters.mysql.target_side import MyOwnership, MyTargetSide, take_over_target
from towline.domain.errors import Side
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.tables import Table, TableName
from towline.engine.ports import Reporter, StreamSides


class MySides(MySourceSide, MyTargetSide):
    """Implements `engine.ports.Sides`. Make it with `open_sides`."""

    def __init__(self, spec: JobSpec, owned: MyOwnership, *, work_dir: Path, source: Flavor) -> None:
        follows, epoch, target = spec.mode is not TaskMode.FULL, owned.epoch, owned.session.flavor
        # The words of DDL are the same in both products, what they mean by default is not.
        self._carries_ddl = source.is_mariadb == target.is_mariadb
        MySourceSide.__init__(self, spec)
        MyTargetSide.__init__(
            self,
            spec,
            owned=owned,
            structure_target=MyStructureTarget(
                spec.target, job_id=spec.job_id, epoch=epoch, holds_triggers=follows, names=spec.selection.names
            ),
            copy_target=MyCopyTarget(
                spec.target,
                job_id=spec.job_id,
                epoch=epoch,
                policy=spec.conflict_policy,
                renews_tables=follows and self._carries_ddl,
                selection=spec.selection,
            ),
        )
        self._work_dir = work_dir
        self.structure_source = MyStructureSource(
            spec.source,
            job_id=spec.job_id,
            follows=follows,
            target=target,
            accounts=spec.accounts.names if spec.accounts is not None else (),
            replaces_owners=spec.replaces_owners,
        )
        self.copy_source = MyCopySource(
            spec.source, job_id=spec.job_id, readers=spec.copy_workers, is_mariadb=source.is_mariadb
        )

    def open_stream(self, tables: Sequence[Table], *, mixed: frozenset[TableName]) -> StreamSides:
        # `mixed` needs nothing of its own: the binlog has whole rows, see `engine/snapshot.py`.
        spill_dir = self._work_dir / self._spec.job_id
        sides = MyStreamSides(self._spec, tables, epoch=self.epoch, spill_dir=spill_dir, carries_ddl=self._carries_ddl)
        # Its positions are all `BinlogPosition`: the engine gives back only positions that came from this side.
        return cast(StreamSides, sides)


async def open_sides(spec: JobSpec, *, epoch: int | None, work_dir: Path) -> MySides:
    """Connect to both servers and make this worker the job's only writer.

    Raises:
        ConnectionRefused, ServerUnreachable: one of the servers cannot be reached.
        LeaseLost: another worker owns the job.
    """
    source = await look_at_source(spec)
    owned = await take_over_target(
        spec, epoch=epoch, source_identity=source.identity, find_obstacle=source.find_obstacle
    )
    return MySides(spec, owned, work_dir=work_dir, source=source.flavor)


async def remove_traces(spec: JobSpec, *, reporter: Reporter, by_force: bool = False) -> None:
    """Drop the job's bookkeeping on the target; the source holds nothing. Safe to repeat.

    Once the copy was complete, code is brought to what the source has now, see `ending`, and the reporter has all that
    there is to tell before it is forgotten.

    Raises:
        StructureFailed: the target refuses a trigger or an event; the bookkeeping stays.
        TransientError, SetupError: the source cannot be asked; the bookkeeping stays.
    """
    session = await connect(spec.target, purpose="end", side=Side.TARGET)
    try:
        epoch = await fence_off(session, spec.job_id)
        if epoch is not None:
            await reporter.restate(await bring_code(spec, session, epoch=epoch, by_force=by_force))
            await reporter.deliver()
        await remove_bookkeeping(session, spec.job_id)
    finally:
        session.terminate()

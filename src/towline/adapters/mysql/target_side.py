"""What a job with a MySQL or MariaDB target asks of that side, whatever its source is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from towline.adapters.mysql.bookkeeping import ensure_bookkeeping, hold_name, read_feed_epoch, take_over
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.copy_target import MyCopyTarget
from towline.adapters.mysql.diagnosis import MyTargetDiagnosis
from towline.adapters.mysql.session import Session
from towline.adapters.mysql.structure_target import MyStructureTarget
from towline.domain.errors import Side
from towline.domain.failover import FindObstacle, no_other_server
from towline.domain.jobs import JobSpec
from towline.domain.pace import TargetPace

# InnoDB builds all plain indexes of a table while it reads it once.
_MARIADB_PACE: Final = TargetPace(index_byte=0.8, log_byte=5.0)
_MYSQL_PACE: Final = TargetPace(index_byte=1.5, log_byte=10.0)


@dataclass(frozen=True, slots=True)
class MyOwnership:
    """`session` holds the job's name while this worker owns it; whoever has this ends it.

    `epoch`: this worker's; `feed_epoch`: of the worker that made the job's feed, None before one is remembered;
    `pace`: what the target is like.
    """

    session: Session
    epoch: int
    feed_epoch: int | None
    pace: TargetPace


class MyTargetSide:
    """The half of `engine.ports.Sides` that is the same for every source."""

    def __init__(
        self, spec: JobSpec, *, owned: MyOwnership, structure_target: MyStructureTarget, copy_target: MyCopyTarget
    ) -> None:
        """The session of `owned` is ended with the side."""
        self._target = spec.target
        self._job_id = spec.job_id
        self._owner = owned.session
        self.epoch = owned.epoch
        self.target_pace = owned.pace
        self.structure_target = structure_target
        self.copy_target = copy_target

    def new_target_diagnosis(self) -> MyTargetDiagnosis:
        return MyTargetDiagnosis(self._target, job_id=self._job_id)

    async def close(self) -> None:
        await self.copy_target.close()
        await self.structure_target.close()
        self._owner.terminate()


async def take_over_target(
    spec: JobSpec, *, epoch: int | None, source_identity: str, find_obstacle: FindObstacle = no_other_server
) -> MyOwnership:
    """Make this worker the job's only writer.

    Raises:
        ConnectionRefused, ServerUnreachable: the target cannot be reached.
        LeaseLost: another worker owns the job.
        SetupError: the source is another server than the job's, and `find_obstacle` says why that is none.
    """
    session = await connect(spec.target, purpose=f"{spec.job_id}:owner", side=Side.TARGET)
    try:
        await ensure_bookkeeping(session)
        mine = await take_over(
            session, spec.job_id, epoch=epoch, source_identity=source_identity, find_obstacle=find_obstacle
        )
        await hold_name(session, spec.job_id)
        return MyOwnership(
            session, mine, feed_epoch=await read_feed_epoch(session, spec.job_id), pace=await _read_pace(session)
        )
    except BaseException:
        session.terminate()
        raise


async def _read_pace(session: Session) -> TargetPace:
    usual = _MARIADB_PACE if session.flavor.is_mariadb else _MYSQL_PACE
    return replace(usual, cache_bytes=int(await session.query_value("SELECT @@innodb_buffer_pool_size")))

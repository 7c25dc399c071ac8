"""What a job with a PostgreSQL target asks of that side, whatever its source is."""

from __future__ import annotations

from dataclasses import dataclass

from towline.adapters.postgres.bookkeeping import ensure_bookkeeping, read_feed_epoch, remove_bookkeeping, take_over
from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.copy_target import PgCopyTarget
from towline.adapters.postgres.diagnosis import PgTargetDiagnosis
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.structure_target import PgStructureTarget
from towline.domain.errors import Side
from towline.domain.failover import FindObstacle, no_other_server
from towline.domain.jobs import JobSpec
from towline.domain.pace import USUAL_PACE


class PgTargetSide:
    """The half of `engine.ports.Sides` that is the same for every source."""

    target_pace = USUAL_PACE

    def __init__(self, spec: JobSpec, *, structure_target: PgStructureTarget, copy_target: PgCopyTarget) -> None:
        self._target = spec.target
        self._job_id = spec.job_id
        self.structure_target = structure_target
        self.copy_target = copy_target

    def new_target_diagnosis(self) -> PgTargetDiagnosis:
        return PgTargetDiagnosis(self._target, job_id=self._job_id)

    async def close(self) -> None:
        await self.copy_target.close()
        await self.structure_target.close()


@dataclass(frozen=True, slots=True)
class PgOwnership:
    """`epoch`: this worker's; `feed_epoch`: of the worker that made the job's feed, None before one is remembered.

    `major`: the target's version.
    """

    epoch: int
    feed_epoch: int | None
    major: int


async def take_over_target(
    spec: JobSpec, *, epoch: int | None, source_identity: str, find_obstacle: FindObstacle = no_other_server
) -> PgOwnership:
    """Make this worker the job's only writer.

    Raises:
        ConnectionRefused, ServerUnreachable: the target cannot be reached.
        LeaseLost: another worker owns the job.
        SetupError: the source is another server than the job's, and `find_obstacle` says why that is none.
    """
    connection = await connect(spec.target, purpose=f"{spec.job_id}:take-over", side=Side.TARGET)
    try:
        with translated(Side.TARGET, what="taking the job over"):
            await ensure_bookkeeping(connection)
            mine = await take_over(
                connection, spec.job_id, epoch=epoch, source_identity=source_identity, find_obstacle=find_obstacle
            )
            feed_epoch = await read_feed_epoch(connection, spec.job_id)
            return PgOwnership(mine, feed_epoch, connection.get_server_version().major)
    finally:
        connection.terminate()


async def forget_job(spec: JobSpec) -> None:
    """Drop the job's bookkeeping on the target; safe to repeat."""
    connection = await connect(spec.target, purpose="end", side=Side.TARGET)
    try:
        with translated(Side.TARGET, what="removing the job's bookkeeping"):
            await remove_bookkeeping(connection, spec.job_id)
    finally:
        connection.terminate()

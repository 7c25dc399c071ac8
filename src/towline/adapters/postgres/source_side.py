"""What a job with a PostgreSQL source asks of that side, whatever its target is."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

from towline.adapters.postgres import slots
from towline.adapters.postgres.catalog import read_identity
from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.diagnosis import PgSourceDiagnosis
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.probe import read_current_position
from towline.domain.errors import Side, TowlineError
from towline.domain.jobs import JobSpec, TaskMode


class PgSourceSide:
    """The half of `engine.ports.Sides` that is the same for every target."""

    def __init__(self, spec: JobSpec, *, feed: str) -> None:
        """`feed`: the slot and publication that the job has, or that this worker would make."""
        self._spec = spec
        self._feed = feed

    async def read_source_position(self) -> Lsn:
        connection = await connect(self._spec.source, purpose=f"{self._spec.job_id}:position", side=Side.SOURCE)
        try:
            with translated(Side.SOURCE, what="reading the position"):
                return await read_current_position(connection)
        finally:
            connection.terminate()

    def parse_position(self, text: str) -> Lsn:
        return Lsn.parse(text)

    def new_source_diagnosis(self) -> PgSourceDiagnosis:
        return PgSourceDiagnosis(self._spec.source, job_id=self._spec.job_id, slot=self._feed)


@dataclass(frozen=True, slots=True)
class PgServer:
    """`version`: as `server_version_num` has it, 160002 for 16.2."""

    identity: str
    version: int


async def look_at_source(spec: JobSpec) -> PgServer:
    """Raises: ConnectionRefused, ServerUnreachable."""
    connection = await connect(spec.source, purpose=f"{spec.job_id}:identity", side=Side.SOURCE)
    try:
        with translated(Side.SOURCE, what="reading the server's identity"):
            identity = await read_identity(connection)
            version = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
    finally:
        connection.terminate()
    return PgServer(identity, version)


async def choose_feed(spec: JobSpec, *, epoch: int, feed_epoch: int | None) -> str:
    """The feed of the job, which the worker with `feed_epoch` made, or that this owner would make; others go.

    An earlier worker may have died between making a feed and remembering it.
    """
    feed = slots.feed_name(spec.job_id, feed_epoch or epoch)
    if epoch > 1 and spec.mode is not TaskMode.FULL:
        await slots.drop_feeds(spec.source, spec.job_id, keep=feed, below=epoch)
    return feed


async def drop_feeds_after(forgetting: Awaitable[None], spec: JobSpec) -> None:
    """Remove the job from the target by `forgetting`, and then its slots and publications from the source.

    The target goes first: a worker that still runs loses its epoch there before its slot goes.  A side that cannot
    be cleaned does not keep the other one from it: a slot that is left behind fills the source's disk.

    Raises:
        TowlineError: what went wrong; call again to remove the rest.
    """
    failure: TowlineError | None = None
    try:
        await forgetting
    except TowlineError as error:
        failure = error
    await slots.drop_feeds(spec.source, spec.job_id)
    if failure is not None:
        raise failure

"""Leases, and everything that only the owner of a lease may write.

Theory of operation.  Any number of supervisors and workers share one store.  Who runs a job is said by its
row in `lease`: owner, epoch, end of validity.  `take_lease` is one conditional UPDATE, so of any number of
takers one wins, and the epoch grows with every owner.  Each write for a job first locks that row under the
condition "mine, this epoch, not run out" and commits in the same transaction; so a worker that was stalled
longer than its lease either finds the row changed or keeps the next owner waiting until it has committed
(I6).  The target database holds the epoch too, and fences the rows in the same manner.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from towline.domain.diagnosis import Diagnosis
from towline.domain.errors import JobNotFound, LeaseLost
from towline.domain.forecast import TrackRecord
from towline.domain.jobs import JobSpec, JobStatus, TaskMode
from towline.domain.nodes import NodeSample
from towline.domain.progress import Progress
from towline.service.ports import Clock, DecideJob, Job, JobEdit, Lease, Waiting
from towline.store import codec, tables
from towline.store.database import Database
from towline.store.jobs import add_events, edit_job
from towline.store.keyring import Keyring
from towline.store.progress import carry_facts, carry_forward

# COPIED is a resting place for a job that only copies.
_NEEDS_WORK = or_(
    tables.job.c.status.in_(
        [s.value for s in (JobStatus.STARTING, JobStatus.COPYING, JobStatus.STREAMING, JobStatus.ENDING)]
    ),
    and_(tables.job.c.status == JobStatus.COPIED.value, tables.job.c.mode != TaskMode.FULL.value),
)


class SqlWorkStore:
    """`service.ports.WorkStore` on SQLite and PostgreSQL."""

    def __init__(self, database: Database, keyring: Keyring, clock: Clock) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock

    # --- leases ---------------------------------------------------------------------------------

    async def start_due(self) -> list[str]:
        now_us = self._clock.now_us()
        statement = (
            update(tables.job)
            .where(tables.job.c.status == JobStatus.SCHEDULED.value, tables.job.c.scheduled_us <= now_us)
            .values(status=JobStatus.STARTING.value, updated_us=now_us, started_us=now_us)
            .returning(tables.job.c.job_id)
        )
        due = and_(tables.job.c.status == JobStatus.SCHEDULED.value, tables.job.c.scheduled_us <= now_us)
        async with self._database.reading() as connection:
            if (await connection.execute(select(tables.job.c.job_id).where(due).limit(1))).first() is None:
                return []
        async with self._database.writing() as connection:
            job_ids = list((await connection.execute(statement)).scalars())
            for job_id in job_ids:
                await add_events(connection, job_id, now_us, [("status", "scheduled -> starting")])
            return job_ids

    async def see_zone(self, name: str) -> None:
        seen_us = self._clock.now_us()
        try:
            async with self._database.writing() as connection:
                statement = update(tables.zone).where(tables.zone.c.name == name).values(seen_us=seen_us)
                if (await connection.execute(statement)).rowcount == 0:
                    await connection.execute(insert(tables.zone).values(name=name, seen_us=seen_us))
        except IntegrityError:
            pass  # another server of the zone was first

    async def find_waiting(self, *, limit: int, zone: str | None = None) -> list[Waiting]:
        query = (
            select(tables.job, tables.lease.c.epoch, tables.lease.c.crashes)
            .join(tables.lease, tables.lease.c.job_id == tables.job.c.job_id)
            .where(_NEEDS_WORK, self._is_free(), *([] if zone is None else [_may_run_in(zone)]))
            .order_by(tables.job.c.updated_us)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings()
            return [Waiting(codec.decode_job(row), row["epoch"], row["crashes"]) for row in rows]

    async def take_lease(self, job_id: str, owner: str, *, ttl_s: float) -> Lease | None:
        async with self._database.writing() as connection:
            # I6: one conditional UPDATE; whoever comes second finds the row no longer free.
            epoch = await connection.scalar(
                update(tables.lease)
                .where(tables.lease.c.job_id == job_id, self._is_free())
                .values(owner=owner, epoch=tables.lease.c.epoch + 1, expires_us=self._in_s(ttl_s))
                .returning(tables.lease.c.epoch)
            )
        return None if epoch is None else Lease(job_id, owner, epoch)

    async def renew_lease(self, lease: Lease, *, ttl_s: float) -> None:
        async with self._database.writing() as connection:
            renewed = await connection.execute(
                update(tables.lease)
                .where(self._is_held(lease), tables.lease.c.expires_us > self._now_us())
                .values(expires_us=self._in_s(ttl_s))
            )
            if renewed.rowcount != 1:
                raise _lost(lease)

    async def release_lease(self, lease: Lease, *, crash_delay_s: float | None = None) -> bool:
        values: dict[str, object] = {"owner": None, "expires_us": 0}
        if crash_delay_s is not None:
            values |= {"crashes": tables.lease.c.crashes + 1, "not_before_us": self._in_s(crash_delay_s)}
        async with self._database.writing() as connection:
            released = await connection.execute(update(tables.lease).where(self._is_held(lease)).values(**values))
            return bool(released.rowcount == 1)

    async def count_running(self, *, at_most: int) -> int:
        held = select(tables.lease.c.job_id).where(tables.lease.c.owner.is_not(None)).limit(at_most).subquery()
        async with self._database.reading() as connection:
            return await connection.scalar(select(func.count()).select_from(held)) or 0

    async def forgive_crashes(self, lease: Lease) -> None:
        async with self._database.writing() as connection:
            await connection.execute(
                update(tables.lease)
                .where(self._is_held(lease), tables.lease.c.crashes > 0)
                .values(crashes=0, not_before_us=0)
            )

    # --- the job of a lease -----------------------------------------------------------------------

    async def load_job(self, job_id: str) -> Job:
        async with self._database.reading() as connection:
            query = select(tables.job).where(tables.job.c.job_id == job_id)
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise JobNotFound(f"there is no job {job_id}")
        return codec.decode_job(row)

    async def load_spec(self, job_id: str) -> JobSpec:
        async with self._database.reading() as connection:
            query = select(tables.job).where(tables.job.c.job_id == job_id)
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise JobNotFound(f"there is no job {job_id}")
        return codec.decode_spec(row, self._keyring)

    async def load_last_progress(self, job_id: str) -> Progress | None:
        async with self._database.reading() as connection:
            query = select(tables.progress.c.body).where(tables.progress.c.job_id == job_id)
            body = await connection.scalar(query)
        return None if body is None else codec.decode_progress(body)

    async def edit(self, lease: Lease, decide: DecideJob) -> Job:
        async with self._database.writing() as connection:
            await self._require(connection, lease)
            return await self._edit(connection, lease, decide)

    async def load_track_record(self, job_id: str) -> TrackRecord:
        async with self._database.reading() as connection:
            query = select(tables.forecast.c.body).where(tables.forecast.c.job_id == job_id)
            body = await connection.scalar(query)
        return TrackRecord() if body is None else codec.decode_track(body)

    async def save_progress(
        self,
        lease: Lease,
        progress: Progress,
        *,
        decide: DecideJob | None = None,
        track: TrackRecord | None = None,
    ) -> Job:
        async with self._database.writing() as connection:
            await self._require(connection, lease)
            # The job before its progress: who changes the status from elsewhere comes to both in this order, too.
            job = await self._edit(connection, lease, decide or JobEdit)
            query = select(tables.progress.c.body).where(tables.progress.c.job_id == lease.job_id)
            body = await connection.scalar(query)
            known = None if body is None else codec.decode_progress(body)
            row = {
                "epoch": lease.epoch,
                "at_us": progress.at_us,
                "body": codec.encode_progress(carry_forward(known, progress)),
            }
            await connection.execute(self._database.upsert(tables.progress, lease.job_id, row))
            if progress.tables:
                row = {"at_us": progress.at_us, "body": codec.encode_text(progress.tables)}
                await connection.execute(self._database.upsert(tables.table_progress, lease.job_id, row))
            if progress.diagnosis is not None:
                seen = await self._carry_facts(connection, lease.job_id, progress.diagnosis)
                row = {"at_us": seen.at_us, "body": codec.encode_text(seen)}
                await connection.execute(self._database.upsert(tables.diagnosis, lease.job_id, row))
            if track is not None:
                row = codec.encode_track(track, at_us=progress.at_us)
                await connection.execute(self._database.upsert(tables.forecast, lease.job_id, row))
            return job

    async def _carry_facts(self, connection: AsyncConnection, job_id: str, seen: Diagnosis) -> Diagnosis:
        if seen.source is not None and seen.target is not None:
            return seen
        query = select(tables.diagnosis.c.body).where(tables.diagnosis.c.job_id == job_id)
        body = await connection.scalar(query)
        return carry_facts(None if body is None else codec.decode_text(body, Diagnosis), seen)

    async def _edit(self, connection: AsyncConnection, lease: Lease, decide: DecideJob) -> Job:
        return await edit_job(
            connection,
            lease.job_id,
            decide,
            database=self._database,
            keyring=self._keyring,
            clock=self._clock,
            project_id=None,
        )

    async def add_events(self, lease: Lease, kind: str, messages: Sequence[str]) -> None:
        async with self._database.writing() as connection:
            await self._require(connection, lease)
            events = [(kind, message) for message in messages]
            await add_events(connection, lease.job_id, self._clock.now_us(), events)

    async def load_messages(self, job_id: str, kind: str) -> list[str]:
        event = tables.event.c
        query = select(event.message).where(event.job_id == job_id, event.kind == kind).order_by(event.event_id)
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).scalars())

    async def save_sample(self, lease: Lease, sample: NodeSample) -> None:
        row = {"at_us": sample.at_us, "body": codec.encode_text(sample)}
        async with self._database.writing() as connection:
            await self._require(connection, lease)
            await connection.execute(self._database.upsert(tables.node_sample, lease.job_id, row))

    async def _require(self, connection: AsyncConnection, lease: Lease) -> None:
        """Hold the lease's row until the transaction ends. Raises LeaseLost."""
        # I6: nobody can take the lease between this check and the commit.
        query = self._database.locked(
            select(tables.lease.c.epoch).where(self._is_held(lease), tables.lease.c.expires_us > self._now_us())
        )
        if (await connection.execute(query)).first() is None:
            raise _lost(lease)

    def _now_us(self) -> ColumnElement[int]:
        return self._database.now_us(self._clock.now_us())

    def _in_s(self, seconds: float) -> ColumnElement[int]:
        return self._now_us() + int(seconds * 1_000_000)

    def _is_free(self) -> ColumnElement[bool]:
        lease = tables.lease.c
        return and_(
            or_(lease.owner.is_(None), lease.expires_us <= self._now_us()),
            lease.not_before_us <= self._now_us(),
        )

    def _is_held(self, lease: Lease) -> ColumnElement[bool]:
        columns = tables.lease.c
        return and_(columns.job_id == lease.job_id, columns.owner == lease.owner, columns.epoch == lease.epoch)


def _may_run_in(zone: str) -> ColumnElement[bool]:
    job = tables.job.c
    # A job that ends is anybody's: its zone may be gone for good.
    is_ending = job.status == JobStatus.ENDING.value
    return or_(job.zone.is_(None), job.zone == zone, job.standby_zone == zone, is_ending)


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"job {lease.job_id}: the lease with epoch {lease.epoch} is over")

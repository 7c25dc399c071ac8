"""Which messages and which lines of histories have left the server, and which server sends them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, delete, exists, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from towline.domain.jobs import JobStatus
from towline.service.ports import Clock, Job, JobProgress, LogLine
from towline.store import codec, tables
from towline.store.database import Database
from towline.store.jobs import HEALTH_COLUMNS, JOB_WITH_HEALTH

_GROUP = tables.job.c.attributes["lts", "log_group_id"].as_string()


class SqlOutsideStore:
    """`service.ports.OutsideStore` on SQLite and PostgreSQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def take_duty(self, name: str, owner: str, *, ttl_s: float) -> bool:
        duty = tables.duty
        now_us = self._database.now_us(self._clock.now_us())
        until_us = now_us + int(ttl_s * 1_000_000)
        try:
            async with self._database.writing() as connection:
                taken = await connection.execute(
                    update(duty)
                    .where(duty.c.name == name, or_(duty.c.owner == owner, duty.c.expires_us <= now_us))
                    .values(owner=owner, expires_us=until_us)
                )
                if taken.rowcount == 1:
                    return True
                known = (await connection.execute(select(duty.c.name).where(duty.c.name == name))).first()
                if known is not None:
                    return False
                await connection.execute(insert(duty).values(name=name, owner=owner, expires_us=until_us))
                return True
        except IntegrityError:
            return False  # another server was first

    async def load_groups(self) -> list[str]:
        job = tables.job.c
        unsent = exists().where(tables.event.c.job_id == job.job_id, tables.event.c.shipped_us.is_(None))
        query = select(_GROUP).where(job.is_shipped, unsent).distinct()
        return sorted(row[0] for row in await self._database.fetch(query))

    async def load_lines(self, group: str, *, limit: int) -> list[LogLine]:
        event, job = tables.event.c, tables.job.c
        query = (
            select(event.event_id, event.at_us, event.kind, event.message)
            .add_columns(job.job_id, job.name, job.project_id, job.attributes)
            .join(tables.job, job.job_id == event.job_id)
            .where(job.is_shipped, group == _GROUP, event.shipped_us.is_(None))
            .order_by(event.event_id)
            .limit(limit)
        )
        return [
            LogLine(
                event_id=row.event_id,
                job_id=row.job_id,
                job_name=row.name,
                project_id=row.project_id,
                group=row.attributes["lts"]["log_group_id"],
                stream=row.attributes["lts"]["log_stream_id"],
                at_us=row.at_us,
                kind=row.kind,
                message=row.message,
            )
            for row in await self._database.fetch(query)
        ]

    async def mark_sent(self, event_ids: Sequence[int]) -> None:
        async with self._database.writing() as connection:
            await connection.execute(
                update(tables.event)
                .where(tables.event.c.event_id.in_(event_ids))
                .values(shipped_us=self._clock.now_us())
            )

    async def load_watched(self) -> list[tuple[Job, JobProgress]]:
        condition = and_(tables.job.c.is_watched, tables.job.c.status != JobStatus.DELETED.value)
        figures = select(*HEALTH_COLUMNS).select_from(JOB_WITH_HEALTH).where(condition)
        async with self._database.reading() as connection:
            known = {row.job_id: codec.decode_job_health(row) for row in await connection.execute(figures)}
            rows = (await connection.execute(select(tables.job).where(condition))).mappings()
            return [(job, known[job.job_id]) for job in map(codec.decode_job, rows)]

    async def load_alarms(self) -> dict[tuple[str, str], bool]:
        rows = await self._database.fetch(select(tables.alarm))
        return {(row.job_id, row.kind): row.told_us is not None for row in rows}

    async def raise_alarm(self, job_id: str, kind: str, *, at_us: int) -> None:
        async with self._database.writing() as connection:
            # Another server may have raised it: its duty can end in the middle of a slow round.
            known = await connection.scalar(
                select(tables.alarm.c.raised_us).where(tables.alarm.c.job_id == job_id, tables.alarm.c.kind == kind)
            )
            if known is None:
                await connection.execute(insert(tables.alarm).values(job_id=job_id, kind=kind, raised_us=at_us))

    async def mark_told(self, job_id: str, kind: str, *, at_us: int) -> None:
        alarm = tables.alarm
        async with self._database.writing() as connection:
            await connection.execute(
                update(alarm).where(alarm.c.job_id == job_id, alarm.c.kind == kind).values(told_us=at_us)
            )

    async def drop_alarm(self, job_id: str, kind: str) -> None:
        alarm = tables.alarm
        async with self._database.writing() as connection:
            await connection.execute(delete(alarm).where(alarm.c.job_id == job_id, alarm.c.kind == kind))

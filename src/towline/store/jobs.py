"""Jobs, their history and their figures, as the service layer asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from towline.domain.errors import InvariantBroken, JobDeleted, JobNameTaken, JobNotFound
from towline.domain.forecast import Score, TrackRecord
from towline.domain.jobs import Endpoint, JobSpec, JobStatus, require_transition
from towline.domain.nodes import NodeSample
from towline.domain.progress import Progress, TableProgress
from towline.service.ports import (
    Clock,
    DecideJob,
    Job,
    JobEdit,
    JobEvent,
    JobFilter,
    JobIds,
    JobLine,
    JobProgress,
    PrecheckRun,
)
from towline.store import codec, tables
from towline.store.database import Database
from towline.store.keyring import Keyring
from towline.store.lines import open_lines

_PROGRESS_COLUMNS = (
    tables.job.c.job_id,
    tables.job.c.mode,
    tables.job.c.status,
    tables.job.c.failure,
    tables.progress.c.body,
)
_JOB_WITH_PROGRESS = tables.job.outerjoin(tables.progress, tables.job.c.job_id == tables.progress.c.job_id)
HEALTH_COLUMNS = (*_PROGRESS_COLUMNS, tables.diagnosis.c.body.label("diagnosis"))
JOB_WITH_HEALTH = _JOB_WITH_PROGRESS.outerjoin(tables.diagnosis, tables.job.c.job_id == tables.diagnosis.c.job_id)

_MAX_SCORES = 2_000


class SqlJobStore:
    """`service.ports.JobStore` on SQLite and PostgreSQL."""

    def __init__(self, database: Database, keyring: Keyring, clock: Clock) -> None:
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._lines = open_lines(database)
        # Every scrape of the metrics asks for them, and they change only when a job is done or deleted.
        self._scores: tuple[tuple[int, int | None], dict[str, Score]] | None = None

    async def insert(self, job: Job) -> None:
        try:
            async with self._database.writing() as connection:
                # The zones of a job were looked at when it came, and never change; older jobs have none.
                zones = {"zone": job.attributes.get("master_az"), "standby_zone": job.attributes.get("slave_az")}
                row = codec.encode_job(job) | zones | self._secrets(job, None)
                await connection.execute(insert(tables.job), row)
                await connection.execute(
                    insert(tables.lease),
                    {"job_id": job.job_id, "epoch": 0, "expires_us": 0, "crashes": 0, "not_before_us": 0},
                )
                await add_events(connection, job.job_id, job.created_us, [("status", f"created as {job.name}")])
        except IntegrityError as error:
            raise _name_taken(job.name, error) from None

    async def edit(self, job_id: str, decide: DecideJob, *, project_id: str | None) -> Job:
        async with self._database.writing() as connection:
            return await edit_job(
                connection,
                job_id,
                decide,
                database=self._database,
                keyring=self._keyring,
                clock=self._clock,
                project_id=project_id,
            )

    async def load(self, job_ids: JobIds, *, project_id: str) -> dict[str, Job]:
        query = select(tables.job).where(
            self._database.is_one_of(tables.job.c.job_id, job_ids),
            self._database.is_in_project(tables.job.c.project_id, project_id),
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).mappings()
            return {row["job_id"]: codec.decode_job(row) for row in rows}

    async def load_spec(self, job_id: str, *, project_id: str | None = None) -> JobSpec:
        query = select(tables.job).where(tables.job.c.job_id == job_id)
        if project_id is not None:
            query = query.where(tables.job.c.project_id == project_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise JobNotFound(f"there is no job {job_id}")
        if row["status"] == JobStatus.DELETED.value:
            raise JobDeleted(f"job {job_id} has been deleted")
        return codec.decode_spec(row, self._keyring)

    async def find(
        self, job_filter: JobFilter, *, project_id: str | None, limit: int | None, offset: int
    ) -> tuple[int, list[Job]]:
        query = (
            select(tables.job)
            .where(
                *([] if project_id is None else [tables.job.c.project_id == project_id]),
                tables.job.c.status != JobStatus.DELETED.value,
                *_conditions(job_filter),
            )
            .order_by(tables.job.c.created_us.desc(), tables.job.c.job_id)
        )
        async with self._database.reading() as connection:
            if job_filter.tags:
                # Tags are a list inside the attributes; the two dialects search lists differently, Python
                # does not.
                rows = (await connection.execute(query)).mappings()
                found = [job for job in map(codec.decode_job, rows) if _has_tags(job, job_filter)]
                return len(found), found[offset : None if limit is None else offset + limit]
            total = await connection.scalar(select(func.count()).select_from(query.order_by(None).subquery()))
            rows = (await connection.execute(_page(query, limit, offset))).mappings()
            return int(total or 0), [codec.decode_job(row) for row in rows]

    # --- figures --------------------------------------------------------------------------------

    async def load_progress(self, job_ids: JobIds, *, project_id: str) -> dict[str, JobLine]:
        return await self._lines.load(job_ids, project_id=project_id)

    async def load_all_progress(self) -> list[JobProgress]:
        query = (
            select(*_PROGRESS_COLUMNS)
            .select_from(_JOB_WITH_PROGRESS)
            .where(tables.job.c.status != JobStatus.DELETED.value)
            .order_by(tables.job.c.job_id)
        )
        return [codec.decode_job_progress(row) for row in await self._database.fetch(query)]

    async def load_health(self, job_ids: JobIds, *, project_id: str) -> dict[str, JobProgress]:
        query = (
            select(*HEALTH_COLUMNS)
            .select_from(JOB_WITH_HEALTH)
            .where(
                self._database.is_one_of(tables.job.c.job_id, job_ids),
                self._database.is_in_project(tables.job.c.project_id, project_id),
            )
        )
        return {row.job_id: codec.decode_job_health(row) for row in await self._database.fetch(query)}

    async def load_all_health(self) -> list[JobProgress]:
        query = (
            select(*HEALTH_COLUMNS)
            .select_from(JOB_WITH_HEALTH)
            .where(tables.job.c.status != JobStatus.DELETED.value)
            .order_by(tables.job.c.job_id)
        )
        return [codec.decode_job_health(row) for row in await self._database.fetch(query)]

    async def load_zones(self) -> dict[str, int]:
        return {row.name: row.seen_us for row in await self._database.fetch(select(tables.zone))}

    async def load_samples(self, job_ids: JobIds, *, project_id: str) -> dict[str, NodeSample]:
        query = (
            select(tables.node_sample.c.job_id, tables.node_sample.c.body)
            .join(tables.job, tables.job.c.job_id == tables.node_sample.c.job_id)
            .where(
                self._database.is_one_of(tables.node_sample.c.job_id, job_ids),
                self._database.is_in_project(tables.job.c.project_id, project_id),
            )
        )
        return {row.job_id: codec.decode_text(row.body, NodeSample) for row in await self._database.fetch(query)}

    async def load_table_progress(self, job_id: str, *, project_id: str) -> Progress | None:
        query = (
            select(tables.progress.c.body, tables.table_progress.c.body.label("tables_body"))
            .select_from(
                tables.progress.join(tables.job, tables.job.c.job_id == tables.progress.c.job_id).outerjoin(
                    tables.table_progress, tables.table_progress.c.job_id == tables.progress.c.job_id
                )
            )
            .where(tables.progress.c.job_id == job_id, tables.job.c.project_id == project_id)
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None or row.body is None:
            return None
        progress = codec.decode_progress(row.body)
        if row.tables_body is None:
            return progress
        return replace(progress, tables=codec.decode_text(row.tables_body, tuple[TableProgress, ...]))

    async def load_track_record(self, job_id: str, *, project_id: str) -> TrackRecord:
        query = (
            select(tables.forecast.c.body)
            .join(tables.job, tables.job.c.job_id == tables.forecast.c.job_id)
            .where(
                tables.forecast.c.job_id == job_id, self._database.is_in_project(tables.job.c.project_id, project_id)
            )
        )
        rows = await self._database.fetch(query)
        return codec.decode_track(rows[0][0]) if rows else TrackRecord()

    async def load_scores(self) -> dict[str, Score]:
        columns = tables.forecast.c
        scored = (columns.finished_us.is_not(None), columns.score.is_not(None))
        state = select(func.count()).add_columns(func.max(columns.finished_us)).where(*scored)
        (newest,) = await self._database.fetch(state)
        if self._scores is not None and self._scores[0] == tuple(newest):
            return dict(self._scores[1])
        query = (
            select(columns.job_id, columns.score).where(*scored).order_by(columns.finished_us.desc()).limit(_MAX_SCORES)
        )
        scores = {job_id: codec.decode_score(score) for job_id, score in await self._database.fetch(query)}
        self._scores = (tuple(newest), scores)
        return dict(scores)

    async def load_events(self, job_id: str, *, project_id: str) -> list[JobEvent]:
        query = (
            select(tables.event.c.at_us, tables.event.c.kind, tables.event.c.message)
            .select_from(tables.event.join(tables.job, tables.job.c.job_id == tables.event.c.job_id))
            .where(tables.event.c.job_id == job_id, tables.job.c.project_id == project_id)
            .order_by(tables.event.c.event_id)
        )
        async with self._database.reading() as connection:
            return [JobEvent(row.at_us, row.kind, row.message) for row in await connection.execute(query)]

    async def forget(self, job_id: str) -> None:
        async with self._database.writing() as connection:
            # The job before its progress, as whoever changes a status does.
            await connection.execute(
                update(tables.job)
                .where(tables.job.c.job_id == job_id)
                .values(source_secret=None, target_secret=None, accounts_secret=None)
            )
            await connection.execute(
                update(tables.progress).where(tables.progress.c.job_id == job_id).values(body=None)
            )
            for table in (
                tables.table_progress,
                tables.diagnosis,
                tables.precheck,
                tables.node_sample,
                tables.alarm,
                tables.forecast,
            ):
                await connection.execute(delete(table).where(table.c.job_id == job_id))

    # --- prechecks ------------------------------------------------------------------------------

    async def save_precheck(self, run: PrecheckRun) -> None:
        values = {"at_us": self._clock.now_us(), "body": codec.encode_text(run)}
        async with self._database.writing() as connection:
            await connection.execute(self._database.upsert(tables.precheck, run.job_id, values))

    async def load_prechecks(self, job_ids: JobIds, *, project_id: str) -> dict[str, tuple[int, PrecheckRun]]:
        query = (
            select(tables.precheck)
            .join(tables.job, tables.job.c.job_id == tables.precheck.c.job_id)
            .where(
                self._database.is_one_of(tables.precheck.c.job_id, job_ids),
                self._database.is_in_project(tables.job.c.project_id, project_id),
            )
        )
        async with self._database.reading() as connection:
            rows = await connection.execute(query)
            return {row.job_id: (row.at_us, codec.decode_precheck(row.body)) for row in rows}

    def _secrets(self, job: Job, before: Job | None) -> dict[str, Any]:
        return sealed_secrets(job, before, self._keyring)


async def edit_job(
    connection: AsyncConnection,
    job_id: str,
    decide: DecideJob,
    *,
    database: Database,
    keyring: Keyring,
    clock: Clock,
    project_id: str | None,
) -> Job:
    """Change one job inside a writing transaction. See `JobStore.edit`."""
    query = database.locked(select(tables.job).where(tables.job.c.job_id == job_id))
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None or (project_id is not None and row["project_id"] != project_id):
        raise JobNotFound(f"there is no job {job_id}")
    before = codec.decode_job(row)
    if before.status is JobStatus.DELETED:
        raise JobDeleted(f"job {job_id} has been deleted")
    edited = decide(before)
    if edited.job == before and not edited.events:
        return before
    require_transition(job_id, before.status, edited.job.status)
    secrets = sealed_secrets(edited.job, before, keyring)
    if edited.account_passwords is not None:
        secrets["accounts_secret"] = codec.seal_accounts(edited.account_passwords, keyring, job_id=job_id)
    now_us = clock.now_us()
    after = replace(
        edited.job,
        updated_us=now_us,
        secrets_version=before.secrets_version + (1 if secrets else 0),
    )
    statement = (
        update(tables.job)
        # The row is locked; the condition makes a second winner impossible even if the lock were not.
        .where(tables.job.c.job_id == job_id, tables.job.c.status == before.status.value)
        .values(**codec.encode_job(after), **secrets)
    )
    try:
        result = await connection.execute(statement)
    except IntegrityError as error:
        raise _name_taken(after.name, error) from None
    if result.rowcount != 1:
        raise InvariantBroken(f"job {job_id} changed while it was locked")
    await add_events(connection, job_id, now_us, _history(before, edited))
    return _without_passwords(after)


def sealed_secrets(job: Job, before: Job | None, keyring: Keyring) -> dict[str, Any]:
    """The secret columns that change. `before` None: a new row, both columns are given."""
    columns: dict[str, Any] = {}
    for side in ("source", "target"):
        endpoint: Endpoint = getattr(job, side)
        known: Endpoint | None = getattr(before, side) if before is not None else None
        if endpoint.password or known is None or _place_of(endpoint) != _place_of(known):
            # A password given for one place is never offered to another.
            columns[f"{side}_secret"] = codec.seal_password(endpoint, keyring, job_id=job.job_id, side=side)
    return columns


async def add_events(connection: AsyncConnection, job_id: str, at_us: int, events: Iterable[tuple[str, str]]) -> None:
    rows = [{"job_id": job_id, "at_us": at_us, "kind": kind, "message": message} for kind, message in events]
    if rows:
        await connection.execute(insert(tables.event), rows)


def _history(before: Job, edited: JobEdit) -> list[tuple[str, str]]:
    events = [("settings", message) for message in edited.events]
    after = edited.job
    if after.status is not before.status:
        line = f"{before.status.value} -> {after.status.value}"
        if after.failure is not None and after.failure != before.failure:
            line += f": {after.failure.message}"
        events.append(("status", line))
    return events


def _without_passwords(job: Job) -> Job:
    return replace(job, source=replace(job.source, password=""), target=replace(job.target, password=""))


def _place_of(endpoint: Endpoint) -> tuple[str, str, int, str]:
    return (endpoint.family, endpoint.host, endpoint.port, endpoint.user)


def _name_taken(name: str, error: IntegrityError) -> Exception:
    text = str(error.orig)
    if "name_key" in text or "uq_job_project_name" in text:
        return JobNameTaken(f"the name {name} is taken in this project")
    return InvariantBroken("a row of the store does not fit its table")


_DEFAULT_ENTERPRISE_PROJECT: Final = "0"


def _conditions(job_filter: JobFilter) -> Sequence[ColumnElement[bool]]:
    job = tables.job.c
    conditions: list[ColumnElement[bool]] = []
    if job_filter.names_or_ids:
        wanted = [text.lower() for text in job_filter.names_or_ids]
        conditions.append(
            or_(job.job_id.in_(wanted), *(job.name_key.contains(text, autoescape=True) for text in wanted))
        )
    if job_filter.statuses:
        conditions.append(job.status.in_(sorted(status.value for status in job_filter.statuses)))
    for key, value in job_filter.attributes.items():
        conditions.append(job.attributes[key].as_string() == value)
    if job_filter.instance_ids:
        sides = (job.source_attributes, job.target_attributes)
        conditions.append(or_(*(side["inst_id"].as_string().in_(job_filter.instance_ids) for side in sides)))
    if job_filter.enterprise_project:
        given = job.attributes[("sys_tags", 0, "value")].as_string()
        conditions.append(func.coalesce(given, _DEFAULT_ENTERPRISE_PROJECT) == job_filter.enterprise_project)
    if job_filter.host:
        conditions.append(or_(*(side["host"].as_string() == job_filter.host for side in (job.source, job.target))))
    return [and_(*conditions)] if conditions else []


def _has_tags(job: Job, job_filter: JobFilter) -> bool:
    tags = job.attributes.get("tags") or {}
    pairs = tags if isinstance(tags, dict) else {tag.get("key"): tag.get("value") for tag in tags}
    return all(pairs.get(key) == value for key, value in job_filter.tags.items())


def _page(query: Select[Any], limit: int | None, offset: int) -> Select[Any]:
    return query.limit(limit).offset(offset) if limit is not None else query.offset(offset)

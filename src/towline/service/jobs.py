"""Everything that a caller can ask of jobs.

Each method takes the caller and sees only the jobs of the caller's project; whatever else exists is not
found. Batch calls answer one `Outcome` per item, in order, and one item's failure does not touch the others.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from towline.domain.accounts import Account, Parameter
from towline.domain.errors import JobDeleted, JobNotFound, RequestError, TowlineError
from towline.domain.forecast import Score
from towline.domain.health import judge
from towline.domain.jobs import DEFAULT_MAX_JOBS, ConflictPolicy, JobStatus, PauseMode, SpeedWindow
from towline.domain.nodes import DEFAULT_ZONE, ZONE_GONE_AFTER_S, NodeSample
from towline.domain.progress import Progress
from towline.domain.tables import ObjectSelection, RowFilter
from towline.service import decisions
from towline.service.databases import JobDatabases
from towline.service.ports import (
    Caller,
    Clock,
    ConnectionTest,
    DecideJob,
    Job,
    JobChange,
    JobDraft,
    JobEvent,
    JobFilter,
    JobHealth,
    JobIds,
    JobLine,
    JobProgress,
    JobStore,
    JobTables,
    Outcome,
    PrecheckRun,
    Probes,
    Wanted,
)
from towline.service.prechecks import PrecheckRunner

V = TypeVar("V")
log = structlog.get_logger(__name__)

# Each may wait for a server that does not answer; one after the other they would outlast the caller's patience.
_MAX_TESTS_AT_ONCE = 16


def _quota_used_up(limit: int) -> RequestError:
    return RequestError(
        f"the project has {limit} jobs, which is its quota",
        remedy="Delete jobs that have ended, or raise the limit: `towline project limit`, or TOWLINE_MAX_JOBS.",
    )


def mint_job_id() -> str:
    """A new id in the shape that clients of the API know: hexadecimal but for its last four characters."""
    digits = secrets.token_hex(14)
    tail = f"{digits[20:28]}jb{secrets.randbelow(100):02d}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{tail}"


class JobService:
    """The calls of the job API. `on_change` is told that some job may need its worker; it must not block."""

    def __init__(
        self,
        store: JobStore,
        probes: Probes,
        *,
        clock: Clock,
        on_change: Callable[[], None] = lambda: None,
        max_jobs: int = DEFAULT_MAX_JOBS,
        zone: str = DEFAULT_ZONE,
    ) -> None:
        self._zone = zone
        self._max_jobs = max_jobs
        self._store = store
        self._probes = probes
        self._clock = clock
        self._on_change = on_change
        self._asking = asyncio.Semaphore(_MAX_TESTS_AT_ONCE)
        self._databases = JobDatabases(store, probes, on_change=on_change)
        self._prechecks = PrecheckRunner(
            store,
            probes,
            on_defect=lambda job_id, error: log.error("precheck_defect", job_id=job_id, exc_info=error),
        )

    async def close(self) -> None:
        """Stop what runs in the background."""
        await self._prechecks.close()

    # --- create and read --------------------------------------------------------------------------

    async def create(self, caller: Caller, drafts: Sequence[JobDraft]) -> list[Outcome[Job]]:
        """Answers with status CREATING, as callers expect; the job can be configured at once."""
        used, limit = await self.count_of_quota(caller)
        outcomes: list[Outcome[Job]] = []
        for draft in drafts:
            outcome: Outcome[Job] = Outcome("", error=_quota_used_up(limit))
            if used < limit:
                outcome = await self._create(caller, draft)
                used += outcome.error is None
            outcomes.append(outcome)
        return outcomes

    async def count_of_quota(self, caller: Caller) -> tuple[int, int]:
        """How many jobs the caller's project has, and how many it may have. Deleted ones do not count."""
        used, _ = await self._store.find(JobFilter(), project_id=caller.project_id, limit=1, offset=0)
        return used, caller.max_jobs or self._max_jobs

    async def zones(self) -> dict[str, bool]:
        """Groups of servers that share the store, and whether one of each was there lately; our own always is."""
        latest_us = self._clock.now_us() - int(ZONE_GONE_AFTER_S * 1_000_000)
        seen = {name: seen_us >= latest_us for name, seen_us in (await self._store.load_zones()).items()}
        return {**seen, self._zone: True}

    async def list_jobs(
        self, caller: Caller, job_filter: JobFilter, *, limit: int | None, offset: int
    ) -> tuple[int, list[Job]]:
        """How many jobs match, and one page of them, newest first; `limit` None is all."""
        return await self._store.find(job_filter, project_id=caller.project_id, limit=limit, offset=offset)

    async def jobs(self, caller: Caller, job_ids: JobIds) -> list[Outcome[Job]]:
        """One outcome per id, in request order, duplicates included."""
        known = await self._store.load(job_ids, project_id=caller.project_id)
        return [_known_outcome(job_id, known.get(job_id), lambda job: job.status) for job_id in job_ids]

    async def progress(self, caller: Caller, job_ids: JobIds) -> list[Outcome[JobLine]]:
        """One outcome per id, in request order, duplicates included; all read in one query."""
        _, lines = await self.progress_lines(caller, job_ids)
        return [
            Outcome(job_id, line) if isinstance(line, JobLine) else Outcome(job_id, error=line)
            for job_id, line in zip(job_ids, lines, strict=True)
        ]

    async def progress_lines(self, caller: Caller, job_ids: JobIds) -> tuple[int, list[JobLine | Exception]]:
        """The moment, and as `progress`, without an `Outcome` around each line, as there may be thousands."""
        known = await self._store.load_progress(job_ids, project_id=caller.project_id)
        now_us = self._clock.now_us()  # not that of the request: while it waited, delays went on growing
        return now_us, [
            line
            if (line := known.get(job_id)) is not None and line.status is not JobStatus.DELETED
            else _unknown(job_id, is_deleted=line is not None)
            for job_id in job_ids
        ]

    async def health(self, caller: Caller, job_ids: JobIds) -> list[Outcome[JobHealth]]:
        """One outcome per id, in request order, duplicates included; from the store, never from a job's databases."""
        known = await self._store.load_health(job_ids, project_id=caller.project_id)
        now_us = self._clock.now_us()
        judged = {job_id: _judge(job, now_us) for job_id, job in known.items()}
        return [_known_outcome(job_id, judged.get(job_id), lambda health: health.job.status) for job_id in job_ids]

    async def samples(self, caller: Caller, job_ids: JobIds) -> dict[str, NodeSample]:
        """What the workers of the caller's jobs used last."""
        return await self._store.load_samples(job_ids, project_id=caller.project_id)

    async def health_of_one(self, caller: Caller, job_id: str) -> JobHealth:
        """As `health`, with what the estimates of the job's remaining time were worth.

        Raises: JobNotFound, JobDeleted.
        """
        (outcome,) = await self.health(caller, [job_id])
        if outcome.value is None:
            raise outcome.error or LookupError()
        track = await self._store.load_track_record(job_id, project_id=caller.project_id)
        return replace(outcome.value, track=track)

    async def scores(self) -> dict[str, Score]:
        """How good the estimates of remaining time were, of all projects: for metrics only, never for a caller."""
        return await self._store.load_scores()

    async def health_of_all(self) -> tuple[int, list[JobHealth]]:
        """The moment, and every job of every project that is not deleted: for metrics only, never for a caller."""
        jobs = await self._store.load_all_health()
        now_us = self._clock.now_us()  # not before: reading many jobs takes its time, and delays go on growing
        return now_us, [_judge(job, now_us) for job in jobs]

    async def table_progress(self, caller: Caller, job_id: str) -> Progress | None:
        """The figures of a job with its tables; None before a worker has reported.

        Raises: JobNotFound, JobDeleted.
        """
        await self._require_known(caller, job_id)
        return await self._store.load_table_progress(job_id, project_id=caller.project_id)

    async def structure(self, caller: Caller, job_ids: JobIds) -> list[Outcome[JobTables]]:
        """As `tables`, with the objects that the targets remember; a target that does not answer is an error inside."""
        outcomes = await self.tables(caller, job_ids)
        return list(await asyncio.gather(*(self._with_entries(caller, outcome) for outcome in outcomes)))

    async def tables(self, caller: Caller, job_ids: JobIds) -> list[Outcome[JobTables]]:
        """One outcome per id, in request order, duplicates included; one query for each job that exists."""
        outcomes: list[Outcome[JobTables]] = []
        for known in await self.jobs(caller, job_ids):
            tables = None
            if known.value is not None:
                progress = await self._store.load_table_progress(known.job_id, project_id=caller.project_id)
                tables = JobTables(known.value, progress)
            outcomes.append(Outcome(known.job_id, tables, known.error))
        return outcomes

    async def events(self, caller: Caller, job_id: str) -> list[JobEvent]:
        """A job's history, oldest first. Raises: JobNotFound, JobDeleted."""
        await self._require_known(caller, job_id)
        return await self._store.load_events(job_id, project_id=caller.project_id)

    # --- settings ---------------------------------------------------------------------------------

    async def test_connections(self, caller: Caller, tests: Sequence[ConnectionTest]) -> list[Outcome[None]]:
        """One outcome per test, in order; a database that cannot be reached is an error in its outcome."""
        slots = asyncio.Semaphore(_MAX_TESTS_AT_ONCE)

        async def test_one(test: ConnectionTest) -> Outcome[None]:
            async with slots:
                return await _outcome(test.job_id, self._test(caller, test))

        return list(await asyncio.gather(*map(test_one, tests)))

    async def modify(self, caller: Caller, changes: Sequence[JobChange]) -> list[Outcome[Job]]:
        return [
            await _outcome(change.job_id, self._edit(caller, change.job_id, decisions.change(change)))
            for change in changes
        ]

    async def select_objects(
        self, caller: Caller, job_id: str, selection: ObjectSelection, items: Sequence[Mapping[str, Any]]
    ) -> Outcome[Job]:
        """`items` are kept and given back as they came."""
        return await _outcome(job_id, self._edit(caller, job_id, decisions.select_objects(selection, items)))

    async def set_policy(self, caller: Caller, job_id: str, policy: ConflictPolicy | None) -> Outcome[Job]:
        return await _outcome(job_id, self._edit(caller, job_id, decisions.set_policy(policy)))

    async def set_speed(self, caller: Caller, job_id: str, windows: Sequence[SpeedWindow]) -> Outcome[Job]:
        """Holds for a running job within a second or two; no windows means no limit."""
        return await _outcome(job_id, self._edit(caller, job_id, decisions.set_speed(windows)))

    async def change_password(self, caller: Caller, job_id: str, *, is_source: bool, password: str) -> Outcome[Job]:
        return await _outcome(
            job_id, self._edit(caller, job_id, decisions.change_password(password, is_source=is_source))
        )

    async def change_tags(
        self, caller: Caller, job_id: str, decide_tags: Callable[[decisions.Tags], decisions.Tags]
    ) -> Outcome[Job]:
        """Nobody else can change the tags between the old ones and the new."""
        return await _outcome(job_id, self._edit(caller, job_id, decisions.change_tags(decide_tags)))

    async def set_owners(self, caller: Caller, job_id: str, *, replaces: bool) -> Outcome[Job]:
        """Whether objects belong to the target's user, or to whom they belong on the source."""
        return await _outcome(job_id, self._edit(caller, job_id, decisions.set_owners(replaces=replaces)))

    async def tune(
        self, caller: Caller, job_id: str, values: Mapping[str, int] | None, wishes: Mapping[str, str]
    ) -> Outcome[Job]:
        """Sizes of the worker, and wishes for how values cross; None puts all back."""
        return await _outcome(job_id, self._edit(caller, job_id, decisions.tune(values, wishes)))

    async def set_attributes(self, caller: Caller, job_id: str, changes: Mapping[str, Any], event: str) -> Outcome[Job]:
        return await _outcome(job_id, self._edit(caller, job_id, decisions.set_attributes(changes, event)))

    async def filter_rows(self, caller: Caller, job_id: str, wishes: Sequence[RowFilter]) -> Outcome[Job]:
        """Each condition is held against the real table first."""
        return await _outcome(job_id, self._databases.filter_rows(caller, job_id, wishes))

    # --- what the job's databases say -----------------------------------------------------------------

    async def accounts(self, caller: Caller, job_id: str) -> Outcome[list[Account]]:
        """Users and roles of the source, read now."""
        return await _outcome(job_id, self._databases.accounts(caller, job_id))

    async def choose_accounts(
        self, caller: Caller, job_id: str, names: Sequence[str], passwords: Mapping[str, str]
    ) -> Outcome[list[Account]]:
        """The accounts as read now, when all of `names` are among them and the choice is stored."""
        return await _outcome(job_id, self._databases.choose_accounts(caller, job_id, names, passwords))

    async def parameters(self, caller: Caller, job_id: str) -> Outcome[list[Parameter]]:
        """Settings of both servers, read now."""
        return await _outcome(job_id, self._databases.parameters(caller, job_id))

    async def change_parameters(
        self, caller: Caller, job_id: str, group: str, values: Mapping[str, str]
    ) -> Outcome[bool]:
        """True when some of the target's settings wait for its restart."""
        return await _outcome(job_id, self._databases.change_parameters(caller, job_id, group, values))

    # --- prechecks --------------------------------------------------------------------------------

    async def precheck(self, caller: Caller, job_ids: JobIds, *, for_retry: bool) -> list[Outcome[None]]:
        """Begins the prechecks in the background; no error in an outcome means that its precheck runs."""
        return [await _outcome(job_id, self._precheck(caller, job_id, for_retry)) for job_id in job_ids]

    async def precheck_results(self, caller: Caller, job_ids: JobIds) -> list[Outcome[PrecheckRun]]:
        """The last run of each job; a job without any is a RequestError in its outcome."""
        jobs = await self.jobs(caller, job_ids)
        runs = await self._prechecks.load(job_ids, project_id=caller.project_id, now_us=self._clock.now_us())
        outcomes: list[Outcome[PrecheckRun]] = []
        for known in jobs:
            run = runs.get(known.job_id)
            error = known.error
            if error is None and run is None:
                error = RequestError(f"job {known.job_id} has not been prechecked yet")
            outcomes.append(Outcome(known.job_id, run if error is None else None, error))
        return outcomes

    # --- run control ------------------------------------------------------------------------------

    async def start(
        self, caller: Caller, job_id: str, *, at_us: int | None = None, only_structure: bool = False
    ) -> Outcome[Job]:
        """Start now, or at `at_us` if that lies ahead."""
        decide = decisions.start(at_us=at_us, now_us=self._clock.now_us(), only_structure=only_structure)
        return await _outcome(job_id, self._edit(caller, job_id, decide))

    async def pause(self, caller: Caller, job_id: str, mode: PauseMode) -> Outcome[Job]:
        """Asks the worker to pause; the job is PAUSED when it really has."""
        return await _outcome(job_id, self._edit(caller, job_id, decisions.pause(mode)))

    async def retry(self, caller: Caller, job_id: str) -> Outcome[Job]:
        return await _outcome(job_id, self._edit(caller, job_id, decisions.retry))

    async def retry_edited(self, caller: Caller, job_id: str) -> Outcome[Job]:
        """As `retry`, and objects join and leave the job as they were edited; those that join are prechecked first."""
        return await _outcome(job_id, self._retry_edited(caller, job_id))

    async def end(self, caller: Caller, job_id: str, *, force: bool = False) -> Outcome[Job]:
        """Stops the job and removes its traces on both sides; with `force` also if one is out of reach."""
        return await _outcome(job_id, self._edit(caller, job_id, decisions.end(force=force)))

    async def delete(self, caller: Caller, job_id: str) -> Outcome[Job]:
        """The job's secrets and figures are erased; its id is remembered as deleted."""
        return await _outcome(job_id, self._delete(caller, job_id))

    async def _with_entries(self, caller: Caller, outcome: Outcome[JobTables]) -> Outcome[JobTables]:
        known = outcome.value
        if known is None or known.progress is None:
            return outcome
        try:
            async with self._asking:
                entries = await self._databases.structure(caller, known.job.job_id)
        except TowlineError as error:
            return Outcome(outcome.job_id, replace(known, entries_error=error))
        return Outcome(outcome.job_id, replace(known, entries=tuple(entries)))

    # --- inside -----------------------------------------------------------------------------------

    async def _create(self, caller: Caller, draft: JobDraft) -> Outcome[Job]:
        wanted = [draft.attributes[name] for name in ("master_az", "slave_az") if draft.attributes.get(name)]
        if wanted and (unknown := set(wanted) - set(await self.zones())):
            return Outcome("", error=RequestError(f"there is no zone {min(unknown)}"))
        now_us = self._clock.now_us()
        job = Job(
            job_id=mint_job_id(),
            project_id=caller.project_id,
            name=draft.name,
            description=draft.description,
            mode=draft.mode,
            # There is no machine to wait for, so the job is ready before the answer leaves.
            status=JobStatus.CONFIGURING,
            source=draft.source,
            target=draft.target,
            selection=ObjectSelection(),
            conflict_policy=ConflictPolicy.OVERWRITE,
            speed_windows=(),
            created_us=now_us,
            updated_us=now_us,
            attributes=draft.attributes,
            source_attributes=draft.source_attributes,
            target_attributes=draft.target_attributes,
            wanted=Wanted.RUN,
        )
        try:
            await self._store.insert(job)
        except RequestError as error:
            return Outcome("", error=error)
        shown = replace(
            job,
            status=JobStatus.CREATING,
            source=replace(job.source, password=""),
            target=replace(job.target, password=""),
        )
        return Outcome(job.job_id, shown)

    async def _edit(self, caller: Caller, job_id: str, decide: DecideJob) -> Job:
        job = await self._store.edit(job_id, decide, project_id=caller.project_id)
        self._on_change()
        return job

    async def _retry_edited(self, caller: Caller, job_id: str) -> Job:
        edited, selection = decisions.choose_edited(await self._require_known(caller, job_id))
        async with self._asking:
            notes = await self._databases.check_joining(caller, job_id, selection)
        return await self._edit(caller, job_id, decisions.retry_edited(edited, notes))

    async def _delete(self, caller: Caller, job_id: str) -> Job:
        job = await self._edit(caller, job_id, decisions.delete)
        await self._store.forget(job_id)
        return job

    async def _test(self, caller: Caller, test: ConnectionTest) -> None:
        decisions.require_testable(await self._require_known(caller, test.job_id))
        await self._probes.check_connection(test.endpoint, is_source=test.is_source)

    async def _precheck(self, caller: Caller, job_id: str, for_retry: bool) -> None:
        job = await self._require_known(caller, job_id)
        decisions.require_precheckable(job, for_retry=for_retry)
        edited = decisions.find_edited(job) if for_retry else None
        await self._prechecks.begin(job_id, project_id=caller.project_id, edited=edited)

    async def _require_known(self, caller: Caller, job_id: str) -> Job:
        (outcome,) = await self.jobs(caller, [job_id])
        if outcome.error is not None:
            raise outcome.error
        assert outcome.value is not None
        return outcome.value


def _judge(job: JobProgress, now_us: int) -> JobHealth:
    return JobHealth(job, judge(job.status, job.progress, now_us=now_us))


async def _outcome(job_id: str, work: Awaitable[V]) -> Outcome[V]:
    """The value, or the error that a caller can be told; a defect goes on upwards."""
    try:
        return Outcome(job_id, await work)
    except TowlineError as error:
        return Outcome(job_id, error=error)


def _known_outcome(job_id: str, value: V | None, status_of: Callable[[V], JobStatus]) -> Outcome[V]:
    if value is None or status_of(value) is JobStatus.DELETED:
        return Outcome(job_id, error=_unknown(job_id, is_deleted=value is not None))
    return Outcome(job_id, value)


def _unknown(job_id: str, *, is_deleted: bool) -> RequestError:
    if is_deleted:
        return JobDeleted(f"job {job_id} has been deleted")
    return JobNotFound(f"there is no job {job_id}")

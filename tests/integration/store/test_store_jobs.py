"""Jobs in the store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event

from tests.integration.store.conftest import (
    SOURCE_PASSWORD,
    STRANGER,
    TARGET_PASSWORD,
    create_job,
    draft,
    read_job,
)
from towline.clock import SystemClock
from towline.domain.errors import IllegalTransition, JobDeleted, JobNameTaken, JobNotFound
from towline.domain.jobs import Failure, JobStatus, SpeedWindow, TaskMode
from towline.domain.progress import PartProgress, Phase, Progress, TableProgress
from towline.domain.tables import ObjectSelection, TableName, TotalOrigin
from towline.service.jobs import JobService
from towline.service.ports import Caller, Job, JobEdit, JobFilter, JobLine
from towline.store.opening import Store, opened_store


def as_status(status: JobStatus):
    return lambda job: JobEdit(replace(job, status=status))


async def run_once(store: Store, job_id: str, progress: Progress) -> None:
    lease = await store.work.take_lease(job_id, "test", ttl_s=30)
    assert lease is not None
    await store.work.save_progress(lease, progress)
    await store.work.release_lease(lease)


async def test_a_job_comes_back_as_it_was_stored(store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    selection = ObjectSelection(frozenset({"crm"}), frozenset({TableName("public", 'odd "name"')}))
    windows = (SpeedWindow(16 * 60, 15 * 60 + 59, 15_000_000),)
    await service.select_objects(caller, job.job_id, selection, [{"id": "shop", "select": "true"}])
    await service.set_speed(caller, job.job_id, windows)

    found = await read_job(service, caller, job.job_id)

    assert found.selection == selection
    assert found.speed_windows == windows
    assert found.selection_items == ({"id": "shop", "select": "true"},)
    assert (found.source.host, found.source.password) == ("source.example", "")
    assert found.status is JobStatus.CONFIGURING


async def test_a_worker_gets_the_passwords(store: Store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    spec = await store.work.load_spec(job.job_id)
    assert (spec.source.password, spec.target.password) == (SOURCE_PASSWORD, TARGET_PASSWORD)


async def test_names_are_unique_without_regard_to_case(service: JobService, caller: Caller):
    first, second = await service.create(caller, [draft("Shop-Move"), draft("shop-MOVE")])
    assert first.error is None
    assert isinstance(second.error, JobNameTaken)


async def test_the_name_of_a_deleted_job_is_free_again(service: JobService, store: Store, caller: Caller):
    job = await create_job(service, caller)
    for status in (JobStatus.ENDING, JobStatus.ENDED):
        await store.jobs.edit(job.job_id, as_status(status), project_id=None)
    deleted = await service.delete(caller, job.job_id)
    assert deleted.error is None
    again = await create_job(service, caller)

    (gone,) = await service.jobs(caller, [job.job_id])
    assert isinstance(gone.error, JobDeleted)
    assert again.job_id != job.job_id
    with pytest.raises(JobDeleted):
        await store.jobs.load_spec(job.job_id)


async def test_a_rename_onto_a_taken_name_changes_nothing(service: JobService, store: Store, caller: Caller):
    await create_job(service, caller, "first")
    second = await create_job(service, caller, "second")

    with pytest.raises(JobNameTaken):
        await store.jobs.edit(
            second.job_id, lambda job: JobEdit(replace(job, name="FIRST", description="x")), project_id=None
        )

    found = await read_job(service, caller, second.job_id)
    assert (found.name, found.description) == ("second", "")


async def test_an_illegal_step_changes_nothing(service: JobService, store: Store, caller: Caller):
    job = await create_job(service, caller)
    with pytest.raises(IllegalTransition):
        await store.jobs.edit(job.job_id, as_status(JobStatus.STREAMING), project_id=None)
    assert (await read_job(service, caller, job.job_id)).status is JobStatus.CONFIGURING


async def test_of_many_callers_at_once_only_one_wins(service: JobService, store: Store, caller: Caller):
    job = await create_job(service, caller)

    def decide(seen: Job) -> JobEdit:
        if seen.status is not JobStatus.CONFIGURING:
            raise IllegalTransition("too late")
        return JobEdit(replace(seen, status=JobStatus.STARTING))

    results = await asyncio.gather(
        *(store.jobs.edit(job.job_id, decide, project_id=None) for _ in range(12)), return_exceptions=True
    )

    winners = [result for result in results if isinstance(result, Job)]
    assert len(winners) == 1
    assert all(isinstance(result, (Job, IllegalTransition)) for result in results)


async def test_a_stranger_sees_and_changes_nothing(service: JobService, store: Store, caller: Caller):
    job = await create_job(service, caller)

    (seen,) = await service.jobs(STRANGER, [job.job_id])
    _, (line,) = await service.progress(STRANGER, [job.job_id])
    started = await service.start(STRANGER, job.job_id)
    total, listed = await service.list_jobs(STRANGER, JobFilter(), limit=None, offset=0)

    assert isinstance(seen.error, JobNotFound)
    assert isinstance(line, JobNotFound)
    assert isinstance(started.error, JobNotFound)
    assert (total, listed) == (0, [])
    with pytest.raises(JobNotFound):
        await service.events(STRANGER, job.job_id)


async def test_progress_of_many_jobs_is_one_query_in_request_order(store: Store, service: JobService, caller: Caller):
    jobs = [await create_job(service, caller, f"job-{number}") for number in range(30)]
    for number, job in enumerate(jobs):
        await run_once(store, job.job_id, Progress(at_us=number + 1, phase=Phase.COPY, percent=number))
    unknown = "0" * 8 + "-0000-0000-0000-00000000jb00"
    asked = [jobs[7].job_id, unknown, *[job.job_id for job in reversed(jobs)] * 50, jobs[7].job_id]
    statements: list[str] = []
    for engine in store.database.engines:
        event.listen(
            engine.sync_engine,
            "before_cursor_execute",
            lambda conn, cursor, statement, *rest: statements.append(statement),
        )

    _, lines = await service.progress(caller, asked)

    assert len([statement for statement in statements if "SELECT" in statement]) == 1
    assert isinstance(lines[1], JobNotFound)
    assert [line.job_id for line in lines if isinstance(line, JobLine)] == [asked[0], *asked[2:]]
    assert isinstance(lines[0], JobLine)
    seen = lines[0].progress
    assert seen is not None
    assert (seen.at_us, seen.phase, seen.percent, seen.data) == (8, Phase.COPY, 7, PartProgress())


async def test_what_other_processes_write_is_seen_by_the_next_read(
    store: Store, store_url: str, data_dir: Path, service: JobService, caller: Caller
):
    """Lines are kept while their rows stay as they are; several servers and all workers write the rows."""
    job = await create_job(service, caller)
    still = await create_job(service, caller, "still")
    message = 'a "failure"\x1e\x1f\n'

    async def read() -> tuple[JobLine, JobLine]:
        _, lines = await service.progress(caller, [job.job_id, still.job_id])
        assert isinstance(lines[0], JobLine)
        assert isinstance(lines[1], JobLine)
        return lines[0], lines[1]

    before, untouched = await read()
    assert before.progress is None
    async with opened_store(store_url, data_dir, clock=SystemClock()) as other:
        for percent in (3, 4):  # of the same moment, as a clock that was set may tell it twice
            await run_once(other, job.job_id, Progress(at_us=7, phase=Phase.COPY, percent=percent))
            line, same = await read()
            assert line.progress is not None
            assert line.progress.percent == percent
            assert same is untouched
        await other.jobs.edit(job.job_id, as_status(JobStatus.STARTING), project_id=None)
        assert (await read())[0].status is JobStatus.STARTING
        failure = Failure("TL1", message, "remedy", "source")
        await other.jobs.edit(
            job.job_id,
            lambda seen: JobEdit(replace(seen, status=JobStatus.START_FAILED, failure=failure)),
            project_id=None,
        )
        assert (await read())[0].failure == failure
        await other.jobs.forget(job.job_id)
        assert (await read())[0].progress is None


# On PostgreSQL the plan of so few rows says nothing.
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
async def test_progress_reads_by_index(store: Store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    plans: list[str] = []

    def explain(conn, cursor, statement, parameters, *rest):
        if "FROM progress" in statement:
            cursor.execute("EXPLAIN QUERY PLAN " + statement, parameters)
            plans.extend(row[3] for row in cursor.fetchall())

    for engine in store.database.engines:
        event.listen(engine.sync_engine, "before_cursor_execute", explain)
    await service.progress(caller, [job.job_id])

    assert plans
    assert not [step for step in plans if step.startswith(("SCAN job", "SCAN progress"))]


async def test_percent_phase_and_proof_never_go_back(store: Store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    await run_once(
        store,
        job.job_id,
        Progress(at_us=1, phase=Phase.STREAM, percent=100, remaining_s=0, proven_source_time_us=500),
    )
    await run_once(store, job.job_id, Progress(at_us=2, phase=Phase.STRUCTURE, percent=3))

    _, (line,) = await service.progress(caller, [job.job_id])

    assert isinstance(line, JobLine)
    assert line.progress is not None
    shown = line.progress
    assert (shown.at_us, shown.phase, shown.percent) == (2, Phase.STREAM, 100)
    # The new worker has not said yet how much there is to catch up, so "nothing" is no longer known.
    assert (shown.proven_source_time_us, shown.remaining_s) == (500, None)


async def test_tables_are_kept_apart_from_the_hot_row(store: Store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    table = TableProgress("public", "orders", 5, 10, 50, 100, TotalOrigin.STATISTICS, False)
    await run_once(store, job.job_id, Progress(at_us=1, phase=Phase.COPY, tables=(table,)))

    _, (hot,) = await service.progress(caller, [job.job_id])
    full = await service.table_progress(caller, job.job_id)

    assert isinstance(hot, JobLine)
    assert not hasattr(hot.progress, "tables")
    assert full is not None
    assert full.tables == (table,)


async def test_list_filters_and_pages(service: JobService, store: Store, caller: Caller):
    drafts = [
        replace(
            draft(f"job-{number}"),
            attributes={"net_type": "eip" if number % 2 else "vpc", "tags": [{"key": "n", "value": str(number)}]},
        )
        for number in range(6)
    ]
    outcomes = await service.create(caller, drafts)
    ids = [outcome.job_id for outcome in outcomes]

    async def find(job_filter: JobFilter, limit: int | None = None, offset: int = 0):
        total, jobs = await service.list_jobs(caller, job_filter, limit=limit, offset=offset)
        return total, [job.name for job in jobs]

    assert await find(JobFilter(), limit=2, offset=1) == (6, ["job-4", "job-3"])
    assert await find(JobFilter(names_or_ids=("JOB-3",))) == (1, ["job-3"])
    assert await find(JobFilter(names_or_ids=(ids[1], ids[2]))) == (2, ["job-2", "job-1"])
    assert await find(JobFilter(names_or_ids=("%",))) == (0, [])
    assert (await find(JobFilter(attributes={"net_type": "eip"})))[0] == 3
    assert await find(JobFilter(tags={"n": "4"})) == (1, ["job-4"])
    assert (await find(JobFilter(host="source.example")))[0] == 6
    assert (await find(JobFilter(host="elsewhere")))[0] == 0
    assert (await find(JobFilter(statuses=frozenset({JobStatus.STREAMING}))))[0] == 0


async def test_history_tells_every_step(service: JobService, store: Store, caller: Caller):
    job = await create_job(service, caller)
    await service.start(caller, job.job_id)
    history = [(event.kind, event.message) for event in await service.events(caller, job.job_id)]
    assert history == [("status", "created as shop-move"), ("status", "configuring -> starting")]


async def test_a_password_does_not_follow_to_another_server(service: JobService, store: Store, caller: Caller):
    job = await create_job(service, caller)
    await store.jobs.edit(
        job.job_id,
        lambda seen: JobEdit(
            replace(
                seen,
                source=replace(seen.source, host="attacker.example"),
                target=replace(seen.target, database="other"),
            )
        ),
        project_id=None,
    )
    spec = await store.work.load_spec(job.job_id)
    assert spec.source.password == ""
    assert spec.target.password == TARGET_PASSWORD


async def test_a_full_job_keeps_its_mode(service: JobService, caller: Caller):
    job = await create_job(service, caller, mode=TaskMode.FULL)
    assert job.status is JobStatus.CREATING
    assert (await read_job(service, caller, job.job_id)).mode is TaskMode.FULL


async def test_lines_follow_every_change_of_their_job(store: Store, service: JobService, caller: Caller):
    """What batch-progress says of a job is a copy; it is the same whoever writes, and whether there are figures."""
    fresh = await create_job(service, caller, "fresh")
    reported = await create_job(service, caller, "reported")
    await run_once(store, reported.job_id, Progress(at_us=1, phase=Phase.COPY, percent=3))
    failure = Failure("TL1", "message", "remedy", "source")

    async def require_same() -> None:
        lines = await store.jobs.load_progress([fresh.job_id, reported.job_id], project_id=caller.project_id)
        jobs = await store.jobs.load([fresh.job_id, reported.job_id], project_id=caller.project_id)
        assert len(jobs) == 2
        assert {line.job_id: (line.mode, line.status, line.failure) for line in lines.values()} == {
            job.job_id: (job.mode, job.status, job.failure) for job in jobs.values()
        }

    await require_same()
    for change in (
        {"status": JobStatus.SCHEDULED, "scheduled_us": 1},
        {"mode": TaskMode.FULL},
        {"status": JobStatus.STARTING},
        {"status": JobStatus.START_FAILED, "failure": failure},
        {"status": JobStatus.STARTING, "failure": None},
    ):
        for job in (fresh, reported):
            await store.jobs.edit(job.job_id, lambda seen: JobEdit(replace(seen, **change)), project_id=None)  # noqa: B023
        await require_same()
    await store.jobs.forget(reported.job_id)
    await require_same()


async def test_a_due_job_is_said_to_start(store: Store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    await store.jobs.edit(
        job.job_id,
        lambda seen: JobEdit(replace(seen, status=JobStatus.SCHEDULED, scheduled_us=1)),
        project_id=None,
    )
    assert await store.work.start_due() == [job.job_id]
    line = (await store.jobs.load_progress([job.job_id], project_id=caller.project_id))[job.job_id]
    assert line.status is JobStatus.STARTING


async def test_reports_and_changes_of_the_status_never_wait_for_each_other_in_a_circle(
    store: Store, service: JobService, caller: Caller
):
    """Both write the job and its progress."""
    job = await create_job(service, caller)
    await store.jobs.edit(job.job_id, as_status(JobStatus.STARTING), project_id=None)
    lease = await store.work.take_lease(job.job_id, "test", ttl_s=30)
    assert lease is not None

    def fail_or_start(seen: Job) -> JobEdit:
        is_failed = seen.status is JobStatus.START_FAILED
        return JobEdit(replace(seen, status=JobStatus.STARTING if is_failed else JobStatus.START_FAILED))

    async def report() -> None:
        for at_us in range(100):
            await store.work.save_progress(lease, Progress(at_us=at_us, phase=Phase.COPY))

    async def change() -> None:
        for _ in range(100):
            await store.jobs.edit(job.job_id, fail_or_start, project_id=None)

    await asyncio.gather(report(), change())
    line = (await store.jobs.load_progress([job.job_id], project_id=caller.project_id))[job.job_id]
    assert line.status is JobStatus.STARTING
    assert line.progress is not None
    assert line.progress.at_us == 99

"""One worker and its job, with a scripted engine, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import text

from tests.integration.store.conftest import create_job, read_job
from towline.clock import SystemClock
from towline.domain.diagnosis import Diagnosis, KeptLog, Outage, SourceFacts
from towline.domain.errors import ConnectionRefused, LeaseLost, ServerUnreachable, Side, StoreUnavailable
from towline.domain.forecast import Score, TrackRecord
from towline.domain.health import Level, WaitKind
from towline.domain.jobs import JobSpec, JobStatus, PauseMode, SpeedWindow, TaskMode
from towline.domain.progress import WAITING_FOR_PAUSE, Phase, Progress, TableProgress
from towline.domain.structure import StructureReport
from towline.domain.tables import TotalOrigin
from towline.engine.pipeline import RunResult, run_pipeline
from towline.engine.ports import Control, Reporter, Sides
from towline.service.jobs import JobService
from towline.service.ports import Caller, Job, JobEdit, JobLine, Lease, Wanted
from towline.store.keyring import Keyring
from towline.store.opening import Store
from towline.worker.exits import ExitCode
from towline.worker.reporting import StoreReporter
from towline.worker.run import WorkerSetup, run_worker

Script = Callable[[JobSpec, Control, Reporter], Awaitable[RunResult]]


@dataclass
class Bench:
    """A started job, its lease, and a worker that runs what the test says."""

    store: Store
    service: JobService
    caller: Caller
    job_id: str
    lease: Lease
    work_dir: Path
    ttl_s: float = 30.0
    stop_grace_s: float = 10.0
    pause_grace_s: float = 60.0
    shutdown: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, script: Script) -> ExitCode:
        async def run_job(spec: JobSpec, **rest: Any) -> RunResult:
            return await script(spec, rest["control"], rest["reporter"])

        setup = WorkerSetup(
            store=self.store.work,
            clock=SystemClock(),
            lease=self.lease,
            ttl_s=self.ttl_s,
            work_dir=self.work_dir,
            shutdown=self.shutdown,
            follow_interval_s=0.02,
            pause_grace_s=self.pause_grace_s,
            stop_grace_s=self.stop_grace_s,
        )
        async with asyncio.timeout(30):
            return await run_worker(setup, run_job)

    async def job(self) -> Job:
        return await read_job(self.service, self.caller, self.job_id)

    async def until(self, status: JobStatus) -> Job:
        async with asyncio.timeout(20):
            while (job := await self.job()).status is not status:
                await asyncio.sleep(0.01)
        return job

    async def until_told(self, is_told: Callable[[Progress], bool]) -> Progress:
        async with asyncio.timeout(20):
            while True:
                seen = await self.store.work.load_last_progress(self.job_id)
                if seen is not None and is_told(seen):
                    return seen
                await asyncio.sleep(0.01)

    async def is_lease_free(self) -> bool:
        lease = await self.store.work.take_lease(self.job_id, "looker", ttl_s=30)
        return lease is not None


@pytest.fixture
async def bench(store: Store, service: JobService, caller: Caller, tmp_path: Path) -> Bench:
    job = await create_job(service, caller)
    await service.start(caller, job.job_id)
    lease = await store.work.take_lease(job.job_id, "bench", ttl_s=30)
    assert lease is not None
    return Bench(store, service, caller, job.job_id, lease, tmp_path / "work")


def figures(phase: Phase, percent: int = 0, **rest: Any) -> Progress:
    return Progress(at_us=SystemClock().now_us(), phase=phase, percent=percent, **rest)


async def stopped(control: Control) -> RunResult:
    await control.wait_stop()
    return RunResult.STOPPED


async def test_a_copy_ends_copied_with_its_last_figures(bench: Bench):
    async def copy(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        reporter.report(figures(Phase.COPY, 40))
        await bench.until(JobStatus.COPYING)
        reporter.report(figures(Phase.DONE, 100, remaining_s=0))
        return RunResult.COPIED

    assert await bench.run(copy) is ExitCode.DONE

    job = await bench.job()
    _, (line,) = await bench.service.progress(bench.caller, [bench.job_id])
    assert job.status is JobStatus.COPIED
    assert job.full_complete_us is not None
    assert isinstance(line, JobLine)
    assert line.progress is not None
    assert line.progress.percent == 100
    assert await bench.is_lease_free()


async def test_estimates_outlive_their_worker_and_are_scored_by_what_happened(bench: Bench):
    def estimate(phase: Phase, percent: int, remaining_s: int) -> Progress:
        now = figures(phase, percent, remaining_s=remaining_s, remaining_low_s=0, remaining_high_s=remaining_s * 2)
        return replace(now, remaining_at_us=now.at_us)

    async def begin(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        reporter.report(replace(estimate(Phase.COPY, 40, 10), at_us=5, remaining_at_us=5))
        await bench.until(JobStatus.COPYING)
        bench.shutdown.set()
        return await stopped(control)

    async def end(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        reporter.report(replace(estimate(Phase.DONE, 100, 0), at_us=8_000_005))
        return RunResult.COPIED

    assert await bench.run(begin) is ExitCode.DONE
    kept = await bench.store.work.load_track_record(bench.job_id)
    assert [(e.percent, e.remaining_s, e.high_s) for e in kept.estimates] == [(40, 10, 20)]
    lease = await bench.store.work.take_lease(bench.job_id, "bench", ttl_s=30)
    assert lease is not None
    again = replace(bench, lease=lease, shutdown=asyncio.Event())
    assert await again.run(end) is ExitCode.DONE

    score = (await bench.store.jobs.load_scores())[bench.job_id]
    assert (score.estimates, score.median_error, score.tenth_error, score.within) == (1, 0.25, 0.25, 1.0)
    known = await bench.service.health_of_one(bench.caller, bench.job_id)
    assert known.track.score == score


async def test_notes_and_figures_outlive_an_outage_of_the_store(bench: Bench):
    reporter = StoreReporter(bench.store.work, bench.lease)
    reporter.note(StructureReport("view", "public.v", "it needs a role"))
    reporter.report(figures(Phase.COPY, 40))
    for table in ("event", "progress"):
        await rename(bench.store, table, f"{table}_away")
        with pytest.raises(StoreUnavailable):
            await reporter.flush()
        await rename(bench.store, f"{table}_away", table)
    await asyncio.gather(reporter.flush(), reporter.flush())
    events = await bench.store.jobs.load_events(bench.job_id, project_id=bench.caller.project_id)
    assert [event.message for event in events if event.kind == "structure"] == ["view public.v: it needs a role"]
    assert (await bench.job()).status is JobStatus.COPYING


async def test_tables_are_told_of_after_the_clock_was_set_back(bench: Bench):
    def copied(rows: int) -> Progress:
        table = TableProgress("public", "t", rows, 9, rows, 9, TotalOrigin.STATISTICS, is_finished=False)
        return figures(Phase.COPY, rows, tables=(table,))

    reporter = StoreReporter(bench.store.work, bench.lease)
    reporter.report(copied(1))
    await reporter.flush()
    set_back = copied(2)
    reporter.report(replace(set_back, at_us=set_back.at_us - 3600 * 10**6))
    await reporter.flush()
    told = await bench.store.jobs.load_table_progress(bench.job_id, project_id=bench.caller.project_id)
    assert told is not None
    assert [table.rows_done for table in told.tables] == [2]


async def test_what_a_killed_worker_had_no_time_to_say_of_the_structure_is_said_once(bench: Bench):
    view, role = StructureReport("VIEW", "public.v", "left out"), StructureReport("OWNER", "bob", "no such role")
    killed = StoreReporter(bench.store.work, bench.lease)
    killed.note(view)
    await killed.flush()
    killed.note(role)  # and no flush any more
    next_one = StoreReporter(bench.store.work, bench.lease)
    next_one.note(role)  # said anew by itself, but not yet in the history
    for _ in range(2):  # each attempt does it
        await next_one.restate([view, role, role])  # the second time after it had left the job and come back
    await next_one.flush()
    events = await bench.store.jobs.load_events(bench.job_id, project_id=bench.caller.project_id)
    assert sorted(event.message for event in events if event.kind == "structure") == [
        "OWNER bob: no such role",
        "OWNER bob: no such role",
        "VIEW public.v: left out",
    ]


async def rename(store: Store, table: str, name: str) -> None:
    async with store.database.writing() as connection:
        await connection.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))


async def test_estimates_go_with_their_job(bench: Bench):
    score = Score(1, median_error=0.25, tenth_error=None, within=1.0, confidence=0.8, took_s=5.0)
    track = TrackRecord(score=score, finished_us=5)
    await bench.store.work.save_progress(bench.lease, figures(Phase.DONE, 100), track=track)
    assert list(await bench.store.jobs.load_scores()) == [bench.job_id]
    assert await bench.store.jobs.load_scores() == await bench.store.jobs.load_scores()
    await bench.store.jobs.forget(bench.job_id)
    assert await bench.store.jobs.load_scores() == {}


async def test_status_follows_the_phases_and_a_shutdown_leaves_it(bench: Bench):
    seen = []

    async def stream(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        reporter.report(figures(Phase.STRUCTURE, 1))
        seen.append((await bench.until(JobStatus.COPYING)).full_complete_us)
        reporter.report(figures(Phase.CATCH_UP, 100))
        seen.append((await bench.until(JobStatus.STREAMING)).full_complete_us)
        bench.shutdown.set()
        return await stopped(control)

    assert await bench.run(stream) is ExitCode.DONE
    assert seen[0] is None
    assert seen[1] is not None
    assert (await bench.job()).status is JobStatus.STREAMING
    assert await bench.is_lease_free()


@pytest.mark.parametrize(
    ("phase", "status"),
    [
        (None, JobStatus.START_FAILED),
        (Phase.PRECHECK, JobStatus.START_FAILED),
        (Phase.STRUCTURE, JobStatus.COPY_FAILED),
        (Phase.COPY, JobStatus.COPY_FAILED),
        (Phase.INDEXES, JobStatus.COPY_FAILED),
        (Phase.CATCH_UP, JobStatus.STREAM_FAILED),
        (Phase.STREAM, JobStatus.STREAM_FAILED),
    ],
)
async def test_a_failure_is_shown_in_its_phase(bench: Bench, phase: Phase | None, status: JobStatus):
    async def fail(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        if phase is not None:
            reporter.report(figures(phase, 7))
        raise ConnectionRefused("the source refuses", side=Side.SOURCE, host="source.example")

    assert await bench.run(fail) is ExitCode.DONE
    job = await bench.job()
    assert job.status is status
    assert job.failure is not None
    assert (job.failure.code, job.failure.side) == ("CONNECTION_REFUSED", "source")
    assert job.failure.context == {"host": "source.example"}
    assert await bench.is_lease_free()


async def test_a_stream_that_cannot_come_back_has_failed_as_a_stream(bench: Bench):
    async def stream(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        reporter.report(figures(Phase.STREAM, 100))
        await bench.until(JobStatus.STREAMING)
        await bench.service.pause(bench.caller, bench.job_id, PauseMode.ALL)
        return await stopped(control)

    await bench.run(stream)
    assert (await bench.job()).status is JobStatus.PAUSED
    await bench.service.retry(bench.caller, bench.job_id)
    lease = await bench.store.work.take_lease(bench.job_id, "second", ttl_s=30)
    assert lease is not None
    bench.lease = lease

    async def fail(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        raise ConnectionRefused("the source refuses", side=Side.SOURCE)

    await bench.run(fail)
    assert (await bench.job()).status is JobStatus.STREAM_FAILED


async def test_a_worker_that_cannot_reach_a_database_goes_on_telling_what_it_waits_for(bench: Bench):
    attempts = 0

    async def unreachable() -> Sides:
        nonlocal attempts
        attempts += 1
        raise ServerUnreachable("nobody answers", side=Side.SOURCE)

    async def reach(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        engine = asyncio.create_task(
            run_pipeline(spec, unreachable, control=control, reporter=reporter, clock=SystemClock())
        )
        told = [(await bench.until_told(lambda seen: "retry in 1 s" in (seen.waiting_for or ""))).at_us]
        for _ in range(3):
            told.append((await bench.until_told(lambda seen: seen.at_us > told[-1])).at_us)
        assert attempts == 1
        known = await bench.service.health_of_one(bench.caller, bench.job_id)
        assert known.health.waits[0].kind is WaitKind.SOURCE_UNREACHABLE
        # Neither side has been seen: it may be configured anew.
        assert (await bench.job()).status is JobStatus.STARTING
        bench.shutdown.set()
        return await engine

    assert await bench.run(reach) is ExitCode.DONE
    assert (await bench.job()).failure is None


async def test_a_stream_that_goes_on_is_no_copy_and_has_no_outage_of_before(bench: Bench):
    async def stream(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        outage = Outage(since_us=5, error="nobody answers")
        source = SourceFacts(5, None, KeptLog("the slot", is_there=True, is_lost=True))
        seen = Diagnosis(6, source=source, moved_at_us=5, source_outage=outage)
        reporter.report(figures(Phase.STREAM, 100, diagnosis=seen))
        await bench.until(JobStatus.STREAMING)
        await bench.service.pause(bench.caller, bench.job_id, PauseMode.ALL)
        return await stopped(control)

    await bench.run(stream)
    await bench.service.retry(bench.caller, bench.job_id)
    lease = await bench.store.work.take_lease(bench.job_id, "second", ttl_s=30)
    assert lease is not None
    bench.lease = lease
    resumed_us = SystemClock().now_us()

    async def opening() -> Sides:
        seen = await bench.until_told(lambda seen: seen.at_us > resumed_us)
        assert (seen.phase, seen.percent) == (Phase.STREAM, 100)
        assert (await bench.job()).status is JobStatus.STARTING
        known = await bench.service.health_of_one(bench.caller, bench.job_id)
        assert [wait.kind for wait in known.health.waits] == [WaitKind.OTHER]  # for both to answer
        assert known.health.stall is None
        assert known.health.retention.level is Level.LOST
        raise ConnectionRefused("the source refuses", side=Side.SOURCE)

    async def go_on(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        return await run_pipeline(spec, opening, control=control, reporter=reporter, clock=SystemClock())

    await bench.run(go_on)
    job = await bench.job()
    assert job.status is JobStatus.STREAM_FAILED
    assert job.failure is not None
    assert job.failure.code == "CONNECTION_REFUSED"


async def test_a_pause_comes_true_when_the_engine_has_stopped(bench: Bench):
    async def copy(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        reporter.report(figures(Phase.COPY, 10))
        await bench.until(JobStatus.COPYING)
        await bench.service.pause(bench.caller, bench.job_id, PauseMode.TARGET)
        await control.wait_stop()  # a copy knows one kind of pause only
        assert (await bench.job()).status is JobStatus.COPYING
        return RunResult.STOPPED

    assert await bench.run(copy) is ExitCode.DONE
    job = await bench.job()
    assert (job.status, job.pause_mode) == (JobStatus.PAUSED, PauseMode.TARGET)
    assert await bench.is_lease_free()


async def test_a_stream_pauses_its_applier_and_goes_on(bench: Bench):
    async def stream(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        reporter.report(figures(Phase.STREAM, 100))
        await bench.until(JobStatus.STREAMING)
        await bench.service.pause(bench.caller, bench.job_id, PauseMode.TARGET)
        async with asyncio.timeout(20):
            while not control.is_apply_paused:
                await asyncio.sleep(0.01)
        assert (await bench.job()).status is JobStatus.STREAMING
        reporter.report(figures(Phase.STREAM, 100, waiting_for=WAITING_FOR_PAUSE))
        job = await bench.until(JobStatus.PAUSED)
        assert job.pause_mode is PauseMode.TARGET
        assert not control.is_stop_wanted
        await bench.service.retry(bench.caller, bench.job_id)
        reporter.report(figures(Phase.STREAM, 100))
        job = await bench.until(JobStatus.STREAMING)
        assert (job.wanted, job.pause_mode) == (Wanted.RUN, None)
        assert not control.is_apply_paused
        bench.shutdown.set()
        return await stopped(control)

    assert await bench.run(stream) is ExitCode.DONE


async def test_an_idle_stream_that_cannot_rest_is_stopped_to_be_paused(bench: Bench):
    bench.pause_grace_s = 0.1

    async def stream(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        reporter.report(figures(Phase.STREAM, 100))
        await bench.until(JobStatus.STREAMING)
        await bench.service.pause(bench.caller, bench.job_id, PauseMode.TARGET)
        return await stopped(control)

    assert await bench.run(stream) is ExitCode.DONE
    job = await bench.job()
    assert (job.status, job.pause_mode) == (JobStatus.PAUSED, PauseMode.TARGET)
    assert await bench.is_lease_free()


async def test_a_lost_key_fails_the_job_and_says_so(bench: Bench, data_dir: Path):
    other = Keyring("deadbeef", {"deadbeef": b"x" * 32})
    bench.store.work._keyring = other

    async def never(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        raise AssertionError

    assert await bench.run(never) is ExitCode.DONE
    job = await bench.job()
    assert job.status is JobStatus.START_FAILED
    assert job.failure is not None
    assert job.failure.code == "KEY_MISSING"


async def test_an_end_stops_the_engine_and_leaves_the_rest_to_the_supervisor(bench: Bench):
    async def stream(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        reporter.report(figures(Phase.STREAM, 100))
        await bench.until(JobStatus.STREAMING)
        await bench.service.end(bench.caller, bench.job_id)
        return await stopped(control)

    assert await bench.run(stream) is ExitCode.DONE
    assert (await bench.job()).status is JobStatus.ENDING
    assert await bench.is_lease_free()


async def test_a_failure_while_ending_does_not_hide_the_end(bench: Bench):
    async def stream(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        await bench.service.end(bench.caller, bench.job_id)
        await control.wait_stop()
        raise ConnectionRefused("the source refuses", side=Side.SOURCE)

    assert await bench.run(stream) is ExitCode.DONE
    assert (await bench.job()).status is JobStatus.ENDING


async def test_a_new_password_is_taken_up_by_the_running_worker(bench: Bench):
    passwords = []

    async def stream(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        passwords.append(spec.source.password)
        reporter.report(figures(Phase.STREAM, 100))
        await bench.until(JobStatus.STREAMING)
        if len(passwords) == 1:
            await bench.service.change_password(bench.caller, bench.job_id, is_source=True, password="changed")
        else:
            bench.shutdown.set()
        return await stopped(control)

    assert await bench.run(stream) is ExitCode.DONE
    assert passwords[1] == "changed" != passwords[0]


async def test_a_speed_limit_reaches_the_running_engine(bench: Bench):
    async def copy(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        assert control.limit_bytes_per_s() is None
        await bench.service.set_speed(
            bench.caller, bench.job_id, [SpeedWindow(0, 1439, 5_000_000), SpeedWindow(0, 1439, 3_000_000)]
        )
        async with asyncio.timeout(20):
            while control.limit_bytes_per_s() is None:
                await asyncio.sleep(0.01)
        assert control.limit_bytes_per_s() == 3_000_000
        return RunResult.COPIED

    assert await bench.run(copy) is ExitCode.DONE


async def test_an_engine_that_does_not_listen_is_cancelled(bench: Bench):
    bench.stop_grace_s = 0.1

    async def deaf(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        bench.shutdown.set()
        await asyncio.Event().wait()
        raise AssertionError

    assert await bench.run(deaf) is ExitCode.DONE
    assert await bench.is_lease_free()


async def test_an_engine_that_ends_unasked_fails_its_job(bench: Bench):
    async def quitter(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        return RunResult.STOPPED

    assert await bench.run(quitter) is ExitCode.DONE
    job = await bench.job()
    assert job.failure is not None
    assert job.failure.code == "INVARIANT_BROKEN"


async def test_notes_of_the_structure_go_into_the_history(bench: Bench):
    async def copy(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        reporter.note(StructureReport("ACL", "public.orders", "role clerk does not exist on the target"))
        return RunResult.COPIED

    await bench.run(copy)
    history = await bench.service.events(bench.caller, bench.job_id)
    assert ("structure", "ACL public.orders: role clerk does not exist on the target") in [
        (event.kind, event.message) for event in history
    ]


async def test_i7_a_defect_is_told_without_its_text(bench: Bench):
    async def broken(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        raise ValueError(f"row {spec.source.password} does not parse")

    with structlog.testing.capture_logs() as logs:
        assert await bench.run(broken) is ExitCode.DONE
    job = await bench.job()
    assert job.failure is not None
    assert job.failure.message == "an unexpected ValueError stopped the work"
    assert any(entry["event"] == "worker_defect" for entry in logs)
    assert "Geheim" not in repr(logs) + repr(job)


# --- the lease --------------------------------------------------------------------------------------


async def test_i6_a_worker_whose_lease_was_taken_stops_and_writes_nothing(bench: Bench):
    bench.ttl_s = 2.0
    has_stopped = asyncio.Event()

    async def stream(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        reporter.report(figures(Phase.STREAM, 100, changes_applied=1))
        await bench.until(JobStatus.STREAMING)
        # As if the store had stood still for this worker: the lease is given back behind its back.
        await bench.store.work.release_lease(bench.lease)
        successor = await bench.store.work.take_lease(bench.job_id, "successor", ttl_s=30)
        assert successor is not None
        reporter.report(figures(Phase.STREAM, 100, changes_applied=999))
        try:
            await asyncio.Event().wait()
        finally:
            has_stopped.set()
        raise AssertionError

    assert await bench.run(stream) is ExitCode.LEASE_LOST
    assert has_stopped.is_set()
    known = await bench.store.work.load_last_progress(bench.job_id)
    assert known is not None
    assert known.changes_applied == 1


async def test_i6_an_engine_that_lost_the_lease_on_the_target_leaves_the_job_alone(bench: Bench):
    async def stream(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        raise LeaseLost("epoch 1 no longer owns it", side=Side.TARGET)

    assert await bench.run(stream) is ExitCode.LEASE_LOST
    job = await bench.job()
    assert (job.status, job.failure) == (JobStatus.STARTING, None)


async def test_i6_a_worker_without_store_stops_when_its_lease_has_run_out(bench: Bench):
    bench.ttl_s = 2.0
    began_s = asyncio.get_running_loop().time()

    async def copy(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        await bench.store.work.edit(bench.lease, lambda job: JobEdit(replace(job, description="x")))
        async with bench.store.database.writing() as connection:
            # Nobody gets at the store while this transaction lasts.
            if bench.store.database.is_sqlite:
                await control.wait_stop()
            else:
                await connection.exec_driver_sql("LOCK TABLE lease IN ACCESS EXCLUSIVE MODE")
                await control.wait_stop()
            assert asyncio.get_running_loop().time() - began_s >= 2.0
        return RunResult.STOPPED

    assert await bench.run(copy) is ExitCode.LEASE_LOST


async def test_a_full_job_that_is_copied_needs_nobody(
    store: Store, service: JobService, caller: Caller, tmp_path: Path
):
    job = await create_job(service, caller, mode=TaskMode.FULL)
    await service.start(caller, job.job_id)
    lease = await store.work.take_lease(job.job_id, "bench", ttl_s=30)
    assert lease is not None
    bench = Bench(store, service, caller, job.job_id, lease, tmp_path / "work")

    async def copy(spec: JobSpec, control: Control, reporter: Reporter) -> RunResult:
        return RunResult.COPIED

    await bench.run(copy)
    assert await store.work.find_waiting(limit=10) == []

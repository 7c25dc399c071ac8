"""Supervisors and real worker processes around a scripted engine, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.integration.store.conftest import (
    SOURCE_PASSWORD,
    TARGET_PASSWORD,
    ScriptedProbes,
    create_job,
    read_job,
)
from towline.clock import SystemClock
from towline.domain.errors import ConnectionLost, ConnectionRefused, Side
from towline.domain.jobs import Endpoint, JobStatus, PauseMode, TaskMode
from towline.domain.structure import StructureReport
from towline.service.jobs import JobService
from towline.service.ports import Caller, Job, JobDraft, JobEdit
from towline.store.opening import Store
from towline.worker.runner import ChildProcessRunner
from towline.worker.supervisor import Supervisor, SupervisorSettings


@dataclass
class Yard:
    """A store with supervisors; workers note in `record` when they begin and end."""

    store: Store
    service: JobService
    caller: Caller
    probes: ScriptedProbes
    store_url: str
    data_dir: Path
    record: Path

    def supervisor(self, script: str, *, ttl_s: float = 15.0, max_workers: int = 64) -> Supervisor:
        runner = ChildProcessRunner(
            [sys.executable, "-m", "tests.integration.store.scripted_worker", script, str(self.record)],
            store_url=self.store_url,
            data_dir=str(self.data_dir),
            ttl_s=ttl_s,
        )
        settings = SupervisorSettings(
            work_root=self.data_dir / "work",
            poll_s=0.05,
            ttl_s=ttl_s,
            max_workers=max_workers,
            crash_delays_s=(0.0, 0.1),
        )
        return Supervisor(self.store.work, runner, self.probes, clock=SystemClock(), settings=settings)

    @asynccontextmanager
    async def supervised(self, *supervisors: Supervisor) -> AsyncIterator[None]:
        stop = asyncio.Event()
        running = [asyncio.create_task(supervisor.run(stop)) for supervisor in supervisors]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*running)

    async def start(self, name: str = "shop-move", *, mode: TaskMode = TaskMode.FULL_AND_STREAM) -> str:
        job = await create_job(self.service, self.caller, name, mode=mode)
        await self.service.start(self.caller, job.job_id)
        return job.job_id

    async def until(self, job_id: str, status: JobStatus) -> Job:
        async with asyncio.timeout(60):
            while (job := await read_job(self.service, self.caller, job_id)).status is not status:
                assert job.failure is None or job.status is JobStatus.END_FAILED, job.failure
                await asyncio.sleep(0.02)
        return job

    async def until_noted(self, is_there: Callable[[list[list[str]]], bool]) -> list[list[str]]:
        async with asyncio.timeout(60):
            while not is_there(notes := self.notes()):
                await asyncio.sleep(0.02)
        return notes

    def notes(self) -> list[list[str]]:
        return [line.split() for line in self.record.read_text().splitlines()]

    async def changes(self, job_id: str) -> int:
        known = await self.store.work.load_last_progress(job_id)
        return known.changes_applied if known is not None else 0


@pytest.fixture
def yard(
    store: Store,
    service: JobService,
    caller: Caller,
    probes: ScriptedProbes,
    store_url: str,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Yard:
    root = Path(__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", f"{root / 'src'}:{root}")
    record = tmp_path / "record"
    record.touch()
    return Yard(store, service, caller, probes, store_url, data_dir, record)


def is_running(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


def read_process(pid: str) -> bytes:
    """What other processes can see of one."""
    folder = Path(f"/proc/{pid}")
    return (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()


def begins(notes: list[list[str]]) -> list[list[str]]:
    return [note for note in notes if note[0] == "begin"]


async def test_a_started_job_is_run_to_its_end(yard: Yard):
    async with yard.supervised(yard.supervisor("copy")):
        job_id = await yard.start(mode=TaskMode.FULL)
        await yard.until(job_id, JobStatus.COPIED)
    assert len(begins(yard.notes())) == 1


async def test_a_stopping_server_leaves_the_status_and_the_next_one_goes_on(yard: Yard):
    async with yard.supervised(yard.supervisor("stream")):
        job_id = await yard.start()
        await yard.until(job_id, JobStatus.STREAMING)
    assert [note[0] for note in yard.notes()] == ["begin", "end"]
    assert (await read_job(yard.service, yard.caller, job_id)).status is JobStatus.STREAMING

    async with yard.supervised(yard.supervisor("stream")):
        notes = await yard.until_noted(lambda notes: len(begins(notes)) == 2)
    assert [note[1] for note in begins(notes)] == ["1", "2"]


async def test_a_worker_that_keeps_crashing_fails_its_job(yard: Yard):
    async with yard.supervised(yard.supervisor("crash")):
        job_id = await yard.start()
        job = await yard.until(job_id, JobStatus.START_FAILED)
    assert job.failure is not None
    assert job.failure.code == "WORKER_CRASHED"
    assert len(begins(yard.notes())) == 3

    async with yard.supervised(yard.supervisor("stream")):
        await yard.service.retry(yard.caller, job_id)
        await yard.until(job_id, JobStatus.STREAMING)


async def test_i6_two_supervisors_never_run_one_job_twice(yard: Yard):
    async with yard.supervised(*(yard.supervisor("stream") for _ in range(3))):
        job_ids = [await yard.start(f"job-{number}") for number in range(3)]
        for job_id in job_ids:
            await yard.until(job_id, JobStatus.STREAMING)
        for job_id in job_ids:
            await yard.service.pause(yard.caller, job_id, PauseMode.ALL)
            await yard.until(job_id, JobStatus.PAUSED)
            await yard.service.retry(yard.caller, job_id)
            await yard.until(job_id, JobStatus.STREAMING)
    # Three jobs, each run under epoch 1 and, after the pause, under epoch 2.
    assert sorted(note[1] for note in begins(yard.notes())) == ["1", "1", "1", "2", "2", "2"]


async def stop_outside_of_a_write(pid: int, store_url: str) -> None:
    """SIGSTOP at a moment when the process does not hold SQLite's one write lock, which would stop everybody."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        if not store_url.startswith("sqlite") or is_writable(store_url.removeprefix("sqlite:///")):
            return
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.05)


async def stop_inside_of_a_write(pid: int, store_url: str) -> None:
    """SIGSTOP while the process holds SQLite's one write lock; anywhere where there is none."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        if not store_url.startswith("sqlite") or not is_writable(store_url.removeprefix("sqlite:///")):
            return
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.01)


def is_writable(path: str) -> bool:
    with closing(sqlite3.connect(path, timeout=0.1, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
        return True


async def test_i6_a_stalled_worker_cannot_write_when_it_wakes(yard: Yard):
    ttl_s = 5.0  # from the first renewal on; a busy machine needs a while to start the process
    job_id = await yard.start()
    # A supervisor that has gone: the stalled worker stays, as on a machine that was cut off.
    command = [sys.executable, "-m", "tests.integration.store.scripted_worker", "stream", str(yard.record)]
    runner = ChildProcessRunner(command, store_url=yard.store_url, data_dir=str(yard.data_dir), ttl_s=ttl_s)
    lease = await yard.store.work.take_lease(job_id, "cut-off", ttl_s=60)
    assert lease is not None
    stalled = await runner.start(lease)
    await yard.until(job_id, JobStatus.STREAMING)
    ((_, _, pid),) = begins(yard.notes())
    await stop_outside_of_a_write(int(pid), yard.store_url)
    try:
        async with yard.supervised(yard.supervisor("stream")):
            await yard.until_noted(lambda notes: len(begins(notes)) == 2)
            async with asyncio.timeout(60):
                while await yard.changes(job_id) < 20_000:
                    await asyncio.sleep(0.02)
            os.kill(int(pid), signal.SIGCONT)
            async with asyncio.timeout(60):
                code = await stalled.wait()
            after_waking = await yard.changes(job_id)
    finally:
        stalled.kill()
    assert code == 3
    assert after_waking > 20_000  # figures of epoch 2 only
    assert [note[1] for note in begins(yard.notes())] == ["1", "2"]


async def test_i6_a_hanging_worker_is_replaced_by_its_own_supervisor(yard: Yard, monkeypatch: pytest.MonkeyPatch):
    # The supervisor has something to write before the lease is over, and cannot.
    monkeypatch.setattr("towline.worker.supervisor.ZONE_SEEN_EVERY_S", 1.0)
    # Longer than a new process takes on a busy machine until it renews its lease for the first time.
    async with yard.supervised(yard.supervisor("stream", ttl_s=8.0)):
        job_id = await yard.start()
        await yard.until(job_id, JobStatus.STREAMING)
        ((_, epoch, pid),) = begins(yard.notes())
        await stop_inside_of_a_write(int(pid), yard.store_url)
        notes = await yard.until_noted(lambda notes: len(begins(notes)) == 2)
        await yard.until(job_id, JobStatus.STREAMING)
    assert int(begins(notes)[1][1]) == int(epoch) + 1
    assert not is_running(pid)


async def test_a_killed_server_takes_its_workers_along(yard: Yard):
    job_id = await yard.start()
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.store.scripted_server", str(yard.data_dir), str(yard.record)),
        stdin=asyncio.subprocess.PIPE,
    )
    try:
        assert server.stdin is not None
        server.stdin.write(yard.store_url.encode() + b"\n")
        await yard.until(job_id, JobStatus.STREAMING)
    finally:
        server.kill()
        await server.wait()
        assert server.stdin is not None
        server.stdin.close()
    notes = await yard.until_noted(lambda notes: notes[-1][0] == "end")
    assert notes[-1][1:] == notes[0][1:]
    async with asyncio.timeout(60):
        while await yard.store.work.take_lease(job_id, "next", ttl_s=30) is None:
            await asyncio.sleep(0.02)


async def test_a_job_without_databases_fails_to_start_and_says_what_is_missing(yard: Yard):
    (created,) = await yard.service.create(
        yard.caller, [JobDraft("empty", TaskMode.FULL, Endpoint("postgresql"), Endpoint("postgresql", "h"))]
    )
    await yard.service.start(yard.caller, created.job_id)
    async with yard.supervised(yard.supervisor("copy")):
        job = await yard.until(created.job_id, JobStatus.START_FAILED)
    assert job.failure is not None
    assert job.failure.code == "ENDPOINT_INCOMPLETE"
    assert "source host, source port, source user, target port, target user" in job.failure.message
    assert yard.notes() == []


async def test_a_pause_of_a_job_whose_worker_is_gone_comes_true(yard: Yard):
    job_id = await yard.start()
    await yard.store.jobs.edit(job_id, lambda job: JobEdit(replace(job, status=JobStatus.COPYING)), project_id=None)
    await yard.service.pause(yard.caller, job_id, PauseMode.ALL)
    async with yard.supervised(yard.supervisor("copy")):
        await yard.until(job_id, JobStatus.PAUSED)
    assert yard.notes() == []


async def test_jobs_above_the_limit_wait_for_a_free_place(yard: Yard):
    async with yard.supervised(yard.supervisor("stream", max_workers=1)):
        first, second = await yard.start("first"), await yard.start("second")
        await yard.until(first, JobStatus.STREAMING)
        assert (await read_job(yard.service, yard.caller, second)).status is JobStatus.STARTING
        await yard.service.end(yard.caller, first)
        await yard.until(second, JobStatus.STREAMING)


# --- ending -----------------------------------------------------------------------------------------


async def test_an_end_stops_the_worker_and_removes_the_traces(yard: Yard):
    async with yard.supervised(yard.supervisor("stream")):
        job_id = await yard.start()
        await yard.until(job_id, JobStatus.STREAMING)
        await yard.service.end(yard.caller, job_id)
        await yard.until(job_id, JobStatus.ENDED)
        deleted = await yard.service.delete(yard.caller, job_id)
    assert yard.probes.removed == [job_id]
    assert [note[0] for note in yard.notes()] == ["begin", "end"]
    assert deleted.error is None
    assert not (yard.data_dir / "work" / job_id).exists()


async def test_an_end_that_cannot_clean_up_fails_until_it_is_forced(yard: Yard):
    job_id = await yard.start()
    yard.probes.error = ConnectionRefused("source.example refuses", side=Side.SOURCE)
    async with yard.supervised(yard.supervisor("stream")):
        await yard.service.end(yard.caller, job_id)
        job = await yard.until(job_id, JobStatus.END_FAILED)
        assert job.failure is not None
        assert job.failure.code == "CONNECTION_REFUSED"
        await yard.service.end(yard.caller, job_id, force=True)
        await yard.until(job_id, JobStatus.ENDED)
    warnings = [event.message for event in await yard.service.events(yard.caller, job_id) if event.kind == "warning"]
    assert len(warnings) == 1
    assert "source source.example:5432/shop" in warnings[0]
    assert job_id in warnings[0]


async def test_what_the_end_tells_is_in_the_history_once(yard: Yard):
    job_id = await yard.start()
    yard.probes.error = ConnectionRefused("source.example refuses", side=Side.SOURCE)
    yard.probes.told = [StructureReport("EVENT", "shop.tidy", "stays disabled")]
    async with yard.supervised(yard.supervisor("stream")):
        await yard.service.end(yard.caller, job_id)
        await yard.until(job_id, JobStatus.END_FAILED)
        yard.probes.error = None
        await yard.service.end(yard.caller, job_id, force=True)
        await yard.until(job_id, JobStatus.ENDED)
    told = [event.message for event in await yard.service.events(yard.caller, job_id) if "shop.tidy" in event.message]
    assert told == ["EVENT shop.tidy: stays disabled"]
    assert yard.probes.forced == [False, True]


async def test_an_end_tries_again_when_time_may_heal_it(yard: Yard):
    job_id = await yard.start()
    yard.probes.error = ConnectionLost("the line broke", side=Side.TARGET)
    async with yard.supervised(yard.supervisor("stream")):
        await yard.service.end(yard.caller, job_id)
        await yard.until(job_id, JobStatus.ENDING)
        yard.probes.error = None
        await yard.until(job_id, JobStatus.ENDED)
    assert yard.probes.removed == [job_id]


async def test_a_job_that_was_never_configured_ends_at_once(yard: Yard):
    (created,) = await yard.service.create(
        yard.caller, [JobDraft("empty", TaskMode.FULL, Endpoint("postgresql"), Endpoint("postgresql"))]
    )
    yard.probes.error = ConnectionRefused("never asked", side=Side.SOURCE)
    async with yard.supervised(yard.supervisor("copy")):
        await yard.service.end(yard.caller, created.job_id)
        await yard.until(created.job_id, JobStatus.ENDED)


# --- secrets ----------------------------------------------------------------------------------------


async def test_i7_a_worker_shows_no_secret_to_other_users(yard: Yard):
    async with yard.supervised(yard.supervisor("stream")):
        job_id = await yard.start()
        await yard.until(job_id, JobStatus.STREAMING)
        ((_, _, pid),) = begins(yard.notes())
        shown = read_process(pid)
    for secret in (SOURCE_PASSWORD, TARGET_PASSWORD, yard.store_url):
        assert secret.encode() not in shown

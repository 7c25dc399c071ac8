"""Gives each job that needs work to exactly one worker.

Theory of operation.  One supervisor runs in each server process; all of them compete for leases in the store,
and none knows of the others.  Once a second, or at once when poked, it looks for jobs that need somebody and
have no owner, takes the lease of each and starts one task per job.  Such a task owns its lease: it either has
a worker run the job and waits for that to end, or does the small things itself (ends a job, marks one that
cannot start). A worker that crashed costs its job a growing delay, and after a few in a row the job fails.

A stopping supervisor asks its workers to stop, waits, kills what does not listen, and leaves every job's
status as it is: whoever finds the lease free goes on.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import structlog

from towline.domain.errors import LeaseLost, TowlineError, TransientError, WorkerCrashed
from towline.domain.jobs import JobStatus
from towline.domain.nodes import DEFAULT_ZONE, ZONE_SEEN_EVERY_S
from towline.engine.tasks import end_tasks
from towline.service.decisions import as_failure, fail_incomplete, find_missing_parts
from towline.service.ports import Clock, DecideJob, Job, JobEdit, Lease, Probes, Waiting, Wanted, WorkStore
from towline.worker import outcomes
from towline.worker.ending import end_job
from towline.worker.exits import ExitCode
from towline.worker.leasing import LeaseKeeper
from towline.worker.runner import Runner, WorkerHandle

log = structlog.get_logger(__name__)

LEASE_TTL_S = 15.0
_STOP_GRACE_S = 40.0
# The first restart comes at once: a single crash should cost the job nothing.
CRASH_DELAYS_S = (0.0, 2.0, 10.0, 30.0)


class Action(Enum):
    """What a job without an owner needs."""

    RUN = "run"
    END = "end"
    FAIL_INCOMPLETE = "fail_incomplete"
    FAIL_CRASHED = "fail_crashed"
    PAUSE = "pause"


def choose_action(waiting: Waiting, *, max_crashes: int) -> Action:
    """Pure. `max_crashes` in a row are forgiven; after one more the job fails."""
    job = waiting.job
    if job.status is JobStatus.ENDING:
        return Action.END
    if job.wanted in (Wanted.PAUSE_ALL, Wanted.PAUSE_TARGET):
        return Action.PAUSE
    if find_missing_parts(job.source, job.target):
        return Action.FAIL_INCOMPLETE
    if waiting.crashes > max_crashes:
        return Action.FAIL_CRASHED
    return Action.RUN


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """`max_workers`: jobs above it wait until another one ends."""

    work_root: Path
    poll_s: float = 1.0
    ttl_s: float = LEASE_TTL_S
    max_workers: int = 64
    stop_grace_s: float = _STOP_GRACE_S
    crash_delays_s: tuple[float, ...] = CRASH_DELAYS_S
    zone: str = DEFAULT_ZONE


class Supervisor:
    """Call `run` once; `poke` from the same event loop."""

    def __init__(
        self, store: WorkStore, runner: Runner, probes: Probes, *, clock: Clock, settings: SupervisorSettings
    ) -> None:
        self._store = store
        self._runner = runner
        self._probes = probes
        self._clock = clock
        self._settings = settings
        # Names the process for people; the random part tells apart two that had the same process id.
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers: dict[str, WorkerHandle] = {}
        self._poked = asyncio.Event()
        self._zone_due_s = 0.0

    @property
    def owner(self) -> str:
        return self._owner

    def poke(self) -> None:
        """Look for work now rather than at the next poll."""
        self._poked.set()

    def kill_workers(self) -> None:
        """End them at once; their jobs go on in the next worker from the target's own memory."""
        for handle in self._workers.values():
            handle.kill()

    async def run(self, stop: asyncio.Event) -> None:
        """Supervise until `stop` is set and every worker has ended."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._poked.clear()
                await self._look_for_work()
                poked = asyncio.create_task(self._poked.wait())
                await asyncio.wait(
                    {stopping, poked}, timeout=self._settings.poll_s, return_when=asyncio.FIRST_COMPLETED
                )
                poked.cancel()
        finally:
            stopping.cancel()
            await self._stop_all()

    async def _look_for_work(self) -> None:
        try:
            # Before anything is written: a worker that was stopped inside a write keeps all others from writing into a
            # store that is a file, and goes on to do so until it is ended.
            free = self._settings.max_workers - len(self._tasks)
            found = await self._store.find_waiting(limit=max(0, free), zone=self._settings.zone)
            for waiting in found:
                self._end_stale(waiting.job.job_id)
            for waiting in found:
                await self._take(waiting)
            for job_id in await self._store.start_due():
                log.info("scheduled_start", job_id=job_id)
                self._poked.set()
            if self._clock.monotonic_s() >= self._zone_due_s:
                await self._store.see_zone(self._settings.zone)
                self._zone_due_s = self._clock.monotonic_s() + ZONE_SEEN_EVERY_S
        except TransientError as error:
            # The store may be back at the next look; running workers go on by themselves meanwhile.
            log.warning("store_not_reached", error=error.code)
        except Exception as error:
            # A row that cannot be read must not end the supervision of all the others.
            log.error("supervisor_defect", error=type(error).__name__, exc_info=error)

    def _end_stale(self, job_id: str) -> None:
        """Its lease has run out although its process is there: it hangs, and could only be in the way."""
        stale = self._workers.get(job_id)
        if stale is not None:
            log.warning("stale_worker_killed", job_id=job_id)
            stale.kill()

    async def _take(self, waiting: Waiting) -> None:
        lease = await self._store.take_lease(waiting.job.job_id, self._owner, ttl_s=self._settings.ttl_s)
        if lease is None:
            return
        task = asyncio.create_task(self._act(waiting, lease), name=f"job {lease.job_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _act(self, waiting: Waiting, lease: Lease) -> None:
        action = choose_action(waiting, max_crashes=len(self._settings.crash_delays_s))
        log.info("job_taken", job_id=lease.job_id, epoch=lease.epoch, action=action.value)
        try:
            match action:
                case Action.RUN:
                    await self._run_worker(waiting, lease)
                case Action.END:
                    await self._holding(lease, self._end(lease))
                case Action.PAUSE:
                    await self._edit(lease, outcomes.finish_pause)
                case Action.FAIL_INCOMPLETE:
                    await self._edit(lease, fail_incomplete)
                case Action.FAIL_CRASHED:
                    await self._fail_crashed(waiting, lease)
        except LeaseLost:
            log.warning("lease_lost", job_id=lease.job_id, epoch=lease.epoch)
        except TowlineError as error:
            log.warning("job_not_served", job_id=lease.job_id, code=error.code, message=error.message)
        except Exception as error:
            # One job's defect must not stop the others; its lease runs out and it is tried again.
            log.error("supervisor_defect", job_id=lease.job_id, error=type(error).__name__, exc_info=error)
        self.poke()

    # --- running ----------------------------------------------------------------------------------

    async def _run_worker(self, waiting: Waiting, lease: Lease) -> None:
        handle = await self._runner.start(lease)
        self._workers[lease.job_id] = handle
        try:
            code = await handle.wait()
        finally:
            if self._workers.get(lease.job_id) is handle:
                del self._workers[lease.job_id]
        if code in (ExitCode.DONE, ExitCode.LEASE_LOST):
            await self._store.release_lease(lease)
            return
        delays_s = self._settings.crash_delays_s
        # The last one ends the job, so nobody has to wait for that.
        delay_s = delays_s[waiting.crashes] if waiting.crashes < len(delays_s) else 0.0
        if await self._store.release_lease(lease, crash_delay_s=delay_s):
            log.warning("worker_crashed", job_id=lease.job_id, exit_code=code, retry_in_s=delay_s)

    async def _fail_crashed(self, waiting: Waiting, lease: Lease) -> None:
        job_id = lease.job_id
        crashed = WorkerCrashed(f"the worker of job {job_id} died {waiting.crashes} times in a row")
        known = await self._store.load_last_progress(job_id)
        await self._store.forgive_crashes(lease)
        await self._edit(lease, outcomes.fail(as_failure(crashed), last_phase=known.phase if known else None))

    # --- small things -----------------------------------------------------------------------------

    async def _edit(self, lease: Lease, decide: DecideJob) -> None:
        def decide_if_same(job: Job) -> JobEdit:
            # Taken back, or ended, since the look: the next look sees it.
            return decide(job) if job.status is not JobStatus.ENDING else JobEdit(job)

        await self._store.edit(lease, decide_if_same)
        await self._store.release_lease(lease)

    async def _end(self, lease: Lease) -> None:
        work_dir = self._settings.work_root / lease.job_id
        await end_job(self._store, self._probes, lease, clock=self._clock, work_dir=work_dir)
        await self._store.release_lease(lease)

    async def _holding(self, lease: Lease, work: Coroutine[Any, Any, None]) -> None:
        """Do the work while the lease is kept alive; it is cancelled when the lease is lost."""
        working = asyncio.create_task(work)
        keeper = LeaseKeeper(
            self._store,
            lease,
            ttl_s=self._settings.ttl_s,
            clock=self._clock,
            on_lost=lambda: _cancel(working),
        )
        keeping = asyncio.create_task(keeper.run_keeping())
        try:
            await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({working})
            if working.cancelled():
                raise LeaseLost(f"job {lease.job_id}: the lease was lost while it was ended")
            working.result()
        finally:
            await end_tasks(working, keeping)

    # --- stopping ---------------------------------------------------------------------------------

    async def _stop_all(self) -> None:
        for handle in list(self._workers.values()):
            handle.stop()
        idle = [task for task in self._tasks if task.get_name().removeprefix("job ") not in self._workers]
        await end_tasks(*idle)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._settings.stop_grace_s)
        self.kill_workers()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()

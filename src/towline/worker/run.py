"""One worker: runs one job under one lease until it is done, stopped or failed.

Theory of operation.  A worker process lives for one lease.  Three tasks run side by side:

- the engine (`run_job`), which does the work and only ever looks at its `Control`;
- the keeper, which renews the lease every third of its time;
- the follower, which writes the newest figures and reads what is wanted of the job, once a second or more often
  (`pace`).

Whoever wants the engine to stop says so to the control, with a reason.  The engine then ends at its next safe
point; if it does not within the grace period it is cancelled, which is as safe as a crash, only not as tidy.
When the lease is lost it is cancelled at once: nothing may be written any more (I6).  What the run makes of
the job's status is written under the lease, and the lease is given back last.

The process may be killed anywhere: the target's own ledger and checkpoint say how far it was.
"""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import structlog

from towline.domain.errors import InvariantBroken, LeaseLost, SetupError, TowlineError, TransientError
from towline.domain.jobs import JobSpec
from towline.engine.pipeline import RunResult
from towline.engine.ports import Control, Reporter
from towline.engine.tasks import end_tasks
from towline.service.decisions import as_failure
from towline.service.ports import Clock, DecideJob, Lease, WorkStore
from towline.worker import outcomes
from towline.worker.control import PAUSE_GRACE_S, JobControl, StopReason
from towline.worker.exits import ExitCode
from towline.worker.leasing import LeaseKeeper
from towline.worker.reporting import StoreReporter
from towline.worker.sampling import Sampler

log = structlog.get_logger(__name__)

FOLLOW_INTERVAL_S = 1.0
_COUNT_INTERVAL_S = 10.0
STOP_GRACE_S = 20.0
_CANCEL_GRACE_S = 5.0
# A worker that has run for so long is not in a crash loop.
_HEALTHY_AFTER_S = 300.0


class RunJob(Protocol):
    """Runs the pipeline of a job; `bootstrap.run_job` is the real one."""

    async def __call__(
        self,
        spec: JobSpec,
        *,
        epoch: int,
        control: Control,
        reporter: Reporter,
        clock: Clock,
        work_dir: Path,
    ) -> RunResult: ...


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker works with. `shutdown` is set when its server wants it to end."""

    store: WorkStore
    clock: Clock
    lease: Lease
    ttl_s: float
    work_dir: Path
    shutdown: asyncio.Event
    writes_heartbeat: bool = True
    follow_interval_s: float = FOLLOW_INTERVAL_S
    stop_grace_s: float = STOP_GRACE_S
    pause_grace_s: float = PAUSE_GRACE_S


async def run_worker(setup: WorkerSetup, run_job: RunJob) -> ExitCode:
    """Run the job of the lease; everything that is to be said about it is in the store afterwards.

    Raises:
        StoreUnavailable: the outcome could not be written; the lease runs out by itself.
    """
    try:
        while await _run_once(setup, run_job) is StopReason.RELOAD:
            log.info("settings_reloaded", job_id=setup.lease.job_id)
        await setup.store.release_lease(setup.lease)
        return ExitCode.DONE
    except LeaseLost:
        return ExitCode.LEASE_LOST


async def _run_once(setup: WorkerSetup, run_job: RunJob) -> StopReason | None:
    """One run of the engine with the settings of now; why it was stopped, None when it ended by itself."""
    try:
        run = await _Run.begin(setup)
    except SetupError as error:
        # Such as a missing key: the next worker would only meet the same.
        failure = as_failure(error)
        await setup.store.edit(setup.lease, outcomes.fail(failure, last_phase=None))
        return None
    engine = asyncio.create_task(
        run_job(
            run.spec,
            epoch=setup.lease.epoch,
            control=run.control,
            reporter=run.reporter,
            clock=setup.clock,
            work_dir=setup.work_dir,
        ),
        name="engine",
    )
    helpers = [
        asyncio.create_task(run.keeper.run_keeping(), name="lease keeper"),
        asyncio.create_task(run.follow(), name="follower"),
        asyncio.create_task(run.pass_on_shutdown(), name="shutdown"),
    ]
    try:
        await _wait_for_end(engine, run.control, grace_s=setup.stop_grace_s)
        return await run.conclude(engine)
    finally:
        await end_tasks(engine, *helpers)


async def _wait_for_end(engine: asyncio.Task[RunResult], control: JobControl, *, grace_s: float) -> None:
    """Return when the engine has ended, by itself, on request, or cancelled after its grace period."""
    stop = asyncio.create_task(control.wait_stop())
    try:
        await asyncio.wait({engine, stop}, return_when=asyncio.FIRST_COMPLETED)
        deadline_s = asyncio.get_running_loop().time() + grace_s
        while not engine.done() and control.reason is not StopReason.LEASE_LOST:
            left_s = deadline_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                log.warning("engine_cancelled", reason=str(control.reason))
                break
            await asyncio.wait({engine}, timeout=min(left_s, 0.2))
        if not engine.done():
            engine.cancel()
            await asyncio.wait({engine}, timeout=_CANCEL_GRACE_S)
    finally:
        stop.cancel()


class _Run:
    """The parts of one run, and what becomes of it."""

    def __init__(self, setup: WorkerSetup, spec: JobSpec, control: JobControl, keeper: LeaseKeeper) -> None:
        self.spec = spec
        self.control = control
        self.keeper = keeper
        self.reporter = StoreReporter(setup.store, setup.lease)
        self._setup = setup

    @classmethod
    async def begin(cls, setup: WorkerSetup) -> _Run:
        """Raises LeaseLost when there is nothing to run under."""
        controls: list[JobControl] = []
        keeper = LeaseKeeper(
            setup.store,
            setup.lease,
            ttl_s=setup.ttl_s,
            clock=setup.clock,
            on_lost=lambda: controls[0].stop(StopReason.LEASE_LOST),
        )
        await keeper.renew()
        job = await setup.store.load_job(setup.lease.job_id)
        control = JobControl(
            job,
            clock=setup.clock,
            is_lease_over=lambda: keeper.is_over,
            pause_grace_s=setup.pause_grace_s,
        )
        controls.append(control)
        control.follow(job)
        spec = replace(await setup.store.load_spec(setup.lease.job_id), writes_heartbeat=setup.writes_heartbeat)
        setup.work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(setup, spec, control, keeper)

    async def follow(self) -> None:
        """Figures out, wishes in, again and again. Until cancelled."""
        setup = self._setup
        began_s = setup.clock.monotonic_s()
        counted_s: float | None = None
        is_forgiven = False
        sampler = Sampler(setup.clock, work_dir=setup.work_dir, memory_limit_bytes=self.spec.memory_limit_bytes)
        while True:
            try:
                if sampler.is_due:
                    await setup.store.save_sample(setup.lease, sampler.take())
                if counted_s is None or setup.clock.monotonic_s() - counted_s > _COUNT_INTERVAL_S:
                    await self.reporter.count_jobs()
                    counted_s = setup.clock.monotonic_s()
                job = await self.reporter.flush()
                self.control.follow(job or await setup.store.load_job(setup.lease.job_id))
                if not is_forgiven and setup.clock.monotonic_s() - began_s > _HEALTHY_AFTER_S:
                    await setup.store.forgive_crashes(setup.lease)
                    is_forgiven = True
            except LeaseLost:
                self.control.stop(StopReason.LEASE_LOST)
                return
            except TransientError as error:
                log.warning("store_not_reached", job_id=setup.lease.job_id, error=error.code)
            await asyncio.sleep(min(setup.follow_interval_s, self.reporter.interval_s))

    async def pass_on_shutdown(self) -> None:
        await self._setup.shutdown.wait()
        self.control.stop(StopReason.SHUTDOWN)

    async def conclude(self, engine: asyncio.Task[RunResult]) -> StopReason | None:
        """Write what the run makes of the job, with its last figures.

        Raises:
            LeaseLost: nothing was written.
        """
        reason = self.control.reason
        if reason is StopReason.LEASE_LOST or self.keeper.is_over:
            raise LeaseLost(f"job {self.spec.job_id}: the lease was lost while it ran")
        if reason is StopReason.PAUSE:
            await self.reporter.pause(self._setup.clock.now_us())
        await self.reporter.flush()
        error = _error_of(engine)
        if isinstance(error, LeaseLost):
            raise error
        if error is not None and not (reason is not None and isinstance(error, TransientError)):
            await self._fail(error)
            return None
        if error is None and not engine.cancelled() and engine.result() is RunResult.COPIED:
            await self._edit(outcomes.finish_copy(now_us=self._setup.clock.now_us()))
            return None
        if error is None and not engine.cancelled() and engine.result() is RunResult.STRUCTURED:
            await self._edit(outcomes.finish_structure)
            return None
        if reason is None:
            # Run again and again it would only do the same.
            await self._fail(InvariantBroken("the pipeline ended although nobody had asked it to"))
        if reason is StopReason.PAUSE:
            await self._edit(outcomes.finish_pause)
        return reason

    async def _fail(self, error: BaseException) -> None:
        failure = as_failure(error)
        known = await self._setup.store.load_last_progress(self.spec.job_id)
        log.warning("job_failed", job_id=self.spec.job_id, code=failure.code, side=failure.side)
        if not isinstance(error, TowlineError) or isinstance(error, InvariantBroken):
            # I7: where, but not what: the text of a stray exception may quote a row.
            frames = traceback.extract_tb(error.__traceback__)
            where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
            log.error("worker_defect", job_id=self.spec.job_id, error=type(error).__name__, where=where)
        await self._edit(outcomes.fail(failure, last_phase=known.phase if known else None))

    async def _edit(self, decide: DecideJob) -> None:
        await self._setup.store.edit(self._setup.lease, decide)


def _error_of(engine: asyncio.Task[RunResult]) -> BaseException | None:
    """What ended the engine; of a group the first member that is no cancellation."""
    if not engine.done() or engine.cancelled():
        return None
    error = engine.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

"""Runs prechecks in the background of the server and remembers what they found.

A call to `begin` answers at once.  The stored run says how far it is; a run that has not finished and has not
been written for longer than a precheck may take was cut off by a server's end, and is shown as such.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Protocol

from towline.domain.errors import PrecheckInterrupted, Side, TowlineError, TransientError
from towline.domain.jobs import JobSpec
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.tables import ObjectSelection
from towline.engine.tasks import end_tasks
from towline.service.decisions import as_failure, find_missing_parts
from towline.service.ports import JobIds, JobStore, PrecheckRun, Probes

TIMEOUT_S = 90.0
_MAX_AT_ONCE = 8


class OnDefect(Protocol):
    """Told about an exception that is a defect of this program."""

    def __call__(self, job_id: str, error: BaseException) -> None: ...


class PrecheckRunner:
    """Owns the background tasks; close it before the event loop ends."""

    def __init__(self, store: JobStore, probes: Probes, *, on_defect: OnDefect) -> None:
        self._store = store
        self._probes = probes
        self._on_defect = on_defect
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_MAX_AT_ONCE)

    async def begin(self, job_id: str, *, project_id: str, edited: ObjectSelection | None = None) -> None:
        """Start a precheck; one that is running already goes on and answers this call too.

        `edited`: the objects that a job which has run shall have; what would join is looked at, as by the retry.
        """
        running = self._tasks.get(job_id)
        if running is not None and not running.done():
            return
        await self._store.save_precheck(PrecheckRun(job_id, 0, ()))
        task = asyncio.create_task(self._run(job_id, project_id, edited), name=f"precheck {job_id}")
        self._tasks[job_id] = task
        task.add_done_callback(lambda done: self._forget(job_id, done))

    async def load(self, job_ids: JobIds, *, project_id: str, now_us: int) -> dict[str, PrecheckRun]:
        """The last run of each job that ever had one."""
        stored = await self._store.load_prechecks(job_ids, project_id=project_id)
        return {job_id: _as_shown(run, at_us, now_us=now_us) for job_id, (at_us, run) in stored.items()}

    async def close(self) -> None:
        await end_tasks(*self._tasks.values())

    def _forget(self, job_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(job_id) is task:
            del self._tasks[job_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_defect(job_id, error)

    async def _run(self, job_id: str, project_id: str, edited: ObjectSelection | None) -> None:
        async with self._slots:
            try:
                spec = await self._store.load_spec(job_id, project_id=project_id)
                async with asyncio.timeout(TIMEOUT_S):
                    items = await self._check(spec, edited)
                run = PrecheckRun(job_id, 100, tuple(items))
            except TimeoutError:
                late = TransientError(f"the precheck did not finish within {TIMEOUT_S:.0f} s")
                run = PrecheckRun(job_id, 100, (), as_failure(late))
            except TowlineError as error:
                run = PrecheckRun(job_id, 100, (), as_failure(error))
            except Exception as error:
                self._on_defect(job_id, error)
                run = PrecheckRun(job_id, 100, (), as_failure(error))
            await self._store.save_precheck(run)

    async def _check(self, spec: JobSpec, edited: ObjectSelection | None) -> list[PrecheckItem]:
        missing = find_missing_parts(spec.source, spec.target)
        if missing:
            return [
                _incomplete(side, [part for part in missing if part.startswith(side.value)])
                for side in (Side.SOURCE, Side.TARGET)
            ]
        if edited is not None and spec.takes_objects_in:
            return await self._probes.check_joining(replace(spec, selection=edited))
        return await self._probes.run_prechecks(spec)


def _incomplete(side: Side, missing: list[str]) -> PrecheckItem:
    prefix = "src" if side is Side.SOURCE else "dst"
    if not missing:
        return PrecheckItem(f"{prefix}DbConnection", "network", Verdict.WARNING, message="not tried yet")
    return PrecheckItem(
        item=f"{prefix}DbConnection",
        group="network",
        verdict=Verdict.FAILED,
        reason=f"{prefix.upper()}_ENDPOINT_INCOMPLETE",
        message=f"not stored yet: {', '.join(missing)}",
        remedy="Store the database's host, port, user, password and name in the job.",
    )


def _as_shown(run: PrecheckRun, at_us: int, *, now_us: int) -> PrecheckRun:
    if run.percent == 100 or now_us - at_us < (TIMEOUT_S + 30) * 1_000_000:
        return run
    cut_off = PrecheckInterrupted(f"the precheck of job {run.job_id} was cut off by the end of the server")
    return PrecheckRun(run.job_id, 100, run.items, as_failure(cut_off))

"""Ends a job: removes what it left on both databases, then says so."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import structlog

from towline.domain.errors import TowlineError, TransientError
from towline.domain.jobs import Failure, JobSpec, JobStatus
from towline.engine.ports import Clock, Reporter
from towline.service.decisions import as_failure, find_missing_parts
from towline.service.ports import Job, JobEdit, Lease, Probes, Wanted, WorkStore
from towline.worker.reporting import StoreReporter

log = structlog.get_logger(__name__)

ATTEMPT_TIMEOUT_S = 60.0
_RETRY_DELAYS_S = (1.0, 3.0)


async def end_job(store: WorkStore, probes: Probes, lease: Lease, *, clock: Clock, work_dir: Path) -> None:
    """Take the job from ENDING to ENDED, or to END_FAILED with the reason. Safe to repeat after a crash.

    With force an unreachable database does not stop the end; what is left there is named in the history, as is all that
    the end does not leave as it is on the source.

    Raises:
        LeaseLost: somebody else goes on with it.
    """
    spec = await store.load_spec(lease.job_id)
    job = await store.load_job(lease.job_id)
    failure = None
    if not find_missing_parts(spec.source, spec.target):
        reporter = StoreReporter(store, lease)
        failure = await _remove_traces(probes, spec, reporter, by_force=job.wanted is Wanted.FORCE_END)
    await asyncio.to_thread(shutil.rmtree, work_dir, ignore_errors=True)
    job = await store.load_job(lease.job_id)
    if failure is not None and job.wanted is Wanted.FORCE_END:
        await store.add_events(lease, "warning", [_left_behind(spec, failure)])
        failure = None
    await store.edit(lease, lambda job: _ended(job, failure))
    log.info("job_ended", job_id=lease.job_id, is_clean=failure is None)


async def _remove_traces(probes: Probes, spec: JobSpec, reporter: Reporter, *, by_force: bool) -> Failure | None:
    for delay_s in (*_RETRY_DELAYS_S, None):
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                await probes.remove_traces(spec, reporter=reporter, by_force=by_force)
            return None
        except TimeoutError:
            return as_failure(TransientError(f"the databases did not answer within {ATTEMPT_TIMEOUT_S:.0f} s"))
        except TransientError as error:
            if delay_s is None:
                return as_failure(error)
            await asyncio.sleep(delay_s)
        except TowlineError as error:
            return as_failure(error)
    return None


def _ended(job: Job, failure: Failure | None) -> JobEdit:
    if job.status is not JobStatus.ENDING:
        return JobEdit(job)
    if failure is not None and job.wanted is not Wanted.FORCE_END:
        return JobEdit(replace(job, status=JobStatus.END_FAILED, failure=failure))
    return JobEdit(replace(job, status=JobStatus.ENDED, failure=None))


def _left_behind(spec: JobSpec, failure: Failure) -> str:
    return (
        f"ended by force although the {failure.side} could not be cleaned: {failure.message}. "
        f"Left behind may be the replication slot and the publication of job {spec.job_id} on "
        f"{_address(spec, 'source')}, and its rows in the schema towline on {_address(spec, 'target')}"
    )


def _address(spec: JobSpec, side: str) -> str:
    endpoint = spec.source if side == "source" else spec.target
    return f"{side} {endpoint.host}:{endpoint.port}/{endpoint.database}"

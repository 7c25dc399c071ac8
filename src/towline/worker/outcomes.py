"""What a run makes of a job's status: pure decisions, run by the store under lease and lock."""

from __future__ import annotations

from dataclasses import replace

from towline.domain.jobs import NEXT, Failure, JobStatus, PauseMode
from towline.domain.progress import WAITING_FOR_PAUSE, Phase, Progress
from towline.service.ports import DecideJob, Job, JobEdit, Wanted

_FULL_PHASES = frozenset({Phase.STRUCTURE, Phase.COPY, Phase.INDEXES})
_STREAM_PHASES = frozenset({Phase.CATCH_UP, Phase.STREAM})
_FAILED_AFTER = {
    JobStatus.STARTING: JobStatus.START_FAILED,
    JobStatus.COPYING: JobStatus.COPY_FAILED,
    JobStatus.STREAMING: JobStatus.STREAM_FAILED,
}
_PAUSE_MODES = {Wanted.PAUSE_TARGET: PauseMode.TARGET, Wanted.PAUSE_ALL: PauseMode.ALL}


def follow_progress(progress: Progress) -> DecideJob:
    """Move the status on to what the worker is doing; it never goes back from here."""

    def decide(job: Job) -> JobEdit:
        if progress.phase in _FULL_PHASES and job.status is JobStatus.STARTING:
            # Objects that join a job which was in step leave it in its incremental phase; its delay says the rest.
            is_joining = job.full_complete_us is not None and bool(job.attributes.get("edit"))
            return JobEdit(replace(job, status=JobStatus.STREAMING if is_joining else JobStatus.COPYING))
        if progress.phase in _STREAM_PHASES and JobStatus.STREAMING in NEXT[job.status]:
            return JobEdit(
                replace(
                    job,
                    status=JobStatus.STREAMING,
                    full_complete_us=job.full_complete_us or progress.at_us,
                )
            )
        is_paused = job.wanted is Wanted.PAUSE_TARGET and progress.waiting_for == WAITING_FOR_PAUSE
        if is_paused and job.status is JobStatus.STREAMING:
            return JobEdit(replace(job, status=JobStatus.PAUSED, pause_mode=PauseMode.TARGET))
        return JobEdit(job)

    return decide


def finish_copy(*, now_us: int) -> DecideJob:
    """The full phase is over and no other follows."""

    def decide(job: Job) -> JobEdit:
        if JobStatus.COPIED not in NEXT[job.status]:
            return JobEdit(job)  # ending, or copied already
        return JobEdit(replace(job, status=JobStatus.COPIED, full_complete_us=job.full_complete_us or now_us))

    return decide


def finish_structure(job: Job) -> JobEdit:
    """The job rests as after a pause; who retries it wants the rows too."""
    if job.status is JobStatus.ENDING or JobStatus.PAUSED not in NEXT[job.status]:
        return JobEdit(job)
    attributes = {**job.attributes, "is_only_init_task": False}
    rested = replace(
        job, status=JobStatus.PAUSED, wanted=Wanted.PAUSE_ALL, pause_mode=PauseMode.ALL, attributes=attributes
    )
    return JobEdit(rested, ("the structure is on the target; retry to copy the rows",))


def finish_pause(job: Job) -> JobEdit:
    """Nothing runs any more. After a pause that was taken back meanwhile the job is simply run again."""
    mode = _PAUSE_MODES.get(job.wanted)
    if mode is None or JobStatus.PAUSED not in NEXT[job.status]:
        return JobEdit(job)
    return JobEdit(replace(job, status=JobStatus.PAUSED, pause_mode=mode))


def fail(failure: Failure, *, last_phase: Phase | None) -> DecideJob:
    """The status that says in which phase the job has failed.

    `last_phase` is the furthest that the job has ever reported: a job that cannot come back after a pause has
    failed in that phase, although this run never got there.
    """

    def decide(job: Job) -> JobEdit:
        status = _FAILED_AFTER.get(job.status)
        if status is None:
            return JobEdit(job)  # ending, or paused: the operator's wish stands
        if status is JobStatus.START_FAILED and last_phase in _FULL_PHASES:
            status = JobStatus.COPY_FAILED
        elif status is JobStatus.START_FAILED and last_phase in _STREAM_PHASES:
            status = JobStatus.STREAM_FAILED
        return JobEdit(replace(job, status=status, failure=failure))

    return decide

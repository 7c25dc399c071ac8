"""`towline progress`: how far, how long and how far behind, for all jobs of a store; worst first."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from towline.cli.display import Display, open_display
from towline.cli.options import DataDirOption, JsonOption, StoreOption, ending_on_error
from towline.cli.score import show_scores
from towline.cli.view import JobView, render_record, view_of
from towline.clock import SystemClock
from towline.domain.errors import JobNotFound
from towline.domain.health import BY_BADNESS, Level
from towline.domain.jobs import JobStatus
from towline.domain.progress import Phase, Progress
from towline.service.ports import Job, JobFilter, JobProgress
from towline.settings import Settings, read_settings
from towline.store.opening import Store, opened_store

_WATCH_INTERVAL_S = 1.0
# A worker is on the job, so its phase says more than the status does, and its rates are those of now.
_LIVE = frozenset({JobStatus.STARTING, JobStatus.COPYING, JobStatus.STREAMING})
_FAILED = frozenset(
    {
        JobStatus.CREATE_FAILED,
        JobStatus.START_FAILED,
        JobStatus.COPY_FAILED,
        JobStatus.STREAM_FAILED,
        JobStatus.END_FAILED,
    }
)
_OVER = frozenset({JobStatus.ENDING, JobStatus.ENDED, JobStatus.DELETED})


@dataclass(frozen=True, slots=True)
class Row:
    """One job with its latest figures."""

    job: Job
    progress: Progress | None


def progress(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Left out: all jobs.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    score: Annotated[
        bool, typer.Option("--score", help="Instead: how good the estimates of remaining time were.")
    ] = False,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far jobs are, how long they still take and how far behind they are; the worst first."""
    with ending_on_error():
        settings = read_settings(os.environ, store=store, data_dir=data_dir)
        if score:
            asyncio.run(show_scores(settings, [job_id.lower() for job_id in ids or []], is_json=as_json))
            return
        display = open_display(is_json=as_json, is_live=watch)
        try:
            asyncio.run(
                _show(settings, [job_id.lower() for job_id in ids or []], display, watch=watch, is_json=as_json)
            )
        except KeyboardInterrupt:
            pass  # the way to end --watch
        finally:
            display.close()


async def _show(settings: Settings, ids: Sequence[str], display: Display, *, watch: bool, is_json: bool) -> None:
    clock = SystemClock()
    async with opened_store(settings.store_url, settings.data_dir, clock=clock) as store:
        while True:
            rows = await read_rows(store, ids)
            now_us = clock.now_us()
            # Of ten thousand jobs each takes a good part of a second, so neither is made twice or for nothing.
            views = tell_apart([view_of_row(row, now_us=now_us) for row in rows])
            ordered = sorted(zip(views, rows, strict=True), key=lambda viewed: rank(viewed[0]))
            records = [record_of_row(row, now_us=now_us) for _, row in ordered] if is_json else []
            display.show([view for view, _ in ordered], records)
            if not watch:
                return
            await asyncio.sleep(_WATCH_INTERVAL_S)


async def read_rows(store: Store, ids: Sequence[str]) -> list[Row]:
    """The jobs, their figures and what was seen of them; with the tables when one job is asked for.

    Raises:
        JobNotFound: names the first id without a job.
    """
    _, jobs = await store.jobs.find(JobFilter(), project_id=None, limit=None, offset=0)
    figures: dict[str, JobProgress] = {entry.job_id: entry for entry in await store.jobs.load_all_health()}
    by_id = {job.job_id: job for job in jobs}
    for job_id in ids:
        if job_id not in by_id:
            raise JobNotFound(f"there is no job {job_id}")
    chosen = [by_id[job_id] for job_id in dict.fromkeys(ids)] if ids else jobs
    if len(chosen) == 1:
        (job,) = chosen
        with_tables = await store.jobs.load_table_progress(job.job_id, project_id=job.project_id)
        seen = figures[job.job_id].progress if job.job_id in figures else None
        if with_tables is not None and seen is not None:
            with_tables = replace(seen, tables=with_tables.tables)  # one moment of all figures
        return [Row(job, with_tables)]
    return [Row(job, figures[job.job_id].progress if job.job_id in figures else None) for job in chosen]


def view_of_row(row: Row, *, now_us: int) -> JobView:
    """A job as the screen shows it. Pure."""
    job, status = row.job, row.job.status
    note = job.failure.message if job.failure else ""
    state = status.value.replace("_", " ")
    if row.progress is None:
        return JobView(job.name, state, is_failed=status in _FAILED, note=note, job_id=job.job_id)
    view = replace(view_of(job.name, row.progress, now_us=now_us, status=status), job_id=job.job_id)
    if status in _LIVE:
        is_phase_known = status is not JobStatus.STARTING
        return replace(view, state=view.state if is_phase_known else state, note=note or view.note)
    return replace(
        view,
        state=state,
        is_failed=status in _FAILED,
        rows_per_s=None,
        bytes_per_s=None,
        remaining_s=None,
        remaining_range_s=None,
        is_stalled=False,
        delay_ms=None if status in _OVER else view.delay_ms,
        split=None if status in _OVER else view.split,
        tables=(),
        note=note,
        remedy=job.failure.remedy if job.failure else "",
        is_ready=None,
        not_ready_because=(),
    )


def tell_apart(views: Sequence[JobView]) -> list[JobView]:
    """The same, those that share a name (in two projects) with the beginning of their ids behind it. Pure."""
    count = Counter(view.label for view in views)
    return [
        replace(view, label=f"{view.label} ({view.job_id[:8]})") if count[view.label] > 1 else view for view in views
    ]


def record_of_row(row: Row, *, now_us: int) -> dict[str, Any]:
    """A job as a JSON object. Pure."""
    job = row.job
    figures = row.progress or Progress(at_us=0, phase=Phase.PRECHECK)
    record = render_record(job.job_id, figures, now_us=now_us, status=job.status)
    view = view_of_row(row, now_us=now_us)
    return {
        **record,
        "name": job.name,
        "status": job.status.value,
        "at_ms": record["at_ms"] if row.progress else None,
        "phase": record["phase"] if row.progress else None,
        "percent": view.percent,
        "remaining_s": view.remaining_s,
        "remaining_low_s": view.remaining_range_s[0] if view.remaining_range_s else None,
        "remaining_high_s": view.remaining_range_s[1] if view.remaining_range_s else None,
        "delay_ms": view.delay_ms,
        "failure": job.failure.message if job.failure else None,
    }


def rank(view: JobView) -> tuple[bool, int, bool, bool, int, int, str]:
    """Sorts the worst first. Pure.

    Failed, then the source's log gone or nearly, then stalled, then a log that will not do for long, then the longest
    delay, then the lowest percent.
    """
    badness = BY_BADNESS.index(view.log_level)
    return (
        not view.is_failed,
        -badness if badness >= BY_BADNESS.index(Level.CRITICAL) else 0,
        not view.is_stalled,
        not view.is_log_short,
        -(view.delay_ms or 0),
        view.percent if view.percent is not None else 101,
        view.label,
    )

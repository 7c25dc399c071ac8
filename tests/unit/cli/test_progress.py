"""How `towline progress` orders and words jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from towline.cli.progress import Row, rank, record_of_row, tell_apart, view_of_row
from towline.cli.view import JobView, summarize
from towline.domain.diagnosis import Diagnosis, KeptLog, SourceFacts
from towline.domain.jobs import ConflictPolicy, Endpoint, Failure, JobStatus, TaskMode
from towline.domain.progress import Phase, Progress
from towline.domain.tables import ObjectSelection
from towline.service.ports import Job

NOW_US = 1_700_000_000_000_000
STREAM = Progress(
    at_us=NOW_US, phase=Phase.STREAM, percent=100, proven_source_time_us=NOW_US - 300_000, apply_rows_per_s=50.0
)
COPY = Progress(at_us=NOW_US, phase=Phase.COPY, percent=40, remaining_s=9, copy_rows_per_s=1000.0)


def job(status: JobStatus, *, name: str = "a", failure: Failure | None = None) -> Job:
    return Job(
        job_id=f"id-{name}",
        project_id="p",
        name=name,
        description="",
        mode=TaskMode.FULL_AND_STREAM,
        status=status,
        source=Endpoint("postgresql"),
        target=Endpoint("postgresql"),
        selection=ObjectSelection(),
        conflict_policy=ConflictPolicy.OVERWRITE,
        speed_windows=(),
        created_us=0,
        updated_us=0,
        failure=failure,
    )


def test_worst_job_comes_first() -> None:
    failed = Row(job(JobStatus.COPY_FAILED, name="failed"), COPY)
    behind = Row(job(JobStatus.STREAMING, name="behind"), replace(STREAM, proven_source_time_us=NOW_US - 9_000_000))
    in_step = Row(job(JobStatus.STREAMING, name="in-step"), STREAM)
    copying = Row(job(JobStatus.COPYING, name="copying"), COPY)
    new = Row(job(JobStatus.CONFIGURING, name="new"), None)
    views = [view_of_row(row, now_us=NOW_US) for row in (new, copying, in_step, behind, failed)]
    assert [view.label for view in sorted(views, key=rank)] == ["failed", "behind", "in-step", "copying", "new"]


def test_a_stalled_job_comes_right_after_the_failed_ones_and_is_counted() -> None:
    failed = view_of_row(Row(job(JobStatus.COPY_FAILED, name="failed"), COPY), now_us=NOW_US)
    stood = Diagnosis(NOW_US, moved_at_us=NOW_US - 60_000_000)
    stalled = view_of_row(Row(job(JobStatus.COPYING, name="stalled"), replace(COPY, diagnosis=stood)), now_us=NOW_US)
    behind = view_of_row(
        Row(job(JobStatus.STREAMING, name="behind"), replace(STREAM, proven_source_time_us=NOW_US - 9_000_000)),
        now_us=NOW_US,
    )
    assert [view.label for view in sorted((behind, stalled, failed), key=rank)] == ["failed", "stalled", "behind"]
    assert summarize([behind, stalled, failed]).startswith("3 jobs: 1 failed, 1 stalled, 1 ")


def test_a_job_whose_log_runs_out_comes_before_others_also_when_it_is_paused() -> None:
    def kept(left_bytes: int, name: str, status: JobStatus = JobStatus.PAUSED) -> Row:
        log = KeptLog("slot", is_there=True, is_limited=True, held_bytes=1, limit_bytes=10**9, left_bytes=left_bytes)
        seen = Diagnosis(NOW_US, source=SourceFacts(NOW_US, 1, log))
        return Row(job(status, name=name), replace(STREAM, diagnosis=seen))

    stood = replace(COPY, diagnosis=Diagnosis(NOW_US, moved_at_us=NOW_US - 60_000_000))
    rows = [
        Row(job(JobStatus.STREAMING, name="behind"), replace(STREAM, proven_source_time_us=NOW_US - 9_000_000)),
        kept(900_000_000, "enough"),
        kept(10**8, "short"),
        Row(job(JobStatus.COPYING, name="stalled"), stood),
        kept(0, "gone"),
        kept(0, "failed", JobStatus.STREAM_FAILED),
    ]
    views = sorted((view_of_row(row, now_us=NOW_US) for row in rows), key=rank)
    assert [view.label for view in views] == ["failed", "gone", "stalled", "short", "behind", "enough"]
    assert "room for 0.0 kB more" in views[1].alarm
    assert summarize(views).startswith("6 jobs, 3 short of log: 1 failed, 1 stalled, ")


def test_jobs_of_two_projects_with_one_name_are_told_apart() -> None:
    views = [
        JobView("shop", "x", job_id="11111111-a"),
        JobView("shop", "x", job_id="22222222-b"),
        JobView("other", "x"),
    ]
    assert [view.label for view in tell_apart(views)] == ["shop (11111111)", "shop (22222222)", "other"]


@pytest.mark.parametrize("status", [JobStatus.PAUSED, JobStatus.STREAM_FAILED])
def test_job_that_stands_still_has_a_delay_but_no_rates(status: JobStatus) -> None:
    view = view_of_row(Row(job(status), STREAM), now_us=NOW_US + 5_000_000)
    assert view.delay_ms == 5_300
    assert (view.rows_per_s, view.remaining_s) == (None, None)


def test_ended_job_has_no_delay() -> None:
    assert view_of_row(Row(job(JobStatus.ENDED), STREAM), now_us=NOW_US).delay_ms is None


def test_failure_is_told_in_words() -> None:
    failure = Failure(code="X", message="permission denied for schema shop", remedy="", side="source")
    row = Row(job(JobStatus.START_FAILED, failure=failure), None)
    view = view_of_row(row, now_us=NOW_US)
    assert view.is_failed
    assert view.note == "permission denied for schema shop"
    assert record_of_row(row, now_us=NOW_US)["failure"] == view.note


def test_job_without_figures_claims_none_in_json() -> None:
    record = record_of_row(Row(job(JobStatus.CONFIGURING), None), now_us=NOW_US)
    assert (record["phase"], record["percent"], record["delay_ms"], record["at_ms"]) == (None, None, None, None)

"""Lines of batch-progress that are kept while their rows stay as they are."""

from __future__ import annotations

import pytest

from towline.domain.jobs import Failure, JobStatus, TaskMode
from towline.domain.progress import Phase, Progress
from towline.store import codec

JOB, OTHER = "1f0c-job", "2f0c-job"


def body(percent: int) -> str:
    # Two rows of the same moment: nothing but the text itself tells whether a row has changed.
    return codec.encode_progress(Progress(at_us=1, phase=Phase.COPY, percent=percent))


def row(job_id: str = JOB, *, mode: str = "full", status: str = "copying", failure: str = "", body: str = "") -> tuple:
    return (job_id, mode, status, failure, body)


def test_a_row_that_stays_as_it_is_is_decoded_once():
    lines = codec.JobLines(max_lines=10)
    first = lines.decode([row(body=body(3)), row(OTHER)])
    again = lines.decode([row(OTHER), row(body=body(3))])
    figures = first[JOB].progress
    assert figures is not None
    assert figures.percent == 3
    assert list(again) == [OTHER, JOB]
    assert again[JOB] is first[JOB]
    assert again[OTHER] is first[OTHER]


@pytest.mark.parametrize(
    "changed",
    [
        row(mode=TaskMode.STREAM.value, body=body(3)),
        row(status=JobStatus.COPY_FAILED.value, body=body(3)),
        row(failure=codec.encode_text(Failure("TL1", "message", "remedy", "source")), body=body(3)),
        row(body=body(4)),
        row(),
    ],
)
def test_a_changed_row_is_never_answered_from_an_old_one(changed: tuple):
    lines = codec.JobLines(max_lines=10)
    before = row(body=body(3))
    for seen in (before, changed, before, changed):
        assert lines.decode([seen]) == codec.JobLines(max_lines=10).decode([seen])
    assert lines.decode([before]) != lines.decode([changed])


def test_what_is_kept_is_bounded():
    lines = codec.JobLines(max_lines=10)
    for number in range(100):
        assert list(lines.decode([row(f"job-{number}"), row()])) == [f"job-{number}", JOB]
        assert len(lines) <= 12

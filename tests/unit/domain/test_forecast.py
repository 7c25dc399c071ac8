"""Estimates of remaining time: kept evenly, without pauses, and scored by what happened."""

from __future__ import annotations

import itertools
from dataclasses import replace

from towline.domain.forecast import MAX_KEPT, Score, TrackRecord, combine
from towline.domain.progress import Phase, Progress

S = 1_000_000


def said(at_s: float, remaining_s: int | None, *, percent: int = 0, phase: Phase = Phase.COPY) -> Progress:
    at_us = int(at_s * S)
    spread = (None, None) if remaining_s is None else (int(remaining_s * 0.8), int(remaining_s * 1.2))
    return Progress(
        at_us, phase, percent, remaining_s=remaining_s, remaining_low_s=spread[0], remaining_high_s=spread[1],
        remaining_at_us=at_us,
    )  # fmt: skip


def test_estimates_are_scored_when_the_job_is_in_step():
    record = TrackRecord()
    record = record.after(said(0, None))  # not known is no estimate
    record = record.after(said(1, 198, percent=5))  # 199 were left: right
    record = record.after(said(20, 90, percent=12))  # 180 were left
    record = record.after(said(100, 95, percent=60))
    assert len(record.estimates) == 3
    assert record.score is None
    done = record.after(said(200, 0, percent=100, phase=Phase.STREAM))
    assert done.finished_us == 200 * S
    score = done.score
    assert score is not None
    assert (score.estimates, score.median_error, score.tenth_error) == (3, 0.05, 0.5)
    assert round(score.within, 2) == 0.67
    assert done.after(said(300, 7)) is done


def test_a_pause_is_no_time_that_the_job_took():
    record = TrackRecord().after(said(0, 20)).paused(10 * S)
    record = record.after(said(3610, 10)).after(said(3620, 0, phase=Phase.DONE))
    assert record.score is not None
    assert record.score.median_error == 0


def test_an_estimate_of_an_earlier_moment_is_not_kept_twice():
    first = said(0, 20)
    record = TrackRecord().after(first)
    assert record.after(replace(said(5, 20), remaining_at_us=first.at_us)) is record


def test_few_are_kept_and_they_lie_evenly_over_all_of_the_time():
    record = TrackRecord()
    for second in range(20_000):
        record = record.after(said(second, 20_000 - second, percent=second // 200))
    assert MAX_KEPT // 2 <= len(record.estimates) <= MAX_KEPT
    times = [estimate.worked_us for estimate in record.estimates]
    assert times[0] == 0
    gaps = {later - earlier for earlier, later in itertools.pairwise(times)}
    assert max(gaps) <= 2 * min(gaps)
    done = record.after(said(20_000, 0, phase=Phase.DONE))
    assert done.score is not None
    assert (done.score.median_error, done.score.within) == (0, 1)


def test_jobs_count_once_for_errors_and_estimates_once_for_ranges():
    scores = [
        Score(10, 0.1, None, 1.0, 0.8, 9.0),
        Score(30, 0.3, 0.4, 0.5, 0.8, 9.0),
        Score(0 + 10, 0.2, 0.2, 0.0, 0.8, 9.0),
    ]
    whole = combine(scores)
    assert (whole.jobs, whole.median_error, whole.tenth_error, whole.within) == (3, 0.2, 0.3, 0.5)
    assert combine([]).median_error is None

"""What a job said of the time that it still needs, kept and held against what happened. Pure.

An estimate is kept now and then while the job has work left, never more than some dozens: when there are too many,
every other one is dropped and the spacing doubles, so they stay evenly spread over any length of time.  When the work
is over each is compared with the time that really passed.  Time in which the operator had paused the job is no part
of either.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from towline.domain.progress import CONFIDENCE, Phase, Progress

MAX_KEPT: Final = 64
_FIRST_SPACING_US: Final = 1_000_000
_MIN_LEFT_S: Final = 2.0
_TENTH: Final = 10


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was said at `worked_us`: the clock of the job's worker, less all pauses until then."""

    worked_us: int
    percent: int
    remaining_s: int
    low_s: int
    high_s: int


@dataclass(frozen=True, slots=True)
class Score:
    """How good the estimates of one job were; shares and errors are fractions of 1.

    An error is |estimate - truth| / truth.  `estimates`: how many were scored; those within the last seconds are not,
    as whole seconds say nothing there.  `median_error`: of all of them.  `tenth_error`: of the first one after a tenth
    of the full phase, None when there was none.  `within`: the share whose range held the truth, to be compared with
    `confidence`.  `took_s`: from the first estimate to the end.
    """

    estimates: int
    median_error: float
    tenth_error: float | None
    within: float
    confidence: float
    took_s: float


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """The estimates of a job so far; what is kept of them outlives its workers. `score` once the work is over."""

    estimates: tuple[Estimate, ...] = ()
    spacing_us: int = _FIRST_SPACING_US
    idle_us: int = 0
    paused_at_us: int | None = None
    finished_us: int | None = None
    score: Score | None = None

    def after(self, progress: Progress) -> TrackRecord:
        """The record with what these figures say; the same object when there is nothing to add."""
        if self.finished_us is not None:
            return self
        here = self if self.paused_at_us is None else self._resumed(progress.at_us)
        worked_us = progress.at_us - here.idle_us
        if progress.remaining_s == 0 and progress.phase in (Phase.STREAM, Phase.DONE):
            return replace(here, finished_us=progress.at_us, score=score(here.estimates, ended_us=worked_us))
        is_due = not here.estimates or worked_us - here.estimates[-1].worked_us >= here.spacing_us
        if progress.remaining_s is None or progress.remaining_at_us != progress.at_us or not is_due:
            return here
        low_s, high_s = progress.remaining_low_s, progress.remaining_high_s
        kept = Estimate(
            worked_us,
            progress.percent,
            progress.remaining_s,
            progress.remaining_s if low_s is None else low_s,
            progress.remaining_s if high_s is None else high_s,
        )
        return _thinned(replace(here, estimates=(*here.estimates, kept)))

    def paused(self, at_us: int) -> TrackRecord:
        """The operator's pause begins."""
        return self if self.finished_us is not None else replace(self, paused_at_us=at_us)

    def _resumed(self, now_us: int) -> TrackRecord:
        assert self.paused_at_us is not None
        return replace(self, idle_us=self.idle_us + max(0, now_us - self.paused_at_us), paused_at_us=None)


def _thinned(record: TrackRecord) -> TrackRecord:
    if len(record.estimates) <= MAX_KEPT:
        return record
    return replace(record, estimates=record.estimates[::2], spacing_us=record.spacing_us * 2)


def score(estimates: Sequence[Estimate], *, ended_us: int) -> Score | None:
    """How good they were, now that the work is over; None when none of them can be judged."""
    judged = [(e, (ended_us - e.worked_us) / 1e6) for e in estimates if (ended_us - e.worked_us) / 1e6 >= _MIN_LEFT_S]
    if not judged:
        return None
    errors = [abs(e.remaining_s - left_s) / left_s for e, left_s in judged]
    # Estimates are whole seconds.
    hits = sum(1 for e, left_s in judged if e.low_s - 1 < left_s < e.high_s + 1)
    tenth = next((error for (e, _), error in zip(judged, errors, strict=True) if e.percent >= _TENTH), None)
    return Score(
        estimates=len(judged),
        median_error=round(statistics.median(errors), 4),
        tenth_error=None if tenth is None else round(tenth, 4),
        within=round(hits / len(judged), 4),
        confidence=CONFIDENCE,
        took_s=round(judged[0][1], 1),
    )


@dataclass(frozen=True, slots=True)
class Overall:
    """The scores of many jobs together: medians over jobs, and the share of all ranges that held the truth."""

    jobs: int
    median_error: float | None = None
    tenth_error: float | None = None
    within: float | None = None
    confidence: float = CONFIDENCE


def combine(scores: Sequence[Score]) -> Overall:
    """One figure for many jobs; each job counts once for errors, each estimate once for ranges."""
    if not scores:
        return Overall(0)
    tenths = [entry.tenth_error for entry in scores if entry.tenth_error is not None]
    return Overall(
        jobs=len(scores),
        median_error=round(statistics.median(entry.median_error for entry in scores), 4),
        tenth_error=round(statistics.median(tenths), 4) if tenths else None,
        within=round(sum(e.within * e.estimates for e in scores) / sum(e.estimates for e in scores), 4),
    )

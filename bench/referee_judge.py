"""What a referee saw of one job, and what follows from it. Pure; imports nothing of Towline.

The true delay at a moment is the age of the oldest referee write that is committed on the source and not visible on
the target then; 0 if there is none.  Ages are those of the source's clock, told on the referee's own monotonic clock:
a write counts from the moment its commit was answered, so a source clock that is set, or stopped, changes no age.

A claim is held against a look that began after its answer: what that look misses was missing all the time of the
call.  So the truth is never overstated, and understated by no more than a call and the pause between two looks.

Where nothing is written the truth is 0 and proves little.  What a claim must be like then is known from what was done
to the servers: see `Course`.
"""

from __future__ import annotations

import bisect
import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

UNKNOWN = -1

# How often a worker asks its source while it is the only one of its store (`towline.worker.pace`); where the source's
# transactions do not say when they were committed, it asks more often.
PROBE_INTERVAL_MS = 250
SLACK_MS = 250
MAX_UNDERSTATEMENT_MS = PROBE_INTERVAL_MS + SLACK_MS
MAX_STEADY_MEDIAN_MS = 250
# A source clock that is set back takes away what was proven, until the next proof.
MAX_UNKNOWN_SHARE = 0.05
# Log that the source has written but not flushed is found out after a second.
MAX_IDLE_CLAIM_MS = 2_000
# Of its length; until the blockade takes hold some writes still pass.
MIN_BLOCKED_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Claim:
    """One answer of batch-progress; seconds of the monotonic clock. `delay_ms` is UNKNOWN also without an answer."""

    asked_s: float
    answered_s: float
    delay_ms: int


class Course(Enum):
    """What a stretch of time must look like."""

    IDLE = "nothing is written, and the source shows so: the claim stays low"
    SOURCE_STOPPED = "the source answers nothing: the claim grows with the clock"
    BLOCKED = "nothing reaches the target: the truth grows, or the situation is none"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Seconds of the monotonic clock."""

    course: Course
    began_s: float
    ended_s: float


@dataclass
class Record:
    """All that was seen, each list in the order of time.

    `writes`: moment of the commit's answer, of the writes 1, 2, 3, ...  `looks`: moment a look at the target began,
    and the number of the last write that it saw; a look at a target that is down sees what the one before saw.
    """

    writes: list[float] = field(default_factory=list)
    looks: list[tuple[float, int]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)

    def is_caught_up(self) -> bool:
        return bool(self.looks) and self.looks[-1][1] >= len(self.writes)

    def true_delay_s(self, now_s: float, seen: int) -> float:
        """The age at `now_s` of the first write after `seen`; 0 if it was not committed by then."""
        return max(0.0, now_s - self.writes[seen]) if seen < len(self.writes) else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Milliseconds; None where there was nothing to compare.

    `unknown_ms`: for how long there was no claim, in all; `unknown_share`: of the time that was watched.
    `max_idle_claim_ms`: of the stretches that were IDLE.  `growth_short_ms` and `growth_over_ms`: how far a claim was
    ever below and above the time for which the source had been stopped.  `blocked_share`: the largest truth of a
    stretch that was BLOCKED, by its length; the smallest of all such stretches.
    """

    worst_understatement_ms: int
    median_error_ms: int | None
    unknown_ms: int
    unknown_share: float
    samples: int
    max_true_ms: int
    max_claimed_ms: int
    max_idle_claim_ms: int | None = None
    growth_short_ms: int | None = None
    growth_over_ms: int | None = None
    blocked_share: float | None = None


def compare_claims_with_truth(record: Record) -> Comparison:
    """Every claim beside the truth of its moment."""
    truths = list(_true_delays_ms(record))
    differences = [claim.delay_ms - truth_ms for claim, truth_ms in truths if claim.delay_ms != UNKNOWN]
    unknown_s, watched_s = _unknown_s(record.claims), _watched_s(record.claims)
    idle = [claim.delay_ms for claim, _ in _known_claims_during(record, Course.IDLE)]
    stopped = list(_known_claims_during(record, Course.SOURCE_STOPPED))
    short = [(claim.asked_s - stretch.began_s) * 1000 - claim.delay_ms for claim, stretch in stopped]
    over = [claim.delay_ms - (claim.answered_s - stretch.began_s) * 1000 for claim, stretch in stopped]
    return Comparison(
        worst_understatement_ms=round(max([0.0, *(-difference for difference in differences)])),
        median_error_ms=round(statistics.median(map(abs, differences))) if differences else None,
        unknown_ms=round(unknown_s * 1000),
        unknown_share=round(unknown_s / watched_s, 3) if watched_s else 1.0,
        samples=len(differences),
        max_true_ms=round(max([0.0, *(truth_ms for _, truth_ms in truths)])),
        max_claimed_ms=max([0, *(claim.delay_ms for claim in record.claims)]),
        max_idle_claim_ms=max(idle) if idle else None,
        growth_short_ms=round(max(0.0, *short)) if short else None,
        growth_over_ms=round(max(0.0, *over)) if over else None,
        blocked_share=_blocked_share(record, truths),
    )


def find_faults(compared: Comparison, courses: Sequence[Course], *, is_steady: bool, has_come_back: bool) -> list[str]:
    """What is wrong with the claims of a situation that had these courses; empty: nothing."""
    faults = []
    if compared.worst_understatement_ms > MAX_UNDERSTATEMENT_MS:
        faults.append(f"a claim was more than {MAX_UNDERSTATEMENT_MS} ms below the truth")
    if compared.unknown_share > MAX_UNKNOWN_SHARE:
        faults.append(f"no claim for more than {MAX_UNKNOWN_SHARE:.0%} of the time")
    if compared.median_error_ms is None:
        faults.append("no claim could be compared")
    elif is_steady and compared.median_error_ms >= MAX_STEADY_MEDIAN_MS:
        faults.append(f"the median error of steady load is not below {MAX_STEADY_MEDIAN_MS} ms")
    if not has_come_back:
        faults.append("the job was not in step again")
    for course in dict.fromkeys(courses):
        faults += _FIND_IN[course](compared)
    return faults


def _find_idle_faults(compared: Comparison) -> Iterator[str]:
    if compared.max_idle_claim_ms is None:
        yield "no claim while idle"
    elif compared.max_idle_claim_ms > MAX_IDLE_CLAIM_MS:
        yield f"a claim was above {MAX_IDLE_CLAIM_MS} ms while idle"


def _find_growth_faults(compared: Comparison) -> Iterator[str]:
    if compared.growth_short_ms is None or compared.growth_over_ms is None:
        yield "no claim while the source was stopped"
        return
    if compared.growth_short_ms > MAX_UNDERSTATEMENT_MS:
        yield "the claim did not grow while the source was stopped"
    if compared.growth_over_ms > MAX_IDLE_CLAIM_MS:
        yield "the claim grew faster than the clock while the source was stopped"


def _find_blockade_faults(compared: Comparison) -> Iterator[str]:
    if compared.blocked_share is None or compared.blocked_share < MIN_BLOCKED_SHARE:
        yield "the blockade held nothing up: this shows nothing"


_FIND_IN = {
    Course.IDLE: _find_idle_faults,
    Course.SOURCE_STOPPED: _find_growth_faults,
    Course.BLOCKED: _find_blockade_faults,
}


def _true_delays_ms(record: Record) -> Iterator[tuple[Claim, float]]:
    begun = [at_s for at_s, _ in record.looks]
    for claim in record.claims:
        later = bisect.bisect_left(begun, claim.answered_s)
        if later == len(begun):
            return  # nobody looked any more
        yield claim, record.true_delay_s(claim.asked_s, record.looks[later][1]) * 1000


def _known_claims_during(record: Record, course: Course) -> Iterator[tuple[Claim, Stretch]]:
    """Those that were asked for and answered within."""
    for stretch, claim in itertools.product(record.stretches, record.claims):
        is_within = stretch.began_s <= claim.asked_s and claim.answered_s <= stretch.ended_s
        if stretch.course is course and is_within and claim.delay_ms != UNKNOWN:
            yield claim, stretch


def _blocked_share(record: Record, truths: Sequence[tuple[Claim, float]]) -> float | None:
    shares = []
    for stretch in record.stretches:
        if stretch.course is Course.BLOCKED:
            within = [truth_ms for claim, truth_ms in truths if stretch.began_s <= claim.asked_s <= stretch.ended_s]
            shares.append(max([0.0, *within]) / ((stretch.ended_s - stretch.began_s) * 1000))
    return round(min(shares), 2) if shares else None


def _watched_s(claims: Sequence[Claim]) -> float:
    return claims[-1].answered_s - claims[0].asked_s if claims else 0.0


def _unknown_s(claims: Sequence[Claim]) -> float:
    """Each answer holds from its question to the next one: who waits for it knows nothing."""
    ends_s = [*(claim.asked_s for claim in claims[1:]), *(claim.answered_s for claim in claims[-1:])]
    return sum(end_s - claim.asked_s for claim, end_s in zip(claims, ends_s, strict=True) if claim.delay_ms == UNKNOWN)

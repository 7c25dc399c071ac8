"""What a referee saw of one job, and what follows from it. Pure; imports nothing of Towline.

The true delay at a moment is the age of the oldest referee write that is committed on the source and not visible on
the target then; 0 if there is none.  Ages are those of the source's clock, told on the referee's own monotonic clock:
a write counts from the moment its commit was answered, so a source clock that is set, or stopped, changes no age.

A claim is held against a look that began after its answer: what that look misses was missing all the time of the
call.  So the truth is never overstated, and understated by no more than a call and the pause between two looks.
"""

from __future__ import annotations

import bisect
import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Claim:
    """One answer of batch-progress; seconds of the monotonic clock. `delay_ms` is UNKNOWN also without an answer."""

    asked_s: float
    answered_s: float
    delay_ms: int


@dataclass
class Record:
    """All that was seen, each list in the order of time.

    `writes`: moment of the commit's answer, of the writes 1, 2, 3, ...  `looks`: moment a look at the target began,
    and the number of the last write that it saw; a look at a target that is down sees what the one before saw.
    """

    writes: list[float] = field(default_factory=list)
    looks: list[tuple[float, int]] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def is_caught_up(self) -> bool:
        return bool(self.looks) and self.looks[-1][1] >= len(self.writes)

    def true_delay_s(self, now_s: float, seen: int) -> float:
        """The age at `now_s` of the first write after `seen`; 0 if it was not committed by then."""
        return max(0.0, now_s - self.writes[seen]) if seen < len(self.writes) else 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Milliseconds. The median is None without a claim. `unknown_ms`: for how long there was no claim, in all."""

    worst_understatement_ms: int
    median_error_ms: int | None
    unknown_ms: int
    samples: int
    max_true_ms: int
    max_claimed_ms: int


def judge(record: Record) -> Verdict:
    """Hold every claim against the truth of its moment."""
    begun = [at_s for at_s, _ in record.looks]
    differences: list[float] = []
    truths = [0.0]
    for claim in record.claims:
        later = bisect.bisect_left(begun, claim.answered_s)
        if later == len(begun):
            break  # nobody looked any more
        truth_ms = record.true_delay_s(claim.asked_s, record.looks[later][1]) * 1000
        truths.append(truth_ms)
        if claim.delay_ms != UNKNOWN:
            differences.append(claim.delay_ms - truth_ms)
    return Verdict(
        worst_understatement_ms=round(max([0.0, *(-difference for difference in differences)])),
        median_error_ms=round(statistics.median(map(abs, differences))) if differences else None,
        unknown_ms=round(_unknown_s(record.claims) * 1000),
        samples=len(differences),
        max_true_ms=round(max(truths)),
        max_claimed_ms=max([0, *(claim.delay_ms for claim in record.claims)]),
    )


def _unknown_s(claims: Sequence[Claim]) -> float:
    """Each answer holds until the next one."""
    return sum(
        following.answered_s - claim.answered_s
        for claim, following in itertools.pairwise(claims)
        if claim.delay_ms == UNKNOWN
    )

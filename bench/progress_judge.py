"""What was seen of one job's progress, and what follows from it. Pure; imports nothing of Towline.

What the answers are held against comes from the outside.  The work is the bytes of tables and indexes that the job has
put on the target; all of it is what lies there at the end.  The end is the moment the target first shows what was
written on the source not long ago: a marker row is copied with the others, and moves again only when all is copied, all
indexes are built and the stream has caught up.  Times are seconds since the job was started.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

TENTH = 0.1
IN_STEP_S = 1.0
# Nearer to the end the smallest error is a large share of what is left.
MIN_LEFT_S = 2.0
MAX_JUMP = 10
# With a tenth of the bytes; a percent weighs what is on the source, and counts index builds that are not seen yet.
MAX_PERCENT_AT_A_TENTH = 35
MAX_ERROR = 0.30
MAX_UNKNOWN_SHARE = 0.10
# Of the bytes; the stream adds some, and the target is looked at four times a second.
MIN_DONE_AT_100 = 0.95
# An answer is as old as the last figures, and the end is seen at the next look.
MAX_EARLY_S = 1.0
MAX_LATE_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of batch-progress. `left_s` is None for "-1"."""

    at_s: float
    percent: int
    left_s: int | None


@dataclass
class Outside:
    """What was seen without asking Towline, each list in the order of time.

    `writes`: when the marker's values 1, 2, 3, ... were committed on the source.  `looks`: when a look at the target
    began, and the value that it saw; None while there is no marker.  `sizes`: moment and bytes on the target.
    """

    writes: list[float] = field(default_factory=list)
    looks: list[tuple[float, int | None]] = field(default_factory=list)
    sizes: list[tuple[float, int]] = field(default_factory=list)

    def ended_s(self) -> float | None:
        """When the target was in step for the first time; None before."""
        copied: int | None = None
        for at_s, value in self.looks:
            copied = value if copied is None else copied
            if value is not None and copied is not None and value > copied and self._delay_s(at_s, value) <= IN_STEP_S:
                return at_s
        return None

    def done_share(self, at_s: float) -> float:
        """Of the bytes that the target has at the end, what it had at the first look from then on."""
        first, last = self.sizes[0][1], self.sizes[-1][1]
        then = next((size for seen_s, size in self.sizes if seen_s >= at_s), last)
        return (then - first) / (last - first) if last > first else 1.0

    def share_reached_s(self, share: float) -> float:
        """When a share of the work was first seen to be done."""
        first, last = self.sizes[0][1], self.sizes[-1][1]
        return next(at_s for at_s, size in self.sizes if size - first >= share * (last - first))

    def _delay_s(self, now_s: float, value: int) -> float:
        """The age of the first write after that value; 0 if it was not committed by then."""
        return max(0.0, now_s - self.writes[value]) if value < len(self.writes) else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Answers beside what happened.

    `final_jump`: points from the last percent below 100 to 100.  `done_at_100`: share of the bytes that were on the
    target when 100 was first said; None: it was not said.  `percent_at_a_tenth`: the most that was said until a
    tenth of the work was done; None without an answer until then.  `remaining_error_after_a_tenth`: median over the
    answers after a tenth of the work of |said - true| / true; `first_error_after_a_tenth`: of the first of them.
    `unknown_share`: of these answers, those that were "-1".  These three are None without an answer to compare.
    `tenth_s`: when a tenth of the work was done; `took_s`: until the end; `said_over_after_s`: from the end until
    nothing was said to remain, below 0 if that was said before it; None: it was not said.
    """

    went_backwards: bool
    max_percent: int
    final_jump: int
    done_at_100: float | None
    percent_at_a_tenth: int | None
    remaining_error_after_a_tenth: float | None
    first_error_after_a_tenth: float | None
    unknown_share: float | None
    tenth_s: float
    took_s: float
    said_over_after_s: float | None


def compare_answers_with_truth(answers: Sequence[Answer], outside: Outside) -> Comparison:
    """Of a job that has ended, see `Outside.ended_s`."""
    ended_s = outside.ended_s()
    if ended_s is None:
        raise ValueError("the job has not ended")
    percents = [answer.percent for answer in answers]
    below = [percent for percent in percents if percent < 100]
    at_100_s = next((answer.at_s for answer in answers if answer.percent >= 100), None)
    tenth_s = outside.share_reached_s(TENTH)
    after = [answer for answer in answers if answer.at_s >= tenth_s and ended_s - answer.at_s >= MIN_LEFT_S]
    errors = [
        abs(answer.left_s - (ended_s - answer.at_s)) / (ended_s - answer.at_s)
        for answer in after
        if answer.left_s is not None
    ]
    said_over_s = next((answer.at_s for answer in answers if answer.left_s == 0), None)
    return Comparison(
        went_backwards=any(later < earlier for earlier, later in itertools.pairwise(percents)),
        max_percent=max(percents),
        final_jump=100 - below[-1] if below else 100,
        done_at_100=None if at_100_s is None else round(outside.done_share(at_100_s), 3),
        percent_at_a_tenth=max((answer.percent for answer in answers if answer.at_s <= tenth_s), default=None),
        remaining_error_after_a_tenth=round(statistics.median(errors), 3) if errors else None,
        first_error_after_a_tenth=round(errors[0], 3) if errors else None,
        unknown_share=round(1 - len(errors) / len(after), 3) if after else None,
        tenth_s=round(tenth_s, 1),
        took_s=round(ended_s, 1),
        said_over_after_s=None if said_over_s is None else round(said_over_s - ended_s, 1),
    )


def find_faults(compared: Comparison) -> list[str]:
    """What is wrong with a job's answers; empty: nothing."""
    faults = []
    if compared.went_backwards:
        faults.append("the percent went backwards")
    if compared.max_percent != 100:
        faults.append("the percent went above 100" if compared.max_percent > 100 else "the percent never was 100")
    if compared.final_jump >= MAX_JUMP:
        faults.append(f"the last jump of the percent was not below {MAX_JUMP} points")
    if compared.done_at_100 is not None and compared.done_at_100 < MIN_DONE_AT_100:
        faults.append("100 % was said before all was on the target")
    if compared.percent_at_a_tenth is not None and compared.percent_at_a_tenth > MAX_PERCENT_AT_A_TENTH:
        faults.append(f"more than {MAX_PERCENT_AT_A_TENTH} % was said with a tenth of the work done")
    error = compared.remaining_error_after_a_tenth
    if error is None:
        faults.append("no remaining time could be compared")
    elif error >= MAX_ERROR:
        faults.append(f"the median error of the remaining time was not below {MAX_ERROR:.0%}")
    if compared.unknown_share is not None and compared.unknown_share > MAX_UNKNOWN_SHARE:
        faults.append(f"the remaining time was unknown for more than {MAX_UNKNOWN_SHARE:.0%} of the answers")
    over_s = compared.said_over_after_s
    if over_s is None or over_s > MAX_LATE_S:
        faults.append("long after the end something was said to remain")
    elif over_s < -MAX_EARLY_S:
        faults.append("nothing was said to remain before the end")
    return faults

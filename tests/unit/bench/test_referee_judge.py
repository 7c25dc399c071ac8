"""What the referee of `make referee` makes of what it saw."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.referee_judge import (
    MAX_UNDERSTATEMENT_MS,
    PROBE_INTERVAL_MS,
    UNKNOWN,
    Claim,
    Course,
    Record,
    Stretch,
    compare_claims_with_truth,
    find_faults,
)
from towline.worker.pace import choose_interval_s


def record(*claims: Claim, writes: list[float], looks: list[tuple[float, int]]) -> Record:
    return Record(writes=writes, looks=looks, claims=list(claims))


def test_true_delay_is_the_age_of_the_oldest_write_that_is_missing():
    seen = Record(writes=[10.0, 11.0, 12.0])
    assert seen.true_delay_s(14.0, seen=0) == 4.0
    assert seen.true_delay_s(14.0, seen=1) == 3.0
    assert seen.true_delay_s(14.0, seen=3) == 0.0


def test_write_that_was_not_committed_yet_is_not_missing():
    assert Record(writes=[10.0]).true_delay_s(9.0, seen=0) == 0.0


def test_claim_below_the_truth_is_an_understatement():
    seen = compare_claims_with_truth(record(Claim(15.0, 15.1, 1_500), writes=[10.0], looks=[(15.2, 0)]))
    assert (seen.worst_understatement_ms, seen.median_error_ms) == (3_500, 3_500)
    assert (seen.max_true_ms, seen.max_claimed_ms) == (5_000, 1_500)


def test_claim_above_the_truth_is_an_error_but_no_understatement():
    seen = compare_claims_with_truth(record(Claim(15.0, 15.1, 700), writes=[10.0], looks=[(15.2, 1)]))
    assert (seen.worst_understatement_ms, seen.median_error_ms) == (0, 700)


def test_claim_is_held_against_a_look_that_began_after_it():
    # Seen from the outside the write may have arrived before the claim was made: in doubt for the claim.
    looks = [(15.05, 0), (15.2, 1)]
    seen = compare_claims_with_truth(record(Claim(15.0, 15.1, 0), writes=[10.0], looks=looks))
    assert seen.worst_understatement_ms == 0


def test_claim_that_nobody_looked_after_is_not_compared():
    seen = compare_claims_with_truth(record(Claim(15.0, 15.1, 0), writes=[10.0], looks=[(15.05, 0)]))
    assert (seen.samples, seen.median_error_ms) == (0, None)


def test_unknown_is_no_claim_but_its_time_counts():
    claims = [Claim(float(at), at + 0.5, delay) for at, delay in ((1, 10), (2, UNKNOWN), (3, UNKNOWN), (4, 10))]
    seen = compare_claims_with_truth(record(*claims, writes=[0.5], looks=[(9.0, 1)]))
    assert (seen.samples, seen.unknown_ms, seen.median_error_ms) == (2, 2_000, 10)
    assert seen.unknown_share == round(2 / 3.5, 3)


def test_who_waits_in_vain_for_an_answer_knows_nothing_meanwhile():
    claims = [Claim(1.0, 1.1, 10), Claim(1.2, 31.2, UNKNOWN), Claim(31.3, 31.4, 10)]
    assert compare_claims_with_truth(record(*claims, writes=[0.5], looks=[(40.0, 1)])).unknown_ms == 30_100


def test_bound_follows_from_how_often_a_single_job_asks_its_source():
    assert choose_interval_s(1) * 1000 == PROBE_INTERVAL_MS
    assert MAX_UNDERSTATEMENT_MS == 500


# --- lies -----------------------------------------------------------------------------------------

# Ten seconds in step, then twenty of what the course says, then ten in step; all times in tenths of a second.
BEGAN, ENDED, LENGTH = 100, 300, 400
Said = Callable[[int, int, int], int]
"""The claim at a moment, from the moment, the true delay and the time since anything could be proven, in ms."""


def honest(_at: int, true_ms: int, unproven_ms: int) -> int:
    """Up to a probe too high, and never below."""
    return max(true_ms, unproven_ms) + 200


def always_zero(_at: int, _true_ms: int, _unproven_ms: int) -> int:
    return 0


def always_unknown(_at: int, _true_ms: int, _unproven_ms: int) -> int:
    return UNKNOWN


def frozen(at: int, true_ms: int, unproven_ms: int) -> int:
    """What it was when the trouble began, until it is over."""
    return 200 if BEGAN <= at < ENDED else honest(at, true_ms, unproven_ms)


def zero_in_trouble(at: int, true_ms: int, unproven_ms: int) -> int:
    return 0 if BEGAN <= at < ENDED else honest(at, true_ms, unproven_ms)


def unknown_in_trouble(at: int, true_ms: int, unproven_ms: int) -> int:
    return UNKNOWN if BEGAN <= at < ENDED else honest(at, true_ms, unproven_ms)


def unknown_for_a_moment(at: int, true_ms: int, unproven_ms: int) -> int:
    return UNKNOWN if BEGAN <= at < BEGAN + 10 else honest(at, true_ms, unproven_ms)


def too_low_by(ms: int) -> Said:
    return lambda at, true_ms, unproven_ms: max(0, honest(at, true_ms, unproven_ms) - 200 - ms)


def too_high_by(ms: int) -> Said:
    return lambda at, true_ms, unproven_ms: honest(at, true_ms, unproven_ms) - 200 + ms


def growing(at: int, true_ms: int, unproven_ms: int) -> int:
    """With the clock, whatever is proven."""
    return honest(at, true_ms, unproven_ms) + (max(0, at - BEGAN) * 100 if at < ENDED else 0)


def watched(course: Course | None, say: Said) -> Record:
    """Writes and claims ten times a second and a look after each; without a course all is in step throughout."""
    seen = Record()
    for at in range(LENGTH):
        is_within = BEGAN <= at < ENDED
        now_s = at / 10
        if not is_within or course in (None, Course.BLOCKED):
            seen.writes.append(now_s)
        is_held_up = is_within and course is Course.BLOCKED
        visible = BEGAN if is_held_up else len(seen.writes)
        seen.looks.append((now_s + 0.09, visible))
        true_ms = round(seen.true_delay_s(now_s, visible) * 1000)
        unproven_ms = (at - BEGAN) * 100 if is_within and course is Course.SOURCE_STOPPED else 0
        seen.claims.append(Claim(now_s, now_s + 0.05, say(at, true_ms, unproven_ms)))
    if course is not None:
        seen.stretches.append(Stretch(course, BEGAN / 10, ENDED / 10))
    return seen


def faults_of(course: Course | None, say: Said, *, has_come_back: bool = True) -> str:
    courses = [] if course is None else [course]
    compared = compare_claims_with_truth(watched(course, say))
    return "; ".join(find_faults(compared, courses, is_steady=course is None, has_come_back=has_come_back))


@pytest.mark.parametrize("course", [None, *Course])
def test_honest_claims_have_no_fault(course):
    assert faults_of(course, honest) == ""


BELOW = "a claim was more than 500 ms below the truth"
NO_CLAIM = "no claim for more than 5% of the time"
NO_GROWTH = "the claim did not grow while the source was stopped"


@pytest.mark.parametrize(
    ("course", "say", "fault"),
    [
        (Course.BLOCKED, always_zero, BELOW),
        (Course.BLOCKED, zero_in_trouble, BELOW),
        (Course.BLOCKED, frozen, BELOW),
        (Course.BLOCKED, too_low_by(600), BELOW),
        (Course.BLOCKED, unknown_in_trouble, NO_CLAIM),
        (Course.SOURCE_STOPPED, always_zero, NO_GROWTH),
        (Course.SOURCE_STOPPED, frozen, NO_GROWTH),
        (Course.SOURCE_STOPPED, too_low_by(600), NO_GROWTH),
        (Course.SOURCE_STOPPED, unknown_in_trouble, "no claim while the source was stopped"),
        (Course.SOURCE_STOPPED, growing, "the claim grew faster than the clock while the source was stopped"),
        (Course.IDLE, growing, "a claim was above 2000 ms while idle"),
        (Course.IDLE, too_high_by(2_100), "a claim was above 2000 ms while idle"),
        (Course.IDLE, unknown_in_trouble, "no claim while idle"),
        (None, too_high_by(251), "the median error of steady load is not below 250 ms"),
        (None, unknown_in_trouble, NO_CLAIM),
        *((course, always_unknown, NO_CLAIM) for course in (None, *Course)),
        *((course, always_unknown, "no claim could be compared") for course in (None, *Course)),
    ],
)
def test_lie_is_found(course, say, fault):
    assert fault in faults_of(course, say).split("; ")


@pytest.mark.parametrize("course", [None, *Course])
def test_claim_that_is_unknown_for_a_moment_is_no_lie(course):
    assert faults_of(course, unknown_for_a_moment) == ""


@pytest.mark.parametrize("course", [Course.BLOCKED, Course.SOURCE_STOPPED])
def test_claim_may_be_too_low_by_a_probe_and_some_slack(course):
    assert faults_of(course, too_low_by(400)) == ""


def test_blockade_that_holds_nothing_up_shows_nothing():
    seen = watched(None, honest)
    seen.stretches.append(Stretch(Course.BLOCKED, BEGAN / 10, ENDED / 10))
    found = find_faults(compare_claims_with_truth(seen), [Course.BLOCKED], is_steady=False, has_come_back=True)
    assert found == ["the blockade held nothing up: this shows nothing"]


def test_job_that_does_not_come_back_is_bad():
    assert faults_of(Course.BLOCKED, honest, has_come_back=False) == "the job was not in step again"


def test_nothing_seen_is_nothing_good():
    found = find_faults(compare_claims_with_truth(Record()), [], is_steady=False, has_come_back=True)
    assert found == [NO_CLAIM, "no claim could be compared"]

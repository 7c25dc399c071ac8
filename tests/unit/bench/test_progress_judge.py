"""What `make progress-situations` makes of the answers of a job, beside what it saw from the outside."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.progress_judge import Answer, Outside, compare_answers_with_truth, find_faults

# A job of 100 s: 50 s of rows, 10 s of indexes, 40 s of catching up. Nothing reaches the target in the first 10 s.
END, COPIED, INDEXED, FIRST = 100, 50, 60, 10
GB = 1_000_000_000


def size_at(at_s: float) -> int:
    """8 MB before the job; then rows come steadily, and the indexes at once."""
    rows = GB * min(1.0, max(0.0, (at_s - FIRST) / (COPIED - FIRST)))
    return round(8_000_000 + rows + (GB // 4 if at_s >= INDEXED else 0))


def marker_at(at_s: float) -> int | None:
    """Copied with the first rows, and streamed from the indexes on, ever nearer to what is written."""
    if at_s < FIRST + 1:
        return None
    if at_s < INDEXED:
        return 20
    return max(20, int(5 * (at_s - max(0.0, 1.4 * (END - at_s)))))


def watched(until_s: int = END + 20) -> Outside:
    quarters = [tick / 4 for tick in range(until_s * 4)]
    return Outside(
        writes=[tick / 5 for tick in range(1, until_s * 5)],
        looks=[(at_s, marker_at(at_s)) for at_s in quarters],
        sizes=[(at_s, size_at(at_s)) for at_s in quarters],
    )


OUTSIDE = watched()
ENDED_S = OUTSIDE.ended_s() or 0.0
Said = Callable[[float], tuple[int, int | None]]
"""Percent and remaining seconds at a moment."""


def left(at_s: float) -> int:
    return max(0, round(ENDED_S - at_s))


def honest(at_s: float) -> tuple[int, int | None]:
    percent = min(99, int(100 * at_s / INDEXED)) if at_s < INDEXED else 100
    return percent, None if at_s < FIRST else left(at_s)


def compared_with(say: Said, until_s: float = END + 10):
    answers = [Answer(tick / 2, *say(tick / 2)) for tick in range(round(until_s * 2))]
    return compare_answers_with_truth(answers, OUTSIDE)


def faults_of(say: Said, until_s: float = END + 10) -> list[str]:
    return find_faults(compared_with(say, until_s))


# --- what is seen from the outside ----------------------------------------------------------------


def test_end_is_when_the_target_shows_what_was_just_written():
    assert END - 1 < ENDED_S <= END
    assert Outside(writes=[1.0], looks=[(1.0, None), (1.1, 1)]).ended_s() is None
    assert watched(until_s=END - 10).ended_s() is None


def test_marker_that_was_only_copied_is_no_end_however_new_it_is():
    assert Outside(writes=[1.0, 1.2], looks=[(1.1, 1), (1.15, 1), (1.3, 1)]).ended_s() is None
    assert Outside(writes=[1.0, 1.2], looks=[(1.1, 1), (1.15, 1), (1.3, 2)]).ended_s() == 1.3


def test_marker_that_moves_but_is_old_is_no_end():
    seen = Outside(writes=[1.0, 1.2, 1.4, 9.5], looks=[(1.1, 1), (9.0, 2), (10.0, 3)])
    assert seen.ended_s() == 10.0


def test_tenth_of_the_work_is_counted_in_bytes_that_have_arrived():
    assert OUTSIDE.share_reached_s(0.1) == pytest.approx(FIRST + 0.125 * (COPIED - FIRST), abs=0.3)
    assert OUTSIDE.share_reached_s(0.9) == INDEXED
    assert OUTSIDE.done_share(COPIED) == pytest.approx(0.8)
    assert OUTSIDE.done_share(INDEXED) == 1.0


# --- answers --------------------------------------------------------------------------------------


def test_honest_answers_have_no_fault():
    compared = compared_with(honest)
    assert find_faults(compared) == []
    assert compared.remaining_error_after_a_tenth == pytest.approx(0.0, abs=0.02)
    assert (compared.final_jump, compared.done_at_100, compared.unknown_share) == (1, 1.0, 0.0)
    assert compared.percent_at_a_tenth == 25
    assert compared.took_s == pytest.approx(ENDED_S, abs=0.1)


def backwards(at_s: float) -> tuple[int, int | None]:
    percent, left_s = honest(at_s)
    return (percent - 5 if at_s == 30.0 else percent), left_s


def above_100(at_s: float) -> tuple[int, int | None]:
    percent, left_s = honest(at_s)
    return (101 if at_s > END else percent), left_s


def never_100(at_s: float) -> tuple[int, int | None]:
    percent, left_s = honest(at_s)
    return min(99, percent), left_s


def jumps(at_s: float) -> tuple[int, int | None]:
    percent, left_s = honest(at_s)
    return (percent if percent == 100 else min(90, percent)), left_s


def ahead(at_s: float) -> tuple[int, int | None]:
    """As soon as the structure is there, and true of the time after."""
    percent, left_s = honest(at_s)
    return max(36, percent) if at_s > 2 else 0, left_s


def done_too_early(at_s: float) -> tuple[int, int | None]:
    """When the rows are there and the indexes are not."""
    return min(100, int(100 * at_s / COPIED)), honest(at_s)[1]


def always_unknown(at_s: float) -> tuple[int, int | None]:
    return honest(at_s)[0], None


def unknown_for_long(at_s: float) -> tuple[int, int | None]:
    percent, left_s = honest(at_s)
    return percent, None if at_s < 30 else left_s


def off_by(factor: float) -> Said:
    return lambda at_s: (honest(at_s)[0], round(left(at_s) * factor))


def frozen(at_s: float) -> tuple[int, int | None]:
    percent, _ = honest(at_s)
    return percent, left(at_s) if at_s < 20 or at_s > END + 2 else left(20)


def nothing_left(at_s: float) -> tuple[int, int | None]:
    """As soon as the full phase is over."""
    percent, left_s = honest(at_s)
    return percent, 0 if at_s >= INDEXED + 20 else left_s


def always_something_left(at_s: float) -> tuple[int, int | None]:
    percent, left_s = honest(at_s)
    return percent, None if left_s is None else max(1, left_s)


ERROR = "the median error of the remaining time was not below 30%"
UNKNOWN = "the remaining time was unknown for more than 10% of the answers"
EARLY = "nothing was said to remain before the end"
LATE = "long after the end something was said to remain"


@pytest.mark.parametrize(
    ("say", "faults"),
    [
        (backwards, ["the percent went backwards"]),
        (above_100, ["the percent went above 100"]),
        (never_100, ["the percent never was 100"]),
        (jumps, ["the last jump of the percent was not below 10 points"]),
        (ahead, ["more than 35 % was said with a tenth of the work done"]),
        (done_too_early, ["100 % was said before all was on the target"]),
        (always_unknown, ["no remaining time could be compared", UNKNOWN, LATE]),
        (unknown_for_long, [UNKNOWN]),
        (off_by(1.35), [ERROR]),
        (off_by(0.65), [ERROR]),
        (off_by(1.25), []),
        (frozen, [ERROR]),
        (nothing_left, [EARLY]),
        (always_something_left, [LATE]),
    ],
)
def test_lie_is_found_and_named(say: Said, faults: list[str]):
    assert faults_of(say) == faults


@pytest.mark.parametrize(("late_s", "faults"), [(4, []), (6, [LATE])])
def test_word_that_all_is_over_may_be_a_little_late(late_s: int, faults: list[str]):
    assert faults_of(lambda at_s: always_something_left(at_s) if at_s < END + late_s else (100, 0)) == faults


def test_tenth_is_not_what_the_answers_say_it_is():
    """Who says 10 percent late cannot put off being judged."""

    def slow_percent(at_s: float) -> tuple[int, int | None]:
        return (1, None) if at_s < 50 else (max(95, honest(at_s)[0]), left(at_s))

    assert UNKNOWN in faults_of(slow_percent)


def test_job_that_has_not_ended_cannot_be_judged():
    with pytest.raises(ValueError, match="not ended"):
        compare_answers_with_truth([Answer(1.0, 1, None)], watched(until_s=30))

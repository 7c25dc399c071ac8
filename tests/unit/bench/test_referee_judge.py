"""What the referee of `make referee` makes of what it saw."""

from __future__ import annotations

from bench.referee_judge import UNKNOWN, Claim, Record, judge


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
    verdict = judge(record(Claim(15.0, 15.1, 1_500), writes=[10.0], looks=[(15.2, 0)]))
    assert (verdict.worst_understatement_ms, verdict.median_error_ms) == (3_500, 3_500)
    assert (verdict.max_true_ms, verdict.max_claimed_ms) == (5_000, 1_500)


def test_claim_above_the_truth_is_an_error_but_no_understatement():
    verdict = judge(record(Claim(15.0, 15.1, 700), writes=[10.0], looks=[(15.2, 1)]))
    assert (verdict.worst_understatement_ms, verdict.median_error_ms) == (0, 700)


def test_claim_is_held_against_a_look_that_began_after_it():
    # Seen from the outside the write may have arrived before the claim was made: in doubt for the claim.
    looks = [(15.05, 0), (15.2, 1)]
    assert judge(record(Claim(15.0, 15.1, 0), writes=[10.0], looks=looks)).worst_understatement_ms == 0


def test_claim_that_nobody_looked_after_is_not_judged():
    verdict = judge(record(Claim(15.0, 15.1, 0), writes=[10.0], looks=[(15.05, 0)]))
    assert (verdict.samples, verdict.median_error_ms) == (0, None)


def test_unknown_is_no_claim_but_its_time_counts():
    claims = [Claim(float(at), at + 0.5, delay) for at, delay in ((1, 10), (2, UNKNOWN), (3, UNKNOWN), (4, 10))]
    verdict = judge(record(*claims, writes=[0.5], looks=[(9.0, 1)]))
    assert (verdict.samples, verdict.unknown_ms, verdict.median_error_ms) == (2, 2_000, 10)

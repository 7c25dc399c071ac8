"""Pauses between attempts, and what is worth one."""

from __future__ import annotations

from itertools import islice

from towline.domain.errors import (
    ConnectionLost,
    Deadlock,
    InvariantBroken,
    LeaseLost,
    PositionLost,
    RowConflict,
    UnclassifiedError,
)
from towline.engine.retry import choose_failure, is_worth_retrying, retry_delays_s


def test_pauses_double_up_to_half_a_minute():
    assert list(islice(retry_delays_s(), 8)) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_time_heals_transient_errors_only():
    assert is_worth_retrying(ConnectionLost("x"), failures_in_a_row=100)
    for error in (RowConflict("x"), PositionLost("x"), LeaseLost("x"), InvariantBroken("x"), ValueError()):
        assert not is_worth_retrying(error, failures_in_a_row=1)


def test_the_unknown_gets_a_few_chances():
    assert is_worth_retrying(UnclassifiedError("x"), failures_in_a_row=1)
    assert not is_worth_retrying(UnclassifiedError("x"), failures_in_a_row=3)


def test_of_several_failures_the_lasting_one_is_told():
    lost, position, bug = ConnectionLost("x"), PositionLost("y"), KeyError("z")
    assert choose_failure([lost, position]) is position
    assert choose_failure([lost, bug, position]) is position
    assert choose_failure([lost, bug]) is bug
    assert choose_failure([lost, Deadlock("y")]) is lost

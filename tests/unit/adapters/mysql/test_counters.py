"""Which counters of a target are set."""

from __future__ import annotations

from towline.adapters.mysql.counters import find_late
from towline.domain.tables import TableName

A, B, C, D = (TableName("d", name) for name in "abcd")
THERE = {A: 10, B: 10, C: 10}
WANTED = {A: 10, B: 12, C: 12, D: 5}


def test_at_the_end_all_that_are_behind_are_set() -> None:
    assert list(find_late(THERE, WANTED, None)) == [B, C]


def test_before_that_a_counter_that_is_on_its_way_is_let_be() -> None:
    assert list(find_late(THERE, WANTED, {A: 10, B: 11, C: 10})) == [B]
    assert list(find_late(THERE, WANTED, {})) == []
    # A source that was set back does not set the target.
    assert list(find_late(THERE, {A: 5, B: 10}, {A: 11, B: 11})) == []

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from towline.domain.jobs import SpeedWindow
from towline.worker.control import choose_limit

MINUTE_US = 60_000_000


def at(hour: int, minute: int = 0) -> int:
    return (19_000 * 1440 + hour * 60 + minute) * MINUTE_US


def test_a_window_holds_to_the_end_of_its_last_minute():
    night = (SpeedWindow(22 * 60, 5 * 60 + 59, 7),)
    assert choose_limit(night, now_us=at(21, 59)) is None
    assert choose_limit(night, now_us=at(22)) == 7
    assert choose_limit(night, now_us=at(3)) == 7
    assert choose_limit(night, now_us=at(5, 59) + MINUTE_US - 1) == 7
    assert choose_limit(night, now_us=at(6)) is None


@given(st.integers(0, 2**50))
def test_sixteen_to_fifteen_fifty_nine_is_the_whole_day(now_us: int):
    assert choose_limit((SpeedWindow(16 * 60, 15 * 60 + 59, 9),), now_us=now_us) == 9


def test_the_tightest_window_counts():
    windows = (SpeedWindow(0, 1439, 9), SpeedWindow(60, 119, 4))
    assert choose_limit(windows, now_us=at(1)) == 4
    assert choose_limit(windows, now_us=at(2)) == 9
    assert choose_limit((), now_us=at(2)) is None

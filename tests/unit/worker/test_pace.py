"""How often figures are written."""

from __future__ import annotations

import pytest

from towline.worker.pace import QUICKEST_S, SLOWEST_S, WRITES_PER_S, choose_interval_s


@pytest.mark.parametrize("jobs", [1, 10, 50, 99, 100, 1_000])
def test_all_jobs_together_write_no_more_than_a_small_store_takes_until_each_is_at_one_a_second(jobs: int):
    interval_s = choose_interval_s(jobs)
    assert QUICKEST_S <= interval_s <= SLOWEST_S
    assert jobs / interval_s <= WRITES_PER_S or interval_s == SLOWEST_S


def test_one_job_is_told_four_times_a_second():
    assert choose_interval_s(1) == QUICKEST_S
    assert choose_interval_s(None) == SLOWEST_S

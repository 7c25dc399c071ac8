"""What `make bench-api` asks of a case, and when it was met."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.api_judge import Case, count_recent, find_asked, find_missed

GOOD = Case(ids=1_000, ours=12.0, limit=5.0, with_few_jobs=10.0, fleet_writes_per_s=1_000.0, fleet_per_s=1_000)


def test_bounds_by_the_names_of_the_fields():
    assert find_asked(GOOD) == {"fleet_writes_per_s": 900.0, "ratio": 2.5, "vs_1000_jobs": 1.2}
    assert find_asked(replace(GOOD, ids=100, with_few_jobs=None)) == {"fleet_writes_per_s": 900.0}


@pytest.mark.parametrize(
    ("case", "missed"),
    [
        (GOOD, []),
        (replace(GOOD, limit=4.8), []),
        (replace(GOOD, limit=4.7), ["ratio"]),
        (replace(GOOD, limit=4.7, with_few_jobs=None), ["ratio"]),
        (replace(GOOD, limit=1.0, ids=100), []),
        (replace(GOOD, with_few_jobs=9.9), ["vs_1000_jobs"]),
        (replace(GOOD, with_few_jobs=9.9, ids=1), ["vs_1000_jobs"]),
        (replace(GOOD, fleet_writes_per_s=899.0), ["fleet_writes_per_s"]),
        (
            replace(GOOD, fleet_writes_per_s=0.0, limit=1.0, with_few_jobs=1.0),
            ["fleet_writes_per_s", "ratio", "vs_1000_jobs"],
        ),
    ],
)
def test_bound_that_is_not_kept_is_named(case: Case, missed: list[str]):
    assert find_missed(case) == missed


def test_writes_of_the_last_time_are_counted_from_the_rows():
    rows = [8_900_000, 9_100_000, 9_500_000, 10_000_000]
    assert count_recent(rows, now_us=10_000_000, seconds=1.0) == 3.0
    assert count_recent(rows, now_us=10_000_000, seconds=2.0) == 2.0
    assert count_recent([], now_us=10_000_000, seconds=1.0) == 0.0

"""`make kill-ddl`, from MySQL and MariaDB to PostgreSQL: a death at every point of every statement that is carried."""

from __future__ import annotations

import pytest

from tests.fault.to_postgres_jobs import ToPostgresRuns
from tests.integration.crossing.test_indexes_to_postgres import assert_arrived, begin, runs
from towline.engine import points

__all__ = ["runs"]

STATEMENTS = 6


@pytest.mark.parametrize("point", [points.DDL_BEFORE_CHECKPOINT, points.APPLY_BEFORE_COMMIT, points.APPLY_AFTER_COMMIT])
@pytest.mark.parametrize("statement", range(1, STATEMENTS + 1))
def test_i1_i5_death_at_each_statement(runs: ToPostgresRuns, point: str, statement: int) -> None:
    begin(runs)
    runs.run_until_killed(point, times=statement, conflict_policy="stop")
    runs.run_to_the_end(conflict_policy="stop")
    assert_arrived(runs)


def test_i1_i5_one_death_after_the_other(runs: ToPostgresRuns) -> None:
    begin(runs)
    for _ in range(STATEMENTS):
        runs.run_until_killed(points.APPLY_AFTER_COMMIT, conflict_policy="stop")
    runs.run_to_the_end(conflict_policy="stop")
    assert_arrived(runs)

"""`make kill-ddl`, from MySQL and MariaDB to PostgreSQL: a death at every point of every statement that is carried."""

from __future__ import annotations

import signal

import pytest

from tests.fault.to_postgres_jobs import ToPostgresRuns
from tests.integration.crossing.test_ddl_to_postgres import assert_arrived, begin, runs
from towline.engine import points

__all__ = ["runs"]

STATEMENTS = 40


def run_from_death_to_death(runs: ToPostgresRuns, point: str, *, times: int) -> int:
    """Each run of the job dies at the point when it comes there for the n-th time; how many did before one ended."""
    deaths = 0
    while True:
        process = runs.begin(point=point, times=times, conflict_policy="stop", until_caught_up=True)
        output, errors = process.communicate(timeout=100)
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0, errors[-3000:]
            assert '"error"' not in output
            return deaths
        deaths += 1


@pytest.mark.timeout(300)  # a run of the job for each statement and each row's transaction between them
@pytest.mark.parametrize(
    ("point", "times"),
    # Dead before its commit a statement is not there, and the next run has to get past it.
    [(points.DDL_BEFORE_CHECKPOINT, 2), (points.APPLY_BEFORE_COMMIT, 2), (points.APPLY_AFTER_COMMIT, 1)],
)
def test_i1_i5_death_at_each_statement(runs: ToPostgresRuns, point: str, times: int) -> None:
    begin(runs)
    assert run_from_death_to_death(runs, point, times=times) >= STATEMENTS - 1
    assert_arrived(runs)

"""`make kill-ddl`: a death at every point of every step of DDL, on both products. Minutes, so not part of the suite."""

from __future__ import annotations

import pytest

from tests.fault.mysql_jobs import MysqlRuns
from tests.fault.test_kill_ddl import CHANGES, on, runs
from tests.servers.mysql import Product
from tests.servers.mysql_equality import assert_same_rows
from towline.engine import points

__all__ = ["runs"]

STEPS = 8


@pytest.mark.parametrize("product", [on(product, product) for product in Product])
@pytest.mark.parametrize("point", [points.DDL_BEFORE_INTENT, points.DDL_AFTER_INTENT, points.DDL_AFTER_STATEMENT])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_i1_i5_death_at_each_step(runs: MysqlRuns, product: Product, point: str, step: int) -> None:
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute(*CHANGES)
    runs.run_until_killed(point, times=step)
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_rows(runs.source.server, runs.target, runs.source.name)


@pytest.mark.parametrize("product", [on(product, product) for product in Product])
@pytest.mark.parametrize(
    ("point", "deaths"),
    [(points.DDL_AFTER_STATEMENT, STEPS), (points.DDL_BEFORE_CHECKPOINT, 5), (points.APPLY_BEFORE_COMMIT, 1)],
)
def test_i1_i5_one_death_after_the_other(runs: MysqlRuns, product: Product, point: str, deaths: int) -> None:
    """As often as the point can be reached."""
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute(*CHANGES)
    for _ in range(deaths):
        runs.run_until_killed(point)
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_rows(runs.source.server, runs.target, runs.source.name)

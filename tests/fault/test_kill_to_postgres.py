"""SIGKILL of jobs from MySQL and MariaDB to PostgreSQL at named points, while the source is being written to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fault.mysql_jobs import writing
from tests.fault.test_kill_mysql import ROUND, SCHEMA
from tests.fault.to_postgres_jobs import ToPostgresRuns
from tests.servers.fixtures import DatabaseFactory
from tests.servers.mysql import Product
from tests.servers.mysql_fixtures import GetServer, MysqlDatabaseFactory
from tests.servers.to_postgres_equality import assert_same_values
from towline.embedded import EmbeddedPostgres
from towline.engine import points


@pytest.fixture
def begin(
    mysql_servers: GetServer,
    fresh_mysql_database: MysqlDatabaseFactory,
    pg18: EmbeddedPostgres,
    fresh_database: DatabaseFactory,
    tmp_path: Path,
) -> Callable[[Product], ToPostgresRuns]:
    """A function that makes a job with a filled source."""

    def make(product: Product) -> ToPostgresRuns:
        source = fresh_mysql_database(mysql_servers(product, "first"))
        source.execute(*SCHEMA)
        return ToPostgresRuns(source=source, target=fresh_database(pg18), work_dir=tmp_path)

    return make


@pytest.mark.parametrize("product", [Product.MARIADB])
def test_i1_i4_i5_job_killed_in_copy_and_stream_ends_equal(
    product: Product, begin: Callable[[Product], ToPostgresRuns]
) -> None:
    runs = begin(product)
    with writing(runs.source, ROUND):
        runs.run_until_killed(points.COPY_AFTER_COMMIT, times=2)
        finished = runs.ledger()
        runs.run_until_killed(points.APPLY_BEFORE_COMMIT, times=2)
    outcome = runs.run_to_the_end()
    assert outcome["result"] == "caught_up"
    after = runs.ledger()
    for chunk, done_at in finished.items():
        if chunk[0] != "keyless":  # without a key a table is copied under one snapshot
            assert after[chunk] == done_at, f"{chunk} was copied again"
    assert_same_values(runs.source, runs.target)

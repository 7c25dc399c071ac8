"""The source server of a job dies, and the job goes on at one of its replicas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fault.jobs import Runs
from tests.fault.mysql_jobs import MysqlRuns, writing
from tests.fault.to_postgres_jobs import ToPostgresRuns
from tests.servers import Database
from tests.servers.mysql import MysqlDatabase, MysqlServer, Product
from tests.servers.mysql_equality import assert_same_rows
from tests.servers.mysql_fixtures import MysqlServerFactory
from tests.servers.replicas import promote, start_replica
from tests.servers.to_postgres_equality import assert_same_values
from towline.engine import points

SCHEMA = (
    "CREATE TABLE keyed (id int PRIMARY KEY, n int, v varchar(40))",
    "CREATE TABLE keyless (n int, v varchar(40))",
    "INSERT INTO keyed WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 500)"
    " SELECT n, n, 'first' FROM s",
    "INSERT INTO keyless SELECT n, v FROM keyed",
)
ROUND = """
UPDATE keyed SET n = n + 1 WHERE id % 7 = {k} % 7;
REPLACE INTO keyed VALUES (1000 + {k}, {k}, 'new');
DELETE FROM keyed WHERE id = {k};
INSERT INTO keyless VALUES ({k}, 'late')
"""


@pytest.fixture
def primary_and_replica(
    request: pytest.FixtureRequest, private_mysql: MysqlServerFactory
) -> tuple[MysqlDatabase, MysqlDatabase]:
    """A database of the product of the mark `replicated` on two servers."""
    (product,) = request.node.get_closest_marker("replicated").args
    first, second = private_mysql(product), private_mysql(product)
    start_replica(second, first)
    first.execute("CREATE DATABASE moved")
    primary = MysqlDatabase(first, "moved")
    primary.execute(*SCHEMA)
    return primary, MysqlDatabase(second, "moved")


def fail_over(runs: Runs, after: Runs, primary: MysqlDatabase, replica: MysqlDatabase) -> None:
    """`after` are runs of the same job whose source is the replica."""
    runs.run_until_killed(points.COPY_AFTER_COMMIT)
    refusal = after.run()
    assert (refusal["error"], "not all copied" in refusal["message"]) == ("SETUP", True), refusal
    runs.run_to_the_end()
    with writing(primary, ROUND):
        runs.run_to_the_end()
    promote(replica.server, primary.server)
    with writing(replica, ROUND):
        after.run_to_the_end()
    after.run_to_the_end()


@pytest.mark.replicated(Product.MYSQL)
def test_i4_job_goes_on_at_a_replica_of_its_source(
    primary_and_replica: tuple[MysqlDatabase, MysqlDatabase], mysql9: MysqlServer, tmp_path: Path
) -> None:
    primary, replica = primary_and_replica
    runs = MysqlRuns(source=primary, target=mysql9, work_dir=tmp_path)
    try:
        fail_over(runs, replace(runs, source=replica), primary, replica)
        assert_same_rows(replica.server, mysql9, "moved")
    finally:
        mysql9.execute("DROP DATABASE IF EXISTS moved", "DROP DATABASE IF EXISTS towline")


@pytest.mark.replicated(Product.MARIADB)
@pytest.mark.postgres(target=16)
def test_i4_job_to_postgres_goes_on_at_a_replica_of_its_source(
    primary_and_replica: tuple[MysqlDatabase, MysqlDatabase], target_database: Database, tmp_path: Path
) -> None:
    primary, replica = primary_and_replica
    runs = ToPostgresRuns(source=primary, target=target_database, work_dir=tmp_path)
    fail_over(runs, replace(runs, source=replica), primary, replica)
    assert_same_values(replica, target_database)

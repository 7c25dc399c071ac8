"""SIGKILL of MySQL and MariaDB jobs around DDL: neither lost nor repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.mysql_jobs import MysqlRuns
from tests.servers.mysql import Product
from tests.servers.mysql_equality import assert_same_rows
from tests.servers.mysql_fixtures import GetServer, MysqlDatabaseFactory
from towline.engine import points

# Twice the same statement would fail (ADD COLUMN), or do harm without a word: `twins` swap their names, and look alike.
CHANGES = (
    "INSERT INTO t VALUES (3, 30, 31)",
    "ALTER TABLE t ADD COLUMN c int NOT NULL DEFAULT 7 AFTER id",
    "INSERT INTO t VALUES (4, 0, 40, 41)",
    "INSERT INTO twin VALUES (5)",
    "RENAME TABLE twin TO twin_gone, twins TO twin, twin_gone TO twins",
    "INSERT INTO twin VALUES (6)",
    "ALTER TABLE t ENGINE = InnoDB",
    "CREATE INDEX i ON t (a)",
    "DROP TABLE victim, victims",
    "INSERT INTO t VALUES (5, 1, 50, 51)",
)


@pytest.fixture
def runs(
    request: pytest.FixtureRequest, mysql_servers: GetServer, fresh_mysql_database: MysqlDatabaseFactory, tmp_path: Path
) -> Iterator[MysqlRuns]:
    product = request.node.get_closest_marker("mysql_pair").args[0]
    source = fresh_mysql_database(mysql_servers(product, "first"))
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a int, b int)",
        "INSERT INTO t VALUES (1, 10, 11), (2, 20, 21)",
        *(f"CREATE TABLE {name} (id int PRIMARY KEY)" for name in ("twin", "twins", "victim", "victims")),
        "INSERT INTO twins VALUES (1)",
    )
    target = mysql_servers(product, "second")
    yield MysqlRuns(source=source, target=target, work_dir=tmp_path)
    target.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


def on(product: Product, *values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.mysql_pair(product, product))


# Deaths before anything, in the middle of three renamings, behind the last step, behind an intent.
@pytest.mark.parametrize(
    "deaths",
    [
        on(
            Product.MYSQL,
            [(points.DDL_BEFORE_INTENT, 1), (points.DDL_AFTER_STATEMENT, 2), (points.DDL_BEFORE_CHECKPOINT, 2)],
        ),
        on(
            Product.MARIADB,
            [(points.DDL_AFTER_STATEMENT, 1), (points.DDL_AFTER_INTENT, 2), (points.DDL_AFTER_STATEMENT, 5)],
        ),
    ],
)
def test_i1_i5_killed_ddl_is_neither_lost_nor_repeated(runs: MysqlRuns, deaths: list[tuple[str, int]]) -> None:
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute(*CHANGES)
    for point, times in deaths:
        runs.run_until_killed(point, times=times)
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_rows(runs.source.server, runs.target, runs.source.name)
    assert not runs.target.fetch_all("SELECT * FROM towline.ddl_intent")


@pytest.mark.mysql_pair(Product.MARIADB)
def test_columns_that_changed_before_the_copy_went_on_stop_the_job(runs: MysqlRuns) -> None:
    """The target's table has the labels in their old order: rows of the stream would be taken for others."""
    runs.source.execute("CREATE TABLE labelled (id int PRIMARY KEY, label enum('a', 'b'))")
    runs.run_until_killed(points.COPY_BEFORE_COMMIT)
    runs.source.execute("ALTER TABLE labelled MODIFY label enum('b', 'a')")
    outcome = runs.run()
    assert (outcome["error"], "labelled were changed before it was copied" in outcome["message"]) == (
        "SOURCE_DDL",
        True,
    )

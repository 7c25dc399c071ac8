"""DDL of the source on the target, through whole jobs, on both products."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.mysql_jobs import MysqlRuns
from tests.servers.mysql import MysqlServer
from tests.servers.mysql_equality import assert_same_rows
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from towline.engine import points


@pytest.fixture
def runs(
    mysql_server: MysqlServer,
    mysql_server_second: MysqlServer,
    fresh_mysql_database: MysqlDatabaseFactory,
    tmp_path: Path,
) -> Iterator[MysqlRuns]:
    """A job that has copied its tables and has not begun to stream."""
    source = fresh_mysql_database(mysql_server)
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a int, b int)",
        "INSERT INTO t VALUES (1, 10, 11), (2, 20, 21)",
        "CREATE TABLE other (id int PRIMARY KEY, v varchar(20))",
        "INSERT INTO other VALUES (1, 'x')",
    )
    runs = MysqlRuns(source, mysql_server_second, tmp_path)
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    yield runs
    mysql_server_second.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


def assert_same(runs: MysqlRuns) -> None:
    """Rows and definitions."""
    assert_same_rows(runs.source.server, runs.target, runs.source.name)
    tables = runs.source.fetch_all("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")
    for name, _ in tables:
        shown = [
            server.fetch_all(f"SHOW CREATE TABLE `{runs.source.name}`.`{name}`")[0][1].split(" AUTO_INCREMENT=")[0]
            for server in (runs.source.server, runs.target)
        ]
        assert shown[0] == shown[1]


def test_columns_come_go_and_swap_in_their_place_among_the_rows(runs: MysqlRuns) -> None:
    """All of it lies ahead of the job: each row must be read with the columns of its time."""
    runs.source.execute(
        "INSERT INTO t VALUES (3, 30, 31)",
        "ALTER TABLE t MODIFY a int AFTER b",  # of one type, and the binlog has no names: nothing but order tells
        "INSERT INTO t VALUES (4, 41, 40)",
        "ALTER TABLE t ADD COLUMN c varchar(20) NOT NULL DEFAULT 'old' FIRST, ADD INDEX (c)",
        "INSERT INTO t VALUES ('new', 5, 51, 50)",
        "UPDATE t SET c = 'changed' WHERE id = 1",
        "ALTER TABLE t RENAME COLUMN a TO z, DROP COLUMN b",
        "DELETE FROM t WHERE id = 2",
        "INSERT INTO t VALUES ('last', 6, 60)",
        "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (c, id)",
        "UPDATE t SET z = 61 WHERE id = 6",
        "CREATE UNIQUE INDEX u ON t (z)",
        "INSERT INTO t VALUES ('more', 7, 70)",
        "DROP INDEX u ON t",
        "TRUNCATE TABLE other",
        "INSERT INTO t VALUES ('more', 8, 70)",
    )
    runs.run_to_the_end(conflict_policy="stop")
    assert_same(runs)

"""DDL about indexes that a MySQL source runs while a job to PostgreSQL follows it, on real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.to_postgres_jobs import ToPostgresRuns
from tests.servers.fixtures import DatabaseFactory
from tests.servers.mysql import MysqlServer, Product
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from towline.embedded import EmbeddedPostgres
from towline.engine import points

BEFORE = (
    "CREATE TABLE t (id int PRIMARY KEY, a int, b int, v varchar(40), KEY old (a), UNIQUE once (b), KEY part (v(5)))",
    "INSERT INTO t VALUES (1, 10, 100, 'x'), (2, 20, 200, 'y')",
)
AHEAD = (
    "INSERT INTO t VALUES (3, 30, 300, 'z')",
    "CREATE INDEX i_a ON t (A DESC, b) COMMENT 'it''s'",
    "ALTER TABLE t ADD UNIQUE KEY u_v (v), DROP INDEX old, COMMENT = 'no; more', ALGORITHM = INPLACE, LOCK = NONE",
    "INSERT INTO t VALUES (4, 40, 400, 'w')",
    "DROP INDEX ONCE ON t",
    "INSERT INTO t VALUES (5, 50, 400, 'q')",  # only when the index is gone
    "ALTER TABLE t RENAME INDEX u_v TO u2, ENGINE = InnoDB, ADD KEY i_b (b)",
    "ALTER TABLE t DROP KEY part, ADD FULLTEXT KEY f (v)",
    "ALTER TABLE t DROP KEY i_b, ADD KEY i_b (b, a)",
    "ANALYZE TABLE t",
    "UPDATE t SET a = 41 WHERE id = 4",
)
INDEXES = {
    "t_i_a": "(a DESC, b)",
    "t_u2": "(v)",
    "t_i_b": "(b, a)",
    "t_pkey": "(id)",
}


@pytest.fixture
def runs(
    pg18: EmbeddedPostgres,
    mysql_server: MysqlServer,
    fresh_mysql_database: MysqlDatabaseFactory,
    fresh_database: DatabaseFactory,
    tmp_path: Path,
) -> ToPostgresRuns:
    return ToPostgresRuns(source=fresh_mysql_database(mysql_server), target=fresh_database(pg18), work_dir=tmp_path)


def read_indexes(runs: ToPostgresRuns) -> dict[str, str]:
    rows = runs.target.fetch_all(
        f"SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = '{runs.source.name}' AND tablename = 't'"
    )
    return {name: definition[definition.rindex("(") :] for name, definition in rows}


def assert_arrived(runs: ToPostgresRuns) -> None:
    assert read_indexes(runs) == INDEXES
    query = "SELECT id, a, b, v FROM {}.t ORDER BY id"
    assert runs.target.fetch_all(query.format(runs.source.name)) == [
        (1, 10, 100, "x"), (2, 20, 200, "y"), (3, 30, 300, "z"), (4, 41, 400, "w"), (5, 50, 400, "q"),
    ]  # fmt: skip


def begin(runs: ToPostgresRuns) -> None:
    runs.source.execute(*BEFORE)
    runs.run_to_the_end(conflict_policy="stop")
    runs.source.execute(*AHEAD)


@pytest.mark.parametrize("mysql_product", [Product.MARIADB], ids=["mariadb10"])
def test_indexes_change_in_their_place_among_the_rows_and_columns_stop_the_job(runs: ToPostgresRuns) -> None:
    begin(runs)
    runs.run_to_the_end(conflict_policy="stop")
    assert_arrived(runs)
    runs.source.execute("ALTER TABLE t DROP INDEX i_a, MODIFY a bigint")
    outcome = runs.run(conflict_policy="stop")
    assert outcome["error"] == "SOURCE_DDL"
    assert f"ALTER TABLE {runs.source.name}.t" in outcome["message"]
    assert_arrived(runs)


@pytest.mark.parametrize("mysql_product", [Product.MYSQL], ids=["mysql9"])
def test_i1_i5_killed_around_a_statement_neither_loses_nor_repeats_it(runs: ToPostgresRuns) -> None:
    begin(runs)
    runs.run_until_killed(points.DDL_BEFORE_CHECKPOINT, times=2, conflict_policy="stop")
    runs.run_until_killed(points.APPLY_AFTER_COMMIT, times=2, conflict_policy="stop")
    runs.run_to_the_end(conflict_policy="stop")
    assert_arrived(runs)

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


def test_statement_means_on_the_target_what_it_meant_in_its_session(runs: MysqlRuns) -> None:
    name = runs.source.name
    with runs.source.connect(charset="latin1") as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION sql_mode = 'ANSI_QUOTES', collation_connection = latin1_german1_ci")
        cursor.execute("ALTER TABLE t ADD COLUMN \"größe\" varchar(9) CHARACTER SET latin1 DEFAULT 'ü'")
        cursor.execute("ALTER TABLE t ADD COLUMN made datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)")
        cursor.execute("SET SESSION time_zone = '+05:00', sql_mode = ''")
        cursor.execute(
            "ALTER TABLE t ADD COLUMN w timestamp DEFAULT '2020-01-01 00:00:00', ADD v date DEFAULT '0000-00-00'"
        )
        cursor.execute("SET SESSION foreign_key_checks = 0")
        cursor.execute("CREATE TABLE child (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES later (id))")
        cursor.execute("CREATE TABLE later (id int PRIMARY KEY)")
        cursor.execute("INSERT INTO child VALUES (1, 5)")
    runs.source.server.execute("CREATE DATABASE IF NOT EXISTS unrelated", f"ALTER TABLE {name}.other ADD n int")
    runs.source.server.execute(f"ALTER TABLE {name}.other ADD m int", database="unrelated")
    runs.run_to_the_end(conflict_policy="stop")
    assert_same(runs)


def test_tables_join_and_leave_the_stream(runs: MysqlRuns) -> None:
    runs.source.execute(
        "CREATE TABLE fresh (id int PRIMARY KEY AUTO_INCREMENT, v varchar(20))",
        "INSERT INTO fresh (v) VALUES ('a'), ('b')",
        "CREATE TABLE likeness LIKE fresh",
        "INSERT INTO likeness VALUES (7, 'x')",
        "DROP TABLE other",
        "CREATE TABLE gone (id int)",
        "INSERT INTO gone VALUES (1)",
        "RENAME TABLE fresh TO kept",
        "UPDATE kept SET v = 'c' WHERE id = 1",
        "DROP TABLE gone",
    )
    runs.run_to_the_end(conflict_policy="stop")
    runs.source.execute("INSERT INTO kept (v) VALUES ('later')", "DELETE FROM likeness")
    runs.run_to_the_end(conflict_policy="stop")
    assert_same(runs)


# The statements of gh-ost and pt-online-schema-change on their way, as their logs have them.
GH_OST = (
    "create /* gh-ost */ table _t_ghc (id bigint unsigned auto_increment, last_update timestamp not null default"
    " CURRENT_TIMESTAMP on update CURRENT_TIMESTAMP, hint varchar(64) charset ascii not null, value varchar(255)"
    " charset ascii not null, primary key (id), unique key hint_uidx (hint)) auto_increment=256",
    "insert /* gh-ost */ into _t_ghc (hint, value) values ('state', 'GhostTableMigrated')",
    "create /* gh-ost */ table _t_gho like t",
    "alter /* gh-ost */ table _t_gho ADD COLUMN c int DEFAULT 3",
    "insert /* gh-ost */ ignore into _t_gho (id, a, b) (select id, a, b from t where id <= 2)",
    "UPDATE t SET a = 12 WHERE id = 1",
    "replace /* gh-ost */ into _t_gho (id, a, b) values (1, 12, 11)",
    "create /* gh-ost */ table _t_del (id int auto_increment primary key) engine=InnoDB comment='ghost-cut-over-sentry'",
    "drop /* gh-ost */ table if exists _t_del",
    "rename /* gh-ost */ table t to _t_del, _t_gho to t",
    "INSERT INTO t VALUES (3, 30, 31, 32)",
    "drop /* gh-ost */ table if exists _t_ghc",
)
PT_OSC = (
    "CREATE TABLE _t_new LIKE t",
    "ALTER TABLE _t_new ADD COLUMN d int, DROP COLUMN b",
    "CREATE TRIGGER pt_osc_ins AFTER INSERT ON t FOR EACH ROW REPLACE INTO _t_new (id, a) VALUES (NEW.id, NEW.a)",
    "INSERT LOW_PRIORITY IGNORE INTO _t_new (id, a) SELECT id, a FROM t /*pt-online-schema-change copy nibble*/",
    "INSERT INTO t (id, a) VALUES (9, 90)",
    "ANALYZE TABLE _t_new /* pt-online-schema-change */",
    "RENAME TABLE t TO _t_old, _t_new TO t",
    "INSERT INTO t (id, d) VALUES (10, 100)",
    "DROP TABLE IF EXISTS _t_old",
    "DROP TRIGGER IF EXISTS pt_osc_ins",
)


def test_online_schema_changes_pass_through(runs: MysqlRuns) -> None:
    runs.source.execute(*GH_OST, *PT_OSC)
    runs.run_to_the_end(conflict_policy="stop")
    assert_same(runs)


def test_refused_statement_is_tried_again_when_the_target_can_take_it(runs: MysqlRuns) -> None:
    runs.target.execute(f"ALTER TABLE `{runs.source.name}`.other ADD COLUMN c int")
    runs.source.execute("ALTER TABLE other ADD COLUMN c int", "INSERT INTO other VALUES (2, 'y', 3)")
    for _ in range(2):
        outcome = runs.run()
        assert outcome["error"] == "SOURCE_DDL"
        assert "Duplicate column name" in outcome["message"]
    runs.target.execute(f"ALTER TABLE `{runs.source.name}`.other DROP COLUMN c")
    runs.run_to_the_end(conflict_policy="stop")
    assert_same(runs)


def test_rows_that_each_server_would_number_itself_stop_the_job(runs: MysqlRuns) -> None:
    runs.source.execute("ALTER TABLE t DROP PRIMARY KEY, ADD n int AUTO_INCREMENT PRIMARY KEY")
    outcome = runs.run()
    assert outcome["error"] == "SOURCE_DDL"
    assert f"{runs.source.name}.t" in outcome["message"]

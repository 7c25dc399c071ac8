"""DDL of the source on the target, through whole jobs, on both products."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.mysql_jobs import JOB_ID, MysqlRuns
from tests.integration.mysql.reading import endpoint_of
from tests.servers.mysql import MysqlDatabase, MysqlServer, Product
from tests.servers.mysql_equality import assert_same_rows
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from towline.adapters.mysql.bookkeeping import ensure_bookkeeping
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.ddl_applier import DdlApplier
from towline.adapters.mysql.ddl_plan import DdlOrder
from towline.domain.tables import TableName
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
        "CREATE TABLE emptied (id int PRIMARY KEY)",
        "CREATE TABLE s (id int PRIMARY KEY, a int, b int)",
        "INSERT INTO s VALUES (1, 10, 11), (2, 20, 21)",
    )
    runs = MysqlRuns(source=source, target=mysql_server_second, work_dir=tmp_path)
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


COLUMNS = (
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
RENAME_OF_OLD_MYSQL = ("RENAME COLUMN a TO z", "CHANGE a z int")
SESSION = (
    "SET SESSION sql_mode = 'ANSI_QUOTES', collation_connection = latin1_german1_ci",
    """ALTER TABLE other ADD COLUMN "größe" varchar(9) CHARACTER SET latin1 DEFAULT 'ü'""",
    "ALTER TABLE other ADD COLUMN made datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)",  # of the rows that are there
    "SET SESSION time_zone = '+05:00', sql_mode = ''",
    "ALTER TABLE other ADD COLUMN w timestamp DEFAULT '2020-01-01 00:00:00', ADD v2 date DEFAULT '0000-00-00'",
    "SET SESSION explicit_defaults_for_timestamp = 0",
    "ALTER TABLE other ADD COLUMN old_style timestamp",
    "SET SESSION foreign_key_checks = 0",
    "CREATE TABLE child (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES later (id))",
    "CREATE TABLE later (id int PRIMARY KEY)",
    "INSERT INTO child VALUES (1, 5)",
    "USE information_schema",
    "ALTER TABLE {database}.other ADD m int",
)
TABLES = (
    "CREATE TABLE fresh (id int PRIMARY KEY AUTO_INCREMENT, v varchar(20))",
    "INSERT INTO fresh (v) VALUES ('a'), ('b')",
    "CREATE TABLE likeness LIKE fresh",
    "INSERT INTO likeness VALUES (7, 'x')",
    "DROP TABLE emptied",
    "CREATE TABLE gone (id int)",
    "INSERT INTO gone VALUES (1)",
    "RENAME TABLE fresh TO kept",
    "UPDATE kept SET v = 'c' WHERE id = 1",
    "DROP TABLE gone",
)
# The statements of gh-ost and pt-online-schema-change on their way, as their logs have them.
GH_OST = (
    "create /* gh-ost */ table _s_ghc (id bigint unsigned auto_increment, last_update timestamp not null default"
    " CURRENT_TIMESTAMP on update CURRENT_TIMESTAMP, hint varchar(64) charset ascii not null, value varchar(255)"
    " charset ascii not null, primary key (id), unique key hint_uidx (hint)) auto_increment=256",
    "insert /* gh-ost */ into _s_ghc (hint, value) values ('state', 'GhostTableMigrated')",
    "create /* gh-ost */ table _s_gho like s",
    "alter /* gh-ost */ table _s_gho ADD COLUMN c int DEFAULT 3",
    "insert /* gh-ost */ ignore into _s_gho (id, a, b) (select id, a, b from s where id <= 2)",
    "UPDATE s SET a = 12 WHERE id = 1",
    "replace /* gh-ost */ into _s_gho (id, a, b) values (1, 12, 11)",
    "create /* gh-ost */ table _s_del (id int auto_increment primary key) comment='ghost-cut-over-sentry'",
    "drop /* gh-ost */ table if exists _s_del",
    "rename /* gh-ost */ table s to _s_del, _s_gho to s",
    "INSERT INTO s VALUES (3, 30, 31, 32)",
    "drop /* gh-ost */ table if exists _s_ghc",
)
PT_OSC = (
    "CREATE TABLE _s_new LIKE s",
    "ALTER TABLE _s_new ADD COLUMN d int, DROP COLUMN b",
    "CREATE TRIGGER pt_osc_ins AFTER INSERT ON s FOR EACH ROW REPLACE INTO _s_new (id, a) VALUES (NEW.id, NEW.a)",
    "INSERT LOW_PRIORITY IGNORE INTO _s_new (id, a) SELECT id, a FROM s /*pt-online-schema-change copy nibble*/",
    "INSERT INTO s (id, a) VALUES (9, 90)",
    "ANALYZE TABLE _s_new /* pt-online-schema-change */",
    "RENAME TABLE s TO _s_old, _s_new TO s",
    "INSERT INTO s (id, d) VALUES (10, 100)",
    "DROP TABLE IF EXISTS _s_old",
    "DROP TRIGGER IF EXISTS pt_osc_ins",
)


def test_ddl_and_rows_arrive_in_their_order(runs: MysqlRuns) -> None:
    """All of it lies ahead of the job: each row must be read with the columns of its time."""
    server = runs.source.server
    is_old_mysql = not server.is_mariadb and not server.is_at_least(8)
    is_old_mariadb = server.is_mariadb and not server.is_at_least(10, 10)
    runs.source.execute(*(s.replace(*RENAME_OF_OLD_MYSQL) if is_old_mysql else s for s in COLUMNS))
    with runs.source.connect(charset="latin1") as connection, connection.cursor() as cursor:
        for statement in SESSION:
            if not (is_old_mariadb and "explicit_defaults" in statement):  # there it belongs to the whole server
                cursor.execute(statement.format(database=runs.source.name))
    runs.source.execute(*TABLES, *GH_OST, *PT_OSC)
    runs.run_to_the_end(conflict_policy="stop")
    runs.source.execute("INSERT INTO kept (v) VALUES ('later')", "DELETE FROM likeness")
    runs.run_to_the_end(conflict_policy="stop")
    assert_same(runs)


@pytest.mark.parametrize("mysql_product", [Product.MARIADB], ids=["mariadb10"])
def test_prepared_rows_of_columns_that_were_changed_since_are_left_alone_when_they_are_sent_again(
    runs: MysqlRuns,
) -> None:
    """A transaction that stays prepared makes the source send all that came after it, at each start."""
    for name, change in (("held", "INSERT INTO other VALUES (2, 'held')"), ("ended", "INSERT INTO t VALUES (3, 3, 3)")):
        with runs.source.connect() as connection, connection.cursor() as cursor:
            for statement in (f"XA START '{name}'", change, f"XA END '{name}'", f"XA PREPARE '{name}'"):
                cursor.execute(statement)
    runs.source.execute(
        "XA COMMIT 'ended'", "ALTER TABLE t ADD COLUMN c int FIRST", "INSERT INTO t VALUES (4, 4, 4, 4)"
    )
    runs.run_to_the_end()
    runs.source.execute("UPDATE t SET c = 5 WHERE id = 3")
    runs.run_to_the_end()
    runs.source.execute("XA COMMIT 'held'")
    runs.run_to_the_end()
    assert_same(runs)


def test_statement_stops_the_job_until_the_target_can_take_it(runs: MysqlRuns) -> None:
    runs.target.execute(f"ALTER TABLE `{runs.source.name}`.other ADD COLUMN c int")
    runs.source.execute("ALTER TABLE other ADD COLUMN c int", "INSERT INTO other VALUES (2, 'y', 3)")
    outcome = runs.run()
    assert outcome["error"] == "SOURCE_DDL"
    assert "Duplicate column name" in outcome["message"]
    runs.target.execute(f"ALTER TABLE `{runs.source.name}`.other DROP COLUMN c")
    runs.run_to_the_end(conflict_policy="stop")
    assert_same(runs)
    # Each server would number the rows in its own order.
    runs.source.execute("ALTER TABLE t DROP PRIMARY KEY, ADD n int AUTO_INCREMENT PRIMARY KEY")
    outcome = runs.run()
    assert outcome["error"] == "SOURCE_DDL"
    assert f"rows of {runs.source.name}.t" in outcome["message"]


async def test_table_that_somebody_changes_when_a_statement_ends_stays_in_the_job(
    mysql_database: MysqlDatabase, mysql_server: MysqlServer
) -> None:
    """MariaDB's catalog passes over it meanwhile, as if the statement had dropped it."""
    mysql_database.execute(*(f"CREATE TABLE {name} (id int)" for name in "abz"))
    tables = (TableName(mysql_database.name, "a"), TableName(mysql_database.name, "b"))
    ddl = DdlApplier(endpoint_of(mysql_server), job_id=JOB_ID, epoch=1)
    session = await connect(endpoint_of(mysql_server), purpose="apply")
    try:
        await ensure_bookkeeping(session)
        # To and fro: it has the one table for itself and waits for the other.
        steps = ", ".join(f"{old} TO {new}" for old, new in (("b", "c"), ("c", "b"), ("z", "y"), ("y", "z")))
        with mysql_database.connect() as reader:
            reader.begin()
            reader.cursor().execute("SELECT * FROM z")
            renaming = asyncio.create_task(asyncio.to_thread(mysql_database.execute, f"RENAME TABLE {steps}"))
            await wait_for_waiting(mysql_server, 1)
            await session.execute("BEGIN")
            finishing = asyncio.create_task(ddl.finish(session, DdlOrder("renaming", (), tables)))
            await wait_for_waiting(mysql_server, 2, or_done=finishing)
            reader.commit()
        await renaming
        await finishing
        await session.execute("COMMIT")
        kept = mysql_server.fetch_all(
            "SELECT table_name FROM towline.table_plan WHERE job_id = %s ORDER BY 1", [JOB_ID]
        )
        assert kept == [("a",), ("b",)]
    finally:
        session.terminate()
        mysql_server.execute("DROP DATABASE IF EXISTS towline")


async def wait_for_waiting(server: MysqlServer, count: int, *, or_done: asyncio.Task[None] | None = None) -> None:
    """Until so many sessions wait for the lock of a table."""
    waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock%'"
    async with asyncio.timeout(20):
        while (or_done is None or not or_done.done()) and server.fetch_value(waiting) < count:
            await asyncio.sleep(0.02)

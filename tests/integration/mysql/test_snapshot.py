"""Snapshots of several sessions with fewer privileges, and ranges of all kinds of keys."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pymysql
import pytest

from tests.integration.mysql.test_sessions import endpoint_of
from tests.servers.mysql import MysqlDatabase, MysqlServer, Product
from tests.servers.mysql_fixtures import MysqlServerFactory
from towline.adapters.mysql import snapshot
from towline.adapters.mysql.catalog import read_tables
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.key_ranges import render_condition
from towline.adapters.mysql.quoting import qualified
from towline.adapters.mysql.snapshot import MyCopySource
from towline.domain.errors import SetupError, Side, SnapshotLost, TargetBusy
from towline.domain.tables import ObjectSelection, Table
from towline.engine.chunking import plan_ranges
from towline.engine.ports import ChunkReader

ACCOUNT = "few_rights"


def source_of(server: MysqlServer, **changes: object) -> MyCopySource:
    return MyCopySource(endpoint_of(server, **changes), job_id="snap", readers=3, is_mariadb=server.is_mariadb)


@pytest.mark.parametrize("change", ["ALTER TABLE t MODIFY a int AFTER b", "CREATE TABLE u (id int PRIMARY KEY)"])
async def test_tables_altered_since_they_were_listed_are_listed_again(
    mysql_database: MysqlDatabase, change: str
) -> None:
    """Without names in the binlog, nothing later would tell that two columns of one type changed places."""
    mysql_database.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int)")
    source = source_of(mysql_database.server)
    selection = ObjectSelection(schemas=frozenset({mysql_database.name}))
    tables = await source.read_tables(selection)
    mysql_database.execute(change)
    with pytest.raises(SnapshotLost):
        await source.open_base_snapshot(tables, follow=True)
    snapshot = await source.open_base_snapshot(await source.read_tables(selection), follow=True)
    await snapshot.close()


async def test_lock_that_waits_for_a_long_statement_gives_up_soon_and_names_it(
    mysql_database: MysqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a lock that waits, every writer of the source waits as well."""
    monkeypatch.setattr(snapshot, "_LOCK_TIMEOUT_S", 1)
    mysql_database.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    source = source_of(mysql_database.server)
    tables = await source.read_tables(ObjectSelection(schemas=frozenset({mysql_database.name})))
    with mysql_database.connect() as busy:
        number = busy.thread_id()
        statement = threading.Thread(target=run_until_killed, args=(busy, "UPDATE t SET id = id + SLEEP(60)"))
        statement.start()
        try:
            sleeping = (
                f"SELECT COUNT(*) FROM information_schema.processlist WHERE id = {number} AND state = 'User sleep'"
            )
            while not mysql_database.fetch_value(sleeping):
                await asyncio.sleep(0.02)
            with pytest.raises(TargetBusy, match=f"session {number} of user"):
                await source.open_base_snapshot(tables, follow=True)
        finally:
            mysql_database.execute(f"KILL QUERY {number}")
            statement.join()


def run_until_killed(connection: pymysql.Connection[Any], statement: str) -> None:
    with suppress(pymysql.Error), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def few_rights(mysql_database: MysqlDatabase) -> MysqlDatabase:
    """An account that may lock and read this database and see the binlog's position, but not lock the server."""
    server = mysql_database.server
    monitor = "BINLOG MONITOR" if server.is_mariadb else "REPLICATION CLIENT"
    server.execute(
        f"DROP USER IF EXISTS {ACCOUNT}",
        f"CREATE USER {ACCOUNT} IDENTIFIED BY 'pw'",
        f"GRANT SELECT, LOCK TABLES ON `{mysql_database.name}`.* TO {ACCOUNT}",
        f"GRANT {monitor} ON *.* TO {ACCOUNT}",
    )
    return mysql_database


async def test_readers_see_one_moment_without_the_right_to_lock_the_server(few_rights: MysqlDatabase) -> None:
    server = few_rights.server
    few_rights.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (0)")
    source = source_of(server, user=ACCOUNT, password="pw")
    selection = ObjectSelection(schemas=frozenset({few_rights.name}))
    tables = await source.read_tables(selection)
    stop = threading.Event()

    def write() -> None:
        number = 0
        with few_rights.connect() as connection, connection.cursor() as cursor:
            while not stop.wait(0.002):
                number += 1
                cursor.execute(f"INSERT INTO t VALUES ({number})")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        snapshot = await source.open_base_snapshot(tables, follow=True)
    finally:
        stop.set()
        thread.join()
    assert snapshot.position is not None
    chunk = plan_ranges(tables[0], ())[0]
    readers: Sequence[ChunkReader] = [await snapshot.open_reader() for _ in range(3)]
    seen = [b"".join([bytes(piece) async for piece in r.read(tables[0], chunk, changed_since=None)]) for r in readers]
    assert seen[0] == seen[1] == seen[2]
    for reader in readers:
        await reader.close()
    await snapshot.close()


async def test_readers_see_one_moment_without_a_binlog_or_the_right_to_lock_the_server(
    private_mysql: MysqlServerFactory,
) -> None:
    server = private_mysql(Product.MARIADB, settings={"skip_log_bin": "1"})
    server.execute(
        *("CREATE DATABASE d", "CREATE TABLE d.t (id int PRIMARY KEY)", "CREATE USER few IDENTIFIED BY 'pw'"),
        *("GRANT SELECT, LOCK TABLES ON d.* TO few", "GRANT BINLOG MONITOR ON *.* TO few"),
    )
    source = source_of(server, user="few", password="pw")
    tables = await source.read_tables(ObjectSelection(schemas=frozenset({"d"})))
    with pytest.raises(SetupError, match="no binlog"):
        await source.open_base_snapshot(tables, follow=True)
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLES d.t WRITE")
        opening = asyncio.create_task(source.open_base_snapshot(tables, follow=False))
        waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'"
        while not server.fetch_value(waiting):
            # Only the lock on the tables shows that snapshots are of one moment here.
            assert not opening.done()
            await asyncio.sleep(0.01)
        cursor.execute("UNLOCK TABLES")
    snapshot = await opening
    assert snapshot.position is None
    await snapshot.close()


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("id bigint unsigned, PRIMARY KEY (id)", "IF(n < 500, n, n * 1000000007)"),
        ("id varchar(40) COLLATE utf8mb4_general_ci, PRIMARY KEY (id)", "CONCAT(IF(n % 2, 'ä', 'B'), n)"),
        ("id binary(8), PRIMARY KEY (id)", "UNHEX(LPAD(HEX(n * 7919 % 65536), 16, '0'))"),
        (
            "a int, b varchar(9) CHARACTER SET latin1, c date, PRIMARY KEY (a, b, c)",
            "n % 3, CONCAT('ü', n % 40), DATE_ADD('2000-01-01', INTERVAL n DAY)",
        ),
        ("id decimal(20,3), PRIMARY KEY (id)", "n / 3"),
        ("id datetime(6), PRIMARY KEY (id)", "DATE_ADD('2000-01-01', INTERVAL n * 1001 MICROSECOND)"),
        ("e enum('z','a','m'), id int, PRIMARY KEY (e, id)", "1 + n % 3, n"),
    ],
)
async def test_ranges_hold_every_row_once(mysql_database: MysqlDatabase, columns: str, values: str) -> None:
    mysql_database.execute(
        f"CREATE TABLE t ({columns})",
        f"""INSERT INTO t WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 900)
            SELECT {values} FROM s""",
        "ANALYZE TABLE t",
    )
    source = source_of(mysql_database.server)
    (table,) = await source.read_tables(ObjectSelection(schemas=frozenset({mysql_database.name})))
    bounds = await source.read_bounds(table, parts=7)
    if "enum" not in columns:
        assert 3 <= len(bounds) <= 20
    assert await _count_parts(mysql_database.server, table, bounds) == 900


async def _count_parts(server: MysqlServer, table: Table, bounds: Sequence[str]) -> int:
    session = await connect(endpoint_of(server), purpose="test", side=Side.SOURCE)
    try:
        parts = [render_condition(table, chunk.after, chunk.upto) or "TRUE" for chunk in plan_ranges(table, bounds)]
        name = qualified(table.name)
        counts = [await session.query_value(f"SELECT COUNT(*) FROM {name} WHERE {part}") for part in parts]
        # Together they are all rows, and no row is in two of them.
        together = " + ".join(f"({part})" for part in parts)
        assert await session.query_value(f"SELECT COUNT(*) FROM {name} WHERE {together} <> 1") == 0
        return sum(counts)
    finally:
        session.terminate()


async def test_system_schemas_are_never_part_of_a_job(mysql_server: MysqlServer) -> None:
    session = await connect(endpoint_of(mysql_server), purpose="test", side=Side.SOURCE)
    tables = await asyncio.wait_for(read_tables(session, ObjectSelection()), 30)
    assert not {table.name.schema for table in tables} & {"mysql", "sys", "towline"}
    session.terminate()

"""The binlog reader against real servers: nothing lost, nothing twice, whatever happens to the line or the server."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.mysql.binlog import (
    KeepingSink,
    current_file,
    current_position,
    decode_since,
    new_decoder,
    read_events,
)
from tests.integration.mysql.reading import apply, endpoint_of, reading
from tests.servers import TcpProxy
from tests.servers.mysql import MysqlDatabase, MysqlServer, Product
from tests.servers.mysql_fixtures import MysqlDatabaseFactory, MysqlServerFactory
from towline.adapters.mysql import binlog_events as ev
from towline.adapters.mysql.binlog_decoder import Stop
from towline.adapters.mysql.ddl_plan import DdlOrder
from towline.adapters.mysql.gtid import (
    BinlogOffset,
    BinlogPosition,
    GtidSet,
    HeldPosition,
    MariadbGtids,
    parse_position,
)
from towline.adapters.mysql.probe import MysqlProbe
from towline.domain.changes import DDL, DELETE, INSERT, TRUNCATE, split_row, value_of
from towline.domain.errors import (
    BinlogFormatNotRow,
    ConnectionLost,
    InvariantBroken,
    MissingPrivilege,
    PositionLost,
    RowImageNotFull,
    SetupError,
    SourceBehind,
    SourceChanged,
    SourceDdl,
    TransientError,
)
from towline.domain.tables import ObjectSelection, TableName

KEYED = {"t": ["id"]}
MAKE_TABLE = "CREATE TABLE t (id int PRIMARY KEY, v varchar(200), n int)"


def contents(database: MysqlDatabase) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    rows = database.fetch_all("SELECT id, v, n FROM t")
    as_bytes = [tuple(None if value is None else str(value).encode() for value in row) for row in rows]
    return {(row[0],): row for row in as_bytes}


def run_random_writes(database: MysqlDatabase, seed: int, transactions: int) -> list[int]:
    """Transactions of a few changes each, some rolled back; returns how many changes each committed one has."""
    chosen = random.Random(seed)
    sizes = []
    with database.connect(autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM t")
        ids = [row[0] for row in cursor.fetchall()]
        connection.commit()
        for number in range(transactions):
            alive, size = list(ids), 0
            for _ in range(chosen.randint(1, 5)):
                what = chosen.choice("iiiuudk") if alive else "i"
                one = chosen.choice(alive) if alive else 0
                if what == "i":
                    one = (
                        seed * 1_000_000 + number * 10 + len(alive) % 10 + chosen.randrange(10**5) * 10_000_000 // 10**4
                    )
                    if one in alive:
                        continue
                    alive.append(one)
                    size += cursor.execute("INSERT INTO t VALUES (%s, %s, %s)", (one, "x" * (one % 50), number))
                elif what == "u":
                    size += cursor.execute("UPDATE t SET v = %s, n = NULL WHERE id = %s", (f"u{number}", one))
                elif what == "d":
                    alive.remove(one)
                    size += cursor.execute("DELETE FROM t WHERE id = %s", (one,))
                elif -one not in alive:
                    alive.remove(one)
                    alive.append(-one)
                    size += cursor.execute("UPDATE t SET id = -id WHERE id = %s", (one,))
            if chosen.random() < 0.2:
                connection.rollback()
            else:
                connection.commit()
                ids = alive
                if size:
                    sizes.append(size)
    return sizes


async def test_transactions_come_as_they_were_committed(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE)
    start = current_position(mysql_database.server)
    async with reading(mysql_database, KEYED, start) as running:
        sizes = await asyncio.to_thread(run_random_writes, mysql_database, 1, 150)
        await running.wait_covered(current_position(mysql_database.server))
        transactions = running.sink.transactions
    rows: dict = {}
    for transaction in transactions:
        apply(transaction.changes, rows)
    assert [len(transaction.changes) for transaction in transactions] == sizes
    assert rows == contents(mysql_database)
    assert all(later.position.covers(earlier.position) for earlier, later in itertools.pairwise(transactions))


async def test_commit_times_are_the_sources_own(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE)
    start = current_position(mysql_database.server)
    before_us = time.time_ns() // 1000
    mysql_database.execute("INSERT INTO t VALUES (1, 'x', 1)")
    after_us = time.time_ns() // 1000
    async with reading(mysql_database, KEYED, start) as running:
        await running.wait_covered(current_position(mysql_database.server))
    (transaction,) = running.sink.transactions
    # MariaDB's binlog has whole seconds only; cut off, they never claim too much.
    slack_us = 1_000_000 if mysql_database.server.is_mariadb else 0
    assert before_us - slack_us <= transaction.time_us <= after_us


async def test_savepoints_and_rollbacks_leave_only_what_was_committed(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE, "CREATE TABLE plain (id int PRIMARY KEY) ENGINE=MyISAM")
    server = mysql_database.server
    start = current_position(server)
    mysql_database.execute(
        "BEGIN", "INSERT INTO t VALUES (1, 'a', 1)", "SAVEPOINT s", "INSERT INTO t VALUES (2, 'b', 2)",
        "ROLLBACK TO s", "INSERT INTO t VALUES (3, 'c', 3)", "RELEASE SAVEPOINT s", "COMMIT",
        "BEGIN", "INSERT INTO t VALUES (4, 'd', 4)", "ROLLBACK",
        "INSERT INTO plain VALUES (1)",
    )  # fmt: skip
    if server.is_mariadb:
        # MySQL with GTIDs does not let a transaction write to both kinds of tables.
        mysql_database.execute(
            "SET autocommit = 0", "INSERT INTO t VALUES (5, 'e', 5)", "SAVEPOINT q", "INSERT INTO t VALUES (6, 'f', 6)",
            "INSERT INTO plain VALUES (2)", "ROLLBACK TO q", "COMMIT",
        )  # fmt: skip
    async with reading(mysql_database, {**KEYED, "plain": ["id"]}, start) as running:
        await running.wait_covered(current_position(server))
    rows: dict = {}
    apply([change for change in running.sink.changes if change[1].table.name == "t"], rows)
    assert rows == contents(mysql_database)
    plain = [change for change in running.sink.changes if change[1].table.name == "plain"]
    assert len(plain) == mysql_database.fetch_value("SELECT count(*) FROM plain")


async def test_large_transaction_comes_in_parts_and_waits_for_room(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE)
    start = current_position(mysql_database.server)
    values = ", ".join(f"({n}, repeat('x', 200), {n})" for n in range(1, 20_001))
    mysql_database.execute(f"INSERT INTO t VALUES {values}", "UPDATE t SET n = -n")
    sink = KeepingSink(room_bytes=300_000)
    async with reading(mysql_database, KEYED, start, sink=sink, part_bytes=100_000) as running:
        await running.wait_covered(current_position(mysql_database.server))
    inserts, updates = sink.transactions
    assert inserts.parts > 10
    assert [len(inserts.changes), len(updates.changes)] == [20_000, 20_000]
    # A part is as large as asked for and one event more; the reader stops at the bound.
    assert max(sink.sizes) < 200_000
    assert sink.peak_bytes < 600_000


async def test_row_larger_than_a_packet(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute("CREATE TABLE t (id int PRIMARY KEY, v longblob)")
    start = current_position(mysql_database.server)
    mysql_database.execute("INSERT INTO t VALUES (1, repeat('x', 40000000)), (2, 'small')")
    async with reading(mysql_database, KEYED, start) as running:
        await running.wait_covered(current_position(mysql_database.server))
    rows: dict = {}
    apply(running.sink.changes, rows)
    assert rows == {(b"1",): (b"1", b"x" * 40_000_000), (b"2",): (b"2", b"small")}


async def test_prepared_transaction_comes_when_it_is_committed(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE)
    server = mysql_database.server
    start = current_position(server)
    async with reading(mysql_database, KEYED, start) as running:
        mysql_database.execute(
            "XA START 'a', 'b', 7", "INSERT INTO t VALUES (1, 'xa', 1)", "XA END 'a', 'b', 7", "XA PREPARE 'a', 'b', 7"
        )
        mysql_database.execute("XA START 'r'", "INSERT INTO t VALUES (9, 'xa', 1)", "XA END 'r'", "XA PREPARE 'r'")
        mysql_database.execute("INSERT INTO t VALUES (2, 'plain', 2)")
        mysql_database.execute(
            "XA START 'o'", "INSERT INTO t VALUES (3, 'one', 3)", "XA END 'o'", "XA COMMIT 'o' ONE PHASE"
        )
        await running.wait_covered(current_position(server))
        early = [change for transaction in running.sink.transactions for change in transaction.changes]
        middle = running.sink.transactions[-1].position
    rows: dict = {}
    apply(early, rows)
    assert sorted(rows) == [(b"2",), (b"3",)]
    assert isinstance(middle, HeldPosition)
    # Another connection goes on from the stored text; it has to see again what was prepared.
    async with reading(mysql_database, KEYED, parse_position(str(middle))) as running:
        mysql_database.execute("XA COMMIT 'a', 'b', 7", "XA ROLLBACK 'r'")
        await running.wait_covered(current_position(server))
    later = [t for t in running.sink.transactions if not middle.covers(t.position)]
    for transaction in later:
        apply(transaction.changes, rows)
    assert sorted(rows) == [(b"1",), (b"2",), (b"3",)] == sorted(contents(mysql_database))
    assert not isinstance(running.sink.transactions[-1].position, HeldPosition)


async def test_large_prepared_transaction_waits_as_a_whole(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE)
    server = mysql_database.server
    start = current_position(server)
    values = ", ".join(f"({n}, repeat('x', 200), {n})" for n in range(1, 3001))
    async with reading(mysql_database, KEYED, start, part_bytes=50_000) as running:
        for name, end in (("'c'", "COMMIT"), ("'r'", "ROLLBACK")):
            mysql_database.execute(
                f"XA START {name}", f"INSERT INTO t VALUES {values}", f"XA END {name}", f"XA PREPARE {name}"
            )
            await running.wait_covered(current_position(server))
            assert len(running.sink.changes) == (0 if end == "COMMIT" else 6000)
            mysql_database.execute(f"XA {end} {name}", "UPDATE t SET id = -id")
            await running.wait_covered(current_position(server))
    rows: dict = {}
    apply(running.sink.changes, rows)
    assert rows == contents(mysql_database)


async def test_transaction_prepared_before_the_begin_is_not_passed_over(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE)
    mysql_database.execute("XA START 'x'", "INSERT INTO t VALUES (1, 'xa', 1)", "XA END 'x'", "XA PREPARE 'x'")
    start = current_position(mysql_database.server)
    async with reading(mysql_database, KEYED, start) as running:
        mysql_database.execute("XA COMMIT 'x'")
        with pytest.raises(PositionLost, match="prepared before") as caught:
            await running.wait_covered(current_position(mysql_database.server))
    assert "XA RECOVER" in caught.value.advice


async def test_cut_line_neither_loses_nor_repeats(
    mysql_database: MysqlDatabase, proxy_to: Callable[[Any], TcpProxy]
) -> None:
    mysql_database.execute(MAKE_TABLE)
    position: BinlogPosition = current_position(mysql_database.server)
    proxy = proxy_to(mysql_database.server)
    endpoint = endpoint_of(mysql_database.server, port=proxy.port)
    rows: dict = {}
    for seed in range(1, 5):
        await asyncio.to_thread(run_random_writes, mysql_database, seed, 40)
        proxy.resume()
        async with reading(mysql_database, KEYED, parse_position(str(position)), endpoint=endpoint) as running:
            if seed < 4:
                await running.wait_until(lambda r=running: len(r.sink.transactions) > 10)  # type: ignore[misc]
                proxy.cut()
                with pytest.raises((ConnectionLost, TransientError)):
                    await running.wait_until(lambda: False)
            else:
                await running.wait_covered(current_position(mysql_database.server))
        for transaction in running.sink.transactions:
            apply(transaction.changes, rows)
            position = transaction.position
    assert rows == contents(mysql_database)


async def test_killed_server_neither_loses_nor_repeats(
    private_mysql: MysqlServerFactory, mysql_product: Product
) -> None:
    server = private_mysql(mysql_product)
    server.execute("CREATE DATABASE d")
    database = MysqlDatabase(server, "d")
    database.execute(MAKE_TABLE)
    start = current_position(server)
    rows: dict = {}
    await asyncio.to_thread(run_random_writes, database, 1, 30)
    async with reading(database, KEYED, start) as running:
        await running.wait_covered(current_position(server))
        await asyncio.to_thread(server.kill)
        with pytest.raises((ConnectionLost, TransientError)):
            await running.wait_until(lambda: False)
    for transaction in running.sink.transactions:
        apply(transaction.changes, rows)
    last = running.sink.transactions[-1].position
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(run_random_writes, database, 2, 30)
    async with reading(database, KEYED, last) as running:
        await running.wait_covered(current_position(server))
    for transaction in running.sink.transactions:
        apply(transaction.changes, rows)
    assert rows == contents(database)


async def test_numbers_that_go_back_stop_the_job_instead_of_hiding_a_writer(
    mariadb10: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    database = fresh_mysql_database(mariadb10)
    database.execute(MAKE_TABLE)
    others = "SET gtid_domain_id = 71, server_id = {server}, gtid_seq_no = {number}"
    database.execute(others.format(server=1, number=100), "INSERT INTO t VALUES (1, 'first', 1)")
    start = current_position(mariadb10)
    async with reading(database, KEYED, start) as running:
        database.execute(others.format(server=1, number=101), "INSERT INTO t VALUES (2, 'first', 1)")
        await running.wait_covered(current_position(mariadb10))
        database.execute(others.format(server=2, number=50), "INSERT INTO t VALUES (3, 'second', 1)")
        with pytest.raises(SetupError, match="go back: 71-2-50 follows 71-1-101") as caught:
            await running.wait_until(lambda: False)
    assert "gtid_strict_mode" in caught.value.advice
    # Whoever comes back finds the same, although the server's last number is lower than the job's.
    before = running.sink.transactions[-1].position
    async with reading(database, KEYED, before) as running:
        with pytest.raises(SetupError, match="go back"):
            await running.wait_until(lambda: False)
    assert not running.sink.transactions


async def test_silent_server_counts_as_lost(mysql_database: MysqlDatabase, proxy_to: Callable[[Any], TcpProxy]) -> None:
    mysql_database.execute(MAKE_TABLE)
    proxy = proxy_to(mysql_database.server)
    endpoint = endpoint_of(mysql_database.server, port=proxy.port)
    start = current_position(mysql_database.server)
    async with reading(mysql_database, KEYED, start, endpoint=endpoint, silence_limit_s=3.0) as running:
        await running.wait_until(lambda: len(running.sink.markers) > 0)
        proxy.stall()
        with pytest.raises(ConnectionLost, match="silent"):
            await running.wait_until(lambda: False)


async def test_idle_source_is_known_to_be_idle(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE)
    start = current_position(mysql_database.server)
    # Of another database: no change of the job, but the position moves on.
    mysql_database.server.execute(
        f"CREATE TABLE {mysql_database.name}.other (id int)", f"INSERT INTO {mysql_database.name}.other VALUES (1)"
    )
    probe = MysqlProbe(endpoint_of(mysql_database.server), job_id="job-1")
    before_us = time.time_ns() // 1000
    sample = await probe.sample()
    await probe.nudge()
    await probe.close()
    assert abs(sample.source_time_us - before_us) < 5_000_000
    async with reading(mysql_database, KEYED, start, carries_ddl=True) as running:
        await running.wait_until(lambda: any(marker.covers(sample.position) for marker in running.sink.markers))
    assert running.sink.markers[-1].covers(sample.position)


async def test_purged_position_is_found_at_once(private_mysql: MysqlServerFactory, mysql_product: Product) -> None:
    server = private_mysql(mysql_product)
    server.execute("CREATE DATABASE d")
    database = MysqlDatabase(server, "d")
    database.execute(MAKE_TABLE)
    start = current_position(server)
    file = current_file_of(server)
    database.execute(
        "INSERT INTO t VALUES (1, 'x', 1)", "FLUSH BINARY LOGS", "INSERT INTO t VALUES (2, 'x', 1)", "FLUSH BINARY LOGS"
    )
    while len(server.fetch_all("SHOW BINARY LOGS")) > 1:
        # MariaDB keeps a file a moment longer, for its own recovery.
        server.execute(f"PURGE BINARY LOGS TO '{current_file_of(server).file}'")
        await asyncio.sleep(0.02)
    for lost in (start, file):
        with pytest.raises(PositionLost) as caught:
            async with reading(database, KEYED, lost):
                pass
        assert "binlog_expire_logs_seconds" in caught.value.advice


def current_file_of(server: MysqlServer) -> BinlogOffset:
    row = server.read_binlog_end()
    return BinlogOffset(row[0], int(row[1]))


async def test_server_that_is_behind_is_told_from_one_that_purged(
    mysql_server: MysqlServer, mysql_server_second: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    ahead, behind = fresh_mysql_database(mysql_server), fresh_mysql_database(mysql_server_second)
    ahead.execute(MAKE_TABLE)
    behind.execute(MAKE_TABLE)
    position = current_position(mysql_server)
    if isinstance(position, GtidSet):
        position = position.union(GtidSet.parse(mysql_server_second.fetch_value("SELECT @@global.gtid_executed")))
    elif isinstance(position, MariadbGtids):
        position = position.with_gtid(0, 1, 10**9)
    with pytest.raises(SourceBehind):
        async with reading(behind, KEYED, position):
            pass


async def test_position_in_a_file_where_there_are_no_gtids(private_mysql: MysqlServerFactory) -> None:
    server = private_mysql(Product.MYSQL, settings={"gtid_mode": "OFF", "enforce_gtid_consistency": "OFF"})
    server.execute("CREATE DATABASE d")
    database = MysqlDatabase(server, "d")
    database.execute(MAKE_TABLE)
    position: BinlogPosition = current_file_of(server)
    rows: dict = {}
    probe = MysqlProbe(endpoint_of(server), job_id="job-1")
    for seed in (1, 2, 3):
        await asyncio.to_thread(run_random_writes, database, seed, 25)
        server.execute("FLUSH BINARY LOGS")
        async with reading(database, KEYED, parse_position(str(position)), part_bytes=100) as running:
            await running.wait_covered((await probe.sample()).position)
        for transaction in running.sink.transactions:
            apply(transaction.changes, rows)
        position = running.sink.transactions[-1].position
    await probe.close()
    assert rows == contents(database)


async def test_tagged_gtids(mysql9: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory) -> None:
    database = fresh_mysql_database(mysql9)
    database.execute(MAKE_TABLE)
    start = current_position(mysql9)
    database.execute(
        "SET gtid_next = 'AUTOMATIC:night_job'",
        "INSERT INTO t VALUES (1, 'tag', 1)", "INSERT INTO t VALUES (2, 'tag', 2)",
        "SET gtid_next = 'AUTOMATIC'", "INSERT INTO t VALUES (3, 'plain', 3)",
    )  # fmt: skip
    async with reading(database, KEYED, start) as running:
        await running.wait_covered(current_position(mysql9))
    first = running.sink.transactions[0]
    assert [len(t.changes) for t in running.sink.transactions] == [1, 1, 1]
    assert abs(first.time_us - time.time_ns() // 1000) < 60_000_000
    assert ":night_job:" in str(first.position)
    # A set with a tag in it is a begin that the server understands.
    async with reading(database, KEYED, parse_position(str(first.position))) as running:
        await running.wait_covered(current_position(mysql9))
    assert [len(t.changes) for t in running.sink.transactions] == [1, 1]


async def test_encrypted_connection(mysql9: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory) -> None:
    database = fresh_mysql_database(mysql9)
    database.execute(MAKE_TABLE)
    mysql9.execute(
        "CREATE USER IF NOT EXISTS 'over_tls'@'%' IDENTIFIED BY 'secret' REQUIRE SSL",
        "GRANT ALL ON *.* TO 'over_tls'@'%'",
    )
    endpoint = endpoint_of(mysql9, user="over_tls", password="secret", tls=True)
    start = current_position(mysql9)
    async with reading(database, KEYED, start, endpoint=endpoint) as running:
        await asyncio.to_thread(run_random_writes, database, 1, 50)
        await running.wait_covered(current_position(mysql9))
    rows: dict = {}
    apply(running.sink.changes, rows)
    assert rows == contents(database)


async def test_events_without_checksums(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE)
    server = mysql_database.server
    start = current_position(server)
    mysql_database.execute("INSERT INTO t VALUES (1, 'with', 1)")
    server.execute("SET GLOBAL binlog_checksum = NONE")
    try:
        mysql_database.execute("INSERT INTO t VALUES (2, 'without', 2)")
        async with reading(mysql_database, KEYED, start) as running:
            await running.wait_covered(current_position(server))
            server.execute("SET GLOBAL binlog_checksum = CRC32")
            mysql_database.execute("INSERT INTO t VALUES (3, 'with again', 3)")
            await running.wait_covered(current_position(server))
    finally:
        server.execute("SET GLOBAL binlog_checksum = CRC32")
    rows: dict = {}
    apply(running.sink.changes, rows)
    assert rows == contents(mysql_database)


async def test_account_without_the_privilege_is_told(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE)
    server = mysql_database.server
    server.execute(
        "CREATE USER IF NOT EXISTS 'reader'@'%' IDENTIFIED BY 'secret'", "GRANT SELECT ON *.* TO 'reader'@'%'"
    )
    with pytest.raises(MissingPrivilege):
        async with reading(
            mysql_database,
            KEYED,
            current_position(server),
            endpoint=endpoint_of(server, user="reader", password="secret"),
        ):
            pass


# --- statements -------------------------------------------------------------------------------------


async def test_ddl_on_a_table_of_the_job_stops_the_stream(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE)
    start = current_position(mysql_database.server)
    mysql_database.execute(
        "INSERT INTO t VALUES (1, 'x', 1)", "ALTER TABLE t ADD COLUMN w int", "INSERT INTO t VALUES (2, 'x', 1, 2)"
    )
    with pytest.raises((SourceDdl, SourceChanged)) as caught:
        async with reading(mysql_database, KEYED, start) as running:
            await running.wait_covered(current_position(mysql_database.server))
    assert f"{mysql_database.name}.t" in str(caught.value)


async def test_ddl_can_be_carried_in_its_place(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE)
    start = current_position(mysql_database.server)
    async with reading(mysql_database, KEYED, start, carries_ddl=True) as running:
        mysql_database.execute("INSERT INTO t VALUES (1, 'x', 1)")
        await running.wait_covered(current_position(mysql_database.server))
        mysql_database.execute(
            "ALTER TABLE t ADD COLUMN w int AFTER id", "INSERT INTO t VALUES (2, 7, 'x', 1)", "TRUNCATE TABLE t"
        )
        await running.wait_covered(current_position(mysql_database.server))
    changes = running.sink.changes
    assert [change[0] for change in changes] == [INSERT, DDL, INSERT, TRUNCATE]
    assert changes[1][2] == b"ALTER TABLE t ADD COLUMN w int AFTER id"
    assert changes[1][3] is not None
    order = DdlOrder.decode(changes[1][3])
    assert (order.database, order.summary) == (mysql_database.name, f"ALTER TABLE {mysql_database.name}.t")
    assert changes[2][1].columns == ("id", "w", "v", "n")


async def test_names_in_other_letters_are_the_same_names(
    private_mysql: MysqlServerFactory, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    server = private_mysql(Product.MARIADB, settings={"lower_case_table_names": "1"})
    database = fresh_mysql_database(server)
    database.execute(MAKE_TABLE)
    start = current_position(server)
    database.execute("INSERT INTO t VALUES (1, 'x', 1)", "TRUNCATE TABLE T")
    async with reading(database, KEYED, start) as running:
        await running.wait_covered(current_position(server))
        database.execute("ALTER TABLE T ADD w int")
        with pytest.raises(SourceDdl):
            await running.wait_covered(current_position(server))
    assert [change[0] for change in running.sink.changes] == [INSERT, TRUNCATE]


async def test_rows_that_a_partition_is_exchanged_for_are_not_overlooked(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(
        MAKE_TABLE,
        "CREATE TABLE x LIKE t",
        "ALTER TABLE x PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN MAXVALUE)",
        "INSERT INTO x VALUES (7, 'hidden', 1)",
    )
    start = current_position(mysql_database.server)
    mysql_database.execute("ALTER TABLE x EXCHANGE PARTITION p WITH TABLE t")
    objects = ObjectSelection(tables=frozenset({TableName(mysql_database.name, "t")}))
    async with reading(mysql_database, KEYED, start, objects=objects) as running:
        with pytest.raises(SourceDdl, match=r"\.t"):
            await running.wait_covered(current_position(mysql_database.server))


async def test_ddl_elsewhere_is_of_no_interest(
    mysql_server: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    database, other = fresh_mysql_database(mysql_server), fresh_mysql_database(mysql_server)
    database.execute(MAKE_TABLE)
    start = current_position(mysql_server)
    other.execute(
        "CREATE TABLE x (id int)", "ALTER TABLE x ADD COLUMN t int", "CREATE INDEX i ON x (t)",
        "CREATE VIEW y AS SELECT 1",
        "RENAME TABLE x TO z", "DROP TABLE z", "CREATE TEMPORARY TABLE tt (id int)", "DROP TEMPORARY TABLE tt",
    )  # fmt: skip
    database.execute(
        "ANALYZE TABLE t",
        "INSERT INTO t VALUES (1, 'x', 1)",
        "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.n = 1",
    )
    async with reading(database, KEYED, start) as running:
        await running.wait_covered(current_position(mysql_server))
    assert [change[0] for change in running.sink.changes] == [INSERT]


async def test_key_that_the_server_made_and_hides(
    mysql9: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    if not mysql9.fetch_all("SHOW VARIABLES LIKE 'show_gipk%'"):
        pytest.skip("older servers make no keys by themselves")
    database = fresh_mysql_database(mysql9)
    mysql9.execute("SET GLOBAL show_gipk_in_create_table_and_information_schema = OFF")
    try:
        database.execute("SET sql_generate_invisible_primary_key = ON", "CREATE TABLE t (a bigint, b bigint)")
        start = current_position(mysql9)
        database.execute("INSERT INTO t (a, b) VALUES (7, 8)")
        async with reading(database, {"t": []}, start) as running:
            await running.wait_covered(current_position(mysql9))
    finally:
        mysql9.execute("SET GLOBAL show_gipk_in_create_table_and_information_schema = ON")
    ((_, relation, row, _),) = running.sink.changes
    assert relation.columns == ("my_row_id", "a", "b")
    assert [value_of(cell) for cell in split_row(row or b"")] == [b"1", b"7", b"8"]


@pytest.mark.parametrize("statement", ["INSERT INTO t VALUES (1, 'x', 1)", "SELECT f()", "DO f()", "SET @a = f()"])
async def test_statement_format_is_refused(mysql_database: MysqlDatabase, statement: str) -> None:
    mysql_database.execute(
        MAKE_TABLE,
        """CREATE FUNCTION f() RETURNS int DETERMINISTIC MODIFIES SQL DATA
           BEGIN INSERT INTO t VALUES (1, 'x', 1); RETURN 1; END""",
    )
    start = current_position(mysql_database.server)
    mysql_database.execute("SET SESSION binlog_format = STATEMENT", statement)
    async with reading(mysql_database, KEYED, start) as running:
        with pytest.raises(BinlogFormatNotRow):
            await running.wait_covered(current_position(mysql_database.server))


@pytest.mark.parametrize("statement", ["DELETE FROM t", "DELETE FROM parts PARTITION (low)"])
async def test_emptying_in_statement_format_is_refused(mysql_database: MysqlDatabase, statement: str) -> None:
    """It looks like what the server writes for a MEMORY table, but does more, or less."""
    mysql_database.execute(
        MAKE_TABLE,
        "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (10),"
        " PARTITION high VALUES LESS THAN (20))",
        "INSERT INTO parts VALUES (5), (15)",
        "INSERT INTO t VALUES (1, 'x', 1)",
        "CREATE TABLE log (id int)",
        "CREATE TRIGGER noted AFTER DELETE ON t FOR EACH ROW INSERT INTO log VALUES (OLD.id)",
    )
    start = current_position(mysql_database.server)
    mysql_database.execute("SET SESSION binlog_format = MIXED", statement)
    async with reading(mysql_database, {**KEYED, "parts": ["id"], "log": []}, start) as running:
        with pytest.raises(BinlogFormatNotRow):
            await running.wait_covered(current_position(mysql_database.server))


@pytest.mark.parametrize("statement", ["TRUNCATE t", "ALTER TABLE t ADD COLUMN w int", "CREATE INDEX i ON t (n)"])
@pytest.mark.parametrize("binlog_format", ["ROW", "STATEMENT"])
async def test_statement_about_a_temporary_table_is_not_carried(
    mysql_database: MysqlDatabase, statement: str, binlog_format: str
) -> None:
    """It hides the lasting table of its name from its session, not from the others."""
    mysql_database.execute(MAKE_TABLE)
    start = current_position(mysql_database.server)
    mysql_database.execute(
        f"SET SESSION binlog_format = {binlog_format}",
        "CREATE TEMPORARY TABLE t (id int PRIMARY KEY, n int)",
        statement,
        "DROP TABLE t",
        "SET SESSION binlog_format = ROW",
        "INSERT INTO t VALUES (1, 'x', 1)",
    )
    async with reading(mysql_database, KEYED, start, carries_ddl=True) as running:
        if binlog_format == "STATEMENT":
            with pytest.raises(BinlogFormatNotRow, match="temporary"):
                await running.wait_covered(current_position(mysql_database.server))
        else:
            await running.wait_covered(current_position(mysql_database.server))
            assert [change[0] for change in running.sink.changes] == [INSERT]


async def test_analyzed_statement_in_statement_format_is_refused(
    mariadb10: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    """MariaDB carries the statement out that it analyzes."""
    database = fresh_mysql_database(mariadb10)
    database.execute(MAKE_TABLE, "INSERT INTO t VALUES (1, 'x', 1)")
    start = current_position(mariadb10)
    database.execute("SET SESSION binlog_format = MIXED", "ANALYZE UPDATE t SET n = 2")
    async with reading(database, KEYED, start) as running:
        with pytest.raises(BinlogFormatNotRow):
            await running.wait_covered(current_position(mariadb10))


@pytest.mark.parametrize("product", list(Product), ids=lambda product: product.value)
async def test_table_that_a_restart_emptied_is_emptied(
    product: Product, private_mysql: MysqlServerFactory, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    """The only statement that a server writes of its own for rows, whatever the format."""
    server = private_mysql(product)
    server.start()
    database = fresh_mysql_database(server)
    database.execute("CREATE TABLE t (id int PRIMARY KEY) ENGINE = MEMORY", "INSERT INTO t VALUES (1)")
    start = current_position(server)
    server.restart()
    database.execute("SET sql_mode = 'ANSI_QUOTES'", "INSERT INTO t VALUES (2)")
    async with reading(database, KEYED, start) as running:
        await running.wait_covered(current_position(server))
    assert [change[0] for change in running.sink.changes] == [TRUNCATE, INSERT]


async def test_incomplete_row_images_are_refused(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE)
    start = current_position(mysql_database.server)
    mysql_database.execute(
        "INSERT INTO t VALUES (1, 'x', 1)", "SET SESSION binlog_row_image = MINIMAL", "UPDATE t SET v = 'y'"
    )
    async with reading(mysql_database, KEYED, start) as running:
        with pytest.raises(RowImageNotFull):
            await running.wait_covered(current_position(mysql_database.server))


async def test_changes_by_the_server_are_those_of_the_statement(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(MAKE_TABLE, "INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 2)")
    mysql_database.execute(
        "CREATE TABLE child (id int PRIMARY KEY, t_id int, FOREIGN KEY (t_id) REFERENCES t (id) ON DELETE CASCADE)"
    )
    mysql_database.execute("INSERT INTO child VALUES (5, 1)")
    start = current_position(mysql_database.server)
    mysql_database.execute("DELETE FROM t WHERE id = 2")
    async with reading(mysql_database, KEYED, start, carries_ddl=True) as running:
        await running.wait_covered(current_position(mysql_database.server))
    assert [(change[0], change[1].table.name) for change in running.sink.changes] == [(DELETE, "t")]


async def test_binlog_that_leaves_databases_out_stops_the_stream(
    private_mysql: MysqlServerFactory, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    """Also where it did not yet when the job began."""
    server = private_mysql(Product.MARIADB)
    server.start()
    database = fresh_mysql_database(server)
    database.execute(MAKE_TABLE)
    start = current_position(server)
    database.execute("INSERT INTO t VALUES (1, 'x', 1)")
    async with reading(database, KEYED, start) as running:
        await running.wait_covered(current_position(server))
    server.restart(settings={"binlog_ignore_db": database.name})
    database.execute("INSERT INTO t VALUES (2, 'x', 1)")
    with pytest.raises(SetupError, match="leaves out databases"):
        async with reading(database, KEYED, start):
            pass


async def test_foreign_keys_that_act_below_the_binlog_stop_the_stream(
    private_mysql: MysqlServerFactory, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    """The server does not say so while it runs, and another server may stand at the address of the one checked."""
    server = private_mysql(Product.MYSQL)
    if not server.is_at_least(9, 6):
        pytest.skip("older ones have no other way")
    server.start()
    database = fresh_mysql_database(server)
    database.execute(
        MAKE_TABLE,
        "CREATE TABLE child (id int PRIMARY KEY, t_id int, FOREIGN KEY (t_id) REFERENCES t (id) ON DELETE SET NULL)",
        "INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 2)",
        "INSERT INTO child VALUES (5, 1), (6, 2)",
    )
    keys = {**KEYED, "child": ["id"]}
    start = current_position(server)
    database.execute("DELETE FROM t WHERE id = 1")
    async with reading(database, keys, start) as running:
        await running.wait_covered(current_position(server))
    assert {change[1].table.name for change in running.sink.changes} == {"t", "child"}
    start = current_position(server)
    server.restart(settings={"innodb_native_foreign_keys": "ON"})
    place = current_file(server)
    database.execute("DELETE FROM t WHERE id = 2")
    assert database.fetch_all("SELECT t_id FROM child WHERE id = 6") == [(None,)]
    assert [change[1].table.name for change in decode_since(database, place, keys).changes] == ["t"]
    with pytest.raises(SetupError, match=r"\.child"):
        async with reading(database, keys, start):
            pass


def test_rows_of_a_table_that_no_map_names_are_refused(mysql_database: MysqlDatabase) -> None:
    """But for the event that is of no table, and only ends a statement."""
    mysql_database.execute(MAKE_TABLE)
    place = current_file(mysql_database.server)
    mysql_database.execute("INSERT INTO t VALUES (1, 'x', 1)")
    events = list(read_events(mysql_database.server, *place))
    row = next(number for number, event in enumerate(events) if event[4] in (ev.WRITE_ROWS, ev.WRITE_ROWS_V1))
    body = events[row][ev.HEADER_BYTES : -ev.CHECKSUM_BYTES]
    for table_id, flags, is_known in (
        (body[:6], b"\1\0", True),
        (b"\xff\xff\xff\0\0\0", b"\1\0", True),
        (b"\xff\xff\xff\0\0\0", b"\0\0", False),
        (b"\xfe\xff\xff\0\0\0", b"\1\0", False),
    ):
        decoder = new_decoder(KeepingSink(), mysql_database, KEYED)
        decoder.put([*events[:row], _sealed(events[row], table_id + flags + body[8:]), *events[row + 1 :]])
        if is_known:
            assert decoder.advance() is Stop.DONE
        else:
            with pytest.raises(InvariantBroken, match="cannot be decoded"):
                decoder.advance()


def _sealed(event: bytes, body: bytes) -> bytes:
    data = event[: ev.HEADER_BYTES] + body
    return data + zlib.crc32(data).to_bytes(4, "little")


async def test_table_as_select_stops_the_stream(mysql_database: MysqlDatabase) -> None:
    """Its definition and its rows are one transaction, which no target could take as a whole."""
    mysql_database.execute(MAKE_TABLE, "INSERT INTO t VALUES (1, 'x', 1)")
    start = current_position(mysql_database.server)
    mysql_database.execute("CREATE TABLE copied AS SELECT * FROM t")
    async with reading(mysql_database, KEYED, start, carries_ddl=True) as running:
        with pytest.raises(SourceDdl, match="copied"):
            await running.wait_covered(current_position(mysql_database.server))

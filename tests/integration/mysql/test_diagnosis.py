"""What a source of either product says of its binlog, without a worker."""

from __future__ import annotations

import asyncio

from tests.integration.mysql.reading import endpoint_of
from tests.servers.mysql import MysqlDatabase, MysqlServer
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from towline.adapters.mysql.diagnosis import MySourceDiagnosis
from towline.domain.diagnosis import SourceFacts

DAY_S = 86_400


async def look(diagnosis: MySourceDiagnosis) -> SourceFacts:
    return await diagnosis.read(at_us=7)


async def test_how_long_the_source_keeps_its_binlog(mysql_server: MysqlServer) -> None:
    diagnosis = MySourceDiagnosis(endpoint_of(mysql_server), job_id="kept")
    has_seconds = mysql_server.is_at_least(10, 6) if mysql_server.is_mariadb else mysql_server.is_at_least(8)
    name, unit_s = ("binlog_expire_logs_seconds", 1) if has_seconds else ("expire_logs_days", DAY_S)
    kept = mysql_server.fetch_value(f"SELECT @@global.{name}")
    try:
        mysql_server.execute(f"SET GLOBAL {name} = {2 * DAY_S // unit_s}", "FLUSH BINARY LOGS")
        before = await look(diagnosis)
        assert before.log.is_there
        assert before.log.keeps_for_s == 2 * DAY_S
        assert before.log_end_bytes is not None
        assert before.log.held_bytes == before.log_end_bytes
        oldest = oldest_binlog(mysql_server)
        mysql_server.execute("FLUSH BINARY LOGS", f"SET GLOBAL {name} = 0")
        async with asyncio.timeout(20):
            # MariaDB keeps a file until its own checkpoint has passed it.
            while oldest_binlog(mysql_server) == oldest:
                mysql_server.execute(f"PURGE BINARY LOGS TO '{newest_binlog(mysql_server)}'")
                await asyncio.sleep(0.01)
        after = await look(diagnosis)
        assert after.log.keeps_for_s == 0
        assert after.log.held_bytes is not None
        # What was removed does not let the end of the log go backwards.
        assert after.log_end_bytes is not None
        assert after.log.held_bytes < after.log_end_bytes
        assert after.log_end_bytes > before.log_end_bytes
    finally:
        mysql_server.execute(f"SET GLOBAL {name} = {kept}")
        await diagnosis.close()


def newest_binlog(server: MysqlServer) -> str:
    return str(server.fetch_all("SHOW BINARY LOGS")[-1][0])


def oldest_binlog(server: MysqlServer) -> str:
    return str(server.fetch_all("SHOW BINARY LOGS")[0][0])


async def test_a_prepared_transaction_is_seen_after_its_session_is_gone(
    mysql_database: MysqlDatabase, mysql_server: MysqlServer
) -> None:
    """It must end before a switch-over: its changes come with XA COMMIT, whoever gives it."""
    mysql_database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    names = (b"order-7", b"\x00\xff'")
    for k, name in enumerate(names):
        xid = f"X'{name.hex()}', 'b{k}', 9"
        mysql_database.execute(f"XA START {xid}", f"INSERT INTO t VALUES ({k})", f"XA END {xid}", f"XA PREPARE {xid}")
    diagnosis = MySourceDiagnosis(endpoint_of(mysql_server), job_id="prepared")
    try:
        seen = [transaction.session for transaction in (await look(diagnosis)).transactions]
        assert {session.prepared_as for session in seen} >= {"'order-7','b0',9", "X'00ff27',X'6231',9"}
        # The remedies are true.
        for session in seen:
            mysql_server.execute(session.end_with)
        assert (await look(diagnosis)).transactions == ()
    finally:
        await diagnosis.close()


async def test_a_prepared_transaction_without_a_name_for_an_account_that_may_not_see_it(
    mysql9: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    database = fresh_mysql_database(mysql9)
    database.execute("CREATE TABLE t (id int PRIMARY KEY)", "CREATE USER looker IDENTIFIED BY 'look-1'")
    database.execute("GRANT PROCESS ON *.* TO looker")
    database.execute("XA START 'x'", "INSERT INTO t VALUES (1)", "XA END 'x'", "XA PREPARE 'x'")
    diagnosis = MySourceDiagnosis(endpoint_of(mysql9, user="looker", password="look-1"), job_id="nameless")
    try:
        async with asyncio.timeout(20):
            # Its session is on its way out for a moment.
            while (await look(diagnosis)).transactions[0].session.pid is not None:
                await asyncio.sleep(0.15)
        facts = await look(diagnosis)
        assert facts.are_transactions_shown
        (session,) = (transaction.session for transaction in facts.transactions)
        assert (session.prepared_as, session.state) == (None, "prepared")
        assert session.transaction_age_s is not None
        assert "XA RECOVER" in session.end_with
    finally:
        await diagnosis.close()
        database.execute("XA ROLLBACK 'x'", "DROP USER looker")


async def test_who_has_changed_rows_and_not_committed(mysql_database: MysqlDatabase, mysql_server: MysqlServer) -> None:
    mysql_database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    diagnosis = MySourceDiagnosis(endpoint_of(mysql_server), job_id="open")
    try:
        with (
            mysql_database.connect(autocommit=False) as writer,
            mysql_database.connect(autocommit=False) as reader,
        ):
            for connection, statement in ((reader, "SELECT * FROM t"), (writer, "INSERT INTO t VALUES (1)")):
                with connection.cursor() as cursor:
                    cursor.execute(statement)
            async with asyncio.timeout(20):
                # InnoDB makes its list anew only when nobody has read it for 0.1 s.
                while not (facts := await look(diagnosis)).transactions:
                    await asyncio.sleep(0.15)
            (transaction,) = facts.transactions
            assert transaction.session.pid == writer.thread_id()
            assert transaction.session.transaction_age_s is not None
            assert transaction.has_written
    finally:
        await diagnosis.close()


async def test_an_account_that_may_not_see_the_binlog_does_not_make_it_lost(mysql_server: MysqlServer) -> None:
    mysql_server.execute("CREATE USER looker IDENTIFIED BY 'look-1'")
    diagnosis = MySourceDiagnosis(endpoint_of(mysql_server, user="looker", password="look-1"), job_id="hidden")
    try:
        facts = await look(diagnosis)
        assert facts.log.is_there
        assert (facts.log.held_bytes, facts.log_end_bytes) == (None, None)
        assert facts.log.keeps_for_s is not None
    finally:
        await diagnosis.close()
        mysql_server.execute("DROP USER looker")

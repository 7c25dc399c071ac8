"""Who holds what one of the job's sessions waits for: real servers, with and without the means to say it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.integration.mysql.reading import endpoint_of
from tests.servers.mysql import MysqlDatabase, MysqlServer, Product
from tests.servers.mysql_fixtures import GetServer, MysqlDatabaseFactory, describe_mysql
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.diagnosis import MySourceDiagnosis, MyTargetDiagnosis
from towline.domain.diagnosis import LockWait, SourceFacts, TargetFacts
from towline.domain.errors import Side, TowlineError

JOB_ID = "waits"
RECORDING = {
    "performance_schema": "ON",
    "performance_schema_instrument": "wait/lock/metadata/sql/mdl=ON",
    "performance_schema_consumer_events_statements_current": "ON",
}
BY_READER = ("START TRANSACTION", "SELECT * FROM item WHERE name = 'Geheim-77'")
INSERT = "INSERT INTO {}.item VALUES (7, 'Geheim-78')"


@dataclass(frozen=True)
class Case:
    """What somebody does, what our session then wants, and what is told of the holder."""

    holding: tuple[str, ...]
    wanting: str
    state: str
    statement: str


METADATA_CASES = {
    "ddl_behind_a_reader": Case(
        BY_READER, "ALTER TABLE {}.item ADD INDEX (name)", "idle in transaction", "SELECT * FROM item WHERE name = ?"
    ),
    "rows_behind_a_table_lock": Case(("LOCK TABLES item WRITE",), INSERT, "idle for", "LOCK TABLES item WRITE"),
    "rows_behind_a_lock_of_the_server": Case(
        ("FLUSH TABLES WITH READ LOCK",), INSERT, "idle for", "FLUSH TABLES WITH READ LOCK"
    ),
}


@pytest.fixture(scope="module")
def recording_mariadb(pytestconfig: pytest.Config) -> Iterator[MysqlServer]:
    """MariaDB with the recording of locks and statements switched on."""
    with describe_mysql(pytestconfig, Product.MARIADB, RECORDING) as server:
        yield server


@pytest.fixture
def item(mysql9: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory) -> MysqlDatabase:
    return filled(mysql9, fresh_mysql_database)


def filled(server: MysqlServer, new_database: MysqlDatabaseFactory) -> MysqlDatabase:
    database = new_database(server)
    database.execute("CREATE TABLE item (id int PRIMARY KEY, name varchar(40))", "INSERT INTO item VALUES (1, 'one')")
    return database


@asynccontextmanager
async def waiting(
    database: MysqlDatabase, case: Case, *, user: str = "", side: Side = Side.TARGET
) -> AsyncIterator[tuple[int, LockWait]]:
    """The holder's session, and the wait of ours as the job's own look at the server tells it."""
    account = {"user": user, "password": "wait-1"} if user else {}
    place = endpoint_of(database.server, **account)
    look = (MyTargetDiagnosis if side is Side.TARGET else MySourceDiagnosis)(place, job_id=JOB_ID)
    ours = await connect(place, purpose=f"{JOB_ID}:apply", side=side)
    with database.connect() as holder, holder.cursor() as cursor:
        for statement in case.holding:
            cursor.execute(statement)
        work = asyncio.create_task(ours.query(case.wanting.format(database.name)))
        try:
            async with asyncio.timeout(20):
                while (wait := find(await look.read(at_us=7), case)) is None:
                    assert not work.done() or not work.exception(), work
                    await asyncio.sleep(0.11)  # InnoDB shows the same for 0.1 s after each look
            yield holder.thread_id(), wait
        finally:
            cursor.execute("UNLOCK TABLES")
            cursor.execute("ROLLBACK")
            try:
                await work
            except TowlineError:
                pass
            ours.terminate()
            await look.close()


def find(facts: SourceFacts | TargetFacts, case: Case) -> LockWait | None:
    """The one wait, once its holder is seen as it is."""
    for wait in facts.lock_waits:
        assert len(facts.lock_waits) == 1
        return wait if all(blocker.state.startswith(case.state) for blocker in wait.blockers) else None
    return None


def check_named(holder: int, wait: LockWait, case: Case, database: MysqlDatabase) -> None:
    (blocker,) = wait.blockers
    assert (wait.purpose, blocker.pid, blocker.end_with) == ("apply", holder, f"KILL {holder}")
    assert blocker.user in (f"{database.server.user}@{host}" for host in ("localhost", "127.0.0.1"))
    assert blocker.statement == case.statement
    assert (blocker.transaction_age_s is not None) == (case.state == "idle in transaction")
    assert "Geheim" not in repr(wait)  # I7


@pytest.mark.parametrize("name", METADATA_CASES)
async def test_mysql_names_who_holds_a_lock_that_is_none_of_a_row(item: MysqlDatabase, name: str) -> None:
    async with waiting(item, METADATA_CASES[name]) as (holder, wait):
        check_named(holder, wait, METADATA_CASES[name], item)


@pytest.mark.parametrize("name", METADATA_CASES)
async def test_mariadb_that_records_locks_names_the_holder(
    recording_mariadb: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory, name: str
) -> None:
    database = filled(recording_mariadb, fresh_mysql_database)
    async with waiting(database, METADATA_CASES[name]) as (holder, wait):
        check_named(holder, wait, METADATA_CASES[name], database)


@pytest.mark.parametrize("name", METADATA_CASES)
async def test_mariadb_that_does_not_record_locks_says_that_it_waits_and_what_to_switch_on(
    mariadb10: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory, name: str
) -> None:
    database = filled(mariadb10, fresh_mysql_database)
    async with waiting(database, METADATA_CASES[name]) as (_, wait):
        assert wait.blockers == ()
        assert wait.state.startswith("Waiting for ")
        assert "INSTALL SONAME 'metadata_lock_info'" in wait.how_to_see
        assert wait.statement.startswith(METADATA_CASES[name].wanting[:6])
        assert "Geheim" not in repr(wait)  # I7


async def test_who_holds_a_row_is_named_with_account_and_statement(
    mysql_servers: GetServer, mysql_product: Product, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    database = filled(mysql_servers(mysql_product, "first"), fresh_mysql_database)
    case = Case(
        ("START TRANSACTION", "UPDATE item SET name = 'Geheim-79' WHERE id = 1"),
        "DELETE FROM {}.item WHERE id = 1",
        "idle in transaction",
        "" if mysql_product is Product.MARIADB else "UPDATE item SET name = ? WHERE id = ?",
    )
    async with waiting(database, case) as (holder, wait):
        check_named(holder, wait, case, database)


async def test_a_reader_of_the_source_that_waits_is_seen_too(item: MysqlDatabase) -> None:
    case = Case(("LOCK TABLES item WRITE",), "SELECT * FROM {}.item", "idle for", "LOCK TABLES item WRITE")
    async with waiting(item, case, side=Side.SOURCE) as (holder, wait):
        check_named(holder, wait, case, item)


async def test_an_account_that_may_not_see_others_is_told_what_to_grant(item: MysqlDatabase) -> None:
    item.execute("CREATE USER waits IDENTIFIED BY 'wait-1'", f"GRANT ALL ON `{item.name}`.* TO waits")
    try:
        async with waiting(item, METADATA_CASES["ddl_behind_a_reader"], user="waits") as (_, wait):
            assert wait.blockers == ()
            assert wait.state == "Waiting for table metadata lock"
            assert "GRANT SELECT ON performance_schema.*" in wait.how_to_see
        look = MySourceDiagnosis(endpoint_of(item.server, user="waits", password="wait-1"), job_id=JOB_ID)
        assert not (await look.read(at_us=7)).are_transactions_shown
        await look.close()
    finally:
        item.execute("DROP USER waits")

"""Tables leave a job that has run, killed anywhere: those that stay end equal, those that left no longer change."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fault.cross_jobs import CrossRuns
from tests.fault.jobs import JobRuns, Runs, writing
from tests.fault.mysql_jobs import MysqlRuns
from tests.fault.to_postgres_jobs import ToPostgresRuns
from tests.servers import Database
from tests.servers.fixtures import DatabaseFactory
from tests.servers.mysql import Product
from tests.servers.mysql_fixtures import GetServer, MysqlDatabaseFactory
from towline.adapters.postgres.bookkeeping import ensure_bookkeeping, take_over
from towline.adapters.postgres.connection import connect, parse_url
from towline.adapters.postgres.copy_target import PgCopyTarget
from towline.adapters.postgres.slots import ensure_publication, extend_publication, narrow_publication
from towline.domain.errors import LeaseLost
from towline.domain.tables import TableName
from towline.embedded import EmbeddedPostgres
from towline.engine import points
from towline.engine.ports import TablePlan

# `visit` leaves; one foreign key leads from it to a table that stays, and one from such a table to it.
SCHEMA = (
    "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)",
    "CREATE TABLE entry (account int, amount int)",
    """CREATE TABLE visit (id int PRIMARY KEY, account int,
        CONSTRAINT visit_account FOREIGN KEY (account) REFERENCES account (id))""",
    """CREATE TABLE bill (id int PRIMARY KEY, visit int,
        CONSTRAINT bill_visit FOREIGN KEY (visit) REFERENCES visit (id))""",
    "CREATE TABLE guest (id int PRIMARY KEY, note varchar(20))",
    f"INSERT INTO account VALUES {', '.join(f'({n}, 0)' for n in range(50))}",
    f"INSERT INTO visit VALUES {', '.join(f'({n}, {n})' for n in range(50))}",
    f"INSERT INTO bill VALUES {', '.join(f'({n}, {n})' for n in range(50))}",
)
FIRST = ["account", "entry", "visit", "bill"]
STAY = ["account", "entry", "bill"]
JOINED = [*STAY, "guest"]
# All of it takes minutes: see `make fault-join`.
is_campaign = pytest.mark.skipif("TOWLINE_CAMPAIGN" not in os.environ, reason="part of make fault-join")
LEAVING = (points.LEAVE_BEFORE_COMMIT, points.LEAVE_REMEMBERED)
JOINING = (
    points.JOIN_BEFORE_LEDGER,
    points.JOIN_REMEMBERED,
    points.JOIN_PUBLISHED,
    points.STRUCTURE_BEFORE_COMMIT,
    points.COPY_BEFORE_COMMIT,
    points.COPY_AFTER_COMMIT,
)
APPLYING = (points.APPLY_BEFORE_COMMIT, points.APPLY_AFTER_COMMIT, points.HANDOFF_BEFORE_STREAM)

Execute = Callable[..., None]
ReadRows = Callable[[str], list[tuple[Any, ...]]]


class Leaving:
    """A job, and both of its sides as one sees them with plain SQL."""

    def __init__(self, runs: Runs, schema: str, execute: Execute, source: ReadRows, target: ReadRows) -> None:
        self.runs = runs
        self.schema = schema
        self.execute = execute
        self._source, self._target = source, target
        self._written = 0

    def order(self, tables: Sequence[str], edit: int = 0) -> dict[str, Any]:
        return {"schema": self.schema, "tables": list(tables), "edit": edit}

    def write(self) -> None:
        """Some transactions, each time others."""
        for k in range(10):
            n = self._written + k
            self.execute(
                f"UPDATE account SET balance = balance + 1 WHERE id = {n % 50}",
                f"INSERT INTO entry VALUES ({n}, {k})",
                f"INSERT INTO visit VALUES ({1000 + n}, {n % 50})",
                f"UPDATE visit SET account = {n % 7} WHERE id = {n % 50}",
                f"INSERT INTO bill VALUES ({1000 + n}, {1000 + n})",
                f"DELETE FROM bill WHERE id = {n % 50}",
                f"INSERT INTO guest VALUES ({n}, 'n{k}')",
            )
        self._written += 10

    def source(self, table: str) -> list[tuple[Any, ...]]:
        return sorted(self._source(f"SELECT * FROM {table}"))

    def target(self, table: str) -> list[tuple[Any, ...]]:
        return sorted(self._target(f"SELECT * FROM {table}"))

    def kill_at_each(self, deaths: Sequence[str], order: dict[str, Any]) -> None:
        """Each run goes on where the one before it was killed, with changes in between."""
        for point in deaths:
            self.write()
            self.runs.run_until_killed(point, until_caught_up=True, **order)

    def assert_left(self, *, stayed: Sequence[str], left: dict[str, list[tuple[Any, ...]]]) -> None:
        for table in stayed:
            assert self.target(table) == self.source(table), table
        for table, rows in left.items():
            assert self.target(table) == rows, f"{table} left, and changed after that"
            assert self.source(table) != rows, f"nothing was written to {table} that could have come"


@pytest.fixture
def postgres(source_database: Database, target_database: Database, tmp_path: Path) -> Leaving:
    runs = JobRuns(source=source_database, target=target_database, work_dir=tmp_path)
    return _of_postgres(runs, "public", target_database.fetch_all)


def _of_postgres(runs: JobRuns | CrossRuns, schema: str, target: ReadRows) -> Leaving:
    def execute(*statements: str) -> None:
        runs.source.execute(f"SET search_path = {schema}; {'; '.join(statements)}")

    def read(query: str) -> list[tuple[Any, ...]]:
        return runs.source.fetch_all(query.replace("FROM ", f"FROM {schema}."))

    execute(*SCHEMA)
    return Leaving(runs, schema, execute, read, target)


@pytest.mark.postgres(source=16, target=18)
async def test_i1_i5_a_table_leaves_and_another_joins_with_one_edit(postgres: Leaving) -> None:
    runs = postgres.runs
    assert isinstance(runs, JobRuns)
    runs.run_to_the_end(**postgres.order(FIRST))
    rows = {"visit": postgres.source("visit")}
    order = postgres.order(JOINED, edit=1)
    postgres.kill_at_each([points.LEAVE_REMEMBERED], order)
    postgres.write()
    # A key of a table that left would forbid it on the target.
    postgres.execute("TRUNCATE account CASCADE", "INSERT INTO account VALUES (1, 1)")
    outcome = runs.run_to_the_end(**order)
    assert (outcome["result"], outcome["percent"]) == ("caught_up", 100)
    postgres.assert_left(stayed=JOINED, left=rows)
    assert runs.target.fetch_value("SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == 0
    for key in ("visit visit_account", "bill bill_visit"):
        dropped = f"FK CONSTRAINT public.{key}: dropped on the target: one of its two tables left the job"
        assert dropped in outcome["notes"], "also when the run that dropped it could not say so"
    ledger = "SELECT count(*) FROM towline.structure_item WHERE table_name = 'visit' OR name = 'bill_visit'"
    assert runs.target.fetch_value(ledger) == 0
    published = "SELECT array_agg(tablename ORDER BY tablename)::text[] FROM pg_publication_tables"
    assert runs.source.fetch_value(published) == sorted(JOINED)


@is_campaign
@pytest.mark.postgres(source=18, target=16)
async def test_i1_i5_tables_leave_wherever_the_worker_is_killed_and_come_back(postgres: Leaving) -> None:
    runs = postgres.runs
    assert isinstance(runs, JobRuns)
    runs.run_to_the_end(**postgres.order(FIRST))
    rows = {"visit": postgres.source("visit")}
    order = postgres.order(JOINED, edit=1)
    postgres.kill_at_each([*LEAVING, *JOINING, points.LEAVE_NARROWED, *APPLYING], order)
    runs.run_to_the_end(**order)
    postgres.assert_left(stayed=JOINED, left=rows)
    # What joined leaves again while it is copied, and with it what has been there for long.
    postgres.execute("CREATE TABLE late (id int PRIMARY KEY)", "INSERT INTO late VALUES (1), (2)")
    runs.run_until_killed(points.COPY_BEFORE_COMMIT, **postgres.order([*JOINED, "late"], edit=2))
    rows["bill"] = postgres.target("bill")
    fewer = postgres.order(["account", "entry", "guest"], edit=3)
    postgres.kill_at_each(LEAVING, fewer)
    postgres.write()
    outcome = runs.run_to_the_end(**fewer)
    told = {note.split(": ")[0]: note for note in outcome["notes"]}
    assert "before its copy was over" in told["TABLE public.late"], "the run that was killed could not say it"
    assert "before it was in step" in told["TABLE public.bill"]
    assert runs.run_to_the_end(**fewer)["notes"] == []
    postgres.assert_left(stayed=["account", "entry", "guest"], left=rows)
    assert postgres.target("late") == [], "it was made, and not copied"
    # Back it comes, as a table of its own: whole, and with its key.
    runs.target.execute("DROP TABLE visit, bill")
    notes = runs.run_to_the_end(**postgres.order([*JOINED, "visit"], edit=4))["notes"]
    assert {"TABLE public.visit: joins the job", "TABLE public.bill: joins the job"} <= set(notes)
    postgres.write()
    runs.run_to_the_end(**postgres.order([*JOINED, "visit"], edit=4))
    postgres.assert_left(stayed=[*JOINED, "visit"], left={})
    assert runs.target.fetch_value("SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == 2
    notes = runs.run_to_the_end(**postgres.order(["account", "visit"], edit=5))["notes"]
    assert "FK CONSTRAINT public.bill bill_visit: dropped on the target: one of its two tables left the job" in notes
    assert any(note.startswith("TABLE public.guest: left the job; on the target its rows are as of ") for note in notes)


@is_campaign
@pytest.mark.postgres(source=18, target=18)
async def test_i2_what_left_stands_where_the_checkpoint_stood(postgres: Leaving) -> None:
    """Each transaction counts in one table that stays and in one that leaves, also while the worker is killed."""
    runs = postgres.runs
    assert isinstance(runs, JobRuns)
    count = "UPDATE account SET balance = balance + 1 WHERE id = 1; UPDATE visit SET account = account + 1 WHERE id = 1"
    postgres.execute("ALTER TABLE visit DROP CONSTRAINT visit_account", "UPDATE visit SET account = 0")
    counted = "SELECT (SELECT balance FROM account WHERE id = 1), (SELECT account FROM visit WHERE id = 1)"
    order = postgres.order(["account"], edit=1)
    with writing(runs.source, count):
        runs.run_until_killed(points.APPLY_AFTER_COMMIT, times=3, **postgres.order(FIRST))
        runs.run_until_killed(points.LEAVE_REMEMBERED, **order)
        ((stays, left),) = runs.target.fetch_all(counted)
        assert stays == left > 0
        runs.run_until_killed(points.APPLY_AFTER_COMMIT, times=3, **order)
        assert runs.target.fetch_all(counted)[0][0] > stays
    runs.run_to_the_end(**order)
    total = runs.source.fetch_value("SELECT balance FROM account WHERE id = 1")
    assert runs.target.fetch_all(counted) == [(total, left)]
    assert total > left


@is_campaign
@pytest.mark.postgres(source=18, target=18)
async def test_a_partitioned_table_leaves_under_the_name_that_it_has_on_the_target(postgres: Leaving) -> None:
    runs = postgres.runs
    assert isinstance(runs, JobRuns)
    postgres.execute(
        "CREATE TABLE log (id int PRIMARY KEY, account int REFERENCES account) PARTITION BY RANGE (id)",
        "CREATE TABLE log_old PARTITION OF log FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE log_new PARTITION OF log FOR VALUES FROM (100) TO (200)",
        "INSERT INTO log SELECT n, 1 FROM generate_series(1, 199) n",
        "CREATE VIEW logged AS SELECT account FROM log",
    )
    renames = {"rename": ["public.visit=public.call"]}
    runs.run_to_the_end(**postgres.order([*FIRST, "log"]), **renames)
    calls = postgres.target("call")
    assert calls == postgres.source("visit")
    postgres.write()
    postgres.execute("DELETE FROM log WHERE id % 2 = 0")
    outcome = runs.run_to_the_end(**postgres.order(STAY, edit=1), **renames)
    told = [note.split(": ")[0] for note in outcome["notes"]]
    for what in ("TABLE public.visit", "TABLE public.log_old", "FK CONSTRAINT public.call visit_account"):
        assert what in told
    assert "FK CONSTRAINT public.log log_account_fkey" in told
    assert postgres.target("call") == calls
    assert len(postgres.target("log")) == 199
    postgres.assert_left(stayed=STAY, left={})
    # What is selected and gone does not leave; it stops the job.
    postgres.execute("DROP TABLE entry")
    assert runs.run(**postgres.order(STAY, edit=2), **renames)["error"] == "SOURCE_CHANGED"
    assert runs.run_to_the_end(**postgres.order(["account", "bill"], edit=3), **renames)["result"] == "caught_up"


@pytest.fixture
def mysql(
    request: pytest.FixtureRequest, mysql_servers: GetServer, fresh_mysql_database: MysqlDatabaseFactory, tmp_path: Path
) -> Iterator[Leaving]:
    """Between the products of the mark `mysql_pair(source, target)`."""
    first, second = request.node.get_closest_marker("mysql_pair").args
    source = fresh_mysql_database(mysql_servers(first, "first"))
    target = mysql_servers(second, "second")
    source.execute(*SCHEMA)
    runs = MysqlRuns(source=source, target=target, work_dir=tmp_path)

    def read(query: str) -> list[tuple[Any, ...]]:
        return target.fetch_all(query, database=source.name)

    yield Leaving(runs, source.name, source.execute, source.fetch_all, read)
    target.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


KEYS = "SELECT constraint_name FROM information_schema.referential_constraints WHERE constraint_schema = '{}'"


@is_campaign
@pytest.mark.parametrize("product", [pytest.param(p, marks=pytest.mark.mysql_pair(p, p), id=p.value) for p in Product])
def test_i1_i5_tables_leave_a_job_that_carries_ddl(product: Product, mysql: Leaving) -> None:
    runs = mysql.runs
    assert isinstance(runs, MysqlRuns)
    runs.run_to_the_end()
    rows = {"visit": mysql.source("visit"), "guest": []}
    order = mysql.order(STAY, edit=1)
    mysql.kill_at_each([*LEAVING, points.LEAVE_KEY_DROPPED, *APPLYING], order)
    mysql.write()
    # What the source does to the table that left is not done any more, and what it does to the others is.
    mysql.execute(
        "ALTER TABLE visit DROP FOREIGN KEY visit_account, ADD COLUMN more int",
        "ALTER TABLE bill DROP FOREIGN KEY bill_visit, ADD COLUMN more int",
        "TRUNCATE TABLE account",
        "INSERT INTO account VALUES (7, 7)",
        "CREATE TABLE outside (id int PRIMARY KEY)",
        "INSERT INTO bill VALUES (5000, 1, 1)",
        "DROP TABLE guest",
        "CREATE TABLE guest (id int)",
        "INSERT INTO guest VALUES (1)",
    )
    outcome = runs.run_to_the_end(**order)
    assert (outcome["result"], outcome["percent"]) == ("caught_up", 100)
    mysql.assert_left(stayed=STAY, left=rows)
    assert runs.target.fetch_all(KEYS.format(mysql.schema)) == []
    assert runs.target.fetch_value("SELECT count(*) FROM towline.departure") == 0
    notes = runs.run_to_the_end(**mysql.order(["account"], edit=2))["notes"]
    told = [note for note in notes if "left the job; on the target" in note]
    assert sorted(note.split(":")[0] for note in told) == [f"TABLE {mysql.schema}.{name}" for name in ("bill", "entry")]
    assert runs.run_to_the_end(**mysql.order(["account"], edit=2))["notes"] == []


@is_campaign
@pytest.mark.mysql_pair(Product.MYSQL, Product.MYSQL)
def test_a_statement_that_had_begun_on_a_table_is_forgotten_when_it_leaves(mysql: Leaving) -> None:
    runs = mysql.runs
    assert isinstance(runs, MysqlRuns)
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    mysql.execute("ALTER TABLE guest ADD COLUMN more int", "DROP TABLE bill, entry")
    runs.run_until_killed(points.DDL_AFTER_INTENT)
    order = mysql.order(["account", "visit", "bill", "entry"], edit=1)
    # The other statement is about a table that leaves and one that stays: it has to be over first.
    runs.run_until_killed(points.DDL_AFTER_INTENT, **order)
    refused = runs.run(**mysql.order(["account", "visit", "bill"], edit=2))
    assert (refused["error"], "entry cannot leave the job now" in refused["message"]) == ("SETUP", True)
    runs.run_to_the_end(**mysql.order(["account", "visit", "bill", "entry"], edit=3))
    assert [table for (table,) in runs.target.fetch_all(f"SHOW TABLES FROM {mysql.schema}")] == [
        "account",
        "guest",
        "visit",
    ]


@is_campaign
@pytest.mark.mysql_pair(Product.MYSQL, Product.MARIADB)
def test_i1_i5_tables_leave_a_job_from_one_product_to_the_other(mysql: Leaving) -> None:
    mysql.runs.run_to_the_end(**mysql.order(FIRST))
    rows = {"visit": mysql.source("visit")}
    mysql.write()
    told = [note.partition(": ") for note in mysql.runs.run_to_the_end(**mysql.order(STAY, edit=1))["notes"]]
    assert [(what.replace(mysql.schema, "s"), how.split()[0]) for what, _, how in told if "FK" in what] == [
        ("FK CONSTRAINT s.bill bill_visit", "kept"),
        ("FK CONSTRAINT s.visit visit_account", "dropped"),
        ("FK CONSTRAINT s.bill.bill_visit", "refers"),  # the structure of what stays, which is planned anew
    ]
    rows["entry"] = mysql.target("entry")
    order = mysql.order(["account", "bill"], edit=2)
    mysql.kill_at_each([points.LEAVE_REMEMBERED, points.APPLY_AFTER_COMMIT], order)
    mysql.write()
    mysql.runs.run_to_the_end(**order)
    mysql.assert_left(stayed=["account", "bill"], left=rows)


@is_campaign
@pytest.mark.parametrize("product", list(Product), ids=lambda product: product.value)
def test_i1_i5_tables_leave_a_job_from_postgresql_to_mysql(
    product: Product, source_database: Database, mysql_servers: GetServer, tmp_path: Path
) -> None:
    schema, target = f"k_{secrets.token_hex(5)}", mysql_servers(product, "second")
    source_database.execute(f"CREATE SCHEMA {schema}")
    runs = CrossRuns(source=source_database, target=target, schema=schema, work_dir=tmp_path)
    try:
        job = _of_postgres(runs, schema, lambda query: target.fetch_all(query, database=schema))
        runs.run_to_the_end(**job.order(FIRST))
        rows = {"visit": job.source("visit")}
        order = job.order(STAY, edit=1)
        deaths = [*LEAVING, points.LEAVE_KEY_DROPPED, points.LEAVE_NARROWED, points.APPLY_BEFORE_COMMIT]
        job.kill_at_each(deaths, order)
        job.write()
        job.execute("TRUNCATE account CASCADE", "INSERT INTO account VALUES (1, 1)")
        runs.run_to_the_end(**order)
        job.assert_left(stayed=STAY, left=rows)
    finally:
        target.execute(f"DROP DATABASE IF EXISTS `{schema}`", "DROP DATABASE IF EXISTS towline")


@is_campaign
@pytest.mark.parametrize("product", list(Product), ids=lambda product: product.value)
def test_i1_i5_tables_leave_a_job_from_mysql_to_postgresql(
    product: Product,
    mysql_servers: GetServer,
    fresh_mysql_database: MysqlDatabaseFactory,
    pg18: EmbeddedPostgres,
    fresh_database: DatabaseFactory,
    tmp_path: Path,
) -> None:
    source, target = fresh_mysql_database(mysql_servers(product, "first")), fresh_database(pg18)
    source.execute(*SCHEMA)
    runs = ToPostgresRuns(source=source, target=target, work_dir=tmp_path)

    def read(query: str) -> list[tuple[Any, ...]]:
        return target.fetch_all(query.replace("FROM ", f'FROM "{source.name}".'))

    job = Leaving(runs, source.name, source.execute, source.fetch_all, read)
    runs.run_to_the_end(**job.order(FIRST))
    rows = {"visit": job.source("visit")}
    order = job.order(STAY, edit=1)
    job.kill_at_each([*LEAVING, *APPLYING], order)
    job.write()
    job.execute("CREATE INDEX visited ON visit (account, id)", "CREATE INDEX balanced ON account (balance)")
    runs.run_to_the_end(**order)
    job.assert_left(stayed=STAY, left=rows)
    made = target.fetch_all("SELECT tablename FROM pg_indexes WHERE indexname ~ 'visited|balanced'")
    assert made == [("account",)]
    assert target.fetch_value("SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == 0


@pytest.mark.postgres(source=18)
async def test_i6_a_worker_that_was_frozen_does_not_take_away_what_has_joined_since(source_database: Database) -> None:
    source_database.execute("CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE TABLE c () INHERITS (b)")
    a, b, c = (TableName("public", name) for name in "abc")
    connection = await connect(parse_url(source_database.url), purpose="test")
    try:
        await ensure_publication(connection, "feed", [a, b])
        assert await extend_publication(connection, "feed", [a, b, c], edit=3)
        assert not await narrow_publication(connection, "feed", [a], edit=2)
        published = "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_publication_tables"
        assert await connection.fetchval(published) == "a b c"
        assert await narrow_publication(connection, "feed", [a, c], edit=3)
        assert await connection.fetchval(published) == "a c"
        assert not await narrow_publication(connection, "feed", [a, c], edit=4)
        await ensure_bookkeeping(connection)
        await take_over(connection, "job", epoch=2, source_identity="x")
        successor = PgCopyTarget(parse_url(source_database.url), job_id="job", epoch=2)
        await successor.save_plan([TablePlan(a, 1, 1, 8192, 1, "1")])
        frozen = PgCopyTarget(parse_url(source_database.url), job_id="job", epoch=1)
        with pytest.raises(LeaseLost):
            await frozen.leave([a], [], edit=1, describe=lambda _: [])
        facts = await successor.load_facts()
        assert ([plan.table for plan in facts.plans], facts.edit) == ([a], 0)
        await frozen.close()
        await successor.close()
    finally:
        await connection.close()

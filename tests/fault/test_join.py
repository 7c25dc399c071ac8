"""Objects join a job that has run, killed anywhere and with writers at work; both sides end equal."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fault.jobs import JobRuns
from tests.fault.mysql_jobs import MysqlRuns, writing
from tests.servers import Database, assert_same_rows
from tests.servers.mysql import Product
from tests.servers.mysql_fixtures import GetServer, MysqlDatabaseFactory
from towline.engine import points

SCHEMA = """
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL DEFAULT 0);
INSERT INTO account SELECT i, 0 FROM generate_series(1, 500) i;
CREATE TABLE entry (account int, amount int);
CREATE TABLE invoice (id serial PRIMARY KEY, account int REFERENCES account, code text UNIQUE, note text);
ALTER TABLE invoice ALTER note SET STORAGE EXTERNAL;
INSERT INTO invoice (account, code, note) SELECT i % 500 + 1, 'c' || i, repeat(md5(i::text), 90)
FROM generate_series(1, 4000) i;
CREATE TABLE loose (account int, amount int);
INSERT INTO loose SELECT i, i FROM generate_series(1, 1000) i;
CREATE VIEW invoiced AS SELECT account, count(*) FROM invoice GROUP BY account;
"""
FIRST = ["account", "entry"]
# All of it takes a minute: see `make fault-join`.
IS_CAMPAIGN = "TOWLINE_CAMPAIGN" in os.environ
is_campaign = pytest.mark.skipif(not IS_CAMPAIGN, reason="part of make fault-join")
SOME_POINTS = (points.JOIN_REMEMBERED, points.COPY_AFTER_COMMIT, points.APPLY_BEFORE_COMMIT)
ALL_POINTS = (
    points.JOIN_BEFORE_LEDGER,
    points.JOIN_REMEMBERED,
    points.JOIN_PUBLISHED,
    points.STRUCTURE_BEFORE_COMMIT,
    points.COPY_AFTER_COMMIT,
    points.COPY_BEFORE_COMMIT,
    points.APPLY_BEFORE_COMMIT,
    points.APPLY_AFTER_COMMIT,
    points.HANDOFF_BEFORE_STREAM,
)
ALL = [*FIRST, "invoice", "loose"]


def write(source: Database, round: int) -> None:
    """Tables without a key would show a row that came twice, or not at all."""
    with source.connect() as connection:
        for k in range(20):
            n = round * 20 + k
            connection.execute(
                f"""UPDATE account SET balance = balance + 1 WHERE id = 1 + {n} % 500;
                INSERT INTO entry VALUES ({n}, {k}); INSERT INTO loose VALUES ({n}, {k});
                UPDATE loose SET amount = amount + 1 WHERE account = {n} % 1000;
                DELETE FROM invoice WHERE id = 1 + {n} * 7 % 4000;
                UPDATE invoice SET code = code || 'x' WHERE id = 1 + {n} * 3 % 4000;
                INSERT INTO invoice (account, code, note) VALUES (1 + {n} % 500, 'new' || {n}, 'n')""".encode()
            )


async def assert_joined(runs: JobRuns) -> None:
    await assert_same_rows(runs.source.url, runs.target.url)
    keys = "SELECT count(*) FROM pg_constraint WHERE conrelid = 'invoice'::regclass AND contype IN ('p', 'u', 'f')"
    assert runs.target.fetch_value(keys) == 3
    ahead = "SELECT last_value FROM invoice_id_seq"
    assert runs.target.fetch_value(ahead) == runs.source.fetch_value(ahead)


@pytest.mark.postgres(source=16, target=18)
async def test_i1_i4_i5_objects_that_join_arrive_whole_wherever_the_worker_is_killed(runs: JobRuns) -> None:
    runs.source.execute("ALTER TABLE loose REPLICA IDENTITY FULL")
    runs.run_to_the_end(tables=FIRST)
    for round, point in enumerate(ALL_POINTS if IS_CAMPAIGN else SOME_POINTS):
        write(runs.source, round)
        runs.run_until_killed(point, tables=ALL, edit=1, until_caught_up=True)
    write(runs.source, 90)
    assert runs.run_to_the_end(tables=ALL, edit=1)["result"] == "caught_up"
    await assert_joined(runs)
    # The edit is done: what the job does next is to stream, also with the old snapshots in its ledger.
    snapshots = runs.target.fetch_value("SELECT count(*) FROM towline.snapshot")
    write(runs.source, 91)
    runs.run_to_the_end(tables=ALL, edit=1)
    assert runs.target.fetch_value("SELECT count(*) FROM towline.snapshot") == snapshots
    await assert_joined(runs)


@is_campaign
@pytest.mark.postgres(source=18, target=16)
async def test_i4_writers_lose_nothing_while_a_table_joins(runs: JobRuns) -> None:
    """Also a transaction that wrote to the table before it was published, and goes on after."""
    runs.source.execute("ALTER TABLE loose REPLICA IDENTITY FULL")
    runs.run_to_the_end(tables=FIRST)
    process = runs.begin(tables=ALL, edit=1, until_caught_up=True)
    try:
        round = 0
        while process.poll() is None:
            with runs.source.connect() as long:
                long.execute(f"INSERT INTO loose VALUES (-1, {round}); UPDATE account SET balance = -1".encode())
                await asyncio.sleep(0.05)
                long.execute(f"INSERT INTO loose VALUES (-2, {round})".encode())
            write(runs.source, round)
            round += 1
        output, errors = process.communicate(timeout=60)
        assert '"caught_up"' in output, errors[-2000:]
    finally:
        process.kill()
        process.wait()
    runs.run_to_the_end(tables=ALL, edit=1)
    await assert_joined(runs)


# --- MySQL and MariaDB -----------------------------------------------------------------------------------

MYSQL_SCHEMA = (
    "CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL DEFAULT 0)",
    "CREATE TABLE entry (account int, amount int)",
    "CREATE TABLE invoice (id int AUTO_INCREMENT PRIMARY KEY, account int, code varchar(80) UNIQUE,"
    " kind enum('a', 'b'), note text, KEY by_kind (kind, account),"
    " CONSTRAINT invoice_account FOREIGN KEY (account) REFERENCES account (id))",
    "CREATE TABLE loose (account int, amount int)",
    "INSERT INTO account SELECT seq, 0 FROM (SELECT a.n * 20 + b.n + 1 AS seq FROM {n} a, {n} b) t",
    "INSERT INTO invoice (account, code, kind, note) SELECT 1 + a.n * 20 + b.n, CONCAT_WS('-', a.n, b.n, c.n),"
    " IF(b.n % 2, 'a', 'b'), REPEAT('x', 2000) FROM {n} a, {n} b, {n} c WHERE c.n < 10",
    "INSERT INTO loose SELECT a.n, b.n FROM {n} a, {n} b",
)
NUMBERS = "(" + " UNION ALL ".join(f"SELECT {n} AS n" for n in range(20)) + ")"
MYSQL_CHANGES = """
UPDATE account SET balance = balance + 1 WHERE id = 1 + {k} % 400;
INSERT INTO entry VALUES ({k}, 1); INSERT INTO loose VALUES ({k}, 2);
UPDATE loose SET amount = amount + 1 WHERE account = {k} % 20;
DELETE FROM invoice WHERE id = 1 + {k} * 7 % 4000;
UPDATE invoice SET code = CONCAT(code, 'x'), kind = 'b' WHERE id = 1 + {k} * 3 % 4000;
INSERT INTO invoice (account, code, kind) VALUES (1 + {k} % 400, CONCAT('new', UUID()), 'a')
"""
MYSQL_POINTS = (
    points.JOIN_BEFORE_LEDGER,
    points.JOIN_REMEMBERED,
    points.STRUCTURE_BEFORE_COMMIT,
    points.COPY_AFTER_COMMIT,
    points.COPY_BEFORE_COMMIT,
    points.APPLY_BEFORE_COMMIT,
    points.APPLY_AFTER_COMMIT,
    points.HANDOFF_BEFORE_STREAM,
)
same_products = pytest.mark.parametrize(
    "product", [pytest.param(p, marks=pytest.mark.mysql_pair(p, p), id=p.value) for p in Product]
)


@pytest.fixture
def mysql(
    request: pytest.FixtureRequest, mysql_servers: GetServer, fresh_mysql_database: MysqlDatabaseFactory, tmp_path: Path
) -> Iterator[MysqlRuns]:
    """Between the products of the mark `mysql_pair(source, target)`."""
    first, second = request.node.get_closest_marker("mysql_pair").args
    source = fresh_mysql_database(mysql_servers(first, "first"))
    target = mysql_servers(second, "second")
    source.execute(*(text.replace("{n}", NUMBERS) for text in MYSQL_SCHEMA))
    yield MysqlRuns(source=source, target=target, work_dir=tmp_path)
    target.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


def assert_same_tables(runs: MysqlRuns, names: list[str]) -> None:
    shown = ("SHOW INDEX FROM {}", "SHOW COLUMNS FROM {}")
    for name in names:
        rows = f"SELECT * FROM {name}"
        there = runs.target.fetch_all(rows, database=runs.source.name)
        assert sorted(map(repr, there)) == sorted(map(repr, runs.source.fetch_all(rows))), name
        for query in shown:
            ours, theirs = (
                [row[:6] if "INDEX" not in query else row[:5] for row in found]
                for found in (
                    runs.source.fetch_all(query.format(name)),
                    runs.target.fetch_all(query.format(name), database=runs.source.name),
                )
            )
            assert ours == theirs, name


@same_products
def test_i1_i4_i5_tables_join_a_job_that_carries_ddl_wherever_the_worker_is_killed(
    product: Product, mysql: MysqlRuns
) -> None:
    """With writers at work all the time, and statements about old and new tables that the job has not seen yet."""
    order: dict[str, Any] = {"schema": mysql.source.name, "until_caught_up": True}
    mysql.run_to_the_end(schema=mysql.source.name, tables=FIRST)
    mysql.source.execute(
        "ALTER TABLE account ADD COLUMN more int",
        # Its rows are of an older form than those that will be copied.
        "INSERT INTO invoice (account, code, kind) VALUES (1, 'before', 'b')",
        "ALTER TABLE invoice MODIFY kind enum('b', 'a', 'c'), ADD COLUMN late int FIRST",
        "CREATE TABLE IF NOT EXISTS loose (id int PRIMARY KEY)",
        "CREATE TABLE fresh (id int PRIMARY KEY)",
        "INSERT INTO fresh VALUES (1)",
        # The target has neither `loose` nor `invoice` yet.
        "CREATE TABLE alike LIKE loose",
        "INSERT INTO alike VALUES (1, 2), (1, 2)",
        "CREATE TABLE line (id int PRIMARY KEY, invoice int, FOREIGN KEY (invoice) REFERENCES invoice (id))",
        "INSERT INTO line VALUES (1, NULL)",
    )
    everything = [*ALL, "fresh", "alike", "line"]
    deaths = MYSQL_POINTS if IS_CAMPAIGN else (points.JOIN_REMEMBERED, points.COPY_AFTER_COMMIT)
    with writing(mysql.source, MYSQL_CHANGES):
        for round, point in enumerate(deaths):
            mysql.run_until_killed(point, tables=everything, edit=1, **order)
            # What was there before is followed also while others join.
            mysql.source.execute(f"ALTER TABLE account ADD COLUMN c{round} int NOT NULL DEFAULT {round}")
        outcome = mysql.run_to_the_end(schema=mysql.source.name, tables=everything, edit=1)
    assert (outcome["result"], outcome["percent"]) == ("caught_up", 100)
    # A table that joined is followed as any other.
    mysql.source.execute("ALTER TABLE invoice DROP COLUMN late", "INSERT INTO invoice (account, kind) VALUES (2, 'c')")
    mysql.run_to_the_end(schema=mysql.source.name, tables=everything, edit=1)
    assert_same_tables(mysql, everything)
    assert mysql.target.fetch_value("SELECT count(*) FROM towline.joining") == 0


@is_campaign
@same_products
@pytest.mark.parametrize(
    "statement",
    ["ALTER TABLE invoice MODIFY kind enum('b', 'a')", "ALTER TABLE invoice ADD KEY by_note (note(9))"],
    ids=["columns", "index"],
)
def test_a_table_that_is_altered_before_it_is_copied_stops_the_job_until_it_leaves(
    product: Product, statement: str, mysql: MysqlRuns
) -> None:
    schema = mysql.source.name
    mysql.run_to_the_end(schema=schema, tables=FIRST)
    mysql.run_until_killed(points.JOIN_REMEMBERED, schema=schema, tables=ALL, edit=1)
    mysql.source.execute(statement, "INSERT INTO invoice (account, kind) VALUES (3, 'a')", "DROP TABLE entry")
    for _ in range(2):
        refused = mysql.run(schema=schema, tables=ALL, edit=1)
        assert (refused["error"], "invoice" in refused["message"]) == ("SOURCE_DDL", True)
    mysql.run_to_the_end(schema=schema, tables=["account", "loose"], edit=2)
    mysql.target.execute(f"DROP TABLE IF EXISTS `{schema}`.invoice")
    mysql.source.execute("INSERT INTO invoice (account, kind) VALUES (3, 'b')")
    mysql.run_to_the_end(schema=schema, tables=["account", "loose", "invoice"], edit=3)
    mysql.source.execute("INSERT INTO invoice (account, kind) VALUES (3, 'a')")
    mysql.run_to_the_end(schema=schema, tables=["account", "loose", "invoice"], edit=3)
    assert_same_tables(mysql, ["account", "loose", "invoice"])


@is_campaign
@same_products
def test_i4_what_was_prepared_before_the_copy_arrives_once_wherever_it_is_committed(
    product: Product, mysql: MysqlRuns
) -> None:
    order: dict[str, Any] = {"schema": mysql.source.name, "tables": ALL, "edit": 1}
    mysql.run_to_the_end(schema=mysql.source.name, tables=FIRST)
    for number, name in enumerate(("early", "late", "undone")):
        with mysql.source.connect() as connection, connection.cursor() as cursor:
            for statement in (
                f"XA START '{name}'",
                f"INSERT INTO loose VALUES (-7, {number})",
                f"UPDATE invoice SET note = '{name}' WHERE id = {number + 1}",
                f"XA END '{name}'",
                f"XA PREPARE '{name}'",
            ):
                cursor.execute(statement)
    mysql.run_until_killed(points.JOIN_REMEMBERED, until_caught_up=True, **order)
    mysql.source.execute("XA COMMIT 'early'")
    mysql.run_until_killed(points.COPY_AFTER_COMMIT, until_caught_up=True, **order)
    mysql.source.execute("XA COMMIT 'late'", "XA ROLLBACK 'undone'", "INSERT INTO loose VALUES (-7, 9)")
    mysql.run_to_the_end(**order)
    assert_same_tables(mysql, ALL)


@is_campaign
@same_products
def test_a_table_that_came_with_the_stream_is_not_copied_when_others_join(product: Product, mysql: MysqlRuns) -> None:
    """Nor made again; and one that was renamed is the one that it was."""
    schema = mysql.source.name
    mysql.run_to_the_end(schema=schema, tables=[*FIRST, "came", "moved"])
    mysql.source.execute(
        "CREATE TABLE came (id int PRIMARY KEY, account int, KEY (account))",
        "INSERT INTO came VALUES (1, 1), (2, 2)",
        "RENAME TABLE entry TO moved",
        "INSERT INTO moved VALUES (1, 1)",
    )
    tables = ["account", "came", "moved", "invoice"]
    outcome = mysql.run_to_the_end(schema=schema, tables=[*tables, "entry"], edit=1)
    assert [note for note in outcome["notes"] if "joins the job" in note] == [f"TABLE {schema}.invoice: joins the job"]
    mysql.source.execute("INSERT INTO came VALUES (3, 3)", "UPDATE moved SET amount = 7")
    mysql.run_to_the_end(schema=schema, tables=[*tables, "loose"], edit=2)
    assert_same_tables(mysql, [*tables, "loose"])


@is_campaign
@pytest.mark.mysql_pair(Product.MYSQL, Product.MARIADB)
def test_i4_tables_join_a_job_from_one_product_to_the_other(mysql: MysqlRuns) -> None:
    order: dict[str, Any] = {"schema": mysql.source.name, "tables": ALL, "edit": 1}
    mysql.run_to_the_end(schema=mysql.source.name, tables=FIRST)
    mysql.source.execute(
        "INSERT INTO invoice (account, kind) VALUES (1, 'b')",
        "ALTER TABLE invoice MODIFY kind enum('b', 'a'), ADD COLUMN late int FIRST",
    )
    with writing(mysql.source, MYSQL_CHANGES):
        for point in MYSQL_POINTS:
            mysql.run_until_killed(point, until_caught_up=True, **order)
    mysql.run_to_the_end(**order)
    for name in ALL:
        rows = f"SELECT * FROM {name}"
        there = mysql.target.fetch_all(rows, database=mysql.source.name)
        assert sorted(map(repr, there)) == sorted(map(repr, mysql.source.fetch_all(rows))), name

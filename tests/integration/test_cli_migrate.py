"""`towline migrate` between real servers, driven as its users drive it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.integration.commands import Command, run
from tests.servers.databases import Database
from tests.servers.equality import assert_same_rows

SCHEMA = """
CREATE SCHEMA shop;
CREATE TABLE shop.customer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE shop.purchase (
    id serial PRIMARY KEY, customer_id bigint REFERENCES shop.customer, total numeric(10, 2), note text);
CREATE INDEX ON shop.purchase (customer_id);
CREATE TABLE public.event (at timestamptz DEFAULT now(), what text);
INSERT INTO shop.customer (name) SELECT 'customer ' || n FROM generate_series(1, 500) n;
INSERT INTO shop.purchase (customer_id, total, note)
    SELECT 1 + n % 500, n, repeat('x', n % 300) FROM generate_series(1, 20000) n;
INSERT INTO public.event (what) SELECT 'event ' || n FROM generate_series(1, 100) n;
ANALYZE;
"""
ROWS = 500 + 20000 + 100


@pytest.fixture
def shop(source_database: Database) -> Database:
    source_database.execute(SCHEMA)
    return source_database


def urls(source: Database, target: Database) -> dict[str, str]:
    return {"TOWLINE_SOURCE_URL": source.url, "TOWLINE_TARGET_URL": target.url}


def traces(source: Database, target: Database) -> list[str]:
    """What a job has left on either server."""
    left = source.fetch_all("SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()")
    left += source.fetch_all("SELECT 'publication ' || pubname FROM pg_publication")
    for database in (source, target):
        left += database.fetch_all("SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = 'towline'")
    return [str(row[0]) for row in left]


@contextmanager
def slow_copy(source: Database, target: Database, *words: str) -> Iterator[Command]:
    """A run that has copied a little and needs a long time for the rest."""
    # A row is about 150 bytes here; the limit leaves time to interrupt.
    source.execute(
        "INSERT INTO shop.purchase (total, note) SELECT n, repeat('y', 400) FROM generate_series(1, 40000) n"
    )
    source.execute("ANALYZE")
    with Command("migrate", "--json", "--limit-mb-s=4", *words, environment=urls(source, target)) as command:
        command.wait_for_record(lambda record: record.get("phase") == "copy" and record["bytes_copied"] > 1_000_000)
        yield command


async def test_migrate_copies_everything_and_leaves_nothing_behind(shop: Database, target_database: Database) -> None:
    code, command = run("migrate", "--json", environment=urls(shop, target_database))
    assert code == 0, command.told()
    result = command.records()[-1]
    assert (result["event"], result["outcome"]) == ("result", "copied")
    assert (result["tables"], result["rows"]) == (3, ROWS)
    assert 0 < sum(result["phase_seconds"].values()) <= result["seconds"]
    assert await assert_same_rows(shop.url, target_database.url) == 3
    assert traces(shop, target_database) == []


ANALYZED = """
CREATE TABLE plain (a int PRIMARY KEY, b text, c int); CREATE INDEX upper_b ON plain (upper(b));
CREATE STATISTICS both_ac ON a, c FROM plain;
CREATE TABLE empty (a int);
CREATE TABLE part (a int) PARTITION BY RANGE (a); CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (99);
CREATE MATERIALIZED VIEW totals AS SELECT g AS n FROM generate_series(1, 9) g;
INSERT INTO plain SELECT i, 'b' || i, i / 9 FROM generate_series(1, 999) i;
INSERT INTO part SELECT i FROM generate_series(1, 98) i;
"""


@pytest.mark.postgres(source=18, target=16)
def test_planner_knows_the_copied_tables_from_the_first_query(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute(ANALYZED)
    code, command = run("migrate", "--json", environment=urls(source_database, target_database))
    assert code == 0, command.told()
    known = target_database.fetch_all("SELECT DISTINCT tablename::text FROM pg_stats WHERE schemaname = 'public'")
    assert {name for (name,) in known} == {"plain", "upper_b", "part", "part_1", "totals"}
    assert target_database.fetch_value("SELECT count(*) FROM pg_stats_ext") == 1
    assert target_database.fetch_value("SELECT reltuples FROM pg_class WHERE relname = 'plain'") == 999
    assert target_database.fetch_value("SELECT reltuples FROM pg_class WHERE relname = 'empty'") == -1


def test_records_of_progress_never_go_backwards(shop: Database, target_database: Database) -> None:
    code, command = run("migrate", "--json", "--limit-mb-s=3", environment=urls(shop, target_database))
    assert code == 0, command.told()
    records = [record for record in command.records() if record["event"] == "progress"]
    percents = [record["percent"] for record in records]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert all(record["remaining_s"] != 0 for record in records if record["percent"] < 100)


async def test_people_get_lines_and_a_summary(shop: Database, target_database: Database) -> None:
    code, command = run("migrate", environment=urls(shop, target_database))
    assert code == 0, command.told()
    text = "\n".join(command.lines)
    assert "Done: the target has everything" in text
    assert f"tables 3, rows {ROWS:,}" in text
    assert max(len(line) for line in command.lines) < 200


async def test_until_caught_up_brings_changes_made_during_the_copy(shop: Database, target_database: Database) -> None:
    with slow_copy(shop, target_database, "--until-caught-up") as command:
        shop.execute("UPDATE shop.customer SET name = 'changed' WHERE id = 7")
        shop.execute("DELETE FROM shop.purchase WHERE id <= 100")
        shop.execute("INSERT INTO public.event (what) VALUES ('late')")
        assert command.finish() == 0, command.told()
    result = command.records()[-1]
    assert result["outcome"] == "caught_up"
    assert result["changes_applied"] >= 102
    await assert_same_rows(shop.url, target_database.url)
    assert traces(shop, target_database) == []


async def test_follow_until_ctrl_c_then_finish_with_until_caught_up(shop: Database, target_database: Database) -> None:
    with Command("migrate", "--follow", "--json", environment=urls(shop, target_database)) as command:
        command.wait_for_record(lambda record: record.get("phase") == "stream" and record["delay_ms"] is not None)
        shop.execute("INSERT INTO public.event (what) VALUES ('followed')")
        _wait_until(target_database, "SELECT count(*) FROM public.event WHERE what = 'followed'", 1)
        command.interrupt()
        assert command.finish() == 130, command.told()
    assert command.records()[-1]["outcome"] == "stopped"
    assert "Run the same command again" in "\n".join(command.errors)
    assert traces(shop, target_database) != []
    shop.execute("INSERT INTO public.event (what) VALUES ('while nobody looked')")
    code, second = run("migrate", "--until-caught-up", "--json", environment=urls(shop, target_database))
    assert code == 0, second.told()
    await assert_same_rows(shop.url, target_database.url)
    assert traces(shop, target_database) == []


async def test_interrupted_copy_goes_on_where_it_was(shop: Database, target_database: Database) -> None:
    with slow_copy(shop, target_database, "--follow") as command:
        command.interrupt()
        assert command.finish() == 130, command.told()
    before: dict[int, str] = dict(
        target_database.fetch_all("SELECT id, xmin::text FROM shop.purchase WHERE id % 1000 <> 0")
    )
    assert before
    shop.execute("DELETE FROM shop.purchase WHERE id % 1000 = 0")
    code, second = run("migrate", "--until-caught-up", "--json", environment=urls(shop, target_database))
    assert code == 0, second.told()
    after: dict[int, str] = dict(target_database.fetch_all("SELECT id, xmin::text FROM shop.purchase"))
    # What was copied was not copied again: the same transaction of the target has written it.
    assert all(after[key] == writer for key, writer in before.items())
    await assert_same_rows(shop.url, target_database.url)


async def test_killed_copy_goes_on_where_it_was(
    shop: Database, target_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a killed process cannot remove its working folder
    with slow_copy(shop, target_database) as command:
        command.process.kill()
        command.finish()
    code, second = run("migrate", "--json", environment=urls(shop, target_database))
    assert code == 0, second.told()
    await assert_same_rows(shop.url, target_database.url)
    assert traces(shop, target_database) == []


def test_second_ctrl_c_ends_at_once(shop: Database, target_database: Database) -> None:
    with slow_copy(shop, target_database) as command:
        command.interrupt()
        command.wait_for_error("Stopping")
        began_s = time.monotonic()
        command.interrupt()
        assert command.finish(timeout_s=20) == 130, command.told()
        assert time.monotonic() - began_s < 10


def test_end_removes_what_an_unfinished_run_left(shop: Database, target_database: Database) -> None:
    with slow_copy(shop, target_database, "--follow") as command:
        command.interrupt()
        assert command.finish() == 130
    assert traces(shop, target_database) != []
    code, ended = run("migrate", "--end", environment=urls(shop, target_database))
    assert code == 0, ended.told()
    assert traces(shop, target_database) == []
    assert run("migrate", "--end", environment=urls(shop, target_database))[0] == 0  # safe to repeat


async def test_only_selected_tables_are_moved(shop: Database, target_database: Database) -> None:
    code, command = run("migrate", "--json", "--tables=shop.customer,public.*", environment=urls(shop, target_database))
    assert code == 0, command.told()
    assert await assert_same_rows(shop.url, target_database.url, ["shop.customer", "public.event"]) == 2
    assert target_database.fetch_value("SELECT to_regclass('shop.purchase') IS NULL")


def test_target_that_has_the_tables_is_refused_untouched(shop: Database, target_database: Database) -> None:
    target_database.execute(
        "CREATE SCHEMA shop; CREATE TABLE shop.customer (mine int); INSERT INTO shop.customer VALUES (1)"
    )
    code, command = run("migrate", "--json", environment=urls(shop, target_database))
    assert code == 1
    result = command.records()[-1]
    assert result["outcome"] == "failed"
    assert result["error"]["remedy"]
    assert target_database.fetch_value("SELECT mine FROM shop.customer") == 1
    assert traces(shop, target_database) == []


def test_same_database_on_both_sides_is_refused(shop: Database) -> None:
    code, command = run("migrate", shop.url, shop.url)
    assert code == 1
    assert "the same database" in "\n".join(command.errors)


def test_i7_wrong_password_is_refused_without_showing_it(shop: Database, target_database: Database) -> None:
    wrong = shop.url.replace(quote(shop.server.password), "wrong-S3cret")
    code, command = run("migrate", wrong, target_database.url)
    assert code == 1
    assert "wrong-S3cret" not in command.told()
    assert "Traceback" not in command.told()
    assert any("password" in line.lower() for line in command.errors)


def test_i7_password_file_keeps_passwords_out_of_the_process_list(
    shop: Database, target_database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "pgpass"
    lines = [
        f"{server.host}:{server.port}:*:{server.user}:{server.password}\n"
        for server in (shop.server, target_database.server)
    ]
    path.touch(mode=0o600)
    path.write_text("".join(lines))
    bare = [_without_password(database.url) for database in (shop, target_database)]
    with Command("migrate", *bare, "--json", "--limit-mb-s=3", environment={"PGPASSFILE": str(path)}) as command:
        command.wait_for_record(lambda record: record.get("phase") == "copy")
        arguments = _arguments_of(command.process.pid)
        assert command.finish() == 0, command.told()
    for server in (shop.server, target_database.server):
        assert server.password not in arguments
        assert server.password not in command.told()


def _arguments_of(pid: int) -> str:
    """Of a process and its children."""
    pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    return "".join(Path(f"/proc/{number}/cmdline").read_bytes().decode() for number in pids)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"postgresql://{parts.username}@{parts.hostname}:{parts.port}{parts.path}"


def _wait_until(database: Database, query: str, expected: object, *, timeout_s: float = 30) -> None:
    deadline_s = time.monotonic() + timeout_s
    while database.fetch_value(query) != expected:
        assert time.monotonic() < deadline_s, f"{query} is still {database.fetch_value(query)}"
        time.sleep(0.05)


async def test_rename_moves_a_schema_to_another_and_a_bad_one_moves_nothing(
    shop: Database, target_database: Database
) -> None:
    environment = urls(shop, target_database)
    code, command = run("migrate", "--rename", "shop.customer=x.y,shop.purchase=x.y", environment=environment)
    assert code == 2
    assert "two tables would be x.y" in command.told()
    words = ("--rename", "shop.*=store.*", "--rename", "public.event=log.events")
    code, command = run("migrate", "--json", *words, environment=environment)
    assert code == 0, command.told()
    shop.execute("ALTER SCHEMA shop RENAME TO store; CREATE SCHEMA log; ALTER TABLE event RENAME TO events")
    shop.execute("ALTER TABLE events SET SCHEMA log")
    await assert_same_rows(shop.url, target_database.url)
    assert traces(shop, target_database) == []

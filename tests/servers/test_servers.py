"""The fixtures themselves: a test built on them is worth as much as they are."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psycopg
import pytest

from tests.servers import Database, Direction, TcpProxy, assert_same_rows
from tests.servers.databases import create_database, drop_database
from tests.servers.fixtures import DatabaseFactory, ServerFactory
from towline.embedded import EmbeddedPostgres, EmbeddedServerError, PostgresInstallation, find_postgres
from towline.embedded.guard import end_server, server_processes

ProxyFactory = Callable[[EmbeddedPostgres], TcpProxy]

RICH_TABLES = """
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TABLE people (id int PRIMARY KEY, name text, mood mood, tags text[], data jsonb, raw bytea,
        born timestamptz, double_id int GENERATED ALWAYS AS (id * 2) STORED);
    INSERT INTO people SELECT n, E'line\\nbreak ' || n, 'ok', ARRAY['a', NULL, '"'], '{"n": 1}', '\\x00ff',
        '2020-02-29 12:00+02' FROM generate_series(1, 100) n;
    CREATE TABLE parts (id int, part int) PARTITION BY LIST (part);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
    INSERT INTO parts VALUES (1, 1), (2, 2);
    CREATE SCHEMA "Odd Name"; CREATE TABLE "Odd Name"."T" ("Column" int); CREATE TABLE empty ();
    CREATE SEQUENCE counter; SELECT nextval('counter');
"""


def wait_until(is_so: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "the awaited fact did not come"
        time.sleep(0.02)


def run_python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )


# --- servers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [15, 16, 18])
def test_session_server_has_its_version_and_logical_decoding(
    version: int, session_servers: Callable[[int, str], EmbeddedPostgres], fresh_database: DatabaseFactory
) -> None:
    database = fresh_database(session_servers(version, "first"))
    assert int(database.fetch_value("SHOW server_version_num")) // 10_000 == version
    assert database.fetch_value("SHOW wal_level") == "logical"
    slot = database.fetch_value("SELECT slot_name FROM pg_create_logical_replication_slot('probe', 'pgoutput')")
    assert slot == "probe"


@pytest.mark.postgres(source=18, target=18)
def test_source_and_target_of_one_version_are_two_servers(source_database: Database, target_database: Database) -> None:
    assert source_database.server.port != target_database.server.port


def test_wrong_password_is_refused(pg18: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://postgres:wrong@{pg18.host}:{pg18.port}/postgres")


def test_i7_password_is_in_no_file_of_the_server_and_not_in_its_repr(pg18: EmbeddedPostgres) -> None:
    files = [path for path in pg18.folder.glob("*") if path.is_file()]
    files += [path for path in pg18.data_dir.glob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if pg18.password.encode() in path.read_bytes()]
    assert pg18.password not in repr(pg18)


def test_killed_server_comes_back_with_committed_rows(private_server: ServerFactory) -> None:
    server = private_server(18)
    database = Database(server, "postgres")
    database.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    port = server.port
    with psycopg.connect(database.url) as connection:
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert not server.is_running()
    assert server_processes(server.folder) == []
    server.start()
    assert server.port == port
    assert database.fetch_value("SELECT id FROM t") == 1


def test_paused_server_answers_nothing_until_resumed(private_server: ServerFactory) -> None:
    server = private_server(18)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("SELECT 1")
        server.pause()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url(), connect_timeout=2)
        server.resume()
        row = connection.execute("SELECT 2").fetchone()
    assert row == (2,)


def test_restart_changes_settings(private_server: ServerFactory) -> None:
    server = private_server(18, settings={"wal_level": "replica"})
    database = Database(server, "postgres")
    assert database.fetch_value("SHOW wal_level") == "replica"
    server.restart(settings={"wal_level": "logical", "application_name": "it's"})
    assert database.fetch_value("SHOW wal_level") == "logical"


def test_stopped_server_leaves_nothing(private_server: ServerFactory) -> None:
    server = private_server(16)
    folder = server.folder
    server.kill()
    server.stop()
    server.stop()
    assert not folder.exists()
    assert server_processes(folder) == []


def test_server_in_a_given_folder_keeps_its_data(pg18: EmbeddedPostgres) -> None:
    installation = find_postgres(18)
    assert installation is not None
    folder = pg18.folder / "nested"
    with EmbeddedPostgres(installation, folder=folder, password="first-start") as server:
        Database(server, "postgres").execute("CREATE TABLE kept (id int)")
    with EmbeddedPostgres(installation, folder=folder, password="first-start") as server:
        assert Database(server, "postgres").fetch_value("SELECT to_regclass('kept')::text") == "kept"


async def test_server_starts_and_stops_in_a_coroutine(pg18: EmbeddedPostgres) -> None:
    installation = find_postgres(18)
    assert installation is not None
    async with EmbeddedPostgres(installation) as server:
        connection = await asyncpg.connect(server.url())
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


def test_server_ends_with_its_owner_killed(pg18: EmbeddedPostgres) -> None:
    program = (
        "import os, signal\n"
        "from towline.embedded import EmbeddedPostgres, find_postgres\n"
        "server = EmbeddedPostgres(find_postgres(18))\n"
        "server.start()\n"
        "print(server.folder, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    owner = run_python(program)
    folder = Path(owner.stdout.strip())
    assert folder.is_absolute(), owner.stderr
    wait_until(lambda: not folder.exists())
    assert server_processes(folder) == []


def test_detached_server_outlives_its_owner(pg18: EmbeddedPostgres) -> None:
    folder = pg18.folder / "detached"
    program = (
        "import sys, pathlib\n"
        "from towline.embedded import EmbeddedPostgres, find_postgres\n"
        "server = EmbeddedPostgres(find_postgres(18), folder=pathlib.Path(sys.argv[1]), password='kept')\n"
        "server.start()\n"
        "server.detach()\n"
    )
    run_python(program, str(folder))
    assert server_processes(folder) != []
    installation = find_postgres(18)
    assert installation is not None
    with pytest.raises(EmbeddedServerError, match="already runs"):
        EmbeddedPostgres(installation, folder=folder, password="kept").start()
    end_server(folder, folder / "data")
    assert server_processes(folder) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers under another account")
def test_folder_closed_to_the_servers_account_is_refused(pg18: EmbeddedPostgres, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    installation = find_postgres(18)
    assert installation is not None
    with pytest.raises(EmbeddedServerError, match="cannot enter"):
        EmbeddedPostgres(installation, folder=tmp_path / "inside").start()


def test_programs_closed_to_the_servers_account_are_copied(pg18: EmbeddedPostgres, tmp_path: Path) -> None:
    installation = find_postgres(18)
    assert installation is not None
    tmp_path.chmod(0o700)
    closed = installation.copy_to(tmp_path / "closed")
    with EmbeddedPostgres(closed) as server:
        assert Database(server, "postgres").fetch_value("SELECT 1") == 1


def test_copied_installation_runs(pg18: EmbeddedPostgres) -> None:
    installation = find_postgres(18)
    assert installation is not None
    copy: PostgresInstallation = installation.copy_to(pg18.folder / "copy")
    with EmbeddedPostgres(copy) as server:
        assert Database(server, "postgres").fetch_value("SELECT 1") == 1
    answer = subprocess.run([copy.program("pg_dump"), "--version"], check=True, capture_output=True, text=True)
    assert "18." in answer.stdout


# --- databases --------------------------------------------------------------------------------------


def test_database_is_dropped_with_everything_that_holds_it(pg18: EmbeddedPostgres) -> None:
    database = create_database(pg18, "busy")
    session = psycopg.connect(database.url, autocommit=True)
    session.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
    session.execute("SELECT pg_create_logical_replication_slot('temporary', 'pgoutput', true)")
    session.execute("CREATE SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)")
    session.execute("BEGIN; CREATE TABLE t (id int); PREPARE TRANSACTION 'pending'")
    drop_database(database)
    session.close()
    admin = Database(pg18, "postgres")
    assert admin.fetch_value("SELECT count(*) FROM pg_database WHERE datname = 'busy'") == 0
    assert admin.fetch_value("SELECT count(*) FROM pg_replication_slots WHERE database = 'busy'") == 0


# --- the comparison ---------------------------------------------------------------------------------


@pytest.fixture
def twins(pg15: EmbeddedPostgres, pg18: EmbeddedPostgres, fresh_database: DatabaseFactory) -> list[Database]:
    pair = [fresh_database(pg15), fresh_database(pg18)]
    for database in pair:
        database.execute(RICH_TABLES)
    return pair


async def test_equal_databases_of_two_versions_compare_equal(twins: list[Database]) -> None:
    source, target = twins
    assert await assert_same_rows(source.url, target.url) == 5
    assert await assert_same_rows(source.url, target.url, ["people", "Odd Name.T", "parts"]) == 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("UPDATE people SET name = 'other' WHERE id = 7", "public.people: 100 rows"),
        ("DELETE FROM people WHERE id = 7", "99 on the target; 1 only on the source"),
        ("INSERT INTO parts VALUES (2, 2)", "public.parts_2"),
        ("UPDATE people SET raw = '\\x00fe' WHERE id = 7", "public.people"),
        ("UPDATE people SET tags = NULL WHERE id = 7", "public.people"),
        ("CREATE TABLE more (id int)", "only on the target: .*public.more"),
        ("DROP TABLE empty", "only on the source: .*public.empty"),
        ("ALTER TABLE empty ADD COLUMN x int", "columns of public.empty"),
        ("SELECT nextval('counter')", "sequence public.counter"),
        ("CREATE SEQUENCE another", "sequences only on one side"),
    ],
)
async def test_every_difference_is_found(twins: list[Database], change: str, complaint: str) -> None:
    source, target = twins
    target.execute(change)
    with pytest.raises(AssertionError, match=complaint):
        await assert_same_rows(source.url, target.url)


async def test_sequence_of_the_target_may_be_ahead_if_said(twins: list[Database]) -> None:
    source, target = twins
    target.execute("SELECT nextval('counter')")
    await assert_same_rows(source.url, target.url, sequences="ahead")
    with pytest.raises(AssertionError, match="is behind"):
        await assert_same_rows(target.url, source.url, sequences="ahead")


async def test_towlines_own_schema_is_not_compared(twins: list[Database]) -> None:
    source, target = twins
    target.execute("CREATE SCHEMA towline; CREATE TABLE towline.checkpoint (id int); CREATE SEQUENCE towline.s")
    await assert_same_rows(source.url, target.url)


async def test_misspelt_table_is_an_error_not_a_success(twins: list[Database]) -> None:
    with pytest.raises(AssertionError, match="no such table"):
        await assert_same_rows(twins[0].url, twins[1].url, ["poeple"])


# --- the line ---------------------------------------------------------------------------------------


def test_line_passes_queries(pg18: EmbeddedPostgres, proxy_to: ProxyFactory) -> None:
    line = proxy_to(pg18)
    with psycopg.connect(line.url(pg18.url())) as connection:
        row = connection.execute("SELECT repeat('x', 1000000)").fetchone()
        assert row is not None
        assert len(row[0]) == 1_000_000
        assert line.connections() == 1
    assert line.bytes_passed[Direction.TO_CLIENT] > 1_000_000
    wait_until(lambda: line.connections() == 0)


def test_cut_line_breaks_connections_and_refuses_new_ones(pg18: EmbeddedPostgres, proxy_to: ProxyFactory) -> None:
    line = proxy_to(pg18)
    url = line.url(pg18.url())
    with psycopg.connect(url) as connection:
        line.cut()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    line.resume()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


async def test_stalled_line_holds_bytes_until_resumed(pg18: EmbeddedPostgres, proxy_to: ProxyFactory) -> None:
    line = proxy_to(pg18)
    connection = await asyncpg.connect(line.url(pg18.url()))
    line.stall()
    answer = asyncio.ensure_future(connection.fetchval("SELECT 1"))
    done, _ = await asyncio.wait([answer], timeout=0.3)
    assert not done
    line.resume()
    assert await asyncio.wait_for(answer, 20) == 1
    await connection.close()


async def test_stalled_answers_hide_a_commit_that_happened(
    pg18: EmbeddedPostgres, fresh_database: DatabaseFactory, proxy_to: ProxyFactory
) -> None:
    database, line = fresh_database(pg18), proxy_to(pg18)
    database.execute("CREATE TABLE t (id int)")
    connection = await asyncpg.connect(line.url(database.url))
    line.stall(Direction.TO_CLIENT)
    insert = asyncio.ensure_future(connection.execute("INSERT INTO t VALUES (1)"))
    while database.fetch_value("SELECT count(*) FROM t") == 0:
        await asyncio.sleep(0.02)
    assert not insert.done()
    line.cut()
    with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
        await insert
    connection.terminate()


async def test_line_can_be_cut_in_the_middle_of_a_message(pg18: EmbeddedPostgres, proxy_to: ProxyFactory) -> None:
    line = proxy_to(pg18)
    connection = await asyncpg.connect(line.url(pg18.url()))
    line.cut_after(300_000, Direction.TO_CLIENT)
    before = line.bytes_passed[Direction.TO_CLIENT]
    with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
        await connection.fetchval("SELECT repeat('x', 1000000)")
    assert line.bytes_passed[Direction.TO_CLIENT] == before + 300_000
    connection.terminate()

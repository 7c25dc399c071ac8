"""`towline init`, `serve` and `jobs` as their users run them, with real databases and real workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.commands import Command, run
from tests.servers.databases import Database, create_database
from tests.servers.equality import assert_same_rows
from tests.servers.fixtures import ServerFactory
from towline.bootstrap import DatabaseProbes
from towline.clock import SystemClock
from towline.domain.jobs import Endpoint, JobStatus, TaskMode
from towline.service.jobs import JobService
from towline.service.ports import Caller, Job, JobDraft, JobLine
from towline.store.opening import Store, opened_store

SCHEMA = """
CREATE TABLE item (id bigint PRIMARY KEY, name text);
INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 5000) n;
"""
SLOTS = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"


@dataclass
class Site:
    """A store in a folder, and the calls of a user without HTTP in between."""

    folder: Path
    store: Store
    service: JobService
    caller: Caller

    def serve(self, **environment: str) -> Command:
        words = ("serve", "--data-dir", str(self.folder), "--listen", "127.0.0.1:0")
        return Command(*words, environment=environment)

    async def start(self, source: Database, target: Database) -> str:
        (created,) = await self.service.create(
            self.caller,
            [JobDraft("move", TaskMode.FULL_AND_STREAM, endpoint(source), endpoint(target))],
        )
        await self.service.start(self.caller, created.job_id)
        return created.job_id

    async def until(self, job_id: str, status: JobStatus) -> Job:
        async with asyncio.timeout(90):
            while True:
                (outcome,) = await self.service.jobs(self.caller, [job_id])
                assert outcome.value is not None
                if outcome.value.status is status:
                    return outcome.value
                assert outcome.value.failure is None, outcome.value.failure
                await asyncio.sleep(0.05)

    async def until_proven(self, job_id: str) -> None:
        """Until the worker has told a proof of the delay; the status comes a moment before."""
        async with asyncio.timeout(90):
            while True:
                _, (line,) = await self.service.progress(self.caller, [job_id])
                assert isinstance(line, JobLine)
                progress = line.progress
                if progress is not None and progress.proven_source_time_us is not None:
                    return
                await asyncio.sleep(0.05)

    async def unproven_s(self, job_id: str) -> float:
        """How long ago the newest moment is up to which all is proven to be on the target."""
        _, (line,) = await self.service.progress(self.caller, [job_id])
        assert isinstance(line, JobLine)
        assert line.progress is not None
        assert line.progress.proven_source_time_us is not None
        return time.time() - line.progress.proven_source_time_us / 1e6


def endpoint(database: Database) -> Endpoint:
    server = database.server
    return Endpoint("postgresql", server.host, server.port, server.user, server.password, database.name)


@asynccontextmanager
async def opened_site(folder: Path) -> AsyncIterator[Site]:
    code, command = await asyncio.to_thread(run, "init", "--data-dir", str(folder), "--json")
    assert code == 0, command.told()
    (account,) = command.records()
    clock = SystemClock()
    async with opened_store(f"sqlite:///{folder / 'towline.db'}", folder, clock=clock) as store:
        service = JobService(store.jobs, DatabaseProbes(), clock=clock)
        yield Site(folder, store, service, Caller(account["project_id"], "", account["user_name"]))
        await service.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened_site(tmp_path / "towline") as opened:
        yield opened


def worker_pids(server_pid: int) -> list[int]:
    children = Path(f"/proc/{server_pid}/task/{server_pid}/children").read_text().split()
    return [int(pid) for pid in children]


async def until_there(database: Database, query: str) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(database.fetch_value, query):
            await asyncio.sleep(0.05)


async def announced(server: Command) -> None:
    await asyncio.to_thread(server.wait_for, lambda line: line.startswith("towline serves http://"))


async def ended(server: Command) -> int:
    return await asyncio.to_thread(server.finish)


async def test_a_job_survives_the_death_of_its_worker_and_of_its_server(
    site: Site, source_database: Database, target_database: Database
):
    source_database.execute(SCHEMA)
    with site.serve() as server:
        await announced(server)
        job_id = await site.start(source_database, target_database)
        await site.until(job_id, JobStatus.STREAMING)
        (worker,) = worker_pids(server.process.pid)
        os.kill(worker, signal.SIGKILL)
        source_database.execute("INSERT INTO item VALUES (10001, 'after the worker')")
        await until_there(target_database, "SELECT 1 FROM item WHERE id = 10001")
        server.process.kill()
        await ended(server)
    source_database.execute("INSERT INTO item VALUES (10002, 'after the server')")
    with site.serve() as server:
        await until_there(target_database, "SELECT 1 FROM item WHERE id = 10002")
        await assert_same_rows(source_database.url, target_database.url)
        await site.service.end(site.caller, job_id)
        await site.until(job_id, JobStatus.ENDED)
        server.interrupt()
        assert await ended(server) == 0
    assert source_database.fetch_value(SLOTS) == 0
    assert source_database.fetch_value("SELECT count(*) FROM pg_publication") == 0
    assert target_database.fetch_value("SELECT to_regnamespace('towline')") is None


async def test_ctrl_c_stops_server_and_workers_and_the_job_goes_on_later(
    site: Site, source_database: Database, target_database: Database
):
    source_database.execute(SCHEMA)
    with site.serve() as server:
        await announced(server)
        job_id = await site.start(source_database, target_database)
        await site.until(job_id, JobStatus.STREAMING)
        await site.until_proven(job_id)
        (worker,) = worker_pids(server.process.pid)
        server.interrupt()
        assert await ended(server) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    await site.until(job_id, JobStatus.STREAMING)
    code, command = await asyncio.to_thread(run, "jobs", "--data-dir", str(site.folder), "--json")
    assert code == 0
    (record,) = json.loads(command.lines[0])
    assert (record["job_id"], record["status"], record["percent"]) == (job_id, "streaming", 100)
    assert record["delay_ms"] > 0  # nobody proves anything now, so it grows


async def test_without_heartbeats_nothing_is_written_on_the_source(
    site: Site, source_database: Database, target_database: Database
):
    slot = f"seen_{source_database.name}"[:63]
    # All that is committed on the source from now on: rows of any table, and messages as a heartbeat is one.
    committed = f"""SELECT count(*) FROM pg_logical_slot_peek_binary_changes('{slot}', NULL, NULL, 'proto_version', '1',
                    'publication_names', 'everything', 'messages', 'true')"""
    source_database.execute(f"{SCHEMA}; CREATE PUBLICATION everything FOR ALL TABLES")
    source_database.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    with site.serve(TOWLINE_HEARTBEAT="off") as server:
        await announced(server)
        job_id = await site.start(source_database, target_database)
        await site.until(job_id, JobStatus.STREAMING)
        source_database.execute("SELECT pg_current_xact_id()")  # flushes the log, and is in no stream
        await site.until_proven(job_id)
        with source_database.connect() as session:
            # Never committed, so nothing but a heartbeat moves the sender past it, or the source's housekeeping.
            session.execute("BEGIN")
            async with asyncio.timeout(60):
                while await site.unproven_s(job_id) < 3:
                    session.execute("INSERT INTO item SELECT max(id) + 1 FROM item")
                    await asyncio.sleep(0.1)
            session.execute("ROLLBACK")
        assert source_database.fetch_value(committed) == 0
        assert source_database.fetch_value("SELECT to_regnamespace('towline')") is None
        server.interrupt()
        assert await ended(server) == 0
    source_database.execute("SELECT pg_logical_emit_message(true, 'towline', '')")
    assert source_database.fetch_value(committed) > 0, "a heartbeat would have been seen"


async def test_a_forced_end_without_its_target_still_frees_the_source(
    site: Site,
    source_database: Database,
    private_server: ServerFactory,
):
    source_database.execute(SCHEMA)
    target = create_database(private_server(18), "doomed")
    with site.serve() as server:
        await announced(server)
        job_id = await site.start(source_database, target)
        await site.until(job_id, JobStatus.STREAMING)
        target.server.kill()
        await site.service.end(site.caller, job_id, force=True)
        await site.until(job_id, JobStatus.ENDED)
        server.interrupt()
        assert await ended(server) == 0
    assert source_database.fetch_value(SLOTS) == 0
    warnings = [event.message for event in await site.service.events(site.caller, job_id) if event.kind == "warning"]
    assert len(warnings) == 1
    assert f"target {target.server.host}:{target.server.port}/doomed" in warnings[0]


async def test_i7_no_password_in_the_log_of_a_server(site: Site, source_database: Database, target_database: Database):
    source_database.execute(SCHEMA)
    with Command("serve", "--data-dir", str(site.folder), "--listen", "127.0.0.1:0", "--log-level", "debug") as server:
        await announced(server)
        job_id = await site.start(source_database, target_database)
        await site.until(job_id, JobStatus.STREAMING)
        await site.service.end(site.caller, job_id)
        await site.until(job_id, JobStatus.ENDED)
        server.interrupt()
        await ended(server)
    told = "\n".join([*server.lines, *server.errors])
    assert "job_taken" in told
    for secret in (source_database.server.password, target_database.server.password):
        assert secret not in told


def test_init_prints_one_object_and_a_second_run_changes_nothing(tmp_path: Path):
    code, first = run("init", "--data-dir", str(tmp_path), "--json", "--project", "shop", "--user", "ada")
    (account,) = first.records()
    assert code == 0
    assert list(account) == [
        "project_id", "project_name", "domain_name", "user_name", "password", "access_key", "secret_key"
    ]  # fmt: skip
    assert (account["project_name"], account["user_name"]) == ("shop", "ada")
    assert all(account.values())

    code, again = run("init", "--data-dir", str(tmp_path), "--json")
    assert (code, again.lines) == (0, [])
    assert "nothing was changed" in again.errors[0]

    code, more = run("init", "--data-dir", str(tmp_path), "--json", "--new-key")
    (key,) = more.records()
    assert code == 0
    assert (key["project_id"], key["password"]) == (account["project_id"], "")
    assert key["access_key"] != account["access_key"]


@pytest.mark.parametrize(
    "words",
    [
        ("serve", "--data-dir", "{empty}"),
        ("jobs", "--data-dir", "{empty}"),
        ("serve", "--listen", "nonsense"),
        ("init", "--data-dir", "/dev/null/folder"),
        ("init", "--store", "sqlite:////dev", "--data-dir", "{empty}"),
        ("init", "--store", "mysql://user:hush@host/db", "--data-dir", "{empty}"),
        ("init", "--store", "postgresql://user:hush@127.0.0.1:1/db", "--data-dir", "{empty}"),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy_and_no_stack_trace(tmp_path: Path, words: tuple[str, ...]):
    empty = tmp_path / "empty"
    code, command = run(*(word.format(empty=empty) for word in words))
    assert code == 1
    assert re.fullmatch(r"Error: .+ \([A-Z_]+\)", command.errors[0])
    assert len(command.errors) == 2
    assert "hush" not in command.told()


def test_a_taken_address_is_said(tmp_path: Path):
    run("init", "--data-dir", str(tmp_path), "--json")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        code, command = run("serve", "--data-dir", str(tmp_path), "--listen", f"127.0.0.1:{port}")
    assert code == 1
    assert command.errors[-2] == f"Error: cannot listen on 127.0.0.1:{port}: Address already in use (SETUP)"

"""What a stream from MySQL or MariaDB proves of its delay: fresh while idle, still while blocked, never ahead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.fault.mysql_jobs import url_of
from tests.integration.stream.harness import Switches, SystemClock
from tests.servers.mysql import MysqlDatabase, MysqlServer
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from towline.adapters.mysql.connection import parse_url
from towline.adapters.mysql.sides import MySides, open_sides, remove_traces
from towline.cli.summary import RunLog
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.tables import ObjectSelection
from towline.engine.ports import StreamFigures, StreamGoal, TablePlan
from towline.engine.stream import run_stream

TABLES = (
    "CREATE TABLE t (id int PRIMARY KEY, note varchar(20))",
    "CREATE TABLE beat (id int AUTO_INCREMENT PRIMARY KEY, at datetime(6))",
)
TIMEOUT_S = 30.0


@dataclass
class Stream:
    """A stream that runs, and what it says of itself."""

    source: MysqlDatabase
    target: MysqlDatabase
    task: asyncio.Task[None]
    told: list[StreamFigures]

    @property
    def proven_us(self) -> int:
        return self.told[0].proven_source_time_us or 0 if self.told else 0

    @property
    def waiting_for(self) -> str:
        return str(self.told[0].waiting_for) if self.told else ""

    async def until(self, fact: Callable[[], bool]) -> None:
        """A stream that fails meanwhile fails the test."""
        async with asyncio.timeout(TIMEOUT_S):
            while not fact():
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.01)

    async def until_proven_past_now(self) -> None:
        asked_us = now_us()
        await self.until(lambda: self.proven_us > asked_us)


def now_us() -> int:
    return time.time_ns() // 1000


@pytest.fixture
async def stream(
    mysql_server: MysqlServer,
    mysql_server_second: MysqlServer,
    fresh_mysql_database: MysqlDatabaseFactory,
    tmp_path: Path,
) -> AsyncIterator[Stream]:
    """The same empty tables on both sides, and a stream between them."""
    source = fresh_mysql_database(mysql_server)
    mysql_server_second.execute(f"CREATE DATABASE `{source.name}`")
    target = MysqlDatabase(mysql_server_second, source.name)
    for database in (source, target):
        database.execute(*TABLES)
    ends = parse_url(url_of(mysql_server)), parse_url(url_of(mysql_server_second))
    selection = ObjectSelection(schemas=frozenset({source.name}))
    spec = JobSpec("figures", TaskMode.STREAM, *ends, selection=selection)
    sides = await open_sides(spec, epoch=None, work_dir=tmp_path)
    assert sides.target_pace.cache_bytes == mysql_server_second.fetch_value("SELECT @@innodb_buffer_pool_size")
    switches = Switches()
    told: list[StreamFigures] = []
    task = asyncio.create_task(run(sides, spec, switches, told))
    yield Stream(source, target, task, told)
    switches.stop()
    await asyncio.wait_for(task, TIMEOUT_S)
    await sides.close()
    await remove_traces(spec, reporter=RunLog(SystemClock()))
    target.drop()


async def run(sides: MySides, spec: JobSpec, switches: Switches, told: list[StreamFigures]) -> None:
    tables = await sides.copy_source.read_tables(spec.selection)
    # Only changes of tables that the job has planned are wanted.
    await sides.copy_target.save_plan([TablePlan(table.name, 1, 1, 0, 0, "") for table in tables])
    goal = StreamGoal(await sides.read_source_position(), None, None, {})
    streams = sides.open_stream(tables, mixed=frozenset())
    await run_stream(streams, goal, control=switches, clock=SystemClock(), on_figures=told.append)


async def test_idle_source_other_databases_and_open_transactions_keep_the_proof_fresh(
    stream: Stream, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    for _ in range(2):
        await stream.until_proven_past_now()
    assert abs(stream.told[0].source_clock_offset_us or 0) < 250_000
    elsewhere = fresh_mysql_database(stream.source.server)
    elsewhere.execute("CREATE TABLE other (n int)", "INSERT INTO other VALUES (1), (2), (3)")
    await stream.until_proven_past_now()
    with stream.source.connect(autocommit=False) as session, session.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1, 'open')")
        await stream.until_proven_past_now()
        session.commit()
    await stream.until(lambda: stream.target.fetch_value("SELECT note FROM t") == "open")


async def test_blocked_target_lets_the_proof_stand_still_and_is_named(stream: Stream) -> None:
    stream.source.execute("INSERT INTO t VALUES (1, 'x')")
    await stream.until_proven_past_now()
    with stream.target.connect(autocommit=False) as blocker, blocker.cursor() as cursor:
        cursor.execute("SELECT note FROM t WHERE id = 1 FOR UPDATE")
        stream.source.execute("UPDATE t SET note = 'y'")
        committed_us = now_us()
        await stream.until(lambda: "lock" in stream.waiting_for)
        later_us = now_us() + 1_500_000
        await stream.until(lambda: now_us() > later_us)
        assert stream.proven_us < committed_us
        blocker.rollback()
    await stream.until(lambda: stream.proven_us > committed_us)
    assert stream.target.fetch_value("SELECT note FROM t") == "y"


async def test_proof_is_never_ahead_of_the_truth(stream: Stream) -> None:
    """Rows carry the source's time just before their commit; what is proven must be on the target."""
    await stream.until_proven_past_now()
    is_over = False

    def beat() -> None:
        with stream.source.connect() as session, session.cursor() as cursor:
            while not is_over:
                cursor.execute("INSERT INTO beat (at) VALUES (utc_timestamp(6))")

    beating = asyncio.create_task(asyncio.to_thread(beat))
    try:
        for _ in range(25):
            when = datetime.fromtimestamp(stream.proven_us / 1e6, tz=UTC) - timedelta(milliseconds=20)
            query = "SELECT count(*) FROM beat WHERE at <= %s"
            # In threads: the stream runs on this loop, and would stand still meanwhile.
            on_target = await asyncio.to_thread(stream.target.fetch_value, query, (when,))
            assert on_target == await asyncio.to_thread(stream.source.fetch_value, query, (when,))
            await asyncio.sleep(0.02)
        await stream.until(lambda: now_us() - stream.proven_us < 1_000_000)
        assert stream.source.fetch_value("SELECT count(*) FROM beat WHERE at <= %s", (when,)) > 0
    finally:
        is_over = True
        await beating

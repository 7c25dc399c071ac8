"""Cuts at every side: each change arrives once, whole, in order, and only the owner writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from tests.integration.stream.conftest import MakeStream
from tests.integration.stream.harness import NAME, StreamJob
from tests.servers import Direction, TcpProxy
from towline.adapters.postgres.connection import parse_url
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.slot_reader import create_slot, drop_slot, ensure_publication
from towline.domain.errors import LeaseLost, PositionLost
from towline.domain.tables import TableName
from towline.embedded import EmbeddedPostgres

# Nothing hides a change that is applied twice: no key, and a sum that moves with every update.
LEDGER = """CREATE TABLE ledger (n int, at timestamptz DEFAULT now());
            CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL DEFAULT 0);
            INSERT INTO account SELECT generate_series(1, 20)"""


class Writer:
    """Keeps writing to the source in a thread; `count` transactions are committed so far."""

    def __init__(self, job: StreamJob) -> None:
        self._job = job
        self.count = 0
        self._is_over = False
        self._task = asyncio.create_task(asyncio.to_thread(self._write))

    def _write(self) -> None:
        with self._job.source.connect() as session:
            while not self._is_over:
                with session.transaction():
                    session.execute("INSERT INTO ledger VALUES (%s)", (self.count,))
                    for change, number in ((1, self.count), (-1, self.count * 7)):
                        session.execute(
                            "UPDATE account SET balance = balance + %s WHERE id = %s", (change, number % 20 + 1)
                        )
                self.count += 1

    async def end(self) -> None:
        self._is_over = True
        await self._task


@pytest.fixture
async def start_writer() -> AsyncIterator[Callable[[StreamJob], Writer]]:
    """A function that starts a writer, which ends with the test at the latest."""
    writers: list[Writer] = []

    def start(job: StreamJob) -> Writer:
        writers.append(Writer(job))
        return writers[-1]

    yield start
    for writer in writers:
        await writer.end()


async def wait_transactions(job: StreamJob, count: int) -> None:
    await job.wait_until(lambda: job.figures is not None and job.figures.transactions >= count)


def end_sessions(database, pattern: str) -> int:
    return len(
        database.fetch_all(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s", (pattern,)
        )
    )


async def test_i1_the_source_is_never_told_more_than_the_target_holds(make_stream: MakeStream, start_writer):
    job = await make_stream(LEDGER)
    job.start()
    await job.wait_applied()
    writer = start_writer(job)
    confirmed_before = job.begin
    for _ in range(40):
        confirmed = Lsn.parse(
            job.source.fetch_value(
                "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s", (job.slot,)
            )
        )
        assert job.checkpoint()[0].covers(confirmed)
        confirmed_before = max(confirmed, confirmed_before)
        await asyncio.sleep(0.05)
    await writer.end()
    await job.assert_in_step()
    assert confirmed_before > job.begin


async def test_i2_readers_of_the_target_see_whole_transactions(make_stream: MakeStream, start_writer):
    job = await make_stream(LEDGER)
    job.start()
    writer = start_writer(job)
    with job.target.connect() as session:
        seen = 0
        while seen < 300:
            ((total, seen),) = session.execute(
                "SELECT (SELECT sum(balance) FROM account), (SELECT count(*) FROM ledger)"
            ).fetchall()
            assert total == 0
            await asyncio.sleep(0.005)
    await writer.end()
    await job.assert_in_step()


@pytest.mark.parametrize("side", ["source", "target", "both"])
async def test_i2_ended_sessions_lose_and_repeat_nothing(make_stream: MakeStream, start_writer, side):
    job = await make_stream(LEDGER)
    job.start()
    writer = start_writer(job)
    for round_number in range(1, 4):
        await wait_transactions(job, writer.count + 20 if round_number > 1 else 20)
        if side != "target":
            assert end_sessions(job.source, "towline:%:stream")
        if side != "source":
            assert end_sessions(job.target, "towline:%:apply")
    await wait_transactions(job, writer.count + 5)
    await writer.end()
    await job.assert_in_step()
    assert job.checkpoint()[1] >= writer.count


@pytest.mark.parametrize("size_bytes", [1, 300, 2_000, 20_000])
async def test_i2_line_to_the_target_cut_anywhere(
    make_stream: MakeStream, start_writer, proxy_to: Callable[[EmbeddedPostgres], TcpProxy], target_server, size_bytes
):
    proxy = proxy_to(target_server)
    job = await make_stream(LEDGER)
    job.target_url = proxy.url(job.target.url)
    job.start()
    writer = start_writer(job)
    for direction in Direction:
        await wait_transactions(job, writer.count + 10)
        proxy.cut_after(size_bytes, direction)
        await job.wait_until(lambda: job._waiting_for() is not None and "retry" in str(job._waiting_for()))
        proxy.resume()
    await wait_transactions(job, writer.count + 5)
    await writer.end()
    await job.assert_in_step()


async def test_i2_unknown_outcome_of_a_commit_is_read_back(
    make_stream: MakeStream, start_writer, proxy_to: Callable[[EmbeddedPostgres], TcpProxy], target_server
):
    proxy = proxy_to(target_server)
    job = await make_stream(LEDGER)
    job.target_url = proxy.url(job.target.url)
    job.start()
    writer = start_writer(job)
    for _ in range(3):
        await wait_transactions(job, writer.count + 10)
        before = job.checkpoint()[1]
        # The target does its work and answers, but no answer arrives.
        proxy.stall(Direction.TO_CLIENT)
        await asyncio.sleep(0.05)
        proxy.cut()
        await job.wait_until(lambda: "retry" in str(job._waiting_for()))
        proxy.resume()
        assert job.checkpoint()[1] >= before
    await wait_transactions(job, writer.count + 5)
    await writer.end()
    await job.assert_in_step()


async def test_line_to_the_source_cut_and_stalled(
    make_stream: MakeStream, start_writer, proxy_to: Callable[[EmbeddedPostgres], TcpProxy], source_server
):
    proxy = proxy_to(source_server)
    job = await make_stream(LEDGER)
    job.source_url = proxy.url(job.source.url)
    job.start()
    writer = start_writer(job)
    for size_bytes in (1, 500, 5_000):
        await wait_transactions(job, writer.count + 10)
        proxy.cut_after(size_bytes, Direction.TO_CLIENT)
        await job.wait_until(lambda: "retry" in str(job._waiting_for()))
        proxy.resume()
    await wait_transactions(job, writer.count + 10)
    # The sender gives up in the meantime (wal_sender_timeout of the tests) or goes on; either is fine.
    proxy.stall()
    await asyncio.sleep(0.5)
    proxy.resume()
    await wait_transactions(job, writer.count + 10)
    await writer.end()
    await job.assert_in_step()


async def test_servers_that_are_killed(make_stream: MakeStream, source_server, target_server):
    job = await make_stream(LEDGER)
    job.start()
    for server in (target_server, source_server):
        job.source.execute("INSERT INTO ledger SELECT generate_series(1, 100)")
        await job.wait_applied()
        server.kill()
        await job.wait_until(lambda: "retry" in str(job._waiting_for()))
        server.start()
    job.source.execute("UPDATE account SET balance = id")
    await job.assert_in_step()


async def test_stop_and_start_again_goes_on_where_it_stopped(make_stream: MakeStream, start_writer):
    job = await make_stream(LEDGER)
    writer = start_writer(job)
    for _ in range(4):
        task = job.start()
        await wait_transactions(job, writer.count + 20)
        job.control.stop()
        await asyncio.wait_for(task, 10)
        position = job.checkpoint()[0]
        assert job.figures is not None
        assert job.figures.position == position
    job.start()
    await writer.end()
    await job.assert_in_step()


async def test_cancelled_in_the_middle_leaves_whole_transactions(make_stream: MakeStream, start_writer):
    job = await make_stream(LEDGER)
    writer = start_writer(job)
    for pause_s in (0.2, 0.31, 0.43, 0.57):
        task = job.start()
        await asyncio.sleep(pause_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    job.start()
    await writer.end()
    await job.assert_in_step()


async def test_until_returns_once_the_position_is_durable(make_stream: MakeStream):
    job = await make_stream(LEDGER)
    job.source.execute("INSERT INTO ledger SELECT generate_series(1, 1000)")
    goal = job.source_position()
    job.source.execute("INSERT INTO ledger VALUES (-1)")
    await asyncio.wait_for(job.start(until=goal), 20)
    assert job.checkpoint()[0].covers(goal)
    assert job.target.fetch_value("SELECT count(*) FROM ledger WHERE n > 0") == 1000
    # The source is idle: nothing but its own position can show that the goal is reached.
    job.source.execute("CREATE TABLE not_published (n int); INSERT INTO not_published VALUES (1)")
    goal = job.source_position()
    await asyncio.wait_for(job.start(until=goal), 20)
    await asyncio.wait_for(job.start(until=goal), 20)
    assert job.checkpoint()[0].covers(goal)


async def test_i6_a_worker_that_lost_its_lease_stops_and_writes_nothing(make_stream: MakeStream):
    job = await make_stream(LEDGER)
    task = job.start()
    job.source.execute("INSERT INTO ledger VALUES (1)")
    await job.wait_applied()
    job.control.is_apply_paused = True
    await job.wait_until(lambda: "pause" in str(job._waiting_for()))
    await job.take_over()
    checkpoint = job.checkpoint()
    job.source.execute("INSERT INTO ledger VALUES (2)")
    job.control.is_apply_paused = False
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(task, 20)
    assert job.checkpoint() == checkpoint
    assert job.target.fetch_value("SELECT count(*) FROM ledger") == 1
    job.start()
    await job.assert_in_step()


async def test_i6_a_batch_in_flight_is_rolled_back_when_the_job_is_taken_over(make_stream: MakeStream):
    job = await make_stream(LEDGER)
    task = job.start()
    job.source.execute("INSERT INTO ledger VALUES (1)")
    await job.wait_applied()
    with job.target.connect() as blocker:
        blocker.execute("BEGIN; LOCK TABLE account IN ACCESS EXCLUSIVE MODE")
        job.source.execute("INSERT INTO ledger VALUES (2); UPDATE account SET balance = 5")
        await job.wait_until(lambda: "lock" in str(job._waiting_for()))
        # A new owner that does not end the former's session: only the epoch stands between them.
        blocker.execute("UPDATE towline.job SET epoch = epoch + 1; UPDATE towline.checkpoint SET epoch = epoch + 1")
        blocker.execute("COMMIT")
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(task, 20)
    assert job.target.fetch_value("SELECT count(*) FROM ledger") == 1
    assert job.target.fetch_value("SELECT sum(balance) FROM account") == 0


async def test_forgotten_session_cannot_commit_on_top(make_stream: MakeStream):
    """Even under the same epoch: the checkpoint moves only from where it was read."""
    job = await make_stream(LEDGER)
    task = job.start()
    job.source.execute("INSERT INTO ledger VALUES (1)")
    await job.wait_applied()
    with job.target.connect() as other:
        position = job.source_position()
        other.execute("UPDATE towline.checkpoint SET position = %s", (str(position),))
    job.source.execute("INSERT INTO ledger VALUES (2)")
    await job.wait_applied()
    assert not task.done()
    assert job.target.fetch_value("SELECT array_agg(n ORDER BY n) FROM ledger") == [1, 2]


async def test_slot_that_is_gone(make_stream: MakeStream):
    job = await make_stream(LEDGER)
    await drop_slot(parse_url(job.source.url), job.slot)
    with pytest.raises(PositionLost, match="gone"):
        await asyncio.wait_for(job.start(), 20)


async def test_i1_slot_ahead_of_the_target_means_a_lost_checkpoint(make_stream: MakeStream):
    """As after the target was restored from an older backup: going on would skip changes silently."""
    job = await make_stream(LEDGER)
    job.source.execute("INSERT INTO ledger VALUES (1)")
    await asyncio.wait_for(job.start(until=job.source_position()), 20)
    job.source.execute("INSERT INTO ledger VALUES (2)")
    job.source.execute("SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", (job.slot,))
    with pytest.raises(PositionLost, match="past the target's checkpoint"):
        await asyncio.wait_for(job.start(), 20)


async def test_log_that_the_source_dropped(make_stream: MakeStream, private_server, fresh_database):
    job = await make_stream(LEDGER)
    job.source.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    job.source.execute("SELECT pg_reload_conf()")
    try:
        for _ in range(4):
            job.source.execute("INSERT INTO ledger SELECT generate_series(1, 100000)")
            job.source.execute("SELECT pg_switch_wal()")
            job.source.execute("CHECKPOINT")
        await job.wait_until(
            lambda: (
                job.source.fetch_value("SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", (job.slot,))
                == "lost"
            )
        )
        with pytest.raises(PositionLost):
            await asyncio.wait_for(job.start(), 20)
    finally:
        job.source.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        job.source.execute("SELECT pg_reload_conf()")


async def test_orphaned_reader_of_ours_is_ended(make_stream: MakeStream):
    job = await make_stream(LEDGER)
    job.start()
    job.source.execute("INSERT INTO ledger VALUES (1)")
    await job.wait_applied()
    first, job._task = job._task, None
    assert first is not None
    # A second worker of the same job, while the first one still reads.
    await job.take_over()
    job.start()
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(first, 30)
    await job.assert_in_step()


async def test_dropping_a_slot_ends_its_reader_and_may_be_repeated(make_stream: MakeStream):
    job = await make_stream(LEDGER)
    task = job.start()
    job.source.execute("INSERT INTO ledger VALUES (1)")
    await job.wait_applied()
    endpoint = parse_url(job.source.url)
    for _ in range(2):
        await drop_slot(endpoint, job.slot)
    assert job.source.fetch_value("SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", (job.slot,)) == 0
    with pytest.raises(PositionLost):
        await asyncio.wait_for(task, 20)


async def test_snapshot_of_a_slot_holds_what_was_committed_before_it(make_stream: MakeStream):
    job = await make_stream(LEDGER)
    job.source.execute("INSERT INTO ledger VALUES (1)")
    endpoint = parse_url(job.source.url)
    slot = await create_slot(endpoint, slot_name=f"{job.slot}_b"[:63], temporary=True)
    reader = await asyncpg.connect(job.source.url)
    try:
        job.source.execute("INSERT INTO ledger VALUES (2)")
        await reader.execute(f"BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{slot.snapshot_name}'")
        assert [row[0] for row in await reader.fetch("SELECT n FROM ledger")] == [1]
        assert slot.position > job.begin
    finally:
        await reader.close()
        await slot.close()


async def test_publication_holds_exactly_the_tables(make_stream: MakeStream):
    job = await make_stream(LEDGER + "; CREATE TABLE more (id int PRIMARY KEY)")
    connection = await asyncpg.connect(job.source.url)
    try:
        for names in (["ledger", "more"], ["ledger", "more"], ["account"], []):
            await ensure_publication(connection, NAME, [TableName("public", name) for name in names])
            listed = await connection.fetch("SELECT tablename FROM pg_publication_tables WHERE pubname = $1", NAME)
            assert sorted(row[0] for row in listed) == sorted(names)
    finally:
        await connection.close()

"""Transactions larger than memory, committed and in progress."""

from __future__ import annotations

import asyncio
import gc

import pytest

from tests.integration.stream.conftest import MakeStream
from towline.engine.relay import Relay
from towline.engine.spill import SUFFIX

# The sender then streams a transaction before its commit once it holds more than this.
SMALL_DECODING = "ALTER DATABASE {} SET logical_decoding_work_mem = '64kB'"
TABLE = "CREATE TABLE t (id int PRIMARY KEY, n int, note text); CREATE TABLE small (id int PRIMARY KEY)"


async def make_small_stream(make_stream: MakeStream, **options):
    job = await make_stream(TABLE, **{"memory_bytes": 16 * 1024 * 1024, **options})
    job.source.execute(SMALL_DECODING.format(job.source.name))
    return job


@pytest.mark.parametrize(
    (),
    [pytest.param(marks=pytest.mark.postgres(source=s, target=t), id=f"{s}-to-{t}") for s, t in [(15, 18), (18, 16)]],
)
async def test_streamed_transactions_side_by_side(make_stream: MakeStream):
    job = await make_small_stream(make_stream)
    job.start()
    with job.source.connect() as first, job.source.connect() as second:
        first.execute("BEGIN; INSERT INTO t SELECT i, 0, repeat('a', 100) FROM generate_series(1, 20000) i")
        second.execute("BEGIN; INSERT INTO t SELECT -i, 0, repeat('b', 100) FROM generate_series(1, 20000) i")
        job.source.execute("INSERT INTO small VALUES (1)")
        first.execute("UPDATE t SET n = 1 WHERE id BETWEEN 1 AND 9000")
        await job.wait_applied()
        assert job.target.fetch_value("SELECT count(*) FROM t") == 0
        second.execute("COMMIT")
        job.source.execute("INSERT INTO small VALUES (2)")
        first.execute("DELETE FROM t WHERE id > 15000; COMMIT")
    await job.assert_in_step()


async def test_subtransactions_that_are_rolled_back(make_stream: MakeStream):
    job = await make_small_stream(make_stream)
    job.start()
    with job.source.connect() as session:
        session.execute("BEGIN; INSERT INTO t SELECT i, 0, repeat('a', 100) FROM generate_series(1, 5000) i")
        for number in range(4):
            session.execute("SAVEPOINT outer_one")
            session.execute(f"UPDATE t SET n = n + 1 WHERE id % 4 = {number}")
            session.execute("SAVEPOINT inner_one")
            session.execute(f"DELETE FROM t WHERE id % 100 = {number}")
            session.execute(f"INSERT INTO t SELECT 100000 * {number + 1} + i, 7, '' FROM generate_series(1, 3000) i")
            if number % 2:
                session.execute("ROLLBACK TO inner_one")
            if number == 2:
                session.execute("ROLLBACK TO outer_one")
        session.execute("COMMIT")
        session.execute("BEGIN; UPDATE t SET n = 99; ROLLBACK")
    await job.assert_in_step()


async def test_truncate_and_new_columns_inside_a_streamed_transaction(make_stream: MakeStream):
    job = await make_small_stream(make_stream)
    job.target.execute("ALTER TABLE t ADD extra int")
    job.start()
    with job.source.connect() as session:
        session.execute("BEGIN; INSERT INTO t SELECT i, 0, repeat('a', 100) FROM generate_series(1, 5000) i")
        session.execute("TRUNCATE t; INSERT INTO t SELECT i, 1, repeat('b', 100) FROM generate_series(1, 5000) i")
        session.execute("ALTER TABLE t ADD extra int; UPDATE t SET extra = id; COMMIT")
    await job.assert_in_step()


async def test_spill_files_go_with_their_transactions(make_stream: MakeStream):
    job = await make_small_stream(make_stream)
    job.spill_dir.mkdir()
    (job.spill_dir / f"77{SUFFIX}").write_bytes(b"of a run that was killed")
    job.start()

    def files() -> list[str]:
        return [path.name for path in job.spill_dir.glob(f"*{SUFFIX}")]

    with job.source.connect() as session:
        session.execute("BEGIN; INSERT INTO t SELECT i, 0, repeat('a', 1000) FROM generate_series(1, 20000) i")
        await job.wait_until(lambda: [name for name in files() if not name.startswith("77")])
        assert f"77{SUFFIX}" not in files()
        session.execute("ROLLBACK")
    await job.wait_applied()
    await job.wait_until(lambda: not files())
    with job.source.connect() as session:
        session.execute("BEGIN; INSERT INTO t SELECT i, 0, repeat('a', 1000) FROM generate_series(1, 20000) i")
        await job.wait_until(files)
        await job.stop()
        assert not files(), "a stop leaves nothing behind"
        session.execute("COMMIT")
    job.start()
    await job.assert_in_step()


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_i2_a_transaction_larger_than_memory_becomes_visible_at_once(make_stream: MakeStream, is_streamed):
    job = await make_stream(TABLE, memory_bytes=16 * 1024 * 1024)
    if is_streamed:
        job.source.execute(SMALL_DECODING.format(job.source.name))
    job.start()
    counts: set[int] = set()
    is_over = asyncio.Event()

    async def watch() -> None:
        with job.target.connect() as session:
            while not is_over.is_set():
                counts.update(row[0] for row in session.execute("SELECT count(*) FROM t"))
                await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    # 30 MB and some; a part holds half a megabyte here.
    job.source.execute("INSERT INTO t SELECT i, 0, repeat('a', 400) FROM generate_series(1, 60000) i")
    await job.wait_applied()
    is_over.set()
    await watching
    assert counts <= {0, 60000}
    await job.assert_in_step()


async def test_unique_values_swapped_in_a_later_part(make_stream: MakeStream):
    """A part that must be applied in halves does not take the parts before it back."""
    job = await make_stream(
        "CREATE TABLE t (id int PRIMARY KEY, place int UNIQUE DEFERRABLE INITIALLY IMMEDIATE, note text);"
        "CREATE TABLE u (id int PRIMARY KEY, place int UNIQUE)",
        memory_bytes=16 * 1024 * 1024,
    )
    job.start()
    job.source.execute("INSERT INTO u SELECT i, i FROM generate_series(1, 100) i")
    await job.assert_in_step()
    with job.source.connect() as session, session.transaction():
        session.execute("INSERT INTO t SELECT i, i, repeat('a', 200) FROM generate_series(1, 20000) i")
        for first in range(1, 21, 2):
            session.execute("UPDATE u SET place = -1 WHERE id = %s", (first,))
            session.execute("UPDATE u SET place = %s WHERE id = %s", (first, first + 1))
            session.execute("UPDATE u SET place = %s WHERE id = %s", (first + 1, first))
        session.execute("INSERT INTO t SELECT -i, -i, repeat('a', 200) FROM generate_series(1, 20000) i")
    await job.assert_in_step()
    _, transactions, _ = job.checkpoint()
    assert transactions >= 2


async def test_memory_stays_within_its_bound(make_stream: MakeStream):
    """Scaled: 30 times the relay's memory passes while the target stands still half of the time."""
    job = await make_stream(TABLE, memory_bytes=16 * 1024 * 1024)
    of_other_tests = {id(each) for each in gc.get_objects() if isinstance(each, Relay)}
    job.start()
    assert job.sides is not None
    limit = job.sides.memory_bytes
    job.control.is_apply_paused = True
    for block in range(12):
        job.source.execute(
            f"INSERT INTO t SELECT {block} * 10000 + i, 0, repeat('a', 400) FROM generate_series(1, 10000) i"
        )
    relays: list[Relay] = []

    def is_full() -> bool:
        found = [each for each in gc.get_objects() if isinstance(each, Relay) and id(each) not in of_other_tests]
        relays[:] = [relay for relay in found if not relay.is_closed]
        return any(relay.is_full for relay in relays)

    await job.wait_until(is_full)
    (relay,) = relays
    held = [relay.held_bytes]
    job.control.is_apply_paused = False
    wanted = job.source_position()

    def is_applied() -> bool:
        held.append(relay.held_bytes)
        return job.figures is not None and job.figures.position is not None and job.figures.position.covers(wanted)

    await job.wait_until(is_applied)
    assert max(held) <= limit
    await job.assert_in_step()

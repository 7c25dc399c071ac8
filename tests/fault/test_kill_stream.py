"""SIGKILL while the stream is applied; the target ends equal and every transaction is applied once."""

from __future__ import annotations

import signal

import pytest

from tests.fault.jobs import JobRuns
from tests.integration.stream.conftest import MakeStream
from tests.servers import Database, assert_same_rows
from towline.domain.jobs import ConflictPolicy
from towline.engine import points

SCHEMA = """
CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL DEFAULT 0, note text);
ALTER TABLE account ALTER note SET STORAGE EXTERNAL;
INSERT INTO account SELECT i, 0, repeat(md5(i::text), 100) FROM generate_series(1, 500) i;
CREATE TABLE entry (account int, amount int);
CREATE TABLE counted (id int PRIMARY KEY, n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO counted SELECT i, i FROM generate_series(1, 200) i;
"""

WAITING_FOR_A_LOCK = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def write_transactions(source: Database, count: int) -> None:
    """Entries have no key, so one applied twice would show; unique values swap; values keep their TOAST."""
    with source.connect() as connection:
        for k in range(count):
            connection.execute(
                f"""UPDATE account SET balance = balance + {k} WHERE id = 1 + {k} % 500;
                INSERT INTO entry VALUES (1 + {k} % 500, {k});
                UPDATE counted SET n = 201 - n WHERE n IN (1 + {k} % 100, 200 - {k} % 100);
                DELETE FROM account WHERE id = 400 + {k} % 90;
                INSERT INTO account VALUES (400 + {k} % 90, {k}, 'again')""".encode()
            )


@pytest.mark.parametrize(
    ("point", "times"),
    [
        (points.HANDOFF_BEFORE_STREAM, 1),
        (points.APPLY_IN_BATCH, 3),
        (points.APPLY_BEFORE_COMMIT, 2),
        (points.APPLY_AFTER_COMMIT, 2),
    ],
)
@pytest.mark.postgres(source=16, target=18)
async def test_i1_i2_i5_killed_stream_applies_every_transaction_once(runs: JobRuns, point: str, times: int) -> None:
    runs.run_to_the_end()
    for _ in range(times):  # each run gets as far as its first batch, which may hold all that there is
        write_transactions(runs.source, 400)
        runs.run_until_killed(point, times=1, until_caught_up=True)
    outcome = runs.run_to_the_end()
    assert outcome["result"] == "caught_up"
    await assert_same_rows(runs.source.url, runs.target.url)
    assert runs.target.fetch_value("SELECT count(*) FROM entry") == 400 * times


@pytest.mark.postgres(source=18, target=16)
async def test_i6_worker_frozen_before_it_makes_the_slot_leaves_its_successors_alone(runs: JobRuns) -> None:
    """The source cannot know who owns the job: nothing that the late one does there may hit the other's slot."""
    first = runs.begin(point=points.SNAPSHOT_BEFORE_SLOT, signal=signal.SIGSTOP)
    try:
        first.wait_until_stopped()
        runs.run_to_the_end()
        write_transactions(runs.source, 100)
        first.send_signal(signal.SIGCONT)
        output, errors = first.communicate(timeout=60)
        assert '"LEASE_LOST"' in output, errors[-3000:]
    finally:
        first.kill()
        first.wait()
    feeds = "SELECT count(*) FROM {0} WHERE {1} LIKE 'towline%'"
    assert runs.source.fetch_value(feeds.format("pg_replication_slots", "slot_name")) == 1
    assert runs.source.fetch_value(feeds.format("pg_publication", "pubname")) == 1
    runs.run_to_the_end()
    await assert_same_rows(runs.source.url, runs.target.url)


@pytest.mark.postgres(source=16, target=18)
async def test_i6_slot_of_a_worker_that_died_before_remembering_it_is_removed(runs: JobRuns) -> None:
    """Nobody would read it, and the source would keep its log for ever."""
    runs.run_until_killed(points.SNAPSHOT_SLOT_CREATED)
    slots = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"
    (left,) = runs.source.fetch_all(slots)
    runs.run_to_the_end()
    (mine,) = runs.source.fetch_all(slots)
    assert mine != left


async def test_i5_commit_of_an_old_session_that_comes_late_is_not_applied_twice(make_stream: MakeStream) -> None:
    """A killed run's session may still be inside its COMMIT when the next one reads the checkpoint.

    A session that did what the old one did plays its part. Read too early, the checkpoint leads to applying the same
    insert again, which a job that stops at conflicts takes for one.
    """
    job = await make_stream("CREATE TABLE t (id int PRIMARY KEY)", policy=ConflictPolicy.STOP)
    job.start()
    await job.wait_applied()
    await job.stop()
    with job.target.connect() as old:
        job.source.execute("INSERT INTO t VALUES (1)")
        old.execute("BEGIN; INSERT INTO t VALUES (1)")
        old.execute(
            "UPDATE towline.checkpoint SET position = %s, transactions = transactions + 1", [str(job.source_position())]
        )
        job.start()
        await job.wait_until(lambda: job.target.fetch_value(WAITING_FOR_A_LOCK))
        old.execute("COMMIT")
    await job.assert_in_step()

"""Objects join a job that has run, killed anywhere and with writers at work; both sides end equal."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.fault.jobs import JobRuns
from tests.servers import Database, assert_same_rows
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


@pytest.mark.skipif(not IS_CAMPAIGN, reason="part of make fault-join")
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

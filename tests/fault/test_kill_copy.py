"""SIGKILL in the full copy, at every named point, while the source is being written to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fault.jobs import JobRuns, writing
from tests.servers import Database, assert_same_rows
from towline.bootstrap import opening_without_lease, parse_url
from towline.domain.errors import LeaseLost
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.tables import ObjectSelection
from towline.engine import points

ROWS = 60_000

SCHEMA = f"""
CREATE TABLE keyed (id bigint PRIMARY KEY, code text UNIQUE, n int, doc text);
ALTER TABLE keyed ALTER doc SET STORAGE EXTERNAL;
INSERT INTO keyed SELECT i, 'c' || i, 0, CASE WHEN i % 50 = 0 THEN repeat(md5(i::text), 120) ELSE md5(i::text) END
  FROM generate_series(1, {ROWS}) i;
CREATE TABLE uuids (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n int, filler char(200));
INSERT INTO uuids (n, filler) SELECT i, 'x' FROM generate_series(1, {ROWS}) i;
CREATE TABLE keyless (n int, txt text);
ALTER TABLE keyless REPLICA IDENTITY FULL;
INSERT INTO keyless SELECT i, repeat('y', 300) FROM generate_series(1, {ROWS // 2}) i;
CREATE TABLE child (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, keyed_id bigint REFERENCES keyed ON DELETE CASCADE,
  twice int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO child (keyed_id) SELECT i FROM generate_series(1, 5000) i;
CREATE TABLE moving (id int PRIMARY KEY, doc text, filler text) WITH (fillfactor = 10);  -- one row a page: 9 MB
ALTER TABLE moving ALTER doc SET STORAGE EXTERNAL;
INSERT INTO moving SELECT i, repeat(md5(i::text), 80), repeat('z', 700) FROM generate_series(1, 1200) i;
CREATE INDEX keyed_n ON keyed (n);
"""

# What the stream cannot put right is copied again under one snapshot: rows without a key, and rows whose key changes
# while a large value is not sent.
STARTING_OVER = {"keyless", "moving"}

# One round of changes of every kind; rows move between pages, keys change, values keep their TOAST.
ROUND = """
UPDATE keyed SET n = n + 1 WHERE id % 97 = {k} % 97;
UPDATE keyed SET doc = repeat('t{k}', 2000) WHERE id = 50 * (1 + {k} % 40);
DELETE FROM keyed WHERE id = 6000 + {k};
INSERT INTO keyed SELECT 1000000 + {k}, 'new{k}', {k}, 'inserted';
UPDATE keyed SET id = id + 2000000, code = code || 'm' WHERE id = 30001 + {k} * 50;
UPDATE moving SET id = id + 2000000 WHERE id = {k} * 3;
UPDATE uuids SET n = -n WHERE n % 101 = {k} % 101;
DELETE FROM uuids WHERE n % 5003 = {k};
INSERT INTO uuids (n) VALUES ({k});
UPDATE keyless SET n = -n WHERE n = {k};
DELETE FROM keyless WHERE n = 900 + {k};
INSERT INTO keyless VALUES ({k}, 'late');
INSERT INTO child (keyed_id) VALUES (1 + {k});
"""


@pytest.mark.parametrize(
    ("point", "times"),
    [
        (points.SNAPSHOT_SLOT_CREATED, 1),
        (points.STRUCTURE_BEFORE_COMMIT, 1),
        (points.COPY_IN_CHUNK, 100),
        (points.COPY_BEFORE_LEDGER, 2),
        (points.COPY_BEFORE_COMMIT, 2),
        (points.COPY_AFTER_COMMIT, 3),
        (points.INDEX_IN_BUILD, 1),
    ],
)
@pytest.mark.postgres(source=18, target=18)
async def test_i1_i4_killed_copy_resumes_and_ends_equal(runs: JobRuns, point: str, times: int) -> None:
    with writing(runs.source, ROUND):
        runs.run_until_killed(point, times=times)
        finished = runs.ledger() if point.startswith("copy.after") else {}
    outcome = runs.run_to_the_end()
    assert outcome["result"] == "caught_up"
    after = runs.ledger()
    for chunk, done_at in finished.items():
        if chunk[0] not in STARTING_OVER:
            assert after[chunk] == done_at, f"{chunk} was copied again"
    await assert_same_rows(runs.source.url, runs.target.url)


@pytest.mark.postgres(source=15, target=16)
async def test_i4_three_snapshots_in_a_row_end_equal(runs: JobRuns) -> None:
    with writing(runs.source, ROUND):
        runs.run_until_killed(points.COPY_AFTER_COMMIT, times=2)
        runs.run_until_killed(points.COPY_AFTER_COMMIT, times=3)
        runs.run_until_killed(points.COPY_BEFORE_LEDGER, times=2)
    runs.run_to_the_end()
    await assert_same_rows(runs.source.url, runs.target.url)


@pytest.mark.postgres(source=16, target=18)
async def test_i6_second_worker_takes_the_job_from_the_first(runs: JobRuns) -> None:
    """Both believe that they own the job; the later one wins and the first one writes nothing more."""
    with writing(runs.source, ROUND):
        first = runs.begin()
        while first.poll() is None and not _has_chunks(runs):
            pass
        outcome = runs.run_to_the_end()
        output, _ = first.communicate(timeout=60)
    assert '"LEASE_LOST"' in output
    assert outcome["result"] == "caught_up"
    runs.run_to_the_end()
    await assert_same_rows(runs.source.url, runs.target.url)


@pytest.mark.postgres(source=16, target=18)
async def test_i6_a_run_without_a_lease_does_not_take_the_job_back(runs: JobRuns, tmp_path: Path) -> None:
    """After a failure it connects anew: its sessions may have been ended by the run that came later."""
    spec = JobSpec(
        job_id=runs.job_id,
        mode=TaskMode.FULL,
        source=parse_url(runs.source.url),
        target=parse_url(runs.target.url),
        selection=ObjectSelection(),
    )
    first, second = (opening_without_lease(spec, tmp_path) for _ in range(2))
    await (await first()).close()
    for _ in range(2):
        await (await second()).close()
        with pytest.raises(LeaseLost):
            await first()


def _has_chunks(runs: JobRuns) -> bool:
    return bool(
        runs.target.fetch_value("SELECT to_regclass('towline.chunk') IS NOT NULL")
        and runs.target.fetch_value("SELECT EXISTS (SELECT 1 FROM towline.chunk)")
    )


@contextmanager
def _without_autovacuum(database: Database) -> Iterator[None]:
    """Nothing writes on its own, in any database of the server, before the context ends."""
    database.execute("ALTER SYSTEM SET autovacuum = off")
    try:
        database.execute("SELECT pg_reload_conf()")
        while database.fetch_value("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type ~ 'autovacuum')"):
            time.sleep(0.05)
        yield
    finally:
        database.execute("ALTER SYSTEM RESET autovacuum")
        database.execute("SELECT pg_reload_conf()")


@pytest.mark.postgres(source=18, target=15)
async def test_rewritten_table_starts_over(runs: JobRuns) -> None:
    runs.run_until_killed(points.COPY_AFTER_COMMIT, times=2)
    runs.source.execute("VACUUM FULL keyed")
    runs.source.execute("VACUUM FULL uuids")
    runs.run_to_the_end()
    await assert_same_rows(runs.source.url, runs.target.url)


@pytest.mark.postgres(source=18, target=18)
async def test_full_copy_without_a_stream_goes_on_when_nothing_was_written(runs: JobRuns) -> None:
    runs.follow = False
    with _without_autovacuum(runs.source):
        runs.run_until_killed(points.COPY_AFTER_COMMIT, times=2)
        finished = runs.ledger()
        runs.run_to_the_end()
    after = runs.ledger()
    assert finished.items() <= after.items()
    await assert_same_rows(runs.source.url, runs.target.url)


@pytest.mark.postgres(source=18, target=18)
async def test_full_copy_without_a_stream_starts_over_after_writes(runs: JobRuns) -> None:
    runs.follow = False
    runs.run_until_killed(points.COPY_AFTER_COMMIT, times=2)
    runs.source.execute("DELETE FROM keyed WHERE id % 3 = 0")
    runs.run_to_the_end()
    await assert_same_rows(runs.source.url, runs.target.url)

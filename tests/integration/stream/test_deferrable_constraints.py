"""Constraints that may be broken inside a transaction: the target's server does not check them for the stream."""

from __future__ import annotations

import pytest

from tests.integration.stream.conftest import MakeStream
from towline.domain.errors import RowConflict
from towline.domain.jobs import ConflictPolicy


@pytest.mark.parametrize("when", ["IMMEDIATE", "DEFERRED"])
async def test_values_that_pass_through_each_other(make_stream: MakeStream, when):
    job = await make_stream(
        f"""CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY {when}, r int4range,
                            EXCLUDE USING gist (r WITH &&) DEFERRABLE INITIALLY {when})"""
    )
    job.start()
    job.source.execute("INSERT INTO t SELECT i, i, int4range(i * 10, i * 10 + 10) FROM generate_series(1, 100) i")
    job.source.execute("INSERT INTO t VALUES (200, NULL, NULL), (201, NULL, NULL)")
    await job.assert_in_step()
    job.source.execute("UPDATE t SET u = 101 - u, r = int4range(2000 - upper(r), 2000 - lower(r)) WHERE r IS NOT NULL")
    job.source.execute("UPDATE t SET id = -id, u = u + 1")
    await job.assert_in_step()


@pytest.mark.parametrize("when", ["IMMEDIATE", "DEFERRED"])
async def test_deferrable_primary_key_identifies_no_row(make_stream: MakeStream, when):
    job = await make_stream(
        f"""CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY {when}, v text);
            ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')"""
    )
    job.start()
    job.source.execute("UPDATE t SET id = 4 - id")
    await job.assert_in_step()
    job.source.execute("UPDATE t SET id = id + 1")
    job.source.execute("DELETE FROM t WHERE id = 2")
    await job.assert_in_step()


@pytest.mark.parametrize("policy", list(ConflictPolicy))
@pytest.mark.parametrize(
    ("column", "own", "of_the_source"),
    [
        ("u int UNIQUE DEFERRABLE", "7", "7"),
        ("u int4range, EXCLUDE USING gist (u WITH &&) DEFERRABLE", "'[1,9)'", "'[8,12)'"),
    ],
    ids=["unique", "exclusion"],
)
async def test_row_in_the_way_of_a_deferrable_constraint_stops_the_job(
    make_stream: MakeStream, policy, column, own, of_the_source
):
    job = await make_stream(f"CREATE TABLE t (id int PRIMARY KEY, {column})", policy=policy)
    job.target.execute(f"INSERT INTO t VALUES (999, {own})")
    task = job.start()
    job.source.execute(f"INSERT INTO t VALUES (1, {of_the_source})")
    with pytest.raises(RowConflict, match="deferrable constraint t_u_"):
        await task
    # I2: the transaction is not there in part.
    assert job.target.fetch_all("SELECT id FROM t") == [(999,)]


async def test_broken_constraint_is_found_however_long_the_transaction(make_stream: MakeStream):
    job = await make_stream(
        """CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE DEFERRABLE, big text);
           ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
           INSERT INTO t SELECT i, i, repeat('x', 5000) FROM generate_series(1, 200) i"""
    )
    job.target.execute("INSERT INTO t VALUES (999, 1003, '')")
    task = job.start()
    # Changed keys are applied one by one, so the staging table is emptied several times on the way.
    job.source.execute("UPDATE t SET id = id + 1000, u = u + 1000")
    with pytest.raises(RowConflict, match="t_u_key"):
        await task
    job.target.execute("DELETE FROM t WHERE id = 999")
    job.start()
    await job.assert_in_step()


async def test_equal_nulls_break_a_constraint_that_says_so(make_stream: MakeStream):
    job = await make_stream("CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE NULLS NOT DISTINCT DEFERRABLE)")
    job.target.execute("INSERT INTO t VALUES (999, NULL)")
    task = job.start()
    job.source.execute("INSERT INTO t VALUES (1, NULL)")
    with pytest.raises(RowConflict, match="t_u_key"):
        await task

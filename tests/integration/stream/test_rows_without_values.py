"""Rows of which nothing, or nothing that can be set, is sent."""

from __future__ import annotations

import pytest

from tests.integration.stream.conftest import MakeStream


async def test_table_without_columns(make_stream: MakeStream):
    job = await make_stream("CREATE TABLE t (); ALTER TABLE t REPLICA IDENTITY FULL")
    job.start()
    job.source.execute("INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES")
    await job.wait_applied()
    assert job.target.fetch_value("SELECT count(*) FROM t") == 3
    job.source.execute("DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t)")
    await job.wait_applied()
    assert job.target.fetch_value("SELECT count(*) FROM t") == 2


# From version 18 on the source itself refuses such an update.
@pytest.mark.postgres(source=16, target=18)
async def test_table_of_generated_columns_only(make_stream: MakeStream):
    job = await make_stream(
        "CREATE TABLE t (x int GENERATED ALWAYS AS (1) STORED); ALTER TABLE t REPLICA IDENTITY FULL"
    )
    job.start()
    job.source.execute("INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES")
    await job.assert_in_step()
    job.source.execute("UPDATE t SET x = DEFAULT; DELETE FROM t WHERE ctid = (SELECT max(ctid) FROM t)")
    await job.assert_in_step()


async def test_identity_that_is_always_generated_in_a_table_without_key(make_stream: MakeStream):
    job = await make_stream(
        """CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, v text); ALTER TABLE t REPLICA IDENTITY FULL;
           CREATE TABLE only_id (id int GENERATED ALWAYS AS IDENTITY); ALTER TABLE only_id REPLICA IDENTITY FULL"""
    )
    job.start()
    job.source.execute("INSERT INTO t (v) VALUES ('a'), ('b'); INSERT INTO only_id DEFAULT VALUES")
    job.source.execute("UPDATE t SET id = DEFAULT, v = 'c' WHERE v = 'a'; UPDATE only_id SET id = DEFAULT")
    await job.assert_in_step()
    job.source.execute("DELETE FROM t WHERE v = 'c'; DELETE FROM only_id")
    await job.assert_in_step()

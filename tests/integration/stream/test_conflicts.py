"""Rows of the target that are not as the stream expects them, under each policy."""

from __future__ import annotations

import json
import logging

import pytest

from tests.integration.stream.conftest import MakeStream
from towline.domain.errors import DataError, RowConflict, SourceChanged, UnrepresentableValue
from towline.domain.jobs import ConflictPolicy

TABLE = "CREATE TABLE t (id int PRIMARY KEY, email text UNIQUE, n int)"
SECRET = "value-nobody-may-log"


def rejects(job) -> list[tuple]:
    return job.target.fetch_all(
        "SELECT table_schema, table_name, kind, reason, key_values FROM towline.reject ORDER BY id"
    )


async def make_diverged(make_stream: MakeStream, policy: ConflictPolicy):
    """Ten rows on both sides; then the target loses 1 and 2, and gets 100 with the e-mail of a later row."""
    job = await make_stream(TABLE, policy=policy)
    job.start()
    job.source.execute("INSERT INTO t SELECT i, 'e' || i, 0 FROM generate_series(1, 10) i")
    await job.assert_in_step()
    job.target.execute(f"DELETE FROM t WHERE id IN (1, 2); INSERT INTO t VALUES (100, '{SECRET}', 5), (50, 'x', 5)")
    return job


async def test_overwrite_makes_the_target_equal_to_the_source(make_stream: MakeStream):
    job = await make_diverged(make_stream, ConflictPolicy.OVERWRITE)
    job.control.is_apply_paused = True
    job.source.execute("UPDATE t SET n = 1 WHERE id <= 3")
    job.source.execute("DELETE FROM t WHERE id = 2")
    job.source.execute(f"INSERT INTO t VALUES (11, '{SECRET}', 0)")
    job.source.execute("INSERT INTO t VALUES (50, 'y', 0), (51, 'z', 0)")
    job.control.is_apply_paused = False
    await job.assert_in_step()
    assert job.figures is not None
    assert job.figures.conflicts >= 4
    assert rejects(job) == []


async def test_ignore_leaves_out_what_does_not_fit_and_lists_it(make_stream: MakeStream):
    job = await make_diverged(make_stream, ConflictPolicy.IGNORE)
    job.control.is_apply_paused = True
    job.source.execute("UPDATE t SET n = 1 WHERE id <= 3")
    job.source.execute(f"INSERT INTO t VALUES (11, '{SECRET}', 0), (12, 'fits', 0)")
    job.control.is_apply_paused = False
    await job.wait_applied()
    assert job.figures is not None
    assert job.figures.conflicts == 3
    assert job.target.fetch_all("SELECT id, n FROM t WHERE id IN (1, 2, 3, 11, 12) ORDER BY id") == [(3, 1), (12, 0)]
    listed = rejects(job)
    assert [(table, kind, json.loads(key)) for _, table, kind, _, key in listed] == [
        ("t", "update", {"id": "1"}),
        ("t", "update", {"id": "2"}),
        ("t", "insert", {"id": "11"}),
    ]


async def test_stop_stops_before_the_first_change_that_does_not_fit(make_stream: MakeStream):
    job = await make_diverged(make_stream, ConflictPolicy.STOP)
    before = job.checkpoint()
    job.control.is_apply_paused = True
    task = job._task
    job.source.execute("UPDATE t SET n = 1 WHERE id = 3")
    job.source.execute(f"INSERT INTO t VALUES (11, '{SECRET}', 0)")
    job.control.is_apply_paused = False
    assert task is not None
    with pytest.raises(RowConflict) as caught:
        await task
    assert caught.value.context["constraint"] == "t_email_key"
    assert [(kind, json.loads(key)) for _, _, kind, _, key in rejects(job)] == [("insert", {"id": "11"})]
    # I2: nothing of a batch that did not fit is on the target.
    assert job.target.fetch_value("SELECT n FROM t WHERE id = 11") is None
    assert job.checkpoint()[0] >= before[0]
    job.target.execute("DELETE FROM t WHERE id IN (50, 100); INSERT INTO t VALUES (1, 'e1', 0), (2, 'e2', 0)")
    job.start()
    await job.assert_in_step()


@pytest.mark.parametrize("policy", list(ConflictPolicy))
async def test_i7_values_reach_neither_error_nor_log(make_stream: MakeStream, policy, caplog):
    caplog.set_level(logging.DEBUG)
    job = await make_stream("CREATE TABLE t (id text PRIMARY KEY, n int)", policy=policy)
    job.target.execute("ALTER TABLE t ADD CHECK (n < 5)")
    job.start()
    task = job._task
    assert task is not None
    job.source.execute(f"INSERT INTO t VALUES ('fine', 1), ('{SECRET}', 7)")
    if policy is ConflictPolicy.IGNORE:
        await job.wait_applied()
    else:
        with pytest.raises(UnrepresentableValue) as caught:
            await task
        error: BaseException | None = caught.value
        assert isinstance(error, DataError)
        assert SECRET not in str(error.context)
        while error is not None:
            assert SECRET not in str(error)
            assert SECRET not in repr(error)
            error = error.__cause__
    assert SECRET not in caplog.text
    ((_, _, kind, reason, key),) = rejects(job)
    assert (kind, json.loads(key)) == ("insert", {"id": SECRET})
    assert SECRET not in reason


async def test_value_too_long_for_the_target(make_stream: MakeStream):
    job = await make_stream(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(20))",
        target_ddl="CREATE TABLE t (id int PRIMARY KEY, v varchar(5))",
        policy=ConflictPolicy.IGNORE,
    )
    job.start()
    job.source.execute("INSERT INTO t SELECT i, repeat('x', i) FROM generate_series(1, 10) i")
    job.source.execute("UPDATE t SET v = v || 'x'")
    await job.wait_applied()
    assert job.target.fetch_value("SELECT count(*) FROM t WHERE length(v) = id + 1") == 4
    assert [json.loads(key)["id"] for *_, key in rejects(job)][:5] == ["6", "7", "8", "9", "10"]


async def test_missing_partial_row_stops_even_when_overwriting(make_stream: MakeStream):
    """The value that was not sent cannot be made up."""
    job = await make_stream(
        "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL",
        policy=ConflictPolicy.OVERWRITE,
    )
    job.start()
    job.source.execute("INSERT INTO t VALUES (1, 0, repeat('x', 9000))")
    await job.assert_in_step()
    task = job._task
    assert task is not None
    job.target.execute("DELETE FROM t")
    job.source.execute("UPDATE t SET n = 1")
    with pytest.raises(RowConflict):
        await task


async def test_rows_that_are_there_twice_on_the_target(make_stream: MakeStream):
    job = await make_stream("CREATE TABLE t (id int PRIMARY KEY, n int)", target_ddl="CREATE TABLE t (id int, n int)")
    job.start()
    job.source.execute("INSERT INTO t VALUES (1, 0)")
    await job.wait_applied()
    job.target.execute("INSERT INTO t VALUES (1, 0)")
    task = job._task
    assert task is not None
    job.source.execute("UPDATE t SET n = 1")
    with pytest.raises(RowConflict, match="more than once"):
        await task


@pytest.mark.parametrize("alteration", ["DROP TABLE t", "ALTER TABLE t DROP n", "ALTER TABLE t RENAME n TO m"])
async def test_a_table_of_another_form_stops_the_stream(make_stream: MakeStream, alteration):
    job = await make_stream(TABLE, policy=ConflictPolicy.OVERWRITE)
    job.target.execute(alteration)
    task = job.start()
    job.source.execute("INSERT INTO t VALUES (1, 'x', 0)")
    with pytest.raises(SourceChanged) as caught:
        await task
    assert "t" in caught.value.message


@pytest.mark.parametrize("begin", [1, 3, 6])
async def test_i5_replaying_what_is_applied_already_changes_nothing(make_stream: MakeStream, begin):
    """The target's rows are from a later moment than the stream's begin, as after a copy in two snapshots."""
    job = await make_stream(
        "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL"
    )
    with job.source.connect() as session:
        session.execute("INSERT INTO t SELECT i, 0, repeat('x', 9000) FROM generate_series(1, 20) i")
        session.execute("UPDATE t SET n = n + 1 WHERE id % 2 = 0")
        session.execute("DELETE FROM t WHERE id IN (3, 4)")
        session.execute("UPDATE t SET id = id + 100 WHERE id IN (5, 6)")
        session.execute("INSERT INTO t VALUES (4, 9, 'again'), (6, 9, 'again')")
        session.execute("UPDATE t SET id = 3 WHERE id = 106; DELETE FROM t WHERE id = 6")
    # Some tables' rows are of the end, some of them stale or missing as chunks of an earlier snapshot may be.
    rows = job.source.fetch_all("SELECT id, n, big FROM t")
    with job.target.connect() as session:
        for number, row in enumerate(rows):
            if number % begin == 0 or row[2] is not None:
                session.execute("INSERT INTO t VALUES (%s, %s, %s)", row)
        session.execute("INSERT INTO t VALUES (5, 0, repeat('x', 9000))")
    job.tolerant_until = job.source_position()
    job.start()
    await job.assert_in_step()
    job.source.execute("UPDATE t SET n = 77")
    await job.assert_in_step()
    assert job.figures is not None
    assert job.figures.conflicts == 0


async def test_i5_replayed_key_that_becomes_an_equal_one_keeps_its_row(make_stream: MakeStream):
    # 1.0 and 1.00 are equal, but not the same: the source says that the key changed.
    ddl = "CREATE TABLE t (id numeric PRIMARY KEY, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL"
    job = await make_stream(ddl)
    rows = "INSERT INTO t SELECT i::numeric(9, 1), i, repeat('b', 9000) FROM generate_series(1, 4) i"
    job.source.execute(rows)
    job.begin = job.source_position()
    job.target.execute(rows)
    job.source.execute("UPDATE t SET id = id::numeric(9, 2), n = -n WHERE n < 3")
    job.source.execute("UPDATE t SET id = 30 WHERE n = 3")
    # This one was copied under its new key already.
    job.target.execute("INSERT INTO t SELECT 30, 3, big FROM t WHERE n = 3")
    job.tolerant_until = job.source_position()
    job.start()
    await job.assert_in_step()

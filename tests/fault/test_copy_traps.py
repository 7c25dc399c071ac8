"""What may happen on the source while a copy is interrupted, and must not cost a row.

A table is as small as its trap allows. One row fills a page's share (`fillfactor`), so PAGES rows make more than the
8 MB from which a table has two chunks; the first holds the rows up to about 1020. Groups of chunks are copied by size,
the largest first, and every kill comes after a known number of them: which chunks come from which snapshot is
part of the test and is asserted.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.fault.jobs import JOB_ID, JobRuns
from tests.servers import assert_same_rows
from towline.adapters.postgres.checks import run_prechecks
from towline.adapters.postgres.connection import parse_url
from towline.domain.jobs import JobSpec, TaskMode
from towline.engine import points

PAGES = 1200
ONE_ROW_A_PAGE = "WITH (fillfactor = 10)"
FILLER = "repeat('y', 700)"
LARGE = "repeat('doc' || i, 1500)"  # stored beside the row, and not sent by an update that leaves it alone
DEADLINE_S = 30.0


def interrupt(runs: JobRuns, *statements: str, after: tuple[str, ...] = ("t",)) -> None:
    """Kill the run after one chunk of each of the tables `after`, in that order; then change the source.

    Statements are transactions of their own.
    """
    runs.run_until_killed(points.COPY_AFTER_COMMIT, times=len(after), copy_workers=1)
    assert sorted(runs.ledger()) == sorted((table, "pages", 0) for table in after)
    for statement in statements:
        runs.source.execute(statement)


async def resume(runs: JobRuns, **order: Any) -> None:
    """The next run gets to the end, with the source's rows."""
    runs.run_to_the_end(**order)
    await assert_same_rows(runs.source.url, runs.target.url)


# --- keys that move between two snapshots ------------------------------------------------------------


async def test_i3_keys_that_change_hands_before_a_table_is_copied(runs: JobRuns) -> None:
    """The replay must skip what a table's only snapshot holds: old and new owner of a key look the same to it.

    A delete of the old owner would hit the new one, and large values that are not sent would come from the wrong row.
    """
    table = f"""(id int PRIMARY KEY, doc text); ALTER TABLE {{0}} ALTER doc SET STORAGE EXTERNAL;
        INSERT INTO {{0}} SELECT i, {LARGE} FROM generate_series(1, 9) i;"""
    runs.source.execute(
        f"""CREATE TABLE large (id int PRIMARY KEY, filler text) {ONE_ROW_A_PAGE};
        INSERT INTO large SELECT i, {FILLER} FROM generate_series(1, 200) i;
        CREATE TABLE freed {table.format("freed")}
        CREATE TABLE swapped {table.format("swapped")}"""
    )
    interrupt(
        runs,
        "DELETE FROM freed WHERE id = 4",
        "UPDATE freed SET id = 4 WHERE id = 5",
        "UPDATE swapped SET id = 100 WHERE id = 1",
        "UPDATE swapped SET id = 1 WHERE id = 2",
        "UPDATE swapped SET id = 2 WHERE id = 100",
        after=("large",),
    )
    await resume(runs)


MIXED_LARGE_VALUES = f"""
CREATE TABLE t (id int PRIMARY KEY, doc text, filler text) {ONE_ROW_A_PAGE};
ALTER TABLE t ALTER doc SET STORAGE EXTERNAL;
INSERT INTO t SELECT i, CASE WHEN i < 10 OR i > {PAGES} - 10 THEN {LARGE} END, {FILLER}
  FROM generate_series(1, {PAGES}) i;
"""


@pytest.mark.parametrize("policy", ["overwrite", "stop"])
async def test_i4_key_of_a_copied_row_changes_between_two_snapshots(runs: JobRuns, policy: str) -> None:
    """The old row comes from one snapshot and the new one from the other, which is no conflict with other data."""
    runs.source.execute(MIXED_LARGE_VALUES)
    interrupt(runs, "UPDATE t SET id = 1000005 WHERE id = 5")
    await resume(runs, conflict_policy=policy)


async def test_i4_row_not_yet_copied_moves_to_the_key_of_a_copied_one(runs: JobRuns) -> None:
    """The later snapshot brings the row under its new key; the delete of the key's old owner must not take it away."""
    runs.source.execute(MIXED_LARGE_VALUES)
    interrupt(runs, f"DELETE FROM t WHERE id = 4; UPDATE t SET id = 4 WHERE id = {PAGES} - 5")
    await resume(runs)


# --- tables whose rows are not identified by a plain primary key --------------------------------------


async def test_i4_identity_index_beside_a_primary_key(runs: JobRuns) -> None:
    """Changed rows are replaced by the key that the stream sends; another unique index may be in the way until then."""
    runs.source.execute(
        f"""CREATE TABLE t (id int PRIMARY KEY, code text NOT NULL, filler text) {ONE_ROW_A_PAGE};
        CREATE UNIQUE INDEX t_code ON t (code);
        ALTER TABLE t REPLICA IDENTITY USING INDEX t_code;
        INSERT INTO t SELECT i, 'c' || i, {FILLER} FROM generate_series(1, {PAGES}) i"""
    )
    interrupt(runs, "UPDATE t SET code = 'new' WHERE id = 5")
    await resume(runs)


@pytest.mark.postgres(source=15, target=15)  # the servers with contrib modules
async def test_i4_key_of_an_extensions_type(runs: JobRuns) -> None:
    """Its operators lie in the extension's schema, which is not on the search path of a session of ours."""
    runs.target.execute("CREATE EXTENSION ltree")
    runs.source.execute(
        f"""CREATE EXTENSION ltree;
        CREATE TABLE t (id ltree PRIMARY KEY, n int, filler text) {ONE_ROW_A_PAGE};
        INSERT INTO t SELECT ('a.b' || i)::ltree, i, {FILLER} FROM generate_series(1, {PAGES}) i"""
    )
    interrupt(runs, "UPDATE t SET n = -1 WHERE n = 5")
    await resume(runs)


async def test_i4_key_of_a_domain_over_an_enum(runs: JobRuns) -> None:
    """The `=` of enums does not see through a domain: the server finds no operator."""
    labels = ", ".join(f"'l{number}'" for number in range(1, 13))
    runs.source.execute(
        f"""CREATE TYPE label AS ENUM ({labels});
        CREATE DOMAIN marked AS label CHECK (VALUE <> 'l12');
        CREATE TABLE t (mark marked, id int, n int, filler text, PRIMARY KEY (mark, id)) {ONE_ROW_A_PAGE};
        INSERT INTO t SELECT ('l' || i % 10 + 1)::label, i, i, {FILLER} FROM generate_series(1, {PAGES}) i"""
    )
    interrupt(runs, "UPDATE t SET n = -1 WHERE n = 5")
    await resume(runs)


async def test_unlogged_table_starts_over(runs: JobRuns) -> None:
    """Nothing tells of rows deleted since its first chunks: no log, no stream."""
    runs.source.execute(
        f"""CREATE UNLOGGED TABLE t (id int PRIMARY KEY, filler text) {ONE_ROW_A_PAGE};
        INSERT INTO t SELECT i, {FILLER} FROM generate_series(1, {PAGES}) i"""
    )
    interrupt(runs, "DELETE FROM t WHERE id < 10")
    await resume(runs)


async def test_table_with_a_deferrable_key_starts_over(runs: JobRuns) -> None:
    """The catalog shows a primary key, but the stream sends none: replayed inserts would meet rows that are there."""
    runs.source.execute(
        f"""CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, filler text) {ONE_ROW_A_PAGE};
        INSERT INTO t SELECT i, {FILLER} FROM generate_series(1, {PAGES}) i"""
    )
    interrupt(runs, "INSERT INTO t VALUES (1000000, 'x')")
    await resume(runs)


async def test_precheck_finds_a_deferrable_key_before_it_stops_the_application(runs: JobRuns) -> None:
    """Once the table is published, the source itself refuses updates and deletes: the key does not identify rows."""
    runs.source.execute("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, n int)")
    ends = (parse_url(runs.source.url), parse_url(runs.target.url))
    items = await run_prechecks(JobSpec(JOB_ID, TaskMode.FULL_AND_STREAM, *ends))
    assert [item.reason for item in items if item.item == "srcTablesWithoutKey"] == ["SRC_TABLES_WITHOUT_KEY"]


async def test_tables_that_start_over_leave_their_children_alone(runs: JobRuns) -> None:
    """ONLY of a TRUNCATE binds to one table; a finished child that is emptied with its parent stays empty."""
    runs.source.execute(
        f"""CREATE TABLE keyless (n int, filler text) {ONE_ROW_A_PAGE};
        CREATE TABLE parent (n int, filler text) {ONE_ROW_A_PAGE};
        CREATE TABLE child (PRIMARY KEY (n)) INHERITS (parent) {ONE_ROW_A_PAGE};
        INSERT INTO keyless SELECT i, {FILLER} FROM generate_series(1, {PAGES}) i;
        INSERT INTO parent SELECT i, {FILLER} FROM generate_series(1, {PAGES}) i;
        INSERT INTO child SELECT i, {FILLER} FROM generate_series(1, {PAGES} / 2) i"""
    )
    interrupt(runs, after=("keyless", "parent", "child"))
    finished = runs.ledger()[("child", "pages", 0)]
    await resume(runs)
    assert runs.ledger()[("child", "pages", 0)] == finished, "child was copied again"


# --- tables that are rewritten -----------------------------------------------------------------------

REWRITE = "ALTER TABLE t ADD x uuid DEFAULT gen_random_uuid()"


async def test_table_rewritten_while_the_snapshot_is_taken(runs: JobRuns) -> None:
    """To a snapshot that is older than its file the table looks empty, and nothing says so (manual, MVCC caveats)."""
    runs.source.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)")
    await resume(runs, point=points.SNAPSHOT_SLOT_CREATED, source_sql=REWRITE)


@pytest.mark.parametrize("follow", [True, False])
async def test_rewriting_a_table_waits_for_its_copy(runs: JobRuns, follow: bool) -> None:
    """The snapshot keeps it off tables that no worker has begun."""
    runs.follow = follow
    runs.source.execute(
        f"""CREATE TABLE large (id int PRIMARY KEY, filler text) {ONE_ROW_A_PAGE};
        INSERT INTO large SELECT i, {FILLER} FROM generate_series(1, 200) i;
        CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)"""
    )
    outcome = runs.run_to_the_end(
        point=points.COPY_IN_CHUNK, source_sql=f"SET lock_timeout = '50ms'; {REWRITE}", copy_workers=1
    )
    assert outcome["source_sql"] == "LockNotAvailable"
    await assert_same_rows(runs.source.url, runs.target.url)


# --- what a killed run leaves on the source -----------------------------------------------------------


async def test_slot_of_a_killed_run_that_waits_is_not_in_the_way(runs: JobRuns) -> None:
    """Its server process waits for an old transaction and does not notice that its client is gone."""
    runs.source.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)")
    interrupt(runs)
    with runs.source.connect() as old:
        old.execute("BEGIN; SELECT txid_current()")
        killed = runs.begin(until_caught_up=True)
        _wait_for_temporary_slots(runs, 1)
        killed.kill()
        killed.communicate()
        following = runs.begin(until_caught_up=True)
        try:
            _wait_for_temporary_slots(runs, 2)
            old.execute("ROLLBACK")
            output, errors = following.communicate(timeout=60)
        finally:
            following.kill()
            following.wait()
    assert '"caught_up"' in output, errors[-2000:]
    await assert_same_rows(runs.source.url, runs.target.url)


def _wait_for_temporary_slots(runs: JobRuns, count: int) -> None:
    query = "SELECT count(*) FROM pg_replication_slots WHERE temporary AND database = current_database()"
    deadline_s = time.monotonic() + DEADLINE_S
    while runs.source.fetch_value(query) != count:
        assert time.monotonic() < deadline_s, runs.source.fetch_all("SELECT * FROM pg_replication_slots")


# --- names that go to another table ------------------------------------------------------------------

EXCHANGED = (
    "BEGIN; ALTER TABLE t RENAME TO was; CREATE TABLE t (LIKE was INCLUDING ALL); INSERT INTO t VALUES (7); COMMIT"
)
RECREATED = "BEGIN; DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7); COMMIT"


@pytest.mark.parametrize("point", [points.COPY_AFTER_COMMIT, points.HANDOFF_BEFORE_STREAM])
@pytest.mark.parametrize("change", [EXCHANGED, RECREATED], ids=["exchanged", "recreated"])
def test_table_that_took_the_name_of_a_copied_one_stops_the_job(runs: JobRuns, point: str, change: str) -> None:
    runs.source.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    runs.run_until_killed(point, copy_workers=1)
    runs.source.execute(change)
    assert runs.run(conflict_policy="stop").get("error") == "SOURCE_CHANGED"

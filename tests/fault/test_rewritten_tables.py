"""DDL on the source that gives rows other values, which its log does not tell: the job must not go on."""

from __future__ import annotations

import pytest

from tests.fault.jobs import JobRuns
from tests.servers import assert_same_rows
from towline.engine import points

TABLE = """CREATE TABLE t (id int PRIMARY KEY, c text, d text DEFAULT 'd', e varchar(9));
    INSERT INTO t SELECT i, 'c' || i, 'd', 'e' FROM generate_series(1, 9) i"""

REWRITES = [
    "ALTER TABLE t ALTER c TYPE text USING upper(c)",
    "ALTER TABLE t ALTER d TYPE text USING upper(d)",
    "ALTER TABLE t ADD r float DEFAULT random()",
    "ALTER TABLE t ADD n bigserial",
    "ALTER TABLE t ALTER e SET STATISTICS 9; VACUUM FULL t; ALTER TABLE t ALTER e TYPE varchar(9) USING upper(e)",
]
# A rewrite, or a change of columns, but never one that changes values.
HARMLESS = [
    "VACUUM FULL t",
    "VACUUM (FULL, FREEZE)",  # the catalog as well
    "CLUSTER t USING t_pkey",
    "ALTER TABLE t SET (fillfactor = 50); VACUUM FULL t; VACUUM FREEZE t",
    "ALTER TABLE t ALTER c SET STATISTICS 9; ANALYZE t; ALTER TABLE t ALTER e TYPE varchar(20)",
    # VACUUM FULL writes the value that the column came with into the rows, and touches the column for that.
    "ALTER TABLE t ADD f int DEFAULT 7",
    "ALTER TABLE t DROP c; VACUUM FULL t",
    "ALTER TABLE t ADD g int GENERATED ALWAYS AS (id + 1) STORED",
]


def run_each(runs: JobRuns, statements: str) -> None:
    for statement in statements.split("; "):
        runs.source.execute(statement)


# The oldest version is asked for one of them: what tells a rewrite is in its catalog, too.
@pytest.mark.parametrize(
    "rewrite",
    [
        pytest.param(rewrite, marks=pytest.mark.postgres(source=15 if rewrite == REWRITES[0] else 18, target=18))
        for rewrite in REWRITES
    ],
)
def test_rewrite_that_changes_values_stops_a_job_in_its_stream(runs: JobRuns, rewrite: str) -> None:
    runs.source.execute(TABLE)
    runs.run_to_the_end()
    run_each(runs, rewrite)
    for _ in range(2):  # a retry does not make it good
        outcome = runs.run()
        assert outcome.get("error") == "SOURCE_CHANGED", outcome


@pytest.mark.parametrize("point", [points.INDEX_IN_BUILD, points.HANDOFF_BEFORE_STREAM])
def test_rewrite_after_the_copy_stops_the_job(runs: JobRuns, point: str) -> None:
    runs.source.execute(f"{TABLE}; CREATE INDEX ON t (d)")
    runs.run_until_killed(point)
    runs.source.execute(REWRITES[0])
    assert runs.run().get("error") == "SOURCE_CHANGED"


def test_rewrite_of_a_table_that_was_copied_while_others_were_not(runs: JobRuns) -> None:
    runs.source.execute(f"{TABLE}; CREATE TABLE small (id int PRIMARY KEY)")
    runs.run_until_killed(points.COPY_AFTER_COMMIT, copy_workers=1)
    assert "t" in {table for table, _, _ in runs.ledger()}
    runs.source.execute(REWRITES[0])
    assert runs.run().get("error") == "SOURCE_CHANGED"


@pytest.mark.parametrize("change", HARMLESS)
async def test_change_without_other_values_stops_nothing(runs: JobRuns, change: str) -> None:
    runs.source.execute(TABLE)
    runs.run_to_the_end()
    run_each(runs, change)
    runs.run_to_the_end()
    runs.source.execute("VACUUM FULL t")
    runs.run_to_the_end()
    if " ADD " not in change and "DROP" not in change:
        runs.source.execute("UPDATE t SET d = 'new' WHERE id = 3")
        runs.run_to_the_end()
        await assert_same_rows(runs.source.url, runs.target.url)


PARTED = """CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE p2 (id int PRIMARY KEY);
    INSERT INTO p VALUES (1); INSERT INTO p2 VALUES (11)"""
MOVES = [
    "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)",
    "ALTER TABLE p DETACH PARTITION p1",
    "DROP TABLE p1",
    "ALTER TABLE p2 RENAME TO other",
    "CREATE SCHEMA s; ALTER TABLE p2 SET SCHEMA s",
]


@pytest.mark.parametrize("change", MOVES)
def test_table_that_leaves_or_changes_its_parent_stops_a_running_job(runs: JobRuns, change: str) -> None:
    runs.source.execute(PARTED)
    # After the run has looked at the catalog for the first time.
    outcome = runs.run(point=points.HANDOFF_BEFORE_STREAM, source_sql=change)
    assert (outcome["source_sql"], outcome.get("error")) == ("done", "SOURCE_CHANGED")


@pytest.mark.parametrize("change", ["ALTER TABLE t ADD f int DEFAULT 7", "ALTER TABLE t DROP e"])
def test_columns_that_come_or_go_are_told_before_a_row_has_them(runs: JobRuns, change: str) -> None:
    runs.source.execute(TABLE)
    runs.run_to_the_end()
    run_each(runs, "ALTER TABLE t ALTER c SET STATISTICS 9; ALTER TABLE t ALTER d SET DEFAULT 'x'")
    assert not any("columns" in note for note in runs.run_to_the_end()["notes"])
    runs.source.execute(change)
    assert sum("TABLE public.t: columns were added" in note for note in runs.run_to_the_end()["notes"]) == 1

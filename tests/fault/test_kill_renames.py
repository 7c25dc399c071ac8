"""SIGKILL in copy and stream of a job whose objects have other names on the target."""

from __future__ import annotations

import pytest

from tests.fault.jobs import JobRuns
from tests.fault.test_kill_copy import SCHEMA as TABLES
from tests.fault.test_kill_copy import writing
from tests.servers import assert_same_rows
from towline.engine import points

SCHEMA = f"""{TABLES}
CREATE TABLE emptied (id int PRIMARY KEY);
INSERT INTO emptied VALUES (1);
CREATE TABLE parts (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE parts_old PARTITION OF parts FOR VALUES FROM ('2000-01-01') TO ('2020-01-01');
CREATE TABLE parts_new PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2040-01-01');
INSERT INTO parts VALUES (1, '2001-01-01'), (2, '2021-01-01');
"""
LATER = """
TRUNCATE emptied; INSERT INTO emptied VALUES (2), (3);
UPDATE parts SET at = '2022-01-01' WHERE id = 1;
TRUNCATE parts_new; INSERT INTO parts VALUES (3, '2003-01-01'), (4, '2030-01-01');
"""
RENAME = [
    'public.*="Sales 2026".*',
    'public.keyed="Sales 2026".keyed_2026,public.moving=archive.moving',
    "public.parts=archive.all_parts,public.parts_new=archive.parts_new",
]
# The source is given the same names, so that all of it can be compared.
ALIKE = """
ALTER SCHEMA public RENAME TO "Sales 2026";
CREATE SCHEMA archive;
ALTER TABLE "Sales 2026".keyed RENAME TO keyed_2026;
ALTER TABLE "Sales 2026".moving SET SCHEMA archive;
ALTER TABLE "Sales 2026".parts RENAME TO all_parts;
ALTER TABLE "Sales 2026".all_parts SET SCHEMA archive;
ALTER TABLE "Sales 2026".parts_new SET SCHEMA archive;
"""


@pytest.mark.postgres(source=18, target=16)
async def test_i1_i4_killed_job_with_other_names_ends_equal(runs: JobRuns) -> None:
    runs.target.execute("CREATE TABLE keyed (mine int); INSERT INTO keyed VALUES (7)")
    with writing(runs.source):
        runs.run_until_killed(points.COPY_AFTER_COMMIT, times=3, rename=RENAME)
        finished = runs.ledger()
        runs.source.execute(LATER)
        runs.run_until_killed(points.APPLY_AFTER_COMMIT, rename=RENAME)
    outcome = runs.run_to_the_end(rename=RENAME)
    assert outcome["result"] == "caught_up"
    after = runs.ledger()
    assert all(after[chunk] == at for chunk, at in finished.items() if chunk[0] not in ("keyless", "moving"))
    assert runs.target.fetch_all("SELECT mine FROM public.keyed") == [(7,)]
    runs.target.execute("DROP TABLE public.keyed")
    runs.source.execute(ALIKE)
    await assert_same_rows(runs.source.url, runs.target.url)

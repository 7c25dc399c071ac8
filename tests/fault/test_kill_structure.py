"""SIGKILL while the structure is made: what is said of it arrives all the same, and passwords are not left behind."""

from __future__ import annotations

from pathlib import Path

from tests.fault.jobs import JobRuns
from tests.servers import Database, assert_same_rows
from tests.servers.fixtures import DatabaseFactory
from towline.embedded import EmbeddedPostgres
from towline.engine import points

SECRET = "geheim-4711"
SCHEMA = f"""
CREATE TABLE t (id int PRIMARY KEY, n int);
INSERT INTO t SELECT i, i FROM generate_series(1, 20000) i;
CREATE INDEX ON t (n);
CREATE PUBLICATION elsewhere FOR TABLE t;
CREATE FUNCTION links() RETURNS bigint LANGUAGE sql AS
    $$SELECT count(*) FROM pg_publication WHERE pubname = 'elsewhere'$$;
CREATE MATERIALIZED VIEW one AS SELECT 1 / links() AS a;
CREATE MATERIALIZED VIEW two AS SELECT 2 / links() AS a;
CREATE FOREIGN DATA WRAPPER far; CREATE SERVER far FOREIGN DATA WRAPPER far;
CREATE USER MAPPING FOR public SERVER far OPTIONS (password '{SECRET}');
"""


async def test_what_is_left_out_is_told_after_a_kill_as_without_one(
    source_server: EmbeddedPostgres, target_server: EmbeddedPostgres, fresh_database: DatabaseFactory, tmp_path: Path
) -> None:
    """Killed right before the first commit of structure, and then before every fourth."""

    def runs(name: str) -> JobRuns:
        source = fresh_database(source_server, f"source_{name}")
        source.execute(SCHEMA)
        target = fresh_database(target_server, f"target_{name}")
        return JobRuns(source=source, target=target, work_dir=tmp_path, follow=False)

    through, killed = runs("a"), runs("b")
    outcome = through.run_to_the_end()
    said = sorted(outcome["notes"])
    assert outcome["restated"] == []
    views = ["MATERIALIZED VIEW DATA public.one", "MATERIALIZED VIEW DATA public.two"]
    assert [note.split(":")[0] for note in said] == [*views, "PUBLICATION elsewhere"]
    kills = 0
    while True:
        process = killed.begin(point=points.STRUCTURE_BEFORE_COMMIT, times=4 if kills else 1)
        process.communicate(timeout=100)
        if process.returncode == 0:
            break
        kills += 1
    assert kills > 3
    outcome = killed.run_to_the_end()
    assert sorted(outcome["notes"] + outcome["restated"]) == said
    await assert_same_rows(killed.source.url, killed.target.url, "t")


def test_i7_passwords_of_user_mappings_are_not_remembered_on_the_target(
    source_database: Database, target_database: Database, tmp_path: Path
) -> None:
    """Neither before they are made nor after; a run that was killed asks the source for them again."""
    source_database.execute(SCHEMA)
    target_database.execute("ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO pg_monitor")
    runs = JobRuns(source=source_database, target=target_database, work_dir=tmp_path)
    options = "SELECT umoptions FROM pg_user_mappings"
    items = "SELECT i::text FROM towline.structure_item i WHERE i.kind = 'USER MAPPING'"
    runs.run_until_killed(points.STRUCTURE_BEFORE_COMMIT)
    ((item,),) = target_database.fetch_all(items)
    assert SECRET not in item
    assert target_database.fetch_all(options) == []
    assert not target_database.fetch_value("SELECT has_schema_privilege('pg_monitor', 'towline', 'USAGE')")
    runs.run_to_the_end()
    ((item,),) = target_database.fetch_all(items)
    assert SECRET not in item
    assert target_database.fetch_all(options) == source_database.fetch_all(options)

"""Structure that only newer servers know, on its way to an older one."""

from __future__ import annotations

import re
from dataclasses import replace

import psycopg
import pytest

from tests.integration.structure.helpers import JOB, dump_structure, move_structure
from tests.servers.databases import Database
from towline.adapters.postgres.bookkeeping import ensure_bookkeeping, take_over
from towline.adapters.postgres.checks import run_prechecks
from towline.adapters.postgres.connection import connect, parse_url
from towline.adapters.postgres.features import choose_features, render_query
from towline.adapters.postgres.structure_plan import save_plan
from towline.adapters.postgres.structure_source import PgStructureSource
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.tables import ObjectSelection, TableName

# One object for each feature that stops a job, as the precheck names it.
IN_THE_WAY = {
    "public.virt (d)": "CREATE TABLE virt (id int, d int GENERATED ALWAYS AS (id * 2) VIRTUAL)",
    "public.lap (lap_pkey)": "CREATE TABLE lap (a int4range, b tsrange, PRIMARY KEY (a, b WITHOUT OVERLAPS))",
    "public.halves (later)": """CREATE TABLE ref (id int PRIMARY KEY);
        CREATE TABLE halves (id int, a int) PARTITION BY LIST (id); CREATE TABLE half PARTITION OF halves DEFAULT;
        ALTER TABLE halves ADD CONSTRAINT later FOREIGN KEY (a) REFERENCES ref NOT VALID""",
    "public.alone (own)": "CREATE TABLE alone (id int CONSTRAINT own NOT NULL NO INHERIT)",
    "public.heir (strict)": """CREATE TABLE parent (id int); CREATE TABLE heir () INHERITS (parent);
        ALTER TABLE heir ADD CONSTRAINT strict NOT NULL id""",
    "public.eager": "CREATE TABLE eager (t text) WITH (toast.autovacuum_vacuum_max_threshold = 9)",
    "public.apart (never)": """CREATE TABLE apart (a int4range, CONSTRAINT never EXCLUDE USING gist (a WITH =))
        PARTITION BY LIST (a)""",
    "public.bytewise": "CREATE COLLATION bytewise (provider = builtin, locale = 'C.UTF-8')",
    "public.from_json": """CREATE VIEW from_json AS
        SELECT * FROM JSON_TABLE('[1]'::jsonb, '$[*]' COLUMNS (a int PATH '$'))""",
    "public.is_json": "CREATE VIEW is_json AS SELECT '1' IS JSON AS a, JSON_ARRAY(1) AS b",
    "public.stamped": "CREATE TABLE stamped (id uuid DEFAULT uuidv7())",
    "public.anyone": "CREATE VIEW anyone AS SELECT any_value(1) AS a",
}
LEFT_OUT = """
    CREATE TABLE point (id int PRIMARY KEY);
    CREATE TABLE loose (id int CONSTRAINT words CHECK (id > 0) NOT ENFORCED,
        CONSTRAINT points FOREIGN KEY (id) REFERENCES point NOT ENFORCED);
    COMMENT ON CONSTRAINT words ON loose IS 'with a comment';
    CREATE TABLE gaps (id int); INSERT INTO gaps VALUES (NULL);
    ALTER TABLE gaps ADD CONSTRAINT filled NOT NULL id NOT VALID;
    GRANT SELECT, MAINTAIN ON gaps TO pg_monitor; GRANT MAINTAIN ON loose TO pg_monitor;
    ALTER DEFAULT PRIVILEGES GRANT SELECT, MAINTAIN ON TABLES TO pg_monitor;
"""
# For targets that are older than those of the tests: what is found there.
OLDER = {
    "public.nulls (nulls_a_key)": "CREATE TABLE nulls (a int UNIQUE NULLS NOT DISTINCT)",
    "public.invoked": "CREATE VIEW invoked WITH (security_invoker = true) AS SELECT 1 AS a",
    "public.some (some_b_c_fkey)": """CREATE TABLE "some" (a int PRIMARY KEY, b int, c int, UNIQUE (b, c),
        FOREIGN KEY (b, c) REFERENCES "some" (b, c) ON DELETE SET NULL (b))""",
    "public.scales (below)": "CREATE TABLE scales (fine numeric(5, 2), below numeric(3, -2)[], above numeric(2, 5))",
    "public.scales (above)": "",
    "public.counter": "CREATE UNLOGGED SEQUENCE counter",
    "public.atomic": "CREATE FUNCTION atomic(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a + 1; END",
    "public.outward": "CREATE PROCEDURE outward(OUT a int) LANGUAGE plpgsql AS 'BEGIN a := 1; END'",
    "public.span": "CREATE TYPE span AS RANGE (subtype = float8)",
    "public.squeezed (a)": "CREATE TABLE squeezed (a text COMPRESSION pglz)",
    "public.sums (of_both)": "CREATE TABLE sums (a int, b int); CREATE STATISTICS of_both ON (a + b), a FROM sums",
    "public.spots (spots_at_b_idx)": """CREATE TABLE spots (at point, b int);
        CREATE INDEX ON spots USING spgist (at) INCLUDE (b)""",
    "public.walk": """CREATE VIEW walk AS WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 9)
        SEARCH DEPTH FIRST BY n SET ordering SELECT n FROM t""",
    "public.slices (early)": """CREATE TABLE slices (a int) PARTITION BY LIST (a);
        CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER early BEFORE INSERT ON slices FOR EACH ROW EXECUTE FUNCTION pass()""",
    "public.wide (of_two)": """CREATE TABLE wide (a int, b int); CREATE STATISTICS of_two ON a, b FROM wide;
        ALTER STATISTICS of_two SET STATISTICS 50""",
    "public.dense (dense_a_idx)": """CREATE TABLE dense (a int, v tsvector);
        CREATE INDEX ON dense (a) WITH (deduplicate_items = off)""",
    "public.dense (dense_v_idx)": "CREATE INDEX ON dense USING gist (v tsvector_ops (siglen = 100))",
    "public.ties": "CREATE VIEW ties AS SELECT 1 AS a ORDER BY 1 FETCH FIRST 1 ROW WITH TIES",
}
# The others are refused with their table.
LOGIN = """CREATE FUNCTION greet() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER greeting ON login EXECUTE FUNCTION greet(); ALTER EVENT TRIGGER greeting DISABLE"""
CONSTRAINTS = {"public.lap (lap_pkey)", "public.halves (later)", "public.apart (never)"}


async def look(source: Database, target: Database, selection: ObjectSelection = ObjectSelection()) -> PrecheckItem:
    spec = JobSpec(JOB, TaskMode.FULL, parse_url(source.url), parse_url(target.url), selection=selection)
    return next(item for item in await run_prechecks(spec) if item.item == "dstFeaturesMeetRequirement")


@pytest.mark.postgres(source=18, target=15)
async def test_what_an_older_target_does_not_know_is_named_before_the_copy(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute("; ".join(IN_THE_WAY.values()))
    item = await look(source_database, target_database)
    assert (item.verdict, item.reason) == (Verdict.FAILED, "DST_FEATURES_MISSING")
    for name in IN_THE_WAY:
        assert re.search(rf"[:,] {re.escape(name)}(?:[,;.]| \()", item.message), name
    assert "(from version 18 on)" in item.message
    assert "VALIDATE CONSTRAINT" in item.remedy
    one = ObjectSelection(tables=frozenset({TableName("public", "half")}))
    assert (await look(source_database, target_database, one)).verdict is Verdict.PASSED
    parent = replace(one, tables=frozenset({TableName("public", "halves")}))
    assert "public.halves (later)" in (await look(source_database, target_database, parent)).message


@pytest.mark.postgres(source=18, target=15)
async def test_what_came_after_the_structure_was_read_holds_up_no_job(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute("CREATE TABLE plain (id int)")
    connection = await connect(parse_url(target_database.url), purpose="test")
    await ensure_bookkeeping(connection)
    await take_over(connection, JOB, epoch=None, source_identity="x")
    source = PgStructureSource(parse_url(source_database.url), target_major=15)
    items = await source.read_structure(ObjectSelection(), on_report=lambda _: None)
    source_database.execute(IN_THE_WAY["public.virt (d)"])
    assert (await look(source_database, target_database)).verdict is Verdict.FAILED
    await save_plan(connection, JOB, items)
    await connection.close()
    assert (await look(source_database, target_database)).verdict is Verdict.PASSED


@pytest.mark.postgres(source=18, target=15)
async def test_what_is_said_to_stop_a_job_would_stop_it(source_database: Database, target_database: Database) -> None:
    source_database.execute("; ".join(IN_THE_WAY.values()))
    source = PgStructureSource(parse_url(source_database.url), target_major=15)
    refused = set()
    with target_database.connect() as session:
        for item in await source.read_structure(ObjectSelection(), on_report=lambda report: pytest.fail(report.reason)):
            try:
                for statement in item.statements:
                    session.execute(statement.encode())
            except psycopg.Error:
                table = item.table if item.kind.endswith("CONSTRAINT") else None
                refused.add(f"{table} ({item.name})" if table else f"{item.schema}.{item.name}")
    assert refused >= {name if name in CONSTRAINTS else name.split(" ")[0] for name in IN_THE_WAY}


@pytest.mark.postgres(source=18, target=18)
async def test_every_feature_is_found(source_database: Database) -> None:
    features = choose_features(18, 11)
    query = render_query(features, source_major=18)
    source_database.execute("; ".join((*IN_THE_WAY.values(), LEFT_OUT, LOGIN, *OLDER.values())))
    rows = [row for row in source_database.fetch_all(query) if row[0] >= 0]
    missed = {feature.what for feature in features} - {features[row[0]].what for row in rows}
    assert missed == {"collations with rules"}, "the server was built without ICU"
    relations = {f"{schema}.{relation}" + (f" ({name})" if name else "") for *_, schema, relation, name, _ in rows}
    others = {f"{schema}.{name}" for *_, schema, relation, name, _ in rows if relation is None}
    assert relations | others >= OLDER.keys()


@pytest.mark.postgres(source=18, target=15)
async def test_what_both_know_is_no_reason_to_stop(rich_source: Database, target_database: Database) -> None:
    assert (await look(rich_source, target_database)).verdict is Verdict.PASSED


@pytest.mark.postgres(source=18, target=15)
async def test_what_an_older_target_can_do_without_is_left_out_and_said(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute(LEFT_OUT)
    item = await look(source_database, target_database)
    assert (item.verdict, item.reason) == (Verdict.WARNING, "DST_FEATURES_LEFT_OUT")
    for name in ("loose (words)", "loose (points)", "gaps (filled)", "gaps,", "loose.", "default privileges"):
        assert name in item.message
    move = await move_structure(source_database, target_database)
    assert {(report.kind, report.name, report.reason.split(":")[0]) for report in move.reports} == {
        ("CHECK CONSTRAINT", "public.loose.words", "left out"),
        ("FK CONSTRAINT", "public.loose.points", "left out"),
        ("CONSTRAINT", "public.gaps.filled", "left out"),
        ("ACL", "public.TABLE gaps and 2 more", "the privilege MAINTAIN is left out"),
    }
    assert "VALIDATE CONSTRAINT" in item.remedy
    assert target_database.fetch_all(
        """SELECT table_name::text, privilege_type::text FROM information_schema.table_privileges
        WHERE grantee = 'pg_monitor' AND table_schema = 'public'"""
    ) == [("gaps", "SELECT")]
    target_database.execute("INSERT INTO gaps VALUES (NULL); INSERT INTO loose VALUES (-1)")
    here = " ".join(dump_structure(target_database))
    assert re.search("DEFAULT PRIVILEGES FOR ROLE postgres GRANT SELECT ON TABLES +TO pg_monitor;", here)


@pytest.mark.postgres(source=18, target=18)
async def test_a_target_that_knows_everything_gets_everything(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute(";".join((*IN_THE_WAY.values(), LEFT_OUT)))
    assert (await look(source_database, target_database)).verdict is Verdict.PASSED
    move = await move_structure(source_database, target_database)
    assert move.reports == []
    assert dump_structure(target_database) == dump_structure(source_database)

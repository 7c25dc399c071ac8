"""Every kind of object arrives as pg_dump and psql would have made it."""

from __future__ import annotations

import asyncio
import gc
import warnings
from dataclasses import replace

import asyncpg
import pytest

from tests.integration.structure.conftest import Roles
from tests.integration.structure.helpers import (
    EVERYTHING,
    dump_structure,
    move_structure,
    open_target,
    restore_as_usual,
)
from tests.servers.databases import Database
from tests.servers.fixtures import DatabaseFactory
from towline.adapters.postgres.connection import parse_url
from towline.adapters.postgres.structure_source import PgStructureSource
from towline.domain.errors import LeaseLost, StructureFailed, TargetNotEmpty
from towline.domain.structure import Section, StructureReport
from towline.domain.tables import ObjectSelection, TableName

DIRECTIONS = [
    pytest.param(
        f"{source} to {target}", marks=pytest.mark.postgres(source=source, target=target), id=f"{source}-to-{target}"
    )
    for source, target in ((15, 18), (18, 16), (16, 15), (18, 18))
]
POPULATED = """
SELECT c.relname FROM pg_class c WHERE c.relkind = 'm' AND c.relispopulated ORDER BY 1
"""
SEQUENCES = "SELECT last_value, is_called FROM app.free_numbers"


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_rich_structure_arrives_as_pg_dump_makes_it(
    direction: str, rich_source: Database, rich_target: Database, fresh_database: DatabaseFactory
) -> None:
    reference = fresh_database(rich_target.server, "reference")
    restore_as_usual(rich_source, reference)
    move = await move_structure(rich_source, rich_target)
    assert dump_structure(rich_target) == dump_structure(reference)
    assert rich_target.fetch_all(POPULATED) == rich_source.fetch_all(POPULATED)
    assert rich_target.fetch_all(SEQUENCES) == rich_source.fetch_all(SEQUENCES) == [(800, False)]
    assert {item.number for item in move.items} == set(range(1, len(move.items) + 1))
    assert move.progress[-1][2] == move.progress[-1][3]


@pytest.mark.postgres(source=15, target=18)
async def test_missing_role_is_reported_and_stops_nothing(
    roles: Roles, rich_source: Database, rich_target: Database
) -> None:
    move = await move_structure(rich_source, rich_target)
    assert (
        StructureReport(
            "OWNER",
            f'ALTER TABLE app.no_key OWNER TO "{roles.missing}"',
            f"role {roles.missing} does not exist on the target",
        )
        in move.reports
    )
    grants = [report for report in move.reports if report.kind == "ACL"]
    assert len(grants) >= 1
    assert all(f'role "{roles.missing}" does not exist on the target' == report.reason for report in grants)
    assert {report.kind for report in move.reports} == {"OWNER", "ACL", "PUBLICATION"}


async def test_what_no_job_takes_along_is_reported(source_database: Database) -> None:
    name = source_database.name
    source_database.execute(
        f"""ALTER DATABASE {name} SET "DateStyle" = 'SQL, DMY'; COMMENT ON DATABASE {name} IS 'mine';
        CREATE TABLE members (a int); INSERT INTO members VALUES (1); ALTER EXTENSION plpgsql ADD TABLE members;
        UPDATE pg_extension SET extconfig = ARRAY['members'::regclass], extcondition = ARRAY['']
        WHERE extname = 'plpgsql';
        SELECT lo_create(4711)"""
    )
    reports: list[StructureReport] = []
    await PgStructureSource(parse_url(source_database.url)).read_structure(EVERYTHING, on_report=reports.append)
    told = {(report.kind, report.name): report.reason for report in reports}
    assert told.keys() == {("DATABASE PROPERTIES", name), ("TABLE", "public.members"), ("BLOB", "large objects")}
    assert "settings (DateStyle), comment;" in told["DATABASE PROPERTIES", name]
    assert "belongs to extension plpgsql" in told["TABLE", "public.members"]


async def test_extension_that_the_target_lacks_is_named(source_database: Database, target_database: Database) -> None:
    source_database.execute("CREATE TABLE t (a int)")
    source = PgStructureSource(parse_url(source_database.url))
    items = await source.read_structure(EVERYTHING, on_report=lambda report: None)
    # The servers of the tests have the same extensions, so the plan is given one that neither has.
    extension = replace(
        items[0],
        number=100,
        kind="EXTENSION",
        name="nowhere",
        statements=("CREATE EXTENSION IF NOT EXISTS nowhere WITH SCHEMA public;",),
        is_optional=True,
        depends_on=frozenset(),
    )
    user = replace(
        extension,
        number=101,
        kind="TABLE",
        name="places",
        statements=("CREATE TABLE public.places (at public.nowhere);",),
        is_optional=False,
        depends_on=frozenset({100}),
    )
    reports: list[StructureReport] = []
    target = await open_target(target_database)
    try:
        await target.save_structure([extension, user], [])
        with pytest.raises(StructureFailed, match="not available on the target: nowhere"):
            await target.apply_items([extension, user], on_report=reports.append)
        _, done = await target.load_structure()
    finally:
        await target.close()
    assert [(report.kind, report.name) for report in reports] == [("EXTENSION", "public.nowhere")]
    assert done == {100}


async def test_table_in_the_way_is_named_and_nothing_is_lost(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute("CREATE TABLE a (x int); CREATE TABLE b (x int); CREATE TABLE c (x int)")
    target_database.execute("CREATE TABLE b (precious int); CREATE VIEW c AS SELECT 1 AS one")
    with pytest.raises(TargetNotEmpty, match=r"public\.b, public\.c"):
        await move_structure(source_database, target_database)
    assert target_database.fetch_all("SELECT precious FROM b") == []


async def test_object_that_the_target_refuses_is_named(source_database: Database, target_database: Database) -> None:
    source_database.execute(
        "CREATE TABLE a (x int); CREATE FUNCTION fine() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE TABLE b (x int); ALTER TABLE b ADD CONSTRAINT odd UNIQUE (x)"
    )
    await move_structure(source_database, target_database, sections=(Section.BEFORE_DATA,))
    target_database.execute("INSERT INTO b VALUES (1), (1)")
    with pytest.raises(StructureFailed, match=r"CONSTRAINT public\.odd") as caught:
        await move_structure(source_database, target_database)
    assert caught.value.context["kind"] == "CONSTRAINT"
    target_database.execute("TRUNCATE b")
    await move_structure(source_database, target_database)
    assert dump_structure(target_database) == dump_structure(source_database)


async def test_move_goes_on_where_it_was_stopped(rich_source: Database, rich_target: Database) -> None:
    looks = iter([False] * 3 + [True] * 1000)
    await move_structure(rich_source, rich_target, should_stop=lambda: next(looks))
    target = await open_target(rich_target)
    items, done = await target.load_structure()
    await target.close()
    assert 0 < len(done) < len(items)
    move = await move_structure(rich_source, rich_target)
    assert move.progress[-1][2] == move.progress[-1][3]
    again = await move_structure(rich_source, rich_target)
    assert again.reports == []


async def test_i6_worker_without_the_lease_creates_nothing(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute("CREATE TABLE a (x int)")
    source = PgStructureSource(parse_url(source_database.url))
    items = await source.read_structure(EVERYTHING, on_report=lambda report: None)
    old = await open_target(target_database)
    await old.save_structure(items, [])
    new = await open_target(target_database)
    try:
        with pytest.raises(LeaseLost):
            await old.apply_items(items, on_report=lambda report: None)
        assert target_database.fetch_value("SELECT to_regclass('public.a')") is None
        await new.apply_items(items, on_report=lambda report: None)
    finally:
        await old.close()
        await new.close()
    assert target_database.fetch_value("SELECT to_regclass('public.a')") == "a"


async def test_i5_applying_items_again_changes_nothing(source_database: Database, target_database: Database) -> None:
    source_database.execute("CREATE TABLE a (x int PRIMARY KEY)")
    await move_structure(source_database, target_database)
    target = await open_target(target_database)
    try:
        items, done = await target.load_structure()
        assert done == {item.number for item in items}
        await target.apply_items(items, on_report=lambda report: pytest.fail(report.reason))
    finally:
        await target.close()


async def test_session_is_closed_when_its_making_is_cancelled(
    target_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = await open_target(target_database)
    being_prepared = asyncio.Event()

    async def prepare_for_long(connection: asyncpg.Connection) -> None:
        being_prepared.set()
        await connection.execute("SELECT pg_sleep(100)")

    monkeypatch.setattr("towline.adapters.postgres.structure_target.ensure_compressed_log", prepare_for_long)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loading = asyncio.create_task(target.load_structure())
        await being_prepared.wait()
        loading.cancel()
        await asyncio.wait({loading})
        assert loading.cancelled()
        del loading
        gc.collect()
    assert [str(warning.message) for warning in told] == []


async def test_selected_tables_come_with_what_they_need(rich_source: Database, rich_target: Database) -> None:
    wanted = {TableName("app", "customers"), TableName("app", "events")}
    move = await move_structure(rich_source, rich_target, selection=ObjectSelection(tables=frozenset(wanted)))
    tables = {
        name
        for (name,) in rich_target.fetch_all(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'app'::regnamespace"
        )
    }
    partitions = {"events_2024", "events_2025", "events_2025_a", "events_2025_rest", "events_rest"}
    assert tables == {"customers", "events", *partitions}
    assert (
        rich_target.fetch_value(
            "SELECT count(*) FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'app'::regnamespace"
        )
        == 0
    )
    left_out = [report for report in move.reports if report.kind == "FK CONSTRAINT"]
    assert [report.name for report in left_out] == ["customers customers_last_order"]
    assert "app.orders" in left_out[0].reason
    assert rich_target.fetch_value("SELECT count(*) FROM pg_policy") == 2


async def test_selected_views_come_with_what_they_read(rich_source: Database, rich_target: Database) -> None:
    wanted = {TableName("app", "top"), TableName("app", "happier"), TableName("app", "gone")}
    move = await move_structure(rich_source, rich_target, selection=ObjectSelection(views=frozenset(wanted)))
    found = "SELECT relname, relkind::text FROM pg_class WHERE relkind IN ('v', 'm') AND relname ~ 'top|total|happ'"
    kinds: dict[str, str] = dict(rich_target.fetch_all(found))
    assert kinds == {"top": "m", "totals": "m", "happier": "v", "happy": "v"}
    assert rich_target.fetch_value("SELECT obj_description('app.top'::regclass)") == "the best"
    told = {(report.kind, report.name): report.reason for report in move.reports}
    assert "without rows" in told["TABLE", "app.customers"]
    assert "does not have it" in told["VIEW", "app.gone"]


async def test_view_and_sequence_may_be_named_among_the_tables(rich_source: Database, rich_target: Database) -> None:
    wanted = frozenset({TableName("app", "happy"), TableName("app", "free_numbers")})
    move = await move_structure(rich_source, rich_target, selection=ObjectSelection(tables=wanted))
    assert rich_target.fetch_value("SELECT count(*) FROM app.happy") == 0
    assert rich_target.fetch_all(SEQUENCES) == [(800, False)]
    assert "the source does not have it" not in {report.reason for report in move.reports}


async def test_selected_schema_comes_whole(rich_source: Database, rich_target: Database) -> None:
    await move_structure(rich_source, rich_target, selection=ObjectSelection(schemas=frozenset({"Odd Schema"})))
    schemas = {name for (name,) in rich_target.fetch_all("SELECT nspname FROM pg_namespace")}
    assert "Odd Schema" in schemas
    assert "app" not in schemas
    count = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'Odd Schema'"
    assert rich_target.fetch_value(count) == 2


async def test_weak_users_move_what_they_may(source_database: Database, target_database: Database) -> None:
    """Neither side has a superuser, and the source's user may not read a table that is not selected."""
    role = f"weak_{source_database.name}"
    for database in (source_database, target_database):
        database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    source_database.execute(
        f"""CREATE TABLE mine (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a text);
        CREATE INDEX mine_a ON mine (a); CREATE TABLE "not; ""mine" (b int); GRANT SELECT ON mine TO {role};
        GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}"""
    )
    target_database.execute(
        f"GRANT CREATE ON DATABASE {target_database.name} TO {role}; GRANT CREATE ON SCHEMA public TO {role}"
    )
    try:
        move = await move_structure(
            source_database,
            target_database,
            selection=ObjectSelection(tables=frozenset({TableName("public", "mine")})),
            user=role,
        )
        assert target_database.fetch_value("SELECT count(*) FROM pg_indexes WHERE tablename = 'mine'") == 2
        # It was made by the target's user, who may not give it away.
        assert [report.kind for report in move.reports] == ["OWNER"]
    finally:
        target_database.execute(f"DROP SCHEMA towline CASCADE; DROP OWNED BY {role}")
        source_database.execute(f"DROP OWNED BY {role}")
        for database in (source_database, target_database):
            database.execute(f"DROP ROLE {role}")


async def test_sequences_of_a_selection(rich_source: Database) -> None:
    source = PgStructureSource(parse_url(rich_source.url))
    values = await source.read_sequences(ObjectSelection(tables=frozenset({TableName("app", "customers")})))
    assert [(value.name, value.last_value, value.is_called) for value in values] == [
        ("customers_id_seq", 50, True),
        ("free_numbers", 800, False),
    ]


async def test_views_are_refreshed_again(rich_source: Database, rich_target: Database) -> None:
    await move_structure(rich_source, rich_target)
    rich_target.execute(
        "SET session_replication_role = replica; INSERT INTO app.orders (customer, total) VALUES (1, 500)"
    )
    assert rich_target.fetch_value("SELECT count(*) FROM app.top") == 0
    target = await open_target(rich_target)
    try:
        await target.refresh_views(on_report=lambda report: pytest.fail(report.reason))
    finally:
        await target.close()
    assert rich_target.fetch_value("SELECT total FROM app.top") == 500


async def test_index_build_in_flight_is_seen(source_database: Database, target_database: Database) -> None:
    source_database.execute("CREATE TABLE big (a int, b text); CREATE INDEX slow ON big ((md5(b)))")
    await move_structure(source_database, target_database, sections=(Section.BEFORE_DATA,))
    target_database.execute("INSERT INTO big SELECT g, g::text FROM generate_series(1, 400000) g")
    target = await open_target(target_database)
    try:
        items, _ = await target.load_structure()
        (index,) = [item for item in items if item.name == "slow"]
        building = asyncio.ensure_future(target.apply_items([index], on_report=lambda report: None))
        seen: list[float] = []
        while not building.done():
            await asyncio.sleep(0)  # let the build begin
            seen.extend((await target.read_build_progress()).values())
        await building
        assert await target.read_build_progress() == {}
    finally:
        await target.close()
    assert seen == sorted(seen)
    assert seen
    assert 0.0 < max(seen) <= 1.0

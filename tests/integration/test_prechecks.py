"""The prechecks between real servers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.servers.databases import Database
from tests.servers.fixtures import DatabaseFactory, ServerFactory
from towline.adapters.postgres.bookkeeping import ensure_bookkeeping, take_over
from towline.adapters.postgres.checks import run_prechecks
from towline.adapters.postgres.connection import connect, parse_url
from towline.adapters.postgres.copy_target import PgCopyTarget
from towline.adapters.postgres.structure_plan import save_plan
from towline.adapters.postgres.structure_source import PgStructureSource
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.tables import NameMap, ObjectSelection, TableName, TableRename
from towline.engine.ports import TablePlan

FOLLOW_ITEMS = {
    "srcDbPrivilegesIsEnoughForIncre",
    "srcStatusCheck",
    "srcWalLevel",
    "srcReplicationSlots",
    "srcWalSenders",
    "srcMaxSlotWalKeepSize",
    "srcTablesWithoutKey",
    "srcUnloggedTables",
    "srcTriggersFireAlways",
    "dstTriggersFireAlways",
}


def job(source: Database, target: Database, mode: TaskMode = TaskMode.FULL_AND_STREAM) -> JobSpec:
    return JobSpec("job-checks", mode, parse_url(source.url), parse_url(target.url))


async def check(spec: JobSpec) -> dict[str, PrecheckItem]:
    items = await run_prechecks(spec)
    assert len({item.item for item in items}) == len(items)
    return {item.item: item for item in items}


def trouble(items: dict[str, PrecheckItem]) -> dict[str, str]:
    return {name: item.reason for name, item in items.items() if item.verdict is not Verdict.PASSED}


@pytest.mark.parametrize(
    "direction",
    [
        pytest.param("15 to 18", marks=pytest.mark.postgres(source=15, target=18)),
        pytest.param("16 to 15", marks=pytest.mark.postgres(source=16, target=15)),
    ],
)
async def test_good_pair_passes(direction: str, source_database: Database, target_database: Database) -> None:
    source_database.execute("CREATE TABLE t (a int PRIMARY KEY)")
    items = await check(job(source_database, target_database))
    expected = {"dbVersionMeetRequirement": "DST_OLDER_THAN_SRC"} if direction == "16 to 15" else {}
    assert trouble(items) == expected
    assert items.keys() >= FOLLOW_ITEMS


async def test_full_copy_alone_needs_nothing_of_replication(
    private_server: ServerFactory, target_database: Database
) -> None:
    server = private_server(18, settings={"wal_level": "replica"})
    source = Database(server, "postgres")
    full = await check(job(source, target_database, TaskMode.FULL))
    assert trouble(full) == {}
    assert not full.keys() & FOLLOW_ITEMS
    both = await check(job(source, target_database))
    assert trouble(both) == {"srcWalLevel": "SRC_WAL_LEVEL_NOT_LOGICAL"}
    assert both["srcWalLevel"].verdict is Verdict.FAILED
    assert "restart" in both["srcWalLevel"].remedy


async def test_selection_of_what_is_not_there_is_told(source_database: Database, target_database: Database) -> None:
    source_database.execute("CREATE TABLE t (a int PRIMARY KEY)")
    gone, there = TableName("public", "T"), TableName("public", "t")
    spec = job(source_database, target_database)
    nothing = await check(replace(spec, selection=ObjectSelection(frozenset({"nope"}), frozenset({gone}))))
    assert trouble(nothing) == {"srcSelectedObjectsExist": "SRC_NOTHING_SELECTED"}
    assert "public.T, schema nope" in nothing["srcSelectedObjectsExist"].message
    some = await check(replace(spec, selection=ObjectSelection(tables=frozenset({gone, there}))))
    assert trouble(some) == {"srcSelectedObjectsExist": "SRC_SELECTED_OBJECTS_MISSING"}


async def test_everything_wrong_at_once_is_told_item_by_item(
    private_server: ServerFactory, target_database: Database
) -> None:
    limits = {"max_slot_wal_keep_size": "64MB", "idle_replication_slot_timeout": "2h"}
    server = private_server(18, settings={"max_replication_slots": "1", **limits})
    source = Database(server, "postgres")
    source.execute(
        """CREATE TABLE keyless (a int);
        CREATE TABLE ignored (a int); ALTER TABLE ignored REPLICA IDENTITY NOTHING;
        CREATE UNLOGGED TABLE scratch (a int PRIMARY KEY);
        CREATE ROLE only_here; CREATE ROLE in_policy;
        ALTER TABLE keyless OWNER TO only_here;
        CREATE POLICY p ON keyless TO in_policy USING (true);
        SELECT lo_create(0)"""
    )
    source.execute("SELECT pg_create_physical_replication_slot('taken')")
    target_database.execute("CREATE VIEW scratch AS SELECT 1 AS a")
    items = await check(job(source, target_database))
    found = trouble(items)
    assert found == {
        "srcLargeObjectsCheck": "SRC_HAS_LARGE_OBJECTS",
        "srcReplicationSlots": "SRC_NO_FREE_REPLICATION_SLOT",
        "srcMaxSlotWalKeepSize": "SRC_KEPT_WAL_LIMITED",
        "srcTablesWithoutKey": "SRC_REPLICA_IDENTITY_NOTHING",
        "srcUnloggedTables": "SRC_HAS_UNLOGGED_TABLES",
        "rolesDependentCheck": "DST_POLICY_ROLE_MISSING",
        "srcTableAlreadyExistedInDstTable": "DST_OBJECTS_EXIST",
    }
    kept = items["srcMaxSlotWalKeepSize"]
    for limit, setting in (("64 MB", "max_slot_wal_keep_size"), ("7200 s", "idle_replication_slot_timeout")):
        assert limit in kept.message
        assert setting in kept.remedy
    # Policies of tables that are not part of the job need nothing of the target.
    selection = ObjectSelection(tables=frozenset({TableName("public", "scratch")}))
    found = trouble(await check(replace(job(source, target_database), selection=selection)))
    assert found["rolesDependentCheck"] == "DST_ROLE_MISSING"


async def test_keyless_table_is_a_warning_that_says_what_to_do(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute("CREATE TABLE keyless (a int)")
    item = (await check(job(source_database, target_database)))["srcTablesWithoutKey"]
    assert item.verdict is Verdict.WARNING
    assert "public.keyless" in item.message
    assert "REPLICA IDENTITY" in item.remedy


@pytest.mark.postgres(source=15, target=18)
async def test_key_that_the_log_has_in_part_only_is_refused(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute(
        "CREATE TABLE t (a int, b int, g int GENERATED ALWAYS AS (b % 10) STORED, PRIMARY KEY (a, g))"
    )
    found = trouble(await check(job(source_database, target_database)))
    assert found["srcTablesWithoutKey"] == "SRC_KEY_GENERATED"
    source_database.execute("ALTER TABLE t REPLICA IDENTITY FULL")
    found = trouble(await check(job(source_database, target_database)))
    assert found["srcTablesWithoutKey"] == "SRC_REPLICA_IDENTITY_FULL"


FIRING = """
    CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY, what int);
    CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN INSERT INTO public.audit (what) VALUES (NEW.id); RETURN NEW; END$$;
    CREATE TRIGGER tr AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION log();
    CREATE RULE ru AS ON DELETE TO t DO ALSO INSERT INTO public.audit (what) VALUES (OLD.id);
"""


async def test_triggers_that_would_act_twice_fail_a_job_that_follows(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute(FIRING)
    source_database.execute("ALTER TABLE t ENABLE ALWAYS TRIGGER tr, ENABLE REPLICA RULE ru")
    item = (await check(job(source_database, target_database)))["srcTriggersFireAlways"]
    assert item.verdict is Verdict.FAILED
    assert "rule ru on public.t, trigger tr on public.t" in item.message
    assert trouble(await check(job(source_database, target_database, TaskMode.FULL))) == {}
    elsewhere = replace(
        job(source_database, target_database),
        selection=ObjectSelection(tables=frozenset({TableName("public", "audit")})),
    )
    assert "srcTriggersFireAlways" not in trouble(await check(elsewhere))
    source_database.execute("ALTER TABLE t ENABLE TRIGGER tr, ENABLE RULE ru")
    assert "srcTriggersFireAlways" not in trouble(await check(job(source_database, target_database)))


async def test_triggers_of_existing_tables_of_the_target_are_looked_at_too(
    source_database: Database, target_database: Database
) -> None:
    for database in (source_database, target_database):
        database.execute(FIRING)
    target_database.execute("ALTER TABLE t ENABLE REPLICA TRIGGER tr")
    found = trouble(await check(job(source_database, target_database, TaskMode.STREAM)))
    assert found == {
        "srcTablesWithoutKey": "SRC_TABLES_WITHOUT_KEY",
        "dstTriggersFireAlways": "DST_TRIGGERS_FIRE_ALWAYS",
    }


async def test_target_with_this_jobs_bookkeeping_goes_on(source_database: Database, target_database: Database) -> None:
    for database in (source_database, target_database):
        database.execute("CREATE TABLE t (a int PRIMARY KEY)")
    spec = job(source_database, target_database)
    assert trouble(await check(spec)) == {"srcTableAlreadyExistedInDstTable": "DST_OBJECTS_EXIST"}
    connection = await connect(spec.target, purpose="test")
    await ensure_bookkeeping(connection)
    await take_over(connection, "another-job", epoch=None, source_identity="x")
    assert trouble(await check(spec)) == {"srcTableAlreadyExistedInDstTable": "DST_OBJECTS_EXIST"}
    await take_over(connection, spec.job_id, epoch=None, source_identity="x")
    await connection.close()
    assert trouble(await check(spec)) == {}


async def test_what_joins_a_job_is_checked_and_what_it_has_is_not(
    source_database: Database, target_database: Database
) -> None:
    """Neither what the target has of the job itself nor what the source lets a table of the job do is of interest."""
    have = "CREATE TABLE has (id serial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY); CREATE VIEW seen AS SELECT 1"
    source_database.execute(f"{have}; ALTER TABLE has REPLICA IDENTITY NOTHING")
    target_database.execute(have)
    spec = job(source_database, target_database)
    connection = await connect(spec.target, purpose="test")
    await ensure_bookkeeping(connection)
    await take_over(connection, spec.job_id, epoch=None, source_identity="x")
    source = PgStructureSource(spec.source, job_id=spec.job_id)
    await save_plan(connection, spec.job_id, await source.read_structure(ObjectSelection(), on_report=lambda _: None))
    ledger = PgCopyTarget(spec.target, job_id=spec.job_id, epoch=1)
    await ledger.save_plan([TablePlan(TableName("public", "has"), 1, 1, 8192, 1, "1")])
    await ledger.close()
    await connection.close()

    async def joining(selection: ObjectSelection = ObjectSelection()) -> dict[str, PrecheckItem]:
        items = await run_prechecks(replace(spec, selection=selection), only_joining=True)
        return {item.item: item for item in items}

    assert set(await joining()) == {"srcDbConnection", "dstDbConnection"}, "nothing joins"
    source_database.execute("CREATE TABLE good (id serial PRIMARY KEY, has int REFERENCES has)")
    assert trouble(await joining()) == {}
    only = ObjectSelection(tables=frozenset({TableName("public", "good")}))
    assert trouble(await joining(only)) == {"hasForeignKeyOnUnselectedTable": "FOREIGN_KEY_ON_UNSELECTED_TABLE"}
    source_database.execute(
        """CREATE TABLE parted (a int) PARTITION BY LIST (a); CREATE TABLE part PARTITION OF parted DEFAULT;
        ALTER TABLE part REPLICA IDENTITY NOTHING; CREATE TABLE there (id int PRIMARY KEY)"""
    )
    target_database.execute("CREATE TABLE there (id int PRIMARY KEY)")
    found = await joining()
    assert trouble(found) == {
        "srcTablesWithoutKey": "SRC_REPLICA_IDENTITY_NOTHING",
        "srcTableAlreadyExistedInDstTable": "DST_OBJECTS_EXIST",
    }
    assert "public.part." in found["srcTablesWithoutKey"].message
    assert found["srcTableAlreadyExistedInDstTable"].message == "The target already has public.there."
    parent = await joining(ObjectSelection(tables=frozenset({TableName("public", "parted")})))
    assert trouble(parent) == {"srcTablesWithoutKey": "SRC_REPLICA_IDENTITY_NOTHING"}


async def test_users_without_privileges_are_told_what_is_missing(
    source_server, target_server, fresh_database: DatabaseFactory
) -> None:
    source, target = fresh_database(source_server, "source"), fresh_database(target_server, "target")
    source.execute("CREATE TABLE t (a int PRIMARY KEY)")
    role = f"weak_{source.name}"
    for database in (source, target):
        database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    spec = job(source, target)
    weak = replace(
        spec,
        source=replace(spec.source, user=role, password="x"),
        target=replace(spec.target, user=role, password="x"),
    )
    try:
        found = trouble(await check(weak))
        assert found == {
            "srcDbPrivilegesIsEnough": "SRC_SELECT_PRIVILEGE_MISSING",
            "srcDbPrivilegesIsEnoughForIncre": "SRC_REPLICATION_PRIVILEGE_MISSING",
            "dstDbPrivilegesIsEnough": "DST_CREATE_PRIVILEGE_MISSING",
        }
        source.execute(
            f"GRANT SELECT ON t TO {role}; ALTER ROLE {role} REPLICATION;"
            f"GRANT CREATE ON DATABASE {source.name} TO {role};"
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY"
        )
        target.execute(f"GRANT CREATE ON DATABASE {target.name} TO {role}")
        assert trouble(await check(weak))["dstDbPrivilegesIsEnough"] == "DST_SCHEMA_PRIVILEGE_MISSING"
        target.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
        found = trouble(await check(weak))
        assert found == {
            "srcDbPrivilegesIsEnough": "SRC_ROWS_HIDDEN",
            "srcDbPrivilegesIsEnoughForIncre": "SRC_TABLES_NOT_OWNED",
            "dstDbPrivilegesIsEnough": "DST_REPLICATION_ROLE_NOT_ALLOWED",
        }
        source.execute(f"ALTER TABLE t OWNER TO {role}")
        target.execute(f"GRANT SET ON PARAMETER session_replication_role TO {role}")
        assert trouble(await check(weak)) == {}
    finally:
        for database in (source, target):
            database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_unreachable_side_is_one_item_and_no_error(source_database: Database, target_database: Database) -> None:
    spec = job(source_database, target_database)
    dead = replace(spec, source=replace(spec.source, port=1))
    items = await check(dead)
    assert trouble(items) == {"srcDbConnection": "SRC_SERVER_UNREACHABLE"}
    assert [name for name in items if name.startswith("src")] == ["srcDbConnection"]
    wrong = replace(spec, target=replace(spec.target, password="WRONG-SECRET"))
    items = await check(wrong)
    assert trouble(items) == {"dstDbConnection": "DST_CONNECTION_REFUSED"}
    assert "WRONG-SECRET" not in repr(items)


async def test_same_database_on_both_sides_is_refused(source_database: Database) -> None:
    source_database.execute("CREATE TABLE t (a int PRIMARY KEY)")
    found = trouble(await check(job(source_database, source_database)))
    assert found["dbVersionMeetRequirement"] == "SAME_DATABASE"


async def test_foreign_key_out_of_the_selection_is_told(source_database: Database, target_database: Database) -> None:
    source_database.execute(
        "CREATE TABLE a (x int PRIMARY KEY); CREATE TABLE b (x int PRIMARY KEY REFERENCES a); CREATE TABLE c (y int)"
    )
    spec = replace(
        job(source_database, target_database),
        selection=ObjectSelection(tables=frozenset({TableName("public", "b")})),
    )
    items = await check(spec)
    assert trouble(items) == {"hasForeignKeyOnUnselectedTable": "FOREIGN_KEY_ON_UNSELECTED_TABLE"}
    assert "public.b to public.a" in items["hasForeignKeyOnUnselectedTable"].message


@pytest.mark.parametrize(("encoding", "reason"), [("LATIN1", "ENCODING_MISMATCH"), ("SQL_ASCII", "ENCODING_UNCHECKED")])
async def test_encoding_of_the_target(source_database: Database, target_server, encoding: str, reason: str) -> None:
    admin = Database(target_server, "postgres")
    name = f"enc_{source_database.name}"
    admin.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        found = trouble(await check(job(source_database, Database(target_server, name))))
        assert found["dbCharacterSetConsistency"] == reason
        assert found["dbCollationServerConsistency"] == "COLLATION_MISMATCH"
    finally:
        admin.execute(f"DROP DATABASE {name}")


HASHED = """
    CREATE TYPE color AS ENUM ('red', 'green'); CREATE DOMAIN paint AS color[]; CREATE TYPE spot AS (x int, c color);
    CREATE SCHEMA s;
    CREATE TABLE top (c color, n int) PARTITION BY LIST (n);
    CREATE TABLE s.middle PARTITION OF top FOR VALUES IN (1) PARTITION BY HASH (c);
    CREATE TABLE s.leaf PARTITION OF s.middle FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    CREATE TABLE arrays (c paint) PARTITION BY HASH (c);
    CREATE TABLE names (c regclass, n int) PARTITION BY HASH (n, c);
    CREATE TABLE spots (c spot) PARTITION BY HASH (c);
    CREATE TABLE fine (c color, n int, words text[], at timestamptz) PARTITION BY HASH (n, words, at);
    CREATE TABLE listed (c color) PARTITION BY LIST (c);
"""


@pytest.mark.postgres(source=16, target=18)
async def test_partitions_by_a_hash_of_the_servers_own_fail(
    source_database: Database, target_database: Database
) -> None:
    """Their rows belong elsewhere on the target; without the test the copy stops at the first such row."""
    source_database.execute(HASHED)
    spec = job(source_database, target_database, TaskMode.FULL)
    item = (await check(spec))["srcHashPartitionsCheck"]
    assert (item.verdict, item.reason) == (Verdict.FAILED, "SRC_HASH_PARTITIONS_BY_ID")
    assert "on the target: public.arrays, public.names, public.spots, s.middle." in item.message
    for name, is_found in (("top", True), ("listed", False)):
        selection = ObjectSelection(tables=frozenset({TableName("public", name)}))
        found = trouble(await check(replace(spec, selection=selection)))
        assert ("srcHashPartitionsCheck" in found) is is_found


@pytest.mark.postgres(source=18, target=18)
async def test_partitions_by_a_hash_of_text_need_the_same_encoding(
    private_server: ServerFactory, target_database: Database
) -> None:
    server = private_server(18, settings={})
    Database(server, "postgres").execute(
        "CREATE DATABASE western ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    source = Database(server, "western")
    source.execute("CREATE TABLE t (c text) PARTITION BY HASH (c)")
    items = await check(job(source, target_database, TaskMode.FULL))
    assert items["dbHashPartitionsConsistency"].verdict is Verdict.WARNING
    assert "public.t" in items["dbHashPartitionsConsistency"].message


async def test_what_stands_in_the_way_is_looked_for_under_the_new_names(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute("CREATE TABLE t (a serial PRIMARY KEY); CREATE TABLE u (a int); CREATE TABLE v (a int)")
    target_database.execute("CREATE TABLE t (a int); CREATE SCHEMA s; CREATE TABLE s.x (a int)")

    async def reasons(**renames: str) -> dict[str, str]:
        pairs = ((TableName("public", name), target.split(".")) for name, target in renames.items())
        names = NameMap(tables=tuple(TableRename(source, TableName(*target)) for source, target in pairs))
        tables = frozenset(TableName("public", name) for name in {"t", "u", *renames})
        selection = ObjectSelection(tables=tables, names=names)
        found = await check(replace(job(source_database, target_database, TaskMode.FULL), selection=selection))
        return {name: item.message for name, item in found.items() if item.verdict is Verdict.FAILED}

    assert await reasons(t="s.t") == {}
    assert "public.t" in (await reasons(u="s.u"))["srcTableAlreadyExistedInDstTable"]
    assert "s.x" in (await reasons(t="s.x"))["srcTableAlreadyExistedInDstTable"]
    assert "both be s.t_pkey" in (await reasons(t="s.t", u="s.t_pkey"))["renamedObjectsCheck"]
    assert "public.gone" in (await reasons(t="s.t", gone="s.g"))["renamedObjectsCheck"]
    target_database.execute("CREATE TABLE s.holder (a int CONSTRAINT t_pkey PRIMARY KEY)")
    assert "s.t_pkey" in (await reasons(t="s.t"))["srcTableAlreadyExistedInDstTable"]

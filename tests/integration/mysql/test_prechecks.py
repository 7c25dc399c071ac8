"""What the binlog or the target could not carry is said before the start."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.servers.mysql import MysqlDatabase, MysqlServer, Product
from tests.servers.mysql_fixtures import GetServer
from towline.adapters.mysql.checks import run_prechecks
from towline.adapters.mysql.copy_target import MyCopyTarget
from towline.adapters.mysql.structure_source import MyStructureSource
from towline.adapters.mysql.structure_target import MyStructureTarget
from towline.adapters.mysql.target_side import take_over_target
from towline.domain.jobs import ConflictPolicy, Endpoint, JobSpec, TaskMode
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.tables import ObjectSelection, TableName
from towline.engine.ports import TablePlan


@pytest.fixture
def spec(mysql_database: MysqlDatabase, mysql_server_second: MysqlServer) -> JobSpec:
    source, target = (
        Endpoint("mysql", server.host, server.port, server.user, server.password)
        for server in (mysql_database.server, mysql_server_second)
    )
    selection = ObjectSelection(schemas=frozenset({mysql_database.name}))
    return JobSpec("prechecks", TaskMode.FULL_AND_STREAM, source, target, selection)


async def refusals(spec: JobSpec) -> set[str]:
    return {item.reason for item in await run_prechecks(spec) if item.verdict is Verdict.FAILED}


async def test_tables_that_a_foreign_key_changes_unseen(spec: JobSpec, mysql_database: MysqlDatabase):
    mysql_database.execute(
        "CREATE TABLE p (id int PRIMARY KEY)",
        "CREATE TABLE c (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE)",
    )
    # MySQL writes the changes of the child into its binlog since 9.6.
    server = mysql_database.server
    expected = set() if not server.is_mariadb and server.is_at_least(9, 6) else {"SRC_FOREIGN_KEY_CASCADES"}
    assert await refusals(spec) == expected


async def test_tables_without_transactions(spec: JobSpec, mysql_database: MysqlDatabase):
    mysql_database.execute("CREATE TABLE t (id int PRIMARY KEY) ENGINE = MyISAM")
    assert await refusals(spec) == {"SRC_ENGINE_NOT_TRANSACTIONAL"}


async def test_views_and_routines_that_the_target_has(
    spec: JobSpec, mysql_database: MysqlDatabase, mysql_server_second: MysqlServer
):
    mysql_database.execute("CREATE TABLE t (id int PRIMARY KEY)", "CREATE VIEW v AS SELECT 1 AS one")
    name = mysql_database.name
    mysql_server_second.execute(f"CREATE DATABASE `{name}`", f"CREATE VIEW `{name}`.v AS SELECT 2 AS two")
    try:
        assert await refusals(spec) == {"OBJECT_ALREADY_EXISTED_IN_TARGET"}
    finally:
        mysql_server_second.execute(f"DROP DATABASE `{name}`")


async def test_what_differs_between_the_servers_is_warned_of(
    spec: JobSpec, mysql_database: MysqlDatabase, mysql_server_second: MysqlServer
):
    mysql_database.execute("CREATE TABLE t (id int)")
    different = {"group_concat_max_len": 4711, "div_precision_increment": 5, "time_zone": "'-03:00'"}
    requires_keys = not mysql_server_second.is_mariadb and mysql_server_second.is_at_least(8)
    if requires_keys:
        different |= {"sql_require_primary_key": 1}
    mysql_server_second.execute(*(f"SET GLOBAL {name} = {value}" for name, value in different.items()))
    try:
        items = {item.item: item for item in await run_prechecks(spec)}
    finally:
        mysql_server_second.execute(*(f"SET GLOBAL {name} = DEFAULT" for name in different))
    assert "group_concat_max_len" in items["dbParamConsistency"].message
    assert "div_precision_increment (4, 5)" in items["dbParamConsistency"].message
    assert "-03:00" in items["dbParamConsistency"].message
    assert items["dbIsolationLevelConsistency"].verdict is Verdict.PASSED
    assert items["dstDbDiskSize"].verdict is Verdict.PASSED
    keyless = items["srcHasNoPkTableWhenTgtHasInvisiblePk"].reason
    assert keyless == ("DST_REQUIRES_PRIMARY_KEY" if requires_keys else "")


async def test_what_the_other_product_does_not_know(
    spec: JobSpec, mysql_database: MysqlDatabase, mysql_servers: GetServer
):
    is_mariadb = mysql_database.server.is_mariadb
    other = mysql_servers(Product.MYSQL if is_mariadb else Product.MARIADB, "second")
    spec = replace(spec, target=Endpoint("mysql", other.host, other.port, other.user, other.password))
    mysql_database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a int) WITH SYSTEM VERSIONING"
        if is_mariadb
        else "CREATE TABLE t (id int PRIMARY KEY, a int, KEY sums ((id + a)), UNIQUE KEY differences (a, (id - a)))"
    )
    collation = "utf8mb4_general_nopad_ci" if is_mariadb else "utf8mb4_ja_0900_as_cs"
    mysql_database.execute(f"CREATE TABLE texts (c varchar(9) CHARACTER SET utf8mb4 COLLATE {collation})")
    items = {item.item: item for item in await run_prechecks(spec)}
    assert collation in items["dbCharacterSetConsistency"].message
    assert items["srcSystemVersioningCheck"].reason == ("SRC_HAS_SYSTEM_VERSIONING" if is_mariadb else "")
    item = items["dstFeaturesMeetRequirement"]
    name = mysql_database.name
    if is_mariadb:
        assert item.reason == "DST_FEATURES_MISSING"
        assert f"{name}.t (system versioning)" in item.message
        mysql_database.execute("DROP TABLE t", "CREATE TABLE t (id int PRIMARY KEY, a uuid, b inet6)")
        item = {item.item: item for item in await run_prechecks(spec)}["dstFeaturesMeetRequirement"]
        assert item.reason == "DST_FEATURES_MISSING"
        assert f"{name}.t.a (uuid), {name}.t.b (inet6)" in item.message
    else:
        assert item.reason == "DST_FEATURES_LEFT_OUT"
        assert f"{name}.t.differences, {name}.t.sums" in item.message


async def test_what_joins_a_job_is_checked_and_what_it_has_is_not(
    spec: JobSpec, mysql_database: MysqlDatabase, mysql_server_second: MysqlServer
):
    name = mysql_database.name
    has = [
        "CREATE TABLE has (id int PRIMARY KEY, parent int, CONSTRAINT self FOREIGN KEY (parent) REFERENCES has (id))",
        "CREATE VIEW seen AS SELECT 1 AS one",
    ]
    mysql_database.execute(*has)
    there = f"CREATE DATABASE `{name}`", f"USE `{name}`", *has, "CREATE TABLE there (id int PRIMARY KEY)"
    mysql_server_second.execute(*there)
    try:
        owned = await take_over_target(spec, epoch=None, source_identity="x")
        source = MyStructureSource(spec.source, job_id=spec.job_id, follows=True, target=owned.session.flavor)
        structure = MyStructureTarget(spec.target, job_id=spec.job_id, epoch=owned.epoch)
        await structure.save_structure(await source.read_structure(spec.selection, on_report=lambda _: None), [])
        await structure.close()
        ledger = MyCopyTarget(spec.target, job_id=spec.job_id, epoch=owned.epoch, policy=ConflictPolicy.STOP)
        await ledger.save_plan([TablePlan(TableName(name, "has"), 1, 1, 0, 0, "")])
        await ledger.close()
        owned.session.terminate()

        async def joining() -> dict[str, PrecheckItem]:
            return {item.item: item for item in await run_prechecks(spec, only_joining=True)}

        async def failures() -> set[str]:
            return {item.reason for item in (await joining()).values() if item.verdict is Verdict.FAILED}

        assert set(await joining()) == {"srcDbConnection", "dstDbConnection"}, "nothing joins"
        mysql_database.execute("CREATE TABLE good (id int PRIMARY KEY, has int REFERENCES has (id))")
        assert "userSelectObjectsCheck" in await joining()
        assert await failures() == set()
        mysql_database.execute(
            "CREATE TABLE there (id int PRIMARY KEY)", "CREATE TABLE old (id int PRIMARY KEY) ENGINE = MyISAM"
        )
        assert await failures() == {"SRC_ENGINE_NOT_TRANSACTIONAL", "TABLE_ALREADY_EXISTED_IN_TARGET"}
    finally:
        mysql_server_second.execute(f"DROP DATABASE `{name}`", "DROP DATABASE IF EXISTS towline")

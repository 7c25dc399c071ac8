"""What the binlog or the target could not carry is said before the start."""

from __future__ import annotations

import pytest

from tests.servers.mysql import MysqlDatabase, MysqlServer
from towline.adapters.mysql.checks import run_prechecks
from towline.domain.jobs import Endpoint, JobSpec, TaskMode
from towline.domain.prechecks import Verdict
from towline.domain.tables import ObjectSelection


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
    different = {"group_concat_max_len": 4711, "time_zone": "'-03:00'"}
    requires_keys = not mysql_server_second.is_mariadb and mysql_server_second.is_at_least(8)
    if requires_keys:
        different |= {"sql_require_primary_key": 1}
    mysql_server_second.execute(*(f"SET GLOBAL {name} = {value}" for name, value in different.items()))
    try:
        items = {item.item: item for item in await run_prechecks(spec)}
    finally:
        mysql_server_second.execute(*(f"SET GLOBAL {name} = DEFAULT" for name in different))
    assert "group_concat_max_len" in items["dbParamConsistency"].message
    assert "-03:00" in items["dbParamConsistency"].message
    assert items["dbIsolationLevelConsistency"].verdict is Verdict.PASSED
    assert items["dstDbDiskSize"].verdict is Verdict.PASSED
    keyless = items["srcHasNoPkTableWhenTgtHasInvisiblePk"].reason
    assert keyless == ("DST_REQUIRES_PRIMARY_KEY" if requires_keys else "")

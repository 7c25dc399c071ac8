"""What the service asks of MySQL and MariaDB besides rows: accounts, parameters, the list of a job's structure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pymysql
import pytest

from tests.integration.mysql.test_sessions import endpoint_of
from tests.servers.mysql import MysqlDatabase, MysqlServer
from towline.adapters.mysql.accounts import ensure_accounts, read_accounts
from towline.adapters.mysql.parameters import read_parameters, write_parameters
from towline.adapters.mysql.sides import open_sides, remove_traces
from towline.adapters.mysql.structure_view import read_structure
from towline.cli.summary import RunLog
from towline.clock import SystemClock
from towline.domain.accounts import AccountWish
from towline.domain.errors import ParameterRefused
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.structure import Section, StructureItem, StructureReport
from towline.domain.tables import ObjectSelection

NAMES = ("app@%", "reports@127.0.0.1", "locked@%", "gone@%")


@pytest.fixture
def servers(mysql_database: MysqlDatabase, mysql_server_second: MysqlServer) -> Iterator[MysqlDatabase]:
    """A source database with accounts on it."""
    drop = ["DROP USER IF EXISTS 'app'@'%', 'reports'@'127.0.0.1', 'locked'@'%'", "DROP ROLE IF EXISTS clerk"]
    server, name = mysql_database.server, mysql_database.name
    mysql_database.execute(
        *("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE s (id int PRIMARY KEY)"),
        *(*drop, "CREATE ROLE clerk", "CREATE USER 'app'@'%' IDENTIFIED BY 'app-secret'"),
        "CREATE USER 'reports'@'127.0.0.1' IDENTIFIED BY 'old-secret'",
        "CREATE USER 'locked'@'%' IDENTIFIED BY 'x' ACCOUNT LOCK",
        f"GRANT SELECT, INSERT ON `{name}`.* TO 'app'@'%' WITH GRANT OPTION",
        f"GRANT UPDATE ON `{name}`.t TO clerk",
        f"GRANT SELECT (id) ON `{name}`.s TO 'reports'@'127.0.0.1'",
        *("GRANT clerk TO 'app'@'%'", "GRANT PROCESS ON *.* TO 'app'@'%'", "GRANT ALL ON other.* TO 'app'@'%'"),
    )
    yield mysql_database
    for each in (server, mysql_server_second):
        each.execute(*drop)
    mysql_server_second.execute(f"DROP DATABASE IF EXISTS `{name}`")


def spec_of(database: MysqlDatabase, target: MysqlServer) -> JobSpec:
    role = "clerk" if database.server.is_mariadb else "clerk@%"
    wish = AccountWish((*NAMES, role), {"reports@127.0.0.1": "new-secret"})
    selection = ObjectSelection(schemas=frozenset({database.name}))
    endpoints = endpoint_of(database.server), endpoint_of(target)
    return JobSpec("accounts", TaskMode.FULL, *endpoints, selection, accounts=wish)


def log_in(server: MysqlServer, user: str, password: str) -> list[str]:
    with (
        pymysql.connect(host="127.0.0.1", port=server.port, user=user, password=password) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SHOW GRANTS")
        return [row[0] for row in cursor.fetchall()]


async def test_accounts_come_with_their_passwords_and_what_they_may_do(
    servers: MysqlDatabase, mysql_server_second: MysqlServer, tmp_path: Path
) -> None:
    spec = spec_of(servers, mysql_server_second)
    assert spec.accounts is not None
    found = {account.name: account for account in await read_accounts(spec.source)}
    assert set(spec.accounts.names) - {"gone@%"} <= set(found)
    assert "PROCESS" in found["app@%"].privileges
    assert found["app@%"].member_of == (spec.accounts.names[-1],)
    reports: list[StructureReport] = []
    for _ in range(2):
        await ensure_accounts(spec, spec.accounts, on_report=reports.append)
    sides = await open_sides(spec, epoch=None, work_dir=tmp_path)
    try:
        items = await sides.structure_source.read_structure(spec.selection, on_report=reports.append)
        await sides.structure_target.save_structure(items, [])
        await sides.structure_target.apply_items(items, on_report=reports.append)
        entries = await read_structure(spec.target, spec.job_id)
    finally:
        await sides.close()
        await remove_traces(spec, reporter=RunLog(SystemClock()))
    assert len(entries) == len(items)
    assert all(entry.is_made for entry in entries)
    assert await read_structure(spec.target, spec.job_id) == []
    app = log_in(mysql_server_second, "app", "app-secret")
    schema = servers.name.replace("_", "\\_")
    assert any("SELECT, INSERT" in line and f"`{schema}`.*" in line and "GRANT OPTION" in line for line in app)
    assert any("clerk" in line for line in app)
    assert not any("PROCESS" in line or "`other`" in line for line in app)
    assert any("(`id`)" in line or "(id)" in line for line in log_in(mysql_server_second, "reports", "new-secret"))
    with pytest.raises(pymysql.err.OperationalError, match="locked"):
        log_in(mysql_server_second, "locked", "x")
    said = {(report.name, report.reason) for report in reports}
    assert ("gone@%", "the source has no such account any more") in said
    assert ("app@%", "it had for all databases, and gets nowhere: PROCESS") in said
    assert "secret" not in str(said)


async def test_what_is_reported_of_the_structure_is_remembered_once(
    mysql_database: MysqlDatabase, mysql_server_second: MysqlServer, tmp_path: Path
) -> None:
    """Also if the worker is killed after it was remembered and before the object is marked as done."""
    spec = replace(spec_of(mysql_database, mysql_server_second), accounts=None)
    left_out = StructureReport("TABLE", "a.b", "left out")
    statement = "GRANT no_such_role TO 'nobody'@'nowhere'"
    item = StructureItem(1, Section.AFTER_DATA, "GRANT", "nobody", None, None, (statement,), is_optional=True)
    heard: list[StructureReport] = []
    try:
        for _ in range(2):
            sides = await open_sides(spec, epoch=None, work_dir=tmp_path)
            await sides.structure_target.save_structure([item], [left_out])
            await sides.structure_target.apply_items([item], on_report=heard.append)
            assert await sides.structure_target.load_reports() == [left_out, *heard]
            await sides.close()
            mysql_server_second.execute("UPDATE towline.structure_item SET done_at = NULL WHERE job_id = 'accounts'")
    finally:
        await remove_traces(spec, reporter=RunLog(SystemClock()))
    assert [(report.kind, report.name) for report in heard] == [("GRANT", "grant nobody")]


@pytest.fixture
async def kept_timeout(mysql_database: MysqlDatabase) -> AsyncIterator[MysqlServer]:
    server = mysql_database.server
    before = server.fetch_value("SELECT @@GLOBAL.net_read_timeout")
    yield server
    server.execute(f"SET GLOBAL net_read_timeout = {before}")
    if not server.is_mariadb and server.is_at_least(8):
        server.execute("RESET PERSIST")


async def test_parameters_are_all_changed_or_none(kept_timeout: MysqlServer) -> None:
    endpoint = endpoint_of(kept_timeout)
    with pytest.raises(ParameterRefused, match="lower_case_table_names"):
        await write_parameters(endpoint, {"net_read_timeout": "77", "lower_case_table_names": "1"})
    shown = {each.name: each for each in await read_parameters(endpoint, endpoint)}
    assert shown["net_read_timeout"].target_value != "77"
    assert shown["net_read_timeout"].is_number
    assert not await write_parameters(endpoint, {"net_read_timeout": "77"})
    assert kept_timeout.fetch_value("SELECT @@GLOBAL.net_read_timeout") == 77

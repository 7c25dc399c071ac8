"""To whom views, routines, triggers and events belong on the target, and when events act there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.mysql.test_sessions import endpoint_of
from tests.servers.mysql import MysqlDatabase, MysqlServer
from towline.adapters.mysql.checks import run_prechecks
from towline.adapters.mysql.sides import open_sides, remove_traces
from towline.cli.summary import RunLog
from towline.clock import SystemClock
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.structure import StructureReport
from towline.domain.tables import NameMap, ObjectSelection, SchemaRename
from towline.engine.ports import TablePlan

KEEPER, GONE, LIMITED = "keeper@localhost", "gone@localhost", "limited@%"
# A different definer for some of them: what the target lacks is told of each.
OWNERS = {"v": KEEPER, "w": GONE, "f": KEEPER, "p": GONE, "tr": KEEPER, "tg": GONE, "e": KEEPER, "eg": GONE}
_RIGHTS = """SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW,
    CREATE ROUTINE, ALTER ROUTINE, EXECUTE, TRIGGER, EVENT"""


@pytest.fixture
def source(mysql_database: MysqlDatabase, mysql_server_second: MysqlServer) -> Iterator[MysqlDatabase]:
    """A database in which most objects belong to others, of whom the target has one."""
    drop = f"DROP USER IF EXISTS {KEEPER}, {GONE}, limited@'%'"
    starts = "ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01'"
    mysql_database.execute(
        *(drop, f"CREATE USER {KEEPER} IDENTIFIED BY 'x'", f"CREATE USER {GONE} IDENTIFIED BY 'x'"),
        *("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)"),
        *(f"CREATE DEFINER = {OWNERS[name]} VIEW {name} AS SELECT id FROM t" for name in ("v", "w")),
        f"CREATE DEFINER = {OWNERS['f']} FUNCTION f() RETURNS int DETERMINISTIC RETURN 1",
        f"CREATE DEFINER = {OWNERS['p']} PROCEDURE p() SELECT 1",
        f"CREATE DEFINER = {OWNERS['tr']} TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET @a = 1",
        f"CREATE DEFINER = {OWNERS['tg']} TRIGGER tg BEFORE INSERT ON u FOR EACH ROW SET @a = 1",
        *(f"CREATE DEFINER = {OWNERS[name]} EVENT {name} {starts} DO SELECT 1" for name in ("e", "eg")),
    )
    there = f"CREATE USER {KEEPER} IDENTIFIED BY 'x'", "CREATE USER limited@'%' IDENTIFIED BY 'secret'"
    mysql_server_second.execute(drop, *there, f"GRANT {_RIGHTS} ON *.* TO limited@'%'")
    yield mysql_database
    mysql_server_second.execute(f"DROP DATABASE IF EXISTS `{mysql_database.name}`", drop)
    mysql_database.execute(drop)


def spec_of(source: MysqlDatabase, target: MysqlServer, mode: TaskMode = TaskMode.FULL) -> JobSpec:
    selection = ObjectSelection(schemas=frozenset({source.name}))
    return JobSpec("definers", mode, endpoint_of(source.server), endpoint_of(target), selection)


async def make(
    spec: JobSpec, work_dir: Path, *, is_whole: bool = True, meanwhile: Callable[[], None] = lambda: None
) -> list[StructureReport]:
    """All objects on the target, and the job's end, its copy over or not; what the job's history has of them then."""
    log = RunLog(SystemClock())
    sides = await open_sides(spec, epoch=None, work_dir=work_dir)
    try:
        items = await sides.structure_source.read_structure(spec.selection, on_report=lambda _: None)
        await sides.structure_target.save_structure(items, [])
        await sides.structure_target.apply_items(items, on_report=log.note)
        tables = await sides.copy_source.read_tables(spec.selection)
        await sides.copy_target.save_plan([TablePlan(table.name, 1, 1, 1, 1, "") for table in tables])
        if is_whole:
            await sides.copy_target.mark_complete()
        meanwhile()
    finally:
        await sides.close()
        await remove_traces(spec, reporter=log)
    return log.reports


def read_owners(server: MysqlServer, schema: str) -> dict[str, str]:
    return dict(
        server.fetch_all(
            f"""SELECT table_name, definer FROM information_schema.views WHERE table_schema = '{schema}'
                UNION SELECT routine_name, definer FROM information_schema.routines WHERE routine_schema = '{schema}'
                UNION SELECT trigger_name, definer FROM information_schema.triggers WHERE trigger_schema = '{schema}'
                UNION SELECT event_name, definer FROM information_schema.events WHERE event_schema = '{schema}'"""
        )
    )


@pytest.mark.parametrize("mode", [TaskMode.FULL, TaskMode.FULL_AND_STREAM])
async def test_definers_are_kept_and_those_the_target_lacks_are_told(
    source: MysqlDatabase, mysql_server_second: MysqlServer, tmp_path: Path, mode: TaskMode
) -> None:
    """Of triggers that come at the end, too."""
    spec = spec_of(source, mysql_server_second, mode)
    found = {item.item: item for item in await run_prechecks(spec)}["userRequirementIsEnoughForDefiner"]
    reports = await make(spec, tmp_path)
    assert read_owners(mysql_server_second, source.name) == OWNERS
    assert found.reason == "DEFINER_MISSING"
    assert GONE in found.message
    assert KEEPER not in found.message
    told = {report.name.rpartition(".")[2] for report in reports if "`gone`@`localhost`" in report.reason}
    assert told == {name for name, owner in OWNERS.items() if owner == GONE}
    assert len(reports) == len(told)


async def test_definers_are_replaced_when_the_job_is_told_so(
    source: MysqlDatabase, mysql_server_second: MysqlServer, tmp_path: Path
) -> None:
    spec = replace(spec_of(source, mysql_server_second), replaces_owners=True)
    found = {item.item: item for item in await run_prechecks(spec)}["userRequirementIsEnoughForDefiner"]
    assert await make(spec, tmp_path) == []
    assert read_owners(mysql_server_second, source.name) == dict.fromkeys(OWNERS, "admin@%")
    assert found.reason == ""


@pytest.mark.parametrize("mode", [TaskMode.FULL, TaskMode.FULL_AND_STREAM])
async def test_definers_that_the_account_may_not_set_are_replaced_and_told(
    source: MysqlDatabase, mysql_server_second: MysqlServer, tmp_path: Path, mode: TaskMode
) -> None:
    target = endpoint_of(mysql_server_second, user="limited", password="secret")
    spec = replace(spec_of(source, mysql_server_second, mode), target=target)
    found = {item.item: item for item in await run_prechecks(spec)}["userRequirementIsEnoughForDefiner"]
    reports = await make(spec, tmp_path)
    assert read_owners(mysql_server_second, source.name) == dict.fromkeys(OWNERS, LIMITED)
    assert found.reason == "DST_MAY_NOT_SET_DEFINERS"
    assert {report.reason for report in reports} == {
        "belongs to Towline's account, which may not create it for another"
    }
    assert len(reports) == len(OWNERS)


@pytest.mark.parametrize("is_whole", [True, False])
async def test_events_of_a_copy_under_another_name_are_enabled_at_its_end(
    source: MysqlDatabase, mysql_server_second: MysqlServer, tmp_path: Path, is_whole: bool
) -> None:
    """Not those of a copy that was given up."""
    there = f"{source.name}_there"
    source.execute("ALTER EVENT eg DISABLE")
    spec = spec_of(source, mysql_server_second)
    names = NameMap((SchemaRename(source.name, there),))
    try:
        await make(replace(spec, selection=replace(spec.selection, names=names)), tmp_path, is_whole=is_whole)
        states = f"SELECT event_name, status FROM information_schema.events WHERE event_schema = '{there}'"
        found = dict(mysql_server_second.fetch_all(states))
    finally:
        mysql_server_second.execute(f"DROP DATABASE IF EXISTS `{there}`")
    assert found == {"e": "ENABLED" if is_whole else "DISABLED", "eg": "DISABLED"}


async def test_a_copy_looks_at_its_events_alone_when_it_ends(
    source: MysqlDatabase, mysql_server_second: MysqlServer, tmp_path: Path
) -> None:
    """Applications may work with its other code by then."""
    starts = "ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01'"
    changes = (
        *(f"ALTER DEFINER = {KEEPER} EVENT e DISABLE", f"CREATE EVENT made {starts} DO SELECT 1"),
        *("DROP PROCEDURE p", "CREATE PROCEDURE p() SELECT 2", "DROP TRIGGER tr", "DROP VIEW w"),
    )
    there = mysql_server_second
    await make(spec_of(source, there), tmp_path, meanwhile=lambda: source.execute(*changes))
    states = f"SELECT event_name, status FROM information_schema.events WHERE event_schema = '{source.name}'"
    assert dict(there.fetch_all(states)) == {"e": "DISABLED", "eg": "ENABLED"}
    assert read_owners(there, source.name) == OWNERS
    body = f"SELECT routine_definition FROM information_schema.routines WHERE routine_schema = '{source.name}'"
    assert "SELECT 1" in {row[0] for row in there.fetch_all(body)}

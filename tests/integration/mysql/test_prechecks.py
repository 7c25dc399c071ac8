"""What the binlog or the target could not carry is said before the start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.servers.mysql import MysqlDatabase, MysqlServer, Product
from tests.servers.mysql_fixtures import GetServer
from towline.adapters.mysql.check_facts import read_source
from towline.adapters.mysql.checks import run_prechecks
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.copy_target import MyCopyTarget
from towline.adapters.mysql.structure_source import MyStructureSource
from towline.adapters.mysql.structure_target import MyStructureTarget
from towline.adapters.mysql.target_side import take_over_target
from towline.domain.accounts import AccountWish
from towline.domain.errors import Side
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


@contextmanager
def changed(server: MysqlServer, **values: str) -> Iterator[None]:
    """Global variables as given while the block runs; those that the server does not have are left out."""
    there = dict(server.fetch_all("SHOW GLOBAL VARIABLES"))
    values = {name: value for name, value in values.items() if name in there}
    before = {name: there[name] for name in values}
    try:
        server.execute(*(f"SET GLOBAL {name} = {_literal(value)}" for name, value in values.items()))
        yield
    finally:
        server.execute(*(f"SET GLOBAL {name} = {_literal(value)}" for name, value in before.items()))


def _literal(value: str) -> str:
    return value if value.isdigit() else f"'{value}'"


async def trouble(spec: JobSpec) -> dict[str, str]:
    """What did not pass, with its reason."""
    items = [item for item in await run_prechecks(spec) if item.verdict is not Verdict.PASSED]
    assert all(item.message and item.remedy for item in items)
    return {item.item: item.reason for item in items}


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
    own = "utf8mb4_unicode_nopad_ci" if is_mariadb else "utf8mb4_da_0900_ai_ci"
    mysql_database.execute(
        f"CREATE TABLE texts (c varchar(9) CHARACTER SET utf8mb4 COLLATE {collation})",
        f"ALTER DATABASE `{mysql_database.name}` COLLATE {own}",
    )
    items = {item.item: item for item in await run_prechecks(spec)}
    assert items["dbCharacterSetConsistency"].message.endswith(f": {', '.join(sorted([collation, own]))}.")
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


async def test_plugins_that_the_target_lacks_are_named_before_a_row_is_copied(
    spec: JobSpec, mysql_database: MysqlDatabase
):
    server, name = mysql_database.server, mysql_database.name
    if server.is_mariadb or not server.is_at_least(9, 0):
        pytest.skip("the test's servers have no plugins to install")
    server.execute(
        "INSTALL PLUGIN simple_parser SONAME 'mypluglib.so'",
        "INSTALL PLUGIN mysql_no_login SONAME 'mysql_no_login.so'",
        "CREATE USER old@localhost IDENTIFIED WITH mysql_no_login",
        "CREATE USER new@localhost IDENTIFIED BY 'x'",
    )
    mysql_database.execute(
        """CREATE TABLE t (id int PRIMARY KEY, a text, b text,
           FULLTEXT KEY plain (a, b) COMMENT ' WITH PARSER `mecab` */',
           FULLTEXT KEY odd (a) WITH PARSER simple_parser INVISIBLE, FULLTEXT KEY grams (b) WITH PARSER ngram)""",
        "CREATE FUNCTION f() RETURNS varchar(9) CHARSET utf8mb4 COLLATE utf8mb4_da_0900_ai_ci DETERMINISTIC RETURN ''",
    )
    try:
        accounts = AccountWish(names=("old@localhost", "new@localhost"))
        items = {item.item: item for item in await run_prechecks(replace(spec, accounts=accounts))}
        source = await connect(spec.source, purpose="facts", side=Side.SOURCE)
        facts = await read_source(source, spec.selection, now_s=0)
        source.terminate()
    finally:
        mysql_database.execute("DROP TABLE t")
        drop = "DROP USER old@localhost, new@localhost"
        server.execute(drop, "UNINSTALL PLUGIN simple_parser", "UNINSTALL PLUGIN mysql_no_login")
    assert items["dstFeaturesMeetRequirement"].verdict is Verdict.FAILED
    assert items["dstFeaturesMeetRequirement"].message.endswith(f": {name}.t.odd (parser simple_parser).")
    assert items["dstAccountPluginsCheck"].message.endswith(": old@localhost (mysql_no_login).")
    assert facts.code_collations == {"utf8mb4_da_0900_ai_ci"}


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


async def test_settings_of_the_servers_are_read(
    spec: JobSpec, mysql_database: MysqlDatabase, mysql_server_second: MysqlServer
) -> None:
    mysql_database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    assert await trouble(spec) == {}
    source = {
        "binlog_format": "STATEMENT",
        "binlog_row_image": "MINIMAL",
        "binlog_expire_logs_seconds": "60",
        "innodb_strict_mode": "OFF",
        "sql_mode": "ANSI_QUOTES",
        "collation_server": "latin1_bin",
        "transaction_isolation": "READ-COMMITTED",
        "tx_isolation": "READ-COMMITTED",
        "event_scheduler": "OFF",
    }
    target = {"max_allowed_packet": "1048576", "local_infile": "OFF", "event_scheduler": "ON"}
    # MySQL 5.7 keeps a binlog for whole days.
    is_old = not (mysql_database.server.is_mariadb or mysql_database.server.is_at_least(8, 0))
    with changed(mysql_database.server, **source), changed(mysql_server_second, **target):
        assert await trouble(spec) == {
            "srcBinlogFormatCheck": "SRC_BINLOG_FORMAT_NOT_ROW",
            "srcBinlogRowImageCheck": "SRC_BINLOG_ROW_IMAGE_NOT_FULL",
            **({} if is_old else {"srcDbBinlogExpireLogsDays": "SRC_BINLOG_KEPT_SHORTLY"}),
            "innodbStrictModeConsistency": "INNODB_STRICT_MODE_DIFFERS",
            "sqlModeConsistency": "SQL_MODE_DIFFERS",
            "dbCollationServerConsistency": "COLLATION_SERVER_DIFFERS",
            "dbIsolationLevelConsistency": "ISOLATION_LEVEL_DIFFERS",
            "dbParamConsistency": "PARAMETERS_DIFFER",
            "dstMaxAllowedPacketCheck": "DST_MAX_ALLOWED_PACKET_SMALL",
            "dstStatusCheck": "DST_LOCAL_INFILE_OFF",
        }
    with changed(mysql_server_second, read_only="ON"):
        assert await trouble(spec) == {"dstStatusCheck": "DST_IS_READ_ONLY"}
    if not mysql_database.server.is_mariadb:
        with changed(mysql_database.server, gtid_mode="ON_PERMISSIVE"):
            assert await trouble(spec) == {"srcGtidConsistencyCheck": "SRC_GTID_MODE_PERMISSIVE"}


async def test_objects_of_the_source_are_read(
    spec: JobSpec,
    mysql_database: MysqlDatabase,
    fresh_mysql_database: Callable[[MysqlServer], MysqlDatabase],
    mysql_server_second: MysqlServer,
) -> None:
    server, name = mysql_database.server, mysql_database.name
    elsewhere = fresh_mysql_database(server).name
    mysql_database.execute(
        f"CREATE TABLE `{elsewhere}`.p (id int PRIMARY KEY)",
        f"CREATE TABLE t (id int, p int, FOREIGN KEY (p) REFERENCES `{elsewhere}`.p (id))",
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET @a = 1",
    )
    mysql_server_second.execute(
        f"CREATE DATABASE `{name}`",
        f"CREATE TABLE `{name}`.t (id int)",
        f"CREATE TRIGGER `{name}`.x BEFORE INSERT ON `{name}`.t FOR EACH ROW SET @a = 1",
    )
    gone = ObjectSelection(spec.selection.schemas, frozenset({TableName(elsewhere, "gone")}))
    try:
        assert await trouble(replace(spec, selection=gone)) == {
            "userSelectObjectsCheck": "SELECTED_OBJECTS_MISSING",
            "hasForeignKeyOnUnselectedTable": "FOREIGN_KEY_ON_UNSELECTED_TABLE",
            "srcTablesWithoutKey": "SRC_TABLES_WITHOUT_KEY",
            "srcTriggerAndEventCheck": "SRC_HAS_TRIGGERS_OR_EVENTS",
            "srcTableAlreadyExistedInDstTable": "TABLE_ALREADY_EXISTED_IN_TARGET",
            "dstTriggersCheck": "DST_TRIGGERS_FIRE",
        }
    finally:
        mysql_server_second.execute(f"DROP DATABASE `{name}`")
        mysql_database.execute("DROP TABLE t")  # before its parent


async def test_keys_that_the_target_compares_more_loosely(
    spec: JobSpec, mysql_database: MysqlDatabase, mysql_server_second: MysqlServer
) -> None:
    name = mysql_database.name
    table = """CREATE TABLE `{}`.t (k varchar(9) COLLATE {} PRIMARY KEY, b {} UNIQUE, same varchar(9) UNIQUE,
        free varchar(9) COLLATE {})"""
    mysql_database.execute(table.format(name, "utf8mb4_bin", "varbinary(9)", "utf8mb4_bin"))
    loose = table.format(name, "utf8mb4_general_ci", "varchar(9)", "utf8mb4_general_ci")
    mysql_server_second.execute(f"CREATE DATABASE `{name}`", loose)
    try:
        items = {item.item: item for item in await run_prechecks(spec)}
        found = items["dstKeyCollationCheck"]
        assert (found.verdict, found.reason) == (Verdict.FAILED, "DST_KEY_COLLATION_LOOSER")
        assert {column for column in ("k", "b", "same", "free") if f"{name}.t.{column} (" in found.message} == {
            "k",
            "b",
        }
        mysql_server_second.execute(
            f"DROP TABLE `{name}`.t", table.format(name, "utf8mb4_bin", "varbinary(9)", "utf8mb4_bin")
        )
        assert await trouble(spec) == {"srcTableAlreadyExistedInDstTable": "TABLE_ALREADY_EXISTED_IN_TARGET"}
    finally:
        mysql_server_second.execute(f"DROP DATABASE `{name}`")


@pytest.fixture
def weak(mysql_database: MysqlDatabase, mysql_server_second: MysqlServer) -> Iterator[str]:
    """An account of both servers that may do nothing yet; its password is its name."""
    servers = mysql_database.server, mysql_server_second
    for server in servers:
        server.execute("CREATE USER weak@'%' IDENTIFIED BY 'weak'")
    yield "weak"
    for server in servers:
        server.execute("DROP USER weak@'%'")


async def test_accounts_without_privileges_are_told_what_is_missing(
    spec: JobSpec, mysql_database: MysqlDatabase, mysql_server_second: MysqlServer, weak: str
) -> None:
    server, name = mysql_database.server, mysql_database.name
    mysql_database.execute(
        *(
            "CREATE TABLE t (id int PRIMARY KEY)",
            "CREATE TABLE u (id int PRIMARY KEY)",
            "CREATE PROCEDURE p() SELECT 1",
        ),
        f"GRANT SELECT ON `{name}`.t TO weak@'%'",
        f"GRANT INSERT ON `{name}`.u TO weak@'%'",
        f"GRANT EXECUTE ON PROCEDURE `{name}`.p TO weak@'%'",
    )
    mysql_server_second.execute("GRANT SELECT ON *.* TO weak@'%'")
    source, target = (replace(endpoint, user=weak, password=weak) for endpoint in (spec.source, spec.target))
    spec = replace(spec, source=source, target=target)
    of_target = {
        "dstDbPrivilegesIsEnough": "DST_PRIVILEGES_NOT_ENOUGH",
        "dstDbPrivilegesIsEnoughForObjects": "DST_OBJECT_PRIVILEGES_NOT_ENOUGH",
        "userRequirementIsEnoughForDefiner": "DST_MAY_NOT_SET_DEFINERS",
    }
    assert await trouble(spec) == of_target | {
        "srcDbPrivilegesIsEnough": "SRC_TABLES_NOT_READABLE",
        "srcDbPrivilegesIsEnoughForIncre": "SRC_NO_REPLICATION_PRIVILEGE",
        "srcRoutinesWithoutPrivilegeCheck": "SRC_ROUTINES_NOT_READABLE",
    }
    server.execute(
        f"GRANT SELECT ON `{name}`.u TO weak@'%'",
        "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO weak@'%'",
        "GRANT SELECT ON mysql.proc TO weak@'%'" if server.is_mariadb else "GRANT SHOW_ROUTINE ON *.* TO weak@'%'",
    )
    locks = {} if server.is_mariadb else {"srcDbPrivilegesIsEnough": "SRC_NO_LOCK_PRIVILEGE"}
    assert await trouble(spec) == of_target | locks
    server.execute("GRANT RELOAD ON *.* TO weak@'%'")
    assert await trouble(spec) == of_target
    refused = await trouble(replace(spec, target=replace(target, password="wrong")))
    assert refused == {"dstDbConnection": "DST_CONNECTION_REFUSED"}

"""Each item of the prechecks: facts that fail it, and what is said then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from towline.adapters.mysql.check_facts import Features, ServerFacts, SourceFacts, TargetFacts
from towline.adapters.mysql.check_rules import (
    judge_both,
    judge_case_of_names,
    judge_key_collations,
    judge_source,
    judge_target,
)
from towline.adapters.mysql.flavor import Flavor
from towline.domain.jobs import TaskMode
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.tables import NameMap, Table, TableName, TableRename

GB = 1_000_000_000
T = TableName("d", "t")
FAILED, WARNING = Verdict.FAILED, Verdict.WARNING
MARIADB, MYSQL = "10.11.6-MariaDB", "8.4.3"
GOOD: Final = {
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "server_id": "1",
    "gtid_mode": "ON",
    "local_infile": "ON",
    "max_allowed_packet": "67108864",
    "lower_case_table_names": "0",
    "time_zone": "SYSTEM",
    "system_time_zone": "UTC",
    "sql_mode": "",
    "collation_server": "utf8mb4_bin",
    "innodb_strict_mode": "ON",
    "transaction_isolation": "REPEATABLE-READ",
    "event_scheduler": "ON",
    "log_bin_trust_function_creators": "ON",
    "binlog_expire_logs_seconds": "864000",
    "group_concat_max_len": "1024",
}


def server(
    identity: str, version: str, may: frozenset[str] | set[str], ahead_s: float, variables: Mapping[str, str]
) -> ServerFacts:
    return ServerFacts(Flavor.parse(version), identity, {**GOOD, **variables}, frozenset(may), ahead_s)


EVERYTHING = frozenset({"ALL PRIVILEGES"})


def table(*, key: tuple[str, ...] = ("id",), size_bytes: int = 0) -> Table:
    return Table(T, 0, (), key, "f", 1, size_bytes, 1, "")


def source(
    version: str = MARIADB,
    may: frozenset[str] | set[str] = EVERYTHING,
    facts: Mapping[str, Any] | None = None,
    **variables: str,
) -> SourceFacts:
    """A source with which nothing is wrong, but for what is given."""
    base = SourceFacts(
        server("a", version, may, 0.0, variables),
        tables=(table(),),
        engines={T: "InnoDB"},
        schemas=("d",),
        foreign_parents=(),
        code=0,
        definers=frozenset(),
        unreadable_routines=0,
        collations=frozenset({"utf8mb4_bin"}),
    )
    return replace(base, **(facts or {}))


def target(
    version: str = MARIADB,
    may: frozenset[str] | set[str] = EVERYTHING,
    facts: Mapping[str, Any] | None = None,
    ahead_s: float = 0.0,
    identity: str = "b",
    **variables: str,
) -> TargetFacts:
    """As `source`."""
    base = TargetFacts(
        server(identity, version, may, ahead_s, variables),
        present=frozenset(),
        collations=frozenset({"utf8mb4_bin"}),
        accounts=frozenset({"mine@%", "app@%"}),
        has_job=False,
        account="mine@%",
        plugins=frozenset({"ngram", "caching_sha2_password"}),
        engines=frozenset({"innodb", "memory"}),
    )
    return replace(base, **(facts or {}))


def judge(
    one: SourceFacts, other: TargetFacts, mode: TaskMode = TaskMode.FULL_AND_STREAM, *, replaces_owners: bool = False
) -> dict[str, PrecheckItem]:
    items = judge_source(one, mode=mode) + judge_target(other, mode=mode)
    items += judge_both(one, other, mode=mode, replaces_owners=replaces_owners)
    found = {item.item: item for item in items}
    assert len(found) == len(items), "an item is said twice"
    return found


@dataclass(frozen=True)
class Case:
    item: str
    verdict: Verdict
    reason: str
    source: SourceFacts = source()  # noqa: RUF009
    target: TargetFacts = target()  # noqa: RUF009
    besides: tuple[str, ...] = ()  # other items that the same facts bring about


OTHER = TableName("d", "other")
RENAMED_TWICE = {
    "names": NameMap(tables=(TableRename(T, TableName("d", "x")), TableRename(OTHER, TableName("d", "x"))))
}
WRITER = {"CREATE", "DROP", "ALTER", "INSERT", "UPDATE", "DELETE", "SELECT", "INDEX", "REFERENCES", "SET USER"}
EXPRESSION = Features(expression_indexes=("d.t.lowered",))
VERSIONED = Features(versioned=(T,))
MECAB = Features(parsers=(("ngram", "d.t.grams"), ("mecab", "d.t.words")))
LOGINS = (("caching_sha2_password", "new@%"), ("mysql_native_password", "old@%"))
CASES = [
    Case("srcDbVersionSupport", FAILED, "SRC_VERSION_NOT_SUPPORTED", source("10.5.9-MariaDB")),
    Case("srcSystemVersioningCheck", FAILED, "SRC_HAS_SYSTEM_VERSIONING", source(facts={"features": VERSIONED})),
    Case("dstFeaturesMeetRequirement", FAILED, "DST_PLUGINS_MISSING", source(facts={"features": MECAB})),
    Case("dstAccountPluginsCheck", WARNING, "DST_ACCOUNT_PLUGINS_MISSING", source(facts={"logins": LOGINS})),
    Case("dstFeaturesMeetRequirement", WARNING, "DST_FEATURES_LEFT_OUT", source(facts={"features": EXPRESSION})),
    Case("userSelectObjectsCheck", FAILED, "SELECTED_OBJECTS_MISSING", source(facts={"missing": ("d.gone",)})),
    Case("renamedObjectsCheck", FAILED, "RENAMED_OBJECT_MISSING", source(facts=RENAMED_TWICE)),
    Case("srcDbPrivilegesIsEnough", FAILED, "SRC_TABLES_NOT_READABLE", source(facts={"unreadable_tables": (T,)})),
    Case(
        *("srcDbPrivilegesIsEnough", WARNING, "SRC_NO_LOCK_PRIVILEGE"),
        *(source(MYSQL, {"REPLICATION SLAVE", "REPLICATION CLIENT"}), target(MYSQL)),
    ),
    Case("srcDbExistUnsupportEngineTable", FAILED, "SRC_ENGINE_NOT_SUPPORTED", source(facts={"engines": {T: "S3"}})),
    Case(
        "srcDbExistUnsupportEngineTable", FAILED, "SRC_ENGINE_NOT_TRANSACTIONAL", source(facts={"engines": {T: "Aria"}})
    ),
    Case(
        *("hasForeignKeyOnUnselectedTable", WARNING, "FOREIGN_KEY_ON_UNSELECTED_TABLE"),
        source(facts={"foreign_parents": ((T, OTHER),)}),
    ),
    Case(
        "srcRoutinesWithoutPrivilegeCheck",
        WARNING,
        "SRC_ROUTINES_NOT_READABLE",
        source(facts={"unreadable_routines": 3}),
    ),
    Case("srcDbPrivilegesIsEnoughForIncre", FAILED, "SRC_NO_REPLICATION_PRIVILEGE", source(may={"SELECT"})),
    Case(
        "srcDbPrivilegesIsEnoughForIncre", FAILED, "SRC_NO_BINLOG_STATUS_PRIVILEGE", source(may={"REPLICATION SLAVE"})
    ),
    Case("srcDbBinlogIsOff", FAILED, "SRC_BINLOG_IS_OFF", source(log_bin="OFF")),
    Case("srcBinlogFormatCheck", FAILED, "SRC_BINLOG_FORMAT_NOT_ROW", source(binlog_format="MIXED")),
    Case("srcBinlogRowImageCheck", FAILED, "SRC_BINLOG_ROW_IMAGE_NOT_FULL", source(binlog_row_image="MINIMAL")),
    Case("srcDbServerIdCheck", FAILED, "SRC_SERVER_ID_IS_ZERO", source(server_id="0")),
    Case("srcDbBinlogExpireLogsDays", WARNING, "SRC_BINLOG_KEPT_SHORTLY", source(binlog_expire_logs_seconds="3600")),
    Case(
        *("srcDbBinlogExpireLogsDays", WARNING, "SRC_BINLOG_KEPT_SHORTLY"),
        source(binlog_expire_logs_seconds="", expire_logs_days="0.5"),
    ),
    Case("srclogSlaveUpdatesCheck", WARNING, "SRC_LOG_REPLICA_UPDATES_OFF", source(log_replica_updates="OFF")),
    Case("srclogSlaveUpdatesCheck", WARNING, "SRC_LOG_REPLICA_UPDATES_OFF", source(log_slave_updates="OFF")),
    Case("srcGtidConsistencyCheck", WARNING, "SRC_GTID_MODE_PERMISSIVE", source(gtid_mode="ON_PERMISSIVE")),
    Case("srcGtidConsistencyCheck", WARNING, "SRC_GTID_DOMAIN_SHARED", source(gtid_binlog_state="0-1-5,0-2-7")),
    Case("srcTablesWithoutKey", WARNING, "SRC_TABLES_WITHOUT_KEY", source(facts={"tables": (table(key=()),)})),
    Case("srcForeignKeyActionCheck", FAILED, "SRC_FOREIGN_KEY_CASCADES", source(facts={"cascading": (T,)})),
    Case("srcTriggerAndEventCheck", WARNING, "SRC_HAS_TRIGGERS_OR_EVENTS", source(facts={"code": 1})),
    Case("dstDbVersionSupport", FAILED, "DST_VERSION_NOT_SUPPORTED", target=target("12.0.1-MariaDB")),
    Case("dstDbPrivilegesIsEnough", WARNING, "DST_PRIVILEGES_NOT_ENOUGH", target=target(may=WRITER - {"DELETE"})),
    Case("dstStatusCheck", FAILED, "DST_IS_READ_ONLY", target=target(read_only="ON")),
    Case("dstStatusCheck", FAILED, "DST_IS_READ_ONLY", target=target(super_read_only="ON")),
    Case("dstStatusCheck", FAILED, "DST_LOCAL_INFILE_OFF", target=target(local_infile="OFF")),
    Case("dstMaxAllowedPacketCheck", WARNING, "DST_MAX_ALLOWED_PACKET_SMALL", target=target(max_allowed_packet="1024")),
    Case("dstTriggersCheck", FAILED, "DST_TRIGGERS_FIRE", target=target(facts={"triggers": (T,)})),
    Case("dbVersionMeetRequirement", WARNING, "TARGET_OLDER_OR_OTHER_PRODUCT", source("11.4.2-MariaDB")),
    Case("dbVersionMeetRequirement", WARNING, "TARGET_OLDER_OR_OTHER_PRODUCT", source(MYSQL)),
    Case("dbServerUuidConsistency", FAILED, "SAME_SERVER", target=target(identity="a")),
    Case("dbCharacterSetConsistency", FAILED, "COLLATION_UNKNOWN", target=target(facts={"collations": frozenset()})),
    Case("srcDstTableNameCaseSensitiveCheck", FAILED, "TABLE_NAME_CASE_DIFFERS", source(lower_case_table_names="1")),
    Case("dbClockConsistency", WARNING, "CLOCKS_DIFFER", target=target(ahead_s=-61)),
    Case(
        *("userRequirementIsEnoughForDefiner", WARNING, "DEFINER_MISSING"),
        source(facts={"definers": frozenset({"gone@%", "app@%"})}),
    ),
    Case(
        *("userRequirementIsEnoughForDefiner", WARNING, "DST_MAY_NOT_SET_DEFINERS"),
        *(source(facts={"definers": frozenset({"app@%"})}), target(may=WRITER - {"SET USER"})),
    ),
    Case(
        *("userRequirementIsEnoughForDefiner", WARNING, "DST_DEFINERS_NOT_SHOWN"),
        *(source(facts={"definers": frozenset({"app@%"})}), target(facts={"accounts": None})),
    ),
    Case("dbCollationServerConsistency", WARNING, "COLLATION_SERVER_DIFFERS", source(collation_server="latin1_bin")),
    Case("innodbStrictModeConsistency", WARNING, "INNODB_STRICT_MODE_DIFFERS", source(innodb_strict_mode="OFF")),
    Case("sqlModeConsistency", WARNING, "SQL_MODE_DIFFERS", source(sql_mode="ANSI_QUOTES")),
    Case(
        "dbIsolationLevelConsistency", WARNING, "ISOLATION_LEVEL_DIFFERS", source(transaction_isolation="SERIALIZABLE")
    ),
    Case(
        *("dbIsolationLevelConsistency", WARNING, "ISOLATION_LEVEL_DIFFERS"),
        source(transaction_isolation="", tx_isolation="SERIALIZABLE"),
    ),
    Case("dbParamConsistency", WARNING, "PARAMETERS_DIFFER", source(event_scheduler="OFF")),
    Case("dbParamConsistency", WARNING, "PARAMETERS_DIFFER", source(time_zone="+03:00")),
    Case("dbParamConsistency", WARNING, "PARAMETERS_DIFFER", source(system_time_zone="CET")),
    Case(
        *("srcTableAlreadyExistedInDstTable", FAILED, "TABLE_ALREADY_EXISTED_IN_TARGET"),
        target=target(facts={"present": frozenset({T})}),
    ),
    Case(
        *("srcViewAlreadyExistedInDstView", FAILED, "OBJECT_ALREADY_EXISTED_IN_TARGET"),
        *(source(facts={"objects": frozenset({"view d.v"})}), target(facts={"objects": frozenset({"view d.v"})})),
    ),
    Case("dstDbDiskSize", WARNING, "DST_DISK_SIZE_UNKNOWN", source(facts={"tables": (table(size_bytes=60 * GB),)})),
    Case(
        *("dstDbDiskSize", FAILED, "DST_DISK_TOO_SMALL"),
        *(source(facts={"tables": (table(size_bytes=60 * GB),)}), target(facts={"free_bytes": 100 * GB})),
    ),
    Case(
        *("srcHasNoPkTableWhenTgtHasInvisiblePk", FAILED, "DST_REQUIRES_PRIMARY_KEY"),
        *(source(facts={"tables": (table(key=()),)}), target(sql_require_primary_key="ON"), ("srcTablesWithoutKey",)),
    ),
    Case(
        *("srcHasNoPkTableWhenTgtHasInvisiblePk", WARNING, "DST_GENERATES_PRIMARY_KEY"),
        *(source(facts={"tables": (table(key=()),)}), target(sql_generate_invisible_primary_key="ON")),
        ("srcTablesWithoutKey",),
    ),
    *(
        Case(
            *("dstDbPrivilegesIsEnoughForObjects", WARNING, "DST_OBJECT_PRIVILEGES_NOT_ENOUGH"),
            *(source(facts={"objects": frozenset({f"{kind} d.x"})}), target(may=WRITER)),
        )
        for kind in ("view", "function", "procedure", "event")
    ),
    Case(
        *("dstDbPrivilegesIsEnoughForObjects", WARNING, "DST_OBJECT_PRIVILEGES_NOT_ENOUGH"),
        *(source(facts={"code": 1}), target(may=WRITER), ("srcTriggerAndEventCheck",)),
    ),
    Case(
        *("dstTrustFunctionCreatorsCheck", WARNING, "DST_TRUSTS_NO_CREATORS"),
        source(facts={"objects": frozenset({"function d.f"})}),
        target(may=WRITER | {"CREATE ROUTINE"}, log_bin_trust_function_creators="OFF"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
def test_what_is_wrong_is_said_with_its_remedy_and_nothing_else(case: Case) -> None:
    items = judge(case.source, case.target)
    found = items[case.item]
    assert (found.verdict, found.reason) == (case.verdict, case.reason)
    assert found.message
    assert found.remedy
    trouble = {name for name, item in items.items() if item.verdict is not Verdict.PASSED}
    assert trouble == {case.item} | set(case.besides)


@pytest.mark.parametrize("version", [MARIADB, MYSQL])
def test_good_pair_passes_and_each_of_its_items_has_a_case(version: str) -> None:
    items = judge(source(version), target(version))
    assert [item for item in items.values() if item.verdict is not Verdict.PASSED or item.reason] == []
    assert items.keys() <= {case.item for case in CASES}


def test_items_depend_on_what_the_job_does() -> None:
    everything = judge(source(), target()).keys()
    copied = judge(source(), target(), TaskMode.FULL).keys()
    followed = judge(source(), target(), TaskMode.STREAM).keys()
    assert copied | followed == everything
    assert {"srcDbBinlogIsOff", "srcTablesWithoutKey", "srcForeignKeyActionCheck"} <= followed - copied
    assert {"dstDbDiskSize", "srcTableAlreadyExistedInDstTable"} <= copied - followed


def test_job_that_has_begun_is_not_in_its_own_way() -> None:
    facts = {"has_job": True, "present": frozenset({T}), "objects": frozenset({"view d.v"}), "free_bytes": 1}
    one = source(facts={"objects": frozenset({"view d.v"}), "tables": (table(size_bytes=GB),)})
    assert not [item for item in judge(one, target(facts=facts)).values() if item.reason]


def test_definers_that_are_replaced_are_no_concern() -> None:
    one = source(facts={"definers": frozenset({"gone@%"})})
    item = "userRequirementIsEnoughForDefiner"
    assert judge(one, target())[item].reason
    assert not judge(one, target(), replaces_owners=True)[item].reason
    assert not judge(source(facts={"definers": frozenset({"mine@%"})}), target(may=WRITER))[item].reason


@pytest.mark.parametrize(
    ("names", "setting", "reason"),
    [
        (("Big", "small"), "0", ""),
        (("big", "small"), "1", ""),
        (("Big", "small"), "1", "TABLE_NAME_CASE_DIFFERS"),
        (("Big", "big"), "2", "TABLE_NAMES_COLLIDE"),
    ],
)
def test_capitals_in_names_of_a_source_that_tells_them_apart(names: tuple[str, ...], setting: str, reason: str) -> None:
    facts = target(lower_case_table_names=setting).server
    assert judge_case_of_names([TableName("d", name) for name in names], facts).reason == reason


@pytest.mark.parametrize(
    ("size_bytes", "free_bytes", "reason"),
    [
        (40 * GB, 100 * GB, ""),
        (60 * GB, 100 * GB, "DST_DISK_TOO_SMALL"),
        (60 * GB, None, "DST_DISK_SIZE_UNKNOWN"),
        (GB // 10, None, ""),
    ],
)
def test_room_on_the_target(size_bytes: int, free_bytes: int | None, reason: str) -> None:
    one = source(facts={"tables": (table(size_bytes=size_bytes),)})
    items = judge(one, target(facts={"free_bytes": free_bytes}), TaskMode.FULL)
    assert items["dstDbDiskSize"].reason == reason


@pytest.mark.parametrize(
    ("state", "strict", "reason"),
    [
        ("0-1-5,1-2-9", "OFF", ""),
        ("0-1-5,0-2-7", "ON", ""),
        ("0-1-5,0-2-7", "OFF", "SRC_GTID_DOMAIN_SHARED"),
    ],
)
def test_two_writers_in_a_domain_are_warned_of(state: str, strict: str, reason: str) -> None:
    facts = source(gtid_binlog_state=state, gtid_strict_mode=strict)
    items = judge_source(facts, mode=TaskMode.FULL_AND_STREAM)
    assert {item.item: item.reason for item in items}["srcGtidConsistencyCheck"] == reason


@pytest.mark.parametrize(
    ("version", "native", "reason"),
    [
        ("10.11.6-MariaDB", "", "SRC_FOREIGN_KEY_CASCADES"),
        ("8.4.3", "", "SRC_FOREIGN_KEY_CASCADES"),
        ("9.7.0", "OFF", ""),
        ("9.7.0", "ON", "SRC_FOREIGN_KEY_CASCADES"),
    ],
)
def test_foreign_keys_that_act_below_the_binlog_are_refused(version: str, native: str, reason: str) -> None:
    facts = source(innodb_native_foreign_keys=native)
    facts = replace(facts, server=replace(facts.server, flavor=Flavor.parse(version)), cascading=(TableName("d", "t"),))
    items = judge_source(facts, mode=TaskMode.FULL_AND_STREAM)
    assert {item.item: item.reason for item in items}["srcForeignKeyActionCheck"] == reason


@pytest.mark.parametrize(
    ("mine", "there", "is_looser"),
    [
        ("utf8mb4_bin", "utf8mb4_general_ci", True),
        ("utf8mb4_bin", "utf8mb4_bin", False),
        ("utf8mb4_0900_bin", "utf8mb4_bin", True),  # it pads
        ("utf8mb4_0900_bin", "utf8mb4_nopad_bin", False),
        ("binary", "utf8mb4_0900_bin", False),
        ("utf8mb4_0900_bin", "utf8mb4_0900_as_cs", True),
        ("utf8mb4_0900_as_cs", "utf8mb4_uca1400_nopad_as_cs", False),
        ("utf8mb4_0900_as_ci", "utf8mb4_0900_ai_ci", True),
        ("utf8mb4_0900_ai_ci", "utf8mb4_uca1400_ai_ci", True),  # it pads
        ("utf8mb4_general_ci", "latin1_swedish_ci", False),
        ("utf8mb4_general_ci", "utf8mb4_bin", False),
        ("latin1_general_cs", "latin1_swedish_ci", True),
        ("utf8mb4_bin", "made_up", False),
    ],
)
def test_keys_that_the_target_compares_more_loosely(mine: str, there: str, is_looser: bool) -> None:
    own, other = {T: {"a": mine, "b": "utf8mb4_bin"}}, {T: {"a": there, "c": "utf8mb4_general_ci"}}
    found = judge_key_collations(own, other, has_job=False)
    assert found.reason == ("DST_KEY_COLLATION_LOOSER" if is_looser else "")
    assert found.verdict is (Verdict.FAILED if is_looser else Verdict.PASSED)
    if is_looser:
        assert found.remedy
        assert f"d.t.a ({there})" in found.message
        assert judge_key_collations(own, other, has_job=True).verdict is Verdict.WARNING


@pytest.mark.parametrize(
    ("features", "there", "reason"),
    [
        (Features(), MARIADB, ""),
        (EXPRESSION, MYSQL, ""),
        (EXPRESSION, MARIADB, "DST_FEATURES_LEFT_OUT"),
        (EXPRESSION, "5.7.44", "DST_FEATURES_LEFT_OUT"),
        (VERSIONED, MARIADB, ""),
        (VERSIONED, MYSQL, "DST_FEATURES_MISSING"),
        (Features(types=(("uuid", "d.t.c"),)), MARIADB, ""),
        (Features(types=(("uuid", "d.t.c"),)), "10.6.20-MariaDB", "DST_FEATURES_MISSING"),
        (Features(types=(("inet6", "d.t.c"),)), MYSQL, "DST_FEATURES_MISSING"),
        (Features(types=(("vector", "d.t.c"),)), "9.7.0", ""),
        (Features(types=(("vector", "d.t.c"),)), MARIADB, "DST_FEATURES_MISSING"),
        (Features(types=(("vector", "d.t.c"),)), "11.7.2-MariaDB", ""),
    ],
)
def test_what_the_target_does_not_know(features: Features, there: str, reason: str) -> None:
    item = judge(source(facts={"features": features}), target(there), TaskMode.FULL)["dstFeaturesMeetRequirement"]
    assert item.reason == reason
    assert ("d.t" in item.message) == bool(reason) == bool(item.remedy)


@pytest.mark.parametrize(
    ("features", "mode", "reason"),
    [
        (Features(), TaskMode.FULL_AND_STREAM, ""),
        (VERSIONED, TaskMode.FULL, "SRC_HISTORY_NOT_MOVED"),
        (VERSIONED, TaskMode.FULL_AND_STREAM, "SRC_HAS_SYSTEM_VERSIONING"),
        (VERSIONED, TaskMode.STREAM, "SRC_HAS_SYSTEM_VERSIONING"),
    ],
)
def test_system_versioning_is_named_before_its_rows_come_in_the_binlog(
    features: Features, mode: TaskMode, reason: str
) -> None:
    assert judge(source(facts={"features": features}), target(), mode)["srcSystemVersioningCheck"].reason == reason


@pytest.mark.parametrize(
    ("facts", "there", "reason", "named"),
    [
        ({"features": MECAB}, MARIADB, "DST_PLUGINS_MISSING", "d.t.words (parser mecab)"),
        ({"features": MECAB}, MYSQL, "DST_FEATURES_LEFT_OUT", "d.t.grams (parser ngram), d.t.words (parser mecab)"),
        ({"engines": {T: "ROCKSDB"}}, MARIADB, "DST_PLUGINS_MISSING", "d.t (engine ROCKSDB)"),
        ({"engines": {T: "ROCKSDB"}}, MYSQL, "DST_PLUGINS_MISSING", "d.t (engine ROCKSDB)"),
        ({"features": Features(parsers=(("NGRAM", "d.t.grams"),))}, MARIADB, "", ""),
    ],
)
def test_plugins_that_the_target_lacks(facts: Mapping[str, Any], there: str, reason: str, named: str) -> None:
    item = judge(source(facts=facts), target(there), TaskMode.FULL)["dstFeaturesMeetRequirement"]
    assert item.reason == reason
    assert f": {named}." in item.message or not named


def test_accounts_come_without_their_plugins_from_the_other_product() -> None:
    assert not judge(source(facts={"logins": LOGINS}), target(MYSQL))["dstAccountPluginsCheck"].reason
    assert (
        "old@% (mysql_native_password)"
        in judge(source(facts={"logins": LOGINS}), target())["dstAccountPluginsCheck"].message
    )


def test_collations_of_routines_matter_between_servers_of_one_product() -> None:
    one = source(facts={"code_collations": frozenset({"utf8mb4_0900_as_cs"})})
    assert "utf8mb4_0900_as_cs" in judge(one, target())["dbCharacterSetConsistency"].message
    assert not judge(one, target(MYSQL))["dbCharacterSetConsistency"].reason

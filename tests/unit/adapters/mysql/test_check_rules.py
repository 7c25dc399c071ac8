"""Verdicts that no test server brings about by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from towline.adapters.mysql.check_facts import Features, ServerFacts, SourceFacts, TargetFacts
from towline.adapters.mysql.check_rules import judge_both, judge_source
from towline.adapters.mysql.flavor import Flavor
from towline.domain.jobs import TaskMode
from towline.domain.tables import Table, TableName

GB = 1_000_000_000


def server(**variables: str) -> ServerFacts:
    return ServerFacts(Flavor.parse("10.11.6-MariaDB"), variables.pop("identity", "a"), variables, frozenset(), 0.0)


def source(size_bytes: int = 0, **variables: str) -> SourceFacts:
    table = Table(TableName("d", "t"), 0, (), ("id",), "f", 1, size_bytes, 1, "")
    return SourceFacts(server(**variables), (table,), {}, ("d",), (), 0, frozenset(), 0, frozenset())


def target(free_bytes: int | None) -> TargetFacts:
    facts = server(identity="b")
    return TargetFacts(facts, frozenset(), frozenset(), None, has_job=False, free_bytes=free_bytes)


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
    items = judge_both(source(size_bytes), target(free_bytes), mode=TaskMode.FULL)
    assert {item.item: item.reason for item in items}["dstDbDiskSize"] == reason


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


MARIADB, MYSQL = "10.11.6-MariaDB", "9.7.0"
EXPRESSION = Features(expression_indexes=("d.t.lowered",))
VERSIONED = Features(versioned=(TableName("d", "t"),))


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
        (Features(types=(("vector", "d.t.c"),)), MYSQL, ""),
        (Features(types=(("vector", "d.t.c"),)), MARIADB, "DST_FEATURES_MISSING"),
        (Features(types=(("vector", "d.t.c"),)), "11.7.2-MariaDB", ""),
    ],
)
def test_what_the_target_does_not_know(features: Features, there: str, reason: str) -> None:
    facts = target(None)
    facts = replace(facts, server=replace(facts.server, flavor=Flavor.parse(there)))
    items = {item.item: item for item in judge_both(replace(source(), features=features), facts, mode=TaskMode.FULL)}
    item = items["dstFeaturesMeetRequirement"]
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
    items = judge_source(replace(source(), features=features), mode=mode)
    assert {item.item: item.reason for item in items}["srcSystemVersioningCheck"] == reason

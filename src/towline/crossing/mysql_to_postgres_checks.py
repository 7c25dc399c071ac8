"""The tests that run before a job from MySQL or MariaDB to PostgreSQL starts. Changes nothing on either side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from towline.adapters.mysql.check_facts import SourceFacts, read_source
from towline.adapters.mysql.check_rules import judge_source
from towline.adapters.mysql.connection import connect as connect_source
from towline.adapters.mysql.postgres_structure import read_bad_wishes
from towline.adapters.postgres.check_facts import TargetFacts, read_target_facts
from towline.adapters.postgres.check_rules import judge_target
from towline.adapters.postgres.connection import connect as connect_target
from towline.adapters.postgres.errors import translated
from towline.crossing.wished_types import judge_types
from towline.domain.conversion import Collation, Conversion
from towline.domain.errors import Side, TowlineError
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.pair_checks import judge_clocks, judge_connection, judge_room
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.tables import Table

_PARAMS, _CONFLICT = "db_params", "db_object_conflict_check"
_NAMES_SHOWN: Final = 5
# A cluster gets ICU's locales when it is made; from version 16 on one called `unicode` without ICU as well.
_HAS_ICU: Final = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_collation WHERE collprovider = 'i' AND collname <> 'unicode')
"""


async def run_prechecks(spec: JobSpec) -> list[PrecheckItem]:
    """One item per test.

    A side that cannot be looked at gives one failed item, its connection, and no others; no error is raised.
    """
    source = await _look_at_source(spec)
    tables = source.facts.tables if isinstance(source, _Source) else ()
    target = await _look_at_target(spec, tables)
    items = [judge_connection(source, Side.SOURCE), judge_connection(target, Side.TARGET)]
    if isinstance(source, _Source):
        items += [_for_postgres(item) for item in judge_source(source.facts, mode=spec.mode)]
        items.append(judge_types(source.problems))
    if isinstance(target, _Target):
        items += judge_target(target.facts, mode=spec.mode)
        items += [_judge_encoding(target.facts), _judge_collation(target, spec.conversion)]
        if spec.mode is not TaskMode.STREAM:
            items.append(_judge_conflicts(target.facts))
    if isinstance(source, _Source) and isinstance(target, _Target):
        items.append(judge_clocks(source.facts.server.clock_ahead_s, target.facts.server.clock_ahead_s))
        if spec.mode is not TaskMode.STREAM:
            rows_bytes = sum(table.size_bytes for table in source.facts.tables)
            # PostgreSQL shows nobody how much is free.
            items.append(judge_room(rows_bytes, free_bytes=None, has_job=target.facts.is_ours))
    return items


@dataclass(frozen=True, slots=True)
class _Source:
    """`problems`: of the types that the job wishes for columns."""

    facts: SourceFacts
    problems: Sequence[str]


async def _look_at_source(spec: JobSpec) -> _Source | TowlineError:
    try:
        session = await connect_source(
            spec.source,
            purpose=f"{spec.job_id}:precheck",
            settings={"lock_wait_timeout": "10"},
            side=Side.SOURCE,
        )
    except TowlineError as error:
        return error
    try:
        facts = await read_source(session, spec.selection, now_s=time.time())
        problems = await read_bad_wishes(session, spec.selection, spec.conversion)
    except TowlineError as error:
        return error
    else:
        return _Source(facts, problems)
    finally:
        session.terminate()


@dataclass(frozen=True, slots=True)
class _Target:
    """`has_icu`: whether the server knows collations that are not deterministic."""

    facts: TargetFacts
    has_icu: bool


async def _look_at_target(spec: JobSpec, tables: Sequence[Table]) -> _Target | TowlineError:
    settings = {"statement_timeout": "60s", "lock_timeout": "10s"}
    try:
        connection = await connect_target(
            spec.target, purpose=f"{spec.job_id}:precheck", settings=settings, side=Side.TARGET
        )
    except TowlineError as error:
        return error
    try:
        names = [spec.selection.names.target_name(table.name) for table in tables]
        facts = await asyncio.wait_for(read_target_facts(connection, names, job_id=spec.job_id), timeout=120)
        with translated(Side.TARGET, what="reading the target's collations"):
            has_icu = bool(await connection.fetchval(_HAS_ICU))
    except TowlineError as error:
        return error
    else:
        return _Target(facts, has_icu)
    finally:
        connection.terminate()


def _for_postgres(item: PrecheckItem) -> PrecheckItem:
    """What is said about the target in the rules of a job between MySQL servers, as it is here."""
    if item.item == "srcTriggerAndEventCheck" and item.verdict is Verdict.WARNING:
        message = "Triggers and events are not moved to PostgreSQL."
        remedy = "Write what they do anew on the target before the switch-over."
        return PrecheckItem(item.item, item.group, item.verdict, item.reason, message, remedy)
    return item


def _judge_encoding(target: TargetFacts) -> PrecheckItem:
    item = "dbCharacterSetConsistency"
    if target.server.encoding == "UTF8":
        return PrecheckItem(item, _PARAMS, Verdict.PASSED)
    message = f"The target's database has the encoding {target.server.encoding}; the source's texts may hold anything."
    remedy = "Create the target's database with ENCODING 'UTF8'."
    return PrecheckItem(item, _PARAMS, Verdict.FAILED, "TARGET_ENCODING_NOT_UTF8", message, remedy)


def _judge_collation(target: _Target, conversion: Conversion) -> PrecheckItem:
    item = "dbCollationServerConsistency"
    if target.has_icu or conversion.collation is Collation.DETERMINISTIC:
        return PrecheckItem(item, _PARAMS, Verdict.PASSED)
    message = "The target was built without ICU, which collations that ignore case need."
    remedy = "Choose a server that was built with it, or leave the collation deterministic."
    return PrecheckItem(item, _PARAMS, Verdict.FAILED, "TARGET_WITHOUT_ICU", message, remedy)


def _judge_conflicts(target: TargetFacts) -> PrecheckItem:
    item = "srcTableAlreadyExistedInDstTable"
    if target.is_ours or not target.relations:
        return PrecheckItem(item, _CONFLICT, Verdict.PASSED)
    names = sorted(map(str, target.relations))
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    message = f"The target already has {', '.join(names[:_NAMES_SHOWN])}{more}."
    remedy = "Drop them on the target, or choose another database."
    return PrecheckItem(item, _CONFLICT, Verdict.FAILED, "TABLE_ALREADY_EXISTED_IN_TARGET", message, remedy)

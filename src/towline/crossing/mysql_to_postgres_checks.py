"""The tests that run before a job from MySQL or MariaDB to PostgreSQL starts. Changes nothing on either side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from towline.adapters.mysql.check_facts import SourceFacts, read_source
from towline.adapters.mysql.check_rules import judge_source
from towline.adapters.mysql.connection import connect as connect_source
from towline.adapters.postgres.check_facts import TargetFacts, read_target_facts
from towline.adapters.postgres.check_rules import judge_target
from towline.adapters.postgres.connection import connect as connect_target
from towline.domain.errors import Side, TowlineError
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.tables import Table

_PARAMS, _CONFLICT = "db_params", "db_object_conflict_check"
_NAMES_SHOWN: Final = 5


async def run_prechecks(spec: JobSpec) -> list[PrecheckItem]:
    """One item per test.

    A side that cannot be looked at gives one failed item, its connection, and no others; no error is raised.
    """
    source = await _look_at_source(spec)
    tables = source.tables if isinstance(source, SourceFacts) else ()
    target = await _look_at_target(spec, tables)
    items = [_judge_connection(source, Side.SOURCE), _judge_connection(target, Side.TARGET)]
    if isinstance(source, SourceFacts):
        items += [_for_postgres(item) for item in judge_source(source, mode=spec.mode)]
    if isinstance(target, TargetFacts):
        items += judge_target(target, mode=spec.mode)
        items.append(_judge_encoding(target))
        if spec.mode is not TaskMode.STREAM:
            items.append(_judge_conflicts(target))
    return items


async def _look_at_source(spec: JobSpec) -> SourceFacts | TowlineError:
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
        return await read_source(session, spec.selection, now_s=time.time())
    except TowlineError as error:
        return error
    finally:
        session.terminate()


async def _look_at_target(spec: JobSpec, tables: Sequence[Table]) -> TargetFacts | TowlineError:
    settings = {"statement_timeout": "60s", "lock_timeout": "10s"}
    try:
        connection = await connect_target(
            spec.target, purpose=f"{spec.job_id}:precheck", settings=settings, side=Side.TARGET
        )
    except TowlineError as error:
        return error
    try:
        names = [spec.selection.names.target_name(table.name) for table in tables]
        return await asyncio.wait_for(read_target_facts(connection, names, job_id=spec.job_id), timeout=120)
    except TowlineError as error:
        return error
    finally:
        connection.terminate()


def _for_postgres(item: PrecheckItem) -> PrecheckItem:
    """What is said about the target in the rules of a job between MySQL servers, as it is here."""
    if item.item == "srcTriggerAndEventCheck" and item.verdict is Verdict.WARNING:
        message = "Triggers and events are not moved to PostgreSQL."
        remedy = "Write what they do anew on the target before the switch-over."
        return PrecheckItem(item.item, item.group, item.verdict, item.reason, message, remedy)
    return item


def _judge_connection(facts: object, side: Side) -> PrecheckItem:
    item = "srcDbConnection" if side is Side.SOURCE else "dstDbConnection"
    if isinstance(facts, TowlineError):
        prefix = "SRC" if side is Side.SOURCE else "DST"
        return PrecheckItem(item, "network", Verdict.FAILED, f"{prefix}_{facts.code}", facts.message, facts.advice)
    return PrecheckItem(item, "network", Verdict.PASSED)


def _judge_encoding(target: TargetFacts) -> PrecheckItem:
    item = "dbCharacterSetConsistency"
    if target.server.encoding == "UTF8":
        return PrecheckItem(item, _PARAMS, Verdict.PASSED)
    message = f"The target's database has the encoding {target.server.encoding}; the source's texts may hold anything."
    remedy = "Create the target's database with ENCODING 'UTF8'."
    return PrecheckItem(item, _PARAMS, Verdict.FAILED, "TARGET_ENCODING_NOT_UTF8", message, remedy)


def _judge_conflicts(target: TargetFacts) -> PrecheckItem:
    item = "srcTableAlreadyExistedInDstTable"
    if target.is_ours or not target.relations:
        return PrecheckItem(item, _CONFLICT, Verdict.PASSED)
    names = sorted(map(str, target.relations))
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    message = f"The target already has {', '.join(names[:_NAMES_SHOWN])}{more}."
    remedy = "Drop them on the target, or choose another database."
    return PrecheckItem(item, _CONFLICT, Verdict.FAILED, "TABLE_ALREADY_EXISTED_IN_TARGET", message, remedy)

"""The tests that run before a job from PostgreSQL to MySQL starts.

Each side is judged by its own family's rules; what is left are names and values that the other product cannot have.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg

from towline.adapters.mysql.check_facts import TargetFacts, read_key_collations, read_target
from towline.adapters.mysql.check_rules import judge_case_of_names, judge_conflicts, judge_key_collations, judge_target
from towline.adapters.mysql.connection import connect as connect_mysql
from towline.adapters.mysql.session import Session
from towline.adapters.postgres.check_facts import SourceFacts, read_source_facts
from towline.adapters.postgres.check_rules import judge_source
from towline.adapters.postgres.connection import connect as connect_postgres
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.slots import feed_prefix
from towline.crossing.key_collations import key_collations, read_loose_columns
from towline.crossing.to_mysql_catalog import SourceTable, find_bad_wishes, read_source_tables
from towline.crossing.to_mysql_structure import find_impossible_names
from towline.crossing.wished_types import judge_types
from towline.domain.errors import Side, TowlineError
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.pair_checks import judge_clocks, judge_connection, judge_room, judge_unread_keys
from towline.domain.prechecks import PrecheckItem, Verdict

T = TypeVar("T")

_NAMES_SHOWN = 5
_PARAMS = "db_params"
_LOOK_SETTINGS = {"statement_timeout": "60s", "lock_timeout": "10s"}


async def run_prechecks(spec: JobSpec) -> list[PrecheckItem]:
    """One item per test. Changes nothing on either side.

    A side that cannot be looked at gives one failed item, its connection, and no others; no error is raised.
    """
    source = await _look_at_source(spec, lambda connection: _read_source(connection, spec))
    tables = tuple(found.table for found in source[1]) if isinstance(source, tuple) else ()
    names = [spec.selection.names.target_name(table.name) for table in tables]
    target = await _look_at_target(spec, lambda s: read_target(s, names, job_id=spec.job_id, now_s=time.time()))
    items = [judge_connection(source, Side.SOURCE), judge_connection(target, Side.TARGET)]
    if isinstance(source, tuple):
        facts, found = source
        items += judge_source(facts, mode=spec.mode, missing_program="")
        items += [_judge_names(found), _judge_encoding(facts), _judge_partitions(found)]
        items.append(judge_types(find_bad_wishes(spec.conversion, found)))
    if isinstance(target, TargetFacts):
        items += judge_target(target, mode=spec.mode)
        items.append(_judge_durability(target, spec.mode))
        if spec.mode is not TaskMode.STREAM:
            items.append(judge_conflicts(target))
    if isinstance(source, tuple) and isinstance(target, TargetFacts):
        items.append(judge_clocks(source[0].server.clock_ahead_s, target.server.clock_ahead_s))
        items.append(judge_case_of_names(names, target.server))
        items.append(await _check_keys(spec, source[1], target))
        if spec.mode is not TaskMode.STREAM:
            rows_bytes = sum(table.size_bytes for table in tables)
            items.append(judge_room(rows_bytes, free_bytes=target.free_bytes, has_job=target.has_job))
    return items


async def _look_at_source(spec: JobSpec, read: Callable[[asyncpg.Connection], Awaitable[T]]) -> T | TowlineError:
    try:
        connection = await connect_postgres(
            spec.source, purpose=f"{spec.job_id}:precheck", settings=_LOOK_SETTINGS, side=Side.SOURCE
        )
    except TowlineError as error:
        return error
    try:
        return await read(connection)
    except TowlineError as error:
        return error
    finally:
        connection.terminate()


async def _read_source(connection: asyncpg.Connection, spec: JobSpec) -> tuple[SourceFacts, list[SourceTable]]:
    facts = await read_source_facts(connection, spec.selection, feed_prefix=feed_prefix(spec.job_id))
    with translated(Side.SOURCE, what="looking at the source"):
        return facts, await read_source_tables(connection, spec.selection, spec.conversion)


async def _look_at_target(spec: JobSpec, read: Callable[[Session], Awaitable[T]]) -> T | TowlineError:
    try:
        session = await connect_mysql(
            spec.target, purpose=f"{spec.job_id}:precheck", settings={"lock_wait_timeout": "10"}, side=Side.TARGET
        )
    except TowlineError as error:
        return error
    try:
        return await read(session)
    except TowlineError as error:
        return error
    finally:
        session.terminate()


async def _check_keys(spec: JobSpec, tables: Sequence[SourceTable], target: TargetFacts) -> PrecheckItem:
    """Asks again, as hardly any job has tables on its target already."""
    if not target.present:
        return judge_key_collations({}, {}, has_job=target.has_job)
    keys = await _look_at_target(spec, lambda s: read_key_collations(s, target.present, target.server))
    loose = await _look_at_source(spec, read_loose_columns)
    if isinstance(keys, TowlineError):
        return judge_unread_keys(keys, Side.TARGET)
    if isinstance(loose, TowlineError):
        return judge_unread_keys(loose, Side.SOURCE)
    by_target = {spec.selection.names.target_name(found.table.name): key_collations(found, loose) for found in tables}
    return judge_key_collations(by_target, keys, has_job=target.has_job)


def _judge_names(tables: list[SourceTable]) -> PrecheckItem:
    item = "srcObjectNameCheck"
    problems = find_impossible_names(tables)
    if not problems:
        return PrecheckItem(item, _PARAMS, Verdict.PASSED)
    message = "; ".join(problems[:_NAMES_SHOWN])
    remedy = "Rename them on the source, or leave these tables out."
    return PrecheckItem(item, _PARAMS, Verdict.FAILED, "SRC_NAMES_NOT_POSSIBLE", message, remedy)


def _judge_encoding(facts: SourceFacts) -> PrecheckItem:
    item = "dbCharacterSetConsistency"
    if facts.server.encoding != "SQL_ASCII":
        return PrecheckItem(item, _PARAMS, Verdict.PASSED)
    message = "The source does not say how its texts are encoded (SQL_ASCII)."
    remedy = "Move the data to a database in UTF8 first."
    return PrecheckItem(item, _PARAMS, Verdict.FAILED, "SRC_ENCODING_UNKNOWN", message, remedy)


def _judge_partitions(tables: list[SourceTable]) -> PrecheckItem:
    item = "srcPartitionedTablesCheck"
    parts = [f"{found.table.name} ({found.why_apart})" for found in tables if found.why_apart]
    if not parts:
        return PrecheckItem(item, _PARAMS, Verdict.PASSED)
    message = f"Partitions arrive as tables of their own: {', '.join(parts[:_NAMES_SHOWN])}."
    remedy = "Give the partitioned table a primary key, or create a view over its partitions on the target."
    return PrecheckItem(item, _PARAMS, Verdict.WARNING, "SRC_HAS_PARTITIONS", message, remedy)


def _judge_durability(target: TargetFacts, mode: TaskMode) -> PrecheckItem:
    """The source forgets what the target has confirmed, so a target that forgets it, too, loses it."""
    item = "dstFlushAtCommitCheck"
    value = target.server.variable("innodb_flush_log_at_trx_commit") or "1"
    if mode is TaskMode.FULL or value == "1":
        return PrecheckItem(item, _PARAMS, Verdict.PASSED)
    message = f"innodb_flush_log_at_trx_commit is {value}: a target that crashes forgets what it confirmed."
    remedy = "Set it to 1 on the target; without it such a crash stops the job, and it has to be started anew."
    return PrecheckItem(item, _PARAMS, Verdict.WARNING, "DST_COMMITS_NOT_FLUSHED", message, remedy)

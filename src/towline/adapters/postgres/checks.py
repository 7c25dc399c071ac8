"""The tests that run before a job starts: both sides are looked at, the verdicts are `check_rules`' work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from towline.adapters.postgres.check_facts import (
    NOTHING_KNOWN,
    KnownObjects,
    SourceFacts,
    TargetFacts,
    read_known,
    read_source_facts,
    read_target_facts,
)
from towline.adapters.postgres.check_rules import judge_both, judge_features, judge_source, judge_target
from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.missing_features import read_missing_features
from towline.adapters.postgres.pg_dump import find_pg_dump
from towline.adapters.postgres.row_filters import check_row_filter
from towline.adapters.postgres.slots import feed_prefix
from towline.domain.errors import PgDumpMissing, Side, TowlineError
from towline.domain.jobs import Endpoint, JobSpec, TaskMode
from towline.domain.pair_checks import judge_connection
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.tables import TableName


async def run_prechecks(spec: JobSpec, *, only_joining: bool = False) -> list[PrecheckItem]:
    """One item per test. Changes nothing on either side.

    With `only_joining` the job has run, and only objects are looked at that it does not have yet; without any such, the
    connections are all that is said.

    A side that cannot be looked at gives one failed item, its connection, and no others; no error is raised.
    """
    opened: list[asyncpg.Connection] = []
    try:
        source, target = await asyncio.gather(
            _open(spec.source, spec.job_id, Side.SOURCE, opened), _open(spec.target, spec.job_id, Side.TARGET, opened)
        )
        return await _check(spec, source, target, only_joining=only_joining)
    finally:
        for connection in opened:
            connection.terminate()


async def _open(
    endpoint: Endpoint, job_id: str, side: Side, opened: list[asyncpg.Connection]
) -> asyncpg.Connection | TowlineError:
    """The session stands in `opened` as well: of two that open side by side, one may be cut short."""
    try:
        settings = {"statement_timeout": "60s", "lock_timeout": "10s"}
        connection = await connect(endpoint, purpose=f"{job_id}:precheck", settings=settings, side=side)
    except TowlineError as error:
        return error
    opened.append(connection)
    return connection


async def _check(
    spec: JobSpec,
    source: asyncpg.Connection | TowlineError,
    target: asyncpg.Connection | TowlineError,
    *,
    only_joining: bool,
) -> list[PrecheckItem]:
    known = NOTHING_KNOWN
    if only_joining:
        # First: what an earlier edit makes in between is then in the way, at worst, rather than looked at by nobody.
        known, target = await _read_known(spec, target)
    source_facts = await _look_at_source(spec, source, known)
    there = source_facts.names_there() if isinstance(source_facts, SourceFacts) else {}
    names = [name for own_name, name in there.items() if own_name not in known.made]
    target_facts = await _look_at_target(spec, target, names)
    items = [judge_connection(source_facts, Side.SOURCE), judge_connection(target_facts, Side.TARGET)]
    if only_joining:
        if not isinstance(source_facts, SourceFacts) or not (source_facts.relations or source_facts.unknown):
            return items
        if isinstance(target_facts, TargetFacts):
            target_facts = replace(target_facts, is_ours=False)  # nothing of what joins is the job's own
    if isinstance(source_facts, SourceFacts):
        missing_program = await asyncio.to_thread(_find_missing_program, source_facts.server.major)
        items += judge_source(source_facts, mode=spec.mode, missing_program=missing_program)
        items += [] if only_joining else await _check_row_filters(spec)
    if isinstance(target_facts, TargetFacts):
        items += judge_target(target_facts, mode=spec.mode)
    if isinstance(source_facts, SourceFacts) and isinstance(target_facts, TargetFacts):
        items += judge_both(source_facts, target_facts, mode=spec.mode)
        assert isinstance(source, asyncpg.Connection)
        assert isinstance(target, asyncpg.Connection)
        if spec.mode is not TaskMode.STREAM:
            items.append(await _check_features(spec, source, target, known, is_ours=target_facts.is_ours))
    return items


async def _read_known(
    spec: JobSpec, connection: asyncpg.Connection | TowlineError
) -> tuple[KnownObjects, asyncpg.Connection | TowlineError]:
    if isinstance(connection, TowlineError):
        return NOTHING_KNOWN, connection
    try:
        return await read_known(connection, job_id=spec.job_id), connection
    except TowlineError as error:
        connection.terminate()
        return NOTHING_KNOWN, error


async def _look_at_source(
    spec: JobSpec, connection: asyncpg.Connection | TowlineError, known: KnownObjects
) -> SourceFacts | TowlineError:
    if isinstance(connection, TowlineError):
        return connection
    prefix = feed_prefix(spec.job_id)
    try:
        return await read_source_facts(connection, spec.selection, feed_prefix=prefix, known=known)
    except TowlineError as error:
        return error


async def _look_at_target(
    spec: JobSpec, connection: asyncpg.Connection | TowlineError, names: Sequence[TableName]
) -> TargetFacts | TowlineError:
    if isinstance(connection, TowlineError):
        return connection
    try:
        return await read_target_facts(connection, names, job_id=spec.job_id)
    except TowlineError as error:
        return error


async def _check_features(
    spec: JobSpec, source: asyncpg.Connection, target: asyncpg.Connection, known: KnownObjects, *, is_ours: bool
) -> PrecheckItem:
    item, group = "dstFeaturesMeetRequirement", "db_version"
    try:
        if is_ours and (await read_known(target, job_id=spec.job_id)).made:
            return judge_features([])  # what the source has got since its structure was read is no part of the job
        missing = await read_missing_features(source, target, spec.selection, known=known.planned | known.made)
    except TowlineError as error:
        return PrecheckItem(item, group, Verdict.FAILED, f"FEATURES_{error.code}", error.message, error.advice)
    return judge_features(missing)


async def _check_row_filters(spec: JobSpec) -> list[PrecheckItem]:
    """The conditions were good when they were accepted; tables and the job's mode may have changed since."""
    if not spec.selection.row_filters:
        return []
    item, group = "srcRowFilterCheck", "db_params"
    for wish in spec.selection.row_filters:
        try:
            await check_row_filter(spec.source, wish, follow=spec.mode is not TaskMode.FULL)
        except TowlineError as error:
            return [PrecheckItem(item, group, Verdict.FAILED, f"SRC_{error.code}", error.message, error.advice)]
    return [PrecheckItem(item, group, Verdict.PASSED)]


def _find_missing_program(major: int) -> str:
    try:
        find_pg_dump(major)
    except PgDumpMissing as error:
        return error.message
    return ""

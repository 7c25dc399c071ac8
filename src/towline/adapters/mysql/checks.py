"""The tests that run before a job starts: both sides are looked at, the verdicts are `check_rules`' work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from towline.adapters.mysql.check_facts import SourceFacts, TargetFacts, read_source, read_target
from towline.adapters.mysql.check_rules import judge_both, judge_source, judge_target
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.session import Session
from towline.domain.errors import Side, TowlineError
from towline.domain.jobs import Endpoint, JobSpec
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.tables import TableName

T = TypeVar("T")


async def run_prechecks(spec: JobSpec) -> list[PrecheckItem]:
    """One item per test. Changes nothing on either side.

    A side that cannot be looked at gives one failed item, its connection, and no others; no error is raised.
    """
    source, target = await asyncio.gather(
        _look(spec.source, spec.job_id, Side.SOURCE, lambda s: read_source(s, spec.selection, now_s=time.time())),
        _look(spec.target, spec.job_id, Side.TARGET, lambda s: _read_target(s, spec, [])),
    )
    if isinstance(source, SourceFacts) and isinstance(target, TargetFacts):
        names = list(source.names_there().values())
        target = await _look(spec.target, spec.job_id, Side.TARGET, lambda s: _read_target(s, spec, names))
    items = [_judge_connection(source, Side.SOURCE), _judge_connection(target, Side.TARGET)]
    if isinstance(source, SourceFacts):
        items += judge_source(source, mode=spec.mode)
    if isinstance(target, TargetFacts):
        items += judge_target(target, mode=spec.mode)
    if isinstance(source, SourceFacts) and isinstance(target, TargetFacts):
        items += judge_both(source, target, mode=spec.mode)
    return items


async def _read_target(session: Session, spec: JobSpec, names: Collection[TableName]) -> TargetFacts:
    return await read_target(session, names, job_id=spec.job_id, now_s=time.time())


async def _look(
    endpoint: Endpoint, job_id: str, side: Side, read: Callable[[Session], Awaitable[T]]
) -> T | TowlineError:
    try:
        session = await connect(endpoint, purpose=f"{job_id}:precheck", settings={"lock_wait_timeout": "10"}, side=side)
    except TowlineError as error:
        return error
    try:
        return await read(session)
    except TowlineError as error:
        return error
    finally:
        session.terminate()


def _judge_connection(facts: object, side: Side) -> PrecheckItem:
    item = "srcDbConnection" if side is Side.SOURCE else "dstDbConnection"
    if isinstance(facts, TowlineError):
        prefix = "SRC" if side is Side.SOURCE else "DST"
        return PrecheckItem(item, "network", Verdict.FAILED, f"{prefix}_{facts.code}", facts.message, facts.advice)
    return PrecheckItem(item, "network", Verdict.PASSED)

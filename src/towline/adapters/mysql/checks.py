"""The tests that run before a job starts: both sides are looked at, the verdicts are `check_rules`' work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import TypeVar

from towline.adapters.mysql.check_facts import (
    NOTHING_KNOWN,
    KnownObjects,
    SourceFacts,
    TargetFacts,
    read_key_collations,
    read_known,
    read_source,
    read_target,
)
from towline.adapters.mysql.check_rules import judge_both, judge_key_collations, judge_source, judge_target
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.session import Session
from towline.domain.errors import Side, TowlineError
from towline.domain.jobs import Endpoint, JobSpec
from towline.domain.pair_checks import judge_connection, judge_unread_keys
from towline.domain.prechecks import PrecheckItem
from towline.domain.tables import TableName

T = TypeVar("T")


async def run_prechecks(spec: JobSpec, *, only_joining: bool = False) -> list[PrecheckItem]:
    """One item per test. Changes nothing on either side.

    With `only_joining` the job has run, and only objects are looked at that it does not have yet; without any such, the
    connections are all that is said.

    A side that cannot be looked at gives one failed item, its connection, and no others; no error is raised.
    """
    known = NOTHING_KNOWN
    if only_joining:
        # First: what an earlier edit makes in between is then in the way, at worst, rather than looked at by nobody.
        found = await _look(spec.target, spec.job_id, Side.TARGET, lambda s: _read_known(s, spec))
        if isinstance(found, TowlineError):
            return [judge_connection(found, Side.TARGET)]
        known = found
    source, target = await asyncio.gather(
        _look(spec.source, spec.job_id, Side.SOURCE, lambda s: _read_source(s, spec, known)),
        _look(spec.target, spec.job_id, Side.TARGET, lambda s: _read_target(s, spec, [])),
    )
    if isinstance(source, SourceFacts) and isinstance(target, TargetFacts):
        names = source.new_names_there()
        target = await _look(spec.target, spec.job_id, Side.TARGET, lambda s: _read_target(s, spec, names))
    items = [judge_connection(source, Side.SOURCE), judge_connection(target, Side.TARGET)]
    if only_joining:
        if not isinstance(source, SourceFacts) or not (source.tables or source.objects or source.missing):
            return items
        if isinstance(target, TargetFacts):
            target = replace(target, has_job=False)  # nothing of what joins is the job's own
    if isinstance(source, SourceFacts):
        items += judge_source(source, mode=spec.mode)
    if isinstance(target, TargetFacts):
        items += judge_target(target, mode=spec.mode)
    if isinstance(source, SourceFacts) and isinstance(target, TargetFacts):
        items += judge_both(source, target, mode=spec.mode, replaces_owners=spec.replaces_owners)
        items.append(await _check_keys(spec, source, target))
    return items


async def _check_keys(spec: JobSpec, source: SourceFacts, target: TargetFacts) -> PrecheckItem:
    """Asks again, as hardly any job has tables on its target already."""
    there = {name: other for name, other in source.names_there().items() if other in target.present}
    if not there:
        return judge_key_collations({}, {}, has_job=target.has_job)
    mine, other = await asyncio.gather(
        _look(spec.source, spec.job_id, Side.SOURCE, lambda s: read_key_collations(s, there, source.server)),
        _look(spec.target, spec.job_id, Side.TARGET, lambda s: read_key_collations(s, target.present, target.server)),
    )
    if isinstance(mine, TowlineError):
        return judge_unread_keys(mine, Side.SOURCE)
    if isinstance(other, TowlineError):
        return judge_unread_keys(other, Side.TARGET)
    return judge_key_collations({there[name]: keys for name, keys in mine.items()}, other, has_job=target.has_job)


async def _read_known(session: Session, spec: JobSpec) -> KnownObjects:
    return await read_known(session, spec.selection.names, job_id=spec.job_id)


async def _read_source(session: Session, spec: JobSpec, known: KnownObjects) -> SourceFacts:
    wish = spec.accounts
    # One with a password of the job's own needs no plugin of the source.
    accounts = [name for name in wish.names if name not in wish.passwords] if wish is not None else []
    return await read_source(session, spec.selection, now_s=time.time(), known=known, accounts=accounts)


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

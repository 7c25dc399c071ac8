"""Verdicts about a pair of servers that are the same whatever their families are. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from towline.domain.errors import Side, TowlineError
from towline.domain.prechecks import PrecheckItem, Verdict

KEY_COLLATIONS: Final = "dstKeyCollationCheck"
_PARAMS: Final = "db_params"
_CLOCK_LIMIT_S: Final = 60
# A copy needs room for the rows, and as much again for indexes in the making and the target's own logs.
_ROOM_FACTOR: Final = 2
_SMALL_BYTES: Final = 1024 * 1024 * 1024


def judge_connection(facts: object, side: Side) -> PrecheckItem:
    """`facts`: what a look at the side gave, or the error that it ended with."""
    is_source = side is Side.SOURCE
    item, group = "srcDbConnection" if is_source else "dstDbConnection", "network"
    if isinstance(facts, TowlineError):
        reason = f"{'SRC' if is_source else 'DST'}_{facts.code}"
        return PrecheckItem(item, group, Verdict.FAILED, reason, facts.message, facts.advice)
    return PrecheckItem(item, group, Verdict.PASSED)


def judge_unread_keys(error: TowlineError, side: Side) -> PrecheckItem:
    """The item of key collations, for a side that could not be looked at again."""
    return replace(judge_connection(error, side), item=KEY_COLLATIONS, group=_PARAMS)


def judge_clocks(source_ahead_s: float, target_ahead_s: float) -> PrecheckItem:
    """How far each server's clock is ahead of ours."""
    item = "dbClockConsistency"
    apart_s = abs(source_ahead_s - target_ahead_s)
    if apart_s <= _CLOCK_LIMIT_S:
        return PrecheckItem(item, _PARAMS, Verdict.PASSED)
    message = f"The servers' clocks are {apart_s:.0f} seconds apart."
    return PrecheckItem(
        item, _PARAMS, Verdict.WARNING, "CLOCKS_DIFFER", message, "Let both servers follow a time server."
    )


def judge_room(rows_bytes: int, *, free_bytes: int | None, has_job: bool) -> PrecheckItem:
    """`rows_bytes`: of the source's tables; `free_bytes`: None, the target does not tell.

    `has_job`: the target has some of the job's rows already, so that nothing is known of the rest.
    """
    item, group = "dstDbDiskSize", "db_disk_size"
    needed = _ROOM_FACTOR * rows_bytes
    if has_job or (free_bytes is not None and free_bytes >= needed):
        return PrecheckItem(item, group, Verdict.PASSED)
    if free_bytes is None:
        if needed < _SMALL_BYTES:
            return PrecheckItem(item, group, Verdict.PASSED)
        message = f"The job needs about {needed / 1e9:.1f} GB on the target, which does not tell how much is free."
        remedy = "Look at the target's disk before the start."
        return PrecheckItem(item, group, Verdict.WARNING, "DST_DISK_SIZE_UNKNOWN", message, remedy)
    message = f"The job needs about {needed / 1e9:.1f} GB on the target; {free_bytes / 1e9:.1f} GB are free."
    remedy = "Free disk space on the target, or give it more."
    return PrecheckItem(item, group, Verdict.FAILED, "DST_DISK_TOO_SMALL", message, remedy)

"""How the figures of a new worker follow those of the one before. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from towline.domain.diagnosis import Diagnosis
from towline.domain.progress import PartProgress, Phase, Progress, proven_here_us

_REMAINING = ("remaining_s", "remaining_low_s", "remaining_high_s", "remaining_at_us")
_ESTIMATE_STANDS_US = 30_000_000
_ORDER = {phase: number for number, phase in enumerate(Phase)}


def carry_forward(known: Progress | None, current: Progress) -> Progress:
    """`current` as it is stored after `known`: a new worker starts with little knowledge, the job does not.

    The percentages and the phase never go back.  What has been proven about the delay stays proven: T stands
    still until the new worker moves it, so the delay grows over a restart instead of vanishing.  Proofs are compared on
    our clock, as the source's may have been set.
    """
    if known is None:
        return current
    changes: dict[str, Any] = {}
    if current.percent < known.percent:
        changes["percent"] = known.percent
    if _ORDER[current.phase] < _ORDER[known.phase]:
        changes["phase"] = known.phase
        if known.phase is Phase.DONE:
            changes.update({name: getattr(known, name) for name in _REMAINING})
    if _still_stands(known, current):
        changes.update({name: getattr(known, name) for name in _REMAINING})
    proven_us, newly_us = proven_here_us(known), proven_here_us(current)
    if proven_us is not None and (newly_us is None or newly_us < proven_us):
        changes["proven_source_time_us"] = known.proven_source_time_us
        changes["source_clock_offset_us"] = known.source_clock_offset_us
    for total in ("rows_copied", "bytes_copied", "transactions_applied", "changes_applied"):
        if getattr(current, total) < getattr(known, total):
            changes[total] = getattr(known, total)
    for part in ("structure", "data", "index"):
        was: PartProgress = getattr(known, part)
        now: PartProgress = getattr(current, part)
        if now.percent < was.percent:
            changes[part] = was if was.is_finished else replace(was, remaining_s=now.remaining_s)
    return replace(current, **changes) if changes else current


def carry_facts(known: Diagnosis | None, current: Diagnosis) -> Diagnosis:
    """`current` as it is stored after `known`: what a new worker has not seen yet is as it was when it was last seen.

    Facts of a side have an age of their own.  Outages have not: they are told by the worker that meets them.
    """
    changes: dict[str, Any] = {}
    if known is None:
        return current
    if current.source is None and known.source is not None:
        changes = {name: getattr(known, name) for name in ("source", "held_growth_bytes_per_s", "log_bytes_per_s")}
    if current.target is None:
        changes["target"] = known.target
    if current.log_needed_since_us is None:
        changes["log_needed_since_us"] = known.log_needed_since_us
    return replace(current, **changes)


def _still_stands(known: Progress, current: Progress) -> bool:
    """A new worker has seen too little for an estimate; the work that is left is what it was a moment ago."""
    if current.remaining_s is not None or not known.remaining_s or known.remaining_at_us is None:
        return False
    is_full_phase = known.percent < 100 and known.phase in (Phase.STRUCTURE, Phase.COPY, Phase.INDEXES)
    return is_full_phase and current.percent < 100 and abs(current.at_us - known.remaining_at_us) < _ESTIMATE_STANDS_US

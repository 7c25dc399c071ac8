"""How the figures of a new worker follow those of the one before. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from towline.domain.progress import Phase, Progress, proven_here_us

_ORDER = {phase: number for number, phase in enumerate(Phase)}


def carry_forward(known: Progress | None, current: Progress) -> Progress:
    """`current` as it is stored after `known`: a new worker starts with little knowledge, the job does not.

    The percentage and the phase never go back.  What has been proven about the delay stays proven: T stands
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
        if known.percent == 100:
            changes["remaining_s"] = known.remaining_s
    proven_us, newly_us = proven_here_us(known), proven_here_us(current)
    if proven_us is not None and (newly_us is None or newly_us < proven_us):
        changes["proven_source_time_us"] = known.proven_source_time_us
        changes["source_clock_offset_us"] = known.source_clock_offset_us
    for total in ("rows_copied", "bytes_copied", "transactions_applied", "changes_applied"):
        if getattr(current, total) < getattr(known, total):
            changes[total] = getattr(known, total)
    for part in ("structure", "data", "index"):
        if getattr(known, part).is_finished and not getattr(current, part).is_finished:
            changes[part] = getattr(known, part)
    return replace(current, **changes) if changes else current

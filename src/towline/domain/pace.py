"""How long the kinds of work take on a target, before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class TargetPace:
    """In bytes of rows that the target is copied in the same time: guesses, which differ from machine to machine.

    `index_byte`: for each byte of a plain index that is built.  `log_byte`: for each byte of the source's log that is
    applied: rows come one by one there, anywhere in their tables, and into indexes that are built.
    """

    index_byte: float
    log_byte: float


USUAL_PACE: Final = TargetPace(index_byte=2.2, log_byte=5.0)

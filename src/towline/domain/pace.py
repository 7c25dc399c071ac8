"""How long the kinds of work take on a target, before anything is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# How much longer a change takes, as a share, when none of its pages is in memory.
_OUTSIDE_COST: Final = 2.0


@dataclass(frozen=True, slots=True)
class TargetPace:
    """In bytes of rows that the target is copied in the same time: guesses, which differ from machine to machine.

    `index_byte`: for each byte of a plain index that is built.  `log_byte`: for each byte of the source's log that is
    applied: rows come one by one there, anywhere in their tables, and into indexes that are built.  That is for tables
    that lie in memory; of others pages have to be read and written for it.  `cache_bytes`: the memory that the target
    has for pages of tables and indexes, None where nobody knows.
    """

    index_byte: float
    log_byte: float
    cache_bytes: int | None = None

    def apply_cost(self, tables_bytes: float) -> float:
        """Of a byte of log, on tables and indexes of that size, as if the changes fell anywhere in them."""
        if self.cache_bytes is None or tables_bytes <= self.cache_bytes:
            return self.log_byte
        return self.log_byte * (1 + _OUTSIDE_COST * (1 - self.cache_bytes / tables_bytes))


USUAL_PACE: Final = TargetPace(index_byte=2.2, log_byte=5.0)

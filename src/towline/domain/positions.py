"""A place in a source's history."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable


@runtime_checkable
class Position(Protocol):
    """Partly ordered: ask `covers`, never `<` (GTID sets are not totally ordered).

    `str(position)` is its stable stored form; the source's `parse_position` reads it back.
    """

    def covers(self, other: Self, /) -> bool:
        """True when everything up to and including `other` lies at or before this position."""
        ...

"""How strictly collations tell texts apart, by their names. Pure.

A collation is looser than another one if it takes texts for equal that the other tells apart: capitals (`ci`), accents
(`ai`), or spaces at the end.  What two languages make of single letters is not compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EXACT = "binary"
"""What columns of bytes compare by."""

Collations = Mapping[str, str]
"""The collation of each column by the column's name."""


@dataclass(frozen=True, slots=True)
class _Looseness:
    """`level`: 0 tells all texts apart, 1 not those that are spelled alike, 2 nor capitals, 3 nor accents."""

    level: int
    pads: bool


def is_looser(collation: str, other: str) -> bool:
    """Whether texts that differ by `other` may be equal by `collation`; False for names that say nothing."""
    mine, its = _parse(collation), _parse(other)
    if mine is None or its is None:
        return False
    return mine.level > its.level or (mine.pads and not its.pads)


def find_looser_keys(keys: Collations, others: Collations) -> list[str]:
    """The columns that both have, and that `keys` compares more loosely, in order."""
    return sorted(column for column, name in keys.items() if column in others and is_looser(name, others[column]))


def _parse(name: str) -> _Looseness | None:
    words = name.lower().split("_")
    # In those that MySQL calls 0900 a space at the end counts, as in MariaDB's nopad ones.
    pads = not {"nopad", "0900", EXACT} & set(words)
    if EXACT in words or "bin" in words:
        return _Looseness(0, pads)
    if "cs" in words:
        return _Looseness(3 if "ai" in words else 1, pads)
    if "ci" in words:
        return _Looseness(2 if "as" in words else 3, pads)
    return None

"""What the relay hands to the applier: changes in source order, and the same changes folded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from towline.domain.changes import RowChange
from towline.domain.positions import Position
from towline.engine.fold import Fold

_FOLD_CHANGES: Final = 1000


@dataclass(slots=True, eq=False)
class Batch:
    """Whole source transactions; or a part of one, while not `is_complete` (I2).

    `position` lies after the last commit, `source_time_us` is that commit's time; both None in a part that is not
    the last.  Without transactions a batch only says that the stream has come to `position`.
    `is_tolerant`: the target may have some of the changes already.
    """

    is_tolerant: bool = False
    changes: list[RowChange] = field(default_factory=list)
    transactions: int = 0
    size_bytes: int = 0
    position: Position | None = None
    source_time_us: int | None = None
    is_complete: bool = True
    _fold: Fold = field(init=False, repr=False)
    _folded: int = 0

    def __post_init__(self) -> None:
        self._fold = Fold(tolerant=self.is_tolerant)

    @property
    def fold(self) -> Fold:
        """All changes, folded."""
        self._fold.add(self.changes[self._folded :])
        self._folded = len(self.changes)
        return self._fold

    def add(self, changes: list[RowChange], size_bytes: int) -> None:
        self.changes += changes
        self.size_bytes += size_bytes
        # Many at a time, but not all at the end: the work is spread over the time of reading.
        if len(self.changes) - self._folded >= _FOLD_CHANGES:
            self._fold.add(self.changes[self._folded :])
            self._folded = len(self.changes)

    def clear(self) -> None:
        """Let go of the rows, whoever still holds the batch."""
        self.changes.clear()
        self._fold, self._folded = Fold(tolerant=self.is_tolerant), 0

    def end_transaction(self, position: Position, time_us: int) -> None:
        self.transactions += 1
        self.position = position
        self.source_time_us = time_us

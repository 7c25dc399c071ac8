"""Tells of values that became NULL, by column: when the full phase is over, when a column meets its first, at the end.

The counts are the target's own, see `CountsReplaced`; nothing is asked for jobs that refuse such values.
"""

from __future__ import annotations

from typing import Final

from towline.domain.conversion import ReplacedValues, ZeroDates
from towline.domain.structure import StructureReport
from towline.domain.tables import TableName
from towline.engine.ports import CountsReplaced
from towline.engine.run import Run

# While a stream goes on, a column is told of again when it has so many times as many.
_GROWTH: Final = 10


Told = dict[tuple[str, str, str], ReplacedValues]


class ReplacedNotes:
    """What one run has told so far."""

    def __init__(self, run: Run, told: Told) -> None:
        """`told` is filled here, and handed on from attempt to attempt."""
        self._run = run
        self._told = told

    async def look(self, *, is_final: bool = False) -> None:
        """Tell what is new; with `is_final` every figure that is not the last one told."""
        target = self._run.sides.copy_target
        if self._run.spec.conversion.zero_dates is not ZeroDates.NULL or not isinstance(target, CountsReplaced):
            return
        for values in await target.load_replaced():
            place = values.schema, values.table, values.column
            told = self._told.get(place)
            if told is None or (is_final and values != told) or _total(values) >= _GROWTH * _total(told):
                self._told[place] = values
                self._run.reporter.note(render_replaced(values))


def render_replaced(values: ReplacedValues) -> StructureReport:
    ways = [(values.copied, "in the copy"), (values.streamed, "in the stream")]
    said = " and ".join(f"{count:,} {way}" for count, way in ways if count)
    name = f"{TableName(values.schema, values.table)}.{values.column}"
    return StructureReport("COLUMN", name, f"dates with a zero in them became NULL: {said}")


def _total(values: ReplacedValues) -> int:
    return values.copied + values.streamed

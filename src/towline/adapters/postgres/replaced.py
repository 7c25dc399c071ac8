"""Values that the target's types do not have and that become NULL, where the job allows it: found, and counted.

The counts are kept on the target and move in the transaction that writes the rows, so they are exact after any crash.
What is counted is what is written: a change that a later one of its batch makes needless is not, and a row that is
updated with the value still in it is once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

import asyncpg

from towline.adapters.postgres.apply_sql import TargetColumn
from towline.domain.changes import NULL_CELL, Relation, join_cells, split_row, value_of
from towline.domain.conversion import ReplacedValues
from towline.domain.tables import TableName

Replaced = Counter[tuple[TableName, str]]
"""How many values, by table and column."""

REPLACED_DDL: Final = """CREATE TABLE IF NOT EXISTS towline.replaced_value (
    job_id text NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    column_name text NOT NULL,
    copied bigint NOT NULL,
    streamed bigint NOT NULL,
    PRIMARY KEY (job_id, schema_name, table_name, column_name))"""
# In one order for all sessions, which wait for each other's rows and must not do so in a circle.
_ADD: Final = """
INSERT INTO towline.replaced_value AS r (job_id, schema_name, table_name, column_name, copied, streamed)
SELECT $1, s, t, c, CASE WHEN $6 THEN n ELSE 0 END, CASE WHEN $6 THEN 0 ELSE n END
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[]) AS u(s, t, c, n)
ON CONFLICT (job_id, schema_name, table_name, column_name)
DO UPDATE SET copied = r.copied + excluded.copied, streamed = r.streamed + excluded.streamed
"""
_LOAD: Final = """
SELECT schema_name, table_name, column_name, copied, streamed FROM towline.replaced_value
WHERE job_id = $1 ORDER BY schema_name, table_name, column_name
"""
_DATE_TYPES: Final = frozenset({1082, 1114, 1184})  # date, timestamp, timestamp with time zone


class NullDates:
    """Makes NULL of dates of which `is_missing` says so, in the columns of one relation that may be NULL on the target.

    Rows come in text form.
    """

    def __init__(
        self, relation: Relation, columns: Sequence[TargetColumn], is_missing: Callable[[bytes], bool]
    ) -> None:
        self._relation = relation
        self._numbers = tuple(
            number for number, column in enumerate(columns) if column.type_id in _DATE_TYPES and column.is_nullable
        )
        self._is_missing = is_missing

    def fit(self, rows: Collection[bytes], counts: Replaced | None) -> Collection[bytes]:
        """The rows as the target can hold them; what became NULL is added to `counts`."""
        if not self._numbers:
            return rows
        return [self._fit_row(row, counts) for row in rows]

    def _fit_row(self, row: bytes, counts: Replaced | None) -> bytes:
        cells = split_row(row)
        found = [number for number in self._numbers if (value := value_of(cells[number])) and self._is_missing(value)]
        if not found:
            return row
        for number in found:
            cells[number] = NULL_CELL
            if counts is not None:
                counts[self._relation.table, self._relation.columns[number]] += 1
        return join_cells(cells)


async def add_replaced(connection: asyncpg.Connection, job_id: str, counts: Replaced, *, is_copy: bool) -> None:
    """Add to what is remembered, in the open transaction."""
    if not counts:
        return
    entries = sorted(counts.items())
    await connection.execute(
        _ADD,
        job_id,
        [table.schema for (table, _), _ in entries],
        [table.name for (table, _), _ in entries],
        [column for (_, column), _ in entries],
        [count for _, count in entries],
        is_copy,
    )


async def load_replaced(connection: asyncpg.Connection, job_id: str) -> list[ReplacedValues]:
    return [ReplacedValues(*row) for row in await connection.fetch(_LOAD, job_id)]

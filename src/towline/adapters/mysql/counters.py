"""What AUTO_INCREMENT columns would give next.

A counter follows the rows by itself, also when the rows come with their numbers.  So a target's is behind for a moment
only, or for good where the source's last rows came and went between two batches, or were rolled back: then the
target would give numbers to new rows that the source's rows have had.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from towline.adapters.mysql.catalog import FRESH_STATISTICS
from towline.adapters.mysql.quoting import quote_literal
from towline.adapters.mysql.session import Session
from towline.domain.tables import TableName

_COUNTERS: Final = """
SELECT t.table_schema, t.table_name, coalesce(t.auto_increment, 1) FROM information_schema.tables t
JOIN information_schema.columns c ON c.table_schema = t.table_schema AND c.table_name = t.table_name
WHERE t.table_schema IN ({schemas}) AND c.extra LIKE '%auto_increment%'
"""


async def read_counters(session: Session, schemas: Collection[str]) -> dict[TableName, int]:
    """The next number of each table that counts, in these databases."""
    if not schemas:
        return {}
    if session.flavor.is_mysql_from(8, 0):
        await session.execute(FRESH_STATISTICS)
    listed = ", ".join(quote_literal(name) for name in sorted(schemas))
    rows = await session.query(_COUNTERS.format(schemas=listed), what="reading the counters")
    return {TableName(schema, name): int(value) for schema, name, value in rows}


def find_late(
    there: Mapping[TableName, int], wanted: Mapping[TableName, int], earlier: Mapping[TableName, int] | None
) -> Iterator[TableName]:
    """Tables whose counter is behind the one that is wanted. Pure; all are the numbers that come next.

    With `earlier`, only those that have not even come to that: setting a counter locks its table, and one that
    follows the rows will get there by itself.
    """
    for table, value in wanted.items():
        least = value if earlier is None else min(value, earlier.get(table, 0))
        if table in there and there[table] < least:
            yield table

"""The columns of a job's tables on a PostgreSQL target, to be held against those of a MySQL source.

Rows in the binlog have no names, unless the source logs them: two columns of one type that changed places on the source
while the job was stopped would be taken one for the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import translated
from towline.domain.errors import Side
from towline.domain.jobs import Endpoint
from towline.domain.tables import TableName

_READ_NAMES: Final = """
SELECT p.schema_name, p.table_name, array_agg(a.attname::text ORDER BY a.attnum)
FROM towline.table_plan p
JOIN pg_namespace n ON n.nspname = p.schema_name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.table_name
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE p.job_id = $1
GROUP BY 1, 2
"""


class TargetColumns:
    """Implements `adapters.mysql.forms.CopiedColumns`, on a connection of its own each time."""

    def __init__(self, endpoint: Endpoint, *, job_id: str) -> None:
        self._endpoint = endpoint
        self._job_id = job_id

    async def read_names(self, tables: Iterable[TableName]) -> dict[TableName, tuple[str, ...]]:
        connection = await connect(self._endpoint, purpose=f"{self._job_id}:columns", side=Side.TARGET)
        try:
            with translated(Side.TARGET, what="reading the columns of the target's tables"):
                rows = await connection.fetch(_READ_NAMES, self._job_id)
        finally:
            connection.terminate()
        found = {TableName(schema, name): tuple(names) for schema, name, names in rows}
        return {table: found[table] for table in tables if table in found}

"""What the target remembers of a job's structure, for those who only want to see it."""

from __future__ import annotations

from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import translated
from towline.domain.errors import Side
from towline.domain.jobs import Endpoint
from towline.domain.structure import StructureEntry
from towline.domain.tables import TableName

_SETTINGS = {"statement_timeout": "5s", "lock_timeout": "2s", "default_transaction_read_only": "on"}
_ENTRIES = """
SELECT kind, name, schema_name, table_schema, table_name, done_at IS NOT NULL AS is_done,
       done_at IS NOT NULL AND failed_reason IS NULL AS is_made
FROM towline.structure_item WHERE job_id = $1 ORDER BY number
"""


async def read_structure(target: Endpoint, job_id: str) -> list[StructureEntry]:
    """The objects of the job in the order of their creation; empty before they are known and after the job's end."""
    connection = await connect(target, purpose="structure-view", settings=_SETTINGS, timeout_s=5, side=Side.TARGET)
    try:
        with translated(Side.TARGET, what="looking at the job's structure"):
            if await connection.fetchval("SELECT to_regclass('towline.structure_item')") is None:
                return []
            rows = await connection.fetch(_ENTRIES, job_id)
    finally:
        connection.terminate()
    return [
        StructureEntry(
            kind=row["kind"],
            schema=row["schema_name"],
            name=row["name"],
            table=TableName(row["table_schema"], row["table_name"]) if row["table_name"] else None,
            is_done=row["is_done"],
            is_made=row["is_made"],
        )
        for row in rows
    ]

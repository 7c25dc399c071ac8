"""What the target remembers of a job's structure, for those who only want to see it."""

from __future__ import annotations

from towline.adapters.mysql.bookkeeping import has_bookkeeping
from towline.adapters.mysql.connection import connect
from towline.domain.errors import Side
from towline.domain.jobs import Endpoint
from towline.domain.structure import StructureEntry
from towline.domain.tables import TableName

_SETTINGS = {"lock_wait_timeout": "2", "innodb_lock_wait_timeout": "2"}
_ENTRIES = """
SELECT kind, name, schema_name, table_schema, table_name, done_at IS NOT NULL, failed_reason IS NULL
FROM towline.structure_item WHERE job_id = %s ORDER BY number
"""


async def read_structure(target: Endpoint, job_id: str) -> list[StructureEntry]:
    """The objects of the job in the order of their creation; empty before they are known and after the job's end."""
    session = await connect(target, purpose="structure-view", settings=_SETTINGS, timeout_s=5, side=Side.TARGET)
    try:
        if not await has_bookkeeping(session):
            return []
        rows = await session.query(_ENTRIES, job_id, what="looking at the job's structure")
    finally:
        session.terminate()
    return [
        StructureEntry(
            kind=kind,
            schema=schema,
            name=name,
            table=TableName(table_schema, table) if table else None,
            is_done=bool(is_done),
            is_made=bool(is_done and is_whole),
        )
        for kind, name, schema, table_schema, table, is_done, is_whole in rows
    ]

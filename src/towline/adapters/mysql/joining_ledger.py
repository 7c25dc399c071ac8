"""What the target remembers of tables that join a job, until they are in step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from towline.adapters.mysql.gtid import BinlogPosition, parse_position
from towline.adapters.mysql.joining import Joining, JoiningTable
from towline.adapters.mysql.session import Session
from towline.domain.tables import TableName

_TABLES: Final = "SELECT schema_name, table_name FROM towline.joining WHERE job_id = %s"
_READ: Final = """
SELECT j.schema_name, j.table_name, j.since, s.position
FROM towline.joining j
JOIN towline.snapshot s ON s.job_id = j.job_id AND s.number = (
    SELECT MIN(c.snapshot_number) FROM towline.chunk c
    WHERE c.job_id = j.job_id AND c.schema_name = j.schema_name AND c.table_name = j.table_name)
WHERE j.job_id = %s
"""
# They came with the stream, whole, and so they are in step since the first snapshot as far as the copy goes.
_MARK_STREAMED: Final = """
INSERT INTO towline.chunk (job_id, schema_name, table_name, kind, number, first_page, end_page, snapshot_number,
                           row_count, size_bytes)
SELECT p.job_id, p.schema_name, p.table_name, 'pages', 0, 0, NULL,
       (SELECT MIN(s.number) FROM towline.snapshot s WHERE s.job_id = p.job_id), 0, 0
FROM towline.table_plan p
LEFT JOIN towline.chunk c ON c.job_id = p.job_id AND c.schema_name = p.schema_name AND c.table_name = p.table_name
WHERE p.job_id = %s AND c.job_id IS NULL
"""
_UNMARK: Final = """
UPDATE towline.job SET copied_at = IF(%s, NULL, copied_at), completed_at = NULL WHERE job_id = %s
"""


async def read_joining(session: Session, job_id: str, *, edit: int) -> Joining:
    """`edit`: the last one that the job is to take in. All of its tables must have been copied."""
    taken_in = await session.query_value("SELECT edit FROM towline.job_edit WHERE job_id = %s", job_id)
    tables = {
        TableName(schema, name): JoiningTable(parse_position(since), parse_position(floor))
        for schema, name, since, floor in await session.query(_READ, job_id)
    }
    return Joining(tables, is_awaited=edit > (taken_in or 0))


async def load_joining_tables(session: Session, job_id: str) -> frozenset[TableName]:
    return frozenset(TableName(*row) for row in await session.query(_TABLES, job_id))


async def begin_joining(
    session: Session, job_id: str, tables: Sequence[TableName], *, since: BinlogPosition, has_items: bool
) -> None:
    """The job is no longer complete.

    Call inside a transaction, when all other tables are in step, and before the plans of these are written.
    """
    if tables:
        await session.execute(_MARK_STREAMED, job_id)
    for table in tables:
        await session.execute(
            "INSERT INTO towline.joining (job_id, schema_name, table_name, since) VALUES (%s, %s, %s, %s)",
            job_id,
            table.schema,
            table.name,
            str(since),
        )
    if tables or has_items:
        await session.execute(_UNMARK, bool(tables), job_id)


async def end_joining(session: Session, job_id: str) -> None:
    """All of them are in step. Call inside a transaction."""
    await session.execute("DELETE FROM towline.joining WHERE job_id = %s", job_id)

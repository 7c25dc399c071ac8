"""The plan of a job's structure as the target remembers it, in `towline.structure_item`.

A row is marked done in the transaction that creates the object, so the table is always right about what
exists.  What is said of the structure lies beside it, in `towline.structure_report`, from the same transaction on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg

from towline.domain.structure import Section, StructureItem, StructureReport
from towline.domain.tables import TableName

STRUCTURE_DDL = (
    """CREATE TABLE IF NOT EXISTS towline.structure_item (
        job_id text NOT NULL,
        number int NOT NULL,
        section text NOT NULL,
        kind text NOT NULL,
        name text NOT NULL,
        schema_name text,
        table_schema text,
        table_name text,
        statements text[] NOT NULL,
        depends_on int[] NOT NULL,
        weight_bytes bigint NOT NULL,
        is_optional boolean NOT NULL,
        done_at timestamptz,
        failed_reason text,
        PRIMARY KEY (job_id, number))""",
    """CREATE TABLE IF NOT EXISTS towline.structure_report (
        job_id text NOT NULL,
        number bigint GENERATED ALWAYS AS IDENTITY,
        kind text NOT NULL,
        name text NOT NULL,
        reason text NOT NULL,
        PRIMARY KEY (job_id, number))""",
)

_COLUMNS = (
    "job_id",
    "number",
    "section",
    "kind",
    "name",
    "schema_name",
    "table_schema",
    "table_name",
    "statements",
    "depends_on",
    "weight_bytes",
    "is_optional",
)


_HAS_PLAN = """
SELECT EXISTS (SELECT 1 FROM towline.structure_item WHERE job_id = $1)
    OR EXISTS (SELECT 1 FROM towline.structure_report WHERE job_id = $1)
"""


async def save_plan(
    connection: asyncpg.Connection,
    job_id: str,
    items: Sequence[StructureItem],
    reports: Sequence[StructureReport] = (),
) -> None:
    """Remember the items and what is said of them, unless the job has a plan already. Call inside a transaction."""
    if await connection.fetchval(_HAS_PLAN, job_id):
        return
    await add_to_plan(connection, job_id, items)
    await add_reports(connection, job_id, reports)


async def add_to_plan(connection: asyncpg.Connection, job_id: str, items: Sequence[StructureItem]) -> None:
    """Remember more items, of numbers that are not taken. Call inside a transaction."""
    await connection.copy_records_to_table(
        "structure_item",
        schema_name="towline",
        columns=_COLUMNS,
        records=[_record(job_id, item) for item in items],
    )


async def remove_from_plan(connection: asyncpg.Connection, job_id: str, numbers: Sequence[int]) -> None:
    """Forget items, also as what others depend on. Call inside a transaction."""
    await connection.execute(
        "DELETE FROM towline.structure_item WHERE job_id = $1 AND number = ANY($2::int[])", job_id, list(numbers)
    )
    await connection.execute(
        """UPDATE towline.structure_item
           SET depends_on = ARRAY(SELECT d FROM unnest(depends_on) d WHERE d <> ALL($2::int[]) ORDER BY d)
           WHERE job_id = $1 AND depends_on && $2::int[]""",
        job_id,
        list(numbers),
    )


async def add_reports(connection: asyncpg.Connection, job_id: str, reports: Sequence[StructureReport]) -> None:
    """Call inside the transaction that makes them true."""
    if reports:
        await connection.execute(
            """INSERT INTO towline.structure_report (job_id, kind, name, reason)
               SELECT $1, u.kind, u.name, u.reason FROM unnest($2::text[], $3::text[], $4::text[])
                   WITH ORDINALITY AS u(kind, name, reason, number) ORDER BY u.number""",
            job_id,
            [report.kind for report in reports],
            [report.name for report in reports],
            [report.reason for report in reports],
        )


async def load_reports(connection: asyncpg.Connection, job_id: str) -> list[StructureReport]:
    """In the order in which they came up."""
    rows = await connection.fetch(
        "SELECT kind, name, reason FROM towline.structure_report WHERE job_id = $1 ORDER BY number", job_id
    )
    return [StructureReport(*row) for row in rows]


async def load_plan(connection: asyncpg.Connection, job_id: str) -> list[StructureItem]:
    """The items by number; empty before `save_plan`."""
    rows = await connection.fetch("SELECT * FROM towline.structure_item WHERE job_id = $1 ORDER BY number", job_id)
    return [_item(row) for row in rows]


async def count_items(connection: asyncpg.Connection, job_id: str) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM towline.structure_item WHERE job_id = $1", job_id)
    return count


async def load_done(connection: asyncpg.Connection, job_id: str) -> frozenset[int]:
    """The numbers of the items that are done."""
    rows = await connection.fetch(
        "SELECT number FROM towline.structure_item WHERE job_id = $1 AND done_at IS NOT NULL", job_id
    )
    return frozenset(row["number"] for row in rows)


async def lock_pending(connection: asyncpg.Connection, job_id: str, numbers: Sequence[int]) -> frozenset[int]:
    """Those of the numbers that are not done, held until the transaction ends."""
    rows = await connection.fetch(
        """SELECT number FROM towline.structure_item
           WHERE job_id = $1 AND number = ANY($2::int[]) AND done_at IS NULL ORDER BY number FOR UPDATE""",
        job_id,
        list(numbers),
    )
    return frozenset(row["number"] for row in rows)


async def mark_done(
    connection: asyncpg.Connection,
    job_id: str,
    numbers: Sequence[int],
    *,
    failed: Mapping[int, str] | None = None,
) -> None:
    """Mark the numbers done; `failed` holds the reason for optional items that could not be made."""
    reasons = failed or {}
    await connection.execute(
        """UPDATE towline.structure_item AS i SET done_at = now(), failed_reason = u.reason
           FROM unnest($2::int[], $3::text[]) AS u(number, reason)
           WHERE i.job_id = $1 AND i.number = u.number""",
        job_id,
        list(numbers),
        [reasons.get(number) for number in numbers],
    )


async def load_failed_extensions(connection: asyncpg.Connection, job_id: str) -> list[str]:
    """Extensions of the plan that the target could not create."""
    rows = await connection.fetch(
        """SELECT name FROM towline.structure_item
           WHERE job_id = $1 AND kind = 'EXTENSION' AND failed_reason IS NOT NULL ORDER BY name""",
        job_id,
    )
    return [row["name"] for row in rows]


def _record(job_id: str, item: StructureItem) -> tuple[object, ...]:
    return (
        job_id,
        item.number,
        item.section.value,
        item.kind,
        item.name,
        item.schema,
        item.table.schema if item.table else None,
        item.table.name if item.table else None,
        [] if item.is_secret else list(item.statements),  # I7: the table can be read by whoever reads the database
        sorted(item.depends_on),
        item.weight_bytes,
        item.is_optional,
    )


def _item(row: asyncpg.Record) -> StructureItem:
    has_table = row["table_name"] is not None
    return StructureItem(
        number=row["number"],
        section=Section(row["section"]),
        kind=row["kind"],
        name=row["name"],
        schema=row["schema_name"],
        table=TableName(row["table_schema"], row["table_name"]) if has_table else None,
        statements=tuple(row["statements"]),
        depends_on=frozenset(row["depends_on"]),
        weight_bytes=row["weight_bytes"],
        is_optional=row["is_optional"],
    )

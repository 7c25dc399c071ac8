"""Tables leave a job: what the target's ledger forgets of them, and which foreign keys go.

A table that left no longer changes.  A foreign key from a table that stays to it would be broken by the next row,
unseen, as the applier does not check keys, and a key that leads from it to a table that stays forbids TRUNCATE there.
So both are dropped, as a job that never had the table would not have made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from towline.adapters.postgres.quoting import qualified, quote_ident
from towline.adapters.postgres.structure_plan import remove_from_plan
from towline.domain.structure import StructureReport
from towline.domain.tables import NameMap, TableName

_LOCK_TIMEOUT_S: Final = 10
_DROPPED: Final = "dropped on the target: one of its two tables left the job"
# Before the stream has begun, the rows are as of the newest snapshot.
_STANDS_AT: Final = """
SELECT coalesce((SELECT position FROM towline.checkpoint WHERE job_id = $1),
                (SELECT position FROM towline.snapshot WHERE job_id = $1 ORDER BY number DESC LIMIT 1), '')
"""
# Tables without rows of their own, the parents of partitions, are in the structure only.
_OF_ITEMS: Final = """
SELECT DISTINCT table_schema AS schema, table_name AS name, number = ANY($2::int[]) AS goes
FROM towline.structure_item WHERE job_id = $1 AND kind = 'TABLE' AND table_name IS NOT NULL
"""
_PLANNED: Final = "SELECT schema_name AS schema, table_name AS name FROM towline.table_plan WHERE job_id = $1"
_KEYS_ACROSS: Final = """
WITH gone AS (SELECT s, t FROM unnest($1::text[], $2::text[]) AS u(s, t)),
     kept AS (SELECT s, t FROM unnest($3::text[], $4::text[]) AS u(s, t))
SELECT n.nspname AS schema, c.relname AS name, k.conname AS key
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class f ON f.oid = k.confrelid JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
AND (((n.nspname, c.relname) IN (SELECT s, t FROM gone) AND (fn.nspname, f.relname) IN (SELECT s, t FROM kept))
  OR ((n.nspname, c.relname) IN (SELECT s, t FROM kept) AND (fn.nspname, f.relname) IN (SELECT s, t FROM gone)))
ORDER BY 1, 2, 3
"""


async def read_standing(connection: asyncpg.Connection, job_id: str) -> str:
    """Up to where the job's rows on the target are those of the source."""
    return str(await connection.fetchval(_STANDS_AT, job_id))


async def drop_keys_across(
    connection: asyncpg.Connection, job_id: str, tables: Sequence[TableName], items: Sequence[int], names: NameMap
) -> list[StructureReport]:
    """Drop the foreign keys between what leaves and what stays, and say so. Call inside a transaction."""
    rows = await connection.fetch(_OF_ITEMS, job_id, list(items))
    gone = set(tables) | {_name(row) for row in rows if row["goes"]}
    kept = {_name(row) for row in rows if not row["goes"]} - gone
    kept |= {_name(row) for row in await connection.fetch(_PLANNED, job_id)} - gone
    there, staying = ([names.target_name(table) for table in sorted(part)] for part in (gone, kept))
    await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'")
    dropped = []
    for row in await connection.fetch(_KEYS_ACROSS, *_columns(there), *_columns(staying)):
        table = qualified(TableName(row["schema"], row["name"]))
        await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {quote_ident(row['key'])}")
        dropped.append(StructureReport("FK CONSTRAINT", f"{row['schema']}.{row['name']} {row['key']}", _DROPPED))
    return dropped


async def forget(
    connection: asyncpg.Connection, job_id: str, tables: Sequence[TableName], items: Sequence[int]
) -> None:
    """Take tables and items out of the ledger. Call inside a transaction."""
    await remove_from_plan(connection, job_id, items)
    for relation in ("chunk", "table_plan", "replaced_value"):
        await connection.execute(
            f"""DELETE FROM towline.{relation} WHERE job_id = $1 AND (schema_name, table_name) IN
                (SELECT * FROM unnest($2::text[], $3::text[]))""",
            job_id,
            *_columns(tables),
        )


async def forget_forms(connection: asyncpg.Connection, job_id: str, tables: Sequence[TableName]) -> None:
    """What the source's tables are like, by which their rows are known. Call inside a transaction."""
    await connection.execute(
        """DELETE FROM towline.source_form WHERE job_id = $1 AND (schema_name, table_name) IN
           (SELECT * FROM unnest($2::text[], $3::text[]))""",
        job_id,
        *_columns(tables),
    )


async def remember_told(connection: asyncpg.Connection, job_id: str, reports: Sequence[StructureReport]) -> None:
    """What the job's history is still to be told. Call inside a transaction."""
    await connection.execute(
        """INSERT INTO towline.departure (job_id, number, kind, name, reason)
           SELECT $1, n + (SELECT coalesce(max(number), 0) FROM towline.departure WHERE job_id = $1), k, o, r
           FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS u(k, o, r, n)""",
        job_id,
        [report.kind for report in reports],
        [report.name for report in reports],
        [report.reason for report in reports],
    )


async def load_told(connection: asyncpg.Connection, job_id: str) -> list[StructureReport]:
    rows = await connection.fetch(
        "SELECT kind, name, reason FROM towline.departure WHERE job_id = $1 ORDER BY number", job_id
    )
    return [StructureReport(row["kind"], row["name"], row["reason"]) for row in rows]


def _columns(tables: Sequence[TableName]) -> tuple[list[str], list[str]]:
    return [table.schema for table in tables], [table.name for table in tables]


def _name(row: asyncpg.Record) -> TableName:
    return TableName(row["schema"], row["name"])

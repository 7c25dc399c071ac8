"""The forms of a MySQL source's tables in the bookkeeping of a PostgreSQL target.

A job reads them when it opens its stream, and writes them in two places only: here when there are none yet, and in the
commit of a statement that changes them (`mysql_to_postgres_ddl`).  So they are those of the checkpoint, whatever
crashed when.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from towline.adapters.mysql.forms import require_same_columns
from towline.adapters.mysql.gtid import parse_position
from towline.adapters.mysql.source_form import KeptForms, SourceForm
from towline.adapters.mysql.source_forms import read_source_forms
from towline.adapters.mysql.table_order import KeptForm
from towline.adapters.postgres.bookkeeping import require_epoch
from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import translated
from towline.domain.errors import Side, SourceDdl
from towline.domain.jobs import JobSpec
from towline.domain.tables import TableName

# A row without a table's name has what tables of the database get by default.
_LOAD: Final = "SELECT schema_name, table_name, form, since FROM towline.source_form WHERE job_id = $1"
_SAVE: Final = """
INSERT INTO towline.source_form (job_id, schema_name, table_name, form, since)
SELECT $1, s, t, f, $5 FROM unnest($2::text[], $3::text[], $4::text[]) AS u(s, t, f)
"""
_REPLACE: Final = """
INSERT INTO towline.source_form (job_id, schema_name, table_name, form, since)
SELECT $1, $2, $3, $4, (SELECT max(since) FROM towline.source_form WHERE job_id = $1)
ON CONFLICT (job_id, schema_name, table_name) DO UPDATE SET form = excluded.form
"""
_REMOVE: Final = "DELETE FROM towline.{relation} WHERE job_id = $1 AND schema_name = $2 AND table_name = $3"
_PLAN: Final = """
INSERT INTO towline.table_plan (job_id, schema_name, table_name, pages, chunk_pages, size_bytes, estimated_rows,
                                storage_id)
VALUES ($1, $2, $3, 0, 1, 0, 0, '') ON CONFLICT DO NOTHING
"""
_PLANNED: Final = "SELECT schema_name, table_name FROM towline.table_plan WHERE job_id = $1"
_READ_NAMES: Final = """
SELECT p.schema_name, p.table_name, array_agg(a.attname::text ORDER BY a.attnum)
FROM towline.table_plan p
JOIN pg_namespace n ON n.nspname = p.schema_name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.table_name
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE p.job_id = $1
GROUP BY 1, 2
"""


class TargetFormKeeper:
    """Implements `adapters.mysql.forms.FormKeeper`, on a connection of its own each time."""

    def __init__(self, spec: JobSpec, tables: Sequence[TableName], *, epoch: int) -> None:
        """`tables`: what the job copied, for the first time."""
        self._source, self._target = spec.source, spec.target
        self._job_id = spec.job_id
        self._conversion = spec.conversion
        self._tables = sorted(tables)
        self._epoch = epoch

    async def read(self) -> KeptForms:
        connection = await connect(self._target, purpose=f"{self._job_id}:forms", side=Side.TARGET)
        try:
            with translated(Side.TARGET, what="reading the forms of the source's tables"):
                kept = _join(await connection.fetch(_LOAD, self._job_id), is_plain=not self._conversion.structure)
            if kept is not None:
                return kept
            fresh = await read_source_forms(
                self._source, self._tables, job_id=self._job_id, conversion=self._conversion
            )
            with translated(Side.TARGET, what="keeping the forms of the source's tables"):
                planned = {TableName(*row) for row in await connection.fetch(_PLANNED, self._job_id)}
                if gone := sorted(planned - fresh.tables.keys()):
                    raise SourceDdl(f"the source no longer has {gone[0]}, which the job copied", side=Side.SOURCE)
                rows = await connection.fetch(_READ_NAMES, self._job_id)
                copied = {TableName(schema, name): tuple(names) for schema, name, names in rows}
                require_same_columns(copied, {table: form.shape(table) for table, form in fresh.tables.items()})
                async with connection.transaction():
                    await require_epoch(connection, self._job_id, self._epoch)  # I6
                    await _save(connection, self._job_id, fresh)
            return fresh
        finally:
            connection.terminate()


async def replace_form(connection: asyncpg.Connection, job_id: str, kept: KeptForm) -> None:
    """Part of the transaction of the statement that made the table so, with the list of the job's tables."""
    name = (job_id, kept.table.schema, kept.table.name)
    if kept.form is not None:
        await connection.execute(_REPLACE, *name, kept.form.encode())
        await connection.execute(_PLAN, *name)
        return
    for relation in ("source_form", "chunk", "table_plan"):
        await connection.execute(_REMOVE.format(relation=relation), *name)


def _join(rows: Sequence[asyncpg.Record], *, is_plain: bool) -> KeptForms | None:
    if not rows:
        return None
    tables = {TableName(row["schema_name"], row["table_name"]): row["form"] for row in rows if row["table_name"]}
    return KeptForms(
        {table: SourceForm.decode(form) for table, form in tables.items()},
        {row["schema_name"]: row["form"] for row in rows if not row["table_name"]},
        parse_position(rows[0]["since"]),
        is_plain,
    )


async def _save(connection: asyncpg.Connection, job_id: str, kept: KeptForms) -> None:
    rows = [(table.schema, table.name, form.encode()) for table, form in kept.tables.items()]
    rows += [(schema, "", charset) for schema, charset in kept.charsets.items()]
    await connection.execute(
        _SAVE, job_id, [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], str(kept.since)
    )

"""Reads the forms of a source's tables together with the place in its binlog at which they are so.

A statement is in the catalog a moment before or after it is in the binlog's position.  So the tables are held against
DDL for the time of the reading: a transaction that has looked at a table keeps it as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from towline.adapters.mysql.catalog import SYSTEM_SCHEMAS, read_keys
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.positions import read_position
from towline.adapters.mysql.quoting import qualified, quote_literal
from towline.adapters.mysql.session import Session
from towline.adapters.mysql.shapes import READ_COLUMNS, build_shapes
from towline.adapters.mysql.source_form import KeptForms, SourceForm
from towline.domain.conversion import PLAIN, Conversion
from towline.domain.errors import SetupError, Side
from towline.domain.jobs import Endpoint
from towline.domain.tables import TableName

# Whoever alters one of the tables has it for himself; rather come again later than have its writers wait behind us.
_LOCK_TIMEOUT_S: Final = 5
_TABLES_PER_QUERY: Final = 50
_COLLATIONS: Final = """
SELECT table_schema, table_name, table_collation FROM information_schema.tables
WHERE (table_schema, table_name) IN ({tables})
"""
_INDEXES: Final = """
SELECT DISTINCT table_schema, table_name, index_name FROM information_schema.statistics
WHERE (table_schema, table_name) IN ({tables}) ORDER BY 1, 2, 3
"""
_CHARSETS: Final = "SELECT schema_name, default_character_set_name FROM information_schema.schemata"


async def read_source_forms(
    source: Endpoint, tables: Sequence[TableName], *, job_id: str, conversion: Conversion = PLAIN
) -> KeptForms:
    """The forms of these tables, as they are at `since`.

    Raises: TargetBusy, somebody alters one of them.
    """
    settings = {"lock_wait_timeout": str(_LOCK_TIMEOUT_S)}
    session = await connect(source, purpose=f"{job_id}:forms", settings=settings, side=Side.SOURCE)
    try:
        await session.execute("START TRANSACTION READ ONLY")
        for part in _parts(tables):
            await session.query(
                " UNION ALL ".join(f"(SELECT 1 FROM {qualified(table)} LIMIT 0)" for table in part),
                what="holding the tables against DDL",
            )
        forms: dict[TableName, SourceForm] = {}
        for part in _parts(tables):
            forms |= await _read_part(session, part, conversion)
        charsets = {
            str(schema): str(charset)
            for schema, charset in await session.query(_CHARSETS)
            if str(schema).lower() not in SYSTEM_SCHEMAS
        }
        since = await read_position(session)
    finally:
        session.terminate()
    if since is None:
        raise SetupError("the source writes no binlog", side=Side.SOURCE, remedy="Set log_bin on the source.")
    return KeptForms(forms, charsets, since, is_plain=not conversion.structure)


async def _read_part(
    session: Session, tables: Sequence[TableName], conversion: Conversion
) -> dict[TableName, SourceForm]:
    wanted = ", ".join(f"({quote_literal(name.schema)}, {quote_literal(name.name)})" for name in tables)
    what = "reading the columns of the tables"
    rows = await session.query(READ_COLUMNS.format(tables=wanted), what=what)
    shapes = build_shapes(rows, is_for_postgres=True, conversion=conversion)
    keys = await read_keys(session, tables)
    indexes: dict[TableName, list[str]] = defaultdict(list)
    for schema, table, index in await session.query(_INDEXES.format(tables=wanted)):
        indexes[TableName(schema, table)].append(str(index))
    collations = {
        TableName(schema, table): str(collation or "")
        for schema, table, collation in await session.query(_COLLATIONS.format(tables=wanted))
    }
    return {
        table: SourceForm(
            shape.columns,
            key=tuple(keys.get(table, ())),
            charset=collations.get(table, "").partition("_")[0],
            indexes=tuple(indexes[table]),
            is_versioned=shape.is_versioned,
        )
        for table, shape in shapes.items()
    }


def _parts(tables: Sequence[TableName]) -> Iterator[Sequence[TableName]]:
    for first in range(0, len(tables), _TABLES_PER_QUERY):
        yield tables[first : first + _TABLES_PER_QUERY]

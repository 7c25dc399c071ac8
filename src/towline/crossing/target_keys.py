"""Primary and foreign keys that a MySQL source gives to, or takes from, a table of a PostgreSQL target.

All of it is part of the caller's transaction.  What is there already was made on the source between the begin of the
stream and the copy of the structure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import asyncpg

from towline.adapters.mysql.postgres_ddl import full_name, ident
from towline.adapters.mysql.postgres_keys import KeyAction
from towline.adapters.mysql.source_form import PRIMARY
from towline.adapters.mysql.table_order import TableOrder
from towline.crossing.target_indexes import build_index, build_primary, find_index, free_name, read_indexes
from towline.domain.errors import Side, SourceDdl
from towline.domain.tables import TableName

_COLUMNS: Final = """
SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
"""
# A name that the source gave is the table's and a number; with the table it gets another one there, and not here.
_GIVEN: Final = re.compile(r"_ibfk_\d+$")
_FOREIGN: Final = """
SELECT conname::text AS name,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (number, place)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place) AS columns
FROM pg_constraint k WHERE k.conrelid = $1::text::regclass AND k.contype = 'f'
"""


async def drop_foreign_key(connection: asyncpg.Connection, order: TableOrder, action: KeyAction) -> None:
    """One that is not there was left out by the copy, with a report."""
    names = [str(row["name"]) for row in await connection.fetch(_FOREIGN, full_name(order.table))]
    found = [name for name in names if name.lower() == action.name.lower()]
    given = _GIVEN.search(action.name)
    if given is not None and not found:
        found = [name for name in names if name.endswith(given[0])]
    for name in found:
        await connection.execute(f"ALTER TABLE {full_name(order.table)} DROP CONSTRAINT {ident(name)}")


async def set_primary_key(connection: asyncpg.Connection, order: TableOrder, action: KeyAction) -> None:
    columns = await _stored(connection, order, order.table, action.columns)
    found = await find_index(connection, order.table, PRIMARY)
    if found is not None and list(found.columns) == columns:
        return
    if found is not None:
        await connection.execute(f"ALTER TABLE {full_name(order.table)} DROP CONSTRAINT {ident(found.name)}")
    await build_primary(connection, order.table, columns)


async def add_foreign_key(connection: asyncpg.Connection, order: TableOrder, action: KeyAction) -> None:
    """Raises SourceDdl: what it refers to is not unique on the target, or another key has its name."""
    assert action.parent is not None
    table = full_name(order.table)
    mine = await _stored(connection, order, order.table, action.columns)
    other = await _stored(connection, order, action.parent, action.parent_columns)
    for row in await connection.fetch(_FOREIGN, table):
        if row["name"].lower() == action.name.lower():
            if list(row["columns"]) == mine:
                return
            raise SourceDdl(f"{order.summary}: the target has another key {action.name}", side=Side.TARGET)
    unique = [set(each.columns) for each in await read_indexes(connection, action.parent) if each.is_unique]
    if set(other) not in unique:
        raise SourceDdl(
            f"the source ran {order.summary}, which is not carried: what {action.name} refers to in {action.parent} is"
            " not unique, which PostgreSQL asks for",
            side=Side.SOURCE,
        )
    listed, referred = (", ".join(map(ident, columns)) for columns in (mine, other))
    statement = (
        f"ALTER TABLE {table} ADD CONSTRAINT {ident(action.name)} FOREIGN KEY ({listed})"
        f" REFERENCES {full_name(action.parent)} ({referred}) ON DELETE {action.on_delete} ON UPDATE {action.on_update}"
    )
    await connection.execute("SAVEPOINT foreign_key")
    try:
        await connection.execute(statement)
    except asyncpg.ForeignKeyViolationError:
        # Rows that were written with foreign_key_checks off, or that refer to a text in other letters.
        await connection.execute("ROLLBACK TO SAVEPOINT foreign_key")
        await connection.execute(f"{statement} NOT VALID")
    await connection.execute("RELEASE SAVEPOINT foreign_key")
    if not any(list(each.columns[: len(mine)]) == mine for each in await read_indexes(connection, order.table)):
        # The source makes one then.
        name = await free_name(connection, order.table, action.index)
        await build_index(connection, order.table, name, [(column, False) for column in mine], is_unique=False)


async def _stored(
    connection: asyncpg.Connection, order: TableOrder, table: TableName, names: Sequence[str]
) -> list[str]:
    """The columns in the target's letters."""
    known = {name.lower(): name for (name,) in await connection.fetch(_COLUMNS, full_name(table))}
    missing = [name for name in names if name.lower() not in known]
    if missing:
        raise SourceDdl(f"{order.summary}: the target's table {table} has no column {missing[0]}", side=Side.TARGET)
    return [known[name.lower()] for name in names]

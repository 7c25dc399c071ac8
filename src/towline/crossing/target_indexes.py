"""The indexes of a PostgreSQL target's table, as its MySQL source calls them.

They are named as the copy names them, the table's name in front; which one is meant is looked up among the table's own,
so an index that the copy left out is simply not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import asyncpg

from towline.adapters.mysql.postgres_ddl import candidates, full_name, ident
from towline.adapters.mysql.source_form import PRIMARY
from towline.domain.tables import TableName

_INDEXES: Final = """
SELECT c.relname::text AS name, i.indisunique AS is_unique, i.indisprimary AS is_primary,
       i.indoption::int2[] AS options,
       EXISTS (SELECT FROM pg_constraint o WHERE o.conindid = c.oid AND o.contype IN ('p', 'u', 'x')) AS is_constraint,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1::text::regclass
"""
_TAKEN: Final = """
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = $2)
"""


@dataclass(frozen=True, slots=True)
class TargetIndex:
    """`parts`: its columns, and whether each is descending."""

    name: str
    is_unique: bool
    is_primary: bool
    is_constraint: bool
    parts: tuple[tuple[str, bool], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.parts)


async def read_indexes(connection: asyncpg.Connection, table: TableName) -> list[TargetIndex]:
    return [
        TargetIndex(
            row["name"],
            row["is_unique"],
            row["is_primary"],
            row["is_constraint"],
            tuple((name, bool(option & 1)) for name, option in zip(row["columns"] or (), row["options"], strict=False)),
        )
        for row in await connection.fetch(_INDEXES, full_name(table))
    ]


async def find_index(connection: asyncpg.Connection, table: TableName, name: str) -> TargetIndex | None:
    """The table's index that the source calls so; MySQL does not tell upper from lower letters in such names."""
    found = await read_indexes(connection, table)
    if name == PRIMARY:
        return next((index for index in found if index.is_primary), None)
    indexes = {index.name.lower(): index for index in found}
    # As many places as the table has indexes, and one for each that took a name before.
    for candidate in islice(candidates(_index_name(table, name)), len(indexes) + 10):
        index = indexes.get(candidate.lower())
        if index is not None:
            return index
    return None


async def free_name(connection: asyncpg.Connection, table: TableName, name: str) -> str:
    """What the index may be called on the target."""
    for candidate in candidates(_index_name(table, name)):
        if not await connection.fetchval(_TAKEN, table.schema, candidate):
            return candidate
    raise AssertionError("names do not end")


async def build_index(
    connection: asyncpg.Connection,
    table: TableName,
    name: str,
    parts: Sequence[tuple[str, bool]],
    *,
    is_unique: bool,
) -> None:
    """`name` is the target's own."""
    listed = ", ".join(ident(column) + (" DESC" if is_descending else "") for column, is_descending in parts)
    unique = "UNIQUE " if is_unique else ""
    await connection.execute(f"CREATE {unique}INDEX {ident(name)} ON {full_name(table)} ({listed})")


async def build_primary(connection: asyncpg.Connection, table: TableName, columns: Sequence[str]) -> None:
    name = ident(await free_name(connection, table, PRIMARY))
    listed = ", ".join(map(ident, columns))
    await connection.execute(f"ALTER TABLE {full_name(table)} ADD CONSTRAINT {name} PRIMARY KEY ({listed})")


def _index_name(table: TableName, name: str) -> str:
    """As the structure asks for it."""
    return f"{table.name}_pkey" if name == PRIMARY else f"{table.name}_{name}"

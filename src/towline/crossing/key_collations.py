"""How strictly keys of PostgreSQL tell texts apart, in the words of MySQL's collations."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import asyncpg

from towline.adapters.mysql.collations import EXACT, Collations
from towline.adapters.postgres.errors import translated
from towline.crossing.to_mysql_catalog import SourceTable
from towline.crossing.to_mysql_values import parse_type
from towline.domain.errors import Side
from towline.domain.tables import TableName

LooseColumn = tuple[TableName, str]

# Spaces at the end of a `character` mean nothing.
_COLLATIONS: Final = {"text": EXACT, "character varying": EXACT, "bytea": EXACT, "character": "utf8mb4_bin"}
_LOOSE: Final = """
SELECT n.nspname AS schema, c.relname AS name, a.attname AS column
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_collation k ON k.oid = a.attcollation
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT k.collisdeterministic AND c.relkind IN ('r', 'p') AND NOT a.attisdropped
"""


async def read_loose_columns(connection: asyncpg.Connection) -> frozenset[LooseColumn]:
    """Columns whose collation takes different texts for equal."""
    with translated(Side.SOURCE, what="reading the source's collations"):
        rows = await connection.fetch(_LOOSE)
    return frozenset((TableName(row["schema"], row["name"]), row["column"]) for row in rows)


def key_collations(found: SourceTable, loose: Collection[LooseColumn]) -> Collations:
    """Of the table's columns of unique keys that are text, `loose` ones left out. Pure."""
    of_keys = {name for index in found.indexes if index.is_unique for name in index.columns}
    kinds = {column.name: parse_type(column.type_sql)[0] for column in found.columns if column.labels is None}
    return {
        name: _COLLATIONS[kinds[name]]
        for name in of_keys
        if kinds.get(name) in _COLLATIONS and (found.table.name, name) not in loose
    }

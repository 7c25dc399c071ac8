"""Other types that a PostgreSQL column may have on MySQL and MariaDB, where the job asks for one. Pure.

A wish makes the column travel as one of another type of PostgreSQL would, a text as `character varying(200)` for
example.  So structure, copy and stream treat it alike, and what does not fit is refused as it is for such a column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from towline.crossing.to_mysql_values import LARGEST_PRECISION, LARGEST_SCALE, UUID_AS_BYTES, parse_type
from towline.domain.conversion import ColumnType, Conversion
from towline.domain.tables import TableName

_LONGEST_VARCHAR: Final = 16_383
_DECIMAL = re.compile(r"(?:decimal|numeric)\((\d+)(?:,(\d+))?\)")
_VARCHAR = re.compile(r"varchar\((\d+)\)")
_CHOICES: Final = {
    "numeric": "decimal(precision, scale)",
    "text": "varchar(length)",
    "character varying": "varchar(length)",
    "uuid": "binary(16)",
}


def apply_wish(table: TableName, column: str, type_sql: str, conversion: Conversion) -> tuple[str, str]:
    """The type as which the column travels, and what is wrong with the wish for it, "" for nothing."""
    wish = conversion.find_type(table, column, type_sql, _short(type_sql))
    if wish is None:
        return type_sql, ""
    wished = None if wish.is_nullable else _wished(parse_type(type_sql)[0], "".join(wish.type_sql.split()), wish)
    if wished is not None:
        return wished, ""
    asked = f"{wish.type_sql} null".strip() if wish.is_nullable else wish.type_sql
    choice = _CHOICES.get(parse_type(type_sql)[0], "nothing else")
    return type_sql, f"{table}.{column} ({type_sql}) cannot be {asked}: {choice}"


def find_missing_columns(conversion: Conversion, columns: Sequence[tuple[TableName, str]]) -> list[str]:
    """Columns that are wished for and that the job does not have, one sentence each."""
    known = {(table.schema, table.name, column) for table, column in columns}
    return [
        f"the job has no column {wish}, for which a type is asked"
        for wish in conversion.column_types
        if wish.is_for_column and wish.place not in known
    ]


def _wished(name: str, word: str, wish: ColumnType) -> str | None:
    if name == "numeric" and (match := _DECIMAL.fullmatch(word)):
        precision, scale = int(match[1]), int(match[2] or 0)
        if 1 <= precision <= LARGEST_PRECISION and scale <= min(LARGEST_SCALE, precision):
            return f"numeric({precision},{scale})"
    if name in ("text", "character varying"):
        match = _VARCHAR.fullmatch(word.replace("charactervarying", "varchar"))
        if match and 1 <= int(match[1]) <= _LONGEST_VARCHAR:
            return f"character varying({int(match[1])})"
    if name == "uuid" and wish.type_sql == "binary(16)":
        return UUID_AS_BYTES
    return None


def _short(type_sql: str) -> str:
    """As people write it."""
    return type_sql.replace("character varying", "varchar")

"""Whether a PostgreSQL database holds what a MySQL or MariaDB database holds, by values.

Both are read by their own drivers, whose conversions have nothing to do with Towline's; what the two show differently
by design (see docs/types.md) is brought to one form here.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from typing import Any

from tests.servers.databases import Database
from tests.servers.mysql import MysqlDatabase

_SPATIAL = frozenset(
    {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geomcollection"}
)
_SHOWN = {"float": '"{}"::float8', "inet4": 'host("{}")', "inet6": 'host("{}")', "json": '"{}"::text'}


def assert_same_values(source: MysqlDatabase, target: Database) -> None:
    """Every table of the source's database, and no other, in the schema of its name, row by row."""
    tables = _read_columns(source)
    found = {
        name
        for (name,) in target.fetch_all(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", [source.name]
        )
    }
    assert found == set(tables)
    for table, columns in tables.items():
        left, right = _read_source(source, table, columns), _read_target(source, target, table, columns)
        missing, surplus = left - right, right - left
        assert not missing, f"{table}: {missing.total()} missing, such as {list(missing)[:3]}"
        assert not surplus, f"{table}: {surplus.total()} too many, such as {list(surplus)[:3]}"


def _read_columns(source: MysqlDatabase) -> dict[str, list[tuple[str, str]]]:
    rows = source.fetch_all(
        """SELECT t.table_name, c.column_name, c.data_type
           FROM information_schema.tables t
           JOIN information_schema.columns c ON c.table_schema = t.table_schema AND c.table_name = t.table_name
           WHERE t.table_schema = %s AND t.table_type = 'BASE TABLE' ORDER BY t.table_name, c.ordinal_position""",
        [source.name],
    )
    tables: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in rows:
        tables.setdefault(table, []).append((column, kind.lower()))
    return tables


def _read_source(source: MysqlDatabase, table: str, columns: list[tuple[str, str]]) -> Counter[tuple[Any, ...]]:
    # The driver shows six digits of a FLOAT, and takes a VECTOR for a text.
    casts = {"float": "CAST(`{}` AS DOUBLE)", "vector": "CAST(`{}` AS BINARY)"}
    shown = ", ".join(casts.get(kind, "`{}`").format(name) for name, kind in columns)
    with source.connect(init_command="SET time_zone = '+00:00'") as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {shown} FROM `{table}`")
        rows = cursor.fetchall()
    return Counter(
        tuple(_from_source(value, kind) for value, (_, kind) in zip(row, columns, strict=True)) for row in rows
    )


def _from_source(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "set":
        return tuple(value.split(",")) if value else ()
    if kind == "bit":
        return int.from_bytes(value, "big")
    if kind == "json":
        return _canonical(json.loads(value))
    if kind in _SPATIAL:
        (srid,) = struct.unpack_from("<I", value)
        (shape,) = struct.unpack_from("<I", value, 5)
        head = value[4:5] + struct.pack("<I", shape | 0x20000000) + value[:4] if srid else value[4:9]
        return head + value[9:]
    if kind == "vector":
        return struct.unpack(f"<{len(value) // 4}f", value)
    return value


def _read_target(
    source: MysqlDatabase, target: Database, table: str, columns: list[tuple[str, str]]
) -> Counter[tuple[Any, ...]]:
    shown = ", ".join(_SHOWN.get(kind, '"{}"').format(name) for name, kind in columns)
    rows = target.fetch_all(f'SELECT {shown} FROM "{source.name}"."{table}"')
    return Counter(
        tuple(_from_target(value, kind) for value, (_, kind) in zip(row, columns, strict=True)) for row in rows
    )


def _from_target(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind in ("set", "vector"):
        return tuple(value)
    if kind == "bit":
        return int(value, 2)
    if kind == "json":
        return _canonical(json.loads(value))
    if kind == "timestamp":
        assert value.utcoffset().total_seconds() == 0
        return value.replace(tzinfo=None)
    if kind == "uuid":
        return str(value)
    return value


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)

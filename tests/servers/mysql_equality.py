"""Whether two servers hold the same rows of a database, by value."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.servers.mysql import MysqlServer


def read_rows(
    server: MysqlServer, database: str, table: str, columns: list[tuple[str, str]]
) -> Counter[tuple[Any, ...]]:
    """All rows as the bytes that the server stores; FLOAT with all its digits, JSON by meaning."""
    selected = ", ".join(f"`{name}` * 1e0" if kind == "float" else f"`{name}`" for name, kind in columns)
    with server.connect(database, conv={}, use_unicode=False) as connection, connection.cursor() as cursor:
        cursor.execute("SET SESSION character_set_results = NULL, time_zone = '+00:00'")
        cursor.execute(f"SELECT {selected} FROM `{table}`")
        rows = cursor.fetchall()
    json_columns = [number for number, (_, kind) in enumerate(columns) if kind == "json"]
    if json_columns:
        rows = [_with_json(row, json_columns) for row in rows]
    return Counter(rows)


def assert_same_rows(
    source: MysqlServer,
    target: MysqlServer,
    database: str,
    *,
    renamed: Mapping[str, tuple[str, str]] | None = None,
    target_database: str | None = None,
) -> None:
    """Fails with the first differences. `renamed`: database and name on the target, by the source's name."""
    tables = _read_tables(source, database)
    assert tables, "nothing to compare"
    places = {table: (renamed or {}).get(table, (target_database or database, table)) for table in tables}
    there = {place for home in {home for home, _ in places.values()} for place in _places(target, home)}
    assert there == set(places.values())
    for table, columns in tables.items():
        expected = read_rows(source, database, table, columns)
        found = read_rows(target, *places[table], columns)
        missing, extra = expected - found, found - expected
        shown = f"missing {list(missing.items())[:3]}, extra {list(extra.items())[:3]}"
        assert expected == found, f"{table}: {len(missing)} missing, {len(extra)} extra; {shown}"


def _places(server: MysqlServer, database: str) -> list[tuple[str, str]]:
    return [(database, table) for table in _read_tables(server, database)]


def _read_tables(server: MysqlServer, database: str) -> dict[str, list[tuple[str, str]]]:
    rows = server.fetch_all(
        """SELECT t.table_name, c.column_name,
                  CASE WHEN c.column_type = 'json' OR c.collation_name = 'utf8mb4_bin' AND c.data_type = 'longtext'
                       THEN 'json' ELSE c.data_type END
           FROM information_schema.tables t
           JOIN information_schema.columns c ON c.table_schema = t.table_schema AND c.table_name = t.table_name
           WHERE t.table_schema = %s AND t.table_type = 'BASE TABLE' ORDER BY t.table_name, c.ordinal_position""",
        [database],
    )
    tables: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in rows:
        tables.setdefault(table, []).append((column, kind))
    return tables


def _with_json(row: tuple[Any, ...], numbers: list[int]) -> tuple[Any, ...]:
    cells = list(row)
    for number in numbers:
        if cells[number] is not None:
            cells[number] = json.dumps(json.loads(cells[number]), sort_keys=True)
    return tuple(cells)

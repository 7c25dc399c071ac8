"""What the source's catalog says about tables, in a few queries however many tables there are."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from towline.adapters.mysql.errors import NO_SUCH_TABLE, number_of
from towline.adapters.mysql.quoting import qualified, quote_literal
from towline.adapters.mysql.session import Row, Session
from towline.domain.errors import MissingPrivilege, UnclassifiedError
from towline.domain.tables import Column, ObjectSelection, Table, TableName

SYSTEM_SCHEMAS = frozenset({"mysql", "information_schema", "performance_schema", "sys", "towline", "ndbinfo"})

# Statistics as they are now, where the server would show remembered ones for a day.
FRESH_STATISTICS = "SET SESSION information_schema_stats_expiry = 0"
# A file has at least some empty pages, and grows by 4 MB.
_TELLING_FILE_BYTES = 16 * 1024 * 1024
_TABLES = """
SELECT table_schema, table_name, engine, coalesce(data_length, 0), coalesce(table_rows, 0),
       coalesce(create_options, ''), coalesce(index_length, 0)
FROM information_schema.tables
WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND table_schema IN ({schemas})
ORDER BY table_schema, table_name
"""
_COLUMNS = """
SELECT table_schema, table_name, column_name, column_type, coalesce(character_set_name, ''), extra,
       coalesce(generation_expression, '') <> ''
FROM information_schema.columns WHERE table_schema IN ({schemas})
ORDER BY table_schema, table_name, ordinal_position
"""
# A unique index identifies a row when none of its columns may be NULL and none is cut or computed.
_KEYS = """
SELECT table_schema, table_name, index_name, column_name, sub_part, nullable
FROM information_schema.statistics
WHERE non_unique = 0 AND {condition}
ORDER BY table_schema, table_name, index_name <> 'PRIMARY', index_name, seq_in_index
"""


# Types that refuse a text without a character set: JSON of MySQL, some of MariaDB.
TEXT_ONLY = frozenset({"json", "uuid", "inet4", "inet6", "xmltype"})


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type as the server renders it, lower case, and its character set ('' if it has none)."""

    name: str
    type_sql: str
    charset: str

    @property
    def base(self) -> str:
        return self.type_sql.partition("(")[0].partition(" ")[0]

    def takes_only_text(self, *, is_mariadb: bool) -> bool:
        return self.base in TEXT_ONLY and not (is_mariadb and self.base == "json")


async def read_schemas(session: Session, selection: ObjectSelection) -> list[str]:
    """The databases that the selection touches; never the server's own."""
    rows = await session.query("SELECT schema_name FROM information_schema.schemata ORDER BY schema_name")
    wanted = selection.schemas | {table.schema for table in selection.tables}
    return [
        name for (name,) in rows if name.lower() not in SYSTEM_SCHEMAS and (selection.is_everything or name in wanted)
    ]


async def read_tables(session: Session, selection: ObjectSelection, *, with_generated: bool = False) -> list[Table]:
    """Every selected table that holds rows, by database and name.

    Generated columns are left out, as the target computes them; it does not where they are asked for.
    """
    if session.flavor.is_mysql_from(8, 0):
        await session.execute(FRESH_STATISTICS)
    schemas = await read_schemas(session, selection)
    if not schemas:
        return []
    listed = ", ".join(quote_literal(name) for name in schemas)
    columns = _collect_columns(await session.query(_COLUMNS.format(schemas=listed)), with_generated=with_generated)
    keys = _choose_keys(await session.query(_KEYS.format(condition=f"table_schema IN ({listed})")))
    file_sizes = await _read_file_sizes(session)
    tables = []
    listing = await session.query(_TABLES.format(schemas=listed))
    for schema, name, _engine, size_bytes, rows, _options, index_bytes in listing:
        table = TableName(schema, name)
        if not selection.covers(table):
            continue
        corrected = correct_size(int(size_bytes), int(index_bytes), file_sizes.get(table))
        tables.append(
            Table(
                name=table,
                source_id=0,
                columns=tuple(columns[table]),
                key=_of_columns(keys.get(table, ()), columns[table]),
                identity="f",
                pages=1,
                has_pages=False,
                size_bytes=corrected,
                # FULLTEXT indexes lie in tables of their own and are not in it.
                index_bytes=corrected * int(index_bytes) // int(size_bytes) if size_bytes else 0,
                estimated_rows=int(rows),
                storage_id=_digest(columns[table]),
            )
        )
    return tables


async def _read_file_sizes(session: Session) -> dict[TableName, int]:
    """Of tables in files of their own, partitions added up; {} for an account without PROCESS.

    Names that are spelled differently in the file system are left out.
    """
    view = "innodb_tablespaces" if session.flavor.is_mysql_from(8, 0) else "innodb_sys_tablespaces"
    try:
        rows = await session.query(f"SELECT name, file_size FROM information_schema.{view} WHERE name LIKE '%/%'")
    except (MissingPrivilege, UnclassifiedError):
        return {}
    sizes: dict[TableName, int] = defaultdict(int)
    for name, file_bytes in rows:
        schema, _, table = str(name).partition("/")
        sizes[TableName(schema, table.split("#", 1)[0])] += int(file_bytes or 0)
    return sizes


def correct_size(data_bytes: int, index_bytes: int, file_bytes: int | None) -> int:
    """The size of a table's rows, of which statistics may be old, by the file that holds rows and indexes. Pure."""
    if not data_bytes or file_bytes is None or file_bytes < _TELLING_FILE_BYTES:
        return data_bytes
    return file_bytes * data_bytes // (data_bytes + index_bytes)


async def hold_table(session: Session, table: TableName) -> None:
    """Wait for who changes the table's form, and keep it as it is until the transaction ends; none there is no error.

    In a transaction that has locks, MariaDB's information_schema does not wait for a table that is being changed but
    passes over it: it would have no columns, keys or triggers.
    """
    try:
        await session.query(f"SELECT 1 FROM {qualified(table)} LIMIT 0")
    except (MissingPrivilege, UnclassifiedError) as error:
        if isinstance(error, UnclassifiedError) and number_of(error) != NO_SUCH_TABLE:
            raise


async def read_column_types(session: Session, table: TableName) -> dict[str, ColumnType]:
    """The types of all columns of one table, by name and in order; {} if there is no such table."""
    rows = await session.query(
        """SELECT column_name, column_type, coalesce(character_set_name, '') FROM information_schema.columns
           WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position""",
        table.schema,
        table.name,
    )
    return {name: ColumnType(name, type_sql.lower(), charset) for name, type_sql, charset in rows}


async def read_unique_keys(session: Session, table: TableName) -> list[frozenset[str]]:
    """The columns of each unique index of one table; of an index on an expression or a prefix, none."""
    rows = await session.query(
        """SELECT index_name, column_name, sub_part FROM information_schema.statistics
           WHERE table_schema = %s AND table_name = %s AND non_unique = 0""",
        table.schema,
        table.name,
    )
    names = {name for name, _, _ in rows}
    whole = names - {name for name, column, sub_part in rows if not column or sub_part is not None}
    return [frozenset(row[1] for row in rows if row[0] == name) if name in whole else frozenset() for name in names]


async def read_triggers(session: Session, table: TableName) -> list[str]:
    """The names of the table's triggers; without the privilege TRIGGER, none."""
    rows = await session.query(
        """SELECT trigger_name FROM information_schema.triggers
           WHERE event_object_schema = %s AND event_object_table = %s ORDER BY 1""",
        table.schema,
        table.name,
    )
    return [str(row[0]) for row in rows]


async def read_packet_limit(session: Session) -> int:
    """How many bytes the server takes in one packet; a statement of more is refused."""
    return int(await session.query_value("SELECT @@SESSION.max_allowed_packet"))


async def read_keys(session: Session, tables: Sequence[TableName]) -> dict[TableName, tuple[str, ...]]:
    """The columns that identify a row, of those tables that have such."""
    wanted = ", ".join(f"({quote_literal(table.schema)}, {quote_literal(table.name)})" for table in tables)
    condition = f"(table_schema, table_name) IN ({wanted})"
    return _choose_keys(await session.query(_KEYS.format(condition=condition), what="reading the keys of the tables"))


async def read_identity(session: Session) -> str:
    """Names this server: stays the same across restarts, and on another port."""
    if session.flavor.is_mariadb:
        # MariaDB has no identity but what its operator gave it. The folder tells servers of one machine apart.
        return str(await session.query_value("SELECT CONCAT('mariadb/', @@server_id, '/', @@hostname, @@datadir)"))
    return str(await session.query_value("SELECT CONCAT('mysql/', @@server_uuid)"))


def _collect_columns(rows: list[Row], *, with_generated: bool) -> dict[TableName, list[Column]]:
    columns: dict[TableName, list[Column]] = defaultdict(list)
    for schema, table, name, type_sql, _charset, extra, is_generated in rows:
        is_computed = is_generated or "GENERATED" in extra.upper().replace("DEFAULT_GENERATED", "")
        if is_computed and not with_generated:
            continue  # the target computes it
        column = Column(name, type_sql.lower(), is_binary_safe=False, is_identity="auto_increment" in extra.lower())
        columns[TableName(schema, table)].append(column)
    return columns


def _of_columns(key: tuple[str, ...], columns: list[Column]) -> tuple[str, ...]:
    """The key, if its values are moved; those of a generated column are made anew on the target."""
    names = {column.name for column in columns}
    return key if names.issuperset(key) else ()


def _choose_keys(rows: list[Row]) -> dict[TableName, tuple[str, ...]]:
    indexes: dict[TableName, dict[str, list[Row]]] = defaultdict(dict)
    for row in rows:
        indexes[TableName(row[0], row[1])].setdefault(row[2], []).append(row)
    chosen: dict[TableName, tuple[str, ...]] = {}
    for table, candidates in indexes.items():
        for parts in candidates.values():
            if all(name and sub_part is None and nullable != "YES" for *_, name, sub_part, nullable in parts):
                chosen[table] = tuple(part[3] for part in parts)
                break
    return chosen


def _digest(columns: list[Column]) -> str:
    text = "\n".join(f"{column.name} {column.type_sql}" for column in columns)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

"""What the source's catalog says about tables, in four queries however many tables there are."""

from __future__ import annotations

import asyncpg

from towline.domain.tables import Column, ObjectSelection, Table, TableName

_TABLES = """
SELECT c.oid::bigint AS id, n.nspname AS schema, c.relname AS name, c.relreplident AS identity,
       c.relpersistence = 'p' AS is_logged,
       (pg_relation_size(c.oid) / current_setting('block_size')::int)::bigint AS pages,
       pg_table_size(c.oid)::bigint AS size_bytes,
       greatest(c.reltuples, 0)::bigint AS estimated_rows,
       c.relfilenode::text AS storage_id,
       -- One statement reads both, as one transaction changes both. ALTER COLUMN ... TYPE makes the default anew, or
       -- touches the column's own row; VACUUM FULL touches that as well, but only of columns that came with a default.
       coalesce((SELECT string_agg(a.attnum || coalesce('d' || d.oid, 'x' || a.xmin), ' ' ORDER BY a.attnum)
                 FROM pg_catalog.pg_attribute a
                 LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''), '')
           || coalesce((SELECT ' p' || i.inhparent FROM pg_catalog.pg_inherits i
                        WHERE c.relispartition AND i.inhrelid = c.oid), '') AS columns_id,
       CASE WHEN c.relispartition THEN ARRAY(
           SELECT ARRAY[an.nspname, a.relname]::text[] FROM pg_catalog.pg_partition_ancestors(c.oid) x
           JOIN pg_catalog.pg_class a ON a.oid = x.relid JOIN pg_catalog.pg_namespace an ON an.oid = a.relnamespace
           WHERE a.oid <> c.oid) END AS parents
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'towline') AND n.nspname !~ '^pg_(toast|temp)'
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname
"""

_COLUMNS = """
SELECT a.attrelid::bigint AS id, a.attname AS name, a.atttypid::bigint AS type_id,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_sql, a.attidentity <> '' AS is_identity
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attrelid, a.attnum
"""

# A deferrable key identifies no row while a transaction runs, and the source sends none: such a table has no key.
# The primary key wins over a replica identity index only when the identity is 'd' or 'f'; with 'i' the source sends
# the columns of the chosen index as the old key.  Of generated columns nothing is sent: what is left of such a key
# may be the same in many rows.
_KEYS = """
SELECT i.indrelid::bigint AS id, i.indisprimary AS is_primary, i.indisreplident AS is_identity,
       ARRAY(SELECT a.attname FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE k.place <= i.indnkeyatts ORDER BY k.place)::text[] AS columns,
       EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid AND a.attgenerated <> ''
               AND a.attnum = ANY (i.indkey::int2[])) AS has_generated
FROM pg_catalog.pg_index i
WHERE i.indrelid = ANY($1::oid[]) AND (i.indisprimary OR i.indisreplident) AND i.indisvalid AND i.indimmediate
"""

_TYPES = """
SELECT t.oid::bigint AS id, t.typtype AS kind, t.typelem::bigint AS element, t.typlen AS length,
       t.typbasetype::bigint AS base, t.typsend::oid <> 0 AS has_send, coalesce(r.rngsubtype, 0)::bigint AS subtype
FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
WHERE t.typtype <> 'c' AND NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typtype = 'c')
"""

_FIRST_USER_OID = 16384
# Their binary form is an object id, which means something else on another server; the text form is a name.
OID_ALIASES = frozenset({24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191})
# int2vector and oidvector: the server sends an empty one in a binary form that it does not read.
_UNREADABLE_WHEN_EMPTY = frozenset({22, 30})


async def read_tables(connection: asyncpg.Connection, selection: ObjectSelection) -> list[Table]:
    """Every selected table with storage, by schema and name. Partitioned parents have none; their leaves do."""
    found = [row for row in await connection.fetch(_TABLES) if _is_selected(row, selection)]
    ids = [row["id"] for row in found]
    binary_safe = _binary_safe_types(await connection.fetch(_TYPES))
    columns: dict[int, list[Column]] = {}
    for row in await connection.fetch(_COLUMNS, ids):
        column = Column(row["name"], row["type_sql"], row["type_id"] in binary_safe, row["is_identity"])
        columns.setdefault(row["id"], []).append(column)
    keys = _choose_keys(found, await connection.fetch(_KEYS, ids))
    unsent = {row["id"] for row in keys.values() if row["has_generated"]}
    return [
        Table(
            name=TableName(row["schema"], row["name"]),
            source_id=row["id"],
            columns=tuple(columns.get(row["id"], ())),
            key=tuple(keys[row["id"]]["columns"]) if row["id"] in keys.keys() - unsent else (),
            identity=row["identity"].decode(),
            pages=row["pages"],
            size_bytes=row["size_bytes"],
            estimated_rows=row["estimated_rows"],
            storage_id=row["storage_id"],
            is_logged=row["is_logged"],
            is_partition=row["parents"] is not None,
            row_filter=selection.condition_for(_names(row)),
            has_unsent_key=row["id"] in unsent,
            columns_id=row["columns_id"],
        )
        for row in found
    ]


def _is_selected(row: asyncpg.Record, selection: ObjectSelection) -> bool:
    """Selected itself, or a partition of a selected table."""
    return any(selection.covers(name) for name in _names(row))


def _names(row: asyncpg.Record) -> list[TableName]:
    """The table's own, and those of the tables that it is a partition of."""
    return [TableName(*name) for name in ((row["schema"], row["name"]), *(row["parents"] or ()))]


def _choose_keys(tables: list[asyncpg.Record], indexes: list[asyncpg.Record]) -> dict[int, asyncpg.Record]:
    """The index that identifies rows, by table."""
    identity = {row["id"]: row["identity"].decode() for row in tables}
    chosen: dict[int, asyncpg.Record] = {}
    for row in indexes:
        wants_index = identity[row["id"]] == "i"
        if row["is_identity"] if wants_index else row["is_primary"]:
            chosen[row["id"]] = row
    return chosen


def _binary_safe_types(rows: list[asyncpg.Record]) -> frozenset[int]:
    """Types whose binary form holds no object id of this server and no extension's private layout."""
    types = {row["id"]: row for row in rows}

    def is_safe(type_id: int) -> bool:
        row = types.get(type_id)
        if row is None or not row["has_send"] or type_id in OID_ALIASES | _UNREADABLE_WHEN_EMPTY:
            return False
        kind = row["kind"].decode()
        if kind == "d":
            return is_safe(row["base"])
        if kind == "e":
            return True  # sent as its label
        if kind == "r":
            return is_safe(row["subtype"])
        if type_id >= _FIRST_USER_OID:
            return False  # arrays carry their element's object id; extension types may change their layout
        return row["element"] == 0 or row["length"] != -1 or is_safe(row["element"])

    return frozenset(type_id for type_id in types if is_safe(type_id))


async def read_identity(connection: asyncpg.Connection) -> str:
    """Names this server and database: stays the same across restarts and renames of hosts."""
    return str(
        await connection.fetchval(
            """SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || d.oid::text
               FROM pg_catalog.pg_database d WHERE d.datname = current_database()"""
        )
    )

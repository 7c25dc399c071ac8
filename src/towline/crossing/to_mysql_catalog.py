"""What PostgreSQL's catalog says about the tables of a job, as far as MySQL can have it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import asyncpg

from towline.adapters.postgres.catalog import read_tables as read_plain_tables
from towline.crossing.to_mysql_wishes import apply_wish, find_missing_columns
from towline.domain.conversion import PLAIN, Conversion
from towline.domain.tables import Column, ObjectSelection, Table, TableName

# The type below all domains, with the modifier that the last of them gives it.
_COLUMNS = """
WITH RECURSIVE level AS (
    SELECT a.attrelid, a.attnum, a.atttypid AS type_id, a.atttypmod AS modifier, a.attnotnull AS is_required
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = ANY($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT l.attrelid, l.attnum, t.typbasetype, t.typtypmod, l.is_required OR t.typnotnull
    FROM level l JOIN pg_catalog.pg_type t ON t.oid = l.type_id WHERE t.typtype = 'd')
SELECT l.attrelid::bigint AS id, a.attname AS name, a.atttypid::bigint AS type_id, l.is_required,
       pg_catalog.format_type(l.type_id, l.modifier) AS type_sql, t.typtype = 'e' AS is_enum,
       a.attgenerated <> '' AS is_generated,
       CASE WHEN t.typtype = 'e' THEN ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum e
            WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) END AS labels,
       a.attidentity <> '' OR coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') LIKE 'nextval(%' AS is_counted,
       CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END AS default_sql,
       pg_catalog.col_description(a.attrelid, a.attnum) AS comment
FROM level l JOIN pg_catalog.pg_type t ON t.oid = l.type_id AND t.typtype <> 'd'
JOIN pg_catalog.pg_attribute a ON a.attrelid = l.attrelid AND a.attnum = l.attnum
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
ORDER BY l.attrelid, l.attnum
"""
_INDEXES = """
SELECT i.indrelid::bigint AS id, c.relname AS name, i.indisprimary AS is_primary, i.indisunique AS is_unique,
       i.indisreplident AS is_identity, i.indisexclusion AS is_exclusion, NOT i.indimmediate AS is_deferrable,
       m.amname AS method, i.indpred IS NOT NULL AS is_partial, i.indexprs IS NOT NULL AS is_computed,
       i.indnatts > i.indnkeyatts AS has_included, i.indisvalid AS is_valid,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS has_equal_nulls,
       pg_catalog.pg_relation_size(i.indexrelid)::bigint AS size_bytes,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns,
       ARRAY(SELECT (o & 1)::int FROM unnest(i.indoption::int2[]) WITH ORDINALITY u(o, place) ORDER BY place)
           AS descending
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = c.relam
WHERE i.indrelid = ANY($1::oid[]) ORDER BY i.indrelid, c.relname
"""
_CONSTRAINTS = """
SELECT k.conrelid::bigint AS id, k.conname AS name, k.contype::text AS kind, k.condeferrable AS is_deferrable,
       k.confupdtype::text AS on_update, k.confdeltype::text AS on_delete, k.confmatchtype::text AS match,
       fn.nspname AS parent_schema, f.relname AS parent_name,
       pg_catalog.pg_get_constraintdef(k.oid) AS definition,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(attnum, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum ORDER BY place)
           AS columns,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(attnum, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum ORDER BY place)
           AS parent_columns
FROM pg_catalog.pg_constraint k
LEFT JOIN pg_catalog.pg_class f ON f.oid = k.confrelid LEFT JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.conrelid = ANY($1::oid[]) AND k.contype IN ('f', 'c', 'x')
  -- A key to a partitioned table has one to each of its partitions below it.
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint p WHERE p.oid = k.conparentid AND p.conrelid = k.conrelid)
ORDER BY k.conrelid, k.conname
"""
# What each partition is a partition of, the nearest first.
_ANCESTORS = """
SELECT c.oid::bigint AS id, r.oid::bigint AS ancestor_id, n.nspname AS schema, r.relname AS name
FROM pg_catalog.pg_class c CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(c.oid) WITH ORDINALITY x(relid, place)
JOIN pg_catalog.pg_class r ON r.oid = x.relid JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
WHERE c.oid = ANY($1::oid[]) AND r.relkind = 'p' ORDER BY c.oid, x.place
"""
# Everything else that a user could miss: views, sequences of their own, functions, triggers, rules, policies.
_OTHERS = """
SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE'
            WHEN 'p' THEN 'PARTITIONED TABLE' ELSE 'SEQUENCE' END AS kind, n.nspname AS schema, c.relname AS name,
       NULL::text AS "table"
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE (c.relkind IN ('v', 'm', 'f') OR c.relkind = 'p' AND NOT c.relispartition OR c.relkind = 'S' AND NOT EXISTS (
           SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
           AND d.deptype IN ('a', 'i'))) AND n.nspname <> ALL($1::text[]) AND n.nspname !~ '^pg_'
UNION ALL
SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END, n.nspname,
       p.proname, NULL
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname <> ALL($1::text[]) AND n.nspname !~ '^pg_' AND NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
    AND d.deptype = 'e')
UNION ALL
SELECT 'TRIGGER', n.nspname, t.tgname, c.relname FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND n.nspname <> ALL($1::text[])
UNION ALL
SELECT 'POLICY', n.nspname, p.polname, c.relname FROM pg_catalog.pg_policy p
JOIN pg_catalog.pg_class c ON c.oid = p.polrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname <> ALL($1::text[])
UNION ALL
SELECT 'RULE', n.nspname, r.rulename, c.relname FROM pg_catalog.pg_rewrite r
JOIN pg_catalog.pg_class c ON c.oid = r.ev_class JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE r.rulename <> '_RETURN' AND n.nspname <> ALL($1::text[]) AND n.nspname !~ '^pg_'
ORDER BY 1, 2, 4 NULLS FIRST, 3
"""
_COUNTERS = """
SELECT n.nspname AS schema, c.relname AS name, a.attname AS column, s.last_value
FROM pg_catalog.pg_class q
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = q.oid
     AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
JOIN pg_catalog.pg_class c ON c.oid = d.refobjid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
JOIN pg_catalog.pg_namespace qn ON qn.oid = q.relnamespace
JOIN pg_catalog.pg_sequences s ON s.schemaname = qn.nspname AND s.sequencename = q.relname
WHERE q.relkind = 'S' AND s.last_value IS NOT NULL AND n.nspname <> ALL($1::text[]) ORDER BY 1, 2
"""
_SYSTEM = ["pg_catalog", "information_schema", "towline"]


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """`type_sql` is that of the type below all domains, and `labels` are those of an enum.

    Where the job wishes another type it is that as which the column travels; `wish_fault` says what is wrong with it.
    """

    name: str
    type_id: int
    type_sql: str
    is_nullable: bool
    is_counted: bool
    default_sql: str | None
    labels: tuple[str, ...] | None
    is_generated: bool = False
    comment: str = ""
    wish_fault: str = ""


@dataclass(frozen=True, slots=True)
class SourceIndex:
    name: str
    columns: tuple[str, ...]
    descending: tuple[bool, ...]
    is_primary: bool
    is_unique: bool
    is_deferrable: bool
    obstacle: str  # why MySQL cannot have it; "" if it can
    has_included: bool
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SourceForeignKey:
    """`actions` are the letters of ON UPDATE and ON DELETE, as pg_constraint has them."""

    name: str
    columns: tuple[str, ...]
    parent: TableName
    parent_columns: tuple[str, ...]
    actions: tuple[str, str]
    is_deferrable: bool
    is_match_full: bool


@dataclass(slots=True)
class SourceTable:
    """A table with all that was found of it. `checks` are definitions that are reported only.

    `partitions`: those whose rows it has, of a partitioned one; `why_apart`: why a partition is a table of its own.
    """

    table: Table
    columns: list[SourceColumn] = field(default_factory=list)
    indexes: list[SourceIndex] = field(default_factory=list)
    foreign_keys: list[SourceForeignKey] = field(default_factory=list)
    checks: list[tuple[str, str]] = field(default_factory=list)
    partitions: tuple[TableName, ...] = ()
    why_apart: str = ""


async def read_tables(
    connection: asyncpg.Connection, selection: ObjectSelection, conversion: Conversion = PLAIN
) -> list[Table]:
    """Every selected table that has rows of its own, its columns with the types below all domains.

    A partition that is one table with others on the target has that one's columns, in its order, and says its `home`.
    """
    tables = await read_plain_tables(connection, selection)
    joined = await _read_joined(connection, tables, selection)
    columns = await _read_columns(connection, tables, conversion, homes=joined.homes)
    shapes = await _read_columns(connection, joined.roots, conversion)
    order = {root.name: [each.name for each in shapes[root.source_id]] for root in joined.roots}
    typed = []
    for table in tables:
        home = joined.homes.get(table.name)
        found = columns[table.source_id]
        if home is not None:
            by_name = {column.name: column for column in found}
            found = [by_name[name] for name in order[home]]
        typed.append(replace(_with_types(table, found), home=home))
    return typed


async def read_source_tables(
    connection: asyncpg.Connection, selection: ObjectSelection, conversion: Conversion = PLAIN
) -> list[SourceTable]:
    """The tables of the target with defaults, indexes and constraints: one for the partitions of one home."""
    plain = await read_plain_tables(connection, selection)
    joined = await _read_joined(connection, plain, selection)
    tables = [table for table in plain if table.name not in joined.homes] + joined.roots
    columns = await _read_columns(connection, tables, conversion)
    found = {table.source_id: SourceTable(_with_types(table, columns[table.source_id])) for table in tables}
    for table_id, read in columns.items():
        found[table_id].columns.extend(read)
    for table in found.values():
        table.partitions = tuple(sorted(leaf for leaf, home in joined.homes.items() if home == table.table.name))
        table.why_apart = joined.apart.get(table.table.name, "")
    for row in await connection.fetch(_INDEXES, list(found)):
        found[row["id"]].indexes.append(_index(row))
    for row in await connection.fetch(_CONSTRAINTS, list(found)):
        table = found[row["id"]]
        if row["kind"] == "f":
            table.foreign_keys.append(_foreign_key(row))
        else:
            table.checks.append((row["name"], row["definition"]))
    return list(found.values())


async def read_others(connection: asyncpg.Connection, selection: ObjectSelection) -> list[tuple[str, str]]:
    """Kind and name of each object that is not moved."""
    others = []
    for row in await connection.fetch(_OTHERS, _SYSTEM):
        if row["table"] is not None:
            if selection.covers(TableName(row["schema"], row["table"])):
                others.append((row["kind"], f"{row['schema']}.{row['table']}.{row['name']}"))
        elif selection.covers(TableName(row["schema"], row["name"])):
            others.append((row["kind"], f"{row['schema']}.{row['name']}"))
    return others


async def read_counters(connection: asyncpg.Connection, selection: ObjectSelection) -> list[tuple[TableName, str, int]]:
    """Table, column and last number of each sequence that belongs to a column."""
    rows = await connection.fetch(_COUNTERS, _SYSTEM)
    found = [(TableName(row["schema"], row["name"]), row["column"], row["last_value"]) for row in rows]
    return [entry for entry in found if selection.covers(entry[0])]


def find_bad_wishes(conversion: Conversion, tables: Sequence[SourceTable]) -> list[str]:
    """What is wrong with the wishes for column types, one sentence each."""
    columns = [(found.table.name, column) for found in tables for column in found.columns]
    problems = find_missing_columns(conversion, [(table, column.name) for table, column in columns])
    return problems + [column.wish_fault for _, column in columns if column.wish_fault]


async def _read_columns(
    connection: asyncpg.Connection,
    tables: Sequence[Table],
    conversion: Conversion,
    *,
    homes: Mapping[TableName, TableName] = MappingProxyType({}),
) -> dict[int, list[SourceColumn]]:
    columns: dict[int, list[SourceColumn]] = defaultdict(list)
    names = {table.source_id: homes.get(table.name, table.name) for table in tables}
    for row in await connection.fetch(_COLUMNS, list(names)):
        type_sql, fault = apply_wish(names[row["id"]], row["name"], row["type_sql"], conversion)
        columns[row["id"]].append(
            SourceColumn(
                name=row["name"],
                type_id=row["type_id"],
                type_sql=type_sql,
                is_nullable=not row["is_required"],
                is_counted=row["is_counted"],
                default_sql=row["default_sql"],
                labels=tuple(row["labels"]) if row["labels"] is not None else None,
                is_generated=row["is_generated"],
                comment=row["comment"] or "",
                wish_fault=fault,
            )
        )
    return columns


# --- partitions -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Joined:
    """`homes`: of partitions that are one table on the target; `roots`: those tables, as if they had rows themselves.

    `apart`: partitions that are tables of their own, and why.
    """

    homes: Mapping[TableName, TableName]
    roots: list[Table]
    apart: Mapping[TableName, str]


async def read_homes(connection: asyncpg.Connection, selection: ObjectSelection) -> dict[TableName, TableName]:
    """For each selected partition that is one table with others on the target: the table's name."""
    tables = await read_plain_tables(connection, selection)
    return dict((await _read_joined(connection, tables, selection)).homes)


async def _read_joined(connection: asyncpg.Connection, tables: Sequence[Table], selection: ObjectSelection) -> _Joined:
    """Partitions become the highest selected table above them, where a row is found in it by the same key."""
    leaves = {table.source_id: table for table in tables if table.is_partition}
    chosen: dict[int, tuple[int, TableName]] = {}
    for row in await connection.fetch(_ANCESTORS, list(leaves)):
        name = TableName(row["schema"], row["name"])
        if selection.covers(name):
            chosen[row["id"]] = (row["ancestor_id"], name)
    parts: dict[tuple[int, TableName], list[Table]] = defaultdict(list)
    for leaf_id, root in chosen.items():
        parts[root].append(leaves[leaf_id])
    ids = [root_id for root_id, _ in parts]
    keys = {row["id"]: tuple(row["columns"]) for row in await connection.fetch(_INDEXES, ids) if _is_key(row)}
    names: dict[int, set[tuple[str, str]]] = defaultdict(set)
    for row in await connection.fetch(_COLUMNS, [*ids, *leaves]):
        if not row["is_generated"]:
            names[row["id"]].add((row["name"], row["type_sql"]))
    homes: dict[TableName, TableName] = {}
    roots, apart = [], {}
    for (root_id, name), mine in parts.items():
        why = next(filter(None, (_why_apart(leaf, keys.get(root_id, ()), name) for leaf in mine)), "")
        if any(names[leaf.source_id] != names[root_id] for leaf in mine):
            why = f"not all partitions of {name} have its columns"
        if why:
            apart.update({leaf.name: why for leaf in mine})
            continue
        homes.update({leaf.name: name for leaf in mine})
        roots.append(
            replace(
                mine[0],
                name=name,
                source_id=root_id,
                columns=(),
                key=keys.get(root_id, ()),
                size_bytes=sum(leaf.size_bytes for leaf in mine),
                estimated_rows=sum(leaf.estimated_rows for leaf in mine),
                is_partition=False,
            )
        )
    return _Joined(homes, roots, apart)


def _is_key(row: asyncpg.Record) -> bool:
    return bool(row["is_primary"] and row["is_valid"] and not row["is_deferrable"])


def _why_apart(leaf: Table, key: tuple[str, ...], root: TableName) -> str:
    """Why the rows of a partition cannot be told from those of the others by the table's key; "" if they can."""
    if leaf.key != key:
        return f"{leaf.name} has another key than {root}"
    if not leaf.is_logged:
        return f"{leaf.name} is unlogged"
    return ""


def _with_types(table: Table, columns: Sequence[SourceColumn]) -> Table:
    # Not binary-safe: their values are for another product.
    moved = tuple(
        Column(column.name, column.type_sql, is_binary_safe=False, is_identity=column.is_counted)
        for column in columns
        if not column.is_generated
    )
    return replace(table, columns=moved)


def _index(row: asyncpg.Record) -> SourceIndex:
    reasons = (
        ("an exclusion constraint", row["is_exclusion"]),
        ("a partial index", row["is_partial"]),
        ("an index on an expression", row["is_computed"]),
        (f"a {row['method']} index", row["method"] not in ("btree", "hash")),
        ("an index that holds NULLs for equal", row["has_equal_nulls"]),
        ("an index that is not valid", not row["is_valid"]),
    )
    return SourceIndex(
        name=row["name"],
        columns=tuple(row["columns"]),
        descending=tuple(bool(bit) for bit in row["descending"][: len(row["columns"])]),
        is_primary=row["is_primary"],
        is_unique=row["is_unique"],
        is_deferrable=row["is_deferrable"],
        obstacle=next((reason for reason, holds in reasons if holds), ""),
        has_included=row["has_included"],
        size_bytes=row["size_bytes"],
    )


def _foreign_key(row: asyncpg.Record) -> SourceForeignKey:
    return SourceForeignKey(
        name=row["name"],
        columns=tuple(row["columns"]),
        parent=TableName(row["parent_schema"], row["parent_name"]),
        parent_columns=tuple(row["parent_columns"]),
        actions=(row["on_update"], row["on_delete"]),
        is_deferrable=row["is_deferrable"],
        is_match_full=row["match"] == "f",
    )

"""The source's side of the structure: a dump's table of contents plus a few catalog queries become items.

However many tables there are, it takes one pg_dump and six queries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import asyncpg

from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.dump_toc import decode_toc
from towline.adapters.postgres.errors import sqlstate_of, translated
from towline.adapters.postgres.left_behind import read_left_behind
from towline.adapters.postgres.pg_dump import find_pg_dump, read_archive
from towline.adapters.postgres.quoting import qualified, quote_literal
from towline.adapters.postgres.reduced_entries import fit_entries
from towline.adapters.postgres.renamed_entries import add_dependents, rename_entries
from towline.adapters.postgres.renamed_sql import Renaming
from towline.adapters.postgres.structure_items import plan_items
from towline.adapters.postgres.structure_selection import Belonging, CatalogFacts, choose_entries
from towline.domain.errors import Side, UnclassifiedError
from towline.domain.jobs import Endpoint
from towline.domain.structure import SequenceValue, StructureItem, StructureReport
from towline.domain.tables import NameMap, ObjectSelection, TableName

_FIRST_USER_OID = 16384
_SEQUENCES_PER_QUERY = 200
_UNDEFINED_TABLE = "42P01"
_ATTEMPTS = 3

_RELATIONS = """
SELECT c.oid::bigint AS id, n.nspname AS schema, c.relname AS name, c.relkind = 'p' AS is_partitioned,
       CASE WHEN c.relkind = 'm' AND c.relispopulated
            THEN pg_catalog.pg_table_size(c.oid) END AS populated_bytes,
       CASE WHEN c.relkind = 'r' THEN nullif(pg_catalog.pg_relation_size(c.oid), 0) END AS row_bytes
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid >= $1::oid AND c.relkind IN ('r', 'p', 'f', 'v', 'm') AND n.nspname <> 'towline'
"""

_UNREADABLE = """
SELECT n.nspname AS schema, c.relname AS name
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid >= $1::oid AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname <> 'towline'
  AND NOT has_table_privilege(c.oid, 'SELECT')
"""

_PARENTS = """
SELECT inhrelid::bigint AS id, array_agg(inhparent::bigint) AS parents
FROM pg_catalog.pg_inherits WHERE inhrelid >= $1::oid GROUP BY inhrelid
"""

# Address in the catalog -> the relation it belongs to. An index that backs a constraint is weighed with it. A
# foreign key counts as its table: checking it reads the whole table.
_BELONGINGS = """
WITH index AS (
    SELECT i.indexrelid, i.indrelid, pg_catalog.pg_relation_size(i.indexrelid) AS size_bytes,
           i.indimmediate AND CASE t.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END AS is_key
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class t ON t.oid = i.indrelid WHERE i.indrelid >= $1::oid)
SELECT 'pg_catalog.pg_class'::regclass::oid::bigint AS class, indexrelid::bigint AS id,
       indrelid::bigint AS relation, 'i' AS role, size_bytes, is_key,
       0::bigint AS referenced
FROM index
UNION ALL
SELECT 'pg_catalog.pg_constraint'::regclass::oid::bigint, c.oid::bigint, c.conrelid::bigint, c.contype::text,
       CASE WHEN c.contype = 'f' THEN pg_catalog.pg_relation_size(c.conrelid)
            ELSE coalesce(x.size_bytes, 0) END,
       c.contype <> 'f' AND coalesce(x.is_key, false), c.confrelid::bigint
FROM pg_catalog.pg_constraint c LEFT JOIN index x ON x.indexrelid = c.conindid
WHERE c.conrelid >= $1::oid
UNION ALL
SELECT 'pg_catalog.pg_attrdef'::regclass::oid::bigint, oid::bigint, adrelid::bigint, '', 0, false, 0
FROM pg_catalog.pg_attrdef WHERE adrelid >= $1::oid
UNION ALL
SELECT 'pg_catalog.pg_trigger'::regclass::oid::bigint, oid::bigint, tgrelid::bigint, '', 0, false, 0
FROM pg_catalog.pg_trigger WHERE tgrelid >= $1::oid AND NOT tgisinternal
UNION ALL
SELECT 'pg_catalog.pg_rewrite'::regclass::oid::bigint, oid::bigint, ev_class::bigint, '', 0, false, 0
FROM pg_catalog.pg_rewrite WHERE ev_class >= $1::oid
UNION ALL
SELECT 'pg_catalog.pg_policy'::regclass::oid::bigint, oid::bigint, polrelid::bigint, '', 0, false, 0
FROM pg_catalog.pg_policy
UNION ALL
SELECT 'pg_catalog.pg_statistic_ext'::regclass::oid::bigint, oid::bigint, stxrelid::bigint, '', 0, false, 0
FROM pg_catalog.pg_statistic_ext
"""

# With each sequence the tables that use it: those it belongs to ('a' serial, 'i' identity) and those with
# a default that calls it.
_SEQUENCES = """
SELECT n.nspname AS schema, c.relname AS name,
       array_agg(DISTINCT ARRAY[un.nspname::text, u.relname::text]) FILTER (WHERE u.oid IS NOT NULL) AS users
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT d.refobjid AS id FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
      AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
    UNION
    SELECT a.adrelid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attrdef a ON a.oid = d.objid
    WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
      AND d.refobjid = c.oid) used ON true
LEFT JOIN pg_catalog.pg_class u ON u.oid = used.id
LEFT JOIN pg_catalog.pg_namespace un ON un.oid = u.relnamespace
WHERE c.relkind = 'S' AND c.oid >= $1::oid AND n.nspname <> 'towline' AND c.relpersistence <> 't'
GROUP BY n.nspname, c.relname
ORDER BY n.nspname, c.relname
"""

# Indexes of tables, and sequences that belong to a column of one, always lie in the schema of the table.
_DEPENDENTS = """
SELECT n.nspname AS schema, c.relname AS name, u.schema AS table_schema, u.name AS table_name
FROM unnest($1::text[], $2::text[]) AS u(schema, name)
JOIN pg_catalog.pg_namespace tn ON tn.nspname = u.schema
JOIN pg_catalog.pg_class t ON t.relnamespace = tn.oid AND t.relname = u.name
JOIN LATERAL (
    SELECT i.indexrelid AS id FROM pg_catalog.pg_index i WHERE i.indrelid = t.oid
    UNION ALL
    SELECT d.objid FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
      AND d.refobjid = t.oid AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0) owned ON true
JOIN pg_catalog.pg_class c ON c.oid = owned.id AND c.relkind IN ('i', 'I', 'S')
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""

# Every server has the schema `public`, and extensions mostly are there, also on the target, whatever goes elsewhere.
_MEMBERS_IN_PUBLIC = """
WITH public AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'public'),
member AS (SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
           WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.deptype = 'e')
SELECT proname AS name FROM pg_catalog.pg_proc JOIN member ON objid = oid AND classid = 'pg_catalog.pg_proc'::regclass
WHERE pronamespace = (TABLE public)
UNION SELECT typname FROM pg_catalog.pg_type JOIN member ON objid = oid AND classid = 'pg_catalog.pg_type'::regclass
WHERE typnamespace = (TABLE public)
UNION SELECT relname FROM pg_catalog.pg_class JOIN member ON objid = oid AND classid = 'pg_catalog.pg_class'::regclass
WHERE relnamespace = (TABLE public)
UNION SELECT oprname FROM pg_catalog.pg_operator
JOIN member ON objid = oid AND classid = 'pg_catalog.pg_operator'::regclass WHERE oprnamespace = (TABLE public)
UNION SELECT opcname FROM pg_catalog.pg_opclass
JOIN member ON objid = oid AND classid = 'pg_catalog.pg_opclass'::regclass WHERE opcnamespace = (TABLE public)
UNION SELECT opfname FROM pg_catalog.pg_opfamily
JOIN member ON objid = oid AND classid = 'pg_catalog.pg_opfamily'::regclass WHERE opfnamespace = (TABLE public)
UNION SELECT dictname FROM pg_catalog.pg_ts_dict
JOIN member ON objid = oid AND classid = 'pg_catalog.pg_ts_dict'::regclass WHERE dictnamespace = (TABLE public)
UNION SELECT cfgname FROM pg_catalog.pg_ts_config
JOIN member ON objid = oid AND classid = 'pg_catalog.pg_ts_config'::regclass WHERE cfgnamespace = (TABLE public)
"""


class PgStructureSource:
    """Reads the structure of one source database.

    `target_major`: leave out what a server of this version does not know, where it can do without; None: nothing.
    """

    def __init__(self, endpoint: Endpoint, *, job_id: str = "", target_major: int | None = None) -> None:
        self._endpoint = endpoint
        self._target_major = target_major
        self._purpose = f"{job_id}:structure" if job_id else "structure"

    async def read_structure(
        self, selection: ObjectSelection, *, on_report: Callable[[StructureReport], None]
    ) -> list[StructureItem]:
        """All objects of the selection, dependencies included, in creation order."""
        connection = await connect(
            self._endpoint, purpose=self._purpose, settings={"lock_timeout": "30s"}, side=Side.SOURCE
        )
        try:
            program = find_pg_dump(connection.get_server_version().major)
            with translated(Side.SOURCE, what="reading the catalog"):
                # Dump and catalog queries see the same moment.
                await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                snapshot_name = await connection.fetchval("SELECT pg_catalog.pg_export_snapshot()")
                without = await self._read_unreadable(connection, selection)
                renaming = await self._read_renaming(connection, selection.names)
            archive, (facts, left_behind) = await asyncio.gather(
                read_archive(
                    self._endpoint, program, purpose=self._purpose, snapshot_name=snapshot_name, without=without
                ),
                self._read_facts(connection, selection),
            )
        finally:
            connection.terminate()
        entries, reports = choose_entries(decode_toc(archive).entries, facts, selection)
        if self._target_major is not None:
            entries, lost = fit_entries(entries, target_major=self._target_major)
            reports += lost
        if renaming.names:
            entries, renamed = rename_entries(entries, facts, renaming)
            reports += renamed
        items, more_reports = plan_items(entries, facts, renaming.names)
        for report in (*reports, *more_reports, *left_behind):
            on_report(report)
        return items

    async def read_sequences(self, selection: ObjectSelection) -> list[SequenceValue]:
        """Where every sequence of the selection stands, read in few queries."""
        connection = await connect(self._endpoint, purpose=self._purpose, side=Side.SOURCE)
        try:
            for _ in range(_ATTEMPTS - 1):
                try:
                    return await self._read_sequences(connection, selection)
                except UnclassifiedError as error:
                    if sqlstate_of(error) != _UNDEFINED_TABLE:
                        raise
                # One was dropped between the two queries; list them again.
            return await self._read_sequences(connection, selection)
        finally:
            connection.terminate()

    async def _read_unreadable(self, connection: asyncpg.Connection, selection: ObjectSelection) -> list[TableName]:
        """Tables outside the selection that the user may not read: pg_dump would fail on them for nothing."""
        if selection.is_everything:
            return []
        rows = await connection.fetch(_UNREADABLE, _FIRST_USER_OID)
        names = (TableName(row["schema"], row["name"]) for row in rows)
        return [name for name in names if not selection.covers(name)]

    async def _read_renaming(self, connection: asyncpg.Connection, names: NameMap) -> Renaming:
        """The job's renames and what follows from them."""
        if not names:
            return Renaming(names)
        kept = await connection.fetch(_MEMBERS_IN_PUBLIC)
        return Renaming(
            await read_all_names(connection, names), frozenset(TableName("public", row["name"]) for row in kept)
        )

    async def _read_facts(
        self, connection: asyncpg.Connection, selection: ObjectSelection
    ) -> tuple[CatalogFacts, list[StructureReport]]:
        with translated(Side.SOURCE, what="reading the catalog"):
            relations = await connection.fetch(_RELATIONS, _FIRST_USER_OID)
            parents = await connection.fetch(_PARENTS, _FIRST_USER_OID)
            belongings = await connection.fetch(_BELONGINGS, _FIRST_USER_OID)
            left_behind = await read_left_behind(connection, selection)
        facts = CatalogFacts(
            relations={row["id"]: TableName(row["schema"], row["name"]) for row in relations},
            belongings={
                (row["class"], row["id"]): Belonging(
                    row["relation"],
                    row["role"],
                    row["size_bytes"] or 0,
                    row["is_key"],
                    row["referenced"],
                )
                for row in belongings
            },
            partitioned=frozenset(row["id"] for row in relations if row["is_partitioned"]),
            parents={row["id"]: tuple(row["parents"]) for row in parents},
            populated_views={
                row["id"]: row["populated_bytes"] for row in relations if row["populated_bytes"] is not None
            },
            row_bytes={row["id"]: row["row_bytes"] for row in relations if row["row_bytes"] is not None},
        )
        return facts, left_behind

    async def _read_sequences(self, connection: asyncpg.Connection, selection: ObjectSelection) -> list[SequenceValue]:
        with translated(Side.SOURCE, what="reading sequences"):
            found = [
                TableName(row["schema"], row["name"])
                for row in await connection.fetch(_SEQUENCES, _FIRST_USER_OID)
                if _is_wanted(row, selection)
            ]
            names = await read_all_names(connection, selection.names)
            values: list[SequenceValue] = []
            for start in range(0, len(found), _SEQUENCES_PER_QUERY):
                query = _render_values_query(found[start : start + _SEQUENCES_PER_QUERY])
                for schema, name, last_value, is_called in await connection.fetch(query):
                    there = names.target_name(TableName(schema, name))
                    values.append(SequenceValue(there.schema, there.name, last_value, is_called))
        return values


async def read_all_names(connection: asyncpg.Connection, names: NameMap) -> NameMap:
    """The map with sequences and indexes that lie where their tables do."""
    if not names.tables:
        return names
    wanted = [each.source for each in names.tables]
    rows = await connection.fetch(_DEPENDENTS, [table.schema for table in wanted], [table.name for table in wanted])
    return add_dependents(
        names,
        ((TableName(row["schema"], row["name"]), TableName(row["table_schema"], row["table_name"])) for row in rows),
    )


def _is_wanted(row: asyncpg.Record, selection: ObjectSelection) -> bool:
    if selection.is_everything or row["schema"] in selection.schemas:
        return True
    names = (TableName(schema, name) for schema, name in (*(row["users"] or ()), (row["schema"], row["name"])))
    return any(selection.covers(name) for name in names)


def _render_values_query(sequences: Sequence[TableName]) -> str:
    # The view pg_sequences does not tell whether the last value was handed out.
    return " UNION ALL ".join(
        f"SELECT {quote_literal(name.schema)}, {quote_literal(name.name)}, last_value, is_called FROM {qualified(name)}"
        for name in sequences
    )

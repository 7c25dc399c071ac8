"""The target's tables as the applier needs them, read once per session and form of the source's table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from towline.adapters.postgres.apply_sql import FIRST_USER_ID, DeferrableConstraint, TableSql, TargetColumn
from towline.adapters.postgres.copy_rows import RowEncoder
from towline.adapters.postgres.quoting import qualified, quote_ident
from towline.adapters.postgres.replaced import NullDates
from towline.domain.changes import Relation
from towline.domain.errors import Side, SourceChanged
from towline.domain.tables import SAME_NAMES, NameMap, TableName

# A staging table is emptied at every commit, used or not; so they must not become many.
MAX_STAGES: Final = 48

_COLUMNS = """
SELECT a.attname AS name, a.atttypid::bigint AS type_id,
       pg_catalog.format_type(base.type_id, base.modifier) AS type_sql,
       CASE WHEN base.type_id <> a.atttypid THEN pg_catalog.format_type(base.type_id, -1) END AS domain_of,
       a.attgenerated <> '' AS is_generated, a.attidentity = 'a' AS is_identity_always,
       NOT a.attnotnull AS is_nullable,
       coalesce((SELECT NOT c.collisdeterministic FROM pg_catalog.pg_collation c WHERE c.oid = a.attcollation), false)
           AS is_lax,
       coalesce((SELECT n.nspname FROM pg_catalog.pg_operator o
                 JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
                 WHERE o.oprname = '=' AND o.oprleft = o.oprright AND o.oprleft = base.type_id
                 LIMIT 1), 'pg_catalog') AS equals_schema
FROM pg_catalog.pg_attribute a
JOIN LATERAL (
    -- A domain may be built on a domain; only the innermost one can have a modifier.
    WITH RECURSIVE level(type_id, modifier) AS (
        SELECT a.atttypid, a.atttypmod
        UNION ALL
        SELECT d.typbasetype, d.typtypmod
        FROM level l JOIN pg_catalog.pg_type d ON d.oid = l.type_id AND d.typtype = 'd')
    SELECT l.type_id, l.modifier
    FROM level l JOIN pg_catalog.pg_type t ON t.oid = l.type_id AND t.typtype <> 'd') base ON true
WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_EXISTS = "SELECT pg_catalog.to_regclass($1) IS NOT NULL"
_DEFERRABLE = """
SELECT k.conname AS name,
       ARRAY(SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY c(attnum, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.attnum
             ORDER BY c.place)::text[] AS columns,
       ARRAY(SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, o.oprname)
             FROM unnest(k.conexclop) WITH ORDINALITY e(id, place)
             JOIN pg_catalog.pg_operator o ON o.oid = e.id
             JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace ORDER BY e.place) AS operators,
       coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS is_null_equal
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_index i ON i.indexrelid = k.conindid
WHERE k.conrelid = pg_catalog.to_regclass($1) AND k.contype IN ('p', 'u', 'x') AND k.condeferrable
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY k.conname
"""
# Without a modifier `bit` and `character` would mean one bit and one character; -1 says "any length".
_TYPES = "SELECT t::bigint AS id, pg_catalog.format_type(t, -1) AS sql FROM unnest($1::bigint[]::oid[]) t"
_INDEX_COLUMNS = """
SELECT ARRAY(SELECT a.attname FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE k.place <= i.indnkeyatts ORDER BY k.place)::text[]
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = pg_catalog.to_regclass($1) AND c.relname = $2 AND i.indisunique
  AND i.indpred IS NULL AND i.indexprs IS NULL
"""


@dataclass(slots=True, eq=False)
class TargetTable:
    """Statements and encoder for one relation; `is_staged` once its staging table exists."""

    sql: TableSql
    encoder: RowEncoder
    null_dates: NullDates | None = None
    is_staged: bool = False
    staged_groups: int = 0


class TargetTables:
    """All tables that the session has met; the staging tables of those used last are kept."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        *,
        is_binary: bool,
        names: NameMap = SAME_NAMES,
        is_missing_date: Callable[[bytes], bool] | None = None,
    ) -> None:
        """`is_missing_date`: see `ApplierOptions`."""
        self._names = names
        self._is_missing_date = is_missing_date
        self._connection = connection
        self._is_binary = is_binary
        self._tables: dict[Relation, TargetTable] = {}
        self._staged: OrderedDict[Relation, TargetTable] = OrderedDict()
        self._made = 0
        # Made in the transaction at hand: gone again if that is rolled back.
        self._unsettled: list[Relation] = []

    async def table(self, relation: Relation) -> TargetTable:
        """Raises SourceChanged when the target has no such table, or lacks a column."""
        table = self._tables.get(relation)
        if table is None:
            table = self._tables[relation] = await self._read(relation)
        return table

    async def staged(self, relation: Relation) -> TargetTable:
        """The same, with its staging table."""
        table = await self.table(relation)
        if table.is_staged:
            self._staged.move_to_end(relation)
        else:
            await self._connection.execute(table.sql.create_stage())
            table.is_staged = True
            self._staged[relation] = table
            self._unsettled.append(relation)
        return table

    def with_deferrable(self) -> list[TargetTable]:
        """Tables that rows of this transaction were staged for, where constraints may be broken until now."""
        return [table for table in self._staged.values() if table.sql.deferrable and table.staged_groups]

    async def drop_surplus(self) -> None:
        """Drop the staging tables used longest ago; outside of a transaction."""
        while len(self._staged) > MAX_STAGES:
            _, table = self._staged.popitem(last=False)
            table.is_staged = False
            await self._connection.execute(table.sql.drop_stage())

    async def forget(self) -> None:
        """Read all tables anew: DDL has run, in the open transaction, which must not go on if it is taken back."""
        for table in self._staged.values():
            await self._connection.execute(table.sql.drop_stage())
        self._staged.clear()
        self._tables.clear()
        self._unsettled.clear()

    def committed(self) -> None:
        """What was staged is gone, the staging tables stay."""
        self._unsettled.clear()
        for table in self._staged.values():
            table.staged_groups = 0

    def savepoint(self) -> int:
        """A mark for `rolled_back_to`."""
        return len(self._unsettled)

    def rolled_back_to(self, mark: int) -> None:
        """Staging tables made since the mark are gone."""
        for relation in self._unsettled[mark:]:
            self._staged.pop(relation, None)
            self._tables[relation].is_staged = False
        del self._unsettled[mark:]

    def rolled_back(self) -> None:
        """What was made since the last commit is gone."""
        self.rolled_back_to(0)
        self.committed()

    async def unique_columns(self, relation: Relation, index: str) -> list[str]:
        """The columns of a plain unique index of the target's table; empty for any other kind."""
        columns: list[str] | None = await self._connection.fetchval(
            _INDEX_COLUMNS, qualified(self._names.target_name(relation.table)), index
        )
        return columns or []

    async def _read(self, relation: Relation) -> TargetTable:
        there = self._names.target_name(relation.table)
        rows = await self._connection.fetch(_COLUMNS, qualified(there))
        # A table may have no columns.
        if not rows and not await self._connection.fetchval(_EXISTS, qualified(there)):
            raise SourceChanged(
                f"table {there} does not exist on the target",
                side=Side.TARGET,
                remedy="Create the table on the target as it is on the source, then retry the job.",
                table=str(relation.table),
            )
        builtin = [type_id for type_id in set(relation.type_ids) if type_id < FIRST_USER_ID]
        types = await self._connection.fetch(_TYPES, builtin) if self._is_binary else []
        deferrable = await self._connection.fetch(_DEFERRABLE, qualified(there))
        self._made += 1
        sql = TableSql(
            relation,
            [TargetColumn(**row) for row in rows],
            name=there,
            deferrable=[DeferrableConstraint(**row) for row in deferrable],
            stage=f"towline_stage_{self._made}",
            builtin_types={row["id"]: row["sql"] for row in types},
            is_binary=self._is_binary,
        )
        is_missing = self._is_missing_date
        null_dates = None if is_missing is None else NullDates(relation, sql.columns, is_missing)
        return TargetTable(sql, RowEncoder(len(relation.columns), is_binary=self._is_binary), null_dates)


async def read_same_key(connection: asyncpg.Connection, table: TableName, key: Sequence[str]) -> str:
    """The condition that rows `t` and `c`, both of the table's own column types, have the same key.

    Extensions bring their own `=`, and the session's search path is empty.  Not every `=` sees through a domain.
    """
    columns = {row["name"]: TargetColumn(**row) for row in await connection.fetch(_COLUMNS, qualified(table))}
    return " AND ".join(_render_same(columns[name]) for name in key)


def _render_same(column: TargetColumn) -> str:
    name = quote_ident(column.name)
    cast = f"::{column.domain_of}" if column.domain_of else ""
    return f"t.{name}{cast} OPERATOR({quote_ident(column.equals_schema)}.=) c.{name}{cast}"

"""What a source's catalog says about tables, as the structure of a target that is PostgreSQL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from towline.adapters.mysql.catalog import read_schemas, read_tables
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.counters import read_counters
from towline.adapters.mysql.postgres_collations import choose_collation
from towline.adapters.mysql.postgres_ddl import (
    ColumnFacts,
    ForeignKeyFacts,
    IndexFacts,
    IndexPart,
    TableFacts,
    cap_sequence,
    sequence_name,
)
from towline.adapters.mysql.postgres_plan import find_bad_wishes, plan_structure, require_wishes
from towline.adapters.mysql.postgres_wishes import choose_postgres_column
from towline.adapters.mysql.quoting import quote_literal
from towline.adapters.mysql.session import Row, Session
from towline.adapters.mysql.shapes import ColumnShape
from towline.domain.conversion import PLAIN, Collation, Conversion
from towline.domain.errors import Side
from towline.domain.jobs import Endpoint
from towline.domain.structure import SequenceValue, StructureItem, StructureReport
from towline.domain.tables import ObjectSelection, Table, TableName

Report = Callable[[StructureReport], None]

_COLUMNS: Final = """
SELECT table_schema, table_name, column_name, column_type, character_set_name, collation_name, is_nullable,
       column_default, extra, coalesce(generation_expression, '') <> '', column_comment
FROM information_schema.columns WHERE table_schema IN ({schemas}) ORDER BY table_schema, table_name, ordinal_position
"""
_TABLES: Final = """
SELECT table_schema, table_name, table_comment, create_options
FROM information_schema.tables WHERE table_schema IN ({schemas}) AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
"""
_INDEXES: Final = """
SELECT table_schema, table_name, index_name, non_unique, index_type, column_name, sub_part, collation
FROM information_schema.statistics WHERE table_schema IN ({schemas})
ORDER BY table_schema, table_name, index_name <> 'PRIMARY', index_name, seq_in_index
"""
_FOREIGN_KEYS: Final = """
SELECT k.table_schema, k.table_name, k.constraint_name, k.column_name, k.referenced_table_schema,
       k.referenced_table_name, k.referenced_column_name, r.delete_rule, r.update_rule
FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r
  ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name
WHERE k.table_schema IN ({schemas}) AND k.referenced_table_name IS NOT NULL
ORDER BY k.table_schema, k.table_name, k.constraint_name, k.ordinal_position
"""
_CHECKS: Final = """
SELECT table_schema, table_name, constraint_name FROM information_schema.table_constraints
WHERE table_schema IN ({schemas}) AND constraint_type = 'CHECK' ORDER BY 1, 2, 3
"""
# What has no rows and is not translated.
_CODE: Final = """
SELECT 'VIEW', table_schema, table_name FROM information_schema.views WHERE table_schema IN ({schemas})
UNION ALL
SELECT routine_type, routine_schema, routine_name FROM information_schema.routines WHERE routine_schema IN ({schemas})
UNION ALL
SELECT 'TRIGGER', trigger_schema, trigger_name FROM information_schema.triggers WHERE trigger_schema IN ({schemas})
UNION ALL
SELECT 'EVENT', event_schema, event_name FROM information_schema.events WHERE event_schema IN ({schemas})
UNION ALL
SELECT table_type, table_schema, table_name FROM information_schema.tables
WHERE table_schema IN ({schemas}) AND table_type NOT IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED')
ORDER BY 1, 2, 3
"""


class MyStructureForPostgres:
    """Implements `engine.ports.StructureSource` for targets that are PostgreSQL."""

    def __init__(self, endpoint: Endpoint, *, job_id: str, conversion: Conversion = PLAIN) -> None:
        self._conversion = conversion
        self._endpoint = endpoint
        self._job_id = job_id

    async def read_structure(self, selection: ObjectSelection, *, on_report: Report) -> list[StructureItem]:
        def report(kind: str, name: str, reason: str) -> None:
            on_report(StructureReport(kind, name, reason))

        session = await self._connect()
        try:
            schemas = await read_schemas(session, selection)
            tables = await read_tables(session, selection, with_generated=True)
            facts = await read_facts(session, tables, schemas, self._conversion)
            keys = {table.name: table.key for table in tables}
            require_wishes(self._conversion, facts, keys)
            items = plan_structure(
                facts,
                keys,
                schemas=schemas,
                is_mariadb=session.flavor.is_mariadb,
                report=report,
            )
            whole = [name for name in schemas if selection.is_everything or name in selection.schemas]
            if whole:
                for kind, schema, name in await session.query(_CODE.format(schemas=_listed(whole))):
                    report(str(kind), f"{schema}.{name}", "left out: only tables are moved to PostgreSQL")
            return items
        finally:
            session.terminate()

    async def read_sequences(self, selection: ObjectSelection) -> list[SequenceValue]:
        """What the AUTO_INCREMENT columns would give next."""
        session = await self._connect()
        try:
            schemas = await read_schemas(session, selection)
            if not schemas:
                return []
            counters = await read_counters(session, schemas)
            columns = await session.query(_COLUMNS.format(schemas=_listed(schemas)))
        finally:
            session.terminate()
        values = []
        for row in columns:
            table, column = TableName(row[0], row[1]), _column(row, self._conversion)
            if column.is_counted and table in counters and selection.covers(table):
                chosen = choose_postgres_column(column.shape)
                value, is_called = cap_sequence(counters[table], chosen.type_sql if chosen is not None else "")
                name = sequence_name(table.name, column.name)
                values.append(SequenceValue(table.schema, name, value, is_called))
        return values

    async def _connect(self) -> Session:
        return await connect(self._endpoint, purpose=f"{self._job_id}:structure", side=Side.SOURCE)


async def read_bad_wishes(session: Session, selection: ObjectSelection, conversion: Conversion) -> list[str]:
    """What is wrong with the types that a job wishes, for prechecks."""
    if not conversion.column_types:
        return []
    tables = await read_tables(session, selection, with_generated=True)
    facts = await read_facts(session, tables, await read_schemas(session, selection), conversion)
    return find_bad_wishes(conversion, facts, {table.name: table.key for table in tables})


async def read_facts(
    session: Session, tables: list[Table], schemas: list[str], conversion: Conversion
) -> list[TableFacts]:
    """All that the catalog has about these tables, in their order."""
    if not schemas:
        return []
    listed = _listed(schemas)
    columns: dict[TableName, list[ColumnFacts]] = defaultdict(list)
    for row in await session.query(_COLUMNS.format(schemas=listed)):
        columns[TableName(row[0], row[1])].append(_column(row, conversion))
    details = {TableName(row[0], row[1]): row for row in await session.query(_TABLES.format(schemas=listed))}
    indexes = _collect_indexes(await session.query(_INDEXES.format(schemas=listed)))
    foreign_keys = _collect_foreign_keys(await session.query(_FOREIGN_KEYS.format(schemas=listed)))
    checks: dict[TableName, list[str]] = defaultdict(list)
    for schema, name, check in await session.query(_CHECKS.format(schemas=listed)):
        checks[TableName(schema, name)].append(str(check))
    return [
        TableFacts(
            name=table.name,
            columns=tuple(columns[table.name]),
            indexes=tuple(indexes.get(table.name, ())),
            foreign_keys=tuple(foreign_keys.get(table.name, ())),
            comment=str(details[table.name][2] or ""),
            is_cut="partitioned" in str(details[table.name][3] or "").lower(),
            checks=tuple(checks.get(table.name, ())),
        )
        for table in tables
        if table.name in details
    ]


def _column(row: Row, conversion: Conversion) -> ColumnFacts:
    name, type_sql, charset, collation, nullable, default, extra, has_expression, comment = row[2:]
    words = str(extra or "").upper()
    is_lax = conversion.collation is Collation.CASE_INSENSITIVE
    is_generated = bool(has_expression) or "GENERATED" in words.replace("DEFAULT_GENERATED", "")
    shape = ColumnShape(name, type_sql, charset, is_generated=is_generated, is_nullable=nullable == "YES")
    shape = shape.with_wish(conversion.find_type(TableName(row[0], row[1]), name, type_sql))
    return ColumnFacts(
        shape,
        is_nullable=shape.is_nullable,
        default=None if default is None else str(default),
        extra=words,
        comment=str(comment or ""),
        collation=str(collation or ""),
        is_generated=is_generated,
        target_collation=choose_collation(shape, str(collation or "")) if is_lax else None,
    )


def _collect_indexes(rows: list[Row]) -> dict[TableName, list[IndexFacts]]:
    parts: dict[tuple[TableName, str], list[Row]] = defaultdict(list)
    for row in rows:
        parts[TableName(row[0], row[1]), str(row[2])].append(row)
    indexes: dict[TableName, list[IndexFacts]] = defaultdict(list)
    for (table, name), found in parts.items():
        first = found[0]
        indexes[table].append(
            IndexFacts(
                name,
                is_unique=not int(first[3]),
                kind=str(first[4] or "").upper(),
                parts=tuple(_index_part(row) for row in found),
            )
        )
    return indexes


def _index_part(row: Row) -> IndexPart:
    _, column, prefix, order = row[4:]
    return IndexPart(column, None if prefix is None else int(prefix), is_descending=order == "D")


def _collect_foreign_keys(rows: list[Row]) -> dict[TableName, list[ForeignKeyFacts]]:
    parts: dict[tuple[TableName, str], list[Row]] = defaultdict(list)
    for row in rows:
        parts[TableName(row[0], row[1]), str(row[2])].append(row)
    keys: dict[TableName, list[ForeignKeyFacts]] = defaultdict(list)
    for (table, name), found in parts.items():
        first: Any = found[0]
        keys[table].append(
            ForeignKeyFacts(
                name,
                columns=tuple(row[3] for row in found),
                parent=TableName(first[4], first[5]),
                parent_columns=tuple(row[6] for row in found),
                on_delete=first[7],
                on_update=first[8],
            )
        )
    return keys


def _listed(schemas: list[str]) -> str:
    return ", ".join(quote_literal(name) for name in schemas)

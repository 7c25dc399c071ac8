"""The structure of PostgreSQL tables for a MySQL or MariaDB target, made from the catalog.

Databases, tables with their keys, indexes and foreign keys are made.  Everything else is reported: its text is
PostgreSQL's own language.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from towline.adapters.mysql.catalog import SYSTEM_SCHEMAS
from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.quoting import qualified, quote_ident
from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import translated
from towline.crossing.to_mysql_catalog import (
    SourceTable,
    find_bad_wishes,
    read_counters,
    read_others,
    read_source_tables,
)
from towline.crossing.to_mysql_ddl import TableDdl, referenced_columns, render_table
from towline.crossing.to_mysql_types import collation
from towline.domain.conversion import PLAIN, Conversion
from towline.domain.errors import BadConversion, SetupError, Side
from towline.domain.jobs import Endpoint
from towline.domain.structure import Section, SequenceValue, StructureItem, StructureReport
from towline.domain.tables import ObjectSelection, TableName

Report = Callable[[StructureReport], None]

PARTITIONED: Final = "PARTITIONED TABLE"
# Without a statement: it only says which partition has its rows in which table.
ATTACH: Final = "TABLE ATTACH"
_BEYOND_BMP = re.compile(r"[\U00010000-\U0010FFFF]")


def find_homes(items: Sequence[StructureItem]) -> dict[TableName, TableName]:
    """The partitions that are one table on the target, and that table, by the structure that was made. Pure."""
    by_number = {item.number: item.table for item in items}
    homes: dict[TableName, TableName] = {}
    for item in items:
        if item.kind == ATTACH and item.table is not None:
            (home,) = (by_number[number] for number in item.depends_on)
            assert home is not None
            homes[item.table] = home
    return homes


class CrossStructureSource:
    """Implements `engine.ports.StructureSource`. `target`: the product that it is for."""

    def __init__(self, endpoint: Endpoint, *, job_id: str, target: Flavor, conversion: Conversion = PLAIN) -> None:
        self._conversion = conversion
        self._endpoint = endpoint
        self._job_id = job_id
        self._target = target

    async def read_structure(self, selection: ObjectSelection, *, on_report: Report) -> list[StructureItem]:
        connection = await connect(self._endpoint, purpose=f"{self._job_id}:structure", side=Side.SOURCE)
        try:
            with translated(Side.SOURCE, what="reading the structure"):
                tables = await read_source_tables(connection, selection, self._conversion)
                others = await read_others(connection, selection)
        finally:
            connection.terminate()
        require_possible_names(tables)
        problems = find_bad_wishes(self._conversion, tables)
        if problems:
            raise BadConversion(problems[0], side=Side.SOURCE)
        made = {str(table.table.name) for table in tables}
        for kind, name in others:
            if kind != PARTITIONED:
                on_report(StructureReport(kind, name, "left out"))
            elif name not in made:
                on_report(StructureReport(kind, name, "left out; its partitions, if any, are tables of their own"))
        return plan_items(tables, self._target, on_report=on_report)

    async def read_sequences(self, selection: ObjectSelection) -> list[SequenceValue]:
        """The numbers that AUTO_INCREMENT goes on from; `schema` and `name` are those of the table."""
        connection = await connect(self._endpoint, purpose=f"{self._job_id}:counters", side=Side.SOURCE)
        try:
            with translated(Side.SOURCE, what="reading the sequences"):
                found = await read_counters(connection, selection)
        finally:
            connection.terminate()
        return [SequenceValue(table.schema, table.name, last, is_called=True) for table, _, last in found]


def plan_items(tables: Sequence[SourceTable], target: Flavor, *, on_report: Report) -> list[StructureItem]:
    """All items in creation order. Pure, but for the reports."""
    plan = _Plan()
    options = f"DEFAULT CHARACTER SET utf8mb4 COLLATE {collation(target)}"
    for schema in sorted({table.table.name.schema for table in tables}):
        statement = f"CREATE DATABASE IF NOT EXISTS {quote_ident(schema)} {options}"
        plan.add(Section.BEFORE_DATA, "SCHEMA", schema, schema, statement)
    referenced = referenced_columns(tables)
    taken: Counter[str] = Counter()
    ddl: list[tuple[SourceTable, TableDdl]] = []
    for table in tables:
        name = table.table.name
        if not table.table.columns:
            on_report(StructureReport("TABLE", str(name), "left out: it has no columns"))
            continue
        ddl.append((table, render_table(table, target, referenced=referenced.get(name, ()), taken=taken)))
    numbers: dict[TableName, int] = {}
    for table, made in ddl:
        name = table.table.name
        numbers[name] = plan.add(Section.BEFORE_DATA, "TABLE", name.name, name.schema, made.create, table=name)
        for kind, full, reason in made.findings:
            on_report(StructureReport(kind, full, reason))
        for leaf in table.partitions:
            depends = frozenset({numbers[name]})
            plan.add(Section.BEFORE_DATA, ATTACH, leaf.name, leaf.schema, None, table=leaf, depends=depends)
        if table.partitions:
            on_report(StructureReport(PARTITIONED, str(name), "its partitions become one table"))
        if table.why_apart:
            on_report(StructureReport("TABLE", str(name), f"is a table of its own: {table.why_apart}"))
    for table, made in ddl:
        plan.add_indexes(table, made)
    for table, made in ddl:
        for key, definition in made.foreign_keys:
            if key.parent not in numbers:
                reason = f"left out: it refers to {key.parent}, which is not part of the job"
                on_report(StructureReport("FK CONSTRAINT", f"{table.table.name}.{key.name}", reason))
                continue
            plan.add(
                Section.AFTER_DATA,
                "FK CONSTRAINT",
                key.name,
                table.table.name.schema,
                f"ALTER TABLE {qualified(table.table.name)} ADD {definition}",
                table=table.table.name,
                depends=frozenset({numbers[table.table.name], numbers[key.parent]}),
                is_optional=True,
            )
    return plan.items


class _Plan:
    def __init__(self) -> None:
        self.items: list[StructureItem] = []

    def add(
        self,
        section: Section,
        kind: str,
        name: str,
        schema: str,
        statement: str | None,
        *,
        table: TableName | None = None,
        weight_bytes: int = 0,
        depends: frozenset[int] = frozenset(),
        is_optional: bool = False,
    ) -> int:
        number = len(self.items) + 1
        self.items.append(
            StructureItem(
                number,
                section,
                kind,
                name,
                schema,
                table,
                () if statement is None else (statement,),
                depends_on=depends,
                weight_bytes=weight_bytes,
                is_optional=is_optional,
            )
        )
        return number

    def add_indexes(self, table: SourceTable, made: TableDdl) -> None:
        """Unique ones together, and each plain one by itself: what the target cannot have of these is reported."""
        groups = [(made.uniques, False)] if made.uniques else []
        groups += [((definition,), True) for definition in made.indexes]
        for group, is_optional in groups:
            self.add(
                Section.INDEXES,
                "INDEX",
                ", ".join(definition.partition("`")[2].partition("`")[0] for definition in group),
                table.table.name.schema,
                f"ALTER TABLE {qualified(table.table.name)} {', '.join(f'ADD {each}' for each in group)}",
                table=table.table.name,
                weight_bytes=table.table.size_bytes // 4 * len(group),
                is_optional=is_optional,
            )


def find_impossible_names(tables: Sequence[SourceTable]) -> list[str]:
    """What is wrong with names that MySQL cannot have, or would hold for the same. Pure."""
    problems = []
    for schema in sorted({table.table.name.schema for table in tables}):
        if schema.lower() in SYSTEM_SCHEMAS:
            problems.append(f"schema {schema} has the name of a database that is the server's own")
        problems += _problems_of("schema", schema)
    for table in tables:
        full = str(table.table.name)
        problems += _problems_of("table", full)
        by_case: dict[str, list[str]] = defaultdict(list)
        for column in table.columns:
            by_case[column.name.lower()].append(column.name)
            problems += _problems_of("column", f"{full}.{column.name}")
        problems += [
            f"columns {' and '.join(names)} of {full} differ by letter case only"
            for names in by_case.values()
            if len(names) > 1
        ]
    return problems


def require_possible_names(tables: Sequence[SourceTable]) -> None:
    problems = find_impossible_names(tables)
    if problems:
        raise SetupError(
            "; ".join(problems[:5]),
            side=Side.SOURCE,
            remedy="Rename them on the source, or leave these tables out, then start a new job.",
        )


def _problems_of(kind: str, name: str) -> list[str]:
    if name.endswith(" ") or _BEYOND_BMP.search(name):
        return [f"{kind} {name} has a name that MySQL cannot have (a space at its end, or a character beyond U+FFFF)"]
    return []

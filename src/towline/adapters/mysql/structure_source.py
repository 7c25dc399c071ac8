"""All objects of the selection as the source's SHOW CREATE statements give them, in creation order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from towline.adapters.mysql.accounts import read_grants
from towline.adapters.mysql.adapt_table import adapt_table
from towline.adapters.mysql.build_progress import FULLTEXT_SHARE_IN_MARIADB, FULLTEXT_SHARE_IN_MYSQL
from towline.adapters.mysql.catalog import read_schemas, read_tables, read_unique_keys
from towline.adapters.mysql.code_text import is_enabled_event, remove_definer
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.counters import read_counters
from towline.adapters.mysql.create_table import TableParts, adapt, split_table
from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.quoting import qualified, quote_ident, quote_literal
from towline.adapters.mysql.renamed_sql import (
    Uncertain,
    find_mentioned,
    rename_created_table,
    rename_parent,
    rename_trigger,
    rename_view,
)
from towline.adapters.mysql.session import Session
from towline.domain.errors import Side
from towline.domain.jobs import Endpoint
from towline.domain.structure import Section, SequenceValue, StructureItem, StructureReport
from towline.domain.tables import ObjectSelection, Table, TableName

Report = Callable[[StructureReport], None]

_ROUTINES = "SELECT routine_name, routine_type FROM information_schema.routines WHERE routine_schema = %s ORDER BY 2, 1"
_VIEWS = "SELECT table_name FROM information_schema.views WHERE table_schema = %s ORDER BY 1"
_TRIGGERS = """
SELECT trigger_name, event_object_table, action_timing, event_manipulation FROM information_schema.triggers
WHERE trigger_schema = %s ORDER BY event_object_table, action_order, 1
"""
_EVENTS = "SELECT event_name FROM information_schema.events WHERE event_schema = %s ORDER BY 1"
_OTHERS = """
SELECT table_name, table_type FROM information_schema.tables
WHERE table_schema = %s AND table_type NOT IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED') ORDER BY 1
"""
_TAKE_LOOSE_KEYS: Final = "SET SESSION restrict_fk_on_non_standard_key = OFF"
_SRIDS: Final = """
SELECT f_table_name, g_geometry_column, srid FROM information_schema.geometry_columns
WHERE f_table_schema = %s AND srid <> 0 ORDER BY 1, 2
"""

# The size of an index as a share of its table's rows, where nothing tells.
_USUAL_INDEX_SHARE: Final = 0.25


class MyStructureSource:
    """One source. `follows`: a stream comes after the full phase. `target`: the product it is for.

    `accounts`: whose grants on the selected objects come along. `replaces_owners`: views and code come without their
    definers.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        job_id: str,
        follows: bool,
        target: Flavor,
        accounts: Sequence[str] = (),
        replaces_owners: bool = False,
    ) -> None:
        self._accounts = accounts
        self._replaces_owners = replaces_owners
        self._endpoint = endpoint
        self._job_id = job_id
        self._follows = follows
        self._target = target

    async def read_structure(self, selection: ObjectSelection, *, on_report: Report) -> list[StructureItem]:
        async with self._reading(selection, on_report) as reading:
            await reading.read()
        return reading.items

    async def read_code(self, selection: ObjectSelection, *, on_report: Report) -> list[StructureItem]:
        """Of the same, only views, routines, triggers and events."""
        async with self._reading(selection, on_report) as reading:
            await reading.read_code()
        return reading.items

    @asynccontextmanager
    async def _reading(self, selection: ObjectSelection, on_report: Report) -> AsyncIterator[_Reading]:
        session = await connect(self._endpoint, purpose=f"{self._job_id}:structure", side=Side.SOURCE)
        try:
            yield _Reading(
                session,
                selection,
                self._target,
                on_report,
                follows=self._follows,
                accounts=self._accounts,
                replaces_owners=self._replaces_owners,
            )
        finally:
            session.terminate()

    async def read_sequences(self, selection: ObjectSelection) -> list[SequenceValue]:
        """The numbers that AUTO_INCREMENT goes on from; `schema` and `name` are those of the table on the target."""
        session = await connect(self._endpoint, purpose=f"{self._job_id}:counters", side=Side.SOURCE)
        try:
            found = await read_counters(session, await read_schemas(session, selection))
        finally:
            session.terminate()
        there = {selection.names.target_name(table): value for table, value in found.items() if selection.covers(table)}
        return [SequenceValue(table.schema, table.name, value - 1, is_called=True) for table, value in there.items()]


class _Reading:
    """One pass over the source's objects; `items` grows in creation order."""

    def __init__(
        self,
        session: Session,
        selection: ObjectSelection,
        target: Flavor,
        on_report: Report,
        *,
        follows: bool,
        accounts: Sequence[str],
        replaces_owners: bool,
    ) -> None:
        self._replaces_owners = replaces_owners
        self._names = selection.names
        self._accounts = accounts
        self._session = session
        self._selection = selection
        self._target = target
        # What people wrote in SQL the other product may not read: that is no reason to give up all rows.
        self._is_foreign = session.flavor.is_mariadb != target.is_mariadb
        self._report = on_report
        self._follows = follows
        self.items: list[StructureItem] = []
        self._tables: dict[TableName, int] = {}
        self._unique_keys: dict[TableName, set[frozenset[str]]] = {}

    async def read(self) -> None:
        schemas = await read_schemas(self._session, self._selection)
        tables = await read_tables(self._session, self._selection)
        for there, schema in self._homes(schemas, tables).items():
            await self._add_schema(schema, there)
        parts = [(table, await self._read_parts(table)) for table in tables]
        if self._session.flavor.is_mariadb:
            await self._report_srids(tables)
        for table, part in parts:
            self._tables[table.name] = self._add_table(table, part)
        for table, part in parts:
            self._add_indexes(table, part)
        for table, part in parts:
            await self._add_foreign_keys(table, part)
        await self.read_code()
        for schema in self._choose_whole(schemas):
            for name, kind in await self._session.query(_OTHERS, schema):
                self._report(
                    StructureReport(kind, f"{schema}.{name}", "not moved: Towline does not move this kind yet")
                )
        await self._add_grants()

    async def read_code(self) -> None:
        schemas = await read_schemas(self._session, self._selection)
        whole = self._choose_whole(schemas)
        for schema in whole:
            await self._add_routines(schema)
        await self._add_views(whole)
        for schema in schemas:
            await self._add_triggers(schema)
        for schema in whole:
            await self._add_events(schema)

    def _choose_whole(self, schemas: Sequence[str]) -> list[str]:
        """Those of which all is selected, not single tables."""
        return [name for name in schemas if self._selection.is_everything or name in self._selection.schemas]

    # --- tables -------------------------------------------------------------------------------------

    def _there(self, table: TableName) -> TableName:
        return self._names.target_name(table)

    def _homes(self, schemas: Sequence[str], tables: Sequence[Table]) -> dict[str, str]:
        """The target's databases for what is moved, each with the source's that it is made like."""
        if not self._names:
            return {schema: schema for schema in schemas}
        homes = {self._there(table.name).schema: table.name.schema for table in reversed(tables)}
        return homes | {self._names.target_schema(schema): schema for schema in self._choose_whole(schemas)}

    async def _add_schema(self, schema: str, there: str) -> None:
        row = await self._session.query_one(
            """SELECT default_character_set_name, default_collation_name FROM information_schema.schemata
               WHERE schema_name = %s""",
            schema,
        )
        if row is None:
            return
        text = f"CREATE DATABASE IF NOT EXISTS {quote_ident(there)} DEFAULT CHARACTER SET {row[0]} COLLATE {row[1]}"
        statement = self._adapt(text, "DATABASE", schema)
        self._add(Section.BEFORE_DATA, "SCHEMA", schema, schema, (statement,), None)

    async def _read_parts(self, table: Table) -> TableParts:
        row = await self._session.query_one(f"SHOW CREATE TABLE {qualified(table.name)}")
        text, findings = adapt_table(str(row[1]) if row else "", self._session.flavor, self._target)
        for kind, part, reason in findings:
            self._report(StructureReport(kind, f"{table.name}{part}", reason))
        return split_table(self._adapt(text, "TABLE", str(table.name)), key=table.key)

    def _add_table(self, table: Table, part: TableParts) -> int:
        there = self._there(table.name)
        statements = [rename_created_table(part.create, there)]
        if self._is_foreign:
            # Without a database, MySQL says of a function that it does not have that there is no database.
            statements.insert(0, f"USE {quote_ident(there.schema)}")
        return self._add(
            Section.BEFORE_DATA, "TABLE", table.name.name, table.name.schema, tuple(statements), table.name
        )

    async def _report_srids(self, tables: Sequence[Table]) -> None:
        """MariaDB does not show them with the table, and holds nobody to them."""
        moved = {table.name for table in tables}
        for schema in sorted({name.schema for name in moved}):
            for name, column, srid in await self._session.query(_SRIDS, schema):
                if TableName(schema, name) in moved:
                    reason = f"is without REF_SYSTEM_ID={srid}, which SHOW CREATE TABLE leaves out"
                    self._report(StructureReport("COLUMN", f"{schema}.{name}.{column}", reason))

    def _add_indexes(self, table: Table, part: TableParts) -> None:
        plain_bytes = table.index_bytes or int(table.size_bytes * _USUAL_INDEX_SHARE * len(part.indexes))
        slow_share = FULLTEXT_SHARE_IN_MARIADB if self._target.is_mariadb else FULLTEXT_SHARE_IN_MYSQL
        # The first FULLTEXT index makes the table anew, with a hidden column, and all indexes that it has by then.
        slow = frozenset(
            self._add_index(table, (definition,), weight_bytes=int(table.size_bytes * slow_share))
            for definition in part.slow_indexes
        )
        if part.indexes:
            self._add_index(table, part.indexes, weight_bytes=plain_bytes, depends=slow)

    def _add_index(
        self, table: Table, group: Sequence[str], *, weight_bytes: int, depends: frozenset[int] = frozenset()
    ) -> int:
        added = ", ".join(f"ADD {definition}" for definition in group)
        return self._add(
            Section.INDEXES,
            "INDEX",
            ", ".join(_name_of(definition) for definition in group),
            table.name.schema,
            (f"ALTER TABLE {qualified(self._there(table.name))} {added}",),
            table.name,
            weight_bytes=weight_bytes,
            depends=depends,
        )

    async def _add_foreign_keys(self, table: Table, part: TableParts) -> None:
        for key in part.foreign_keys:
            parent = TableName(key.parent_schema or table.name.schema, key.parent_table)
            if not self._selection.covers(parent):
                reason = f"refers to {parent}, which is not part of the job; its rows are not checked"
                self._report(StructureReport("FK CONSTRAINT", f"{table.name}.{key.name}", reason))
            depends = frozenset(self._tables[name] for name in {table.name, parent} if name in self._tables)
            there, definition = self._there(table.name), key.definition
            if self._names:
                definition = rename_parent(
                    definition, self._there(parent) if self._selection.covers(parent) else parent
                )
            # Unqualified parents are looked for in the table's own database.
            statements = [f"USE {quote_ident(there.schema)}", f"ALTER TABLE {qualified(there)} ADD {definition}"]
            if await self._is_loose(parent, key.parent_columns):
                reason = "refers to columns that are no unique key of their own; MySQL calls that deprecated"
                self._report(StructureReport("FK CONSTRAINT", f"{table.name}.{key.name}", reason))
                statements.insert(0, _TAKE_LOOSE_KEYS)
            self._add(
                Section.AFTER_DATA,
                "FK CONSTRAINT",
                key.name,
                table.name.schema,
                tuple(statements),
                table.name,
                depends=depends,
            )

    async def _is_loose(self, parent: TableName, columns: frozenset[str]) -> bool:
        """Whether the target makes a foreign key to these columns only when it is told to."""
        if not self._target.is_mysql_from(8, 4) or parent not in self._tables:
            return False
        if parent not in self._unique_keys:
            keys = await read_unique_keys(self._session, parent)
            self._unique_keys[parent] = {frozenset(name.lower() for name in key) for key in keys}
        return frozenset(name.lower() for name in columns) not in self._unique_keys[parent]

    # --- code ---------------------------------------------------------------------------------------

    async def _add_routines(self, schema: str) -> None:
        for name, kind in await self._session.query(_ROUTINES, schema):
            if kind not in ("FUNCTION", "PROCEDURE"):
                self._report(
                    StructureReport(kind, f"{schema}.{name}", "not moved: Towline does not move this kind yet")
                )
                continue
            row = await self._show(f"SHOW CREATE {kind} {_full(schema, name)}")
            text = row.get(f"Create {kind.capitalize()}")
            if text is None:
                self._report(StructureReport(kind, f"{schema}.{name}", "the account may not read it"))
                continue
            self._report_mentioned(kind, f"{schema}.{name}", str(text))
            statements = self._render_code(kind, schema, name, row, str(text))
            self._add(Section.AFTER_DATA, kind, name, schema, statements, None, is_optional=self._is_foreign)

    async def _add_views(self, schemas: Sequence[str]) -> None:
        texts: dict[TableName, str] = {}
        for schema in schemas:
            for (name,) in await self._session.query(_VIEWS, schema):
                row = await self._show(f"SHOW CREATE VIEW {_full(schema, name)}")
                texts[TableName(schema, name)] = self._adapt(str(row["Create View"]), "VIEW", f"{schema}.{name}")
        left_out: set[TableName] = set()
        for view in _sort_views(texts):
            try:
                if needed := next(
                    (other for other in left_out if _full(other.schema, other.name) in texts[view]), None
                ):
                    raise Uncertain(f"{needed} is left out")
                text = rename_view(texts[view], self._names) if self._names else texts[view]
            except Uncertain as doubt:
                left_out.add(view)
                reason = f"left out: its text cannot be renamed for certain: {doubt}"
                self._report(StructureReport("VIEW", str(view), reason))
                continue
            statements = (f"USE {quote_ident(self._names.target_schema(view.schema))}", self._owned(text))
            self._add(
                Section.AFTER_DATA, "VIEW", view.name, view.schema, statements, None, is_optional=self._is_foreign
            )

    async def _add_triggers(self, schema: str) -> None:
        for name, table, timing, event in await self._session.query(_TRIGGERS, schema):
            source = TableName(schema, table)
            if not self._selection.covers(source):
                continue
            row = await self._show(f"SHOW CREATE TRIGGER {_full(schema, name)}")
            text: str | None = str(row["SQL Original Statement"])
            there = self._there(source)
            if there != source:
                place = TableName(there.schema, name)
                text = rename_trigger(str(text), name=place, when=f"{timing} {event}", there=there)
            if text is None:
                self._report(StructureReport("TRIGGER", f"{schema}.{name}", "left out: its text is not understood"))
                continue
            if self._follows:
                self._report(StructureReport("TRIGGER", f"{schema}.{name}", "comes when the job ends"))
            self._report_mentioned("TRIGGER", f"{schema}.{name}", text)
            statements = self._render_code("TRIGGER", schema, name, row, text)
            self._add(Section.AFTER_DATA, "TRIGGER", name, schema, statements, source, is_optional=self._is_foreign)

    async def _add_events(self, schema: str) -> None:
        for (name,) in await self._session.query(_EVENTS, schema):
            row = await self._show(f"SHOW CREATE EVENT {_full(schema, name)}")
            text = str(row["Create Event"])
            if is_enabled_event(text):
                reason = "created disabled; enabled when the job ends"
                self._report(StructureReport("EVENT", f"{schema}.{name}", reason))
            self._report_mentioned("EVENT", f"{schema}.{name}", text)
            zone = f"SET SESSION time_zone = {quote_literal(str(row['time_zone']))}"
            *settings, text = self._render_code("EVENT", schema, name, row, text)
            statements = (*settings, zone, text)
            self._add(Section.AFTER_DATA, "EVENT", name, schema, statements, None, is_optional=self._is_foreign)

    async def _add_grants(self) -> None:
        if not self._accounts:
            return
        # Else these servers would make an account without a password where there is none.
        makes_accounts = not self._target.is_mysql_from(8, 0)
        guard = ("SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_CREATE_USER')",) if makes_accounts else ()
        for grant in await read_grants(self._session, self._accounts, self._selection, on_report=self._report):
            statements = (*guard, grant.statement)
            self._add(
                Section.AFTER_DATA, "GRANT", grant.account, grant.schema, statements, grant.table, is_optional=True
            )

    def _render_code(self, kind: str, schema: str, name: str, row: dict[str, Any], text: str) -> tuple[str, ...]:
        """With the settings that the object was made under, which stay with it."""
        mode = ",".join(
            part for part in str(row["sql_mode"]).split(",") if self._target.is_mariadb or part != "NO_AUTO_CREATE_USER"
        )
        return (
            f"USE {quote_ident(self._names.target_schema(schema))}",
            f"SET SESSION sql_mode = {quote_literal(mode)}",
            self._owned(self._adapt(text, kind, f"{schema}.{name}")),
        )

    def _owned(self, text: str) -> str:
        return remove_definer(text) if self._replaces_owners else text

    def _report_mentioned(self, kind: str, name: str, text: str) -> None:
        if mentioned := find_mentioned(text, self._names):
            reason = f"made as it is: its text names {mentioned}; change it where needed"
            self._report(StructureReport(kind, name, reason))

    # --- odds and ends ------------------------------------------------------------------------------

    async def _show(self, statement: str) -> dict[str, Any]:
        return (await self._session.query_named(statement, what="reading the structure"))[0]

    def _adapt(self, text: str, kind: str, name: str) -> str:
        adapted, changes = adapt(text, self._session.flavor, self._target)
        for change in changes:
            self._report(StructureReport(kind, name, change))
        return adapted

    def _add(
        self,
        section: Section,
        kind: str,
        name: str,
        schema: str,
        statements: tuple[str, ...],
        table: TableName | None,
        *,
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
                statements,
                depends_on=depends,
                weight_bytes=weight_bytes,
                is_optional=is_optional,
            )
        )
        return number


def _sort_views(texts: dict[TableName, str]) -> list[TableName]:
    """Views after those that they read; the server writes all names in full."""
    needs = {
        view: {other for other in texts if other != view and _full(other.schema, other.name) in text}
        for view, text in texts.items()
    }
    ordered: list[TableName] = []
    while needs:
        ready = [view for view, wanted in needs.items() if not wanted & needs.keys()] or [next(iter(needs))]
        for view in ready:
            ordered.append(view)
            del needs[view]
    return ordered


def _full(schema: str, name: str) -> str:
    return f"{quote_ident(schema)}.{quote_ident(name)}"


def _name_of(definition: str) -> str:
    return definition.partition("`")[2].partition("`")[0]

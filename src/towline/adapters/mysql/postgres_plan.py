"""The structure of a job whose target is PostgreSQL, as items in creation order. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from towline.adapters.mysql.postgres_collations import ignores_case, render_collation
from towline.adapters.mysql.postgres_ddl import (
    IDENTITY_TYPES,
    ColumnFacts,
    ForeignKeyFacts,
    IndexFacts,
    Names,
    Report,
    TableFacts,
    find_bigints,
    full_name,
    ident,
    literal,
    render_table,
    require_names,
    sequence_name,
    shorten,
)
from towline.adapters.mysql.postgres_wishes import choose_postgres_column, list_choices
from towline.domain.conversion import ColumnType, Conversion
from towline.domain.errors import BadConversion, Side
from towline.domain.structure import Section, StructureItem
from towline.domain.tables import TableName

_ACTIONS = frozenset({"RESTRICT", "CASCADE", "SET NULL", "NO ACTION"})


def plan_structure(
    tables: Sequence[TableFacts],
    keys: dict[TableName, tuple[str, ...]],
    *,
    schemas: Sequence[str],
    is_mariadb: bool,
    report: Report,
) -> list[StructureItem]:
    """`keys`: the columns by which the stream finds rows; their index is made before the stream begins.

    Raises: StructureFailed, a name or a type that PostgreSQL does not have.
    """
    plan = _Plan(tables, keys, is_mariadb=is_mariadb, report=report)
    for schema in schemas:
        plan.add(Section.BEFORE_DATA, "SCHEMA", schema, schema, f"CREATE SCHEMA IF NOT EXISTS {ident(schema)}", None)
    plan.add_collations(tables)
    for table in tables:
        plan.add_table(table)
    for table in tables:
        plan.add_indexes(table)
    for table in tables:
        plan.add_foreign_keys(table)
        plan.add_comments(table)
    _report_collations(tables, report)
    return plan.items


def require_wishes(
    conversion: Conversion, tables: Sequence[TableFacts], keys: Mapping[TableName, tuple[str, ...]]
) -> None:
    """Refuse types that a job cannot have, before anything is made. Raises: BadConversion, names the first."""
    problems = find_bad_wishes(conversion, tables, keys)
    if problems:
        raise BadConversion(problems[0], side=Side.SOURCE)


def find_bad_wishes(
    conversion: Conversion, tables: Sequence[TableFacts], keys: Mapping[TableName, tuple[str, ...]]
) -> list[str]:
    """What is wrong with the wishes for column types, one sentence each."""
    found = {(table.name.schema, table.name.name, column.name) for table in tables for column in table.columns}
    problems = [
        f"the job has no column {wish}, for which a type is asked"
        for wish in conversion.column_types
        if wish.is_for_column and wish.place not in found
    ]
    for table in tables:
        keyed = {*keys.get(table.name, ()), *(name for each in table.indexes if each.is_primary for name in each.names)}
        for column in table.columns:
            wish = conversion.find_type(table.name, column.name, column.shape.type_sql)
            problem = "" if wish is None else _find_fault(column, wish, is_keyed=column.name in keyed)
            if problem:
                problems.append(f"{table.name}.{column.name} ({column.shape.type_sql}) {problem}")
    return problems


def _find_fault(column: ColumnFacts, wish: ColumnType, *, is_keyed: bool) -> str:
    chosen = choose_postgres_column(column.shape)
    if chosen is None and wish.type_sql:
        choices = ", ".join(list_choices(column.shape)) or "nothing else"
        return f"cannot be {wish.type_sql}: {choices}"
    if wish.is_nullable and is_keyed:
        return "cannot be NULL: it belongs to the key"
    if column.is_counted and chosen is not None and chosen.type_sql not in IDENTITY_TYPES and wish.type_sql:
        return f"cannot be {wish.type_sql}: it counts up, which takes smallint, integer or bigint"
    return ""


class _Plan:
    def __init__(
        self,
        tables: Sequence[TableFacts],
        keys: dict[TableName, tuple[str, ...]],
        *,
        is_mariadb: bool,
        report: Report,
    ) -> None:
        self.items: list[StructureItem] = []
        self._keys = keys
        self._is_mariadb = is_mariadb
        self._report = report
        self._bigints = find_bigints(tables)
        self._numbers: dict[TableName, int] = {}
        self._unique: dict[TableName, list[frozenset[str]]] = {}
        self._names: dict[str, Names] = {}
        for table in tables:
            names = self._names.setdefault(table.name.schema, Names())
            names.taken.add(table.name.name)
            names.taken.update(
                sequence_name(table.name.name, column.name) for column in table.columns if column.is_counted
            )

    def add_collations(self, tables: Sequence[TableFacts]) -> None:
        """In each schema those that its own tables need."""
        needed = {
            (table.name.schema, column.target_collation)
            for table in tables
            for column in table.columns
            if column.target_collation is not None
        }
        for schema, name in sorted(needed):
            self.add(Section.BEFORE_DATA, "COLLATION", name, schema, render_collation(ident(schema), name), None)

    def add_table(self, table: TableFacts) -> None:
        require_names(table)
        statement = render_table(table, bigints=self._bigints, is_mariadb=self._is_mariadb, report=self._report)
        name = table.name
        self._numbers[name] = self.add(Section.BEFORE_DATA, "TABLE", name.name, name.schema, statement, name)

    def add_indexes(self, table: TableFacts) -> None:
        unique = self._unique.setdefault(table.name, [])
        for index in table.indexes:
            columns = index.columns
            if columns is None:
                self._report("INDEX", f"{table.name}.{index.name}", _why_not(index))
                continue
            if index.is_unique:
                unique.append(frozenset(columns))
            self._add_index(table, index, is_key=index.is_unique and columns == self._keys.get(table.name))

    def _add_index(self, table: TableFacts, index: IndexFacts, *, is_key: bool) -> None:
        names = self._names[table.name.schema]
        if index.name == "PRIMARY":
            name = names.take(f"{table.name.name}_pkey")
            listed = ", ".join(ident(part.column or "") for part in index.parts)
            statement = f"ALTER TABLE {full_name(table.name)} ADD CONSTRAINT {ident(name)} PRIMARY KEY ({listed})"
            self.add(Section.KEYS, "CONSTRAINT", name, table.name.schema, statement, table.name)
            return
        name = names.take(f"{table.name.name}_{index.name}")
        listed = ", ".join(ident(part.column or "") + (" DESC" if part.is_descending else "") for part in index.parts)
        unique = "UNIQUE " if index.is_unique else ""
        statement = f"CREATE {unique}INDEX {ident(name)} ON {full_name(table.name)} ({listed})"
        section = Section.KEYS if is_key else Section.INDEXES
        # One that is there for speed only may fail: its entries are larger than PostgreSQL allows.
        is_optional = not index.is_unique
        self.add(section, "INDEX", name, table.name.schema, statement, table.name, is_optional=is_optional)

    def add_foreign_keys(self, table: TableFacts) -> None:
        for key in table.foreign_keys:
            reason = self._why_no_foreign_key(key)
            if reason:
                self._report("FK CONSTRAINT", f"{table.name}.{key.name}", reason)
                continue
            mine, other = (", ".join(map(ident, columns)) for columns in (key.columns, key.parent_columns))
            name = shorten(key.name)
            statement = (
                f"ALTER TABLE {full_name(table.name)} ADD CONSTRAINT {ident(name)} FOREIGN KEY ({mine})"
                f" REFERENCES {full_name(key.parent)} ({other}) ON DELETE {key.on_delete} ON UPDATE {key.on_update}"
            )
            depends = frozenset({self._numbers[table.name], self._numbers[key.parent]})
            self.add(
                Section.AFTER_DATA,
                "FK CONSTRAINT",
                name,
                table.name.schema,
                statement,
                table.name,
                depends=depends,
                is_optional=True,  # the source may hold rows that break it, written with foreign_key_checks off
            )

    def _why_no_foreign_key(self, key: ForeignKeyFacts) -> str:
        if key.parent not in self._numbers:
            return f"left out: it refers to {key.parent}, which is not part of the job"
        if frozenset(key.parent_columns) not in self._unique[key.parent]:
            return f"left out: what it refers to in {key.parent} is not unique, which PostgreSQL asks for"
        if key.on_delete not in _ACTIONS or key.on_update not in _ACTIONS:
            return "left out: an action that is not known"
        return ""

    def add_comments(self, table: TableFacts) -> None:
        statements = []
        if table.comment:
            statements.append(f"COMMENT ON TABLE {full_name(table.name)} IS {literal(table.comment)}")
        statements += [
            f"COMMENT ON COLUMN {full_name(table.name)}.{ident(column.name)} IS {literal(column.comment)}"
            for column in table.columns
            if column.comment
        ]
        for statement in statements:
            self.add(
                Section.AFTER_DATA,
                "COMMENT",
                table.name.name,
                table.name.schema,
                statement,
                table.name,
                depends=frozenset({self._numbers[table.name]}),
                is_optional=True,
            )

    def add(
        self,
        section: Section,
        kind: str,
        name: str,
        schema: str,
        statement: str,
        table: TableName | None,
        *,
        depends: frozenset[int] = frozenset(),
        is_optional: bool = False,
    ) -> int:
        number = len(self.items) + 1
        item = StructureItem(
            number,
            section,
            kind,
            name,
            schema,
            table,
            (f"{statement};",),
            depends_on=depends,
            is_optional=is_optional,
        )
        self.items.append(item)
        return number


def _why_not(index: IndexFacts) -> str:
    if index.kind in ("FULLTEXT", "SPATIAL", "RTREE", "VECTOR"):
        return f"left out: a {index.kind} index has no certain equal"
    if any(part.column is None for part in index.parts):
        return "left out: the expression that it is of is not translated"
    return "left out: it is of the beginning of a column only"


def _report_collations(tables: Sequence[TableFacts], report: Report) -> None:
    lax = [(f"{table.name}.{each.name}", each) for table in tables for each in table.columns]
    lax = [(name, column) for name, column in lax if ignores_case(column.collation)]
    _report_columns(
        [name for name, column in lax if column.target_collation is None],
        "compare without regard to case on the source; on the target 'a' and 'A' are two values, in keys and in"
        " conditions",
        report,
    )
    _report_columns(
        [name for name, column in lax if column.target_collation is not None],
        "compare without regard to case on the target as well, by ICU's rules: spaces at the end count, and before"
        " PostgreSQL 18 LIKE is refused",
        report,
    )


def _report_columns(names: Sequence[str], reason: str, report: Report) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        report("COLLATION", f"{names[0]}{more}", reason)

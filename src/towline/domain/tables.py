"""Tables, columns and keys, as both sides of a job see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table's schema and name, unquoted, exactly as the catalog has them."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column that carries data (generated columns are left out, the target computes them).

    `type_sql` is the full type as the source renders it, e.g. `numeric(10,2)`; `is_binary_safe` says
    that its binary wire form means the same on another server (no object ids inside).
    """

    name: str
    type_sql: str
    is_binary_safe: bool
    is_identity: bool = False


class TotalOrigin(Enum):
    """How a total was obtained."""

    STATISTICS = "statistics"
    COUNTED = "counted"
    EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Table:
    """One table with storage (ordinary table or leaf partition) of the source.

    `key` holds the column names that identify a row for replication: primary key or replica identity
    index, in index order; empty when there is none.  With `has_unsent_key` there is one, but the source leaves a part
    of it out of its log, so it identifies no row there.  `identity` is the source's replica identity:
    'd' default, 'f' full, 'i' index, 'n' nothing.  `pages` and `size_bytes` (heap + TOAST) and
    `estimated_rows` come from the catalog when the table was read.  `storage_id` changes when the table is
    rewritten (VACUUM FULL, TRUNCATE, ALTER TYPE): row addresses are then no longer comparable.  Where tables are cut by
    their key, it tells the columns instead: their names, order and types.  Without `has_pages`
    the source shows none, and `pages` counts the parts that the table was cut into.  `index_bytes`: what its secondary
    indexes take on the source; 0 where that is not known with the table.  `home`: the partitioned table as which this
    partition and its siblings lie on the target, where they can be emptied only together.
    `columns_id`: one word per column, a new one when the column's type is set anew, and one with a `p` that tells what
    the table is a partition of; "" where the source's log tells of all that.
    """

    name: TableName
    source_id: int
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    identity: str
    pages: int
    size_bytes: int
    estimated_rows: int
    storage_id: str
    is_logged: bool = True  # unlogged tables are copied but never streamed
    is_partition: bool = False
    has_pages: bool = True
    index_bytes: int = 0
    row_filter: str = ""  # a condition in the source's SQL; rows that do not meet it are not moved
    has_unsent_key: bool = False
    home: TableName | None = None
    columns_id: str = ""

    @property
    def is_binary_safe(self) -> bool:
        return all(column.is_binary_safe for column in self.columns)


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows of a table are moved: those that meet the condition, in the source's SQL. Checked when accepted."""

    table: TableName
    condition: str


@dataclass(frozen=True, slots=True)
class SchemaRename:
    """All that is in a schema, or in a database of a family without schemas, goes to another one."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class TableRename:
    """One table, or view, goes to another name; its schema's rename does not touch it."""

    source: TableName
    target: TableName


@dataclass(frozen=True)
class NameMap:
    """What objects of the source are called on the target; what is not listed keeps its name.

    Only what writes to a target, or makes statements for one, asks it.  Everything else, ledger, progress and figures
    included, speaks of the source's names.  `domain/renames.py` says which maps are sound.
    """

    schemas: tuple[SchemaRename, ...] = ()
    tables: tuple[TableRename, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.schemas or self.tables)

    def target_schema(self, schema: str) -> str:
        return self._schemas.get(schema, schema)

    def target_name(self, table: TableName) -> TableName:
        found = self._tables.get(table)
        if found is not None:
            return found
        schema = self._schemas.get(table.schema)
        return table if schema is None else TableName(schema, table.name)

    def find_sharing(self, target: TableName) -> frozenset[TableName]:
        """The tables of the source that are listed as this one of the target."""
        return self._sharing.get(target, frozenset())

    def with_tables(self, more: Iterable[TableRename]) -> NameMap:
        return NameMap(self.schemas, (*self.tables, *more))

    # What begins with an underscore is not stored with the map.
    @cached_property
    def _schemas(self) -> dict[str, str]:
        return {each.source: each.target for each in self.schemas}

    @cached_property
    def _tables(self) -> dict[TableName, TableName]:
        return {each.source: each.target for each in self.tables}

    @cached_property
    def _sharing(self) -> dict[TableName, frozenset[TableName]]:
        found: dict[TableName, set[TableName]] = defaultdict(set)
        for each in self.tables:
            found[each.target].add(each.source)
        return {target: frozenset(sources) for target, sources in found.items()}


SAME_NAMES = NameMap()


@dataclass(frozen=True, slots=True)
class ObjectSelection:
    """What a job moves. Everything when all sets are empty; a named schema means all that is in it.

    `views` are single ones, materialised or not; they come with the structure of what they read, without its rows.
    `names`: what is called otherwise on the target.
    """

    schemas: frozenset[str] = frozenset()
    tables: frozenset[TableName] = frozenset()
    row_filters: tuple[RowFilter, ...] = ()
    views: frozenset[TableName] = frozenset()
    names: NameMap = SAME_NAMES

    @property
    def is_everything(self) -> bool:
        return not (self.schemas or self.tables or self.views)

    def covers(self, table: TableName) -> bool:
        """Whether the table's rows are moved."""
        return self.is_everything or table.schema in self.schemas or table in self.tables

    def has_view(self, view: TableName) -> bool:
        return self.is_everything or view.schema in self.schemas or view in self.views

    def holds(self, other: ObjectSelection) -> bool:
        """Whether all that `other` selects is selected here too, whatever the databases have."""
        if self.is_everything or other.is_everything:
            return self.is_everything
        return (
            other.schemas <= self.schemas
            and all(map(self.covers, other.tables))
            and all(map(self.has_view, other.views))
        )

    def condition_for(self, names: Iterable[TableName]) -> str:
        """What rows of a table must meet, given its own name and those that it is a partition of; "" = nothing."""
        wanted = set(names)
        met = [each.condition for each in self.row_filters if each.table in wanted]
        return " AND ".join(f"({condition})" for condition in met) if len(met) > 1 else "".join(met)


EVERYTHING = ObjectSelection()

"""The statements that bring folded changes to one target table. Pure.

Rows that need more than an insert go through a staging table first: a temporary table of the applier's session with
a number `op` that tells groups of rows apart and one column per source column, `c0`, `c1`, ...  The source's
columns are found on the target by name; columns that only the target has keep their values or defaults.

`ONLY` everywhere: a parent in an inheritance tree is a table of its own.  `OVERRIDING SYSTEM VALUE` lets identity
columns take the source's values; a `GENERATED ALWAYS` column cannot be updated to a value at all, so such rows are
deleted and inserted, with what the source did not send taken from the row that goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from towline.adapters.postgres.quoting import qualified, quote_ident, quote_literal
from towline.domain.changes import TRUNCATE_RESTART_IDENTITY, Relation
from towline.domain.errors import Side, SourceChanged
from towline.domain.tables import TableName

FIRST_USER_ID = 16384
# Types whose `=` means "the same value"; all others are compared by their text form where whole rows are matched.
_EXACT_TYPES = frozenset({16, 17, 19, 20, 21, 23, 25, 26, 1043, 1082, 1083, 1114, 1184, 2950, 3220})
# Whether tables outside of these refer to one of them.
FIND_REFERRERS = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.confrelid
               WHERE k.contype = 'f' AND c.oid = ANY (SELECT pg_catalog.to_regclass(n) FROM unnest($1::text[]) n)
                 AND NOT k.conrelid = ANY (SELECT pg_catalog.to_regclass(n) FROM unnest($1::text[]) n))
"""


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column of the target's table."""

    name: str
    type_id: int
    type_sql: str  # of a domain, the type it is built on
    domain_of: str | None  # that type without its modifier; None if the column's type is no domain
    is_generated: bool
    is_identity_always: bool
    equals_schema: str  # where the type's `=` lives
    is_nullable: bool = True
    is_lax: bool = False  # its collation takes texts of different bytes for equal


@dataclass(frozen=True, slots=True)
class DeferrableConstraint:
    """A unique or exclusion constraint of the target's table that may be broken until the commit."""

    name: str
    columns: Sequence[str]
    operators: Sequence[str]  # one per column: what two rows may not be at once; empty for "equal"
    is_null_equal: bool


class TableSql:
    """Statements for rows of one relation. `$1` is the number of the group of staged rows."""

    def __init__(
        self,
        relation: Relation,
        target: Sequence[TargetColumn],
        *,
        name: TableName | None = None,
        deferrable: Sequence[DeferrableConstraint] = (),
        stage: str,
        builtin_types: dict[int, str],
        is_binary: bool,
    ) -> None:
        """`name`: of the target's table, if it is another one.

        Raises SourceChanged when the source has a column that cannot be written on the target.
        """
        self.relation = relation
        self.is_binary = is_binary
        self.name = name or relation.table
        self._table = qualified(self.name)
        self.deferrable = deferrable
        self.stage = stage
        self._stage = f"pg_temp.{quote_ident(stage)}"
        by_name = {column.name: column for column in target}
        self._target = by_name
        self._columns = [_require_column(relation.table, name, by_name) for name in relation.columns]
        self._extra = [c.name for c in target if c.name not in relation.columns and not c.is_generated]
        self._builtin_types = builtin_types
        self._match = " AND ".join(self._equals(number) for number in relation.key)
        self._updates: dict[tuple[int, ...], str] = {}

    # --- facts ------------------------------------------------------------------------------------

    @property
    def can_copy_directly(self) -> bool:
        """Whether COPY into the table itself reads the values as what they are, and nothing else needs them."""
        if self.deferrable:
            return False
        return not self.is_binary or all(
            type_id == column.type_id
            for type_id, column in zip(self.relation.type_ids, self._columns, strict=True)
            if type_id < FIRST_USER_ID
        )

    @property
    def columns(self) -> Sequence[TargetColumn]:
        """The target's columns, in the order of the relation's."""
        return self._columns

    @property
    def settable(self) -> tuple[int, ...]:
        """Numbers of the columns that an update writes."""
        return tuple(number for number in range(len(self._columns)) if number not in self.relation.key)

    # --- staging ----------------------------------------------------------------------------------

    def create_stage(self) -> str:
        columns = ["op int4", *(f"c{number} {self._stage_type(number)}" for number in range(len(self._columns)))]
        return f"CREATE TEMPORARY TABLE {self._stage} ({', '.join(columns)}) ON COMMIT DELETE ROWS"

    def drop_stage(self) -> str:
        return f"DROP TABLE IF EXISTS {self._stage}"

    def empty_stage(self) -> str:
        """What breaks a deferrable constraint at the moment stays, to be looked at again before the commit."""
        if not self.deferrable:
            return f"TRUNCATE {self._stage}"
        broken = " OR ".join(self._is_broken(constraint) for constraint in self.deferrable)
        return f"DELETE FROM {self._stage} AS s WHERE NOT ({broken})"

    def _stage_type(self, number: int) -> str:
        # Binary values are what the source's type says; text values are read by the target's own type.  Of a domain
        # only what it is built on: rows of deletes are NULL beside their key, and a domain may refuse NULL.
        type_id = self.relation.type_ids[number]
        if self.is_binary and type_id in self._builtin_types:
            return self._builtin_types[type_id]
        return self._columns[number].type_sql

    # --- by key -----------------------------------------------------------------------------------

    @cached_property
    def delete(self) -> str:
        return f"DELETE FROM ONLY {self._table} AS t USING {self._stage} AS s WHERE s.op = $1 AND {self._match}"

    @cached_property
    def count_others(self) -> str:
        """How many rows the target has with the key staged as `$1` and not with the one staged as `$2`.

        Two keys may be equal without being the same, such as 1.0 and 1.00: then they are of one row.
        """
        is_old = f"EXISTS (SELECT FROM {self._stage} AS s WHERE s.op = $2 AND {self._match})"
        return (
            f"SELECT count(*) FROM ONLY {self._table} AS t, {self._stage} AS s"
            f" WHERE s.op = $1 AND {self._match} AND NOT {is_old}"
        )

    def update(self, numbers: tuple[int, ...]) -> str:
        """Set these columns of the rows with the same key."""
        statement = self._updates.get(numbers)
        if statement is None:
            statement = self._updates[numbers] = self._render_update(numbers)
        return statement

    def _render_update(self, numbers: tuple[int, ...]) -> str:
        if any(self._columns[number].is_identity_always for number in numbers):
            return self._render_rewrite(numbers)
        assignments = ", ".join(f"{self._name(number)} = s.c{number}" for number in numbers)
        return (
            f"UPDATE ONLY {self._table} AS t SET {assignments}"
            f" FROM {self._stage} AS s WHERE s.op = $1 AND {self._match}"
        )

    def _render_rewrite(self, numbers: tuple[int, ...]) -> str:
        """The same by delete and insert; what is not set comes from the row that goes."""
        names = [self._name(number) for number in range(len(self._columns))]
        sent = {*numbers, *self.relation.key}
        values = [f"s.c{number}" if number in sent else f"t.{name}" for number, name in enumerate(names)]
        extra = [quote_ident(name) for name in self._extra]
        values += [f"t.{name}" for name in extra]
        returned = ", ".join(f"{value} AS v{place}" for place, value in enumerate(values))
        return (
            f"WITH gone AS ({self.delete} RETURNING {returned})"
            f" INSERT INTO {self._table} ({', '.join(names + extra)}) OVERRIDING SYSTEM VALUE SELECT * FROM gone"
        )

    @cached_property
    def insert(self) -> str:
        values = ", ".join(f"s.c{number}" for number in range(len(self._columns)))
        # A row may have no value at all: then no list can be written either.
        listed = f" ({self._names}) OVERRIDING SYSTEM VALUE" if self._columns else ""
        return f"INSERT INTO {self._table}{listed} SELECT {values} FROM {self._stage} AS s WHERE s.op = $1"

    @cached_property
    def insert_missing(self) -> str:
        """Insert the rows whose key the target does not have."""
        return f"{self.insert} AND NOT EXISTS (SELECT FROM ONLY {self._table} AS t WHERE {self._match})"

    def move(self, unchanged: Iterable[int]) -> str:
        """Replace the row staged as group `$1` by the one staged as `$2`; unchanged columns come from the old."""
        return self._render_move(f"{self.delete} RETURNING t.*", kept=set(unchanged))

    def _render_move(self, delete: str, *, kept: set[int]) -> str:
        names = [self._name(number) for number in range(len(self._columns))]
        values = [f"gone.{name}" if number in kept else f"s.c{number}" for number, name in enumerate(names)]
        extra = [quote_ident(name) for name in self._extra]
        return (
            f"WITH gone AS ({delete})"
            f" INSERT INTO {self._table} ({', '.join(names + extra)}) OVERRIDING SYSTEM VALUE"
            f" SELECT {', '.join(values + [f'gone.{name}' for name in extra])}"
            f" FROM gone, {self._stage} AS s WHERE s.op = $2"
        )

    # --- by whole rows ----------------------------------------------------------------------------

    def delete_whole(self, nulls: Iterable[int]) -> str:
        """Delete one row that equals the one staged as `$1`, which is NULL in these columns."""
        return f"DELETE FROM ONLY {self._table} AS t WHERE t.ctid = ({self._find_whole(nulls)})"

    def update_whole(self, nulls: Iterable[int]) -> str:
        """Set one row that equals the one staged as `$1` to the one staged as `$2`."""
        if any(self._columns[number].is_identity_always for number in self.settable):
            return self._render_move(f"{self.delete_whole(nulls)} RETURNING t.*", kept=set())
        assignments = ", ".join(f"{self._name(number)} = n.c{number}" for number in self.settable)
        return (
            f"UPDATE ONLY {self._table} AS t SET {assignments} FROM {self._stage} AS n"
            f" WHERE n.op = $2 AND t.ctid = ({self._find_whole(nulls)})"
        )

    def _find_whole(self, nulls: Iterable[int]) -> str:
        is_null = set(nulls)
        tests = []
        for number in range(len(self._columns)):
            name = f"t.{self._name(number)}"
            if number in is_null:
                tests.append(f"{name} IS NULL")
                continue
            if self._columns[number].type_id in _EXACT_TYPES:
                # It may find the row by an index, also where it finds too many.
                tests.append(f"{name} OPERATOR(pg_catalog.=) s.c{number}")
            if self._columns[number].type_id not in _EXACT_TYPES or self._columns[number].is_lax:
                # Some types have no equality, and that of others ignores differences (numeric scale, citext).
                tests.append(f'{name}::text COLLATE "C" = s.c{number}::text COLLATE "C"')
        matches = " AND ".join(["s.op = $1", *tests])
        return f"SELECT t.ctid FROM ONLY {self._table} AS t, {self._stage} AS s WHERE {matches} LIMIT 1"

    # --- deferrable constraints -------------------------------------------------------------------

    def find_broken(self, constraint: DeferrableConstraint) -> str:
        """Whether another row stands in the way of one that was staged in this transaction."""
        return f"SELECT EXISTS (SELECT FROM {self._stage} AS s WHERE {self._is_broken(constraint)})"

    def _is_broken(self, constraint: DeferrableConstraint) -> str:
        # By its key, because a staged row need not be a whole one; rows without a key are staged as a whole.
        found = self._match or " AND ".join(self._collides(constraint, "t", "s")) or "true"
        collides = " AND ".join(self._collides(constraint, "o", "t"))
        return (
            f"EXISTS (SELECT FROM ONLY {self._table} AS t, ONLY {self._table} AS o"
            f" WHERE {found} AND {collides} AND o.ctid <> t.ctid)"
        )

    def _collides(self, constraint: DeferrableConstraint, left: str, right: str) -> Iterator[str]:
        """One test per column of the constraint; those that the source does not have are not staged."""
        for place, name in enumerate(constraint.columns):
            column = self._target[name]
            cast = f"::{column.domain_of}" if column.domain_of else ""
            operator = f"OPERATOR({quote_ident(column.equals_schema)}.=)"
            if constraint.operators:
                operator = constraint.operators[place]
            mine = f"{left}.{quote_ident(name)}{cast}"
            other = f"{right}.{quote_ident(name)}{cast}"
            if right == "s":
                if name not in self.relation.columns:
                    continue
                other = f"s.c{self.relation.columns.index(name)}"
            test = f"{mine} {operator} {other}"
            yield f"({test} OR {mine} IS NULL AND {other} IS NULL)" if constraint.is_null_equal else test

    # --- conflicts --------------------------------------------------------------------------------

    def delete_conflicting(self, columns: Sequence[str]) -> str | None:
        """Delete the rows that have the staged row's values in these columns; None if the source lacks one."""
        if not columns or not set(columns) <= set(self.relation.columns):
            return None
        numbers = [self.relation.columns.index(name) for name in columns]
        match = " AND ".join(self._equals(number) for number in numbers)
        return f"DELETE FROM ONLY {self._table} AS t USING {self._stage} AS s WHERE s.op = $1 AND {match}"

    def staged_key(self) -> str:
        """The key of the staged row as a JSON object of texts (all columns where there is no key)."""
        numbers = self.relation.key or range(len(self._columns))
        pairs = ", ".join(f"{quote_literal(self.relation.columns[number])}, s.c{number}::text" for number in numbers)
        return f"SELECT jsonb_build_object({pairs})::text FROM {self._stage} AS s WHERE s.op = $1"

    # --- parts ------------------------------------------------------------------------------------

    @cached_property
    def _names(self) -> str:
        return ", ".join(self._name(number) for number in range(len(self._columns)))

    def _name(self, number: int) -> str:
        return quote_ident(self._columns[number].name)

    def _equals(self, number: int) -> str:
        # The search path is empty: an extension's operator must be named with its schema to use the index.
        column = self._columns[number]
        schema = quote_ident(column.equals_schema)
        # Not every `=` sees through a domain. Without a modifier the cast is only a label, and the index is used.
        cast = f"::{column.domain_of}" if column.domain_of else ""
        return f"t.{self._name(number)}{cast} OPERATOR({schema}.=) s.c{number}"


def render_truncate(tables: Sequence[TableName], flags: int) -> str:
    """Without CASCADE: the source names every table that it emptied, and nothing else may be."""
    listed = ", ".join(f"ONLY {qualified(table)}" for table in tables)
    restart = " RESTART IDENTITY" if flags & TRUNCATE_RESTART_IDENTITY else ""
    return f"TRUNCATE {listed}{restart}"


def _require_column(table: TableName, name: str, by_name: dict[str, TargetColumn]) -> TargetColumn:
    column = by_name.get(name)
    if column is None or column.is_generated:
        problem = "is missing" if column is None else "is generated"
        raise SourceChanged(
            f"column {name} of table {table} {problem} on the target",
            side=Side.TARGET,
            remedy="Bring the target's table to the form of the source's, with the source's values in a new column,"
            " then retry the job.",
            table=str(table),
            column=name,
        )
    return column

"""Folded changes become bulk statements on one session, inside the caller's transaction.

One COPY brings all rows of a step to the table's staging table, then one statement per kind of change applies them.
Inserts of the usual kind need no staging: they are copied straight into the table.

What the target is expected to hold is checked by the numbers of affected rows.  With `Expectation.STRICT` a row that
is missing is a `RowConflict`; `REPAIR` writes whole rows that are missing and counts them; `TOLERANT` does
the same for inserts that exist already, and passes over what cannot be known (a replay, I5).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from enum import Enum
from typing import Final

import asyncpg

from towline.adapters.postgres.apply_sql import FIND_REFERRERS, render_truncate
from towline.adapters.postgres.copy_rows import as_source
from towline.adapters.postgres.errors import place_in_copy, translate, translated, with_column
from towline.adapters.postgres.quoting import qualified, quote_ident
from towline.adapters.postgres.replaced import Replaced
from towline.adapters.postgres.target_tables import TargetTable, TargetTables
from towline.domain.changes import (
    NULL_CELL,
    UNCHANGED_CELL,
    Relation,
    column_kinds,
)
from towline.domain.errors import RowConflict, Side, TableMustStartOver, TowlineError
from towline.domain.tables import SAME_NAMES, NameMap, TableName
from towline.engine.fold import Fold, InsertStep, KeyedStep, MoveStep, Step, TruncateStep, WholeRowStep
from towline.engine.points import APPLY_IN_BATCH, reach

# Rows of earlier steps stay in a staging table until the commit; beyond this they slow the later ones down.
_MAX_STAGED_GROUPS: Final = 64
_STAGED_COLUMN: Final = re.compile(r"c(\d+)")


class Expectation(Enum):
    """What a change may assume about the target's rows."""

    STRICT = "strict"
    REPAIR = "repair"
    TOLERANT = "tolerant"


Group = tuple[int, Collection[bytes]]


class FoldWriter:
    """Writes folds through one session.

    `conflicts` counts rows that were not as expected, `replaced` values that became NULL; whoever takes back what was
    written sets both back, too.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        *,
        is_binary: bool,
        mixed: frozenset[TableName] = frozenset(),
        names: NameMap = SAME_NAMES,
        is_missing_date: Callable[[bytes], bool] | None = None,
    ) -> None:
        """`mixed`: tables whose rows come from several snapshots, see `engine/snapshot.py`."""
        self.connection = connection
        self._mixed = mixed
        self._names = names
        self.tables = TargetTables(connection, is_binary=is_binary, names=names, is_missing_date=is_missing_date)
        self.conflicts = 0
        self.replaced: Replaced = Counter()
        self._last_group = 0

    async def write(self, fold: Fold, *, expectation: Expectation) -> None:
        """Apply all parts in order.

        Raises:
            RowConflict, UnrepresentableValue: a row does not fit; the transaction (or savepoint) must be rolled back.
            SourceChanged: the table of a change has another form on the target.
        """
        for part in fold.parts:
            if isinstance(part, TruncateStep):
                await self._truncate(part)
                continue
            for step in part.steps:
                with translated(Side.TARGET, what=f"applying changes to {part.relation.table}"):
                    await self._write_step(part.relation, step, expectation)
            reach(APPLY_IN_BATCH)

    async def check_deferrable(self) -> None:
        """Do what the server leaves out in a session without triggers: they are what checks these constraints.

        Raises:
            RowConflict: rows of the target stand in the way of what this transaction wrote.
        """
        for table in self.tables.with_deferrable():
            name = table.sql.relation.table
            for constraint in table.sql.deferrable:
                with translated(Side.TARGET, what=f"checking {constraint.name} of {name}"):
                    is_broken = await self.connection.fetchval(table.sql.find_broken(constraint))
                if is_broken:
                    raise RowConflict(
                        f"rows of {name} break the deferrable constraint {constraint.name}: the target has rows"
                        " that the source does not have",
                        side=Side.TARGET,
                        table=str(name),
                        constraint=constraint.name,
                    )

    async def stage(self, relation: Relation, *groups: Collection[bytes]) -> tuple[TargetTable, list[int]]:
        """Bring groups of rows to the table's staging table; returns the number that each group got."""
        table = await self.tables.staged(relation)
        if table.staged_groups > _MAX_STAGED_GROUPS:
            await self.connection.execute(table.sql.empty_stage())
            # Not none: something may have stayed.
            table.staged_groups = 1
        marked: list[Group] = []
        for rows in groups:
            self._last_group += 1
            marked.append((self._last_group, _fit(table, rows)))
        table.staged_groups += len(groups)
        try:
            await self.connection.copy_to_table(
                table.sql.stage,
                source=as_source(table.encoder.pieces([group for group in marked if group[1]])),
                schema_name="pg_temp",
                format="binary" if table.encoder.is_binary else "text",
            )
        except asyncpg.DataError as error:
            raise _name_column(error, relation) from error
        return table, [number for number, _ in marked]

    async def execute(self, statement: str, *groups: int) -> int:
        """Run a statement on staged groups; returns how many rows it changed."""
        # "INSERT 0 5", "UPDATE 5", "DELETE 5"
        return int((await self.connection.execute(statement, *groups)).rpartition(" ")[2])

    # --- steps ------------------------------------------------------------------------------------

    async def _write_step(self, relation: Relation, step: Step, expectation: Expectation) -> None:
        if isinstance(step, KeyedStep):
            await self._write_keyed(relation, step, expectation)
        elif isinstance(step, MoveStep):
            await self._move(relation, step, expectation)
        elif isinstance(step, InsertStep):
            rows = self._fit_new(await self.tables.table(relation), step.rows)
            await self._insert(relation, rows)
        else:
            await self._write_whole(relation, step, expectation)

    async def _write_keyed(self, relation: Relation, step: KeyedStep, expectation: Expectation) -> None:
        # I3: each key is in one of the four only, so any order is right; deletes first free unique values.
        table = await self.tables.table(relation)
        masks = _by_mask(step.partials.values())
        inserts = self._fit_new(table, step.inserts.values())
        updates_in_order = self._fit_new(table, _in_key_order(step.updates))
        is_merged = expectation is Expectation.TOLERANT or not table.sql.can_copy_directly
        staged = [step.deletes.values(), updates_in_order, *masks.values()]
        staged.append(inserts if is_merged else ())
        if any(staged):
            table, numbers = await self.stage(relation, *staged)
            deletes, updates, *rest = zip(numbers, staged, strict=True)
            await self._delete(table, deletes, expectation)
            await self._update(table, updates, expectation)
            for mask, group in zip(masks, rest[:-1], strict=True):
                await self._update_part(table, mask, group, expectation)
            if expectation is Expectation.TOLERANT:
                await self._update(table, rest[-1], expectation)
            elif inserts and is_merged:
                await self.execute(table.sql.insert, numbers[-1])
        if inserts and not is_merged:
            await self._insert(relation, inserts)

    def _fit_new(self, table: TargetTable, rows: Collection[bytes]) -> Collection[bytes]:
        """Rows that will be written, as the target can hold them."""
        return rows if table.null_dates is None else table.null_dates.fit(rows, self.replaced)

    async def _delete(self, table: TargetTable, group: Group, expectation: Expectation) -> None:
        number, rows = group
        if rows:
            missing = len(rows) - await self.execute(table.sql.delete, number)
            self._expect(table, missing, expectation, is_repaired=True)

    async def _update(self, table: TargetTable, group: Group, expectation: Expectation) -> None:
        """Set whole rows by key; rows that are missing are written, if the expectation says so."""
        number, rows = group
        if not rows:
            return
        found = inserted = 0
        if table.sql.settable:
            found = await self.execute(table.sql.update(table.sql.settable), number)
        if found != len(rows) and expectation is not Expectation.STRICT:
            inserted = await self.execute(table.sql.insert_missing, number)
            if expectation is Expectation.REPAIR:
                self.conflicts += inserted
        # A table of nothing but its key has nothing to update: whether the row is there does not show.
        if table.sql.settable:
            self._expect(table, len(rows) - found - inserted, expectation, is_repaired=False)

    async def _update_part(
        self, table: TargetTable, mask: tuple[int, ...], group: Group, expectation: Expectation
    ) -> None:
        number, rows = group
        numbers = tuple(each for each in table.sql.settable if each not in mask)
        if numbers:
            missing = len(rows) - await self.execute(table.sql.update(numbers), number)
            self._expect(table, missing, expectation, is_repaired=False)

    async def _insert(self, relation: Relation, rows: Collection[bytes]) -> None:
        table = await self.tables.table(relation)
        if not table.sql.can_copy_directly:
            table, (number,) = await self.stage(relation, rows)
            await self.execute(table.sql.insert, number)
            return
        try:
            await self.connection.copy_to_table(
                table.sql.name.name,
                schema_name=table.sql.name.schema,
                source=as_source(table.encoder.pieces([(None, rows)])),
                columns=relation.columns,
                format="binary" if table.encoder.is_binary else "text",
            )
        except asyncpg.DataError as error:
            raise _name_column(error, relation) from error

    async def _move(self, relation: Relation, step: MoveStep, expectation: Expectation) -> None:
        if expectation is Expectation.TOLERANT and relation.table in self._mixed:
            # The row under the old key may be another one by now, read from a later snapshot.
            raise TableMustStartOver(
                f"{relation.table}: a key changed while its rows were copied under two snapshots",
                side=Side.TARGET,
                schema=relation.table.schema,
                name=relation.table.name,
            )
        table, (old, new) = await self.stage(relation, [step.old], [step.new])
        if expectation is Expectation.TOLERANT and await self.connection.fetchval(table.sql.count_others, new, old):
            # Copied under its new key already, from a later moment; what is left is a stale form of it.
            await self.execute(table.sql.delete, old)
            return
        missing = 1 - await self.execute(table.sql.move(_columns_of(UNCHANGED_CELL, step.new)), old, new)
        self._expect(table, missing, expectation, is_repaired=False)

    async def _write_whole(self, relation: Relation, step: WholeRowStep, expectation: Expectation) -> None:
        table = await self.tables.table(relation)
        (before,) = _fit(table, [step.old])
        nulls = _columns_of(NULL_CELL, before)
        if step.new is None:
            table, (old,) = await self.stage(relation, [before])
            missing = 1 - await self.execute(table.sql.delete_whole(nulls), old)
            self._expect(table, missing, expectation, is_repaired=True)
            return
        table, (old, new) = await self.stage(relation, [before], self._fit_new(table, [step.new]))
        is_update = bool(table.sql.settable)
        if is_update:
            missing = 1 - await self.execute(table.sql.update_whole(nulls), old, new)
        else:
            missing = 1 - await self.execute(table.sql.delete_whole(nulls), old)
        is_repaired = bool(missing) and expectation is Expectation.REPAIR
        if is_repaired or (not is_update and not missing):
            await self.execute(table.sql.insert, new)
        self._expect(table, missing, expectation, is_repaired=is_repaired)

    async def _truncate(self, step: TruncateStep) -> None:
        names = [self._names.target_name(relation.table) for relation in step.relations]
        for relation in step.relations:
            await self.tables.table(relation)
        with translated(Side.TARGET, what=f"emptying {', '.join(map(str, names))}"):
            if not step.flags and await self.connection.fetchval(FIND_REFERRERS, [qualified(name) for name in names]):
                # MySQL empties such a table when told not to look at foreign keys; TRUNCATE always looks.
                for name in names:
                    await self.connection.execute(f"DELETE FROM ONLY {qualified(name)}")
            else:
                await self.connection.execute(render_truncate(names, step.flags))

    def _expect(self, table: TargetTable, missing: int, expectation: Expectation, *, is_repaired: bool) -> None:
        """Count or refuse rows that were not there. `is_repaired`: the target is now as it should be."""
        if missing == 0 or expectation is Expectation.TOLERANT:
            return
        if expectation is Expectation.REPAIR and is_repaired:
            self.conflicts += abs(missing)
            return
        relation = table.sql.relation
        key = ", ".join(quote_ident(relation.columns[number]) for number in relation.key) or "the whole row"
        problem = "are missing" if missing > 0 else "are there more than once"
        raise RowConflict(
            f"{abs(missing)} row(s) of {relation.table} that the source changed {problem} (looked up by {key})",
            side=Side.TARGET,
            table=str(relation.table),
        )


def _fit(table: TargetTable, rows: Collection[bytes]) -> Collection[bytes]:
    return rows if table.null_dates is None else table.null_dates.fit(rows, None)


def _name_column(error: asyncpg.DataError, relation: Relation) -> TowlineError:
    """The error with the source's name of the column; staging tables have names of their own."""
    _, name = place_in_copy(error) or (0, "")
    staged = _STAGED_COLUMN.fullmatch(name)
    if staged and name not in relation.columns:
        name = relation.columns[int(staged[1])]
    what = f"applying changes to {relation.table}"
    return with_column(translate(error, Side.TARGET, what=what), name, table=str(relation.table))


def _in_key_order(rows: dict[bytes, bytes]) -> Sequence[bytes]:
    # Neighbouring keys mostly share pages: each page is then read and logged once, at one time.
    return [rows[key] for key in sorted(rows)]


def _by_mask(rows: Collection[bytes]) -> dict[tuple[int, ...], list[bytes]]:
    """Rows with unchanged columns, by which those are."""
    groups: dict[tuple[int, ...], list[bytes]] = {}
    for row in rows:
        groups.setdefault(_columns_of(UNCHANGED_CELL, row), []).append(row)
    return groups


def _columns_of(cell: bytes, row: bytes) -> tuple[int, ...]:
    """Numbers of the columns without a value that are NULL, or unchanged."""
    return tuple(number for number, kind in enumerate(column_kinds(row)) if kind == cell[0])

"""Writes folded changes inside the applier's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

from towline.adapters.mysql.apply_sql import TableSql
from towline.adapters.mysql.catalog import (
    hold_table,
    read_column_types,
    read_packet_limit,
    read_triggers,
    read_unique_keys,
)
from towline.adapters.mysql.errors import clean_message
from towline.adapters.mysql.foreign_rows import NO_FOREIGN_ROWS, ForeignRows
from towline.adapters.mysql.quoting import qualified
from towline.adapters.mysql.session import Session
from towline.adapters.mysql.writing import TRUNCATED, is_about_computed, is_all_named, read_warnings, require_all_named
from towline.domain.changes import DELETE, TRUNCATE, Relation, RowChange, has_unchanged
from towline.domain.errors import (
    RowConflict,
    SetupError,
    Side,
    SourceDdl,
    TableMustStartOver,
    UnrepresentableValue,
)
from towline.domain.tables import SAME_NAMES, NameMap, TableName
from towline.engine.fold import Fold, InsertStep, KeyedStep, MoveStep, Step, TruncateStep, WholeRowStep
from towline.engine.points import APPLY_IN_BATCH, reach

Reject = tuple[str, TableName, str, str, str | None]
"""Job, table, kind, reason, key; the key must not be logged (I7)."""

_COUNT_OF_CHANGED: Final = 2
_SAVE_REJECT: Final = """
INSERT INTO towline.reject (job_id, table_schema, table_name, kind, reason, key_values) VALUES (%s, %s, %s, %s, %s, %s)
"""


class Expectation(Enum):
    """STRICT: a row that is missing, or there already, is a conflict.  REPAIR: it is counted and made as it should be.

    TOLERANT: the target may have some of the changes already; it is made as it should be and nothing is counted.
    """

    STRICT = "strict"
    REPAIR = "repair"
    TOLERANT = "tolerant"


class StatementTooLong(Exception):
    """The server has more to say about a statement than it names; the table's next ones have fewer rows.

    What was written is still in the transaction: take it back, and write it again.
    """


class FoldWriter:
    """`conflicts` counts rows that were not as expected."""

    def __init__(self, session: Session, rows: ForeignRows = NO_FOREIGN_ROWS, names: NameMap = SAME_NAMES) -> None:
        self._names = names
        self._session = session
        self._rows = rows
        self._tables: dict[Relation, TableSql] = {}
        self._counted_first: set[Relation] = set()
        self._packet_bytes = 0
        self.conflicts = 0

    async def write(self, fold: Fold, *, expectation: Expectation) -> None:
        """Can be repeated with the same fold.

        Raises:
            DataError: the target refused a part; what was written before it is still in the transaction.
            StatementTooLong: see there.
        """
        for part in fold.parts:
            if isinstance(part, TruncateStep):
                for place in self._choose_emptied(part):
                    # TRUNCATE would commit what was written so far.
                    await self._session.execute(f"DELETE FROM {qualified(place)}")
                continue
            table = await self._table(part.relation)
            for step in part.steps:
                await self._write_step(table, step, expectation)
                reach(APPLY_IN_BATCH)

    def _choose_emptied(self, step: TruncateStep) -> list[TableName]:
        """The target's tables. Raises SourceDdl: one has rows of other tables as well, which must stay."""
        emptied = {relation.table for relation in step.relations}
        places = dict.fromkeys(self._names.target_name(table) for table in sorted(emptied))
        for place in places:
            if others := self._names.find_sharing(place) - emptied:
                (some, *_) = sorted(emptied & self._names.find_sharing(place))
                raise SourceDdl(
                    f"the source ran TRUNCATE {some}, which is not carried: the target's table {place} has the rows of"
                    f" {min(others)} as well",
                    side=Side.SOURCE,
                    remedy="End the job and start a new one; empty a partition with DELETE while a job follows.",
                )
        return list(places)

    async def replace(self, change: RowChange) -> None:
        """Apply a single change whatever stands in its way. Raises as `write`."""
        kind, relation, new, old = change
        if kind == TRUNCATE:
            return
        table = await self._table(relation)
        if new is not None and has_unchanged(new):
            # What was not sent is known to the target's own row alone, so that one cannot be made anew.
            await self._update_part(table, new, old if relation.key else None)
            return
        if relation.key:
            await self._run(table.deletes([row for row in (old, new) if row is not None]), table)
        elif old is not None:
            # Without a key the row that changes is found by all of its values; it must not stay beside the new one.
            await self._run([table.delete_whole(old)], table)
        if new is not None and kind != DELETE:
            await self._run(table.inserts([new], replaces=True), table)

    def forget_tables(self) -> None:
        """Tables of the same name may have other columns from now on."""
        self._tables.clear()

    async def describe_key(self, relation: Relation, row: bytes | None) -> str | None:
        if row is None:
            return None
        return (await self._table(relation)).describe_key(row) or None

    async def _write_step(self, table: TableSql, step: Step, expectation: Expectation) -> None:
        if isinstance(step, KeyedStep):
            await self._write_keyed(table, step, expectation)
        elif isinstance(step, InsertStep):
            await self._run(table.inserts(step.rows), table)
        elif isinstance(step, WholeRowStep):
            await self._write_whole(table, step, expectation)
        elif isinstance(step, MoveStep):
            await self._move(table, step, expectation)

    async def _write_keyed(self, table: TableSql, step: KeyedStep, expectation: Expectation) -> None:
        old = [*step.deletes.values(), *step.updates.values()]
        new = [*step.updates.values(), *step.inserts.values()]
        if expectation is not Expectation.TOLERANT and await self._upsert(table, step.updates):
            old, new = [*step.deletes.values()], [*step.inserts.values()]
        if expectation is Expectation.TOLERANT:
            old = [*old, *step.inserts.values()]
        found = await self._run(table.deletes(old), table)
        if found != len(old) and expectation is not Expectation.TOLERANT:
            if expectation is Expectation.STRICT:
                raise self._missing(table.relation, len(old) - found)
            self.conflicts += abs(len(old) - found)
        await self._run(table.inserts(new), table)
        for row in step.partials.values():
            self._expect(table.relation, 1 - await self._update_part(table, row), expectation)

    async def _move(self, table: TableSql, step: MoveStep, expectation: Expectation) -> None:
        relation = table.relation
        if expectation is Expectation.TOLERANT and relation.table in self._rows.mixed:
            # The row under the old key may be another one by now, read from a later snapshot.
            raise TableMustStartOver(
                f"{relation.table}: a key changed while its rows were copied under two snapshots",
                side=Side.TARGET,
                schema=relation.table.schema,
                name=relation.table.name,
            )
        self._expect(relation, 1 - await self._update_part(table, step.new, step.old), expectation)

    async def _update_part(self, table: TableSql, row: bytes, old: bytes | None = None) -> int:
        return await self._run([table.update_part(row, old)], table)

    def _expect(self, relation: Relation, missing: int, expectation: Expectation) -> None:
        """Rows that are missing and cannot be made: not all of their values are known."""
        if missing and expectation is not Expectation.TOLERANT:
            raise self._missing(relation, missing)

    async def _upsert(self, table: TableSql, updates: Mapping[bytes, bytes]) -> bool:
        """Give existing rows their new values in place; False when that cannot be, and nothing was done.

        When each row was changed, each was there.  A smaller count may mean rows that were missing, or rows that had
        the new values already.  So it is taken back, and from then on the table's rows are counted first.
        """
        if not table.can_upsert or not updates:
            return False
        if table.relation in self._counted_first:
            found = [await self._session.query_value(query) for query in table.counts(updates.values())]
            if sum(found) != len(updates):
                return False
            await self._run(table.upserts(updates.values()), table)
            return True
        await self._session.execute("SAVEPOINT upsert")
        if await self._run(table.upserts(updates.values()), table) == _COUNT_OF_CHANGED * len(updates):
            return True
        await self._session.execute("ROLLBACK TO SAVEPOINT upsert")
        self._counted_first.add(table.relation)
        return await self._upsert(table, updates)

    async def _write_whole(self, table: TableSql, step: WholeRowStep, expectation: Expectation) -> None:
        statement = table.delete_whole(step.old) if step.new is None else table.update_whole(step.old, step.new)
        found = await self._run([statement], table)
        if found:
            return
        if expectation is Expectation.STRICT:
            raise self._missing(table.relation, 1)
        self.conflicts += 1
        if step.new is not None:
            await self._run(table.inserts([step.new]), table)

    async def _run(self, statements: Iterable[bytes], table: TableSql) -> int:
        rows, relation = 0, table.relation
        for statement in statements:
            if len(statement) >= self._packet_bytes:
                # The server would end the session, which looks like a line that was cut.
                raise SetupError(
                    f"a row of {relation.table} takes a statement of {len(statement)} bytes; max_allowed_packet of the"
                    f" target is {self._packet_bytes}",
                    side=Side.TARGET,
                    remedy="Raise max_allowed_packet on the target (64 MB and more), then retry the job.",
                )
            changed, warnings = await self._session.write(statement, what=f"writing {relation.table}")
            if warnings:
                await self._require_uncut(table, warnings)
            rows += changed
        return rows

    async def _require_uncut(self, table: TableSql, warnings: int) -> None:
        """In strict mode, too, the server cuts spaces at the end of a text and rounds a DECIMAL, and only says so."""
        relation = table.relation
        named = await read_warnings(self._session)
        for level, number, message in named:
            if number == TRUNCATED and not is_about_computed(level, number, message, relation.columns):
                raise UnrepresentableValue(
                    f"{relation.table}: {clean_message(message, TRUNCATED)} (error {TRUNCATED})",
                    side=Side.TARGET,
                    schema=relation.table.schema,
                    table=relation.table.name,
                )
        if not is_all_named(len(named), warnings) and table.shorten():
            raise StatementTooLong
        require_all_named(len(named), warnings, what=f"writing {relation.table}")

    async def _table(self, relation: Relation) -> TableSql:
        table = self._tables.get(relation)
        if table is None:
            there = self._names.target_name(relation.table)
            await hold_table(self._session, there)
            await self._require_no_triggers(there)
            types = await read_column_types(self._session, there)
            self._packet_bytes = self._packet_bytes or await read_packet_limit(self._session)
            table = TableSql(
                relation,
                types,
                name=there,
                flavor=self._session.flavor,
                packet_bytes=self._packet_bytes,
                unique_keys=await read_unique_keys(self._session, there),
                converters=self._rows.converters(relation),
            )
            self._tables[relation] = table
        return table

    async def _require_no_triggers(self, there: TableName) -> None:
        """What triggers did on the source comes as rows of its own; here they would do it again, and change others."""
        triggers = await read_triggers(self._session, there)
        if triggers:
            raise SetupError(
                f"the target's {there} has triggers, which would fire for what the stream writes: {triggers[0]}",
                side=Side.TARGET,
                remedy="Drop them until the switch-over, correct what they have changed, then retry the job.",
                table=str(there),
            )

    def _missing(self, relation: Relation, rows: int) -> RowConflict:
        return RowConflict(
            f"{relation.table}: {rows} rows that the source changed are not on the target",
            side=Side.TARGET,
            schema=relation.table.schema,
            table=relation.table.name,
        )


async def save_reject(session: Session, reject: Reject) -> None:
    job_id, table, kind, reason, key = reject
    await session.execute(_SAVE_REJECT, job_id, table.schema, table.name, kind, reason, key)

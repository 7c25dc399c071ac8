"""What happens to the one change that the target does not take: the job's conflict policy decides.

STOP       the job stops with the error; the change is put on the job's list.
IGNORE     the change is left out, counted, and put on the list.
OVERWRITE  rows of the target that stand in the way are removed and the change is applied; what cannot be made
           equal to the source that way stops the job.

A deferrable constraint is checked when all of a transaction is written, so which change broke it is not known: the job
stops under every policy.

The list is `towline.reject`, the only place that row values may reach (I7), and only those of the key.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import asyncpg

from towline.adapters.postgres.errors import sqlstate_of, with_column
from towline.adapters.postgres.fold_writer import Expectation, FoldWriter
from towline.domain.changes import DELETE, INSERT, TRUNCATE, UPDATE, Relation, RowChange, split_row, value_of
from towline.domain.errors import DataError
from towline.domain.jobs import ConflictPolicy
from towline.domain.tables import TableName
from towline.engine.fold import Fold

_UNIQUE_VIOLATION = "23505"
_NO_TEXT = "22021"
_MAX_UNIQUE_INDEXES = 32
_KINDS = {INSERT: "insert", UPDATE: "update", DELETE: "delete", TRUNCATE: "truncate"}
_SAVE = """
INSERT INTO towline.reject (job_id, table_schema, table_name, kind, reason, key_values)
VALUES ($1, $2, $3, $4, $5, $6)
"""


@dataclass(frozen=True, slots=True)
class Reject:
    """A change that does not fit. `key_values` is JSON and must not be logged (I7)."""

    job_id: str
    table: TableName
    kind: str
    reason: str
    key_values: str | None


async def save_reject(connection: asyncpg.Connection, reject: Reject) -> None:
    await connection.execute(
        _SAVE,
        reject.job_id,
        reject.table.schema,
        reject.table.name,
        reject.kind,
        reject.reason,
        reject.key_values,
    )


class ConflictResolver:
    """Decides about one change inside the applier's transaction."""

    def __init__(self, writer: FoldWriter, job_id: str, policy: ConflictPolicy) -> None:
        self._writer = writer
        self._connection = writer.connection
        self._job_id = job_id
        self._policy = policy

    async def resolve(self, change: RowChange, expectation: Expectation, error: DataError) -> None:
        """Apply or leave out the change; the transaction goes on.

        Raises:
            DataError: the job must stop; `context["reject"]` is the entry for the list.
        """
        error = _name_bad_text(error, change)
        if self._policy is ConflictPolicy.OVERWRITE:
            cause = await self._overwrite(change, expectation, error)
            if cause is None:
                return
            error = cause
        reject = await self._describe(change, error)
        if self._policy is not ConflictPolicy.IGNORE:
            error.context["reject"] = reject
            raise error
        self._writer.conflicts += 1
        await save_reject(self._connection, reject)

    async def _overwrite(self, change: RowChange, expectation: Expectation, error: DataError) -> DataError | None:
        """Remove what stands in the way, one unique index at a time; returns what cannot be helped."""
        for _ in range(_MAX_UNIQUE_INDEXES):
            if not await self._remove_conflicting(change, error):
                return error
            failure = await self._try(change, expectation)
            if failure is None:
                return None
            error = failure
        return error

    async def _remove_conflicting(self, change: RowChange, error: DataError) -> bool:
        _, relation, new, _ = change
        index = error.context.get("constraint")
        if new is None or sqlstate_of(error) != _UNIQUE_VIOLATION or not index:
            return False
        columns = await self._writer.tables.unique_columns(relation, str(index))
        table, (number,) = await self._writer.stage(relation, [new])
        statement = table.sql.delete_conflicting(columns)
        if statement is None:
            return False
        removed = await self._writer.execute(statement, number)
        self._writer.conflicts += removed
        return removed > 0

    async def _try(self, change: RowChange, expectation: Expectation) -> DataError | None:
        fold = Fold(tolerant=expectation is Expectation.TOLERANT)
        fold.add([change])
        mark, replaced = self._writer.tables.savepoint(), self._writer.replaced.copy()
        await self._connection.execute("SAVEPOINT towline_change")
        try:
            await self._writer.write(fold, expectation=expectation)
        except DataError as error:
            await self._connection.execute("ROLLBACK TO SAVEPOINT towline_change; RELEASE SAVEPOINT towline_change")
            self._writer.tables.rolled_back_to(mark)
            self._writer.replaced = replaced
            return error
        await self._connection.execute("RELEASE SAVEPOINT towline_change")
        return None

    async def _describe(self, change: RowChange, error: DataError) -> Reject:
        kind, relation, _, _ = change
        return Reject(self._job_id, relation.table, _KINDS[kind], error.message, await self._key_of(change))

    async def _key_of(self, change: RowChange) -> str | None:
        """The key as JSON; None when the row cannot even be staged and its values came in binary."""
        _, relation, new, old = change
        row = old or new
        if row is None or change[0] == TRUNCATE:
            return None
        mark = self._writer.tables.savepoint()
        await self._connection.execute("SAVEPOINT towline_key")
        try:
            table, (number,) = await self._writer.stage(relation, [row])
            key: str | None = await self._connection.fetchval(table.sql.staged_key(), number)
        except (asyncpg.PostgresError, DataError):
            await self._connection.execute("ROLLBACK TO SAVEPOINT towline_key")
            self._writer.tables.rolled_back_to(mark)
            key = _read_text_key(relation, row)
        await self._connection.execute("RELEASE SAVEPOINT towline_key")
        return key


def _read_text_key(relation: Relation, row: bytes) -> str | None:
    """The key as JSON from values that came as text; a byte that is no UTF-8 is shown as what it is not."""
    cells = split_row(row)
    chosen = {relation.columns[number]: cells[number] for number in relation.key}
    if not chosen or any(cell[:1] == b"b" for cell in chosen.values()):
        return None
    values = {name: (value_of(cell) or b"").decode(errors="replace") for name, cell in chosen.items()}
    return json.dumps(values, ensure_ascii=False).replace("\\u0000", "\\ufffd")


def _name_bad_text(error: DataError, change: RowChange) -> DataError:
    """The error with the column whose bytes are no text: the server says only that some are."""
    _, relation, new, old = change
    if sqlstate_of(error) != _NO_TEXT or error.context.get("column"):
        return error
    for row in (new, old):
        if row is None or change[0] == TRUNCATE:
            continue
        for name, cell in zip(relation.columns, split_row(row), strict=True):
            value = value_of(cell)
            if cell[:1] == b"t" and value is not None and not _is_text(value):
                named = with_column(error, name)
                assert isinstance(named, DataError)
                return named
    return error


def _is_text(value: bytes) -> bool:
    try:
        return "\0" not in value.decode()
    except UnicodeDecodeError:
        return False

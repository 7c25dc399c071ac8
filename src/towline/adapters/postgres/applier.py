"""The target's side of the stream: whole source transactions and the checkpoint in one target transaction.

Theory of operation: one session, in which foreign keys and triggers do not fire and one transaction is open at a
time.  A batch is applied folded.  When the target refuses it (two rows swap a unique value, a row is not
as expected, a value does not fit) it is taken back and applied in halves, each under a savepoint, and so on
down to the single change that does not fit; what happens to that one is decided by the job's conflict policy.
Changes that the source made in an order which matters thus meet the target in that order, and all others in bulk.

DDL, where the source's adapter hands it on, is a batch of its own: PostgreSQL takes it back like rows.

The checkpoint is moved last, from exactly the position that was read back and only under the worker's own epoch.
So neither a worker that lost its lease (I6) nor a forgotten session of our own can commit on top of newer rows.
Any failure ends the session; the next one reads the checkpoint back, whatever became of the last commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import asyncpg

from towline.adapters.postgres.compressed_log import ensure_compressed_log
from towline.adapters.postgres.conflicts import ConflictResolver, save_reject
from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.fold_writer import Expectation, FoldWriter
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.replaced import add_replaced
from towline.domain.changes import DDL, TRUNCATE, RowChange
from towline.domain.errors import ConnectionLost, DataError, InvariantBroken, LeaseLost, Side
from towline.domain.jobs import ConflictPolicy, Endpoint
from towline.domain.positions import Position
from towline.domain.tables import SAME_NAMES, NameMap, TableName
from towline.engine.batch import Batch
from towline.engine.fold import Fold
from towline.engine.points import APPLY_AFTER_COMMIT, APPLY_BEFORE_COMMIT, DDL_BEFORE_CHECKPOINT, reach
from towline.engine.ports import ApplyResult, Checkpoint

STREAM_DDL: Final = (
    """CREATE TABLE IF NOT EXISTS towline.checkpoint (
        job_id text PRIMARY KEY,
        epoch bigint NOT NULL,
        position text NOT NULL,
        source_time_us bigint,
        transactions bigint NOT NULL,
        changes bigint NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now())""",
    """CREATE TABLE IF NOT EXISTS towline.reject (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        job_id text NOT NULL,
        rejected_at timestamptz NOT NULL DEFAULT now(),
        position text,
        table_schema text NOT NULL,
        table_name text NOT NULL,
        kind text NOT NULL,
        reason text NOT NULL,
        key_values text)""",
)

_SESSION_SETTINGS: Final = {
    "session_replication_role": "replica",
    "row_security": "off",
    "synchronous_commit": "on",
    "client_min_messages": "warning",
    # Every join is of a few staged rows with a key: by index, one by one, whatever the statistics say.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_COMMIT_WITHOUT_FLUSH: Final = "SET LOCAL synchronous_commit = off; COMMIT"
_MOVE_CHECKPOINT: Final = """
UPDATE towline.checkpoint
SET position = $3, source_time_us = $4, transactions = $5, changes = $6, updated_at = now()
WHERE job_id = $1 AND epoch = $2 AND position = $7
"""
_MAKE_CHECKPOINT: Final = """
INSERT INTO towline.checkpoint (job_id, epoch, position, transactions, changes)
SELECT job_id, epoch, $3, 0, 0 FROM towline.job WHERE job_id = $1 AND epoch = $2 FOR KEY SHARE
ON CONFLICT (job_id) DO NOTHING
"""
_READ_CHECKPOINT: Final = """
SELECT epoch, position, source_time_us, transactions, changes FROM towline.checkpoint WHERE job_id = $1
"""
_END_FORMER_SESSIONS: Final = """
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()
  AND usename = current_user AND datname = current_database()
"""
_EXPECTATIONS: Final = {
    ConflictPolicy.STOP: Expectation.STRICT,
    ConflictPolicy.IGNORE: Expectation.STRICT,
    ConflictPolicy.OVERWRITE: Expectation.REPAIR,
}


@dataclass(frozen=True, slots=True)
class ApplierOptions:
    """How one job's stream is written. `parse_position` reads back what the source's positions look like.

    `run_ddl` does, in the open transaction, what the source's adapter made of a statement; None where none come.
    `is_missing_date` says of a date's text that PostgreSQL does not have it and that it becomes NULL where the column
    allows it; None leaves all to the conflict policy.
    """

    job_id: str
    epoch: int
    policy: ConflictPolicy
    is_binary: bool
    mixed: frozenset[TableName] = frozenset()
    parse_position: Callable[[str], Position] = Lsn.parse
    names: NameMap = SAME_NAMES
    run_ddl: Callable[[asyncpg.Connection, bytes], Awaitable[None]] | None = None
    is_missing_date: Callable[[bytes], bool] | None = None


class PgApplier:
    """Implements `engine.ports.ChangeApplier`."""

    def __init__(self, endpoint: Endpoint, options: ApplierOptions) -> None:
        self._endpoint = endpoint
        self._options = options
        self._connection: asyncpg.Connection | None = None
        self._monitor: asyncpg.Connection | None = None

    async def open(self, start: Position) -> Checkpoint:
        self._connection = connection = await connect(
            self._endpoint,
            purpose=f"{self._options.job_id}:apply",
            settings=_SESSION_SETTINGS,
            side=Side.TARGET,
        )
        self._pid = connection.get_server_pid()
        options = self._options
        self._writer = FoldWriter(
            connection,
            is_binary=options.is_binary,
            mixed=options.mixed,
            names=options.names,
            is_missing_date=options.is_missing_date,
        )
        with translated(Side.TARGET, what="reading the checkpoint"):
            await ensure_compressed_log(connection)
            await connection.execute(_END_FORMER_SESSIONS)
            await connection.execute(_MAKE_CHECKPOINT, self._options.job_id, self._options.epoch, str(start))
            self._checkpoint = await self._read_checkpoint(connection)
        return self._checkpoint

    async def apply(
        self,
        batch: Batch,
        next_part: Callable[[], Awaitable[Batch]],
        *,
        may_flush_later: Callable[[], bool],
    ) -> ApplyResult:
        connection = self._require_connection()
        try:
            with translated(Side.TARGET, what="applying a batch"):
                await self._writer.tables.drop_surplus()
                await connection.execute(_BEGIN)
                self._writer.conflicts = 0
                self._writer.replaced.clear()
                transactions, changes = await self._write_parts(batch, next_part)
                await self._writer.check_deferrable()
                await add_replaced(connection, self._options.job_id, self._writer.replaced, is_copy=False)
                checkpoint = await self._move_checkpoint(connection, self._end_of_parts, transactions, changes)
                reach(APPLY_BEFORE_COMMIT)
                is_durable = not may_flush_later()
                # I1, I2: rows and checkpoint become durable together, or not at all.
                await connection.execute("COMMIT" if is_durable else _COMMIT_WITHOUT_FLUSH)
                reach(APPLY_AFTER_COMMIT)
        except DataError as error:
            await self._report_misfit(connection, error)
            connection.terminate()
            raise
        except BaseException:
            # Half a transaction may be open, and nothing may ever be committed on top of it (I2).
            connection.terminate()
            raise
        self._writer.tables.committed()
        self._checkpoint = checkpoint
        return ApplyResult(checkpoint, self._writer.conflicts, is_durable)

    async def save_position(self, position: Position) -> None:
        connection = self._require_connection()
        with translated(Side.TARGET, what="moving the checkpoint"):
            await connection.execute(_BEGIN)
            checkpoint = await self._move_checkpoint(connection, (position, self._checkpoint.source_time_us), 0, 0)
            await connection.execute("COMMIT")
        self._checkpoint = checkpoint

    async def describe_wait(self) -> str | None:
        if self._monitor is None:
            purpose = f"{self._options.job_id}:apply-watch"
            self._monitor = await connect(self._endpoint, purpose=purpose, side=Side.TARGET)
        try:
            with translated(Side.TARGET, what="looking at the applier's session"):
                row = await self._monitor.fetchrow(
                    """SELECT wait_event_type, wait_event, pg_catalog.pg_blocking_pids(pid) AS blockers
                       FROM pg_catalog.pg_stat_activity WHERE pid = $1""",
                    self._pid,
                    timeout=10,
                )
        except BaseException:
            self._monitor.terminate()
            self._monitor = None
            raise
        if row is None:
            raise ConnectionLost("the target no longer knows the applier's session", side=Side.TARGET)
        if row["blockers"]:
            return f"a lock on the target that process {row['blockers'][0]} holds"
        if row["wait_event_type"] in ("IO", "IPC"):
            return f"the target: {row['wait_event_type']} {row['wait_event']}"
        return None

    async def close(self) -> None:
        for connection in (self._connection, self._monitor):
            if connection is not None:
                connection.terminate()
        self._connection = self._monitor = None

    # --- one transaction --------------------------------------------------------------------------

    async def _write_parts(self, batch: Batch, next_part: Callable[[], Awaitable[Batch]]) -> tuple[int, int]:
        """Write the batch and, while its transaction is not complete, the parts that follow."""
        transactions = changes = 0
        is_first = True
        while True:
            await self._write_batch(batch, is_first=is_first)
            transactions += batch.transactions
            changes += len(batch.changes)
            if batch.is_complete:
                assert batch.position is not None
                self._end_of_parts = (batch.position, batch.source_time_us)
                return transactions, changes
            is_first = False
            batch = await next_part()

    async def _write_batch(self, batch: Batch, *, is_first: bool) -> None:
        expectation = Expectation.TOLERANT if batch.is_tolerant else _EXPECTATIONS[self._options.policy]
        if not batch.changes:
            return
        if batch.changes[0][0] == DDL:
            await self._run_ddl(batch.changes[0])
            return
        if not is_first:
            # What earlier parts wrote must survive when this one has to be applied in halves.
            await self._write_range(batch.changes, expectation, fold=batch.fold)
            return
        try:
            await self._writer.write(batch.fold, expectation=expectation)
        except DataError as error:
            connection = self._require_connection()
            await connection.execute("ROLLBACK")
            self._writer.tables.rolled_back()
            self._writer.conflicts = 0
            self._writer.replaced.clear()
            await connection.execute(_BEGIN)
            await self._write_halves(batch.changes, expectation, error)

    async def _run_ddl(self, change: RowChange) -> None:
        """A statement is a batch of its own; it and the checkpoint commit together (I1)."""
        order = change[3]
        if self._options.run_ddl is None or order is None:
            raise InvariantBroken("a statement came from a source whose DDL is not carried", side=Side.SOURCE)
        await self._options.run_ddl(self._require_connection(), order)
        await self._writer.tables.forget()
        reach(DDL_BEFORE_CHECKPOINT)

    async def _write_range(
        self, changes: Sequence[RowChange], expectation: Expectation, *, fold: Fold | None = None
    ) -> None:
        """Apply the changes as one fold, or in halves when the target refuses that."""
        connection = self._require_connection()
        if fold is None:
            fold = Fold(tolerant=expectation is Expectation.TOLERANT)
            fold.add(changes)
        mark, conflicts = self._writer.tables.savepoint(), self._writer.conflicts
        replaced = self._writer.replaced.copy()
        await connection.execute("SAVEPOINT towline")
        try:
            await self._writer.write(fold, expectation=expectation)
        except DataError as error:
            await connection.execute("ROLLBACK TO SAVEPOINT towline; RELEASE SAVEPOINT towline")
            self._writer.tables.rolled_back_to(mark)
            self._writer.conflicts = conflicts
            self._writer.replaced = replaced
            await self._write_halves(changes, expectation, error)
        else:
            await connection.execute("RELEASE SAVEPOINT towline")

    async def _write_halves(self, changes: Sequence[RowChange], expectation: Expectation, error: DataError) -> None:
        if len(changes) == 1:
            resolver = ConflictResolver(self._writer, self._options.job_id, self._options.policy)
            await resolver.resolve(changes[0], expectation, error)
            return
        middle = _choose_middle(changes)
        # I3: the first half is complete before the second one begins.
        await self._write_range(changes[:middle], expectation)
        if middle < len(changes):
            await self._write_range(changes[middle:], expectation)

    # --- checkpoint -------------------------------------------------------------------------------

    async def _move_checkpoint(
        self, connection: asyncpg.Connection, end: tuple[Position, int | None], transactions: int, changes: int
    ) -> Checkpoint:
        before = self._checkpoint
        after = Checkpoint(end[0], end[1], before.transactions + transactions, before.changes + changes)
        status = await connection.execute(
            _MOVE_CHECKPOINT,
            self._options.job_id,
            self._options.epoch,
            str(after.position),
            after.source_time_us,
            after.transactions,
            after.changes,
            str(before.position),
        )
        if status != "UPDATE 1":
            # I6: rolled back when the session ends, which every failure brings about.
            await self._read_checkpoint(connection)
            raise ConnectionLost("an earlier session moved the checkpoint", side=Side.TARGET)
        return after

    async def _read_checkpoint(self, connection: asyncpg.Connection) -> Checkpoint:
        row = await connection.fetchrow(_READ_CHECKPOINT, self._options.job_id)
        if row is None or row["epoch"] != self._options.epoch:
            raise LeaseLost(
                f"job {self._options.job_id}: epoch {self._options.epoch} no longer owns it", side=Side.TARGET
            )
        position = self._options.parse_position(row["position"])
        return Checkpoint(position, row["source_time_us"], row["transactions"], row["changes"])

    # --- odds and ends ----------------------------------------------------------------------------

    async def _report_misfit(self, connection: asyncpg.Connection, error: DataError) -> None:
        """Put the change that stopped the job on its list; its transaction was not committed."""
        reject = error.context.pop("reject", None)
        if reject is None:
            return
        with suppress(Exception):
            await connection.execute("ROLLBACK")
            await save_reject(connection, reject)

    def _require_connection(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            raise ConnectionLost("the applier's session is closed", side=Side.TARGET)
        return self._connection


def _choose_middle(changes: Sequence[RowChange]) -> int:
    """Where to halve: never between TRUNCATEs of one command, whose tables may refer to each other."""
    middle = len(changes) // 2
    while middle < len(changes) and changes[middle][0] == changes[middle - 1][0] == TRUNCATE:
        middle += 1
    return middle

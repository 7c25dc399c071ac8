"""The target's side of the stream: whole source transactions and the checkpoint in one target transaction.

Theory of operation: one session, in which foreign keys are not checked and one transaction is open at a time.  A
batch is applied folded.  A table whose only unique index is its key gets upserts of the changed rows; the server's
count tells whether all of them were there.  Otherwise the old versions of all changed rows are deleted by key, then
the new ones are inserted: two rows that swap a unique value need no order, and how many rows were deleted tells
whether the target was as expected; an upsert would change another row when a second unique key is in the way.  When the
target refuses a batch it is taken back and applied in halves, each under a savepoint, down to the single change that
does not fit; what happens to that one is decided by the job's conflict policy.

TRUNCATE would commit by itself, so a truncated table is emptied by DELETE.  Other DDL is a batch of its own, see
`ddl_applier`.

The checkpoint is moved last, from exactly the position that was read back and only under the worker's own epoch.
So neither a worker that lost its lease (I6) nor a forgotten session of our own can commit on top of newer rows.
Any failure ends the session; the next one reads the checkpoint back, whatever became of the last commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from towline.adapters.mysql.bookkeeping import BEGIN
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.ddl_applier import DdlApplier
from towline.adapters.mysql.ddl_plan import DdlOrder
from towline.adapters.mysql.fold_writer import Expectation, FoldWriter, StatementTooLong, save_reject
from towline.adapters.mysql.foreign_rows import NO_FOREIGN_ROWS, ForeignRows
from towline.adapters.mysql.gtid import BinlogPosition, parse_position
from towline.adapters.mysql.lock_waits import read_blocker
from towline.adapters.mysql.session import Session
from towline.adapters.mysql.writing import prepare_writer
from towline.domain.changes import DDL, DELETE, INSERT, TRUNCATE, UPDATE, RowChange
from towline.domain.errors import ConnectionLost, DataError, LeaseLost, RowConflict, Side
from towline.domain.jobs import ConflictPolicy, Endpoint
from towline.domain.positions import Position
from towline.domain.tables import SAME_NAMES, NameMap
from towline.engine.batch import Batch
from towline.engine.fold import Fold
from towline.engine.points import APPLY_AFTER_COMMIT, APPLY_BEFORE_COMMIT, DDL_BEFORE_CHECKPOINT, reach
from towline.engine.ports import ApplyResult, Checkpoint

_SESSION_SETTINGS: Final = {
    "foreign_key_checks": "0",
    "character_set_client": "binary",
    "character_set_connection": "utf8mb4",
    "innodb_lock_wait_timeout": "50",
}
_MOVE_CHECKPOINT: Final = """
UPDATE towline.checkpoint
SET position = %s, source_time_us = %s, transactions = %s, changes = %s, updated_at = current_timestamp(6),
    moves = moves + 1
WHERE job_id = %s AND epoch = %s AND position = %s
"""
_MAKE_CHECKPOINT: Final = """
INSERT IGNORE INTO towline.checkpoint (job_id, epoch, position, transactions, changes)
SELECT job_id, epoch, %s, 0, 0 FROM towline.job WHERE job_id = %s AND epoch = %s
"""
_READ_CHECKPOINT: Final = """
SELECT epoch, position, source_time_us, transactions, changes FROM towline.checkpoint WHERE job_id = %s
"""
_EXPECTATIONS: Final = {
    ConflictPolicy.STOP: Expectation.STRICT,
    ConflictPolicy.IGNORE: Expectation.STRICT,
    ConflictPolicy.OVERWRITE: Expectation.REPAIR,
}
_KINDS: Final = {INSERT: "insert", UPDATE: "update", DELETE: "delete", TRUNCATE: "truncate"}


@dataclass(frozen=True, slots=True)
class ApplierOptions:
    """How one job's stream is written. Position and rows are those of the source's family."""

    job_id: str
    epoch: int
    policy: ConflictPolicy
    parse_position: Callable[[str], Position] = parse_position
    rows: ForeignRows = NO_FOREIGN_ROWS
    names: NameMap = SAME_NAMES


class MyApplier:
    """Implements `engine.ports.ChangeApplier`."""

    def __init__(self, endpoint: Endpoint, options: ApplierOptions) -> None:
        self._endpoint = endpoint
        self._options = options
        self._ddl = DdlApplier(endpoint, job_id=options.job_id, epoch=options.epoch)
        self._session: Session | None = None
        self._monitor: Session | None = None

    async def open(self, start: Position) -> Checkpoint:
        purpose = f"{self._options.job_id}:apply"
        self._session = session = await connect(
            self._endpoint,
            purpose=purpose,
            settings=_SESSION_SETTINGS,
            side=Side.TARGET,
            prepare=partial(prepare_writer, job_id=self._options.job_id),
        )
        self._writer = FoldWriter(session, self._options.rows, self._options.names)
        await session.execute(_MAKE_CHECKPOINT, str(start), self._options.job_id, self._options.epoch)
        self._checkpoint = await self._read_checkpoint(session)
        begun = await self._ddl.resume(session, str(self._checkpoint.position))
        if begun is not None and begun.is_done:
            await self._end_ddl(session, begun.order, (begun.position, begun.source_time_us))
        return self._checkpoint

    async def apply(
        self,
        batch: Batch,
        next_part: Callable[[], Awaitable[Batch]],
        *,
        may_flush_later: Callable[[], bool],
    ) -> ApplyResult:
        session = self._require_session()
        if batch.changes and batch.changes[0][0] == DDL:
            return await self._apply_ddl(session, batch)
        try:
            await session.execute(BEGIN)
            self._writer.conflicts = 0
            transactions, changes = await self._write_parts(batch, next_part)
            checkpoint = await self._move_checkpoint(session, self._end_of_parts, transactions, changes)
            reach(APPLY_BEFORE_COMMIT)
            # I1, I2: rows and checkpoint become durable together, or not at all.
            await session.execute("COMMIT", what="committing a batch")
            reach(APPLY_AFTER_COMMIT)
        except DataError as error:
            await self._report_misfit(session, error)
            session.terminate()
            raise
        except BaseException:
            # Half a transaction may be open, and nothing may ever be committed on top of it (I2).
            session.terminate()
            raise
        self._checkpoint = checkpoint
        return ApplyResult(checkpoint, self._writer.conflicts, is_durable=True)

    async def save_position(self, position: Position) -> None:
        session = self._require_session()
        try:
            await session.execute(BEGIN)
            checkpoint = await self._move_checkpoint(session, (position, self._checkpoint.source_time_us), 0, 0)
            await session.execute("COMMIT", what="moving the checkpoint")
        except BaseException:
            session.terminate()
            raise
        self._checkpoint = checkpoint

    async def describe_wait(self) -> str | None:
        working = self._ddl.running_connection_id or self._require_session().connection_id
        if self._monitor is None or self._monitor.is_closed:
            purpose = f"{self._options.job_id}:apply-watch"
            self._monitor = await connect(self._endpoint, purpose=purpose, side=Side.TARGET)
        try:
            state = await self._monitor.query_one(
                "SELECT state FROM information_schema.processlist WHERE id = %s", working
            )
            if state is None:
                raise ConnectionLost("the target no longer knows the applier's session", side=Side.TARGET)
            blocker = await read_blocker(self._monitor, working)
        except BaseException:
            self._monitor.terminate()
            raise
        if blocker is not None:
            return f"a lock on the target that session {blocker} holds"
        if state[0] and "lock" in str(state[0]).lower():
            return f"the target: {state[0]}"
        return None

    async def close(self) -> None:
        for session in (self._session, self._monitor):
            if session is not None:
                session.terminate()
        self._ddl.close()
        self._session = self._monitor = None

    # --- a statement --------------------------------------------------------------------------------

    async def _apply_ddl(self, session: Session, batch: Batch) -> ApplyResult:
        (change,) = batch.changes
        raw, packed = change[2], change[3]
        assert raw is not None
        assert packed is not None
        assert isinstance(batch.position, BinlogPosition)
        order, end = DdlOrder.decode(packed), (batch.position, batch.source_time_us)
        try:
            await self._ddl.run(session, raw, order, end, checkpoint=str(self._checkpoint.position))
            reach(DDL_BEFORE_CHECKPOINT)
            await self._end_ddl(session, order, end)
        except BaseException:
            session.terminate()
            raise
        return ApplyResult(self._checkpoint, 0, is_durable=True)

    async def _end_ddl(self, session: Session, order: DdlOrder, end: tuple[Position, int | None]) -> None:
        """I1: the statement has run; one commit takes the checkpoint past it."""
        await session.execute(BEGIN)
        await self._ddl.finish(session, order)
        checkpoint = await self._move_checkpoint(session, end, 1, 1)
        reach(APPLY_BEFORE_COMMIT)
        await session.execute("COMMIT", what="moving the checkpoint past a statement")
        reach(APPLY_AFTER_COMMIT)
        self._ddl.forget()
        self._checkpoint = checkpoint
        self._writer.forget_tables()

    # --- one transaction --------------------------------------------------------------------------

    async def _write_parts(self, batch: Batch, next_part: Callable[[], Awaitable[Batch]]) -> tuple[int, int]:
        """Write the batch and, while its transaction is not complete, the parts that follow."""
        transactions = changes = 0
        while True:
            expectation = Expectation.TOLERANT if batch.is_tolerant else _EXPECTATIONS[self._options.policy]
            if batch.changes:
                await self._write_range(batch.changes, expectation, fold=batch.fold)
            transactions += batch.transactions
            changes += len(batch.changes)
            if batch.is_complete:
                assert batch.position is not None
                self._end_of_parts = (batch.position, batch.source_time_us)
                return transactions, changes
            batch = await next_part()

    async def _write_range(
        self, changes: Sequence[RowChange], expectation: Expectation, *, fold: Fold | None = None
    ) -> None:
        """Apply the changes as one fold, or in halves when the target refuses that."""
        if fold is None:
            fold = Fold(tolerant=expectation is Expectation.TOLERANT)
            fold.add(changes)
        folded = fold
        try:
            await self._write_or_take_back(lambda: self._writer.write(folded, expectation=expectation))
        except DataError as error:
            await self._write_halves(changes, expectation, error)

    async def _write_or_take_back(self, write: Callable[[], Awaitable[None]]) -> None:
        """Raises DataError: the target refused a part; nothing was written."""
        session = self._require_session()
        conflicts = self._writer.conflicts
        while True:
            await session.execute("SAVEPOINT towline")
            try:
                await write()
                return
            except (DataError, StatementTooLong) as error:
                await session.execute("ROLLBACK TO SAVEPOINT towline")
                self._writer.conflicts = conflicts
                if isinstance(error, DataError):
                    raise

    async def _write_halves(self, changes: Sequence[RowChange], expectation: Expectation, error: DataError) -> None:
        if len(changes) == 1:
            await self._resolve(changes[0], expectation, error)
            return
        middle = _choose_middle(changes)
        # I3: the first half is complete before the second one begins.
        await self._write_range(changes[:middle], expectation)
        await self._write_range(changes[middle:], expectation)

    async def _resolve(self, change: RowChange, expectation: Expectation, error: DataError) -> None:
        """One change that the target does not take: the job's conflict policy decides.

        Raises:
            DataError: the job must stop; `context["reject"]` is the entry for the list.
        """
        policy = self._options.policy
        may_replace = policy is ConflictPolicy.OVERWRITE or expectation is Expectation.TOLERANT
        if may_replace and isinstance(error, RowConflict):
            try:
                # Rows of the target that stand in the way under whichever unique key are removed.
                await self._write_or_take_back(lambda: self._writer.replace(change))
            except DataError as failure:
                error = failure
            else:
                self._writer.conflicts += 1
                return
        kind, relation, new, old = change
        key = await self._writer.describe_key(relation, old or new) if kind != TRUNCATE else None
        reject = (self._options.job_id, relation.table, _KINDS.get(kind, "change"), error.message, key)
        if policy is not ConflictPolicy.IGNORE:
            error.context["reject"] = reject
            raise error
        self._writer.conflicts += 1
        await save_reject(self._require_session(), reject)

    # --- checkpoint -------------------------------------------------------------------------------

    async def _move_checkpoint(
        self, session: Session, end: tuple[Position, int | None], transactions: int, changes: int
    ) -> Checkpoint:
        before = self._checkpoint
        after = Checkpoint(end[0], end[1], before.transactions + transactions, before.changes + changes)
        moved = await session.execute(
            _MOVE_CHECKPOINT,
            str(after.position),
            after.source_time_us,
            after.transactions,
            after.changes,
            self._options.job_id,
            self._options.epoch,
            str(before.position),
            what="moving the checkpoint",
        )
        if moved != 1:
            # I6: rolled back when the session ends, which every failure brings about.
            await self._read_checkpoint(session)
            raise ConnectionLost("an earlier session moved the checkpoint", side=Side.TARGET)
        return after

    async def _read_checkpoint(self, session: Session) -> Checkpoint:
        row = await session.query_one(_READ_CHECKPOINT, self._options.job_id)
        if row is None or row[0] != self._options.epoch:
            raise LeaseLost(
                f"job {self._options.job_id}: epoch {self._options.epoch} no longer owns it", side=Side.TARGET
            )
        return Checkpoint(self._options.parse_position(row[1]), row[2], row[3], row[4])

    # --- odds and ends ----------------------------------------------------------------------------

    async def _report_misfit(self, session: Session, error: DataError) -> None:
        """Put the change that stopped the job on its list; its transaction was not committed."""
        reject = error.context.pop("reject", None)
        if reject is None:
            return
        with suppress(Exception):
            await session.execute("ROLLBACK")
            await save_reject(session, reject)

    def _require_session(self) -> Session:
        if self._session is None or self._session.is_closed:
            raise ConnectionLost("the applier's session is closed", side=Side.TARGET)
        return self._session


def _choose_middle(changes: Sequence[RowChange]) -> int:
    """Where to cut two changes or more: not among tables that are emptied together, if there is another place."""
    middle = len(changes) // 2
    places = sorted(range(1, len(changes)), key=lambda place: abs(place - middle))
    return next((at for at in places if not changes[at - 1][0] == changes[at][0] == TRUNCATE), middle)

"""DDL of the source on the target: each statement once, in its place among the rows, whatever crashes when.

Theory of operation
-------------------
DDL commits by itself, so it cannot share a commit with the checkpoint.  The relay hands a statement on as a batch of
its own; everything before it has then been committed together with the checkpoint, and the reader decodes nothing that
comes after it.  For each step of a statement (see `ddl_plan`), with two sessions:

1. the session for DDL takes a lock that only one session of the job can hold, and is set up as the source's was;
2. the applier's session commits an *intent*, under the job's epoch (I6) and on exactly the checkpoint it knows: the
   statement's position and hash, the number of the step, and a fingerprint of what the step is about to change, which
   is SHOW CREATE of each table, or that there is none;
3. the step runs;
4. after the last step one commit moves the checkpoint past the statement, renews the list of the job's tables and
   removes the intent (I1).

Whoever opens the job with an intent there first takes the lock.  A statement whose client died goes on in the server,
and the lock is held until it is over; so what is seen behind the lock is final.  Then the fingerprint decides:

* changed: the step was taken.  Nobody else alters the job's tables, DDL is atomic (MySQL 8, MariaDB 10.6), and a
  statement that the server answered with an error has had its fingerprint removed from the intent;
* unchanged: the step was not taken, or taking it again is harmless.  A statement that leaves the definition of its
  tables as it was and yet is no different when run twice at one place in the stream, no row being written in between:
  a rebuild, TRUNCATE PARTITION, CREATE TABLE IF NOT EXISTS or DROP TABLE IF EXISTS of what is there or not,
  AUTO_INCREMENT = n, which for that reason is no part of the fingerprint.  Statements for which this is not so are cut
  into steps for which it is (names that are swapped by one RENAME TABLE), or stop the job (EXCHANGE PARTITION).

The intent is a row of its own rather than part of the checkpoint's, so that a target which an older version wrote
needs no alteration.  DDL is carried only once the full copy has been complete: before, the indexes that the plan of the
structure will build are not there, and a statement about them would mean something else.  While other tables join the
job, those that were there before are whole, and followed in this, too; see `joining` for the others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from towline.adapters.mysql.bookkeeping import BEGIN, hold_name, require_alone, require_epoch
from towline.adapters.mysql.catalog import hold_table
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.ddl_plan import DdlOrder, DdlStep
from towline.adapters.mysql.errors import NO_SUCH_TABLE, number_of
from towline.adapters.mysql.gtid import BinlogPosition, parse_position
from towline.adapters.mysql.quoting import qualified, quote_ident
from towline.adapters.mysql.session import Session
from towline.adapters.mysql.statement_context import PRIVILEGED_SETTINGS, fit_settings
from towline.domain.errors import InvariantBroken, Side, SourceDdl, TowlineError, TransientError
from towline.domain.jobs import Endpoint
from towline.domain.tables import TableName
from towline.engine.points import DDL_AFTER_INTENT, DDL_AFTER_STATEMENT, DDL_BEFORE_INTENT, reach

_UNKNOWN_DATABASE: Final = 1049
_COUNTER: Final = re.compile(r" AUTO_INCREMENT=\d+")
_REMEDY: Final = (
    "Make the statement possible on the target, then retry the job, which will run it; or end the job and start a new"
    " one."
)
_SAVE: Final = """
REPLACE INTO towline.ddl_intent (job_id, position, source_time_us, statement_hash, order_text, step, fingerprint)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
_LOAD: Final = """
SELECT position, source_time_us, statement_hash, order_text, step, fingerprint FROM towline.ddl_intent WHERE job_id = %s
"""
_FORGET: Final = "DELETE FROM towline.ddl_intent WHERE job_id = %s"
_HOLD_CHECKPOINT: Final = """
SELECT 1 FROM towline.checkpoint WHERE job_id = %s AND epoch = %s AND position = %s FOR UPDATE
"""
# Nothing is taken in before the job is complete for the first time.
_HAS_BEEN_COMPLETE: Final = """
SELECT completed_at IS NOT NULL OR EXISTS (SELECT 1 FROM towline.job_edit WHERE job_id = %s AND edit > 0)
FROM towline.job WHERE job_id = %s
"""
_PLAN_TABLE: Final = """
INSERT IGNORE INTO towline.table_plan (job_id, schema_name, table_name, pages, chunk_pages, size_bytes, estimated_rows,
                                       storage_id, bounds)
VALUES (%s, %s, %s, 0, 1, 0, 0, '', '[]')
"""


@dataclass(frozen=True, slots=True)
class Intent:
    """A statement that has begun. `fingerprint` None: its step `step` has not."""

    position: BinlogPosition
    source_time_us: int | None
    statement_hash: str
    order: DdlOrder
    step: int
    fingerprint: str | None

    @property
    def is_done(self) -> bool:
        return self.step >= len(self.order.steps)


class DdlApplier:
    """Runs the statements of one job; `checkpoint` is the position that the applier's session knows, as text."""

    def __init__(self, endpoint: Endpoint, *, job_id: str, epoch: int) -> None:
        self._endpoint = endpoint
        self._job_id = job_id
        self._epoch = epoch
        self._intent: Intent | None = None
        self._runner: Session | None = None

    @property
    def running_connection_id(self) -> int | None:
        """The session that runs a statement now."""
        return None if self._runner is None or self._runner.is_closed else self._runner.connection_id

    async def resume(self, session: Session, checkpoint: str) -> Intent | None:
        """Find out what became of a statement that an earlier session began; an `is_done` one only lacks its end.

        Raises:
            TargetBusy: it still runs.
        """
        self._intent = intent = await self._load(session)
        if intent is None or intent.fingerprint is None:
            return intent
        await self._with_runner(lambda runner: require_alone(runner, self._job_id))
        if await read_fingerprint(session, intent.order.steps[intent.step]) != intent.fingerprint:
            intent = replace(intent, step=intent.step + 1, fingerprint=None)
            await self._save(session, intent, checkpoint)
        return intent

    async def run(
        self, session: Session, raw: bytes, order: DdlOrder, end: tuple[BinlogPosition, int | None], *,
        checkpoint: str,
    ) -> None:  # fmt: skip
        """Take all steps of the statement that are not taken yet.

        Raises:
            SourceDdl: the target refused; nothing of the step was done, and a retry tries it again.
        """
        await self._require_complete(session, order)
        statement_hash = hashlib.sha256(raw).hexdigest()
        intent = self._intent
        if intent is None:
            intent = Intent(end[0], end[1], statement_hash, order, 0, None)
        elif intent.statement_hash != statement_hash:
            raise InvariantBroken(f"the statement at {end[0]} is not the one that was begun", side=Side.SOURCE)

        async def take_steps(runner: Session) -> None:
            nonlocal intent
            assert intent is not None
            await require_alone(runner, self._job_id)
            await hold_name(runner, self._job_id)
            while not intent.is_done:
                intent = await self._take_step(session, runner, intent, raw, checkpoint)

        await self._with_runner(take_steps)

    async def finish(self, session: Session, order: DdlOrder) -> None:
        """The part of the last commit that is about DDL: the job's tables as they are now, and no intent."""
        for table in order.tables:
            await hold_table(session, table)
            exists = await session.query_value(
                """SELECT COUNT(*) FROM information_schema.tables
                   WHERE table_schema = %s AND table_name = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')""",
                table.schema,
                table.name,
            )
            key = (self._job_id, table.schema, table.name)
            if exists:
                await session.execute(_PLAN_TABLE, *key)
                continue
            for ledger in ("chunk", "table_plan"):
                await session.execute(
                    f"DELETE FROM towline.{ledger} WHERE job_id = %s AND schema_name = %s AND table_name = %s", *key
                )
        await session.execute(_FORGET, self._job_id)

    def close(self) -> None:
        if self._runner is not None:
            self._runner.terminate()

    # --- one step -----------------------------------------------------------------------------------

    async def _take_step(
        self, session: Session, runner: Session, intent: Intent, raw: bytes, checkpoint: str
    ) -> Intent:
        step, order = intent.order.steps[intent.step], intent.order
        if order.must_be_empty:
            await self._require_empty(session, order)
        await self._prepare(runner, step, order)
        intent = replace(intent, fingerprint=await read_fingerprint(session, step))
        reach(DDL_BEFORE_INTENT)
        await self._save(session, intent, checkpoint)
        reach(DDL_AFTER_INTENT)
        try:
            await runner.execute(raw if step.sql is None else step.sql.encode(), what=f"running {order.summary}")
        except TransientError:
            raise  # the fingerprint will tell
        except TowlineError as error:
            # The server's answer is no, so nothing was done; without its fingerprint the step counts as not begun.
            await self._save(session, replace(intent, fingerprint=None), checkpoint)
            raise SourceDdl(
                f"the target cannot follow {order.summary}: {error.message}",
                side=Side.TARGET,
                remedy=_REMEDY,
                number=number_of(error),
            ) from error
        reach(DDL_AFTER_STATEMENT)
        # The next step's intent, or the last commit, says that this one is over.
        return replace(intent, step=intent.step + 1, fingerprint=None)

    async def _prepare(self, runner: Session, step: DdlStep, order: DdlOrder) -> None:
        """Make the session that of the source; statements of our own name everything in full, in UTF-8."""
        settings = fit_settings(order.settings or {}, runner.flavor)
        if step.sql is not None:
            # Tables that refer to each other are dropped by one statement in any order; here it is one by one.
            is_free = step.sql.startswith("DROP")
            settings = {"foreign_key_checks": "0" if is_free else settings.get("foreign_key_checks", "1")}
        elif order.database:
            try:
                await runner.execute(f"USE {quote_ident(order.database)}")
            except TowlineError as error:
                # Another database than the job's: then all names are written in full, or the target says no.
                if number_of(error) != _UNKNOWN_DATABASE:
                    raise
        for name in PRIVILEGED_SETTINGS:
            if name in settings:
                mine = await runner.query_value(f"SELECT @@SESSION.{name}")
                if str(mine) == settings[name].strip("'"):
                    del settings[name]
        # An engine that the statement does not name must be one with transactions.
        assignments = {"default_storage_engine": "InnoDB", **settings}
        rendered = ", ".join(f"SESSION {name} = {value}" for name, value in assignments.items())
        await runner.execute(f"SET {rendered}", what=f"preparing the session for {order.summary}")

    async def _require_empty(self, session: Session, order: DdlOrder) -> None:
        for table in order.tables:
            if await session.query(f"SELECT 1 FROM {qualified(table)} LIMIT 1"):
                raise SourceDdl(
                    f"the source ran {order.summary}, which is not carried: each server fills in the rows of {table} in"
                    " its own way",
                    side=Side.SOURCE,
                )

    async def _require_complete(self, session: Session, order: DdlOrder) -> None:
        if not await session.query_value(_HAS_BEEN_COMPLETE, self._job_id, self._job_id):
            raise SourceDdl(f"the source ran {order.summary} while the job copied its tables", side=Side.SOURCE)

    # --- the intent ---------------------------------------------------------------------------------

    async def _load(self, session: Session) -> Intent | None:
        row = await session.query_one(_LOAD, self._job_id)
        if row is None:
            return None
        return Intent(parse_position(row[0]), row[1], row[2], DdlOrder.decode(row[3]), row[4], row[5])

    async def _save(self, session: Session, intent: Intent, checkpoint: str) -> None:
        await session.execute(BEGIN)
        # I6: and no earlier session of this worker may have gone on behind our back.
        await require_epoch(session, self._job_id, self._epoch)
        if await session.query_one(_HOLD_CHECKPOINT, self._job_id, self._epoch, checkpoint) is None:
            raise InvariantBroken("the checkpoint is not where the applier left it", side=Side.TARGET)
        await session.execute(
            _SAVE,
            self._job_id,
            str(intent.position),
            intent.source_time_us,
            intent.statement_hash,
            intent.order.encode().decode(),
            intent.step,
            intent.fingerprint,
        )
        await session.execute("COMMIT", what="saving the intent of a statement")
        self._intent = intent

    def forget(self) -> None:
        """The statement is over, and so is its intent."""
        self._intent = None

    async def _with_runner(self, work: Callable[[Session], Awaitable[None]]) -> None:
        self._runner = runner = await connect(self._endpoint, purpose=f"{self._job_id}:ddl", side=Side.TARGET)
        try:
            await work(runner)
        finally:
            runner.terminate()
            self._runner = None


async def read_fingerprint(session: Session, step: DdlStep) -> str:
    """What a step is about to change, as the target has it now."""
    shown = [await _show_table(session, table) for table in step.tables]
    if step.schema:
        shown.append(await _show(session, f"SHOW CREATE DATABASE {quote_ident(step.schema)}", _UNKNOWN_DATABASE))
    return hashlib.sha256("\0".join(shown).encode()).hexdigest()


async def _show_table(session: Session, table: TableName) -> str:
    return _COUNTER.sub("", await _show(session, f"SHOW CREATE TABLE {qualified(table)}", NO_SUCH_TABLE))


async def _show(session: Session, statement: str, number_if_absent: int) -> str:
    try:
        row = await session.query_one(statement, what="reading the form of a table")
    except TowlineError as error:
        if number_of(error) not in (number_if_absent, _UNKNOWN_DATABASE):
            raise
        return ""
    assert row is not None
    return _text(row[1])


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

"""Tables leave a job: what the target's ledger forgets of them, and which foreign keys go.

A foreign key of a table that left, to one that stays, is dropped: the source may drop it by a statement that nobody
follows any more, and then run statements on the table that stays which the target would refuse because of it.  A key
the other way is kept, as the source's statements about it are followed; its rows are not checked, as those of a key to
a table that was never selected.

DDL commits by itself, so the keys to drop are remembered in the transaction that lets the tables leave, and dropped
after it (`drop_keys`).  Dropping one that is gone already does nothing.

A statement of the source that had begun on the target when the worker died is waited for.  If it was about tables that
leave only, it is forgotten with them: the stream will not bring it again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final

from towline.adapters.mysql.bookkeeping import hold_name, require_alone
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.ddl_plan import DdlOrder
from towline.adapters.mysql.errors import NO_SUCH_TABLE, number_of
from towline.adapters.mysql.quoting import qualified, quote_ident
from towline.adapters.mysql.session import Session
from towline.domain.errors import SetupError, Side, TowlineError
from towline.domain.jobs import Endpoint
from towline.domain.structure import StructureReport
from towline.domain.tables import NameMap, TableName
from towline.engine.points import LEAVE_KEY_DROPPED, reach

_CANNOT_DROP: Final = 1091  # there is no such key
_LOCK_TIMEOUT_S: Final = 10
_DROPPED: Final = "dropped on the target: its table left the job, and it could stand in the way of one that stays"
_KEPT: Final = "kept on the target; the table that it refers to left the job, so its rows are not checked"
_STANDS_AT: Final = """
SELECT coalesce((SELECT position FROM towline.checkpoint WHERE job_id = %s),
                (SELECT position FROM towline.snapshot WHERE job_id = %s ORDER BY number DESC LIMIT 1), '')
"""
_FOREIGN_KEYS: Final = """
SELECT DISTINCT table_schema, table_name, constraint_name, referenced_table_schema, referenced_table_name
FROM information_schema.key_column_usage WHERE referenced_table_name IS NOT NULL
"""
_PLANNED: Final = "SELECT schema_name, table_name FROM towline.table_plan WHERE job_id = %s"
_NOTE_EDIT: Final = """
INSERT INTO towline.job_edit (job_id, edit, keys_to_drop) VALUES (%s, %s, %s)
ON DUPLICATE KEY UPDATE edit = greatest(edit, %s), keys_to_drop = %s
"""
_KEYS_TO_DROP: Final = "SELECT keys_to_drop FROM towline.job_edit WHERE job_id = %s"

Key = tuple[TableName, str]
Covers = Callable[[TableName], bool]


async def settle_statement(session: Session, endpoint: Endpoint, job_id: str, covers: Covers) -> bool:
    """Whether a statement that had begun concerns nothing any more of what the job `covers`; it runs no longer then.

    Raises:
        SetupError: it concerns tables that leave and others that stay.
        TargetBusy: it still runs.
    """
    text = await session.query_value("SELECT order_text FROM towline.ddl_intent WHERE job_id = %s", job_id)
    if text is None:
        return False
    order = DdlOrder.decode(text)
    concerned = [*order.tables, *(TableName(step.schema, "") for step in order.steps if step.schema)]
    left = [table for table in concerned if not covers(table)]
    if not left:
        return False
    if len(left) < len(concerned):
        raise SetupError(
            f"{left[0]} cannot leave the job now: {order.summary}, which the source ran on other tables too, has begun",
            side=Side.TARGET,
            remedy="Select the objects as they were and retry with them; when the job follows again, edit them anew.",
        )
    runner = await connect(endpoint, purpose=f"{job_id}:ddl", side=Side.TARGET)
    try:
        await require_alone(runner, job_id)
    finally:
        runner.terminate()
    return True


async def read_standing(session: Session, job_id: str) -> str:
    """Up to where the job's rows on the target are those of the source."""
    return str(await session.query_value(_STANDS_AT, job_id, job_id))


async def find_keys(
    session: Session, job_id: str, tables: Sequence[TableName], names: NameMap
) -> tuple[list[Key], list[StructureReport]]:
    """Foreign keys of tables that leave to tables that stay, and what becomes of all between them."""
    gone = {_lower(names.target_name(table)) for table in tables}
    planned = [TableName(*row) for row in await session.query(_PLANNED, job_id)]
    kept = {_lower(names.target_name(table)) for table in planned if table not in set(tables)}
    to_drop, told = [], []
    for schema, name, key, other_schema, other_name in await session.query(_FOREIGN_KEYS) if gone else ():
        table, other = TableName(schema, name), TableName(other_schema, other_name)
        if _lower(table) in gone and _lower(other) in kept:
            to_drop.append((table, str(key)))
            told.append(StructureReport("FK CONSTRAINT", f"{table} {key}", _DROPPED))
        elif _lower(table) in kept and _lower(other) in gone:
            told.append(StructureReport("FK CONSTRAINT", f"{table} {key}", _KEPT))
    return to_drop, told


async def forget(session: Session, job_id: str, tables: Sequence[TableName], items: Sequence[int]) -> None:
    """Take tables and items out of the ledger. Call inside a transaction."""
    for name in tables:
        for ledger in ("chunk", "table_plan", "joining"):
            await session.execute(
                f"DELETE FROM towline.{ledger} WHERE job_id = %s AND schema_name = %s AND table_name = %s",
                job_id,
                name.schema,
                name.name,
            )
    gone = set(items)
    for number, text in await session.query(
        "SELECT number, depends_on FROM towline.structure_item WHERE job_id = %s", job_id
    ):
        needs = json.loads(text)
        if number in gone:
            await session.execute(
                "DELETE FROM towline.structure_item WHERE job_id = %s AND number = %s", job_id, number
            )
        elif not gone.isdisjoint(needs):
            await session.execute(
                "UPDATE towline.structure_item SET depends_on = %s WHERE job_id = %s AND number = %s",
                json.dumps([each for each in needs if each not in gone]),
                job_id,
                number,
            )


async def note_edit(session: Session, job_id: str, *, edit: int, to_drop: Sequence[Key]) -> None:
    """Remember the edit as taken in, and what is still to be done for it. Call inside a transaction."""
    listed = json.dumps([[table.schema, table.name, key] for table, key in to_drop])
    await session.execute(_NOTE_EDIT, job_id, edit, listed, edit, listed)


async def remember_told(session: Session, job_id: str, reports: Sequence[StructureReport]) -> None:
    """What the job's history is still to be told. Call inside a transaction."""
    last = await session.query_value("SELECT coalesce(max(number), 0) FROM towline.departure WHERE job_id = %s", job_id)
    for number, report in enumerate(reports, int(last) + 1):
        await session.execute(
            "INSERT INTO towline.departure (job_id, number, kind, name, reason) VALUES (%s, %s, %s, %s, %s)",
            job_id,
            number,
            report.kind,
            report.name,
            report.reason,
        )


async def load_told(session: Session, job_id: str) -> list[StructureReport]:
    rows = await session.query(
        "SELECT kind, name, reason FROM towline.departure WHERE job_id = %s ORDER BY number", job_id
    )
    return [StructureReport(*row) for row in rows]


async def drop_keys(session: Session, endpoint: Endpoint, job_id: str) -> bool:
    """Drop what is remembered; False when there is nothing. The caller then forgets it. Safe to repeat.

    Raises:
        TargetBusy: somebody uses one of the tables.
    """
    keys = json.loads(await session.query_value(_KEYS_TO_DROP, job_id) or "[]")
    if not keys:
        return False
    settings = {"lock_wait_timeout": str(_LOCK_TIMEOUT_S)}
    runner = await connect(endpoint, purpose=f"{job_id}:keys", settings=settings, side=Side.TARGET)
    try:
        await hold_name(runner, job_id)
        for schema, name, key in keys:
            table = qualified(TableName(schema, name))
            try:
                await runner.execute(
                    f"ALTER TABLE {table} DROP FOREIGN KEY {quote_ident(key)}",
                    what=f"dropping a foreign key of {table}",
                )
            except TowlineError as error:
                if number_of(error) not in (_CANNOT_DROP, NO_SUCH_TABLE):
                    raise
            reach(LEAVE_KEY_DROPPED)
    finally:
        runner.terminate()
    return True


def _lower(table: TableName) -> tuple[str, str]:
    # A target that keeps names in lower letters answers with those.
    return table.schema.lower(), table.name.lower()

"""Creates the structure on the target, crash-safe although every DDL statement commits by itself.

An item is marked as begun, its statements run, it is marked as done.  DDL is atomic in both products, so after a
crash in between the object is either there or not: an item that was begun and "exists already" is done.  One that
exists without having been begun is somebody else's, and stops the job.

What is reported of an item is remembered before the item is marked as done, and once: an item that is begun again after
a crash may report the same.

A worker that lost its lease cannot mark an item as begun (I6).  One that loses it after that may still finish the one
statement at hand; the successor waits for it at the table's metadata lock, and finds the object there.

A trigger would fire again for every change that a stream brings, and neither product can switch it off.  So while
changes are followed triggers are held back.  An event would act on both sides: it is created disabled whatever the
job's mode is.  What the job's end makes of both is told in `ending`.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from towline.adapters.mysql.bookkeeping import BEGIN, hold_name, require_epoch
from towline.adapters.mysql.build_progress import Course, begin_course, read_share
from towline.adapters.mysql.code_text import disable_event, find_definer, remove_definer
from towline.adapters.mysql.connection import SQL_MODE, connect
from towline.adapters.mysql.counters import find_late, read_counters
from towline.adapters.mysql.errors import NO_SUCH_TABLE, number_of
from towline.adapters.mysql.quoting import qualified
from towline.adapters.mysql.session import Session
from towline.domain.errors import (
    LeaseLost,
    Side,
    StructureFailed,
    TargetNotEmpty,
    TowlineError,
    TransientError,
)
from towline.domain.jobs import Endpoint
from towline.domain.structure import Section, SequenceValue, StructureItem, StructureReport
from towline.domain.tables import SAME_NAMES, NameMap, TableName
from towline.engine.points import INDEX_IN_BUILD, STRUCTURE_BEFORE_COMMIT, reach

Report = Callable[[StructureReport], None]

HELD: Final = "held back until the job ends"
_SETTINGS: Final = {"foreign_key_checks": "0"}
RESET: Final = f"SET SESSION sql_mode = '{SQL_MODE}', SESSION time_zone = '+00:00'"
# Database, table, key, routine, trigger, event, foreign key (its two numbers) exist already.
_EXISTS: Final = frozenset({1007, 1050, 1061, 1304, 1359, 1537, 1826})
# MariaDB says "cannot create" for all that can go wrong with a foreign key; 121 is a name that is taken.
_CANNOT_CREATE: Final = 1005
_NAME_TAKEN: Final = re.compile(r"errno: 121\b")
_SHORT_WAIT_S: Final = 2
_WATCHED_BYTES: Final = 16 * 1024 * 1024
_NO_SUCH_USER: Final = 1449
_NO_DEFINER: Final = frozenset({1227, _NO_SUCH_USER})


class MyStructureTarget:
    """The structure of one job on one target server."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        job_id: str,
        epoch: int,
        holds_triggers: bool = False,
        names: NameMap = SAME_NAMES,
    ) -> None:
        self._holds_triggers = holds_triggers
        self._names = names
        self._endpoint = endpoint
        self._job_id = job_id
        self._epoch = epoch
        self._idle: list[Session] = []
        self._builds: dict[int, tuple[int, Course]] = {}  # in flight, by the item's number
        self._counters: dict[TableName, int] = {}  # the source's next numbers when they were last written

    async def save_structure(self, items: Sequence[StructureItem], reports: Sequence[StructureReport]) -> None:
        async with self._session() as session:
            await session.execute(BEGIN)
            await require_epoch(session, self._job_id, self._epoch)
            count = "SELECT COUNT(*) FROM towline.structure_item WHERE job_id = %s"
            if not await session.query_value(count, self._job_id):
                await insert_items(session, self._job_id, items)
                for report in reports:
                    await insert_report(session, self._job_id, report)
            await session.execute("COMMIT")

    async def remember_report(self, session: Session, report: StructureReport) -> bool:
        """In a transaction of its own; False if it is remembered already. Raises: LeaseLost."""
        await session.execute(BEGIN)
        await require_epoch(session, self._job_id, self._epoch)
        is_new = await insert_report(session, self._job_id, report)
        await session.execute("COMMIT")
        return is_new

    async def load_reports(self) -> list[StructureReport]:
        async with self._session() as session:
            rows = await session.query(
                "SELECT kind, name, reason FROM towline.structure_report WHERE job_id = %s ORDER BY number",
                self._job_id,
            )
        return [StructureReport(*row) for row in rows]

    async def load_structure(self) -> tuple[list[StructureItem], frozenset[int]]:
        async with self._session() as session:
            rows = await session.query(
                """SELECT number, section, kind, name, schema_name, table_schema, table_name, statements, depends_on,
                          weight_bytes, is_optional, done_at IS NOT NULL
                   FROM towline.structure_item WHERE job_id = %s ORDER BY number""",
                self._job_id,
            )
        items = [
            StructureItem(
                number=row[0],
                section=Section(row[1]),
                kind=row[2],
                name=row[3],
                schema=row[4],
                table=TableName(row[5], row[6]) if row[6] is not None else None,
                statements=tuple(json.loads(row[7])),
                depends_on=frozenset(json.loads(row[8])),
                weight_bytes=row[9],
                is_optional=bool(row[10]),
            )
            for row in rows
        ]
        return items, frozenset(row[0] for row in rows if row[11])

    async def apply_items(self, items: Sequence[StructureItem], *, on_report: Report) -> None:
        async with self._session() as session:
            for item in items:
                await self._apply(session, item, on_report)

    async def read_build_progress(self) -> Mapping[int, float]:
        builds = dict(self._builds)
        if len(builds) != 1:
            return {}  # what the servers tell cannot be told apart
        ((number, (connection_id, course)),) = builds.items()
        async with self._session() as session:
            share = await read_share(session, connection_id, course)
        return {} if share is None else {number: share}

    async def write_sequences(self, values: Sequence[SequenceValue], *, is_final: bool) -> None:
        """Let AUTO_INCREMENT go on where the source stands; `schema` and `name` of a value are those of the table."""
        earlier, self._counters = (
            self._counters,
            {TableName(value.schema, value.name): value.last_value + 1 for value in values},
        )
        async with self._session() as session:
            there = await read_counters(session, {table.schema for table in self._counters})
            # Who waits for the table's lock keeps the stream waiting behind him, and there is a next time.
            await session.execute(f"SET SESSION lock_wait_timeout = {'DEFAULT' if is_final else _SHORT_WAIT_S}")
            for table in find_late(there, self._counters, None if is_final else earlier):
                try:
                    await session.execute(f"ALTER TABLE {qualified(table)} AUTO_INCREMENT = {self._counters[table]}")
                except TowlineError as error:
                    if number_of(error) != NO_SUCH_TABLE:  # dropped meanwhile, with the stream
                        raise
            await session.execute("SET SESSION lock_wait_timeout = DEFAULT")

    async def refresh_views(self, *, on_report: Report) -> None:
        pass  # there are no materialised views

    async def close(self) -> None:
        while self._idle:
            self._idle.pop().terminate()

    # --- one item -----------------------------------------------------------------------------------

    async def _apply(self, session: Session, item: StructureItem, on_report: Report) -> None:
        was_begun = await self.mark_begun(session, item)
        if was_begun is None:
            return
        if self._holds_triggers and item.kind == "TRIGGER":
            failure: str | None = HELD
        else:
            failure = await self.run_item(session, item, was_begun=was_begun, on_report=on_report)
        reach(STRUCTURE_BEFORE_COMMIT)
        await self.mark_done(session, item, failure)

    async def mark_begun(self, session: Session, item: StructureItem) -> bool | None:
        """Whether it was begun before; None when it is done."""
        await session.execute(BEGIN)
        await require_epoch(session, self._job_id, self._epoch)  # I6
        row = await session.query_one(
            """SELECT done_at IS NOT NULL, begun_at IS NOT NULL FROM towline.structure_item
               WHERE job_id = %s AND number = %s FOR UPDATE""",
            self._job_id,
            item.number,
        )
        await session.execute(
            """UPDATE towline.structure_item SET begun_at = coalesce(begun_at, current_timestamp(6))
               WHERE job_id = %s AND number = %s""",
            self._job_id,
            item.number,
        )
        await session.execute("COMMIT")
        return None if row is None or row[0] else bool(row[1])

    async def mark_done(self, session: Session, item: StructureItem, failure: str | None) -> None:
        """`failure`: why it is not on the target."""
        await session.execute(
            """UPDATE towline.structure_item SET done_at = current_timestamp(6), failed_reason = %s
               WHERE job_id = %s AND number = %s""",
            failure,
            self._job_id,
            item.number,
        )

    async def run_item(
        self, session: Session, item: StructureItem, *, was_begun: bool, on_report: Report = lambda _: None
    ) -> str | None:
        """Why an optional item failed, None if nothing did. What is to be told of it is remembered in any case."""
        what = f"creating {_describe(item)}"
        if item.kind == "EVENT":
            item = replace(item, statements=(*item.statements[:-1], disable_event(item.statements[-1])))
        try:
            await session.execute(RESET)
            for statement in item.statements:
                if item.kind == "INDEX":
                    await self._refresh_statistics(session, item)
                    reach(INDEX_IN_BUILD)
                    self._builds[item.number] = session.connection_id, begin_course(item)
                await self._execute(session, statement, item, what, on_report)
        except (TransientError, LeaseLost):
            raise
        except TowlineError as error:
            exists = is_there_already(error)
            if exists and was_begun:
                return None
            if item.is_optional and not exists:
                report = StructureReport(item.kind, _describe(item), error.message)
                await self._remember(session, report, on_report)
                return error.message
            if not was_begun:
                await self._forget_begun(session, item)
            if exists:
                what = _describe(item)
                if item.kind == "TABLE" and item.table is not None:
                    what = f"table {self._names.target_name(item.table)}"
                raise TargetNotEmpty(f"{what} exists on the target", side=Side.TARGET) from error
            raise StructureFailed(error.message, side=Side.TARGET) from error
        finally:
            self._builds.pop(item.number, None)
        return None

    async def _refresh_statistics(self, session: Session, item: StructureItem) -> None:
        """MySQL reckons by them how much there is to build, and has none of a table that was just filled.

        A small index is there before anybody asks how far it is.
        """
        is_watched = not session.flavor.is_mariadb and item.weight_bytes >= _WATCHED_BYTES
        if is_watched and item.table is not None:
            await session.query(f"ANALYZE NO_WRITE_TO_BINLOG TABLE {qualified(self._names.target_name(item.table))}")

    async def _execute(
        self, session: Session, statement: str, item: StructureItem, what: str, on_report: Report
    ) -> None:
        definer = find_definer(statement)
        try:
            await session.execute(statement, what=what)
        except TowlineError as error:
            if number_of(error) not in _NO_DEFINER or definer is None:
                raise
            reason = "belongs to Towline's account, which may not create it for another"
            await self._remember(session, StructureReport(item.kind, _describe(item), reason), on_report)
            await session.execute(remove_definer(statement), what=what)
            return
        if definer is not None and await _lacks_definer(session):
            reason = f"belongs to {definer}, which the target does not have"
            await self._remember(session, StructureReport(item.kind, _describe(item), reason), on_report)

    async def _remember(self, session: Session, report: StructureReport, on_report: Report) -> None:
        if await self.remember_report(session, report):
            on_report(report)

    async def _forget_begun(self, session: Session, item: StructureItem) -> None:
        await session.execute(
            "UPDATE towline.structure_item SET begun_at = NULL WHERE job_id = %s AND number = %s",
            self._job_id,
            item.number,
        )

    # --- sessions -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        session = self._idle.pop() if self._idle else await self._connect()
        try:
            yield session
        except BaseException:
            session.terminate()
            raise
        if not session.is_closed:
            self._idle.append(session)

    async def _connect(self) -> Session:
        return await connect(
            self._endpoint,
            purpose=f"{self._job_id}:structure",
            settings=_SETTINGS,
            side=Side.TARGET,
            prepare=partial(hold_name, job_id=self._job_id),
        )


async def _lacks_definer(session: Session) -> bool:
    """Whether the server took the last statement with a warning that there is no such account."""
    return any(row[1] == _NO_SUCH_USER for row in await session.query("SHOW WARNINGS"))


async def insert_report(session: Session, job_id: str, report: StructureReport) -> bool:
    """False if it is there already. Call inside a transaction."""
    values = (job_id, report.kind, report.name, report.reason)
    same = "SELECT 1 FROM towline.structure_report WHERE job_id = %s AND kind = %s AND name = %s AND reason = %s"
    if await session.query_one(same, *values) is not None:
        return False
    insert = "INSERT INTO towline.structure_report (job_id, kind, name, reason) VALUES (%s, %s, %s, %s)"
    await session.execute(insert, *values)
    return True


async def insert_items(session: Session, job_id: str, items: Sequence[StructureItem]) -> None:
    """Add them to what the target remembers of the structure. Call inside a transaction."""
    for item in items:
        await session.execute(
            """INSERT INTO towline.structure_item (job_id, number, section, kind, name, schema_name, table_schema,
                   table_name, statements, depends_on, weight_bytes, is_optional)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
            job_id,
            item.number,
            item.section.value,
            item.kind,
            item.name,
            item.schema,
            item.table.schema if item.table else None,
            item.table.name if item.table else None,
            json.dumps(item.statements),
            json.dumps(sorted(item.depends_on)),
            item.weight_bytes,
            item.is_optional,
        )


def is_there_already(error: TowlineError) -> bool:
    """Whether the server refused because it has an object of this name. Pure."""
    number = number_of(error)
    return number in _EXISTS or (number == _CANNOT_CREATE and bool(_NAME_TAKEN.search(error.message)))


def _describe(item: StructureItem) -> str:
    schema = f"{item.schema}." if item.schema and item.kind != "SCHEMA" else ""
    return f"{item.kind.lower()} {schema}{item.name}"

"""The target's side of the copy: the chunk ledger, and writers that commit rows and ledger together.

The tables are the job's own, so a row that is there already is somebody else's.  Under the policy IGNORE it stays, the
source's row is left out, counted and put on the job's list; under the others the job stops.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final, cast

from towline.adapters.mysql import joining_ledger, leaving
from towline.adapters.mysql.bookkeeping import BEGIN, hold_name, require_epoch
from towline.adapters.mysql.catalog import ColumnType, read_column_types, read_packet_limit
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.fold_writer import save_reject
from towline.adapters.mysql.gtid import BinlogPosition
from towline.adapters.mysql.load_data import OWN_FORM, LoadForm, LoadMisfit, load_rows, says_too_much
from towline.adapters.mysql.quoting import qualified
from towline.adapters.mysql.session import Session
from towline.adapters.mysql.structure_target import insert_items, insert_report
from towline.adapters.mysql.writing import prepare_writer
from towline.domain.errors import InvariantBroken, LeaseLost, Side, SourceDdl
from towline.domain.jobs import ConflictPolicy, Endpoint
from towline.domain.positions import Position
from towline.domain.structure import StructureItem, StructureReport
from towline.domain.tables import EVERYTHING, SAME_NAMES, NameMap, ObjectSelection, Table, TableName
from towline.engine import points
from towline.engine.counted import Counted
from towline.engine.ports import (
    Chunk,
    ChunkDone,
    ChunkReader,
    CopyFacts,
    NamesRows,
    SnapshotFact,
    TablePlan,
)

# Rows come in any order of tables and with all they refer to; what the source holds was checked there.  A writer may
# wait for another one's part of a table with AUTO_INCREMENT, which under a speed limit takes minutes.
WRITER_SETTINGS: Final = {
    "foreign_key_checks": "0",
    "innodb_lock_wait_timeout": "86400",
}


class MyCopyTarget:
    """The ledger of one job on one target server.

    `form`: how the source's chunk readers write rows. `renews_tables`: see `CopyFacts`. `selection`: what it moves.
    `names`: what its tables are called here, if the selection does not say it; several may be one table.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        job_id: str,
        epoch: int,
        policy: ConflictPolicy,
        form: LoadForm = OWN_FORM,
        renews_tables: bool = False,
        selection: ObjectSelection = EVERYTHING,
        names: NameMap | None = None,
    ) -> None:
        self._selection = selection
        self._names = selection.names if names is None else names
        self._renews_tables = renews_tables
        self._endpoint = endpoint
        self._form = form
        self._job_id = job_id
        self._epoch = epoch
        self._policy = policy
        self._session: Session | None = None

    async def require_lease(self) -> None:
        async with self._transaction():
            pass

    async def load_facts(self) -> CopyFacts:
        session = await self._ledger()
        job = await session.query_one(
            """SELECT planned_at IS NOT NULL, copied_at IS NOT NULL, completed_at IS NOT NULL
               FROM towline.job WHERE job_id = %s""",
            self._job_id,
        )
        snapshots = await session.query(
            """SELECT number, position, snapshot_text, timestampdiff(microsecond, taken_at, now(6)) / 1000000
               FROM towline.snapshot WHERE job_id = %s ORDER BY number""",
            self._job_id,
        )
        plans = await session.query(
            """SELECT schema_name, table_name, pages, chunk_pages, size_bytes, estimated_rows, storage_id, bounds
               FROM towline.table_plan WHERE job_id = %s ORDER BY schema_name, table_name""",
            self._job_id,
        )
        chunks = await session.query(
            """SELECT schema_name, table_name, number, first_page, end_page, kind,
                      snapshot_number, row_count, size_bytes
               FROM towline.chunk WHERE job_id = %s""",
            self._job_id,
        )
        joining = await joining_ledger.load_joining_tables(session, self._job_id)
        edit = await session.query_value("SELECT edit FROM towline.job_edit WHERE job_id = %s", self._job_id)
        if job is None:
            raise LeaseLost(f"job {self._job_id} was ended on the target", side=Side.TARGET)
        return CopyFacts(
            snapshots=tuple(SnapshotFact(row[0], row[1], row[2], age_s=float(row[3])) for row in snapshots),
            plans=tuple(
                TablePlan(TableName(p[0], p[1]), p[2], p[3], p[4], p[5], p[6], tuple(json.loads(p[7]))) for p in plans
            ),
            done=tuple(ChunkDone(Chunk(TableName(c[0], c[1]), *c[2:6]), *c[6:]) for c in chunks),
            is_planned=bool(job[0]),
            is_copied=bool(job[1]),
            is_complete=bool(job[2]),
            edit=edit or 0,
            renews_tables=self._renews_tables,
            joining=joining,
        )

    async def save_snapshot(self, snapshot: SnapshotFact) -> None:
        async with self._transaction() as session:
            await session.execute(
                """INSERT INTO towline.snapshot (job_id, number, epoch, position, snapshot_text)
                   VALUES (%s, %s, %s, %s, %s)""",
                self._job_id,
                snapshot.number,
                self._epoch,
                snapshot.position,
                snapshot.snapshot_text,
            )

    async def save_plan(self, plans: Sequence[TablePlan]) -> None:
        async with self._transaction() as session:
            await self._write_plans(session, plans)
            await session.execute(
                "UPDATE towline.job SET planned_at = current_timestamp(6) WHERE job_id = %s", self._job_id
            )

    async def start_over(self, tables: Sequence[TableName], plans: Sequence[TablePlan]) -> None:
        # One transaction: a table that is full although the ledger has nothing of it would be filled a second time.
        async with self._transaction() as session:
            await session.execute("UPDATE towline.job SET copied_at = NULL WHERE job_id = %s", self._job_id)
            for name in tables:
                await self._forget_chunks(session, name)
                # DELETE rather than TRUNCATE: it belongs to the transaction, and so to the lease (I6).
                there = self._names.target_name(name)
                if not self._names.find_sharing(there).issubset(tables):
                    raise InvariantBroken(f"{there} has rows of more tables than {name}", side=Side.TARGET)
                await session.execute(f"DELETE FROM {qualified(there)}", what=f"emptying {there}")
                await session.execute(
                    "DELETE FROM towline.table_plan WHERE job_id = %s AND schema_name = %s AND table_name = %s",
                    self._job_id,
                    name.schema,
                    name.name,
                )
            await self._write_plans(session, plans)

    async def leave(
        self,
        tables: Sequence[TableName],
        items: Sequence[int],
        *,
        edit: int | None,
        describe: Callable[[str], Sequence[StructureReport]],
    ) -> None:
        covers = self._selection.covers
        is_forgotten = await leaving.settle_statement(await self._ledger(), self._endpoint, self._job_id, covers)
        async with self._transaction() as session:
            # Earlier owners have no session any more and this one does not apply now, so the rows stand still.
            reports = list(describe(await leaving.read_standing(session, self._job_id)))
            to_drop, of_keys = await leaving.find_keys(session, self._job_id, tables, self._names)
            await leaving.remember_told(session, self._job_id, [*reports, *of_keys])
            await leaving.forget(session, self._job_id, tables, items)
            if is_forgotten:
                await session.execute("DELETE FROM towline.ddl_intent WHERE job_id = %s", self._job_id)
            await leaving.note_edit(session, self._job_id, edit=edit or 0, to_drop=to_drop)
            points.reach(points.LEAVE_BEFORE_COMMIT)

    async def join(
        self,
        plans: Sequence[TablePlan],
        items: Sequence[StructureItem],
        *,
        edit: int,
        since: Position,
        reports: Sequence[StructureReport],
    ) -> None:
        assert isinstance(since, BinlogPosition)
        tables = [plan.table for plan in plans]
        async with self._transaction() as session:
            await joining_ledger.begin_joining(session, self._job_id, tables, since=since, has_items=bool(items))
            await leaving.note_edit(session, self._job_id, edit=edit, to_drop=())
            await self._write_plans(session, plans)
            await insert_items(session, self._job_id, items)
            for report in reports:
                await insert_report(session, self._job_id, report)

    async def finish_leaving(self) -> list[StructureReport]:
        if await leaving.drop_keys(await self._ledger(), self._endpoint, self._job_id):
            async with self._transaction() as session:
                await leaving.note_edit(session, self._job_id, edit=0, to_drop=())
        return await leaving.load_told(await self._ledger(), self._job_id)

    async def forget_told(self) -> None:
        async with self._transaction() as session:
            await session.execute("DELETE FROM towline.departure WHERE job_id = %s", self._job_id)

    async def mark_copied(self) -> None:
        await self._mark("copied_at")

    async def mark_complete(self) -> None:
        async with self._transaction() as session:
            await self._set_mark(session, "completed_at")
            await joining_ledger.end_joining(session, self._job_id)

    async def open_writer(self) -> MyChunkWriter:
        session = await connect(
            self._endpoint,
            purpose=f"{self._job_id}:write",
            settings=WRITER_SETTINGS,
            side=Side.TARGET,
            prepare=partial(prepare_writer, job_id=self._job_id),
        )
        return MyChunkWriter(session, self._job_id, self._epoch, self._policy, self._form, self._names)

    async def close(self) -> None:
        if self._session is not None:
            self._session.terminate()
            self._session = None

    async def _mark(self, column: str) -> None:
        async with self._transaction() as session:
            await self._set_mark(session, column)

    async def _set_mark(self, session: Session, column: str) -> None:
        await session.execute(
            f"UPDATE towline.job SET {column} = coalesce({column}, current_timestamp(6)) WHERE job_id = %s",
            self._job_id,
        )

    async def _forget_chunks(self, session: Session, name: TableName) -> None:
        await session.execute(
            "DELETE FROM towline.chunk WHERE job_id = %s AND schema_name = %s AND table_name = %s",
            self._job_id,
            name.schema,
            name.name,
        )

    async def _write_plans(self, session: Session, plans: Sequence[TablePlan]) -> None:
        for plan in plans:
            await session.execute(
                """INSERT INTO towline.table_plan (job_id, schema_name, table_name, pages, chunk_pages, size_bytes,
                                                   estimated_rows, storage_id, bounds)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)""",
                self._job_id,
                plan.table.schema,
                plan.table.name,
                plan.pages,
                plan.chunk_pages,
                plan.size_bytes,
                plan.estimated_rows,
                plan.storage_id,
                json.dumps(plan.bounds),
            )

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Session]:
        """A transaction of the job's owner (I6)."""
        session = await self._ledger()
        try:
            await session.execute(BEGIN)
            await require_epoch(session, self._job_id, self._epoch)
            yield session
            await session.execute("COMMIT")
        except BaseException:
            session.terminate()
            raise

    async def _ledger(self) -> Session:
        if self._session is None or self._session.is_closed:
            self._session = await connect(
                self._endpoint,
                purpose=f"{self._job_id}:ledger",
                settings={"foreign_key_checks": "0"},
                side=Side.TARGET,
                prepare=partial(hold_name, job_id=self._job_id),
            )
        return self._session


class MyChunkWriter:
    """One session; one transaction per call of `write`."""

    def __init__(
        self,
        session: Session,
        job_id: str,
        epoch: int,
        policy: ConflictPolicy,
        form: LoadForm = OWN_FORM,
        names: NameMap = SAME_NAMES,
    ) -> None:
        self._names = names
        self._session = session
        self._form = form
        self._job_id = job_id
        self._epoch = epoch
        self._policy = policy
        self._types: dict[TableName, dict[str, ColumnType]] = {}
        self._packet_bytes = 0
        self._is_quiet = False

    async def write(
        self,
        work: Sequence[tuple[Table, Chunk]],
        reader: ChunkReader,
        *,
        snapshot_number: int,
        changed_since: Mapping[TableName, SnapshotFact],
        on_bytes: Callable[[Table, int], Awaitable[None]],
    ) -> list[ChunkDone]:
        session = self._session
        done: list[ChunkDone] = []
        try:
            self._packet_bytes = self._packet_bytes or await read_packet_limit(session)
            for table, _ in work:
                if table.name not in self._types:
                    types = await read_column_types(session, self._names.target_name(table.name))
                    self._types[table.name] = types
                    _require_same_order(table, types)
            await session.execute(BEGIN)
            await require_epoch(session, self._job_id, self._epoch)  # I6
            for table, chunk in work:
                blocks = reader.read(table, chunk, changed_since=changed_since.get(table.name))
                counted = Counted(blocks, table, on_bytes)
                # I4: rows of a 'changed' chunk replace older versions only, see `engine/snapshot.py`.
                is_changed = chunk.kind == "changed"
                await self._choose_notes(says_too_much(table, self._types[table.name]))
                try:
                    rows = await load_rows(
                        session,
                        replace(table, name=self._names.target_name(table.name)),
                        self._types[table.name],
                        counted,
                        packet_bytes=self._packet_bytes,
                        form=self._form,
                        replaces=is_changed,
                    )
                except LoadMisfit as misfit:
                    if self._policy is ConflictPolicy.IGNORE and misfit.left_out is not None:
                        await self._list_left_out(table, misfit.left_out)
                        done.append(ChunkDone(chunk, snapshot_number, misfit.rows, counted.size_bytes))
                        continue
                    number = misfit.warnings[0][2]
                    # A duplicate comes without the number of its row.
                    key = await cast(NamesRows, reader).read_key(table, chunk, row_number=number) if number else ""
                    raise misfit.to_error(table, key) from None
                done.append(ChunkDone(chunk, snapshot_number, rows, counted.size_bytes))
            points.reach(points.COPY_BEFORE_LEDGER)
            await self._write_ledger(done)
            points.reach(points.COPY_BEFORE_COMMIT)
            await session.execute("COMMIT")
            points.reach(points.COPY_AFTER_COMMIT)
        except BaseException:
            session.terminate()
            raise
        return done

    async def _choose_notes(self, is_quiet: bool) -> None:
        """A server that has more to say than it counts could hide something."""
        if is_quiet is not self._is_quiet:
            await self._session.execute(f"SET SESSION sql_notes = {0 if is_quiet else 1}")
            self._is_quiet = is_quiet

    async def _list_left_out(self, table: Table, keys: Sequence[str]) -> None:
        """In the transaction of the chunk, so that each is listed once (I5)."""
        for key in keys:
            reason = f"{table.name}: the target has a row with this key"
            await save_reject(self._session, (self._job_id, table.name, "insert", reason, key))

    async def _write_ledger(self, done: Sequence[ChunkDone]) -> None:
        for entry in done:
            await self._session.execute(
                """INSERT INTO towline.chunk (job_id, schema_name, table_name, kind, number, first_page, end_page,
                                              snapshot_number, row_count, size_bytes)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
                self._job_id,
                entry.chunk.table.schema,
                entry.chunk.table.name,
                entry.chunk.kind,
                entry.chunk.number,
                entry.chunk.first_page,
                entry.chunk.end_page,
                entry.snapshot_number,
                entry.rows,
                entry.size_bytes,
            )

    async def close(self) -> None:
        self._session.terminate()


def _require_same_order(table: Table, types: Mapping[str, ColumnType]) -> None:
    """Raises SourceDdl: the stream would take one column for another, since the binlog may have only their order."""
    names = [column.name for column in table.columns if column.name in types]
    if names != [name for name in types if name in set(names)]:
        raise SourceDdl(f"the columns of {table.name} changed places while the job began", side=Side.SOURCE)

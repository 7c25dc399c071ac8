"""The target's side of the copy: the chunk ledger, and writers that commit rows and ledger together.

Commits of chunks need not be flushed one by one: a lost one takes its ledger row with it.  `mark_copied` is a flushed
commit, and the log is flushed in order, so after it every chunk is durable.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence

import asyncpg

from towline.adapters.postgres import leaving
from towline.adapters.postgres.bookkeeping import require_epoch
from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import place_in_copy, translate, translated, with_column
from towline.adapters.postgres.quoting import qualified, quote_ident
from towline.adapters.postgres.replaced import Replaced, add_replaced, load_replaced
from towline.adapters.postgres.structure_plan import add_reports, add_to_plan
from towline.adapters.postgres.target_tables import read_same_key
from towline.domain.conversion import ReplacedValues
from towline.domain.errors import DataError, LeaseLost, Side, TowlineError
from towline.domain.jobs import Endpoint
from towline.domain.positions import Position
from towline.domain.structure import StructureItem, StructureReport
from towline.domain.tables import SAME_NAMES, NameMap, Table, TableName
from towline.engine import points
from towline.engine.counted import Counted
from towline.engine.ports import (
    Chunk,
    ChunkDone,
    ChunkReader,
    CopyFacts,
    NamesRows,
    ReplacesValues,
    SnapshotFact,
    TableFile,
    TablePlan,
)

_WRITER_SETTINGS = {
    "session_replication_role": "replica",
    "synchronous_commit": "off",
    "row_security": "off",
}
_PIECE_BYTES = 1024 * 1024


class PgCopyTarget:
    """The ledger of one job on one target database. `renews_tables`: see `CopyFacts`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        job_id: str,
        epoch: int,
        names: NameMap = SAME_NAMES,
        renews_tables: bool = False,
    ) -> None:
        self._names = names
        self._renews_tables = renews_tables
        self._endpoint = endpoint
        self._job_id = job_id
        self._epoch = epoch
        self._connection: asyncpg.Connection | None = None

    async def require_lease(self) -> None:
        connection = await self._ledger()
        with translated(Side.TARGET, what="reading the ledger"):
            async with connection.transaction():
                await require_epoch(connection, self._job_id, self._epoch)

    async def load_facts(self) -> CopyFacts:
        connection = await self._ledger()
        with translated(Side.TARGET, what="reading the ledger"):
            job = await connection.fetchrow("SELECT * FROM towline.job WHERE job_id = $1", self._job_id)
            snapshots = await connection.fetch(
                "SELECT * FROM towline.snapshot WHERE job_id = $1 ORDER BY number", self._job_id
            )
            plans = await connection.fetch(
                "SELECT * FROM towline.table_plan WHERE job_id = $1 ORDER BY schema_name, table_name",
                self._job_id,
            )
            chunks = await connection.fetch("SELECT * FROM towline.chunk WHERE job_id = $1", self._job_id)
            edit = await connection.fetchval("SELECT edit FROM towline.job_edit WHERE job_id = $1", self._job_id)
        if job is None:
            raise LeaseLost(f"job {self._job_id} was ended on the target", side=Side.TARGET)
        return CopyFacts(
            snapshots=tuple(SnapshotFact(s["number"], s["position"], s["snapshot_text"]) for s in snapshots),
            plans=tuple(
                TablePlan(
                    TableName(p["schema_name"], p["table_name"]),
                    p["pages"],
                    p["chunk_pages"],
                    p["size_bytes"],
                    p["estimated_rows"],
                    p["storage_id"],
                    tuple(p["bounds"]),
                )
                for p in plans
            ),
            done=tuple(
                ChunkDone(
                    Chunk(
                        TableName(c["schema_name"], c["table_name"]),
                        c["number"],
                        c["first_page"],
                        c["end_page"],
                        c["kind"],
                    ),
                    c["snapshot_number"],
                    c["rows"],
                    c["size_bytes"],
                )
                for c in chunks
            ),
            is_planned=job["planned_at"] is not None,
            is_copied=job["copied_at"] is not None,
            is_complete=job["completed_at"] is not None,
            edit=edit or 0,
            renews_tables=self._renews_tables,
        )

    async def save_snapshot(self, snapshot: SnapshotFact) -> None:
        connection = await self._ledger()
        with translated(Side.TARGET, what="writing the ledger"):
            async with connection.transaction():
                await require_epoch(connection, self._job_id, self._epoch)
                await connection.execute(
                    """INSERT INTO towline.snapshot (job_id, number, epoch, position, snapshot_text)
                       VALUES ($1, $2, $3, $4, $5)""",
                    self._job_id,
                    snapshot.number,
                    self._epoch,
                    snapshot.position,
                    snapshot.snapshot_text,
                )

    async def save_plan(self, plans: Sequence[TablePlan]) -> None:
        connection = await self._ledger()
        with translated(Side.TARGET, what="writing the ledger"):
            async with connection.transaction():
                await require_epoch(connection, self._job_id, self._epoch)
                await self._write_plans(connection, plans)
                await connection.execute("UPDATE towline.job SET planned_at = now() WHERE job_id = $1", self._job_id)

    async def start_over(self, tables: Sequence[TableName], plans: Sequence[TablePlan]) -> None:
        connection = await self._ledger()
        with translated(Side.TARGET, what="emptying tables that start over"):
            async with connection.transaction():
                await require_epoch(connection, self._job_id, self._epoch)
                if tables:
                    listed = ", ".join(f"ONLY {qualified(self._names.target_name(name))}" for name in tables)
                    await connection.execute(f"TRUNCATE {listed}")
                await leaving.forget(connection, self._job_id, tables, ())
                await self._write_plans(connection, plans)
                await connection.execute("UPDATE towline.job SET copied_at = NULL WHERE job_id = $1", self._job_id)

    async def leave(
        self,
        tables: Sequence[TableName],
        items: Sequence[int],
        *,
        edit: int | None,
        describe: Callable[[str], Sequence[StructureReport]],
    ) -> None:
        connection = await self._ledger()
        with translated(Side.TARGET, what="letting tables leave the job"):
            async with connection.transaction():
                # I6: earlier owners have no session any more and this one does not apply now, so the rows stand still.
                await require_epoch(connection, self._job_id, self._epoch)
                reports = list(describe(await leaving.read_standing(connection, self._job_id)))
                reports += await leaving.drop_keys_across(connection, self._job_id, tables, items, self._names)
                await leaving.remember_told(connection, self._job_id, reports)
                await leaving.forget(connection, self._job_id, tables, items)
                await leaving.forget_forms(connection, self._job_id, tables)
                if edit is not None:
                    await self._note_edit(connection, edit)
                points.reach(points.LEAVE_BEFORE_COMMIT)

    async def finish_leaving(self) -> list[StructureReport]:
        connection = await self._ledger()
        with translated(Side.TARGET, what="reading the ledger"):
            return await leaving.load_told(connection, self._job_id)

    async def forget_told(self) -> None:
        connection = await self._ledger()
        with translated(Side.TARGET, what="writing the ledger"):
            async with connection.transaction():
                await require_epoch(connection, self._job_id, self._epoch)
                await connection.execute("DELETE FROM towline.departure WHERE job_id = $1", self._job_id)

    async def join(
        self,
        plans: Sequence[TablePlan],
        items: Sequence[StructureItem],
        *,
        edit: int,
        since: Position,
        reports: Sequence[StructureReport],
    ) -> None:
        # `since` is not needed: the stream of a PostgreSQL source has no DDL.
        connection = await self._ledger()
        with translated(Side.TARGET, what="writing the ledger"):
            async with connection.transaction():
                await require_epoch(connection, self._job_id, self._epoch)
                await self._write_plans(connection, plans)
                await add_to_plan(connection, self._job_id, items)
                await add_reports(connection, self._job_id, reports)
                await self._note_edit(connection, edit)
                await connection.execute(
                    """UPDATE towline.job SET copied_at = CASE WHEN $2 THEN NULL ELSE copied_at END,
                                              completed_at = CASE WHEN $2 OR $3 THEN NULL ELSE completed_at END
                       WHERE job_id = $1""",
                    self._job_id,
                    bool(plans),
                    bool(items),
                )

    async def load_replaced(self) -> list[ReplacedValues]:
        connection = await self._ledger()
        with translated(Side.TARGET, what="reading the ledger"):
            return await load_replaced(connection, self._job_id)

    async def mark_copied(self) -> None:
        await self._mark("copied_at")

    async def mark_complete(self) -> None:
        await self._mark("completed_at")

    async def open_writer(self) -> PgChunkWriter:
        connection = await connect(
            self._endpoint, purpose=f"{self._job_id}:write", settings=_WRITER_SETTINGS, side=Side.TARGET
        )
        return PgChunkWriter(connection, self._job_id, self._epoch, self._names)

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _mark(self, column: str) -> None:
        connection = await self._ledger()
        with translated(Side.TARGET, what="writing the ledger"):
            async with connection.transaction():
                await require_epoch(connection, self._job_id, self._epoch)
                await connection.execute(
                    f"UPDATE towline.job SET {column} = coalesce({column}, now()) WHERE job_id = $1",
                    self._job_id,
                )

    async def load_files(self) -> dict[TableName, TableFile]:
        connection = await self._ledger()
        with translated(Side.TARGET, what="reading the ledger"):
            rows = await connection.fetch(
                "SELECT schema_name, table_name, storage_id, columns_id FROM towline.source_file WHERE job_id = $1",
                self._job_id,
            )
        return {TableName(row[0], row[1]): TableFile(row[2], row[3]) for row in rows}

    async def save_files(self, files: Mapping[TableName, TableFile]) -> None:
        connection = await self._ledger()
        with translated(Side.TARGET, what="writing the ledger"):
            async with connection.transaction():
                await require_epoch(connection, self._job_id, self._epoch)  # I6
                await connection.execute(
                    """INSERT INTO towline.source_file (job_id, schema_name, table_name, storage_id, columns_id)
                       SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
                       ON CONFLICT (job_id, schema_name, table_name)
                       DO UPDATE SET storage_id = excluded.storage_id, columns_id = excluded.columns_id""",
                    self._job_id,
                    [table.schema for table in files],
                    [table.name for table in files],
                    [file.storage_id for file in files.values()],
                    [file.columns_id for file in files.values()],
                )

    async def _note_edit(self, connection: asyncpg.Connection, edit: int) -> None:
        await connection.execute(
            """INSERT INTO towline.job_edit (job_id, edit) VALUES ($1, $2)
               ON CONFLICT (job_id) DO UPDATE SET edit = excluded.edit""",
            self._job_id,
            edit,
        )

    async def _write_plans(self, connection: asyncpg.Connection, plans: Sequence[TablePlan]) -> None:
        await connection.execute(
            """INSERT INTO towline.table_plan (job_id, schema_name, table_name, pages, chunk_pages, size_bytes,
                                               estimated_rows, storage_id, bounds)
               SELECT $1, s, t, p, c, b, r, i, ARRAY(SELECT jsonb_array_elements_text(k))
               FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
                           $7::bigint[], $8::text[], $9::jsonb[]) AS u(s, t, p, c, b, r, i, k)""",
            self._job_id,
            [plan.table.schema for plan in plans],
            [plan.table.name for plan in plans],
            [plan.pages for plan in plans],
            [plan.chunk_pages for plan in plans],
            [plan.size_bytes for plan in plans],
            [plan.estimated_rows for plan in plans],
            [plan.storage_id for plan in plans],
            [json.dumps(plan.bounds) for plan in plans],
        )

    async def _ledger(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._endpoint, purpose=f"{self._job_id}:ledger", side=Side.TARGET)
        return self._connection


class PgChunkWriter:
    """One session; one transaction per call of `write`."""

    def __init__(self, connection: asyncpg.Connection, job_id: str, epoch: int, names: NameMap = SAME_NAMES) -> None:
        self._names = names
        self._connection = connection
        self._job_id = job_id
        self._epoch = epoch

    async def write(
        self,
        work: Sequence[tuple[Table, Chunk]],
        reader: ChunkReader,
        *,
        snapshot_number: int,
        changed_since: Mapping[TableName, SnapshotFact],
        on_bytes: Callable[[Table, int], Awaitable[None]],
    ) -> list[ChunkDone]:
        connection = self._connection
        done: list[ChunkDone] = []
        replaced: Replaced = Counter()
        with translated(Side.TARGET, what=f"writing {work[0][0].name}"):
            async with connection.transaction():
                await require_epoch(connection, self._job_id, self._epoch)  # I6
                for table, chunk in work:
                    stream = reader.read(table, chunk, changed_since=changed_since.get(table.name))
                    counted = Counted(stream, table, on_bytes)
                    try:
                        if chunk.kind == "changed":
                            rows = await self._replace(table, counted)
                        else:
                            there = self._names.target_name(table.name)
                            rows = await self._copy(table, there.name, there.schema, counted)
                    except asyncpg.PostgresError as error:
                        raise await _name_row(error, table, chunk, reader) from error
                    done.append(ChunkDone(chunk, snapshot_number, rows, counted.size_bytes))
                    if isinstance(reader, ReplacesValues):
                        replaced.update({(table.name, name): n for name, n in reader.replaced(table).items()})
                points.reach(points.COPY_BEFORE_LEDGER)
                await self._write_ledger(done)
                await add_replaced(connection, self._job_id, replaced, is_copy=True)
                points.reach(points.COPY_BEFORE_COMMIT)
            points.reach(points.COPY_AFTER_COMMIT)
        return done

    async def _copy(self, table: Table, name: str, schema: str | None, stream: AsyncIterable[bytes]) -> int:
        status = await self._connection.copy_to_table(
            name,
            schema_name=schema,
            source=_cut(stream),
            columns=[column.name for column in table.columns],
            format="binary" if table.is_binary_safe else "text",
        )
        return int(status.split()[-1])

    async def _replace(self, table: Table, stream: AsyncIterable[bytes]) -> int:
        """Upsert by key, for rows that changed after the table's other chunks were read.

        There may be no index yet; one hash join over the table finds the old versions.
        """
        there = self._names.target_name(table.name)
        name = qualified(there)
        columns = ", ".join(quote_ident(column.name) for column in table.columns)
        await self._connection.execute(
            f"CREATE TEMP TABLE towline_changed ON COMMIT DROP AS SELECT {columns} FROM {name} WITH NO DATA"
        )
        rows = await self._copy(table, "towline_changed", "pg_temp", stream)
        same_key = await read_same_key(self._connection, there, table.key)
        await self._connection.execute(f"DELETE FROM ONLY {name} t USING pg_temp.towline_changed c WHERE {same_key}")
        await self._connection.execute(
            f"INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM pg_temp.towline_changed"
        )
        await self._connection.execute("DROP TABLE pg_temp.towline_changed")
        return rows

    async def _write_ledger(self, done: Sequence[ChunkDone]) -> None:
        await self._connection.execute(
            """INSERT INTO towline.chunk (job_id, schema_name, table_name, kind, number, first_page, end_page,
                                          snapshot_number, rows, size_bytes)
               SELECT $1, s, t, k, n, f, e, $2, r, b
               FROM unnest($3::text[], $4::text[], $5::text[], $6::int[], $7::bigint[], $8::bigint[], $9::bigint[],
                           $10::bigint[]) AS u(s, t, k, n, f, e, r, b)""",
            self._job_id,
            done[0].snapshot_number,
            [d.chunk.table.schema for d in done],
            [d.chunk.table.name for d in done],
            [d.chunk.kind for d in done],
            [d.chunk.number for d in done],
            [d.chunk.first_page for d in done],
            [d.chunk.end_page for d in done],
            [d.rows for d in done],
            [d.size_bytes for d in done],
        )

    async def close(self) -> None:
        self._connection.terminate()


async def _cut(stream: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Huge pieces become small ones, so that the socket's buffer stays small."""
    async for piece in stream:
        if len(piece) <= _PIECE_BYTES:
            yield piece
        else:
            view = memoryview(piece)
            for start in range(0, len(view), _PIECE_BYTES):
                yield bytes(view[start : start + _PIECE_BYTES])


async def _name_row(error: asyncpg.PostgresError, table: Table, chunk: Chunk, reader: ChunkReader) -> TowlineError:
    """The error with the column and the key of the row that did not fit, as far as they can be known."""
    place = place_in_copy(error)
    translated_error = translate(error, Side.TARGET, what=f"writing {table.name}")
    if place is None or not isinstance(translated_error, DataError) or not isinstance(reader, NamesRows):
        return translated_error
    line, column = place
    try:
        key = await reader.read_key(table, chunk, row_number=line)
    except TowlineError:
        key = ""  # the row that does not fit is what the operator has to hear of, not why it cannot be named
    return with_column(translated_error, column, schema=table.name.schema, table=table.name.name, key=key)

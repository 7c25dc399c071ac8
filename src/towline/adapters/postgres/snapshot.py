"""The source's side of the copy: snapshots that many sessions share, and chunk readers.

A snapshot is held open by a keeper session (REPEATABLE READ, `pg_export_snapshot`).  With a stream it comes from the
creation of a logical slot, so it holds exactly the transactions committed before the slot's consistent point.
Readers adopt it and keep one transaction each; once adopted they no longer depend on the keeper.

Rows written since an earlier snapshot: a row version whose xmin is older than that snapshot's xmin was visible to it
for certain.  Everything newer counts as changed, which may include rows that were visible; copying those once
more by key is harmless.  (`txid_visible_in_snapshot` would be finer, but is wrong for subtransactions.)
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

import asyncpg

from towline.adapters.postgres import slots
from towline.adapters.postgres.catalog import read_identity, read_tables
from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.quoting import qualified, quote_ident, quote_literal
from towline.domain.errors import Side, SnapshotLost
from towline.domain.jobs import Endpoint
from towline.domain.tables import Column, ObjectSelection, Table, TableName
from towline.engine.points import JOIN_PUBLISHED, SNAPSHOT_BEFORE_SLOT, SNAPSHOT_SLOT_CREATED, reach
from towline.engine.ports import Chunk, SnapshotFact

_FIRST_VERSION_WITH_TID_RANGE_SCAN = 140000
_PIECES_IN_FLIGHT = 4
_LARGE_PIECE_BYTES = 1024 * 1024
_LOCK_TIMEOUT_S = 30
# A scan that begins at the table's first page, so that the n-th row of a chunk can be found again.
_STEADY_SCANS = {"synchronize_seqscans": "off", "max_parallel_workers_per_gather": "0"}

RenderColumn = Callable[[Column], str]
"""What to write in the select list for a column."""


def render_plain(column: Column) -> str:
    return quote_ident(column.name)


class PgCopySource:
    """One source database. `feed` names the slot and the publication that the job owns there.

    `render_column` says how values are read for a target of another family. `edit`: of the selection that it serves.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        job_id: str,
        feed: str,
        server_version: int,
        render_column: RenderColumn = render_plain,
        edit: int = 0,
    ) -> None:
        self._edit = edit
        self._render_column = render_column
        self._endpoint = endpoint
        self._job_id = job_id
        self._feed = feed
        self._server_version = server_version

    @property
    def can_seek_pages(self) -> bool:
        return self._server_version >= _FIRST_VERSION_WITH_TID_RANGE_SCAN

    @property
    def cuts_by_key(self) -> bool:
        return False

    async def read_bounds(self, table: Table, *, parts: int) -> tuple[str, ...]:
        return ()  # cut by pages

    async def read_identity(self) -> str:
        async with self._session("catalog") as connection:
            return await read_identity(connection)

    async def read_tables(self, selection: ObjectSelection) -> list[Table]:
        async with self._session("catalog") as connection:
            return await read_tables(connection, selection)

    async def open_base_snapshot(self, tables: Sequence[Table], *, follow: bool) -> PgSnapshot:
        if not follow:
            return await self._open(None, tables)
        reach(SNAPSHOT_BEFORE_SLOT)
        async with self._session("publication") as connection:
            # The publication comes first: decoding looks it up as of the moment of each change.
            logged = [table for table in tables if table.is_logged]
            filters = {table.name: table.row_filter for table in logged if table.row_filter}
            await slots.ensure_publication(connection, self._feed, [table.name for table in logged], filters=filters)
        # A slot of this name without a remembered snapshot is left over from an attempt of this worker.
        await slots.drop_slot(self._endpoint, self._feed)
        slot = await slots.create_slot(self._endpoint, slot_name=self._feed, temporary=False)
        reach(SNAPSHOT_SLOT_CREATED)
        return await self._open(slot, tables)

    async def drop_feed(self) -> None:
        await slots.drop_slot(self._endpoint, self._feed)
        async with self._session("publication") as connection:
            await slots.drop_publication(connection, self._feed)

    async def narrow_feed(self, tables: Sequence[TableName]) -> bool:
        async with self._session("publication") as connection:
            return await slots.narrow_publication(connection, self._feed, tables, edit=self._edit)

    async def find_unsent(self, tables: Sequence[Table]) -> list[TableName]:
        async with self._session("publication") as connection:
            published = await slots.read_published(connection, self._feed)
        return [table.name for table in tables if table.is_logged and table.name not in published]

    async def open_later_snapshot(self, tables: Sequence[Table], *, follow: bool) -> PgSnapshot:
        if not follow:
            return await self._open(None, tables)
        async with self._session("publication") as connection:
            logged = [table for table in tables if table.is_logged]
            filters = {table.name: table.row_filter for table in logged if table.row_filter}
            names = [table.name for table in logged]
            if await slots.extend_publication(connection, self._feed, names, edit=self._edit, filters=filters):
                reach(JOIN_PUBLISHED)
        # A temporary slot only names the moment; it dies with its connection, which may take its time to end.
        name = f"{self._feed[:52]}_{secrets.token_hex(5)}"
        return await self._open(await slots.create_slot(self._endpoint, slot_name=name, temporary=True), tables)

    async def _open(self, slot: slots.SlotSnapshot | None, tables: Sequence[Table]) -> PgSnapshot:
        try:
            keeper = await connect(self._endpoint, purpose=f"{self._job_id}:keeper", side=Side.SOURCE)
        except BaseException:
            if slot is not None:
                await slot.close()
            raise
        try:
            with translated(Side.SOURCE, what="opening the snapshot"):
                await keeper.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                if slot is not None:
                    await keeper.execute(f"SET TRANSACTION SNAPSHOT {quote_literal(slot.snapshot_name)}")
                name = await keeper.fetchval("SELECT pg_export_snapshot()")
                text = await keeper.fetchval("SELECT txid_current_snapshot()::text")
                await _lock_tables(keeper, tables)
            position = slot.position if slot else None
            return PgSnapshot(self._endpoint, self._job_id, keeper, name, text, position, self._render_column)
        except BaseException:
            keeper.terminate()
            raise
        finally:
            if slot is not None:
                await slot.close()

    def _session(self, purpose: str) -> _Session:
        return _Session(self._endpoint, f"{self._job_id}:{purpose}")


async def _lock_tables(keeper: asyncpg.Connection, tables: Sequence[Table]) -> None:
    """Keep DDL off the tables while the snapshot lives, and make sure that none came before.

    A table that ALTER TABLE rewrites looks empty to every older snapshot; its copy would arrive without rows.

    Raises:
        SnapshotLost: a table was rewritten or dropped since it was read; the next attempt looks again.
        TargetBusy: another session holds a lock on a table.
    """
    if not tables:
        return
    await keeper.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'")
    names = ", ".join(f"ONLY {qualified(table.name)}" for table in tables)
    try:
        await keeper.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE")
    except asyncpg.UndefinedTableError as error:
        raise SnapshotLost("a table was dropped while the snapshot was taken", side=Side.SOURCE) from error
    # The function looks past the snapshot, to the file that the table has now.
    rows = await keeper.fetch(
        "SELECT t::bigint AS id, coalesce(pg_relation_filenode(t), 0)::text AS storage_id FROM unnest($1::oid[]) t",
        [table.source_id for table in tables],
    )
    now = {row["id"]: row["storage_id"] for row in rows}
    rewritten = [str(table.name) for table in tables if now[table.source_id] != table.storage_id]
    if rewritten:
        raise SnapshotLost(f"{rewritten[0]} was rewritten while the snapshot was taken", side=Side.SOURCE)


class _Session:
    """A short-lived connection whose driver errors are translated."""

    def __init__(self, endpoint: Endpoint, purpose: str) -> None:
        self._endpoint = endpoint
        self._purpose = purpose
        self._translation: Any = None

    async def __aenter__(self) -> asyncpg.Connection:
        self._connection = await connect(self._endpoint, purpose=self._purpose, side=Side.SOURCE)
        self._translation = translated(Side.SOURCE, what=self._purpose)
        self._translation.__enter__()
        return self._connection

    async def __aexit__(self, *failure: Any) -> None:
        self._connection.terminate()
        self._translation.__exit__(*failure)


class PgSnapshot:
    def __init__(
        self,
        endpoint: Endpoint,
        job_id: str,
        keeper: asyncpg.Connection,
        name: str,
        text: str,
        position: Lsn | None,
        render_column: RenderColumn = render_plain,
    ) -> None:
        self._render_column = render_column
        self._endpoint = endpoint
        self._job_id = job_id
        self._keeper = keeper
        self._name = name
        self.text = text
        self.position = position

    def shows_same_rows_as(self, text: str) -> bool:
        xmin, xmax, running = text.split(":")
        return text == self.text and xmin == xmax and not running

    async def open_reader(self) -> PgChunkReader:
        settings = None if self._render_column is render_plain else _STEADY_SCANS
        connection = await connect(self._endpoint, purpose=f"{self._job_id}:copy", settings=settings, side=Side.SOURCE)
        try:
            with translated(Side.SOURCE, what="adopting the snapshot"):
                await connection.execute("SET row_security = off")
                await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                try:
                    await connection.execute(f"SET TRANSACTION SNAPSHOT {quote_literal(self._name)}")
                except (asyncpg.InvalidParameterValueError, asyncpg.UndefinedObjectError) as error:
                    raise SnapshotLost(
                        "the source's snapshot is gone: the session that held it ended", side=Side.SOURCE
                    ) from error
        except BaseException:
            connection.terminate()
            raise
        return PgChunkReader(connection, self.text, self._render_column)

    async def close(self) -> None:
        self._keeper.terminate()


class PgChunkReader:
    """Reads chunks inside one transaction on the snapshot."""

    def __init__(
        self, connection: asyncpg.Connection, snapshot_text: str, render_column: RenderColumn = render_plain
    ) -> None:
        self._connection = connection
        self._render_column = render_column
        self._snapshot_text = snapshot_text
        self._copying: asyncio.Future[None] | None = None
        self._pieces: asyncio.Queue[bytes | None] | None = None  # of a copy whose end has not been seen
        self._is_piece_out = False
        self._changed_since: SnapshotFact | None = None

    async def read(self, table: Table, chunk: Chunk, *, changed_since: SnapshotFact | None) -> AsyncIterator[bytes]:
        columns = ", ".join(map(self._render_column, table.columns))
        query = render_chunk_query(
            table, chunk, changed_since=changed_since, snapshot_text=self._snapshot_text, columns=columns
        )
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_PIECES_IN_FLIGHT)
        self._pieces, self._changed_since = pieces, changed_since
        copying = self._copying = asyncio.ensure_future(self._copy(query, table, pieces))
        while (piece := await pieces.get()) is not None:
            self._is_piece_out = True
            yield piece
            pieces.task_done()
            self._is_piece_out = False
        self._pieces = None
        await copying

    async def read_key(self, table: Table, chunk: Chunk, *, row_number: int) -> str:
        """The key of the n-th row (from 1) that the last `read` gave, in words; its number if the table has none."""
        if not table.key:
            return f"row {row_number} of its part"
        await self._finish_reading()
        columns = ", ".join(f"{quote_ident(name)}::text" for name in table.key)
        query = render_chunk_query(
            table, chunk, changed_since=self._changed_since, snapshot_text=self._snapshot_text, columns=columns
        )
        with translated(Side.SOURCE, what=f"looking for a row of {table.name}"):
            row = await self._connection.fetchrow(f"{query} LIMIT 1 OFFSET {row_number - 1}")
        return ", ".join(f"{name}={value}" for name, value in zip(table.key, row or (), strict=False))

    async def _finish_reading(self) -> None:
        """Read a copy that nobody consumes any more to its end, so that the session can be asked something else."""
        pieces, self._pieces = self._pieces, None
        if pieces is None or self._copying is None:
            return
        if self._is_piece_out:
            pieces.task_done()  # whoever had it does not come back for more
            self._is_piece_out = False
        while await pieces.get() is not None:
            pieces.task_done()
        await self._copying

    async def _copy(self, query: str, table: Table, pieces: asyncio.Queue[bytes | None]) -> None:
        form: Literal["binary", "text"] = "binary" if table.is_binary_safe else "text"

        async def put(piece: bytes) -> None:
            await pieces.put(piece)
            if len(piece) > _LARGE_PIECE_BYTES:
                # One huge row: the next one is read when this one has been passed on, not while it waits.
                await pieces.join()

        try:
            with translated(Side.SOURCE, what=f"reading {table.name}"):
                await self._connection.copy_from_query(query, output=put, format=form)
        except asyncio.CancelledError:
            raise
        except BaseException:
            await pieces.put(None)  # the consumer wakes up and meets the failure when it awaits this task
            raise
        await pieces.put(None)

    async def close(self) -> None:
        self._connection.terminate()
        if self._copying is not None:
            self._copying.cancel()
            # Whoever closes a reader early has met a failure of its own already.
            await asyncio.gather(self._copying, return_exceptions=True)


def render_chunk_query(
    table: Table, chunk: Chunk, *, changed_since: SnapshotFact | None, snapshot_text: str, columns: str = ""
) -> str:
    """The SELECT behind a chunk's COPY, of all columns as they are or of `columns`."""
    conditions = [f"({table.row_filter})"] if table.row_filter else []
    if chunk.first_page > 0:
        conditions.append(f"ctid >= '({chunk.first_page},0)'::tid")
    if chunk.end_page is not None:
        conditions.append(f"ctid < '({chunk.end_page},0)'::tid")
    if changed_since is not None:
        changed = _render_written_since(changed_since.snapshot_text, snapshot_text)
        conditions.append(changed if chunk.kind == "changed" else f"NOT {changed}")
    columns = columns or ", ".join(map(render_plain, table.columns))
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {columns} FROM ONLY {qualified(table.name)}{where}"


def _render_written_since(base_text: str, current_text: str) -> str:
    """True for row versions whose xmin is not older than the base snapshot's xmin.

    xmin has 32 bits; the upper ones come from the current snapshot's 64-bit xmax, which no visible row reaches.
    """
    base_xmin = int(base_text.split(":")[0])
    current_xmax = int(current_text.split(":")[1])
    distance = f"(({current_xmax & 0xFFFFFFFF} - xmin::text::bigint + 4294967296) % 4294967296)"
    return f"(xmin::text::bigint > 2 AND {distance} <= {current_xmax - base_xmin})"

"""The source's side of the copy: sessions that see one moment, and chunk readers.

InnoDB cannot hand a snapshot from one session to another.  So all sessions that a copy will need begin theirs while
nothing commits, and the binlog's position is read in the same moment:

1. FLUSH TABLES WITH READ LOCK, for as long as it takes to begin some transactions, where the account may do that.
2. MariaDB without that privilege: a consistent snapshot there knows its own place in the binlog.  Sessions are
   begun until all have the same place, which on a source that is written to all the time may not come about.
3. Else LOCK TABLES ... READ on the job's tables: a transaction holds its tables until its commit is over, so
   afterwards none that touched them is under way.

A reader keeps its transaction and thereby its snapshot.  When it ends, its part of the snapshot is gone; the copy goes
on under a later one (see `engine/snapshot.py`).  A table that was altered in between is refused by the server itself
(error 1412).  Nothing is kept on the source for the stream: the binlog stays for as long as the server keeps it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, cast

from towline.adapters.mysql.catalog import read_column_types, read_identity, read_tables
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.copy_text import CellMisfit, CopyText
from towline.adapters.mysql.gtid import BinlogPosition
from towline.adapters.mysql.key_ranges import read_bounds, render_condition
from towline.adapters.mysql.positions import choose_position, read_position
from towline.adapters.mysql.postgres_wishes import choose_converter, skips_blanks
from towline.adapters.mysql.quoting import qualified, quote_ident, quote_literal
from towline.adapters.mysql.row_reader import RowReader
from towline.adapters.mysql.session import Session, Wire
from towline.adapters.mysql.shapes import READ_COLUMNS, ColumnShape, build_shapes
from towline.adapters.mysql.text_form import select_expression
from towline.adapters.mysql.zero_dates import holds_dates
from towline.domain.conversion import PLAIN, Conversion, ZeroDates
from towline.domain.errors import (
    MissingPrivilege,
    SetupError,
    Side,
    SnapshotLost,
    SourceChanged,
    TargetBusy,
    UnrepresentableValue,
)
from towline.domain.jobs import Endpoint
from towline.domain.tables import ObjectSelection, Table, TableName
from towline.engine.points import SNAPSHOT_BEFORE_SLOT, SNAPSHOT_SLOT_CREATED, reach
from towline.engine.ports import Chunk, Snapshot, SnapshotFact

# While the lock waits for a long statement, every writer of the source waits behind it: rather come again later.
_LOCK_TIMEOUT_S: Final = 5
_LONGEST: Final = """SELECT id, user, time FROM information_schema.processlist
WHERE command IN ('Query', 'Execute') AND id <> CONNECTION_ID() ORDER BY time DESC LIMIT 1"""
_MATCHING_ATTEMPTS: Final = 20
_BEGIN: Final = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
# Values come as they are stored: no character set is applied.
_READER_SETTINGS: Final = {"character_set_results": "NULL", "transaction_isolation": "'REPEATABLE-READ'"}
_READER_SETTINGS_MARIADB: Final = {"character_set_results": "NULL", "tx_isolation": "'REPEATABLE-READ'"}


class MyCopySource:
    """One source server. `readers`: how many sessions a copy reads with.

    With `is_for_postgres` rows come as input of PostgreSQL's COPY, as `conversion` wants it, and with the values of
    generated columns.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        job_id: str,
        readers: int,
        is_mariadb: bool,
        is_for_postgres: bool = False,
        conversion: Conversion = PLAIN,
    ) -> None:
        self._endpoint = endpoint
        self._job_id = job_id
        self._readers = max(1, readers)
        self._settings = _READER_SETTINGS_MARIADB if is_mariadb else _READER_SETTINGS
        self._selection: ObjectSelection | None = None
        self._listed: frozenset[TableName] = frozenset()
        self._is_for_postgres = is_for_postgres
        self._conversion = conversion

    @property
    def can_seek_pages(self) -> bool:
        return False

    @property
    def cuts_by_key(self) -> bool:
        return True

    async def read_bounds(self, table: Table, *, parts: int) -> tuple[str, ...]:
        if parts <= 1:
            return ()
        session = await self._connect("catalog")
        try:
            types = await read_column_types(session, table.name)
            return await read_bounds(session, table, types, parts=parts)
        finally:
            session.terminate()

    async def read_identity(self) -> str:
        session = await self._connect("catalog")
        try:
            return await read_identity(session)
        finally:
            session.terminate()

    async def read_tables(self, selection: ObjectSelection) -> list[Table]:
        self._selection = selection
        session = await self._connect("catalog")
        try:
            tables = await read_tables(session, selection, with_generated=self._is_for_postgres)
        finally:
            session.terminate()
        self._listed = frozenset(table.name for table in tables)
        return tables

    async def open_base_snapshot(self, tables: Sequence[Table], *, follow: bool) -> Snapshot:
        reach(SNAPSHOT_BEFORE_SLOT)
        snapshot = await self._open(tables, follow=follow, is_base=True)
        reach(SNAPSHOT_SLOT_CREATED)
        return snapshot

    async def drop_feed(self) -> None:
        pass  # the source keeps its binlog by its own rules

    async def open_later_snapshot(self, tables: Sequence[Table], *, follow: bool) -> Snapshot:
        return await self._open(tables, follow=follow, is_base=False)

    async def _open(self, tables: Sequence[Table], *, follow: bool, is_base: bool) -> Snapshot:
        readers: list[Session] = []
        try:
            for _ in range(self._readers):
                readers.append(await self._connect("copy", self._settings))
            position = await self._begin_together(readers, tables, follow=follow)
            await self._require_unaltered(tables, is_base=is_base)
        except BaseException:
            for session in readers:
                session.terminate()
            raise
        conversion = self._conversion if self._is_for_postgres else None
        return cast(Snapshot, _MySnapshot(readers, position, conversion=conversion))

    async def _require_unaltered(self, tables: Sequence[Table], *, is_base: bool) -> None:
        """The list of tables is older than the snapshot; what was altered or created between the two is read again.

        From the snapshot on, the stream says so.

        Raises: SnapshotLost, some table has other columns now, or the base snapshot would be without a table.
        """
        if self._selection is None:
            return
        known = self._listed
        present = {table.name: table for table in await self.read_tables(self._selection)}
        for table in tables:
            if table.name not in present or present[table.name].columns != table.columns:
                raise SnapshotLost(f"{table.name} was altered while the snapshot was taken", side=Side.SOURCE)
        fresh = sorted(present.keys() - known)
        if is_base and fresh:
            raise SnapshotLost(f"{fresh[0]} was created while the snapshot was taken", side=Side.SOURCE)

    async def _begin_together(
        self, readers: list[Session], tables: Sequence[Table], *, follow: bool
    ) -> BinlogPosition | None:
        locker = await self._connect("lock", {"lock_wait_timeout": str(_LOCK_TIMEOUT_S)})
        try:
            try:
                await locker.execute("FLUSH TABLES WITH READ LOCK", what="locking the source for its snapshot")
            except TargetBusy as error:
                raise await _name_longest(locker, error) from error
            except MissingPrivilege:
                if locker.flavor.is_mariadb:
                    with suppress(TargetBusy):
                        return await self._begin_matching(readers)
                if tables:
                    names = ", ".join(f"{qualified(table.name)} READ" for table in tables)
                    await locker.execute(f"LOCK TABLES {names}", what="locking the job's tables for their snapshot")
            await asyncio.gather(*(session.execute(_BEGIN, what="opening the snapshot") for session in readers))
            return await self._read_position(locker, follow=follow)
        finally:
            # The lock goes with its session.
            locker.terminate()

    async def _begin_matching(self, readers: list[Session]) -> BinlogPosition:
        """MariaDB: begin until all snapshots are of one place in the binlog.

        Raises:
            TargetBusy: commits came in between every time, or there is no binlog to tell.
        """
        for _ in range(_MATCHING_ATTEMPTS):
            for session in readers:
                await session.execute("ROLLBACK")
            await asyncio.gather(*(session.execute(_BEGIN, what="opening the snapshot") for session in readers))
            places = {await _read_snapshot_place(session) for session in readers}
            file, offset = places.pop()
            if not file:
                break  # without a binlog nothing tells whether they are of one moment
            if not places:
                return await choose_position(readers[0], file, offset, "")
        raise TargetBusy("the source commits too often for snapshots without a lock", side=Side.SOURCE)

    async def _read_position(self, session: Session, *, follow: bool) -> BinlogPosition | None:
        try:
            position = await read_position(session)
        except MissingPrivilege:
            if follow:
                raise
            return None
        if position is None and follow:
            raise SetupError(
                "the source writes no binlog, so its changes cannot be followed",
                side=Side.SOURCE,
                remedy="Set log_bin on the source and restart it, then retry the job.",
            )
        return position

    async def _connect(self, purpose: str, settings: dict[str, str] | None = None) -> Session:
        return await connect(self._endpoint, purpose=f"{self._job_id}:{purpose}", settings=settings, side=Side.SOURCE)


async def _name_longest(session: Session, error: TargetBusy) -> TargetBusy:
    """The error with the session whose statement has run for longest, which is the one that it waited for."""
    longest = await session.query_one(_LONGEST)
    if longest is None:  # the account may not see the sessions of others
        return error
    return TargetBusy(
        f"the source cannot be locked for its snapshot: session {longest[0]} of user {_text(longest[1])} has run a"
        f" statement for {longest[2]} s",
        side=Side.SOURCE,
        remedy="The job tries again. Wait until the statement has ended, or end it.",
    )


async def _read_snapshot_place(session: Session) -> tuple[str, int]:
    rows = await session.query("SHOW STATUS LIKE 'binlog\\_snapshot\\_%'")
    status = {_text(name).lower(): _text(value) for name, value in rows}
    return status.get("binlog_snapshot_file", ""), int(status.get("binlog_snapshot_position", "0") or 0)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


class _MySnapshot:
    def __init__(
        self, readers: list[Session], position: BinlogPosition | None, *, conversion: Conversion | None
    ) -> None:
        self._free = readers
        self._conversion = conversion
        self.position = position

    @property
    def text(self) -> str:
        return "" if self.position is None else str(self.position)

    def shows_same_rows_as(self, text: str) -> bool:
        # Whoever writes past the binlog on purpose is not seen here; nor would a stream see it.
        return bool(text) and text == self.text

    async def open_reader(self) -> MyChunkReader:
        if not self._free:
            raise SnapshotLost("all sessions of the source's snapshot have ended", side=Side.SOURCE)
        return MyChunkReader(self._free.pop(), conversion=self._conversion)

    async def close(self) -> None:
        for session in self._free:
            session.terminate()
        self._free = []


class MyChunkReader:
    """Reads chunks inside one transaction on the snapshot, as input of LOAD DATA or of PostgreSQL's COPY.

    With a `conversion` it is the latter.
    """

    def __init__(self, session: Session, *, conversion: Conversion | None = None) -> None:
        self._session = session
        self._conversion = conversion
        self._forms: dict[TableName, CopyText] = {}
        self._rows: RowReader | None = None
        self._pending: asyncio.Future[bytes | memoryview | CellMisfit] | None = None

    async def read(self, table: Table, chunk: Chunk, *, changed_since: SnapshotFact | None) -> AsyncIterator[bytes]:
        query = render_chunk_query(table, chunk)
        form = None if self._conversion is None else await self._form(table, self._conversion)
        if form is not None:
            form.replaced.clear()
        self._rows = rows = RowReader(len(table.columns), form)
        what = f"reading {table.name}"
        await self._session.run(lambda wire: rows.begin(wire, query.encode()), what=what)

        def next_block(wire: Wire) -> bytes | memoryview | CellMisfit:
            try:
                return rows.next_block(wire)
            except CellMisfit as misfit:
                return misfit  # it says nothing against the session

        try:
            # The next block is read while this one is written.
            self._pending = asyncio.ensure_future(self._session.run(next_block, what=what))
            while block := await self._pending:
                if isinstance(block, CellMisfit):
                    raise await self._describe(table, chunk, rows.rows_before + block.row + 1, block)
                self._pending = asyncio.ensure_future(self._session.run(next_block, what=what))
                yield cast(bytes, block)
        finally:
            if self._pending is not None and not self._pending.done():
                self._pending.cancel()

    def replaced(self, table: Table) -> Mapping[str, int]:
        form = self._forms.get(table.name)
        counts = {} if form is None else form.replaced
        return {table.columns[number].name: count for number, count in counts.items() if count}

    async def _form(self, table: Table, conversion: Conversion) -> CopyText:
        form = self._forms.get(table.name)
        if form is None:
            name = f"({quote_literal(table.name.schema)}, {quote_literal(table.name.name)})"
            rows = await self._session.query(READ_COLUMNS.format(tables=name))
            found = build_shapes(rows, is_for_postgres=True, conversion=conversion)
            shapes = {shape.name: shape for shape in found[table.name].columns} if found else {}
            if not {column.name for column in table.columns} <= shapes.keys():
                raise SourceChanged(f"the columns of table {table.name} were changed on the source", side=Side.SOURCE)
            chosen = [shapes[column.name] for column in table.columns]
            form = CopyText(
                [choose_converter(shape) for shape in chosen],
                skips_blanks=skips_blanks(chosen[0]),
                null_dates=_choose_null_dates(chosen, conversion),
            )
            self._forms[table.name] = form
        return form

    async def _describe(self, table: Table, chunk: Chunk, row_number: int, misfit: CellMisfit) -> UnrepresentableValue:
        column = table.columns[misfit.column].name
        key = await self.read_key(table, chunk, row_number=row_number)
        return UnrepresentableValue(
            f"{table.name}: column '{column}' holds {misfit.reason}, which PostgreSQL does not have",
            side=Side.SOURCE,
            schema=table.name.schema,
            table=table.name.name,
            column=column,
            key=key,
        )

    async def _finish_reading(self) -> None:
        """Read the answer at hand to its end, so that the session can be asked something else."""
        rows = self._rows
        if rows is None:
            return
        if self._pending is not None and not self._pending.done():
            await self._pending
        self._rows = self._pending = None
        await self._session.run(rows.skip_rest, what="reading to the end of a part")

    async def read_key(self, table: Table, chunk: Chunk, *, row_number: int) -> str:
        """The key of the chunk's n-th row (from 1), in words; "" if the table has none. For messages only."""
        if not table.key:
            return f"row {row_number} of its part"
        columns = ", ".join(f"QUOTE({quote_ident(name)})" for name in table.key)
        query = render_chunk_query(table, chunk, columns=columns)
        await self._finish_reading()
        row = await self._session.query_one(f"{query} LIMIT 1 OFFSET {row_number - 1}")
        values = [_text(value) for value in row or ()]
        return ", ".join(f"{name}={value}" for name, value in zip(table.key, values, strict=False))

    async def close(self) -> None:
        self._session.terminate()


def _choose_null_dates(columns: Sequence[ColumnShape], conversion: Conversion) -> list[int]:
    """The numbers of the columns in which zero dates become NULL."""
    if conversion.zero_dates is not ZeroDates.NULL:
        return []
    return [number for number, shape in enumerate(columns) if shape.is_nullable and holds_dates(shape)]


def render_chunk_query(table: Table, chunk: Chunk, *, columns: str = "") -> str:
    """The SELECT behind a chunk. In the order of the key, which is the cheapest one to write on the target, too."""
    columns = columns or ", ".join(
        select_expression(quote_ident(column.name), column.type_sql) for column in table.columns
    )
    condition = render_condition(table, chunk.after, chunk.upto)
    where = f" WHERE {condition}" if condition else ""
    order = f" ORDER BY {', '.join(map(quote_ident, table.key))}" if table.key else ""
    return f"SELECT {columns} FROM {qualified(table.name)}{where}{order}"

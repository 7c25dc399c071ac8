"""The live feed of a source: its binlog, as a replica gets it.

Theory of operation: one session asks for the binlog and is then only read from.  `run` has the session's thread read a
block from the socket, cuts it into events, and lets the decoder hand them to the sink, on the event loop; then the
next block.  It does not read while the sink is full, so the server waits, and memory holds one block and one event.
The server sends a heartbeat every second in which it has nothing else to send; when even those fail to come for some
time, the connection counts as lost.  Nothing is ever said to the server: it does not keep its binlog for us, so there
is nothing to confirm, and whoever reconnects says himself where to begin.

The catalog is asked on a session of its own: at the begin for all tables, later when the decoder meets a form that
it does not know.  Where DDL is carried, the target's catalog is asked instead (see `forms`), and a statement that
changes tables is a barrier: nothing behind it is decoded before `confirm` has said that the target ran it.  Where the
target keeps the source's forms itself, the decoder knows from the statement what becomes of them, and nothing waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import pymysql
from pymysql.err import raise_mysql_exception

from towline.adapters.mysql.binlog_decoder import BinlogDecoder, Stop, StreamSelection
from towline.adapters.mysql.cascades import require_logged_cascades
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.errors import ACCESS_DENIED, number_of, translate
from towline.adapters.mysql.forms import CopiedColumns, FormKeeper, TableForm, TargetForms, require_same_columns
from towline.adapters.mysql.gtid import BinlogPosition, GtidSet, MariadbGtids
from towline.adapters.mysql.joining import Joining
from towline.adapters.mysql.positions import require_whole_binlog
from towline.adapters.mysql.quoting import quote_literal
from towline.adapters.mysql.replication import (
    COM_REGISTER_SLAVE,
    EventSplitter,
    choose_server_id,
    encode_dump,
    encode_registration,
    render_settings,
)
from towline.adapters.mysql.session import Session, Wire
from towline.adapters.mysql.shapes import READ_COLUMNS, TableShape, build_shapes
from towline.domain.errors import (
    ConnectionLost,
    MissingPrivilege,
    PositionLost,
    SetupError,
    Side,
    SourceBehind,
    TowlineError,
    TransientError,
)
from towline.domain.jobs import Endpoint
from towline.domain.positions import Position
from towline.domain.tables import ObjectSelection, Table, TableName
from towline.engine.ports import TransactionSink

HEARTBEAT_S: Final = 1.0
# Many heartbeats; a busy server may be late, and a new connection costs little.
SILENCE_LIMIT_S: Final = 45.0
_BLOCK_BYTES: Final = 256 * 1024
_TABLES_PER_QUERY: Final = 500
_LOST_REMEDY: Final = (
    "End the job and start a new full copy; raise binlog_expire_logs_seconds (MariaDB: expire_logs_days) on the source"
    " before."
)
_BINLOG_ERROR: Final = 1236  # a collective number: what it is about is only in the text
_MARIADB_POSITION_ERRORS: Final = frozenset({1945, 1948, 1950, 1951})


class BinlogReader:
    """Implements `engine.ports.ChangeStream`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        job_id: str,
        tables: Sequence[Table],
        objects: ObjectSelection,
        part_bytes: int,
        carries_ddl: bool = False,
        forms: TargetForms | None = None,
        copied: CopiedColumns | None = None,
        keeper: FormKeeper | None = None,
        read_joining: Callable[[], Awaitable[Joining]] | None = None,
        silence_limit_s: float = SILENCE_LIMIT_S,
    ) -> None:
        """With `carries_ddl`, see `BinlogDecoder`, rows are decoded by `forms`, which is what the target's tables have.

        With `copied` the source's columns must at the begin be those that the target has.
        With `keeper` the target is PostgreSQL: values come as that reads them, of all columns, decoded by the forms
        that are kept there.  `read_joining` tells what joins the job, when the stream begins.
        """
        self._read_joining = read_joining
        self._endpoint = endpoint
        self._job_id = job_id
        self._selection = StreamSelection({table.name: table.key for table in tables}, objects)
        self._part_bytes = part_bytes
        self._carries_ddl = carries_ddl
        self._forms = forms
        self._copied = copied
        self._confirmed: BinlogPosition | None = None
        self._confirmation = asyncio.Event()
        self._keeper = keeper
        self._silence_limit_s = silence_limit_s
        self._session: Session | None = None

    async def open(self, start: BinlogPosition, sink: TransactionSink) -> None:
        """Begin after `start`; see the port.

        Raises:
            PositionLost: the source has purged what comes after `start`.
            SourceBehind: this server lacks what lies before `start`.
            SetupError: this server's binlog does not hold all changes of the job's tables.
            MissingPrivilege, TransientError.
        """
        kept = None if self._keeper is None else await self._keeper.read()
        shapes = {} if kept is not None else await self._read_known_forms()
        joining = None if self._read_joining is None else await self._read_joining()
        self._start = start
        self._sink = sink
        self._splitter = EventSplitter()
        self._session = session = await self._connect("stream")
        await _require_position(session, start)
        # Asked whenever the stream begins: this may be another server than the one that was checked.
        await require_whole_binlog(session)
        tables = self._selection.keys if kept is None else kept.tables
        cascades_are_logged = await require_logged_cascades(session, tables.keys())
        row = await session.query_one(
            "SELECT @@global.binlog_checksum, @@lower_case_table_names, @@system_time_zone",
            what="reading the kind of checksum",
        )
        assert row is not None
        await session.execute(
            render_settings(start, job_id=self._job_id, heartbeat_s=HEARTBEAT_S), what="registering as a replica"
        )
        self._decoder = BinlogDecoder(
            sink,
            self._selection,
            shapes,
            start=start,
            part_bytes=self._part_bytes,
            has_checksums=str(row[0]).upper() not in ("NONE", "0"),
            carries_ddl=self._carries_ddl,
            kept=kept,
            joining=joining if joining is not None and joining.is_of_use else None,
            ignores_case=bool(int(row[1])),
            is_in_utc=str(row[2]).upper() in ("UTC", "GMT"),
            cascades_are_logged=cascades_are_logged,
        )
        await self._begin(session, start)

    async def run(self) -> None:
        """Hand changes to the sink until cancelled or the connection fails."""
        assert self._session is not None
        events = self._first_events
        while True:
            self._decoder.put(events)
            await self._advance()
            events = await self._read_events(self._session)

    def confirm(self, position: Position) -> None:
        """The server keeps its binlog by its own rules; only a barrier waits for this."""
        assert isinstance(position, BinlogPosition)
        self._confirmed = position
        self._confirmation.set()

    def ask_position(self) -> None:
        """A heartbeat says so within a second anyway."""

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.terminate()

    # --- how --------------------------------------------------------------------------------------

    async def _connect(self, what: str) -> Session:
        return await connect(self._endpoint, purpose=f"{self._job_id}:{what}", side=Side.SOURCE)

    async def _begin(self, session: Session, start: BinlogPosition) -> None:
        server_id = choose_server_id(self._job_id)
        try:
            command, payload = encode_dump(start, server_id)
        except ValueError as error:
            raise PositionLost(
                f"the source cannot be asked for its binlog after {start}: {error}", side=Side.SOURCE
            ) from error

        def begin(wire: Wire) -> None:
            wire.send_command(COM_REGISTER_SLAVE, encode_registration(server_id))
            wire.read_packet()
            wire.send_command(command, payload)

        try:
            async with asyncio.timeout(self._silence_limit_s):
                await session.run(begin, what="asking for the binlog")
                # What the server objects to, it says in the place of the first event.
                self._first_events = await self._read_events(session)
        except TimeoutError as error:
            raise ConnectionLost("the source did not begin to send its binlog", side=Side.SOURCE) from error
        except TowlineError as error:
            if number_of(error) == ACCESS_DENIED:
                raise MissingPrivilege(
                    f"the source's account may not read the binlog: {error.message}",
                    side=Side.SOURCE,
                    remedy="Grant REPLICATION SLAVE ON *.* to the account, then retry the job.",
                ) from error
            raise _as_lost(error, start) from error

    async def _advance(self) -> None:
        """Until all events are taken."""
        while (stop := self._decoder.advance()) is not Stop.DONE:
            if stop is Stop.FULL:
                await self._sink.wait_room()
                continue
            if stop is Stop.TURN:
                await asyncio.sleep(0)
                continue
            if stop is Stop.DDL:
                await self._pass_barrier()
                continue
            table = self._decoder.wanted_shape
            assert table is not None
            if self._keeper is not None:
                self._decoder.refuse_shape()
            elif self._forms is not None:
                form = (await self._forms.read([table])).get(table, TableForm(None))
                self._decoder.set_shape(table, form.shape, form.key)
            else:
                shapes = await self._read_shapes([table])
                self._decoder.set_shape(table, shapes.get(table))

    async def _pass_barrier(self) -> None:
        """Wait until the target has run the statement, then go on with the form that its tables have now."""
        if self._forms is None:
            self._decoder.set_forms(None)
            return
        position = self._decoder.position
        # What lies before the start is only repeated, and never applied.
        while not self._start.covers(position) and not (self._confirmed and self._confirmed.covers(position)):
            self._confirmation.clear()
            await self._confirmation.wait()
        self._decoder.set_forms(await self._forms.read(self._decoder.altered))

    async def _read_known_forms(self) -> dict[TableName, TableShape]:
        """The columns of the job's tables at the begin; where DDL is carried, this is also which tables they are.

        Raises: SourceDdl, the source's columns are not those that were copied.
        """
        if self._forms is not None:
            forms = await self._forms.read()
            keys = {table: form.key for table, form in forms.items()}
            self._selection = StreamSelection(keys, self._selection.objects)
            return {table: form.shape for table, form in forms.items() if form.shape is not None}
        shapes = await self._read_shapes(self._selection.keys)
        if self._copied is not None:
            require_same_columns(await self._copied.read_names(shapes), shapes)
        return shapes

    async def _read_events(self, session: Session) -> list[bytes]:
        """What has arrived, at least one event."""
        while True:
            wanted = self._splitter.missing_bytes
            if wanted <= 0:
                _, ending = self._splitter.split(b"")
                assert ending is not None
                raise _ending_error(ending)

            def read(wire: Wire, wanted: int = wanted) -> bytes:
                return _receive(wire, wanted)

            try:
                async with asyncio.timeout(self._silence_limit_s):
                    data = await session.run(read, what="reading the binlog")
            except TimeoutError as error:
                raise ConnectionLost(
                    f"the source was silent for {self._silence_limit_s:.0f} s", side=Side.SOURCE
                ) from error
            events, ending = self._splitter.split(data)
            if events:
                # An ending behind them is found again by the next look.
                return events
            if ending is not None:
                raise _ending_error(ending)

    async def _read_shapes(self, tables: Iterable[TableName]) -> dict[TableName, TableShape]:
        names = list(tables)
        session = await self._connect("catalog")
        shapes: dict[TableName, TableShape] = {}
        try:
            for first in range(0, len(names), _TABLES_PER_QUERY):
                part = names[first : first + _TABLES_PER_QUERY]
                wanted = ", ".join(f"({quote_literal(name.schema)}, {quote_literal(name.name)})" for name in part)
                rows = await session.query(READ_COLUMNS.format(tables=wanted), what="reading the columns of the tables")
                shapes |= build_shapes(rows)
        finally:
            session.terminate()
        return shapes


def _receive(wire: Wire, wanted: int) -> bytes:
    """At least that many bytes, in the session's thread."""
    buffer = bytearray(max(wanted, _BLOCK_BYTES))
    view = memoryview(buffer)
    size = 0
    while size < wanted:
        size += wire.receive_into(view[size:])
    return bytes(view[:size])


def _ending_error(packet: bytes) -> TowlineError:
    if packet[0] != 0xFF:
        return ConnectionLost("the source ended the stream", side=Side.SOURCE)
    try:
        raise_mysql_exception(packet)
    except pymysql.Error as error:
        return _as_lost(translate(error, Side.SOURCE, what="reading the binlog"), None)


def _as_lost(error: TowlineError, start: BinlogPosition | None) -> TowlineError:
    """Give the collective error of the binlog its meaning."""
    number = number_of(error)
    if number in _MARIADB_POSITION_ERRORS:
        return PositionLost(f"the source cannot go on: {error.message}", side=Side.SOURCE, remedy=_LOST_REMEDY)
    if number != _BINLOG_ERROR or isinstance(error, PositionLost):
        return error
    text = error.message.lower()
    if "same server_uuid" in text or "same server_id" in text:
        return TransientError(f"another client took the job's place at the source: {error.message}", side=Side.SOURCE)
    if "max_allowed_packet" in text:
        return SetupError(
            error.message, side=Side.SOURCE, remedy="Raise max_allowed_packet on the source, then retry the job."
        )
    where = f" after {start}" if start is not None else ""
    return PositionLost(
        f"the source can no longer send its binlog{where}: {error.message}", side=Side.SOURCE, remedy=_LOST_REMEDY
    )


async def _require_position(session: Session, start: BinlogPosition) -> None:
    """Find out at once, and in words of our own, whether the server can go on from there."""
    resume = start.resume
    if isinstance(resume, GtidSet):
        row = await session.query_one(
            "SELECT @@global.gtid_mode, @@global.gtid_executed, @@global.gtid_purged", what="reading the GTIDs"
        )
        assert row is not None
        mode, executed, purged = row
        if str(mode).upper() != "ON":
            raise SetupError(
                f"the source has gtid_mode = {mode}, but the job follows it by GTID",
                side=Side.SOURCE,
                remedy="Set gtid_mode = ON on the source, then retry the job.",
            )
        missing = GtidSet.parse(purged).without(resume)
        if missing:
            raise PositionLost(
                f"the source has purged transactions that the job still needs: {missing}",
                side=Side.SOURCE,
                remedy=_LOST_REMEDY,
            )
        _require_ahead(GtidSet.parse(executed), start)
    elif isinstance(resume, MariadbGtids):
        row = await session.query_one(
            "SELECT @@global.gtid_binlog_pos, @@global.gtid_binlog_state", what="reading the GTIDs"
        )
        assert row is not None
        reached = start.reached
        if isinstance(reached, MariadbGtids) and reached.is_within(str(row[1])):
            return  # also where another writer's numbers are lower: the decoder says so
        _require_ahead(MariadbGtids.parse(str(row[0])), start)


def _require_ahead(position: BinlogPosition, start: BinlogPosition) -> None:
    if not position.covers(start):
        raise SourceBehind(
            f"the server at the source's address has come to {position}, the job to {start}", side=Side.SOURCE
        )

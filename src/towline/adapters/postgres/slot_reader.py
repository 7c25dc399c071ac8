"""The live feed of one logical replication slot.

Theory of operation: one connection, read without blocking on the event loop.  `run` takes all messages that
have arrived, lets the decoder hand them to the sink, and sleeps until there are more; it stops reading while the
sink is full.  A second task answers the server on the same connection, whatever the first one does, so that a
stalled target never looks like a dead client.  Both run on one event loop; neither is interrupted inside a
message.

Protocol: PostgreSQL manual, "Streaming Replication Protocol", START_REPLICATION SLOT ... LOGICAL.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

import psycopg
from psycopg import pq

from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import sqlstate_of, translate, translated
from towline.adapters.postgres.large_rows import LARGE_FRAME_BYTES, take_rows_through
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.pgoutput_decoder import POSTGRES_EPOCH_US, PgoutputDecoder
from towline.adapters.postgres.quoting import quote_ident, quote_literal
from towline.adapters.postgres.slots import (
    Replication,
    SlotSnapshot,
    connect_replication,
    create_slot,
    drop_publication,
    drop_slot,
    ensure_publication,
    release_slot,
)
from towline.domain.errors import ConnectionLost, PositionLost, Side, SourceChanged, TowlineError
from towline.domain.jobs import Endpoint
from towline.domain.tables import Table, TableName
from towline.engine.ports import TransactionSink
from towline.engine.tasks import end_tasks

__all__ = [
    "PgSlotReader",
    "SlotSnapshot",
    "StreamOptions",
    "create_slot",
    "drop_publication",
    "drop_slot",
    "ensure_publication",
]

FIRST_VERSION_WITH_STREAMING: Final = 140000
STATUS_INTERVAL_S: Final = 10.0
CONFIRM_INTERVAL_S: Final = 1.0
# Longer than the server needs to answer a status that asks for an answer, several times over.
SILENCE_LIMIT_S: Final = 45.0
_TICK_S: Final = 0.5
_ROUND_BYTES: Final = 192 * 1024
_TLS_POLL_S: Final = 0.05
_NAP_S: Final = 0.015
_BUSY_MESSAGES: Final = 400

_XLOG_DATA, _KEEPALIVE = b"wk"
_KEEPALIVE_BODY = Struct(">QqB")  # end of what was sent, time, reply wanted
_STATUS = Struct(">BQQQqB")  # kind, written, flushed, applied, time, reply wanted
# No such file: the segment was removed. Not in prerequisite state: the slot was invalidated. No such slot.
_LOST_STATES = frozenset({"58P01", "55000", "42704"})


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What to read, and in which form. `is_binary` only where every table is binary-safe."""

    slot: str
    publication: str
    server_version: int
    is_binary: bool
    part_bytes: int
    large_rows_dir: Path

    def render(self, start: Lsn) -> str:
        """The START_REPLICATION command."""
        options = {"proto_version": "1", "publication_names": quote_ident(self.publication)}
        if self.server_version >= FIRST_VERSION_WITH_STREAMING:
            options |= {"proto_version": "2", "streaming": "on"}
            if self.is_binary:
                options["binary"] = "true"
        listed = ", ".join(f"{name} {quote_literal(value)}" for name, value in options.items())
        return f"START_REPLICATION SLOT {quote_ident(self.slot)} LOGICAL {start} ({listed})"


class PgSlotReader:
    """Implements `engine.ports.ChangeStream`."""

    def __init__(self, endpoint: Endpoint, *, job_id: str, options: StreamOptions, tables: Sequence[Table]) -> None:
        self._endpoint = endpoint
        self._purpose = f"{job_id}:stream"
        self._options = options
        self._keys = {table.name: table.key for table in tables}
        self._unsent_keys = {table.name for table in tables if table.has_unsent_key}
        self._connection: Replication | None = None
        self._confirmed = Lsn(0)
        self._told = Lsn(0)
        self._told_s = 0.0
        self._heard_s = 0.0
        self._is_reading = True
        self._is_position_wanted = False

    async def open(self, start: Lsn, sink: TransactionSink) -> None:
        self._sink = sink
        self._decoder = PgoutputDecoder(sink, part_bytes=self._options.part_bytes, choose_key=self._choose_key)
        self._take_large_rows = take_rows_through(self._options.large_rows_dir)
        await self._free_slot(start)
        self._connection = await connect_replication(self._endpoint, purpose=self._purpose)
        self._pgconn = self._connection.pgconn
        self._confirmed = self._told = start
        self._heard_s = time.monotonic()
        with translated(Side.SOURCE, what=f"reading the slot {self._options.slot}"):
            self._pgconn.send_query(self._options.render(start).encode())
            await self._flush()
            while self._pgconn.is_busy():
                await self._wait_readable()
                self._pgconn.consume_input()
            result = self._pgconn.get_result()
            if result is None or result.status != pq.ExecStatus.COPY_BOTH:
                raise self._failure(result)
        self._tell()

    async def run(self) -> None:
        status, reading = asyncio.create_task(self._keep_telling()), asyncio.create_task(self._read())
        try:
            done, _ = await asyncio.wait({status, reading}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end_tasks(reading, status)

    def confirm(self, position: Lsn) -> None:
        # I1: the caller only names positions that are durable on the target.
        self._confirmed = max(self._confirmed, position)

    def ask_position(self) -> None:
        self._is_position_wanted = True
        with suppress(psycopg.Error):
            self._tell()

    async def close(self) -> None:
        if self._connection is None:
            return
        with suppress(psycopg.Error):
            self._tell()
        connection, self._connection = self._connection, None
        await connection.close()

    # --- reading ----------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Take messages whenever the socket has some and the sink has room."""
        try:
            with translated(Side.SOURCE, what=f"reading the slot {self._options.slot}"):
                while True:
                    await _Readings(self._pgconn, self._take_round).until_last()
                    self._is_reading = False
                    await self._sink.wait_room()
                    self._is_reading = True
                    self._heard_s = time.monotonic()
        except TowlineError as error:
            raise _as_lost(error, self._options.slot) from error

    def _take_round(self) -> _Round:
        """Hand on what has arrived, up to some size: other work on the loop must not wait for long."""
        if self._sink.is_full:
            # Since the round before the applier took something large in: no more beside it.
            return _Round(0, is_more=False, is_last=True)
        get = self._pgconn.get_copy_data
        consume = self._pgconn.consume_input
        frames: list[bytes] = []
        count = taken = size = 0
        consume()
        while size < _ROUND_BYTES:
            length, data = get(1)
            if length > 0:
                count += 1
                size += length
                if length > LARGE_FRAME_BYTES and data[0] == _XLOG_DATA:
                    self._decoder.feed(frames)
                    frames = []
                    self._decoder.feed_large(data, self._take_large_rows)
                    break
                frame = bytes(data)
                if frame[0] == _XLOG_DATA:
                    frames.append(frame)
                elif frame[0] == _KEEPALIVE:
                    self._decoder.feed(frames)
                    frames = []
                    self._take_keepalive(frame)
            elif length < 0:
                raise self._failure(self._pgconn.get_result())
            elif count == taken:
                break
            else:
                # libpq reads a buffer at a time: what is left in the socket would hold the sender up.
                taken = count
                consume()
        if count:
            self._decoder.feed(frames)
            self._heard_s = time.monotonic()
        return _Round(count, is_more=size >= _ROUND_BYTES, is_last=self._sink.is_full)

    def _take_keepalive(self, frame: bytes) -> None:
        sent, _, is_reply_wanted = _KEEPALIVE_BODY.unpack_from(frame, 1)
        # The sender has decoded the log up to here, so every commit before it has been sent.
        self._sink.marker(Lsn(sent))
        if is_reply_wanted:
            self._tell()

    def _failure(self, result: pq.abc.PGresult | None) -> Exception:
        if result is None or result.status == pq.ExecStatus.COMMAND_OK:
            return ConnectionLost("the source ended the stream", side=Side.SOURCE)
        error = psycopg.errors.error_from_result(result, encoding="utf-8")
        failure = translate(error, Side.SOURCE, what=f"reading the slot {self._options.slot}")
        return _as_lost(failure, self._options.slot)

    def _choose_key(
        self, table: TableName, columns: Sequence[str], marked: Sequence[int], identity: str
    ) -> tuple[int, ...]:
        if identity != "f" and table in self._unsent_keys:
            # What is marked is only a part of the key, and several rows may have it.
            raise SourceChanged(
                f"the key of {table} has a generated column, which the source leaves out of its log",
                side=Side.SOURCE,
                remedy="Set REPLICA IDENTITY FULL for the table, or USING INDEX with a unique index of other columns"
                " that are not null; then end the job and start a new one.",
                table=str(table),
            )
        if identity != "f":
            return tuple(marked)
        # FULL marks every column; a primary key still identifies the row.
        key = self._keys.get(table, ())
        return tuple(columns.index(name) for name in key) if set(key) <= set(columns) else ()

    # --- answering --------------------------------------------------------------------------------

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = time.monotonic()
            silence_s = now_s - self._heard_s
            if self._is_reading and silence_s > SILENCE_LIMIT_S:
                raise ConnectionLost(f"the source was silent for {silence_s:.0f} s", side=Side.SOURCE)
            is_news = self._confirmed != self._told and now_s - self._told_s >= CONFIRM_INTERVAL_S
            if is_news or now_s - self._told_s >= STATUS_INTERVAL_S:
                self._is_position_wanted = self._is_reading and silence_s >= STATUS_INTERVAL_S
                with translated(Side.SOURCE, what="confirming a position"):
                    self._tell()

    def _tell(self) -> None:
        """Say what is durable on the target; asks for a keepalive in return when the position is wanted."""
        now_us = time.time_ns() // 1000 - POSTGRES_EPOCH_US
        position = self._confirmed
        wants_reply, self._is_position_wanted = self._is_position_wanted, False
        self._pgconn.put_copy_data(_STATUS.pack(ord("r"), position, position, position, now_us, wants_reply))
        self._pgconn.flush()
        self._told, self._told_s = position, time.monotonic()

    # --- odds and ends ----------------------------------------------------------------------------

    async def _free_slot(self, start: Lsn) -> None:
        connection = await connect(self._endpoint, purpose=f"{self._purpose}-check", side=Side.SOURCE)
        try:
            with translated(Side.SOURCE, what=f"looking at the slot {self._options.slot}"):
                await release_slot(connection, self._options.slot, start)
        finally:
            connection.terminate()

    async def _flush(self) -> None:
        while self._pgconn.flush():
            await asyncio.sleep(0.001)

    async def _wait_readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._pgconn.socket, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._pgconn.socket)


def _as_lost(error: TowlineError, slot: str) -> TowlineError:
    if sqlstate_of(error) in _LOST_STATES and not isinstance(error, PositionLost):
        return PositionLost(
            f"the source can no longer send the changes of slot {slot}: {error.message}", side=Side.SOURCE
        )
    return error


@dataclass(frozen=True, slots=True)
class _Round:
    """What one look at the socket found."""

    count: int
    is_more: bool
    is_last: bool


class _Readings:
    """Calls a function of the reader on the event loop when the socket has something.

    A task per wake-up would cost more than the messages it finds.  Under load the sender pays even more for
    waking us up with each message, several times what decoding costs it: then the socket is left alone for some
    milliseconds and emptied at once.  On a quiet source every message is taken as it comes.
    """

    def __init__(self, pgconn: pq.abc.PGconn, take: Callable[[], _Round]) -> None:
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._descriptor = pgconn.socket
        # TLS may hold decrypted bytes that the socket does not show.
        self._poll_s = _TLS_POLL_S if pgconn.ssl_in_use else None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._window_from_s = 0.0
        self._window_count = 0

    async def until_last(self) -> None:
        """Until the function says so, or raises."""
        self._watch()
        try:
            await self._ended
        finally:
            self._ended.cancel()
            self._unwatch()

    def _watch(self) -> None:
        self._loop.add_reader(self._descriptor, self._call)
        self._call()

    def _unwatch(self) -> None:
        self._loop.remove_reader(self._descriptor)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _call(self) -> None:
        if self._ended.done():
            return
        try:
            taken = self._take()
        except Exception as error:
            self._ended.set_exception(error)
            return
        if taken.is_last:
            self._ended.set_result(None)
        elif taken.is_more:
            self._loop.call_soon(self._call)
        elif self._is_busy(taken.count):
            self._unwatch()
            self._timer = self._loop.call_later(_NAP_S, self._watch)
        elif self._poll_s is not None and self._timer is None:
            self._timer = self._loop.call_later(self._poll_s, self._poll)

    def _poll(self) -> None:
        self._timer = None
        self._call()

    def _is_busy(self, count: int) -> bool:
        now_s = self._loop.time()
        if now_s - self._window_from_s > _NAP_S:
            self._window_from_s, self._window_count = now_s, 0
        self._window_count += count
        return self._window_count >= _BUSY_MESSAGES

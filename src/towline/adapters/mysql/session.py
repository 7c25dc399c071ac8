"""One session with a server: ordinary SQL, and the bare packet stream for the hot paths.

Theory of operation: the driver is a blocking one, so each session has a thread of its own, and nobody else
touches the driver's object or its socket.  Calls wait in the thread's inbox and are answered in order.  A thread in
the middle of a call sits in `recv` or `send` of the socket; `terminate` shuts the socket down from outside, which
ends that call with an error.  A call that is cancelled ends the session in the same way: what the server made of the
statement is unknown, and nothing may be sent after half an answer.

Hot paths (rows of a copy, LOAD DATA LOCAL, the binlog) run as one function in the session's thread and are handed its
`Wire`.  They move blocks of some hundred kilobytes, so a hop to the thread and back is nothing beside them.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import pymysql
from pymysql.err import raise_mysql_exception

from towline.adapters.mysql.errors import LOST_CONNECTION, translate
from towline.adapters.mysql.flavor import Flavor
from towline.domain.errors import ConnectionLost, Side

COM_QUERY: Final = 0x03
MAX_PACKET_BYTES: Final = 0xFFFFFF

_HEADER_BYTES = 4
_RECEIVE_BYTES = 256 * 1024
_ERROR_PACKET = 0xFF

T = TypeVar("T")
Row = tuple[Any, ...]
_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Wire:
    """The packets of one session. Only for use inside `Session.run`, in the session's thread.

    Every exchange is read to its end before the function returns: the next statement of the session follows on
    the same socket.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._unread = bytearray()
        self._next_number = 0  # sequence number of the next packet, either way

    def send_command(self, command: int, payload: bytes) -> None:
        """Begin an exchange. Payloads of 16 MB and more are cut as the protocol wants it."""
        self._next_number = 0
        self.send_packet(bytes((command,)) + payload)

    def send_packet(self, payload: bytes | bytearray | memoryview) -> None:
        """One packet, or as many as it takes."""
        view = memoryview(payload)
        while True:
            piece, view = view[:MAX_PACKET_BYTES], view[MAX_PACKET_BYTES:]
            head = len(piece).to_bytes(3, "little") + bytes((self._next_number,))
            self._next_number = (self._next_number + 1) & 0xFF
            if len(piece) < _RECEIVE_BYTES:
                self._line.sendall(head + bytes(piece))
            else:
                self._line.sendall(head)
                self._line.sendall(piece)
            if len(piece) < MAX_PACKET_BYTES:
                return

    def read_packet(self) -> bytes:
        """The next whole packet's payload. An error packet is raised as the driver's error."""
        payload = self._read_piece()
        if len(payload) == MAX_PACKET_BYTES:
            pieces = [payload]
            while len(pieces[-1]) == MAX_PACKET_BYTES:
                pieces.append(self._read_piece())
            payload = b"".join(pieces)
        if payload and payload[0] == _ERROR_PACKET:
            raise_mysql_exception(payload)
        return payload

    def receive_into(self, buffer: memoryview) -> int:
        """Raw bytes of the stream, at least one; headers and payloads as they come. Waits for them."""
        if self._unread:
            count = min(len(self._unread), len(buffer))
            buffer[:count] = self._unread[:count]
            del self._unread[:count]
            return count
        count = self._line.recv_into(buffer)
        if not count:
            raise _lost()
        return count

    def give_back(self, data: bytes | bytearray) -> None:
        """Bytes that were received raw and belong to what is read next."""
        self._unread[:0] = data

    def _read_piece(self) -> bytes:
        head = self._take(_HEADER_BYTES)
        self._next_number = (head[3] + 1) & 0xFF
        return self._take(int.from_bytes(head[:3], "little"))

    def _take(self, size: int) -> bytes:
        while len(self._unread) < size:
            data = self._line.recv(max(_RECEIVE_BYTES, size - len(self._unread)))
            if not data:
                raise _lost()
            self._unread += data
        taken = bytes(self._unread[:size])
        del self._unread[:size]
        return taken


class Session:
    """Made by `connection.connect`. Errors of every method are TowlineErrors of the session's side."""

    def __init__(self, *, side: Side, name: str) -> None:
        self.side = side
        self.name = name  # for logs and messages
        self.flavor = Flavor(is_mariadb=False, version=(0, 0, 0), text="")
        self._driver: Any = None
        self._line: Any = None
        self._wire: Wire | None = None
        self._is_closed = False
        self._inbox: SimpleQueue[_Job | None] = SimpleQueue()
        threading.Thread(target=self._serve, name=f"mysql:{name}", daemon=True).start()

    @property
    def connection_id(self) -> int:
        return int(self._driver.thread_id())

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    async def query(self, sql: str | bytes, *args: Any, what: str = "") -> list[Row]:
        """The rows of a statement; `%s` in it stand for `args`, and `%` is doubled only when there are some."""
        return await self.call(lambda: self._query(sql, args)[0], what=what)

    async def query_one(self, sql: str | bytes, *args: Any, what: str = "") -> Row | None:
        rows = await self.query(sql, *args, what=what)
        return rows[0] if rows else None

    async def query_value(self, sql: str | bytes, *args: Any, what: str = "") -> Any:
        row = await self.query_one(sql, *args, what=what)
        return row[0] if row else None

    async def query_named(self, sql: str, *args: Any, what: str = "") -> list[dict[str, Any]]:
        """Rows by column name, for SHOW statements whose columns differ between versions."""

        def run() -> list[dict[str, Any]]:
            rows, names = self._query(sql, args)
            return [dict(zip(names, row, strict=True)) for row in rows]

        return await self.call(run, what=what)

    async def execute(self, sql: str | bytes, *args: Any, what: str = "") -> int:
        """How many rows the statement changed, as the server counts them (found rows, see `connect`)."""
        return await self.call(lambda: self._execute(sql, args), what=what)

    async def write(self, sql: bytes, *, what: str = "") -> tuple[int, int]:
        """As `execute`, and how many warnings the server has about the statement; they can be asked for next."""
        return await self.call(lambda: (self._execute(sql, ()), int(self._driver._result.warning_count)), what=what)

    async def run(self, work: Callable[[Wire], T], *, what: str = "") -> T:
        """The result of `work`, run in the session's thread with its packet stream."""

        def run() -> T:
            if self._wire is None:
                self._wire = Wire(self._driver._sock)
            try:
                result = work(self._wire)
            except pymysql.Error:
                raise  # the server's answer is over
            except BaseException:
                self.terminate()
                raise
            return result

        return await self.call(run, what=what)

    async def call(self, function: Callable[[], T], *, what: str = "") -> T:
        """Run the function in the session's thread, errors translated."""
        what = what or self.name
        if self._is_closed:
            raise ConnectionLost(f"{what}: the session is closed", side=self.side)
        try:
            return await self.call_untranslated(function)
        except (pymysql.Error, OSError, ValueError) as error:
            if self._is_closed:
                raise ConnectionLost(f"{what}: the session was closed", side=self.side) from error
            if isinstance(error, ValueError):
                raise
            raise translate(error, self.side, what=what) from error

    async def call_untranslated(self, function: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._inbox.put((function, loop, future))
        try:
            return await future
        except asyncio.CancelledError:
            self.terminate()
            raise

    def adopt(self, driver: Any) -> None:
        """Called in the session's thread, once the driver has a socket; it is then that it can be shut down."""
        self._driver = driver
        self._line = driver._sock
        if self._is_closed:
            self._shut_down()

    def terminate(self) -> None:
        """End the session at once, whatever it does; safe to repeat. The server rolls back what was open."""
        if self._is_closed:
            return
        self._is_closed = True
        self._shut_down()
        self._inbox.put(None)

    # --- in the session's thread ------------------------------------------------------------------

    def _serve(self) -> None:
        while (job := self._inbox.get()) is not None:
            function, loop, future = job
            try:
                result = function()
            except BaseException as error:
                _answer(loop, future, error, None)
                del error
            else:
                _answer(loop, future, None, result)
                del result
            del job, function, loop, future
        if self._driver is not None:
            with suppress(Exception):
                self._driver._force_close()

    def _query(self, sql: str | bytes, args: Row) -> tuple[list[Row], list[str]]:
        with self._driver.cursor() as cursor:
            cursor.execute(sql, args or None)
            names = [column[0] for column in cursor.description or ()]
            return list(cursor.fetchall()), names

    def _execute(self, sql: str | bytes, args: Row) -> int:
        if isinstance(sql, bytes):
            return int(self._driver.query(sql))
        with self._driver.cursor() as cursor:
            return int(cursor.execute(sql, args or None))

    def _shut_down(self) -> None:
        if self._line is not None:
            with suppress(OSError):
                # Past a TLS layer, whose own farewell would wait for the thread that sits in it.
                socket.socket.shutdown(self._line, socket.SHUT_RDWR)


def _answer(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], error: BaseException | None, result: Any
) -> None:
    def answer() -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    with suppress(RuntimeError):  # the loop is gone, and whoever waited with it
        loop.call_soon_threadsafe(answer)


def _lost() -> pymysql.Error:
    return pymysql.err.OperationalError(LOST_CONNECTION, "the server closed the connection")

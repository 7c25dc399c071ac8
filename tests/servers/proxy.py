"""A TCP line between a client and a server that a test can cut, stall and let go on.

The proxy runs on an event loop in a thread of its own, so it works for clients in this process, in
child processes and in blocking code alike, and while the test's own loop is busy.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from enum import Enum
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

HOST = "127.0.0.1"
BLOCK_BYTES = 65_536
CALL_TIMEOUT_S = 30.0


class Direction(Enum):
    """Which way bytes travel."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"


class TcpProxy:
    """Forwards every connection to `port` to the server; a context manager."""

    def __init__(self, server_port: int, server_host: str = HOST) -> None:
        self.port = 0
        self.accepted = 0
        self.bytes_passed = dict.fromkeys(Direction, 0)
        self._server = (server_host, server_port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._listener: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self._flows: dict[Direction, asyncio.Event] = {}
        self._remaining_bytes: dict[Direction, int] = {}

    # --- what a test does -------------------------------------------------------------------------

    def url(self, server_url: str) -> str:
        """The same URL, leading through the proxy."""
        parts = urlsplit(server_url)
        user_info = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{user_info}@{HOST}:{self.port}"))

    def cut(self) -> None:
        """Reset every connection and refuse new ones until `resume`."""
        self._run(self._cut())

    def cut_after(self, size_bytes: int, direction: Direction) -> None:
        """Cut once that many more bytes have passed in that direction, in the middle of a message or not."""
        self._run(self._set_limit(size_bytes, direction))

    def stall(self, direction: Direction | None = None) -> None:
        """Keep the connections but let nothing through, in one direction or both, until `resume`.

        Stalled TO_CLIENT, a client cannot learn what became of its commit; cut then, it never will.
        """
        self._run(self._stall([direction] if direction else list(Direction)))

    def resume(self) -> None:
        """Let bytes and new connections through again; held bytes arrive late but complete."""
        self._run(self._resume())

    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._lines)

    # --- life ---------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_TIMEOUT_S)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_TIMEOUT_S)

    # --- in the proxy's thread ------------------------------------------------------------------

    async def _listen(self) -> None:
        for direction in Direction:
            self._flows[direction] = asyncio.Event()
            self._flows[direction].set()
        self._listener = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        line = asyncio.current_task()
        assert line is not None
        self._open.add(writer)
        if self._is_cut:
            _reset(writer)
            return
        self._lines.add(line)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._server)
            self._open.add(server_writer)
            ways = [
                asyncio.ensure_future(self._pump(reader, server_writer, Direction.TO_SERVER)),
                asyncio.ensure_future(self._pump(server_reader, writer, Direction.TO_CLIENT)),
            ]
            try:
                await asyncio.gather(*ways)
            finally:
                for way in ways:
                    way.cancel()
                await _finish(server_writer)
                self._open.discard(server_writer)
        except OSError:
            pass  # either side went away; the other one learns it by the close below
        finally:
            self._lines.discard(line)
            await _finish(writer)
            self._open.discard(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        while block := await reader.read(BLOCK_BYTES):
            await self._flows[direction].wait()
            limit = self._remaining_bytes.get(direction)
            passed = block if limit is None else block[:limit]
            writer.write(passed)
            await writer.drain()
            self.bytes_passed[direction] += len(passed)
            if limit is not None:
                self._remaining_bytes[direction] = limit - len(passed)
                if len(passed) == limit:
                    await self._cut()
                    return
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    async def _cut(self) -> None:
        self._is_cut = True
        self._remaining_bytes.clear()
        for writer in list(self._open):
            _reset(writer)

    async def _set_limit(self, size_bytes: int, direction: Direction) -> None:
        self._remaining_bytes[direction] = size_bytes

    async def _stall(self, directions: list[Direction]) -> None:
        for direction in directions:
            self._flows[direction].clear()

    async def _resume(self) -> None:
        self._is_cut = False
        for flow in self._flows.values():
            flow.set()

    async def _close(self) -> None:
        await self._resume()
        await self._cut()
        assert self._listener is not None
        self._listener.close()
        waiting = [*self._lines]
        for line in waiting:
            line.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    # Linger 0 makes the close a reset: the peer sees a broken line, not a polite end.
    raw = writer.get_extra_info("socket")
    if raw is not None and not writer.is_closing():
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _finish(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass  # it was reset, which is as closed as can be

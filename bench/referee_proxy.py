"""A TCP line that can fall silent or break; on the event loop of whoever uses it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

_HOST = "127.0.0.1"
_BLOCK_BYTES = 65_536


class Proxy:
    """Forwards every connection to the server of a URL; an async context manager that closes all."""

    def __init__(self, server_url: str) -> None:
        parts = urlsplit(server_url)
        self._parts = parts
        self._is_refusing = False
        self._flow = asyncio.Event()
        self._flow.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._lines: set[asyncio.Task[None]] = set()

    def url(self) -> str:
        """The server's URL, leading through the proxy."""
        port = self._listener.sockets[0].getsockname()[1]
        user_info = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{user_info}@{_HOST}:{port}"))

    def stall(self) -> None:
        """Nothing passes any more, and nobody is told: as when a cable is pulled."""
        self._flow.clear()

    def cut(self) -> None:
        """Reset all lines and every new one."""
        self._is_refusing = True
        for writer in list(self._open):
            writer.transport.abort()

    def resume(self) -> None:
        """What was held arrives late but complete; new lines are welcome."""
        self._is_refusing = False
        self._flow.set()

    async def __aenter__(self) -> Proxy:
        self._listener = await asyncio.start_server(self._accept, _HOST, 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.current_task()
        assert line is not None
        self._lines.add(line)
        self._open.add(writer)
        try:
            if self._is_refusing:
                return
            await self._flow.wait()
            server_reader, server_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
            self._open.add(server_writer)
            ways = [
                asyncio.create_task(self._pump(reader, server_writer)),
                asyncio.create_task(self._pump(server_reader, writer)),
            ]
            try:
                # One side's end is the line's end.
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                self._forget(server_writer)
        except OSError:
            pass  # either side went away
        finally:
            self._forget(writer)
            self._lines.discard(line)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while block := await reader.read(_BLOCK_BYTES):
                await self._flow.wait()
                writer.write(block)
                await writer.drain()

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.close()

"""A chunk's rows on their way from reader to writer, weighed as they pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from towline.domain.tables import Table
from towline.engine import points


class Counted:
    """Passes a stream on, counting; `on_bytes` may hold it up."""

    def __init__(
        self, stream: AsyncIterator[bytes], table: Table, on_bytes: Callable[[Table, int], Awaitable[None]]
    ) -> None:
        self._stream = stream
        self._table = table
        self._on_bytes = on_bytes
        self.size_bytes = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            points.reach(points.COPY_IN_CHUNK)
            self.size_bytes += len(piece)
            await self._on_bytes(self._table, len(piece))
            yield piece

"""Connections that many callers share, each in its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Who waits gets a connection before who gave it back asks again.

    Else as many callers as there are connections would go round among themselves, and a median be theirs alone.
    """

    def __init__(self, connections: Iterable[T]) -> None:
        self._free = list(connections)
        self._turns = asyncio.Semaphore(len(self._free))

    @asynccontextmanager
    async def one(self) -> AsyncIterator[T]:
        async with self._turns:
            connection = self._free.pop()
            try:
                yield connection
            finally:
                self._free.append(connection)

    def take_all(self) -> list[T]:
        """All that are free, never to be given out again."""
        taken, self._free = self._free, []
        return taken

"""What a situation may do to a pair of databases, whatever their kind; `referee_postgres` and `referee_mysql` do it.

Everything goes through plain drivers; of Towline's code only the starters of local servers are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime
from typing import Protocol

from referee_clock import FakeClock


class Server(Protocol):
    """A local server that this process has started."""

    def start(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def restart(self, *, settings: Mapping[str, str] | None = None) -> None: ...


class Eye(Protocol):
    """One connection, for one row with a number and a time of the source's clock."""

    async def write(self, number: int) -> datetime:
        """The time that was written; returns when the commit was answered."""
        ...

    async def look(self) -> tuple[int, datetime | None]: ...

    def close(self) -> None:
        """At once, whatever the server does."""
        ...


class Database(Protocol):
    """A source and a target server of one kind."""

    engine: str
    """The API's word for the kind."""
    source: Server
    target: Server
    lost: tuple[type[BaseException], ...]
    """What the driver raises when a server does not answer, beside OSError and TimeoutError."""

    @property
    def label(self) -> str: ...

    async def make_fresh(self, name: str, source: Server) -> tuple[str, str]:
        """URLs of two new databases, the source's with the tables of the load, `referee` and `big`."""
        ...

    async def open_eye(self, url: str) -> Eye: ...

    async def run_load(
        self, url: str, *, per_s: int | None = None, seconds: int | None = None, transactions: int | None = None
    ) -> None:
        """Four clients with small transactions; ends them when it is cancelled."""
        ...

    async def insert_big(self, url: str, first: int, last: int) -> None:
        """Rows of 1 kB into `big`, with these ids, in one transaction."""
        ...

    def block_row(self, url: str) -> AbstractAsyncContextManager[None]:
        """Another session holds the row that the referee writes."""
        ...

    def apart_zones(self) -> AbstractContextManager[None]:
        """The servers' time zones are 25 hours apart."""
        ...

    def with_clock(self) -> tuple[Server, FakeClock] | None:
        """A source whose clock can be set, the same one whenever asked; None when libfaketime is not installed."""
        ...

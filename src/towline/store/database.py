"""Connections to the store and the ways to use them.

`fetch()` is one statement, which sees one moment by itself: no transaction around it, so one round trip.  `reading()`
sees one moment, however many statements it holds.  `writing()` is serialised with other writers
where the work needs it: on SQLite it takes the write lock at once (BEGIN IMMEDIATE; upgrading a read lock
later can fail without waiting), on PostgreSQL the callers lock the rows that they decide about.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import (
    ARRAY,
    BindParameter,
    Column,
    Executable,
    Insert,
    Row,
    Select,
    Table,
    Text,
    bindparam,
    event,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine

from towline.domain.errors import RequestError, StoreUnavailable

_BUSY_TIMEOUT_MS = 10_000
# A worker that is stopped (SIGSTOP) in the middle of a transaction must not hold the lease row for ever.
_IDLE_IN_TRANSACTION_MS = 10_000


class Database:
    """One store, reached through a pool of connections. Close it when done."""

    def __init__(self, engine: AsyncEngine, single: AsyncEngine) -> None:
        """`single`: for statements around which nothing begins or commits, on connections that stay so.

        Taking one and giving it back costs nothing then; on SQLite every such step is a hop to the driver's thread.
        """
        self._engine = engine
        self._single = single
        self.is_sqlite = engine.dialect.name == "sqlite"

    @property
    def engines(self) -> tuple[AsyncEngine, AsyncEngine]:
        return self._engine, self._single

    async def fetch(
        self, query: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[Row[*tuple[Any, ...]]]:
        """All rows of one query. `parameters`: of one that was made before, as making it takes half a millisecond."""
        with _translated():
            async with self._single.connect() as connection:
                rows: Sequence[Row[*tuple[Any, ...]]] = (await connection.execute(query, parameters)).all()
                return rows

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction in which every statement sees the same moment."""
        options: dict[str, Any] = {}
        if not self.is_sqlite:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        async with self._transaction(options) as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at the end of the block, or not at all."""
        async with self._transaction({"towline_writes": True}) as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(self, options: dict[str, Any]) -> AsyncIterator[AsyncConnection]:
        with _translated():
            async with self._engine.connect() as connection:
                await connection.execution_options(**options)
                async with connection.begin():
                    yield connection

    async def ensure_wal(self) -> None:
        """Let readers of a SQLite store go on while somebody writes; the file remembers it.

        Not through the engine: where a file cannot be opened, its driver leaves a thread behind that writes a stack
        trace when it finds the loop closed.
        """
        deadline_s = asyncio.get_running_loop().time() + _BUSY_TIMEOUT_MS / 1000
        while True:
            try:
                await asyncio.to_thread(self._set_wal)
                return
            except sqlite3.DatabaseError as error:
                # Two processes may do it at once, and for this step SQLite does not wait by itself.  The low byte is
                # the code, the others say more of it (SQLite, "Result and Error Codes").
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise StoreUnavailable(
                        "the store cannot be opened: it is no SQLite file, or may not be read"
                    ) from error
                if asyncio.get_running_loop().time() > deadline_s:
                    raise StoreUnavailable("the store is busy") from error
                await asyncio.sleep(0.02)

    def _set_wal(self) -> None:
        with closing(sqlite3.connect(self._engine.url.database or "", isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")

    async def close(self) -> None:
        for engine in self.engines:
            await engine.dispose()

    # --- where the two dialects differ ----------------------------------------------------------

    def is_one_of(self, column: Column[str], ids: Sequence[str]) -> ColumnElement[bool]:
        """`column` is among `ids`, in one statement for any number of them.

        An expanded IN list would hit SQLite's limit of bound values, and be parsed anew for every length.  With `= ANY`
        PostgreSQL would not use an index of the kind hash, but walk down the tree of the primary key for every id.
        """
        return self._is_one_of(column, bindparam(None, self.ids_value(ids), type_=self._ids_type))

    def is_one_of_given(self, column: Column[str], parameter: str) -> ColumnElement[bool]:
        """As `is_one_of`, with the ids (`ids_value`) given by that name to a query that was made before."""
        return self._is_one_of(column, bindparam(parameter, type_=self._ids_type))

    def ids_value(self, ids: Sequence[str]) -> str | list[str]:
        """Any number of ids as one bound value."""
        return msgspec.json.encode(list(ids)).decode() if self.is_sqlite else list(ids)

    @property
    def _ids_type(self) -> TypeEngine[Any]:
        return Text() if self.is_sqlite else ARRAY(Text)

    def _is_one_of(self, column: Column[str], ids: BindParameter[Any]) -> ColumnElement[bool]:
        if self.is_sqlite:
            return column.in_(select(func.json_each(ids).table_valued("value").c.value))
        return column.in_(select(func.unnest(ids)))

    def is_in_project(self, column: Column[str], project_id: str | BindParameter[str]) -> ColumnElement[bool]:
        """`column` is `project_id`, as a condition on rows that their ids find.

        Neither database may take the index on projects for it, and read all of the project's jobs to find some.  SQLite
        keeps no figures about values, PostgreSQL none of a store that has not been analysed yet, and with figures it
        would rather read the whole of the joined table.  A plus sign (SQLite manual, "The SQLite Query Optimizer
        Overview", "Disqualifying WHERE Clause Terms Using Unary +") or an empty text takes the condition out of the
        choice; so the time does not depend on how many jobs there are.
        """
        if self.is_sqlite:
            return literal_column(f"+{column.table.name}.{column.name}", Text) == project_id
        return column.concat("") == project_id

    def upsert(self, table: Table, job_id: str, values: Mapping[str, Any]) -> Insert:
        """The statement that writes the job's one row in `table`, be it there or not."""
        make = sqlite.insert if self.is_sqlite else postgresql.insert
        return (
            make(table)
            .values(job_id=job_id, **values)
            .on_conflict_do_update(index_elements=["job_id"], set_=dict(values))
        )

    def locked(self, query: Select[Any]) -> Select[Any]:
        """The rows of the query stay as they are until the transaction ends."""
        return query if self.is_sqlite else query.with_for_update()

    def now_us(self, machine_now_us: int) -> ColumnElement[int]:
        """The store's own time: on PostgreSQL its clock, as several machines must agree about leases."""
        if self.is_sqlite:
            return literal_column(str(int(machine_now_us)))
        return literal_column("(extract(epoch from clock_timestamp()) * 1000000)::bigint")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        # Driver texts can quote values; the statement is in the chained error, its parameters are hidden.
        raise StoreUnavailable(f"the store refused a statement ({type(error.orig).__name__})") from error
    except (PoolTimeoutError, OSError) as error:
        raise StoreUnavailable(f"the store cannot be reached ({type(error).__name__})") from error


def default_store_url(data_dir: Path) -> str:
    return f"sqlite:///{data_dir / 'towline.db'}"


def open_database(url: str, *, pool_size: int = 5) -> Database:
    """Connects when first used. `url`: `sqlite:///path` or `postgresql://user:password@host:port/database`.

    Raises:
        RequestError: the URL is neither.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise RequestError("the store URL cannot be read", remedy=_URL_REMEDY) from None
    common: dict[str, Any] = {
        # I7: bound values never appear in an error's text.
        "hide_parameters": True,
        "json_serializer": lambda value: msgspec.json.encode(value).decode(),
        "json_deserializer": msgspec.json.decode,
        "pool_size": pool_size,
    }
    match parsed.get_backend_name():
        case "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise RequestError("a SQLite store needs a file", remedy=_URL_REMEDY)
            place = parsed.set(drivername="sqlite+aiosqlite")
            engine, single = create_async_engine(place, **common), create_async_engine(place, **_SINGLE, **common)
            for each in (engine, single):
                event.listen(each.sync_engine, "connect", _prepare_sqlite)
                event.listen(each.sync_engine, "invalidate", _release_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
        case "postgresql" | "postgres":
            place = parsed.set(drivername="postgresql+asyncpg")
            common |= {
                "pool_pre_ping": True,
                "max_overflow": 0,
                "connect_args": {
                    "timeout": 10,
                    "server_settings": {
                        "application_name": "towline:store",
                        "idle_in_transaction_session_timeout": str(_IDLE_IN_TRANSACTION_MS),
                        "lock_timeout": str(_BUSY_TIMEOUT_MS),
                    },
                },
            }
            engine, single = create_async_engine(place, **common), create_async_engine(place, **_SINGLE, **common)
        case other:
            raise RequestError(f"a store cannot be kept in {other!r}", remedy=_URL_REMEDY)
    return Database(engine, single)


_SINGLE: dict[str, Any] = {
    "isolation_level": "AUTOCOMMIT",
    "skip_autocommit_rollback": True,
    "pool_reset_on_return": None,
}
_URL_REMEDY = "Give sqlite:///path/to/file or postgresql://user:password@host:port/database."


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions by itself: it does so too late, and without IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_BUSY_TIMEOUT_MS}",
        "synchronous = NORMAL",
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _release_sqlite(connection: Any, _record: Any, _error: BaseException | None) -> None:
    """End the transaction of a connection that is about to be closed because its task was cancelled.

    Closing is not enough: SQLite keeps a connection, with its locks, for as long as a statement of it is unfinished,
    and a cursor in the frames of the cancelled task is one until the garbage collector finds it ("sqlite3_close_v2",
    zombie connections).  Everybody else would wait in vain for the write lock.
    """
    connection.rollback()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("towline_writes", False) else "BEGIN")

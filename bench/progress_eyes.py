"""Connections of its own for `bench/progress.py`: a marker row, and the bytes of tables and indexes on the target.

No code of Towline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import asyncpg
import pymysql
from pymysql.constants import ER
from referee_load import connect

T = TypeVar("T")

MARKER = ("CREATE TABLE marker (id int PRIMARY KEY, number bigint)", "INSERT INTO marker VALUES (1, 0)")
_LOOK = "SELECT number FROM marker"


class Eye(Protocol):
    """One connection to a database."""

    async def write(self, number: int) -> None:
        """Returns when the commit was answered."""
        ...

    async def look(self) -> int | None:
        """None while there is no marker."""
        ...

    async def size_bytes(self) -> int: ...
    async def close(self) -> None: ...


class PgEye:
    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def write(self, number: int) -> None:
        await self._connection.execute("UPDATE marker SET number = $1", number)

    async def look(self) -> int | None:
        try:
            value: int | None = await self._connection.fetchval(_LOOK)
        except asyncpg.UndefinedTableError:
            return None
        return value

    async def size_bytes(self) -> int:
        return int(await self._connection.fetchval("SELECT pg_database_size(current_database())"))

    async def close(self) -> None:
        self._connection.terminate()


async def open_pg_eye(url: str) -> PgEye:
    return PgEye(await asyncpg.connect(url))


class MysqlEye:
    """A thread of its own, as the driver blocks."""

    def __init__(self, executor: ThreadPoolExecutor, connection: pymysql.Connection[Any], tablespaces: str) -> None:
        self._executor = executor
        self._connection = connection
        self._tablespaces = tablespaces

    async def write(self, number: int) -> None:
        await self._call(lambda: self._connection.query(f"UPDATE marker SET number = {number:d}"))

    async def look(self) -> int | None:
        def look() -> int | None:
            try:
                return self._fetch(_LOOK)
            except pymysql.ProgrammingError as error:
                if error.args[0] == ER.NO_SUCH_TABLE:
                    return None
                raise

        return await self._call(look)

    async def size_bytes(self) -> int:
        query = f"SELECT sum(file_size) FROM {self._tablespaces} WHERE name LIKE concat(database(), '/%')"
        return int(await self._call(lambda: self._fetch(query)) or 0)

    async def close(self) -> None:
        await self._call(self._connection.close)
        self._executor.shutdown(wait=False)

    def _fetch(self, query: str) -> int | None:
        with self._connection.cursor() as cursor:
            cursor.execute(query)
            row = cursor.fetchone()
        return None if row is None or row[0] is None else int(row[0])

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)


async def open_mysql_eye(url: str, *, is_mariadb: bool) -> MysqlEye:
    executor = ThreadPoolExecutor(max_workers=1)
    connection = await asyncio.get_running_loop().run_in_executor(executor, connect, url)
    name = "innodb_sys_tablespaces" if is_mariadb else "innodb_tablespaces"
    return MysqlEye(executor, connection, f"information_schema.{name}")

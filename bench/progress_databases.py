"""The servers of `bench/progress.py` and how they say what the situations need: PostgreSQL, MySQL and MariaDB."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import asyncpg
from progress_eyes import MARKER, Eye, MysqlEye, PgEye, open_mysql_eye, open_pg_eye
from referee_load import connect
from servers import SETTINGS, Pair

from towline.embedded.installation import find_postgres
from towline.embedded.server import EmbeddedPostgres

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.servers.mysql import MysqlServer, Product, find_installation

Statements = tuple[str, ...]

_MYSQL_SETTINGS = {
    "innodb_buffer_pool_size": "536870912",
    "sync_binlog": "0",
}
_MARIADB_SETTINGS = {"innodb_log_file_size": "1073741824"}
_MYSQL_ONLY_SETTINGS = {"innodb_redo_log_capacity": "2147483648"}
_CALL_S = 900


class Database(Protocol):
    """A source and a target server, and the words of their SQL. `g` is the number of a row of `series`."""

    share: float
    """Of the rows that PostgreSQL gets, so that a copy takes about as long."""
    label: str
    stale: str
    """Of a table whose statistics stay what they were when it was analysed."""
    text: str
    """The type of a column with some text in it that an index can have."""
    long_text: str
    uuid_type: str
    uuid: str
    big: str
    """The integer type to compute in."""
    words: str
    some_time: str
    tags: tuple[str, str, str]
    """Type, value and index of a column that takes long to index."""

    def series(self, first: int, last: int) -> str:
        """What stands behind FROM."""
        ...

    def filler(self, columns: int = 3) -> str:
        """About 32 bytes a column that no compression makes smaller."""
        ...

    def huge(self) -> str:
        """32 kB."""
        ...

    def keep_outside(self, table: str, column: str) -> Statements:
        """Large values lie outside of the table's pages, as they are."""
        ...

    def analyze(self, table: str) -> str: ...
    def fulltext_index(self, table: str, column: str) -> str: ...
    def make_events(self, rows: int) -> Statements: ...
    def churn_events(self, rows: int) -> Statements: ...
    async def make_fresh(self, name: str, statements: Statements) -> tuple[str, str]:
        """URLs of two new databases, the source's filled by the statements and with the marker."""
        ...

    async def open_eye(self, url: str) -> Eye: ...

    async def drop(self, name: str) -> None: ...
    def run_again_and_again(self, url: str, statements: Statements) -> AbstractContextManager[None]: ...


class Postgres:
    share = 1.0
    stale = ""  # nothing is analysed by itself, see SETTINGS
    text, long_text = "text", "text"
    uuid_type, uuid = "uuid", "md5(g::text)::uuid"
    big = "bigint"
    words = "md5((g % 1000)::text) || ' ' || md5((g * 7 % 5000)::text)"
    some_time = "now() - g * interval '1 s'"
    tags = "int[]", "ARRAY[g % 97, g % 89, g % 83]", "CREATE INDEX ON articles USING gin (tags)"

    def __init__(self, stack: ExitStack, version: int) -> None:
        installation = find_postgres(version)
        if installation is None:
            raise SystemExit(f"progress: PostgreSQL {version} is not installed")
        servers = [stack.enter_context(EmbeddedPostgres(installation, settings=SETTINGS)) for _ in range(2)]
        self._pair = Pair(servers[0], servers[1], installation.bin_dir)
        self.label = f"postgresql {version}"

    def series(self, first: int, last: int) -> str:
        return f"generate_series({first}, {last}) AS g"

    def filler(self, columns: int = 3) -> str:
        return " || ".join(f"md5(g::text || '{number}')" for number in range(columns))

    def huge(self) -> str:
        return "(SELECT string_agg(md5(g::text || n::text), '') FROM generate_series(1, 1000) AS n)"

    def keep_outside(self, table: str, column: str) -> Statements:
        return (f"ALTER TABLE {table} ALTER {column} SET STORAGE EXTERNAL",)

    def analyze(self, table: str) -> str:
        return f"ANALYZE {table}"

    def fulltext_index(self, table: str, column: str) -> str:
        return f"CREATE INDEX ON {table} USING gin (to_tsvector('simple', {column}))"

    def make_events(self, rows: int) -> Statements:
        return (
            "CREATE TABLE events (id bigint PRIMARY KEY, note text)",
            f"INSERT INTO events SELECT g, {self.filler()} FROM {self.series(1, rows)}",
            f"CREATE SEQUENCE next_event START {rows + 1}",
        )

    def churn_events(self, rows: int) -> Statements:
        return (
            f"INSERT INTO events SELECT nextval('next_event'), {self.filler()} FROM {self.series(1, 1000)}",
            f"DELETE FROM events WHERE id IN (SELECT (random() * {rows})::bigint FROM generate_series(1, 500))",
        )

    async def make_fresh(self, name: str, statements: Statements) -> tuple[str, str]:
        for server in (self._pair.source, self._pair.target):
            drop = f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'
            await self._execute(server.url(), drop, f'CREATE DATABASE "{name}"', "CHECKPOINT")
        await self._execute(self._pair.source.url(name), *MARKER, *statements)
        return self._pair.source.url(name), self._pair.target.url(name)

    async def open_eye(self, url: str) -> PgEye:
        return await open_pg_eye(url)

    async def drop(self, name: str) -> None:
        for server in (self._pair.source, self._pair.target):
            await self._execute(server.url(), f'DROP DATABASE "{name}" WITH (FORCE)')

    @contextmanager
    def run_again_and_again(self, url: str, statements: Statements) -> Iterator[None]:
        async def run() -> None:
            connection = await asyncpg.connect(url)
            try:
                while True:
                    for statement in statements:
                        await connection.execute(statement)
                    await asyncio.sleep(0.2)
            finally:
                connection.terminate()

        going_on = asyncio.create_task(run())
        try:
            yield
        finally:
            going_on.cancel()

    async def _execute(self, url: str, *statements: str) -> None:
        connection = await asyncpg.connect(url, command_timeout=_CALL_S)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


class Mysql:
    """MySQL or MariaDB."""

    share = 0.3
    stale = " STATS_AUTO_RECALC = 0"
    text, long_text = "varchar(400)", "longtext"
    uuid_type, uuid = "binary(16)", "unhex(left(sha2(g, 256), 32))"
    big = "unsigned"
    words = "concat(sha2(g % 1000, 256), ' ', sha2(g * 7 % 5000, 256))"
    some_time = "now() - INTERVAL g SECOND"
    tags = "varchar(200)", "concat(sha2(g, 256), ' ', sha2(g % 89, 256))", "CREATE INDEX tags ON articles (tags, title)"

    def __init__(self, stack: ExitStack, product: Product) -> None:
        installation = find_installation(product)
        if installation is None:
            raise SystemExit(f"progress: {product.value} is not installed")
        self._is_mariadb = product is Product.MARIADB
        own = _MARIADB_SETTINGS if self._is_mariadb else _MYSQL_ONLY_SETTINGS
        settings = {**_MYSQL_SETTINGS, **own}
        self._source, self._target = [
            stack.enter_context(MysqlServer(installation, settings=settings)) for _ in range(2)
        ]
        version = str(self._source.fetch_value("SELECT version()")).split("-")[0]
        self.label = f"{product.name.lower()} {version}"

    def series(self, first: int, last: int) -> str:
        """From a table of the numbers 0 to 999."""
        number = "a.n * 1000000 + b.n * 1000 + c.n"
        limits = f"a.n BETWEEN {first} DIV 1000000 AND {last} DIV 1000000"
        joined = f"digit a JOIN digit b JOIN digit c WHERE {limits} AND {number} BETWEEN {first} AND {last}"
        return f"(SELECT {number} AS g FROM {joined}) AS numbers"

    def filler(self, columns: int = 3) -> str:
        values = ", ".join(f"left(sha2(concat(g, '{number}'), 256), 32)" for number in range(columns))
        return f"concat({values})"

    def huge(self) -> str:
        return "repeat(sha2(g, 256), 500)"

    def keep_outside(self, table: str, column: str) -> Statements:
        return ()  # so they do

    def analyze(self, table: str) -> str:
        return f"ANALYZE TABLE {table}"

    def fulltext_index(self, table: str, column: str) -> str:
        return f"CREATE FULLTEXT INDEX {column}_words ON {table} ({column})"

    def make_events(self, rows: int) -> Statements:
        return (
            f"CREATE TABLE events (id bigint AUTO_INCREMENT PRIMARY KEY, note {self.text})",
            f"INSERT INTO events SELECT g, {self.filler()} FROM {self.series(1, rows)}",
        )

    def churn_events(self, rows: int) -> Statements:
        # With a limit the numbers are made once; else MySQL makes them anew for each row of the table.
        chosen = f"SELECT CAST(floor(rand() * {rows}) AS SIGNED) AS id FROM digit LIMIT 500"
        return (
            f"INSERT INTO events (note) SELECT {self.filler()} FROM {self.series(1, 999)}",
            f"DELETE events FROM events JOIN ({chosen}) AS gone USING (id)",
        )

    async def make_fresh(self, name: str, statements: Statements) -> tuple[str, str]:
        await asyncio.to_thread(self._make_fresh, name, statements)
        return self._url(self._source, name), self._url(self._target, name)

    def _make_fresh(self, name: str, statements: Statements) -> None:
        for server in (self._source, self._target):
            server.execute(f"DROP DATABASE IF EXISTS `{name}`", f"CREATE DATABASE `{name}`")
        self._source.execute(
            "SET sql_log_bin = 0",  # nobody will need it
            "CREATE TABLE digit (n int PRIMARY KEY)",
            f"INSERT INTO digit VALUES {', '.join(f'({number})' for number in range(1000))}",
            *MARKER,
            *statements,
            database=name,
        )

    async def open_eye(self, url: str) -> MysqlEye:
        return await open_mysql_eye(url, is_mariadb=self._is_mariadb)

    async def drop(self, name: str) -> None:
        for server in (self._source, self._target):
            await asyncio.to_thread(server.execute, f"DROP DATABASE `{name}`")

    @contextmanager
    def run_again_and_again(self, url: str, statements: Statements) -> Iterator[None]:
        is_over = asyncio.Event()

        async def run() -> None:
            connection = await asyncio.to_thread(connect, url)
            try:
                while not is_over.is_set():
                    for statement in statements:
                        await asyncio.to_thread(connection.query, statement)
                    await asyncio.sleep(0.2)
            finally:
                connection.close()

        going_on = asyncio.create_task(run())
        try:
            yield
        finally:
            # A call in a thread cannot be cancelled; this one is short.
            is_over.set()
            going_on.add_done_callback(lambda task: None if task.cancelled() else task.exception())

    def _url(self, server: MysqlServer, name: str) -> str:
        return f"mysql://{server.user}:{server.password}@{server.host}:{server.port}/{name}"

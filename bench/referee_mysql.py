"""Two MySQL or two MariaDB servers for the referee, through PyMySQL.

The driver is a blocking one, so each connection has a thread of its own.  A thread that waits for a paused server is
freed by shutting its socket down from outside.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pymysql
from referee_clock import FakeClock, find_library
from referee_database import Server
from referee_load import ACCOUNTS, BRANCHES, TELLERS, connect

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.servers.mysql import MysqlInstallation, MysqlServer, Product, find_installation

SETTINGS = {"innodb_buffer_pool_size": "268435456", "max_allowed_packet": "67108864"}
_DIGITS = 1_000
_THOUSAND = ", ".join(f"({number})" for number in range(_DIGITS))
_CREATE = (
    "CREATE TABLE referee (id int PRIMARY KEY, n bigint NOT NULL, at timestamp(6) NULL)",
    "INSERT INTO referee VALUES (1, 0, NULL)",
    "CREATE TABLE big (id int PRIMARY KEY, body text)",
    "CREATE TABLE digit (n int PRIMARY KEY)",
    f"INSERT INTO digit VALUES {_THOUSAND}",
    "CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int)",
    "CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int)",
    "CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84))",
    "CREATE TABLE pgbench_history (id bigint AUTO_INCREMENT PRIMARY KEY, tid int, bid int, aid int, delta int,"
    " mtime timestamp(6) NULL)",
    f"INSERT INTO pgbench_branches SELECT n + 1, 0 FROM digit WHERE n < {BRANCHES}",
    f"INSERT INTO pgbench_tellers SELECT n + 1, 1, 0 FROM digit WHERE n < {TELLERS}",
    f"INSERT INTO pgbench_accounts SELECT a.n * {_DIGITS} + b.n + 1, 1, 0, '' FROM digit a JOIN digit b"
    f" WHERE a.n < {ACCOUNTS // _DIGITS}",
)
_BIG = f"""
INSERT INTO big SELECT a.n * {_DIGITS} + b.n, repeat(sha2(a.n * {_DIGITS} + b.n, 256), 15) FROM digit a JOIN digit b
WHERE a.n BETWEEN {{first}} DIV {_DIGITS} AND {{last}} DIV {_DIGITS}
  AND a.n * {_DIGITS} + b.n BETWEEN {{first}} AND {{last}}
"""
_WRITE = "UPDATE referee SET n = %s, at = %s WHERE id = 1"
_LOOK = "SELECT n, at FROM referee WHERE id = 1"

T = TypeVar("T")


class _Eye:
    def __init__(self, executor: ThreadPoolExecutor, connection: Any) -> None:
        self._executor = executor
        self._connection = connection

    async def write(self, number: int) -> datetime:
        def write() -> datetime:
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT sysdate(6)")
                at: datetime = cursor.fetchone()[0]
                cursor.execute(_WRITE, (number, at))
            return at

        return await self._call(write)

    async def look(self) -> tuple[int, datetime | None]:
        def look() -> tuple[int, datetime | None]:
            with self._connection.cursor() as cursor:
                cursor.execute(_LOOK)
                number, at = cursor.fetchone()
            return int(number), at

        return await self._call(look)

    def close(self) -> None:
        with suppress(OSError):
            self._connection._sock.shutdown(socket.SHUT_RDWR)
        self._executor.shutdown(wait=False)

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)


class MysqlPair:
    """Implements `referee_database.Database`."""

    engine = "mysql"
    # PyMySQL, of a connection that was closed meanwhile: AttributeError of its socket.
    lost = (pymysql.Error, AttributeError)

    def __init__(self, stack: ExitStack, product: Product) -> None:
        self._stack = stack
        self._product = product
        self._installation = _find(product)
        self.source, self.target = [
            stack.enter_context(MysqlServer(self._installation, settings=SETTINGS)) for _ in range(2)
        ]
        self._version = str(self.source.fetch_value("SELECT version()")).split("-")[0]
        self._with_clock: tuple[MysqlServer, FakeClock] | None = None

    @property
    def label(self) -> str:
        return f"{self._product.name.lower()} {self._version}"

    async def make_fresh(self, name: str, source: Server) -> tuple[str, str]:
        # A job of a whole server takes all databases, so those of earlier situations go.
        for server in (source, self.target):
            assert isinstance(server, MysqlServer)
            await asyncio.to_thread(_drop_databases, server)
            await asyncio.to_thread(server.execute, f"CREATE DATABASE `{name}`")
        assert isinstance(source, MysqlServer)
        await asyncio.to_thread(source.execute, *_CREATE, database=name)
        return url_of(source, name), url_of(self.target, name)

    async def open_eye(self, url: str) -> _Eye:
        executor = ThreadPoolExecutor(max_workers=1)
        try:
            return _Eye(executor, await asyncio.get_running_loop().run_in_executor(executor, connect, url))
        except BaseException:
            executor.shutdown(wait=False)
            raise

    async def run_load(
        self, url: str, *, per_s: int | None = None, seconds: int | None = None, transactions: int | None = None
    ) -> None:
        options = {"--per-s": per_s, "--seconds": seconds, "--transactions": transactions}
        given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(Path(__file__).with_name("referee_load.py")), *given, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await process.communicate(f"{url}\n".encode())
        finally:
            if process.returncode is None:
                process.kill()

    async def insert_big(self, url: str, first: int, last: int) -> None:
        await asyncio.to_thread(_execute, url, _BIG.format(first=first, last=last))

    @asynccontextmanager
    async def block_row(self, url: str) -> AsyncIterator[None]:
        connection = await asyncio.to_thread(connect, url, autocommit=False)
        try:
            await asyncio.to_thread(connection.query, "SELECT 1 FROM referee WHERE id = 1 FOR UPDATE")
            yield
        finally:
            connection.close()

    @contextmanager
    def apart_zones(self) -> Iterator[None]:
        for server, zone in ((self.source, "+13:00"), (self.target, "-12:00")):
            server.restart(settings={"default_time_zone": zone})
        yield
        for server in (self.source, self.target):
            server.restart(settings={"default_time_zone": "SYSTEM"})

    def with_clock(self) -> tuple[Server, FakeClock] | None:
        library = find_library(is_threaded=True)
        if self._with_clock is None and library is not None:
            clock = FakeClock(Path(self._stack.enter_context(tempfile.TemporaryDirectory())))
            installation = replace(self._installation, program=_program(self._installation, library, clock))
            self._with_clock = self._stack.enter_context(MysqlServer(installation, settings=SETTINGS)), clock
        return self._with_clock


def url_of(server: MysqlServer, database: str = "") -> str:
    return f"mysql://{server.user}:{server.password}@{server.host}:{server.port}/{database}"


def _find(product: Product) -> MysqlInstallation:
    installation = find_installation(product)
    if installation is None:
        raise SystemExit(f"referee: {product.value} is not installed; `make referee` as root on Debian installs it")
    return installation


def _program(installation: MysqlInstallation, library: Path, clock: FakeClock) -> tuple[str, ...]:
    """The same program with the library in it."""
    program = installation.program
    if len(program) == 1:
        return "/usr/bin/env", f"LD_PRELOAD={library}", *clock.variables, *program
    # Started through the loader of its own C library, which takes the library; `env` itself must not.
    loader, *rest = program
    return "/usr/bin/env", *clock.variables, loader, "--preload", str(library), *rest


def _drop_databases(server: MysqlServer) -> None:
    rows = server.fetch_all(
        "SELECT schema_name FROM information_schema.schemata"
        " WHERE schema_name NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema', 'towline')"
    )
    server.execute(*(f"DROP DATABASE `{name}`" for (name,) in rows))


def _execute(url: str, *statements: str) -> None:
    connection = connect(url)
    try:
        for statement in statements:
            connection.query(statement)
    finally:
        connection.close()

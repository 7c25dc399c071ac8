"""Two PostgreSQL servers for the referee, through asyncpg and pgbench."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path

import asyncpg
from referee_clock import FakeClock, find_library
from referee_database import Server
from servers import SETTINGS

from towline.embedded.installation import PostgresInstallation, find_postgres
from towline.embedded.server import EmbeddedPostgres

CALL_S = 300.0  # a paused server answers late; nobody here gives up before
_CONNECT_S = 2.0
_CREATE = (
    "CREATE TABLE referee (id int PRIMARY KEY, n bigint NOT NULL, at timestamptz)",
    "INSERT INTO referee VALUES (1, 0, NULL)",
    "CREATE TABLE big (id int PRIMARY KEY, body text)",
)
_WRITE = "UPDATE referee SET n = $1, at = clock_timestamp() WHERE id = 1 RETURNING at"
_LOOK = "SELECT n, at FROM referee WHERE id = 1"
_BIG = "INSERT INTO big SELECT g, repeat(md5(g::text), 31) FROM generate_series({first}, {last}) AS g"
_SCRIPT = """#!/bin/sh
export LD_PRELOAD={library} {variables}
exec {program} "$@"
"""


class _Eye:
    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def write(self, number: int) -> datetime:
        at: datetime = await self._connection.fetchval(_WRITE, number)
        return at

    async def look(self) -> tuple[int, datetime | None]:
        row = await self._connection.fetchrow(_LOOK)
        return int(row["n"]), row["at"]

    def close(self) -> None:
        self._connection.terminate()


class PostgresPair:
    """Implements `referee_database.Database`."""

    engine = "postgresql"
    # The last: asyncpg says so when the line broke in the middle of a message.
    lost = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

    def __init__(self, stack: ExitStack, *, source_version: int, target_version: int) -> None:
        self._stack = stack
        self._source_installation = _find(source_version)
        self._bin_dir = _find(18).bin_dir
        self._versions = source_version, target_version
        self.source = stack.enter_context(EmbeddedPostgres(self._source_installation, settings=SETTINGS))
        self.target = stack.enter_context(EmbeddedPostgres(_find(target_version), settings=SETTINGS))
        self._with_clock: tuple[EmbeddedPostgres, FakeClock] | None = None

    @property
    def label(self) -> str:
        return "postgresql {} -> {}".format(*self._versions)

    async def make_fresh(self, name: str, source: Server) -> tuple[str, str]:
        assert isinstance(source, EmbeddedPostgres)
        source_url, target_url = [await _fresh_database(server, name) for server in (source, self.target)]
        fill = [self._bin_dir / "pgbench", "-i", "-q", "-s", "1", source_url]
        await asyncio.to_thread(subprocess.run, fill, check=True, capture_output=True)
        await _execute(source_url, *_CREATE)
        return source_url, target_url

    async def open_eye(self, url: str) -> _Eye:
        return _Eye(await asyncpg.connect(url, timeout=_CONNECT_S, command_timeout=CALL_S))

    async def run_load(
        self, url: str, *, per_s: int | None = None, seconds: int | None = None, transactions: int | None = None
    ) -> None:
        options = {"-R": per_s, "-T": seconds, "-t": None if transactions is None else transactions // 4}
        given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
        await run_program(self._bin_dir / "pgbench", "-n", "-c", "4", *given, url)

    async def insert_big(self, url: str, first: int, last: int) -> None:
        await _execute(url, _BIG.format(first=first, last=last))

    @asynccontextmanager
    async def block_row(self, url: str) -> AsyncIterator[None]:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await connection.execute("SELECT 1 FROM referee WHERE id = 1 FOR UPDATE")
                yield
        finally:
            connection.terminate()

    @contextmanager
    def apart_zones(self) -> Iterator[None]:
        zones = "Pacific/Kiritimati", "Pacific/Pago_Pago"
        for server, zone in zip((self.source, self.target), zones, strict=True):
            server.restart(settings={"timezone": zone, "log_timezone": zone})
        yield
        for server in (self.source, self.target):
            server.restart(settings={"timezone": "UTC", "log_timezone": "UTC"})

    def with_clock(self) -> tuple[Server, FakeClock] | None:
        library = find_library()
        if self._with_clock is None and library is not None:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            clock = FakeClock(folder)
            installation = _with_library(self._source_installation, folder, library, clock)
            self._with_clock = self._stack.enter_context(EmbeddedPostgres(installation, settings=SETTINGS)), clock
        return self._with_clock


async def run_program(*command: str | Path) -> None:
    """To its end; a cancelled wait ends the program."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()


def _find(version: int) -> PostgresInstallation:
    installation = find_postgres(version)
    if installation is None:
        raise SystemExit(f"referee: PostgreSQL {version} is not installed")
    return installation


def _with_library(
    installation: PostgresInstallation, folder: Path, library: Path, clock: FakeClock
) -> PostgresInstallation:
    """The same programs, the server's replaced by a script that loads the library into the real one."""
    # Where every account may run it.
    real = installation.copy_to(folder / "real")
    bin_dir = folder / "bin"
    bin_dir.mkdir(mode=0o755)
    for program in real.bin_dir.iterdir():
        (bin_dir / program.name).symlink_to(program)
    script = bin_dir / "postgres"
    script.unlink()
    script.write_text(
        _SCRIPT.format(library=library, variables=" ".join(clock.variables), program=real.program("postgres"))
    )
    script.chmod(0o755)
    return PostgresInstallation(installation.version, bin_dir)


async def _fresh_database(server: EmbeddedPostgres, name: str) -> str:
    await _execute(server.url(), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')
    return server.url(name)


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url, command_timeout=600)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        connection.terminate()

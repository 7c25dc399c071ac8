"""Two local PostgreSQL servers for the benchmarks, and small helpers around them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from towline.embedded.installation import find_postgres
from towline.embedded.server import EmbeddedPostgres

# Both servers share one small machine with the client: memory for the cache, and no checkpoint in the middle of a case.
SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "60min",
    "maintenance_work_mem": "256MB",
    "autovacuum": "off",
}


# An installed program finds its modules compiled, whatever this shell says.
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and a target server, and the folder of their client programs."""

    source: EmbeddedPostgres
    target: EmbeddedPostgres
    bin_dir: Path


@contextmanager
def local_pair(version: int) -> Iterator[Pair]:
    installation = find_postgres(version)
    if installation is None:
        raise SystemExit(f"bench: PostgreSQL {version} is not installed; `make bench-pg` as root on Debian installs it")
    with (
        EmbeddedPostgres(installation, settings=SETTINGS) as source,
        EmbeddedPostgres(installation, settings=SETTINGS) as target,
    ):
        yield Pair(source, target, installation.program("psql").parent)


def execute(url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def fetch_value(url: str, query: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(run())


def fresh_database(server: EmbeddedPostgres, name: str) -> str:
    execute(
        server.url(),
        f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)',
        f'CREATE DATABASE "{name}"',
        "CHECKPOINT",
    )
    return server.url(name)


@dataclass(frozen=True, slots=True)
class Run:
    """One timed process: wall seconds and the peak memory of it or its biggest child, in MB."""

    seconds: float
    peak_rss_mb: float


def run_timed(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Run:
    """Run to the end; a failing command ends the benchmark with its output."""
    env = {**COMPILED, **(env or {})}
    started = time.perf_counter()
    with subprocess.Popen(
        command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode != 0:
        sys.stderr.write(output.decode(errors="replace")[-4000:])
        raise SystemExit(f"bench: {command[0]} ended with {process.returncode}")
    return Run(seconds, usage.ru_maxrss / 1024)


def towline(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "towline", *arguments]

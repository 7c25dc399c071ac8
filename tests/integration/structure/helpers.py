"""Moves the structure of one database to another, and looks at both with pg_dump."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.servers.databases import Database
from towline.adapters.postgres.bookkeeping import ensure_bookkeeping, take_over
from towline.adapters.postgres.connection import connect, libpq_environment, parse_url
from towline.adapters.postgres.structure_source import PgStructureSource
from towline.adapters.postgres.structure_target import PgStructureTarget
from towline.domain.jobs import Endpoint
from towline.domain.structure import Section, StructureItem, StructureReport
from towline.domain.tables import ObjectSelection
from towline.embedded import find_postgres
from towline.engine.structure import run_structure

JOB = "job-structure"
EVERYTHING = ObjectSelection()
RICH_SCHEMA = Path(__file__).with_name("rich_schema.sql")


@dataclass
class Move:
    """What a move of the structure reported."""

    items: list[StructureItem]
    reports: list[StructureReport] = field(default_factory=list)
    progress: list[tuple[int, int, int, int]] = field(default_factory=list)


def endpoint_of(database: Database, *, user: str = "") -> Endpoint:
    """The database as the superuser sees it, or as `user`, whose password is x."""
    endpoint = parse_url(database.url)
    return replace(endpoint, user=user, password="x") if user else endpoint


async def open_target(target: Database, *, user: str = "") -> PgStructureTarget:
    """The target side, owned by a new worker."""
    endpoint = endpoint_of(target, user=user)
    connection = await connect(endpoint, purpose="test")
    try:
        await ensure_bookkeeping(connection)
        epoch = await take_over(connection, JOB, epoch=None, source_identity="test")
    finally:
        await connection.close()
    return PgStructureTarget(endpoint, job_id=JOB, epoch=epoch)


async def move_structure(
    source: Database,
    target: Database,
    *,
    selection: ObjectSelection = EVERYTHING,
    sections: tuple[Section, ...] = tuple(Section),
    should_stop: Callable[[], bool] = lambda: False,
    user: str = "",
) -> Move:
    """What a job does with the structure, without the rows; goes on where an earlier call ended."""
    reports: list[StructureReport] = []
    structure_source = PgStructureSource(endpoint_of(source, user=user), target_major=target.server.version)
    structure_target = await open_target(target, user=user)
    try:
        items, _ = await structure_target.load_structure()
        if not items:
            items = await structure_source.read_structure(selection, on_report=reports.append)
            await structure_target.save_structure(items, reports)
        move = Move(items, reports)
        for section in sections:
            await run_structure(
                structure_target,
                section=section,
                workers=3,
                on_progress=lambda *figures: move.progress.append(figures),
                secrets={item.number: item for item in items if item.is_secret},
                on_report=reports.append,
                should_stop=should_stop,
            )
        await structure_target.write_sequences(await structure_source.read_sequences(selection), is_final=True)
        return move
    finally:
        await structure_target.close()


def run_program(database: Database, name: str, *arguments: str, version: int = 0, stdin: str = "") -> str:
    """Output of a client program run against the database."""
    installation = find_postgres(version or database.server.version)
    assert installation is not None
    done = subprocess.run(
        [installation.program(name), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=libpq_environment(parse_url(database.url), purpose=name),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def dump_structure(database: Database, *, version: int = 0) -> list[str]:
    """pg_dump's view of the structure, as lines; without Towline's own schema, and what differs per run."""
    options = ("--schema-only", "--no-publications", "--exclude-schema=towline")
    text = run_program(database, "pg_dump", *options, version=version)
    noise = ("-- Dumped ", "\\restrict ", "\\unrestrict ")
    return [line for line in text.splitlines() if not line.startswith(noise)]


def restore_as_usual(source: Database, target: Database) -> None:
    """What `pg_dump | psql` makes of the source; errors about missing roles are passed over, as psql does."""
    version = source.server.version
    text = "\n".join(dump_structure(source, version=version))
    run_program(target, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=0", stdin=text)

"""Real archives of several pg_dump versions, and what happens when pg_dump cannot read the source."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from tests.integration.structure.helpers import run_program
from tests.servers.databases import Database
from tests.servers.fixtures import DatabaseFactory
from towline.adapters.postgres import pg_dump
from towline.adapters.postgres.connection import parse_url
from towline.adapters.postgres.dump_toc import ArchiveUnreadable, decode_toc
from towline.adapters.postgres.pg_dump import PgDump, find_pg_dump, read_archive
from towline.adapters.postgres.structure_items import plan_items
from towline.adapters.postgres.structure_selection import CatalogFacts
from towline.domain.errors import ConnectionLost, MissingPrivilege, PgDumpMissing, TargetBusy
from towline.embedded import EmbeddedPostgres, find_postgres


def program(version: int) -> PgDump:
    installation = find_postgres(version)
    assert installation is not None
    return PgDump(version, str(installation.program("pg_dump")))


@pytest.mark.postgres(source=15, target=18)
@pytest.mark.parametrize("version", [15, 16, 18])
async def test_every_entry_is_read_as_pg_restore_lists_it(rich_source: Database, version: int) -> None:
    archive = await read_archive(parse_url(rich_source.url), program(version), purpose="test")
    toc = decode_toc(archive)
    installation = find_postgres(version)
    assert installation is not None
    listed = _list(str(installation.program("pg_restore")), archive)
    lines = [line for line in listed.splitlines() if line and not line.startswith(";")]
    # pg_restore lists what it would restore: not the settings, nor the database itself.
    shown = [entry for entry in toc.entries if entry.desc not in ("ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE")]
    expected = [
        f"{e.dump_id}; {e.class_oid} {e.oid} {e.desc} {e.namespace or '-'} {_one_line(e.tag)} {e.owner}".rstrip()
        for e in shown
    ]
    assert [line.rstrip() for line in lines] == expected
    assert int(toc.dump_version.split(".")[0]) == version


def _list(pg_restore: str, archive: bytes) -> str:
    return subprocess.run([pg_restore, "--list"], input=archive, capture_output=True, check=True).stdout.decode()


def _one_line(tag: str) -> str:
    return tag.replace("\n", " ").replace("\r", " ")


@pytest.mark.postgres(source=18, target=18)
async def test_archive_cut_anywhere_is_told(source_database: Database) -> None:
    source_database.execute("CREATE TABLE t (a int PRIMARY KEY)")
    archive = await read_archive(parse_url(source_database.url), program(18), purpose="test")
    whole = decode_toc(archive)
    for end in range(len(archive)):
        try:
            assert decode_toc(archive[:end]) == whole
        except ArchiveUnreadable:
            continue


def test_oldest_fitting_pg_dump_is_chosen(pg15: EmbeddedPostgres, pg18: EmbeddedPostgres) -> None:
    assert find_pg_dump(pg15.version).major == 15
    assert find_pg_dump(12).major <= 15
    assert find_pg_dump(pg18.version).major == 18
    with pytest.raises(PgDumpMissing, match="99"):
        find_pg_dump(99)


async def test_i7_arguments_of_pg_dump_hold_no_password(
    source_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []
    start = asyncio.create_subprocess_exec

    async def watch(*arguments: Any, **options: Any) -> Any:
        seen.append(arguments)
        return await start(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watch)
    endpoint = parse_url(source_database.url)
    await read_archive(endpoint, program(18), purpose="test")
    assert seen
    assert endpoint.password not in repr(seen)
    assert endpoint.password not in repr(endpoint)


async def test_pg_dump_that_cannot_connect_is_told_without_the_password(source_database: Database) -> None:
    endpoint = replace(parse_url(source_database.url), password="WRONG-SECRET")
    with pytest.raises(ConnectionLost) as caught:
        await read_archive(endpoint, program(18), purpose="test")
    assert "WRONG-SECRET" not in str(caught.value)


async def test_table_that_may_not_be_read_is_named(
    source_server: EmbeddedPostgres, fresh_database: DatabaseFactory
) -> None:
    database = fresh_database(source_server)
    role = f"nobody_{database.name}"
    database.execute(f"CREATE TABLE secret (a int); CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        endpoint = replace(parse_url(database.url), user=role, password="x")
        with pytest.raises(MissingPrivilege, match="secret"):
            await read_archive(endpoint, program(18), purpose="test")
    finally:
        database.execute(f"DROP ROLE {role}")


async def test_locked_table_is_waited_for_and_told(source_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pg_dump, "_LOCK_WAIT_S", 0.2)
    source_database.execute("CREATE TABLE busy (a int)")
    with source_database.connect() as holder:
        holder.execute("BEGIN; LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TargetBusy):
            await read_archive(parse_url(source_database.url), program(18), purpose="test")


@pytest.mark.postgres(source=15, target=18)
async def test_newer_pg_dump_reads_an_older_source(source_database: Database, target_database: Database) -> None:
    """As on a machine without the old client programs; the odd option of late 15 must not get through."""
    source_database.execute("CREATE TABLE t (a int, b text); ALTER TABLE t ALTER a SET (n_distinct = 5)")
    archive = await read_archive(parse_url(source_database.url), program(18), purpose="test")
    items, _ = plan_items([e for e in decode_toc(archive).entries if e.desc == "TABLE"], CatalogFacts())
    target_database.execute("\n".join(s for item in items if item.kind == "TABLE" for s in item.statements))
    assert "n_distinct" in run_program(target_database, "pg_dump", "--schema-only")

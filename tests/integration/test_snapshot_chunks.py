"""Which rows a chunk holds under a later snapshot, asked of real servers."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from tests.servers.databases import Database
from tests.servers.fixtures import DatabaseFactory
from towline.adapters.postgres.catalog import read_tables
from towline.adapters.postgres.connection import parse_url
from towline.adapters.postgres.snapshot import render_chunk_query
from towline.bootstrap import open_sides
from towline.domain.errors import DataError
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.tables import ObjectSelection, Table, TableName
from towline.embedded import EmbeddedPostgres
from towline.engine.ports import Chunk, SnapshotFact

WITH_PLACE = "SELECT ctid::text, id, n FROM ONLY"


async def _only_table(connection: asyncpg.Connection) -> Table:
    (table,) = await read_tables(connection, ObjectSelection())
    return table


async def _rows(connection: asyncpg.Connection, query: str) -> set[tuple[int, int]]:
    return {(row["id"], row["n"]) for row in await connection.fetch(query)}


@pytest.mark.parametrize("version", [15, 16, 18])
async def test_i4_unchanged_and_changed_rows_part_the_later_snapshot(
    version: int, request: pytest.FixtureRequest, fresh_database: DatabaseFactory
) -> None:
    """Subtransactions and transactions open at the first snapshot included."""
    server = request.getfixturevalue(f"pg{version}")
    database = fresh_database(server)
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int, filler text); "
        "INSERT INTO t SELECT i, 0, repeat('x', 100) FROM generate_series(1, 4000) i"
    )
    writer, base, later = [await asyncpg.connect(database.url) for _ in range(3)]
    try:
        # Open while the first snapshot is taken, with a subtransaction that has its own transaction id.
        await writer.execute("BEGIN; UPDATE t SET n = 1 WHERE id = 7; SAVEPOINT s; UPDATE t SET n = 2 WHERE id = 3000")
        await base.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        base_text = await base.fetchval("SELECT txid_current_snapshot()::text")
        table = await _only_table(base)
        at_base = {tuple(r) for r in await base.fetch(f"{WITH_PLACE} t")}
        await writer.execute("COMMIT")
        await writer.execute("UPDATE t SET n = 3 WHERE id % 40 = 0")
        await writer.execute("DELETE FROM t WHERE id % 50 = 1")
        await writer.execute(
            "BEGIN; SAVEPOINT a; INSERT INTO t SELECT 10000 + i, 4 FROM generate_series(1, 50) i; COMMIT"
        )
        await later.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        later_text = await later.fetchval("SELECT txid_current_snapshot()::text")
        everything = {tuple(r)[1:] for r in await later.fetch("SELECT 0, id, n FROM t")}
        first = SnapshotFact(1, "0/1", base_text)

        def query(chunk: Chunk) -> str:
            select = render_chunk_query(table, chunk, changed_since=first, snapshot_text=later_text)
            return select.replace('SELECT "id", "n", "filler"', "SELECT ctid::text AS place, id, n")

        changed = await later.fetch(query(Chunk(table.name, 2, 0, None, "changed")))
        middle = table.pages // 2
        halves = [
            await later.fetch(query(Chunk(table.name, 0, 0, middle))),
            await later.fetch(query(Chunk(table.name, 1, middle, None))),
        ]
        unchanged = [row for half in halves for row in half]
        assert {(r["id"], r["n"]) for r in [*changed, *unchanged]} == everything
        assert len(changed) + len(unchanged) == len(everything)
        # An unchanged row lay in the same place before, so in the same chunk.
        assert {tuple(r) for r in unchanged} <= at_base
        assert {3, 4} <= {r["n"] for r in changed}
        assert {7, 3000} <= {r["id"] for r in changed}
    finally:
        for connection in (writer, base, later):
            await connection.close()


@pytest.mark.postgres(source=15, target=18)
@pytest.mark.parametrize("filler", ["'x'", "repeat('x', 2000)"])
async def test_row_that_does_not_fit_is_named_by_its_key(
    source_database: Database, target_database: Database, tmp_path: Path, filler: str
) -> None:
    """Also when the target refuses it while most of the chunk is still on its way."""
    source_database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int, filler text);"
        f"INSERT INTO t SELECT i, CASE i WHEN 7 THEN 100000 ELSE i END, {filler} FROM generate_series(1, 5000) i"
    )
    target_database.execute("CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n < 100000), filler text)")
    spec = JobSpec("named", TaskMode.FULL, parse_url(source_database.url), parse_url(target_database.url))
    sides = await open_sides(spec, epoch=None, work_dir=tmp_path)
    try:
        (table,) = await sides.copy_source.read_tables(ObjectSelection())
        snapshot = await sides.copy_source.open_base_snapshot([table], follow=False)
        reader, writer = await snapshot.open_reader(), await sides.copy_target.open_writer()
        with pytest.raises(DataError) as caught:
            work = [(table, Chunk(table.name, 0, 0, None))]
            await writer.write(work, reader, snapshot_number=1, changed_since={}, on_bytes=_count_nothing)
        assert (caught.value.context["table"], caught.value.context["key"]) == ("t", "id=7")
        for each in (reader, writer, snapshot):
            await each.close()
    finally:
        await sides.close()


async def _count_nothing(_table: Table, _size: int) -> None:
    pass


@pytest.mark.parametrize("version", [15, 18])
async def test_catalog_names_keys_forms_and_rewrites(
    version: int, request: pytest.FixtureRequest, fresh_database: DatabaseFactory
) -> None:
    server = request.getfixturevalue(f"pg{version}")
    database = fresh_database(server)
    database.execute(
        """CREATE TYPE mood AS ENUM ('ok'); CREATE DOMAIN short AS text CHECK (length(value) < 5);
        CREATE TYPE pair AS (a int, b int); CREATE TYPE span AS RANGE (subtype = float8);
        CREATE TABLE a (x int, y int, z int GENERATED ALWAYS AS (x + 1) STORED, PRIMARY KEY (y, x));
        CREATE TABLE b (m mood, s short, i int[], ip span);
        CREATE TABLE i (v int2vector);
        CREATE TABLE c (m mood[]); CREATE TABLE d (p pair); CREATE TABLE e (r regclass); CREATE TABLE f (o pair[]);
        CREATE TABLE g (k int NOT NULL, v text NOT NULL); CREATE UNIQUE INDEX g_v ON g (v);
        ALTER TABLE g REPLICA IDENTITY USING INDEX g_v;
        CREATE UNLOGGED TABLE h (i int);
        CREATE TABLE p (i int) PARTITION BY RANGE (i); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);
        CREATE VIEW v AS SELECT 1 AS one; CREATE TEMP TABLE nope (i int)"""
    )
    connection = await asyncpg.connect(database.url)
    try:
        tables = {t.name.name: t for t in await read_tables(connection, ObjectSelection())}
        await connection.execute("VACUUM FULL a")
        again = {t.name.name: t for t in await read_tables(connection, ObjectSelection())}
    finally:
        await connection.close()
    assert set(tables) == {"a", "b", "c", "d", "e", "f", "g", "h", "i", "p1"}
    assert tables["a"].key == ("y", "x")
    assert [column.name for column in tables["a"].columns] == ["x", "y"]
    assert tables["g"].key == ("v",)
    assert tables["b"].key == ()
    assert {name for name, t in tables.items() if not t.is_binary_safe} == {"c", "d", "e", "f", "i"}
    assert not tables["h"].is_logged
    assert again["a"].storage_id != tables["a"].storage_id
    assert again["b"].storage_id == tables["b"].storage_id


async def test_selected_parent_brings_its_partitions(pg18: EmbeddedPostgres, fresh_database: DatabaseFactory) -> None:
    database = fresh_database(pg18)
    database.execute(
        """CREATE TABLE p (i int) PARTITION BY RANGE (i);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9) PARTITION BY LIST (i);
        CREATE TABLE p11 PARTITION OF p1 FOR VALUES IN (1); CREATE TABLE other (i int)"""
    )
    connection = await asyncpg.connect(database.url)
    try:
        selection = ObjectSelection(tables=frozenset({TableName("public", "p")}))
        tables = await read_tables(connection, selection)
    finally:
        await connection.close()
    assert [t.name.name for t in tables] == ["p11"]

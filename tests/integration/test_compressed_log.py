"""When a session of the target compresses its log, and when it keeps its hands off."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.servers.fixtures import ServerFactory
from towline.adapters.postgres.compressed_log import ensure_compressed_log
from towline.embedded import EmbeddedPostgres


@pytest.fixture
async def session(pg15: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(pg15.url())
    yield connection
    await connection.close()


async def chosen(session: asyncpg.Connection) -> str:
    await ensure_compressed_log(session)
    return str(await session.fetchval("SHOW wal_compression"))


async def test_full_pages_are_compressed(session: asyncpg.Connection):
    assert await chosen(session) == "lz4"


async def test_an_operators_choice_stays(session: asyncpg.Connection):
    await session.execute("SET wal_compression = 'pglz'")
    assert await chosen(session) == "pglz"


async def test_a_user_without_the_right_goes_without(session: asyncpg.Connection):
    await session.execute("CREATE ROLE towline_plain; SET ROLE towline_plain")
    try:
        assert await chosen(session) == "off"
    finally:
        await session.execute("RESET ROLE; DROP ROLE towline_plain")


async def test_a_standby_of_another_build_is_not_put_at_risk(private_server: ServerFactory):
    connection = await asyncpg.connect(private_server(15).url())
    try:
        await connection.execute("SELECT pg_create_physical_replication_slot('standby')")
        assert await chosen(connection) == "off"
    finally:
        await connection.close()


async def test_a_build_without_lz4_goes_without(pg18: EmbeddedPostgres):
    connection = await asyncpg.connect(pg18.url())
    try:
        can_lz4 = await connection.fetchval(
            "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'wal_compression'"
        )
        assert await chosen(connection) == ("lz4" if can_lz4 else "off")
    finally:
        await connection.close()

"""What the stream asks of the source's server, whatever that is set to."""

from __future__ import annotations

from tests.servers import Database
from tests.servers.fixtures import ServerFactory
from towline.adapters.postgres.connection import connect, parse_url
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.probe import PgProbe, read_current_position
from towline.adapters.postgres.slots import connect_replication


async def test_sender_waits_long_enough_for_answers(private_server: ServerFactory):
    source = Database(private_server(18, settings={"wal_sender_timeout": "100ms"}), "postgres")
    connection = await connect_replication(parse_url(source.url), purpose="test")
    try:
        assert await (await connection.execute("SHOW wal_sender_timeout")).fetchone() == ("1min",)
    finally:
        await connection.close()


async def test_sessions_keep_to_their_own_settings(source_database: Database):
    odd = {"lc_monetary": "POSIX", "array_nulls": "off", "xmloption": "document", "row_security": "on"}
    for name, value in odd.items():
        source_database.execute(f"ALTER DATABASE {source_database.name} SET {name} = '{value}'")
    expected = {"lc_monetary": "C", "array_nulls": "on", "xmloption": "content", "row_security": "off"}
    session = await connect(parse_url(source_database.url), purpose="test")
    replication = await connect_replication(parse_url(source_database.url), purpose="test")
    try:
        for name, value in expected.items():
            assert await session.fetchval(f"SHOW {name}") == value
            assert await (await replication.execute(f"SHOW {name}".encode())).fetchone() == (value,)
    finally:
        await session.close()
        await replication.close()


async def test_position_of_an_idle_source_is_one_that_a_reader_comes_to(private_server: ServerFactory):
    source = Database(private_server(18, settings={"autovacuum": "off"}), "postgres")
    endpoint = parse_url(source.url)
    connection = await connect(endpoint, purpose="test")
    probe, silent = (PgProbe(endpoint, job_id="test", writes_heartbeat=writes) for writes in (True, False))
    try:
        # The next record begins behind the header of a new file, the last one ends before it.
        await connection.execute("CHECKPOINT; SELECT pg_switch_wal()")
        position = await read_current_position(connection)
        assert (await probe.sample()).position == position
        assert Lsn.parse(await connection.fetchval("SELECT pg_current_wal_flush_lsn()::text")).covers(position)
        assert position < Lsn.parse(await connection.fetchval("SELECT pg_current_wal_insert_lsn()::text"))
        await silent.nudge()
        assert (await probe.sample()).position == position
        await probe.nudge()
        assert (await probe.sample()).position != position
    finally:
        await probe.close()
        await connection.close()

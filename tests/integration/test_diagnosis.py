"""What both servers say of a job, without a worker: old and new versions, few and many privileges."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.integration.test_serve import endpoint
from tests.servers.databases import Database
from tests.servers.fixtures import ServerFactory
from towline.adapters.postgres.diagnosis import PgSourceDiagnosis, PgTargetDiagnosis
from towline.domain.diagnosis import SourceFacts
from towline.domain.errors import ConnectionLost, ServerUnreachable

JOB_ID = "diagnosed"


async def look(source: Database, *, slot: str = "no_such_slot", user: str = "") -> SourceFacts:
    place = endpoint(source)
    diagnosis = PgSourceDiagnosis(
        replace(place, user=user, password="lookr") if user else place, job_id=JOB_ID, slot=slot
    )
    try:
        return await diagnosis.read(at_us=7)
    finally:
        await diagnosis.close()


@pytest.mark.postgres(source=15, target=16)
async def test_the_slot_its_limit_and_what_is_held(source_database: Database):
    slot = f"kept_{source_database.name}"[:63]
    assert not (await look(source_database, slot=slot)).log.is_there
    source_database.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    log = (await look(source_database, slot=slot)).log
    assert (log.is_there, log.is_read, log.is_lost, log.is_doomed) == (True, False, False, False)
    assert (log.state, log.is_limited, log.left_bytes) == ("reserved", False, None)
    source_database.execute("CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
    source_database.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '512MB'")
    source_database.execute("SELECT pg_reload_conf()")
    try:
        async with asyncio.timeout(20):
            while not (facts := await look(source_database, slot=slot)).log.is_limited:
                await asyncio.sleep(0.05)
    finally:
        source_database.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        source_database.execute("SELECT pg_reload_conf()")
    assert facts.log.limit_bytes == 512 * 1024 * 1024
    assert facts.log.held_bytes is not None
    assert log.held_bytes is not None
    assert facts.log.held_bytes > log.held_bytes + 2_000_000
    assert facts.log.left_bytes is not None
    assert 0 < facts.log.left_bytes < 600 * 1024 * 1024


@pytest.mark.postgres(source=18, target=18)
async def test_slot_that_nobody_reads_and_the_limit_for_that(source_database: Database):
    slot = f"unread_{source_database.name}"[:63]
    source_database.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    log = (await look(source_database, slot=slot)).log
    assert (log.is_read, log.unused_limit_s) == (False, None)
    assert log.unused_s is not None
    assert 0 <= log.unused_s < 60
    source_database.execute("ALTER SYSTEM SET idle_replication_slot_timeout = '2d'")
    source_database.execute("SELECT pg_reload_conf()")
    try:
        async with asyncio.timeout(20):
            while (log := (await look(source_database, slot=slot)).log).unused_limit_s is None:
                await asyncio.sleep(0.05)
    finally:
        source_database.execute("ALTER SYSTEM RESET idle_replication_slot_timeout")
        source_database.execute("SELECT pg_reload_conf()")
    assert log.unused_limit_s == 172_800


@pytest.mark.parametrize(
    (), [pytest.param(marks=pytest.mark.postgres(source=s, target=18), id=str(s)) for s in (15, 18)]
)
async def test_changed_rows_are_counted_and_pages_that_are_logged_are_not(source_database: Database):
    source_database.execute("CREATE TABLE t AS SELECT n, 0 AS x FROM generate_series(1, 1000) n")
    before = await _until_counted(source_database, 1000)
    source_database.execute("UPDATE t SET x = 1 WHERE n <= 600; DELETE FROM t WHERE n > 600")
    after = await _until_counted(source_database, before + 1000)
    source_database.execute("VACUUM t")
    assert await _until_counted(source_database, after) < after + 100  # its catalogs at most


async def _until_counted(database: Database, rows: int) -> int:
    """Sessions tell what they have changed a second late."""
    async with asyncio.timeout(20):
        while ((await look(database)).changed_rows or 0) < rows:
            await asyncio.sleep(0.05)
    changed_rows = (await look(database)).changed_rows
    assert changed_rows is not None
    return changed_rows


async def test_what_may_not_be_seen_is_counted(source_database: Database):
    user = f"looker_{source_database.name}"[:63]
    source_database.execute(f"CREATE ROLE \"{user}\" LOGIN PASSWORD 'lookr'")
    try:
        with source_database.connect() as session:
            session.execute("BEGIN")
            session.execute("SELECT pg_current_xact_id()")
            facts = await look(source_database, user=user)
            assert facts.hidden_sessions >= 1
            # It has written, which shows; since when does not.
            hidden = [entry for entry in facts.transactions if entry.session.pid == session.info.backend_pid]
            assert [(entry.has_written, entry.session.transaction_age_s) for entry in hidden] == [(True, None)]
            source_database.execute(f'GRANT pg_read_all_stats TO "{user}"')
            facts = await look(source_database, user=user)
            assert facts.hidden_sessions == 0
            assert facts.transactions[0].session.statement == "SELECT pg_current_xact_id()"
            session.execute("ROLLBACK")
    finally:
        source_database.execute(f'DROP OWNED BY "{user}"; DROP ROLE "{user}"')


async def test_a_prepared_transaction_that_blocks_is_named_as_one(target_database: Database):
    target_database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    target_database.execute("BEGIN; LOCK TABLE t; PREPARE TRANSACTION 'halfway'")
    diagnosis = PgTargetDiagnosis(endpoint(target_database), job_id=JOB_ID)

    def wait_for_lock() -> None:
        with target_database.connect() as session:
            session.execute(f"SET application_name = 'towline:{JOB_ID}:apply'")
            session.execute("INSERT INTO t VALUES (1)")

    waiting = asyncio.create_task(asyncio.to_thread(wait_for_lock))
    try:
        async with asyncio.timeout(20):
            while not (facts := await diagnosis.read(at_us=7)).lock_waits:
                await asyncio.sleep(0.05)
    finally:
        target_database.execute("ROLLBACK PREPARED 'halfway'")
        await waiting
        await diagnosis.close()
    (wait,) = facts.lock_waits
    assert wait.purpose == "apply"
    assert [blocker.prepared_as is not None for blocker in wait.blockers] == [True]


async def test_a_server_that_is_frozen_is_an_outage_within_seconds(private_server: ServerFactory):
    server = private_server(18)
    diagnosis = PgTargetDiagnosis(endpoint(Database(server, "postgres")), job_id=JOB_ID)
    await diagnosis.read(at_us=7)
    server.pause()
    try:
        async with asyncio.timeout(15):
            with pytest.raises(ConnectionLost):
                await diagnosis.read(at_us=8)
            with pytest.raises((ServerUnreachable, ConnectionLost)):
                await diagnosis.read(at_us=9)
    finally:
        server.resume()
    assert (await diagnosis.read(at_us=10)).lock_waits == ()
    await diagnosis.close()

"""What a running stream says of itself, and what it obeys."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from functools import partial

from tests.integration.stream.conftest import MakeStream
from tests.integration.stream.harness import StreamJob

TABLE = "CREATE TABLE t (id int PRIMARY KEY, note text)"


def now_us() -> int:
    return time.time_ns() // 1000


def proven_us(job: StreamJob) -> int:
    return 0 if job.figures is None else job.figures.proven_source_time_us or 0


def is_proven_past(job: StreamJob, time_us: int) -> bool:
    return proven_us(job) > time_us


async def test_idle_source_keeps_the_proof_fresh(make_stream: MakeStream):
    job = await make_stream(TABLE)
    job.start()
    for _ in range(3):
        asked_us = now_us()
        await job.wait_until(partial(is_proven_past, job, asked_us), timeout_s=10)
    assert job.figures is not None
    assert job.figures.is_caught_up
    assert abs(job.figures.source_clock_offset_us or 0) < 250_000


async def test_changes_of_other_tables_do_not_hold_the_proof_up(make_stream: MakeStream):
    job = await make_stream(TABLE)
    job.source.execute("CREATE TABLE elsewhere (n int)")
    job.start()
    for _ in range(3):
        # Left unflushed: only the log's next flush or a heartbeat moves the sender past it.
        job.source.execute("SET synchronous_commit = off; INSERT INTO elsewhere SELECT generate_series(1, 1000)")
        asked_us = now_us()
        await job.wait_until(partial(is_proven_past, job, asked_us), timeout_s=15)


async def test_open_transaction_does_not_hold_the_proof_up(make_stream: MakeStream):
    job = await make_stream(TABLE)
    job.start()
    with job.source.connect() as session:
        session.execute("BEGIN; INSERT INTO t VALUES (1, 'open')")
        asked_us = now_us()
        await job.wait_until(lambda: proven_us(job) > asked_us, timeout_s=20)
        session.execute("COMMIT")
    await job.assert_in_step()


async def test_blocked_target_lets_the_proof_stand_still_and_is_named(make_stream: MakeStream):
    job = await make_stream(TABLE)
    job.start()
    job.source.execute("INSERT INTO t VALUES (1, 'x')")
    await job.wait_applied()
    with job.target.connect() as blocker:
        pid = blocker.info.backend_pid
        blocker.execute("BEGIN; LOCK TABLE t")
        job.source.execute("UPDATE t SET note = 'y'")
        committed_us = now_us()
        await job.wait_until(lambda: f"process {pid}" in str(job._waiting_for()))
        later_us = now_us() + 1_500_000
        await job.wait_until(lambda: now_us() > later_us)
        assert proven_us(job) < committed_us
        blocker.execute("ROLLBACK")
    await job.wait_until(lambda: proven_us(job) > committed_us)
    await job.wait_until(lambda: job._waiting_for() is None)
    await job.assert_in_step()


async def test_proof_is_never_ahead_of_the_truth(make_stream: MakeStream):
    """Rows carry the source's time at their commit; what is proven must be on the target."""
    job = await make_stream("CREATE TABLE beat (id serial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())")
    job.start()
    await job.wait_applied()
    is_over = False

    def beat() -> None:
        with job.source.connect() as session:
            while not is_over:
                session.execute("INSERT INTO beat DEFAULT VALUES")

    beating = asyncio.create_task(asyncio.to_thread(beat))
    try:
        for _ in range(60):
            proven = proven_us(job)
            # What was committed on the source up to the proven time, and what the target has of it.
            when = datetime.fromtimestamp(proven / 1e6, tz=UTC) - timedelta(milliseconds=20)
            query = "SELECT count(*) FROM beat WHERE at <= %s"
            on_target = job.target.fetch_value(query, (when,))
            assert on_target == job.source.fetch_value(query, (when,))
            await asyncio.sleep(0.02)
        assert now_us() - proven_us(job) < 1_000_000
    finally:
        is_over = True
        await beating
    await job.assert_in_step()


async def test_counts_and_rates(make_stream: MakeStream):
    job = await make_stream(TABLE)
    job.start()
    await job.wait_applied()
    assert job.figures is not None
    before = job.figures.transactions
    with job.source.connect() as session:
        for number in range(50):
            session.execute("INSERT INTO t VALUES (%s, 'x'), (%s, 'y')", (number, -number - 1))
    await job.wait_applied()
    assert job.figures.changes == 100
    assert job.figures.transactions - before >= 50
    await job.wait_until(lambda: job.figures is not None and job.figures.rows_per_s)
    await job.wait_until(lambda: job.figures is not None and job.figures.rows_per_s == 0, timeout_s=15)
    assert job.figures.applied_position is not None
    assert job.figures.source_position is not None
    # The count goes on over a restart.
    await job.stop()
    job.start()
    await job.wait_until(lambda: job.figures is not None and job.figures.changes == 100)


async def test_speed_limit_holds_and_may_be_lifted(make_stream: MakeStream):
    job = await make_stream(TABLE)
    job.start()
    job.control.limit = 200_000
    await job.wait_applied()
    began_s = time.monotonic()
    for number in range(10):
        job.source.execute(f"INSERT INTO t SELECT {number} * 1000 + i, repeat('x', 90) FROM generate_series(1, 500) i")
    await job.wait_until(lambda: "speed limit" in str(job._waiting_for()))
    await job.wait_until(lambda: job.figures is not None and job.figures.changes >= 4000)
    assert time.monotonic() - began_s > 1.5
    job.control.limit = 1
    job.source.execute("INSERT INTO t SELECT 100000 + i, repeat('x', 90) FROM generate_series(1, 500) i")
    await job.wait_until(lambda: "speed limit" in str(job._waiting_for()))
    job.control.limit = None
    await job.assert_in_step()


async def test_pause_stops_applying_and_nothing_else(make_stream: MakeStream):
    job = await make_stream(TABLE)
    job.start()
    await job.wait_applied()
    job.control.is_apply_paused = True
    await job.wait_until(lambda: "pause" in str(job._waiting_for()))
    job.source.execute("INSERT INTO t VALUES (1, 'x')")
    held = job.checkpoint()
    await asyncio.sleep(0.3)
    assert job.checkpoint() == held
    job.control.is_apply_paused = False
    await job.assert_in_step()


async def test_stop_during_a_pause_or_a_blocked_batch(make_stream: MakeStream):
    job = await make_stream(TABLE)
    task = job.start()
    await job.wait_applied()
    job.control.is_apply_paused = True
    await job.wait_until(lambda: "pause" in str(job._waiting_for()))
    job.control.stop()
    await asyncio.wait_for(task, 10)
    task = job.start()
    await job.wait_applied()
    with job.target.connect() as blocker:
        blocker.execute("BEGIN; LOCK TABLE t")
        job.source.execute("INSERT INTO t VALUES (1, 'x')")
        await job.wait_until(lambda: "lock" in str(job._waiting_for()))
        job.control.stop()
        await asyncio.wait_for(task, 15)
    job.start()
    await job.assert_in_step()


async def test_stream_over_tls(make_stream: MakeStream, private_server, fresh_database):
    from towline.adapters.postgres import connection as pg_connection

    server = private_server(15)
    key, certificate = make_certificate()
    for name, data in (("server.key", key), ("server.crt", certificate)):
        path = server.data_dir / name
        path.write_bytes(data)
        path.chmod(0o600)
        owner = server.data_dir.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
    server.restart(settings={"ssl": "on"})
    job = await make_stream(TABLE)
    job.source = fresh_database(server)
    job.source.execute(TABLE)
    job.source_url = f"{job.source.url}?sslmode=require"
    await job.prepare()
    job.target.execute("DELETE FROM towline.checkpoint")
    assert pg_connection.parse_url(job.source_url).tls
    job.start()
    await job.wait_applied()
    assert job.source.fetch_value(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name LIKE %s",
        ("towline:%:stream",),
    )
    # Sizes around those of a TLS record and of the client's buffer.
    for size in (1, 4000, 16_000, 16_384, 17_000, 33_000, 700_000):
        job.source.execute("INSERT INTO t SELECT %s, repeat('x', %s)", (size, size))
        await job.wait_applied()
    job.source.execute("INSERT INTO t SELECT -i, repeat('y', 300) FROM generate_series(1, 20000) i")
    await job.assert_in_step()


def make_certificate() -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return private, certificate.public_bytes(pem)

"""A real worker names what its job waits for, and says when it is safe to switch over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.test_serve import SCHEMA, Site, announced, ended, opened_site, until_there
from tests.servers.databases import Database
from towline.domain.health import Health, Level, Wait, WaitKind
from towline.domain.jobs import JobStatus, SpeedWindow

ALL_DAY = (0, 24 * 60 - 1)


@dataclass
class Followed:
    """A job in its incremental phase, on a server of its own."""

    site: Site
    job_id: str

    async def health(self) -> Health:
        (outcome,) = await self.site.service.health(self.site.caller, [self.job_id])
        assert outcome.value is not None
        return outcome.value.health

    async def until(self, fact: Callable[[Health], object], *, timeout_s: float = 45) -> Health:
        """The first health of which the fact holds."""
        try:
            async with asyncio.timeout(timeout_s):
                while not fact(health := await self.health()):
                    await asyncio.sleep(0.1)
                return health
        except TimeoutError:
            raise AssertionError(f"not so after {timeout_s} s: {await self.health()}") from None

    async def limit(self, bytes_per_s: int | None) -> None:
        windows = [SpeedWindow(*ALL_DAY, bytes_per_s)] if bytes_per_s else []
        outcome = await self.site.service.set_speed(self.site.caller, self.job_id, windows)
        assert outcome.error is None
        async with asyncio.timeout(30):
            while await self.seen_limit() != bytes_per_s:
                await asyncio.sleep(0.05)

    async def seen_limit(self) -> int | None:
        """The limit that holds, by the worker's own word."""
        (outcome,) = await self.site.service.health(self.site.caller, [self.job_id])
        assert outcome.value is not None
        progress = outcome.value.job.progress
        return progress.diagnosis.limit_bytes_per_s if progress and progress.diagnosis else None


@asynccontextmanager
async def followed(folder: Path, source: Database, target: Database) -> AsyncIterator[Followed]:
    source.execute(SCHEMA)
    async with opened_site(folder) as site:
        with site.serve() as server:
            await announced(server)
            job_id = await site.start(source, target)
            await site.until(job_id, JobStatus.STREAMING)
            yield Followed(site, job_id)
            server.interrupt()
            assert await ended(server) == 0


def wait_of(health: Health, kind: WaitKind) -> Wait | None:
    return next((wait for wait in health.waits if wait.kind is kind), None)


def codes(health: Health) -> set[str]:
    return {reason.code for reason in health.verdict.reasons}


async def test_a_lock_on_the_target_is_named_and_the_verdict_waits_for_it(
    tmp_path: Path, source_database: Database, target_database: Database
):
    async with followed(tmp_path / "towline", source_database, target_database) as job:
        ready = await job.until(lambda health: health.verdict.is_ready)
        assert (ready.stall, ready.waits) == (None, ())
        assert ready.retention.level is Level.UNKNOWN  # the source sets no limit, and does not show its disk
        assert ready.retention.held_bytes is not None
        assert {advisory.code for advisory in ready.verdict.advisories} == {
            "SEQUENCES",
            "COMPARE",
            "TRIGGERS",
            "LOG_RETENTION",
        }

        with target_database.connect() as blocker:
            pid = blocker.info.backend_pid
            blocker.execute("BEGIN")
            blocker.execute("UPDATE item SET name = 'Geheim-77' WHERE id = 1")
            source_database.execute("UPDATE item SET name = 'new' WHERE id = 1")
            health = await job.until(lambda health: wait_of(health, WaitKind.TARGET_LOCK))
            wait = wait_of(health, WaitKind.TARGET_LOCK)
            assert wait is not None
            assert wait.session is not None
            assert wait.session.pid == pid
            assert wait.session.statement == "UPDATE item SET name = ? WHERE id = ?"
            assert f"pg_terminate_backend({pid})" in wait.remedy
            assert "TARGET_LOCK" in codes(health)
            # The delay grows by itself, and it is the target that it waits for.
            first = health.delay
            grown = await job.until(lambda health: health.delay and first and health.delay.total_ms > first.total_ms)
            stalled = await job.until(lambda health: health.stall)
            assert stalled.delay is not None
            assert stalled.delay.apply_ms > stalled.delay.total_ms // 2
            assert stalled.stall is not None
            assert f"process {pid}" in stalled.stall.reason
            assert "DELAY_LARGE" in codes(stalled)
            assert "Geheim" not in repr([health, grown, stalled])  # I7
            blocker.execute("ROLLBACK")
        after = await job.until(lambda health: health.verdict.is_ready)
        assert after.stall is None


async def test_an_open_transaction_on_the_source_is_named(
    tmp_path: Path, source_database: Database, target_database: Database
):
    async with followed(tmp_path / "towline", source_database, target_database) as job:
        with source_database.connect() as writer:
            pid = writer.info.backend_pid
            writer.execute("BEGIN")
            writer.execute("INSERT INTO item VALUES (20001, 'not committed')")
            health = await job.until(lambda health: wait_of(health, WaitKind.OPEN_TRANSACTION))
            wait = wait_of(health, WaitKind.OPEN_TRANSACTION)
            assert wait is not None
            assert wait.session is not None
            assert (wait.session.pid, wait.session.statement) == (pid, "INSERT INTO item VALUES (?, ?)")
            assert "idle in transaction" in wait.text
            assert codes(health) == {"OPEN_TRANSACTION"}
            assert health.stall is None
            # Prepared, it outlives its session and is still one.
            writer.execute("PREPARE TRANSACTION 'half-way'")
        prepared = await job.until(lambda health: "PREPARED_TRANSACTION" in codes(health))
        (reason,) = prepared.verdict.reasons
        assert "ROLLBACK PREPARED 'half-way'" in reason.remedy
        source_database.execute("COMMIT PREPARED 'half-way'")
        await job.until(lambda health: health.verdict.is_ready)


async def test_a_speed_limit_is_named_and_is_no_standstill(
    tmp_path: Path, source_database: Database, target_database: Database
):
    async with followed(tmp_path / "towline", source_database, target_database) as job:
        await job.limit(20_000)
        # What was taken at once under the limit is paid off before anything else may follow.
        source_database.execute("INSERT INTO item SELECT n, repeat('x', 100) FROM generate_series(30001, 50000) n")
        await until_there(target_database, "SELECT 1 FROM item WHERE id = 50000")
        source_database.execute("INSERT INTO item VALUES (50001, 'waits')")
        health = await job.until(lambda health: wait_of(health, WaitKind.SPEED_LIMIT) and health.delay)
        assert "0.02 MB/s" in health.waits[0].text
        late = await job.until(lambda health: "DELAY_LARGE" in codes(health))
        assert late.stall is None
        await job.limit(None)
        await job.until(lambda health: health.verdict.is_ready)

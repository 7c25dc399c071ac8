"""What a job is put through while the referee watches; each situation leaves both servers as it found them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum

from referee_clock import FakeClock
from referee_database import Database, Server
from referee_judge import Course
from referee_proxy import Proxy
from referee_service import Service
from referee_watch import Watcher


@dataclass(frozen=True)
class Stage:
    """A streaming job and all that can happen to it. The URLs lead straight to the databases, not through proxies."""

    database: Database
    source: Server
    target: Server
    source_url: str
    target_url: str
    source_line: Proxy
    target_line: Proxy
    clock: FakeClock | None
    service: Service
    job_id: str
    watcher: Watcher
    is_short: bool

    def length(self, usual: int, short: int) -> int:
        """How long or large something is: usually, and with --short."""
        return short if self.is_short else usual


class Needs(Enum):
    """What a situation needs of the servers."""

    NOTHING = "nothing"
    PROXY = "proxy"
    CLOCK = "clock"
    ZONES = "zones"


@dataclass(frozen=True, slots=True)
class Situation:
    """`play` returns when the disturbance is over; the referee then waits until the job is in step again."""

    name: str
    play: Callable[[Stage], Awaitable[None]]
    needs: Needs = Needs.NOTHING
    clock_offset_s: int = 0


# --- load ------------------------------------------------------------------------------------------


@asynccontextmanager
async def _light_load(stage: Stage) -> AsyncIterator[None]:
    """100 transactions a second beside what happens; it may meet the same trouble."""
    load = asyncio.create_task(stage.database.run_load(stage.source_url, per_s=100))
    try:
        yield
    finally:
        load.cancel()
        with suppress(asyncio.CancelledError):
            await load


async def _steady(stage: Stage) -> None:
    await stage.database.run_load(stage.source_url, per_s=500, seconds=stage.length(60, 20))


async def _bursts(stage: Stage) -> None:
    for _ in range(stage.length(20, 5)):
        await stage.database.run_load(stage.source_url, transactions=4000)
        await asyncio.sleep(2)


async def _big_transaction(stage: Stage) -> None:
    megabytes = stage.length(500, 100)
    await stage.database.insert_big(stage.source_url, 1, megabytes * 1000)
    # A binlog has it only now, and the target is behind a moment later.
    await asyncio.sleep(5)


async def _idle(stage: Stage) -> None:
    stage.watcher.is_writing = False
    with stage.watcher.stretch(Course.IDLE):
        await asyncio.sleep(stage.length(180, 20))
    stage.watcher.is_writing = True


# --- blocked and stopped ---------------------------------------------------------------------------


async def _row_lock(stage: Stage) -> None:
    async with _light_load(stage), stage.database.block_row(stage.target_url):
        with stage.watcher.stretch(Course.BLOCKED):
            await asyncio.sleep(stage.length(60, 20))


async def _target_stopped(stage: Stage) -> None:
    async with _light_load(stage):
        await asyncio.to_thread(stage.target.kill)
        try:
            with stage.watcher.stretch(Course.BLOCKED):
                await asyncio.sleep(stage.length(60, 12))
        finally:
            await asyncio.to_thread(stage.target.start)


async def _source_paused(stage: Stage) -> None:
    stage.source.pause()
    try:
        with stage.watcher.stretch(Course.SOURCE_STOPPED):
            await asyncio.sleep(stage.length(60, 12))
    finally:
        stage.source.resume()


async def _worker_killed(stage: Stage) -> None:
    async with _light_load(stage):
        for _ in range(2):
            assert stage.service.signal_workers(signal.SIGKILL) == 1
            await asyncio.sleep(stage.length(20, 6))


async def _worker_frozen(stage: Stage) -> None:
    """For longer than its lease: another worker must go on, whatever the frozen one does when it wakes."""
    async with _light_load(stage):
        assert stage.service.signal_workers(signal.SIGSTOP) == 1
        await asyncio.sleep(stage.length(60, 22))


# --- the network -----------------------------------------------------------------------------------


async def _cut(stage: Stage, line: Proxy) -> None:
    """First silence, then broken lines, then life."""
    async with _light_load(stage):
        with stage.watcher.stretch(Course.BLOCKED):
            line.stall()
            await asyncio.sleep(stage.length(60, 8))
            line.cut()
            await asyncio.sleep(stage.length(30, 4))
        line.resume()


async def _cut_source(stage: Stage) -> None:
    await _cut(stage, stage.source_line)


async def _cut_target(stage: Stage) -> None:
    await _cut(stage, stage.target_line)


async def _cut_both(stage: Stage) -> None:
    async with _light_load(stage):
        with stage.watcher.stretch(Course.BLOCKED):
            for line in (stage.source_line, stage.target_line):
                line.stall()
            await asyncio.sleep(stage.length(60, 8))
        for line in (stage.source_line, stage.target_line):
            line.cut()
            line.resume()


async def _throttled(stage: Stage) -> None:
    await stage.service.limit_speed(stage.job_id, 1)
    await asyncio.sleep(1.5)  # until the worker has read it
    for block in range(stage.length(60, 12)):
        await stage.database.insert_big(stage.source_url, block * 1500 + 1, block * 1500 + 1500)
        await asyncio.sleep(0.5)
    await asyncio.sleep(stage.length(30, 8))
    await stage.service.limit_speed(stage.job_id, None)


# --- clocks ----------------------------------------------------------------------------------------


async def _under_light_load(stage: Stage) -> None:
    async with _light_load(stage):
        await asyncio.sleep(stage.length(60, 10))


async def _clock_set(stage: Stage) -> None:
    """The source's clock is set ahead, and later back, while the job runs; some seconds after each the target blocks.

    A claim that still subtracts the old offset would then lie by as much as the clock was set.
    """
    assert stage.clock is not None
    async with _light_load(stage):
        for offset_s in (45, 0):
            stage.clock.set_offset(offset_s)
            await asyncio.sleep(3)
            async with stage.database.block_row(stage.target_url):
                with stage.watcher.stretch(Course.BLOCKED):
                    await asyncio.sleep(stage.length(30, 8))
            await asyncio.sleep(3)


SITUATIONS = (
    Situation("steady", _steady),
    Situation("bursts", _bursts),
    Situation("big-transaction", _big_transaction),
    Situation("idle", _idle),
    Situation("target-row-lock", _row_lock),
    Situation("target-stopped", _target_stopped),
    Situation("source-paused", _source_paused),
    Situation("worker-killed", _worker_killed),
    Situation("worker-frozen", _worker_frozen),
    Situation("source-cut", _cut_source, Needs.PROXY),
    Situation("target-cut", _cut_target, Needs.PROXY),
    Situation("both-cut", _cut_both, Needs.PROXY),
    Situation("throttled", _throttled),
    Situation("time-zones", _under_light_load, Needs.ZONES),
    Situation("clock-ahead", _under_light_load, Needs.CLOCK, clock_offset_s=90),
    Situation("clock-behind", _under_light_load, Needs.CLOCK, clock_offset_s=-90),
    Situation("clock-set", _clock_set, Needs.CLOCK),
)

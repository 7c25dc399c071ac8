"""Runs `run_stream` in a task and waits for facts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import asyncpg

from tests.servers import Database, assert_same_rows
from towline.adapters.postgres.bookkeeping import ensure_bookkeeping, take_over
from towline.adapters.postgres.catalog import read_tables
from towline.adapters.postgres.connection import parse_url
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.slot_reader import create_slot, ensure_publication
from towline.adapters.postgres.stream_sides import PgStreamSides
from towline.domain.jobs import ConflictPolicy, JobSpec, TaskMode
from towline.domain.tables import ObjectSelection, Table, TableName
from towline.engine.apply import AppliedState
from towline.engine.ports import StreamGoal, StreamSides
from towline.engine.stream import run_stream

JOB_ID = "job-1"
NAME = "towline_test"
TIMEOUT_S = 30.0


class SystemClock:
    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()


class Switches:
    """A `Control` that the test turns."""

    def __init__(self) -> None:
        self.is_apply_paused = False
        self.limit: int | None = None
        self._stop = asyncio.Event()

    @property
    def is_stop_wanted(self) -> bool:
        return self._stop.is_set()

    def limit_bytes_per_s(self) -> int | None:
        return self.limit

    async def wait_stop(self) -> None:
        await self._stop.wait()

    def stop(self) -> None:
        self._stop.set()


class StreamJob:
    """One stream; `start` and `stop` may alternate. `source_url` and `target_url` may lead through a proxy."""

    def __init__(
        self,
        source: Database,
        target: Database,
        spill_dir: Path,
        *,
        policy: ConflictPolicy = ConflictPolicy.STOP,
        memory_bytes: int = 64 * 1024 * 1024,
        source_url: str | None = None,
        target_url: str | None = None,
        tolerant: bool = False,
    ) -> None:
        self.source = source
        self.target = target
        self.spill_dir = spill_dir
        self.policy = policy
        self.memory_bytes = memory_bytes
        self.source_url = source_url or source.url
        self.target_url = target_url or target.url
        self.tolerant_until: Lsn | None = None
        self.floors: dict[TableName, Lsn] = {}
        self.slot = f"{NAME}_{source.name}"[:63]
        self.control = Switches()
        self.figures: AppliedState | None = None
        self.epoch = 0
        self.sides: PgStreamSides | None = None
        self._task: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Publication and slot on the source, bookkeeping on the target."""
        connection = await asyncpg.connect(self.source.url)
        try:
            self.tables: list[Table] = await read_tables(connection, ObjectSelection())
            self.version = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
            await ensure_publication(connection, NAME, [table.name for table in self.tables])
        finally:
            await connection.close()
        slot = await create_slot(parse_url(self.source.url), slot_name=self.slot, temporary=False)
        self.begin = slot.position
        await slot.close()
        await self.take_over()

    async def take_over(self) -> int:
        """Become the next owner of the job on the target."""
        connection = await asyncpg.connect(self.target.url)
        try:
            await ensure_bookkeeping(connection)
            self.epoch = await take_over(connection, JOB_ID, epoch=None, source_identity="test")
        finally:
            await connection.close()
        return self.epoch

    def make_sides(self) -> PgStreamSides:
        spec = JobSpec(
            JOB_ID,
            TaskMode.STREAM,
            parse_url(self.source_url),
            parse_url(self.target_url),
            conflict_policy=self.policy,
            memory_limit_bytes=self.memory_bytes,
        )
        return PgStreamSides(
            spec,
            self.tables,
            epoch=self.epoch,
            slot=self.slot,
            publication=NAME,
            source_version=self.version,
            spill_dir=self.spill_dir,
        )

    def start(self, *, until: Lsn | None = None) -> asyncio.Task[None]:
        self.control = Switches()
        self.sides = self.make_sides()
        goal = StreamGoal(self.begin, until, self.tolerant_until, self.floors)
        self._task = asyncio.create_task(
            run_stream(
                cast(StreamSides, self.sides),
                goal,
                control=self.control,
                clock=SystemClock(),
                on_figures=self._take_figures,
            )
        )
        return self._task

    async def stop(self) -> None:
        """Ask for a stop and wait for it; a failure of the stream is not raised here."""
        self.control.stop()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=TIMEOUT_S)
            assert self._task.done(), "the stream does not stop"
            if not self._task.cancelled():
                self._task.exception()
            self._task = None

    def source_position(self) -> Lsn:
        # Flushed, so that the sender can have sent it.
        self.source.execute("SELECT pg_logical_emit_message(true, 'test', '')")
        return Lsn.parse(self.source.fetch_value("SELECT pg_current_wal_flush_lsn()::text"))

    async def wait_applied(self, position: Lsn | None = None) -> None:
        """Until all that the source has committed is durable on the target."""
        wanted = self.source_position() if position is None else position

        def is_applied() -> bool:
            return (
                self.figures is not None and self.figures.position is not None and self.figures.position.covers(wanted)
            )

        await self.wait_until(is_applied)

    async def wait_until(self, fact: Callable[[], object], *, timeout_s: float = TIMEOUT_S) -> None:
        """Until the fact holds; a stream that fails meanwhile fails the test."""
        deadline_s = time.monotonic() + timeout_s
        while not fact():
            if self._task is not None and self._task.done():
                self._task.result()
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"not so after {timeout_s} s; the stream waits for {self._waiting_for()}")
            await asyncio.sleep(0.01)

    async def assert_in_step(self, tables: list[str] | None = None) -> None:
        """Wait until the target has everything, then compare by content."""
        await self.wait_applied()
        await assert_same_rows(self.source.url, self.target.url, tables, sequences="ignore")

    def checkpoint(self) -> tuple[Lsn, int, int]:
        """Position, transactions and changes of the target's checkpoint."""
        ((position, transactions, changes),) = self.target.fetch_all(
            "SELECT position, transactions, changes FROM towline.checkpoint WHERE job_id = %s", (JOB_ID,)
        )
        return Lsn.parse(position), transactions, changes

    def _take_figures(self, figures: object) -> None:
        assert isinstance(figures, AppliedState)
        self.figures = figures

    def _waiting_for(self) -> str | None:
        return None if self.figures is None else self.figures.waiting_for

"""Percent of a real copy whose tables deceive: never backwards, never early, no jump at the end.

`make progress-situations` has more of them, larger, and holds remaining time against what happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.servers.databases import Database
from towline import bootstrap
from towline.adapters.postgres.connection import parse_url
from towline.clock import SystemClock
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.progress import Phase, Progress
from towline.domain.structure import StructureReport
from towline.domain.tables import TotalOrigin
from towline.engine.pipeline import RunResult, run_pipeline

MOST_JUMP = 10


class Collector:
    """`engine.ports.Reporter` that looks every 10 ms."""

    interval_s = 0.01

    def __init__(self) -> None:
        self.seen: list[Progress] = []
        self._take: Callable[[], Progress] | None = None

    def report(self, progress: Progress) -> None:
        self.seen.append(progress)

    def attach(self, take: Callable[[], Progress] | None) -> None:
        self._take = take

    def note(self, report: StructureReport) -> None:
        pass

    async def restate(self, reports: Sequence[StructureReport]) -> None:
        for report in reports:
            self.note(report)

    async def deliver(self) -> None:
        pass  # what is noted is there

    async def look(self) -> None:
        while True:
            if self._take is not None:
                self.seen.append(self._take())
            await asyncio.sleep(self.interval_s)


class NoWishes:
    """`engine.ports.Control` of somebody who wants nothing but a copy that takes a second or two."""

    is_stop_wanted = False
    is_apply_paused = False

    def limit_bytes_per_s(self) -> int | None:
        return 30_000_000

    async def wait_stop(self) -> None:
        await asyncio.Event().wait()


async def copy(source: Database, target: Database, work_dir: Path) -> list[Progress]:
    spec = JobSpec(
        job_id="11111111-2222-3333-4444-5555555ejb01",
        mode=TaskMode.FULL,
        source=parse_url(source.url),
        target=parse_url(target.url),
    )
    collector = Collector()
    looking = asyncio.create_task(collector.look())
    try:
        result = await run_pipeline(
            spec,
            lambda: bootstrap.open_sides(spec, epoch=None, work_dir=work_dir),
            control=NoWishes(),
            reporter=collector,
            clock=SystemClock(),
        )
    finally:
        looking.cancel()
    assert result is RunResult.COPIED
    return collector.seen


HUGE_LATE = (
    "CREATE TABLE documents (id int PRIMARY KEY, note text);"
    "ALTER TABLE documents ALTER note SET STORAGE EXTERNAL;"
    "INSERT INTO documents SELECT g, repeat(md5(g::text), 9) FROM generate_series(1, 2000) AS g;"
    "INSERT INTO documents SELECT g, repeat(md5(g::text), 700) FROM generate_series(2001, 4000) AS g;"
)
STATISTICS_WRONG = (
    "CREATE TABLE gone (id int PRIMARY KEY, note text);"
    "INSERT INTO gone SELECT g, repeat(md5(g::text), 6) FROM generate_series(1, 150000) AS g;"
    "ANALYZE gone; DELETE FROM gone WHERE id % 3 <> 0;"
    "CREATE TABLE grown (id uuid PRIMARY KEY, note text); ANALYZE grown;"
    "INSERT INTO grown SELECT md5(g::text)::uuid, repeat(md5(g::text), 6) FROM generate_series(1, 50000) AS g;"
)


@pytest.mark.postgres(source=18, target=18)
@pytest.mark.parametrize(("tables", "rows"), [(HUGE_LATE, 4_000), (STATISTICS_WRONG, 100_000)])
async def test_percent_is_true_to_the_end(
    tables: str, rows: int, source_database: Database, target_database: Database, tmp_path: Path
):
    source_database.execute(tables)

    seen = await copy(source_database, target_database, tmp_path)

    percents = [progress.percent for progress in seen]
    assert percents == sorted(percents)
    below = [progress for progress in seen if progress.percent < 100]
    assert 100 - below[-1].percent < MOST_JUMP
    assert all(progress.remaining_s != 0 for progress in below)
    assert {progress.phase for progress in seen if progress.percent == 100} <= {Phase.INDEXES, Phase.DONE}
    last = seen[-1]
    assert (last.percent, last.remaining_s, last.rows_copied) == (100, 0, rows)
    assert all(table.origin is TotalOrigin.EXACT for table in last.tables)
    assert sum(table.rows_total for table in last.tables) == rows

"""What a job that was interrupted says of itself when it goes on, looked at whenever something is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.watched_run import Collector, run_watched
from tests.servers.databases import Database
from towline import bootstrap
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.progress import Phase, Progress
from towline.engine.pipeline import RunResult


class StopsWhen:
    """`engine.ports.Control` of somebody who wants a stop as soon as the figures say so."""

    is_apply_paused = False

    def __init__(self, collector: Collector, is_time: Callable[[Progress], bool]) -> None:
        self._collector = collector
        self._is_time = is_time

    @property
    def is_stop_wanted(self) -> bool:
        return any(map(self._is_time, self._collector.seen[-1:]))

    def limit_bytes_per_s(self) -> int | None:
        return 30_000_000

    async def wait_stop(self) -> None:
        while not self.is_stop_wanted:
            await asyncio.sleep(0.01)


def spec_of(source: Database, target: Database, mode: TaskMode) -> JobSpec:
    return JobSpec(
        job_id="11111111-2222-3333-4444-6666666ejb01",
        mode=mode,
        source=bootstrap.parse_url(source.url),
        target=bootstrap.parse_url(target.url),
        index_workers=1,
    )


async def run(
    source: Database,
    target: Database,
    work_dir: Path,
    *,
    mode: TaskMode,
    until: Callable[[Progress], bool],
) -> tuple[RunResult, list[Progress]]:
    """One worker's run, and all that it said: the target is slow with its ledger, the source with its tables."""
    collector = Collector()
    result = await run_watched(
        spec_of(source, target, mode),
        work_dir,
        collector=collector,
        control=StopsWhen(collector, until),
        slow=[("structure_target", "load_structure"), ("copy_source", "read_tables")],
        until_caught_up=mode is not TaskMode.FULL,
    )
    return result, collector.seen


@pytest.mark.postgres(source=18, target=18)
async def test_percent_of_a_job_resumed_among_its_indexes_has_them_ahead(
    source_database: Database, target_database: Database, tmp_path: Path
):
    source_database.execute(
        "CREATE TABLE item (id int PRIMARY KEY, a uuid, b uuid);"
        "INSERT INTO item SELECT g, md5(g::text)::uuid, md5((-g)::text)::uuid FROM generate_series(1, 60000) AS g;"
        + "".join(f"CREATE INDEX item_{n} ON item (a, b, (id + {n}));" for n in range(12))
    )
    _, first = await run(
        source_database, target_database, tmp_path, mode=TaskMode.FULL, until=lambda seen: seen.phase is Phase.INDEXES
    )

    result, second = await run(source_database, target_database, tmp_path, mode=TaskMode.FULL, until=lambda seen: False)

    assert result is RunResult.COPIED
    at_rest = first[-1].percent
    assert at_rest < 90
    began = [seen.percent for seen in second if seen.phase is not Phase.INDEXES and seen.percent < 100]
    assert began
    assert max(began) <= at_rest
    assert second[-1].percent == 100


@pytest.mark.postgres(source=18, target=18)
async def test_full_phase_is_not_over_while_rows_of_two_snapshots_are_brought_together(
    source_database: Database, target_database: Database, tmp_path: Path
):
    source_database.execute(
        "CREATE TABLE item (id int PRIMARY KEY, a uuid, note text);"
        "INSERT INTO item SELECT g, md5(g::text)::uuid, repeat(md5(g::text), 20) FROM generate_series(1, 60000) AS g;"
        "CREATE INDEX item_a ON item (a); ANALYZE item;"
    )
    mode = TaskMode.FULL_AND_STREAM
    result, first = await run(
        source_database, target_database, tmp_path, mode=mode, until=lambda seen: seen.rows_copied > 0
    )
    assert result is RunResult.STOPPED
    assert 0 < first[-1].percent < 90
    source_database.execute("UPDATE item SET note = 'new'")

    result, second = await run(source_database, target_database, tmp_path, mode=mode, until=lambda seen: False)

    await bootstrap.remove_traces(spec_of(source_database, target_database, mode), reporter=Collector())
    assert result is RunResult.CAUGHT_UP
    replaying = [seen for seen in second if seen.applied_position and not seen.index.is_finished]
    assert replaying
    streaming = [seen for seen in second if seen.phase in (Phase.CATCH_UP, Phase.STREAM)]
    assert streaming
    assert all(seen.percent == 100 for seen in streaming)
    # What was proven of the replay says nothing of the stream.
    assert streaming[0].phase is Phase.CATCH_UP

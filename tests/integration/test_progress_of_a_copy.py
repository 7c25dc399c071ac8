"""Percent of a real copy whose tables deceive: never backwards, never early, no jump at the end.

`make progress-situations` has more of them, larger, and holds remaining time against what happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fault.mysql_jobs import url_of
from tests.integration.watched_run import Collector, run_watched
from tests.servers.databases import Database
from tests.servers.mysql import MysqlServer
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from towline import bootstrap
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.progress import Phase, Progress
from towline.domain.tables import TotalOrigin
from towline.engine.pipeline import RunResult

MOST_JUMP = 10
MOST_BEFORE_ROWS = 5  # percent


class NoWishes:
    """`engine.ports.Control` of somebody who wants nothing but a copy that takes a second or two."""

    is_stop_wanted = False
    is_apply_paused = False

    def limit_bytes_per_s(self) -> int | None:
        return 30_000_000

    async def wait_stop(self) -> None:
        await asyncio.Event().wait()


async def copy(source: str, target: str, work_dir: Path) -> list[Progress]:
    """Of URLs."""
    spec = JobSpec(
        job_id="11111111-2222-3333-4444-5555555ejb01",
        mode=TaskMode.FULL,
        source=bootstrap.parse_url(source),
        target=bootstrap.parse_url(target),
    )
    collector = Collector()
    cutting = [("copy_target", "save_plan")]
    result = await run_watched(spec, work_dir, collector=collector, control=NoWishes(), slow=cutting)
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

    seen = await copy(source_database.url, target_database.url, tmp_path)

    percents = [progress.percent for progress in seen]
    assert percents == sorted(percents)
    below = [progress for progress in seen if progress.percent < 100]
    assert 100 - below[-1].percent < MOST_JUMP
    assert all(progress.remaining_s != 0 for progress in below)
    assert {progress.phase for progress in seen if progress.percent == 100} <= {Phase.INDEXES, Phase.DONE}
    _require_little_before_rows(seen)
    last = seen[-1]
    assert (last.percent, last.remaining_s, last.rows_copied) == (100, 0, rows)
    assert all(table.origin is TotalOrigin.EXACT for table in last.tables)
    assert sum(table.rows_total for table in last.tables) == rows


async def test_percent_waits_for_rows_where_there_is_nothing_but_rows(
    mysql_server: MysqlServer,
    mysql_server_second: MysqlServer,
    fresh_mysql_database: MysqlDatabaseFactory,
    tmp_path: Path,
):
    """A table of InnoDB with no more than its primary key has no index of its own to build."""
    source = fresh_mysql_database(mysql_server)
    source.execute(
        "CREATE TABLE plain (id int AUTO_INCREMENT PRIMARY KEY, note varchar(200))",
        "INSERT INTO plain (note) VALUES (repeat('x', 200)), (repeat('y', 200)), (repeat('z', 200))",
        *(["INSERT INTO plain (note) SELECT note FROM plain"] * 12),
        "ANALYZE TABLE plain",
    )

    seen = await copy(url_of(mysql_server, source.name), url_of(mysql_server_second), tmp_path)
    mysql_server_second.execute(f"DROP DATABASE `{source.name}`")

    _require_little_before_rows(seen)
    assert seen[-1].rows_copied == 3 * 2**12


def _require_little_before_rows(seen: Sequence[Progress]) -> None:
    before = [progress for progress in seen if progress.structure.is_finished and not progress.bytes_copied]
    assert before
    assert max(progress.percent for progress in before) < MOST_BEFORE_ROWS

"""One run of a job's pipeline in a process of its own, which kills itself at a named point.

Takes an order: source, target (URLs), job_id, follow, until_caught_up, point (or null), times (die when the point is
reached that often), signal (what to send itself there, SIGKILL by default), source_sql (run it on the source there,
once, and live on), work_dir, copy_workers, memory_limit_bytes, conflict_policy, tables (of `schema`, which is public
when left out; all when left out), rename (as the option of migrate), edit (see `JobSpec`), epoch, conversion (by the
names of its wishes).  Prints one JSON line with the result.  SIGTERM asks for a clean stop.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg

from towline import bootstrap
from towline.bootstrap import parse_url
from towline.cli.endpoints import choose_selection, parse_renames
from towline.clock import SystemClock
from towline.domain.conversion import read_conversion
from towline.domain.errors import TowlineError
from towline.domain.jobs import ConflictPolicy, JobSpec, TaskMode
from towline.domain.progress import Progress
from towline.domain.structure import StructureReport
from towline.domain.tables import ObjectSelection, TableName
from towline.engine import points
from towline.engine.pipeline import run_pipeline
from towline.engine.ports import Sides

DEFAULT_MEMORY_BYTES = 384 * 1024 * 1024


class StopOnSignal:
    is_apply_paused = False

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop.set)

    @property
    def is_stop_wanted(self) -> bool:
        return self._stop.is_set()

    def limit_bytes_per_s(self) -> int | None:
        return None

    async def wait_stop(self) -> None:
        await self._stop.wait()


class LastFigures:
    """Keeps the newest figures and checks what must hold of all of them."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.notes: list[str] = []
        self.restated: list[str] = []

    @property
    def interval_s(self) -> float:
        return 1.0

    def attach(self, take: Callable[[], Progress] | None) -> None:
        pass

    def report(self, progress: Progress) -> None:
        if self.progress is not None:
            assert progress.percent >= self.progress.percent, "percent went backwards"
        assert 0 <= progress.percent <= 100
        self.progress = progress

    def note(self, report: StructureReport) -> None:
        self.notes.append(_render(report))

    async def restate(self, reports: Sequence[StructureReport]) -> None:
        self.restated = [_render(report) for report in reports]

    async def deliver(self) -> None:
        pass  # what is noted is there


def _render(report: StructureReport) -> str:
    return f"{report.kind} {report.name}: {report.reason}"


def die_at(point: str, times: int, number: int) -> None:
    seen = 0

    def observer(reached: str) -> None:
        nonlocal seen
        seen += reached == point
        if reached == point and seen >= times:
            os.kill(os.getpid(), number)

    points.observe(observer)


def run_sql_at(point: str, times: int, url: str, statements: str, outcome: dict[str, Any]) -> None:
    """Run the statements as one transaction; `source_sql` of the outcome is 'done' or the class of the error."""
    seen = 0

    def observer(reached: str) -> None:
        nonlocal seen
        seen += reached == point
        if reached == point and seen == times:
            try:
                with psycopg.connect(url) as connection:
                    connection.execute(statements.encode())
                outcome["source_sql"] = "done"
            except psycopg.Error as error:
                outcome["source_sql"] = type(error).__name__

    points.observe(observer)


def peak_rss_bytes() -> int:
    """Of this process alone: `ru_maxrss` survives exec, so it begins at what the test's process held when it forked."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def opening(spec: JobSpec, epoch: int | None, work_dir: Path) -> Callable[[], Awaitable[Sides]]:
    """As a worker does that has a lease with this epoch, or one without."""
    if epoch is None:
        return bootstrap.opening_without_lease(spec, work_dir)
    return lambda: bootstrap.open_sides(spec, epoch=epoch, work_dir=work_dir)


def run(order: dict[str, Any]) -> None:
    """In a process of its own."""
    asyncio.run(_run(order))


async def _run(order: dict[str, Any]) -> None:
    outcome: dict[str, Any] = {}
    if order.get("source_sql"):
        run_sql_at(order["point"], order.get("times", 1), order["source"], order["source_sql"], outcome)
    elif order.get("point"):
        die_at(order["point"], order.get("times", 1), order.get("signal", signal.SIGKILL))
    spec = JobSpec(
        job_id=order["job_id"],
        mode=TaskMode.FULL_AND_STREAM if order["follow"] else TaskMode.FULL,
        source=parse_url(order["source"]),
        target=parse_url(order["target"]),
        selection=choose_selection(
            ObjectSelection(
                tables=frozenset(TableName(order.get("schema", "public"), name) for name in order.get("tables", ())),
                names=parse_renames(order.get("rename", [])),
            ),
            parse_url(order["source"]),
        ),
        edit=order.get("edit", 0),
        copy_workers=order.get("copy_workers", 2),
        memory_limit_bytes=order.get("memory_limit_bytes", DEFAULT_MEMORY_BYTES),
        conflict_policy=ConflictPolicy(order.get("conflict_policy", "overwrite")),
        conversion=read_conversion(order.get("conversion", {})),
    )
    figures = LastFigures()
    control = StopOnSignal()
    try:
        result = await run_pipeline(
            spec,
            opening(spec, order.get("epoch"), Path(order["work_dir"])),
            control=control,
            reporter=figures,
            clock=SystemClock(),
            until_caught_up=order.get("until_caught_up", False),
        )
        outcome["result"] = result.value
    except TowlineError as error:
        outcome |= {
            "error": error.code,
            "message": error.message,
            "context": {k: str(v) for k, v in error.context.items()},
        }
    last = figures.progress
    outcome["notes"] = figures.notes
    outcome["restated"] = figures.restated  # what earlier runs said of the structure
    outcome["peak_rss_bytes"] = peak_rss_bytes()
    outcome["percent"] = last.percent if last else None
    outcome["changes"] = last.changes_applied if last else None
    print(json.dumps(outcome), flush=True)

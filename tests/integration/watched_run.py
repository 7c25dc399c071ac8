"""One run of a job's pipeline, its figures looked at every 10 ms and wherever the test slows it down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from towline import bootstrap
from towline.clock import SystemClock
from towline.domain.jobs import JobSpec
from towline.domain.progress import Progress
from towline.domain.structure import StructureReport
from towline.engine.pipeline import RunResult, run_pipeline
from towline.engine.ports import Control, Sides


class Collector:
    """`engine.ports.Reporter` that looks every 10 ms."""

    interval_s = 0.01

    def __init__(self) -> None:
        self.seen: list[Progress] = []
        self.has_looked = asyncio.Event()
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

    async def wait_for_look(self) -> None:
        self.has_looked.clear()
        await self.has_looked.wait()

    async def look(self) -> None:
        while True:
            if self._take is not None:
                self.seen.append(self._take())
                self.has_looked.set()
            await asyncio.sleep(self.interval_s)


async def run_watched(
    spec: JobSpec,
    work_dir: Path,
    *,
    collector: Collector,
    control: Control,
    slow: Iterable[tuple[str, str]],
    until_caught_up: bool = False,
) -> RunResult:
    """`slow`: port and call, each of which takes long enough to be seen."""

    async def open_sides() -> Sides:
        sides = await bootstrap.open_sides(spec, epoch=None, work_dir=work_dir)
        for port, call in slow:
            _slow_down(getattr(sides, port), call, collector)
        return sides

    looking = asyncio.create_task(collector.look())
    try:
        return await run_pipeline(
            spec,
            open_sides,
            control=control,
            reporter=collector,
            clock=SystemClock(),
            until_caught_up=until_caught_up,
        )
    finally:
        looking.cancel()


def _slow_down(port: Any, call: str, collector: Collector) -> None:
    does = getattr(port, call)

    async def seen_and_done(*args: object, **options: object) -> object:
        await collector.wait_for_look()
        return await does(*args, **options)

    setattr(port, call, seen_and_done)

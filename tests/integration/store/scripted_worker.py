"""A real worker process around a scripted engine; the test names the script in the command."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from towline.clock import SystemClock
from towline.domain.jobs import JobSpec
from towline.domain.progress import Phase, Progress
from towline.engine.pipeline import RunResult
from towline.engine.ports import Control, Reporter
from towline.worker_main import main


async def run_job(
    spec: JobSpec, *, epoch: int, control: Control, reporter: Reporter, work_dir: Path, **rest: Any
) -> RunResult:
    script, record = sys.argv[1], Path(sys.argv[2])
    _append(record, f"begin {epoch} {os.getpid()}")
    now_us = SystemClock().now_us
    match script:
        case "copy":
            reporter.report(Progress(at_us=now_us(), phase=Phase.DONE, percent=100))
            return RunResult.COPIED
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stream":
            count = 0
            while not control.is_stop_wanted:
                count += 1
                reporter.report(
                    Progress(at_us=now_us(), phase=Phase.STREAM, percent=100, changes_applied=epoch * 10_000 + count)
                )
                await asyncio.sleep(0.02)
            _append(record, f"end {epoch} {os.getpid()}")
    return RunResult.STOPPED


def _append(record: Path, line: str) -> None:
    with record.open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main(run_job))

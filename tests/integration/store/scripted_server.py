"""A supervisor of scripted workers in a process of its own, for tests that kill it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.integration.store.conftest import ScriptedProbes
from towline.clock import SystemClock
from towline.store.opening import opened_store
from towline.worker.runner import ChildProcessRunner
from towline.worker.supervisor import Supervisor, SupervisorSettings


async def serve(store_url: str, data_dir: Path, record: str) -> None:
    clock = SystemClock()
    async with opened_store(store_url, data_dir, clock=clock) as store:
        runner = ChildProcessRunner(
            [sys.executable, "-m", "tests.integration.store.scripted_worker", "stream", record],
            store_url=store_url,
            data_dir=str(data_dir),
            ttl_s=10,
        )
        settings = SupervisorSettings(work_root=data_dir / "work", poll_s=0.1, ttl_s=10)
        supervisor = Supervisor(store.work, runner, ScriptedProbes(), clock=clock, settings=settings)
        await supervisor.run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(serve(sys.stdin.readline().strip(), Path(sys.argv[1]), sys.argv[2]))

"""The simulated fleet of the benchmarks: jobs in a store whose progress rows move, without databases behind them."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from bench.fleet import fill, is_streaming, job_id
from towline.domain.progress import Phase
from towline.service.ports import Credentials
from towline.store.opening import Store

FLEET = Path(__file__).parents[3] / "bench" / "fleet.py"


# The store with many jobs is the one whose writes wait for each other.
@pytest.mark.parametrize(("store_url", "jobs"), [("sqlite", 10_000), ("postgres", 1_000)], indirect=["store_url"])
async def test_progress_of_every_job_moves(store: Store, store_url: str, jobs: int, credentials: Credentials):
    await fill(store, credentials.project_id, first=0, end=jobs)
    ids = [job_id(number) for number in range(jobs)]
    filled_us = time.time_ns() // 1000

    async def moved(wanted: list[str]) -> dict[str, Phase]:
        """Phases of the jobs whose rows were written after the store was filled."""
        lines = await store.jobs.load_progress(wanted, project_id=credentials.project_id)
        assert len(lines) == len(wanted)
        rows = {each: line.progress for each, line in lines.items()}
        return {each: row.phase for each, row in rows.items() if row is not None and row.at_us > filled_us}

    order = ["--store", store_url, "--jobs", str(jobs), "--per-second", str(jobs)]
    process = await asyncio.create_subprocess_exec(sys.executable, str(FLEET), *order)
    try:
        async with asyncio.timeout(60):
            while len(await moved(ids[-4:])) < 4:  # the rows move in turn
                assert process.returncode is None
                await asyncio.sleep(0.1)
            while len(phases := await moved(ids)) < jobs:
                await asyncio.sleep(0.1)
    finally:
        process.kill()
        await process.wait()
    assert {number for number in range(jobs) if phases[job_id(number)] is Phase.STREAM} == {
        number for number in range(jobs) if is_streaming(number)
    }

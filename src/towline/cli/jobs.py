"""`towline jobs`: the jobs in the store, read without a server."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import msgspec

from towline.cli.options import DataDirOption, JsonOption, StoreOption, ending_on_error
from towline.cli.tables import print_table
from towline.clock import SystemClock
from towline.domain.jobs import Endpoint
from towline.domain.progress import delay_ms
from towline.service.ports import Job, JobFilter, JobProgress
from towline.settings import Settings, read_settings
from towline.store.opening import opened_store


def jobs(store: StoreOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """List the jobs of all projects, newest first."""
    with ending_on_error():
        settings = read_settings(os.environ, store=store, data_dir=data_dir)
        records = asyncio.run(_read(settings))
    if as_json:
        sys.stdout.write(msgspec.json.encode(records).decode() + "\n")
        return
    if not records:
        sys.stdout.write("There are no jobs.\n")
        return
    print_table(("id", "name", "status", "percent", "delay", "source", "target"), map(_row, records))


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    delay = record["delay_ms"]
    return (
        record["job_id"],
        record["name"],
        record["status"],
        "-" if record["percent"] is None else f"{record['percent']} %",
        "-" if delay is None else f"{delay / 1000:.1f} s",
        record["source"],
        record["target"],
    )


async def _read(settings: Settings) -> list[dict[str, Any]]:
    clock = SystemClock()
    async with opened_store(settings.store_url, settings.data_dir, clock=clock) as store:
        _, found = await store.jobs.find(JobFilter(), project_id=None, limit=None, offset=0)
        figures = {progress.job_id: progress for progress in await store.jobs.load_all_progress()}
    return [_record(job, figures.get(job.job_id), now_us=clock.now_us()) for job in found]


def _record(job: Job, figures: JobProgress | None, *, now_us: int) -> dict[str, Any]:
    progress = figures.progress if figures is not None else None
    return {
        "job_id": job.job_id,
        "project_id": job.project_id,
        "name": job.name,
        "status": job.status.value,
        "mode": job.mode.value,
        "phase": progress.phase.value if progress else None,
        "percent": progress.percent if progress else None,
        "delay_ms": delay_ms(progress, now_us=now_us) if progress else None,
        "source": _address(job.source),
        "target": _address(job.target),
        "failure": job.failure.message if job.failure else None,
    }


def _address(endpoint: Endpoint) -> str:
    return f"{endpoint.host}:{endpoint.port}/{endpoint.database}" if endpoint.host else ""

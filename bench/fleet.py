"""A simulated fleet: jobs in a store whose progress rows move, without databases behind them.

For tests and benchmarks only.  The rows are those that real workers write; each write is a transaction of its own, as
it is with one process per job.  The leases belong to an owner that never ends, so a server leaves the jobs alone.
Usage: python bench/fleet.py --store URL --jobs N --per-second N   (the store has been filled before)
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sqlite3
import time
import uuid
from collections.abc import Iterator

import asyncpg
from sqlalchemy import bindparam, insert, update
from sqlalchemy.engine import make_url

from towline.domain.jobs import ConflictPolicy, Endpoint, JobStatus, TaskMode
from towline.domain.progress import PartProgress, Phase, Progress
from towline.domain.tables import ObjectSelection, TotalOrigin
from towline.service.ports import Job
from towline.store import codec, tables
from towline.store.opening import Store

OWNER = "simulated fleet"
FULL_PHASE_S = 600
STREAM_SHARE = 0.7
_NAMESPACE = uuid.UUID("6f1c1f4e-0f0a-4f51-9f43-0d1c9a9c2a11")
_BATCH = 2_000
_WRITERS = 4
_NEVER_US = 4_102_444_800_000_000  # the year 2100


def job_id(number: int) -> str:
    """The id of the fleet's job: always the same for a number."""
    return f"{str(uuid.uuid5(_NAMESPACE, str(number)))[:31]}ejb01"


def is_streaming(number: int) -> bool:
    return number % 10 < STREAM_SHARE * 10


def progress_of(number: int, now_us: int) -> Progress:
    """The figures of a job at a moment: some copy, round and round; the others stream, some of them far behind."""
    gigabyte = 1_000_000_000
    if is_streaming(number):
        behind_us = 40_000_000 if number % 50 == 0 else 300_000 + number % 1000
        done = PartProgress(gigabyte, gigabyte, TotalOrigin.EXACT, is_finished=True, remaining_s=0)
        return Progress(
            at_us=now_us,
            phase=Phase.STREAM,
            percent=100,
            structure=done,
            data=done,
            index=done,
            remaining_s=1,
            proven_source_time_us=now_us - behind_us,
            source_clock_offset_us=1_200,
            rows_copied=10_000_000,
            bytes_copied=gigabyte,
            transactions_applied=now_us // 1_000,
            changes_applied=now_us // 500,
            apply_rows_per_s=2_000.0,
            apply_bytes_per_s=200_000.0,
            applied_position="0/16B3748",
            source_position="0/16B3790",
        )
    share = ((now_us / 1e6 + number) % FULL_PHASE_S) / FULL_PHASE_S
    return Progress(
        at_us=now_us,
        phase=Phase.COPY,
        percent=int(share * 99),
        structure=PartProgress(10, 10, TotalOrigin.EXACT, is_finished=True, remaining_s=0),
        data=PartProgress(int(share * gigabyte), gigabyte, remaining_s=int((1 - share) * FULL_PHASE_S)),
        index=PartProgress(0, gigabyte // 10),
        remaining_s=int((1 - share) * FULL_PHASE_S),
        rows_copied=int(share * 10_000_000),
        bytes_copied=int(share * gigabyte),
        copy_rows_per_s=15_000.0,
        copy_bytes_per_s=1_500_000.0,
    )


async def fill(store: Store, project_id: str, *, first: int, end: int) -> None:
    """Write the jobs `first`..`end`-1 with their leases and progress rows."""
    now_us = time.time_ns() // 1000
    report = update(tables.progress).where(tables.progress.c.job_id == bindparam("of_job"))
    report = report.values({name: bindparam(name) for name in ("epoch", "at_us", "body")})
    for numbers in _batches(first, end):
        jobs = [codec.encode_job(_job(number, project_id, now_us)) for number in numbers]
        leases = [
            {
                "job_id": job_id(number),
                "owner": OWNER,
                "epoch": 1,
                "expires_us": _NEVER_US,
                "crashes": 0,
                "not_before_us": 0,
            }
            for number in numbers
        ]
        rows = [
            {"of_job": job_id(number), "epoch": 1, "at_us": now_us, "body": _body(number, now_us)} for number in numbers
        ]
        async with store.database.writing() as connection:
            await connection.execute(insert(tables.job), jobs)
            await connection.execute(insert(tables.lease), leases)
            await connection.execute(report, rows)


def _batches(first: int, end: int) -> Iterator[range]:
    for start in range(first, end, _BATCH):
        yield range(start, min(start + _BATCH, end))


def _job(number: int, project_id: str, now_us: int) -> Job:
    endpoint = Endpoint(family="postgresql", host="127.0.0.1", port=5432, user="fleet", database=f"shop_{number}")
    return Job(
        job_id=job_id(number),
        project_id=project_id,
        name=f"fleet-{number}",
        description="",
        mode=TaskMode.FULL_AND_STREAM,
        status=JobStatus.STREAMING if is_streaming(number) else JobStatus.COPYING,
        source=endpoint,
        target=endpoint,
        selection=ObjectSelection(),
        conflict_policy=ConflictPolicy.OVERWRITE,
        speed_windows=(),
        created_us=now_us,
        updated_us=now_us,
        started_us=now_us,
        is_configured=True,
    )


def _body(number: int, now_us: int) -> str:
    return codec.encode_progress(progress_of(number, now_us))


# --- the rows move ------------------------------------------------------------------------------


async def move(url: str, jobs: int, per_second: int) -> None:
    """Rewrite progress rows for ever, evenly spread, one transaction each."""
    if make_url(url).get_backend_name() == "sqlite":
        await asyncio.to_thread(_move_sqlite, make_url(url).database or "", jobs, per_second)
        return
    async with asyncio.TaskGroup() as tasks:
        for writer in range(_WRITERS):
            tasks.create_task(_move_postgres(url, range(writer, jobs, _WRITERS), per_second / _WRITERS))


async def _move_postgres(url: str, numbers: range, per_second: float) -> None:
    connection = await asyncpg.connect(url)
    statement = await connection.prepare("UPDATE progress SET at_us = $2, body = $3 WHERE job_id = $1")
    began_s = time.monotonic()
    for count, number in enumerate(itertools.cycle(numbers), start=1):
        now_us = time.time_ns() // 1000
        await statement.fetch(job_id(number), now_us, _body(number, now_us))
        await asyncio.sleep(max(0.0, began_s + count / per_second - time.monotonic()))


def _move_sqlite(path: str, jobs: int, per_second: int) -> None:
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    began_s = time.monotonic()
    for count, number in enumerate(itertools.cycle(range(jobs)), start=1):
        now_us = time.time_ns() // 1000
        connection.execute("BEGIN IMMEDIATE")
        row = (now_us, _body(number, now_us), job_id(number))
        connection.execute("UPDATE progress SET at_us = ?, body = ? WHERE job_id = ?", row)
        connection.execute("COMMIT")
        time.sleep(max(0.0, began_s + count / per_second - time.monotonic()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--per-second", type=int, default=1_000)
    order = parser.parse_args()
    asyncio.run(move(order.store, order.jobs, order.per_second))


if __name__ == "__main__":
    main()

"""What a child process of the server runs: one worker for one job.

The first line on standard input is the assignment; the end of standard input means that the server is gone.
Outside of `towline.worker`, as it joins the worker to the databases.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import msgspec
import structlog
import uvloop

from towline.bootstrap import relax_garbage_collection, run_job
from towline.clock import SystemClock
from towline.domain.errors import TowlineError
from towline.logs import configure_logs
from towline.service.ports import Lease
from towline.store.opening import WORKER_POOL_SIZE, opened_store
from towline.worker.exits import ExitCode
from towline.worker.run import RunJob, WorkerSetup, run_worker
from towline.worker.runner import Assignment

log = structlog.get_logger(__name__)


def main(run: RunJob = run_job) -> int:
    """Run the assignment that comes on standard input; the exit code is `worker.run.ExitCode`."""
    assignment = msgspec.json.decode(sys.stdin.buffer.readline(), type=Assignment)
    configure_logs(assignment.log_level)
    structlog.contextvars.bind_contextvars(job_id=assignment.job_id, epoch=assignment.epoch)
    relax_garbage_collection()
    try:
        return uvloop.run(_run(assignment, run))
    except TowlineError as error:
        log.error("worker_gave_up", code=error.code, message=error.message)
        return 1


async def _run(assignment: Assignment, run: RunJob) -> ExitCode:
    shutdown = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, shutdown.set)
    watch = asyncio.create_task(_watch_server(shutdown))
    clock = SystemClock()
    data_dir = Path(assignment.data_dir)
    async with opened_store(
        assignment.store_url, data_dir, clock=clock, checks_schema=False, pool_size=WORKER_POOL_SIZE
    ) as store:
        setup = WorkerSetup(
            store=store.work,
            clock=clock,
            lease=Lease(assignment.job_id, assignment.owner, assignment.epoch),
            ttl_s=assignment.ttl_s,
            work_dir=data_dir / "work" / assignment.job_id,
            shutdown=shutdown,
            writes_heartbeat=assignment.writes_heartbeat,
        )
        code = await run_worker(setup, run)
    watch.cancel()
    return code


async def _watch_server(shutdown: asyncio.Event) -> None:
    """Set `shutdown` when standard input ends: the server has gone, perhaps without a word."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    try:
        while await reader.read(4096):
            pass
        shutdown.set()
    finally:
        transport.close()


if __name__ == "__main__":
    sys.exit(main())

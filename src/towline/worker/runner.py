"""Where workers run. `Runner` is the seam: child processes on one machine, or a cluster's actors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

import msgspec

from towline.service.ports import Lease


class Assignment(msgspec.Struct, frozen=True):
    """What a worker is told when it begins; never in argv, as the store's URL may hold a password."""

    store_url: str
    data_dir: str
    job_id: str
    owner: str
    epoch: int
    ttl_s: float
    log_level: str = "info"
    writes_heartbeat: bool = True

    def __repr__(self) -> str:
        return f"Assignment(job_id={self.job_id!r}, epoch={self.epoch})"


class WorkerHandle(Protocol):
    """A running worker."""

    async def wait(self) -> int:
        """Its exit code when it has ended; negative for a signal."""
        ...

    def stop(self) -> None:
        """Ask it to end at its next safe point."""
        ...

    def kill(self) -> None: ...


class Runner(Protocol):
    async def start(self, lease: Lease) -> WorkerHandle:
        """A worker that runs the job of the lease."""
        ...


class ChildProcessRunner:
    """One child process per job, of the same machine and user.

    The assignment is the first line on the child's standard input, which then stays open: its end tells the
    child that the server is gone, even if that was killed, so no worker is left behind.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        store_url: str,
        data_dir: str,
        ttl_s: float,
        log_level: str = "info",
        writes_heartbeat: bool = True,
    ) -> None:
        self._command = tuple(command)
        self._store_url = store_url
        self._data_dir = data_dir
        self._ttl_s = ttl_s
        self._log_level = log_level
        self._writes_heartbeat = writes_heartbeat

    async def start(self, lease: Lease) -> WorkerHandle:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            # Ctrl-C in a terminal goes to the server alone, which then stops its workers in order.
            start_new_session=True,
        )
        assignment = Assignment(
            store_url=self._store_url,
            data_dir=self._data_dir,
            job_id=lease.job_id,
            owner=lease.owner,
            epoch=lease.epoch,
            ttl_s=self._ttl_s,
            log_level=self._log_level,
            writes_heartbeat=self._writes_heartbeat,
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(assignment) + b"\n")
        with contextlib.suppress(ConnectionError):  # died at once; `wait` tells
            await process.stdin.drain()
        return _ChildProcess(process)


class _ChildProcess:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        try:
            return await self._process.wait()
        finally:
            if self._process.stdin is not None:
                self._process.stdin.close()

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

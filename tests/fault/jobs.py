"""Starts runs of `run_job.py` and waits for what becomes of them."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tests.fault import run_job
from tests.fault.forked import Forked
from tests.servers.databases import Database

Connection = TypeVar("Connection")

JOB_ID = "11111111-2222-3333-4444-5555555ejb01"


@dataclass(kw_only=True)
class Runs:
    """Runs of one job, one after the other, between whatever databases a subclass names."""

    job_id: ClassVar[str]
    work_dir: Path
    follow: bool = True

    def urls(self) -> tuple[str, str]:
        """Of source and target."""
        raise NotImplementedError

    def begin(self, **order: Any) -> Forked:
        source, target = self.urls()
        message = {
            "source": source,
            "target": target,
            "job_id": self.job_id,
            "follow": self.follow,
            "work_dir": str(self.work_dir),
            **order,
        }
        return Forked(run_job.run, message)

    def run_until_killed(self, point: str, *, times: int = 1, **order: Any) -> None:
        """The run must die at the point; a run that never gets there is a wrong test."""
        process = self.begin(point=point, times=times, **order)
        output, errors = process.communicate(timeout=100)
        assert process.returncode == -signal.SIGKILL, f"never reached {point}: {output} {errors[-2000:]}"

    def run_to_the_end(self, **order: Any) -> dict[str, Any]:
        """The run's outcome; it must not fail."""
        outcome = self.run(**order)
        assert "error" not in outcome, outcome
        return outcome

    def run(self, **order: Any) -> dict[str, Any]:
        process = self.begin(until_caught_up=self.follow, **order)
        output, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors[-3000:]
        outcome: dict[str, Any] = json.loads(output.splitlines()[-1])
        return outcome


@dataclass(kw_only=True)
class JobRuns(Runs):
    """From PostgreSQL to PostgreSQL; the URLs stand in for those of the databases, such as ones of a proxy."""

    job_id = JOB_ID
    source: Database
    target: Database
    source_url: str | None = None
    target_url: str | None = None

    def urls(self) -> tuple[str, str]:
        return self.source_url or self.source.url, self.target_url or self.target.url

    def ledger(self) -> dict[tuple[str, str, int], str]:
        """When each finished chunk was written, by table, kind and number."""
        rows = self.target.fetch_all("SELECT table_name, kind, number, done_at::text FROM towline.chunk")
        return {(table, kind, number): done_at for table, kind, number, done_at in rows}


@contextmanager
def repeating(
    connect: Callable[[], AbstractContextManager[Connection]],
    write: Callable[[Connection, int], object],
    *,
    rounds: int = 400,
) -> Iterator[None]:
    """Rounds of changes, numbered from 1, go on while the block runs, and at least one is made."""
    stop = threading.Event()

    def run() -> None:
        with connect() as connection:
            for k in range(1, rounds):
                write(connection, k)
                if stop.wait(0.05):
                    return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def writing(source: Database, changes: str) -> AbstractContextManager[None]:
    """Transactions go on in PostgreSQL; `{k}` is their number."""
    return repeating(source.connect, lambda connection, k: connection.execute(changes.format(k=k).encode()))

"""Runs of one job between MySQL or MariaDB servers, in processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.mysql import MysqlDatabase, MysqlServer

JOB_ID = "22222222-2222-3333-4444-5555555ejb01"


def url_of(server: MysqlServer, database: str = "") -> str:
    return f"mysql://{server.user}:{server.password}@{server.host}:{server.port}/{database}"


@dataclass
class MysqlRuns:
    """Runs of one job, one after the other."""

    source: MysqlDatabase
    target: MysqlServer
    work_dir: Path
    follow: bool = True

    def begin(self, **order: Any) -> subprocess.Popen[str]:
        message = {
            "source": url_of(self.source.server, self.source.name),
            "target": url_of(self.target),
            "job_id": JOB_ID,
            "follow": self.follow,
            "work_dir": str(self.work_dir),
            **order,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.run_job"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        return process

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

    def ledger(self) -> dict[tuple[str, int], str]:
        """When each finished chunk was written, by table and number."""
        rows = self.target.fetch_all("SELECT table_name, number, CAST(done_at AS CHAR) FROM towline.chunk")
        return {(table, number): done_at for table, number, done_at in rows}


@contextmanager
def writing(source: MysqlDatabase, changes: str) -> Iterator[None]:
    """Transactions go on while the block runs, and at least one is made; `{k}` is their number."""
    stop = threading.Event()

    def write() -> None:
        with source.connect(autocommit=False) as connection, connection.cursor() as cursor:
            for k in range(1, 400):
                for statement in changes.format(k=k).split(";"):
                    if statement.strip():
                        cursor.execute(statement)
                connection.commit()
                if stop.wait(0.05):
                    return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

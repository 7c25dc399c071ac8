"""Runs of one job from a MySQL or MariaDB database to PostgreSQL, in processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fault.mysql_jobs import JOB_ID, url_of
from tests.servers import Database
from tests.servers.mysql import MysqlDatabase


@dataclass
class ToPostgresRuns:
    """Runs of one job, one after the other."""

    source: MysqlDatabase
    target: Database
    work_dir: Path
    follow: bool = True

    def begin(self, **order: Any) -> subprocess.Popen[str]:
        message = {
            "source": url_of(self.source.server, self.source.name),
            "target": self.target.url,
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
        rows = self.target.fetch_all("SELECT table_name, number, done_at::text FROM towline.chunk")
        return {(table, number): done_at for table, number, done_at in rows}

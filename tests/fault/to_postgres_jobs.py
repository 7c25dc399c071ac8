"""Runs of one job from a MySQL or MariaDB database to PostgreSQL, in processes of their own."""

from __future__ import annotations

from dataclasses import dataclass

from tests.fault.jobs import Runs
from tests.fault.mysql_jobs import JOB_ID, url_of
from tests.servers import Database
from tests.servers.mysql import MysqlDatabase


@dataclass(kw_only=True)
class ToPostgresRuns(Runs):
    """From a database of MySQL or MariaDB to one of PostgreSQL."""

    job_id = JOB_ID
    source: MysqlDatabase
    target: Database

    def urls(self) -> tuple[str, str]:
        return url_of(self.source.server, self.source.name), self.target.url

    def ledger(self) -> dict[tuple[str, int], str]:
        """When each finished chunk was written, by table and number."""
        rows = self.target.fetch_all("SELECT table_name, number, done_at::text FROM towline.chunk")
        return {(table, number): done_at for table, number, done_at in rows}

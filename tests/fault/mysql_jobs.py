"""Runs of one job between MySQL or MariaDB servers, in processes of their own."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tests.fault.jobs import Runs, repeating
from tests.servers.mysql import MysqlDatabase, MysqlServer

JOB_ID = "22222222-2222-3333-4444-5555555ejb01"


def url_of(server: MysqlServer, database: str = "") -> str:
    return f"mysql://{server.user}:{server.password}@{server.host}:{server.port}/{database}"


@dataclass(kw_only=True)
class MysqlRuns(Runs):
    """From a database of MySQL or MariaDB to a server of either."""

    job_id = JOB_ID
    source: MysqlDatabase
    target: MysqlServer

    def urls(self) -> tuple[str, str]:
        return url_of(self.source.server, self.source.name), url_of(self.target)

    def ledger(self) -> dict[tuple[str, int], str]:
        """When each finished chunk was written, by table and number."""
        rows = self.target.fetch_all("SELECT table_name, number, CAST(done_at AS CHAR) FROM towline.chunk")
        return {(table, number): done_at for table, number, done_at in rows}


def writing(source: MysqlDatabase, changes: str) -> AbstractContextManager[None]:
    """Transactions go on while the block runs, and at least one is made; `{k}` is their number."""

    def write(connection: Any, k: int) -> None:
        with connection.cursor() as cursor:
            for statement in changes.format(k=k).split(";"):
                if statement.strip():
                    cursor.execute(statement)
        connection.commit()

    return repeating(lambda: source.connect(autocommit=False), write)

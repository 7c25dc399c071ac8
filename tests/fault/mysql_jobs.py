"""Runs of one job between MySQL or MariaDB servers, in processes of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.fault.jobs import Runs
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

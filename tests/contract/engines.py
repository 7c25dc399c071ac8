"""The pairs of databases that a job can be between, as the contract suite sees them.

A new pair is one line in `ENGINES`, and a class of runs beside the job's others.  The tests speak SQL that all
databases understand; their tables are in a schema (MySQL: database) of their own, of the same name on both sides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tests.fault.cross_jobs import CrossRuns
from tests.fault.cross_jobs import assert_same_values as assert_same_in_mysql
from tests.fault.jobs import JobRuns, repeating
from tests.fault.mysql_jobs import MysqlRuns
from tests.fault.to_postgres_jobs import ToPostgresRuns
from tests.servers import Database
from tests.servers import assert_same_rows as assert_same_in_postgres
from tests.servers.mysql import MysqlDatabase, MysqlServer
from tests.servers.mysql_equality import assert_same_rows as assert_same_in_one_family
from tests.servers.to_postgres_equality import assert_same_values as assert_same_from_mysql

POSTGRESQL, MYSQL, MARIADB = "postgresql", "mysql9", "mariadb10"
ENGINES = (
    (POSTGRESQL, POSTGRESQL),
    (MYSQL, MYSQL),
    (MARIADB, MARIADB),
    (MYSQL, POSTGRESQL),
    (MARIADB, POSTGRESQL),
    (POSTGRESQL, MYSQL),
    (POSTGRESQL, MARIADB),
)

AnyRuns = JobRuns | MysqlRuns | ToPostgresRuns | CrossRuns


@dataclass(frozen=True)
class Engine:
    """A job of one pair. `schema`: where the tables are on both sides."""

    runs: AnyRuns
    schema: str

    @property
    def source(self) -> Database | MysqlDatabase:
        return self.runs.source

    @property
    def target(self) -> Database | MysqlServer:
        return self.runs.target

    def change(self, *statements: str) -> None:
        """One transaction of the source."""
        with self._connect() as connection:
            _run_transaction(connection, statements)

    def changing(self, make: Callable[[int], Iterable[str]]) -> AbstractContextManager[None]:
        """Transactions go on while the block runs, and at least one is made; each has a number, from 1."""
        return repeating(self._connect, lambda connection, k: _run_transaction(connection, make(k)))

    def ask(self, query: str) -> tuple[Any, ...]:
        """The only row of an answer of the target; `{s}` is the schema."""
        (row,) = self.target.fetch_all(query.format(s=self.schema))
        return row

    def wait_until_target_has(self, query: str, value: Any, *, timeout_s: float = 60.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while self.ask(query)[0] != value:
            assert time.monotonic() < deadline_s, f"never {value}: {query}"
            time.sleep(0.02)

    def assert_same(self) -> None:
        """Compares every table by content."""
        match self.runs:
            case JobRuns() as runs:
                asyncio.run(assert_same_in_postgres(runs.source.url, runs.target.url))
            case MysqlRuns() as runs:
                assert_same_in_one_family(runs.source.server, runs.target, self.schema)
            case ToPostgresRuns() as runs:
                assert_same_from_mysql(runs.source, runs.target)
            case CrossRuns() as runs:
                assert_same_in_mysql(runs)

    def drop(self) -> None:
        """Remove what a target keeps that is no database of the test's own."""
        if isinstance(self.target, MysqlServer):
            self.target.execute(f"DROP DATABASE IF EXISTS `{self.schema}`", "DROP DATABASE IF EXISTS towline")

    def _connect(self) -> AbstractContextManager[Any]:
        match self.source:
            case Database() as source:
                connection = source.connect()
                connection.execute(f"SET search_path = {self.schema}".encode())
                return connection
            case MysqlDatabase() as source:
                made: AbstractContextManager[Any] = source.connect()
                return made


def _run_transaction(connection: Any, statements: Iterable[str]) -> None:
    cursor = connection.cursor()
    for statement in ("BEGIN", *statements, "COMMIT"):
        cursor.execute(statement)
    cursor.close()

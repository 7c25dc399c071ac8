"""A job of each pair of databases, with an empty schema on its source."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.engines import ENGINES, POSTGRESQL, AnyRuns, Engine
from tests.fault.cross_jobs import CrossRuns
from tests.fault.jobs import JobRuns
from tests.fault.mysql_jobs import MysqlRuns
from tests.fault.to_postgres_jobs import ToPostgresRuns
from tests.servers import Database
from tests.servers.fixtures import DatabaseFactory
from tests.servers.mysql import Product
from tests.servers.mysql_fixtures import GetServer, MysqlDatabaseFactory


@pytest.fixture(params=ENGINES, ids="_to_".join)
def engine(
    request: pytest.FixtureRequest,
    fresh_database: DatabaseFactory,
    fresh_mysql_database: MysqlDatabaseFactory,
    mysql_servers: GetServer,
    tmp_path: Path,
) -> Iterator[Engine]:
    source_kind, target_kind = request.param

    def target_database() -> Database:
        return fresh_database(request.getfixturevalue("pg18"))

    if source_kind == POSTGRESQL:
        source = fresh_database(request.getfixturevalue("pg16"))
        schema = f"c_{secrets.token_hex(5)}"
        source.execute(f"CREATE SCHEMA {schema}")
        if target_kind == POSTGRESQL:
            runs: AnyRuns = JobRuns(source=source, target=target_database(), work_dir=tmp_path)
        else:
            server = mysql_servers(Product(target_kind), "second")
            runs = CrossRuns(source=source, target=server, schema=schema, work_dir=tmp_path)
    else:
        database = fresh_mysql_database(mysql_servers(Product(source_kind), "first"))
        schema = database.name
        if target_kind == POSTGRESQL:
            runs = ToPostgresRuns(source=database, target=target_database(), work_dir=tmp_path)
        else:
            server = mysql_servers(Product(target_kind), "second")
            runs = MysqlRuns(source=database, target=server, work_dir=tmp_path)
    made = Engine(runs, schema)
    yield made
    made.drop()

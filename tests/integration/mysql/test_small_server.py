"""A target as its operator left it: packets of 1 MB, another port after a restart, more sessions than usual."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fault.mysql_jobs import MysqlRuns
from tests.integration.mysql.test_sessions import endpoint_of
from tests.servers.mysql import MysqlServer, Product
from tests.servers.mysql_equality import assert_same_rows
from tests.servers.mysql_fixtures import MysqlDatabaseFactory, describe_mysql
from towline.adapters.mysql.bookkeeping import end_sessions, hold_name, job_sessions_query
from towline.adapters.mysql.catalog import read_identity
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.session import Session
from towline.domain.errors import Side
from towline.embedded.server import choose_free_port
from towline.engine import points


@pytest.fixture(scope="module")
def small_server(pytestconfig: pytest.Config) -> Iterator[MysqlServer]:
    with describe_mysql(pytestconfig, Product.MARIADB, {"max_allowed_packet": "1048576"}) as server:
        yield server


@pytest.fixture
def runs(
    mariadb10: MysqlServer, small_server: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory, tmp_path: Path
) -> Iterator[MysqlRuns]:
    source = fresh_mysql_database(mariadb10)
    source.execute("CREATE TABLE t (id int PRIMARY KEY, v longblob)", "CREATE TABLE k (v longblob)")
    yield MysqlRuns(source=source, target=small_server, work_dir=tmp_path)
    small_server.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


@asynccontextmanager
async def sessions(server: MysqlServer, count: int) -> AsyncIterator[list[Session]]:
    opened: list[Session] = []
    try:
        for _ in range(count):
            opened.append(await connect(endpoint_of(server), purpose="test", side=Side.TARGET))
        yield opened
    finally:
        for session in opened:
            session.terminate()


def test_rows_of_megabytes_reach_a_target_that_takes_packets_of_one(runs: MysqlRuns) -> None:
    rows = "SELECT seq + {first}, REPEAT(CHAR(31 + seq % 3), {size}) FROM seq_1_to_{count}"
    runs.source.execute(
        f"INSERT INTO t {rows.format(first=0, size=40_000, count=80)}",
        f"INSERT INTO t {rows.format(first=100, size=900_000, count=2)}",
        "INSERT INTO k SELECT v FROM t WHERE id < 3",
    )
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute(
        f"INSERT INTO t {rows.format(first=200, size=100_000, count=30)}",
        "UPDATE t SET v = REPEAT('x', 400000) WHERE id > 100",
        "UPDATE k SET v = REPEAT('y', 300000)",
    )
    runs.run_to_the_end()
    assert_same_rows(runs.source.server, runs.target, runs.source.name)
    # A single row beyond the limit is said, rather than taken for a line that was cut.
    runs.source.execute("INSERT INTO t VALUES (999, REPEAT('z', 1200000))")
    outcome = runs.run()
    assert outcome["error"] == "SETUP"
    assert "max_allowed_packet" in outcome["message"]


async def test_identity_stays_when_the_port_changes(small_server: MysqlServer, mariadb10: MysqlServer) -> None:
    async with sessions(small_server, 1) as (session,), sessions(mariadb10, 1) as (other,):
        before = await read_identity(session)
        assert before != await read_identity(other)
    small_server.kill()
    small_server.port = choose_free_port()
    small_server.start()
    async with sessions(small_server, 1) as (session,):
        assert await read_identity(session) == before


async def test_i6_every_session_of_a_wide_job_is_found_by_its_next_owner(small_server: MysqlServer) -> None:
    async with sessions(small_server, 71) as opened:
        for session in opened[1:]:
            await hold_name(session, "wide")
        row = await opened[0].query_one(job_sessions_query("wide"))
        assert {number for number in row or () if number} == {session.connection_id for session in opened[1:]}
        await end_sessions(opened[0], "wide")
        left = "SELECT COUNT(*) FROM information_schema.processlist WHERE id IN ({})"
        ids = ", ".join(str(session.connection_id) for session in opened[1:])
        while await opened[0].query_value(left.format(ids)):
            pass

"""gh-ost and pt-online-schema-change on the source of a job that has single tables, while somebody writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fault.jobs import Runs
from tests.fault.mysql_jobs import MysqlRuns
from tests.fault.to_postgres_jobs import ToPostgresRuns
from tests.integration.mysql.schema_change_tools import TABLE, Writer, run_gh_ost, run_pt_osc
from tests.servers.fixtures import DatabaseFactory
from tests.servers.mysql import MysqlDatabase, MysqlServer, Product
from tests.servers.mysql_equality import assert_same_rows
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from tests.servers.to_postgres_equality import assert_same_values
from towline.embedded import EmbeddedPostgres

Check = Callable[[], None]


@pytest.fixture
def source(mysql_server: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory) -> MysqlDatabase:
    """With tables that a job on `s` alone has nothing to do with; one has the name that a tool would choose."""
    source = fresh_mysql_database(mysql_server)
    source.execute(*TABLE, "CREATE TABLE other (id int)", "CREATE TABLE _s_new (id int)", "CREATE TABLE _s_old (k int)")
    return source


@pytest.fixture
def to_mysql(source: MysqlDatabase, mysql_server_second: MysqlServer, tmp_path: Path) -> Iterator[tuple[Runs, Check]]:
    yield (
        MysqlRuns(source=source, target=mysql_server_second, work_dir=tmp_path),
        lambda: assert_same_rows(source.server, mysql_server_second, source.name),
    )
    mysql_server_second.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


@pytest.fixture
def to_postgres(
    source: MysqlDatabase, pg18: EmbeddedPostgres, fresh_database: DatabaseFactory, tmp_path: Path
) -> tuple[Runs, Check]:
    target = fresh_database(pg18)
    runs = ToPostgresRuns(source=source, target=target, work_dir=tmp_path)
    return runs, lambda: assert_same_values(source, target)


@pytest.fixture
def job(request: pytest.FixtureRequest) -> tuple[Runs, Check]:
    """Runs of a job to the family that the parameter names, and the comparison of all tables of source and target."""
    found: tuple[Runs, Check] = request.getfixturevalue(request.param)
    return found


PAIRS = [(Product.MYSQL, "to_mysql"), (Product.MARIADB, "to_postgres")]


@pytest.mark.parametrize(("mysql_product", "job"), PAIRS, indirect=["job"], ids=[each for _, each in PAIRS])
def test_job_on_a_single_table_follows_what_takes_its_place(source: MysqlDatabase, job: tuple[Runs, Check]) -> None:
    runs, assert_same = job
    order = {"tables": ["s"], "schema": source.name, "conflict_policy": "stop"}
    writer = Writer(source)
    with writer.writing():
        runs.run_to_the_end(**order)
        process = runs.begin(**order)
        try:
            run_gh_ost(source, writer, "ADD COLUMN c int NOT NULL DEFAULT 7 AFTER id, MODIFY v varchar(80)")
            run_pt_osc(source, "ADD COLUMN d int DEFAULT 5, DROP KEY i_a, ADD KEY i_d (d)")
        finally:
            process.kill()
            output, errors = process.communicate(timeout=100)
        assert not output, (output, errors)  # it ran until it was killed
        source.execute("DROP TABLE IF EXISTS other, _s_new, _s_old")
        runs.run_to_the_end(**order)
    source.execute("UPDATE s SET c = id, d = a")
    runs.run_to_the_end(**order)
    assert_same()


@pytest.mark.parametrize(("mysql_product", "job"), [(Product.MARIADB, "to_mysql")], indirect=["job"], ids=["mariadb10"])
def test_run_that_began_before_the_job_stops_it(source: MysqlDatabase, job: tuple[Runs, Check]) -> None:
    runs, _ = job
    order = {"tables": ["s"], "schema": source.name}
    source.execute("CREATE TABLE _s_gho LIKE s", "INSERT INTO _s_gho SELECT * FROM s")
    runs.run_to_the_end(**order)
    source.execute(
        "DROP TABLE _s_old",
        "CREATE TABLE _s_old AS SELECT * FROM s",  # a backup that cannot be followed is no reason to stop
        "CREATE TABLE IF NOT EXISTS _s_gho LIKE s",
        "ALTER TABLE _s_gho ADD c int",
        "RENAME TABLE s TO _s_del, _s_gho TO s",
    )
    outcome = runs.run(**order)
    assert outcome["error"] == "SOURCE_DDL"
    assert f"{source.name}._s_gho since it was made" in outcome["message"]

"""Renames with MySQL, too long for the suite: a killed job, and one by the vendor's client. `make kill-renames`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.serving import served, vendor_client, vendor_home
from tests.api.test_sdk_life import Life
from tests.api.test_sdk_renames import chosen, read_pairs
from tests.fault.mysql_jobs import MysqlRuns
from tests.fault.test_kill_renames import kill_and_compare, mysql_runs
from tests.servers.mysql import MysqlServer, Product
from tests.servers.mysql_equality import assert_same_rows
from tests.servers.mysql_fixtures import MysqlDatabaseFactory

__all__ = ["mysql_runs", "vendor_home"]

MYSQL_SCHEMA = (
    "CREATE TABLE sale (id bigint AUTO_INCREMENT PRIMARY KEY, amount int)",
    "INSERT INTO sale (amount) VALUES (1), (2), (3)",
)


@pytest.mark.parametrize("mysql_runs", [Product.MYSQL, Product.MARIADB], indirect=True)
def test_i1_i4_killed_mysql_job_with_other_names_ends_equal(mysql_runs: MysqlRuns) -> None:
    kill_and_compare(mysql_runs)


@pytest.mark.usefixtures("vendor_home")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:huaweicloudsdk")
@pytest.mark.timeout(240)
async def test_a_mysql_database_has_another_name_on_the_target(
    tmp_path: Path, mariadb10: MysqlServer, mariadb10_second: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    source, target = fresh_mysql_database(mariadb10), fresh_mysql_database(mariadb10_second)
    source.execute(*MYSQL_SCHEMA)
    objects = chosen("database", target.name, source.name), chosen("table", "sale_2026", source.name, "sale")
    with served(tmp_path / "towline") as server:
        life = Life(vendor_client(server), source, target, *objects)
        life.configure()
        life.start()
        life.wait_for("INCRE_TRANSFER_STARTED")
        source.execute("UPDATE sale SET amount = -1 WHERE id = 2", "INSERT INTO sale (amount) VALUES (4)")
        life.wait_until_proven()
        there = {"sale": (target.name, "sale_2026")}
        assert_same_rows(source.server, target.server, source.name, renamed=there)
        assert read_pairs(life, "table") == [(f"{source.name}.sale", f"{target.name}.sale_2026")]
        life.delete("terminate")
        life.wait_for("RELEASE_RESOURCE_COMPLETE")

"""SIGKILL in copy and stream of a job whose objects have other names on the target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.jobs import JobRuns, writing
from tests.fault.mysql_jobs import MysqlRuns
from tests.fault.mysql_jobs import writing as writing_mysql
from tests.servers import assert_same_rows
from tests.servers.mysql import Product
from tests.servers.mysql_equality import assert_same_rows as assert_same_mysql_rows
from tests.servers.mysql_fixtures import GetServer, MysqlDatabaseFactory
from towline.engine import points

SCHEMA = """
CREATE TABLE keyed (id bigserial PRIMARY KEY, code text UNIQUE, n int);
INSERT INTO keyed (code, n) SELECT 'c' || i, 0 FROM generate_series(1, 5000) i;
CREATE TABLE keyless (n int, txt text);
ALTER TABLE keyless REPLICA IDENTITY FULL;
INSERT INTO keyless SELECT i, repeat('y', 300) FROM generate_series(1, 3000) i;
CREATE TABLE moving (id int PRIMARY KEY, keyed_id bigint REFERENCES keyed);
INSERT INTO moving SELECT i, i FROM generate_series(1, 2000) i;
CREATE TABLE emptied (id int PRIMARY KEY);
INSERT INTO emptied VALUES (1);
CREATE TABLE parts (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE parts_old PARTITION OF parts FOR VALUES FROM ('2000-01-01') TO ('2020-01-01');
CREATE TABLE parts_new PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2040-01-01');
INSERT INTO parts VALUES (1, '2001-01-01'), (2, '2021-01-01');
"""
ROUND = """
UPDATE keyed SET n = n + 1 WHERE id % 97 = {k} % 97;
UPDATE keyed SET id = id + 2000000, code = code || 'm' WHERE id = 3001 + {k};
INSERT INTO keyed (code, n) VALUES ('new{k}', {k});
UPDATE moving SET keyed_id = 1 WHERE id = {k};
UPDATE keyless SET n = -n WHERE n = {k};
"""
LATER = """
TRUNCATE emptied; INSERT INTO emptied VALUES (2), (3);
UPDATE parts SET at = '2022-01-01' WHERE id = 1;
TRUNCATE parts_new; INSERT INTO parts VALUES (3, '2003-01-01'), (4, '2030-01-01');
"""
RENAME = [
    'public.*="Sales 2026".*',
    'public.keyed="Sales 2026".keyed_2026,public.moving=archive.moving',
    "public.parts=archive.all_parts,public.parts_new=archive.parts_new",
]
# The source is given the same names, so that all of it can be compared.
ALIKE = """
ALTER SCHEMA public RENAME TO "Sales 2026";
CREATE SCHEMA archive;
ALTER TABLE "Sales 2026".keyed RENAME TO keyed_2026;
ALTER TABLE "Sales 2026".moving SET SCHEMA archive;
ALTER TABLE "Sales 2026".parts RENAME TO all_parts;
ALTER TABLE "Sales 2026".all_parts SET SCHEMA archive;
ALTER TABLE "Sales 2026".parts_new SET SCHEMA archive;
"""


@pytest.mark.postgres(source=18, target=16)
async def test_i1_i4_killed_job_with_other_names_ends_equal(runs: JobRuns) -> None:
    runs.target.execute("CREATE TABLE keyed (mine int); INSERT INTO keyed VALUES (7)")
    with writing(runs.source, ROUND):
        runs.run_until_killed(points.COPY_AFTER_COMMIT, rename=RENAME)
        finished = runs.ledger()
        runs.source.execute(LATER)
        runs.run_until_killed(points.APPLY_AFTER_COMMIT, rename=RENAME)
    outcome = runs.run_to_the_end(rename=RENAME)
    assert outcome["result"] == "caught_up"
    after = runs.ledger()
    assert all(after[chunk] == at for chunk, at in finished.items() if chunk[0] != "keyless")
    assert runs.target.fetch_all("SELECT mine FROM public.keyed") == [(7,)]
    runs.target.execute("DROP TABLE public.keyed")
    runs.source.execute(ALIKE)
    await assert_same_rows(runs.source.url, runs.target.url)


MYSQL_SCHEMA = (
    "CREATE TABLE parents (id int PRIMARY KEY, note varchar(40))",
    "INSERT INTO parents WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 900)"
    " SELECT n, n FROM s",
    "CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, parent int, code varchar(40) UNIQUE, KEY (parent),"
    " FOREIGN KEY (parent) REFERENCES parents (id))",
    "INSERT INTO orders (parent, code) SELECT id, CONCAT('c', id) FROM parents",
    "CREATE TABLE keyless (n int)",
    "INSERT INTO keyless SELECT id FROM parents",
    "CREATE TABLE emptied (n int PRIMARY KEY)",
    "INSERT INTO emptied VALUES (1)",
    "CREATE VIEW seen AS SELECT o.code, parents.note FROM orders o JOIN parents ON parents.id = o.parent",
    "CREATE TRIGGER before_orders BEFORE INSERT ON orders FOR EACH ROW SET NEW.code = COALESCE(NEW.code, 'none')",
    "CREATE FUNCTION doubled(n int) RETURNS int DETERMINISTIC RETURN n * 2",
    "CREATE FUNCTION counted() RETURNS int READS SQL DATA RETURN (SELECT COUNT(*) FROM orders)",
)
MYSQL_ROUND = """
INSERT INTO orders (parent, code) VALUES (1 + MOD({k}, 900), 'new{k}');
UPDATE orders SET code = CONCAT(code, 'x') WHERE id = 100 + {k};
DELETE FROM orders WHERE id = 500 + {k};
UPDATE keyless SET n = -n WHERE n = {k};
"""


@pytest.fixture
def mysql_runs(
    request: pytest.FixtureRequest,
    mysql_servers: GetServer,
    fresh_mysql_database: MysqlDatabaseFactory,
    tmp_path: Path,
) -> Iterator[MysqlRuns]:
    product = request.param
    source = fresh_mysql_database(mysql_servers(product, "first"))
    source.execute(*MYSQL_SCHEMA)
    target = mysql_servers(product, "second")
    yield MysqlRuns(source=source, target=target, work_dir=tmp_path)
    # Foreign keys lead from one database to the other.
    names = (f"{source.name}_2026", "archive_2026", source.name, "towline")
    target.execute("SET foreign_key_checks = 0", *(f"DROP DATABASE IF EXISTS `{name}`" for name in names))


@pytest.mark.parametrize("mysql_runs", [Product.MARIADB], indirect=True)
def test_i1_i4_killed_mysql_job_with_other_names_ends_equal(mysql_runs: MysqlRuns) -> None:
    kill_and_compare(mysql_runs)


def kill_and_compare(runs: MysqlRuns) -> None:
    name = runs.source.name
    there = f"{name}_2026"
    rename = [f"{name}.*={there}.*,{name}.orders=archive_2026.orders_2026,{name}.emptied={there}.e"]
    runs.target.execute(f"CREATE DATABASE `{name}`", f"CREATE TABLE `{name}`.orders (mine int)")
    with writing_mysql(runs.source, MYSQL_ROUND):
        runs.run_until_killed(points.COPY_AFTER_COMMIT, rename=rename)
        runs.source.execute("TRUNCATE TABLE emptied", "INSERT INTO emptied VALUES (2)")
        runs.run_until_killed(points.APPLY_AFTER_COMMIT, rename=rename)
    outcome = runs.run_to_the_end(rename=rename)
    assert outcome["result"] == "caught_up"
    assert_same_mysql_rows(
        runs.source.server,
        runs.target,
        name,
        target_database=there,
        renamed={"orders": ("archive_2026", "orders_2026"), "emptied": (there, "e")},
    )
    assert runs.target.fetch_all(f"SELECT * FROM `{name}`.orders") == []
    seen = "SELECT * FROM `{}`.seen ORDER BY 1, 2"
    assert runs.target.fetch_all(seen.format(there)) == runs.source.server.fetch_all(seen.format(name))

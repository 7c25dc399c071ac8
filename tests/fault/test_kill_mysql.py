"""SIGKILL of MySQL and MariaDB jobs at points beside those of `tests/contract`, while the source is written to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.mysql_jobs import MysqlRuns, writing
from tests.servers.mysql import Product
from tests.servers.mysql_equality import assert_same_rows
from tests.servers.mysql_fixtures import GetServer, MysqlDatabaseFactory
from towline.engine import points

ROWS = 40_000

SCHEMA = (
    "CREATE TABLE numbers (n int PRIMARY KEY)",
    """INSERT INTO numbers WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 999)
       SELECT n FROM s""",
    """CREATE TABLE keyed (id bigint AUTO_INCREMENT PRIMARY KEY, code varchar(40) UNIQUE, n int, doc varchar(500),
        twice int GENERATED ALWAYS AS (n * 2) STORED, KEY (n))""",
    f"""INSERT INTO keyed (id, code, n, doc)
        SELECT a.n * 1000 + b.n, CONCAT('c', a.n * 1000 + b.n), 0, REPEAT('x', 400) FROM numbers a JOIN numbers b
        WHERE a.n * 1000 + b.n <= {ROWS}""",
    "CREATE TABLE texts (code varchar(40), part int, filler char(200), PRIMARY KEY (code, part))",
    f"""INSERT INTO texts SELECT CONCAT('Code-', MOD(n, 100)), id, REPEAT('ü', 200) FROM keyed WHERE id <= {ROWS}""",
    "CREATE TABLE keyless (n int, txt text)",
    "INSERT INTO keyless SELECT n, REPEAT('y', 300) FROM numbers",
    "CREATE TABLE child (id int PRIMARY KEY, keyed_id bigint, FOREIGN KEY (keyed_id) REFERENCES keyed (id))",
    "INSERT INTO child SELECT n, n + 1001 FROM numbers WHERE n < 500",
    "ANALYZE TABLE keyed, texts, keyless",
)

# One transaction of changes of every kind; unique values are swapped, keys change.
ROUND = """
UPDATE keyed SET n = n + 1 WHERE id % 97 = {k} % 97;
DELETE FROM keyed WHERE id = 6000 + {k};
INSERT INTO keyed (id, code, n, doc) VALUES (1000000 + {k}, 'new{k}', {k}, 'ins''erted');
UPDATE keyed SET code = 'swap' WHERE id = 20000 + {k};
UPDATE keyed SET code = 'c{k}x' WHERE id = 20001 + {k};
UPDATE keyed SET code = CONCAT('s', id) WHERE id = 20000 + {k};
UPDATE keyed SET id = id + 2000000, code = CONCAT(code, 'm') WHERE id = 30001 + {k} * 20;
UPDATE texts SET filler = 'short {k}' WHERE code = 'Code-0' AND part = 2000 + {k};
UPDATE texts SET part = part + 1000000 WHERE code = 'Code-0' AND part = 4000 + {k};
DELETE FROM texts WHERE code = 'Code-0' AND part = 35000 + {k};
UPDATE keyless SET n = -n WHERE n = {k};
DELETE FROM keyless WHERE n = 600 + {k};
INSERT INTO keyless VALUES ({k}, 'late');
"""


MYSQL, MARIADB = Product.MYSQL, Product.MARIADB


@pytest.fixture
def runs(
    request: pytest.FixtureRequest,
    mysql_servers: GetServer,
    fresh_mysql_database: MysqlDatabaseFactory,
    tmp_path: Path,
) -> Iterator[MysqlRuns]:
    """Between the products of the mark `mysql_pair(source, target)`."""
    first, second = request.node.get_closest_marker("mysql_pair").args
    source = fresh_mysql_database(mysql_servers(first, "first"))
    source.execute(*SCHEMA)
    target = mysql_servers(second, "second")
    yield MysqlRuns(source=source, target=target, work_dir=tmp_path)
    target.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


def pair(source: Product, target: Product, *values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.mysql_pair(source, target))


# Each point once; the products take turns, since a run costs seconds.
@pytest.mark.parametrize(
    ("point", "times"),
    [
        pair(MYSQL, MYSQL, points.STRUCTURE_BEFORE_COMMIT, 3),
        pair(MYSQL, MARIADB, points.COPY_AFTER_COMMIT, 2),
        pair(MARIADB, MYSQL, points.COPY_AFTER_COMMIT, 2),
        pair(MARIADB, MARIADB, points.INDEX_IN_BUILD, 1),
    ],
)
def test_i1_i4_killed_copy_resumes_and_ends_equal(runs: MysqlRuns, point: str, times: int) -> None:
    with writing(runs.source, ROUND):
        runs.run_until_killed(point, times=times)
        finished = runs.ledger() if point.startswith("copy.after") else {}
    outcome = runs.run_to_the_end()
    assert outcome["result"] == "caught_up"
    after = runs.ledger()
    for chunk, done_at in finished.items():
        if chunk[0] != "keyless":  # without a key a table is copied under one snapshot
            assert after[chunk] == done_at, f"{chunk} was copied again"
    assert_same_rows(runs.source.server, runs.target, runs.source.name)


@pytest.mark.mysql_pair(MARIADB, MARIADB)
def test_full_copy_without_a_stream_goes_on_when_nothing_was_written(runs: MysqlRuns) -> None:
    runs.follow = False
    runs.run_until_killed(points.COPY_AFTER_COMMIT, times=2)
    finished = runs.ledger()
    runs.run_to_the_end()
    assert finished.items() <= runs.ledger().items()
    assert_same_rows(runs.source.server, runs.target, runs.source.name)


@pytest.mark.mysql_pair(MYSQL, MYSQL)
def test_full_copy_without_a_stream_starts_over_after_writes(runs: MysqlRuns) -> None:
    runs.follow = False
    runs.run_until_killed(points.COPY_AFTER_COMMIT, times=2)
    runs.source.execute("DELETE FROM keyed WHERE id % 3 = 0 AND id NOT IN (SELECT keyed_id FROM child)")
    runs.run_to_the_end()
    assert_same_rows(runs.source.server, runs.target, runs.source.name)

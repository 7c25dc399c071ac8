"""SIGKILL of jobs from PostgreSQL to MySQL and MariaDB at named points, while the source is being written to."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.fault.cross_jobs import CrossRuns, assert_same_values
from tests.fault.jobs import repeating
from tests.servers.databases import Database
from tests.servers.mysql import Product
from tests.servers.mysql_fixtures import GetServer
from towline.engine import points

ROWS = 40_000
SCHEMA = f"""
CREATE TABLE keyed (id bigserial PRIMARY KEY, code text UNIQUE, n int, doc text, large text);
ALTER TABLE keyed ALTER large SET STORAGE EXTERNAL;
INSERT INTO keyed (code, n, doc, large)
SELECT 'c' || i, 0, repeat('x', 400), CASE WHEN i % 400 = 1 THEN repeat(md5(i::text), 200) END
FROM generate_series(1, {ROWS}) i;
CREATE TABLE texts (code text, part int, filler text, PRIMARY KEY (code, part));
INSERT INTO texts SELECT 'Code-' || i % 100, i, repeat('ü', 200) FROM generate_series(1, {ROWS}) i;
CREATE TABLE keyless (n int, txt text);
ALTER TABLE keyless REPLICA IDENTITY FULL;
INSERT INTO keyless SELECT i, repeat('y', 300) FROM generate_series(1, 999) i;
CREATE TABLE child (id int PRIMARY KEY, keyed_id bigint REFERENCES keyed (id));
INSERT INTO child SELECT i, i + 1001 FROM generate_series(1, 500) i;
"""
# One transaction of changes of every kind; unique values are swapped, keys change, large values stay.
ROUND = """
UPDATE keyed SET n = n + 1 WHERE id %% 97 = {k} %% 97;
UPDATE keyed SET n = -{k} WHERE id = 400 * {k} + 1;
DELETE FROM keyed WHERE id = 6000 + {k};
INSERT INTO keyed (id, code, n, doc) VALUES (1000000 + {k}, 'new{k}', {k}, 'ins''erted');
UPDATE keyed SET code = 'swap' WHERE id = 20000 + {k};
UPDATE keyed SET code = 'c{k}x' WHERE id = 20001 + {k};
UPDATE keyed SET code = 's' || id WHERE id = 20000 + {k};
UPDATE keyed SET id = id + 2000000, code = code || 'm' WHERE id = 30003 + {k} * 20;
UPDATE texts SET filler = 'short {k}' WHERE code = 'Code-0' AND part = 2000 + 100 * {k};
UPDATE texts SET part = part + 1000000 WHERE code = 'Code-0' AND part = 20000 + 100 * {k};
DELETE FROM texts WHERE code = 'Code-0' AND part = 35000 + 100 * {k};
UPDATE keyless SET n = -n WHERE n = {k};
DELETE FROM keyless WHERE n = 600 + {k};
INSERT INTO keyless VALUES ({k}, 'late');
"""
MYSQL, MARIADB = Product.MYSQL, Product.MARIADB
# A run costs seconds, and `tests/contract` kills at these points, too: the rest is for `make test-crossing`.
ALL = bool(os.environ.get("TOWLINE_ALL_POINTS"))


@pytest.fixture
def runs(
    request: pytest.FixtureRequest, source_database: Database, mysql_servers: GetServer, tmp_path: Path
) -> Iterator[CrossRuns]:
    """To the product of the mark `mysql_pair(target)`."""
    (product,) = request.node.get_closest_marker("mysql_pair").args
    target = mysql_servers(product, "second")
    schema = f"k_{secrets.token_hex(5)}"
    source_database.execute(f"CREATE SCHEMA {schema}; SET search_path = {schema}; {SCHEMA}")
    source_database.execute("ANALYZE")
    yield CrossRuns(source=source_database, target=target, schema=schema, work_dir=tmp_path)
    target.execute(f"DROP DATABASE IF EXISTS `{schema}`", "DROP DATABASE IF EXISTS towline")


def writing(runs: CrossRuns) -> AbstractContextManager[None]:
    """Transactions go on while the block runs, and at least one is made."""

    def write(connection: psycopg.Connection[Any], k: int) -> None:
        connection.execute(f"SET search_path = {runs.schema}".encode())
        with connection.transaction():
            connection.execute(ROUND.replace("%%", "%").format(k=k).encode())

    return repeating(runs.source.connect, write, rounds=90)


@pytest.mark.skipif(not ALL, reason="make test-crossing")
@pytest.mark.parametrize(
    ("point", "times"),
    [
        pytest.param(points.COPY_AFTER_COMMIT, 2, marks=pytest.mark.mysql_pair(MYSQL)),
        pytest.param(points.COPY_BEFORE_COMMIT, 3, marks=pytest.mark.mysql_pair(MARIADB)),
        pytest.param(points.APPLY_AFTER_COMMIT, 2, marks=pytest.mark.mysql_pair(MARIADB)),
        pytest.param(points.APPLY_IN_BATCH, 3, marks=pytest.mark.mysql_pair(MARIADB)),
        pytest.param(points.HANDOFF_BEFORE_STREAM, 1, marks=pytest.mark.mysql_pair(MYSQL)),
    ],
)
def test_i1_i4_i5_killed_job_resumes_and_ends_equal(runs: CrossRuns, point: str, times: int) -> None:
    with writing(runs):
        runs.run_until_killed(point, times=times)
        finished = runs.ledger() if point == points.COPY_AFTER_COMMIT else {}
        if point.startswith("apply"):
            runs.run_until_killed(point)
    outcome = runs.run_to_the_end()
    assert outcome["result"] == "caught_up"
    after = runs.ledger()
    if finished:
        # The rest came under a later snapshot, and rows that had changed since replaced what was there.
        assert any(kind == "changed" for _, kind, _ in after)
    for chunk, done_at in finished.items():
        if chunk[0] != "keyless":  # without a key a table is copied under one snapshot
            assert after[chunk] == done_at, f"{chunk} was copied again"
    assert_same_values(runs)

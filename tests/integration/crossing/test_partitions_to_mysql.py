"""Partitioned tables of PostgreSQL become one table of MySQL or MariaDB."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.cross_jobs import CrossRuns, assert_same_values
from tests.servers.databases import Database
from tests.servers.mysql import MysqlServer, Product
from towline.engine import points

# Partitions of partitions, one with its columns in another order, one for the rest; without a key; with keys of
# their own, which the whole does not have; and a table that refers to the whole.
TABLES = """
CREATE TABLE events (id bigserial, at date, v text, big text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_23 PARTITION OF events FOR VALUES FROM ('2023-01-01') TO ('2024-01-01') PARTITION BY LIST (id);
CREATE TABLE events_23_a PARTITION OF events_23 FOR VALUES IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
CREATE TABLE events_23_rest PARTITION OF events_23 DEFAULT;
CREATE TABLE events_24 (gone int, big text, v text, at date NOT NULL, id bigint NOT NULL);
ALTER TABLE events_24 DROP COLUMN gone, ADD PRIMARY KEY (id, at);
ALTER TABLE events ATTACH PARTITION events_24 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
ALTER TABLE events ALTER big SET STORAGE EXTERNAL;
CREATE INDEX by_v ON events (v);
INSERT INTO events (at, v, big) SELECT '2022-06-01'::date + i * 7, 'v' || i, repeat('b', 40000)
FROM generate_series(1, 150) i;
CREATE TABLE logs (n int, t text) PARTITION BY LIST (n);
CREATE TABLE logs_1 PARTITION OF logs FOR VALUES IN (1);
CREATE TABLE logs_2 PARTITION OF logs FOR VALUES IN (2, NULL);
ALTER TABLE logs_1 REPLICA IDENTITY FULL;
ALTER TABLE logs_2 REPLICA IDENTITY FULL;
INSERT INTO logs VALUES (1, 'a'), (1, 'a'), (2, 'b'), (NULL, 'c');
CREATE TABLE own (id int, k int) PARTITION BY LIST (k);
CREATE TABLE own_1 PARTITION OF own (PRIMARY KEY (id)) FOR VALUES IN (1);
CREATE TABLE own_2 PARTITION OF own (PRIMARY KEY (id)) FOR VALUES IN (2);
INSERT INTO own VALUES (1, 1), (1, 2);
CREATE TABLE seen (id bigint, at date, PRIMARY KEY (id, at), FOREIGN KEY (id, at) REFERENCES events ON UPDATE CASCADE);
INSERT INTO seen SELECT id, at FROM events WHERE id < 20;
"""
MADE = ("events", "logs", "own_1", "own_2", "seen")
# From one partition to another and back, with a large value that is not sent again.
CHANGES = """
UPDATE events SET at = '2024-05-05' WHERE id IN (3, 40);
UPDATE events SET v = 'changed' WHERE id % 3 = 0;
UPDATE events SET at = '2023-07-07', v = 'old' WHERE id IN (4, 100);
UPDATE events SET at = at + 365 WHERE id BETWEEN 30 AND 34;
DELETE FROM events WHERE id % 7 = 0 AND id > 20;
INSERT INTO events (at, v) VALUES ('2023-03-03', 'new'), ('2024-04-04', 'new'), ('2030-01-01', 'new');
INSERT INTO logs VALUES (1, 'a'), (2, 'x');
UPDATE logs SET n = 2 WHERE n = 1 AND t = 'a';
DELETE FROM logs WHERE t = 'b';
UPDATE own SET id = 5 WHERE k = 2;
"""
EMPTIED = """
TRUNCATE logs;
INSERT INTO logs VALUES (2, 'after');
BEGIN; TRUNCATE events CASCADE; INSERT INTO events (at, v) VALUES ('2023-03-03', 'z'), ('2024-03-03', 'z'); COMMIT;
"""


@pytest.fixture
def runs(source_database: Database, mysql_server: MysqlServer, tmp_path: Path) -> Iterator[CrossRuns]:
    schema = f"x_{secrets.token_hex(5)}"
    source_database.execute(f"CREATE SCHEMA {schema}")
    yield CrossRuns(source=source_database, target=mysql_server, schema=schema, work_dir=tmp_path)
    mysql_server.execute(f"DROP DATABASE IF EXISTS `{schema}`", "DROP DATABASE IF EXISTS towline")


def in_schema(runs: CrossRuns, statements: str) -> None:
    with runs.source.connect() as connection:
        connection.execute(f"SET search_path = {runs.schema}".encode())
        for statement in statements.strip().split(";\n"):
            connection.execute(statement.encode())


def test_i4_partitions_become_one_table(runs: CrossRuns) -> None:
    in_schema(runs, TABLES)
    runs.run_until_killed(points.COPY_AFTER_COMMIT, copy_workers=1)  # one of the large partitions is there
    in_schema(runs, CHANGES)  # the rest is copied under a later snapshot
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    assert len(runs.target.fetch_all("SELECT DISTINCT snapshot_number FROM towline.chunk")) == 2
    in_schema(runs, CHANGES)
    runs.run_until_killed(points.APPLY_BEFORE_COMMIT, conflict_policy="stop")
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_values(runs, made=MADE)
    keys = runs.target.fetch_all(
        """SELECT index_name, GROUP_CONCAT(column_name ORDER BY seq_in_index) FROM information_schema.statistics
           WHERE table_schema = %s AND table_name = 'events' GROUP BY 1 ORDER BY 1""",
        [runs.schema],
    )
    assert [tuple(key) for key in keys] == [("by_v", "v"), ("PRIMARY", "id,at")]
    in_schema(runs, EMPTIED)
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_values(runs, made=MADE)


@pytest.mark.parametrize("mysql_product", [Product.MARIADB], ids=["mariadb10"])
def test_what_happens_to_a_partition_alone_stops_the_job(runs: CrossRuns) -> None:
    in_schema(runs, TABLES)
    runs.run_to_the_end()
    for statement, back in (
        (
            "CREATE TABLE events_25 PARTITION OF events FOR VALUES FROM ('2050-01-01') TO ('2051-01-01')",
            "ALTER TABLE events DETACH PARTITION events_25;\nDROP TABLE events_25",
        ),
        (
            "ALTER TABLE events DETACH PARTITION events_24",
            "ALTER TABLE events ATTACH PARTITION events_24 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        ),
    ):
        in_schema(runs, statement)
        outcome = runs.run()
        assert outcome["error"] == "SOURCE_CHANGED"
        assert "partition on the source" in outcome["message"]
        in_schema(runs, back)
        runs.run_to_the_end()
    assert_same_values(runs, made=MADE)
    in_schema(runs, "TRUNCATE logs_1")
    outcome = runs.run()
    assert outcome["error"] == "SOURCE_DDL"
    assert f"TRUNCATE {runs.schema}.logs_1" in outcome["message"]
    assert runs.target.fetch_value(f"SELECT COUNT(*) FROM `{runs.schema}`.logs") == 4

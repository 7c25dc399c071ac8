"""Whole jobs from MySQL and MariaDB to PostgreSQL: every type at its extremes, by copy and by stream."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.fault.mysql_jobs import url_of
from tests.fault.to_postgres_jobs import ToPostgresRuns
from tests.integration.commands import run
from tests.integration.mysql.cascading import CASCADES, CASCADING_TABLES
from tests.servers.fixtures import DatabaseFactory
from tests.servers.mysql import MysqlServer, Product
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from tests.servers.to_postgres_equality import assert_same_values
from towline import bootstrap
from towline.domain.conversion import read_conversion
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.prechecks import Verdict
from towline.domain.tables import ObjectSelection
from towline.embedded import EmbeddedPostgres
from towline.engine import points

MODE = "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'"

# Column type and values; every value is put into a row of its own.
COMMON: dict[str, list[str]] = {
    "tinyint": ["-128", "127", "0"],
    "tinyint unsigned": ["0", "255"],
    "smallint unsigned zerofill": ["7", "65535"],
    "mediumint": ["-8388608", "8388607"],
    "int unsigned": ["4294967295"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "bigint unsigned": ["18446744073709551615"],
    "decimal(65,30)": [
        "-99999999999999999999999999999999999.999999999999999999999999999999",
        "0.000000000000000000000000000001",
    ],
    "decimal(5,0)": ["-99999", "0"],
    "float": ["3.4028235e38", "-1.17549435e-38", "0.1", "16777217", "-0e0"],
    "float(7,3)": ["1234.567", "-0e0"],
    "double": ["1.7976931348623157e308", "2.2250738585072014e-308", "0.1", "-1e-300", "123456789.12345679", "-0e0"],
    "bit(1)": ["b'0'", "b'1'"],
    "bit(64)": ["b'1'", "0xFFFFFFFFFFFFFFFF", "0x1F1E1D1C1B00275C"],
    "year": ["1901", "2155", "0"],
    "date": ["'1000-01-01'", "'9999-12-31'", "'2024-02-29'"],
    "datetime": ["'1000-01-01 00:00:00'", "'9999-12-31 23:59:59'"],
    "datetime(6)": ["'1000-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'", "'2020-05-05 05:05:05'"],
    "timestamp(3) null": ["'1970-01-01 00:00:01.001'", "'2038-01-19 03:14:07.999'"],
    "time": ["'-838:59:59'", "'838:59:59'", "'00:00:00'"],
    "time(6)": ["'-838:59:58.999999'", "'00:00:00.000001'", "'-00:00:01.5'"],
    "char(10)": ["''", "'a  '", "'🚢🚢'", "'it''s \\\\ \\n'"],
    "char(5) character set latin1": ["'ü'", "'ß§'"],
    "varchar(20) character set ucs2": ["'añb'", "'字'"],
    "varchar(20) character set utf16": ["'🚢x'"],
    "varchar(20) character set gbk": ["'中文'"],
    "varchar(20) character set sjis": ["'日本'", "'ソ'"],
    "varchar(300)": ["''", "repeat('é', 250)", "'tab\\tnl\\nend\\r'", "x'1b1c1d1e1f'", "'\\\\N'"],
    "binary(5)": ["x'00'", "x'0001020304'", "x'61200000'"],
    "varbinary(300)": ["''", "x'1b1c1d1e1f1f1b4e5c'", "x'00fffdfefbfc275c220d0a09'", "repeat(x'ff', 260)"],
    "tinyblob": ["''", "x'0000'"],
    "blob": ["repeat(x'1f', 70000 div 2)", "x''"],
    "mediumblob": ["repeat(x'1b00', 50000)"],
    "longtext": ["''", "repeat('🚢', 40000)", "'a\\\\Nb'", "'\\\\N'", "repeat('0123456789abcdef', 90000)"],
    "text character set latin1": ["'plain ü'"],
    "enum('a','it''s','ü','')": ["'a'", "'it''s'", "'ü'", "''"],
    "enum('a','é') character set latin1": ["'é'"],
    "set('x','y','ü')": ["''", "'ü'", "'x,y,ü'"],
    "json": [
        "'null'",
        "'{}'",
        """'{"a": [1, -2.5, "ü🚢", null, true], "b": {"c": "d\\\\\\\\n"}}'""",
        "'[]'",
        "'\"s\"'",
        "'12345678901234567890'",
    ],
    "point": ["ST_GeomFromText('POINT(1.5 -2)')"],
    "geometry": ["ST_GeomFromText('POLYGON((0 0,0 1,1 1,0 0))', 4326)"],
}
OWN: dict[Product, dict[str, list[str]]] = {
    Product.MYSQL: {"vector(3)": ["TO_VECTOR('[1,2.5,-3]')"]},
    Product.MARIADB: {
        "uuid": ["'123e4567-e89b-12d3-a456-426655440000'"],
        "inet6": ["'::1'", "'2001:db8::ff00:42:8329'"],
        "inet4": ["'192.168.0.1'"],
        "varchar(50) compressed": ["repeat('z', 50)", "''"],
    },
}
GENERATED = (
    """CREATE TABLE made (a int, b varchar(20), twice int GENERATED ALWAYS AS (a * 2) VIRTUAL,
        joined varchar(60) AS (concat(b, '-', a)) STORED, id int AUTO_INCREMENT PRIMARY KEY)""",
    "INSERT INTO made (a, b) VALUES (1, 'x'), (NULL, 'y')",
)
WIDE = (
    f"CREATE TABLE wide (id int PRIMARY KEY, {', '.join(f'c{number} int' for number in range(300))})",
    "INSERT INTO wide (id, c5, c299) VALUES (1, 5, 299), (2, NULL, 7)",
)
# Rows may break a foreign key where nobody looked, and a table that others refer to may be emptied.
LOOSE = (
    "CREATE TABLE parent (id int PRIMARY KEY)",
    "CREATE TABLE child (id int PRIMARY KEY, parent_id int, FOREIGN KEY (parent_id) REFERENCES parent (id))",
    "CREATE TABLE orphan (id int PRIMARY KEY, parent_id int, FOREIGN KEY (parent_id) REFERENCES parent (id))",
    "INSERT INTO parent VALUES (1), (2)",
    "INSERT INTO child VALUES (1, 1)",
    "SET foreign_key_checks = 0",
    "INSERT INTO orphan VALUES (1, 77)",
)
EMPTIED = ("SET foreign_key_checks = 0", "TRUNCATE parent", "INSERT INTO parent VALUES (3)")


COLUMNS_PER_TABLE = 8


def places(product: Product) -> list[tuple[int, int, str, list[str]]]:
    """Table, column, type and values."""
    kinds = {**COMMON, **OWN[product]}
    return [(*divmod(index, COLUMNS_PER_TABLE), kind, values) for index, (kind, values) in enumerate(kinds.items())]


def creations(product: Product) -> list[str]:
    """Every fourth table has no key."""
    columns: dict[int, list[str]] = {}
    for table, column, kind, _ in places(product):
        columns.setdefault(table, []).append(f"c{column} {kind}{'' if 'null' in kind else ' NULL'}")
    return [
        f"CREATE TABLE t{table} ({'' if table % 4 == 3 else 'id int AUTO_INCREMENT PRIMARY KEY, '}{', '.join(listed)})"
        for table, listed in columns.items()
    ]


def inserts(product: Product) -> list[str]:
    """A row for every value, NULL in all other columns."""
    return [
        f"INSERT INTO t{table} (c{column}) VALUES {', '.join(f'({value})' for value in [*values, 'NULL'])}"
        for table, column, _, values in places(product)
    ]


def changes(product: Product) -> list[str]:
    """Every column is updated in a row, and rows with values of every column are deleted."""
    made = ["UPDATE made SET a = a + 5", "INSERT INTO made (a, b) VALUES (9, 'z')", "DELETE FROM made WHERE b = 'y'"]
    for table, column, _, values in places(product):
        made += [
            f"UPDATE t{table} SET c{column} = {values[-1]} WHERE c{column} IS NULL LIMIT 1",
            f"DELETE FROM t{table} WHERE c{column} IS NOT NULL LIMIT 1",
        ]
    return made


@pytest.fixture
def to_postgres(
    pg18: EmbeddedPostgres,
    fresh_mysql_database: MysqlDatabaseFactory,
    fresh_database: DatabaseFactory,
    tmp_path: Path,
) -> Callable[[MysqlServer], ToPostgresRuns]:
    """A function that makes a job from an empty database of that server to an empty one of PostgreSQL 18."""
    return lambda server: ToPostgresRuns(
        source=fresh_mysql_database(server), target=fresh_database(pg18), work_dir=tmp_path
    )


def test_every_type_arrives_by_copy_and_by_stream(
    mysql_server: MysqlServer, to_postgres: Callable[[MysqlServer], ToPostgresRuns]
) -> None:
    runs = to_postgres(mysql_server)
    product = runs.source.server.product
    runs.source.execute(MODE, *creations(product), *inserts(product), *GENERATED, *WIDE, *LOOSE)
    # Stopped between copy and stream, so that it is certain which way a row came.
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    assert_same_values(runs.source, runs.target)
    runs.source.execute(MODE, *changes(product), *inserts(product), *EMPTIED)
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_values(runs.source, runs.target)


def test_what_foreign_keys_do_arrives_or_stops_the_job(
    mysql_server: MysqlServer, to_postgres: Callable[[MysqlServer], ToPostgresRuns]
) -> None:
    runs = to_postgres(mysql_server)
    runs.source.execute(*CASCADING_TABLES)
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute(*CASCADES)
    if mysql_server.is_mariadb or not mysql_server.is_at_least(9, 6):
        assert runs.run()["error"] == "SETUP"
        return
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_values(runs.source, runs.target)


# Values that PostgreSQL does not have. The first two are found by the target, the others before they get there.
MISFITS = [
    ("date NULL", "'0000-00-00'"),
    ("datetime(3)", "'2021-02-31 10:00:00'"),
    ("varchar(20)", "x'610062'"),
    ("varchar(20) character set armscii8", "x'b2'"),
]
MISFIT_TABLE = f"""CREATE TABLE m (id int PRIMARY KEY, good set('a', 'b'),
    {", ".join(f"c{number} {kind}" for number, (kind, _) in enumerate(MISFITS))})"""


def insert_misfit(number: int) -> tuple[str, str]:
    return (
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
        f"INSERT INTO m (id, good, c{number}) VALUES ({40 + number}, 'b', {MISFITS[number][1]})",
    )


@pytest.mark.parametrize("number", [1, 3])
def test_value_without_an_equal_stops_the_copy_and_is_named(
    number: int, mysql9: MysqlServer, to_postgres: Callable[[MysqlServer], ToPostgresRuns]
) -> None:
    runs = to_postgres(mysql9)
    runs.follow = False
    runs.source.execute(MISFIT_TABLE, "INSERT INTO m (id) VALUES (1), (2)", *insert_misfit(number))
    outcome = runs.run()
    assert outcome["error"] == "UNREPRESENTABLE_VALUE"
    assert f"{runs.source.name}.m" in outcome["message"]
    assert f"'c{number}'" in outcome["message"]
    assert outcome["context"]["key"] == f"id='{40 + number}'"
    assert runs.target.fetch_value(f"SELECT count(*) FROM {runs.source.name}.m") == 0


def test_stream_follows_the_policy_for_values_without_an_equal(
    mariadb10: MysqlServer, to_postgres: Callable[[MysqlServer], ToPostgresRuns]
) -> None:
    runs = to_postgres(mariadb10)
    runs.source.execute(MISFIT_TABLE, "INSERT INTO m (id) VALUES (1), (2)")
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    for number in range(len(MISFITS)):
        runs.source.execute(*insert_misfit(number), f"UPDATE m SET good = 'a' WHERE id = {1 + number % 2}")
    outcome = runs.run(conflict_policy="stop")
    assert outcome["error"] == "UNREPRESENTABLE_VALUE"
    assert "'c0'" in outcome["message"]
    runs.run_to_the_end(conflict_policy="ignore")
    rejects = runs.target.fetch_all("SELECT reason, key_values::jsonb ->> 'id' FROM towline.reject ORDER BY id")
    assert [key for _, key in rejects[1:]] == ["40", "41", "42", "43"]
    assert all(f"'c{number}'" in reason for number, (reason, _) in enumerate(rejects[1:]))
    assert runs.target.fetch_all(f"SELECT id, good FROM {runs.source.name}.m ORDER BY id") == [(1, ["a"]), (2, ["a"])]


ZEROS = """CREATE TABLE z (id int PRIMARY KEY, day date, at datetime(3), seen timestamp NULL, must date NOT NULL,
    said varchar(20))"""
# Without a key rows are found by all of their values.
BARE = "CREATE TABLE bare (day date, word varchar(20))"
ZERO_COLUMNS = ["bare.day", "w.c16", "z.at", "z.day", "z.seen"]
# Type on the source, wish, value, and that value as PostgreSQL shows it.
WISHES = [
    ("tinyint(1) NOT NULL DEFAULT 1", "boolean", "1", "true"),
    ("tinyint(4)", "integer", "-5", "-5"),
    ("bit(1) DEFAULT b'1'", "bool", "b'1'", "true"),
    ("bigint unsigned", "bigint", "9223372036854775807", "9223372036854775807"),
    ("float", "double precision", "0.1", "0.10000000149011612"),
    ("date", "text", "'0000-00-00'", "0000-00-00"),
    ("date", "timestamp", "'2024-02-29'", "2024-02-29 00:00:00"),
    ("datetime(3) DEFAULT now(3)", "timestamptz", "'2024-02-29 10:00:00.125'", "2024-02-29 10:00:00.125+00"),
    ("timestamp(3) NULL", "timestamp", "'2024-02-29 10:00:00.125'", "2024-02-29 10:00:00.125"),
    ("time(2)", "time", "'23:59:59.25'", "23:59:59.25"),
    ("varchar(50) character set latin1", "json", "'{\"ü\": 1.50}'", '{"ü": 1.50}'),
    ("text", "jsonb", '\'{"b": 1.50, "a": [ ]}\'', '{"a": [], "b": 1.50}'),
    ("char(36)", "uuid", "'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000"),
    ("binary(16)", "uuid", "x'123e4567e89b12d3a456426655440000'", "123e4567-e89b-12d3-a456-426655440000"),
    ("blob", "text", "'bytes: ü\\t'", "bytes: ü\t"),
    ("set('a','b')", "text", "'a,b'", "a,b"),
    ("date NOT NULL", "null", "'0000-00-00'", None),
]
WISHED_COLUMNS = ", ".join(f"c{number} {kind}" for number, (kind, _, _, _) in enumerate(WISHES))
WISHED_VALUES = ", ".join(value for _, _, value, _ in WISHES)


def insert_zeros(first: int) -> tuple[str, ...]:
    """Zero dates, a row without any in each table, and a real NULL, which does not count."""
    return (
        MODE,
        "SET time_zone = '+00:00'",
        f"""INSERT INTO z VALUES ({first}, '0000-00-00', '2024-00-01 10:00:00', '0000-00-00', '2020-02-02', 'a\\tb'),
            ({first + 1}, '2024-02-29', NULL, NULL, '2020-02-02', NULL)""",
        f"INSERT INTO bare VALUES ('2024-05-00', '{first}'), ('2024-05-06', '{first}')",
        f"INSERT INTO w VALUES ({first}, {WISHED_VALUES})",
    )


def test_zero_dates_and_columns_become_what_the_job_says(
    mariadb10: MysqlServer, to_postgres: Callable[[MysqlServer], ToPostgresRuns]
) -> None:
    runs = to_postgres(mariadb10)
    schema = runs.source.name
    wishes = "; ".join(f"{schema}.w.c{number}={wish}" for number, (_, wish, _, _) in enumerate(WISHES))
    order: dict[str, Any] = {"conversion": {"zero_dates": "null", "column_types": f"{wishes}; tinyint(1)=smallint"}}
    runs.source.execute(MODE, ZEROS, BARE, f"CREATE TABLE w (id int PRIMARY KEY, {WISHED_COLUMNS})", *insert_zeros(1))
    runs.run_until_killed(points.COPY_BEFORE_COMMIT, **order)
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM, **order)
    runs.source.execute(
        *insert_zeros(11),
        # With the values still in the row, with one more, and gone again.
        "UPDATE z SET said = 'touched', at = NULL WHERE id = 1",
        "UPDATE z SET day = '2024-00-00' WHERE id = 2",
        "UPDATE bare SET word = 'found' WHERE day = '2024-05-00' AND word = '1'",
        "DELETE FROM bare WHERE word = '11' AND day <> '2024-05-06'",
        "DELETE FROM z WHERE id = 11",
        "UPDATE w SET c0 = 0, c2 = b'0' WHERE id = 1",
        # By the job's policy, as any value that does not fit.
        "INSERT INTO z (id, must) VALUES (20, '0000-00-00')",
        "INSERT INTO w (id, c0, c16) VALUES (20, 2, '2024-01-01')",
    )
    outcome = runs.run_to_the_end(conflict_policy="ignore", **order)
    told = [note for note in outcome["notes"] if "became NULL: 1 in the copy and " in note]
    assert [note.split()[1] for note in told[-5:]] == [f"{schema}.{name}:" for name in ZERO_COLUMNS]
    # Exact, whatever was killed: of the copy every value once, of the stream those that were written.
    counts = runs.target.fetch_all(
        "SELECT concat(table_name, '.', column_name), copied, streamed FROM towline.replaced_value"
    )
    assert sorted((name, copied) for name, copied, _ in counts) == [(name, 1) for name in ZERO_COLUMNS]
    assert all(1 <= streamed <= 4 for _, _, streamed in counts), counts
    rejects = runs.target.fetch_all("SELECT reason, key_values::jsonb ->> 'id' FROM towline.reject ORDER BY id")
    assert [("'must'" in reason, "'c0'" in reason, key) for reason, key in rejects] == [
        (True, False, "20"),
        (False, True, "20"),
    ]
    shown = runs.target.fetch_all(
        f"SELECT id, day::text, at::text, seen::text, must::text, said FROM {schema}.z ORDER BY id"
    )
    assert shown == [
        (1, None, None, None, "2020-02-02", "touched"),
        (2, None, None, None, "2020-02-02", None),
        (12, "2024-02-29", None, None, "2020-02-02", None),
    ]
    assert runs.target.fetch_all(f"SELECT day::text, word FROM {schema}.bare ORDER BY 1, 2") == [
        ("2024-05-06", "1"),
        ("2024-05-06", "11"),
        (None, "found"),
    ]
    expected = tuple(text for _, _, _, text in WISHES)
    columns = ", ".join(f"c{number}::text" for number in range(len(WISHES)))
    with runs.target.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        found = connection.execute(f"SELECT {columns} FROM {schema}.w ORDER BY id DESC".encode()).fetchall()
        assert found == [expected, ("false", expected[1], "false", *expected[3:])]
        made = connection.execute(
            f"INSERT INTO {schema}.w (id) VALUES (4) RETURNING c0, c2, c7 IS NOT NULL, c16".encode()
        ).fetchone()
    assert made == (True, True, True, None)


PEOPLE = (
    """CREATE TABLE person (name varchar(50) PRIMARY KEY, nick varchar(20) COLLATE utf8mb4_bin UNIQUE, city varchar(50),
        mail varchar(50) COLLATE utf8mb4_general_ci UNIQUE, kind enum('a', 'b') DEFAULT 'a')""",
    "CREATE TABLE pet (id int PRIMARY KEY, owner varchar(50), FOREIGN KEY (owner) REFERENCES person (name))",
    # Without a key rows are found by all of their values, and then not by any that are equal.
    "CREATE TABLE word (said varchar(20), n int)",
    """INSERT INTO person VALUES ('Ada', 'ada', 'Paris', 'a@x', 'a'), ('bob', 'Ada', 'PARIS', 'b@x', 'b'),
        ('eve', NULL, 'paris', NULL, 'a'), ('Zoé', NULL, NULL, NULL, 'a')""",
    "INSERT INTO pet VALUES (1, 'ADA')",
    "INSERT INTO word VALUES ('x', 1), ('X', 1), ('é', 1), ('e', 1)",
)
PEOPLE_CHANGES = (
    "SET foreign_key_checks = 0",
    "UPDATE person SET name = 'ADA', mail = 'A@X' WHERE name = 'ada'",
    "UPDATE person SET name = 'Bob' WHERE name = 'bob'",
    "UPDATE person SET name = 'BOB', city = 'Rome' WHERE name = 'bob'",
    "DELETE FROM person WHERE name = 'EVE'",
    "INSERT INTO person (name, city) VALUES ('Eve', 'rome')",
    "UPDATE person SET name = 'zoé' WHERE name = 'zoe'",
    "DELETE FROM word WHERE BINARY said = 'X'",
    "UPDATE word SET n = 2 WHERE BINARY said = 'e'",
    "INSERT INTO pet VALUES (2, 'eve')",
)


def test_keys_and_conditions_ignore_case_where_the_job_says_so(
    mysql9: MysqlServer,
    pg15: EmbeddedPostgres,
    fresh_mysql_database: MysqlDatabaseFactory,
    fresh_database: DatabaseFactory,
    tmp_path: Path,
) -> None:
    runs = ToPostgresRuns(source=fresh_mysql_database(mysql9), target=fresh_database(pg15), work_dir=tmp_path)
    schema = runs.source.name
    order: dict[str, Any] = {"conversion": {"collation": "case-insensitive"}, "conflict_policy": "stop"}
    runs.source.execute(*PEOPLE)
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM, **order)
    assert_same_values(runs.source, runs.target)
    runs.source.execute(*PEOPLE_CHANGES)
    runs.run_to_the_end(**order)
    assert_same_values(runs.source, runs.target)
    with runs.target.connect() as connection:
        connection.execute(f"SET search_path = {schema}".encode())
        found = connection.execute("SELECT name FROM person WHERE city = 'ROME' ORDER BY name").fetchall()
        assert found == [("BOB",), ("Eve",)]
        connection.execute("INSERT INTO pet VALUES (3, 'bOb')")
        for refused in (
            "INSERT INTO person (name) VALUES ('aDa')",
            "INSERT INTO person (name) VALUES ('ZOE')",
            "INSERT INTO person (name, mail) VALUES ('new', 'a@X')",
            "INSERT INTO person (name, kind) VALUES ('new', 'A')",
            "INSERT INTO pet VALUES (4, 'nobody')",
        ):
            with pytest.raises(psycopg.errors.IntegrityError):
                connection.execute(refused)
        connection.execute("INSERT INTO person (name, nick) VALUES ('new', 'ADA')")


async def test_wishes_that_cannot_be_are_told_before_the_start(
    mysql9: MysqlServer, to_postgres: Callable[[MysqlServer], ToPostgresRuns]
) -> None:
    runs = to_postgres(mysql9)
    runs.source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source, target = map(bootstrap.parse_url, runs.urls())
    conversion = read_conversion({"collation": "case-insensitive", "column_types": "int=uuid"})
    selection = ObjectSelection(schemas=frozenset({runs.source.name}))
    spec = JobSpec("job", TaskMode.FULL, source, target, selection=selection, conversion=conversion)
    items = await bootstrap.DatabaseProbes().run_prechecks(spec)
    passed = {each.item for each in items if each.verdict is Verdict.PASSED}
    assert {"dbClockConsistency", "dstDbDiskSize", "srcTableAlreadyExistedInDstTable"} <= passed
    failed = [each for each in items if each.verdict is Verdict.FAILED]
    assert [each.reason for each in failed] == ["BAD_CONVERSION", "TARGET_WITHOUT_ICU"]
    assert f"{runs.source.name}.t.id (int) cannot be uuid: integer, smallint, bigint, numeric" in failed[0].message


SHOP = (
    """CREATE TABLE customer (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, email varchar(190) NOT NULL UNIQUE,
        state enum('new','it''s','gone') NOT NULL DEFAULT 'new', tags set('a','b'), made datetime DEFAULT now(),
        seen timestamp NULL DEFAULT now() ON UPDATE now(), note text, flag bit(1) NOT NULL DEFAULT b'0',
        KEY beginning (note(20)), FULLTEXT KEY words (note)) COMMENT 'who "buys"'""",
    """CREATE TABLE purchase (customer_id bigint unsigned NOT NULL, number int NOT NULL, price decimal(10,2)
        DEFAULT 9.5, doubled decimal(12,2) AS (price * 2) STORED,
        at date COMMENT 'day', PRIMARY KEY (customer_id, number),
        KEY by_day (at DESC, price), CONSTRAINT buys FOREIGN KEY (customer_id) REFERENCES customer (id)
        ON DELETE RESTRICT ON UPDATE RESTRICT, CONSTRAINT positive CHECK (price > 0))""",
    "CREATE VIEW rich AS SELECT customer_id FROM purchase WHERE price > 1000",
    "INSERT INTO customer (email, tags, note) VALUES ('a@x', 'a,b', 'text'), ('B@x', '', NULL)",
    "INSERT INTO purchase (customer_id, number, at) VALUES (1, 1, '2024-02-29'), (2, 1, NULL)",
)


def test_columns_that_changed_places_while_the_job_was_stopped_are_noticed(
    mysql_server: MysqlServer, to_postgres: Callable[[MysqlServer], ToPostgresRuns]
) -> None:
    """The rows before the change have no names: they would come with the two values swapped."""
    runs = to_postgres(mysql_server)
    runs.source.execute("CREATE TABLE t (id int PRIMARY KEY, a int, b int)", "INSERT INTO t VALUES (1, 10, 11)")
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute("INSERT INTO t VALUES (2, 20, 21)", "ALTER TABLE t MODIFY a int AFTER b")
    outcome = runs.run()
    assert outcome["error"] == "SOURCE_DDL"
    assert "no longer those that the job copied" in outcome["message"]
    runs.source.execute("ALTER TABLE t MODIFY a int AFTER id")  # as they were: now only the binlog tells
    outcome = runs.run()
    assert outcome["error"] == "SOURCE_DDL"
    assert "while the job copied its tables" in outcome["message"]
    assert runs.target.fetch_all(f"SELECT id, a, b FROM {runs.source.name}.t") == [(1, 10, 11)]


def test_target_of_migrate_is_ready_for_work(
    mysql9: MysqlServer, to_postgres: Callable[[MysqlServer], ToPostgresRuns]
) -> None:
    runs = to_postgres(mysql9)
    runs.source.execute(*SHOP)
    # As the command line does it, prechecks included.
    code, command = run("migrate", url_of(mysql9, runs.source.name), runs.target.url, "--until-caught-up", "--json")
    assert code == 0, command.told()
    left_out = (
        "customer.beginning",
        "customer.words",
        "customer.seen",
        "purchase.positive",
        "purchase.doubled",
        "rich",
    )
    assert [name for name in left_out if f"{runs.source.name}.{name}" not in command.told()] == []
    assert_same_values(runs.source, runs.target)
    with runs.target.connect() as connection:
        connection.execute(f"SET search_path = {runs.source.name}".encode())
        made = connection.execute(
            "INSERT INTO customer (email) VALUES ('c@x') RETURNING id, state, flag, made IS NOT NULL, seen IS NOT NULL"
        ).fetchone()
        assert made == (3, "new", "0", True, True)
        assert connection.execute("INSERT INTO purchase VALUES (3, 1) RETURNING price").fetchone() == (Decimal("9.50"),)
        for refused in (
            "INSERT INTO customer (email) VALUES ('a@x')",
            "INSERT INTO customer (email, state) VALUES ('d@x', 'other')",
            "INSERT INTO customer (email, tags) VALUES ('e@x', '{c}')",
            "INSERT INTO purchase VALUES (99, 1)",
            "DELETE FROM customer WHERE id = 1",
        ):
            with pytest.raises(psycopg.errors.IntegrityError):
                connection.execute(refused)
        comment = connection.execute("SELECT obj_description('customer'::regclass)").fetchone()
        assert comment == ('who "buys"',)

"""Whole jobs from PostgreSQL to both products: every type through the copy and the stream, compared by value."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.fault.cross_jobs import CrossRuns, assert_same_values
from tests.servers.databases import Database
from tests.servers.mysql import MysqlServer, Product
from tests.servers.mysql_fixtures import MysqlServerFactory
from towline import bootstrap
from towline.domain.errors import UnrepresentableValue
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.tables import ObjectSelection, Table
from towline.engine import points
from towline.engine.ports import Chunk

# Column type and values; every value is put into a row of its own.
TYPES: dict[str, list[str]] = {
    "smallint": ["-32768", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "numeric(10,2)": ["-99999999.99", "0.01"],
    "numeric(3,5)": ["0.00999"],
    "numeric(5,-2)": ["1234500"],
    "numeric": ["0.000000000000000000000000000001", "-12345678901234567890123456789012345.5", "1.50"],
    "numeric(80,10)": ["1234567890123456789012345678901234567890.0123456789"],
    "real": ["3.4028235e38", "1.17549435e-38", "0.1", "16777217", "-1e-7"],
    "double precision": ["1.7976931348623157e308", "2.2250738585072014e-308", "0.1", "123456789.12345679", "-1e-300"],
    "boolean": ["true", "false"],
    "character(5)": ["'a'", "'ü🚢'", "''", "'  x'"],
    "character(300)": ["'long'"],
    "character varying(40)": ["''", "'a  '", "'🚢🚢'", r"E'it''s \\ \n'", r"'\N'", r"E'\f\v\b\r\t\\f'"],
    "text": ["''", "repeat('🚢', 40000)", r"'a\Nb'", r"E'\x01\x1b\x1c\x1d\x1e\x1f\x7f'", "'NULL'", "'\"q\"'", r"'\'"],
    "bytea": [r"'\x'", r"'\x00ff275c220d0a091b1c1d1e1f'", "decode(repeat('00ff', 40000), 'hex')"],
    "date": ["'0001-01-01'", "'9999-12-31'", "'2024-02-29'"],
    "time": ["'00:00:00'", "'23:59:59.999999'"],
    "time(3)": ["'12:34:56.789'"],
    "time with time zone": ["'12:34:56.789+05:30'"],
    "timestamp": ["'0001-01-01 00:00:00'", "'9999-12-31 23:59:59.999999'", "'2024-03-10 02:30:00.5'"],
    "timestamp(0)": ["'2024-03-10 02:30:01'"],
    "timestamptz": ["'2024-03-10 02:30:00.123456+11'", "'9999-12-31 23:59:59.999999+00'", "'1000-01-01 00:00+00'"],
    "interval": ["'-178000000 years'", "'1 mon -3 days 04:05:06.789'", "'0'"],
    "uuid": ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
    "json": ["""'{"b": 1.10, "a": [1,  2], "a": "\\u00fc🚢"}'""", "'null'"],
    "jsonb": ["""'{"b": 12345678901234567890.123, "a": "\\n\\\\"}'""", "'[]'"],
    "integer[]": ["'{1,NULL,-3}'", "'{{1,2},{3,4}}'", "'{}'"],
    "text[]": [r"""'{"a,b","c\"d",NULL,"NULL"}'"""],
    "mood": ["'sad'", "'it''s'", "'ü'", "''"],
    "year_": ["2024"],
    "word": ["'short'"],
    "inet": ["'192.168.0.1/24'", "'2001:db8::ff00:42:8329'"],
    "cidr": ["'10.0.0.0/8'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "bit(1)": ["B'1'"],
    "bit(10)": ["B'0000000101'"],
    "bit(64)": ["B'" + "1" * 64 + "'", "B'" + "0" * 63 + "1'"],
    "bit(70)": ["B'" + "10" * 35 + "'"],
    "bit varying": ["B''", "B'00101'"],
    "money": ["'-92233720368547758.08'", "'1.5'"],
    "int4range": ["'[1,10)'", "'empty'", "'(,5)'"],
    "tstzrange": ["'[2024-01-01 00:00+00,infinity)'"],
    "tsvector": ["'a:1A fat:2B cat:3'"],
    "point": ["'(1.5,-2)'"],
    "pair": ["ROW(1, 'x,\"y')"],
    "oid": ["4294967295"],
    "pg_lsn": ["'16/B374D848'"],
}
UUIDS = [f"{n}0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" for n in range(4)]
# What MySQL cannot hold, with the column that must be named.
REFUSED: dict[str, list[str]] = {
    "numeric": ["'NaN'", "1e40", "1e-31", "'Infinity'"],
    "real": ["'NaN'", "'-Infinity'"],
    "double precision": ["'NaN'", "'Infinity'"],
    "date": ["'infinity'", "'0044-03-15 BC'", "'10000-01-01'"],
    "timestamp": ["'-infinity'", "'12000-01-01 00:00:00'", "'0044-03-15 12:00:00 BC'"],
    "timestamptz": ["'infinity'", "'10000-01-01 00:00:00+00'", "'0044-03-15 12:00:00+00 BC'"],
}


@pytest.fixture
def runs(source_database: Database, mysql_server: MysqlServer, tmp_path: Path) -> Iterator[CrossRuns]:
    schema = f"x_{secrets.token_hex(5)}"
    source_database.execute(f"CREATE SCHEMA {schema}")
    yield CrossRuns(source=source_database, target=mysql_server, schema=schema, work_dir=tmp_path)
    mysql_server.execute(f"DROP DATABASE IF EXISTS `{schema}`", "DROP DATABASE IF EXISTS towline")


def in_schema(runs: CrossRuns, *statements: str) -> None:
    with runs.source.connect() as connection:
        connection.execute(f"SET search_path = {runs.schema}".encode())
        for statement in statements:
            connection.execute(statement.encode())


def make_matrix(runs: CrossRuns) -> None:
    columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(TYPES))
    in_schema(
        runs,
        "CREATE TYPE mood AS ENUM ('sad', 'it''s', 'ü', '')",
        "CREATE TYPE pair AS (a integer, b text)",
        "CREATE DOMAIN year_ AS integer NOT NULL DEFAULT 1 CHECK (VALUE > 0)",
        "CREATE DOMAIN word AS varchar(20)",
        f"CREATE TABLE matrix (id serial PRIMARY KEY, {columns})",
        *insert_values(),
    )


def insert_values() -> list[str]:
    return [
        f"INSERT INTO matrix (c{number}) VALUES ({value})"
        for number, values in enumerate(TYPES.values())
        for value in values
    ]


def test_every_type_arrives_by_copy_and_by_stream(runs: CrossRuns) -> None:
    make_matrix(runs)
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    assert_same_values(runs)
    # Through inserts, updates that move values between rows, and deletes.
    in_schema(
        runs,
        *insert_values(),
        "UPDATE matrix SET id = id + 100000 WHERE id % 3 = 0",
        "DELETE FROM matrix WHERE id % 7 = 0",
    )
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_values(runs)


def test_columns_have_the_types_that_the_job_wishes(
    source_database: Database, mariadb10: MysqlServer, tmp_path: Path
) -> None:
    schema = f"x_{secrets.token_hex(5)}"
    source_database.execute(f"CREATE SCHEMA {schema}")
    runs = CrossRuns(source=source_database, target=mariadb10, schema=schema, work_dir=tmp_path)
    wishes = f"uuid=binary(16); {schema}.w.name=varchar(300); numeric=decimal(20,6); {schema}.w.tag=varchar(10)"
    order: dict[str, Any] = {"conversion": {"column_types": wishes}, "conflict_policy": "ignore"}
    in_schema(
        runs,
        "CREATE TABLE w (id uuid PRIMARY KEY, name text, amount numeric, tag varchar)",
        "CREATE TABLE part (w_id uuid REFERENCES w, number int, PRIMARY KEY (w_id, number))",
        f"INSERT INTO w VALUES ('{UUIDS[0]}', repeat('🚢', 300), -12345678901234.000001, 'a')",
        f"INSERT INTO w VALUES ('{UUIDS[1]}', NULL, 0, '')",
        f"INSERT INTO part VALUES ('{UUIDS[0]}', 1)",
    )
    try:
        runs.run_until_killed(points.HANDOFF_BEFORE_STREAM, **order)
        in_schema(
            runs,
            f"INSERT INTO w VALUES ('{UUIDS[2]}', 'x', 1.5, 'streamed')",
            f"UPDATE w SET name = 'seen' WHERE id = '{UUIDS[1]}'",
            f"INSERT INTO part VALUES ('{UUIDS[2]}', 1)",
            f"UPDATE w SET id = '{UUIDS[3]}' WHERE id = '{UUIDS[1]}'",
            # One digit too many, and one letter.
            f"UPDATE w SET amount = 0.0000001 WHERE id = '{UUIDS[2]}'",
            f"UPDATE w SET tag = '12345678901' WHERE id = '{UUIDS[2]}'",
            # Even spaces at the end, which the server would cut without an error.
            f"UPDATE w SET tag = 'a' || repeat(' ', 10) WHERE id = '{UUIDS[3]}'",
        )
        runs.run_to_the_end(**order)
        rows = mariadb10.fetch_all(f"SELECT id, name, amount, tag FROM `{schema}`.w ORDER BY id")
        assert rows == [
            (UUID(UUIDS[0]).bytes, "🚢" * 300, Decimal("-12345678901234.000001"), "a"),
            (UUID(UUIDS[2]).bytes, "x", Decimal("1.5"), "streamed"),
            (UUID(UUIDS[3]).bytes, "seen", Decimal(0), ""),
        ]
        assert mariadb10.fetch_all(f"SELECT w_id FROM `{schema}`.part ORDER BY 1") == [(rows[0][0],), (rows[1][0],)]
        # Refused, never rounded or cut.
        assert [(table, "'amount'" in reason or "'tag'" in reason) for table, _, reason, _ in runs.rejects()] == [
            ("w", True),
            ("w", True),
            ("w", True),
        ]
    finally:
        mariadb10.execute(f"DROP DATABASE IF EXISTS `{schema}`", "DROP DATABASE IF EXISTS towline")


async def test_a_value_that_does_not_fit_is_named_by_the_copy(runs: CrossRuns) -> None:
    runs.follow = False
    bad = [(kind, value) for kind, values in REFUSED.items() for value in values]
    in_schema(
        runs,
        *(f"CREATE TABLE bad{n} (id int PRIMARY KEY, v {kind})" for n, (kind, _) in enumerate(bad)),
        *(f"INSERT INTO bad{n} VALUES (1, NULL), (7, {value})" for n, (_, value) in enumerate(bad)),
        "CREATE TABLE bad_key (k text PRIMARY KEY)",
        "INSERT INTO bad_key VALUES (repeat('k', 900))",
    )
    sides = await bootstrap.open_sides(runs.spec(), epoch=None, work_dir=runs.work_dir)
    try:
        items = await sides.structure_source.read_structure(ObjectSelection(), on_report=lambda _: None)
        await sides.structure_target.save_structure(items, [])
        await sides.structure_target.apply_items(items, on_report=lambda _: None)
        tables = await sides.copy_source.read_tables(ObjectSelection())
        snapshot = await sides.copy_source.open_base_snapshot(tables, follow=False)
        reader = await snapshot.open_reader()
        assert len(tables) == len(bad) + 1
        for table in tables:
            writer = await sides.copy_target.open_writer()
            work = [(table, Chunk(table.name, 0, 0, None))]
            with pytest.raises(UnrepresentableValue) as caught:
                await writer.write(work, reader, snapshot_number=1, changed_since={}, on_bytes=count_nothing)
            context = caught.value.context
            assert context["table"] == table.name.name
            assert context["column"] == ("k" if table.name.name == "bad_key" else "v"), caught.value.message
            assert context["key"] == ("id=7" if table.name.name != "bad_key" else f"k={'k' * 900}")
            assert runs.target.fetch_value(f"SELECT COUNT(*) FROM `{runs.schema}`.`{table.name.name}`") == 0
        await reader.close()
        await snapshot.close()
    finally:
        await sides.close()


async def count_nothing(_table: Table, _size_bytes: int) -> None:
    pass


# What follows from our own code alone is shown on one product.
@pytest.mark.parametrize("mysql_product", [Product.MYSQL])
def test_a_value_that_does_not_fit_meets_the_policy_of_the_stream(runs: CrossRuns) -> None:
    kinds = ", ".join(f"c{n} {kind}" for n, kind in enumerate(REFUSED))
    in_schema(runs, f"CREATE TABLE bad (id int PRIMARY KEY, {kinds})")
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    bad = [(n, value) for n, values in enumerate(REFUSED.values()) for value in values]
    in_schema(runs, *(f"INSERT INTO bad (id, c{n}) VALUES ({at}, {value})" for at, (n, value) in enumerate(bad)))
    assert runs.run(conflict_policy="stop")["error"] == "UNREPRESENTABLE_VALUE"
    assert runs.rejects()[0][3] == "id=0"
    in_schema(runs, "INSERT INTO bad (id, c0) VALUES (100, 1.5)")
    runs.target.execute("DELETE FROM towline.reject")
    runs.run_to_the_end(conflict_policy="ignore")
    assert [(key, "for column 'c" in reason) for *_, reason, key in runs.rejects()] == [
        (f"id={at}", True) for at in range(len(bad))
    ]
    in_schema(runs, "DELETE FROM bad WHERE id < 100")
    assert_same_values(runs)


LARGE = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 2000) i)"


@pytest.mark.parametrize("mysql_product", [Product.MARIADB])
def test_changes_of_every_kind_arrive(runs: CrossRuns) -> None:
    in_schema(
        runs,
        'CREATE TABLE "Large One" (id int PRIMARY KEY, "Key" text UNIQUE, n int, doc text, bytes bytea)',
        'ALTER TABLE "Large One" ALTER doc SET STORAGE EXTERNAL, ALTER bytes SET STORAGE EXTERNAL',
        f"""INSERT INTO "Large One" SELECT i, 'k' || i, 0, {LARGE}, {LARGE}::bytea FROM generate_series(1, 9) i""",
        "CREATE TABLE keyless (n int, t text, c char(4), f real, b bit(3), d numeric, z timestamptz)",
        "ALTER TABLE keyless REPLICA IDENTITY FULL",
        """INSERT INTO keyless
           SELECT i, CASE WHEN i % 2 = 0 THEN 'x ' END, 'p', i / 10.0, B'101', 1.50 + i, '2024-01-01'
           FROM generate_series(1, 9) i""",
        "CREATE TABLE by_index (a text NOT NULL, b numeric(8,3) NOT NULL, c bytea NOT NULL, v int, UNIQUE (a, b, c))",
        "ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_a_b_c_key",
        "INSERT INTO by_index SELECT 'A' || i || '  ', i, '\\x5c00', i FROM generate_series(1, 9) i",
        "CREATE TABLE typed (k timestamptz, f real, c char(6), m boolean, v int, PRIMARY KEY (k, f, c, m))",
        "INSERT INTO typed SELECT '2024-01-01'::timestamptz + i * interval '1 us', i / 10.0, 'c' || i, true, i"
        " FROM generate_series(1, 9) i",
        "CREATE TABLE emptied (id int PRIMARY KEY)",
        "INSERT INTO emptied VALUES (1), (2)",
    )
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    in_schema(
        runs,
        'UPDATE "Large One" SET n = n + 1 WHERE id < 4',  # without its large values
        'UPDATE "Large One" SET id = id + 100 WHERE id IN (4, 5)',
        """UPDATE "Large One" SET doc = 'short' WHERE id = 6""",
        'UPDATE "Large One" SET n = NULL WHERE id = 6',
        """BEGIN; UPDATE "Large One" SET "Key" = 'free' WHERE id = 7; UPDATE "Large One" SET "Key" = 'k7' WHERE id = 8;
           UPDATE "Large One" SET "Key" = 'k8' WHERE id = 7; COMMIT""",
        'DELETE FROM "Large One" WHERE id = 9',
        "UPDATE keyless SET n = -n WHERE n IN (2, 3); DELETE FROM keyless WHERE n IN (4, 5)",
        "INSERT INTO keyless (n) VALUES (1), (1)",
        "UPDATE by_index SET v = -v WHERE v < 3; UPDATE by_index SET b = b + 100 WHERE v IN (4, 5)",
        "DELETE FROM by_index WHERE v = 6",
        "UPDATE typed SET v = -v WHERE v < 3; UPDATE typed SET c = 'new' WHERE v = 4; DELETE FROM typed WHERE v = 5",
        "TRUNCATE emptied; INSERT INTO emptied VALUES (2), (7)",
    )
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_values(runs)


@pytest.mark.postgres(source=15)
async def test_target_that_takes_different_names_or_keys_for_equal_is_told_before_the_start(
    source_database: Database, private_mysql: MysqlServerFactory, tmp_path: Path
) -> None:
    server = private_mysql(Product.MARIADB, settings={"lower_case_table_names": "1"})
    runs = CrossRuns(source=source_database, target=server, schema="s", work_dir=tmp_path)
    source_database.execute("CREATE SCHEMA s")
    in_schema(
        runs,
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        """CREATE TABLE "Big" (t text PRIMARY KEY, v varchar(9) UNIQUE, c char(9) UNIQUE, free text,
           loose text COLLATE ci UNIQUE)""",
        "CREATE TABLE small (id int PRIMARY KEY)",
    )

    async def look() -> dict[str, PrecheckItem]:
        return {each.item: each for each in await bootstrap.DatabaseProbes().run_prechecks(runs.spec())}

    items = await look()
    assert items["srcDstTableNameCaseSensitiveCheck"].reason == "TABLE_NAME_CASE_DIFFERS"
    assert "s.Big" in items["srcDstTableNameCaseSensitiveCheck"].message
    assert items["dbClockConsistency"].verdict is items["dstDbDiskSize"].verdict is Verdict.PASSED
    assert items["dstKeyCollationCheck"].verdict is Verdict.PASSED
    server.execute(
        "CREATE DATABASE s",
        """CREATE TABLE s.big (t varchar(9) COLLATE utf8mb4_nopad_bin PRIMARY KEY,
           v varchar(9) COLLATE utf8mb4_bin UNIQUE, c char(9) COLLATE utf8mb4_bin UNIQUE,
           free varchar(9) COLLATE utf8mb4_general_ci, loose varchar(9) COLLATE utf8mb4_general_ci UNIQUE)""",
    )
    found = (await look())["dstKeyCollationCheck"]
    assert (found.verdict, found.reason) == (Verdict.FAILED, "DST_KEY_COLLATION_LOOSER")
    assert "lost: s.Big.v (utf8mb4_bin)." in found.message
    in_schema(runs, "CREATE TABLE big (id int PRIMARY KEY)")
    items = await look()
    assert items["srcDstTableNameCaseSensitiveCheck"].reason == "TABLE_NAMES_COLLIDE"
    assert items["srcTableAlreadyExistedInDstTable"].reason == "TABLE_ALREADY_EXISTED_IN_TARGET"

"""Whole jobs from PostgreSQL to both products: every type through the copy and the stream, compared by value."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.cross_jobs import CrossRuns, assert_same_values
from tests.servers.databases import Database
from tests.servers.mysql import MysqlServer
from towline.engine import points

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
    yield CrossRuns(source_database, mysql_server, schema, tmp_path)
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

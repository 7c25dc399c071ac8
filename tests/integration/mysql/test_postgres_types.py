"""Values of every type of MySQL and MariaDB, on their way from a real server into a real PostgreSQL."""

from __future__ import annotations

import pytest

from tests.integration.mysql.binlog import current_file, decode_since, read_shapes
from tests.servers import Database
from tests.servers.fixtures import DatabaseFactory
from tests.servers.mysql import MysqlDatabase, MysqlServer, Product
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from towline.adapters.mysql.postgres_types import (
    Unrepresentable,
    escape_for_copy,
    text_converter,
    to_ewkb,
)
from towline.adapters.mysql.postgres_wishes import choose_postgres_column
from towline.adapters.mysql.shapes import ColumnShape
from towline.domain.changes import split_row, value_of
from towline.domain.tables import TableName
from towline.embedded import EmbeddedPostgres

ANY = "ANY"  # that PostgreSQL takes it is all that is asked

# Type, value as the source's SQL, the value as PostgreSQL shows it.
COMMON = [
    ("tinyint", "-128", "-128"),
    ("tinyint unsigned", "255", "255"),
    ("smallint unsigned", "65535", "65535"),
    ("mediumint unsigned", "16777215", "16777215"),
    ("int unsigned zerofill", "42", "42"),
    ("bigint", "-9223372036854775808", "-9223372036854775808"),
    ("bigint unsigned", "18446744073709551615", "18446744073709551615"),
    ("decimal(65,30)", "-0." + "0" * 29 + "1", "-0." + "0" * 29 + "1"),
    ("decimal(10,2)", "12345678.90", "12345678.90"),
    ("float", "0.1", "0.1"),
    ("float", "16777216", "1.6777216e+07"),
    ("float", "3.40282e38", "3.40282e+38"),
    ("double", "0.1", "0.1"),
    ("double", "1.7976931348623157e308", "1.7976931348623157e+308"),
    ("double", "5e-324", "5e-324"),
    ("year", "2155", "2155"),
    ("bit(10)", "b'1000000001'", "1000000001"),
    ("bit(1)", "b'1'", "1"),
    ("date", "'2024-02-29'", "2024-02-29"),
    ("date", "'9999-12-31'", "9999-12-31"),
    ("datetime(6)", "'1000-01-01 00:00:00.000001'", "1000-01-01 00:00:00.000001"),
    ("timestamp(3) null", "'2024-02-29 12:00:00.125'", "2024-02-29 12:00:00.125+00"),
    ("time(6)", "'-838:59:58.999999'", "-838:59:58.999999"),
    ("time", "'838:59:59'", "838:59:59"),
    ("char(10)", "'ä€😀 '", "ä€😀"),
    ("varchar(20)", "'back\\\\slash\\ttab\\nline'", "back\\slash\ttab\nline"),
    ("varchar(20) character set latin1", "x'80e981'", "€é\x81"),
    ("varchar(20) character set utf16", "'a😀'", "a😀"),
    ("varchar(20) character set gbk", "'中文'", "中文"),
    ("varchar(20) character set cp1251", "'Привет'", "Привет"),
    ("longtext", "repeat('ä', 70000)", "ä" * 70000),
    ("enum('a','é') character set latin1", "'é'", "é"),
    ("set('a','b\"c\\\\d','é')", "'a,b\"c\\\\d,é'", '{a,"b\\"c\\\\d",é}'),
    ("set('a','b')", "''", "{}"),
    ("binary(4)", "x'00ff'", "\\x00ff0000"),
    ("varbinary(10)", "x'5c780a'", "\\x5c780a"),
    ("longblob", "x''", "\\x"),
    ("point", "st_geomfromtext('POINT(1 2)')", "\\x0101000000000000000000f03f0000000000000040"),
]
BY_PRODUCT = {
    Product.MYSQL: [
        *COMMON,
        ("json", '\'{"b": 1, "a": [1.5, null, "x\\\\\\\\u0000"]}\'', '{"a": [1.5, null, "x\\\\u0000"], "b": 1}'),
        ("vector(3)", "string_to_vector('[1,2.5,-3e30]')", "{1,2.5,-3e+30}"),
        ("point srid 4326", "st_geomfromtext('POINT(1 2)', 4326)", ANY),
    ],
    Product.MARIADB: [
        *COMMON,
        ("inet6", "'::ffff:1.2.3.4'", "::ffff:1.2.3.4/128"),
        ("inet4", "'1.2.3.4'", "1.2.3.4/32"),
        ("uuid", "'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000"),
        ("json", "'[1, 2.50]'", "[1, 2.50]"),  # a text with a check there
    ],
}


@pytest.fixture
def target(pg18: EmbeddedPostgres, fresh_database: DatabaseFactory) -> Database:
    return fresh_database(pg18)


def test_values_arrive_as_they_are(mysql_database: MysqlDatabase, mysql_product: Product, target: Database) -> None:
    cases = BY_PRODUCT[mysql_product]
    columns = ", ".join(f"c{number} {type_sql}" for number, (type_sql, _, _) in enumerate(cases))
    mysql_database.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns}) ROW_FORMAT=DYNAMIC")
    place = current_file(mysql_database.server)
    mysql_database.execute(
        "SET time_zone = '+00:00'", f"INSERT INTO t VALUES (1, {', '.join(value for _, value, _ in cases)})"
    )
    (change,) = decode_since(mysql_database, place, {"t": ["id"]}).changes
    shapes = read_shapes(mysql_database)[TableName(mysql_database.name, "t")].columns[1:]
    chosen = [choose_postgres_column(shape) for shape in shapes]
    types, fields = [], []
    for number, (column, cell) in enumerate(zip(chosen, split_row(change[2] or b"")[1:], strict=True)):
        value = value_of(cell)
        assert column is not None, cases[number]
        assert value is not None, cases[number]
        types.append(f"c{number} {column.type_sql}")
        fields.append(escape_for_copy(column.convert(value) if column.convert is not None else value))
    with target.connect() as connection:
        connection.execute(f"CREATE TABLE t ({', '.join(types)})".encode())
        with connection.cursor() as cursor:
            with cursor.copy("COPY t FROM STDIN") as copy:
                copy.write(b"\t".join(fields) + b"\n")
            connection.execute("SET timezone = 'UTC'; SET intervalstyle = 'postgres'")
            shown = ", ".join(f"c{number}::text" for number in range(len(cases)))
            row = connection.execute(f"SELECT {shown} FROM t".encode()).fetchone()
    assert row is not None
    differences = [
        f"{type_sql}: {found!r:.80} != {expected!r:.80}"
        for (type_sql, _, expected), found in zip(cases, row, strict=True)
        if expected not in (ANY, found)
    ]
    assert not differences, "\n".join(differences)


REFUSED = [
    ("date", b"0000-00-00"),
    ("date", b"2024-00-01"),
    ("datetime", b"2023-02-29 00:00:00"),
    ("timestamp", b"0000-00-00 00:00:00"),
    ("varchar(9)", b"a\0b"),
    ("varchar(9)", b"\xff"),
    ("json", b'["\\u0000"]'),
    ("geometry", b""),
]


@pytest.mark.parametrize(("type_sql", "value"), REFUSED)
def test_what_has_no_equal_is_refused(type_sql: str, value: bytes) -> None:
    column = choose_postgres_column(ColumnShape("c", type_sql, "utf8mb4"))
    assert column is not None
    assert column.convert is not None
    with pytest.raises(Unrepresentable) as caught:
        column.convert(value)
    assert value.decode(errors="replace") not in str(caught.value) or not value


def test_unknown_character_set_is_read_as_far_as_it_is_ascii() -> None:
    convert = text_converter("armscii8")
    assert convert(b"plain") == b"plain"
    with pytest.raises(Unrepresentable, match="armscii8"):
        convert(b"\xb2")


def test_spatial_reference_is_kept(mysql9: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory) -> None:
    database = fresh_mysql_database(mysql9)
    raw = database.fetch_value("SELECT CAST(ST_GeomFromText('POINT(1 2)', 4326) AS binary)")
    assert to_ewkb(raw)[:9] == b"\1\1\0\0\x20" + (4326).to_bytes(4, "little")

"""Every type of both products at its extremes, through the copy and through the stream, compared by value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.mysql_jobs import MysqlRuns
from tests.servers.mysql import MysqlServer, Product
from tests.servers.mysql_equality import assert_same_rows
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
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
    "date": ["'0000-00-00'", "'1000-01-01'", "'9999-12-31'", "'2021-02-31'", "'2021-00-15'"],
    "datetime": ["'0000-00-00 00:00:00'", "'9999-12-31 23:59:59'"],
    "datetime(6)": ["'1000-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'", "'2020-05-05 05:05:05'"],
    "timestamp(3) null": ["'1970-01-01 00:00:01.001'", "'2038-01-19 03:14:07.999'", "'0000-00-00 00:00:00'"],
    "time": ["'-838:59:59'", "'838:59:59'", "'00:00:00'"],
    "time(6)": ["'-838:59:58.999999'", "'00:00:00.000001'", "'-00:00:01.5'"],
    "char(10)": ["''", "'a  '", "'🚢🚢'", "'it''s \\\\ \\n'"],
    "char(5) character set latin1": ["'ü'", "'ß§'"],
    "varchar(20) character set ucs2": ["'añb'", "'字'"],
    "varchar(20) character set utf16": ["'🚢x'"],
    "varchar(20) character set gbk": ["'中文'"],
    "varchar(20) character set sjis": ["'日本'", "'ソ'"],
    "varchar(300)": ["''", "repeat('é', 250)", "'tab\\tnl\\n\\0end'", "x'1b1c1d1e1f'"],
    "binary(5)": ["x'00'", "x'0001020304'", "x'61200000'"],
    "varbinary(300)": ["''", "x'1b1c1d1e1f1f1b4e5c'", "x'00ff275c220d0a09'", "repeat(x'ff', 260)"],
    "tinyblob": ["''", "x'0000'"],
    "blob": ["repeat(x'1f', 70000 div 2)", "x''"],
    "mediumblob": ["repeat(x'1b00', 50000)"],
    "longtext": ["''", "repeat('🚢', 40000)", "'a\\\\Nb'", "'\\\\N'"],
    "text character set latin1": ["'plain ü'"],
    "enum('a','it''s','ü','')": ["'a'", "'it''s'", "'ü'", "''"],
    "set('x','y','z')": ["''", "'z'", "'x,y,z'"],
    "json": [
        "'null'",
        "'{}'",
        """'{"a": [1, -2.5, "ü🚢", null, true], "b": {"c": "d"}}'""",
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


def statements(product: Product, number: int) -> list[str]:
    """A table with a key and one without for every type, with all values, NULL and the default."""
    made = []
    for index, (kind, values) in enumerate({**COMMON, **OWN[product]}.items()):
        if number == 0:
            key = "id int AUTO_INCREMENT PRIMARY KEY, " if index % 7 else ""
            null = "" if "null" in kind else " NULL"
            made.append(f"CREATE TABLE t{index} ({key}v {kind}{null})")
        made += [f"INSERT INTO t{index} (v) VALUES ({value})" for value in [*values, "NULL"]]
    return made


def changes(product: Product) -> list[str]:
    """Every value as a new one of an update, and of a delete."""
    made = []
    for index, (_, values) in enumerate({**COMMON, **OWN[product]}.items()):
        made += [f"UPDATE t{index} SET v = {values[-1]} LIMIT 1", f"DELETE FROM t{index} LIMIT 1"]
        made += [f"INSERT INTO t{index} (v) VALUES ({value})" for value in values]
    return made


@pytest.fixture(params=list(Product), ids=lambda product: product.value)
def runs(
    request: pytest.FixtureRequest,
    mysql_servers: object,
    fresh_mysql_database: MysqlDatabaseFactory,
    tmp_path: Path,
) -> Iterator[MysqlRuns]:
    product: Product = request.param
    source = fresh_mysql_database(mysql_servers(product, "first"))  # type: ignore[operator]
    target: MysqlServer = mysql_servers(product, "second")  # type: ignore[operator]
    yield MysqlRuns(source=source, target=target, work_dir=tmp_path)
    target.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


def test_every_type_arrives_by_copy_and_by_stream(runs: MysqlRuns) -> None:
    product = runs.source.server.product
    runs.source.execute(MODE, *statements(product, 0))
    # Stopped between copy and stream, so that it is certain which way a row came.
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    assert_same_rows(runs.source.server, runs.target, runs.source.name)
    runs.source.execute(MODE, *changes(product), *statements(product, 1))
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_rows(runs.source.server, runs.target, runs.source.name)


def test_value_that_does_not_fit_is_named_with_table_column_and_key(runs: MysqlRuns) -> None:
    runs.follow = False
    runs.source.execute("CREATE TABLE fits (id int PRIMARY KEY, v int)", "INSERT INTO fits VALUES (1, 5), (42, 300)")
    runs.run_until_killed(points.COPY_IN_CHUNK)
    runs.target.execute(f"ALTER TABLE `{runs.source.name}`.fits MODIFY v tinyint")
    outcome = runs.run()
    assert outcome["error"] == "UNREPRESENTABLE_VALUE"
    assert "fits" in outcome["message"]
    assert "'v'" in outcome["message"]
    assert runs.target.fetch_value(f"SELECT COUNT(*) FROM `{runs.source.name}`.fits") == 0

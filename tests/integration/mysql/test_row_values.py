"""The contract of values: what the stream has for a column is byte for byte what SELECT returns for it."""

from __future__ import annotations

import itertools
import math
import random
import struct
from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.integration.mysql.binlog import current_file, decode_since, read_events
from tests.servers.mysql import MysqlDatabase, MysqlServer, Product
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from towline.adapters.mysql.binlog_events import PARTIAL_UPDATE_ROWS, TRANSACTION_PAYLOAD, WRITE_ROWS_COMPRESSED_V1
from towline.adapters.mysql.text_form import select_expression
from towline.domain.changes import DELETE, INSERT, UPDATE, split_row, value_of
from towline.domain.errors import SetupError

INTEGERS = {
    "tinyint": ["-128", "-1", "0", "127"],
    "tinyint unsigned": ["0", "255", "128"],
    "smallint": ["-32768", "-1", "32767"],
    "smallint unsigned": ["0", "65535"],
    "mediumint": ["-8388608", "-1", "0", "8388607"],
    "mediumint unsigned": ["0", "8388608", "16777215"],
    "int": ["-2147483648", "-1", "2147483647"],
    "int unsigned": ["0", "4294967295"],
    "bigint": ["-9223372036854775808", "-1", "9223372036854775807"],
    "bigint unsigned": ["0", "18446744073709551615"],
    "int(7) unsigned zerofill": ["0", "42", "123456789"],
    "smallint(3) zerofill": ["7", "65535"],
    "bool": ["true", "false", "-7"],
    "bit(1)": ["b'0'", "b'1'"],
    "bit(9)": ["b'0'", "b'100000001'"],
    "bit(64)": ["0", "18446744073709551615", "9223372036854775808"],
    "year": ["0", "1901", "2155", "2026"],
}
DECIMALS = {
    "decimal(1,0)": ["-9", "0", "9"],
    "decimal(10,2)": ["-99999999.99", "-0.01", "0", "0.05", "99999999.99", "1234.5"],
    "decimal(4,4)": ["-0.9999", "0.0001", "0"],
    "decimal(9,9)": ["0.123456789", "-0.000000001"],
    "decimal(18,9)": ["123456789.123456789", "-1.000000001", "0"],
    "decimal(20,0)": ["12345678901234567890", "-98765432109876543210", "1"],
    "decimal(65,30)": ["-" + "9" * 35 + "." + "9" * 30, "0." + "0" * 29 + "1", "12345678901234567890.5"],
    "decimal(65,0)": ["9" * 65, "-1", "1000000000000000000"],
    "decimal(13,11)": ["12.12345678901", "-0.00000000001"],
    "decimal(8,3) unsigned zerofill": ["1.5", "0", "99999.999"],
}
FLOATS = {
    "float": ["0", "0.1", "-3.40282e38", "1.17549e-38", "16777216", "1e-45", "123456.789", "1e10"],
    "double": [
        "0",
        "0.1",
        "-1.7976931348623157e308",
        "2.2250738585072014e-308",
        "5e-324",
        "1e15",
        "1e14",
        "999999999999999",
        "123456789012345680",
        "1e16",
        "1e-4",
        "1e-5",
        "1.5e-10",
        "1e-14",
        "1e-15",
        "1e-16",
        "1.2345678901234567e-5",
        "100",
        "1234567890123456.7",
        "-0.00001",
        "9007199254740993",
        "1e22",
        "1e23",
    ],
    "float(7,2)": ["12345.67", "-0.01", "0"],
    "double(12,3)": ["123456789.123", "-0.001", "0"],
    "double unsigned": ["1.25"],
}
FRACTIONAL_DATETIMES = [
    "'0000-00-00'",
    "'9999-12-31 23:59:59'",
    "'2024-02-29 01:02:03.123456'",
    "'2024-01-01 00:00:00.9'",
]
FRACTIONAL_TIMESTAMPS = ["'1970-01-01 00:00:01'", "'2024-02-29 01:02:03.123456'", "'0000-00-00'"]
FRACTIONAL_TIMES = [
    "'-838:59:59'",
    "'-00:00:00.9'",
    "'-00:00:01.5'",
    "'12:34:56.789012'",
    "'-12:34:56.7'",
    "'00:00:00.1'",
]
TIMES = {
    "date": ["'0000-00-00'", "'1000-01-01'", "'9999-12-31'", "'2024-02-29'", "'2020-00-00'", "'2020-05-00'"],
    "datetime": ["'0000-00-00 00:00:00'", "'1000-01-01 00:00:00'", "'9999-12-31 23:59:59'", "'2020-00-00 00:00:00'"],
    "timestamp null": [
        "'1970-01-01 00:00:01'",
        "'2038-01-19 03:14:07'",
        "'0000-00-00 00:00:00'",
        "'2024-02-29 12:00:00'",
    ],
    "time": ["'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'", "'23:59:59'", "'100:00:00'"],
    **{f"datetime({fsp})": FRACTIONAL_DATETIMES for fsp in range(1, 7)},
    **{f"timestamp({fsp}) null": FRACTIONAL_TIMESTAMPS for fsp in range(1, 7)},
    **{f"time({fsp})": FRACTIONAL_TIMES for fsp in range(1, 7)},
}
TEXTS = {
    "char(10)": ["''", "'abc'", "'a  '", "'äöü€😀'"],
    "char(255) character set utf8mb4": ["''", "repeat('😀', 255)", "'x'"],
    "char(5) character set latin1": ["'äöü'", "''"],
    "char(5) character set ucs2": ["'ä€ '", "'a'"],
    "char(5) character set utf32": ["'ä😀'"],
    "varchar(20)": ["''", "'  a  '", "'line\\nbreak\\0null'", "'😀'"],
    "varchar(300)": ["repeat('ä', 300)", "''"],
    "varchar(100) character set latin1": ["repeat('é', 100)", "''"],
    "varchar(100) character set utf16": ["'a😀b'"],
    "varchar(100) character set gbk": ["'中文'"],
    "varchar(100) character set sjis": ["'日本'"],
    "varchar(16000)": ["repeat('x', 16000)", "''"],
    "binary(5)": ["''", "'abcde'", "x'00'", "x'6100'", "x'2020'"],
    "binary(255)": ["repeat('x', 255)", "''"],
    "varbinary(100)": ["''", "x'00ff00'", "x'2020'"],
    "tinyblob": ["''", "repeat('x', 255)"],
    "blob": ["''", "repeat(x'00ff', 1000)"],
    "mediumblob": ["repeat('y', 70000)"],
    "longblob": ["repeat('z', 200000)", "''"],
    "tinytext": ["'äöü'"],
    "text": ["'😀'", "''"],
    "mediumtext character set latin1": ["'é'"],
    "longtext": ["repeat('ä', 100000)"],
    "enum('a','ö','c d','x''y')": ["'a'", "'ö'", "'c d'", "'x''y'", "0"],
    "enum('a','ö','€') character set latin1": ["'ö'", "'€'"],
    "enum('a','ö') character set ucs2": ["'ö'"],
    "enum(" + ",".join(f"'v{n}'" for n in range(300)) + ")": ["'v0'", "'v299'", "'v255'"],
    "set('a','b','ö')": ["''", "'a'", "'a,b,ö'", "'ö'"],
    "set('a','b','ö') character set ucs2": ["'a,ö'"],
    "set(" + ",".join(f"'s{n}'" for n in range(64)) + ")": ["'s0,s63'", "''", "'s7,s8'"],
}
SPATIAL = {
    "geometry": ["st_geomfromtext('POINT(1 2)')", "st_geomfromtext('POLYGON((0 0,1 0,1 1,0 0))')"],
    "point": ["st_geomfromtext('POINT(-1.5 2.25)')"],
    "linestring": ["st_geomfromtext('LINESTRING(0 0,1 1,2 2)')"],
    "multipoint": ["st_geomfromtext('MULTIPOINT(0 0,1 1)')"],
    "geometrycollection": ["st_geomfromtext('GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))')"],
}
JSON_VALUES = [
    "'null'",
    "'true'",
    "'false'",
    "'0'",
    "'-1'",
    "'32767'",
    "'32768'",
    "'-32769'",
    "'2147483648'",
    "'4294967296'",
    "'9223372036854775807'",
    "'18446744073709551615'",
    "'-9223372036854775808'",
    "'1.0'",
    "'1.5e300'",
    "'0.1'",
    "'1e20'",
    "'1e-7'",
    "'-0.0'",
    "'1e15'",
    "'123456789012345680000'",
    "'\"\"'",
    "'\"ä😀\"'",
    "'[]'",
    "'{}'",
    "'[1, [2, [3, {}]]]'",
    '\'{"bb": 1, "a": 2, "c": null, "aa": [true, false]}\'',
    '\'"q\\\\"b\\\\\\\\s\\\\n\\\\t\\\\u0001\\\\u001f/"\'',
    "json_object('k', cast(1.10 as decimal(5,2)), 'd', cast('2020-01-02' as date))",
    "json_object('t', cast('-10:11:12.5' as time(1)))",
    "json_object('dt', cast('2020-01-02 03:04:05.678' as datetime(3)), 'y', cast(2020 as year))",
    "json_array(x'00ff', b'101', repeat('x', 300), 1.5, cast('9999-12-31 23:59:59.999999' as datetime(6)))",
    "json_object('long', repeat('y', 70000), 'n', 100000, 'm', 5)",
    "json_array(cast(repeat('z', 100) as binary))",
    "json_array(st_geomfromtext('POINT(1 2)'))",
    "cast(concat('[', repeat('123456,', 20000), '1]') as json)",
]

COMMON = {**INTEGERS, **DECIMALS, **FLOATS, **TIMES, **TEXTS, **SPATIAL}
BY_PRODUCT = {
    Product.MYSQL: {**COMMON, "json": JSON_VALUES, "vector(3)": ["string_to_vector('[1,2.5,-3]')"]},
    Product.MARIADB: {
        **COMMON,
        "json": ["'{\"a\": [1, 2.50]}'"],
        "inet4": ["'0.0.0.0'", "'1.2.3.4'", "'255.255.255.255'", "'1.0.0.0'"],
        "inet6": [
            "'::'",
            "'::1'",
            "'::1.2.3.4'",
            "'::ffff:1.2.3.4'",
            "'2001:db8::'",
            "'fe80::1:0:0:1'",
            "'1:0:0:2:0:0:0:3'",
            "'1:0:2:3:4:5:6:7'",
            "'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'",
            "'::1:0'",
            "'::ffff:0:0'",
            "'0:1::'",
            "'1::2:0:0:3'",
        ],
        "uuid": [
            "'00000000-0000-0000-0000-000000000000'",
            "'123e4567-e89b-12d3-a456-426655440000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            "'01890a5d-ac96-774b-bcce-b302099a8057'",
        ],
        "varchar(100) compressed": ["''", "'short'", "repeat('abc', 33)"],
        "varchar(5000) compressed": ["''", "repeat('ä', 4000)"],
        "text compressed": ["''", "'x'", "repeat('compress me ', 2000)"],
        "longblob compressed": ["repeat(x'00ff', 100000)"],
    },
}

LOOSE = "SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'"


def write_rows(
    database: MysqlDatabase, types: Mapping[str, Sequence[str]], *settings: str
) -> tuple[dict[str, str], tuple[str, int]]:
    """One table per type, whose rows are inserted and updated; returns table -> type and where the rows begin."""
    tables = {f"t{number}": type_sql for number, type_sql in enumerate(types)}
    database.execute(
        *(f"CREATE TABLE {table} (id int PRIMARY KEY, v {type_sql})" for table, type_sql in tables.items())
    )
    place = current_file(database.server)
    statements = []
    for table, type_sql in tables.items():
        values = [*types[type_sql], "NULL"]
        statements.append(f"INSERT INTO {table} VALUES {', '.join(f'({n}, {v})' for n, v in enumerate(values))}")
        statements.append(f"UPDATE {table} SET id = id + 100000 ORDER BY id")
    database.execute(LOOSE, *settings, *statements)
    return tables, place


def selected(database: MysqlDatabase, table: str, type_sql: str) -> list[bytes | None]:
    with database.connect(conv={}, use_unicode=False) as connection, connection.cursor() as cursor:
        cursor.execute("SET character_set_results = NULL, time_zone = '+00:00'")
        cursor.execute(f"SELECT {select_expression('`v`', type_sql)} FROM {table} ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def assert_contract(database: MysqlDatabase, tables: dict[str, str], place: tuple[str, int]) -> None:
    found = decode_since(database, place, {table: ["id"] for table in tables}).changes
    by_table: dict[str, list] = {table: [] for table in tables}
    for change in found:
        by_table[change[1].table.name].append(change)
    differences = []
    for table, type_sql in tables.items():
        expected = selected(database, table, type_sql)
        for kind, place_in_change in ((INSERT, 2), (UPDATE, 2), (UPDATE, 3)):
            rows = [change[place_in_change] for change in by_table[table] if change[0] == kind]
            values = [value_of(split_row(row)[1]) for row in rows]
            for ours, theirs in itertools.zip_longest(values, expected):
                if ours != theirs:
                    differences.append(f"{type_sql}: stream {ours!r:.120}, SELECT {theirs!r:.120}")
    assert not differences, "\n".join(differences)


def test_every_type_at_its_extremes(mysql_database: MysqlDatabase, mysql_product: Product) -> None:
    tables, place = write_rows(mysql_database, BY_PRODUCT[mysql_product])
    assert_contract(mysql_database, tables, place)


def some_doubles() -> list[str]:
    """Doubles of all sizes and lengths, the same in each run."""
    chosen = random.Random(20240229)
    bits = [struct.pack("<Q", chosen.getrandbits(64)) for _ in range(1500)]
    wide = [struct.unpack("<d", raw)[0] for raw in bits]
    near = [chosen.randrange(10**digits) * 10.0**shift for digits in range(1, 18) for shift in range(-20, 21)]
    return [repr(value) for value in (*wide, *near) if math.isfinite(value)]


def test_doubles_and_floats_of_all_sizes(mysql_database: MysqlDatabase) -> None:
    floats = [text for text in some_doubles() if abs(float(text)) < 3e38]
    tables, place = write_rows(mysql_database, {"double": some_doubles(), "float": floats})
    assert_contract(mysql_database, tables, place)


def metadata_setting(database: MysqlDatabase, value: str) -> Iterator[None]:
    before = database.server.fetch_value("SELECT @@global.binlog_row_metadata")
    database.server.execute(f"SET GLOBAL binlog_row_metadata = {value}")
    yield
    database.server.execute(f"SET GLOBAL binlog_row_metadata = {before}")


@pytest.fixture(params=["FULL", "MINIMAL", "NO_LOG"])
def row_metadata(request: pytest.FixtureRequest, mysql_database: MysqlDatabase) -> Iterator[str]:
    """How much the server tells about columns; the last is MariaDB's alone, and its default."""
    if request.param == "NO_LOG" and not mysql_database.server.is_mariadb:
        pytest.skip("MySQL always logs some")
    yield from (request.param for _ in metadata_setting(mysql_database, request.param))


WIDE_ROW = """id bigint unsigned PRIMARY KEY, a tinyint unsigned, g1 int AS (a + 1) VIRTUAL, b varchar(10),
    c enum('x','é') character set latin1, g2 varchar(20) AS (concat(b, '!')) STORED, d mediumint, e set('p','q'),
    f decimal(9,3), h binary(3), i year, j bigint unsigned, k timestamp(3) NULL, l blob"""


def test_columns_are_told_apart_however_much_the_binlog_says(mysql_database: MysqlDatabase, row_metadata: str) -> None:
    mysql_database.execute(f"CREATE TABLE wide ({WIDE_ROW})")
    place = current_file(mysql_database.server)
    mysql_database.execute(
        "INSERT INTO wide (id, a, b, c, d, e, f, h, i, j, k, l) VALUES "
        "(18446744073709551615, 255, 'abc', 'é', -1, 'p,q', -1.5, 'x', 2000, 18446744073709551615, NULL, 'y')"
    )
    (change,) = decode_since(mysql_database, place, {"wide": ["id"]}).changes
    assert change[1].columns == ("id", "a", "b", "c", "d", "e", "f", "h", "i", "j", "k", "l")
    assert [value_of(cell) for cell in split_row(change[2] or b"")] == [
        b"18446744073709551615", b"255", b"abc", b"\xe9", b"-1", b"p,q", b"-1.500", b"x\0\0", b"2000",
        b"18446744073709551615", None, b"y",
    ]  # fmt: skip


def test_hidden_columns_of_the_server_are_no_part_of_a_row(mysql_database: MysqlDatabase, row_metadata: str) -> None:
    if mysql_database.server.is_mariadb:
        # A unique key over a long column adds one that the catalog does not show.
        mysql_database.execute("CREATE TABLE t (id int PRIMARY KEY, a varchar(50), b text, UNIQUE (b))")
    else:
        # So do an index over an expression and one over the items of an array.
        mysql_database.execute(
            "CREATE TABLE t (id int PRIMARY KEY, a varchar(50), b json, KEY ((upper(a))),"
            " KEY ((CAST(b->'$.x' AS unsigned array))))"
        )
    place = current_file(mysql_database.server)
    mysql_database.execute("""INSERT INTO t VALUES (1, 'x', '{"x": [1, 2]}')""", "UPDATE t SET a = 'y'")
    changes = decode_since(mysql_database, place, {"t": ["id"]}).changes
    assert changes[0][1].columns == ("id", "a", "b")
    rows = [[value_of(cell) for cell in split_row(change[2] or b"")] for change in changes]
    assert rows == [[b"1", name, b'{"x": [1, 2]}'] for name in (b"x", b"y")]


@pytest.mark.parametrize(
    "extra", ["", ", s timestamp(6) AS ROW START, e timestamp(6) AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)"]
)
def test_versioned_tables_are_refused(
    mariadb10: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory, extra: str
) -> None:
    database = fresh_mysql_database(mariadb10)
    extra = extra.replace(" AS ROW", " GENERATED ALWAYS AS ROW")
    database.execute(f"CREATE TABLE v (id int PRIMARY KEY{extra}) WITH SYSTEM VERSIONING")
    place = current_file(mariadb10)
    database.execute("INSERT INTO v (id) VALUES (1)", "DELETE FROM v")
    with pytest.raises(SetupError, match="versioning"):
        decode_since(database, place, {"v": ["id"]})


def test_rows_with_nulls_in_every_combination(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute(
        "CREATE TABLE sparse (id int, a tinyint, b varchar(300), c double, d date, e bit(3), f int unsigned)"
    )
    place = current_file(mysql_database.server)
    values = ["-5", "'text'", "1.5", "'2024-02-29'", "b'101'", "4000000000"]
    rows = []
    for bits in range(64):
        cells = [value if bits >> number & 1 else "NULL" for number, value in enumerate(values)]
        rows.append(f"({bits}, {', '.join(cells)})")
    mysql_database.execute(
        f"INSERT INTO sparse VALUES {', '.join(rows)}",
        "UPDATE sparse SET id = id + 100",
        "DELETE FROM sparse WHERE id > 0",
    )
    changes = decode_since(mysql_database, place, {"sparse": []}).changes
    texts = [b"-5", b"text", b"1.5", b"2024-02-29", b"\5", b"4000000000"]
    expected = [[text if bits >> number & 1 else None for number, text in enumerate(texts)] for bits in range(64)]

    def plain(row: bytes | None) -> tuple[int, list[bytes | None]]:
        assert row is not None
        first, *rest = [value_of(cell) for cell in split_row(row)]
        assert first is not None
        return int(first), rest

    assert [plain(new) for kind, _, new, _ in changes if kind == INSERT] == list(enumerate(expected))
    updates = [(plain(old), plain(new)) for kind, _, new, old in changes if kind == UPDATE]
    assert updates == [((n, cells), (n + 100, cells)) for n, cells in enumerate(expected)]
    assert [plain(old) for kind, _, _, old in changes if kind == DELETE] == [
        (n + 100, c) for n, c in enumerate(expected)
    ]


def test_update_has_its_old_row_only_when_the_key_changed(mysql_database: MysqlDatabase) -> None:
    mysql_database.execute("CREATE TABLE t (a varchar(9), v int, id int, PRIMARY KEY (id, a))")
    place = current_file(mysql_database.server)
    mysql_database.execute(
        "INSERT INTO t VALUES ('x', 1, 1)",
        "UPDATE t SET v = 2",
        "UPDATE t SET a = 'y'",
        "UPDATE t SET id = 3, v = NULL",
    )
    updates = [
        change for change in decode_since(mysql_database, place, {"t": ["id", "a"]}).changes if change[0] == UPDATE
    ]
    assert [split_row(old)[0] if old else None for _, _, _, old in updates] == [None, b"t\0\0\0\1x", b"t\0\0\0\1y"]
    assert updates[0][1].key == (2, 0)


def test_partial_updates_of_json_give_the_whole_new_value(
    mysql9: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    database = fresh_mysql_database(mysql9)
    database.execute("CREATE TABLE t (id int PRIMARY KEY, a json, b json, c varchar(10))")
    place = current_file(mysql9)
    changes_of_a = [
        "json_set(a, '$.n', 7)",
        "json_set(a, '$.list[1]', cast('2020-01-02 03:04:05' as datetime))",
        "json_remove(a, '$.list[0]')",
        "json_set(a, '$.\"a \\\\\"key\"', 'v')",
        "json_set(a, '$.bb', 1, '$.aaa', 2, '$.c', 3)",
        "json_array_insert(a, '$.list[0]', 'first')",
        "json_remove(a, '$.n', '$.deep.er')",
        "json_replace(a, '$.deep', json_array(1.5, 'x', NULL))",
        "json_set(a, '$.ä', '€')",
        "json_array_append(a, '$.list', repeat('z', 300))",
        "NULL",
    ]
    selected_values = []
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET binlog_row_value_options = PARTIAL_JSON")
        cursor.execute(
            """INSERT INTO t VALUES (1, '{"n": 1, "list": [1, 2, 3], "deep": {"er": true}, "long": "x"}', '[0]', 'c')"""
        )
        for expression in changes_of_a:
            cursor.execute(f"UPDATE t SET a = {expression}, b = json_set(b, '$[0]', json_extract(b, '$[0]') + 1)")
            cursor.execute("SELECT a, b FROM t")
            selected_values.append(tuple(None if v is None else v.encode() for v in cursor.fetchone()))
    sink = decode_since(database, place, {"t": ["id"]})
    ours = [
        tuple(value_of(cell) for cell in split_row(new or b"")[1:3])
        for kind, _, new, _ in sink.changes
        if kind == UPDATE
    ]
    assert ours == selected_values
    kinds = {event[4] for event in read_events(mysql9, *place)}
    assert PARTIAL_UPDATE_ROWS in kinds, "the server has logged whole values"


def test_compressed_transactions_and_events(mysql_database: MysqlDatabase) -> None:
    server = mysql_database.server
    mysql_database.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(1000))")
    place = current_file(server)
    rows = ", ".join(f"({n}, repeat('compress me ', {n % 50}))" for n in range(1, 2001))
    statements = [f"INSERT INTO t VALUES {rows}", "UPDATE t SET v = concat(v, '!')", "DELETE FROM t WHERE id > 0"]
    if server.is_mariadb:
        server.execute("SET GLOBAL log_bin_compress = ON")
        try:
            mysql_database.execute(*statements)
        finally:
            server.execute("SET GLOBAL log_bin_compress = OFF")
    else:
        mysql_database.execute("SET binlog_transaction_compression = ON", *statements)
    kinds = {event[4] for event in read_events(server, *place)}
    assert kinds & {TRANSACTION_PAYLOAD, WRITE_ROWS_COMPRESSED_V1}, "nothing was compressed"
    sink = decode_since(mysql_database, place, {"t": ["id"]}, part_bytes=100_000)
    assert [transaction.changes[0][0] for transaction in sink.transactions] == [INSERT, UPDATE, DELETE]
    assert [len(transaction.changes) for transaction in sink.transactions] == [2000, 2000, 2000]
    assert max(sink.sizes) < 1_000_000, "a part is much larger than asked for"
    new = [change[2] for change in sink.transactions[1].changes]
    assert [value_of(split_row(row or b"")[1]) for row in new] == [
        b"compress me " * (n % 50) + b"!" for n in range(1, 2001)
    ]


def test_old_forms_of_times(mariadb10: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory) -> None:
    database = fresh_mysql_database(mariadb10)
    mariadb10.execute("SET GLOBAL mysql56_temporal_format = OFF")
    try:
        tables, place = write_rows(database, TIMES)
    finally:
        mariadb10.execute("SET GLOBAL mysql56_temporal_format = ON")
    assert_contract(database, tables, place)

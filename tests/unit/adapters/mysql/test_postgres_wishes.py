"""Types that a job may wish for columns of MySQL and MariaDB on PostgreSQL."""

from __future__ import annotations

import pytest

from tests.unit.adapters.mysql.test_postgres_ddl import column, index, table
from towline.adapters.mysql.postgres_collations import choose_collation
from towline.adapters.mysql.postgres_ddl import render_default
from towline.adapters.mysql.postgres_plan import find_bad_wishes
from towline.adapters.mysql.postgres_types import Unrepresentable
from towline.adapters.mysql.postgres_wishes import (
    choose_converter,
    choose_postgres_column,
    list_choices,
    skips_blanks,
)
from towline.adapters.mysql.shapes import ColumnShape
from towline.domain.conversion import (
    ColumnType,
    Conversion,
    parse_column_types,
    read_conversion,
    render_conversion,
)
from towline.domain.errors import BadConversion
from towline.domain.tables import TableName

UUID = b"123e4567-e89b-12d3-a456-426655440000"
# Source type, wish, type on the target, a value, how it is handed over, one that is refused (None: by the server).
CHOICES = [
    ("tinyint(1)", "boolean", "boolean", b"1", b"1", None),
    ("tinyint(1)", "smallint", "smallint", b"-5", b"-5", None),
    ("int unsigned", "integer", "integer", b"7", b"7", None),
    ("bigint unsigned", "bigint", "bigint", b"7", b"7", None),
    ("year", "integer", "integer", b"2024", b"2024", None),
    ("bit(1)", "boolean", "boolean", b"\1", b"true", None),
    ("float", "double precision", "double precision", b"0.10000000149011612", b"0.10000000149011612", None),
    ("date", "text", "text", b"0000-00-00", b"0000-00-00", None),
    ("date", "timestamp", "timestamp(0)", b"2024-01-01", b"2024-01-01", None),
    ("datetime(3)", "timestamp with time zone", "timestamp(3) with time zone", b"2024-01-01", b"2024-01-01", None),
    ("timestamp(3)", "timestamp", "timestamp(3)", b"2024-01-01", b"2024-01-01", None),
    ("time(3)", "time", "time(3)", b"23:59:59.999", b"23:59:59.999", b"24:00:00.000"),
    ("time", "time", "time(0)", b"00:00:00", b"00:00:00", b"-00:00:01"),
    ("varchar(99)", "json", "json", b'{"a": 1.50}', b'{"a": 1.50}', None),
    ("char(36)", "uuid", "uuid", UUID, UUID, UUID.upper()),
    ("binary(16)", "uuid", "uuid", bytes.fromhex(UUID.decode().replace("-", "")), UUID, None),
    ("blob", "text", "text", "ä".encode(), "ä".encode(), b"\xff"),
    ("set('a','b')", "text", "text", b"a,b", b"a,b", None),
    ("json", "text", "text", b'{"a": 1}', b'{"a": 1}', None),
    ("inet6", "text", "text", b"::1", b"::1", None),
]


@pytest.mark.parametrize(("type_sql", "wish", "target", "value", "handed", "refused"), CHOICES)
def test_value_of_a_wished_type_is_kept_or_refused(
    type_sql: str, wish: str, target: str, value: bytes, handed: bytes, refused: bytes | None
) -> None:
    charset = "utf8mb4" if type_sql.startswith(("char", "varchar", "set")) else None
    shape = ColumnShape("c", type_sql, charset, wish=wish)
    column = choose_postgres_column(shape)
    assert column is not None
    assert column.type_sql == target
    assert wish in list_choices(shape)
    convert = choose_converter(shape)
    assert (value if convert is None else convert(value)) == handed
    if refused is not None:
        assert convert is not None
        with pytest.raises(Unrepresentable):
            convert(refused)


def test_what_is_not_on_the_list_is_refused() -> None:
    for type_sql, wish in (("int", "boolean"), ("double", "real"), ("geometry", "text"), ("enum('a')", "integer")):
        assert choose_postgres_column(ColumnShape("c", type_sql, wish=wish)) is None
    assert skips_blanks(ColumnShape("c", "int", wish="numeric"))
    assert not skips_blanks(ColumnShape("c", "tinyint(1)", wish="boolean"))
    # Asked for by name, the usual type is the usual one, with its length.
    usual = choose_postgres_column(ColumnShape("c", "decimal(5,2)", wish="numeric"))
    assert usual is not None
    assert usual.type_sql == "numeric(5,2)"


@pytest.mark.parametrize(
    ("type_sql", "wish", "default", "expected"),
    [
        ("tinyint(1)", "boolean", "1", "'1'"),
        ("bit(1)", "boolean", "b'1'", "'true'"),
        ("bit(10)", "bit", "b'1000000001'", "B'1000000001'"),
        ("datetime", "timestamp with time zone", "2024-01-01 00:00:00", "'2024-01-01 00:00:00+00'"),
        ("datetime", "timestamp with time zone", "CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP(0)"),
        ("timestamp", "timestamp", "CURRENT_TIMESTAMP", "(CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC')"),
        ("datetime", "text", "CURRENT_TIMESTAMP", None),
        ("date", "text", "0000-00-00", "'0000-00-00'"),
        ("time", "time", "25:00:00", None),
        ("set('a','b')", "text", "a,b", "'a,b'"),
    ],
)
def test_defaults_are_those_of_the_wished_type(type_sql: str, wish: str, default: str, expected: str | None) -> None:
    facts = column("c", type_sql, default, charset="latin1" if type_sql.startswith("set") else "")
    wished = facts.shape.with_wish(ColumnType((), wish))
    facts = type(facts)(wished, facts.is_nullable, facts.default, facts.extra, "", "", is_generated=False)
    assert render_default(facts, is_mariadb=False) == expected


def test_words_of_a_wish() -> None:
    texts = ["shop.t.c=timestamptz", 'shop."a.b"."x=y"=bool null', "TINYINT (1) =boolean", "s.t.d=NULL"]
    wishes = parse_column_types(texts)
    assert wishes == (
        ColumnType(("shop", "t", "c"), "timestamp with time zone"),
        ColumnType(("shop", "a.b", "x=y"), "boolean", is_nullable=True),
        ColumnType(("tinyint(1)",), "boolean"),
        ColumnType(("s", "t", "d"), "", is_nullable=True),
    )
    conversion = Conversion(column_types=wishes)
    assert read_conversion(render_conversion(conversion)) == conversion
    for bad in ("shop.t=text", "shop.t.c", "shop.t.c=", "=text", 'shop."t.c=text', "s.t.c.d=text"):
        with pytest.raises(BadConversion):
            parse_column_types([bad])
    with pytest.raises(BadConversion, match="two types"):
        parse_column_types(["a.b.c=text", "a.b.c=json"])


def test_the_narrowest_wish_counts() -> None:
    conversion = Conversion(
        column_types=parse_column_types(["tinyint=integer", "tinyint(1)=boolean", "shop.t.n=smallint"])
    )
    t = TableName("shop", "t")
    columns = [("n", "tinyint(1)"), ("f", "tinyint(1)"), ("f", "tinyint(4)"), ("f", "tinyint unsigned")]
    found = [conversion.find_type(t, name, type_sql) for name, type_sql in columns]
    assert [wish and wish.type_sql for wish in found] == ["smallint", "boolean", "integer", None]


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        ("shop.t.x=text", "no column shop.t.x"),
        ("shop.t.flag=uuid", "cannot be uuid: smallint, integer, bigint, numeric, boolean"),
        ("shop.t.id=null", "belongs to the key"),
        ("shop.t.id=numeric", "counts up"),
        ("int=uuid", "shop.t.id (int) cannot be uuid"),
    ],
)
def test_wish_that_cannot_be_is_named(wish: str, problem: str) -> None:
    conversion = Conversion(column_types=parse_column_types([wish]))
    columns = []
    for facts in (column("id", "int", extra="AUTO_INCREMENT"), column("flag", "tinyint(1)")):
        shape = facts.shape.with_wish(
            conversion.find_type(TableName("shop", "t"), facts.shape.name, facts.shape.type_sql)
        )
        columns.append(type(facts)(shape, shape.is_nullable, None, facts.extra, "", "", is_generated=False))
    found = table("t", *columns, indexes=(index("PRIMARY", "id", is_unique=True),))
    (told,) = find_bad_wishes(conversion, [found], {found.name: ("id",)})
    assert problem in told


@pytest.mark.parametrize(
    ("type_sql", "collation", "chosen"),
    [
        ("varchar(9)", "utf8mb4_0900_ai_ci", "mysql_ai_ci"),
        ("text", "utf8mb3_general_ci", "mysql_ai_ci"),
        ("varchar(9)", "utf8mb4_uca1400_nopad_ai_ci", "mysql_ai_ci"),
        ("varchar(9)", "utf8mb4_0900_as_ci", "mysql_as_ci"),
        # Letters that one language has of its own are no accents.
        ("varchar(9)", "latin1_swedish_ci", "mysql_as_ci"),
        ("enum('a')", "utf8mb4_spanish_ci", "mysql_as_ci"),
        ("varchar(9)", "utf8mb4_bin", None),
        ("varchar(9)", "utf8mb4_0900_as_cs", None),
        ("set('a')", "utf8mb4_0900_ai_ci", None),
        ("int", "", None),
    ],
)
def test_collation_never_makes_more_texts_equal_than_the_source(
    type_sql: str, collation: str, chosen: str | None
) -> None:
    shape = ColumnShape("c", type_sql, "utf8mb4")
    assert choose_collation(shape, collation) == chosen
    assert choose_collation(shape.with_wish(ColumnType((), "text")), collation) is None

"""Forms of values and statements for MySQL, from PostgreSQL's words."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.adapters.mysql.flavor import Flavor
from towline.crossing.postgres_to_mysql import Partitions
from towline.crossing.to_mysql_catalog import SourceColumn, SourceIndex, SourceTable
from towline.crossing.to_mysql_ddl import render_default, render_table
from towline.crossing.to_mysql_types import TargetColumn, plan_columns
from towline.crossing.to_mysql_values import choose_converter, fit_block, numeric_size, parse_type
from towline.crossing.to_mysql_wishes import apply_wish, find_missing_columns
from towline.domain.conversion import Conversion, ZeroDates, parse_column_types, require_possible
from towline.domain.errors import NotBuilt, SnapshotLost, SourceChanged, UnrepresentableValue
from towline.domain.tables import Column, ObjectSelection, Table, TableName

NAME = TableName("public", "t")
MYSQL = Flavor(False, (9, 7, 0), "9.7.0")
# How COPY writes its text form, and what LOAD DATA makes of an escape (manuals: COPY, LOAD DATA).
WRITTEN = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\"}
READ = {"b": "\b", "n": "\n", "r": "\r", "t": "\t", "0": "\0", "Z": "\x1a"}


def load_data_reads(text: str) -> str:
    letters, out = iter(text), []
    for letter in letters:
        following = next(letters) if letter == "\\" else letter
        out.append(READ.get(following, following) if letter == "\\" else letter)
    return "".join(out)


@given(st.text(alphabet="\b\f\n\r\t\v\\fvbnN0Z\x01ü", max_size=30))
def test_what_copy_writes_is_what_load_data_reads(value: str) -> None:
    written = "".join(WRITTEN.get(letter, letter) for letter in value)
    assert load_data_reads(fit_block(written.encode()).decode()) == value


@pytest.mark.parametrize(
    ("type_sql", "expected"),
    [
        ("timestamp(3) with time zone", ("timestamp with time zone", (3,))),
        ("numeric(10,-2)", ("numeric", (10, -2))),
        ("character varying(40)", ("character varying", (40,))),
        ("integer[]", ("integer[]", ())),
        ("odd.bytea", ("odd.bytea", ())),
    ],
)
def test_types_are_taken_apart(type_sql: str, expected: tuple[str, tuple[int, ...]]) -> None:
    assert parse_type(type_sql) == expected


@pytest.mark.parametrize(
    ("type_sql", "expected"),
    [
        ("numeric", (65, 30)),
        ("numeric(10,2)", (10, 2)),
        ("numeric(5,-2)", (7, 0)),
        ("numeric(3,5)", (5, 5)),
        ("numeric(1000,500)", (65, 30)),
        ("numeric(2,40)", (30, 30)),
    ],
)
def test_decimals_hold_what_they_can(type_sql: str, expected: tuple[int, int]) -> None:
    assert numeric_size(type_sql) == expected


@pytest.mark.parametrize(
    ("type_sql", "value"),
    [
        ("boolean", b"maybe"),
        ("bytea", b"plain"),
        ("bit(3)", b"01"),
        ("numeric(5,2)", b"1234.5"),
        ("numeric", b"0.0000000000000000000000000000001"),
        ("double precision", b"-Infinity"),
        ("date", b"10000-01-01"),
        ("timestamp without time zone", b"0044-03-15 12:00:00 BC"),
        ("timestamp with time zone", b"2024-01-01 00:00:00+02"),
    ],
)
def test_what_does_not_fit_is_refused_without_its_value(type_sql: str, value: bytes) -> None:
    convert = choose_converter(NAME, Column("c", type_sql, is_binary_safe=False))
    assert convert is not None
    with pytest.raises(UnrepresentableValue) as caught:
        convert(value)
    assert caught.value.context["column"] == "c"
    assert value.decode() not in caught.value.message


def column(name: str, type_sql: str, default_sql: str | None = None) -> SourceColumn:
    return SourceColumn(name, 0, type_sql, True, False, default_sql, None)


def index(name: str, *columns: str, is_unique: bool = False) -> SourceIndex:
    return SourceIndex(name, columns, (False,) * len(columns), False, is_unique, False, "", False, 0)


def table(*columns: SourceColumn) -> SourceTable:
    described = Table(NAME, 1, (), (), "d", 0, 0, 0, "")
    return SourceTable(described, list(columns))


def test_texts_share_the_room_of_a_key() -> None:
    planned = plan_columns(table(column("a", "text"), column("b", "text"), column("n", "integer")), [("a", "b", "n")])
    assert [planned[name].type_sql for name in ("a", "b", "n")] == ["VARCHAR(380)", "VARCHAR(380)", "INT"]


def test_a_table_of_long_texts_stays_within_a_row() -> None:
    planned = plan_columns(table(*(column(f"c{n}", "character varying(4000)") for n in range(6))), [])
    assert [each.type_sql for each in planned.values()] == ["VARCHAR(4000)"] * 3 + ["LONGTEXT"] * 3
    assert planned["c5"].note


def test_plain_indexes_take_the_first_characters_of_long_texts() -> None:
    source = table(column("a", "text"), column("b", "bytea"), column("n", "integer"))
    source.indexes += [index("i", "a", "n"), index("j", "b")]
    made = render_table(source, MYSQL, taken=Counter())
    assert made.indexes == ("KEY `i` (`a`(760), `n`)", "KEY `j` (`b`(3072))")


@pytest.mark.parametrize(
    ("type_sql", "default_sql", "target_sql", "expected"),
    [
        ("text", "'a''b\\'::text", "LONGTEXT", "('a''b\\\\')"),
        ("character varying(9)", "'x'::character varying", "VARCHAR(9)", "'x'"),
        ("integer", "'-1'::integer", "INT", "-1"),
        ("numeric(4,1)", "1.5", "DECIMAL(4,1)", "1.5"),
        ("boolean", "false", "TINYINT(1)", "0"),
        ("timestamp with time zone", "now()", "DATETIME(6)", "(UTC_TIMESTAMP(6))"),
        ("integer", "(1 + 2)", "INT", None),
        ("uuid", "gen_random_uuid()", "CHAR(36)", None),
        ("text", "lower('A'::text)", "LONGTEXT", None),
        ("text", "('a'::text || 'b'::text)", "LONGTEXT", None),
    ],
)
def test_defaults_are_translated_where_they_are_certain(
    type_sql: str, default_sql: str, target_sql: str, expected: str | None
) -> None:
    assert render_default(column("c", type_sql, default_sql), TargetColumn("c", target_sql)) == expected


@pytest.mark.parametrize(
    ("wish", "type_sql", "planned"),
    [
        ("public.t.c=varchar(200)", "text", "VARCHAR(200)"),
        ("text=character varying(200)", "text", "VARCHAR(200)"),
        ("varchar(9)=varchar(40)", "character varying(9)", "VARCHAR(40)"),
        ("numeric=decimal(20, 6)", "numeric", "DECIMAL(20,6)"),
        ("uuid=binary(16)", "uuid", "BINARY(16)"),
        ("public.t.d=varchar(200)", "text", "LONGTEXT"),
    ],
)
def test_column_can_be_planned_as_another_type(wish: str, type_sql: str, planned: str) -> None:
    conversion = Conversion(column_types=parse_column_types([wish]))
    chosen, fault = apply_wish(NAME, "c", type_sql, conversion)
    assert not fault
    assert plan_columns(table(column("c", chosen)), [])["c"].type_sql == planned


@pytest.mark.parametrize(
    ("wish", "type_sql"),
    [
        ("jsonb=json", "jsonb"),
        ("text=varchar(20000)", "text"),
        ("numeric=decimal(66,1)", "numeric"),
        ("numeric=decimal(5,6)", "numeric"),
        ("text=varchar(9) null", "text"),
        ("uuid=varchar(36)", "uuid"),
    ],
)
def test_type_that_is_not_on_the_list_is_refused(wish: str, type_sql: str) -> None:
    conversion = Conversion(column_types=parse_column_types([wish]))
    chosen, fault = apply_wish(NAME, "c", type_sql, conversion)
    assert (chosen, fault.partition(" cannot be ")[0]) == (type_sql, f"public.t.c ({type_sql})")
    wishes = Conversion(column_types=parse_column_types(["public.t.x=varchar(9)", "text=varchar(9)"]))
    assert find_missing_columns(wishes, [(NAME, "c")]) == [
        "the job has no column public.t.x, for which a type is asked"
    ]


def test_wishes_belong_to_directions() -> None:
    types = Conversion(column_types=parse_column_types(["uuid=binary(16)"]))
    require_possible(types, source_family="postgresql", target_family="mysql")
    with pytest.raises(NotBuilt):
        require_possible(types, source_family="mysql", target_family="mysql")
    as_null = Conversion(ZeroDates.NULL)
    require_possible(as_null, source_family="mysql", target_family="postgresql")
    with pytest.raises(NotBuilt, match="zero_dates"):
        require_possible(as_null, source_family="postgresql", target_family="mysql")


PART, WHOLE = TableName("public", "part"), TableName("public", "whole")


def test_partitions_must_stay_where_the_target_has_them() -> None:
    leaf = Table(PART, 1, (), ("id",), "d", 1, 8192, 1, "10", is_partition=True, home=WHOLE)
    apart = replace(leaf, home=None)
    one = ObjectSelection(tables=frozenset({WHOLE}))
    begun, made = Partitions({PART: WHOLE}), Partitions({PART: WHOLE}, frozenset({WHOLE}))
    assert made.place([leaf], one) == begun.place([leaf], one) == [leaf]
    assert made.names.find_sharing(WHOLE) == {PART}
    for tables in ([], [leaf, replace(leaf, name=TableName("public", "more"))]):
        with pytest.raises(SourceChanged, match="partition on the source"):
            made.place(tables, one)
        with pytest.raises(SnapshotLost):
            begun.place(tables, one)
    # It left the job with its table; or the target has been given a table for each partition, by an older version.
    assert made.place([], ObjectSelection(tables=frozenset({TableName("public", "other")}))) == []
    assert Partitions({}, frozenset({PART})).place([leaf], one) == [apart]

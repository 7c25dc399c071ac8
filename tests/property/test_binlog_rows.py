"""The functions that are made for a table, against a reader that goes column by column."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from towline.adapters.mysql.column_codec import ColumnCodec, choose_codec
from towline.adapters.mysql.row_plan import RowPlan
from towline.adapters.mysql.shapes import ColumnShape
from towline.adapters.mysql.table_map import (
    BLOB,
    DATE,
    DATETIME2,
    DOUBLE,
    ENUM,
    INT24,
    LONG,
    LONGLONG,
    NEWDECIMAL,
    SET,
    SHORT,
    TIME2,
    TIMESTAMP2,
    TINY,
    VARCHAR,
    MappedColumn,
)
from towline.domain.changes import split_row, value_of

TYPES = [
    ("tinyint", TINY, 0),
    ("smallint unsigned", SHORT, 0),
    ("mediumint", INT24, 0),
    ("mediumint unsigned", INT24, 0),
    ("int", LONG, 0),
    ("bigint unsigned", LONGLONG, 0),
    ("double", DOUBLE, 0),
    ("decimal(20,7)", NEWDECIMAL, 20 * 256 + 7),
    ("date", DATE, 0),
    ("datetime(3)", DATETIME2, 3),
    ("timestamp", TIMESTAMP2, 0),
    ("time(6)", TIME2, 6),
    ("enum('a','b','c')", ENUM, 1),
    ("set('a','b','c')", SET, 1),
    ("varchar(20)", VARCHAR, 80),
    ("varchar(2000)", VARCHAR, 8000),
    ("blob", BLOB, 2),
    ("longblob", BLOB, 4),
]


def codec_of(number: int) -> ColumnCodec:
    type_sql, kind, metadata = TYPES[number]
    codec = choose_codec(MappedColumn(kind, metadata), ColumnShape("c", type_sql, "utf8mb4"), is_mariadb=False)
    assert codec is not None
    return codec


CODECS = [codec_of(number) for number in range(len(TYPES))]


def draw_date(draw: st.DrawFn) -> bytes:
    return (draw(st.integers(0, 9999)) << 9 | draw(st.integers(0, 9 * 32 + 31))).to_bytes(3, "little")


def draw_datetime(draw: st.DrawFn) -> bytes:
    day = draw(st.integers(0, 9999 * 13 + 12)) << 5 | draw(st.integers(0, 31))
    clock = draw(st.integers(0, 23)) << 12 | draw(st.integers(0, 59)) << 6 | draw(st.integers(0, 59))
    return (1 << 39 | day << 17 | clock).to_bytes(5, "big") + (draw(st.integers(0, 999)) * 10).to_bytes(2, "big")


# Bytes that a server can write; all other types take any.
VALID: dict[int, Callable[[st.DrawFn], bytes]] = {
    DATE: draw_date,
    DATETIME2: draw_datetime,
    ENUM: lambda draw: bytes([draw(st.integers(0, 3))]),
    DOUBLE: lambda draw: struct.pack("<d", draw(st.floats(allow_nan=False, allow_infinity=False))),
}


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(range(len(TYPES))), min_size=1, max_size=12))
    codecs = [CODECS[number] for number in chosen]
    count = len(codecs)
    included = sorted(draw(st.sets(st.sampled_from(range(count)), min_size=1)))
    key = sorted(draw(st.sets(st.sampled_from(included), max_size=3)))
    nulls = draw(st.integers(0, (1 << count) - 1))
    raws = []
    for number, codec in zip(chosen, codecs, strict=True):
        size = codec.size or draw(st.integers(0, 600 if codec.length_size > 1 else 80))
        raw = (
            VALID[kind](draw) if (kind := TYPES[number][1]) in VALID else draw(st.binary(min_size=size, max_size=size))
        )
        raws.append(raw)
    return {"codecs": codecs, "included": included, "key": key, "nulls": nulls, "raws": raws}


@settings(max_examples=300, deadline=None)
@given(tables(), st.binary(max_size=9))
def test_compiled_functions_read_what_a_plain_reader_reads(table: dict[str, Any], before: bytes) -> None:
    codecs, nulls, raws = table["codecs"], table["nulls"], table["raws"]
    plan = RowPlan(codecs, table["included"], table["key"])
    data, expected, key = before, [], b""
    for number, (codec, raw) in enumerate(zip(codecs, raws, strict=True)):
        is_null = bool(nulls >> number & 1)
        if not is_null:
            value = len(raw).to_bytes(codec.length_size, "little") + raw if codec.length_size else raw
            data += value
            if number in table["key"]:
                key += value
        if number in table["included"]:
            expected.append(None if is_null else codec.text_of(raw))
    compiled, plain = plan._compile(nulls), plan._interpret(nulls)
    for functions in (compiled, plain):
        row, end = functions.pack(data + b"rest", len(before))
        assert end == len(data)
        assert [value_of(cell) for cell in split_row(row)] == expected
        assert functions.scan(data + b"rest", len(before)) == (key, len(data))

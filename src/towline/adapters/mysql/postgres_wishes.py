"""Other types that a column of MySQL or MariaDB may have on PostgreSQL, where the job asks for one. Pure.

The list is closed: for each there is a conversion that either keeps the value or refuses it, and the same one serves
copy and stream. `docs/types.md` has it for users.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from towline.adapters.mysql.postgres_types import (
    Converter,
    PostgresColumn,
    Unrepresentable,
    choose_usual_column,
    require_date,
    text_converter,
)
from towline.adapters.mysql.shapes import ColumnShape, codec_name

_INTEGERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
_TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_BYTES: Final = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_BLANK_SKIPPING: Final = frozenset({"smallint", "integer", "bigint", "numeric"})
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID_BYTES: Final = 16
_MODIFIER = re.compile(r"\([\d,]*\)")

Choice = Callable[[ColumnShape], PostgresColumn]


def choose_postgres_column(shape: ColumnShape) -> PostgresColumn | None:
    """What the column becomes, by the job's wish if there is one; None when there is nothing for it."""
    if not has_own_type(shape):
        return choose_usual_column(shape)
    choice = dict(_choices(shape)).get(shape.wish)
    return None if choice is None else choice(shape)


def has_own_type(shape: ColumnShape) -> bool:
    """Whether the job wishes another type than the usual one."""
    usual = choose_usual_column(shape)
    return bool(shape.wish) and (usual is None or shape.wish != bare_type(usual.type_sql))


def choose_converter(shape: ColumnShape) -> Converter | None:
    """What a value needs before the target's session reads it; None if nothing."""
    column = choose_postgres_column(shape)
    return None if column is None or column.is_checked_there else column.convert


def skips_blanks(shape: ColumnShape) -> bool:
    """Whether PostgreSQL's reader of the column's type passes over blanks in front of a value."""
    column = choose_postgres_column(shape)
    return column is not None and bare_type(column.type_sql) in _BLANK_SKIPPING


def list_choices(shape: ColumnShape) -> list[str]:
    """The types that may be asked for, the usual one first."""
    usual = choose_usual_column(shape)
    first = [] if usual is None else [bare_type(usual.type_sql)]
    return list(dict.fromkeys([*first, *(name for name, _ in _choices(shape))]))


def bare_type(type_sql: str) -> str:
    """`timestamp with time zone` of `timestamp(3) with time zone`: wishes never say a length."""
    return _MODIFIER.sub("", type_sql)


def _choices(shape: ColumnShape) -> Iterator[tuple[str, Choice]]:
    name = shape.type_name
    if name in _INTEGERS or name == "year":
        # A number beyond the type is refused by the server, which names the column.
        yield from ((each, _checked(each)) for each in ("smallint", "integer", "bigint", "numeric"))
    if name == "tinyint":
        yield "boolean", _checked("boolean")
    elif name == "bit" and shape.parameters in ((), (1,)):
        yield "boolean", lambda _: PostgresColumn("boolean", lambda raw: b"true" if raw == b"\1" else b"false")
    elif name == "float":
        yield "double precision", _checked("double precision")
    elif name in ("date", "datetime", "timestamp"):
        yield from _moments(name)
    elif name == "time":
        yield "time", lambda each: PostgresColumn(f"time({_digits(each)})", _require_time_of_day)
        yield "text", _checked("text")
    elif name in _TEXTS:
        yield from _of_texts(name)
    elif name == "set":
        yield "text", _decoded("text")
    elif name == "json":
        yield from ((each, _checked(each)) for each in ("json", "text"))
    elif name in _BYTES:
        yield "text", lambda _: PostgresColumn("text", text_converter("utf8mb4"))
        if name == "binary" and shape.parameters == (_UUID_BYTES,):
            yield "uuid", lambda _: PostgresColumn("uuid", _render_uuid)
    elif name in ("inet4", "inet6", "uuid"):
        yield "text", _checked("text")


def _moments(name: str) -> Iterator[tuple[str, Choice]]:
    if name == "datetime":
        yield (
            "timestamp with time zone",
            lambda each: PostgresColumn(
                f"timestamp({_digits(each)}) with time zone",
                lambda raw: require_date(raw) + b"+00",
                is_checked_there=True,
            ),
        )
    elif name == "timestamp":
        yield (
            "timestamp",
            lambda each: PostgresColumn(f"timestamp({_digits(each)})", require_date, is_checked_there=True),
        )
    else:
        yield "timestamp", lambda _: PostgresColumn("timestamp(0)", require_date, is_checked_there=True)
    # The one way to keep dates that PostgreSQL does not have.
    yield "text", _checked("text")


def _of_texts(name: str) -> Iterator[tuple[str, Choice]]:
    yield from ((each, _decoded(each)) for each in ("text", "json", "jsonb"))
    if name in ("char", "varchar"):
        yield "uuid", lambda each: PostgresColumn("uuid", _uuid_text_converter(each))


def _checked(type_sql: str) -> Choice:
    """For values whose bytes are what the type's own reader takes, or refuses."""
    return lambda _: PostgresColumn(type_sql, is_checked_there=True)


def _decoded(type_sql: str) -> Choice:
    def choose(shape: ColumnShape) -> PostgresColumn:
        is_utf8 = codec_name(shape.charset) == "utf-8"
        return PostgresColumn(type_sql, text_converter(shape.charset), is_checked_there=is_utf8)

    return choose


def _digits(shape: ColumnShape) -> int:
    return (shape.parameters or (0,))[0]


def _require_time_of_day(raw: bytes) -> bytes:
    if raw.startswith(b"-") or raw[:2] > b"23" or raw[2:3] != b":":
        raise Unrepresentable("a time beyond the hours of a day")
    return raw


def _render_uuid(raw: bytes) -> bytes:
    text = raw.hex().encode()
    return b"-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _uuid_text_converter(shape: ColumnShape) -> Converter:
    to_text = text_converter(shape.charset)

    def convert(raw: bytes) -> bytes:
        text = to_text(raw)
        # PostgreSQL would take capitals and other spellings, and give back something else than was written.
        if _UUID.fullmatch(text) is None:
            raise Unrepresentable("a text that is no UUID in small letters")
        return text

    return convert

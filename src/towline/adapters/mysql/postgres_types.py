"""Columns and values of MySQL and MariaDB as PostgreSQL has them. Pure.

A value comes in the bytes that the contract of values promises (see `text_form`) and becomes the text that PostgreSQL
reads for the chosen type, in UTF-8.  What has no equal there is refused, never changed: the caller knows table,
column and key, and turns `Unrepresentable` into an error or counts it, as the job's policy says.

`docs/types.md` lists the types for users.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from struct import Struct
from typing import Final

from towline.adapters.mysql.shapes import ColumnShape, codec_name

Converter = Callable[[bytes], bytes]

_LATIN1: Final = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(256))
_SRID = Struct("<I")
_EWKB_HAS_SRID: Final = 0x20000000
_DATE = re.compile(rb"(\d{4})-(\d\d)-(\d\d)")
_ARRAY_SPECIAL = re.compile(r'["\\]')
_NUL_IN_JSON = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_COPY_SPECIAL = re.compile(rb"[\\\t\n\r]")
_COPY_ESCAPES: Final = {b"\\": b"\\\\", b"\t": b"\\t", b"\n": b"\\n", b"\r": b"\\r"}

INTEGERS: Final = {
    ("tinyint", False): "smallint",
    ("tinyint", True): "smallint",
    ("smallint", False): "smallint",
    ("smallint", True): "integer",
    ("mediumint", False): "integer",
    ("mediumint", True): "integer",
    ("int", False): "integer",
    ("int", True): "bigint",
    ("bigint", False): "bigint",
    ("bigint", True): "numeric(20)",
}
_CHECKED_THERE: Final = frozenset({"date", "datetime", "timestamp", "json"})
_TEXTS: Final = frozenset({"tinytext", "text", "mediumtext", "longtext"})
_BYTES: Final = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_SPATIAL: Final = frozenset(
    {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"}
    | {"geomcollection", "geometrycollection"}
)


class Unrepresentable(ValueError):
    """The value has no equal in PostgreSQL; the message says why and never holds the value (I7)."""


@dataclass(frozen=True, slots=True)
class PostgresColumn:
    """The type on the target, and how a value gets there; None when its bytes are the text already.

    `is_checked_there`: a session of PostgreSQL whose time zone is UTC takes the bytes for the same value, and refuses
    what `convert` would refuse.  This is what makes most columns free of any work per value.
    """

    type_sql: str
    convert: Converter | None = None
    is_checked_there: bool = False


def choose_usual_column(shape: ColumnShape) -> PostgresColumn | None:
    """What a column becomes if the job wishes nothing else; None when there is nothing for it."""
    name = shape.type_name
    if (name, shape.is_unsigned) in INTEGERS:
        return PostgresColumn(INTEGERS[name, shape.is_unsigned])
    column = _number(shape) or _moment(shape) or _text(shape) or _other(shape)
    is_utf8 = shape.charset is not None and name != "set" and codec_name(shape.charset) == "utf-8"
    return column and replace(column, is_checked_there=name in _CHECKED_THERE or is_utf8)


def _number(shape: ColumnShape) -> PostgresColumn | None:
    name = shape.type_name
    if name == "decimal":
        precision, scale = (*shape.parameters, 0)[:2]
        return PostgresColumn(f"numeric({precision},{scale})")
    if name == "float":
        return PostgresColumn("real")
    if name == "double":
        return PostgresColumn("double precision")
    if name == "year":
        return PostgresColumn("smallint")
    if name == "bit":
        size = (shape.parameters or (1,))[0]
        return PostgresColumn(f"bit({size})", lambda raw: _render_bits(raw, size))
    return None


def _moment(shape: ColumnShape) -> PostgresColumn | None:
    name, fsp = shape.type_name, (shape.parameters or (0,))[0]
    if name == "date":
        return PostgresColumn("date", require_date)
    if name == "datetime":
        return PostgresColumn(f"timestamp({fsp})", require_date)
    if name == "timestamp":
        return PostgresColumn(f"timestamp({fsp}) with time zone", lambda raw: require_date(raw) + b"+00")
    if name == "time":
        # From -838 to 838 hours: an amount of time rather than a time of day.
        return PostgresColumn(f"interval({fsp})")
    return None


def _text(shape: ColumnShape) -> PostgresColumn | None:
    name = shape.type_name
    if name in ("char", "varchar"):
        return PostgresColumn(f"varchar({shape.parameters[0]})", text_converter(shape.charset))
    if name in _TEXTS or name == "enum":
        return PostgresColumn("text", text_converter(shape.charset))
    if name == "set":
        to_text = text_converter(shape.charset)
        return PostgresColumn("text[]", lambda raw: _render_array(to_text(raw)))
    return None


def _other(shape: ColumnShape) -> PostgresColumn | None:
    name = shape.type_name
    if name in _BYTES:
        return PostgresColumn("bytea", render_bytea)
    if name in _SPATIAL:
        return PostgresColumn("bytea", lambda raw: render_bytea(to_ewkb(raw)))
    if name == "json":
        return PostgresColumn("jsonb", _require_jsonb)
    if name == "vector":
        return PostgresColumn("real[]", _render_vector)
    if name in ("inet4", "inet6"):
        return PostgresColumn("inet")
    if name == "uuid":
        return PostgresColumn("uuid")
    return None


# --- values -----------------------------------------------------------------------------------------


def text_converter(charset: str | None) -> Converter:
    """From the column's character set to UTF-8, without the zero byte, which PostgreSQL's text cannot hold."""
    codec = codec_name(charset)
    decode: Callable[[bytes], str] = _decode_latin1 if charset == "latin1" else lambda raw: raw.decode(codec)

    def convert(raw: bytes) -> bytes:
        try:
            text = raw if raw.isascii() and codec == "utf-8" else decode(raw).encode()
        except UnicodeError:
            raise Unrepresentable(f"bytes that are no {charset} text") from None
        except LookupError:
            raise Unrepresentable(f"text in the character set {charset}, which cannot be read here") from None
        if b"\0" in text:
            raise Unrepresentable("a zero byte in a text")
        return text

    return convert


def _decode_latin1(raw: bytes) -> str:
    # The server's latin1 is cp1252 and gives the five bytes that this leaves out the characters of their numbers.
    return codecs.charmap_decode(raw, "strict", _LATIN1)[0]


def render_bytea(raw: bytes) -> bytes:
    return b"\\x" + raw.hex().encode()


def require_date(raw: bytes) -> bytes:
    """The date, or date and time, if it is one of a calendar."""
    match = _DATE.match(raw)
    if match is None:
        raise Unrepresentable("not a date")
    year, month, day = (int(part) for part in match.groups())
    if not year or not month or not day:
        raise Unrepresentable("a date of which a part is zero")
    if day > 28 and day > _days_in_month(year, month):
        raise Unrepresentable("a day that its month does not have")
    return raw


def _days_in_month(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def to_ewkb(raw: bytes) -> bytes:
    """The server's spatial form as WKB, with the SRID inside, as PostGIS writes it, unless it is 0."""
    if len(raw) < 9:
        raise Unrepresentable("a spatial value without a shape")
    (srid,) = _SRID.unpack_from(raw)
    if srid == 0:
        return raw[4:]
    (kind,) = _SRID.unpack_from(raw, 5)
    return raw[4:5] + _SRID.pack(kind | _EWKB_HAS_SRID) + raw[:4] + raw[9:]


def escape_for_copy(value: bytes) -> bytes:
    """The value as a field of COPY's text format."""
    if _COPY_SPECIAL.search(value) is None:
        return value
    return _COPY_SPECIAL.sub(lambda match: _COPY_ESCAPES[match[0]], value)


def _render_bits(raw: bytes, size: int) -> bytes:
    return format(int.from_bytes(raw, "big"), f"0{size}b").encode()


def _render_array(text: bytes) -> bytes:
    if not text:
        return b"{}"
    labels = text.decode().split(",")
    return ("{" + ",".join('"' + _ARRAY_SPECIAL.sub(r"\\\g<0>", label) + '"' for label in labels) + "}").encode()


def _render_vector(raw: bytes) -> bytes:
    numbers = Struct(f"<{len(raw) // 4}f").unpack(raw)
    return ("{" + ",".join(map(repr, numbers)) + "}").encode()


def _require_jsonb(raw: bytes) -> bytes:
    if _NUL_IN_JSON.search(raw):
        raise Unrepresentable("a zero character in a JSON text")
    return raw

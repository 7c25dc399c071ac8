"""How PostgreSQL's values travel to MySQL and MariaDB. Pure.

A value has a *form* that follows from its type.  In the copy the source's own SQL brings it into a text that LOAD
DATA reads (`select_value`, `assign_value`); in the stream, where the source sends its usual text, a function does
(`choose_converter`).  Both end with the same bytes.  Types that are not named here travel as PostgreSQL's text.

COPY's text form is nearly what LOAD DATA reads: tabs, line ends, backslashes and \\N mean the same.  Two of its escapes
do not: \\f and \\v, which LOAD DATA takes for the letters.  `fit_block` puts the two characters themselves there.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Callable
from enum import Enum
from struct import Struct
from typing import Final

from towline.adapters.mysql.catalog import ColumnType
from towline.adapters.mysql.foreign_rows import Convert
from towline.adapters.mysql.load_data import LoadForm
from towline.adapters.postgres.quoting import quote_ident
from towline.domain.errors import Side, UnrepresentableValue
from towline.domain.tables import Column, TableName

_FLOAT = Struct("<f")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_UNKNOWN_ESCAPES: Final = {b"f": b"\f", b"v": b"\v"}
_TYPE = re.compile(r"([a-z][a-z ]*[a-z]|\"char\")(?:\((\d+)(?:,(-?\d+))?\))?( with(?:out)? time zone)?")
LARGEST_PRECISION, LARGEST_SCALE = 65, 30
_DATE = re.compile(rb"\d{4}-\d\d-\d\d(?: [\d:.]+)?")


UUID_AS_BYTES: Final = "uuid as bytes"
"""No type of PostgreSQL: a uuid that the job wants as BINARY(16)."""


class Form(Enum):
    """What has to be done to a value."""

    PLAIN = "plain"
    BOOLEAN = "boolean"
    BYTES = "bytes"
    BITS = "bits"
    REAL = "real"
    DOUBLE = "double"
    NUMERIC = "numeric"
    DATE = "date"
    TIMESTAMP = "timestamp"
    ZONED = "zoned"
    PADDED = "padded"
    UUID_BYTES = "uuid_bytes"


_FORMS: Final = {
    "boolean": Form.BOOLEAN,
    "bytea": Form.BYTES,
    "bit": Form.BITS,
    "real": Form.REAL,
    "double precision": Form.DOUBLE,
    "numeric": Form.NUMERIC,
    "date": Form.DATE,
    "timestamp without time zone": Form.TIMESTAMP,
    "timestamp with time zone": Form.ZONED,
    "character": Form.PADDED,
    UUID_AS_BYTES: Form.UUID_BYTES,
}
_LARGEST_BITS: Final = 64


def parse_type(type_sql: str) -> tuple[str, tuple[int, ...]]:
    """The type's name without its parameters, and these; of `timestamp(3) without time zone` they are in the middle."""
    match = _TYPE.fullmatch(type_sql)
    if match is None:
        return type_sql, ()
    return match[1] + (match[4] or ""), tuple(int(part) for part in (match[2], match[3]) if part is not None)


def choose_form(type_sql: str) -> Form:
    """`type_sql` as `format_type` renders the type below all domains."""
    name, parameters = parse_type(type_sql)
    form = _FORMS.get(name, Form.PLAIN)
    if form is Form.BITS and (parameters or (1,))[0] > _LARGEST_BITS:
        return Form.PLAIN
    return form


# --- copy -------------------------------------------------------------------------------------------


def select_value(column: Column) -> str:
    """What to write in the select list for the column."""
    name = quote_ident(column.name)
    form = choose_form(column.type_sql)
    if form is Form.BOOLEAN:
        return f"{name}::integer"
    if form is Form.BYTES:
        return f"pg_catalog.encode({name}, 'hex')"
    if form is Form.UUID_BYTES:
        return f"pg_catalog.replace({name}::text, '-', '')"
    if form is Form.REAL:
        # Its own digits are the fewest that a REAL needs; those of the DOUBLE are what the value is.
        return f"{name}::double precision"
    if form is Form.ZONED:
        return f"({name} AT TIME ZONE 'UTC')"
    if form is Form.PADDED:
        return f"{name}::text"  # without the spaces that fill it, which mean nothing
    return name


def assign_value(column: Column, kind: ColumnType | None, variable: str, is_mariadb: bool) -> str | None:
    """What LOAD DATA makes of the text, if it is not the value."""
    form = choose_form(column.type_sql)
    if form in (Form.BYTES, Form.UUID_BYTES):
        return f"UNHEX({variable})"
    if form is Form.BITS:
        return f"CAST(CONV({variable}, 2, 10) AS UNSIGNED)"
    return None


COPY_FORM: Final = LoadForm(
    r"CHARACTER SET binary FIELDS TERMINATED BY '\t' ENCLOSED BY '' ESCAPED BY '\\' LINES TERMINATED BY '\n'",
    b"",
    assign_value,
)
"""COPY's text form with `fit_block` applied."""


def fit_block(block: bytes) -> bytes:
    """Whole rows of COPY's text form as LOAD DATA reads them."""
    if rb"\f" not in block and rb"\v" not in block:
        return block
    return _ESCAPE.sub(lambda match: _UNKNOWN_ESCAPES.get(match[1], match[0]), block)


# --- stream -----------------------------------------------------------------------------------------


def choose_converter(table: TableName, column: Column) -> Convert | None:
    """The function for the column's values; None when they are right as they are."""
    form = choose_form(column.type_sql)
    if form is Form.PLAIN:
        return None
    convert = _numeric(column.type_sql) if form is Form.NUMERIC else _CONVERTERS[form]
    if form is Form.BITS:
        convert = _bits((parse_type(column.type_sql)[1] or (1,))[0])

    def guarded(value: bytes) -> bytes:
        try:
            return convert(value)
        except ValueError as error:
            raise UnrepresentableValue(
                f"{table}: {error} for column '{column.name}'",
                side=Side.TARGET,
                schema=table.schema,
                table=table.name,
                column=column.name,
            ) from None

    return guarded


def _boolean(value: bytes) -> bytes:
    if value not in (b"t", b"f"):
        raise ValueError("not a boolean")
    return b"1" if value == b"t" else b"0"


def _bytes(value: bytes) -> bytes:
    if value[:2] != rb"\x":
        raise ValueError("not bytes in hexadecimal form")
    return unhexlify(value[2:])


def _uuid_bytes(value: bytes) -> bytes:
    return unhexlify(value.replace(b"-", b""))


def _bits(width: int) -> Convert:
    size = (width + 7) // 8

    def convert(value: bytes) -> bytes:
        if len(value) != width:
            raise ValueError("bits of another length")
        return int(value, 2).to_bytes(size, "big")

    return convert


def _finite(value: bytes) -> bytes:
    if value[-1:] in b"yN":  # Infinity, -Infinity, NaN
        raise ValueError("an infinite value, or NaN")
    return value


def _real(value: bytes) -> bytes:
    number: float = _FLOAT.unpack(_FLOAT.pack(float(_finite(value))))[0]
    return repr(number).encode()


def _numeric(type_sql: str) -> Convert:
    precision, scale = numeric_size(type_sql)
    whole = precision - scale

    def convert(value: bytes) -> bytes:
        digits, _, fraction = _finite(value).lstrip(b"-").partition(b".")
        # The target rounds without a word where a fraction is too long.
        if len(digits.lstrip(b"0")) > whole or len(fraction.rstrip(b"0")) > scale:
            raise ValueError(f"a number of more digits than DECIMAL({precision},{scale}) has")
        return value

    return convert


def numeric_size(type_sql: str) -> tuple[int, int]:
    """Precision and scale of the DECIMAL that holds the numeric, or as many of its values as any can."""
    parameters = parse_type(type_sql)[1]
    if not parameters:
        return LARGEST_PRECISION, LARGEST_SCALE
    precision, scale = (*parameters, 0)[:2]
    whole = precision - scale
    scale = max(0, min(scale, LARGEST_SCALE))
    return max(1, min(max(whole, 0) + scale, LARGEST_PRECISION)), scale


def _moment(value: bytes) -> bytes:
    if _DATE.fullmatch(value) is None:
        raise ValueError("a date outside of the years 1 to 9999")
    return value


def _zoned(value: bytes) -> bytes:
    if value[-3:] != b"+00":
        raise ValueError("a date outside of the years 1 to 9999")
    return _moment(value[:-3])


def _padded(value: bytes) -> bytes:
    return value.rstrip(b" ")


_CONVERTERS: Final[dict[Form, Callable[[bytes], bytes]]] = {
    Form.BOOLEAN: _boolean,
    Form.BYTES: _bytes,
    Form.BITS: _bits(1),
    Form.REAL: _real,
    Form.DOUBLE: _finite,
    Form.DATE: _moment,
    Form.TIMESTAMP: _moment,
    Form.ZONED: _zoned,
    Form.PADDED: _padded,
    Form.UUID_BYTES: _uuid_bytes,
}

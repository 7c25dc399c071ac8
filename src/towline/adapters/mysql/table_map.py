"""What a TABLE_MAP event says about a table: the types of its columns, and more where the server logs it. Pure.

MySQL logs signedness and character sets always (`binlog_row_metadata=MINIMAL`) and names, labels and keys when
asked (`FULL`); MySQL 5.7 and, unless told otherwise, MariaDB log neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from towline.adapters.mysql.jsonb import read_packed_int
from towline.domain.tables import TableName

# Column types of the binlog.
TINY, SHORT, LONG, FLOAT, DOUBLE, NULL, TIMESTAMP, LONGLONG, INT24, DATE, TIME, DATETIME, YEAR = range(1, 14)
NEWDATE, VARCHAR, BIT, TIMESTAMP2, DATETIME2, TIME2, TYPED_ARRAY = range(14, 21)
BLOB_COMPRESSED, VARCHAR_COMPRESSED = 140, 141
VECTOR, INVALID, BOOL, JSON, NEWDECIMAL, ENUM, SET = range(242, 249)
TINY_BLOB, MEDIUM_BLOB, LONG_BLOB, BLOB, VAR_STRING, STRING, GEOMETRY = range(249, 256)

_METADATA_SIZES: Final = {
    **dict.fromkeys((FLOAT, DOUBLE, TINY_BLOB, MEDIUM_BLOB, LONG_BLOB, BLOB, GEOMETRY, JSON, VECTOR), 1),
    **dict.fromkeys((TIME2, DATETIME2, TIMESTAMP2, BLOB_COMPRESSED), 1),
    **dict.fromkeys((VARCHAR, VAR_STRING, BIT, NEWDECIMAL, STRING, ENUM, SET, VARCHAR_COMPRESSED), 2),
}
_WITH_SIGN: Final = frozenset({TINY, SHORT, INT24, LONG, LONGLONG, NEWDECIMAL, FLOAT, DOUBLE, YEAR})

_SIGNEDNESS, _COLUMN_NAMES, _SET_LABELS, _ENUM_LABELS = 1, 4, 5, 6


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """A column's type; `metadata` is a number made of its bytes as the type needs it.

    `is_unsigned`, `name` and `labels` are None where the server does not log them.
    """

    kind: int
    metadata: int
    is_unsigned: bool | None = None
    name: str | None = None
    labels: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class TableMap:
    """The table that the row events with the same number are about."""

    table: TableName
    columns: tuple[MappedColumn, ...]


def decode_table_name(body: bytes) -> TableName:
    """The name alone; `body` begins after the table's number and flags."""
    schema_end = 1 + body[0]
    name_begin = schema_end + 2
    return TableName(body[1:schema_end].decode(), body[name_begin : name_begin + body[schema_end + 1]].decode())


def decode_table_map(body: bytes) -> TableMap:
    """`body` begins after the table's number and flags, and ends before the checksum."""
    table = decode_table_name(body)
    at = 2 + body[0]
    at += 2 + body[at]
    count, at = read_packed_int(body, at)
    kinds = body[at : at + count]
    size, at = read_packed_int(body, at + count)
    types = _decode_types(kinds, body[at : at + size])
    at += size + (count + 7) // 8  # which columns may be NULL is of no interest: rows say which are
    extras = _split_extras(body, at)
    return TableMap(table, tuple(_join(types, extras)))


def _decode_types(kinds: bytes, metadata: bytes) -> list[tuple[int, int]]:
    types = []
    at = 0
    for kind in kinds:
        size = _METADATA_SIZES.get(kind, 0)
        raw = metadata[at : at + size]
        at += size
        if kind == STRING:
            types.append(_decode_string_type(raw))
        elif kind == TYPED_ARRAY:
            raise ValueError("a column that cannot be in a table's rows")
        else:
            types.append((kind, int.from_bytes(raw, "big" if kind == NEWDECIMAL else "little")))
    return types


def _decode_string_type(raw: bytes) -> tuple[int, int]:
    """CHAR, ENUM and SET share a type; two bits of CHAR's length are hidden in the byte of the real one."""
    real, size = raw
    if real & 0x30 != 0x30:
        return real | 0x30, size | ((real & 0x30) ^ 0x30) << 4
    return real, size


def _split_extras(body: bytes, at: int) -> dict[int, bytes]:
    extras = {}
    while at < len(body):
        kind = body[at]
        size, at = read_packed_int(body, at + 1)
        extras[kind] = body[at : at + size]
        at += size
    return extras


def _join(types: list[tuple[int, int]], extras: dict[int, bytes]) -> list[MappedColumn]:
    names = _split_strings(extras[_COLUMN_NAMES]) if _COLUMN_NAMES in extras else None
    signs = extras.get(_SIGNEDNESS)
    enum_labels = iter(_split_labels(extras.get(_ENUM_LABELS, b"")))
    set_labels = iter(_split_labels(extras.get(_SET_LABELS, b"")))
    columns = []
    sign_number = 0
    for number, (kind, metadata) in enumerate(types):
        is_unsigned = None
        if kind in _WITH_SIGN and signs is not None:
            is_unsigned = bool(signs[sign_number >> 3] & 0x80 >> (sign_number & 7))
            sign_number += 1
        labels = None
        if kind == ENUM:
            labels = next(enum_labels, None)
        elif kind == SET:
            labels = next(set_labels, None)
        name = names[number].decode() if names is not None else None
        columns.append(MappedColumn(kind, metadata, is_unsigned, name, labels))
    return columns


def _split_strings(data: bytes) -> list[bytes]:
    strings = []
    at = 0
    while at < len(data):
        size, at = read_packed_int(data, at)
        strings.append(data[at : at + size])
        at += size
    return strings


def _split_labels(data: bytes) -> list[tuple[bytes, ...]]:
    columns = []
    at = 0
    while at < len(data):
        count, at = read_packed_int(data, at)
        labels = []
        for _ in range(count):
            size, at = read_packed_int(data, at)
            labels.append(data[at : at + size])
            at += size
        columns.append(tuple(labels))
    return columns

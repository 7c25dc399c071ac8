"""How the binlog writes a value of each column type, and its text. Pure.

The text is byte for byte what the server's text protocol returns for the column in a session with
`character_set_results = NULL` and `time_zone = '+00:00'`, with one exception, described in `numbers`: FLOAT.  So a row
that was read by SELECT and a row of the stream are equal when the values are.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final

from towline.adapters.mysql import table_map as tm
from towline.adapters.mysql import temporal
from towline.adapters.mysql.jsonb import render_json
from towline.adapters.mysql.numbers import (
    decimal_renderer,
    decimal_size,
    render_double,
    render_double_unsigned_zero,
)
from towline.adapters.mysql.shapes import ColumnShape
from towline.adapters.mysql.table_map import MappedColumn

_CACHED_VALUES: Final = 16_384
_FLOAT = Struct("<f")
_DOUBLE = Struct("<d")

# The binlog's types of each type of the catalog; the old forms of times stand behind the new ones.
_KINDS: Final = {
    "tinyint": (tm.TINY,),
    "smallint": (tm.SHORT,),
    "mediumint": (tm.INT24,),
    "int": (tm.LONG,),
    "bigint": (tm.LONGLONG,),
    "float": (tm.FLOAT,),
    "double": (tm.DOUBLE,),
    "decimal": (tm.NEWDECIMAL,),
    "bit": (tm.BIT,),
    "year": (tm.YEAR,),
    "date": (tm.DATE, tm.NEWDATE),
    "time": (tm.TIME2, tm.TIME),
    "datetime": (tm.DATETIME2, tm.DATETIME),
    "timestamp": (tm.TIMESTAMP2, tm.TIMESTAMP),
    "char": (tm.STRING,),
    "binary": (tm.STRING,),
    "varchar": (tm.VARCHAR, tm.VAR_STRING, tm.VARCHAR_COMPRESSED),
    "varbinary": (tm.VARCHAR, tm.VAR_STRING, tm.VARCHAR_COMPRESSED),
    "enum": (tm.ENUM,),
    "set": (tm.SET,),
    "json": (tm.JSON,),
    "vector": (tm.VECTOR,),
    "inet4": (tm.STRING,),
    "inet6": (tm.STRING,),
    "uuid": (tm.STRING,),
    **dict.fromkeys(
        ("tinyblob", "blob", "mediumblob", "longblob", "tinytext", "text", "mediumtext", "longtext"),
        (tm.BLOB, tm.BLOB_COMPRESSED),
    ),
    **dict.fromkeys(
        (
            "geometry",
            "point",
            "linestring",
            "polygon",
            "multipoint",
            "multilinestring",
            "multipolygon",
            "geomcollection",
            "geometrycollection",
        ),
        (tm.GEOMETRY,),
    ),
}
_INTEGER_SIZES: Final = {tm.TINY: 1, tm.SHORT: 2, tm.INT24: 3, tm.LONG: 4, tm.LONGLONG: 8}
_ADDRESS_SIZES: Final = {"inet4": 4, "inet6": 16, "uuid": 16}

Renderer = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class ColumnCodec:
    """Where a value ends and what its text is.

    A value takes `size` bytes, or follows a little-endian length of `length_size` bytes.  `render` makes the text
    of its bytes, None when they are the text already.  `text_size` is known where all texts are of one size.
    `integer` is set for whole numbers without ZEROFILL: (bytes, is unsigned), `labels` for ENUM, `render_number` for
    FLOAT and DOUBLE.
    """

    kind: int
    size: int = 0
    length_size: int = 0
    render: Renderer | None = None
    text_size: int | None = None
    integer: tuple[int, bool] | None = None
    labels: tuple[bytes, ...] | None = None
    render_number: Callable[[float], bytes] | None = None

    def read_raw(self, data: bytes, at: int) -> tuple[bytes, int]:
        """The bytes of the value that begins at `at`, and where it ends."""
        size = self.size
        if self.length_size:
            begin = at + self.length_size
            size = int.from_bytes(data[at:begin], "little")
            at = begin
        return data[at : at + size], at + size

    def text_of(self, raw: bytes) -> bytes:
        return raw if self.render is None else self.render(raw)


def choose_codec(mapped: MappedColumn, shape: ColumnShape, *, is_mariadb: bool) -> ColumnCodec | None:
    """The codec of a column; None when the binlog and the catalog do not mean the same type.

    Raises: ValueError, the labels of an ENUM or SET are not known.
    """
    kind = mapped.kind
    if kind not in _KINDS.get(shape.type_name, ()):
        return None
    if kind in _INTEGER_SIZES:
        return _integer_codec(mapped, shape)
    return (
        _float_codec(mapped, is_mariadb=is_mariadb)
        or _number_codec(mapped, shape)
        or _temporal_codec(mapped, shape)
        or _label_codec(mapped, shape)
        or _bytes_codec(mapped, shape)
    )


def _integer_codec(mapped: MappedColumn, shape: ColumnShape) -> ColumnCodec:
    size = _INTEGER_SIZES[mapped.kind]
    is_unsigned = shape.is_unsigned if mapped.is_unsigned is None else mapped.is_unsigned
    width = shape.fill_width

    def render(raw: bytes) -> bytes:
        return b"%0*d" % (width, int.from_bytes(raw, "little", signed=not is_unsigned))

    return ColumnCodec(mapped.kind, size, render=render, integer=None if width else (size, is_unsigned))


def _float_codec(mapped: MappedColumn, *, is_mariadb: bool) -> ColumnCodec | None:
    if mapped.kind not in (tm.FLOAT, tm.DOUBLE):
        return None
    form = _FLOAT if mapped.kind == tm.FLOAT else _DOUBLE
    render_number = render_double_unsigned_zero if is_mariadb else render_double
    return ColumnCodec(
        mapped.kind, form.size, render=lambda raw: render_number(form.unpack(raw)[0]), render_number=render_number
    )


def _number_codec(mapped: MappedColumn, shape: ColumnShape) -> ColumnCodec | None:
    kind = mapped.kind
    if kind == tm.NEWDECIMAL:
        precision, scale = divmod(mapped.metadata, 256)
        if shape.parameters not in ((precision, scale), (precision,)):
            return None
        render = decimal_renderer(precision, scale, width=shape.fill_width)
        return ColumnCodec(kind, decimal_size(precision, scale), render=render)
    if kind == tm.BIT:
        size = (mapped.metadata >> 8) + bool(mapped.metadata & 255)
        return ColumnCodec(kind, size, text_size=size)
    if kind == tm.YEAR:
        return ColumnCodec(kind, 1, render=lambda raw: temporal.YEARS[raw[0]], text_size=4)
    return None


def _temporal_codec(mapped: MappedColumn, shape: ColumnShape) -> ColumnCodec | None:
    kind = mapped.kind
    is_old = kind in (tm.TIME, tm.DATETIME, tm.TIMESTAMP)
    # The old forms do not say how many digits the fraction has.
    fsp = (shape.parameters or (0,))[0] if is_old else mapped.metadata
    tail = fsp + 1 if fsp else 0
    extra = temporal.fraction_size(fsp)
    if kind in (tm.DATE, tm.NEWDATE):
        return ColumnCodec(kind, 3, render=_cached(temporal.render_date_bytes), text_size=10)
    if kind == tm.DATETIME2:
        return ColumnCodec(kind, 5 + extra, render=_cached(temporal.datetime_renderer(fsp)), text_size=19 + tail)
    if kind == tm.TIMESTAMP2:
        return ColumnCodec(kind, 4 + extra, render=_cached(temporal.timestamp_renderer(fsp)), text_size=19 + tail)
    if kind == tm.TIME2:
        return ColumnCodec(kind, 3 + extra, render=_cached(temporal.time_renderer(fsp)))
    if kind == tm.DATETIME:
        size = temporal.old_datetime_size(fsp)
        return ColumnCodec(kind, size, render=temporal.old_datetime_renderer(fsp), text_size=19 + tail)
    if kind == tm.TIMESTAMP:
        return ColumnCodec(kind, 4 + extra, render=temporal.old_timestamp_renderer(fsp), text_size=19 + tail)
    if kind == tm.TIME:
        return ColumnCodec(kind, temporal.old_time_size(fsp), render=temporal.old_time_renderer(fsp))
    return None


def _cached(render: Renderer) -> Renderer:
    # Rows that are written together were often made in the same second or on the same day.
    return lru_cache(_CACHED_VALUES)(render)


def _label_codec(mapped: MappedColumn, shape: ColumnShape) -> ColumnCodec | None:
    if mapped.kind not in (tm.ENUM, tm.SET):
        return None
    labels = shape.labels() if mapped.labels is None else mapped.labels
    if mapped.kind == tm.ENUM:
        # Number 0 stands for a value that was not valid when it was written.
        all_labels = (b"", *labels)
        return ColumnCodec(
            mapped.kind,
            mapped.metadata,
            render=lambda raw: all_labels[int.from_bytes(raw, "little")],
            labels=all_labels,
        )
    separator = ",".encode("utf-16-be" if shape.charset in ("ucs2", "utf16") else "ascii")
    if shape.charset in ("utf16le", "utf32"):
        separator = ",".encode({"utf16le": "utf-16-le", "utf32": "utf-32-be"}[shape.charset])
    return ColumnCodec(mapped.kind, mapped.metadata, render=_set_renderer(labels, separator))


def _set_renderer(labels: Sequence[bytes], separator: bytes) -> Renderer:
    @lru_cache(_CACHED_VALUES)
    def render(raw: bytes) -> bytes:
        bits = int.from_bytes(raw, "little")
        return separator.join([label for number, label in enumerate(labels) if bits >> number & 1])

    return render


def _bytes_codec(mapped: MappedColumn, shape: ColumnShape) -> ColumnCodec | None:
    kind, metadata = mapped.kind, mapped.metadata
    if kind == tm.STRING:
        return _string_codec(mapped, shape)
    if kind in (tm.VARCHAR, tm.VAR_STRING):
        return ColumnCodec(kind, length_size=1 if metadata < 256 else 2)
    if kind == tm.VARCHAR_COMPRESSED:
        return ColumnCodec(kind, length_size=1 if metadata < 256 else 2, render=decompress_column)
    if kind == tm.BLOB_COMPRESSED:
        return ColumnCodec(kind, length_size=metadata, render=decompress_column)
    if kind == tm.JSON:
        return ColumnCodec(kind, length_size=metadata, render=render_json)
    return ColumnCodec(kind, length_size=metadata)


def _string_codec(mapped: MappedColumn, shape: ColumnShape) -> ColumnCodec | None:
    """Types of a fixed length, of which the binlog leaves out what pads them."""
    size = mapped.metadata
    length_size = 1 if size < 256 else 2
    name = shape.type_name
    if name == "binary":
        return ColumnCodec(
            mapped.kind, length_size=length_size, render=lambda raw: raw.ljust(size, b"\0"), text_size=size
        )
    if name in _ADDRESS_SIZES:
        if size != _ADDRESS_SIZES[name]:
            return None
        form = {"inet4": _render_inet4, "inet6": _render_inet6, "uuid": _render_uuid}[name]
        return ColumnCodec(mapped.kind, length_size=1, render=lambda raw: form(raw.ljust(size, b"\0")))
    return ColumnCodec(mapped.kind, length_size=length_size)


def _render_inet4(raw: bytes) -> bytes:
    return b"%d.%d.%d.%d" % tuple(raw)


def _render_inet6(raw: bytes) -> bytes:
    # Addresses that hold one of IPv4 end in its usual form.
    if raw[:10] == bytes(10) and raw[10:12] == b"\xff\xff":
        return b"::ffff:" + _render_inet4(raw[12:])
    if raw[:12] == bytes(12) and raw[12:14] != b"\0\0":
        return b"::" + _render_inet4(raw[12:])
    groups = [b"%x" % int.from_bytes(raw[at : at + 2], "big") for at in range(0, 16, 2)]
    begin, size = _longest_zeros(groups)
    if not size:
        return b":".join(groups)
    return b":".join(groups[:begin]) + b"::" + b":".join(groups[begin + size :])


def _longest_zeros(groups: Sequence[bytes]) -> tuple[int, int]:
    """Where the first of the longest runs of zeros begins, and its length; the server shortens single ones, too."""
    best = (0, 0)
    begin = 0
    for number, group in enumerate(groups):
        if group != b"0":
            begin = number + 1
        elif number + 1 - begin > best[1]:
            best = begin, number + 1 - begin
    return best


def _render_uuid(raw: bytes) -> bytes:
    text = raw.hex().encode()
    return b"-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def decompress_column(raw: bytes) -> bytes:
    """The value of a COMPRESSED column of MariaDB.

    Its first byte names the method: 0 for none, 8 in the high bits for deflate; then bit 3 says that the stream has
    no header of its own, and the rest how many bytes, big-endian, the length takes.
    """
    if not raw:
        return raw
    head = raw[0]
    if head == 0:
        return raw[1:]
    if head >> 4 != 8:
        raise ValueError("a column that is compressed in an unknown way")
    value = zlib.decompress(raw[1 + (head & 7) :], -zlib.MAX_WBITS if head & 8 else zlib.MAX_WBITS)
    if len(value) != int.from_bytes(raw[1 : 1 + (head & 7)], "big"):
        raise ValueError("a compressed column of another size than it says")
    return value

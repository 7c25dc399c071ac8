"""MySQL's binary JSON as the text that the server makes of it, and the changes of partial updates. Pure.

A document is read into a tree whose leaves are finished text: objects are dicts by raw key, arrays are lists,
everything else is bytes.  So the order and the spelling of the server are kept, and a change of a part touches only
that part.

Format: the comment at the top of the server's `json_binary.h`; changes: the description of the
PARTIAL_UPDATE_ROWS_EVENT and of `Json_diff` in the server's documentation.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from struct import Struct
from typing import Final, TypeAlias

from towline.adapters.mysql.numbers import decimal_renderer, render_double
from towline.adapters.mysql.temporal import render_packed_datetime, render_packed_time

Node: TypeAlias = "bytes | list[Node] | dict[bytes, Node]"

_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY, _LITERAL = range(5)
_INT16, _UINT16, _INT32, _UINT32, _INT64, _UINT64, _DOUBLE, _STRING = range(5, 13)
_OPAQUE: Final = 15
_LITERALS: Final = {0: b"null", 1: b"true", 2: b"false"}
_NUMBERS: Final = {
    _INT16: Struct("<h"),
    _UINT16: Struct("<H"),
    _INT32: Struct("<i"),
    _UINT32: Struct("<I"),
    _INT64: Struct("<q"),
    _UINT64: Struct("<Q"),
}
_DOUBLE_FORM = Struct("<d")
_UINT16_FORM = Struct("<H")
_UINT32_FORM = Struct("<I")
_INT64_FORM = Struct("<q")

# Field types that an opaque value may name.
_TIMESTAMP, _DATE, _TIME, _DATETIME, _NEWDECIMAL = 7, 10, 11, 12, 246

_BASE64_LINE: Final = 76

_REPLACE, _INSERT, _REMOVE = range(3)

_TO_ESCAPE = re.compile(rb'[\x00-\x1f"\\]')
_ESCAPES: Final = {
    byte: {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}.get(
        byte, b"\\u%04x" % byte
    )
    for byte in (*range(32), 34, 92)
}
_UNESCAPE = re.compile(rb"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_UNESCAPES: Final = {b"b": b"\b", b"t": b"\t", b"n": b"\n", b"f": b"\f", b"r": b"\r"}
_LEG = re.compile(rb'\[(\d+)\]|\.("(?:[^"\\]|\\.)*"|[^.\[]+)', re.DOTALL)


def render_json(raw: bytes) -> bytes:
    """The text of a binary document; an empty one, which only old servers write, is null."""
    return render_node(parse_json(raw))


def parse_json(raw: bytes) -> Node:
    if not raw:
        return b"null"
    return _parse_value(raw, raw[0], 1)


def render_node(node: Node) -> bytes:
    if isinstance(node, bytes):
        return node
    if isinstance(node, list):
        return b"[" + b", ".join([render_node(item) for item in node]) + b"]"
    return b"{" + b", ".join([_quote(key) + b": " + render_node(value) for key, value in node.items()]) + b"}"


def apply_json_changes(document: Node, changes: bytes) -> Node:
    """The document after the changes of a partial update, which come one after the other; it may be changed in place.

    Raises: ValueError, a change does not fit the document.
    """
    for operation, path, value in _split_changes(changes):
        document = _apply(document, operation, _parse_path(path), value)
    return document


# --- reading ----------------------------------------------------------------------------------------


def _parse_value(data: bytes, kind: int, at: int) -> Node:
    if kind in (_SMALL_OBJECT, _LARGE_OBJECT):
        return _parse_object(data, at, is_large=kind == _LARGE_OBJECT)
    if kind in (_SMALL_ARRAY, _LARGE_ARRAY):
        return _parse_array(data, at, is_large=kind == _LARGE_ARRAY)
    if kind == _STRING:
        size, begin = _read_size(data, at)
        return _quote(data[begin : begin + size])
    if kind == _LITERAL:
        return _LITERALS[data[at]]
    if kind == _DOUBLE:
        return _render_json_double(_DOUBLE_FORM.unpack_from(data, at)[0])
    if kind == _OPAQUE:
        size, begin = _read_size(data, at + 1)
        return _render_opaque(data[at], data[begin : begin + size])
    return b"%d" % _NUMBERS[kind].unpack_from(data, at)[0]


def _parse_object(data: bytes, base: int, *, is_large: bool) -> dict[bytes, Node]:
    offset_form = _UINT32_FORM if is_large else _UINT16_FORM
    width = offset_form.size
    (count,) = offset_form.unpack_from(data, base)
    keys_at = base + 2 * width
    values_at = keys_at + count * (width + 2)
    result: dict[bytes, Node] = {}
    for number in range(count):
        entry = keys_at + number * (width + 2)
        key_at = base + offset_form.unpack_from(data, entry)[0]
        (key_size,) = _UINT16_FORM.unpack_from(data, entry + width)
        value = _parse_entry(data, base, values_at + number * (width + 1), is_large=is_large)
        result[data[key_at : key_at + key_size]] = value
    return result


def _parse_array(data: bytes, base: int, *, is_large: bool) -> list[Node]:
    offset_form = _UINT32_FORM if is_large else _UINT16_FORM
    width = offset_form.size
    (count,) = offset_form.unpack_from(data, base)
    first = base + 2 * width
    return [_parse_entry(data, base, first + number * (width + 1), is_large=is_large) for number in range(count)]


def _parse_entry(data: bytes, base: int, entry: int, *, is_large: bool) -> Node:
    """A value whose type is in the table of its container, and itself as well where it fits."""
    kind = data[entry]
    if kind in (_LITERAL, _INT16, _UINT16) or (is_large and kind in (_INT32, _UINT32)):
        return _parse_value(data, kind, entry + 1)
    form = _UINT32_FORM if is_large else _UINT16_FORM
    return _parse_value(data, kind, base + form.unpack_from(data, entry + 1)[0])


def _read_size(data: bytes, at: int) -> tuple[int, int]:
    """A length in groups of seven bits, and where the value begins."""
    size = shift = 0
    while True:
        byte = data[at]
        at += 1
        size |= (byte & 127) << shift
        if byte < 128:
            return size, at
        shift += 7


def _quote(raw: bytes) -> bytes:
    if _TO_ESCAPE.search(raw):
        raw = _TO_ESCAPE.sub(lambda match: _ESCAPES[match[0][0]], raw)
    return b'"' + raw + b'"'


def _render_json_double(value: float) -> bytes:
    text = render_double(value)
    # A document keeps the difference between 1 and 1.0.
    return text if b"." in text or b"e" in text else text + b".0"


def _render_opaque(field_type: int, raw: bytes) -> bytes:
    if field_type == _NEWDECIMAL:
        return decimal_renderer(raw[0], raw[1])(raw[2:])
    if field_type in (_DATE, _TIME, _DATETIME, _TIMESTAMP) and len(raw) == 8:
        return b'"' + _render_temporal(field_type, _INT64_FORM.unpack(raw)[0]) + b'"'
    encoded = b64encode(raw)
    # The server's encoder breaks lines; the breaks are escaped like any in a string.
    lines = [encoded[at : at + _BASE64_LINE] for at in range(0, len(encoded), _BASE64_LINE)]
    return b'"base64:type%d:' % field_type + b"\\n".join(lines) + b'"'


def _render_temporal(field_type: int, packed: int) -> bytes:
    sign = b"-" if packed < 0 else b""
    packed = abs(packed)
    fraction = b".%06d" % (packed & 0xFFFFFF)
    if field_type == _TIME:
        return sign + render_packed_time(packed >> 24) + fraction
    text = render_packed_datetime(packed >> 24)
    return text[:10] if field_type == _DATE else text + fraction


# --- changes ----------------------------------------------------------------------------------------


def _split_changes(data: bytes) -> Iterator[tuple[int, bytes, Node]]:
    at = 0
    while at < len(data):
        operation = data[at]
        size, at = read_packed_int(data, at + 1)
        path = data[at : at + size]
        at += size
        value: Node = b""
        if operation != _REMOVE:
            size, at = read_packed_int(data, at)
            value = parse_json(data[at : at + size])
            at += size
        yield operation, path, value


def read_packed_int(data: bytes, at: int) -> tuple[int, int]:
    """The protocol's length-encoded integer, and where it ends."""
    first = data[at]
    if first < 251:
        return first, at + 1
    size = {252: 2, 253: 3, 254: 8}[first]
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def _parse_path(path: bytes) -> list[int | bytes]:
    """`$[3]."a key"` as [3, b'a key']."""
    legs: list[int | bytes] = []
    at = path.index(b"$") + 1
    while at < len(path):
        match = _LEG.match(path, at)
        if match is None:
            raise ValueError("not a JSON path")
        if match[1] is not None:
            legs.append(int(match[1]))
        else:
            legs.append(_unquote(match[2]))
        at = match.end()
    return legs


def _unquote(text: bytes) -> bytes:
    if not text.startswith(b'"'):
        return text
    return _UNESCAPE.sub(_unescape, text[1:-1])


def _unescape(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    if len(escaped) == 5:
        return chr(int(escaped[1:], 16)).encode("utf-8", "surrogatepass")
    return _UNESCAPES.get(escaped, escaped)


def _apply(document: Node, operation: int, legs: list[int | bytes], value: Node) -> Node:
    if not legs:
        if operation != _REPLACE:
            raise ValueError("only a replacement can name the whole document")
        return value
    parent = document
    for leg in legs[:-1]:
        parent = _child(parent, leg)
    last = legs[-1]
    if isinstance(parent, dict) and isinstance(last, bytes):
        _change_object(parent, operation, last, value)
    elif isinstance(parent, list) and isinstance(last, int):
        _change_array(parent, operation, last, value)
    else:
        raise ValueError("a change does not fit the document")
    return document


def _child(parent: Node, leg: int | bytes) -> Node:
    if isinstance(parent, dict) and isinstance(leg, bytes) and leg in parent:
        return parent[leg]
    if isinstance(parent, list) and isinstance(leg, int) and leg < len(parent):
        return parent[leg]
    raise ValueError("a change names a place that the document does not have")


def _change_object(parent: dict[bytes, Node], operation: int, key: bytes, value: Node) -> None:
    if operation == _REMOVE:
        del parent[key]
        return
    is_new = key not in parent
    parent[key] = value
    if is_new:
        # The server keeps keys by length, then by bytes.
        ordered = sorted(parent.items(), key=lambda item: (len(item[0]), item[0]))
        parent.clear()
        parent.update(ordered)


def _change_array(parent: list[Node], operation: int, number: int, value: Node) -> None:
    if operation == _REMOVE:
        del parent[number]
    elif operation == _INSERT:
        parent.insert(number, value)
    else:
        parent[number] = value

"""Values of the binlog as PostgreSQL reads them: the conversion becomes a part of the column's codec. Pure.

What has no equal there is not refused here, where nobody could decide about it, but handed on in a form that the target
refuses: the change then meets the job's conflict policy and its list, with the key, as every misfit does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Final

from towline.adapters.mysql.column_codec import ColumnCodec
from towline.adapters.mysql.postgres_types import Converter, Unrepresentable
from towline.adapters.mysql.postgres_wishes import choose_converter
from towline.adapters.mysql.shapes import ColumnShape

_REFUSED: Final = b"\xff"  # no text of UTF-8, so the target refuses it whatever the column's type

_CACHED_VALUES: Final = 4096
_FEW_VALUES: Final = frozenset({"bit", "set"})


def for_postgres(codec: ColumnCodec, shape: ColumnShape) -> ColumnCodec:
    """The codec whose texts are PostgreSQL's."""
    convert = choose_converter(shape)
    if convert is None:
        return codec
    safe = _never_raising(convert)
    if codec.labels is not None:
        labels = tuple(safe(label) for label in codec.labels)
        return replace(codec, labels=labels, render=lambda raw: labels[int.from_bytes(raw, "little")])
    render: Callable[[bytes], bytes] = safe if codec.render is None else _joined(codec.render, safe)
    if shape.type_name in _FEW_VALUES:
        render = lru_cache(_CACHED_VALUES)(render)
    return replace(codec, render=render, text_size=None, integer=None, render_number=None)


def _never_raising(convert: Converter) -> Converter:
    def safe(raw: bytes) -> bytes:
        try:
            return convert(raw)
        except Unrepresentable:
            # Followed by the value in digits: two keys must not look like one.
            return _REFUSED + raw.hex().encode()

    return safe


def _joined(render: Converter, convert: Converter) -> Converter:
    return lambda raw: convert(render(raw))

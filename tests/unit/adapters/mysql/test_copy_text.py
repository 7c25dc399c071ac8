"""Rows of the text protocol as input of COPY."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.adapters.mysql.copy_text import CellMisfit, CopyText
from towline.adapters.mysql.postgres_types import Converter, escape_for_copy, render_bytea
from towline.adapters.mysql.text_rows import PacketScanner
from towline.adapters.mysql.zero_dates import has_zero

Row = Sequence[bytes | None]

texts = st.one_of(
    st.none(),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12).map(str.encode),
    st.sampled_from([b"", b"\\N", b"a\tb\nc\rd\\", "é".encode() * 130, b"x" * 70_000]),
)
octets = st.one_of(st.none(), st.binary(max_size=12), st.sampled_from([bytes(range(256)), b"\xff" * 300]))


def packet(row: Row) -> bytes:
    parts = []
    for value in row:
        if value is None:
            parts.append(b"\xfb")
        elif len(value) < 251:
            parts.append(bytes((len(value),)) + value)
        elif len(value) < 1 << 16:
            parts.append(b"\xfc" + len(value).to_bytes(2, "little") + value)
        else:
            parts.append(b"\xfd" + len(value).to_bytes(3, "little") + value)
    payload = b"".join(parts)
    return len(payload).to_bytes(3, "little") + b"\7" + payload


def render(rows: Sequence[Row], converters: Sequence[Converter | None], *, skips_blanks: bool = False) -> bytes:
    buffer = bytearray(b"".join(map(packet, rows)))
    packets = PacketScanner()
    packets.scan(buffer, len(buffer))
    return CopyText(converters, skips_blanks=skips_blanks).render_block(buffer, packets.starts, packets.position)


def spelled_out(rows: Sequence[Row], converters: Sequence[Converter | None]) -> bytes:
    """What COPY's manual says of its text format."""
    lines = [
        b"\t".join(
            b"\\N" if value is None else escape_for_copy(value if convert is None else convert(value))
            for value, convert in zip(row, converters, strict=True)
        )
        for row in rows
    ]
    return b"".join(line + b"\n" for line in lines)


@given(st.lists(st.tuples(texts, octets, texts), min_size=1, max_size=6))
def test_block_and_single_rows_are_as_the_manual_says(rows: list[Row]) -> None:
    converters = (None, render_bytea, None)
    expected = spelled_out(rows, converters)
    assert render(rows, converters) == expected
    assert CopyText(converters).render_rows(rows) == expected


@given(st.lists(st.tuples(st.integers(), texts, texts), min_size=1, max_size=6))
def test_blanks_stand_before_a_number_only(rows: list[tuple[int, bytes | None, bytes | None]]) -> None:
    numbered: list[Row] = [(b"%d" % number, *rest) for number, *rest in rows]
    lines = render(numbered, (None, None, None), skips_blanks=True).split(b"\n")
    assert b"\n".join(line.lstrip(b" ") for line in lines) == spelled_out(numbered, (None, None, None))


@given(st.lists(st.tuples(texts), min_size=1, max_size=6))
def test_table_of_one_column_that_needs_no_work(rows: list[Row]) -> None:
    assert render(rows, (None,)) == spelled_out(rows, (None,))


@pytest.mark.parametrize("bad", [b"a\0", b"\xff", b"\xfb", b"\xc3", b"\xed\xa0\x80"])
def test_bytes_that_are_no_text_are_found(bad: bytes) -> None:
    rows: list[Row] = [(b"1", b"good", b"\xff\0"), (b"2", bad, None), (b"3", bad, None)]
    for call in (lambda: render(rows, (None, None, render_bytea)), lambda: single(rows)):
        with pytest.raises(CellMisfit) as caught:
            call()
        assert (caught.value.row, caught.value.column) == (1, 1)


dates = st.one_of(
    st.none(),
    st.sampled_from([b"0000-00-00", b"2024-00-01", b"2024-05-00", b"0000-05-01", b"2024-10-20", b"2000-02-30"]),
)


@given(st.lists(st.tuples(st.integers(), dates, texts, octets), min_size=1, max_size=6))
def test_zero_dates_become_null_and_are_counted(
    rows: list[tuple[int, bytes | None, *tuple[bytes | None, ...]]],
) -> None:
    numbered: list[Row] = [(b"%d" % number, *rest) for number, *rest in rows]
    converters = (None, None, None, render_bytea)
    found = [row[1] is not None and has_zero(row[1]) for row in numbered]
    expected = spelled_out(
        [(row[0], None if is_zero else row[1], *row[2:]) for row, is_zero in zip(numbered, found, strict=True)],
        converters,
    )
    form = CopyText(converters, null_dates=[1])
    assert form.render_rows(numbered) == expected
    assert form.replaced.total() == sum(found)
    form.replaced.clear()
    buffer = bytearray(b"".join(map(packet, numbered)))
    packets = PacketScanner()
    packets.scan(buffer, len(buffer))
    assert form.render_block(buffer, packets.starts, packets.position) == expected
    assert form.replaced == Counter({1: sum(found)})


@pytest.mark.parametrize("date", [b"0000-00-00", b"0000-00-00 00:00:00.000", b"2024-00-01", b"2024-01-00 10:00:00"])
def test_date_with_a_zero_part_is_told_from_others(date: bytes) -> None:
    assert has_zero(date)
    assert not any(map(has_zero, (b"2010-10-20", b"1000-01-01 00:00:00", b"2021-02-31", b"9999-12-30 00:00:00.000")))


def single(rows: Sequence[Row]) -> bytes:
    return CopyText((None, None, render_bytea)).render_rows(rows)

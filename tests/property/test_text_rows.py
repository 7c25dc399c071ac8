"""Blocks of rows against LOAD DATA's own rules, spelled out once more and slowly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from towline.adapters.mysql.text_rows import (
    ESCAPE,
    LINE_END,
    SEPARATOR,
    PacketScanner,
    render_block,
    render_rows,
    split_packet,
)

Row = list[bytes | None]


def encode_length(value: bytes) -> bytes:
    size = len(value)
    if size < 0xFB:
        return bytes((size,))
    return b"\xfc" + size.to_bytes(2, "little") if size < 1 << 16 else b"\xfd" + size.to_bytes(3, "little")


def encode_packet(row: Row, number: int) -> bytes:
    payload = b"".join(b"\xfb" if value is None else encode_length(value) + value for value in row)
    return len(payload).to_bytes(3, "little") + bytes((number & 0xFF,)) + payload


def load(data: bytes) -> list[Row]:
    """What LOAD DATA makes of its input, byte by byte."""
    rows: list[Row] = []
    at = 0
    while (at := data.find(SEPARATOR, at)) >= 0:  # a line starts here, what precedes it is ignored
        row: Row = []
        while at < len(data) and data[at] == SEPARATOR:
            at += 1
            field = bytearray()
            is_null = data[at : at + 2] == bytes((ESCAPE, ord("N")))
            while at < len(data) and data[at] not in (SEPARATOR, LINE_END):
                at += data[at] == ESCAPE
                field.append(data[at])
                at += 1
            row.append(None if is_null else bytes(field))
        rows.append(row)
    return rows


plain = st.binary(max_size=6) | st.sampled_from([b"", b"x" * 250, b"y" * 251, b"\x1d" * 300])
controls = st.lists(st.sampled_from([0x1B, 0x1C, 0x1D, 0x1E, 0x1F, 0x4E]), max_size=4).map(bytes)
tables = st.integers(1, 5).flatmap(
    lambda columns: st.lists(
        st.lists(st.none() | plain | controls, min_size=columns, max_size=columns), min_size=1, max_size=20
    )
)


@given(tables)
def test_block_arrives_as_it_was(rows: list[Row]) -> None:
    stream = bytearray(b"".join(encode_packet(row, number) for number, row in enumerate(rows)))
    packets = PacketScanner()
    packets.scan(stream, len(stream) // 2)
    packets.scan(stream, len(stream))
    assert len(packets.starts) == len(rows)
    assert packets.position == len(stream)
    assert load(bytes(render_block(stream, packets.starts, len(stream), len(rows[0])))) == rows


@given(tables)
def test_single_rows_arrive_as_they_were(rows: list[Row]) -> None:
    assert [split_packet(encode_packet(row, 0)[4:]) for row in rows] == rows
    assert load(render_rows(rows)) == rows


def test_lengths_of_three_bytes_arrive() -> None:
    rows: list[Row] = [[b"a", b"z" * 70_000, None], [b"", b"\x1e" * 66_000, b"b"]]
    stream = bytearray(b"".join(encode_packet(row, number) for number, row in enumerate(rows)))
    packets = PacketScanner()
    packets.scan(stream, len(stream))
    assert load(bytes(render_block(stream, packets.starts, len(stream), 3))) == rows


def test_end_packet_is_told_from_a_row() -> None:
    packets = PacketScanner()
    stream = bytearray(encode_packet([b"a"], 1) + b"\x05\0\0\x02\xfe\0\0\x02\0")
    packets.scan(stream, len(stream))
    assert packets.is_ended(stream)
    packets = PacketScanner()
    packets.scan(stream, 6)
    assert not packets.is_ended(stream)

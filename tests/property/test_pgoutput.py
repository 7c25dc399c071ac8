"""Whatever a source sends, in whatever portions it arrives, is handed on as it was."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property import pgoutput as wire
from tests.property.pgoutput import EPOCH_US, Recorder
from towline.adapters.postgres.copy_rows import BINARY_HEADER, BINARY_TRAILER, PIECE_BYTES, RowEncoder
from towline.adapters.postgres.large_rows import take_rows_through
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.pgoutput_decoder import PgoutputDecoder
from towline.domain.changes import (
    DELETE,
    INSERT,
    UPDATE,
    column_kinds,
    has_unchanged,
    join_cells,
    key_reader,
    row_size,
    split_row,
    value_of,
)

VALUES = st.binary(max_size=40)
CELL = st.one_of(
    st.just(b"n"),
    st.just(b"u"),
    st.builds(lambda kind, value: kind + len(value).to_bytes(4, "big") + value, st.sampled_from([b"t", b"b"]), VALUES),
)
ROW = st.lists(CELL, max_size=6).map(join_cells)
KEYS = {1: "a.x", 2: "a.y"}
TABLES = [
    wire.relation(number, name.partition(".")[0], name.partition(".")[2], [("id", 23, True)])
    for number, name in KEYS.items()
]


@st.composite
def transactions(draw):
    """Frames of one transaction and the changes it holds."""
    frames, changes = [], []
    for _ in range(draw(st.integers(0, 6))):
        number = draw(st.sampled_from(sorted(KEYS)))
        kind = draw(st.sampled_from([INSERT, UPDATE, DELETE]))
        new, old = draw(ROW), draw(st.one_of(st.none(), ROW))
        old_kind = draw(st.sampled_from([b"K", b"O"]))
        if kind == INSERT:
            frames.append(wire.insert(number, new))
            changes.append((INSERT, KEYS[number], new, None))
        elif kind == UPDATE:
            frames.append(wire.update(number, new, old=old, kind=old_kind))
            changes.append((UPDATE, KEYS[number], new, old))
        else:
            frames.append(wire.delete(number, new, kind=old_kind))
            changes.append((DELETE, KEYS[number], None, new))
    end = draw(st.integers(2, 2**63))
    time_us = EPOCH_US + draw(st.integers(-(10**15), 10**15))
    return [wire.begin(end - 1), *frames, wire.commit(end - 1, end, time_us)], changes, end, time_us


@given(st.lists(transactions(), max_size=5), st.integers(1, 20))
def test_transactions_survive_the_wire(sent, portion):
    recorder = Recorder()
    decoder = PgoutputDecoder(recorder, part_bytes=1 << 30)
    frames = [*TABLES, *[frame for frames, *_ in sent for frame in frames]]
    for start in range(0, len(frames), portion):
        decoder.feed(frames[start : start + portion])
    assert recorder.calls == [("transaction", changes, end, time_us) for _, changes, end, time_us in sent]


@given(transactions(), st.booleans())
def test_large_frames_hold_the_same_rows(sent, is_streamed):
    frames, changes, end, time_us = sent
    recorder = Recorder()
    decoder = PgoutputDecoder(recorder, part_bytes=1 << 30)
    decoder.feed(TABLES)
    if is_streamed:
        # Between Stream Start and Stop every message names its transaction after its kind.
        frames = [frame[:26] + (5).to_bytes(4, "big") + frame[26:] for frame in frames[1:-1]]
        frames = [wire.stream_start(5, is_first=True), *frames, wire.stream_stop()]
    with tempfile.TemporaryDirectory() as folder:
        for frame in frames:
            decoder.feed_large(memoryview(frame), take_rows_through(Path(folder)))
        assert list(Path(folder).iterdir()) == []
    if not is_streamed:
        assert recorder.calls == [("transaction", changes, end, time_us)]
    else:
        assert recorder.calls == ([("streamed", 5, 5, changes)] if changes else [])


@given(ROW)
def test_cells_of_a_row_are_the_row(row):
    assert join_cells(split_row(row)) == row
    assert row_size(b"xy" + row + b"z", 2) == len(row)
    assert has_unchanged(row) == (b"u" in split_row(row))
    assert [bytes([kind]) for kind in column_kinds(row)] == [cell[:1] for cell in split_row(row)]


@given(ROW, st.data())
def test_keys_are_equal_exactly_when_their_cells_are(row, data):
    cells = split_row(row)
    numbers = data.draw(st.lists(st.integers(0, max(0, len(cells) - 1)), max_size=3, unique=True))
    if not cells:
        numbers = []
    other = split_row(data.draw(ROW))
    if len(other) != len(cells):
        other = cells
    read = key_reader(numbers)
    same_cells = [cells[n] for n in numbers] == [other[n] for n in numbers]
    assert (read(row) == read(join_cells(other))) == same_cells


def parse_binary(data: bytes) -> list[list[bytes | None]]:
    """The manual's binary COPY form, read back."""
    assert data.startswith(BINARY_HEADER)
    assert data.endswith(BINARY_TRAILER)
    position, rows = len(BINARY_HEADER), []
    while (count := int.from_bytes(data[position : position + 2], "big")) != 0xFFFF:
        position += 2
        row: list[bytes | None] = []
        for _ in range(count):
            size = int.from_bytes(data[position : position + 4], "big", signed=True)
            position += 4
            row.append(None if size < 0 else data[position : position + size])
            position += max(0, size)
        rows.append(row)
    return rows


def parse_text(data: bytes) -> list[list[bytes | None]]:
    """The manual's text COPY form, read back."""
    unescape = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"\\": b"\\"}

    def value(field: bytes) -> bytes | None:
        if field == rb"\N":
            return None
        parts = field.split(b"\\")
        out, rest = parts[0], iter(parts[1:])
        for part in rest:
            # An empty part is an escaped backslash; the next part follows it as it is.
            out += b"\\" + next(rest, b"") if part == b"" else unescape[part[:1]] + part[1:]
        return out

    return [[value(field) for field in line.split(b"\t")] for line in data.split(b"\n")[:-1]]


BINARY_ROWS = st.lists(st.lists(st.one_of(st.none(), VALUES), min_size=2, max_size=2), max_size=5)


def pack(rows: list[list[bytes | None]], kind: bytes) -> list[bytes]:
    return [join_cells([b"n" if v is None else kind + len(v).to_bytes(4, "big") + v for v in row]) for row in rows]


@given(BINARY_ROWS, BINARY_ROWS)
def test_binary_copy_holds_the_values(first, second):
    encoder = RowEncoder(2, is_binary=True)
    data = b"".join(encoder.pieces([(5, pack(first, b"b")), (6, pack(second, b"b"))]))
    expected = [[(5).to_bytes(4, "big"), *row] for row in first] + [[(6).to_bytes(4, "big"), *row] for row in second]
    assert parse_binary(data) == expected


# Rows of few sizes, whose values look like columns and like places in a template.
SIMILAR_ROWS = st.lists(
    st.lists(
        st.one_of(st.none(), st.lists(st.sampled_from([b"b\0\0\0\1", b"n", b"%b", b"%"]), max_size=3).map(b"".join)),
        min_size=3,
        max_size=3,
    ),
    max_size=20,
)


@given(SIMILAR_ROWS, st.sampled_from([0, 37, 0x25622562]))
def test_binary_copy_tells_rows_of_the_same_size_apart(rows, mark):
    encoder = RowEncoder(3, is_binary=True)
    assert parse_binary(b"".join(encoder.pieces([(None, pack(rows, b"b"))]))) == rows
    marked = b"".join(encoder.pieces([(mark, pack(rows, b"b"))]))
    assert parse_binary(marked) == [[mark.to_bytes(4, "big"), *row] for row in rows]


@given(BINARY_ROWS)
def test_text_copy_holds_the_values(rows):
    data = b"".join(RowEncoder(2, is_binary=False).pieces([(None, pack(rows, b"t"))]))
    assert parse_text(data) == rows
    marked = b"".join(RowEncoder(2, is_binary=False).pieces([(12, pack(rows, b"t"))]))
    assert parse_text(marked) == [[b"12", *row] for row in rows]


@pytest.mark.parametrize("size", [PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 5])
def test_large_rows_are_copied_in_small_pieces(size):
    value = ((b"\\x\t\n\r" + b"y" * 50_000) * 20)[:size]
    rows: list[list[bytes | None]] = [[b"1", b"x"], [value, None], [None, value], [value, b""], [b"2", None]]
    for kind, parse, mark in ((b"b", parse_binary, (7).to_bytes(4, "big")), (b"t", parse_text, b"7")):
        encoder = RowEncoder(2, is_binary=kind == b"b")
        pieces = list(encoder.pieces([(7, pack(rows, kind)), (None, [])]))
        assert parse(b"".join(pieces)) == [[mark, *row] for row in rows]
        # Escaped, a byte is two.
        assert max(map(len, pieces)) <= 2 * PIECE_BYTES + 100


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_positions_survive_their_text(left, right):
    assert Lsn.parse(str(Lsn(left))) == left
    assert Lsn(left).covers(Lsn(right)) == (left >= right)


@given(st.lists(CELL, min_size=1, max_size=5))
def test_values_are_found_in_cells(cells):
    for cell in cells:
        expected = None if cell in (b"n", b"u") else cell[5:]
        assert value_of(cell) == expected

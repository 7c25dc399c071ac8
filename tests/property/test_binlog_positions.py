"""Positions of MySQL and MariaDB against plain sets of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.adapters.mysql.gtid import (
    BinlogOffset,
    BinlogPosition,
    GtidSet,
    HeldPosition,
    MariadbGtids,
    parse_position,
)

UUIDS = ("3e11fa47-71ca-11e1-9e33-c80aa9429562", "00000000-0000-0000-0000-00000000000a")
sources = st.sampled_from([UUIDS[0], UUIDS[1], f"{UUIDS[0]}:a_tag", f"{UUIDS[1]}:b"])
numbers = st.integers(min_value=1, max_value=40)
plain_sets = st.sets(st.tuples(sources, numbers), max_size=60)


def build(plain: set[tuple[str, int]]) -> GtidSet:
    built = GtidSet()
    for source, number in plain:
        built = built.with_gtid(source, number)
    return built


gtid_sets = plain_sets.map(build)
mariadb_positions = st.dictionaries(
    st.integers(0, 3), st.tuples(st.integers(1, 3), st.integers(1, 2**63)), max_size=3
).map(MariadbGtids)
offsets = st.builds(
    lambda number, offset: BinlogOffset(f"binlog.{number:06d}", offset),
    st.integers(1, 2_000_000),
    st.integers(4, 2**33),
)
simple_positions = st.one_of(gtid_sets, mariadb_positions, offsets)
positions = st.one_of(simple_positions, st.builds(HeldPosition, simple_positions, simple_positions))


@given(plain_sets, plain_sets)
def test_gtid_set_covers_what_it_contains(one: set[tuple[str, int]], other: set[tuple[str, int]]) -> None:
    assert build(one).covers(build(other)) == (one >= other)


@given(plain_sets, plain_sets)
def test_gtid_arithmetic_is_that_of_sets(one: set[tuple[str, int]], other: set[tuple[str, int]]) -> None:
    assert build(one).union(build(other)) == build(one | other)
    assert build(one).without(build(other)) == build(one - other)


@given(positions)
def test_text_form_of_a_position_is_read_back(position: BinlogPosition) -> None:
    again = parse_position(str(position))
    assert again == position
    assert str(again) == str(position)


@given(positions)
def test_position_covers_itself(position: BinlogPosition) -> None:
    assert position.covers(position)


@given(simple_positions, simple_positions)
def test_kinds_of_positions_do_not_cover_each_other(one: BinlogPosition, other: BinlogPosition) -> None:
    if type(one) is not type(other):
        assert not one.covers(other)


@given(simple_positions, simple_positions, simple_positions)
def test_held_position_covers_what_was_reached(
    reached: BinlogPosition, resume: BinlogPosition, other: BinlogPosition
) -> None:
    held = HeldPosition(reached, resume)
    assert held.covers(other) == reached.covers(other)
    assert other.covers(held) == other.covers(reached)


@given(offsets, offsets)
def test_offsets_are_ordered_by_file_number_then_byte(one: BinlogOffset, other: BinlogOffset) -> None:
    def place(offset: BinlogOffset) -> tuple[int, int]:
        return int(offset.file.split(".")[1]), offset.offset

    assert one.covers(other) == (place(one) >= place(other))


@given(mariadb_positions, st.integers(0, 3), st.integers(1, 2**63 - 1))
def test_mariadb_position_covers_up_to_the_last_number_of_each_domain(
    position: MariadbGtids, domain: int, number: int
) -> None:
    moved = position.with_gtid(domain, 7, number)
    assert moved.covers(MariadbGtids({domain: (9, number)}))
    assert not moved.covers(MariadbGtids({domain: (7, number + 1)}))


def test_servers_text_is_read_with_white_space_and_capitals() -> None:
    text = f" {UUIDS[0].upper()}:1-5:\n7 , {UUIDS[1]}:b:3-4:TAG2:9"
    assert GtidSet.parse(text).render() == f"{UUIDS[1]}:b:3-4,{UUIDS[1]}:tag2:9,{UUIDS[0]}:1-5:7"


def test_set_without_tags_is_encoded_in_the_form_that_older_servers_know() -> None:
    encoded = GtidSet.parse(f"{UUIDS[1]}:1-5:7").encode()
    words = [int.from_bytes(encoded[start : start + 8], "little") for start in range(24, len(encoded), 8)]
    assert encoded[:8] == b"\1" + bytes(7)
    assert words == [2, 1, 6, 7, 8]


@pytest.mark.parametrize("text", ["", "x", "0-1", f"{UUIDS[0]}", f"{UUIDS[0]}:0", "binlog:4", "0-1-2,0-1-3"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_position(text)

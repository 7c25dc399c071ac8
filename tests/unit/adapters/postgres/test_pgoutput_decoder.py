"""Every message of the grammar, and what the decoder hands on."""

from __future__ import annotations

import pytest

from tests.property import pgoutput as wire
from tests.property.pgoutput import EPOCH_US, Recorder
from tests.property.rows import make_row
from towline.adapters.postgres.pgoutput_decoder import PgoutputDecoder
from towline.domain.changes import DELETE, INSERT, TRUNCATE, UPDATE, Relation
from towline.domain.errors import InvariantBroken

COLUMNS = [("id", 23, True), ("note", 25, False)]
TABLE = wire.relation(16400, "shop", "orders", COLUMNS)
ONE, TWO = make_row("1", "x"), make_row("2", None)
OLD = make_row("1", None)


def decode(*frames: bytes, part_bytes: int = 1 << 30, portion: int = 1000) -> Recorder:
    recorder = Recorder()
    decoder = PgoutputDecoder(recorder, part_bytes=part_bytes)
    for start in range(0, len(frames), portion):
        decoder.feed(frames[start : start + portion])
    return recorder


@pytest.mark.parametrize("portion", [1, 2, 1000])
def test_transaction_is_handed_on_at_its_commit(portion):
    recorder = decode(
        wire.begin(100),
        TABLE,
        wire.insert(16400, ONE),
        wire.update(16400, TWO),
        wire.update(16400, TWO, old=OLD),
        wire.update(16400, TWO, old=ONE, kind=b"O"),
        wire.delete(16400, OLD),
        wire.commit(100, 148, EPOCH_US + 5),
        portion=portion,
    )
    name = "shop.orders"
    assert recorder.calls == [
        (
            "transaction",
            [
                (INSERT, name, ONE, None),
                (UPDATE, name, TWO, None),
                (UPDATE, name, TWO, OLD),
                (UPDATE, name, TWO, ONE),
                (DELETE, name, None, OLD),
            ],
            148,
            EPOCH_US + 5,
        )
    ]


def test_truncate_names_each_table_and_its_flags():
    other = wire.relation(16401, "", "class", COLUMNS)
    recorder = decode(wire.begin(1), TABLE, other, wire.truncate([16400, 16401], 3), wire.commit(1, 2))
    assert recorder.calls[0][1] == [
        (TRUNCATE, "shop.orders", b"\x03", None),
        (TRUNCATE, "pg_catalog.class", b"\x03", None),
    ]


def test_messages_without_changes_are_passed_over():
    recorder = decode(
        wire.begin(1), wire.origin("n"), wire.type_message(), TABLE, wire.logical_message(), wire.commit(1, 2)
    )
    assert recorder.calls == [("transaction", [], 2, EPOCH_US)]


def test_transaction_larger_than_a_part_passes_in_parts():
    frames = [wire.begin(100), TABLE, *[wire.insert(16400, ONE) for _ in range(7)], wire.commit(100, 148)]
    recorder = decode(*frames, part_bytes=3 * 260)
    kinds = [call[0] for call in recorder.calls]
    assert kinds == ["part", "part", "transaction"]
    assert sum(len(call[1]) for call in recorder.calls) == 7
    # A part's position lies inside the commit.
    assert [call[2] for call in recorder.calls] == [101, 101, 148]


def test_streamed_changes_name_their_subtransaction():
    recorder = decode(
        wire.stream_start(9, is_first=True),
        wire.relation(16400, "shop", "orders", COLUMNS, xid=9),
        wire.insert(16400, ONE, xid=9),
        wire.type_message(xid=10),
        wire.insert(16400, TWO, xid=10),
        wire.delete(16400, OLD, xid=10),
        wire.stream_stop(),
        wire.begin(50),
        wire.insert(16400, ONE),
        wire.commit(50, 60),
        wire.stream_start(9, is_first=False),
        wire.truncate([16400], 0, xid=9),
        wire.update(16400, TWO, old=OLD, xid=9),
        wire.logical_message(xid=9),
        wire.stream_stop(),
        wire.stream_abort(9, 10),
        wire.stream_commit(9, 70, 80, EPOCH_US + 1),
    )
    name = "shop.orders"
    assert recorder.calls == [
        ("streamed", 9, 9, [(INSERT, name, ONE, None)]),
        ("streamed", 9, 10, [(INSERT, name, TWO, None), (DELETE, name, None, OLD)]),
        ("transaction", [(INSERT, name, ONE, None)], 60, EPOCH_US),
        ("streamed", 9, 9, [(TRUNCATE, name, b"\0", None), (UPDATE, name, TWO, OLD)]),
        ("abort", 9, 10),
        ("commit", 9, 80, EPOCH_US + 1),
    ]


class RelationRecorder(Recorder):
    """Keeps the relation of every change."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Relation] = []

    def transaction(self, changes, *rest):
        self.seen.extend(change[1] for change in changes)


def test_repeated_relation_of_the_same_form_is_the_same_relation():
    recorder = RelationRecorder()
    seen = recorder.seen
    altered = wire.relation(16400, "shop", "orders", [*COLUMNS, ("extra", 25, False)])
    PgoutputDecoder(recorder, part_bytes=1 << 20).feed(
        [
            wire.begin(1),
            TABLE,
            wire.insert(16400, ONE),
            TABLE,
            wire.insert(16400, ONE),
            altered,
            wire.insert(16400, ONE),
            wire.commit(1, 2),
        ]
    )
    assert seen[0] is seen[1]
    assert seen[2] is not seen[0]
    assert seen[2].columns == ("id", "note", "extra")
    assert seen[0].key == (0,)


def test_full_identity_without_a_known_key_identifies_no_row():
    recorder = RelationRecorder()
    seen = recorder.seen
    every = [(name, type_id, True) for name, type_id, _ in COLUMNS]
    PgoutputDecoder(recorder, part_bytes=1 << 20).feed(
        [
            wire.begin(1),
            wire.relation(16400, "shop", "orders", every, identity="f"),
            wire.insert(16400, ONE),
            wire.commit(1, 2),
        ]
    )
    assert seen[0].key == ()


@pytest.mark.parametrize(
    "broken",
    [
        wire.frame(b""),
        wire.frame(b"?rest"),
        wire.frame(b"I\0\0"),
        wire.insert(99, ONE),
        wire.frame(b"C\0"),
        wire.frame(b"R\0\0\0\1no end"),
        wire.frame(b"U" + (16400).to_bytes(4, "big") + b"K" + OLD),
        wire.frame(b"U" + (16400).to_bytes(4, "big") + b"X" + OLD),
    ],
)
def test_what_is_not_of_the_grammar_is_said_to_be_so(broken):
    with pytest.raises(InvariantBroken):
        decode(wire.begin(1), TABLE, broken)

"""The relay: batches of whole transactions, bounded, and large ones in parts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.property.rows import make_row
from towline.adapters.mysql.gtid import BinlogPosition, GtidSet, MariadbGtids
from towline.adapters.postgres.lsn import Lsn
from towline.domain.changes import CHANGE_OVERHEAD_BYTES, INSERT, Relation, RowChange
from towline.domain.errors import SetupError
from towline.domain.tables import TableName
from towline.engine.batch import Batch
from towline.engine.relay import Relay, RelayClosed, payload_bytes
from towline.engine.spill import Spill

SOURCE = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
TABLE = Relation(TableName("s", "t"), ("id",), (23,), (0,))
OTHER = Relation(TableName("s", "o"), ("id",), (23,), ())


def change(number: int, relation: Relation = TABLE) -> RowChange:
    return (INSERT, relation, make_row(str(number)), None)


@pytest.fixture
def spill(tmp_path: Path) -> Spill:
    return Spill(tmp_path / "spill", memory_bytes=1 << 20)


@pytest.fixture
def relay(spill: Spill) -> Relay:
    return Relay(Lsn(10), spill, capacity_bytes=10_000, batch_bytes=2_000)


def rows_of(batches: list[Batch]) -> list[bytes | None]:
    return [new for batch in batches for _, _, new, _ in batch.changes]


async def test_takes_all_whole_transactions_that_are_there(relay):
    for number in (11, 12, 13):
        relay.transaction([change(number)], Lsn(number), number * 1000, 300)
    batch = await relay.take()
    assert (batch.transactions, batch.position, batch.source_time_us) == (3, 13, 13_000)
    assert batch.is_complete
    assert rows_of([batch]) == [make_row("11"), make_row("12"), make_row("13")]


async def test_take_waits_for_the_first_transaction(relay):
    taking = asyncio.create_task(relay.take())
    await asyncio.sleep(0)
    assert not taking.done()
    relay.transaction([change(11)], Lsn(11), 1, 300)
    assert (await taking).transactions == 1


async def test_i5_transactions_before_the_checkpoint_are_dropped(relay):
    relay.transaction([change(9)], Lsn(9), 1, 300)
    relay.part([change(10)], Lsn(10), 300)
    relay.transaction([change(10)], Lsn(10), 1, 300)
    relay.transaction([change(11)], Lsn(11), 1, 300)
    assert rows_of([await relay.take()]) == [make_row("11")]


async def test_a_full_batch_is_followed_by_another(relay):
    for number in range(11, 31):
        relay.transaction([change(number)], Lsn(number), number, 300)
    batches = [await relay.take(), await relay.take(), await relay.take()]
    assert [batch.transactions for batch in batches] == [7, 7, 6]
    assert len(rows_of(batches)) == 20


async def test_is_full_until_the_applier_is_done(relay):
    for number in range(11, 51):
        relay.transaction([change(number)], Lsn(number), number, 300)
    assert relay.is_full
    room = asyncio.create_task(relay.wait_room())
    taken = [await relay.take(), await relay.take()]
    await asyncio.sleep(0)
    assert not room.done(), "a batch that is being applied still takes memory"
    for batch in taken:
        relay.done(batch)
    await asyncio.wait_for(room, 1)
    assert not relay.is_full


async def test_i2_a_transaction_in_parts_is_complete_with_its_last(relay):
    relay.transaction([change(11)], Lsn(11), 1, 300)
    relay.part([change(20)], Lsn(20), 2_000)
    relay.part([change(21)], Lsn(20), 2_000)
    relay.marker(Lsn(12))  # the source says so while it sends the transaction
    relay.transaction([change(22)], Lsn(22), 5, 300)
    relay.transaction([change(30)], Lsn(30), 6, 300)
    batches = [await relay.take() for _ in range(5)]
    assert [batch.is_complete for batch in batches] == [True, False, False, True, True]
    assert [batch.position for batch in batches] == [11, None, None, 22, 30]
    assert [batch.transactions for batch in batches] == [1, 0, 0, 1, 1]


async def test_streamed_transaction_keeps_its_place_in_commit_order(relay):
    relay.streamed(5, 5, [change(1)], 300)
    relay.transaction([change(11)], Lsn(11), 1, 300)
    relay.streamed(5, 6, [change(2)], 300)
    relay.commit_streamed(5, Lsn(20), 7)
    relay.transaction([change(30)], Lsn(30), 8, 300)
    batches = [await relay.take() for _ in range(3)]
    assert rows_of(batches) == [make_row("11"), make_row("1"), make_row("2"), make_row("30")]
    assert batches[1].source_time_us == 7


async def test_large_streamed_transaction_passes_in_parts(relay):
    for number in range(100):
        relay.streamed(5, 5, [change(number)], 300)
    relay.commit_streamed(5, Lsn(20), 7)
    batches = [await relay.take()]
    while not batches[-1].is_complete:
        assert relay.held_bytes <= 2_300
        relay.done(batches[-1])
        batches.append(await relay.take())
    assert len(batches) > 10
    assert rows_of(batches) == [make_row(str(number)) for number in range(100)]
    assert [batch.transactions for batch in batches] == [0] * (len(batches) - 1) + [1]


async def test_a_full_part_is_handed_out_before_the_next_one_is_read(relay):
    for number in range(3):
        relay.streamed(5, 5, [change(number)], 5_000)
    relay.commit_streamed(5, Lsn(20), 7)
    for number in range(3):
        part = await relay.take()
        assert (rows_of([part]), part.is_complete) == ([make_row(str(number))], False)
        assert relay.held_bytes == 5_000
        relay.done(part)
    last = await relay.take()
    assert (last.changes, last.transactions, last.is_complete, last.position) == ([], 1, True, 20)


async def test_rolled_back_streamed_transaction_leaves_nothing(relay):
    relay.streamed(5, 5, [change(1)], 300)
    relay.streamed(6, 6, [change(2)], 300)
    relay.streamed(6, 7, [change(3)], 300)
    relay.abort_streamed(5, 5)
    relay.abort_streamed(6, 7)
    relay.commit_streamed(6, Lsn(20), 7)
    assert rows_of([await relay.take()]) == [make_row("2")]


async def test_streamed_transaction_whose_changes_were_all_rolled_back_still_moves_on(relay):
    relay.streamed(6, 7, [change(3)], 300)
    relay.abort_streamed(6, 7)
    relay.commit_streamed(6, Lsn(20), 7)
    batch = await relay.take()
    assert (batch.transactions, batch.position, batch.changes) == (1, 20, [])


async def test_marker_moves_an_idle_stream_on(relay):
    relay.marker(Lsn(5))
    relay.marker(Lsn(40))
    batch = await relay.take()
    assert (batch.transactions, batch.position) == (0, 40)


async def test_marker_follows_the_transactions_before_it(relay):
    relay.transaction([change(11)], Lsn(11), 1, 300)
    relay.marker(Lsn(40))
    batch = await relay.take()
    assert (batch.transactions, batch.position, batch.source_time_us) == (1, 40, 1)


async def test_i5_tolerant_and_strict_transactions_never_share_a_batch(spill):
    relay = Relay(Lsn(0), spill, capacity_bytes=10_000, batch_bytes=5_000, tolerant_until=Lsn(12))
    for number in (11, 12, 13):
        relay.transaction([change(number)], Lsn(number), number, 300)
    batches = [await relay.take(), await relay.take()]
    assert [(batch.is_tolerant, batch.transactions) for batch in batches] == [(True, 2), (False, 1)]


async def test_i4_changes_that_the_snapshot_of_their_table_holds_are_left_out(spill):
    relay = Relay(Lsn(0), spill, capacity_bytes=10_000, batch_bytes=5_000, table_floors={OTHER.table: Lsn(12)})
    for number in (11, 12, 13):
        changes = [change(number), change(number, OTHER)]
        relay.transaction(changes, Lsn(number), number, 300)
    batch = await relay.take()
    assert [new for _, relation, new, _ in batch.changes if relation is TABLE] == [
        make_row("11"),
        make_row("12"),
        make_row("13"),
    ]
    assert [new for _, relation, new, _ in batch.changes if relation is OTHER] == [make_row("13")]


async def test_i4_what_the_snapshot_holds_is_left_out_however_late_the_spill_is_read(spill):
    relay = Relay(Lsn(0), spill, capacity_bytes=10_000, batch_bytes=5_000, table_floors={OTHER.table: Lsn(12)})
    relay.streamed(5, 5, [change(1), change(1, OTHER)], 300)
    relay.commit_streamed(5, Lsn(11), 11)
    # Read long before the applier takes the one before it; this one lies beyond the floor.
    relay.transaction([change(13, OTHER)], Lsn(13), 13, 300)
    batches = [await relay.take(), await relay.take()]
    assert [(relation, new) for batch in batches for _, relation, new, _ in batch.changes] == [
        (TABLE, make_row("1")),
        (OTHER, make_row("13")),
    ]


async def test_changes_of_tables_that_left_are_left_out(spill):
    relay = Relay(Lsn(0), spill, capacity_bytes=10_000, batch_bytes=5_000, only=frozenset({TABLE.table}))
    relay.transaction([change(11), change(11, OTHER)], Lsn(11), 11, 300)
    relay.transaction([change(12, OTHER)], Lsn(12), 12, 300)
    batch = await relay.take()
    assert [relation for _, relation, _, _ in batch.changes] == [TABLE]
    assert (batch.transactions, batch.position) == (2, Lsn(12)), "the position moves on"


@pytest.mark.parametrize(
    ("base", "snapshot", "order"),
    [
        # Of parallel replicas one commits 9 before 8, and the snapshot was taken on another.
        (GtidSet.parse(f"{SOURCE}:1-5"), GtidSet.parse(f"{SOURCE}:1-8"), [(6, 0), (7, 0), (9, 0), (8, 0)]),
        (MariadbGtids.parse("0-1-5,1-1-5"), MariadbGtids.parse("0-1-7,1-1-6"), [(6, 0), (7, 0), (8, 0), (6, 1)]),
    ],
)
@pytest.mark.parametrize("is_tolerant", [True, False])
async def test_i4_another_order_of_commits_than_the_snapshots_stops(
    spill: Spill, base: BinlogPosition, snapshot: BinlogPosition, order: list[tuple[int, int]], is_tolerant: bool
) -> None:
    limits: dict[str, Any] = {"tolerant_until": snapshot} if is_tolerant else {"table_floors": {OTHER.table: snapshot}}
    relay = Relay(base, spill, capacity_bytes=10_000, batch_bytes=5_000, **limits)
    position = base
    for number, domain in order[:2]:
        position = following(position, number, domain)
        relay.transaction([change(number, OTHER)], position, number, 300)
    with pytest.raises(SetupError, match="another order of commits"):
        relay.transaction([change(9, OTHER)], following(position, *order[2]), 9, 300)
    assert len((await relay.take()).changes) == (2 if is_tolerant else 0)
    # On the server that the snapshot was taken on, all of it comes before.
    relay = Relay(base, spill, capacity_bytes=10_000, batch_bytes=5_000, **limits)
    position = base
    for number, domain in (*order[:2], order[3], order[2]):
        position = following(position, number, domain)
        relay.transaction([change(number, OTHER)], position, number, 300)
    first = await relay.take()
    assert len(first.changes) == (3 if is_tolerant else 1)


def following(position: BinlogPosition, number: int, domain: int) -> BinlogPosition:
    if isinstance(position, GtidSet):
        return position.with_gtid(SOURCE, number)
    assert isinstance(position, MariadbGtids)
    return position.with_gtid(domain, 1, number)


async def test_closed_relay_hands_out_nothing(relay):
    taking = asyncio.create_task(relay.take())
    await asyncio.sleep(0)
    relay.close()
    with pytest.raises(RelayClosed):
        await taking
    relay.transaction([change(11)], Lsn(11), 1, 300)
    with pytest.raises(RelayClosed):
        await relay.take()


async def test_ripe_when_a_batch_is_full_or_the_source_has_no_more(relay):
    relay.transaction([change(11)], Lsn(11), 1, 300)
    ripening = asyncio.create_task(relay.wait_ripe(60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not ripening.done()
    relay.marker(Lsn(12))
    await asyncio.wait_for(ripening, 1)


async def test_payload_leaves_our_own_overheads_out(relay):
    relay.transaction([change(11)], Lsn(11), 1, 40 + CHANGE_OVERHEAD_BYTES)
    assert payload_bytes(await relay.take()) == 40

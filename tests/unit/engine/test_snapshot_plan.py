"""What is read under a later snapshot, decided without any server."""

from __future__ import annotations

from dataclasses import replace

from towline.domain.tables import Table, TableName
from towline.engine.chunking import chunk_bytes, plan_groups
from towline.engine.ports import Chunk, ChunkDone, CopyFacts, SnapshotFact, TablePlan
from towline.engine.snapshot import choose_floors, choose_mixed, choose_replay, plan_copy

KEYED = Table(TableName("public", "keyed"), 1, (), ("id",), "d", 30, 30 * 8192, 100, "10")
KEYLESS = Table(TableName("public", "keyless"), 2, (), (), "f", 30, 30 * 8192, 100, "20")
SNAPSHOTS = (
    SnapshotFact(1, "0/10", "5:5:"),
    SnapshotFact(2, "0/20", "9:9:"),
    SnapshotFact(3, "0/30", "12:12:"),
)


def plans(*tables: Table) -> dict[TableName, TablePlan]:
    return {t.name: TablePlan(t.name, 30, 10, t.size_bytes, 100, t.storage_id) for t in tables}


def done(table: Table, number: int, snapshot: int, kind: str = "pages") -> ChunkDone:
    end = None if number == 2 else number * 10 + 10
    return ChunkDone(Chunk(table.name, number, number * 10, end, kind), snapshot, 5, 50)


def facts(ledger: list[ChunkDone], snapshots: tuple[SnapshotFact, ...]) -> CopyFacts:
    return CopyFacts(snapshots, (), tuple(ledger), is_planned=True, is_copied=True, is_complete=False)


def test_first_snapshot_reads_every_chunk() -> None:
    plan = plan_copy([KEYED], plans(KEYED), [], SNAPSHOTS[:1], current=1, can_replay=True)
    assert [chunk.number for _, chunk in plan.work] == [0, 1, 2]
    assert not plan.changed_since
    assert not plan.start_over


def test_finished_chunk_is_not_read_again_and_changed_rows_come_first() -> None:
    plan = plan_copy([KEYED], plans(KEYED), [done(KEYED, 1, 1)], SNAPSHOTS[:2], current=2, can_replay=True)
    assert [(chunk.kind, chunk.number) for _, chunk in plan.work] == [
        ("changed", 2),
        ("pages", 0),
        ("pages", 2),
    ]
    assert plan.changed_since == {KEYED.name: SNAPSHOTS[0]}


def test_each_later_snapshot_reads_changed_rows_once_more() -> None:
    ledger = [done(KEYED, 1, 1), done(KEYED, 2, 2, "changed"), done(KEYED, 0, 2)]
    plan = plan_copy([KEYED], plans(KEYED), ledger, SNAPSHOTS, current=3, can_replay=True)
    assert [(chunk.kind, chunk.number) for _, chunk in plan.work] == [("changed", 3), ("pages", 2)]
    assert plan.changed_since == {KEYED.name: SNAPSHOTS[0]}


def test_table_complete_under_an_earlier_snapshot_is_left_alone() -> None:
    ledger = [done(KEYED, n, 1) for n in range(3)]
    plan = plan_copy([KEYED], plans(KEYED), ledger, SNAPSHOTS[:2], current=2, can_replay=True)
    assert plan.work == ()
    assert plan.start_over == ()


def test_table_without_a_key_starts_over() -> None:
    plan = plan_copy([KEYLESS], plans(KEYLESS), [done(KEYLESS, 0, 1)], SNAPSHOTS[:2], current=2, can_replay=True)
    assert plan.start_over == (KEYLESS.name,)
    assert plan.work == ()


def test_partitions_that_are_one_table_on_the_target_start_over_together() -> None:
    home = TableName("public", "whole")
    rewritten = replace(KEYED, storage_id="11", home=home)
    sibling = replace(KEYED, name=TableName("public", "sibling"), home=home)
    other = replace(KEYED, name=TableName("public", "other"))
    tables = [rewritten, sibling, other]
    planned = plans(KEYED, sibling, other)
    ledger = [done(KEYED, 0, 1), done(sibling, 0, 1)]
    plan = plan_copy(tables, planned, ledger, SNAPSHOTS[:2], current=2, can_replay=True)
    assert plan.start_over == (KEYED.name, sibling.name)
    assert {table.name for table, _ in plan.work} == {other.name}
    assert not plan.changed_since


def test_rewritten_table_starts_over() -> None:
    moved = replace(KEYED, storage_id="11")
    plan = plan_copy([moved], plans(KEYED), [done(KEYED, 0, 1)], SNAPSHOTS[:2], current=2, can_replay=True)
    assert plan.start_over == (KEYED.name,)


def test_without_a_stream_and_with_writes_everything_starts_over() -> None:
    ledger = [done(KEYED, n, 1) for n in range(3)]
    plan = plan_copy([KEYED], plans(KEYED), ledger, SNAPSHOTS[:2], current=2, can_replay=False)
    assert plan.start_over == (KEYED.name,)


def test_floor_of_a_table_is_the_oldest_snapshot_of_its_chunks() -> None:
    ledger = [done(KEYLESS, n, 2) for n in range(3)] + [done(KEYED, 0, 1), done(KEYED, 1, 2)]
    assert choose_floors(facts(ledger, SNAPSHOTS[:2])) == {KEYLESS.name: "0/20", KEYED.name: "0/10"}
    assert choose_mixed(facts(ledger, SNAPSHOTS[:2])) == {KEYED.name}


def test_unlogged_table_starts_over_because_no_stream_repairs_it() -> None:
    unlogged = replace(KEYED, is_logged=False)
    plan = plan_copy([unlogged], plans(unlogged), [done(unlogged, 0, 1)], SNAPSHOTS[:2], current=2, can_replay=True)
    assert plan.start_over == (unlogged.name,)


def test_stream_is_strict_when_all_chunks_come_from_one_snapshot() -> None:
    ledger = [done(KEYED, n, 2) for n in range(3)]
    assert choose_replay(facts(ledger, SNAPSHOTS)) == ("0/20", "0/20")


def test_stream_replays_from_the_oldest_to_the_newest_snapshot_used() -> None:
    ledger = [done(KEYED, 0, 2), done(KEYED, 1, 3)]
    assert choose_replay(facts(ledger, SNAPSHOTS)) == ("0/20", "0/30")


def test_stream_of_a_database_without_tables_begins_at_the_last_snapshot() -> None:
    assert choose_replay(facts([], SNAPSHOTS[:1])) == ("0/10", "0/10")


def test_parts_of_a_key_weigh_alike_and_each_is_a_transaction_of_its_own() -> None:
    size_bytes = 80 * 1024 * 1024
    by_key = Table(TableName("d", "t"), 0, (), ("id",), "f", 1, size_bytes, 100, "1", has_pages=False)
    cut = TablePlan(by_key.name, 8, 1, size_bytes, 100, "1", tuple(f'["{bound}"]' for bound in range(7)))
    work = plan_copy([by_key], {by_key.name: cut}, [], SNAPSHOTS[:1], current=1, can_replay=True).work
    assert {chunk_bytes(table, chunk) for table, chunk in work} == {size_bytes // 8}
    assert [len(group) for group in plan_groups(work)] == [1] * 8
    # In an order in which the first few stand for all.
    assert [chunk.number for _, chunk in work] == [0, 4, 2, 6, 1, 5, 3, 7]

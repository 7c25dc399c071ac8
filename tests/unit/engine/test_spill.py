"""Transactions in progress: what is kept, where, and what is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.property.rows import make_row
from towline.domain.changes import DELETE, INSERT, TRUNCATE, UPDATE, Relation, RowChange
from towline.domain.errors import SpillFailed
from towline.domain.tables import TableName
from towline.engine.spill import SUFFIX, Spill

TABLE = Relation(TableName("s", "t"), ("id", "v"), (23, 25), (0,))
OTHER = Relation(TableName("s", "o"), ("id", "v"), (23, 25), ())
CHANGES: list[RowChange] = [
    (INSERT, TABLE, make_row("1", "a"), None),
    (UPDATE, OTHER, make_row("1", "b"), make_row("1", None)),
    (DELETE, TABLE, None, make_row("1", None)),
    (TRUNCATE, OTHER, b"\x01", None),
    (INSERT, TABLE, b"\0\0", None),
]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_small_transactions_stay_in_memory(tmp_path):
    spill = Spill(tmp_path, memory_bytes=10_000)
    spill.add(1, 1, CHANGES, 500)
    assert files(tmp_path) == []
    assert list(spill.take(1, part_bytes=1_000)) == [(CHANGES, 500)]
    assert list(spill.take(1, part_bytes=1_000)) == []


def test_changes_come_back_from_a_file_as_they_were(tmp_path):
    spill = Spill(tmp_path, memory_bytes=100)
    spill.add(1, 1, CHANGES, 500)
    spill.add(1, 2, CHANGES[:1], 50)
    assert len(files(tmp_path)) == 1
    parts = list(spill.take(1, part_bytes=1 << 20))
    assert [change for changes, _ in parts for change in changes] == [*CHANGES, CHANGES[0]]
    assert files(tmp_path) == []


def test_parts_are_no_larger_than_asked(tmp_path):
    spill = Spill(tmp_path, memory_bytes=0)
    for _ in range(50):
        spill.add(1, 1, CHANGES[:1], 300)
    parts = list(spill.take(1, part_bytes=1_000))
    assert len(parts) > 10
    assert sum(len(changes) for changes, _ in parts) == 50
    assert max(size for _, size in parts) < 1_300


def test_the_largest_transaction_goes_to_disk_first(tmp_path):
    spill = Spill(tmp_path, memory_bytes=1_000)
    spill.add(1, 1, CHANGES[:1], 300)
    spill.add(2, 2, CHANGES, 900)
    assert len(files(tmp_path)) == 1
    # The small one is untouched: it comes back as the list that was given.
    assert next(spill.take(1, part_bytes=1))[0] == CHANGES[:1]
    assert len(files(tmp_path)) == 1
    spill.clear()


def test_rolled_back_subtransactions_are_left_out(tmp_path):
    for memory_bytes in (0, 10_000):
        spill = Spill(tmp_path, memory_bytes=memory_bytes)
        spill.add(1, 1, CHANGES[:1], 300)
        spill.add(1, 2, CHANGES[1:2], 300)
        spill.add(1, 3, CHANGES[2:3], 300)
        spill.abort(1, 2)
        spill.add(1, 1, CHANGES[3:4], 300)
        (part,) = spill.take(1, part_bytes=1 << 20)
        assert part[0] == [CHANGES[0], CHANGES[2], CHANGES[3]]


def test_rolled_back_transactions_leave_no_file(tmp_path):
    spill = Spill(tmp_path, memory_bytes=0)
    spill.add(1, 1, CHANGES, 300)
    spill.add(1, 2, CHANGES, 300)
    spill.abort(1, 1)
    spill.abort(99, 99)
    assert files(tmp_path) == []
    assert list(spill.take(1, part_bytes=1)) == []


def test_files_of_a_crashed_run_are_removed_and_others_are_not(tmp_path):
    (tmp_path / f"17{SUFFIX}").write_bytes(b"left over")
    (tmp_path / "notes.txt").write_text("mine")
    spill = Spill(tmp_path, memory_bytes=0)
    assert files(tmp_path) == ["notes.txt"]
    spill.add(1, 1, CHANGES, 300)
    spill.clear()
    assert files(tmp_path) == ["notes.txt"]


def test_reading_that_is_broken_off_leaves_no_file(tmp_path):
    spill = Spill(tmp_path, memory_bytes=0)
    spill.add(1, 1, CHANGES * 10, 300)
    reading = spill.take(1, part_bytes=1)
    next(reading)
    reading.close()  # type: ignore[attr-defined]  # a generator
    assert files(tmp_path) == []


def test_folder_that_cannot_be_made_is_a_named_failure(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SpillFailed, match="cannot be kept in"):
        Spill(tmp_path / "taken", memory_bytes=100)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("count", [1, 10_000], ids=["when read back", "when written"])
def test_full_disk_is_a_named_failure_and_leaves_nothing_behind(tmp_path, count):
    spill = Spill(tmp_path, memory_bytes=100)
    (tmp_path / f"1{SUFFIX}").symlink_to("/dev/full")
    with pytest.raises(SpillFailed, match="No space left on device"):
        spill.add(1, 1, CHANGES * count, 500)
        list(spill.take(1, part_bytes=1 << 20))
    spill.clear()
    assert files(tmp_path) == []

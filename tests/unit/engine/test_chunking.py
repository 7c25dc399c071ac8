"""Chunks cover a table exactly once, and groups hold every chunk exactly once."""

from __future__ import annotations

from collections import Counter, deque
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.domain.tables import Table, TableName
from towline.engine.chunking import Work, WorkQueue, choose_chunk_pages, chunk_bytes, plan_chunks, plan_groups


def table(name: str = "t", *, pages: int, bytes_per_page: int = 8192) -> Table:
    return Table(
        name=TableName("public", name),
        source_id=1,
        columns=(),
        key=("id",),
        identity="d",
        pages=pages,
        size_bytes=pages * bytes_per_page,
        estimated_rows=0,
        storage_id="1",
    )


@given(pages=st.integers(0, 5_000), chunk_pages=st.integers(1, 700))
def test_chunks_cover_every_page_once_and_the_last_is_open(pages: int, chunk_pages: int) -> None:
    chunks = plan_chunks(table(pages=pages), chunk_pages)
    assert chunks[0].first_page == 0
    assert chunks[-1].end_page is None
    for before, after in pairwise(chunks):
        assert before.end_page == after.first_page
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))


@given(pages=st.integers(0, 5_000), chunk_pages=st.integers(1, 700))
def test_chunk_weights_add_up_to_the_table(pages: int, chunk_pages: int) -> None:
    one = table(pages=pages)
    total = sum(chunk_bytes(one, chunk) for chunk in plan_chunks(one, chunk_pages))
    assert 0 <= one.size_bytes - total <= len(plan_chunks(one, chunk_pages))


@given(sizes=st.lists(st.integers(0, 4_000), max_size=60), workers=st.integers(1, 8))
def test_groups_hold_every_chunk_once(sizes: list[int], workers: int) -> None:
    tables = [table(f"t{i}", pages=pages) for i, pages in enumerate(sizes)]
    total = sum(t.size_bytes for t in tables)
    work = [
        (t, chunk)
        for t in tables
        for chunk in plan_chunks(t, choose_chunk_pages(t, total_bytes=total, workers=workers, can_seek_pages=True))
    ]
    grouped = [entry for group in plan_groups(work) for entry in group]
    assert sorted(grouped, key=lambda e: (e[0].name, e[1].number)) == sorted(
        work, key=lambda e: (e[0].name, e[1].number)
    )


def test_big_chunks_go_first_and_alone() -> None:
    big, small = table("big", pages=10_000), [table(f"s{i}", pages=2) for i in range(10)]
    work = [(t, chunk) for t in [*small, big] for chunk in plan_chunks(t, 10_000)]
    groups = plan_groups(work)
    assert [t.name.name for t, _ in groups[0]] == ["big"]
    assert len(groups) == 2


def test_a_table_is_one_chunk_where_pages_cannot_be_sought() -> None:
    one = table(pages=100_000)
    pages = choose_chunk_pages(one, total_bytes=one.size_bytes, workers=4, can_seek_pages=False)
    assert len(plan_chunks(one, pages)) == 1


@given(sizes=st.lists(st.integers(1, 60_000), min_size=1, max_size=12), workers=st.integers(1, 4), pick=st.randoms())
def test_workers_share_a_table_only_when_no_other_is_left(sizes: list[int], workers: int, pick: Random) -> None:
    tables = [table(f"t{i}", pages=pages) for i, pages in enumerate(sizes)]
    groups = plan_groups([(t, chunk) for t in tables for chunk in plan_chunks(t, 2_000)])
    queue, waiting = WorkQueue(groups), list(groups)
    taken: list[list[Work]] = []
    written: list[list[Work]] = []
    while waiting or taken:
        if len(taken) == workers or not waiting:
            group = taken.pop(pick.randrange(len(taken)))
            queue.finish(group)
            written.append(group)
            continue
        found = queue.take()
        assert found is not None
        waiting.remove(found)
        busy = Counter(group[0][0].name for group in taken)
        assert busy[found[0][0].name] <= min((busy[group[0][0].name] for group in waiting), default=workers)
        taken.append(found)
    assert queue.take() is None
    assert sorted(map(id, written)) == sorted(map(id, groups))


@pytest.mark.parametrize(("tables", "workers"), [(3, 2), (5, 2), (5, 4)])
def test_tables_of_one_size_come_to_their_end_together(tables: int, workers: int) -> None:
    work = [
        (t, chunk) for n in range(tables) for t in [table(f"t{n}", pages=10_000)] for chunk in plan_chunks(t, 2_000)
    ]
    queue = WorkQueue(plan_groups(work))
    taken = deque(group for _ in range(workers) if (group := queue.take()) is not None)
    while taken:
        assert len({group[0][0].name for group in taken}) == len(taken)
        queue.finish(taken.popleft())
        if (group := queue.take()) is not None:
            taken.append(group)

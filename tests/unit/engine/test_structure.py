"""Which items are created next, and beside which others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.domain.errors import InvariantBroken, StructureFailed
from towline.domain.structure import Section, SequenceValue, StructureItem, StructureReport
from towline.domain.tables import TableName
from towline.engine.structure import BIG_BYTES, BIG_DENSE_BYTES, Schedule, plan_locks, plan_ready, run_structure


def item(
    number: int,
    kind: str = "INDEX",
    table: str | None = None,
    *,
    after: Sequence[int] = (),
    weight: int = 0,
    section: Section = Section.INDEXES,
    statement: str = "CREATE INDEX ...;",
) -> StructureItem:
    name = TableName("s", table) if table else None
    return StructureItem(number, section, kind, f"i{number}", "s", name, (statement,), frozenset(after), weight)


def schedule(*items: StructureItem, done: Sequence[int] = (), workers: int = 2) -> Schedule:
    section = items[-1].section
    return Schedule(items, frozenset(done), section=section, workers=workers)


def numbers(batch: Sequence[StructureItem]) -> list[int]:
    return [one.number for one in batch]


def test_ready_items_wait_for_nothing() -> None:
    items = [item(1), item(2, after=[1]), item(3, after=[2])]
    assert numbers(plan_ready(items, {1})) == [2]


def test_biggest_index_starts_first_and_alone() -> None:
    plan = schedule(item(1, table="a"), item(2, table="b", weight=BIG_BYTES), item(3, table="c", weight=2 * BIG_BYTES))
    assert numbers(plan.take()) == [3]
    assert numbers(plan.take()) == [2]
    assert numbers(plan.take()) == [1]


def test_an_index_that_is_small_for_what_it_takes_is_built_alone() -> None:
    gin = "CREATE INDEX i1 ON s.a USING gin (tags);"
    plan = schedule(item(1, table="a", weight=BIG_DENSE_BYTES, statement=gin), item(2, table="a"), item(3, table="a"))
    assert numbers(plan.take()) == [1]
    assert numbers(plan.take()) == [2]


def test_small_items_share_a_batch_with_what_depends_on_them() -> None:
    plan = schedule(item(1, table="a"), item(2, "COMMENT", "a", after=[1]), workers=1)
    assert numbers(plan.take()) == [1, 2]


def test_constraint_waits_for_another_batch_on_its_table() -> None:
    plan = schedule(
        item(1, table="a", weight=BIG_BYTES), item(2, "CONSTRAINT", "a", weight=BIG_BYTES), item(3, table="a")
    )
    first = plan.take()
    assert numbers(first) == [1]
    assert numbers(plan.take()) == [3]  # plain indexes share a table
    plan.finish(first)
    assert plan.take() == []  # item 3 is still being built


def test_foreign_keys_that_meet_in_a_table_do_not_run_side_by_side() -> None:
    early = [item(n, "TABLE", name, section=Section.BEFORE_DATA) for n, name in ((1, "a"), (2, "b"), (3, "c"))]
    keys = [
        item(4, "FK CONSTRAINT", "a", after=[1, 2], weight=BIG_BYTES, section=Section.AFTER_DATA),
        item(5, "FK CONSTRAINT", "b", after=[2, 1], weight=BIG_BYTES, section=Section.AFTER_DATA),
        item(6, "FK CONSTRAINT", "c", after=[3], weight=BIG_BYTES, section=Section.AFTER_DATA),
    ]
    plan = schedule(*early, *keys, done=[1, 2, 3])
    assert numbers(plan.take()) == [4]
    assert numbers(plan.take()) == [6]
    assert plan.take() == []


def test_foreign_keys_of_partitions_count_as_their_parent() -> None:
    items = [
        item(1, "TABLE", "parent", section=Section.BEFORE_DATA),
        item(2, "TABLE", "child", section=Section.BEFORE_DATA),
        item(3, "TABLE ATTACH", "child", after=[1, 2], section=Section.BEFORE_DATA),
        item(4, "FK CONSTRAINT", "child", after=[2], section=Section.AFTER_DATA),
    ]
    locks = plan_locks(items, Section.AFTER_DATA)
    assert locks[4].tables == {TableName("s", "parent")}


def test_item_without_a_table_runs_while_nothing_else_does() -> None:
    plan = schedule(
        item(1, "TRIGGER", "a", section=Section.AFTER_DATA),
        item(2, "OWNER", section=Section.AFTER_DATA),
        item(3, "TRIGGER", "b", section=Section.AFTER_DATA),
        workers=1,
    )
    first = plan.take()
    assert numbers(first) == [1, 3]
    assert plan.take() == []
    plan.finish(first)
    assert numbers(plan.take()) == [2]
    assert plan.take() == []


def test_before_the_rows_odd_kinds_keep_their_place() -> None:
    early = Section.BEFORE_DATA
    plan = schedule(
        item(1, "TYPE", section=early),
        item(2, "TABLE", "a", section=early),
        item(3, "TABLE", "b", section=early),
        item(4, "FUNCTION", section=early),
        item(5, "TABLE", "c", section=early),
    )
    types = plan.take()
    assert numbers(types) == [1]
    assert plan.take() == []
    plan.finish(types)
    tables = plan.take()
    assert numbers(tables) == [2, 3]
    assert plan.take() == []  # the function comes before table c
    plan.finish(tables)
    assert numbers(plan.take()) == [4]


def test_circle_of_dependencies_is_a_defect() -> None:
    plan = schedule(item(1, table="a", after=[2]), item(2, table="b", after=[1]))
    with pytest.raises(InvariantBroken):
        plan.take()


ITEMS = st.lists(
    st.tuples(
        st.sampled_from(["INDEX", "CONSTRAINT", "FK CONSTRAINT", "OWNER", "COMMENT", "INDEX ATTACH"]),
        st.sampled_from("abcd"),
        st.sampled_from([0, 1000, BIG_BYTES, 5 * BIG_BYTES]),
        st.sets(st.integers(0, 30), max_size=3),
    ),
    max_size=40,
).map(
    lambda rows: [
        item(n, kind, None if kind == "OWNER" else table, after=[d for d in after if d < n], weight=weight)
        for n, (kind, table, weight, after) in enumerate(rows)
    ]
)


@given(ITEMS, st.integers(1, 4), st.randoms())
def test_every_item_is_created_once_after_what_it_needs(items, workers: int, random) -> None:
    plan = Schedule(items, frozenset(), section=Section.INDEXES, workers=workers)
    locks = plan_locks(items, Section.INDEXES)
    done: list[int] = []
    running: list[list[StructureItem]] = []
    while not plan.is_finished:
        batch = plan.take() if len(running) < workers else []
        if batch:
            seen = set(done)
            for one in batch:
                assert one.depends_on <= seen
                seen.add(one.number)
            for other in (o for r in running for o in r):
                assert not any(locks[one.number].conflicts_with(locks[other.number]) for one in batch)
            running.append(batch)
            continue
        assert running, "nothing runs and nothing can start"
        finished = running.pop(random.randrange(len(running)))
        plan.finish(finished)
        done.extend(numbers(finished))
    assert sorted(done) == [one.number for one in items]
    figures: list[tuple[int, int, int, int]] = []
    plan.tell(lambda *f: figures.append(f))
    assert figures[0][0] == figures[0][1]
    assert figures[0][2] == figures[0][3] == len(items)


class RecordingTarget:
    """A target in memory that can refuse one item."""

    def __init__(self, items: Sequence[StructureItem], *, refused: int | None = None) -> None:
        self.items = list(items)
        self.done: set[int] = set()
        self.refused = refused

    async def save_structure(self, items: Sequence[StructureItem], reports: Sequence[StructureReport]) -> None:
        self.items = self.items or list(items)

    async def load_reports(self) -> list[StructureReport]:
        return []

    async def load_structure(self) -> tuple[list[StructureItem], frozenset[int]]:
        return self.items, frozenset(self.done)

    async def apply_items(
        self, items: Sequence[StructureItem], *, on_report: Callable[[StructureReport], None]
    ) -> None:
        for one in items:
            await asyncio.sleep(0)
            if one.number == self.refused:
                raise StructureFailed("no")
            self.done.add(one.number)

    async def read_build_progress(self) -> dict[int, float]:
        return {}

    async def write_sequences(self, values: Sequence[SequenceValue], *, is_final: bool) -> None:
        """Not part of these tests."""

    async def refresh_views(self, *, on_report: Callable[[StructureReport], None]) -> None:
        """Not part of these tests."""


async def run(target: RecordingTarget, *, should_stop: Callable[[], bool] = lambda: False) -> list[tuple[int, ...]]:
    figures: list[tuple[int, ...]] = []
    await run_structure(
        target,
        section=Section.INDEXES,
        workers=3,
        on_progress=lambda *f: figures.append(f),
        on_report=lambda report: None,
        should_stop=should_stop,
    )
    return figures


MANY = [item(n, table=f"t{n % 7}", weight=n * BIG_BYTES // 10) for n in range(1, 30)]


def test_build_in_flight_counts_and_never_goes_back() -> None:
    plan = schedule(item(1, table="a", weight=BIG_BYTES), item(2, table="b", weight=BIG_BYTES))
    figures: list[tuple[int, int, int, int]] = []

    def tell() -> int:
        plan.tell(lambda *f: figures.append(f))
        return figures[-1][0]

    batch = plan.take()
    plan.note_builds({1: 0.5, 2: 0.5, 77: 1.0})  # 2 is not being built, 77 is unknown
    assert tell() == BIG_BYTES // 2
    plan.note_builds({1: 0.25})
    assert tell() == BIG_BYTES // 2
    plan.finish(batch)
    assert tell() == BIG_BYTES


async def test_progress_only_grows_and_ends_at_the_total() -> None:
    figures = await run(RecordingTarget(MANY))
    assert figures == sorted(figures)
    assert figures[-1][0] == figures[-1][1]
    assert figures[-1][2] == figures[-1][3] == len(MANY)


async def test_failure_is_raised_as_it_is_and_a_second_run_goes_on() -> None:
    target = RecordingTarget(MANY, refused=20)
    with pytest.raises(StructureFailed):
        await run(target)
    done_before = len(target.done)
    assert 0 < done_before < len(MANY)
    target.refused = None
    figures = await run(target)
    assert figures[0][2] == done_before
    assert figures[-1][2] == len(MANY)


async def test_stop_is_obeyed_between_batches() -> None:
    target = RecordingTarget(MANY)
    await run(target, should_stop=lambda: len(target.done) >= 3)
    assert 3 <= len(target.done) < len(MANY)


def test_item_with_more_than_an_index_wants_the_table_alone() -> None:
    plain = item(1, table="a")
    clustered = replace(plain, number=2, statements=("CREATE INDEX x;\n\nALTER TABLE a CLUSTER ON x;",))
    locks = plan_locks([plain, clustered], Section.INDEXES)
    assert locks[1].is_shared
    assert not locks[2].is_shared
    assert locks[1].conflicts_with(locks[2])

"""Figures of the copy: never above their totals, never backwards, never done too early."""

from __future__ import annotations

import dataclasses
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.adapters.postgres.lsn import Lsn
from towline.domain.progress import Phase, Progress, delay_ms
from towline.domain.structure import Section, StructureItem
from towline.domain.tables import Table, TableName, TotalOrigin
from towline.engine.apply import AppliedState
from towline.engine.figures import JobFigures
from towline.engine.ports import Checkpoint
from towline.engine.progress import CopyFigures, RateMeter


def table(name: str, size_bytes: int, rows: int = 100) -> Table:
    return Table(TableName("public", name), 1, (), ("id",), "d", size_bytes // 8192, size_bytes, rows, "1")


class FakeClock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.s = 1000.0

    def now_us(self) -> int:
        return int(self.s * 1_000_000)

    def monotonic_s(self) -> float:
        return self.s


@given(
    sizes=st.lists(st.integers(0, 100_000_000), min_size=1, max_size=6),
    wire_factor=st.floats(0.05, 8),
    steps=st.lists(st.integers(1, 5), min_size=1, max_size=40),
)
def test_percent_never_goes_back_and_stays_below_100_until_the_last_chunk(
    sizes: list[int], wire_factor: float, steps: list[int]
) -> None:
    """Statistics may be wrong by any factor: what passes on the wire is larger or smaller than the heap."""
    clock = FakeClock()
    figures = JobFigures(clock)
    tables = [table(f"t{i}", size) for i, size in enumerate(sizes)]
    figures.plan_copy([(t, t.size_bytes) for t in tables])
    figures.plan_structure([], frozenset())
    figures.finish("structure")
    figures.phase = Phase.COPY
    seen = 0
    for t in tables:
        wire = int(t.size_bytes * wire_factor)
        figures.copy.begin_chunk(t.name, t.size_bytes)
        for step in steps:
            figures.copy.add_bytes(t.name, wire * step // sum(steps))
            clock.s += 0.7
            progress = figures.progress()
            assert seen <= progress.percent <= 99
            assert progress.data.done <= progress.data.total
            assert progress.remaining_s is None or progress.remaining_s >= 1
            seen = progress.percent
        figures.copy.finish_chunk(t.name, source_bytes=t.size_bytes, rows=5, wire_bytes=wire)
        figures.copy.finish_table(t.name)
    assert figures.progress().percent <= 99
    figures.finish("data")
    figures.finish("index")
    assert figures.progress().percent == 100
    assert figures.progress().remaining_s == 0


def copy_at_constant_speed(weights: list[int], *, planned: int, clock: FakeClock) -> list[tuple[float, int]]:
    """One table of chunks with so many bytes, two at a time, planned as equals; seconds gone, and seconds said left."""
    figures = JobFigures(clock)
    planned -= planned % 8192
    whole = table("t", planned * len(weights))
    figures.plan_copy([(whole, whole.size_bytes)])
    figures.finish("structure")
    figures.phase = Phase.COPY
    began_s, said = clock.s, []
    begun, open_chunks = 0, dict[int, int]()
    while begun < len(weights) or open_chunks:
        while begun < len(weights) and len(open_chunks) < 2:
            open_chunks[begun] = weights[begun]
            begun += 1
            figures.copy.begin_chunk(whole.name, planned)
        for number in list(open_chunks):
            passed = min(open_chunks[number], 2_500_000)
            figures.copy.add_bytes(whole.name, passed)
            open_chunks[number] -= passed
            if open_chunks[number] == 0:
                del open_chunks[number]
                figures.copy.finish_chunk(whole.name, source_bytes=planned, rows=1000, wire_bytes=weights[number])
        clock.s += 0.25
        left_s = figures.progress().remaining_s
        if left_s is not None:
            said.append((clock.s - began_s, left_s))
    return said


def median_error(said: list[tuple[float, int]], *, took_s: float) -> float:
    """Of what was said between a tenth of the time and two seconds before the end."""
    judged = [(took_s - at_s, left_s) for at_s, left_s in said if took_s / 10 <= at_s <= took_s - 2]
    return statistics.median(abs(left_s - true_s) / true_s for true_s, left_s in judged)


@given(chunks=st.integers(10, 20), chunk_bytes=st.integers(20_000_000, 40_000_000), too_low=st.floats(0.3, 8))
def test_time_left_is_right_whatever_the_statistics_say(chunks: int, chunk_bytes: int, too_low: float) -> None:
    clock = FakeClock()
    began_s = clock.s
    said = copy_at_constant_speed([chunk_bytes] * chunks, planned=int(chunk_bytes / too_low), clock=clock)
    assert median_error(said, took_s=clock.s - began_s) < 0.3


def test_rows_copied_last_tell_most_of_those_to_come() -> None:
    """The second half is thirty times as large, of which the statistics know little."""
    clock = FakeClock()
    began_s = clock.s
    said = copy_at_constant_speed([1_000_000] * 16 + [30_000_000] * 16, planned=8_000_000, clock=clock)
    assert median_error(said, took_s=clock.s - began_s) < 0.55


@given(data=st.data(), planned=st.integers(0, 200_000), in_pages=st.floats(0, 1))
def test_any_course_of_a_copy_has_figures(data: st.DataObject, planned: int, in_pages: float) -> None:
    """Empty when it was planned, chunks that weigh nothing, given up, or copied by an earlier run: always a figure."""
    whole = table("t", planned, rows=data.draw(st.integers(0, 10)))
    whole = dataclasses.replace(whole, pages=int(planned * in_pages) // 8192)
    copy = CopyFigures([(whole, planned)])
    open_chunks, most_done = list[list[int]](), 0
    for step in data.draw(st.lists(st.sampled_from(("begin", "pass", "pass", "finish", "give up", "restore")))):
        weight, passed = data.draw(st.sampled_from((0, 1, 5000, planned))), data.draw(st.integers(0, 300_000))
        if step == "begin":
            copy.begin_chunk(whole.name, weight)
            open_chunks.append([weight, 0])
        elif step == "restore":
            copy.restore(whole.name, source_bytes=weight, rows=1, wire_bytes=passed)
        elif not open_chunks:
            continue
        elif step == "pass":
            copy.add_bytes(whole.name, passed)
            open_chunks[-1][1] += passed
        elif step == "finish":
            weight, passed = open_chunks.pop()
            copy.finish_chunk(whole.name, source_bytes=weight, rows=1, wire_bytes=passed)
        else:
            copy.abandon_chunk(whole.name, open_chunks.pop()[0])
        done, left = copy.work()
        assert 0 <= done < math.inf
        assert 0 <= left < math.inf
        assert most_done <= copy.done_bytes() <= planned
        most_done = copy.done_bytes()
        (shown,) = copy.table_progress()
        assert 0 <= shown.rows_done <= shown.rows_total
        (rows, live_share) = copy.expected()[whole.name]
        assert rows >= 0
        assert 0 <= live_share <= 1
    copy.finish_table(whole.name)
    assert copy.done_bytes() == planned


def test_abandoned_chunk_counts_for_nothing() -> None:
    copy = CopyFigures([(table("t", 1000), 1000)])
    copy.begin_chunk(TableName("public", "t"), 1000)
    copy.add_bytes(TableName("public", "t"), 600)
    copy.abandon_chunk(TableName("public", "t"), 1000)
    assert copy.done_bytes() == 0
    assert copy.wire_bytes_moved == 0


def test_totals_say_where_they_come_from() -> None:
    copy = CopyFigures([(table("t", 1000, rows=77), 1000)])
    (before,) = copy.table_progress()
    assert (before.rows_total, before.origin) == (77, TotalOrigin.STATISTICS)
    copy.begin_chunk(TableName("public", "t"), 1000)
    copy.finish_chunk(TableName("public", "t"), source_bytes=400, rows=50, wire_bytes=50)
    (counted,) = copy.table_progress()
    assert (counted.rows_total, counted.rows_done, counted.origin) == (125, 50, TotalOrigin.COUNTED)
    copy.begin_chunk(TableName("public", "t"), 600)
    copy.finish_chunk(TableName("public", "t"), source_bytes=600, rows=60, wire_bytes=50)
    copy.finish_table(TableName("public", "t"))
    (after,) = copy.table_progress()
    assert (after.rows_total, after.rows_done, after.origin) == (110, 110, TotalOrigin.EXACT)


def test_values_outside_the_pages_count_where_they_are() -> None:
    """A tenth of the table lies in its pages; all the rest belongs to rows in their second half."""
    planned = Table(TableName("public", "t"), 1, (), ("id",), "d", 1000, 81_920_000, 100, "1")
    copy = CopyFigures([(planned, 81_920_000)])
    name, half = planned.name, 40_960_000
    copy.begin_chunk(name, half)
    copy.finish_chunk(name, source_bytes=half, rows=50, wire_bytes=3_000_000)
    assert copy.done_bytes() < 81_920_000 * 0.2
    copy.begin_chunk(name, half)
    seen = []
    for _ in range(10):
        copy.add_bytes(name, 7_500_000)
        seen.append(copy.done_bytes())
    assert seen == sorted(seen)
    assert seen[4] < 81_920_000 * 0.6
    assert seen[-1] > 81_920_000 * 0.9


def test_dead_rows_are_seen_in_a_table_with_maps_of_its_pages_and_a_toast_table() -> None:
    """Two thirds of the rows are dead: half of the pages gave 14 MB, and as much is to come."""
    pages = 10_000
    size_bytes = pages * 8192
    planned = Table(TableName("public", "t"), 1, (), ("id",), "d", pages, size_bytes, 100, "1")
    weight = size_bytes + 5 * 8192
    copy = CopyFigures([(planned, weight)])
    copy.begin_chunk(planned.name, weight // 2)
    copy.finish_chunk(planned.name, source_bytes=weight // 2, rows=50, wire_bytes=14_000_000)
    done, left = copy.work()
    assert left == pytest.approx(done, rel=0.01)
    assert left == pytest.approx(14_000_000 + 0.2 * weight / 2, rel=0.02)
    (_, live_share) = copy.expected()[planned.name]
    assert live_share == pytest.approx(14 / 41 / 0.5, rel=0.02)


def test_rate_needs_time_between_samples() -> None:
    meter = RateMeter()
    meter.add(0.0, 0)
    meter.add(1.0, 100)
    assert meter.per_s() is None
    meter.add(4.0, 400)
    assert meter.per_s() == 100


def test_structure_and_index_have_parts_of_their_own() -> None:
    figures = JobFigures(FakeClock())
    items = [
        StructureItem(1, Section.BEFORE_DATA, "TABLE", "t", "public", None, ("x",)),
        StructureItem(2, Section.KEYS, "CONSTRAINT", "k", "public", None, ("x",), weight_bytes=1_000_000),
    ]
    figures.plan_structure(items, frozenset({1}))
    progress = figures.progress()
    assert (progress.structure.done, progress.structure.total) == (1, 1)
    assert progress.structure.percent == 99  # every object is there, but the part has not been declared finished
    assert progress.index.percent == 0
    figures.set_section_done(Section.KEYS, done_items=1, done_weight=500_000)
    assert figures.progress().index.percent == 50


def test_nothing_is_a_share_of_the_whole_before_all_of_it_is_known() -> None:
    figures = JobFigures(FakeClock())
    rows = table("t", 8_192_000)
    figures.plan_copy([(rows, rows.size_bytes)])
    figures.copy.finish_table(rows.name)  # by an earlier worker, which was killed among the indexes
    progress = figures.progress()
    assert (progress.percent, progress.index.remaining_s) == (0, None)
    index = StructureItem(1, Section.INDEXES, "INDEX", "i", "public", rows.name, ("x",), weight_bytes=24_576_000)
    figures.plan_structure([index], frozenset())
    assert figures.progress().percent == 25


def test_a_table_that_starts_over_is_ahead_again() -> None:
    clock = FakeClock()
    figures = JobFigures(clock, follows=True)
    rows = table("t", 819_200_000)
    figures.plan_structure([], frozenset())
    for part in ("structure", "data"):
        figures.finish(part)
    figures.begin_full_phase()
    figures.plan_copy([(rows, rows.size_bytes)])
    figures.finish("structure")
    figures.phase = Phase.COPY
    figures.copy.begin_chunk(rows.name, rows.size_bytes)
    for _ in range(20):
        clock.s += 1
        figures.copy.add_bytes(rows.name, 1_000_000)
        progress = figures.progress()
    assert not progress.data.is_finished
    assert progress.remaining_s is not None
    assert progress.remaining_s > 300


def test_a_stream_that_begins_is_not_in_step_by_what_an_earlier_one_had_proven() -> None:
    clock = FakeClock()
    figures = JobFigures(clock, follows=True)
    figures.stream = before = Stream(clock)
    before.prove(clock.now_us(), is_caught_up=True)
    for part in ("structure", "data", "index"):
        figures.finish(part)
    figures.begin_catch_up()
    assert figures.progress().phase is Phase.CATCH_UP
    figures.stream = Stream(clock)
    assert figures.progress().phase is Phase.CATCH_UP


def test_delay_grows_by_itself_and_is_unknown_outside_the_stream() -> None:
    at_us, proven_us = 3_000_000, 5_000_000
    proven = Progress(at_us, Phase.STREAM, proven_source_time_us=proven_us, source_clock_offset_us=2_000_000)
    assert delay_ms(proven, now_us=3_000_000) == 0
    assert delay_ms(proven, now_us=4_500_000) == 1500
    assert delay_ms(Progress(at_us=0, phase=Phase.COPY, proven_source_time_us=5), now_us=9) is None
    assert delay_ms(Progress(at_us=0, phase=Phase.STREAM), now_us=9) is None


class Stream(AppliedState):
    """What an applier knows, as the test says."""

    def prove(self, source_time_us: int, *, is_caught_up: bool = False) -> None:
        self.proof.proven_us = source_time_us
        self.proof.is_caught_up = is_caught_up


def test_rates_fall_while_nobody_can_be_reached() -> None:
    clock = FakeClock()
    stream = AppliedState(clock)
    for changes in range(0, 5000, 1000):
        clock.s += 1
        checkpoint = Checkpoint(Lsn(changes), clock.now_us(), transactions=changes, changes=changes)
        stream.applied(checkpoint, size_bytes=1000, conflicts=0, is_durable=True)
    assert (stream.rows_per_s, stream.bytes_per_s) == (1000, 1000)
    clock.s += 60
    assert stream.rows_per_s is not None
    assert stream.rows_per_s < 100
    clock.s += 10
    assert (stream.rows_per_s, stream.bytes_per_s) == (0, 0)


def catching_up(clock: FakeClock) -> tuple[JobFigures, Stream]:
    """A job that follows, right after its full phase."""
    figures = JobFigures(clock, follows=True)
    for part in ("structure", "data", "index"):
        figures.finish(part)
    figures.phase = Phase.CATCH_UP
    figures.stream = stream = Stream(clock)
    return figures, stream


def test_a_job_that_follows_has_time_left_until_it_is_in_step() -> None:
    clock = FakeClock()
    figures, stream = catching_up(clock)
    begun_us = clock.now_us()
    assert figures.progress().remaining_s is None
    for second in range(11):  # 100 s behind; five seconds of the source are applied in each
        clock.s = 1000.0 + second
        stream.prove(begun_us - 100_000_000 + second * 5_000_000)
        progress = figures.progress()
    assert progress.percent == 100
    assert progress.remaining_s == 15
    stream.prove(clock.now_us() - 200_000, is_caught_up=True)
    assert figures.progress().remaining_s == 0
    clock.s += 60  # and now the target is locked
    assert figures.progress().remaining_s is None


def test_nothing_remains_once_the_target_is_two_seconds_behind_and_until_it_is_ten() -> None:
    """A first proof may be of long ago: the source went on while it was being reached."""
    clock = FakeClock()
    figures, stream = catching_up(clock)
    said = []
    for behind_s in (8.0, 4.0, 2.1, 1.9, 9.9, 10.1, 2.1, 0.5):
        clock.s += 0.1
        stream.prove(clock.now_us() - int(behind_s * 1e6), is_caught_up=True)
        said.append(figures.progress().remaining_s == 0)
    assert said == [False, False, False, True, True, False, False, True]

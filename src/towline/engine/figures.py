"""Everything that a job says of itself, gathered in one place and read as one `Progress`.

The activities write their own figures here; the pipeline's ticker turns them into one record per moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from towline.domain.diagnosis import SourceFacts
from towline.domain.pace import TargetPace
from towline.domain.progress import Phase, Progress
from towline.domain.structure import Section, StructureItem
from towline.domain.tables import Table, TableName
from towline.engine.chunking import chunk_bytes
from towline.engine.diagnose import DiagnosisBoard
from towline.engine.forecast import Forecast, Forecaster, Left, SourceLog, index_cost
from towline.engine.ports import ChunkDone, Clock, StreamFigures
from towline.engine.progress import CopyFigures, FullPhase, RateMeter

_MIN_ITEM_BYTES = 16 * 1024
# Once it has come as near as this, a target is in step: nothing remains but to follow. It stays so in a burst.
_IN_STEP_S, _OUT_OF_STEP_S = 2.0, 10.0
_NOTHING_LEFT = Forecast(0, 0, 0)
# What an open transaction has changed is not in the source's total; in short ones that makes no difference.
_LONG_TRANSACTION_S = 2.0
# Log of so short a time before the first look at the source is like what was written after it.
_SEEN_AT_ONCE_S = 60.0


def weigh(item: StructureItem) -> int:
    """Bytes that an index or constraint counts for; never 0, so that a thousand tiny ones show."""
    return max(item.weight_bytes, _MIN_ITEM_BYTES)


def _counted_rows(source: SourceFacts) -> int | None:
    """The source's total of changed rows; None while it leaves out what a long transaction writes."""
    for entry in source.transactions:
        age_s = entry.session.transaction_age_s
        if entry.has_written and entry.is_in_database and (age_s is None or age_s >= _LONG_TRANSACTION_S):
            return None
    return source.changed_rows


class JobFigures:
    """Mutable figures of one run. Percent never goes backwards while this object lives."""

    def __init__(self, clock: Clock, *, follows: bool = False) -> None:
        """`follows`: the job is not over with the full phase."""
        self._clock = clock
        self.phase = Phase.PRECHECK
        self.copy = CopyFigures([])
        self.stream: StreamFigures | None = None
        self.waiting_for: str | None = None
        self.board = DiagnosisBoard(clock)
        self._items: list[StructureItem] | None = None  # not known yet, so nothing is a share of the whole
        self._structure_done = 0
        self._index_done: dict[Section, int] = {}
        self._finished: set[str] = set()
        self._percent = 0
        self._follows = follows
        self._is_in_step = False
        self._forecaster = Forecaster()
        self._fractions: dict[int, float] = {}
        self._first_log: tuple[int, int] | None = None  # when the source was seen first, and where its log ended
        self._row_rate = RateMeter()
        self._wire_rate = RateMeter()

    def know_target(self, pace: TargetPace) -> None:
        self._forecaster.target = pace

    def begin_full_phase(self) -> None:
        """Nothing of it is over, whatever an earlier attempt came to: a table may have to start over."""
        self.phase = Phase.STRUCTURE
        self.stream = None
        self._finished.clear()

    def begin_catch_up(self) -> None:
        """What was proven of a stream before says nothing of the one that comes."""
        self.phase = Phase.CATCH_UP
        self.stream = None

    def plan_structure(self, items: Sequence[StructureItem], done: frozenset[int]) -> None:
        self._items = list(items)
        self._structure_done = sum(1 for item in items if item.section is Section.BEFORE_DATA and item.number in done)
        for section in (Section.KEYS, Section.INDEXES, Section.AFTER_DATA):
            self._index_done[section] = sum(
                weigh(item) for item in items if item.section is section and item.number in done
            )
        self._fractions = dict.fromkeys(done, 1.0)

    def plan_copy(self, tables: Sequence[tuple[Table, int]]) -> None:
        self.copy = CopyFigures(tables)

    def restore_copy(self, tables: Mapping[TableName, Table], done: Sequence[ChunkDone]) -> None:
        """Chunks that earlier runs finished; `tables` with the sizes that they were cut by."""
        for entry in done:
            table = tables.get(entry.chunk.table)
            if table is not None:
                self.copy.restore(
                    table.name,
                    source_bytes=chunk_bytes(table, entry.chunk),
                    rows=entry.rows if entry.chunk.kind == "pages" else 0,
                    wire_bytes=entry.size_bytes,
                )

    def set_section_done(self, section: Section, *, done_items: int, done_weight: int) -> None:
        """What of a section is on the target, counting what earlier runs did."""
        if section is Section.BEFORE_DATA:
            self._structure_done = max(self._structure_done, done_items)
        else:
            self._index_done[section] = max(self._index_done.get(section, 0), done_weight)

    def note_items(self, fractions: Mapping[int, float]) -> None:
        """How far single items are, 0..1 by their numbers."""
        self._fractions.update(fractions)

    def finish(self, part: str) -> None:
        """`part` is 'structure', 'data' or 'index'."""
        self._finished.add(part)

    def full_phase(self) -> FullPhase:
        items = self._items or ()
        structure_total = sum(1 for item in items if item.section is Section.BEFORE_DATA)
        index_total = sum(weigh(item) for item in items if item.section is not Section.BEFORE_DATA)
        data_total = self.copy.total_bytes
        is_data_finished = "data" in self._finished
        is_index_finished = "index" in self._finished
        return FullPhase(
            structure_done=min(self._structure_done, structure_total),
            structure_total=structure_total,
            data_done_bytes=data_total if is_data_finished else self.copy.done_bytes(),
            data_total_bytes=data_total,
            index_done_bytes=index_total if is_index_finished else min(sum(self._index_done.values()), index_total),
            index_total_bytes=index_total,
            is_structure_finished="structure" in self._finished,
            is_data_finished=is_data_finished,
            is_index_finished=is_index_finished,
        )

    def tick(self, *, limit_bytes_per_s: int | None) -> None:
        """Note whether the target has acknowledged anything since the last tick."""
        full, stream = self.full_phase(), self.stream
        moved = (full.structure_done, self.copy.wire_bytes_moved, full.index_done_bytes, self.phase)
        applied = (stream.proven_source_time_us, stream.applied_position) if stream else None
        self.board.tick((moved, applied), limit_bytes_per_s=limit_bytes_per_s)

    def progress(self) -> Progress:
        """All figures, taken now."""
        now_s = self._clock.monotonic_s()
        full = self.full_phase()
        left = self._take_paces(now_s, full)
        data_s, index_s = self._forecaster.parts_s(left)
        if self._items is not None or full.is_finished:
            self._percent = max(self._percent, full.percent())
        else:
            index_s = None
        structure, data, index = full.parts(data_remaining_s=data_s, index_remaining_s=index_s)
        is_copying = self.phase is Phase.COPY
        stream = self.stream
        # Before other objects join it catches up with them still ahead, which is not to be in step.
        if self.phase is Phase.CATCH_UP and full.is_finished and stream is not None and stream.is_caught_up:
            self.phase = Phase.STREAM
        now_us = self._clock.now_us()
        remaining = self._forecast(full, left, now_us)
        return Progress(
            at_us=now_us,
            phase=self.phase,
            percent=self._percent,
            structure=structure,
            data=data,
            index=index,
            remaining_s=remaining.seconds if remaining else None,
            remaining_low_s=remaining.low_s if remaining else None,
            remaining_high_s=remaining.high_s if remaining else None,
            remaining_at_us=now_us if remaining else None,
            rows_copied=self.copy.rows_done,
            bytes_copied=self.copy.wire_bytes_moved,
            copy_rows_per_s=self._row_rate.per_s() if is_copying else None,
            copy_bytes_per_s=self._wire_rate.per_s() if is_copying else None,
            proven_source_time_us=stream.proven_source_time_us if stream else None,
            source_clock_offset_us=stream.source_clock_offset_us if stream else None,
            transactions_applied=stream.transactions if stream else 0,
            changes_applied=stream.changes if stream else 0,
            apply_rows_per_s=stream.rows_per_s if stream else None,
            apply_bytes_per_s=stream.bytes_per_s if stream else None,
            applied_position=stream.applied_position if stream else None,
            source_position=stream.source_position if stream else None,
            tables=self.copy.table_progress(),
            waiting_for=self.waiting_for or (stream.waiting_for if stream else None),
            received_position=stream.received_position if stream else None,
            received_source_time_us=stream.received_source_time_us if stream else None,
            applying_since_us=self._applying_since_us(),
            queued_bytes=stream.queued_bytes if stream else None,
            diagnosis=self.board.newest,
        )

    def _take_paces(self, now_s: float, full: FullPhase) -> Left:
        done, left = self.copy.work()
        index_total, index_left = (0.0, 0.0) if full.is_index_finished else self._index_work()
        if self.phase is Phase.COPY:
            self._forecaster.data.add(now_s, done)
            self._row_rate.add(now_s, self.copy.rows_done)
            self._wire_rate.add(now_s, self.copy.wire_bytes_moved)
        elif self.phase is Phase.INDEXES:
            if self.stream is None:  # during a replay none is built
                self._forecaster.add_index(now_s, index_total - index_left)
        elif self.stream is not None:
            self._forecaster.add_proven(now_s, self.stream.proven_source_time_us)
        self._take_held_log(now_s)
        self._forecaster.target_bytes = done + left + full.index_total_bytes
        return Left(
            data=left,
            is_data_finished=full.is_data_finished,
            index=index_left,
            index_total=index_total,
            is_index_finished=full.is_index_finished,
        )

    def _index_work(self) -> tuple[float, float]:
        """All of it and what is left, in bytes of rows that are copied in the same time."""
        expected = self.copy.expected()
        total = left = 0.0
        for item in self._items or ():
            if item.section is not Section.BEFORE_DATA:
                rows, live_share = expected.get(item.table, (0, 1.0)) if item.table else (0, 1.0)
                cost = index_cost(item, rows=rows, live_share=live_share, pace=self._forecaster.target)
                total += cost
                left += cost * (1 - self._fractions.get(item.number, 0.0))
        return total, left

    def _take_held_log(self, now_s: float) -> None:
        """What the catch-up will have to read, and how fast it grows."""
        seen = self.board.newest
        if seen.source is None or seen.source.log_end_bytes is None:
            return
        source, end_bytes = seen.source, seen.source.log_end_bytes
        if self._first_log is None:
            self._first_log = source.at_us, end_bytes
        first_us, first_bytes = self._first_log
        held_bytes, unseen_s, uncounted_bytes = source.log.held_bytes, 0.0, 0
        needed_s = None if seen.log_needed_since_us is None else max(0, first_us - seen.log_needed_since_us) / 1e6
        if source.log.keeps_for_s is not None:
            # The source keeps its log for all alike; the job needs what was written since its snapshot.
            held_bytes = max(0, end_bytes - first_bytes)
            unseen_s = needed_s or 0.0
        elif held_bytes is not None and (needed_s is None or needed_s > _SEEN_AT_ONCE_S):
            uncounted_bytes = max(0, held_bytes - (end_bytes - first_bytes))
        if held_bytes is not None:
            at_s = now_s - (self._clock.now_us() - source.at_us) / 1e6
            rows = self.copy.rows_done
            row_bytes = self.copy.wire_bytes_moved / rows if rows else 0.0
            self._forecaster.add_log(
                SourceLog(at_s, end_bytes, held_bytes, unseen_s, _counted_rows(source), uncounted_bytes, row_bytes)
            )

    def _forecast(self, full: FullPhase, left: Left, now_us: int) -> Forecast | None:
        """None when not known, 0 seconds only when nothing is left."""
        if self.phase is Phase.DONE or (full.is_finished and not self._follows):
            return _NOTHING_LEFT
        if not full.is_structure_finished:
            return None
        if not full.is_finished:
            return self._forecaster.full_phase(left, follows=self._follows)
        delay_s = self._delay_s(now_us)
        if self.phase is Phase.STREAM and delay_s is not None:
            self._is_in_step = delay_s < (_OUT_OF_STEP_S if self._is_in_step else _IN_STEP_S)
            if self._is_in_step:
                return _NOTHING_LEFT
        return self._forecaster.catch_up(delay_s)

    def _delay_s(self, now_us: int) -> float | None:
        proven_us = self.stream.proven_source_time_us if self.stream else None
        if self.stream is None or proven_us is None:
            return None
        return (now_us + (self.stream.source_clock_offset_us or 0) - proven_us) / 1e6

    def _applying_since_us(self) -> int | None:
        applying_s = self.stream.applying_s() if self.stream else 0.0
        return self._clock.now_us() - int(applying_s * 1e6) if applying_s > 0 else None

"""The figures of a running job, and the estimates made from them. Pure: time is passed in.

Work is weighed in bytes of the source: a table weighs its heap and TOAST, an index its size on the source, an object of
the structure a small constant.  Totals start from the catalog and are corrected by what was copied.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from towline.domain.progress import PartProgress, TableProgress
from towline.domain.tables import Table, TableName, TotalOrigin

_STRUCTURE_ITEM_BYTES = 16 * 1024
_RATE_WINDOW_S = 20.0
_MIN_EVIDENCE_S = 2.0
_GAPS = 16
# Before any index has been built: building one costs about as much per byte as copying does. Replaced by the measured
# rate as soon as there is one.
_INDEX_COST_GUESS = 1.5


@dataclass
class RateMeter:
    """Units per second over the last seconds."""

    window_s: float = _RATE_WINDOW_S
    min_evidence_s: float = _MIN_EVIDENCE_S
    _samples: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, now_s: float, total: float) -> None:
        """`total` is a running total at `now_s`."""
        samples = self._samples
        if samples and now_s - samples[-1][0] < 0.2:
            return
        samples.append((now_s, total))
        while len(samples) > 2 and now_s - samples[0][0] > self.window_s:
            samples.popleft()

    def per_s(self) -> float | None:
        """None until two samples lie far enough apart to mean something."""
        if len(self._samples) < 2:
            return None
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        if last_s - first_s < self.min_evidence_s:
            return None
        return max(0.0, (last - first) / (last_s - first_s))


class MovementMeter:
    """When something was last acknowledged, and how long that usually takes."""

    def __init__(self) -> None:
        self.moved_at_us: int | None = None
        self._amount: object = None
        self._gaps_us: deque[int] = deque(maxlen=_GAPS)

    @property
    def usual_gap_s(self) -> float | None:
        """The longest of the last gaps but one, so that a single standstill is not what is usual; None before any."""
        if not self._gaps_us:
            return None
        return sorted(self._gaps_us)[max(0, len(self._gaps_us) - 2)] / 1e6

    def add(self, now_us: int, amount: object) -> None:
        """`amount` stands for all that was acknowledged until `now_us`."""
        if self.moved_at_us is not None and amount == self._amount:
            return
        if self.moved_at_us is not None:
            self._gaps_us.append(max(0, now_us - self.moved_at_us))
        self.moved_at_us = now_us
        self._amount = amount


@dataclass
class _TableFigures:
    table: Table
    source_bytes: int  # planned weight
    source_bytes_done: int = 0
    rows_done: int = 0
    wire_bytes_done: int = 0  # of finished chunks
    wire_bytes_open: int = 0  # of chunks in flight
    open_source_bytes: int = 0  # planned weight of chunks in flight
    is_finished: bool = False


class CopyFigures:
    """Progress of the full copy, per table and in all."""

    def __init__(self, tables: Sequence[tuple[Table, int]]) -> None:
        """`tables`: each with its planned weight in source bytes."""
        self._tables = {table.name: _TableFigures(table, weight) for table, weight in tables}
        self.rows_done = 0
        self.wire_bytes_done = 0

    def restore(self, name: TableName, *, source_bytes: int, rows: int, wire_bytes: int) -> None:
        """A chunk that an earlier run finished."""
        figures = self._tables[name]
        figures.source_bytes_done += source_bytes
        figures.rows_done += rows
        figures.wire_bytes_done += wire_bytes
        self.rows_done += rows
        self.wire_bytes_done += wire_bytes

    def start_over(self, name: TableName) -> None:
        figures = self._tables[name]
        self.rows_done -= figures.rows_done
        self.wire_bytes_done -= figures.wire_bytes_done
        self._tables[name] = _TableFigures(figures.table, figures.source_bytes)

    def begin_chunk(self, name: TableName, source_bytes: int) -> None:
        self._tables[name].open_source_bytes += source_bytes

    def add_bytes(self, name: TableName, size_bytes: int) -> None:
        self._tables[name].wire_bytes_open += size_bytes

    def abandon_chunk(self, name: TableName, source_bytes: int) -> None:
        figures = self._tables[name]
        figures.open_source_bytes -= source_bytes
        figures.wire_bytes_open = 0 if figures.open_source_bytes <= 0 else figures.wire_bytes_open

    def finish_chunk(self, name: TableName, *, source_bytes: int, rows: int, wire_bytes: int) -> None:
        figures = self._tables[name]
        figures.open_source_bytes -= source_bytes
        figures.wire_bytes_open = max(0, figures.wire_bytes_open - wire_bytes)
        self.restore(name, source_bytes=source_bytes, rows=rows, wire_bytes=wire_bytes)

    def finish_table(self, name: TableName) -> None:
        figures = self._tables[name]
        figures.is_finished = True
        figures.source_bytes_done = figures.source_bytes

    @property
    def total_bytes(self) -> int:
        return sum(figures.source_bytes for figures in self._tables.values())

    def done_bytes(self) -> int:
        """In source bytes; chunks in flight count by what has passed, at most their planned weight."""
        return sum(
            min(f.source_bytes, f.source_bytes_done + self._open_source_bytes_done(f)) for f in self._tables.values()
        )

    @property
    def wire_bytes_moved(self) -> int:
        return self.wire_bytes_done + sum(f.wire_bytes_open for f in self._tables.values())

    def _open_source_bytes_done(self, figures: _TableFigures) -> int:
        if figures.open_source_bytes <= 0 or figures.wire_bytes_open <= 0:
            return 0
        if figures.source_bytes_done and figures.wire_bytes_done:
            per_wire_byte = figures.source_bytes_done / figures.wire_bytes_done
        else:
            per_wire_byte = 1.0
        return min(int(figures.open_source_bytes * 0.98), int(figures.wire_bytes_open * per_wire_byte))

    def table_progress(self) -> tuple[TableProgress, ...]:
        return tuple(
            TableProgress(
                schema=f.table.name.schema,
                name=f.table.name.name,
                rows_done=f.rows_done,
                rows_total=f.rows_done if f.is_finished else max(f.table.estimated_rows, f.rows_done),
                bytes_done=min(f.source_bytes, f.source_bytes_done + self._open_source_bytes_done(f)),
                bytes_total=f.source_bytes,
                origin=TotalOrigin.EXACT if f.is_finished else TotalOrigin.STATISTICS,
                is_finished=f.is_finished,
            )
            for f in self._tables.values()
        )


@dataclass(frozen=True, slots=True)
class FullPhase:
    """Where the full phase stands: what is done and what there is, by kind."""

    structure_done: int
    structure_total: int
    data_done_bytes: int
    data_total_bytes: int
    index_done_bytes: int
    index_total_bytes: int
    is_structure_finished: bool
    is_data_finished: bool
    is_index_finished: bool

    @property
    def is_finished(self) -> bool:
        return self.is_structure_finished and self.is_data_finished and self.is_index_finished

    def percent(self) -> int:
        """0..100 over all kinds; 100 only when the full phase is over."""
        if self.is_finished:
            return 100
        done = self.structure_done * _STRUCTURE_ITEM_BYTES + self.data_done_bytes + self.index_done_bytes
        total = self.structure_total * _STRUCTURE_ITEM_BYTES + self.data_total_bytes + self.index_total_bytes
        return min(99, done * 100 // total) if total else 0

    def parts(
        self, *, data_remaining_s: float | None, index_remaining_s: float | None
    ) -> tuple[PartProgress, PartProgress, PartProgress]:
        """Structure, data and index as callers see them."""
        return (
            PartProgress(
                self.structure_done, self.structure_total, TotalOrigin.EXACT, self.is_structure_finished, None
            ),
            PartProgress(
                self.data_done_bytes,
                self.data_total_bytes,
                TotalOrigin.EXACT if self.is_data_finished else TotalOrigin.STATISTICS,
                self.is_data_finished,
                _whole_seconds(data_remaining_s),
            ),
            PartProgress(
                self.index_done_bytes,
                self.index_total_bytes,
                TotalOrigin.STATISTICS,
                self.is_index_finished,
                _whole_seconds(index_remaining_s),
            ),
        )


def estimate_remaining_s(
    phase: FullPhase, *, data_rate: float | None, index_rate: float | None
) -> tuple[float | None, float | None]:
    """Seconds for data and for indexes; None when there is no evidence. Rates are source bytes per second."""
    data_left = phase.data_total_bytes - phase.data_done_bytes
    index_left = phase.index_total_bytes - phase.index_done_bytes
    data_s: float | None = 0.0
    if not phase.is_data_finished:
        data_s = data_left / data_rate if data_rate else None
    index_s: float | None = 0.0
    if not phase.is_index_finished:
        if index_rate:
            index_s = index_left / index_rate
        elif data_rate:
            index_s = index_left * _INDEX_COST_GUESS / data_rate
        else:
            index_s = None
    return data_s, index_s


def _whole_seconds(seconds: float | None) -> int | None:
    return None if seconds is None else math.ceil(seconds)

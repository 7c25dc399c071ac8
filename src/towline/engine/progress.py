"""The figures of a running job. Pure: time is passed in.

Work is weighed in bytes of the source: a table weighs its heap and TOAST, an index its size on the source, an object of
the structure a small constant.  Totals start from the catalog and are corrected by what was copied.

What lies outside a table's pages (TOAST) belongs to rows that may lie anywhere in it, so it is not counted with the
pages: it has been copied as far as more has passed than the pages could hold.  Values may be compressed there, so it
is never counted ahead of the pages, and as nobody knows whether all of it is still alive, in the end it comes with
them.
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
_PAGE_BYTES = 8192
# How late the room outside the pages is counted if nothing has come from there: the larger, the later.
_LATE = 16
# A table costs something beside its bytes, so that many small ones do not look quick.
_TABLE_COST_BYTES = 256 * 1024
# Bytes on the wire for one of a page, if nobody has deleted anything; and what it costs to look at one.
_USUAL_DENSITY, _SCAN_COST = 0.8, 0.2
# Maps of pages and a TOAST table with nothing in it take up the rest.
_ALL_IN_PAGES = 0.98
# Of tables with small rows; less comes of dead ones.
_LEAST_DENSITY = 0.5
# Of a table: chunks that lie further back than this say half as much of what is left of it.
_NEAR_SHARE = 0.1
# Of an open chunk; the rest comes with its acknowledgement.
_OPEN_SHARE = 0.98


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
    near_source_bytes: float = 0.0  # of finished chunks; the longer ago, the less they count
    near_wire_bytes: float = 0.0
    _most_bytes_done: int = 0

    def add_chunk(self, *, source_bytes: int, rows: int, wire_bytes: int) -> None:
        """A chunk is finished."""
        self.source_bytes_done += source_bytes
        self.rows_done += rows
        self.wire_bytes_done += wire_bytes
        still = 0.5 ** (source_bytes / (_NEAR_SHARE * self.source_bytes)) if self.source_bytes else 0.0
        self.near_source_bytes = self.near_source_bytes * still + source_bytes
        self.near_wire_bytes = self.near_wire_bytes * still + wire_bytes

    def bytes_done(self) -> int:
        """Of `source_bytes`; never less than before while the table does not start over."""
        done = self.source_bytes if self.is_finished else min(self.source_bytes, self._estimate_bytes_done())
        self._most_bytes_done = max(self._most_bytes_done, done)
        return self._most_bytes_done

    def work(self) -> tuple[float, float]:
        """What is done and what is left, in bytes that stand for time: dead rows take room, but hardly any time.

        What is done is what has passed, so that it does not change when a better guess is made of what is left.
        """
        done = self.bytes_done()
        share = done / self.source_bytes if self.source_bytes else float(self.is_finished)
        if self._share_in_pages() < 1.0:
            # Values may have passed as they are stored: compressed.
            passed, to_pass = done * _USUAL_DENSITY, (self.source_bytes - done) * _USUAL_DENSITY
        else:
            passed, to_pass = self.wire_bytes_done + self.wire_bytes_open, self._to_pass()
        return (
            passed + done * _SCAN_COST + _TABLE_COST_BYTES * share,
            to_pass + (self.source_bytes - done) * _SCAN_COST + _TABLE_COST_BYTES * (1 - share),
        )

    def live_share(self) -> float:
        """Which share of the table's room is not taken by dead rows; 1 when nothing speaks against it."""
        return min(1.0, self._density(self.source_bytes_done, self.wire_bytes_done) / _LEAST_DENSITY)

    def _to_pass(self) -> float:
        """Bytes on the wire that are still to come.

        Rows lie in the order of their keys or their age: what was copied last tells more of those to come, but not all.
        Chunks in flight that have sent more than was expected of them will send as much again as they are above it.
        """
        done, near = (self.source_bytes_done, self.wire_bytes_done), (self.near_source_bytes, self.near_wire_bytes)
        expected = (self._density(*done) + self._density(*near)) / 2
        excess = max(0.0, self.wire_bytes_open - expected * self.open_source_bytes)
        to_pass = max(excess, expected * self.open_source_bytes - self.wire_bytes_open)
        if excess and self.open_source_bytes > 0:  # a table that was empty when it was planned weighs nothing
            full = self.wire_bytes_open + to_pass
            expected = sum((wire + full) / (source + self.open_source_bytes) for source, wire in (done, near)) / 2
        return to_pass + expected * max(0, self.source_bytes - self.source_bytes_done - self.open_source_bytes)

    def _density(self, source_bytes: float, wire_bytes: float) -> float:
        """Bytes that pass for one of the table's, by finished chunks of so many bytes."""
        is_seen = source_bytes > 0 and self.source_bytes_done * 20 >= self.source_bytes
        if self._share_in_pages() < 1.0 or not is_seen:
            return _USUAL_DENSITY
        return wire_bytes / source_bytes

    def rows_total(self) -> tuple[int, TotalOrigin]:
        """How many rows there are to copy, and how that is known: chunks that were counted say more than statistics."""
        if self.is_finished:
            return self.rows_done, TotalOrigin.EXACT
        if self.rows_done and 0 < self.source_bytes_done <= self.source_bytes:
            return self.rows_done * self.source_bytes // self.source_bytes_done, TotalOrigin.COUNTED
        return max(self.table.estimated_rows, self.rows_done), TotalOrigin.STATISTICS

    def _estimate_bytes_done(self) -> int:
        in_pages = self._share_in_pages()
        pages_done = int(in_pages * self.source_bytes_done) + self._open_pages_done(in_pages)
        outside = self.source_bytes - int(in_pages * self.source_bytes)
        if outside <= 0 or not self.source_bytes:
            return pages_done
        share = min(1.0, (self.source_bytes_done + self.open_source_bytes * _OPEN_SHARE) / self.source_bytes)
        beside = self.wire_bytes_done + self.wire_bytes_open - pages_done
        finished_share = min(1.0, self.source_bytes_done / self.source_bytes)
        return pages_done + int(max(min(outside * share, beside), outside * finished_share**_LATE))

    def _share_in_pages(self) -> float:
        if not self.source_bytes or not self.table.pages or not self.table.has_pages:
            return 1.0
        share = self.table.pages * _PAGE_BYTES / self.source_bytes
        return share if share < _ALL_IN_PAGES else 1.0

    def _open_pages_done(self, in_pages: float) -> int:
        if self.open_source_bytes <= 0 or self.wire_bytes_open <= 0:
            return 0
        per_wire_byte = 1.0
        if in_pages == 1.0 and self.source_bytes_done and self.wire_bytes_done:
            per_wire_byte = self.source_bytes_done / self.wire_bytes_done
        most = self.open_source_bytes * in_pages * _OPEN_SHARE
        return min(int(most), int(self.wire_bytes_open * per_wire_byte))


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
        figures.add_chunk(source_bytes=source_bytes, rows=rows, wire_bytes=wire_bytes)
        self.rows_done += rows
        self.wire_bytes_done += wire_bytes

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
        figures.open_source_bytes = figures.wire_bytes_open = 0

    @property
    def total_bytes(self) -> int:
        return sum(figures.source_bytes for figures in self._tables.values())

    def done_bytes(self) -> int:
        """In source bytes; chunks in flight count by what has passed, at most their planned weight."""
        return sum(figures.bytes_done() for figures in self._tables.values())

    def work(self) -> tuple[float, float]:
        """What is done and what is left, in the bytes that stand for the time it takes."""
        works = [figures.work() for figures in self._tables.values()]
        return sum(done for done, _ in works), sum(left for _, left in works)

    def expected(self) -> dict[TableName, tuple[int, float]]:
        """How many rows each table has, and which share of its room they take, as far as that is known."""
        return {name: (figures.rows_total()[0], figures.live_share()) for name, figures in self._tables.items()}

    @property
    def wire_bytes_moved(self) -> int:
        return self.wire_bytes_done + sum(f.wire_bytes_open for f in self._tables.values())

    def table_progress(self) -> tuple[TableProgress, ...]:
        return tuple(_table_progress(figures) for figures in self._tables.values())


def _table_progress(figures: _TableFigures) -> TableProgress:
    rows_total, origin = figures.rows_total()
    return TableProgress(
        schema=figures.table.name.schema,
        name=figures.table.name.name,
        rows_done=figures.rows_done,
        rows_total=rows_total,
        bytes_done=figures.bytes_done(),
        bytes_total=figures.source_bytes,
        origin=origin,
        is_finished=figures.is_finished,
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
                TotalOrigin.EXACT if self.is_index_finished else TotalOrigin.STATISTICS,
                self.is_index_finished,
                _whole_seconds(index_remaining_s),
            ),
        )


def _whole_seconds(seconds: float | None) -> int | None:
    return None if seconds is None else math.ceil(seconds)

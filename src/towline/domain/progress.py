"""What a worker says about a job once a second, and what is derived from it when somebody asks.

A `Progress` is one moment: every figure in it was taken together.  Whatever depends on *now* (the delay) is
derived by the reader, so a dead worker cannot keep a figure fresh.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from towline.domain.tables import TotalOrigin


class Phase(Enum):
    """What a job is doing, derived from stored facts."""

    PRECHECK = "precheck"
    STRUCTURE = "structure"
    COPY = "copy"
    INDEXES = "indexes"
    CATCH_UP = "catch_up"
    STREAM = "stream"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class PartProgress:
    """One kind of work. `done` never exceeds `total`; units are bytes for data and index, objects for structure."""

    done: int = 0
    total: int = 0
    origin: TotalOrigin = TotalOrigin.STATISTICS
    is_finished: bool = False
    remaining_s: int | None = None

    @property
    def percent(self) -> int:
        """0..100; 100 only when the part is finished."""
        if self.is_finished:
            return 100
        if self.total <= 0:
            return 0
        return min(99, self.done * 100 // self.total)


@dataclass(frozen=True, slots=True)
class TableProgress:
    """One table's copy."""

    schema: str
    name: str
    rows_done: int
    rows_total: int
    bytes_done: int
    bytes_total: int
    origin: TotalOrigin
    is_finished: bool


WAITING_FOR_PAUSE = "the pause to end"
"""`Progress.waiting_for` of a stream whose applier has come to rest because the operator asked for a pause."""


@dataclass(frozen=True, slots=True)
class Progress:
    """All figures of a job at one moment.

    `at_us`: worker's clock, microseconds since the epoch, UTC.  `percent`: of the full phase, 0..100, never
    backwards, 100 only when the full phase is over.  `remaining_s`: None when not known, 0 only when nothing
    remains.  `proven_source_time_us`: T of the delay proof, on the *source's* clock; None when nothing has
    been proven.  `source_clock_offset_us`: source clock minus worker clock.  Rates are per second over the last
    seconds, None outside the stream.
    """

    at_us: int
    phase: Phase
    percent: int = 0
    structure: PartProgress = PartProgress()
    data: PartProgress = PartProgress()
    index: PartProgress = PartProgress()
    remaining_s: int | None = None
    proven_source_time_us: int | None = None
    source_clock_offset_us: int | None = None
    rows_copied: int = 0
    bytes_copied: int = 0
    transactions_applied: int = 0
    changes_applied: int = 0
    apply_rows_per_s: float | None = None
    apply_bytes_per_s: float | None = None
    copy_rows_per_s: float | None = None
    copy_bytes_per_s: float | None = None
    applied_position: str | None = None
    source_position: str | None = None
    tables: tuple[TableProgress, ...] = ()
    waiting_for: str | None = None


def delay_ms(progress: Progress, *, now_us: int) -> int | None:
    """How far the target is behind at `now_us` (this machine's clock), in milliseconds; None when not proven.

    delay = now - T, with T moved from the source's clock to ours.  Never negative.
    """
    if progress.proven_source_time_us is None or progress.phase not in (Phase.CATCH_UP, Phase.STREAM):
        return None
    proven_here_us = progress.proven_source_time_us - (progress.source_clock_offset_us or 0)
    return max(0, now_us - proven_here_us) // 1000

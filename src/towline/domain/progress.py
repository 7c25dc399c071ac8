"""What a worker says about a job once a second, and what is derived from it when somebody asks.

A `Progress` is one moment: every figure in it was taken together.  Whatever depends on *now* (the delay) is
derived by the reader, so a dead worker cannot keep a figure fresh.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from towline.domain.diagnosis import Diagnosis
from towline.domain.tables import TotalOrigin


class Phase(Enum):
    """What a job is doing, derived from stored facts."""

    __hash__ = object.__hash__  # members are single objects; Enum's own is Python code, and called by the thousand

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


CONFIDENCE = 0.8
"""The share of remaining times that are meant to lie in the range given with the estimate."""
WAITING_FOR_PAUSE = "the pause to end"
"""`Progress.waiting_for` of a stream whose applier has come to rest because the operator asked for a pause."""
WAITING_FOR_SPEED = "the speed limit"
"""`Progress.waiting_for` while the operator's speed limit holds the next piece back."""


@dataclass(frozen=True, slots=True)
class Progress:
    """All figures of a job at one moment.

    `at_us`: worker's clock, microseconds since the epoch, UTC.  `percent`: of the full phase, 0..100, never
    backwards, 100 only when the full phase is over.  `remaining_s`: until the job has copied everything and, if it
    follows, is in step; None when not known, 0 only when nothing remains; estimated at `remaining_at_us`, and with
    `CONFIDENCE` between `remaining_low_s` and `remaining_high_s`.  `proven_source_time_us`: T of the delay proof, on
    the *source's* clock; None when nothing has been proven.  `source_clock_offset_us`: source clock minus worker
    clock.  Rates are per second over the last seconds, None outside the stream.  `received_*`: as the proof, but of
    what has been read from the source.  `applying_since_us`: when the batch was begun that the target is at, worker's
    clock.  `diagnosis` is left out where many jobs are read at once, as `tables` is.
    """

    at_us: int
    phase: Phase
    percent: int = 0
    structure: PartProgress = PartProgress()
    data: PartProgress = PartProgress()
    index: PartProgress = PartProgress()
    remaining_s: int | None = None
    remaining_low_s: int | None = None
    remaining_high_s: int | None = None
    remaining_at_us: int | None = None
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
    received_position: str | None = None
    received_source_time_us: int | None = None
    applying_since_us: int | None = None
    queued_bytes: int | None = None
    diagnosis: Diagnosis | None = None


class Figures(Protocol):
    """The part of a `Progress` that is read for thousands of jobs at once; see there."""

    @property
    def at_us(self) -> int: ...
    @property
    def phase(self) -> Phase: ...
    @property
    def percent(self) -> int: ...
    @property
    def structure(self) -> PartProgress: ...
    @property
    def data(self) -> PartProgress: ...
    @property
    def index(self) -> PartProgress: ...
    @property
    def remaining_s(self) -> int | None: ...
    @property
    def proven_source_time_us(self) -> int | None: ...
    @property
    def source_clock_offset_us(self) -> int | None: ...
    @property
    def apply_rows_per_s(self) -> float | None: ...
    @property
    def apply_bytes_per_s(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class DelaySplit:
    """Where the delay arises, in milliseconds; the three parts add up to `total_ms`.

    `read_ms`: on the source and on the way from it.  `queue_ms`: read, and not begun on the target.  `apply_ms`: the
    target is at it.
    """

    total_ms: int
    read_ms: int
    queue_ms: int
    apply_ms: int


_FUTURE_US = 250_000


def proven_here_us(progress: Figures) -> int | None:
    """T on the worker's clock; None when nothing has been proven.

    A T that the worker had not reached when it reported was measured by a clock that had just been set: no proof.
    """
    if progress.proven_source_time_us is None:
        return None
    here_us = progress.proven_source_time_us - (progress.source_clock_offset_us or 0)
    return None if here_us > progress.at_us + _FUTURE_US else here_us


def delay_ms(progress: Figures, *, now_us: int) -> int | None:
    """How far the target is behind at `now_us` (this machine's clock), in milliseconds; None when not proven.

    delay = now - T, with T moved from the source's clock to ours.  Never negative.
    """
    since_us = delay_since_us(progress)
    return None if since_us is None else grown_ms(since_us, now_us)


def delay_since_us(progress: Figures) -> int | None:
    """T on our clock, from which the delay is counted; None when there is no delay, see `delay_ms`."""
    return proven_here_us(progress) if progress.phase in (Phase.CATCH_UP, Phase.STREAM) else None


def grown_ms(since_us: int, now_us: int) -> int:
    """The delay at `now_us` that is counted from `since_us`."""
    return max(0, now_us - since_us) // 1000


def split_delay(progress: Progress, *, now_us: int) -> DelaySplit | None:
    """The delay at `now_us` by parts; None when there is none, see `delay_ms`.

    What is not known to have been read counts as not read.  A worker that is dead reads nothing, so that part grows.
    """
    total_ms = delay_ms(progress, now_us=now_us)
    if total_ms is None or progress.proven_source_time_us is None:
        return None
    # What is durable on the target has also been read, whatever a new worker knows of it.
    read_until_us = max(progress.proven_source_time_us, progress.received_source_time_us or 0)
    read_here_us = read_until_us - (progress.source_clock_offset_us or 0)
    read_ms = min(total_ms, max(0, now_us - read_here_us) // 1000)
    apply_ms = 0
    if progress.applying_since_us is not None:
        # As far as the worker has told: whether the target went on after that is not known.
        apply_ms = min(total_ms - read_ms, max(0, progress.at_us - progress.applying_since_us) // 1000)
    return DelaySplit(total_ms, read_ms, total_ms - read_ms - apply_ms, apply_ms)

"""How long a job still takes, from what it has done so far. Pure: time is passed in.

Three amounts are left, each with a speed of its own, and each with an uncertainty:

- rows: by the speed since the copy began, or of the last seconds if less is left than was copied, in units that take
  about the same time wherever they are copied (`CopyFigures.work`);
- indexes: before any is built, by their sizes and the copy's speed, which tells what the target can take; later
  by the speed at which they are built;
- the catch-up of a job that follows: what the source writes meanwhile, by the log that it keeps for the job, at a speed
  that is told by the copy's, as both show what the target can take; once it runs by how fast the proven source time
  moves.  Of the log that is written meanwhile only as much is changes as the rows that were changed can account for,
  where the source counts them: PostgreSQL logs whole pages when they are first read after a change, or vacuumed.  The
  rest is read and passed over by the source, which is quick, but such pages can be as much as all tables.

What has no evidence is not known, and neither is a sum with such a part in it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from towline.domain.pace import USUAL_PACE, TargetPace
from towline.domain.structure import StructureItem

_MIN_EVIDENCE_S: Final = 1.0
_SMALL_COST: Final = 64 * 1024
_RECENT_S: Final = 20.0
# Caches fill and files grow at first: of a longer time this much is left out.
_WARM_UP_S: Final = 3.0
_MAX_SAMPLES: Final = 512
# So near, the target is there in a moment, whatever its speed.
_NEAR_S: Final = 5.0
# How many bytes of rows are copied in the time that an index takes, beside `TargetPace`: at least so many for each row
# of its table, as equal keys take no room.  Before anything is measured.
_PER_ROW: Final = {"gin": 100.0, "gist": 500.0, "spgist": 300.0, "brin": 15.0}
# Where words or trigrams are made of a text for it.
_PER_ROW_OF_TEXT: Final = 350.0
_PER_ROW_PLAIN: Final = 50.0
_PER_FULLTEXT_BYTE: Final = 6.0
# What is no index weighs what it reads of a table.
_READING_COST: Final = {"STATISTICS DATA": 1.0, "FK CONSTRAINT": 0.4, "MATERIALIZED VIEW DATA": 2.0}
# From the last index until a first proof, on a source that writes nothing.
_FIRST_PROOF_S: Final = 1.0
# Changes are applied by one session, however many the copy had.
_MAX_APPLY_BYTES_PER_S: Final = 30_000_000.0
# Log without changes: the source's own reading of it.
_PASSED_BYTES_PER_S: Final = 2_000_000_000.0
# The most of the log that is due to a changed row, index entries included, besides twice a row's size.
_MAX_LOG_BYTES_PER_CHANGE: Final = 1024
# Servers are ahead or behind with what they tell of an index, and a log is not as dense everywhere, so a guess is given
# up only when so much is done.
_PRIOR_SHARE: Final = 0.4
# What took so long already, and longer than was thought, takes some more.
_WAITED_SHARE: Final = 0.25
# Ten years: what would take longer hardly moves, and nobody knows when it ends.
_LONGEST_S: Final = 315_360_000.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds left: the one figure, and the range that holds the truth with `domain.progress.CONFIDENCE`."""

    seconds: int
    low_s: int
    high_s: int


class Pace:
    """A growing amount of work, and how fast it grows. Keeps samples of all of its time, ever further apart."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()
        self._spacing_s = 0.2
        self._newest: tuple[float, float] | None = None

    def add(self, now_s: float, done: float) -> None:
        """`done` is a running total."""
        self._newest = now_s, done
        if len(self._samples) == 1 and done == self._samples[0][1]:
            self._samples[0] = self._newest  # the work has not begun: sessions are being opened
        if self._samples and now_s - self._samples[-1][0] < self._spacing_s:
            return
        self._samples.append(self._newest)
        if len(self._samples) > _MAX_SAMPLES:
            self._samples = deque(list(self._samples)[::2])
            self._spacing_s *= 2

    @property
    def elapsed_s(self) -> float:
        return 0.0 if self._newest is None else self._newest[0] - self._samples[0][0]

    @property
    def grown(self) -> float:
        """Since the first sample."""
        return 0.0 if self._newest is None else self._newest[1] - self._samples[0][1]

    def per_s(self, left: float) -> float | None:
        """The speed that `left` more units will be done with; None without evidence, or if nothing moves any more.

        The more is left, the more of the past counts.
        """
        if self._newest is None or self.elapsed_s < _MIN_EVIDENCE_S:
            return None
        if self._since(_RECENT_S) <= 0:
            return None
        warm_s = self.elapsed_s - min(_WARM_UP_S, self.elapsed_s / 3)
        whole = self._since(warm_s)
        rate = whole if whole <= 0 else self._since(min(warm_s, max(_RECENT_S, left / whole)))
        return rate or None

    def _since(self, window_s: float) -> float:
        assert self._newest is not None
        now_s, done = self._newest
        first_s, first = next(s for s in self._samples if now_s - s[0] <= window_s + self._spacing_s)
        return max(0.0, done - first) / max(now_s - first_s, 1e-3)


def index_cost(item: StructureItem, *, rows: int, live_share: float, pace: TargetPace) -> float:
    """Bytes of rows that are copied in the time that the item takes to build: a guess.

    `rows`: of its table; `live_share`: of what the table takes on the source. Its indexes there hold the dead, too.
    """
    if item.kind in _READING_COST:
        return item.weight_bytes * _READING_COST[item.kind]
    if not item.weight_bytes:
        return _SMALL_COST
    if item.kind == "INDEX" and item.statements and item.statements[0].startswith("ALTER TABLE "):
        is_fulltext = " ADD FULLTEXT " in item.statements[0]
        return _SMALL_COST + item.weight_bytes * (_PER_FULLTEXT_BYTE if is_fulltext else pace.index_byte)
    text = item.statements[0].lower() if item.kind == "INDEX" and item.statements else ""
    method = next((name for name in _PER_ROW if f" using {name} " in text), "")
    per_row = _PER_ROW.get(method, _PER_ROW_PLAIN)
    if method == "gin" and any(word in text for word in ("to_tsvector(", "gin_trgm_ops")):
        per_row = _PER_ROW_OF_TEXT
    return _SMALL_COST + max(item.weight_bytes * live_share * pace.index_byte, rows * per_row)


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of the full phase, in bytes of rows that are copied in the same time; see `index_cost`."""

    data: float
    is_data_finished: bool
    index: float
    index_total: float
    is_index_finished: bool


@dataclass(frozen=True, slots=True)
class SourceLog:
    """What the source has written, seen at `at_s`: its log ended at `end_bytes`, `held_bytes` were still to be read.

    `unseen_s`: so long before the first look the job has needed it too, of which only the time is known.
    `changed_rows`: a running total, None if it is not known now.  `uncounted_bytes`: what of `held_bytes` was written
    before its rows were counted, and may be anything.  `row_bytes`: of a copied row, in the mean.
    """

    at_s: float
    end_bytes: int
    held_bytes: int
    unseen_s: float = 0.0
    changed_rows: int | None = None
    uncounted_bytes: int = 0
    row_bytes: float = 0.0


class Forecaster:
    """Gathers the paces of one run.

    `target`: what is known of its target before anything is measured; `target_bytes`: tables and indexes there, in
    the end.
    """

    def __init__(self) -> None:
        self.target = USUAL_PACE
        self.target_bytes = 0.0
        self.data = Pace()
        self.index = Pace()
        self._index_begun: tuple[float, float] | None = None  # when, and what was built then
        self._index_waited_s = 0.0
        self._proven = Pace()
        self._catch_up_begun: tuple[float, float] | None = None  # when, and how long it was thought to take
        self._catch_up_s = 0.0
        self._first_log: SourceLog | None = None
        self._log: SourceLog | None = None

    def add_index(self, now_s: float, done: float) -> None:
        """`done`: a running total, while indexes are being built."""
        self.index.add(now_s, done)
        if self._index_begun is None:
            self._index_begun = now_s, done
        begun_s, first = self._index_begun
        self._index_waited_s = now_s - begun_s if done == first else 0.0

    def add_log(self, log: SourceLog) -> None:
        self._first_log = self._first_log or log
        self._log = log

    def add_proven(self, now_s: float, proven_us: int | None) -> None:
        """`proven_us`: while the stream runs, None before the first proof."""
        if self._catch_up_begun is None:
            # A run that did not see the copy knows nothing of what has come together.
            has_seen = self._log_per_s() is not None and self.data.per_s(math.inf) is not None
            self._catch_up_begun = now_s, (self._catch_up_ahead_s(0.0) or 0.0) if has_seen else 0.0
        self._catch_up_s = now_s - self._catch_up_begun[0]
        if proven_us is not None:
            self._proven.add(now_s, proven_us / 1e6)

    def parts_s(self, left: Left) -> tuple[float | None, float | None]:
        """Seconds for rows and for indexes; None when not known."""
        data_rate = self.data.per_s(left.data)
        data_s: float | None = 0.0
        if not left.is_data_finished:
            data_s = None if data_rate is None else left.data / data_rate
        return data_s, self._index_s(left, self.data.per_s(math.inf) or data_rate)

    def full_phase(self, left: Left, *, follows: bool) -> Forecast | None:
        """Until the full phase is over, and with `follows` until the target is in step."""
        data_s, index_s = self.parts_s(left)
        if data_s is None or index_s is None:
            return None
        catch_up_s = self._catch_up_ahead_s(data_s + index_s) if follows else 0.0
        if catch_up_s is None:
            return None
        seen = self.data.elapsed_s / (self.data.elapsed_s + data_s + 1e-3)
        built = 1 - left.index / left.index_total if left.index_total else 1.0
        return _forecast(
            [
                (data_s, 0.15 + 0.25 * (1 - seen)),
                (index_s, 0.25 if built > _PRIOR_SHARE else 0.5),
                (catch_up_s, 0.7),
            ]
        )

    def catch_up(self, delay_s: float | None) -> Forecast | None:
        """Until the target is in step, while the stream runs; None when it does not come nearer."""
        left_s, doubt = self._catch_up_as_thought_s(), 0.7
        if delay_s is not None and self._proven.elapsed_s >= _MIN_EVIDENCE_S:
            speed = self._proven.per_s(delay_s)  # seconds of the source per second
            measured_s = None if speed is None or speed <= 1.05 else delay_s / (speed - 1)
            if measured_s is not None and left_s is not None:
                measured_s = _blend(measured_s, left_s, done=self._proven.grown / (self._proven.grown + delay_s))
            left_s, doubt = measured_s, 0.4
        if left_s is not None:
            return _forecast([(left_s, doubt)])
        return Forecast(1, 0, int(_NEAR_S)) if delay_s is not None and delay_s <= _NEAR_S else None

    def _index_s(self, left: Left, data_rate: float | None) -> float | None:
        if left.is_index_finished:
            return 0.0
        if left.index_total <= 0:
            return 0.0
        share = left.index / left.index_total
        guessed = None if data_rate is None else left.index / data_rate
        rate = self.index.per_s(left.index)
        if rate is None:
            # A target that does not tell how far it is: what it was given is over bit by bit.
            waited_s = self._index_waited_s
            return None if guessed is None else max(guessed - waited_s, waited_s * _WAITED_SHARE)
        measured = left.index / rate
        if guessed is None:
            return measured
        return _blend(measured, guessed, done=1 - share)

    def _catch_up_ahead_s(self, until_then_s: float) -> float | None:
        """How long the catch-up will take that begins in `until_then_s`; None if the target would never get there."""
        log, first = self._log, self._first_log
        if log is None or first is None:
            return _FIRST_PROOF_S  # the source has not said yet; most write little beside a migration
        share, grown_per_s = _change_share(first, log), self._log_per_s() or 0.0
        more = grown_per_s * (log.unseen_s + until_then_s)
        changes = log.uncounted_bytes + (log.held_bytes - log.uncounted_bytes + more) * share
        passed = log.held_bytes + more - changes
        changes_per_s = grown_per_s * share
        copy_rate = self.data.per_s(math.inf)
        apply_cost = self.target.apply_cost(self.target_bytes)
        apply_rate = min(_MAX_APPLY_BYTES_PER_S, math.inf if copy_rate is None else copy_rate / apply_cost)
        if changes_per_s >= apply_rate * 0.9:
            return None
        return _FIRST_PROOF_S + changes / (apply_rate - changes_per_s) + passed / _PASSED_BYTES_PER_S

    def _log_per_s(self) -> float | None:
        """Bytes that the source's log grows by; None without evidence."""
        log, first = self._log, self._first_log
        if log is None or first is None or log.at_s - first.at_s < _MIN_EVIDENCE_S:
            return None
        return max(0, log.end_bytes - first.end_bytes) / (log.at_s - first.at_s)

    def _catch_up_as_thought_s(self) -> float | None:
        """Before it is seen how fast the stream is; None once it takes longer than was thought."""
        thought_s = 0.0 if self._catch_up_begun is None else self._catch_up_begun[1]
        left_s = thought_s - self._catch_up_s
        return left_s if left_s > 0 else None


def _blend(measured_s: float, thought_s: float, *, done: float) -> float:
    """Of what was measured and what was thought before, when a share of the work is done.

    Either may be wrong by a factor; a mean of seconds would follow whichever is too large.
    """
    trust = min(1.0, done / _PRIOR_SHARE)
    return float(measured_s**trust * thought_s ** (1 - trust))


def _change_share(first: SourceLog, log: SourceLog) -> float:
    """At most so much of the log that was written between two looks is changes. 1 where rows were not counted."""
    grown = log.end_bytes - first.end_bytes
    if grown <= 0 or log.changed_rows is None or first.changed_rows is None:
        return 1.0
    rows = log.changed_rows - first.changed_rows
    if rows < 0:  # the source's statistics were reset
        return 1.0
    return min(1.0, rows * (_MAX_LOG_BYTES_PER_CHANGE + 2 * log.row_bytes) / grown)


def _forecast(parts: Sequence[tuple[float, float]]) -> Forecast | None:
    """`parts`: seconds, and how wrong they may be as a share; their errors do not depend on each other."""
    seconds = sum(part for part, _ in parts)
    if seconds > _LONGEST_S:
        return None
    spread = math.sqrt(sum((part * doubt) ** 2 for part, doubt in parts))
    return Forecast(
        seconds=max(1, round(seconds)),
        low_s=max(0, math.floor(seconds - spread)),
        high_s=math.ceil(seconds + spread * 1.3) + 1,
    )

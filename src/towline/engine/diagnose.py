"""Looks at both sides of a running job again and again, to say what it waits for.

Theory of operation: two tasks, one a side, each on a connection of its own, so that a side that hangs does not keep the
other one from being seen, and a blocked applier keeps neither.  Each writes what it saw, or since when its side has not
answered, into one `Diagnosis` that the ticker reports with the other figures.  Nothing here can fail a job: whatever
goes wrong with looking leaves the facts to grow old, and old facts are known to be no facts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from towline.domain.diagnosis import Diagnosis, Outage, SourceFacts, TargetFacts
from towline.domain.errors import ConnectionRefused, Side, TowlineError, TransientError
from towline.engine.ports import Clock, CopyFacts, Sides, SourceDiagnosis, TargetDiagnosis
from towline.engine.progress import MovementMeter, RateMeter

_INTERVAL_S: Final = 2.0
# The slot's place moves in steps of a checkpoint's length or so: less says nothing of where it goes.
_LOG_WINDOW_S: Final = 600.0
_LOG_EVIDENCE_S: Final = 60.0


class DiagnosisBoard:
    """What was seen of a job so far; outlives attempts, so that an outage between them shows."""

    def __init__(self, clock: Clock, *, cpu_s: Callable[[], float] = time.process_time) -> None:
        """`cpu_s`: the processor time that this process has used so far."""
        self._clock = clock
        self._cpu_s = cpu_s
        # Never nothing: an outage that the job's last worker had met is told no longer.
        self._seen = Diagnosis(clock.now_us())
        self._held = RateMeter(window_s=_LOG_WINDOW_S, min_evidence_s=_LOG_EVIDENCE_S)
        self._log = RateMeter(window_s=_LOG_WINDOW_S, min_evidence_s=_LOG_EVIDENCE_S)
        self._cpu = RateMeter(window_s=2 * _INTERVAL_S, min_evidence_s=_INTERVAL_S / 2)
        self._movement = MovementMeter()
        self._limit_bytes_per_s: int | None = None
        self._sequences_at_us: int | None = None
        self._log_needed_since_us: int | None = None

    @property
    def newest(self) -> Diagnosis:
        return self._seen

    def now_us(self) -> int:
        return self._clock.now_us()

    def take_source(self, facts: SourceFacts) -> None:
        now_s = self._clock.monotonic_s()
        if facts.log_end_bytes is not None:
            self._log.add(now_s, facts.log_end_bytes)
        if facts.log.held_bytes is not None:
            self._held.add(now_s, facts.log.held_bytes)
        self._change(
            source=facts,
            source_outage=None,
            held_growth_bytes_per_s=self._held.per_s(),
            log_bytes_per_s=self._log.per_s(),
        )

    def take_target(self, facts: TargetFacts) -> None:
        self._change(target=facts, target_outage=None)

    def fail(self, side: Side, error: str) -> None:
        """The side does not answer; since when, is since it first did not."""
        member = {Side.SOURCE: "source_outage", Side.TARGET: "target_outage"}.get(side)
        if member is None:
            return
        known: Outage | None = getattr(self._seen, member, None)
        self._change(**{member: Outage(known.since_us if known else self._clock.now_us(), error)})

    def take_copy(self, facts: CopyFacts) -> None:
        """The stream will begin with the oldest snapshot that rows were copied under."""
        ages_s = [snapshot.age_s for snapshot in facts.snapshots if snapshot.age_s is not None]
        if ages_s:
            self._log_needed_since_us = self._clock.now_us() - int(max(ages_s) * 1e6)
            self._change()

    def sequences_written(self) -> None:
        self._sequences_at_us = self._clock.now_us()
        self._change()

    def tick(self, amount: object, *, limit_bytes_per_s: int | None) -> None:
        """`amount` differs from the last one exactly if the target has acknowledged something since."""
        self._movement.add(self._clock.now_us(), amount)
        self._cpu.add(self._clock.monotonic_s(), self._cpu_s())
        self._limit_bytes_per_s = limit_bytes_per_s

    def _change(self, **members: object) -> None:
        now_us = self._clock.now_us()
        share = self._cpu.per_s()
        self._seen = replace(
            self._seen,
            at_us=now_us,
            cpu_share=None if share is None else min(1.0, share),
            limit_bytes_per_s=self._limit_bytes_per_s,
            moved_at_us=self._movement.moved_at_us,
            usual_gap_s=self._movement.usual_gap_s,
            sequences_at_us=self._sequences_at_us,
            log_needed_since_us=self._log_needed_since_us,
            **members,  # type: ignore[arg-type]
        )


async def run_diagnosis(sides: Sides, board: DiagnosisBoard) -> None:
    """Look at both sides until cancelled."""
    source, target = sides.new_source_diagnosis(), sides.new_target_diagnosis()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_look_at_source(source, board))
            tasks.create_task(_look_at_target(target, board))
    finally:
        await asyncio.gather(source.close(), target.close())


async def _look_at_source(source: SourceDiagnosis, board: DiagnosisBoard) -> None:
    while True:
        try:
            board.take_source(await source.read(at_us=board.now_us()))
        except (TransientError, ConnectionRefused) as error:
            board.fail(Side.SOURCE, error.message)
        except TowlineError:
            pass  # it answers, but does not show what was asked for: the facts grow old
        await asyncio.sleep(_INTERVAL_S)


async def _look_at_target(target: TargetDiagnosis, board: DiagnosisBoard) -> None:
    while True:
        try:
            board.take_target(await target.read(at_us=board.now_us()))
        except (TransientError, ConnectionRefused) as error:
            board.fail(Side.TARGET, error.message)
        except TowlineError:
            pass  # it answers, but does not show what was asked for: the facts grow old
        await asyncio.sleep(_INTERVAL_S)

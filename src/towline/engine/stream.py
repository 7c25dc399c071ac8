"""The live feed: reader, relay, applier and probe, joined until a goal is reached or a stop is wanted.

Theory of operation
-------------------
Tasks of one attempt, all on one event loop:

* the reader (a connection to the source) decodes changes and puts whole transactions into the relay, which folds
  them at once; it stops while the relay is full;
* the applier (a session of the target) takes whatever the relay holds as soon as it is free, and writes it with
  the checkpoint in one target transaction; while the target works on a batch, the reader fills the next one;
* the watcher notices when the target takes long, and says what it waits for.

Beside them, and across attempts, runs the probe: as often as figures are passed on it asks the source for time and
position on a connection of its own.  What the probe and the applier learn meets in the `LagProof`.

Exactly once: the target's checkpoint is the only memory of how far the stream is.  An attempt begins by reading it
back and asks the source for everything after it; the source repeats what came later, the relay drops what
came before.  Changes and checkpoint commit together (I1, I2), so an attempt may end anywhere: every
failure, on either side, drops both connections and all that is in memory.

What may be interrupted: everything.  A stop first closes the relay, so that the batch at hand can still commit; only
when that takes too long is it cancelled, and the target rolls it back.

Who owns what: the reader its connection and decoder, the applier its session, the relay the changes between them
(bounded by `memory_bytes`) and the spill its files.  Only `AppliedState` is shared, and only written from here
and from `apply`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from towline.domain.errors import PositionLost, TowlineError, TransientError
from towline.engine.apply import AppliedState, run_apply, save_position
from towline.engine.ports import (
    ChangeApplier,
    ChangeStream,
    Clock,
    Control,
    SourceProbe,
    StreamFigures,
    StreamGoal,
    StreamSides,
)
from towline.engine.relay import Relay
from towline.engine.retry import choose_failure, is_worth_retrying, retry_delays_s
from towline.engine.spill import Spill
from towline.engine.tasks import end_tasks

_NUDGE_AFTER_S: Final = 1.0
_NUDGE_INTERVAL_S: Final = 5.0
_WATCH_INTERVAL_S: Final = 0.5
_SLOW_APPLY_S: Final = 1.0
_UNREACHABLE_LIMIT_S: Final = 30.0
_STOP_PATIENCE_S: Final = 5.0
# Of the probe's interval, where only samples tell when something was committed.
_SHARE_WITHOUT_COMMIT_TIMES: Final = 0.3
# Shares of the memory: what waits in the relay or is being applied, one batch, transactions in progress.
_RELAY_SHARE, _BATCH_SHARE, _SPILL_SHARE = 2, 8, 8


async def run_stream(
    sides: StreamSides,
    goal: StreamGoal,
    *,
    control: Control,
    clock: Clock,
    on_figures: Callable[[StreamFigures], None],
    probe_interval_s: Callable[[], float] = lambda: 1.0,
) -> None:
    """Stream until the goal is durable on the target or the operator wants a stop.

    `on_figures` gets, once, an object that can be read at any moment.  `probe_interval_s` says how often the source is
    asked at present; more often than that where its transactions do not say when they were committed.  Transient
    failures of either side are retried with growing pauses.

    Raises:
        LeaseLost, DataError, SetupError, PositionLost: all that was confirmed stays applied, nothing else is.
    """
    await _Stream(sides, goal, control, clock, on_figures, probe_interval_s).run()


class _Stream:
    """One call of `run_stream`."""

    def __init__(
        self,
        sides: StreamSides,
        goal: StreamGoal,
        control: Control,
        clock: Clock,
        on_figures: Callable[[StreamFigures], None],
        probe_interval_s: Callable[[], float],
    ) -> None:
        self._sides = sides
        self._goal = goal
        self._control = control
        self._clock = clock
        self._probe_interval_s = probe_interval_s
        self._probe_share = 1.0
        self._state = AppliedState(clock)
        self._reader: ChangeStream | None = None
        self._relay: Relay | None = None
        on_figures(self._state)

    async def run(self) -> None:
        probing = asyncio.create_task(self._keep_probing())
        try:
            await self._attempts()
        finally:
            await end_tasks(probing)

    async def _attempts(self) -> None:
        delays_s = retry_delays_s()
        failures = 0
        while not self._control.is_stop_wanted:
            before = self._state.applied_position
            try:
                await self._attempt()
                return
            except TowlineError as error:
                if self._state.applied_position != before:
                    delays_s, failures = retry_delays_s(), 0
                failures += 1
                if not is_worth_retrying(error, failures_in_a_row=failures):
                    raise
                delay_s = next(delays_s)
                self._state.wait("retry", f"a retry in {delay_s:.0f} s: {error.message}")
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._control.wait_stop()
            self._state.wait("retry", None)

    # --- one attempt ------------------------------------------------------------------------------

    async def _attempt(self) -> None:
        """Open both sides and stream. Returns when the goal is reached or a stop is wanted."""
        applier, reader = self._sides.new_applier(), self._sides.new_changes()
        memory_bytes = self._sides.memory_bytes
        spill = Spill(self._sides.spill_dir, memory_bytes=memory_bytes // _SPILL_SHARE)
        try:
            checkpoint = await applier.open(self._goal.start)
            self._state.resumed(checkpoint)
            if self._goal.until is not None and checkpoint.position.covers(self._goal.until):
                return
            self._relay = Relay(
                checkpoint.position,
                spill,
                capacity_bytes=memory_bytes // _RELAY_SHARE,
                batch_bytes=memory_bytes // _BATCH_SHARE,
                tolerant_until=self._goal.tolerant_until,
                table_floors=self._goal.table_floors,
                only=self._goal.only,
            )
            try:
                await reader.open(checkpoint.position, self._relay)
            except PositionLost:
                # I6: a worker that was frozen since it read the checkpoint may have lost the job; this write tells.
                await applier.save_position(checkpoint.position)
                raise
            self._reader = reader
            self._state.reading.begin(self._relay)
            await self._join(reader, applier, self._relay)
            await self._leave_position(applier, reader)
        finally:
            self._reader = self._relay = None
            self._state.reading.end()
            await reader.close()
            await applier.close()
            spill.clear()

    async def _join(self, reader: ChangeStream, applier: ChangeApplier, relay: Relay) -> None:
        """Run the tasks until one of them ends, or a stop is wanted."""
        reading = asyncio.create_task(reader.run())
        applying = asyncio.create_task(
            run_apply(
                relay,
                applier,
                self._state,
                control=self._control,
                clock=self._clock,
                confirm=reader.confirm,
                until=self._goal.until,
            )
        )
        watching = asyncio.create_task(self._watch(applier))
        stop = asyncio.create_task(self._control.wait_stop())
        tasks = {reading, applying, watching}
        try:
            await asyncio.wait({*tasks, stop}, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                # Nothing new is begun, the batch at hand may commit.
                relay.close()
                await asyncio.wait({applying}, timeout=_STOP_PATIENCE_S)
            failures = [task.exception() for task in tasks if task.done() and not task.cancelled()]
            known = [failure for failure in failures if failure is not None]
            if known and not stop.done():
                raise choose_failure(known)
            # A lasting failure of the last batch is worth telling even when a stop is wanted.
            lasting = [failure for failure in known if not isinstance(failure, TransientError)]
            if lasting:
                raise choose_failure(lasting)
        finally:
            await end_tasks(*tasks, stop)

    async def _leave_position(self, applier: ChangeApplier, reader: ChangeStream) -> None:
        """Save how far the stream came, so that the next run need not look at an idle stretch again."""
        with suppress(TransientError):
            await save_position(applier, self._state)
            if self._state.checkpoint is not None:
                reader.confirm(self._state.checkpoint.position)

    async def _watch(self, applier: ChangeApplier) -> None:
        """Say what a slow target waits for; fail when it cannot be reached any more."""
        unreachable_since_s: float | None = None
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_S)
            if self._state.applying_s() < _SLOW_APPLY_S:
                self._state.wait("target", None)
                unreachable_since_s = None
                continue
            try:
                self._state.wait("target", await applier.describe_wait())
                unreachable_since_s = None
            except TransientError as error:
                now_s = self._clock.monotonic_s()
                unreachable_since_s = now_s if unreachable_since_s is None else unreachable_since_s
                self._state.wait("target", f"the target: {error.message}")
                if now_s - unreachable_since_s > _UNREACHABLE_LIMIT_S:
                    raise

    # --- the probe --------------------------------------------------------------------------------

    async def _keep_probing(self) -> None:
        probe = self._sides.new_probe()
        moved_at_s, position = self._clock.monotonic_s(), self._state.applied_position
        nudged_at_s = moved_at_s - _NUDGE_INTERVAL_S
        try:
            while True:
                # T stands still while the source does not answer, and the delay grows by itself.
                with suppress(TowlineError):
                    await self._sample(probe)
                    now_s = self._clock.monotonic_s()
                    if position != self._state.applied_position:
                        moved_at_s, position = now_s, self._state.applied_position
                    is_idle = self._relay is not None and self._relay.held_bytes == 0
                    is_stuck = is_idle and self._state.proof.is_waiting and now_s - moved_at_s > _NUDGE_AFTER_S
                    if is_stuck and now_s - nudged_at_s > _NUDGE_INTERVAL_S:
                        # Written but not flushed on the source: nothing would move the sender past it.
                        nudged_at_s = now_s
                        await probe.nudge()
                await asyncio.sleep(self._probe_interval_s() * self._probe_share)
        finally:
            await probe.close()

    async def _sample(self, probe: SourceProbe) -> None:
        sent_us = self._clock.now_us()
        sample = await probe.sample()
        for proof in (self._state.proof, self._state.reading):
            proof.sampled(sample, sent_us=sent_us, received_us=self._clock.now_us())
        self._probe_share = 1.0 if sample.has_exact_commits else _SHARE_WITHOUT_COMMIT_TIMES
        if self._state.proof.is_waiting and self._reader is not None:
            self._reader.ask_position()

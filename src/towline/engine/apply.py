"""The applying half of a stream: batch after batch onto the target, and what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from towline.domain.positions import Position
from towline.domain.progress import WAITING_FOR_PAUSE, WAITING_FOR_SPEED
from towline.engine.batch import Batch
from towline.engine.lag import LagProof, ReadProof
from towline.engine.ports import ChangeApplier, Checkpoint, Clock, Control
from towline.engine.progress import RateMeter
from towline.engine.relay import Relay, RelayClosed, payload_bytes
from towline.engine.throttle import Throttle

_PAUSE_POLL_S: Final = 0.1
# A position without changes is written to the target this often; the proof of delay does not wait for it.
_SAVE_INTERVAL_S: Final = 10.0
# Far behind, commits are made durable together: one flush of the target's log for all within this time.
_FLUSH_INTERVAL_S: Final = 0.5
# Under a speed limit batches are cut so that none is worth more than this.
_LIMITED_BATCH_S: Final = 0.5
_SMALLEST_BATCH_BYTES: Final = 64 * 1024
# Further behind than this, batches begin no more often than at the interval. A target in step never waits.
_BEHIND_US: Final = 2_000_000
_CATCH_UP_INTERVAL_S: Final = 0.25


class AppliedState:
    """All that is known of the applied side; implements `ports.StreamFigures`. Outlives reconnects."""

    def __init__(self, clock: Clock) -> None:
        self.proof = LagProof()
        self.reading = ReadProof()
        self.checkpoint: Checkpoint | None = None
        # Durable on the target, the last commit included only if `is_flushed`.
        self.position: Position | None = None
        self.is_flushed = True
        self.conflicts = 0
        self._applying_since_s: float | None = None
        self._waits: dict[str, str] = {}
        self._clock = clock
        self._bytes = 0
        self._row_rate = RateMeter(window_s=5.0)
        self._byte_rate = RateMeter(window_s=5.0)

    # --- StreamFigures ----------------------------------------------------------------------------

    @property
    def proven_source_time_us(self) -> int | None:
        return self.proof.proven_us

    @property
    def source_clock_offset_us(self) -> int | None:
        return self.proof.clock_offset_us

    @property
    def transactions(self) -> int:
        return self.checkpoint.transactions if self.checkpoint else 0

    @property
    def changes(self) -> int:
        return self.checkpoint.changes if self.checkpoint else 0

    @property
    def rows_per_s(self) -> float | None:
        self.tick()  # nothing may have happened since
        return self._row_rate.per_s()

    @property
    def bytes_per_s(self) -> float | None:
        self.tick()
        return self._byte_rate.per_s()

    @property
    def applied_position(self) -> str | None:
        return None if self.position is None else str(self.position)

    @property
    def source_position(self) -> str | None:
        return None if self.proof.source_position is None else str(self.proof.source_position)

    @property
    def waiting_for(self) -> str | None:
        return next(iter(self._waits.values()), None)

    @property
    def received_position(self) -> str | None:
        return self.reading.position

    @property
    def received_source_time_us(self) -> int | None:
        return self.reading.until_us

    @property
    def queued_bytes(self) -> int:
        return self.reading.held_bytes

    @property
    def is_caught_up(self) -> bool:
        return self.proof.is_caught_up

    # --- what happened ----------------------------------------------------------------------------

    def resumed(self, checkpoint: Checkpoint) -> None:
        """A new session read the checkpoint back."""
        self.checkpoint = checkpoint
        self.is_flushed = True
        self.moved(checkpoint.position, commit_time_us=checkpoint.source_time_us)
        self.tick()

    def moved(self, position: Position, *, commit_time_us: int | None) -> None:
        """The target has everything up to `position`."""
        self.position = position
        self.proof.durable(position, commit_time_us=commit_time_us)

    def applied(self, checkpoint: Checkpoint, *, size_bytes: int, conflicts: int, is_durable: bool) -> None:
        """A batch was committed; nothing is proven by it before it is durable."""
        self.checkpoint = checkpoint
        self.is_flushed = is_durable
        self._bytes += size_bytes
        self.conflicts += conflicts
        if is_durable:
            self.moved(checkpoint.position, commit_time_us=checkpoint.source_time_us)
        self.tick()

    def saved(self, checkpoint: Checkpoint) -> None:
        """The checkpoint, and all that was committed before, is durable."""
        self.checkpoint = checkpoint
        self.is_flushed = True
        self.moved(checkpoint.position, commit_time_us=checkpoint.source_time_us)

    @contextmanager
    def applying(self) -> Iterator[None]:
        """Around the work of the target on one transaction."""
        self._applying_since_s = self._clock.monotonic_s()
        try:
            yield
        finally:
            self._applying_since_s = None

    def applying_s(self) -> float:
        """For how long the target has been at the transaction at hand; 0 when there is none."""
        since_s = self._applying_since_s
        return 0.0 if since_s is None else self._clock.monotonic_s() - since_s

    def source_now_us(self) -> int:
        """The source's clock now, as far as it is known."""
        return self._clock.now_us() + (self.proof.clock_offset_us or 0)

    def wait(self, kind: str, reason: str | None) -> None:
        """Say (or, with None, no longer say) what the stream waits for."""
        if reason is None:
            self._waits.pop(kind, None)
        else:
            self._waits[kind] = reason

    def tick(self) -> None:
        """Take the rates."""
        now_s = self._clock.monotonic_s()
        self._row_rate.add(now_s, self.changes)
        self._byte_rate.add(now_s, self._bytes)


async def run_apply(
    relay: Relay,
    applier: ChangeApplier,
    state: AppliedState,
    *,
    control: Control,
    clock: Clock,
    confirm: Callable[[Position], None],
    until: Position | None,
) -> None:
    """Apply batches until `until` is durable on the target or the relay is closed.

    `confirm` learns every position that the target's checkpoint holds (I1), and no other.
    """
    intake = _Intake(relay, state, control, clock)
    saved_at_s = clock.monotonic_s()

    def may_flush_later() -> bool:
        # Far behind, waiting for the disk at every commit is wasted: a later flush covers the earlier ones.
        is_soon = clock.monotonic_s() - saved_at_s < _FLUSH_INTERVAL_S
        return is_soon and relay.has_transactions and intake.is_free

    while until is None or state.position is None or not state.position.covers(until):
        try:
            if not state.is_flushed and not (relay.has_transactions and intake.is_free):
                await save_position(applier, state)
            else:
                await intake.gather()
                batch = await intake.first()
                if batch.is_complete and not batch.transactions:
                    if not state.is_flushed:
                        await save_position(applier, state)
                    assert batch.position is not None
                    state.moved(batch.position, commit_time_us=None)
                    if clock.monotonic_s() - saved_at_s < _SAVE_INTERVAL_S:
                        continue
                    await save_position(applier, state)
                else:
                    with state.applying():
                        result = await applier.apply(batch, intake.next_part, may_flush_later=may_flush_later)
                    intake.finish()
                    state.applied(
                        result.checkpoint,
                        size_bytes=intake.taken_bytes,
                        conflicts=result.conflicts,
                        is_durable=result.is_durable,
                    )
        except RelayClosed:
            return
        if state.is_flushed and state.checkpoint is not None:
            # I1: only what is durable on the target is confirmed to the source.
            confirm(state.checkpoint.position)
            saved_at_s = clock.monotonic_s()


async def save_position(applier: ChangeApplier, state: AppliedState) -> None:
    """Bring the target's checkpoint to where the stream is, and all that was committed to the disk."""
    checkpoint, position = state.checkpoint, state.position
    if checkpoint is None or position is None:
        return
    if checkpoint.position.covers(position):
        position = checkpoint.position
        if state.is_flushed:
            return
    await applier.save_position(position)
    state.saved(replace(checkpoint, position=position))


class _Intake:
    """Takes batches from the relay when pause and speed limit allow it."""

    def __init__(self, relay: Relay, state: AppliedState, control: Control, clock: Clock) -> None:
        self._relay = relay
        self._clock = clock
        self._state = state
        self._control = control
        self._throttle = Throttle(control.limit_bytes_per_s)
        self._full_batch_bytes = relay.batch_bytes
        self._current: Batch | None = None
        self._begun_at_s = 0.0
        self.taken_bytes = 0

    @property
    def is_free(self) -> bool:
        """Whether neither a pause nor a speed limit holds the next batch up."""
        return not self._control.is_apply_paused and self._control.limit_bytes_per_s() is None

    async def gather(self) -> None:
        """Let a batch grow while the target is far behind anyway: fewer and larger ones catch up sooner."""
        time_us = self._relay.oldest_time_us()
        behind_us = 0 if time_us is None else self._state.source_now_us() - time_us
        if behind_us > _BEHIND_US:
            pause_s = self._begun_at_s + _CATCH_UP_INTERVAL_S - self._clock.monotonic_s()
            if pause_s > 0:
                await self._relay.wait_ripe(pause_s)
        self._begun_at_s = self._clock.monotonic_s()

    async def first(self) -> Batch:
        """The next batch that begins a transaction."""
        while self._control.is_apply_paused and not self._relay.is_closed:
            self._state.wait("pause", WAITING_FOR_PAUSE)
            await asyncio.sleep(_PAUSE_POLL_S)
        self._state.wait("pause", None)
        limit = self._control.limit_bytes_per_s()
        self._relay.batch_bytes = self._full_batch_bytes
        if limit:
            wanted = max(_SMALLEST_BATCH_BYTES, int(limit * _LIMITED_BATCH_S))
            self._relay.batch_bytes = min(self._full_batch_bytes, wanted)
        self.taken_bytes = 0
        return await self._take()

    async def next_part(self) -> Batch:
        """The next part of the transaction at hand; the one before is done with."""
        self.finish()
        return await self._take()

    def finish(self) -> None:
        if self._current is not None:
            self._relay.done(self._current)
            # Others still hold the batch while the next one comes in; its rows would be in memory beside those.
            self._current.clear()
            self._current = None

    async def _take(self) -> Batch:
        self._current = batch = await self._relay.take()
        size_bytes = payload_bytes(batch)
        self.taken_bytes += size_bytes
        if size_bytes and self._control.limit_bytes_per_s():
            self._state.wait("speed", WAITING_FOR_SPEED)
            await self._throttle.take(size_bytes)
            self._state.wait("speed", None)
        return batch

"""How far the target is behind, as a proof. Pure.

`delay = now - T`, where T is the newest time of the source's clock such that every change committed up to T is
known to be durable on the target.  T moves in two ways only: a batch became durable (T = the time of its last
commit), or the durable position covers a position of the source that was sampled at t (T = t).  Whatever
stops, blocks or fails lets T stand still, so the delay grows by itself and cannot be 0 by silence.

The source's clock may be set. A sample shows it: its offset differs by more than the round trips can explain, and what
was known of the offset is forgotten.  Set back, times of commits lie in the future, and the samples decide: a T that
the source's clock has not reached is dropped, and commit times far ahead of it are passed over.  Where a commit's time
may be another one than the source's (a client has set it, or an upstream server wrote it), it may not be ahead at all.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from towline.domain.positions import Position
from towline.engine.ports import SourceSample

_MAX_PENDING: Final = 256
_CLOCK_SAMPLES: Final = 16
# A clock that was only adjusted is no reason to start anew; samples come much more often than the second limit.
_SET_BACK_US: Final = 1_000_000
_FAR_AHEAD_US: Final = 60_000_000
# How far two clocks may drift apart while the samples are kept.
_DRIFT_US: Final = 50_000


class LagProof:
    """T and the offset between the source's clock and ours."""

    def __init__(self) -> None:
        self.proven_us: int | None = None
        self.source_position: Position | None = None
        self.is_caught_up = False
        self._durable: Position | None = None
        self._newest_us: int | None = None
        self._may_be_ahead_us = _FAR_AHEAD_US
        self._pending: list[tuple[int, Position]] = []
        self._clock_samples: deque[tuple[int, int]] = deque(maxlen=_CLOCK_SAMPLES)

    @property
    def clock_offset_us(self) -> int | None:
        """Source clock minus ours, from the quickest of the last answers; None before the first."""
        return min(self._clock_samples)[1] if self._clock_samples else None

    @property
    def is_waiting(self) -> bool:
        """Whether a sampled position of the source is not durable on the target yet."""
        return bool(self._pending)

    def durable(self, position: Position, *, commit_time_us: int | None) -> None:
        """All up to `position` is durable; `commit_time_us` of the last transaction, if there was one."""
        self._durable = position
        if commit_time_us is not None and not self._is_far_ahead(commit_time_us):
            self._prove(commit_time_us)
        self._settle()

    def sampled(self, sample: SourceSample, *, sent_us: int, received_us: int) -> None:
        """The source was asked at `sent_us` of our clock and the answer came at `received_us`."""
        source_time_us, position = sample.source_time_us, sample.position
        self._may_be_ahead_us = _FAR_AHEAD_US if sample.has_exact_commits else 0
        round_trip_us = max(0, received_us - sent_us)
        if self.proven_us is not None and self.proven_us > source_time_us + round_trip_us + _SET_BACK_US:
            self.proven_us = None
            self._pending.clear()
            self._clock_samples.clear()
        self._newest_us = source_time_us
        offset_us = source_time_us - (sent_us + received_us) // 2
        if self._was_clock_set(offset_us, round_trip_us):
            self._clock_samples.clear()
        self._clock_samples.append((round_trip_us, offset_us))
        self.source_position = position
        self._pending.append((source_time_us, position))
        if len(self._pending) > _MAX_PENDING:
            # A long stand-still: every other sample is close enough.
            self._pending = self._pending[::2]
        self._settle()

    def _settle(self) -> None:
        while self._pending and self._durable is not None and self._durable.covers(self._pending[0][1]):
            self._prove(self._pending.pop(0)[0])
            self.is_caught_up = True

    def _was_clock_set(self, offset_us: int, round_trip_us: int) -> bool:
        """Each offset is right to half its round trip."""
        if not self._clock_samples:
            return False
        known_round_trip_us, known_us = min(self._clock_samples)
        return abs(offset_us - known_us) > (round_trip_us + known_round_trip_us) // 2 + _DRIFT_US

    def _is_far_ahead(self, time_us: int) -> bool:
        return self._newest_us is not None and time_us > self._newest_us + self._may_be_ahead_us

    def _prove(self, time_us: int) -> None:
        if self.proven_us is None or time_us > self.proven_us:
            self.proven_us = time_us


class Received(Protocol):
    """What knows how far the source's changes have been read; the relay."""

    @property
    def received(self) -> Position: ...
    @property
    def received_time_us(self) -> int | None: ...
    @property
    def held_bytes(self) -> int: ...


class ReadProof:
    """The same proof for what has been read from the source, which splits the delay in two.

    A new connection reads everything anew that is not durable on the target, so nothing is known of it at first.
    """

    def __init__(self) -> None:
        self._proof = LagProof()
        self._relay: Received | None = None

    @property
    def position(self) -> str | None:
        return None if self._relay is None else str(self._relay.received)

    @property
    def until_us(self) -> int | None:
        """The newest source time up to which everything has been read, by the source's clock; None when not known."""
        if self._relay is None:
            return None
        self._proof.durable(self._relay.received, commit_time_us=self._relay.received_time_us)
        return self._proof.proven_us

    @property
    def held_bytes(self) -> int:
        return 0 if self._relay is None else self._relay.held_bytes

    def begin(self, relay: Received) -> None:
        """A new connection reads into `relay`."""
        self._proof, self._relay = LagProof(), relay

    def sampled(self, sample: SourceSample, *, sent_us: int, received_us: int) -> None:
        self._proof.sampled(sample, sent_us=sent_us, received_us=received_us)

    def end(self) -> None:
        """The connection is gone; what it had read and is not on the target will be read again."""
        self._relay = None

"""What the operator, the server and the lease want of a running engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum

from towline.domain.jobs import JobStatus, SpeedWindow
from towline.service.ports import Clock, Job, Wanted

_MINUTE_US = 60_000_000
_DAY_MINUTES = 24 * 60
PAUSE_GRACE_S = 5.0


class StopReason(Enum):
    """Why the engine shall stop. A later reason replaces an earlier one only if its number is higher."""

    RELOAD = 1  # the job's settings changed; go on at once with the new ones
    PAUSE = 2
    SHUTDOWN = 3  # the server ends; another worker goes on with the job
    END = 4
    LEASE_LOST = 5  # not one more write


class JobControl:
    """`engine.ports.Control` of one run."""

    def __init__(
        self,
        job: Job,
        *,
        clock: Clock,
        is_lease_over: Callable[[], bool],
        pause_grace_s: float = PAUSE_GRACE_S,
    ) -> None:
        self._clock = clock
        self._is_lease_over = is_lease_over
        self._stop = asyncio.Event()
        self._reason: StopReason | None = None
        self._job = job
        self._secrets_version = job.secrets_version
        self._edit = job.attributes.get("edit")
        self._pause_grace_s = pause_grace_s
        self._apply_pause_since_s: float | None = None

    @property
    def job(self) -> Job:
        """The job as last read from the store."""
        return self._job

    @property
    def reason(self) -> StopReason | None:
        return self._reason

    def stop(self, reason: StopReason) -> None:
        if self._reason is None or reason.value > self._reason.value:
            self._reason = reason
        self._stop.set()

    def follow(self, job: Job) -> None:
        """Take over what the store says of the job now."""
        self._job = job
        if not self.is_apply_paused:
            self._apply_pause_since_s = None
        match job.wanted:
            case Wanted.END | Wanted.FORCE_END:
                self.stop(StopReason.END)
            case Wanted.PAUSE_ALL:
                self.stop(StopReason.PAUSE)
            case Wanted.PAUSE_TARGET if job.status in (JobStatus.STARTING, JobStatus.COPYING):
                # A copy cannot be read without being written, so there is only one kind of pause.
                self.stop(StopReason.PAUSE)
            case Wanted.PAUSE_TARGET if job.status is JobStatus.STREAMING and self._is_pause_overdue():
                # An idle stream, or a blocked target, cannot say that applying has come to rest; an end can.
                self.stop(StopReason.PAUSE)
            case _ if job.secrets_version != self._secrets_version or job.attributes.get("edit") != self._edit:
                self.stop(StopReason.RELOAD)
            case _:
                pass

    def _is_pause_overdue(self) -> bool:
        now_s = self._clock.monotonic_s()
        if self._apply_pause_since_s is None:
            self._apply_pause_since_s = now_s
        return now_s - self._apply_pause_since_s >= self._pause_grace_s

    # --- engine.ports.Control ---------------------------------------------------------------------

    @property
    def is_stop_wanted(self) -> bool:
        # I6: asked here too, as after a standstill of the process this may run before the keeper's task does.
        return self._stop.is_set() or self._is_lease_over()

    @property
    def is_apply_paused(self) -> bool:
        return self._job.wanted is Wanted.PAUSE_TARGET

    def limit_bytes_per_s(self) -> int | None:
        return choose_limit(self._job.speed_windows, now_us=self._clock.now_us())

    async def wait_stop(self) -> None:
        await self._stop.wait()


def choose_limit(windows: Sequence[SpeedWindow], *, now_us: int) -> int | None:
    """The tightest limit of the windows that hold now (UTC); None = no limit."""
    minute = now_us // _MINUTE_US % _DAY_MINUTES
    return min((w.limit_bytes_per_s for w in windows if w.holds_at(minute)), default=None)

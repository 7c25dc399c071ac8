"""Keeps a lease alive, and knows when it can no longer be relied upon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from towline.domain.errors import LeaseLost, TransientError
from towline.service.ports import Clock, Lease, WorkStore

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """Renews one lease; `on_lost` is called once when it is over.

    The deadline is counted on this machine's monotonic clock from the moment *before* the last good renewal
    was sent, so it is never later than the store's.  A process that was stopped sees a passed deadline as
    soon as it runs again (I6).
    """

    def __init__(
        self, store: WorkStore, lease: Lease, *, ttl_s: float, clock: Clock, on_lost: Callable[[], None]
    ) -> None:
        self._store = store
        self._lease = lease
        self._ttl_s = ttl_s
        self._clock = clock
        self._on_lost = on_lost
        self._deadline_s: float | None = None  # unknown until the first renewal

    @property
    def is_over(self) -> bool:
        return self._deadline_s is not None and self._clock.monotonic_s() >= self._deadline_s

    async def renew(self) -> None:
        """Raises LeaseLost, or a TransientError of the store."""
        asked_s = self._clock.monotonic_s()
        await self._store.renew_lease(self._lease, ttl_s=self._ttl_s)
        self._deadline_s = asked_s + self._ttl_s

    async def run_keeping(self) -> None:
        """Renew until cancelled or lost."""
        while True:
            try:
                # Not `wait_for`: on Python 3.11 that loses a cancellation which comes as the renewal is done.
                async with asyncio.timeout(self._ttl_s / 3):
                    await self.renew()
            except LeaseLost:
                break
            except (TransientError, TimeoutError) as error:
                # The store may come back in time; until then nothing new is known.
                log.warning("lease_not_renewed", job_id=self._lease.job_id, error=type(error).__name__)
            if self.is_over:
                break
            await asyncio.sleep(self._pause_s())
        log.warning("lease_lost", job_id=self._lease.job_id, epoch=self._lease.epoch)
        self._on_lost()

    def _pause_s(self) -> float:
        regular_s = self._ttl_s / 3
        if self._deadline_s is None:
            return regular_s / 4
        return max(0.0, min(regular_s, self._deadline_s - self._clock.monotonic_s()))

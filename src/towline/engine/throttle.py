"""A speed limit that may change while it holds: a token bucket that allows debt.

A caller may take more than a second's worth at once; whoever comes next then waits until the debt is paid.  So
pieces of any size pass, and the average over some seconds is the limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

# What may be saved up while nobody takes anything.
_BURST_S: Final = 0.25
_LONGEST_WAIT_S: Final = 0.25


class Throttle:
    """Shared by all that move bytes of one job, on one event loop."""

    def __init__(self, limit_bytes_per_s: Callable[[], int | None]) -> None:
        """`limit_bytes_per_s` is asked again and again; None means no limit."""
        self._limit = limit_bytes_per_s
        self._balance_bytes = 0.0
        self._at_s: float | None = None
        self.is_waiting = False

    async def take(self, size_bytes: int) -> None:
        """Return when `size_bytes` may be moved; cheap without a limit."""
        try:
            while (limit := self._limit()) is not None and limit > 0:
                self._earn(limit)
                if self._balance_bytes >= 0:
                    self._balance_bytes -= size_bytes
                    return
                self.is_waiting = True
                # Short waits, so that a new limit is obeyed soon.
                await asyncio.sleep(min(_LONGEST_WAIT_S, -self._balance_bytes / limit + 0.001))
            # Without a limit nobody is in debt.
            self._balance_bytes = 0.0
            self._at_s = None
        finally:
            self.is_waiting = False

    def _earn(self, limit: int) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._at_s is not None:
            self._balance_bytes += (now_s - self._at_s) * limit
        self._at_s = now_s
        self._balance_bytes = min(self._balance_bytes, limit * _BURST_S)

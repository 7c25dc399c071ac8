"""Ctrl-C and SIGTERM for a command that runs a long time.

The first signal asks for a clean end: what is in flight is finished and committed.  The second one ends at
once, which is safe too, because everything on the target commits together with the memory of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130
_GRACE_S = 5.0


class StopWish:
    """The `Control` of a command: it can be asked to stop, and it may have a speed limit."""

    def __init__(self, *, limit_bytes_per_s: int | None = None) -> None:
        self._stop = asyncio.Event()
        self._limit_bytes_per_s = limit_bytes_per_s

    @property
    def is_stop_wanted(self) -> bool:
        return self._stop.is_set()

    @property
    def is_apply_paused(self) -> bool:
        return False

    def limit_bytes_per_s(self) -> int | None:
        return self._limit_bytes_per_s

    async def wait_stop(self) -> None:
        await self._stop.wait()

    def ask(self) -> None:
        self._stop.set()


@contextmanager
def stopped_by_signals(wish: StopWish, *, on_first: Callable[[], None]) -> Iterator[None]:
    """Turn signals into wishes while the block runs; a second signal cancels the task that entered it."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def on_signal() -> None:
        if not wish.is_stop_wanted:
            wish.ask()
            on_first()
            return
        # Closing sessions should be quick; if a server does not answer, nothing is lost by not waiting for
        # it.
        loop.call_later(_GRACE_S, os._exit, INTERRUPTED)
        if task is not None:
            task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)

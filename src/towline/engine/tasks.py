"""Ending tasks for sure."""

from __future__ import annotations

import asyncio
from typing import Any, Final

_REPEAT_S: Final = 1.0


async def end_tasks(*tasks: asyncio.Task[Any] | asyncio.Future[Any]) -> None:
    """Cancel the tasks and return when all have ended; what they raised is left in them.

    A cancellation can get lost: where a driver's clean-up fails, an ordinary failure takes its place, and a loop that
    lives through failures goes on.  So it is repeated until it is heard.
    """
    pending: set[asyncio.Future[Any]] = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_REPEAT_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that nobody hears of it later

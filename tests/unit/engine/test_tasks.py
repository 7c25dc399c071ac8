"""Ending tasks for sure."""

from __future__ import annotations

import asyncio

import pytest

from towline.engine import tasks
from towline.engine.tasks import end_tasks


async def test_a_lost_cancellation_is_repeated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tasks, "_REPEAT_S", 0.01)
    heard: list[str] = []

    async def deaf_at_first() -> None:
        while len(heard) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard.append("cancelled")

    task = asyncio.ensure_future(deaf_at_first())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end_tasks(task)
    assert task.done()
    assert len(heard) == 3


async def test_what_tasks_raised_is_left_in_them():
    async def fail() -> None:
        raise ValueError("as it was")

    failed = asyncio.ensure_future(fail())
    waiting = asyncio.ensure_future(asyncio.Event().wait())
    await asyncio.wait({failed})
    await end_tasks(failed, waiting)
    assert waiting.cancelled()
    with pytest.raises(ValueError, match="as it was"):
        failed.result()

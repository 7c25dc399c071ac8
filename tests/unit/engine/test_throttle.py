"""The speed limit, on a loop whose time is ours."""

from __future__ import annotations

import asyncio
import selectors

from towline.engine.throttle import Throttle


class FastLoop(asyncio.SelectorEventLoop):
    """A loop that jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__(_NoWait())
        self._now_s = 0.0

    def time(self) -> float:
        return self._now_s

    def _run_once(self) -> None:
        # The standard loop's own parts, which its published types leave out.
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now_s = max(self._now_s, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class _NoWait(selectors.DefaultSelector):
    def select(self, timeout=None):
        return super().select(0)


def run(coroutine):
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(coroutine)


async def take_all(throttle: Throttle, sizes: list[int]) -> float:
    for size in sizes:
        await throttle.take(size)
    return asyncio.get_running_loop().time()


def test_without_a_limit_nothing_waits():
    assert run(take_all(Throttle(lambda: None), [10**9] * 100)) == 0


def test_average_is_the_limit_whatever_the_pieces():
    for piece in (10, 1_000, 5_000):
        took_s = run(take_all(Throttle(lambda: 1_000), [piece] * (20_000 // piece) + [0]))
        assert 19.5 <= took_s <= 20.5


def test_several_takers_share_the_limit():
    async def share() -> float:
        throttle = Throttle(lambda: 1_000)
        return max(await asyncio.gather(*(take_all(throttle, [100] * 50 + [0]) for _ in range(4))))

    assert 19.5 <= run(share()) <= 20.6


def test_a_new_limit_is_obeyed_while_waiting():
    limit: list[int | None] = [1]

    async def wait() -> float:
        throttle = Throttle(lambda: limit[0])
        await throttle.take(1_000_000)
        waiting = asyncio.create_task(throttle.take(1))
        await asyncio.sleep(5)
        assert throttle.is_waiting
        limit[0] = None
        await waiting
        return asyncio.get_running_loop().time()

    assert run(wait()) < 6

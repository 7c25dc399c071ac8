"""The connections by which `make bench-api` takes its limit."""

from __future__ import annotations

import asyncio
from collections import Counter

from bench.turns import Turns


async def test_more_callers_than_connections_get_as_many_turns_each():
    turns = Turns(range(3))
    had: Counter[int] = Counter()
    in_use: set[int] = set()

    async def call_again_and_again(caller: int) -> None:
        while had.total() < 80:
            async with turns.one() as connection:
                assert connection not in in_use
                in_use.add(connection)
                await asyncio.sleep(0)
                in_use.remove(connection)
            had[caller] += 1

    await asyncio.gather(*(call_again_and_again(caller) for caller in range(8)))
    assert len(had) == 8
    assert max(had.values()) - min(had.values()) <= 1
    assert sorted(turns.take_all()) == [0, 1, 2]

"""Threads of their own for calls that wait on other services.

The event loop's own few threads also hash passwords: receivers that do not answer must not take those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, TypeVarTuple

T = TypeVar("T")
A = TypeVarTuple("A")

# More receivers than this that hang at the same time wait for each other.
RECEIVERS: Final = ThreadPoolExecutor(32, "receiver")
IDENTITY: Final = ThreadPoolExecutor(8, "identity")


async def run_in(pool: ThreadPoolExecutor, function: Callable[[*A], T], *arguments: *A) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

"""Watches a job from the outside for `bench/progress.py`: a marker written on the source, and bytes on the target.

No code of Towline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from progress_databases import Database
from progress_judge import Outside

WRITE_EVERY_S = 0.2
LOOK_EVERY_S = 0.25


@asynccontextmanager
async def watching(database: Database, source: str, target: str) -> AsyncIterator[tuple[Outside, float]]:
    """What is seen until the context ends, and the moment of the monotonic clock that is second 0."""
    outside = Outside()
    writer, looker = [await database.open_eye(url) for url in (source, target)]
    outside.sizes.append((0.0, await looker.size_bytes()))
    began_s = time.monotonic()

    async def write() -> None:
        while True:
            await writer.write(len(outside.writes) + 1)
            outside.writes.append(time.monotonic() - began_s)
            await asyncio.sleep(WRITE_EVERY_S)

    async def look() -> None:
        while True:
            at_s = time.monotonic() - began_s
            outside.looks.append((at_s, await looker.look()))
            outside.sizes.append((time.monotonic() - began_s, await looker.size_bytes()))
            await asyncio.sleep(LOOK_EVERY_S)

    try:
        # What ends one of them ends the watch.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in (write(), look())]
            yield outside, began_s
            for task in tasks:
                task.cancel()
    finally:
        for eye in (writer, looker):
            await eye.close()

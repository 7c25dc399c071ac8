"""The referee's own eyes: writes on the source, looks at the target, questions to the API. No code of Towline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime

from referee_database import Database
from referee_judge import UNKNOWN, Claim, Course, Record, Stretch

WRITE_EVERY_S = 0.05
LOOK_EVERY_S = 0.02
ASK_EVERY_S = 0.1


class WrongRow(Exception):
    """The target shows another time than the source wrote."""


class Watcher:
    """Fills a `Record` while `watching`."""

    def __init__(self, database: Database, source: str, target: str, ask: Callable[[], Awaitable[int | None]]) -> None:
        """`ask` gives the claimed delay in ms; None when it is unknown or nothing answers."""
        self.record = Record()
        self.is_writing = True
        self._database = database
        self._source = source
        self._target = target
        self._ask_delay = ask
        self._times: list[datetime] = []

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Record]:
        tasks = [asyncio.create_task(work) for work in (self._write(), self._look(), self._ask())]
        try:
            yield self.record
            for task in tasks:
                if task.done():
                    task.result()  # raises what ended it
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @contextmanager
    def stretch(self, course: Course) -> Iterator[None]:
        """What goes on now is judged by this course too."""
        began_s = time.monotonic()
        yield
        self.record.stretches.append(Stretch(course, began_s, time.monotonic()))

    async def until_in_step(self, *, claimed_below_s: float, timeout_s: float) -> float | None:
        """Seconds until the target misses nothing and the claim says about as much; None: not in time."""
        began_s = time.monotonic()
        while time.monotonic() < began_s + timeout_s:
            claims = self.record.claims
            if claims and 0 <= claims[-1].delay_ms < claimed_below_s * 1000:
                seen = self.record.looks[-1][1] if self.record.looks else 0
                behind_s = self.record.true_delay_s(time.monotonic(), seen)
                if behind_s < claimed_below_s:
                    return time.monotonic() - began_s
            await asyncio.sleep(0.05)
        return None

    async def _write(self) -> None:
        eye = await self._database.open_eye(self._source)
        try:
            while True:
                if self.is_writing:
                    self._times.append(await eye.write(len(self.record.writes) + 1))
                    self.record.writes.append(time.monotonic())
                await asyncio.sleep(WRITE_EVERY_S)
        finally:
            eye.close()

    async def _look(self) -> None:
        seen = 0
        while True:
            # A server that is down shows nothing new.
            with suppress(OSError, TimeoutError, *self._database.lost):
                eye = await self._database.open_eye(self._target)
                try:
                    while True:
                        began_s = time.monotonic()
                        seen = self._check(*await eye.look())
                        self.record.looks.append((began_s, seen))
                        await asyncio.sleep(LOOK_EVERY_S)
                finally:
                    eye.close()
            self.record.looks.append((time.monotonic(), seen))
            await asyncio.sleep(LOOK_EVERY_S)

    def _check(self, number: int, at: datetime | None) -> int:
        # The target may be ahead of the answer to the source's own writer.
        if 0 < number <= len(self._times) and at != self._times[number - 1]:
            raise WrongRow(f"write {number}: {at} instead of {self._times[number - 1]}")
        return number

    async def _ask(self) -> None:
        while True:
            asked_s = time.monotonic()
            delay_ms = await self._ask_delay()
            self.record.claims.append(Claim(asked_s, time.monotonic(), UNKNOWN if delay_ms is None else delay_ms))
            await asyncio.sleep(ASK_EVERY_S)

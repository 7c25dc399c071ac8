"""Reads of many jobs that callers share.

Theory of operation.  Who asks while others read waits for its turn, and all who wait for the same turn are answered by
one read of everything that they ask for.  A turn comes when an earlier read has ended, so nobody waits longer than
for a read of its own behind those already under way, and what is said is always one consistent read that began after
the asking: nothing is kept for who comes later.  A read runs in a task of its own, for a caller that hangs up takes the
answer from nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from towline.service.ports import Caller

T = TypeVar("T")

# While the store looks for the rows of one read, those of another one are put together.
_MAX_AT_ONCE: Final = 2
# More would keep those waiting who ask for little.
_MAX_IDS: Final = 2_000


@dataclass(eq=False, slots=True)
class _Group(Generic[T]):
    """Those who will be answered together."""

    ids: dict[str, None] = field(default_factory=dict)  # in the order of asking
    reading: asyncio.Task[Mapping[str, T]] | None = None


class SharedReads(Generic[T]):
    """`read` gets a caller and the ids that callers of the same project ask for, none of them twice.

    What it answers may depend on nothing else of the caller.
    """

    def __init__(self, read: Callable[[Caller, Sequence[str]], Awaitable[Mapping[str, T]]]) -> None:
        self._read = read
        self._turns = asyncio.Semaphore(_MAX_AT_ONCE)
        self._waiting: dict[str, _Group[T]] = {}  # the newest group of a project, until its turn comes

    async def read(self, caller: Caller, ids: Sequence[str]) -> Mapping[str, T]:
        """What `read` says of these ids, and perhaps of others. Raises: as `read`."""
        group = self._waiting.get(caller.project_id)
        if group is None or not _takes(group.ids, ids):
            group = self._waiting[caller.project_id] = _Group()
            group.reading = asyncio.create_task(self._read_group(group, caller), name="shared read")
        group.ids.update(dict.fromkeys(ids))
        assert group.reading is not None
        return await asyncio.shield(group.reading)

    async def _read_group(self, group: _Group[T], caller: Caller) -> Mapping[str, T]:
        async with self._turns:
            if self._waiting.get(caller.project_id) is group:
                del self._waiting[caller.project_id]
            return await self._read(caller, list(group.ids))


def _takes(known: Mapping[str, None], ids: Sequence[str]) -> bool:
    added = sum(job_id not in known for job_id in ids)
    return not added or len(known) + added <= _MAX_IDS

"""Callers that ask at the same time are answered by one read, which began after each of them asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from towline.domain.errors import StoreUnavailable
from towline.service.ports import Caller
from towline.service.shared_reads import SharedReads

ADA = Caller("shop", "1", "ada")
BOB = Caller("shop", "2", "bob")
EVE = Caller("bank", "3", "eve")


@dataclass
class HeldStore:
    """Each read says which one it is, once it is let go."""

    begun: list[tuple[str, list[str]]] = field(default_factory=list)
    held: list[asyncio.Future[None]] = field(default_factory=list)

    async def read(self, caller: Caller, ids: Sequence[str]) -> Mapping[str, int]:
        number = len(self.begun)
        self.begun.append((caller.project_id, list(ids)))
        self.held.append(asyncio.get_running_loop().create_future())
        await self.held[number]
        return dict.fromkeys(ids, number)

    async def wait_until_begun(self, count: int) -> None:
        while len(self.begun) < count:
            await asyncio.sleep(0)


def asking(reads: SharedReads[int], caller: Caller, *ids: str) -> asyncio.Task[Mapping[str, int]]:
    return asyncio.create_task(reads.read(caller, ids))


async def two_reads_under_way(store: HeldStore, reads: SharedReads[int]) -> list[asyncio.Task[Mapping[str, int]]]:
    first = asking(reads, ADA, "a")
    await store.wait_until_begun(1)
    second = asking(reads, ADA, "a")
    await store.wait_until_begun(2)
    return [first, second]


async def test_those_who_wait_are_answered_by_one_later_read() -> None:
    store = HeldStore()
    reads = SharedReads(store.read)
    earlier = await two_reads_under_way(store, reads)
    waiting = [asking(reads, ADA, "a", "b"), asking(reads, BOB, "b", "a"), asking(reads, BOB, "c")]
    await asyncio.sleep(0)
    store.held[0].set_result(None)
    await store.wait_until_begun(3)
    assert store.begun[2] == ("shop", ["a", "b", "c"])
    late = asking(reads, ADA, "a")  # the third read is under way already
    store.held[1].set_result(None)
    await store.wait_until_begun(4)
    for held in store.held[2:]:
        held.set_result(None)
    assert [(await task)["a"] for task in (*earlier, *waiting[:2], late)] == [0, 1, 2, 2, 3]
    assert (await waiting[2])["c"] == 2


async def test_projects_are_never_read_together() -> None:
    store = HeldStore()
    reads = SharedReads(store.read)
    earlier = await two_reads_under_way(store, reads)
    waiting = [asking(reads, BOB, "a"), asking(reads, EVE, "a")]
    await asyncio.sleep(0)
    for number in range(4):
        await store.wait_until_begun(number + 1)
        store.held[number].set_result(None)
    await asyncio.gather(*earlier, *waiting)
    assert [project_id for project_id, _ in store.begun[2:]] == ["shop", "bank"]


async def test_a_read_is_not_made_so_large_that_those_with_few_ids_wait_for_it() -> None:
    store = HeldStore()
    reads = SharedReads(store.read)
    earlier = await two_reads_under_way(store, reads)
    many = [str(number) for number in range(10_000)]
    waiting = [asking(reads, ADA, "a"), asking(reads, ADA, *many), asking(reads, BOB, *many), asking(reads, BOB, "b")]
    await asyncio.sleep(0)
    for number in range(5):
        await store.wait_until_begun(number + 1)
        store.held[number].set_result(None)
    await asyncio.gather(*earlier, *waiting)
    assert [len(ids) for _, ids in store.begun[2:]] == [1, 10_000, 1]


async def test_who_hangs_up_takes_the_answer_from_nobody_else() -> None:
    store = HeldStore()
    reads = SharedReads(store.read)
    earlier = await two_reads_under_way(store, reads)
    gone, stays = asking(reads, ADA, "a"), asking(reads, BOB, "a")
    await asyncio.sleep(0)
    gone.cancel()
    for number in range(3):
        await store.wait_until_begun(number + 1)
        store.held[number].set_result(None)
    assert (await stays)["a"] == 2
    await asyncio.gather(*earlier)
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_failure_reaches_all_who_shared_the_read_and_nobody_after_them() -> None:
    store = HeldStore()
    reads = SharedReads(store.read)
    earlier = await two_reads_under_way(store, reads)
    waiting = [asking(reads, ADA, "a"), asking(reads, BOB, "a")]
    await asyncio.sleep(0)
    store.held[0].set_result(None)
    await store.wait_until_begun(3)
    store.held[2].set_exception(StoreUnavailable("the store is busy"))
    for task in waiting:
        with pytest.raises(StoreUnavailable):
            await task
    later = asking(reads, ADA, "a")
    await store.wait_until_begun(4)
    store.held[1].set_result(None)
    store.held[3].set_result(None)
    assert (await later)["a"] == 3
    await asyncio.gather(*earlier)

"""Lines of batch-progress: what others write is seen at once, however little of it is read."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import delete, text, update

from bench.fleet import fill, job_id
from tests.integration.store.conftest import STRANGER, create_job
from towline.clock import SystemClock
from towline.domain.jobs import Failure, JobStatus
from towline.domain.progress import Phase, Progress
from towline.service.jobs import JobService
from towline.service.ports import Caller, Credentials, JobLine
from towline.store import tables
from towline.store.codec import encode_text
from towline.store.lines import open_lines
from towline.store.opening import Store, opened_store

MAX_LINES = 8


@pytest.fixture
async def elsewhere(store: Store, store_url: str, data_dir: Path) -> AsyncIterator[Store]:
    """The same store as another process has it."""
    async with opened_store(store_url, data_dir, clock=SystemClock()) as opened:
        yield opened


class Writer:
    """Changes jobs by every way that batch-progress tells of."""

    def __init__(self, store: Store, service: JobService, caller: Caller, seed: int) -> None:
        self.ids: list[str] = []
        self._store, self._service, self._caller = store, service, caller
        self._random = random.Random(seed)
        self._moments = itertools.count(1)

    async def create(self) -> None:
        self.ids.append((await create_job(self._service, self._caller, f"job-{len(self.ids)}")).job_id)

    async def change_something(self) -> None:
        one = self._random.choice(self.ids)
        match self._random.randrange(8):
            case 0:
                await self.create()
            case 1:
                status = self._random.choice([JobStatus.COPYING, JobStatus.STREAMING, JobStatus.PAUSED])
                await self.set_status(one, status.value)
            case 2:
                failure = Failure("DRS.M00002", f"no {next(self._moments)}", "remedy", "source")
                await self.set_status(one, JobStatus.COPY_FAILED.value, failure)
            case 3:
                await self._store.jobs.forget(one)
            case _:
                for job in self._random.sample(self.ids, k=min(3, len(self.ids))):
                    await self.report(job)

    async def report(self, job: str) -> int:
        at_us = next(self._moments)
        lease = await self._store.work.take_lease(job, "test", ttl_s=30)
        assert lease is not None
        await self._store.work.save_progress(lease, Progress(at_us=at_us, phase=Phase.COPY))
        await self._store.work.release_lease(lease)
        return at_us

    async def set_status(self, job: str, status: str, failure: Failure | None = None) -> None:
        # Not by the way of a job's life, which does not lead from everywhere to everywhere.
        values = {"status": status, "failure": None if failure is None else encode_text(failure)}
        async with self._store.database.writing() as connection:
            await connection.execute(update(tables.job).where(tables.job.c.job_id == job).values(values))


@pytest.fixture
def writer(elsewhere: Store, service: JobService, caller: Caller) -> Writer:
    return Writer(elsewhere, service, caller, seed=random.randrange(2**32))


async def read_from_jobs(store: Store) -> dict[str, tuple[object, ...]]:
    return {
        job.job_id: (job.mode, job.status, job.failure, None if job.progress is None else job.progress.at_us)
        for job in await store.jobs.load_all_progress()
    }


def told(lines: dict[str, JobLine]) -> dict[str, tuple[object, ...]]:
    return {
        job: (line.mode, line.status, line.failure, None if line.progress is None else line.progress.at_us)
        for job, line in lines.items()
    }


async def test_whatever_is_changed_elsewhere_is_in_the_next_answer(store: Store, caller: Caller, writer: Writer):
    lines = open_lines(store.database, max_lines=MAX_LINES)
    chosen = random.Random(random.randrange(2**32))
    for _ in range(6):
        await writer.create()
    for _ in range(80):
        for _ in range(chosen.randrange(4)):
            await writer.change_something()
        asked = chosen.sample([*writer.ids, "unknown"], k=chosen.randrange(1, 7))
        truth = await read_from_jobs(store)
        assert told(await lines.load(asked, project_id=caller.project_id)) == {
            job: truth[job] for job in asked if job in truth
        }
        assert await lines.load(asked, project_id=STRANGER.project_id) == {}


async def test_readers_at_the_same_time_see_all_that_was_committed_before_they_asked(
    store: Store, caller: Caller, writer: Writer
):
    lines = open_lines(store.database, max_lines=MAX_LINES)
    for _ in range(12):
        await writer.create()
    committed = dict.fromkeys(writer.ids, 0)
    is_over = False

    async def write() -> None:
        nonlocal is_over
        for job in itertools.islice(itertools.cycle(writer.ids), 120):
            committed[job] = await writer.report(job)
        is_over = True

    async def read(asked: list[str]) -> None:
        while not is_over:
            before = dict(committed)
            found = await lines.load(asked, project_id=caller.project_id)
            seen = {job: line.progress.at_us if line.progress else 0 for job, line in found.items()}
            assert all(seen[job] >= before[job] for job in asked)

    readers = [random.sample(writer.ids, k=size) for size in (1, 5, 12)]
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        for asked in readers:
            tasks.create_task(read(asked))


async def test_a_reader_that_is_cancelled_spoils_nothing(store: Store, caller: Caller, writer: Writer):
    lines = open_lines(store.database, max_lines=MAX_LINES)
    for _ in range(4):
        await writer.create()
    for count in range(30):
        await writer.report(writer.ids[0])
        reading = asyncio.create_task(lines.load(writer.ids, project_id=caller.project_id))
        for _ in range(count % 10):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        truth = await read_from_jobs(store)
        assert told(await lines.load(writer.ids, project_id=caller.project_id)) == truth


async def test_two_jobs_that_are_changed_together_are_seen_so(
    store: Store, elsewhere: Store, caller: Caller, writer: Writer
):
    lines = open_lines(store.database)
    for _ in range(3):
        await writer.create()
    is_over = False

    async def write() -> None:
        nonlocal is_over
        for status in itertools.islice(itertools.cycle([JobStatus.COPYING, JobStatus.STREAMING]), 100):
            async with elsewhere.database.writing() as connection:
                for job in writer.ids:
                    await connection.execute(
                        update(tables.job).where(tables.job.c.job_id == job).values(status=status.value)
                    )
        is_over = True

    async def read(asked: list[str]) -> None:
        while not is_over:
            found = await lines.load(asked, project_id=caller.project_id)
            assert len({line.status for line in found.values()}) == 1

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        tasks.create_task(read(writer.ids[:2]))
        tasks.create_task(read(writer.ids[1:]))


@pytest.mark.parametrize("is_known_before", [True, False])
async def test_after_a_row_that_cannot_be_decoded_the_others_are_as_true(
    store: Store, caller: Caller, writer: Writer, is_known_before: bool
):
    """As a worker of a newer Towline may write it."""
    lines = open_lines(store.database)
    for _ in range(3):
        await writer.create()
    if is_known_before:
        await lines.load(writer.ids, project_id=caller.project_id)

    await writer.set_status(writer.ids[2], "unheard-of")
    await writer.set_status(writer.ids[0], "copying")
    with pytest.raises(KeyError):
        await lines.load(writer.ids, project_id=caller.project_id)
    await writer.set_status(writer.ids[0], "streaming")
    (line,) = (await lines.load(writer.ids[:1], project_id=caller.project_id)).values()
    assert line.status is JobStatus.STREAMING
    await writer.set_status(writer.ids[2], "paused")
    assert told(await lines.load(writer.ids, project_id=caller.project_id)) == await read_from_jobs(store)


async def test_a_job_that_goes_to_another_project_or_loses_its_row_is_known_no_more(
    store: Store, elsewhere: Store, caller: Caller, writer: Writer
):
    lines = open_lines(store.database)
    for _ in range(3):
        await writer.create()
    assert len(await lines.load(writer.ids, project_id=caller.project_id)) == 3
    async with elsewhere.database.writing() as connection:
        of_job = tables.progress.c.job_id
        await connection.execute(
            update(tables.progress).where(of_job == writer.ids[0]).values(project_id=STRANGER.project_id)
        )
        await connection.execute(delete(tables.progress).where(of_job == writer.ids[1]))
    assert list(await lines.load(writer.ids, project_id=caller.project_id)) == writer.ids[2:]
    assert list(await lines.load(writer.ids, project_id=STRANGER.project_id)) == writer.ids[:1]


@pytest.mark.parametrize("changed", [99, 100, 101, 107, 108, 109, 400])
async def test_however_much_is_changed_the_answer_is_as_true(
    store: Store, elsewhere: Store, credentials: Credentials, changed: int
):
    """Of 8 jobs that are asked for: about as many changes as are still read, and more."""
    await fill(store, credentials.project_id, first=0, end=400)
    lines = open_lines(store.database)
    ids = [job_id(number) for number in range(400)]
    asked = ids[::50]
    before = await lines.load(ids, project_id=credentials.project_id)
    async with elsewhere.database.writing() as connection:
        for each in random.sample(ids, k=changed):
            await connection.execute(text("UPDATE progress SET mode = 'full' WHERE job_id = :id"), {"id": each})
    truth = await open_lines(elsewhere.database).load(ids, project_id=credentials.project_id)
    assert sum(truth[each].mode is not before[each].mode for each in ids) == changed
    assert await lines.load(asked, project_id=credentials.project_id) == {each: truth[each] for each in asked}
    assert await lines.load(ids, project_id=credentials.project_id) == truth

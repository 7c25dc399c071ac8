"""Who may run and write a job, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.integration.store.conftest import create_job
from towline.clock import SystemClock
from towline.domain.errors import LeaseLost
from towline.domain.jobs import JobStatus
from towline.domain.progress import Phase, Progress
from towline.service.jobs import JobService
from towline.service.ports import Caller, JobEdit, Lease
from towline.store.opening import Store

FIGURES = Progress(at_us=1, phase=Phase.COPY, percent=5)


async def until_free(store: Store, job_id: str, owner: str) -> Lease:
    """The lease, as soon as it can be had."""
    async with asyncio.timeout(20):
        while (lease := await store.work.take_lease(job_id, owner, ttl_s=30)) is None:
            await asyncio.sleep(0.01)
    return lease


async def test_i6_of_many_takers_exactly_one_gets_the_lease(store: Store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    for expected_epoch in range(1, 6):
        taken = await asyncio.gather(
            *(store.work.take_lease(job.job_id, f"taker-{number}", ttl_s=30) for number in range(8))
        )
        leases = [lease for lease in taken if lease is not None]
        assert [lease.epoch for lease in leases] == [expected_epoch]
        assert await store.work.release_lease(leases[0])


async def test_i6_an_expired_lease_cannot_write_renew_or_come_back(store: Store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    stalled = await store.work.take_lease(job.job_id, "stalled", ttl_s=0.05)
    assert stalled is not None
    await store.work.save_progress(stalled, FIGURES)
    successor = await until_free(store, job.job_id, "successor")

    for forbidden in (
        store.work.save_progress(stalled, replace(FIGURES, percent=99)),
        store.work.edit(stalled, lambda seen: JobEdit(replace(seen, description="stolen"))),
        store.work.add_events(stalled, "warning", ["stolen"]),
        store.work.renew_lease(stalled, ttl_s=30),
    ):
        with pytest.raises(LeaseLost):
            await forbidden
    assert not await store.work.release_lease(stalled)
    await store.work.renew_lease(successor, ttl_s=30)
    assert successor.epoch == stalled.epoch + 1
    known = await store.work.load_last_progress(job.job_id)
    assert known is not None
    assert known.percent == 5


async def test_i6_an_expired_lease_is_over_even_if_nobody_took_it(store: Store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    lease = await store.work.take_lease(job.job_id, "stalled", ttl_s=0)
    assert lease is not None
    with pytest.raises(LeaseLost):
        await store.work.save_progress(lease, FIGURES)
    with pytest.raises(LeaseLost):
        await store.work.renew_lease(lease, ttl_s=30)


async def test_a_cancelled_write_keeps_nobody_waiting(store: Store, service: JobService, caller: Caller):
    """Wherever the cancellation meets it: its locks go at once, though its frames live on."""
    job = await create_job(service, caller)
    lease = await store.work.take_lease(job.job_id, "worker", ttl_s=600)
    assert lease is not None
    frames: list[object] = []
    for steps in range(0, 60, 2):
        write = asyncio.create_task(store.work.save_progress(lease, FIGURES))
        for _ in range(steps):
            await asyncio.sleep(0.0001)
        write.cancel()
        frames += await asyncio.gather(write, return_exceptions=True)
        async with asyncio.timeout(5):
            await store.work.renew_lease(lease, ttl_s=600)
    assert any(isinstance(frame, asyncio.CancelledError) for frame in frames)


# SQLite lets one writer in at a time.
@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
async def test_i6_a_write_in_flight_holds_the_next_owner_back(store: Store, service: JobService, caller: Caller):
    """The check and the commit of a write are one transaction, so no owner can come between them."""
    job = await create_job(service, caller)
    lease = await store.work.take_lease(job.job_id, "first", ttl_s=0.3)
    assert lease is not None
    loop = asyncio.get_running_loop()
    order: list[str] = []
    in_flight = asyncio.Event()
    go_on = asyncio.Event()

    async def write_slowly() -> None:
        async with store.database.writing() as connection:
            await store.work._require(connection, lease)
            in_flight.set()
            await go_on.wait()
            order.append("written")

    async def take() -> None:
        taken = await until_free(store, job.job_id, "second")
        order.append(f"taken {taken.epoch}")

    writing = loop.create_task(write_slowly())
    await in_flight.wait()
    taking = loop.create_task(take())
    # The taker asks again and again; once the lease has run out it waits for the row instead.
    async with asyncio.timeout(20):
        while not await _is_somebody_waiting(store):
            await asyncio.sleep(0.01)
    go_on.set()
    await asyncio.gather(writing, taking)
    assert order == ["written", "taken 2"]


async def _is_somebody_waiting(store: Store) -> bool:
    async with store.database.reading() as connection:
        found = await connection.exec_driver_sql(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND "
            "pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
        )
        return bool(found.scalar_one())


async def test_only_jobs_that_need_somebody_are_found(store: Store, service: JobService, caller: Caller):
    idle = await create_job(service, caller, "idle")
    started = await create_job(service, caller, "started")
    held = await create_job(service, caller, "held")
    for job in (started, held):
        await service.start(caller, job.job_id)
    lease = await store.work.take_lease(held.job_id, "somebody", ttl_s=30)
    assert lease is not None

    assert [waiting.job.job_id for waiting in await store.work.find_waiting(limit=10)] == [started.job_id]

    await store.work.release_lease(lease)
    found = {waiting.job.job_id: waiting for waiting in await store.work.find_waiting(limit=10)}
    assert found.keys() == {started.job_id, held.job_id}
    assert found[held.job_id].epoch == 1
    assert idle.job_id not in found


async def test_a_crashed_job_rests_before_it_is_found_again(store: Store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    await service.start(caller, job.job_id)
    lease = await store.work.take_lease(job.job_id, "crasher", ttl_s=30)
    assert lease is not None
    assert await store.work.release_lease(lease, crash_delay_s=60)

    assert await store.work.find_waiting(limit=10) == []
    assert await store.work.take_lease(job.job_id, "eager", ttl_s=30) is None


async def test_crashes_are_counted_until_forgiven(store: Store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    await service.start(caller, job.job_id)
    for _ in range(3):
        lease = await until_free(store, job.job_id, "crasher")
        await store.work.release_lease(lease, crash_delay_s=0)
    (waiting,) = await store.work.find_waiting(limit=10)
    assert waiting.crashes == 3

    lease = await until_free(store, job.job_id, "healthy")
    await store.work.forgive_crashes(lease)
    await store.work.release_lease(lease)
    (waiting,) = await store.work.find_waiting(limit=10)
    assert waiting.crashes == 0


async def test_a_scheduled_job_starts_when_its_time_has_come(store: Store, service: JobService, caller: Caller):
    soon = await create_job(service, caller, "soon")
    later = await create_job(service, caller, "later")
    now_us = SystemClock().now_us()
    await service.start(caller, soon.job_id, at_us=now_us + 100_000)
    await service.start(caller, later.job_id, at_us=now_us + 3_600_000_000)

    async with asyncio.timeout(20):
        while not (due := await store.work.start_due()):
            await asyncio.sleep(0.01)

    assert due == [soon.job_id]
    (first, second) = await service.jobs(caller, [soon.job_id, later.job_id])
    assert first.value is not None
    assert first.value.status is JobStatus.STARTING
    assert first.value.started_us is not None
    assert second.value is not None
    assert second.value.status is JobStatus.SCHEDULED

"""What callers can do with jobs, and when they cannot; on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from tests.integration.store.conftest import SOURCE, TARGET, ScriptedProbes, create_job, read_job
from towline.clock import SystemClock
from towline.domain.errors import ConnectionRefused, IllegalTransition, JobNotFound, RequestError, Side
from towline.domain.jobs import ConflictPolicy, Endpoint, JobStatus, PauseMode, TaskMode
from towline.domain.prechecks import Verdict
from towline.domain.tables import ObjectSelection
from towline.service.jobs import JobService
from towline.service.ports import (
    Caller,
    ConnectionTest,
    DecideJob,
    JobChange,
    JobDraft,
    JobEdit,
    PrecheckRun,
    Wanted,
)
from towline.service.prechecks import TIMEOUT_S
from towline.store.opening import Store


def to_status(status: JobStatus) -> DecideJob:
    return lambda job: JobEdit(replace(job, status=status))


async def put(store: Store, job_id: str, status: JobStatus) -> None:
    """Bring the job to a status by way of legal steps."""
    paths = {
        JobStatus.CONFIGURING: [],
        JobStatus.STARTING: [JobStatus.STARTING],
        JobStatus.START_FAILED: [JobStatus.STARTING, JobStatus.START_FAILED],
        JobStatus.COPYING: [JobStatus.STARTING, JobStatus.COPYING],
        JobStatus.COPY_FAILED: [JobStatus.STARTING, JobStatus.COPYING, JobStatus.COPY_FAILED],
        JobStatus.COPIED: [JobStatus.STARTING, JobStatus.COPYING, JobStatus.COPIED],
        JobStatus.STREAMING: [JobStatus.STARTING, JobStatus.STREAMING],
        JobStatus.STREAM_FAILED: [JobStatus.STARTING, JobStatus.STREAMING, JobStatus.STREAM_FAILED],
        JobStatus.PAUSED: [JobStatus.STARTING, JobStatus.STREAMING, JobStatus.PAUSED],
        JobStatus.ENDING: [JobStatus.ENDING],
        JobStatus.ENDED: [JobStatus.ENDING, JobStatus.ENDED],
    }
    for step in paths[status]:
        await store.jobs.edit(job_id, to_status(step), project_id=None)


async def test_ids_look_like_those_that_clients_know(service: JobService, caller: Caller):
    job = await create_job(service, caller)
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{8}jb[0-9]{2}", job.job_id)


async def test_a_new_job_answers_creating_and_is_configuring(service: JobService, caller: Caller):
    job = await create_job(service, caller)
    assert job.status is JobStatus.CREATING
    assert (await read_job(service, caller, job.job_id)).status is JobStatus.CONFIGURING


CALLS = {
    "start": lambda service, caller, job_id: service.start(caller, job_id),
    "pause": lambda service, caller, job_id: service.pause(caller, job_id, PauseMode.ALL),
    "retry": lambda service, caller, job_id: service.retry(caller, job_id),
    "end": lambda service, caller, job_id: service.end(caller, job_id),
    "delete": lambda service, caller, job_id: service.delete(caller, job_id),
    "set_policy": lambda service, caller, job_id: service.set_policy(caller, job_id, ConflictPolicy.STOP),
    "set_speed": lambda service, caller, job_id: service.set_speed(caller, job_id, ()),
    "select": lambda service, caller, job_id: service.select_objects(caller, job_id, ObjectSelection(), ()),
    "password": lambda service, caller, job_id: service.change_password(caller, job_id, is_source=True, password="new"),
}
ALLOWED = {
    "start": {"configuring", "start_failed"},
    "pause": {"copying", "copy_failed", "copied", "streaming", "stream_failed"},
    "retry": {"start_failed", "copy_failed", "stream_failed", "paused"},
    "end": {
        "configuring", "starting", "start_failed", "copying", "copy_failed", "copied", "streaming",
        "stream_failed", "paused", "ending",
    },
    "delete": {"ended"},
    "set_policy": {"configuring", "start_failed", "copy_failed", "stream_failed", "paused"},
    "set_speed": {
        "configuring", "starting", "start_failed", "copying", "copy_failed", "copied", "streaming",
        "stream_failed", "paused",
    },
    "select": {"configuring", "start_failed"},
    "password": {
        "starting", "start_failed", "copying", "copy_failed", "copied", "streaming", "stream_failed",
        "paused",
    },
}  # fmt: skip
STATUSES = (
    "configuring", "starting", "start_failed", "copying", "copy_failed", "copied", "streaming", "stream_failed",
    "paused", "ending", "ended",
)  # fmt: skip


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("call", CALLS)
async def test_each_call_is_allowed_in_its_statuses_only(service: JobService, store: Store, caller: Caller, call: str):
    allowed = set()
    for word in STATUSES:
        job = await create_job(service, caller, f"job-{word}")
        await put(store, job.job_id, JobStatus(word))
        before = await read_job(service, caller, job.job_id)
        outcome = await CALLS[call](service, caller, job.job_id)
        if outcome.error is None:
            allowed.add(word)
        else:
            assert isinstance(outcome.error, IllegalTransition)
            assert await read_job(service, caller, job.job_id) == before
    assert allowed == ALLOWED[call]


async def test_a_start_without_databases_is_accepted(service: JobService, caller: Caller):
    (created,) = await service.create(
        caller,
        [JobDraft("empty", TaskMode.FULL, Endpoint("postgresql"), Endpoint("postgresql"))],
    )
    outcome = await service.start(caller, created.job_id)
    assert outcome.error is None
    assert outcome.value is not None
    assert outcome.value.status is JobStatus.STARTING


async def test_a_start_in_the_past_is_a_start_now(service: JobService, caller: Caller):
    job = await create_job(service, caller)
    outcome = await service.start(caller, job.job_id, at_us=1)
    assert outcome.value is not None
    assert outcome.value.status is JobStatus.STARTING


async def test_a_scheduled_start_can_be_moved_and_brought_forward(service: JobService, caller: Caller):
    job = await create_job(service, caller)
    later_us = SystemClock().now_us() + 3_600_000_000
    for at_us in (later_us, later_us * 2):
        outcome = await service.start(caller, job.job_id, at_us=at_us)
        assert outcome.value is not None
        assert (outcome.value.status, outcome.value.scheduled_us) == (JobStatus.SCHEDULED, at_us)
    outcome = await service.start(caller, job.job_id)
    assert outcome.value is not None
    assert outcome.value.status is JobStatus.STARTING


async def test_a_running_job_is_paused_only_when_its_worker_says_so(service: JobService, store: Store, caller: Caller):
    job = await create_job(service, caller)
    await put(store, job.job_id, JobStatus.STREAMING)
    outcome = await service.pause(caller, job.job_id, PauseMode.TARGET)
    assert outcome.value is not None
    assert (outcome.value.status, outcome.value.wanted) == (JobStatus.STREAMING, Wanted.PAUSE_TARGET)

    outcome = await service.retry(caller, job.job_id)  # takes it back
    assert outcome.value is not None
    assert (outcome.value.status, outcome.value.wanted) == (JobStatus.STREAMING, Wanted.RUN)


async def test_a_failed_job_has_nobody_to_wait_for(service: JobService, store: Store, caller: Caller):
    job = await create_job(service, caller)
    await put(store, job.job_id, JobStatus.COPY_FAILED)
    outcome = await service.pause(caller, job.job_id, PauseMode.ALL)
    assert outcome.value is not None
    assert (outcome.value.status, outcome.value.pause_mode) == (JobStatus.PAUSED, PauseMode.ALL)


async def test_force_can_be_added_to_an_end_but_not_taken_away(service: JobService, store: Store, caller: Caller):
    job = await create_job(service, caller)
    await put(store, job.job_id, JobStatus.STREAMING)
    wanted = []
    for force in (False, True, False):
        outcome = await service.end(caller, job.job_id, force=force)
        assert outcome.value is not None
        wanted.append(outcome.value.wanted)
    assert wanted == [Wanted.END, Wanted.FORCE_END, Wanted.FORCE_END]


async def test_databases_are_stored_only_while_configuring(service: JobService, store: Store, caller: Caller):
    job = await create_job(service, caller)
    change = JobChange(job.job_id, source=SOURCE, target=TARGET, store_endpoints=True)
    (stored,) = await service.modify(caller, [change])
    assert stored.value is not None
    assert stored.value.is_configured
    await put(store, job.job_id, JobStatus.STREAMING)

    refused, renamed = await service.modify(caller, [change, JobChange(job.job_id, name="renamed", description="new")])

    assert isinstance(refused.error, IllegalTransition)
    assert renamed.value is not None
    assert (renamed.value.name, renamed.value.description) == ("renamed", "new")


async def test_absent_members_leave_values_unchanged(service: JobService, caller: Caller):
    job = await create_job(service, caller)
    await service.modify(caller, [JobChange(job.job_id, attributes={"a": 1, "b": 2})])
    (outcome,) = await service.modify(caller, [JobChange(job.job_id, attributes={"b": 3})])
    assert outcome.value is not None
    assert outcome.value.attributes == {"a": 1, "b": 3}
    assert outcome.value.name == job.name


async def test_connection_tests_answer_one_by_one_in_order(service: JobService, caller: Caller, probes: ScriptedProbes):
    job = await create_job(service, caller)
    probes.error = ConnectionRefused("no such server", side=Side.SOURCE)
    outcomes = await service.test_connections(
        caller,
        [
            ConnectionTest(job.job_id, True, SOURCE),
            ConnectionTest("00000000-0000-0000-0000-00000000jb00", False, TARGET),
        ],
    )
    assert isinstance(outcomes[0].error, ConnectionRefused)
    assert isinstance(outcomes[1].error, JobNotFound)
    assert probes.checked == [SOURCE]


# --- prechecks ------------------------------------------------------------------------------------


async def finished_precheck(service: JobService, caller: Caller, job_id: str) -> PrecheckRun:
    async with asyncio.timeout(20):
        while True:
            (outcome,) = await service.precheck_results(caller, [job_id])
            assert outcome.value is not None
            if outcome.value.percent == 100:
                return outcome.value
            await asyncio.sleep(0.01)


async def test_a_precheck_runs_in_the_background(service: JobService, caller: Caller, probes: ScriptedProbes):
    job = await create_job(service, caller)
    (none_yet,) = await service.precheck_results(caller, [job.job_id])
    assert isinstance(none_yet.error, RequestError)
    probes.is_held = True

    (begun,) = await service.precheck(caller, [job.job_id], for_retry=False)
    (running,) = await service.precheck_results(caller, [job.job_id])
    probes.hold.set()
    done = await finished_precheck(service, caller, job.job_id)

    assert begun.error is None
    assert running.value is not None
    assert running.value.percent == 0
    assert [item.verdict for item in done.items] == [Verdict.PASSED]


async def test_a_precheck_without_databases_says_what_is_missing(service: JobService, caller: Caller):
    (created,) = await service.create(
        caller, [JobDraft("empty", TaskMode.FULL, Endpoint("postgresql"), replace(TARGET, user=""))]
    )
    await service.precheck(caller, [created.job_id], for_retry=False)
    done = await finished_precheck(service, caller, created.job_id)
    assert [(item.item, item.verdict, item.message) for item in done.items] == [
        ("srcDbConnection", Verdict.FAILED, "not stored yet: source host, source port, source user"),
        ("dstDbConnection", Verdict.FAILED, "not stored yet: target user"),
    ]


async def test_a_precheck_that_breaks_ends_with_its_failure(
    service: JobService, caller: Caller, probes: ScriptedProbes
):
    job = await create_job(service, caller)
    probes.error = ConnectionRefused("no such server", side=Side.SOURCE)
    await service.precheck(caller, [job.job_id], for_retry=False)
    done = await finished_precheck(service, caller, job.job_id)
    assert done.failure is not None
    assert done.failure.code == "CONNECTION_REFUSED"


async def test_a_precheck_of_a_dead_server_is_shown_as_cut_off(store: Store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    await store.jobs.save_precheck(PrecheckRun(job.job_id, 0, ()))

    class Later(SystemClock):
        def now_us(self) -> int:
            return super().now_us() + int((TIMEOUT_S + 60) * 1_000_000)

    after_restart = JobService(store.jobs, ScriptedProbes(), clock=Later())
    (outcome,) = await after_restart.precheck_results(caller, [job.job_id])
    await after_restart.close()
    assert outcome.value is not None
    assert outcome.value.percent == 100
    assert outcome.value.failure is not None
    assert outcome.value.failure.code == "PRECHECK_INTERRUPTED"

"""`towline progress` on a store with jobs in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.api.harness import make_store
from tests.integration.commands import Command, run
from towline.clock import SystemClock
from towline.domain.forecast import Score, TrackRecord
from towline.domain.jobs import ConflictPolicy, Endpoint, Failure, JobStatus, TaskMode
from towline.domain.progress import Phase, Progress
from towline.domain.tables import ObjectSelection
from towline.service.ports import Job
from towline.store.opening import opened_store

FIRST = "00000000-0000-4000-8000-00000000jb01"
SECOND = "00000000-0000-4000-8000-00000000jb02"


def job(job_id: str, name: str, project_id: str) -> Job:
    return Job(
        job_id=job_id,
        project_id=project_id,
        name=name,
        description="",
        mode=TaskMode.FULL_AND_STREAM,
        status=JobStatus.CONFIGURING,
        source=Endpoint("postgresql"),
        target=Endpoint("postgresql"),
        selection=ObjectSelection(),
        conflict_policy=ConflictPolicy.OVERWRITE,
        speed_windows=(),
        created_us=1,
        updated_us=1,
    )


@pytest.fixture
async def place(tmp_path: Path) -> list[str]:
    """Options that name a store with two jobs."""
    url, clock = f"sqlite:///{tmp_path / 'towline.db'}", SystemClock()
    options = [f"--data-dir={tmp_path}", f"--store={url}"]
    project_id = (await make_store(url, tmp_path, clock=clock)).project_id
    async with opened_store(url, tmp_path, clock=clock) as store:
        failed = replace(
            job(SECOND, "second", project_id),
            status=JobStatus.START_FAILED,
            failure=Failure(code="X", message="no password", remedy="", side="source"),
        )
        await store.jobs.insert(job(FIRST, "first", project_id))
        await store.jobs.insert(failed)
    return options


def test_jobs_are_listed_with_the_worst_first(place: list[str]) -> None:
    code, command = run("progress", *place)
    assert code == 0, command.told()
    assert "second  start failed" in command.lines[0]
    assert "no password" in command.lines[0]
    assert "first  configuring" in command.lines[1]


def test_json_has_one_object_a_job(place: list[str]) -> None:
    code, command = run("progress", "--json", SECOND.upper(), *place)
    assert code == 0, command.told()
    (record,) = command.records()
    assert (record["job_id"], record["status"], record["failure"]) == (SECOND, "start_failed", "no password")


def test_unknown_id_is_an_error(place: list[str]) -> None:
    code, command = run("progress", FIRST.replace("jb01", "jb99"), *place)
    assert code == 1
    assert "there is no job" in command.errors[0]


async def test_scores_are_told_per_job_and_in_all(place: list[str], tmp_path: Path) -> None:
    code, command = run("progress", "--score", *place)
    assert code == 0, command.told()
    assert "No job has been scored yet" in command.told()
    done = TrackRecord(finished_us=9, score=Score(7, 0.1, 0.25, 0.9, 0.8, 60.0))
    async with opened_store(f"sqlite:///{tmp_path / 'towline.db'}", tmp_path, clock=SystemClock()) as store:
        lease = await store.work.take_lease(FIRST, "worker", ttl_s=30)
        assert lease is not None
        await store.work.save_progress(lease, Progress(9, Phase.STREAM, 100), track=done)

    code, command = run("progress", "--score", "--json", *place)
    assert code == 0, command.told()
    (told,) = command.records()
    assert (told["overall"]["jobs"], told["overall"]["median_error"]) == (1, 0.1)
    assert [(entry["name"], entry["tenth_error"]) for entry in told["jobs"]] == [("first", 0.25)]
    _, command = run("progress", "--score", FIRST, *place)
    assert "25 %" in command.told()
    assert run("progress", "--score", FIRST.replace("jb01", "jb99"), *place)[0] == 1


def test_watch_goes_on_until_ctrl_c(place: list[str]) -> None:
    with Command("progress", "--watch", "--json", *place) as command:
        for _ in range(2):
            for _ in range(2):
                command.wait_for_record(lambda record: record["event"] == "progress")
        command.interrupt()
        assert command.finish() == 0, command.told()
    assert not any("Traceback" in line for line in command.errors)


def test_missing_store_is_said_in_a_sentence(tmp_path: Path) -> None:
    code, command = run("progress", f"--data-dir={tmp_path}")
    assert code == 1
    assert "towline init" in "\n".join(command.errors)

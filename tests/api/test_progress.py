"""batch-progress: every situation of the API facts, section 1.2, and every way to ask for it wrongly."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest

from tests.api.harness import UNKNOWN_ID, Api, create_foreign_job, failure
from towline.domain.jobs import JobStatus
from towline.domain.progress import PartProgress, Phase, Progress
from towline.domain.tables import TotalOrigin
from towline.service.ports import Caller
from towline.service.shared_reads import SharedReads

DONE = PartProgress(done=10, total=10, is_finished=True)
MAP_KEYS = ["struct", "data", "index"]


def copying(api: Api, **members: Any) -> Progress:
    return Progress(
        at_us=api.clock.us,
        phase=Phase.COPY,
        percent=37,
        structure=DONE,
        data=PartProgress(done=94, total=100, origin=TotalOrigin.STATISTICS, remaining_s=12),
        index=PartProgress(done=0, total=50),
        remaining_s=65,
        **members,
    )


def streaming(api: Api, *, behind_s: float = 0.25, **members: Any) -> Progress:
    return Progress(
        at_us=api.clock.us,
        phase=Phase.STREAM,
        percent=100,
        structure=DONE,
        data=DONE,
        index=DONE,
        remaining_s=members.pop("remaining_s", 0),
        proven_source_time_us=api.clock.us - int(behind_s * 1_000_000),
        source_clock_offset_us=0,
        apply_rows_per_s=members.pop("apply_rows_per_s", 1234.4),
        apply_bytes_per_s=members.pop("apply_bytes_per_s", 99_000.0),
        **members,
    )


async def test_created_job_has_no_figures_yet(api: Api) -> None:
    job_id = await api.create_job()
    assert await api.progress_of(job_id) == {
        "job_id": job_id,
        "progress": "0",
        "incre_trans_delay": "-1",
        "incre_trans_delay_millis": "-1",
        "task_mode": "FULL_INCR_TRANS",
        "transfer_status": "CONFIGURATION",
        "process_time": "0",
        "remaining_time": "-1",
        "apply_rows_rate": -1,
        "apply_bytes_rate": -1,
    }


@pytest.mark.parametrize(
    ("status", "word"),
    [(JobStatus.SCHEDULED, "WAITING_FOR_START"), (JobStatus.STARTING, "STARTJOBING")],
)
async def test_waiting_job_has_no_figures_yet(api: Api, status: JobStatus, word: str) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, status)
    record = await api.progress_of(job_id)
    assert (record["transfer_status"], record["progress"], record["remaining_time"]) == (word, "0", "-1")
    assert "progress_map" not in record


async def test_full_phase_shows_percent_map_and_estimate(api: Api) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.COPYING)
    await api.report(job_id, copying(api))
    answer = await api.post("jobs/batch-progress", {"jobs": [job_id]})
    record = answer.json()["results"][0]
    assert record == {
        "job_id": job_id,
        "progress": "37",
        "incre_trans_delay": "-1",
        "incre_trans_delay_millis": "-1",
        "task_mode": "FULL_INCR_TRANS",
        "transfer_status": "FULL_TRANSFER_STARTED",
        "process_time": str(api.clock.us // 1000),
        "remaining_time": "65",
        "progress_map": {
            "struct": {"completed": "100%", "remaining_time": "0"},
            "data": {"completed": "94%", "remaining_time": "12"},
            "index": {"completed": "0%"},
        },
        "apply_rows_rate": -1,
        "apply_bytes_rate": -1,
    }
    assert list(record["progress_map"]) == MAP_KEYS


async def test_incremental_phase_shows_100_percent_and_a_delay_that_grows_by_itself(api: Api) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.STREAMING)
    await api.report(job_id, streaming(api, behind_s=0.25))
    record = await api.progress_of(job_id)
    assert record["progress"] == "100"
    assert record["transfer_status"] == "INCRE_TRANSFER_STARTED"
    assert (record["incre_trans_delay"], record["incre_trans_delay_millis"]) == ("0", "250")
    assert (record["apply_rows_rate"], record["apply_bytes_rate"]) == (1234, 99_000)
    assert record["remaining_time"] == "0"
    assert "progress_map" not in record
    api.clock.advance(7.5)
    later = await api.progress_of(job_id)
    assert (later["incre_trans_delay"], later["incre_trans_delay_millis"]) == ("7", "7750")
    assert later["process_time"] == record["process_time"]


async def test_delay_is_unknown_until_something_is_proven(api: Api) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.STREAMING)
    await api.report(job_id, Progress(at_us=api.clock.us, phase=Phase.CATCH_UP, percent=100))
    record = await api.progress_of(job_id)
    assert (record["incre_trans_delay"], record["incre_trans_delay_millis"]) == ("-1", "-1")
    assert record["remaining_time"] == "-1"


async def test_delay_is_measured_on_this_clock(api: Api) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.STREAMING)
    ahead_us = 5_000_000
    await api.report(
        job_id,
        Progress(
            at_us=api.clock.us,
            phase=Phase.STREAM,
            percent=100,
            proven_source_time_us=api.clock.us + ahead_us - 2_000_000,
            source_clock_offset_us=ahead_us,
        ),
    )
    assert (await api.progress_of(job_id))["incre_trans_delay_millis"] == "2000"


@pytest.mark.parametrize("reading", ["load_progress", "load_all_health"])
async def test_a_slow_store_makes_no_delay_look_small(api: Api, monkeypatch: pytest.MonkeyPatch, reading: str) -> None:
    """While a request waits for the store, delays go on growing."""
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.STREAMING)
    await api.report(job_id, streaming(api))
    read = getattr(api.store.jobs, reading)

    async def read_slowly(*args: Any, **options: Any) -> Any:
        rows = await read(*args, **options)
        api.clock.advance(3)
        return rows

    monkeypatch.setattr(api.store.jobs, reading, read_slowly)
    if reading == "load_progress":
        assert (await api.progress_of(job_id))["incre_trans_delay_millis"] == "3250"
        one = await api.call("GET", f"/v5/{api.account.project_id}/jobs/{job_id}?type=progress")
        assert one.json()["job"]["progress_info"]["incr_trans_delay_millis"] == "6250", "read slowly twice by now"
        return
    text = (await api.client.get("/metrics")).text
    assert f'towline_job_delay_seconds{{job_id="{job_id}"}} 3.25' in text
    parts = [line for line in text.splitlines() if line.startswith("towline_job_delay_part_seconds{")]
    assert sum(float(line.split()[-1]) for line in parts) == pytest.approx(3.25)


async def test_dead_worker_cannot_keep_a_figure_fresh(api: Api) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.STREAMING)
    await api.report(job_id, streaming(api, remaining_s=3))
    api.clock.advance(3600)
    record = await api.progress_of(job_id)
    assert record["incre_trans_delay"] == "3600"
    assert (record["apply_rows_rate"], record["apply_bytes_rate"]) == (-1, -1)
    assert record["remaining_time"] == "-1"


async def test_full_only_job_that_is_done_shows_100_percent_and_no_delay(api: Api) -> None:
    job_id = await api.create_job(task_type="FULL_TRANS")
    await api.bring_to(job_id, JobStatus.COPYING)
    await api.report(job_id, Progress(at_us=api.clock.us, phase=Phase.DONE, percent=100))
    await api.bring_to(job_id, JobStatus.COPIED)
    record = await api.progress_of(job_id)
    assert (record["transfer_status"], record["progress"]) == ("FULL_TRANSFER_COMPLETE", "100")
    assert (record["incre_trans_delay"], record["remaining_time"]) == ("-1", "0")
    assert {info["completed"] for info in record["progress_map"].values()} == {"100%"}
    assert record["task_mode"] == "FULL_TRANS"


async def test_status_and_figures_of_different_moments_do_not_contradict(api: Api) -> None:
    """The status says copying while the last row is of the stream, and the other way round."""
    first, second = await api.create_job(name="first-job"), await api.create_job(name="second-job")
    await api.bring_to(first, JobStatus.COPYING)
    await api.report(first, streaming(api))
    record = await api.progress_of(first)
    assert (record["progress"], record["incre_trans_delay"]) == ("99", "-1")
    assert record["apply_rows_rate"] == -1
    assert record["remaining_time"] == "-1"
    await api.bring_to(second, JobStatus.STREAMING)
    await api.report(second, copying(api))
    record = await api.progress_of(second)
    assert (record["progress"], record["incre_trans_delay"]) == ("100", "-1")
    assert "progress_map" not in record


@pytest.mark.parametrize("phase", ["copy", "stream"])
async def test_paused_job_keeps_its_last_figures(api: Api, phase: str) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.COPYING if phase == "copy" else JobStatus.STREAMING)
    await api.report(job_id, copying(api) if phase == "copy" else streaming(api, behind_s=1))
    running = await api.progress_of(job_id)
    await api.bring_to(job_id, JobStatus.PAUSED)
    record = await api.progress_of(job_id)
    assert record["transfer_status"] == "PAUSING"
    for name in ("progress", "process_time", "remaining_time", "incre_trans_delay", "task_mode"):
        assert record[name] == running[name]
    assert record.get("progress_map") == running.get("progress_map")
    assert record["apply_rows_rate"] == (-1 if phase == "copy" else 0)
    api.clock.advance(10)
    assert (await api.progress_of(job_id))["incre_trans_delay"] == ("-1" if phase == "copy" else "11")


@pytest.mark.parametrize(
    ("status", "word", "percent"),
    [
        (JobStatus.COPY_FAILED, "FULL_TRANSFER_FAILED", "37"),
        (JobStatus.STREAM_FAILED, "INCRE_TRANSFER_FAILED", "100"),
    ],
)
async def test_failed_job_shows_last_figures_and_reason(api: Api, status: JobStatus, word: str, percent: str) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, status, failure=failure())
    await api.report(job_id, copying(api) if percent == "37" else streaming(api))
    record = await api.progress_of(job_id)
    assert (record["transfer_status"], record["progress"]) == (word, percent)
    assert record["error_code"].startswith("DRS.")
    assert "WAL_LEVEL_NOT_LOGICAL" in record["error_msg"]
    assert "Set it to logical." in record["error_msg"]


async def test_start_failure_before_any_figure(api: Api) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.START_FAILED, failure=failure("ENDPOINT_INCOMPLETE"))
    record = await api.progress_of(job_id)
    assert (record["transfer_status"], record["progress"], record["process_time"]) == (
        "START_JOB_FAILED",
        "0",
        "0",
    )
    assert "ENDPOINT_INCOMPLETE" in record["error_msg"]


async def test_ended_job_is_not_in_the_incremental_phase_any_more(api: Api) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.STREAMING)
    await api.report(job_id, streaming(api))
    await api.bring_to(job_id, JobStatus.ENDED)
    record = await api.progress_of(job_id)
    assert record["transfer_status"] == "RELEASE_RESOURCE_COMPLETE"
    assert (record["progress"], record["incre_trans_delay"], record["remaining_time"]) == ("100", "-1", "0")


async def test_unknown_foreign_and_deleted_ids_stay_in_their_places(api: Api) -> None:
    mine = await api.create_job()
    gone = await api.create_job(name="gone-job")
    await api.bring_to(gone, JobStatus.DELETED)
    foreign = await create_foreign_job(api)
    asked = [UNKNOWN_ID, mine, foreign, gone, mine]
    answer = await api.post("jobs/batch-progress", {"jobs": asked})
    assert answer.status_code == 200
    body = answer.json()
    assert body["count"] == 5
    assert [record["job_id"] for record in body["results"]] == asked
    missing = {"error_code": "DRS.M05003", "error_msg": "Task information not found."}
    assert body["results"][0] == {"job_id": UNKNOWN_ID, **missing}
    assert body["results"][2] == {"job_id": foreign, **missing}
    assert body["results"][3]["error_code"] == "DRS.M05004"
    assert body["results"][1] == body["results"][4]
    assert body["results"][1]["transfer_status"] == "CONFIGURATION"


async def test_all_ids_unknown_is_still_an_answer(api: Api) -> None:
    answer = await api.post("jobs/batch-progress", {"jobs": [UNKNOWN_ID]})
    assert (answer.status_code, answer.json()["count"]) == (200, 1)


async def test_id_is_echoed_as_the_client_spelled_it(api: Api) -> None:
    job_id = await api.create_job()
    record = await api.progress_of(job_id.upper())
    assert record["job_id"] == job_id.upper()
    assert record["transfer_status"] == "CONFIGURATION"


async def test_extra_members_and_the_old_field_name_are_understood(api: Api) -> None:
    job_id = await api.create_job()
    for body in (
        {"jobs": [job_id], "page_req": {}},
        {"req": [job_id]},
        {"jobs": None, "req": [job_id]},
        {"jobs": [job_id], "req": ["nonsense"], "more": {"a": [1]}},
    ):
        answer = await api.post("jobs/batch-progress", body)
        assert answer.status_code == 200, body
        assert answer.json()["results"][0]["job_id"] == job_id


@pytest.mark.parametrize("body", [{}, {"jobs": None}, {"jobs": []}, {"jobs": [], "req": []}])
async def test_no_ids_is_an_empty_parameter(api: Api, body: Any) -> None:
    answer = await api.post("jobs/batch-progress", body)
    assert answer.status_code == 400
    assert answer.json() == {"error_code": "DRS.M00201", "error_msg": "The parameter jobs is empty."}


@pytest.mark.parametrize(
    "jobs",
    [[None], [""], [7], [{}], ["x"], [UNKNOWN_ID, ""], [UNKNOWN_ID + "0"], "text", {"a": 1}, 5, [UNKNOWN_ID + "\n"]],
)
async def test_malformed_ids_are_an_invalid_parameter(api: Api, jobs: Any) -> None:
    answer = await api.post("jobs/batch-progress", {"jobs": jobs})
    assert answer.status_code == 400
    assert answer.json() == {
        "error_code": "DRS.M00202",
        "error_msg": "The value of parameter jobs is invalid.",
    }


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff\xfe", b"[" * 200_000, b"NaN"])
async def test_body_that_is_no_json_object(api: Api, body: bytes) -> None:
    answer = await api.post("jobs/batch-progress", body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00007")


async def test_errors_are_told_in_chinese_on_request(api: Api) -> None:
    answer = await api.post("jobs/batch-progress", {}, language="ZH_CN")
    assert answer.json() == {"error_code": "DRS.M00201", "error_msg": "jobs参数为空。"}
    answer = await api.post("jobs/batch-progress", {"jobs": [UNKNOWN_ID]}, language="zh-cn")
    assert answer.json()["results"][0]["error_msg"] == "未找到任务信息。"
    answer = await api.post("jobs/batch-progress", {}, language="fr-fr")
    assert answer.json()["error_msg"] == "The parameter jobs is empty."


async def test_a_thousand_ids_in_one_call(api: Api) -> None:
    job_id = await api.create_job()
    ids = [f"{number:08x}-0000-0000-0000-00000000jb00" for number in range(1500)]
    ids[1200] = job_id
    answer = await api.post("jobs/batch-progress", {"jobs": ids})
    results = answer.json()["results"]
    assert [record["job_id"] for record in results] == ids
    assert results[1200]["task_mode"] == "FULL_INCR_TRANS"
    answer = await api.post("jobs/batch-progress", {"jobs": [UNKNOWN_ID] * 10_001})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00202")


async def test_shape_is_what_typed_clients_decode(api: Api) -> None:
    """Text where text is documented, integers where integers are; no null member, no list for the map."""
    ids = []
    for number, status in enumerate((JobStatus.CONFIGURING, JobStatus.COPYING, JobStatus.STREAMING)):
        job_id = await api.create_job(name=f"shape-{number}")
        await api.bring_to(job_id, status)
        if status is not JobStatus.CONFIGURING:
            await api.report(job_id, copying(api) if status is JobStatus.COPYING else streaming(api))
        ids.append(job_id)
    answer = await api.post("jobs/batch-progress", {"jobs": [*ids, UNKNOWN_ID]})
    assert answer.headers["content-type"].startswith("application/json")
    assert b"null" not in answer.content
    for record in answer.json()["results"]:
        for name, value in record.items():
            if name == "progress_map":
                assert list(value) == MAP_KEYS
                assert all(re.fullmatch(r"\d{1,3}%", info["completed"]) for info in value.values())
            elif name in ("apply_rows_rate", "apply_bytes_rate"):
                assert type(value) is int
            else:
                assert type(value) is str
                assert value


async def test_calls_at_the_same_time_share_reads_that_begin_after_each_of_them(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two reads hold the old rows; whoever asks now gets the new ones, each in its own order."""
    first, second = await api.create_job(), await api.create_job(name="another")
    await api.bring_to(first, JobStatus.COPYING)
    load, may_end, reads = api.store.jobs.load_progress, asyncio.Event(), 0

    async def load_and_hold(job_ids: Sequence[str], *, project_id: str) -> Any:
        nonlocal reads
        reads += 1
        rows = await load(job_ids, project_id=project_id)
        await may_end.wait()
        return rows

    share, asking = SharedReads.read, 0

    async def count_and_share(shared: SharedReads[Any], caller: Caller, ids: Sequence[str]) -> Any:
        nonlocal asking
        asking += 1
        return await share(shared, caller, ids)

    monkeypatch.setattr(api.store.jobs, "load_progress", load_and_hold)
    monkeypatch.setattr(SharedReads, "read", count_and_share)
    early = [asyncio.create_task(api.progress_of(first)) for _ in range(2)]
    while reads < 2:
        await asyncio.sleep(0.001)
    await api.bring_to(first, JobStatus.COPY_FAILED, failure=failure())
    asked = [[first, second], [second, first.upper(), UNKNOWN_ID], [first], [second, second]] * 4
    late = [asyncio.create_task(api.post("jobs/batch-progress", {"jobs": ids})) for ids in asked]
    while asking < len(early) + len(late):
        await asyncio.sleep(0.001)
    may_end.set()
    answers = [answer.json()["results"] for answer in await asyncio.gather(*late)]
    assert [[record["job_id"] for record in records] for records in answers] == asked
    assert all(
        record["transfer_status"] == "FULL_TRANSFER_FAILED"
        for records in answers
        for record in records
        if record["job_id"].lower() == first
    )
    assert [record["transfer_status"] for record in await asyncio.gather(*early)] == ["FULL_TRANSFER_STARTED"] * 2
    assert reads == 3

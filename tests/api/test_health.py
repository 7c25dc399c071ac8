"""The two halves of the delay, health, and the verdict over HTTP; the facts are what a worker would have written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.api.harness import UNKNOWN_ID, Api, create_foreign_job
from towline.domain.diagnosis import (
    Diagnosis,
    KeptLog,
    LockWait,
    OpenTransaction,
    Session,
    SourceFacts,
    TargetFacts,
)
from towline.domain.forecast import TrackRecord
from towline.domain.jobs import JobStatus
from towline.domain.progress import PartProgress, Phase, Progress
from towline.domain.tables import TotalOrigin

BLOCKER = Session(
    4711, "ada", "psql", "shop", "active", "LOCK TABLE t", 40.04, end_with="SELECT pg_terminate_backend(4711)"
)


def in_step(api: Api) -> Progress:
    """A job that is ready."""
    now_us = api.clock.us
    log = KeptLog("slot", is_there=True, is_read=True, state="reserved", held_bytes=5000, is_limited=False)
    return Progress(
        at_us=now_us,
        phase=Phase.STREAM,
        percent=100,
        remaining_s=0,
        proven_source_time_us=now_us - 900_000,
        source_clock_offset_us=0,
        received_source_time_us=now_us - 400_000,
        applied_position="0/1A",
        received_position="0/1B",
        source_position="0/1C",
        queued_bytes=70,
        diagnosis=Diagnosis(
            at_us=now_us,
            source=SourceFacts(now_us, 9000, log),
            target=TargetFacts(now_us),
            moved_at_us=now_us,
            sequences_at_us=now_us,
            cpu_share=0.123,
        ),
    )


def blocked(api: Api) -> Progress:
    progress = in_step(api)
    assert progress.diagnosis is not None
    locked = TargetFacts(api.clock.us, (LockWait("apply", 99, 12.0, (BLOCKER,)),))
    return replace(
        progress,
        proven_source_time_us=api.clock.us - 12_400_000,
        applying_since_us=api.clock.us - 11_000_000,
        diagnosis=replace(progress.diagnosis, target=locked, moved_at_us=api.clock.us - 12_000_000),
    )


async def streaming_job(api: Api, progress: Progress, name: str = "move-shop") -> str:
    job_id = await api.create_job(name=name)
    await api.bring_to(job_id, JobStatus.STREAMING)
    await api.report(job_id, progress)
    return job_id


async def test_progress_of_each_kind_says_what_its_total_is_known_from(api: Api) -> None:
    progress = replace(
        in_step(api),
        phase=Phase.COPY,
        percent=41,
        structure=PartProgress(3, 3, TotalOrigin.EXACT, is_finished=True, remaining_s=0),
        data=PartProgress(40, 70, TotalOrigin.COUNTED, remaining_s=12),
        index=PartProgress(0, 30),
    )
    job_id = await streaming_job(api, progress)
    assert (await health_of(api, job_id))["progress"] == {
        "percent": 41,
        "structure": part(3, 3, 100, "exact", is_finished=True, remaining_s=0),
        "data": part(40, 70, 57, "counted", remaining_s=12),
        "index": part(0, 30, 0, "statistics"),
    }


def part(
    done: int, total: int, percent: int, origin: str, *, is_finished: bool = False, remaining_s: int | None = None
) -> dict[str, Any]:
    return {
        "done": done,
        "total": total,
        "percent": percent,
        "origin": origin,
        "is_finished": is_finished,
        "remaining_s": remaining_s,
    }


async def health_of(api: Api, job_id: str) -> dict[str, Any]:
    answer = await api.call("GET", f"jobs/{job_id}/towline/health")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def rpo_of(api: Api, job_id: str) -> dict[str, Any]:
    answer = await api.post("jobs/batch-rpo-and-rto", {"jobs": [job_id]})
    assert (answer.status_code, answer.json()["count"]) == (202, 1)
    (record,) = answer.json()["results"]
    return record


async def test_both_halves_have_real_positions_and_add_up_to_the_delay(api: Api) -> None:
    job_id = await streaming_job(api, blocked(api))
    assert await rpo_of(api, job_id) == {
        "job_id": job_id,
        "rpo_info": {"check_point": "0/1B", "delay": "400", "gtid_set": "NA", "time": "2025-03-01 11:59:59"},
        "rto_info": {"check_point": "0/1A", "delay": "12000", "gtid_set": "NA", "time": "2025-03-01 11:59:47"},
    }
    api.clock.advance(100)  # the worker is dead: nothing is read any more
    record = await rpo_of(api, job_id)
    assert (record["rpo_info"]["delay"], record["rto_info"]["delay"]) == ("100400", "12000")
    assert (await api.progress_of(job_id))["incre_trans_delay_millis"] == "112400"


async def test_outside_the_incremental_phase_both_halves_are_unknown(api: Api) -> None:
    job_id = await api.create_job()
    unknown = {"check_point": "NA", "delay": "-1", "gtid_set": "NA", "time": ""}
    assert await rpo_of(api, job_id) == {"job_id": job_id, "rpo_info": unknown, "rto_info": unknown}


async def test_health_names_who_holds_the_job_up(api: Api) -> None:
    job_id = await streaming_job(api, blocked(api))
    health = await health_of(api, job_id)
    assert health["delay"] == {"total_ms": 12400, "read_ms": 400, "queue_ms": 1000, "apply_ms": 11000}
    (wait,) = health["waits"]
    assert (wait["kind"], wait["part"], wait["side"]) == ("target_lock", "apply", "target")
    assert wait["since"] == api.clock.us // 1000 - 12_000
    assert (wait["session"]["pid"], wait["session"]["statement"]) == (4711, "LOCK TABLE t")
    assert "pg_terminate_backend(4711)" in wait["remedy"]
    assert health["stall"]["is_stalled"]
    assert health["retention"]["level"] == "unknown"
    assert "how long its disk has room for that is not known" in health["retention"]["text"]
    assert (health["retention"]["held_bytes"], health["retention"]["hours_left"]) == (5000, None)
    assert (health["source_position"], health["queued_bytes"], health["cpu_share"]) == ("0/1C", 70, 0.12)
    assert [reason["code"] for reason in health["switchover"]["reasons"]] == ["DELAY_LARGE", "TARGET_LOCK"]


async def test_health_of_a_job_that_nobody_has_run_is_unknown_not_good(api: Api) -> None:
    health = await health_of(api, await api.create_job())
    assert (health["process_time"], health["delay"], health["waits"]) == (None, None, [])
    assert health["retention"]["level"] == "unknown"
    assert not health["switchover"]["ready"]


async def test_health_of_unknown_deleted_and_foreign_jobs_is_refused(api: Api) -> None:
    foreign = await create_foreign_job(api)
    for job_id, code in ((UNKNOWN_ID, "DRS.M05003"), (foreign, "DRS.M05003"), ("nonsense", "DRS.M00202")):
        answer = await api.call("GET", f"jobs/{job_id}/towline/health")
        assert (answer.status_code, answer.json()["error_code"]) == (400, code)
    answer = await api.client.get(f"{api.project}jobs/{UNKNOWN_ID}/towline/health")
    assert answer.status_code == 401


async def test_verdicts_of_many_jobs_in_request_order(api: Api) -> None:
    ready = await streaming_job(api, in_step(api), "ready")
    waits = await streaming_job(api, blocked(api), "waits")
    body = {"jobs": [waits, UNKNOWN_ID, ready.upper()]}
    answer = await api.post("jobs/towline/switchover-verdict", body)
    assert answer.status_code == 200
    assert (answer.json()["count"], answer.json()["ready_count"]) == (3, 1)
    first, second, third = answer.json()["results"]
    assert (first["ready"], [reason["code"] for reason in first["reasons"]]) == (False, ["DELAY_LARGE", "TARGET_LOCK"])
    assert (second["job_id"], second["ready"], second["error_code"]) == (UNKNOWN_ID, False, "DRS.M05003")
    assert (third["job_id"], third["ready"], third["reasons"]) == (ready.upper(), True, [])
    assert "COMPARE" in [advisory["code"] for advisory in third["advisories"]]
    api.clock.advance(30)
    dead = (await api.post("jobs/towline/switchover-verdict", {"jobs": [ready]})).json()["results"][0]
    assert not dead["ready"]
    assert "no worker has reported for 30 s" in [reason["text"] for reason in dead["reasons"]]


async def test_an_open_transaction_stands_in_the_way(api: Api) -> None:
    progress = in_step(api)
    assert progress.diagnosis is not None
    assert progress.diagnosis.source is not None
    source = replace(progress.diagnosis.source, transactions=(OpenTransaction(BLOCKER, True, True),))
    job_id = await streaming_job(api, replace(progress, diagnosis=replace(progress.diagnosis, source=source)))
    health = await health_of(api, job_id)
    assert [wait["kind"] for wait in health["waits"]] == ["open_transaction"]
    assert [reason["code"] for reason in health["switchover"]["reasons"]] == ["OPEN_TRANSACTION"]


async def test_metrics_tell_what_holds_jobs_up_and_name_nobody(api: Api) -> None:
    job_id = await streaming_job(api, blocked(api))
    text = (await api.client.get("/metrics")).text
    for sample in (
        f'towline_job_delay_part_seconds{{job_id="{job_id}",part="apply"}} 11.0',
        f'towline_job_waiting{{job_id="{job_id}",kind="target_lock"}} 1.0',
        f'towline_job_stalled{{job_id="{job_id}"}} 1.0',
        f'towline_job_switchover_ready{{job_id="{job_id}"}} 0.0',
        f'towline_job_log_held_bytes{{job_id="{job_id}"}} 5000.0',
        f'towline_job_log_level{{job_id="{job_id}",level="unknown"}} 1.0',
    ):
        assert sample in text
    assert "LOCK TABLE" not in text
    assert "ada" not in text
    assert "towline_job_log_hours_left{" not in text  # unknown has no sample


async def test_remaining_time_and_what_the_estimates_were_worth(api: Api) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.COPYING)
    unknown = {"seconds": None, "low_s": None, "high_s": None, "confidence": 0.8, "estimated": None}
    assert (await health_of(api, job_id))["remaining"] == {**unknown, "estimates_kept": 0, "score": None}
    text = (await api.client.get("/metrics")).text
    assert "towline_job_remaining_seconds{" not in text  # unknown has no sample
    assert "towline_job_remaining_error_ratio{" not in text
    assert "towline_remaining_scored_jobs 0.0" in text

    said_us = api.clock.us
    copying = Progress(
        at_us=said_us,
        phase=Phase.COPY,
        percent=10,
        remaining_s=100,
        remaining_low_s=80,
        remaining_high_s=130,
        remaining_at_us=said_us,
    )
    track = TrackRecord().after(copying)
    await api.report(job_id, copying, track=track)
    said = {"seconds": 100, "low_s": 80, "high_s": 130, "confidence": 0.8, "estimated": said_us // 1000}
    assert (await health_of(api, job_id))["remaining"] == {**said, "estimates_kept": 1, "score": None}
    assert f'towline_job_remaining_seconds{{job_id="{job_id}"}} 100.0' in (await api.client.get("/metrics")).text

    api.clock.advance(80)
    await api.bring_to(job_id, JobStatus.STREAMING)
    await api.report(job_id, in_step(api), track=track.after(in_step(api)))
    remaining = (await health_of(api, job_id))["remaining"]
    assert (remaining["seconds"], remaining["estimates_kept"]) == (0, 1)
    score = {"estimates": 1, "median_error": 0.25, "tenth_error": 0.25, "within": 1.0, "confidence": 0.8}
    assert remaining["score"] == {**score, "took_s": 80.0}
    text = (await api.client.get("/metrics")).text
    for sample in (
        f'towline_job_remaining_seconds{{job_id="{job_id}"}} 0.0',
        f'towline_job_remaining_error_ratio{{job_id="{job_id}"}} 0.25',
        'towline_remaining_error_ratio{estimates="all"} 0.25',
        'towline_remaining_error_ratio{estimates="after_a_tenth"} 0.25',
        "towline_remaining_within_ratio 1.0",
        "towline_remaining_scored_jobs 1.0",
    ):
        assert sample in text

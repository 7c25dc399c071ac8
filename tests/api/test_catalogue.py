"""Node types, zones and quotas: what they say is what a job gets."""

from __future__ import annotations

import pytest

from tests.api.harness import Api, job_body
from towline.domain.jobs import JobStatus
from towline.domain.nodes import NODE_SIZES

KIND = "engine_type=postgresql&db_use_type=sync&job_direction=up"


async def test_every_node_type_that_is_listed_is_a_size_of_worker(api: Api) -> None:
    answer = await api.call("GET", f"node-type?{KIND}")
    listed = {entry["node_type"]: entry["is_sellout"] for entry in answer.json()["node_types"]}
    assert answer.status_code == 200
    assert listed == dict.fromkeys(NODE_SIZES, False)
    for node_type, size in NODE_SIZES.items():
        job_id = await api.create_job(name=f"job-{node_type}", node_type=node_type)
        spec = await api.store.jobs.load_spec(job_id)
        assert (spec.copy_workers, spec.index_workers) == (size.copy_workers, size.index_workers)
        assert spec.memory_limit_bytes == size.memory_mb * 1024 * 1024


@pytest.mark.parametrize("missing", ["engine_type", "db_use_type", "job_direction"])
async def test_the_kind_of_job_must_be_named(api: Api, missing: str) -> None:
    kept = "&".join(part for part in KIND.split("&") if not part.startswith(missing))
    assert (await api.call("GET", f"node-type?{kept}")).json()["error_code"] == "DRS.M00201"


async def test_there_is_one_zone(api: Api) -> None:
    order = {"engine_type": "postgresql", "db_use_type": "sync", "job_direction": "up", "node_type": "high"}
    answer = await api.post("available-zone", order)
    assert answer.json() == {"az_infos": [{"code": "towline", "name": "towline", "status": "ENABLED"}]}
    refused = await api.post("available-zone", {**order, "node_type": "huge"})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "DRS.M00202")


async def test_quota_counts_jobs_and_is_kept(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.jobs, "_max_jobs", 2)
    await api.create_job(name="job-first")
    answer = await api.call("GET", "quotas")
    assert answer.json() == {"quotas": {"resource": {"type": "instances", "min": 0, "max": 2, "quota": 2, "used": 1}}}
    both = await api.post("jobs/batch-creation", {"jobs": [job_body(name="job-second"), job_body(name="job-third")]})
    made, refused = both.json()["results"]
    assert both.status_code == 202
    assert made["name"] == "job-second"
    assert refused["error_code"] == "DRS.M00305"
    assert "TOWLINE_MAX_JOBS" in refused["error_msg"]
    assert (await api.call("GET", "quotas")).json()["quotas"]["resource"]["used"] == 2


async def test_zones_are_groups_of_servers(api: Api) -> None:
    body = {"engine_type": "postgresql", "db_use_type": "sync", "job_direction": "up", "node_type": "high"}

    async def zones() -> dict[str, str]:
        answer = await api.post("available-zone", body)
        return {zone["code"]: zone["status"] for zone in answer.json()["az_infos"]}

    for name in ("north", "south"):
        for _ in range(2):
            await api.store.work.see_zone(name)
    assert await zones() == {"north": "ENABLED", "south": "ENABLED", "towline": "ENABLED"}
    refused = await api.post("jobs/batch-creation", {"jobs": [job_body(master_az="north", slave_az="moon")]})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "DRS.M00305")
    job_id = await api.create_job(master_az="north", slave_az="south")
    await api.bring_to(job_id, JobStatus.STARTING)
    found = {zone: len(await api.store.work.find_waiting(limit=9, zone=zone)) for zone in ("north", "south", "towline")}
    assert found == {"north": 1, "south": 1, "towline": 0}
    api.clock.advance(61)
    assert await zones() == {"north": "DISABLED", "south": "DISABLED", "towline": "ENABLED"}

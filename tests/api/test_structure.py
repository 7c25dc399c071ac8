"""batch-struct-process and batch-struct-detail: counts that come from the worker's own figures."""

from __future__ import annotations

from typing import Any

from tests.api.harness import UNKNOWN_ID, Api, create_foreign_job, refused
from towline.domain.jobs import JobStatus
from towline.domain.progress import PartProgress, Phase, Progress, TableProgress
from towline.domain.structure import StructureEntry
from towline.domain.tables import TableName, TotalOrigin


def table(schema: str, name: str, done: int, total: int, *, is_finished: bool = False) -> TableProgress:
    return TableProgress(schema, name, done, total, done, total, TotalOrigin.STATISTICS, is_finished)


async def create_copying_job(api: Api) -> str:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.COPYING, started_us=api.clock.us)
    tables = (
        table("shop", "sale", 50, 200),
        table("shop", "item", 100, 100, is_finished=True),
        table("public", "empty", 0, 0, is_finished=True),
    )
    structure = PartProgress(12, 12, is_finished=True)
    progress = Progress(at_us=api.clock.us, phase=Phase.COPY, percent=41, structure=structure, tables=tables)
    await api.report(job_id, progress)
    return job_id


async def detail(api: Api, kind: str, body: dict[str, Any]) -> Any:
    answer = await api.post(f"jobs/{kind}/batch-struct-detail", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_objects_are_counted_by_kind(api: Api) -> None:
    job_id = await create_copying_job(api)
    answer = await api.post("jobs/batch-struct-process", {"jobs": [job_id.upper()]})
    assert answer.status_code == 200
    started = api.clock.us // 1000
    assert answer.json() == {
        "count": 1,
        "results": [
            {
                "job_id": job_id.upper(),
                "struct_process": {
                    "create_time": str(started),
                    "result": [
                        {
                            "type": "table_structure",
                            "status": 2,
                            "src_count": 12,
                            "dst_count": 12,
                            "start_time": started,
                        },
                        {"type": "table", "status": 1, "src_count": 3, "dst_count": 2, "start_time": started},
                    ],
                },
            }
        ],
    }


async def test_nothing_is_counted_before_a_worker_has_reported(api: Api) -> None:
    job_id = await api.create_job()
    answer = await api.post("jobs/batch-struct-process", {"jobs": [job_id]})
    assert answer.json()["results"][0]["struct_process"] == {"create_time": "0", "result": []}
    (result,) = (await detail(api, "table", {"jobs": [job_id]}))["results"]
    assert result["struct_detail"] == {"total_record": 0, "create_time": "0", "list": []}


async def test_objects_have_their_share(api: Api) -> None:
    job_id = await create_copying_job(api)

    async def shares(kind: str) -> dict[str, int]:
        (result,) = (await detail(api, kind, {"jobs": [job_id]}))["results"]
        entries = result["struct_detail"]["list"]
        assert {(entry["src_DB"], entry["dst_DB"]) for entry in entries} == {("shop", "shop")}
        assert all(entry["src_TB"] == entry["dst_TB"] for entry in entries)
        assert result["struct_detail"]["total_record"] == len(entries)
        return {entry["src_TB"]: entry["progress"] for entry in entries}

    assert await shares("table") == {"public.empty": 100, "shop.item": 100, "shop.sale": 25}
    assert await shares("schema") == {"public": 100, "shop": 50}
    assert await shares("database") == {"": 41}


async def test_pages_cut_the_objects(api: Api) -> None:
    job_id = await create_copying_job(api)

    async def names(**page: int) -> list[str]:
        (result,) = (await detail(api, "table", {"jobs": [job_id], "page_req": page}))["results"]
        assert result["struct_detail"]["total_record"] == 3
        return [entry["src_TB"] for entry in result["struct_detail"]["list"]]

    assert await names(cur_page=1, per_page=2) == ["public.empty", "shop.item"]
    assert await names(cur_page=2, per_page=2) == ["shop.sale"]
    assert await names(cur_page=3, per_page=2) == []
    assert len(await names()) == 3
    refused = await api.post("jobs/table/batch-struct-detail", {"jobs": [job_id], "page_req": {"per_page": 101}})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "DRS.M00210")


async def test_jobs_out_of_sight_have_an_error_of_their_own(api: Api) -> None:
    ids = [UNKNOWN_ID, await create_foreign_job(api)]
    counted = (await api.post("jobs/batch-struct-process", {"jobs": ids}, language="zh-cn")).json()["results"]
    listed = (await detail(api, "schema", {"jobs": ids}))["results"]
    for results in (counted, listed):
        assert [(result["job_id"], result["error_code"]) for result in results] == [(i, "DRS.M05003") for i in ids]
    assert counted[0]["error_message"] == "未找到任务信息。"


async def test_other_objects_come_from_the_target(api: Api) -> None:
    job_id = await create_copying_job(api)
    sale = TableName("shop", "sale")
    api.databases.entries = [
        StructureEntry("VIEW", "shop", "v", None, is_done=True, is_made=True),
        StructureEntry("INDEX", "shop", "i2", sale, is_done=False, is_made=False),
        StructureEntry("INDEX", "shop", "i1", sale, is_done=True, is_made=True),
        StructureEntry("EXTENSION", None, "postgis", None, is_done=True, is_made=False),
        StructureEntry("TRIGGER", "shop", "t", sale, is_done=False, is_made=False),
        StructureEntry("COMMENT", None, "not counted", None, is_done=True, is_made=True),
    ]
    answer = await api.post("jobs/batch-struct-process", {"jobs": [job_id]})
    kinds = answer.json()["results"][0]["struct_process"]["result"]
    assert [(k["type"], k["status"], k["src_count"], k["dst_count"]) for k in kinds[2:]] == [
        ("extension", 2, 1, 0),
        ("view", 2, 1, 1),
        ("index", 1, 2, 1),
        ("trigger", 1, 1, 0),
    ]

    async def listed(kind: str) -> list[tuple[str, int]]:
        (result,) = (await detail(api, kind, {"jobs": [job_id]}))["results"]
        return [(entry["src_TB"], entry["progress"]) for entry in result["struct_detail"]["list"]]

    assert await listed("index") == [("shop.i1", 100), ("shop.i2", 0)]
    assert await listed("trigger") == [("shop.sale.t", 0)]
    assert await listed("procedure") == []
    # A target that does not answer takes the figures of the worker from nobody.
    api.databases.error = refused()
    kinds = (await api.post("jobs/batch-struct-process", {"jobs": [job_id]})).json()["results"][0]["struct_process"]
    assert [kind["type"] for kind in kinds["result"]] == ["table_structure", "table"]
    (result,) = (await detail(api, "index", {"jobs": [job_id]}))["results"]
    assert result["error_code"] == "DRS.M00305"


async def test_unknown_kinds_are_refused(api: Api) -> None:
    answer = await api.post("jobs/x/batch-struct-detail", {"jobs": [UNKNOWN_ID]})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00202")

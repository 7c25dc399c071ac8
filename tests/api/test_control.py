"""Connections, objects, policies and run control, and the strict order that one typed client insists on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.harness import UNKNOWN_ID, Api, create_foreign_job, endpoint_body, job_body, refused
from towline.domain.conversion import Collation, ZeroDates
from towline.domain.jobs import ConflictPolicy, JobSpec, JobStatus, PauseMode
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.tables import ObjectSelection, TableName
from towline.service.ports import Wanted

ITEM_CALLS: list[tuple[str, str, dict[str, Any], int]] = [
    ("POST", "jobs/batch-precheck", {"precheck_mode": "forStartJob"}, 200),
    ("POST", "jobs/batch-starting", {}, 202),
    ("POST", "jobs/batch-pause-task", {"pause_mode": "all"}, 200),
    ("POST", "jobs/batch-retry-task", {}, 200),
    ("DELETE", "jobs/batch-jobs", {"delete_type": "terminate"}, 202),
    ("PUT", "jobs/batch-modify-pwd", {"db_password": "x", "end_point_type": "so"}, 200),
    ("POST", "jobs/batch-sync-policy", {"conflict_policy": "stop"}, 200),
]


def connection_body(job_id: str, **members: Any) -> dict[str, Any]:
    return {"id": job_id, "net_type": "eip", "end_point_type": "so", **endpoint_body(), **members}


async def one(api: Api, method: str, path: str, item: dict[str, Any], member: str = "jobs") -> dict[str, Any]:
    """The only result of a call with one item that is accepted as a call."""
    answer = await api.call(method, path, {member: [item]})
    assert answer.status_code in (200, 202), answer.text
    body = answer.json()
    assert body.get("count", body.get("all_counts")) == 1
    return body["results"][0]


async def precheck_result(api: Api, job_id: str) -> dict[str, Any]:
    """The finished precheck's result."""
    async with asyncio.timeout(20):
        while True:
            answer = await api.post("jobs/batch-precheck-result", {"jobs": [job_id]})
            (result,) = answer.json()["results"]
            if result["process"] == "100%":
                return result
            await asyncio.sleep(0)


# --- the strict life cycle ---------------------------------------------------------------------------


async def test_eleven_steps_with_exact_codes(api: Api) -> None:
    """Section 1.16: order, status codes and words as a client with exact expectations makes them."""
    api.databases.error = refused()
    answer = await api.post("jobs/batch-creation", {"jobs": [job_body(task_type="FULL_TRANS")]})
    assert answer.status_code == 202
    job_id = answer.json()["results"][0]["id"]

    answer = await api.post("jobs/batch-detail", {"jobs": [job_id]})
    assert answer.status_code == 200
    assert answer.json()["results"][0]["status"] == "CONFIGURATION"

    answer = await api.post("jobs/batch-status", {"jobs": [job_id]})
    assert answer.status_code == 200

    item: dict[str, Any] = {"job_id": job_id, "precheck_mode": "forStartJob"}
    answer = await api.post("jobs/batch-precheck", {"jobs": [item]})
    assert answer.status_code == 200
    assert answer.json()["results"] == [{"id": job_id, "precheck_id": job_id, "status": "success"}]

    answer = await api.post("jobs/batch-connection", {"jobs": [connection_body(job_id)]})
    assert answer.status_code == 200
    assert answer.json()["results"][0]["status"] == "failed"
    assert answer.json()["results"][0]["success"] is False

    item = {"job_id": job_id, "name": "another-name", "description": "d"}
    answer = await api.put("jobs/batch-modification", {"jobs": [item]})
    assert (answer.status_code, answer.json()["results"][0]["status"]) == (200, "success")

    item = {"job_id": job_id, "speed_limit": [{"begin": "16:00", "end": "15:59", "speed": "15"}]}
    answer = await api.put("jobs/batch-limit-speed", {"speed_limits": [item]})
    assert (answer.status_code, answer.json()["results"][0]["status"]) == (200, "success")

    answer = await api.post("jobs/batch-starting", {"jobs": [{"job_id": job_id, "start_time": ""}]})
    assert (answer.status_code, answer.json()["results"][0]["status"]) == (202, "success")

    item = {"job_id": job_id, "delete_type": "force_terminate"}
    answer = await api.call("DELETE", "jobs/batch-jobs", {"jobs": [item]})
    assert (answer.status_code, answer.json()["results"][0]["id"]) == (202, job_id)

    assert (await api.progress_of(job_id))["transfer_status"] == "RELEASE_RESOURCE_STARTED"
    await api.bring_to(job_id, JobStatus.ENDED)  # as its worker would
    answer = await api.post("jobs/batch-detail", {"jobs": [job_id]})
    assert answer.json()["results"][0]["status"] == "RELEASE_RESOURCE_COMPLETE"

    item = {"job_id": job_id, "delete_type": "delete"}
    answer = await api.call("DELETE", "jobs/batch-jobs", {"jobs": [item]})
    assert (answer.status_code, answer.json()["results"][0]["status"]) == (202, "success")
    assert (await api.post("jobs/batch-detail", {"jobs": [job_id]})).status_code == 400


# --- what all item calls share ---------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "members", "status"), ITEM_CALLS)
async def test_unknown_and_foreign_jobs_are_failed_items(
    api: Api, method: str, path: str, members: dict[str, Any], status: int
) -> None:
    foreign = await create_foreign_job(api)
    items = [{"job_id": job_id, **members} for job_id in (UNKNOWN_ID, foreign)]
    answer = await api.call(method, path, {"jobs": items})
    assert answer.status_code == status
    body = answer.json()
    assert body["count"] == 2
    for result in body["results"]:
        assert (result["status"], result["error_code"]) == ("failed", "DRS.M05003")
        assert result["error_msg"] == "Task information not found."
    answer = await api.call(method, path, {"jobs": items}, language="zh-cn")
    assert answer.json()["results"][0]["error_msg"] == "未找到任务信息。"


@pytest.mark.parametrize(("method", "path", "members", "status"), ITEM_CALLS)
@pytest.mark.parametrize(
    ("jobs", "code"),
    [
        (None, "DRS.M00201"),
        ([], "DRS.M00201"),
        ("x", "DRS.M00202"),
        (["x"], "DRS.M00202"),
        ([None], "DRS.M00202"),
        ([{}], "DRS.M00201"),
        ([{"job_id": None}], "DRS.M00201"),
        ([{"job_id": "x"}], "DRS.M00202"),
        ([{"job_id": ["x"]}], "DRS.M00202"),
        ([{"job_id": UNKNOWN_ID}] * 101, "DRS.M00202"),
    ],
)
async def test_malformed_items_fail_the_call(
    api: Api, method: str, path: str, members: dict[str, Any], status: int, jobs: Any, code: str
) -> None:
    if isinstance(jobs, list):
        jobs = [{**members, **item} if isinstance(item, dict) else item for item in jobs]
    answer = await api.call(method, path, {"jobs": jobs})
    assert (answer.status_code, answer.json()["error_code"]) == (400, code)
    assert set(answer.json()) == {"error_code", "error_msg"}


@pytest.mark.parametrize(
    ("method", "path", "member"),
    [
        ("POST", "jobs/batch-precheck", "precheck_mode"),
        ("POST", "jobs/batch-pause-task", "pause_mode"),
        ("DELETE", "jobs/batch-jobs", "delete_type"),
        ("PUT", "jobs/batch-modify-pwd", "end_point_type"),
    ],
)
async def test_words_of_item_calls(api: Api, method: str, path: str, member: str) -> None:
    job_id = await api.create_job()
    good = {"job_id": job_id, "db_password": "x"}
    answer = await api.call(method, path, {"jobs": [good]})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00201")
    answer = await api.call(method, path, {"jobs": [{**good, member: "nonsense"}]})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00202")


# --- connections -----------------------------------------------------------------------------------------


async def test_connections_answer_entry_by_entry_in_order(api: Api) -> None:
    job_id = await api.create_job()
    running = await api.create_job(name="running-job")
    await api.bring_to(running, JobStatus.COPYING)
    entries = [
        connection_body(job_id),
        connection_body(job_id, end_point_type="ta", ip="10.1.2.4"),
        connection_body(UNKNOWN_ID),
        connection_body(running),
        connection_body(job_id, db_type="mongodb"),
    ]
    answer = await api.post("jobs/batch-connection", {"jobs": entries})
    assert answer.status_code == 200
    body = answer.json()
    assert body["count"] == 5
    assert body["results"][0] == {"id": job_id, "status": "success", "success": True}
    assert [result["success"] for result in body["results"]] == [True, True, False, False, False]
    assert [result.get("error_code") for result in body["results"][2:]] == [
        "DRS.M05003",
        "DRS.M00304",
        "DRS.M00302",
    ]
    # They are tested side by side; only the answer has an order.
    assert sorted((seen.host, seen.password) for seen in api.databases.seen) == [
        ("10.1.2.3", "Secret-1-of-the-test"),
        ("10.1.2.4", "Secret-1-of-the-test"),
    ]


async def test_connection_that_fails_says_what_to_do(api: Api) -> None:
    api.databases.error = refused()
    job_id = await api.create_job()
    result = await one(api, "POST", "jobs/batch-connection", connection_body(job_id))
    assert (result["status"], result["success"]) == ("failed", False)
    assert "cannot reach 127.0.0.1:1" in result["error_msg"]
    assert "Secret-1" not in str(result)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"id": "x"}, "DRS.M00202"),
        ({"id": None}, "DRS.M00201"),
        ({"net_type": None}, "DRS.M00201"),
        ({"db_type": ""}, "DRS.M00201"),
        ({"db_type": "nonsense"}, "DRS.M00202"),
        ({"ip": None}, "DRS.M00201"),
        ({"db_user": None}, "DRS.M00201"),
        ({"db_password": None}, "DRS.M00201"),
        ({"db_port": None}, "DRS.M00201"),
        ({"db_port": 70000}, "DRS.M00202"),
        ({"end_point_type": "ls"}, "DRS.M00202"),
    ],
)
async def test_malformed_connection_fails_the_call(api: Api, changes: dict[str, Any], code: str) -> None:
    job_id = await api.create_job()
    entries = [connection_body(job_id), connection_body(job_id, **changes)]
    answer = await api.post("jobs/batch-connection", {"jobs": entries})
    assert (answer.status_code, answer.json()["error_code"]) == (400, code)
    assert api.databases.seen == []


# --- prechecks -------------------------------------------------------------------------------------------


async def test_precheck_counts_warnings_as_passed(api: Api) -> None:
    job_id = await api.create_job()
    item = {"job_id": job_id, "precheck_mode": "forStartJob"}
    assert (await one(api, "POST", "jobs/batch-precheck", item))["status"] == "success"
    result = await precheck_result(api, job_id)
    assert result["precheck_id"] == job_id
    assert result["result"] is True
    assert result["total_passed_rate"] == "100%"
    assert result["precheck_result"] == [
        {"item": "srcDbConnection", "result": "PASSED", "group": "network"},
        {
            "item": "srcDbPrivilegesIsEnough",
            "result": "ALARM",
            "group": "db_user_privilege",
            "failed_reason": "SRC_NO_SUPERUSER",
            "raw_error_msg": "m r",
        },
    ]


async def test_precheck_that_finds_a_fault_does_not_pass(api: Api) -> None:
    api.databases.items.append(
        PrecheckItem("srcWalLevel", "db_params", Verdict.FAILED, "SRC_WAL_LEVEL", "replica", "Set it.")
    )
    job_id = await api.create_job()
    await one(api, "POST", "jobs/batch-precheck", {"job_id": job_id, "precheck_mode": "forStartJob"})
    result = await precheck_result(api, job_id)
    assert (result["result"], result["total_passed_rate"]) == (False, "66%")
    assert result["precheck_result"][2]["result"] == "FAILED"


async def test_precheck_modes_of_one_call_are_kept_apart(api: Api) -> None:
    first, second = await api.create_job(name="first-job"), await api.create_job(name="second-job")
    await api.bring_to(second, JobStatus.STREAM_FAILED)
    items = [
        {"job_id": second, "precheck_mode": "forRetryJob"},
        {"job_id": first, "precheck_mode": "forStartJob"},
        {"job_id": second, "precheck_mode": "forStartJob"},
    ]
    answer = await api.post("jobs/batch-precheck", {"jobs": items})
    results = answer.json()["results"]
    assert [result["id"] for result in results] == [second, first, second]
    assert [result["status"] for result in results] == ["success", "success", "failed"]
    await precheck_result(api, first)
    await precheck_result(api, second)


async def test_precheck_result_refusals(api: Api) -> None:
    job_id = await api.create_job()
    for jobs, code in (
        ([job_id, job_id.upper()], "DRS.M00301"),
        ([], "DRS.M00201"),
        (["x"], "DRS.M00202"),
    ):
        answer = await api.post("jobs/batch-precheck-result", {"jobs": jobs})
        assert (answer.status_code, answer.json()["error_code"]) == (400, code)
    answer = await api.post("jobs/batch-precheck-result", {"jobs": [job_id, UNKNOWN_ID]})
    assert answer.status_code == 200
    first, second = answer.json()["results"]
    assert "not been prechecked" in first["error_msg"]
    assert second["error_code"] == "DRS.M05003"


# --- start, pause, retry, end, delete --------------------------------------------------------------------


async def test_start_later_waits_and_start_now_starts(api: Api) -> None:
    job_id = await api.create_job()
    later_ms = api.clock.us // 1000 + 3_600_000
    item = {"job_id": job_id, "start_time": str(later_ms)}
    assert (await one(api, "POST", "jobs/batch-starting", item))["status"] == "success"
    job = await api.stored_job(job_id)
    assert (job.status, job.scheduled_us) == (JobStatus.SCHEDULED, later_ms * 1000)
    assert (await one(api, "POST", "jobs/batch-starting", {"job_id": job_id}))["status"] == "success"
    assert (await api.stored_job(job_id)).status is JobStatus.STARTING


@pytest.mark.parametrize("start_time", ["soon", "-1", "1.5", "9" * 15, "１２"])
async def test_malformed_start_time(api: Api, start_time: str) -> None:
    job_id = await api.create_job()
    answer = await api.post("jobs/batch-starting", {"jobs": [{"job_id": job_id, "start_time": start_time}]})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00202")
    assert (await api.stored_job(job_id)).status is JobStatus.CONFIGURING


async def test_options_that_are_not_built_are_refused_item_by_item(api: Api) -> None:
    job_id = await api.create_job()
    result = await one(api, "POST", "jobs/batch-retry-task", {"job_id": job_id, "is_sync_re_edit": True})
    assert (result["status"], result["error_code"]) == ("failed", "DRS.M00304")
    item = {"job_id": job_id, "delete_type": "roll_back_upgrade_active_standby"}
    result = await one(api, "DELETE", "jobs/batch-jobs", item)
    assert result["error_code"] == "DRS.M00300"
    assert (await api.stored_job(job_id)).status is JobStatus.CONFIGURING


@pytest.mark.parametrize(("word", "wanted"), [("target", Wanted.PAUSE_TARGET), ("all", Wanted.PAUSE_ALL)])
async def test_pause_is_a_wish_until_the_worker_has_paused(api: Api, word: str, wanted: Wanted) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.STREAMING)
    result = await one(api, "POST", "jobs/batch-pause-task", {"job_id": job_id, "pause_mode": word})
    assert result == {"id": job_id, "status": "success"}
    job = await api.stored_job(job_id)
    assert (job.status, job.wanted) == (JobStatus.STREAMING, wanted)
    await api.bring_to(job_id, JobStatus.PAUSED, pause_mode=PauseMode(word))
    assert (await one(api, "POST", "jobs/batch-retry-task", {"job_id": job_id}))["status"] == "success"
    assert (await api.stored_job(job_id)).status is JobStatus.STARTING


@pytest.mark.parametrize(
    ("method", "path", "members", "status", "code"),
    [
        ("POST", "jobs/batch-starting", {}, JobStatus.STREAMING, "DRS.M00304"),
        ("POST", "jobs/batch-pause-task", {"pause_mode": "all"}, JobStatus.CONFIGURING, "DRS.M00304"),
        ("POST", "jobs/batch-retry-task", {}, JobStatus.CONFIGURING, "DRS.M00304"),
        ("DELETE", "jobs/batch-jobs", {"delete_type": "delete"}, JobStatus.STREAMING, "DRS.M01504"),
        ("DELETE", "jobs/batch-jobs", {"delete_type": "terminate"}, JobStatus.ENDED, "DRS.M01504"),
        (
            "PUT",
            "jobs/batch-modify-pwd",
            {"db_password": "x", "end_point_type": "so"},
            JobStatus.CONFIGURING,
            "DRS.M00304",
        ),
        ("POST", "jobs/batch-precheck", {"precheck_mode": "forStartJob"}, JobStatus.STREAMING, "DRS.M00304"),
        ("POST", "jobs/batch-sync-policy", {"conflict_policy": "stop"}, JobStatus.STREAMING, "DRS.M00304"),
    ],
)
async def test_call_in_the_wrong_status_changes_nothing(
    api: Api, method: str, path: str, members: dict[str, Any], status: JobStatus, code: str
) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, status)
    before = await api.stored_job(job_id)
    result = await one(api, method, path, {"job_id": job_id, **members})
    assert (result["status"], result["error_code"]) == ("failed", code)
    assert await api.stored_job(job_id) == before


async def test_new_password_is_stored_and_never_shown(api: Api) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.STREAM_FAILED)
    item = {"job_id": job_id, "db_password": "Secret-2", "end_point_type": "ta"}
    result = await one(api, "PUT", "jobs/batch-modify-pwd", item)
    assert result == {"id": job_id, "status": "success", "end_point_type": "ta"}
    spec = await api.store.work.load_spec(job_id)
    assert (spec.source.password, spec.target.password) == ("Secret-1-of-the-test", "Secret-2")
    result = await one(api, "PUT", "jobs/batch-modify-pwd", {**item, "kerberos": {"domain_name": "x"}})
    assert result["error_code"] == "DRS.M00300"


async def test_job_between_families_is_told_how_values_cross(api: Api) -> None:
    to_postgres = {"engine_type": "mysql-to-postgresql", "source_endpoint": endpoint_body(db_type="mysql")}
    job_id, plain = await api.create_job(**to_postgres), await api.create_job(name="plain-job")
    path = f"job/{job_id}/tuning-params"
    shown = (await api.call("GET", f"{path}/query-params")).json()["full_sync"][2:]
    assert shown[0] == {
        "param_name": "zero_dates",
        "param_value": "refuse",
        "availability": "true",
        "range": "refuse,null",
    }
    wishes = {"collation": "case-insensitive", "column_types": 'tinyint(1)=bool; shop."a;b".c=text null'}
    answer = await api.put(f"{path}/modify-params", {"full_sync": wishes})
    assert [each["param_value"] for each in answer.json()["full_sync"][2:]] == [
        "refuse",
        "case-insensitive",
        'tinyint(1)=boolean; shop."a;b".c=text null',
    ]
    conversion = (await api.store.work.load_spec(job_id)).conversion
    assert conversion.collation is Collation.CASE_INSENSITIVE
    assert [wish.type_sql for wish in conversion.column_types] == ["boolean", "text"]
    # Whoever met such a date in the copy may still choose, but the tables are there by now.
    await api.bring_to(job_id, JobStatus.COPY_FAILED)
    answer = await api.put(f"{path}/modify-params", {"full_sync": {"zero_dates": "null"}})
    assert (answer.status_code, answer.json()["full_sync"][2]["param_value"]) == (200, "null")
    assert (await api.store.work.load_spec(job_id)).conversion.zero_dates is ZeroDates.NULL
    for job, name, word, code in (
        (job_id, "zero_dates", "1970-01-01", "DRS.M00305"),
        (job_id, "collation", "deterministic", "DRS.M00304"),
        (job_id, "column_types", "", "DRS.M00304"),
        (plain, "zero_dates", "null", "DRS.M00300"),
    ):
        refused = await api.put(f"job/{job}/tuning-params/modify-params", {"full_sync": {name: word}})
        assert (refused.status_code, refused.json()["error_code"]) == (400, code)
    answer = await api.put(f"{path}/modify-params", {"recovery": True})
    assert answer.status_code == 200
    conversion = (await api.store.work.load_spec(job_id)).conversion
    assert (conversion.zero_dates, conversion.collation) == (ZeroDates.REFUSE, Collation.CASE_INSENSITIVE)


# --- speed -----------------------------------------------------------------------------------------------


def speed(begin: Any, end: Any, rate: Any = "15") -> dict[str, Any]:
    return {"begin": begin, "end": end, "speed": rate}


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [speed("16:00", "15:59")],
        [speed("00:00", "07:59"), speed("08:00", "15:59", "9999"), speed("16:00", "23:59", "1")],
        [speed("22:00", "03:59"), speed("04:00", "04:59")],
    ],
)
async def test_speed_limits_come_back_in_detail(api: Api, ranges: list[dict[str, Any]]) -> None:
    job_id = await api.create_job()
    item = {"job_id": job_id, "speed_limit": ranges}
    result = await one(api, "PUT", "jobs/batch-limit-speed", item, "speed_limits")
    assert result == {"id": job_id, "status": "success"}
    (detail,) = (await api.post("jobs/batch-detail", {"jobs": [job_id]})).json()["results"]
    assert detail["speed_limit"] == [{**limit, "is_utc": True} for limit in ranges]


async def test_minutes_of_the_begin_are_ignored(api: Api) -> None:
    job_id = await api.create_job()
    item = {"job_id": job_id, "speed_limit": [speed("08:30", "09:59", 7)]}
    await one(api, "PUT", "jobs/batch-limit-speed", item, "speed_limits")
    (window,) = (await api.stored_job(job_id)).speed_windows
    assert (window.begin_minute, window.end_minute) == (480, 599)
    assert window.limit_bytes_per_s == 7 * 1024 * 1024


@pytest.mark.parametrize(
    ("ranges", "code"),
    [
        (None, "DRS.M00201"),
        ([speed("10:00", "10:00")], "DRS.M00306"),
        ([speed("10:59", "10:59")], "DRS.M00306"),
        ([speed("10:00", "11:00")], "DRS.M00202"),
        ([speed("24:00", "11:59")], "DRS.M00202"),
        ([speed("1:00", "11:59")], "DRS.M00202"),
        ([speed("", "11:59")], "DRS.M00201"),
        ([speed("10:00", "11:59", "0")], "DRS.M00202"),
        ([speed("10:00", "11:59", "10000")], "DRS.M00202"),
        ([speed("10:00", "11:59", "fast")], "DRS.M00202"),
        ([speed("10:00", "11:59"), speed("11:00", "12:59")], "DRS.M00202"),
        ([speed("22:00", "03:59"), speed("03:00", "04:59")], "DRS.M00202"),
        ([speed(f"0{n}:00", f"0{n}:59") for n in range(4)], "DRS.M00202"),
        ("x", "DRS.M00202"),
    ],
)
async def test_malformed_speed_limits(api: Api, ranges: Any, code: str) -> None:
    job_id = await api.create_job()
    answer = await api.put("jobs/batch-limit-speed", {"speed_limits": [{"job_id": job_id, "speed_limit": ranges}]})
    assert (answer.status_code, answer.json()["error_code"]) == (400, code)


# --- objects and policies --------------------------------------------------------------------------------

DATABASE = {"id": "shop", "object_type": "database", "object_name": "shop", "select": "partial"}
SCHEMA = {"id": "shop-*-*-sales", "parent_id": "shop", "object_type": "schema", "object_name": "sales"}
TABLE = {
    "id": "shop-*-*-stock-*-*-items",
    "parent_id": "shop",
    "object_type": "table",
    "object_name": "items",
    "select": "true",
}


async def test_selected_schemas_and_tables(api: Api) -> None:
    job_id = await api.create_job()
    tree = [
        DATABASE,
        {**SCHEMA, "select": "true"},
        {**SCHEMA, "id": "shop-*-*-stock", "object_name": "stock", "select": "partial"},
        TABLE,
        {**TABLE, "id": "shop-*-*-stock-*-*-secret", "object_name": "secret", "select": "false"},
        {"parent_id": "shop-*-*-stock", "object_type": "table", "object_name": "orders", "select": True},
        {"id": "shop-*-*-plain", "object_type": "table", "object_name": "plain", "select": "true"},
        {**TABLE, "id": "shop-*-*-sales-*-*-covered", "object_name": "covered"},
    ]
    result = await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id, "selected": True, "job": tree})
    assert result == {"job_id": job_id, "status": True}
    selection = (await api.stored_job(job_id)).selection
    assert selection.schemas == frozenset({"sales"})
    assert selection.tables == frozenset(
        {TableName("stock", "items"), TableName("stock", "orders"), TableName("public", "plain")}
    )
    (detail,) = (await api.post("jobs/batch-detail", {"jobs": [job_id]})).json()["results"]
    assert detail["object_switch"] is True
    assert detail["sync_mode"] == "TABLE_LEVEL"
    assert detail["object_infos"][3] == {
        "id": TABLE["id"],
        "parent_id": "shop",
        "type": "table",
        "name": "items",
    }


@pytest.mark.parametrize(
    "item",
    [
        {"selected": False},
        {},
        {"selected": False, "job": [TABLE]},
        {"selected": True, "job": [{**DATABASE, "select": "true"}]},
    ],
)
async def test_everything_is_selected(api: Api, item: dict[str, Any]) -> None:
    job_id = await api.create_job()
    narrow = {"job_id": job_id, "selected": True, "job": [TABLE]}
    await one(api, "PUT", "jobs/batch-select-objects", narrow)
    answer = await api.put("jobs/batch-select-objects", {"jobs": [{"job_id": job_id, **item}]})
    assert answer.status_code == 202
    assert answer.json() == {"all_counts": 1, "results": [{"job_id": job_id, "status": True}]}
    assert (await api.stored_job(job_id)).selection.is_everything


@pytest.mark.parametrize(
    ("job", "code"),
    [
        (None, "DRS.M00201"),
        ([], "DRS.M00201"),
        ([DATABASE], "DRS.M00202"),
        ([{**TABLE, "select": "false"}], "DRS.M00202"),
        ([{**TABLE, "select": "perhaps"}], "DRS.M00202"),
        ([{**TABLE, "object_type": "index"}], "DRS.M00202"),
        ([{**TABLE, "object_type": None}], "DRS.M00201"),
        ([{**TABLE, "id": "other-*-*-stock-*-*-items"}], "DRS.M00202"),
        ([{**TABLE, "id": "shop-*-*--*-*-items"}], "DRS.M00202"),
        ([{**TABLE, "id": "shop"}], "DRS.M00202"),
        ([{**TABLE, "id": None, "object_name": None}], "DRS.M00201"),
        (
            [TABLE, {**TABLE, "object_alias_name": "renamed", "id": "shop-*-*-stock-*-*-gone", "select": "false"}],
            "DRS.M00305",
        ),
        ([{**TABLE, "object_alias_name": "r" * 64}], "DRS.M00305"),
        ([{**DATABASE, "select": "true", "object_alias_name": "other"}], "DRS.M00202"),
        (
            [
                {**TABLE, "object_alias_name": "same"},
                {**TABLE, "object_alias_name": "same", "id": "shop-*-*-stock-*-*-other"},
            ],
            "DRS.M00305",
        ),
    ],
)
async def test_selection_that_cannot_be_is_a_failed_item(api: Api, job: Any, code: str) -> None:
    job_id = await api.create_job()
    before = await api.stored_job(job_id)
    item = {"job_id": job_id, "selected": True, "job": job}
    result = await one(api, "PUT", "jobs/batch-select-objects", item)
    assert (result["status"], result["error_code"]) == (False, code)
    assert result["error_msg"]
    assert await api.stored_job(job_id) == before


async def test_single_views_are_selected_between_servers_of_one_family(api: Api) -> None:
    view = {**TABLE, "object_type": "view", "id": "shop-*-*-stock-*-*-sold"}
    between = await api.create_job()
    await one(api, "PUT", "jobs/batch-select-objects", {"job_id": between, "selected": True, "job": [TABLE, view]})
    selection = (await api.stored_job(between)).selection
    assert selection.views == {TableName("stock", "sold")}
    assert not selection.is_everything
    sides = {side: endpoint_body(db_type="mysql", db_name="") for side in ("source_endpoint", "target_endpoint")}
    mysql = await api.create_job(name="of-mysql", engine_type="mysql", **sides)
    item = {"job_id": mysql, "selected": True, "job": [{**view, "id": "stock-*-*-sold"}]}
    result = await one(api, "PUT", "jobs/batch-select-objects", item)
    assert (result["status"], result["error_code"]) == (False, "DRS.M00300")


async def test_objects_may_have_other_names_on_the_target(api: Api) -> None:
    job_id = await api.create_job()
    schema = {"id": "shop-*-*-stock", "object_type": "schema", "select": "partial", "object_alias_name": "store"}
    table = {**TABLE, "object_alias_name": "goods"}
    await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id, "selected": True, "job": [schema, table]})
    selection = (await api.stored_job(job_id)).selection
    assert selection.tables == {TableName("stock", "items")}
    assert selection.names.target_name(TableName("stock", "items")) == TableName("store", "goods")
    assert selection.names.target_schema("stock") == "store"


async def test_databases_of_mysql_may_have_other_names_but_not_in_another_family(api: Api) -> None:
    mysql = endpoint_body(db_type="mysql", db_name="")
    sides = dict.fromkeys(("source_endpoint", "target_endpoint"), mysql)
    shop = {"id": "shop", "object_type": "database", "object_name": "shop", "object_alias_name": "s", "select": "true"}
    job_id = await api.create_job(name="of-mysql", engine_type="mysql", **sides)
    assert (await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id, "selected": True, "job": [shop]}))[
        "status"
    ]
    assert (await api.stored_job(job_id)).selection.names.target_schema("shop") == "s"
    crossing = await api.create_job(
        name="crossing", engine_type="mysql-to-postgresql", **{**sides, "target_endpoint": endpoint_body()}
    )
    result = await one(api, "PUT", "jobs/batch-select-objects", {"job_id": crossing, "selected": True, "job": [shop]})
    assert (result["status"], result["error_code"]) == (False, "DRS.M00300")


async def test_objects_join_and_leave_a_job_that_has_run_in_two_steps(api: Api) -> None:
    job_id = await api.create_job()
    narrow = {"job_id": job_id, "selected": True, "job": [TABLE]}
    await one(api, "PUT", "jobs/batch-select-objects", narrow)
    await api.bring_to(job_id, JobStatus.STREAMING, full_complete_us=1)
    again = {"job_id": job_id, "is_sync_re_edit": True}
    refused = await one(api, "POST", "jobs/batch-retry-task", again)
    assert refused["error_code"] == "DRS.M00305", "nothing was edited"
    other = {**TABLE, "id": "shop-*-*-stock-*-*-other", "object_name": "other"}
    item = {"job_id": job_id, "selected": True, "job": [TABLE, other]}
    assert (await one(api, "PUT", "jobs/batch-select-objects", item))["status"] is True
    first, second = TableName("stock", "items"), TableName("stock", "other")
    assert (await api.stored_job(job_id)).selection.tables == {first}, "only a retry makes it so"
    assert (await one(api, "POST", "jobs/batch-retry-task", again))["status"] == "success"
    job = await api.stored_job(job_id)
    assert job.selection.tables == {first, second}
    assert job.status is JobStatus.STREAMING
    assert (await api.store.work.load_spec(job_id)).edit == 1
    assert len(job.selection_items) == 2
    assert api.databases.joining == [job.selection], "what joins is looked at first"
    events = [event.message for event in await api.jobs.events(api.caller, job_id)]
    assert "srcDbPrivilegesIsEnough: m" in events, "a warning does not stand in the way"
    # The same from a pause.
    await api.bring_to(job_id, JobStatus.PAUSED)
    await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id})
    await one(api, "POST", "jobs/batch-retry-task", again)
    job = await api.stored_job(job_id)
    assert (job.selection.is_everything, job.status) == (True, JobStatus.STARTING)
    assert (await api.store.work.load_spec(job_id)).edit == 2
    # One goes.
    await api.bring_to(job_id, JobStatus.STREAM_FAILED)
    await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id, "selected": True, "job": [other]})
    await one(api, "POST", "jobs/batch-retry-task", again)
    job = await api.stored_job(job_id)
    assert job.selection.tables == {second}
    assert job.status is JobStatus.STARTING


async def test_the_child_by_which_a_client_follows_an_edit_is_the_job_itself(api: Api) -> None:
    job_id = await api.create_job()
    assert "children" not in (await api.post("jobs", {"db_use_type": "sync"})).json()["jobs"][0]
    await api.bring_to(job_id, JobStatus.STREAMING, full_complete_us=1)
    assert (await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id, "selected": False}))["status"] is True
    assert "children" not in (await api.post("jobs", {"db_use_type": "sync"})).json()["jobs"][0], "only edited"
    result = await one(api, "POST", "jobs/batch-retry-task", {"job_id": job_id, "is_sync_re_edit": True})
    assert result["status"] == "success", result
    (entry,) = (await api.post("jobs", {"db_use_type": "sync"})).json()["jobs"]
    (child,) = entry.pop("children")
    assert child == entry
    assert child["status"] == "INCRE_TRANSFER_STARTED"


async def test_objects_that_fail_their_precheck_do_not_join(api: Api) -> None:
    job_id = await api.create_job()
    await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id, "selected": True, "job": [TABLE]})
    await api.bring_to(job_id, JobStatus.STREAMING, full_complete_us=1)
    await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id})
    before = await api.stored_job(job_id)
    found = PrecheckItem(
        "srcTablesWithoutKey", "db_params", Verdict.FAILED, "SRC_REPLICA_IDENTITY_NOTHING", "bad: a.b.", "Mend it."
    )
    api.databases.items = [found]
    result = await one(api, "POST", "jobs/batch-retry-task", {"job_id": job_id, "is_sync_re_edit": True})
    assert (result["status"], result["error_code"]) == ("failed", "DRS.M00305")
    assert "srcTablesWithoutKey: bad: a.b. Mend it. Nothing was changed." in result["error_msg"]
    assert await api.stored_job(job_id) == before


async def test_the_precheck_of_a_retry_looks_at_what_would_join(api: Api) -> None:
    job_id = await api.create_job()
    await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id, "selected": True, "job": [TABLE]})
    await api.bring_to(job_id, JobStatus.STREAMING, full_complete_us=1)
    item = {"job_id": job_id, "precheck_mode": "forRetryJob"}
    assert (await one(api, "POST", "jobs/batch-precheck", item))["status"] == "success"
    assert (await precheck_result(api, job_id))["total_passed_rate"] == "100%"
    assert api.databases.joining == [], "nothing was edited"
    await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id})
    assert (await one(api, "POST", "jobs/batch-precheck", item))["status"] == "success"
    assert (await precheck_result(api, job_id))["total_passed_rate"] == "100%"
    assert api.databases.joining == [ObjectSelection()]


async def test_an_edit_that_changed_while_it_was_looked_at_is_refused(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has looked at what the other edit would bring in."""
    job_id = await api.create_job()
    await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id, "selected": True, "job": [TABLE]})
    await api.bring_to(job_id, JobStatus.STREAMING, full_complete_us=1)
    await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id})
    other = {**TABLE, "id": "shop-*-*-stock-*-*-other", "object_name": "other"}

    async def edit_again(_spec: JobSpec) -> list[PrecheckItem]:
        await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id, "selected": True, "job": [other]})
        return []

    monkeypatch.setattr(api.databases, "check_joining", edit_again)
    result = await one(api, "POST", "jobs/batch-retry-task", {"job_id": job_id, "is_sync_re_edit": True})
    assert (result["status"], result["error_code"]) == ("failed", "DRS.M00305")
    job = await api.stored_job(job_id)
    assert job.selection.tables == {TableName("stock", "items")}
    assert (await api.store.work.load_spec(job_id)).edit == 0


async def test_from_one_family_to_another_objects_can_only_leave(api: Api) -> None:
    sides = {"source_endpoint": endpoint_body(db_type="mysql", db_name=""), "target_endpoint": endpoint_body()}
    job_id = await api.create_job(name="crossing", engine_type="mysql-to-postgresql", **sides)
    shop = {"id": "stock", "object_type": "database", "object_name": "stock", "select": "true"}
    await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id, "selected": True, "job": [shop]})
    await api.bring_to(job_id, JobStatus.STREAMING, full_complete_us=1)
    more = await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id})
    assert (more["status"], more["error_code"]) == (False, "DRS.M00300")
    table = {"id": "stock-*-*-items", "object_type": "table", "object_name": "items", "select": "true"}
    less = await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id, "selected": True, "job": [table]})
    assert less["status"] is True, less
    await one(api, "POST", "jobs/batch-retry-task", {"job_id": job_id, "is_sync_re_edit": True})
    assert (await api.stored_job(job_id)).selection.tables == {TableName("stock", "items")}
    assert api.databases.joining == []


async def test_selection_of_unknown_or_running_jobs(api: Api) -> None:
    running = await api.create_job()
    await api.bring_to(running, JobStatus.COPYING)
    for job_id, code in ((UNKNOWN_ID, "DRS.M05003"), (running, "DRS.M00304")):
        result = await one(api, "PUT", "jobs/batch-select-objects", {"job_id": job_id})
        assert (result["status"], result["error_code"]) == (False, code)


@pytest.mark.parametrize("word", ["ignore", "overwrite", "stop"])
async def test_conflict_policy(api: Api, word: str) -> None:
    job_id = await api.create_job()
    item = {"job_id": job_id, "conflict_policy": word, "filter_ddl_policy": "drop_database", "index_trans": True}
    result = await one(api, "POST", "jobs/batch-sync-policy", item)
    assert result == {"id": job_id, "status": "success"}
    assert (await api.stored_job(job_id)).conflict_policy is ConflictPolicy(word)
    (detail,) = (await api.post("jobs/batch-detail", {"jobs": [job_id]})).json()["results"]
    assert detail["conflict_policy"] == word


async def test_policies_that_hold_anyway_need_no_other(api: Api) -> None:
    job_id = await api.create_job()
    result = await one(api, "POST", "jobs/batch-sync-policy", {"job_id": job_id, "filter_ddl_policy": "drop_database"})
    assert result == {"id": job_id, "status": "success"}
    assert (await api.stored_job(job_id)).conflict_policy is ConflictPolicy.OVERWRITE
    endpoint = endpoint_body(db_type="mysql", db_port=3306)
    other = await api.create_job(
        name="of-mysql", engine_type="mysql", source_endpoint=endpoint, target_endpoint=endpoint
    )
    for of, wish, code in ((job_id, False, None), (other, True, None), (other, False, "DRS.M00300")):
        result = await one(api, "POST", "jobs/batch-sync-policy", {"job_id": of, "ddl_trans": wish})
        assert result.get("error_code") == code, (wish, result)
    await api.bring_to(job_id, JobStatus.STREAMING)
    for item, code in (({"index_trans": True}, "DRS.M00304"), ({}, "DRS.M00201")):
        assert (await one(api, "POST", "jobs/batch-sync-policy", {"job_id": job_id, **item}))["error_code"] == code


@pytest.mark.parametrize(
    "members", [{"topic": "t"}, {"slot_name": "s"}, {"ddl_trans": True}, {"index_trans": False}, {"gtid_set": "x"}]
)
async def test_policies_that_are_not_built_are_refused(api: Api, members: dict[str, Any]) -> None:
    job_id = await api.create_job()
    item = {"job_id": job_id, "conflict_policy": "stop", **members}
    result = await one(api, "POST", "jobs/batch-sync-policy", item)
    assert (result["status"], result["error_code"]) == ("failed", "DRS.M00300")
    assert (await api.stored_job(job_id)).conflict_policy is ConflictPolicy.OVERWRITE


async def test_malformed_policy_fails_the_call(api: Api) -> None:
    job_id = await api.create_job()
    for members in ({"conflict_policy": "guess"}, {"filter_ddl_policy": "all"}):
        answer = await api.post("jobs/batch-sync-policy", {"jobs": [{"job_id": job_id, **members}]})
        assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00202")

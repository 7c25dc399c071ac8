"""Creating, listing, describing and changing jobs: every field rule, and what each refusal says."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.api.harness import ABSENT, UNKNOWN_ID, Api, create_foreign_job, endpoint_body, failure, job_body
from towline.domain.jobs import JobStatus

PEM = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


async def _create(api: Api, **members: Any) -> tuple[int, dict[str, Any]]:
    answer = await api.post("jobs/batch-creation", {"jobs": [job_body(**members)]})
    return answer.status_code, answer.json()


async def _job_names(api: Api) -> list[str]:
    answer = await api.post("jobs", {"db_use_type": "sync", "per_page": 0})
    return sorted(job["name"] for job in answer.json()["jobs"])


# --- creation ----------------------------------------------------------------------------------------


async def test_creation_answers_creating_and_is_configurable_at_once(api: Api) -> None:
    answer = await api.post("jobs/batch-creation", {"jobs": [job_body()]})
    assert answer.status_code == 202
    body = answer.json()
    assert body["count"] == 1
    (result,) = body["results"]
    job_id = result.pop("id")
    assert result == {
        "name": "move-shop",
        "status": "CREATING",
        "create_time": str(api.clock.us // 1000),
    }
    assert len(job_id) == 36
    assert job_id[-4:-2] == "jb"
    answer = await api.post("jobs/batch-status", {"jobs": [job_id]})
    assert answer.json() == {"count": 1, "results": [{"id": job_id, "status": "CONFIGURATION"}]}


@pytest.mark.parametrize(
    "member",
    [
        "name",
        "db_use_type",
        "engine_type",
        "job_direction",
        "net_type",
        "node_type",
        "task_type",
        "source_endpoint",
        "target_endpoint",
        "customize_sutnet_id",
    ],
)
@pytest.mark.parametrize("value", [ABSENT, None])
async def test_mandatory_member_is_missing(api: Api, member: str, value: Any) -> None:
    status, body = await _create(api, **{member: value})
    assert (status, body["error_code"]) == (400, "DRS.M00201")
    assert body["error_msg"] == f"The parameter {member} is empty."
    assert await _job_names(api) == []


INVALID: list[tuple[str, Any]] = [
    ("name", "abc"),
    ("name", "a" * 51),
    ("name", "1abc"),
    ("name", "with space"),
    ("name", "umläut"),
    ("name", ["a"]),
    ("name", "abcd\n"),
    ("db_use_type", "copy"),
    ("job_direction", "left"),
    ("net_type", "wifi"),
    ("node_type", "huge"),
    ("task_type", "FULL"),
    ("bind_eip", False),
    ("bind_eip", "maybe"),
    ("description", "x" * 257),
    ("description", "a<b"),
    ("description", "it's"),
    ("description", "nul\x00"),
    ("expired_days", "13"),
    ("expired_days", "101"),
    ("expired_days", "soon"),
    ("node_num", 0),
    ("node_num", 33),
    ("charging_mode", "free"),
    ("tags", [{"key": "a b", "value": "x"}]),
    ("tags", "text"),
    ("sys_tags", [{"key": "other", "value": "x"}]),
    ("period_type", {"period_order": {"period_type": 1, "period_num": 1}}),
    ("public_ip_list", "x"),
    ("source_endpoint", "postgres://"),
    ("source_endpoint", [1]),
]


async def test_job_that_would_only_follow_is_refused_rather_than_copied(api: Api) -> None:
    status, body = await _create(api, task_type="INCR_TRANS")
    assert (status, body["error_code"]) == (400, "DRS.M00300")
    assert "not built" in body["error_msg"]


@pytest.mark.parametrize(("member", "value"), INVALID, ids=[f"{m}={str(v)[:14]!r}" for m, v in INVALID])
async def test_invalid_member(api: Api, member: str, value: Any) -> None:
    status, body = await _create(api, **(value if member == "period_type" else {member: value}))
    assert (status, body["error_code"]) == (400, "DRS.M00202")
    assert body["error_msg"] == f"The value of parameter {member} is invalid."
    assert await _job_names(api) == []


INVALID_ENDPOINT: list[tuple[str, Any]] = [
    ("db_port", 0),
    ("db_port", 65536),
    ("db_port", "x"),
    ("db_port", -1),
    ("db_port", 10**30),
    ("db_type", "nonsense"),
    ("db_name", "a'b"),
    ("db_name", "x" * 129),
    ("ip", "x" * 257),
    ("db_user", 1.5),
    ("ssl_link", "perhaps"),
    ("ssl_cert_key", "not a certificate"),
    ("ssl_cert_key", base64.b64encode(b"nor this").decode()),
]


@pytest.mark.parametrize("side", ["source_endpoint", "target_endpoint"])
@pytest.mark.parametrize(
    ("member", "value"), INVALID_ENDPOINT, ids=[f"{m}={str(v)[:14]!r}" for m, v in INVALID_ENDPOINT]
)
async def test_invalid_endpoint_member(api: Api, side: str, member: str, value: Any) -> None:
    status, body = await _create(api, **{side: endpoint_body(**{"ssl_link": True, member: value})})
    assert (status, body["error_code"]) == (400, "DRS.M00202")
    assert body["error_msg"] == f"The value of parameter {member} is invalid."
    assert "Secret-1" not in str(body)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"engine_type": "taurus"}, "DRS.M00302"),
        ({"engine_type": "mongodb"}, "DRS.M00302"),
        ({"engine_type": "oracle-to-gaussdbv5"}, "DRS.M00302"),
        ({"engine_type": "sqlite"}, "DRS.M00302"),
        ({"source_endpoint": {"db_type": "mysql"}}, "DRS.M00302"),
        ({"db_use_type": "cloudDataGuard", "multi_write": True}, "DRS.M00302"),
        ({"db_use_type": "cloudDataGuard", "multi_write": ABSENT}, "DRS.M00201"),
        ({"db_use_type": "cloudDataGuard", "net_type": "vpc"}, "DRS.M00202"),
        ({"bind_eip": ABSENT}, "DRS.M00201"),
        ({"master_az": "a"}, "DRS.M00201"),
        ({"tags": [{"key": str(n), "value": ""} for n in range(21)]}, "DRS.M00271"),
        ({"tags": [{"key": "k" * 37, "value": ""}]}, "DRS.M00270"),
        ({"tags": [{"key": "k", "value": "v" * 44}]}, "DRS.M00270"),
        ({"tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]}, "DRS.M00269"),
        ({"tags": [{"value": "1"}]}, "DRS.M00201"),
    ],
)
async def test_other_refusals_of_creation(api: Api, members: dict[str, Any], code: str) -> None:
    status, body = await _create(api, **members)
    assert (status, body["error_code"]) == (400, code)
    assert await _job_names(api) == []


async def test_job_from_one_family_to_another_keeps_both(api: Api) -> None:
    job_id = await api.create_job(engine_type="mysql-to-postgresql", source_endpoint=endpoint_body(db_type="mysql"))
    job = await api.stored_job(job_id)
    assert (job.source.family, job.target.family) == ("mysql", "postgresql")
    status, body = await _create(api, name="wrong-way", engine_type="mysql-to-postgresql")
    assert (status, body["error_code"]) == (400, "DRS.M00302")


async def test_numbers_may_be_text_and_text_may_be_numbers(api: Api) -> None:
    job_id = await api.create_job(
        expired_days=30, source_endpoint=endpoint_body(db_port="5433", db_name=2024), bind_eip="true"
    )
    job = await api.stored_job(job_id)
    assert (job.source.port, job.source.database) == (5433, "2024")
    assert job.attributes["expired_days"] == "30"


async def test_least_that_creation_needs(api: Api) -> None:
    """Credentials follow later; often only the database type is known."""
    job_id = await api.create_job(
        source_endpoint={"db_type": "postgresql"},
        target_endpoint={"db_type": "postgresql", "region": "eu-de", "inst_id": "x"},
        description=ABSENT,
        expired_days=ABSENT,
        tags=ABSENT,
        is_target_readonly=ABSENT,
        multi_write=ABSENT,
        net_type="vpn",
        bind_eip=ABSENT,
    )
    assert (await api.stored_job(job_id)).source.host == ""


async def test_member_names_in_another_case_are_understood(api: Api) -> None:
    body = job_body()
    body["source_Endpoint"] = body.pop("source_endpoint")
    answer = await api.post("jobs/batch-creation", {"jobs": [body]})
    assert answer.status_code == 202


async def test_names_are_unique_without_regard_to_case(api: Api) -> None:
    await api.create_job(name="move-shop")
    status, body = await _create(api, name="MOVE-SHOP")
    assert (status, body["error_code"]) == (422, "DRS.M00277")
    foreign = await create_foreign_job(api)
    assert foreign
    assert (await _create(api, name="foreign-job"))[0] == 202


async def test_mixed_batch_answers_item_by_item(api: Api) -> None:
    items: list[Any] = [
        job_body(name="first"),
        job_body(name="bad name"),
        job_body(name="second-job"),
        job_body(name="FIRST"),
        job_body(engine_type="mongodb"),
    ]
    items[0]["name"] = "first-job"
    items[3]["name"] = "FIRST-JOB"
    answer = await api.post("jobs/batch-creation", {"jobs": items})
    assert answer.status_code == 202
    body = answer.json()
    assert body["count"] == 5
    codes = [result.get("error_code") for result in body["results"]]
    assert codes == [None, "DRS.M00202", None, "DRS.M00277", "DRS.M00302"]
    assert await _job_names(api) == ["first-job", "second-job"]
    assert "id" not in body["results"][1]


async def test_batch_of_failures_fails_with_the_first(api: Api) -> None:
    items = [job_body(name="bad name"), job_body(engine_type="mongodb")]
    answer = await api.post("jobs/batch-creation", {"jobs": items})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00202")
    assert set(answer.json()) == {"error_code", "error_msg"}


async def test_a_hundred_jobs_in_one_call_and_no_more(api: Api) -> None:
    items = [job_body(name=f"many-{number}") for number in range(101)]
    answer = await api.post("jobs/batch-creation", {"jobs": items})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00202")
    answer = await api.post("jobs/batch-creation", {"jobs": items[:100]})
    assert (answer.status_code, answer.json()["count"]) == (202, 100)


# --- status ------------------------------------------------------------------------------------------


async def test_status_of_a_failed_job_has_no_error_members(api: Api) -> None:
    """A client that waits for the word stops at an error member."""
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.COPY_FAILED, failure=failure())
    answer = await api.post("jobs/batch-status", {"jobs": [job_id], "page_req": {}})
    assert answer.json() == {"count": 1, "results": [{"id": job_id, "status": "FULL_TRANSFER_FAILED"}]}


async def test_status_of_unknown_and_foreign_jobs(api: Api) -> None:
    foreign = await create_foreign_job(api)
    answer = await api.post("jobs/batch-status", {"jobs": [UNKNOWN_ID, foreign]})
    assert answer.status_code == 200
    for result in answer.json()["results"]:
        assert result["error_code"] == "DRS.M05003"
        assert result["error_message"] == "Task information not found."
        assert "status" not in result


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (None, [0, 1, 2, 3, 4, 5, 6]),
        ({}, [0, 1, 2, 3, 4]),
        ({"cur_page": 2}, [5, 6]),
        ({"per_page": 0}, [0, 1, 2, 3, 4, 5, 6]),
        ({"per_page": 0, "cur_page": 0}, [0, 1, 2, 3, 4, 5, 6]),
        ({"per_page": 3, "cur_page": "2"}, [3, 4, 5]),
        ({"per_page": 100, "cur_page": 1}, [0, 1, 2, 3, 4, 5, 6]),
        ({"per_page": 3, "cur_page": 4}, "DRS.M00211"),
        ({"per_page": 0, "cur_page": 2}, "DRS.M00210"),
        ({"per_page": 101}, "DRS.M00210"),
        ({"per_page": -1}, "DRS.M00210"),
        ({"cur_page": 0}, "DRS.M00210"),
        ({"per_page": "x"}, "DRS.M00202"),
        ("x", "DRS.M00202"),
    ],
)
@pytest.mark.parametrize("call", ["batch-status", "batch-detail"])
async def test_pages_of_status_and_detail(api: Api, page: Any, expected: Any, call: str) -> None:
    ids = [await api.create_job(name=f"page-{number}") for number in range(7)]
    body = {"jobs": ids} if page is None else {"jobs": ids, "page_req": page}
    answer = await api.post(f"jobs/{call}", body)
    if isinstance(expected, str):
        assert (answer.status_code, answer.json()["error_code"]) == (400, expected)
        return
    assert [result["id"] for result in answer.json()["results"]] == [ids[number] for number in expected]
    assert answer.json()["count"] == len(expected)


# --- detail ------------------------------------------------------------------------------------------


async def test_detail_gives_back_what_was_sent(api: Api) -> None:
    """What a planning tool compares after each refresh; one difference and it replaces the job."""
    extra = {
        "inst_id": "a" * 32 + "in01",
        "inst_name": "rds-1",
        "region": "eu-de",
        "project_id": "p" * 32,
        "vpc_id": "v",
        "subnet_id": "s",
        "security_group_id": "g",
        "ssl_link": True,
        "ssl_cert_name": "ca.pem",
        "ssl_cert_key": base64.b64encode(PEM).decode(),
        "ssl_cert_check_sum": hashlib.sha256(PEM).hexdigest(),
    }
    order = {"period_type": 2, "period_num": 3, "is_auto_renew": 1}
    sent = job_body(
        source_endpoint=endpoint_body(**extra),
        node_type="xlarge",
        task_type="FULL_TRANS",
        charging_mode="period",
        period_order=order,
    )
    answer = await api.post("jobs/batch-creation", {"jobs": [sent]})
    job_id = answer.json()["results"][0]["id"]
    answer = await api.post("jobs/batch-detail", {"jobs": [job_id], "page_req": {}})
    assert answer.status_code == 200
    (detail,) = answer.json()["results"]
    for name in (
        "name",
        "description",
        "db_use_type",
        "job_direction",
        "task_type",
        "is_target_readonly",
        "multi_write",
        "tags",
        "net_type",
    ):
        assert detail[name] == sent[name], name
    for side in ("source_endpoint", "target_endpoint"):
        expected = {name: value for name, value in sent[side].items() if name != "db_password"}
        assert detail[side] == expected
    assert detail["period_order"] == {"charging_mode": "period", **order}
    assert detail["inst_info"]["inst_type"] == "xlarge"
    assert detail["inst_info"]["engine_type"] == "postgresql"
    assert detail["create_time"] == str(api.clock.us // 1000)
    assert detail["status"] == "CONFIGURATION"
    assert "node_num" not in detail
    assert "full_transfer_complete_time" not in detail
    for name in ("need_restart", "object_switch", "replace_definer", "migrate_user", "support_ip_v6"):
        assert type(detail[name]) is bool
    assert detail["speed_limit"] == []
    assert b"null" not in answer.content


async def test_i7_no_call_shows_a_password(api: Api) -> None:
    job_id = await api.create_job()
    for path, body in (
        ("jobs/batch-detail", {"jobs": [job_id]}),
        ("jobs", {"db_use_type": "sync"}),
        ("jobs/batch-status", {"jobs": [job_id]}),
        ("jobs/batch-progress", {"jobs": [job_id]}),
    ):
        answer = await api.post(path, body)
        assert answer.status_code == 200
        assert "Secret-1" not in answer.text
        assert "password" not in answer.text


async def test_detail_of_a_failed_job_says_why(api: Api) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.START_FAILED, failure=failure())
    (detail,) = (await api.post("jobs/batch-detail", {"jobs": [job_id]})).json()["results"]
    assert detail["status"] == "START_JOB_FAILED"
    assert "WAL_LEVEL_NOT_LOGICAL" in detail["error_message"]
    assert detail["error_code"].startswith("DRS.")
    assert detail["failed_reason"] == detail["error_message"]


async def test_detail_of_vanished_jobs_is_a_400_with_results(api: Api) -> None:
    gone = await api.create_job()
    await api.bring_to(gone, JobStatus.DELETED)
    foreign = await create_foreign_job(api)
    for job_id, code in ((UNKNOWN_ID, "DRS.M00289"), (foreign, "DRS.M00289"), (gone, "DRS.M05004")):
        answer = await api.post("jobs/batch-detail", {"jobs": [job_id]})
        assert answer.status_code == 400
        body = answer.json()
        assert body["error_code"] == code
        assert body["error_msg"]
        assert body["count"] == 1
        assert body["results"] == [{"id": job_id, "error_code": code, "error_message": body["error_msg"]}]


async def test_detail_of_some_known_jobs_is_a_200(api: Api) -> None:
    job_id = await api.create_job()
    answer = await api.post("jobs/batch-detail", {"jobs": [UNKNOWN_ID, job_id]})
    assert answer.status_code == 200
    first, second = answer.json()["results"]
    assert first["error_code"] == "DRS.M00289"
    assert second["name"] == "move-shop"


async def test_any_other_400_of_detail_has_results_too(api: Api) -> None:
    """One plugin takes the first result of a 400 without looking."""
    for body in ({"jobs": ["nonsense"]}, {"jobs": [UNKNOWN_ID], "page_req": {"per_page": 500}}):
        answer = await api.post("jobs/batch-detail", body)
        assert answer.status_code == 400
        assert answer.json()["results"][0]["error_code"] == answer.json()["error_code"]
    answer = await api.post("jobs/batch-detail", {"jobs": []})
    assert answer.json() == {"error_code": "DRS.M00201", "error_msg": "The parameter jobs is empty."}


# --- list --------------------------------------------------------------------------------------------


async def test_list_entry(api: Api) -> None:
    job_id = await api.create_job()
    answer = await api.post(
        "jobs",
        {"db_use_type": "sync", "cur_page": 1, "per_page": 5, "name": "", "engine_type": "", "status": ""},
    )
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"total_record", "jobs"}
    (job,) = body["jobs"]
    action = job.pop("job_action")
    assert job == {
        "id": job_id,
        "name": "move-shop",
        "status": "CONFIGURATION",
        "description": "the shop",
        "create_time": "2025-03-01 12:00:00",
        "engine_type": "postgresql",
        "net_type": "eip",
        "billing_tag": False,
        "job_direction": "up",
        "db_use_type": "sync",
        "task_type": "FULL_INCR_TRANS",
        "node_newFramework": False,
    }
    assert "START" in action["available_actions"]
    assert "PAUSE" in action["unavailable_actions"]
    assert "current_action" not in action


async def test_list_filters(api: Api) -> None:
    first = await api.create_job(name="alpha-one", net_type="vpn", tags=[{"key": "team", "value": "a"}])
    second = await api.create_job(name="alpha-two", db_use_type="migration")
    third = await api.create_job(name="beta-three", target_endpoint=endpoint_body(ip="10.9.9.9", inst_id="in-01"))
    await api.bring_to(third, JobStatus.STREAMING)
    await create_foreign_job(api)

    async def ids(**members: Any) -> list[str]:
        answer = await api.post("jobs", {"db_use_type": "sync", **members})
        assert answer.status_code == 200, answer.text
        assert answer.json()["total_record"] == len(answer.json()["jobs"])
        return [job["id"] for job in answer.json()["jobs"]]

    assert sorted(await ids()) == sorted([first, third])
    assert await ids(db_use_type="migration") == [second]
    assert await ids(name="alpha") == [first]
    assert await ids(name=third) == [third]
    assert sorted(await ids(name=f"{first},{third}")) == sorted([first, third])
    assert await ids(net_type="vpn") == [first]
    assert await ids(status="INCRE_TRANSFER_STARTED") == [third]
    assert await ids(status="CHANGE_JOB_STARTED") == []
    assert await ids(tags={"team": "a"}) == [first]
    assert await ids(tags=[{"key": "team", "value": "a"}]) == [first]
    assert await ids(instance_ip="10.9.9.9") == [third]
    assert await ids(instance_ids=["in-02", "in-01"]) == [third]
    assert await ids(instance_ids=["in-02"]) == []
    assert await ids(engine_type="mysql") == []
    tag = {"key": "_sys_enterprise_project_id", "value": "eps-1"}
    fourth = await api.create_job(name="gamma-four", sys_tags=[tag])
    assert await ids(enterprise_project_id="eps-1", service_name="eps") == [fourth]
    assert await ids(enterprise_project_id="eps-2") == []
    assert sorted(await ids(enterprise_project_id="0")) == sorted([first, third]), "the default one"
    assert sorted(await ids(enterprise_project_id="all_granted_eps")) == sorted([first, third, fourth])


async def test_list_pages(api: Api) -> None:
    for number in range(12):
        await api.create_job(name=f"page-{number:02d}")
        api.clock.advance(1)

    async def names(**members: Any) -> list[str]:
        answer = await api.post("jobs", {"db_use_type": "sync", **members})
        assert answer.json()["total_record"] == 12
        return [job["name"] for job in answer.json()["jobs"]]

    newest_first = [f"page-{number:02d}" for number in reversed(range(12))]
    assert await names() == newest_first[:10]
    assert await names(cur_page=2) == newest_first[10:]
    assert await names(cur_page=2, per_page=5) == newest_first[5:10]
    assert await names(cur_page=0) == newest_first
    assert await names(per_page=0) == newest_first
    assert await names(cur_page=9) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "DRS.M00201"),
        ({"db_use_type": ""}, "DRS.M00201"),
        ({"db_use_type": "x"}, "DRS.M00202"),
        ({"db_use_type": "sync", "per_page": 101}, "DRS.M00210"),
        ({"db_use_type": "sync", "per_page": 0, "cur_page": 2}, "DRS.M00210"),
        ({"db_use_type": "sync", "cur_page": -1}, "DRS.M00210"),
        ({"db_use_type": "sync", "cur_page": 10**25}, "DRS.M00210"),
        ({"db_use_type": "sync", "status": "SLEEPING"}, "DRS.M00202"),
        ({"db_use_type": "sync", "name": ",".join(["x"] * 101)}, "DRS.M00202"),
        ({"db_use_type": "sync", "instance_ids": ["x"] * 11}, "DRS.M00202"),
        ({"db_use_type": "sync", "tags": "x"}, "DRS.M00202"),
    ],
)
async def test_list_refusals(api: Api, body: Any, code: str) -> None:
    answer = await api.post("jobs", body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, code)


# --- modification ------------------------------------------------------------------------------------


async def _modify(api: Api, *items: dict[str, Any]) -> tuple[int, Any]:
    answer = await api.put("jobs/batch-modification", {"jobs": list(items)})
    return answer.status_code, answer.json()


async def test_rename_leaves_the_rest_alone(api: Api) -> None:
    job_id = await api.create_job()
    before = await api.stored_job(job_id)
    status, body = await _modify(api, {"job_id": job_id, "name": "new-name", "description": "new"})
    assert (status, body) == (200, {"count": 1, "results": [{"id": job_id, "status": "success"}]})
    after = await api.stored_job(job_id)
    assert (after.name, after.description) == ("new-name", "new")
    assert (after.source, after.target, after.attributes) == (before.source, before.target, before.attributes)


async def test_storing_databases_after_the_connection_test(api: Api) -> None:
    job_id = await api.create_job(source_endpoint={"db_type": "postgresql"}, target_endpoint={"db_type": "postgresql"})
    status, body = await _modify(
        api,
        {
            "job_id": job_id,
            "name": "move-shop",
            "engine_type": "postgresql",
            "net_type": "vpn",
            "node_type": "high",
            "store_db_info": True,
            "is_recreate": False,
            "replace_definer": False,
            "source_endpoint": endpoint_body(),
            "target_endpoint": endpoint_body(ip="10.1.2.4"),
        },
    )
    assert (status, body["results"][0]["status"]) == (200, "success")
    job = await api.stored_job(job_id)
    assert job.is_configured
    assert job.source.host == "10.1.2.3"
    spec = await api.store.work.load_spec(job_id)
    assert spec.source.password == "Secret-1-of-the-test"


async def test_endpoint_members_that_were_not_sent_stay(api: Api) -> None:
    job_id = await api.create_job()
    status, _ = await _modify(api, {"job_id": job_id, "source_endpoint": {"db_name": "other"}})
    assert status == 200
    spec = await api.store.work.load_spec(job_id)
    assert (spec.source.database, spec.source.host, spec.source.password) == (
        "other",
        "10.1.2.3",
        "Secret-1-of-the-test",
    )


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"job_id": "x"}, "DRS.M00202"),
        ({"job_id": ""}, "DRS.M00201"),
        ({}, "DRS.M00201"),
        ({"name": "x"}, "DRS.M00202"),
        ({"name": ""}, "DRS.M00201"),
        ({"description": "a&b"}, "DRS.M00202"),
        ({"task_type": "x"}, "DRS.M00202"),
        ({"task_type": "INCR_TRANS"}, "DRS.M00300"),
        ({"engine_type": "mongodb"}, "DRS.M00302"),
        ({"net_type": "x"}, "DRS.M00202"),
        ({"store_db_info": True}, "DRS.M00201"),
        ({"store_db_info": True, "source_endpoint": endpoint_body()}, "DRS.M00201"),
        (
            {
                "store_db_info": True,
                "source_endpoint": endpoint_body(db_password=""),
                "target_endpoint": endpoint_body(),
            },
            "DRS.M00201",
        ),
        ({"alarm_notify": {"delay_time": 3601}}, "DRS.M00202"),
        ({"alarm_notify": {"subscriptions": [{"protocol": "fax", "endpoints": []}]}}, "DRS.M00202"),
    ],
)
async def test_malformed_modification_changes_nothing(api: Api, item: dict[str, Any], code: str) -> None:
    first = await api.create_job(name="first-job")
    second = await api.create_job(name="second-job")
    bad = item if "job_id" in item or not item else {"job_id": second, **item}
    status, body = await _modify(api, {"job_id": first, "name": "changed-name"}, bad)
    assert (status, body["error_code"]) == (400, code)
    assert (await api.stored_job(first)).name == "first-job"


async def test_modification_refuses_item_by_item(api: Api) -> None:
    first, second = await api.create_job(name="first-job"), await api.create_job(name="second-job")
    running = await api.create_job(name="running-job")
    await api.bring_to(running, JobStatus.STREAMING)
    status, body = await _modify(
        api,
        {"job_id": UNKNOWN_ID, "name": "some-name"},
        {"job_id": second, "name": "FIRST-JOB"},
        {"job_id": running, "source_endpoint": endpoint_body()},
        {"job_id": running, "description": "still allowed"},
        {"job_id": first, "description": "changed"},
    )
    assert (status, body["count"]) == (200, 5)
    results = [(result["status"], result.get("error_code")) for result in body["results"]]
    assert results == [
        ("failed", "DRS.M05003"),
        ("failed", "DRS.M00277"),
        ("failed", "DRS.M00304"),
        ("success", None),
        ("success", None),
    ]


async def test_job_from_postgresql_to_mysql_keeps_both_families(api: Api) -> None:
    job_id = await api.create_job(engine_type="postgresql-to-mysql", target_endpoint=endpoint_body(db_type="mysql"))
    job = await api.stored_job(job_id)
    assert (job.source.family, job.target.family) == ("postgresql", "mysql")

"""The calls of version 5 for one job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.api.harness import UNKNOWN_ID, Api, create_foreign_job
from towline.api.wire.details import render_actions
from towline.api.wire.selection import read_selection
from towline.api.wire.v5_objects import DatabaseObject, DbObjectRequest, TableObject, read_db_object
from towline.domain.errors import IllegalTransition
from towline.domain.jobs import Endpoint, JobStatus, PauseMode
from towline.domain.progress import Phase, Progress
from towline.domain.tables import ObjectSelection, TableName, TableRename
from towline.service import decisions
from towline.service.ports import Job, JobChange


def v5(api: Api, path: str) -> str:
    return f"/v5/{api.account.project_id}/{path}"


async def act(api: Api, job_id: str, name: str, **params: Any) -> tuple[int, dict[str, Any]]:
    body = {"job": {"action_name": name, "action_params": params}}
    answer = await api.call("POST", v5(api, f"jobs/{job_id}/action"), body)
    return answer.status_code, answer.json()


async def update(api: Api, job_id: str, kind: str, **params: Any) -> tuple[int, dict[str, Any]]:
    answer = await api.call("PUT", v5(api, f"jobs/{job_id}"), {"job": {"type": kind, "params": params}})
    return answer.status_code, answer.json()


async def detail_of(api: Api, job_id: str) -> dict[str, Any]:
    (detail,) = (await api.post("jobs/batch-detail", {"jobs": [job_id]})).json()["results"]
    assert isinstance(detail, dict)
    return detail


def tables(**items: Any) -> dict[str, Any]:
    """The parameters of an update that chooses these tables of the database `shop`."""
    return {"db_object": {"object_scope": "table", "object_info": {"shop": {"name": "shop", "tables": items}}}}


async def show(api: Api, job_id: str, kind: str, query: str = "") -> dict[str, Any]:
    answer = await api.call("GET", v5(api, f"jobs/{job_id}?type={kind}{query}"))
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()["job"]
    return job


async def test_action_does_what_the_calls_of_version_3_do(api: Api) -> None:
    job_id = await api.create_job()
    done = {"id": job_id, "status": "success", "query_id": job_id}
    later = str(api.clock.us // 1000 + 60_000)
    assert await act(api, job_id, "start", start_time=later) == (202, done)
    assert (await api.stored_job(job_id)).status is JobStatus.SCHEDULED
    assert await act(api, job_id, "start") == (202, done)
    await api.bring_to(job_id, JobStatus.STREAM_FAILED)
    assert await act(api, job_id, "stop", pause_mode="all") == (202, done)
    assert (await api.stored_job(job_id)).status is JobStatus.PAUSED
    assert await act(api, job_id, "restart") == (202, done)
    assert (await api.stored_job(job_id)).status is JobStatus.STARTING
    status, refused = await act(api, job_id, "stop")
    assert (status, refused["error_code"]) == (400, "DRS.M00304")
    await api.bring_to(job_id, JobStatus.STREAMING, full_complete_us=1)
    status, refused = await act(api, job_id, "restart", is_sync_re_edit=True)
    assert (status, refused["error_code"]) == (400, "DRS.M00305"), "nothing was edited"
    edited = await api.put("jobs/batch-select-objects", {"jobs": [{"job_id": job_id, "selected": False}]})
    assert edited.json()["results"][0]["status"] is True
    assert await act(api, job_id, "restart", is_sync_re_edit=True) == (202, done)
    assert (await api.store.work.load_spec(job_id)).edit == 1
    assert await act(api, job_id, "terminate", force_delete=True) == (202, done)
    assert (await api.stored_job(job_id)).status is JobStatus.ENDING


@pytest.mark.parametrize(
    ("name", "params", "code"),
    [
        ("", {}, "DRS.M00201"),
        ("destroy", {}, "DRS.M00202"),
        ("reset", {}, "DRS.M00300"),
        ("network", {}, "DRS.M00300"),
        ("restart", {"is_sync_re_edit": True}, "DRS.M00304"),
        ("stop", {"is_sync_re_edit": True}, "DRS.M00202"),
        ("restart", {"is_only_init_task": True}, "DRS.M00202"),
        ("start", {"start_time": "tomorrow"}, "DRS.M00202"),
        ("stop", {"pause_mode": "half"}, "DRS.M00202"),
    ],
)
async def test_actions_that_are_refused_change_nothing(api: Api, name: str, params: dict[str, Any], code: str) -> None:
    job_id = await api.create_job()
    before = await api.stored_job(job_id)
    status, refused = await act(api, job_id, name, **params)
    assert (status, refused["error_code"]) == (400, code)
    assert await api.stored_job(job_id) == before


async def test_update_changes_one_thing(api: Api) -> None:
    job_id = await api.create_job()
    assert await update(api, job_id, "name", base_info={"name": "new-name"}) == (
        200,
        {"id": job_id, "status": "success", "name": "new-name"},
    )
    assert (await update(api, job_id, "description", base_info={"description": "moved", "name": "!"}))[0] == 200
    assert (await update(api, job_id, "expired_days", base_info={"expired_days": 30}))[0] == 200
    assert (await update(api, job_id, "notify", alarm_notify={"delay_time": 10, "alarm_to_user": True}))[0] == 200
    job = await show(api, job_id, "detail")
    assert (job["base_info"]["name"], job["base_info"]["description"]) == ("new-name", "moved")
    assert job["base_info"]["expired_days"] == "30"
    assert job["alarm_notify"]["delay_time"] == 10


@pytest.mark.parametrize(
    ("kind", "params", "code"),
    [
        ("colour", {}, "DRS.M00202"),
        ("name", {}, "DRS.M00201"),
        ("expired_days", {"base_info": {"expired_days": "3"}}, "DRS.M00202"),
        ("notify", {}, "DRS.M00201"),
        ("notify", {"alarm_notify": {"topic_urn": "urn:smn:eu-de:1:nobody"}}, "DRS.M00202"),
        ("policy", {}, "DRS.M00300"),
        ("db_object", {}, "DRS.M00201"),
        ("db_object", {"db_object": {"object_scope": "schema"}}, "DRS.M00202"),
        ("db_object", {"db_object": {"object_scope": "database"}}, "DRS.M00201"),
        ("db_object", {"db_object": {"object_scope": "database", "object_info": {"shop": {}}}}, "DRS.M00201"),
        (
            "db_object",
            {"db_object": {"object_scope": "database", "object_info": {"other": {"all": True}}}},
            "DRS.M00202",
        ),
        ("db_object", tables(item={"all": False, "columns": {"id": {}}}), "DRS.M00300"),
        ("db_object", tables(item={"filter_conditions": ["id > 1"]}), "DRS.M00300"),
        ("db_object", tables(item={"type": "procedure"}), "DRS.M00300"),
        ("db_object", tables(item={"type": "shape"}), "DRS.M00202"),
        ("db_object", tables(item={"sync_type": "config"}), "DRS.M00300"),
        ("db_object", tables(**{"nul\x00": {}}), "DRS.M00202"),
        ("db_object", {"db_object": {"object_scope": "all", "target_root_db": {"db_name": "other"}}}, "DRS.M00202"),
        ("db_object", {"db_object": {"object_scope": "all", "object_info": {"shop": {"all": True}}}}, "DRS.M00202"),
    ],
)
async def test_updates_that_are_refused(api: Api, kind: str, params: dict[str, Any], code: str) -> None:
    job_id = await api.create_job()
    before = await api.stored_job(job_id)
    status, refused = await update(api, job_id, kind, **params)
    assert (status, refused["error_code"]) == (400, code), refused
    assert await api.stored_job(job_id) == before


async def test_objects_are_chosen_by_name(api: Api) -> None:
    job_id = await api.create_job()
    assert (await update(api, job_id, "db_object", **tables(item={"name": "item", "all": True, "type": "table"})))[
        0
    ] == 200
    job = await api.stored_job(job_id)
    assert job.selection == ObjectSelection(tables=frozenset({TableName("public", "item")}))
    detail = (await detail_of(api, job_id))["object_infos"]
    # What one client makes the lists of tables of its own state from.
    assert [(each["parent_id"], each["name"]) for each in detail if each["type"] == "table"] == [("shop", "item")]
    assert (await detail_of(api, job_id))["sync_database"] is False
    schemas = {"crm": {"all": True}, "web": {"tables": {"page": {"type": "view"}, "hit": {"name": "hits"}}}}
    wish = {"db_object": {"object_scope": "table", "object_info": {"shop": {"schemas": schemas}}}}
    assert (await update(api, job_id, "db_object", **wish))[0] == 200
    selection = (await api.stored_job(job_id)).selection
    assert selection.schemas == {"crm"}
    assert selection.views == {TableName("web", "page")}
    assert selection.names.tables == (TableRename(TableName("web", "hit"), TableName("web", "hits")),)
    wish = {"db_object": {"object_scope": "database", "object_info": {"shop": {"name": "shop", "all": True}}}}
    assert (await update(api, job_id, "db_object", **wish))[0] == 200
    assert (await api.stored_job(job_id)).selection == ObjectSelection()
    detail = await detail_of(api, job_id)
    assert (detail["object_switch"], detail["sync_database"]) == (True, True)
    assert [each["name"] for each in detail["object_infos"]] == ["shop"]
    assert (await update(api, job_id, "db_object", db_object={"object_scope": "all"}))[0] == 200
    assert (await detail_of(api, job_id))["object_switch"] is False
    await api.bring_to(job_id, JobStatus.COPYING)
    status, refused = await update(api, job_id, "db_object", **tables(item={}))
    assert (status, refused["error_code"]) == (400, "DRS.M00304")


def test_objects_of_a_family_without_schemas_lie_in_the_database() -> None:
    order = DbObjectRequest(object_scope="table", object_info={"shop": DatabaseObject(tables={"item": TableObject()})})  # type: ignore[arg-type]
    endpoint = Endpoint("mysql", "h", 3306, "u", "p", "")
    selection, _ = read_selection(read_db_object(order, target=endpoint), source=endpoint, target=endpoint)
    assert selection.tables == {TableName("shop", "item")}


async def test_detail_shows_the_job_without_its_passwords(api: Api) -> None:
    job_id = await api.create_job()
    job = await show(api, job_id, "overview")
    assert (job["id"], job["status"], job["base_info"]["job_type"]) == (job_id, "CONFIGURATION", "sync")
    (source,) = job["source_endpoint"]
    assert source == {
        "db_type": "postgresql",
        "endpoint_role": "so",
        "endpoint": {"ip": "10.1.2.3", "db_port": "5432", "db_user": "mover", "db_name": "shop"},
    }
    assert job["node_info"] == {"spec": {"node_type": "high"}}
    assert "Secret" not in str(job)


async def test_progress_is_that_of_batch_progress(api: Api) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.STREAMING)
    now_us = api.clock.us
    await api.report(
        job_id, Progress(at_us=now_us, phase=Phase.STREAM, percent=100, proven_source_time_us=now_us - 2_500_000)
    )
    shown = (await show(api, job_id, "progress"))["progress_info"]
    record = await api.progress_of(job_id)
    assert (shown["incr_trans_delay"], shown["incr_trans_delay_millis"]) == ("2", "2500")
    for member in ("progress", "task_mode", "transfer_status", "process_time", "remaining_time"):
        assert shown[member] == record[member]


async def test_precheck_is_begun_and_read(api: Api) -> None:
    job_id = await api.create_job()
    answer = await api.call("GET", v5(api, f"jobs/{job_id}?type=precheck"))
    assert (answer.status_code, answer.json()["error_code"]) == (400, "DRS.M00305")
    status, begun = await act(api, job_id, "precheck")
    assert status == 202
    job = await show(api, job_id, "precheck", f"&query_id={begun['query_id']}")
    assert job["precheck_result"]["process"].endswith("%")


async def test_log_is_the_history_newest_first(api: Api) -> None:
    job_id = await api.create_job()
    await act(api, job_id, "start")
    await api.bring_to(job_id, JobStatus.COPYING)
    await api.bring_to(job_id, JobStatus.COPY_FAILED)
    job = await show(api, job_id, "log", "&limit=2")
    assert [entry["message"] for entry in job["logs"]] == ["copying -> copy_failed", "starting -> copying"]
    assert [entry["level"] for entry in job["logs"]] == ["Error", "Info"]
    assert job["total_count"] == 4
    assert len((await show(api, job_id, "log", "&log_level=Error"))["logs"]) == 1
    assert [entry["message"] for entry in (await show(api, job_id, "log", "&offset=3"))["logs"]] == [
        "created as move-shop"
    ]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "DRS.M00201"),
        ("type=x", "DRS.M00202"),
        ("type=compare", "DRS.M00300"),
        ("type=log&limit=0", "DRS.M00202"),
        ("type=log&offset=x", "DRS.M00202"),
        ("type=precheck&query_id=other", "DRS.M00202"),
    ],
)
async def test_details_that_are_refused(api: Api, query: str, code: str) -> None:
    answer = await api.call("GET", v5(api, f"jobs/{await api.create_job()}?{query}"))
    assert (answer.status_code, answer.json()["error_code"]) == (400, code)


async def test_tags_are_put_over_and_removed(api: Api) -> None:
    job_id = await api.create_job(tags=[{"key": "team", "value": "shop"}])
    path = v5(api, f"jobs/sync/{job_id}/tags")

    async def change(action: str, *tags: dict[str, str]) -> tuple[int, dict[str, Any]]:
        answer = await api.call("POST", f"{path}/action", {"action": action, "tags": list(tags)})
        return answer.status_code, answer.json()

    async def tags() -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in (await api.call("GET", path)).json()["tags"]}

    assert await change("create", {"key": "团队", "value": "a b"}, {"key": "team", "value": "new"}) == (200, {})
    assert await tags() == {"团队": "a b", "team": "new"}
    assert await change("delete", {"key": "team"}) == (200, {})
    assert await tags() == {"团队": "a b"}
    many = [{"key": f"k{number}", "value": ""} for number in range(20)]
    for refused, code in (
        (await change("create", *many), "DRS.M00271"),
        (await change("create", {"key": "a"}, {"key": "a"}), "DRS.M00269"),
        (await change("create", {"key": "k" * 129}), "DRS.M00270"),
        (await change("create", {"key": "_sys_x"}), "DRS.M00202"),
        (await change("create", {"key": ""}), "DRS.M00201"),
        (await change("create"), "DRS.M00201"),
        (await change("replace", {"key": "a"}), "DRS.M00202"),
    ):
        assert (refused[0], refused[1]["error_code"]) == (400, code)
    assert await tags() == {"团队": "a b"}
    detail = (await api.post("jobs/batch-detail", {"jobs": [job_id]})).json()["results"][0]
    assert detail["tags"] == [{"key": "团队", "value": "a b"}]
    assert (await api.call("GET", v5(api, f"jobs/migration/{job_id}/tags"))).status_code == 404


async def test_names_are_validated(api: Api) -> None:
    await api.create_job(name="taken-name")

    async def validate(name: str) -> Any:
        answer = await api.call("POST", v5(api, "jobs/name-validation"), {"name": name, "type": "trans"})
        assert answer.status_code == 200
        return answer.json()

    assert await validate("free-name") == {"is_valid": True}
    assert await validate("taken") == {"is_valid": True}
    assert (await validate("TAKEN-name"))["error_code"] == "DRS.M00277"
    assert (await validate("1st"))["error_code"] == "DRS.M00202"


async def test_jobs_out_of_sight_do_not_exist(api: Api) -> None:
    for job_id in (UNKNOWN_ID, await create_foreign_job(api)):
        for method, path, body in (
            ("GET", f"jobs/{job_id}?type=detail", None),
            ("GET", f"jobs/{job_id}/actions", None),
            ("GET", f"jobs/sync/{job_id}/tags", None),
            ("PUT", f"jobs/{job_id}", {"job": {"type": "name", "params": {"base_info": {"name": "name"}}}}),
            ("POST", f"jobs/{job_id}/action", {"job": {"action_name": "start"}}),
            ("POST", f"jobs/sync/{job_id}/tags/action", {"action": "create", "tags": [{"key": "a"}]}),
        ):
            answer = await api.call(method, v5(api, path), body)
            assert (answer.status_code, answer.json()["error_code"]) == (404, "DRS.10000010"), path
    answer = await api.call("GET", f"/v5/{'e' * 32}/jobs/{UNKNOWN_ID}?type=detail")
    assert (answer.status_code, answer.json()["error_code"]) == (403, "DRS.M00261")


async def test_gateway_prefix_is_an_alias(api: Api) -> None:
    answer = await api.call("GET", "/drs" + v5(api, f"jobs/{await api.create_job()}/actions"))
    assert answer.status_code == 200


async def test_actions_say_what_the_calls_allow(api: Api) -> None:
    """In every status, an action is available exactly if the decision behind its call accepts."""
    stored = await api.stored_job(await api.create_job())
    decide_of: dict[str, Callable[[Job], object]] = {
        "CHOOSE_OBJECT": decisions.select_objects(ObjectSelection(), ()),
        "START": decisions.start(at_us=None, now_us=0),
        "PRE_CHECK": partial(decisions.require_precheckable, for_retry=False),
        "MODIFY_DB_CONFIG": decisions.change(JobChange(job_id=stored.job_id, store_endpoints=True)),
        "PAUSE": decisions.pause(PauseMode.ALL),
        "RETRY": decisions.retry,
        "RESET_DB_PWD": decisions.change_password("x", is_source=True),
        "FREE_RESOURCE": decisions.end(force=False),
        "DELETE": decisions.delete,
    }
    for status in JobStatus:
        job = replace(stored, status=status)
        shown = render_actions(job)
        assert {*shown.available_actions, *shown.unavailable_actions} == set(decide_of)
        for action, decide in decide_of.items():
            try:
                decide(job)
            except IllegalTransition:
                assert action in shown.unavailable_actions, (status, action)
            else:
                assert action in shown.available_actions, (status, action)


async def test_pause_that_is_under_way_is_the_current_action(api: Api) -> None:
    job_id = await api.create_job()
    await api.bring_to(job_id, JobStatus.STREAMING)
    await act(api, job_id, "stop")
    for action in (
        (await api.call("GET", v5(api, f"jobs/{job_id}/actions"))).json()["job_action"],
        (await api.post("jobs", {"db_use_type": "sync"})).json()["jobs"][0]["job_action"],
    ):
        assert action["current_action"] == "STOP_JOB"
    await act(api, job_id, "restart")
    assert "current_action" not in (await api.call("GET", v5(api, f"jobs/{job_id}/actions"))).json()["job_action"]

"""The vendor's unmodified Python client against a real server process: every way to sign in, every kind of answer."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdrs import v3 as drs
from huaweicloudsdkdrs import v5 as drs5

from tests.api.harness import UNKNOWN_ID
from tests.api.serving import (
    Served,
    served,
    vendor_client,
    vendor_client_in_region,
    vendor_client_with_token,
    vendor_home,
    wait_until,
)

__all__ = ["vendor_home"]
pytestmark = [
    pytest.mark.usefixtures("vendor_home"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:huaweicloudsdk"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as server:
        yield server


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def create(client: Any, name: str, **members: Any) -> str:
    job = drs.CreateJobReq(
        **{
            "bind_eip": True,
            "db_use_type": "sync",
            "name": name,
            "description": "of the client",
            "engine_type": "postgresql",
            "job_direction": "up",
            "net_type": "eip",
            "node_type": "high",
            "task_type": "FULL_TRANS",
            "customize_sutnet_id": "",
            "tags": [drs.ResourceTag(key="team", value="shop")],
            "source_endpoint": drs.Endpoint(db_type="postgresql"),
            "target_endpoint": drs.Endpoint(db_type="postgresql"),
            **members,
        }
    )
    answer = client.batch_create_jobs(drs.BatchCreateJobsRequest(body=drs.BatchCreateJobReq(jobs=[job])))
    assert answer.status_code == 202
    assert answer.results[0].status == "CREATING"
    return answer.results[0].id


def progress(client: Any, *job_ids: str) -> Any:
    return client.batch_list_progresses(
        drs.BatchListProgressesRequest(body=drs.BatchQueryProgressReq(jobs=list(job_ids)))
    )


def status(client: Any, job_id: str) -> str:
    body = drs.BatchQueryJobReqPage(jobs=[job_id])
    return client.batch_list_job_status(drs.BatchListJobStatusRequest(body=body)).results[0].status


def test_client_walks_through_the_strict_life_cycle(server: Served) -> None:
    client = vendor_client(server)
    job_id = create(client, "sdk-life")
    wait_until(lambda: status(client, job_id), lambda word: word == "CONFIGURATION", timeout_s=60, what="creation")

    detail = client.batch_list_job_details(drs.BatchListJobDetailsRequest(body=drs.BatchQueryJobReqPage(jobs=[job_id])))
    assert detail.status_code == 200
    assert detail.results[0].tags[0].key == "team"
    assert detail.results[0].inst_info.inst_type == "high"

    check = drs.PreCheckInfo(job_id=job_id, precheck_mode="forStartJob")
    answer = client.batch_check_jobs(drs.BatchCheckJobsRequest(body=drs.BatchPrecheckReq(jobs=[check])))
    assert (answer.status_code, answer.results[0].status) == (200, "success")

    def read_precheck() -> Any:
        body = drs.BatchQueryPrecheckResultReq(jobs=[job_id])
        return client.batch_check_results(drs.BatchCheckResultsRequest(body=body)).results[0]

    result = wait_until(read_precheck, lambda run: run.process == "100%", timeout_s=60, what="precheck")
    assert result.result is False
    assert result.precheck_result[0].result == "FAILED"

    unreachable = drs.TestEndPoint(
        id=job_id,
        net_type="eip",
        db_type="postgresql",
        ip="127.0.0.1",
        db_port=closed_port(),
        db_user="u",
        db_password="p",
        end_point_type="so",
    )
    answer = client.batch_validate_connections(
        drs.BatchValidateConnectionsRequest(body=drs.BatchTestConnectionReq(jobs=[unreachable]))
    )
    assert answer.status_code == 200
    assert (answer.results[0].status, answer.results[0].success) == ("failed", False)

    change = drs.ModifyJobReq(job_id=job_id, name="sdk-life-2", description="renamed")
    answer = client.batch_update_job(drs.BatchUpdateJobRequest(body=drs.BatchModifyJobReq(jobs=[change])))
    assert (answer.status_code, answer.results[0].status) == (200, "success")

    limit = drs.LimitSpeedReq(job_id=job_id, speed_limit=[drs.SpeedLimitInfo(begin="16:00", end="15:59", speed="15")])
    answer = client.batch_set_speed(drs.BatchSetSpeedRequest(body=drs.BatchLimitSpeedReq(speed_limits=[limit])))
    assert (answer.status_code, answer.results[0].status) == (200, "success")

    answer = client.batch_start_jobs(
        drs.BatchStartJobsRequest(body=drs.BatchStartJobReq(jobs=[drs.StartInfo(job_id=job_id)]))
    )
    assert (answer.status_code, answer.results[0].status) == (202, "success")
    wait_until(lambda: status(client, job_id), lambda word: word == "START_JOB_FAILED", timeout_s=60, what="failure")
    assert "ENDPOINT_INCOMPLETE" in progress(client, job_id).results[0].error_msg

    delete(client, job_id, "force_terminate")
    wait_until(
        lambda: status(client, job_id), lambda word: word == "RELEASE_RESOURCE_COMPLETE", timeout_s=60, what="end"
    )
    delete(client, job_id, "delete")
    assert progress(client, job_id).results[0].error_code == "DRS.M05004"


def delete(client: Any, job_id: str, kind: str) -> None:
    body = drs.BatchDeleteJobReq(jobs=[drs.DeleteJobReq(job_id=job_id, delete_type=kind)])
    answer = client.batch_delete_jobs(drs.BatchDeleteJobsRequest(body=body))
    assert (answer.status_code, answer.results[0].id, answer.results[0].status) == (202, job_id, "success")


def test_client_reads_progress_of_many(server: Served) -> None:
    client = vendor_client(server)
    job_id = create(client, "sdk-progress")
    answer = progress(client, UNKNOWN_ID, job_id)
    assert (answer.status_code, answer.count) == (200, 2)
    missing, known = answer.results
    assert (missing.job_id, missing.error_code) == (UNKNOWN_ID, "DRS.M05003")
    assert (known.job_id, known.progress, known.incre_trans_delay) == (job_id, "0", "-1")
    assert (known.task_mode, known.transfer_status) == ("FULL_TRANS", "CONFIGURATION")
    assert known.progress_map is None
    if "apply_rows_rate" in known.attribute_map:  # the oldest client does not know it
        assert known.apply_rows_rate == -1


def test_client_lists_and_selects(server: Served) -> None:
    client = vendor_client(server)
    job_id = create(client, "sdk-list")
    body = drs.QueryJobsReq(db_use_type="sync", cur_page=1, per_page=5, name=job_id, engine_type="", status="")
    answer = client.show_job_list(drs.ShowJobListRequest(body=body))
    assert (answer.total_record, answer.jobs[0].id, answer.jobs[0].net_type) == (1, job_id, "eip")
    table = drs.DatabaseInfo(id="shop-*-*-sales-*-*-orders", object_type="table", object_name="orders", select="true")
    chosen = drs.UpdateDatabaseObjectReq(job_id=job_id, selected=True, job=[table])
    answer = client.batch_set_objects(drs.BatchSetObjectsRequest(body=drs.BatchUpdateDatabaseObjectReq(jobs=[chosen])))
    assert answer.status_code == 202
    assert (answer.all_counts, answer.results[0].status) == (1, True)
    both = client.batch_list_rpos_and_rtos(
        drs.BatchListRposAndRtosRequest(body=drs.BatchQueryRpoAndRtoReq(jobs=[job_id]))
    )
    assert (both.status_code, both.count, both.results[0].job_id) == (202, 1, job_id)
    assert (both.results[0].rpo_info.delay, both.results[0].rto_info.check_point) == ("-1", "NA")


def test_client_reads_the_catalogue(server: Served) -> None:
    client = vendor_client(server)
    kind = {"engine_type": "postgresql", "db_use_type": "sync", "job_direction": "up"}
    types = client.list_available_node_types(drs.ListAvailableNodeTypesRequest(**kind)).node_types
    assert [entry.node_type for entry in types] == ["micro", "small", "medium", "high", "xlarge", "2xlarge"]
    order = drs.QueryAvailableNodeTypeReq(node_type="high", **kind)
    (zone,) = client.list_available_zone(drs.ListAvailableZoneRequest(body=order)).az_infos
    assert zone.status == "ENABLED"
    resource = client.show_quotas(drs.ShowQuotasRequest()).quotas.resource
    assert 0 <= resource.used <= resource.quota == 9999
    with pytest.raises(ClientRequestException) as refusal:
        client.list_available_node_types(drs.ListAvailableNodeTypesRequest(**{**kind, "db_use_type": "guess"}))
    assert refusal.value.error_code == "DRS.M00202"


def test_client_reads_structure(server: Served) -> None:
    client = vendor_client(server)
    job_id = create(client, "sdk-structure")
    body: Any = drs.BatchQueryJobReq(jobs=[job_id, UNKNOWN_ID])
    counted = client.batch_list_struct_process(drs.BatchListStructProcessRequest(body=body))
    assert (counted.count, counted.results[0].struct_process.create_time) == (2, "0")
    assert counted.results[1].error_code == "DRS.M05003"
    body = drs.BatchQueryJobReqPage(jobs=[job_id], page_req=drs.PageReq(cur_page=1, per_page=5))
    listed = client.batch_list_struct_detail(drs.BatchListStructDetailRequest(type="table", body=body))
    assert (listed.count, listed.results[0].struct_detail.total_record) == (1, 0)
    assert listed.results[0].struct_detail.list == []
    listed = client.batch_list_struct_detail(drs.BatchListStructDetailRequest(type="trigger", body=body))
    assert listed.results[0].struct_detail.total_record == 0


def test_client_of_version_5_changes_one_job(server: Served) -> None:
    client = vendor_client(server, version="v5")
    job_id = create(vendor_client(server), "sdk-five")

    def update(kind: str, **base: Any) -> Any:
        params = drs5.UpdateJob(**base) if kind == "db_object" else drs5.UpdateJob(base_info=drs5.JobBaseInfo(**base))
        body = drs5.SingleUpdateJobReq(job=drs5.UpdateJobReq(type=kind, params=params))
        return client.update_job(drs5.UpdateJobRequest(job_id=job_id, body=body))

    def act(name: str, **params: Any) -> Any:
        action = drs5.ActionReq(action_name=name, action_params=drs5.ActionParams(**params))
        body = drs5.JobActionReq(job=action)
        return client.execute_job_action(drs5.ExecuteJobActionRequest(job_id=job_id, body=body))

    def tag(action: str, **tag: str) -> None:
        body = drs5.BatchDealResourceTagReq(action=action, tags=[drs5.BatchResourceTag(**tag)])
        client.batch_tag_action(drs5.BatchTagActionRequest(resource_type="sync", job_id=job_id, body=body))

    def show(kind: str) -> Any:
        return client.show_job_detail(drs5.ShowJobDetailRequest(job_id=job_id, type=kind)).job

    answer = update("name", name="sdk-five-2")
    assert (answer.status_code, answer.id, answer.name, answer.status) == (200, job_id, "sdk-five-2", "success")
    whole = drs5.DbObject(object_scope="database", object_info={"shop": drs5.DatabaseObject(name="shop", all=True)})
    assert update("db_object", db_object=whole).status == "success"
    (detail,) = (
        vendor_client(server)
        .batch_list_job_details(drs.BatchListJobDetailsRequest(body=drs.BatchQueryJobReqPage(jobs=[job_id])))
        .results
    )
    assert (detail.sync_database, [each.name for each in detail.object_infos]) == (True, ["shop"])
    tag("create", key="owner", value="me")
    tag("delete", key="team")
    tags = client.show_instance_tags(drs5.ShowInstanceTagsRequest(resource_type="sync", job_id=job_id)).tags
    assert [(entry.key, entry.value) for entry in tags] == [("owner", "me")]
    assert show("detail").base_info.name == "sdk-five-2"
    assert show("progress").progress_info.transfer_status == "CONFIGURATION"
    assert show("log").logs[-1].message == "created as sdk-five"
    can = client.show_actions(drs5.ShowActionsRequest(job_id=job_id)).job_action
    assert "START" in can.available_actions
    assert "PAUSE" in can.unavailable_actions
    name = drs5.CheckJobNameReq(name="SDK-five-2", type="trans")
    valid = client.validate_job_name(drs5.ValidateJobNameRequest(body=name))
    assert (valid.is_valid, valid.error_code) == (False, "DRS.M00277")
    answer = act("terminate", force_delete=True)
    assert (answer.status_code, answer.query_id) == (202, job_id)
    wait_until(
        lambda: show("overview").status, lambda word: word == "RELEASE_RESOURCE_COMPLETE", timeout_s=60, what="end"
    )
    for refused, code in (("reset", "DRS.M00300"), ("stop", "DRS.M00304")):
        with pytest.raises(ClientRequestException) as caught:
            act(refused)
        assert (caught.value.status_code, caught.value.error_code) == (400, code)


def test_new_calls_want_the_project_of_the_caller(server: Served) -> None:
    client, client5 = (vendor_client(server, project_id="e" * 32, version=version) for version in ("v3", "v5"))
    ids: Any = drs.BatchQueryJobReq(jobs=[UNKNOWN_ID])
    page = drs.BatchQueryJobReqPage(jobs=[UNKNOWN_ID])
    change = drs5.SingleUpdateJobReq(job=drs5.UpdateJobReq(type="name"))
    action = drs5.JobActionReq(job=drs5.ActionReq(action_name="start"))
    tags = drs5.BatchDealResourceTagReq(action="delete", tags=[drs5.BatchResourceTag(key="a")])
    compare = drs.CreateCompareTaskRequest(body=drs.CreateCompareTaskReq(job_id=UNKNOWN_ID))
    calls: list[Callable[[], Any]] = [
        lambda: client.show_quotas(drs.ShowQuotasRequest()),
        lambda: client.batch_list_struct_process(drs.BatchListStructProcessRequest(body=ids)),
        lambda: client.batch_list_struct_detail(drs.BatchListStructDetailRequest(type="table", body=page)),
        lambda: client.create_compare_task(compare),
        lambda: client5.show_job_detail(drs5.ShowJobDetailRequest(job_id=UNKNOWN_ID, type="detail")),
        lambda: client5.update_job(drs5.UpdateJobRequest(job_id=UNKNOWN_ID, body=change)),
        lambda: client5.execute_job_action(drs5.ExecuteJobActionRequest(job_id=UNKNOWN_ID, body=action)),
        lambda: client5.batch_tag_action(
            drs5.BatchTagActionRequest(resource_type="sync", job_id=UNKNOWN_ID, body=tags)
        ),
        lambda: client5.show_actions(drs5.ShowActionsRequest(job_id=UNKNOWN_ID)),
    ]
    for call in calls:
        with pytest.raises(ClientRequestException) as caught:
            call()
        assert (caught.value.status_code, caught.value.error_code) == (403, "DRS.M00261")


def test_client_is_told_what_is_not_built(server: Served) -> None:
    client = vendor_client(server)
    job_id = create(client, "sdk-compare")

    def refusal(call: Callable[[], Any]) -> str:
        with pytest.raises(ClientRequestException) as caught:
            call()
        code: str = caught.value.error_code
        return code

    def compare(wanted: str, **level: str) -> None:
        info = drs.CreateDataLevelCompareReq(**level) if level else None
        body = drs.CreateCompareTaskReq(job_id=wanted, data_level_compare_info=info)
        client.create_compare_task(drs.CreateCompareTaskRequest(body=body))

    def switch(*ids: str) -> None:
        client.batch_switchover(drs.BatchSwitchoverRequest(body=drs.BatchSwitchoverReq(jobs=list(ids))))

    assert refusal(lambda: compare(job_id, conflict_policy="keep", compare_type="lines")) == "DRS.M00300"
    assert refusal(lambda: compare(job_id, conflict_policy="keep", compare_type="all")) == "DRS.M00202"
    assert refusal(lambda: compare(UNKNOWN_ID)) == "DRS.M05003"
    assert refusal(lambda: switch(job_id)) == "DRS.M00300"
    assert refusal(lambda: switch(UNKNOWN_ID)) == "DRS.M05003"
    assert refusal(lambda: switch()) == "DRS.M00201"


def test_client_understands_refusals(server: Served) -> None:
    client = vendor_client(server)
    with pytest.raises(ClientRequestException) as caught:
        progress(client)
    assert (caught.value.status_code, caught.value.error_code) == (400, "DRS.M00201")
    assert caught.value.error_msg == "The parameter jobs is empty."
    assert len(caught.value.request_id) == 32
    request = drs.BatchListProgressesRequest(body=drs.BatchQueryProgressReq(jobs=["x"]))
    request.x_language = "zh-cn"
    with pytest.raises(ClientRequestException) as caught:
        client.batch_list_progresses(request)
    assert caught.value.error_msg == "jobs取值不合法。"
    with pytest.raises(ClientRequestException) as caught:
        client.batch_list_job_details(drs.BatchListJobDetailsRequest(body=drs.BatchQueryJobReqPage(jobs=[UNKNOWN_ID])))
    assert caught.value.error_code == "DRS.M00289"


def test_wrong_key_is_refused(server: Served) -> None:
    for changed in ({"secret_key": "x" * 40}, {"access_key": "NOBODY"}):
        with pytest.raises(ClientRequestException) as caught:
            progress(vendor_client(server, **changed), UNKNOWN_ID)
        assert (caught.value.status_code, caught.value.error_code) == (401, "APIGW.0301")


def test_preset_token_decides_over_a_meaningless_key(server: Served) -> None:
    assert progress(vendor_client_with_token(server), UNKNOWN_ID).results[0].error_code == "DRS.M05003"


def test_region_mode_finds_the_project_by_itself(server: Served) -> None:
    assert progress(vendor_client_in_region(server), UNKNOWN_ID).count == 1


def test_i7_server_log_holds_no_secret(server: Served) -> None:
    client = vendor_client(server)
    create(
        client,
        "sdk-secret",
        source_endpoint=drs.Endpoint(
            db_type="postgresql", ip="127.0.0.1", db_port=1, db_user="u", db_password="Secret-9", db_name="d"
        ),
    )
    last = httpx.get(f"{server.url}/v3").headers["X-Request-Id"]
    server.command.wait_for_error(last)  # what comes before it has been read then
    logged = "\n".join([*server.command.lines, *server.command.errors])
    assert "request_answered" in logged
    for secret in ("Secret-9", server.password, server.secret_key):
        assert secret not in logged


def test_oversized_body_gets_its_answer_and_the_connection_lives_on(server: Served) -> None:
    with httpx.Client(base_url=server.url) as client:
        answer = client.post(f"/v3/{server.project_id}/jobs/batch-progress", content=b"x" * (13 * 1024 * 1024))
        assert (answer.status_code, answer.json()["error_code"]) == (413, "APIGW.0201")
        assert answer.headers["X-Request-Id"] == answer.json()["request_id"]
        assert client.get("/healthz").status_code == 200
        assert "server" not in answer.headers

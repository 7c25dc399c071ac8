"""The vendor's unmodified Python client against a real server process: every way to sign in, every kind of answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcore.region.region import Region
from huaweicloudsdkdrs import v3 as drs

from tests.api.harness import UNKNOWN_ID
from tests.api.serving import Served, served, vendor_client, vendor_home, wait_until

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
    user = {"name": server.user_name, "password": server.password, "domain": {"name": server.domain_name}}
    body = {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": server.project_name}},
        }
    }
    answer = httpx.post(f"{server.url}/v3/auth/tokens", json=body)
    assert answer.status_code == 201
    client = vendor_client(server, access_key="NOBODY", secret_key="nothing")
    client.preset_headers = {"X-Auth-Token": answer.headers["X-Subject-Token"]}
    assert progress(client, UNKNOWN_ID).results[0].error_code == "DRS.M05003"


def test_region_mode_finds_the_project_by_itself(server: Served, tmp_path: Path) -> None:
    credentials = BasicCredentials(server.access_key, server.secret_key).with_iam_endpoint(server.url)
    client = (
        drs.DrsClient.new_builder()
        .with_credentials(credentials)
        .with_region(Region(server.project_name, server.url))
        .build()
    )
    assert credentials.project_id == server.project_id
    assert progress(client, UNKNOWN_ID).count == 1


def test_i7_server_log_holds_no_secret(server: Served) -> None:
    client = vendor_client(server)
    create(
        client,
        "sdk-secret",
        source_endpoint=drs.Endpoint(
            db_type="postgresql", ip="127.0.0.1", db_port=1, db_user="u", db_password="Secret-9", db_name="d"
        ),
    )
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

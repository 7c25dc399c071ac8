"""What a job takes along besides rows, through the vendor's client: real servers on both sides, a real worker.

filters, owners and accounts chosen -> only the structure -> rows -> changes that bring rows in and out of the filter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkdrs import v3 as drs

from tests.api.serving import served, vendor_client, vendor_home, wait_until
from tests.api.test_sdk_life import Life
from tests.servers.fixtures import DatabaseFactory
from towline.embedded import EmbeddedPostgres

__all__ = ["vendor_home"]
pytestmark = [
    pytest.mark.usefixtures("vendor_home"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:huaweicloudsdk"),
]

SCHEMA = """
CREATE ROLE tw_owner; CREATE ROLE tw_reader LOGIN PASSWORD 'reads' IN ROLE tw_owner;
CREATE TABLE sale (id bigint, region text, amount int, PRIMARY KEY (id, region));
CREATE TABLE item (id bigint PRIMARY KEY, name text);
ALTER TABLE item OWNER TO tw_owner; GRANT SELECT ON sale TO tw_reader;
INSERT INTO sale SELECT n, CASE n % 2 WHEN 0 THEN 'eu' ELSE 'us' END, n FROM generate_series(1, 5000) n;
INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 100) n;
"""
CONDITION = "region = 'eu'"
SALES = "SELECT id, region, amount FROM sale WHERE region = 'eu' ORDER BY id"


def configure_more(life: Life) -> None:
    client, job_id = life.client, life.job_id
    table = f"{life.source.name}-*-*-public-*-*-sale"

    def filter_rows(value: str) -> Any:
        item = drs.CheckDataTransformationReq(
            job_id=job_id,
            object_info=[drs.DatabaseObjectVO(id=table, select="true")],
            transformation_info=drs.TransformationInfo(transformation_type="contentConditionalFilter", value=value),
        )
        body = drs.BatchDataTransformationReq(jobs=[item])
        return client.batch_change_data(drs.BatchChangeDataRequest(body=body)).results[0]

    refused = filter_rows("amount > 1")
    assert (refused.status, refused.error_code) == ("failed", "DRS.M00305")
    assert "not part of the key" in refused.error_msg
    assert [filter_rows(CONDITION).status for _ in range(2)] == ["success", "success"]
    assert filter_rows("region = 'us'").error_code == "DRS.M07000"

    body: Any = drs.BatchReplaceDefinerReq(jobs=[drs.ReplaceDefinerInfo(job_id=job_id, replace_definer=True)])
    assert client.batch_set_definer(drs.BatchSetDefinerRequest(body=body)).results[0].status == "success"

    users = client.list_users(drs.ListUsersRequest(job_id=job_id))
    assert users.is_success
    assert {user.account for user in users.user_list} >= {"tw_reader"}
    assert {role.role for role in users.roles_list} >= {"tw_owner"}
    chosen = drs.UpdateUserReq(
        job_id=job_id,
        is_set_password=False,
        is_migrate_user=True,
        list=[drs.UserAccountVO(id="tw_reader", account="tw_reader", is_transfer=True, selected=True, roles=[])],
        user_roles=[drs.UserRoleVO(role="tw_owner", is_transfer=True, privileges="", selected=True)],
    )
    answer = client.batch_update_user(drs.BatchUpdateUserRequest(body=drs.BatchUpdateSrcUserReq(jobs=[chosen])))
    (reader,) = [user for user in answer.results[0].user_list if user.account == "tw_reader"]
    assert (answer.all_counts, reader.selected) == (1, True)

    tuned = client.update_tuning_params(
        drs.UpdateTuningParamsRequest(job_id=job_id, body=drs.ModifyTuningParamsReq(full_sync={"copy_workers": "3"}))
    )
    assert tuned.modify_result == "success"
    assert {each.param_name: each.param_value for each in tuned.full_sync} == {
        "copy_workers": "3",
        "index_workers": "2",
    }

    compared = client.batch_show_params(
        drs.BatchShowParamsRequest(body=drs.BatchQueryParamReq(jobs=[job_id], refresh="1"))
    )
    keys = {param.key for param in compared.params_list[0].params}
    assert {"max_connections", "work_mem"} <= keys
    changed = client.update_params(
        drs.UpdateParamsRequest(
            job_id=job_id,
            body=drs.ModifyTargetParamsReq(
                group="performance", params=[drs.ParamsReqBean(key="work_mem", target_value="5MB")]
            ),
        )
    )
    assert (changed.success, changed.should_restart) == (True, "false")


def check_monitoring(life: Life) -> None:
    """Figures of the worker's own process, once it has run for a few seconds."""

    def read() -> Any:
        request = drs.ShowMonitoringDataRequest(body=drs.BatchQueryJobReq(jobs=[life.job_id]))
        return life.client.show_monitoring_data(request).results[0].data_guard_minitor

    data = wait_until(read, lambda data: data.mem_used_in_mb is not None, timeout_s=30, what="a sample of the worker")
    assert 10 < int(data.mem_used_in_mb) < data.node_mem_in_mb
    assert float(data.cpu_used_percent) >= 0
    assert 0 < float(data.volume_used_in_gb) <= data.node_volume_in_gb
    assert (data.src_normal, data.dst_normal) == (True, True)
    assert int(data.trans_lines) > 2500


def ship_history(life: Life) -> None:
    info = drs.LtsInfoJob(log_group_id="files", log_stream_id="carry", lts_enabled=True)
    request = drs.ModifyGroupAndStreamRequest(job_id=life.job_id, body=drs.LtsInfo(job=info))
    life.client.modify_group_and_stream(request)
    read = life.client.select_group_and_stream(drs.SelectGroupAndStreamRequest(job_id=life.job_id))
    assert (read.job.lts_enabled, read.job.log_stream_id) == (True, "carry")


@pytest.mark.timeout(240)
async def test_a_job_takes_along_what_was_chosen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pg18: EmbeddedPostgres,
    pg18_second: EmbeddedPostgres,
    fresh_database: DatabaseFactory,
) -> None:
    source, target = fresh_database(pg18, "source"), fresh_database(pg18_second, "target")
    source.execute(SCHEMA)
    config, logs = tmp_path / "towline.toml", tmp_path / "logs"
    config.write_text(f'[log_groups.files]\nfolder = "{logs}"\n')
    try:
        with served(tmp_path / "towline", config=config) as server:
            life = Life(vendor_client(server), source, target)
            life.configure()
            configure_more(life)
            life.precheck()
            body = drs.BatchStartJobReq(jobs=[drs.StartInfo(job_id=life.job_id, is_only_init_task=True)])
            assert life.client.batch_start_jobs(drs.BatchStartJobsRequest(body=body)).results[0].status == "success"
            life.wait_for("PAUSING")
            assert target.fetch_value("SELECT count(*) FROM sale") == 0
            source.execute("UPDATE sale SET region = 'eu' WHERE id <= 3; UPDATE sale SET region = 'us' WHERE id = 100")
            life.resume()
            life.wait_for("INCRE_TRANSFER_STARTED")
            life.wait_until_proven()
            assert target.fetch_all("SELECT id, region, amount FROM sale ORDER BY id") == source.fetch_all(SALES)
            # Into the filter, out of it, within it, and never in it.
            source.execute(
                "UPDATE sale SET region = 'eu' WHERE id = 5; UPDATE sale SET region = 'us' WHERE id = 200;"
                "UPDATE sale SET amount = -1 WHERE id = 300; INSERT INTO sale VALUES (9001, 'eu', 1), (9002, 'us', 1);"
                "DELETE FROM sale WHERE id IN (7, 400)"
            )
            life.wait_until_proven()
            assert target.fetch_all("SELECT id, region, amount FROM sale ORDER BY id") == source.fetch_all(SALES)
            assert target.fetch_value("SELECT count(*) FROM item") == 100
            owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
            assert target.fetch_all(owners) == [(target.server.user,)]
            assert target.fetch_value("SELECT has_table_privilege('tw_reader', 'sale', 'SELECT')")
            assert target.fetch_value("SELECT pg_has_role('tw_reader', 'tw_owner', 'member')")
            detail_body = drs.BatchQueryJobReqPage(jobs=[life.job_id])
            detail = life.client.batch_list_job_details(drs.BatchListJobDetailsRequest(body=detail_body)).results[0]
            (rule,) = detail.data_transformation.filter_conditions
            assert rule.transformation_info.value == CONDITION
            assert detail.migrate_user
            assert detail.replace_definer
            check_monitoring(life)
            ship_history(life)
            life.delete("terminate")
            life.wait_for("RELEASE_RESOURCE_COMPLETE")
            wait_until(
                lambda: (logs / "carry.jsonl").read_text() if logs.exists() else "",
                lambda text: "created as whole-life" in text and "ending -> ended" in text,
                timeout_s=30,
                what="the history in its file",
            )
    finally:
        target.execute("ALTER SYSTEM RESET work_mem; ")
        for database in (source, target):
            database.execute("DROP OWNED BY tw_owner, tw_reader; DROP ROLE tw_reader, tw_owner")

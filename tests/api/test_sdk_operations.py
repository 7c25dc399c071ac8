"""Every operation of the vendor's client: the normal case, a refusal in both languages, another project.

Bodies are what the API's reference shows; a client of a newer version that has an operation more fails here.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdrs import v3 as drs

from tests.api.harness import UNKNOWN_ID, endpoint_body, job_body
from tests.api.serving import (
    Served,
    served,
    vendor_client,
    vendor_client_in_region,
    vendor_client_with_token,
    vendor_home,
)
from tests.servers.databases import Database
from tests.servers.fixtures import DatabaseFactory
from towline.embedded import EmbeddedPostgres

__all__ = ["vendor_home"]
pytestmark = [
    pytest.mark.usefixtures("vendor_home"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:huaweicloudsdk"),
]

JOB, DATABASE = "the job's id", "the source's database"
COMPARE_ID = "0b6b5bd4-8f3e-4bb5-9f0f-2a1f0c7f4a11"
EMPTY: dict[str, Any] = {"body": {"jobs": []}}
NO_ID = {"job_id": "x"}


@dataclass(frozen=True)
class Case:
    """One operation. `status` None: it is refused as not built, `status` 0: it needs no answer of its own here."""

    name: str
    status: int | None
    request: dict[str, Any]
    refused: dict[str, Any] = field(default_factory=lambda: EMPTY)
    code: str = "DRS.M00201"


def each(**members: Any) -> dict[str, Any]:
    return {"body": {"jobs": [{"job_id": JOB, **members}]}}


def compares(**members: Any) -> dict[str, Any]:
    return {"job_id": JOB, "compare_job_id": COMPARE_ID, **members}


IDS: dict[str, Any] = {"body": {"jobs": [JOB]}}
KIND = {"engine_type": "postgresql", "db_use_type": "sync", "job_direction": "up"}
ALARM = {"jobs": [{"job_id": JOB, "status": "CONFIGURATION", "engine_type": "postgresql"}]}
BAD_COMPARE = {"job_id": UNKNOWN_ID, "compare_job_id": "x"}
TEST_ENDPOINT = {"id": JOB, "net_type": "eip", "end_point_type": "so", **endpoint_body(ip="127.0.0.1", db_port=1)}
CLUSTER = json.dumps([{"dbtype": "postgresql", "nettype": "eip", "endpointtype": "so", "ip": "127.0.0.1:1",
                       "dbuser": "u", "dbpassword": "p"}])  # fmt: skip
RULE = {"transformation_type": "contentConditionalFilter", "value": "id > 1"}
CASES = [
    Case("batch_create_jobs", 202, {"body": {"jobs": [job_body(name="sdk-one-more")]}}),
    Case("show_job_list", 200, {"body": {"db_use_type": "sync"}}, {"body": {}}),
    Case("batch_list_job_details", 200, IDS),
    Case("batch_list_job_status", 200, IDS),
    Case("batch_list_progresses", 200, IDS),
    Case("batch_list_rpos_and_rtos", 202, IDS),
    Case("batch_validate_connections", 200, {"body": {"jobs": [TEST_ENDPOINT]}}),
    Case("batch_validate_clusters_connections", 200, each(action="testConnection", property=CLUSTER)),
    Case("batch_update_job", 200, each(description="of the table")),
    Case("batch_set_objects", 202, each(selected=False)),
    Case("batch_set_policy", 200, each(conflict_policy="stop")),
    Case(
        "batch_change_data",
        200,
        each(object_info=[{"id": f"{DATABASE}-*-*-t", "select": "true"}], transformation_info=RULE),
    ),
    Case("batch_set_speed", 200, {"body": {"speed_limits": [{"job_id": JOB, "speed_limit": []}]}}),
    Case("batch_set_definer", 200, each(replace_definer=False)),
    Case("batch_set_smn", 200, {"body": {**ALARM, "alarm_notify_info": {"delay_time": 60}}}),
    Case("batch_show_params", 202, {"body": {"jobs": [JOB], "refresh": "1"}}),
    Case(
        "update_params",
        202,
        {"job_id": JOB, "body": {"group": "performance", "params": [{"key": "seq_page_cost", "target_value": "1"}]}},
        {"job_id": UNKNOWN_ID, "body": {}},
    ),
    Case("list_users", 200, {"job_id": JOB}, NO_ID, "DRS.M00202"),
    Case("batch_update_user", 200, each(is_set_password=False, is_migrate_user=False)),
    Case("batch_check_jobs", 200, each(precheck_mode="forStartJob")),
    Case("batch_check_results", 200, IDS),
    Case("batch_stop_jobs", 200, each(pause_mode="all")),
    Case("batch_restore_task", 200, each(is_sync_re_edit=False)),
    Case("batch_reset_password", 200, each(db_password="new", end_point_type="so")),
    Case("batch_switchover", None, IDS),
    Case("batch_list_struct_process", 200, IDS),
    Case("batch_list_struct_detail", 200, {"type": "table", **IDS}, {"type": "table", **EMPTY}),
    Case("show_monitoring_data", 200, IDS),
    Case("create_compare_task", None, {"body": {"job_id": JOB}}, {"body": {}}),
    Case("list_compare_result", None, {"body": {"job_id": JOB, "current_page": 1, "per_page": 1}}, {"body": {}}),
    Case("create_object_level_compare_job", None, {"job_id": JOB, "body": {}}, {**NO_ID, "body": {}}, "DRS.M00202"),
    Case("list_obeject_level_compare_overview", None, {"job_id": JOB}, NO_ID, "DRS.M00202"),
    Case(
        "list_obeject_level_compare_detail",
        None,
        {"job_id": JOB, "compare_type": "TABLE", "compare_job_id": COMPARE_ID},
        {"job_id": UNKNOWN_ID, "compare_type": "SHAPE", "compare_job_id": COMPARE_ID},
        "DRS.M00202",
    ),
    Case(
        "create_data_level_table_compare_job",
        None,
        {"job_id": JOB, "body": {"type": "lines"}},
        {"job_id": UNKNOWN_ID, "body": {}},
    ),
    Case("list_data_level_table_compare_jobs", None, {"job_id": JOB}, NO_ID, "DRS.M00202"),
    Case("start_promptly_data_level_table_compare_job", None, compares(), BAD_COMPARE, "DRS.M00202"),
    Case("delete_compare_job", None, compares(), BAD_COMPARE, "DRS.M00202"),
    Case("list_data_compare_overview", None, compares(), BAD_COMPARE, "DRS.M00202"),
    Case("list_data_compare_detail", None, compares(), BAD_COMPARE, "DRS.M00202"),
    Case("list_content_compare_overview", None, compares(), BAD_COMPARE, "DRS.M00202"),
    Case("list_content_compare_detail", None, compares(), BAD_COMPARE, "DRS.M00202"),
    Case("list_content_compare_difference", None, compares(), BAD_COMPARE, "DRS.M00202"),
    Case(
        "create_compare_result_file",
        None,
        {"job_id": JOB, "body": {"compare_type": "lines", "compare_job_id": COMPARE_ID}},
        {"job_id": UNKNOWN_ID, "body": {}},
    ),
    Case("download_compare_result_file", None, {"job_id": JOB}, NO_ID, "DRS.M00202"),
    Case("list_available_node_types", 200, KIND, {**KIND, "db_use_type": "guess"}, "DRS.M00202"),
    Case("list_available_zone", 200, {"body": {**KIND, "node_type": "high"}}, {"body": {}}),
    Case("show_quotas", 200, {}, {}, ""),
    Case("query_tuning_params", 200, {"job_id": JOB}, NO_ID, "DRS.M00202"),
    Case(
        "update_tuning_params",
        200,
        {"job_id": JOB, "body": {"full_sync": {"copy_workers": "2"}}},
        {"job_id": UNKNOWN_ID, "body": {"full_sync": {"copy_workers": "0"}}},
        "DRS.M00202",
    ),
    Case("select_group_and_stream", 200, {"job_id": JOB}, NO_ID, "DRS.M00202"),
    Case(
        "modify_group_and_stream",
        200,
        {"job_id": JOB, "body": {"job": {"lts_enabled": False}}},
        {"job_id": UNKNOWN_ID, "body": {}},
    ),
    Case("batch_start_jobs", 202, each(start_time="99999999999999")),
    Case("batch_delete_jobs", 202, each(delete_type="force_terminate")),
]
# What a job cannot do before it has run (test_sdk_life.py has the whole life), and a port where nobody listens.
FAILED_ITEMS = {
    "batch_stop_jobs": "DRS.M00304",
    "batch_restore_task": "DRS.M00304",
    "batch_reset_password": "DRS.M00304",
    "batch_validate_connections": "DRS.M01501",
    "batch_validate_clusters_connections": "DRS.M01501",
}
NOT_OPERATIONS = re.compile(r"with_|add_|build_|call_api|close|deserialize|do_http|get_|init_|\w+_(handler|factory)$")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as server:
        yield server


def filled(request: dict[str, Any], job_id: str, *, database: str = "shop") -> dict[str, Any]:
    filled: dict[str, Any] = json.loads(json.dumps(request).replace(JOB, job_id).replace(DATABASE, database))
    return filled


def call(client: Any, case: Case, request: dict[str, Any], *, language: str | None = None) -> Any:
    kind = getattr(drs, "".join(word.capitalize() for word in case.name.split("_")) + "Request")
    options = {"x_language": language} if language and "x_language" in kind.attribute_map else {}
    return getattr(client, case.name)(kind(**request, **options))


def make_job(client: Any, source: Database, target: Database) -> str:
    sides = {
        f"{side}_endpoint": {
            "db_type": "postgresql",
            "ip": database.server.host,
            "db_port": database.server.port,
            "db_user": database.server.user,
            "db_password": database.server.password,
            "db_name": database.name,
        }
        for side, database in (("source", source), ("target", target))
    }
    body: Any = {"jobs": [job_body(name="sdk-all", **sides)]}
    answer = client.batch_create_jobs(drs.BatchCreateJobsRequest(body=body))
    job_id: str = answer.results[0].id
    return job_id


def test_the_table_has_every_operation_of_the_client() -> None:
    names = {name for name, _ in inspect.getmembers(drs.DrsClient, inspect.isfunction)}
    operations = {name for name in names if not name.startswith("_") and not name.endswith("_invoker")}
    assert {name for name in operations if not NOT_OPERATIONS.match(name)} == {case.name for case in CASES}
    assert len(CASES) == 53


@pytest.mark.timeout(180)
def test_every_operation_does_what_it_is_for(
    server: Served, pg18: EmbeddedPostgres, fresh_database: DatabaseFactory
) -> None:
    client = vendor_client(server)
    source, target = fresh_database(pg18, "source"), fresh_database(pg18, "target")
    source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    job_id = make_job(client, source, target)
    unexpected = []
    try:
        for case in CASES:
            request = filled(case.request, job_id, database=source.name)
            if case.status is None:
                with pytest.raises(ClientRequestException) as caught:
                    call(client, case, request)
                assert (caught.value.status_code, caught.value.error_code) == (400, "DRS.M00300"), case
                assert "not built" in caught.value.error_msg
            else:
                answer = call(client, case, request)
                assert answer.status_code == case.status, case
                items = getattr(answer, "results", None) or []
                refused = {getattr(item, "error_code", None) for item in items} - {None}
                if refused != ({FAILED_ITEMS[case.name]} if case.name in FAILED_ITEMS else set()):
                    unexpected.append((case.name, answer))
    finally:
        target.execute("ALTER SYSTEM RESET seq_page_cost")
    assert unexpected == []


def test_every_operation_says_why_not_in_both_languages(server: Served) -> None:
    for client in (vendor_client(server), vendor_client_with_token(server), vendor_client_in_region(server)):
        require_refusals(client)


def require_refusals(client: Any) -> None:
    for case in CASES:
        if not case.code:
            continue
        texts = []
        for language in ("en-us", "zh-cn"):
            with pytest.raises(ClientRequestException) as caught:
                call(client, case, case.refused, language=language)
            assert (caught.value.status_code, caught.value.error_code) == (400, case.code), case
            assert len(caught.value.request_id) == 32
            texts.append(caught.value.error_msg)
        assert texts[0].isascii(), case
        assert re.search("[\u4e00-\u9fff]", texts[1]), case


def test_every_operation_wants_the_project_of_the_caller(server: Served) -> None:
    stranger = vendor_client(server, project_id="e" * 32)
    for case in CASES:
        with pytest.raises(ClientRequestException) as caught:
            call(stranger, case, filled(case.request, UNKNOWN_ID))
        assert (caught.value.status_code, caught.value.error_code) == (403, "DRS.M00261"), case

"""Examples for `/openapi.json`: bodies that one can send, by method and path, and answers, by their type."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from towline.api.wire import catalogue, databases, details, health, identity, monitoring, outside, v5
from towline.api.wire.creation import CreateJobAnswer, CreateJobsAnswer
from towline.api.wire.endpoints import EndpointAnswer
from towline.api.wire.items import ItemAnswer, ItemsAnswer
from towline.api.wire.prechecks import PrecheckItemAnswer, PrecheckResultAnswer, PrecheckResultsAnswer
from towline.api.wire.progress import ProgressAnswer, ProgressInfo, ProgressMap, ProgressRecord
from towline.api.wire.selection import SelectObjectsAnswer, SelectObjectsAnswers
from towline.api.wire.speed import SpeedLimit
from towline.api.wire.structure import (
    StructDetail,
    StructDetailAnswer,
    StructDetailEntry,
    StructDetailResult,
    StructProcess,
    StructProcessAnswer,
    StructProcesses,
    StructProcessResult,
)
from towline.api.wire.tuning import TuningAnswer, TuningParameter

JOB: Final = "2f1c7d1e-52a1-4f6e-9a3b-0d3c5b7ajb01"
PROJECT: Final = "0d4f2b0e5a6c4b57a3f5d2c1b0a99876"
_DOMAIN: Final = "7c5d1c0e9b0a4d0c8f1e2d3c4b5a6978"
_USER: Final = "1f2e3d4c5b6a79881f2e3d4c5b6a7988"
_MS: Final = "1740830400000"
_V3: Final = "/v3/{project_id}"
_V5: Final = "/v5/{project_id}"
_IDS: Final = {"jobs": [JOB]}
_SOURCE: Final = {"db_type": "postgresql", "ip": "10.0.0.5", "db_port": 5432, "db_user": "app", "db_name": "shop"}
_TARGET: Final = {**_SOURCE, "ip": "10.0.0.9"}
_KIND: Final = {"engine_type": "postgresql", "db_use_type": "sync", "job_direction": "up"}


def _each(**members: Any) -> dict[str, Any]:
    return {"jobs": [{"job_id": JOB, **members}]}


REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "POST /v3/auth/tokens": {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": "admin", "password": "...", "domain": {"name": "towline"}}},
            },
            "scope": {"project": {"name": "default"}},
        }
    },
    f"POST {_V3}/jobs/batch-creation": {
        "jobs": [
            {
                "name": "shop-to-new-server",
                "db_use_type": "sync",
                "engine_type": "postgresql",
                "job_direction": "up",
                "net_type": "vpc",
                "task_type": "FULL_INCR_TRANS",
                "node_type": "high",
                "node_num": 1,
                "is_target_readonly": False,
                "customize_sutnet_id": "",
                "source_endpoint": {"db_type": "postgresql", "ip": "10.0.0.5", "db_port": 5432},
                "target_endpoint": {"db_type": "postgresql", "ip": "10.0.0.9", "db_port": 5432},
            }
        ]
    },
    f"POST {_V3}/jobs": {"db_use_type": "sync", "cur_page": 1, "per_page": 10, "name": "shop"},
    f"POST {_V3}/jobs/batch-status": _IDS,
    f"POST {_V3}/jobs/batch-detail": {**_IDS, "page_req": {"cur_page": 1, "per_page": 5}},
    f"POST {_V3}/jobs/batch-progress": _IDS,
    f"POST {_V3}/jobs/batch-rpo-and-rto": _IDS,
    f"POST {_V3}/jobs/towline/switchover-verdict": _IDS,
    f"POST {_V3}/jobs/batch-connection": {
        "jobs": [
            {"id": JOB, "net_type": "vpc", "end_point_type": "so", **_SOURCE, "db_password": "..."},
            {"id": JOB, "net_type": "vpc", "end_point_type": "ta", **_TARGET, "db_password": "..."},
        ]
    },
    f"POST {_V3}/jobs/cluster/batch-connection": _each(
        action="testConnection",
        property='[{"dbtype": "postgresql", "nettype": "vpc", "endpointtype": "so", "ip": "10.0.0.5:5432", '
        '"dbName": "shop", "dbuser": "app", "dbpassword": "..."}]',
    ),
    f"PUT {_V3}/jobs/batch-modification": _each(
        name="shop-to-new-server",
        store_db_info=True,
        source_endpoint={**_SOURCE, "db_password": "..."},
        target_endpoint={**_TARGET, "db_password": "..."},
    ),
    f"PUT {_V3}/jobs/batch-select-objects": _each(
        selected=True,
        job=[
            {
                "id": "shop-*-*-public-*-*-sale",
                "parent_id": "shop",
                "object_type": "table",
                "object_name": "sale",
                "select": "true",
            }
        ],
    ),
    f"POST {_V3}/jobs/batch-sync-policy": _each(conflict_policy="stop", filter_ddl_policy="drop_database"),
    f"POST {_V3}/jobs/batch-transformation": _each(
        object_info=[{"id": "shop-*-*-public-*-*-sale", "select": "true"}],
        transformation_info={"transformation_type": "contentConditionalFilter", "value": "region = 'eu'"},
    ),
    f"POST {_V3}/jobs/batch-replace-definer": _each(replace_definer=True),
    f"PUT {_V3}/jobs/batch-update-user": _each(
        is_set_password=False,
        is_migrate_user=True,
        list=[{"account": "app", "selected": True}],
        user_roles=[{"role": "staff", "selected": True}],
    ),
    f"POST {_V3}/jobs/batch-get-params": {**_IDS, "refresh": "1"},
    f"POST {_V3}/jobs/{{job_id}}/params": {
        "group": "performance",
        "params": [{"key": "work_mem", "target_value": "16MB"}],
    },
    f"PUT {_V3}/job/{{job_id}}/tuning-params/modify-params": {"full_sync": {"copy_workers": "4"}},
    f"POST {_V3}/jobs/batch-set-smn": {
        "jobs": [{"job_id": JOB, "status": "CONFIGURATION", "engine_type": "postgresql"}],
        "alarm_notify_info": {"topic_urn": "urn:smn:eu-de:1:ops", "delay_time": 60},
    },
    f"PUT {_V3}/jobs/{{job_id}}/lts-log-switch": {
        "job": {"lts_enabled": True, "log_group_id": "files", "log_stream_id": "shop"}
    },
    f"POST {_V3}/jobs/batch-precheck": _each(precheck_mode="forStartJob"),
    f"POST {_V3}/jobs/batch-precheck-result": _IDS,
    f"POST {_V3}/jobs/batch-starting": _each(),
    f"POST {_V3}/jobs/batch-pause-task": _each(pause_mode="target"),
    f"POST {_V3}/jobs/batch-retry-task": _each(is_sync_re_edit=False),
    f"PUT {_V3}/jobs/batch-limit-speed": {
        "speed_limits": [{"job_id": JOB, "speed_limit": [{"begin": "00:00", "end": "05:59", "speed": "20"}]}]
    },
    f"PUT {_V3}/jobs/batch-modify-pwd": _each(db_password="...", end_point_type="so"),
    f"DELETE {_V3}/jobs/batch-jobs": _each(delete_type="terminate"),
    f"POST {_V3}/jobs/batch-struct-process": _IDS,
    f"POST {_V3}/jobs/{{type}}/batch-struct-detail": {**_IDS, "page_req": {"cur_page": 1, "per_page": 10}},
    f"POST {_V3}/jobs/disaster-recovery-monitoring-data": _IDS,
    f"POST {_V3}/available-zone": {**_KIND, "node_type": "high"},
    f"POST {_V3}/jobs/batch-switchover": {**_IDS, "is_pause_job": False},
    f"POST {_V3}/jobs/create-compare-task": {
        "job_id": JOB,
        "data_level_compare_info": {"conflict_policy": "keep", "compare_type": "lines"},
    },
    f"POST {_V3}/jobs/query-compare-result": {"job_id": JOB, "current_page": 1, "per_page": 10},
    f"POST {_V3}/jobs/{{job_id}}/object/compare": {"compare_task_num": 1},
    f"POST {_V3}/jobs/{{job_id}}/table/compare": {"type": "lines"},
    f"POST {_V3}/jobs/{{job_id}}/compare/result/file": {
        "compare_type": "lines",
        "compare_job_id": "0b6b5bd4-8f3e-4bb5-9f0f-2a1f0c7f4a11",
    },
    f"PUT {_V5}/jobs/{{job_id}}": {
        "job": {
            "type": "db_object",
            "params": {
                "db_object": {"object_scope": "table", "object_info": {"shop": {"tables": {"sale": {"all": True}}}}}
            },
        }
    },
    f"POST {_V5}/jobs/{{job_id}}/action": {"job": {"action_name": "stop", "action_params": {"pause_mode": "target"}}},
    f"POST {_V5}/jobs/{{resource_type}}/{{job_id}}/tags/action": {
        "action": "create",
        "tags": [{"key": "team", "value": "shop"}],
    },
    f"POST {_V5}/jobs/name-validation": {"name": "shop-to-new-server", "type": "trans"},
}
"""Nothing in them is refused but for the state of the job, what a server has, and what is not built."""

_ACTION: Final = details.JobAction(["PAUSE", "FREE_RESOURCE"], ["START", "RETRY"])
_PRECHECK: Final = PrecheckItemAnswer(item="srcDbConnection", result="PASSED", group="network")
_USERS: Final = databases.UsersAnswer(
    job_id=JOB,
    is_success=True,
    message="SUCCESS",
    is_global_password="false",
    user_list=[
        databases.UserAnswer(
            id="app", account="app", comment="", is_transfer=True, privileges="", roles=["staff"], selected=True
        )
    ],
    roles_list=[
        databases.RoleAnswer(
            role="staff", comment="", is_transfer=True, privileges="", inherits_roles=[], selected=True
        )
    ],
)
_PROJECTS: Final = identity.ProjectsAnswer(
    [
        identity.ProjectAnswer(
            id=PROJECT,
            name="default",
            domain_id=_DOMAIN,
            parent_id=_DOMAIN,
            is_domain=False,
            enabled=True,
            description="",
            links=identity.SelfLink(f"/v3/projects/{PROJECT}"),
        )
    ],
    identity.Links("/v3/projects"),
)
_ENDPOINT: Final = EndpointAnswer(db_type="postgresql", ip="10.0.0.5", db_port=5432, db_user="app", db_name="shop")
_DETAIL: Final = details.DetailAnswer(
    id=JOB,
    name="shop-to-new-server",
    status="INCRE_TRANSFER_STARTED",
    description="",
    create_time=_MS,
    task_type="FULL_INCR_TRANS",
    source_endpoint=_ENDPOINT,
    target_endpoint=msgspec.structs.replace(_ENDPOINT, ip="10.0.0.9"),
    net_type="vpc",
    inst_info=details.InstanceInfo(
        engine_type="postgresql", inst_type="high", ip="", start_time=_MS, status="ACTIVE", volume_size=0
    ),
    actual_start_time=_MS,
    update_time=_MS,
    job_direction="up",
    db_use_type="sync",
    is_target_readonly=False,
    conflict_policy="overwrite",
    speed_limit=[SpeedLimit(begin="00:00", end="05:59", speed="20")],
    object_switch=False,
    tags=[{"key": "team", "value": "shop"}],
)
_LIST_ENTRY: Final = details.JobListEntry(
    id=JOB,
    name="shop-to-new-server",
    status="INCRE_TRANSFER_STARTED",
    description="",
    create_time="2025-03-01 12:00:00",
    engine_type="postgresql",
    net_type="vpc",
    billing_tag=False,
    job_direction="up",
    db_use_type="sync",
    task_type="FULL_INCR_TRANS",
    node_new_framework=False,
    job_action=_ACTION,
)
_HEALTH: Final = health.HealthAnswer(
    job_id=JOB,
    transfer_status="INCRE_TRANSFER_STARTED",
    process_time=int(_MS),
    progress=health.ProgressBody(
        percent=100,
        structure=health.PartBody(12, 12, 100, "exact", True, 0),
        data=health.PartBody(73_400_320, 73_400_320, 100, "exact", True, 0),
        index=health.PartBody(8_388_608, 8_388_608, 100, "exact", True, 0),
    ),
    delay=health.DelayBody(total_ms=400, read_ms=100, queue_ms=100, apply_ms=200),
    remaining=health.RemainingBody(
        seconds=0, low_s=None, high_s=None, confidence=0.8, estimated=None, estimates_kept=12, score=None
    ),
    source_position="0/27F84408",
    received_position="0/27F84408",
    applied_position="0/27F84100",
    queued_bytes=120,
    cpu_share=0.1,
    waits=[],
    stall=health.StallBody(is_stalled=False),
    retention=health.RetentionBody(
        level="ok",
        text="",
        remedy="",
        held_bytes=1_000_000,
        is_limited=True,
        limit_bytes=10_000_000_000,
        left_bytes=9_000_000_000,
        growth_bytes_per_s=20_000,
        hours_left=None,
        hours_left_if_stopped=125.0,
    ),
    switchover=health.VerdictBody(ready=True, reasons=[], advisories=[]),
)
_TOKEN: Final = identity.TokenAnswer(
    expires_at="2025-03-02T12:00:00.000000Z",
    issued_at="2025-03-01T12:00:00.000000Z",
    methods=("password",),
    catalog=(),
    roles=(identity.Named("admin", "admin"),),
    user=identity.NamedInDomain(_USER, "admin", identity.Named(_DOMAIN, "towline")),
    project=identity.NamedInDomain(PROJECT, "default", identity.Named(_DOMAIN, "towline")),
)
_ANSWERS: Final[tuple[msgspec.Struct, ...]] = (
    ProgressAnswer(
        1,
        [
            ProgressRecord(
                job_id=JOB,
                progress="37",
                incre_trans_delay="-1",
                incre_trans_delay_millis="-1",
                task_mode="FULL_INCR_TRANS",
                transfer_status="FULL_TRANSFER_STARTED",
                process_time=_MS,
                remaining_time="65",
                progress_map=ProgressMap(
                    struct=ProgressInfo("100%", "0"), data=ProgressInfo("41%", "52"), index=ProgressInfo("0%")
                ),
                apply_rows_rate=-1,
                apply_bytes_rate=-1,
            )
        ],
    ),
    health.RpoAndRtoAnswer(
        1,
        [
            health.RpoAndRtoRecord(
                JOB,
                health.RpoAndRtoInfo("0/27F84408", "100", "NA", "2025-03-01 12:00:00"),
                health.RpoAndRtoInfo("0/27F84100", "300", "NA", "2025-03-01 11:59:59"),
            )
        ],
    ),
    _HEALTH,
    health.VerdictAnswer(1, 1, [health.VerdictRecord(JOB, ready=True, reasons=[], advisories=[])]),
    CreateJobsAnswer(1, [CreateJobAnswer(id=JOB, name="shop-to-new-server", status="CREATING", create_time=_MS)]),
    details.JobListAnswer(1, [_LIST_ENTRY]),
    details.StatusesAnswer(1, [details.StatusAnswer(id=JOB, status="INCRE_TRANSFER_STARTED")]),
    details.DetailsAnswer(1, [_DETAIL]),
    ItemsAnswer(1, [ItemAnswer(id=JOB, status="success")]),
    PrecheckResultsAnswer(
        1,
        [
            PrecheckResultAnswer(
                precheck_id=JOB,
                result=True,
                process="100%",
                total_passed_rate="100%",
                job_direction="up",
                precheck_result=[_PRECHECK],
            )
        ],
    ),
    SelectObjectsAnswers(1, [SelectObjectsAnswer(job_id=JOB, status=True)]),
    StructProcessAnswer(
        1,
        [
            StructProcessResult(
                job_id=JOB,
                struct_process=StructProcesses(
                    _MS, [StructProcess(type="table", status=1, src_count=12, dst_count=5, start_time=int(_MS))]
                ),
            )
        ],
    ),
    StructDetailAnswer(
        1,
        [
            StructDetailResult(
                job_id=JOB,
                struct_detail=StructDetail(
                    1, _MS, [StructDetailEntry(progress=41, src_DB="shop", src_TB="sale", dst_DB="shop", dst_TB="sale")]
                ),
            )
        ],
    ),
    _USERS,
    databases.UsersAnswers(1, [_USERS]),
    databases.ParametersAnswer(
        [
            databases.JobParameters(
                job_id=JOB,
                params=[
                    databases.ParameterAnswer(
                        group="performance",
                        key="work_mem",
                        source_value="16384",
                        target_value="4096",
                        compare_result="false",
                        data_type="figure",
                        value_range="64-2147483647",
                        need_restart="false",
                    )
                ],
            )
        ],
        1,
    ),
    databases.ChangeParametersAnswer(success=True, should_restart="false"),
    TuningAnswer(
        full_sync=[TuningParameter("copy_workers", "2", "true", "1-32")],
        incre_capture=[],
        incre_apply=[],
        incre_relay=[],
    ),
    outside.LogSwitchAnswer(outside.LogSwitchJob(lts_enabled=True, log_group_id="files", log_stream_id="shop")),
    monitoring.MonitoringAnswer(
        1,
        [
            monitoring.MonitoringRecord(
                id=JOB,
                data_guard_minitor=monitoring.MonitoringData(
                    bandwidth="1.5", cpu_used_percent="12", dst_delay=0, dst_normal=True, src_normal=True
                ),
            )
        ],
    ),
    outside.NoMembers(),
    v5.NoMembers(),
    catalogue.NodeTypesAnswer([catalogue.NodeTypeAnswer("high", is_sellout=False)]),
    catalogue.ZonesAnswer([catalogue.ZoneAnswer("default", "default", "ENABLED")]),
    catalogue.QuotasAnswer(
        catalogue.Quotas(catalogue.QuotaResource(type="instances", min=0, max=9999, quota=9999, used=41))
    ),
    v5.JobDetailAnswer(v5.JobDetail(id=JOB, status="INCRE_TRANSFER_STARTED", create_time=_MS)),
    v5.JobAnswer(id=JOB, status="success", query_id=JOB),
    v5.ActionsAnswer(_ACTION),
    v5.TagsAnswer([v5.TagAnswer("team", "shop")]),
    v5.JobNameAnswer(is_valid=True),
    identity.TokenEnvelope(_TOKEN),
    _PROJECTS,
    identity.DomainsAnswer(
        [
            identity.DomainAnswer(
                id=_DOMAIN,
                name="towline",
                enabled=True,
                description="",
                links=identity.SelfLink(f"/v3/domains/{_DOMAIN}"),
            )
        ],
        identity.Links("/v3/auth/domains"),
    ),
)
ANSWERS: Final[dict[Any, Any]] = {type(answer): msgspec.to_builtins(answer) for answer in _ANSWERS}
"""One for each type of answer, shortened where it may have many members."""

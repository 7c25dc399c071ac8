"""Answers that describe stored jobs: batch-status, batch-detail and the job list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from towline.api.wire.endpoints import EndpointAnswer, render_endpoint
from towline.api.wire.errors import as_api_error, render_failure
from towline.api.wire.speed import SpeedLimit, render_windows
from towline.api.wire.texts import Language
from towline.api.wire.words import CONFLICT_POLICY_WORD, STATUS_WORD, TASK_MODE_WORD
from towline.domain.jobs import JobStatus
from towline.domain.nodes import DEFAULT_NODE_TYPE
from towline.service import decisions
from towline.service.ports import Job


class StatusAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One result of batch-status. For a job that exists the error members stay away: clients stop at them."""

    id: str
    status: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class StatusesAnswer(msgspec.Struct, frozen=True):
    count: int
    results: list[StatusAnswer]


class InstanceInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The node of a job. `inst_type` is the requested node type; a client replaces a job where it differs."""

    engine_type: str
    inst_type: str
    ip: str
    start_time: str
    status: str
    volume_size: int


class FilterInfo(msgspec.Struct, frozen=True):
    transformation_type: str
    value: str


class FilteredTable(msgspec.Struct, frozen=True):
    id: str
    data_transformation_type: str
    db_name: str
    schema_name: str
    table_name: str


class FilterCondition(msgspec.Struct, frozen=True):
    """One condition and its table."""

    transformation_info: FilterInfo
    data_transformation_object_infos: list[FilteredTable]


class DataTransformation(msgspec.Struct, frozen=True):
    total_count: int
    filter_conditions: list[FilterCondition]


class DetailAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One result of batch-detail; for an id without a job only `id` and the error members."""

    id: str
    parent_id: str | None = None
    name: str | None = None
    status: str | None = None
    description: str | None = None
    create_time: str | None = None
    task_type: str | None = None
    source_endpoint: EndpointAnswer | None = None
    target_endpoint: EndpointAnswer | None = None
    net_type: str | None = None
    failed_reason: str | None = None
    inst_info: InstanceInfo | None = None
    actual_start_time: str | None = None
    full_transfer_complete_time: str | None = None
    update_time: str | None = None
    job_direction: str | None = None
    original_job_direction: str | None = None
    job_kernel_direction: str | None = None
    db_use_type: str | None = None
    need_restart: bool | None = None
    is_target_readonly: bool | None = None
    conflict_policy: str | None = None
    filter_ddl_policy: str | None = None
    speed_limit: list[SpeedLimit] | None = None
    schema_type: str | None = None
    sync_mode: str | None = None
    multi_write: bool | None = None
    is_multi_az: bool | None = None
    object_switch: bool | None = None
    object_infos: list[dict[str, Any]] | None = None
    sync_database: bool | None = None
    replace_definer: bool | None = None
    migrate_user: bool | None = None
    data_transformation: DataTransformation | None = None
    struct_trans: bool | None = None
    index_trans: bool | None = None
    is_open_fast_clean: bool | None = None
    az_code: str | None = None
    master_az: str | None = None
    slave_az: str | None = None
    vpc_id: str | None = None
    subnet_id: str | None = None
    security_group_id: str | None = None
    support_ip_v6: bool | None = None
    alarm_notify: dict[str, Any] | None = None
    period_order: dict[str, Any] | None = None
    public_ip_list: list[dict[str, str]] | None = None
    tags: list[dict[str, str]] | None = None
    error_code: str | None = None
    error_message: str | None = None


class DetailsAnswer(msgspec.Struct, frozen=True):
    count: int
    results: list[DetailAnswer]


class DetailsRefusal(msgspec.Struct, frozen=True):
    """A refused batch-detail: one client reads `results`, another the members beside it; both are served."""

    error_code: str
    error_msg: str
    count: int
    results: list[DetailAnswer]


class JobAction(msgspec.Struct, frozen=True, omit_defaults=True):
    """`current_action` is there only while something is under way that a client may wait for."""

    available_actions: list[str]
    unavailable_actions: list[str]
    current_action: str | None = None


class JobListEntry(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    kw_only=True,
    rename={"node_new_framework": "node_newFramework"},
):
    """One job of the list. The mixed case of one member is the API's own.

    Objects join a job without a job of their own, so the child by which a client follows an edit is the job itself.
    """

    id: str
    name: str
    status: str
    description: str
    create_time: str
    engine_type: str
    net_type: str
    billing_tag: bool
    job_direction: str
    db_use_type: str
    task_type: str
    node_new_framework: bool
    job_action: JobAction
    children: list[JobListEntry] | None = None
    error_msg: str | None = None


class JobListAnswer(msgspec.Struct, frozen=True):
    total_record: int
    jobs: list[JobListEntry]


def render_status(requested_id: str, job: Job) -> StatusAnswer:
    return StatusAnswer(id=requested_id, status=STATUS_WORD[job.status])


def render_missing_status(requested_id: str, error: BaseException, language: Language) -> StatusAnswer:
    refusal = as_api_error(error)
    return StatusAnswer(id=requested_id, error_code=refusal.code, error_message=refusal.text(language))


def render_missing_detail(requested_id: str, error: BaseException, language: Language) -> DetailAnswer:
    """Unknown ids have a code of their own here: clients recognise a vanished job by it."""
    refusal = as_api_error(error)
    code = "DRS.M00289" if refusal.code == "DRS.M05003" else refusal.code
    text = type(refusal)(code, refusal.detail).text(language)
    return DetailAnswer(id=requested_id, error_code=code, error_message=text)


def render_detail(requested_id: str, job: Job) -> DetailAnswer:
    """Everything that a client compares with what it once sent, and what the job has come to since."""
    kept = job.attributes
    target = job.target_attributes
    direction = kept.get("job_direction")
    error_code, error_message = render_failure(job.failure) if job.failure else (None, None)
    return DetailAnswer(
        id=requested_id,
        name=job.name,
        status=STATUS_WORD[job.status],
        description=job.description,
        create_time=_ms(job.created_us),
        task_type=TASK_MODE_WORD[job.mode],
        source_endpoint=render_endpoint(job.source, job.source_attributes),
        target_endpoint=render_endpoint(job.target, job.target_attributes),
        net_type=kept.get("net_type"),
        failed_reason=error_message,
        inst_info=_render_instance(job),
        actual_start_time=None if job.started_us is None else _ms(job.started_us),
        full_transfer_complete_time=None if job.full_complete_us is None else _ms(job.full_complete_us),
        update_time=_ms(job.updated_us),
        job_direction=direction,
        original_job_direction=direction,
        db_use_type=kept.get("db_use_type"),
        need_restart=False,
        is_target_readonly=bool(kept.get("is_target_readonly")),
        conflict_policy=CONFLICT_POLICY_WORD[job.conflict_policy],
        filter_ddl_policy="drop_database",  # whatever the source is, that is never carried
        speed_limit=render_windows(job.speed_windows),
        schema_type="Replication",
        sync_mode=_sync_mode(job),
        multi_write=bool(kept.get("multi_write")),
        is_multi_az=bool(kept.get("master_az")),
        object_switch=bool(job.selection_items),
        object_infos=[_render_object(item) for item in job.selection_items] or None,
        sync_database=_is_of_databases(job),
        replace_definer=bool(kept.get("replace_definer")),
        migrate_user=bool(kept.get("accounts")),
        data_transformation=_render_filters(job),
        struct_trans=True,
        index_trans=True,
        is_open_fast_clean=bool(kept.get("is_open_fast_clean")),
        az_code=target.get("az_code", ""),
        master_az=kept.get("master_az"),
        slave_az=kept.get("slave_az"),
        vpc_id=target.get("vpc_id", ""),
        subnet_id=kept.get("customize_sutnet_id") or target.get("subnet_id", ""),
        security_group_id=target.get("security_group_id", ""),
        support_ip_v6=True,
        alarm_notify=kept.get("alarm_notify"),
        period_order=_render_order(kept),
        public_ip_list=kept.get("public_ip_list"),
        tags=kept.get("tags", []),
        error_code=error_code,
        error_message=error_message,
    )


def render_list_entry(job: Job) -> JobListEntry:
    kept = job.attributes
    failure = render_failure(job.failure) if job.failure else None
    entry = JobListEntry(
        id=job.job_id,
        name=job.name,
        status=STATUS_WORD[job.status],
        description=job.description,
        create_time=datetime.fromtimestamp(job.created_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        engine_type=kept.get("engine_type", ""),
        net_type=kept.get("net_type", ""),
        billing_tag=False,
        job_direction=kept.get("job_direction", ""),
        db_use_type=kept.get("db_use_type", ""),
        task_type=TASK_MODE_WORD[job.mode],
        node_new_framework=False,
        job_action=render_actions(job),
        error_msg=failure[1] if failure else None,
    )
    return replace(entry, children=[entry]) if kept.get("edit") else entry


# What a status allows, in the API's words, by the sets that decide about the calls. Only actions that Towline has
# are in either list.
_ACTIONS: Final[tuple[tuple[str, frozenset[JobStatus]], ...]] = (
    ("CHOOSE_OBJECT", decisions.CONFIGURABLE),
    ("PRE_CHECK", decisions.STARTABLE),
    ("MODIFY_DB_CONFIG", decisions.CONFIGURABLE),
    ("START", decisions.STARTABLE),
    ("PAUSE", decisions.PAUSABLE),
    ("RETRY", decisions.RESUMABLE),
    ("RESET_DB_PWD", decisions.PASSWORD_CHANGEABLE),
    ("FREE_RESOURCE", decisions.ENDABLE),
    ("DELETE", decisions.DELETABLE),
)


def render_actions(job: Job) -> JobAction:
    """What can be done to the job now, and the pause that is under way."""
    return JobAction(
        available_actions=[action for action, allowed in _ACTIONS if job.status in allowed],
        unavailable_actions=[action for action, allowed in _ACTIONS if job.status not in allowed],
        current_action="STOP_JOB" if decisions.is_pausing(job) else None,
    )


def _render_instance(job: Job) -> InstanceInfo:
    return InstanceInfo(
        engine_type=job.attributes.get("engine_type", ""),
        inst_type=job.attributes.get("node_type", DEFAULT_NODE_TYPE),
        ip="",
        start_time="0" if job.started_us is None else _ms(job.started_us),
        status="ACTIVE",
        volume_size=0,
    )


def _render_filters(job: Job) -> DataTransformation | None:
    filters = job.selection.row_filters
    if not filters:
        return None
    kind, database = "contentConditionalFilter", job.source.database
    conditions = [
        FilterCondition(
            FilterInfo(kind, each.condition),
            [
                FilteredTable(
                    id=f"{database}-*-*-{each.table.schema}-*-*-{each.table.name}",
                    data_transformation_type=kind,
                    db_name=database,
                    schema_name=each.table.schema,
                    table_name=each.table.name,
                )
            ],
        )
        for each in filters
    ]
    return DataTransformation(len(conditions), conditions)


def _render_object(item: Any) -> dict[str, Any]:
    shown = {
        "id": item.get("id"),
        "parent_id": item.get("parent_id"),
        "type": item.get("object_type"),
        "name": item.get("object_name"),
        "alias_name": item.get("object_alias_name"),
    }
    return {name: value for name, value in shown.items() if value is not None}


def _render_order(kept: Mapping[str, Any]) -> dict[str, Any] | None:
    """The order as it was sent; clients take a job without one for a job that is paid on demand."""
    if kept.get("charging_mode") != "period":
        return None
    return {"charging_mode": "period", **(kept.get("period_order") or {})}


def _is_of_databases(job: Job) -> bool:
    """Whether whole databases are selected, and nothing else; a client reads the names in `object_infos` by it."""
    kinds = {item.get("object_type") for item in job.selection_items}
    return kinds == {"database"}


def _sync_mode(job: Job) -> str:
    if job.selection.tables:
        return "TABLE_LEVEL"
    return "SCHEMA_LEVEL" if job.selection.schemas else "DB_LEVEL"


def _ms(time_us: int) -> str:
    return str(time_us // 1000)

"""Version 5 of the API, as far as clients of version 3 use it: one job per call, in groups of members.

Source of the shapes: the public clients' structs. Members that mean other engines, or nothing here, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from towline.api.wire.attributes import TagRequest, check_expired_days
from towline.api.wire.creation import check_description, check_name
from towline.api.wire.details import JobAction
from towline.api.wire.errors import ApiError, empty, invalid, not_built
from towline.api.wire.fields import Request, Text, check_text, require_word
from towline.api.wire.outside import AlarmInfoRequest
from towline.api.wire.prechecks import PrecheckItemAnswer, render_run
from towline.api.wire.progress import ProgressMap, render_record
from towline.api.wire.speed import SpeedLimit, render_windows
from towline.api.wire.v5_objects import DbObjectRequest
from towline.api.wire.words import (
    CONFLICT_POLICY_WORD,
    DB_USE_TYPES,
    ITEM_SUCCESS,
    PAUSE_MODE_OF_WORD,
    STATUS_WORD,
    TASK_MODE_WORD,
    EndPointType,
)
from towline.domain.jobs import Endpoint, PauseMode, carries_ddl
from towline.service.decisions import Tags
from towline.service.ports import Job, JobChange, JobEvent, JobLine, PrecheckRun

_RESOURCE_TYPES: Final = DB_USE_TYPES | {"subscription", "backupMigration", "replay"}
_TAG_TEXT: Final = re.compile(r"[\w .:=+\-@]*")
_MAX_KEY: Final = 128
_MAX_VALUE: Final = 255
_MAX_TAGS: Final = 20
_MAX_LOGS: Final = 100

# --- what is sent ------------------------------------------------------------------------------------


class BaseInfoRequest(Request):
    name: Text | None = None
    description: Text | None = None
    expired_days: Text | None = None


class UpdateParams(Request):
    base_info: BaseInfoRequest | None = None
    alarm_notify: AlarmInfoRequest | None = None
    db_object: DbObjectRequest | None = None


class UpdateJob(Request):
    """`type` says which member of `params` is meant."""

    type: Text | None = None
    params: UpdateParams | None = None


class UpdateJobRequest(Request):
    job: UpdateJob | None = None


class ActionParams(Request):
    precheck_mode: Text | None = None
    pause_mode: Text | None = None
    start_time: Text | None = None
    is_sync_re_edit: bool | None = None
    is_only_init_task: bool | None = None
    is_auto_create_compare: bool | None = None  # accepted; compares are created on request only
    force_delete: bool | None = None


class Action(Request):
    action_name: Text | None = None
    action_params: ActionParams | None = None


class ActionRequest(Request):
    job: Action | None = None


class TagsRequest(Request):
    """`action` create puts the tags over those of the same keys, delete removes the keys."""

    action: Text | None = None
    tags: list[TagRequest] | None = None


class JobNameRequest(Request):
    name: Text | None = None
    type: Text | None = None


class DetailQuery(Request):
    type: Text | None = None
    query_id: Text | None = None
    offset: int | None = None
    limit: int | None = None
    log_level: Text | None = None


# --- what is answered --------------------------------------------------------------------------------


class JobAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The outcome of one call for one job; one client reads `status`, another `query_id`."""

    id: str
    status: str
    name: str | None = None
    query_id: str | None = None


class TagAnswer(msgspec.Struct, frozen=True):
    key: str
    value: str


class TagsAnswer(msgspec.Struct, frozen=True):
    tags: list[TagAnswer]


class NoMembers(msgspec.Struct, frozen=True):
    """An empty object."""


class ActionsAnswer(msgspec.Struct, frozen=True):
    job_action: JobAction


class JobNameAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    is_valid: bool
    error_code: str | None = None
    error_msg: str | None = None


class BaseInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    name: str
    job_type: str
    engine_type: str
    job_direction: str
    task_type: str
    net_type: str
    charging_mode: str
    description: str
    multi_write: bool = False
    start_time: str | None = None
    expired_days: str | None = None
    tags: list[TagAnswer] = []
    is_open_fast_clean: bool = False


class EndpointBase(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """There is no member for a password."""

    ip: str | None = None
    db_port: str | None = None
    db_user: str | None = None
    db_name: str | None = None
    instance_id: str | None = None
    instance_name: str | None = None


class EndpointInfo(msgspec.Struct, frozen=True):
    db_type: str
    endpoint_role: str
    endpoint: EndpointBase


class PolicyConfig(msgspec.Struct, frozen=True):
    conflict_policy: str
    index_trans: bool
    ddl_trans: bool


class NodeSpec(msgspec.Struct, frozen=True):
    node_type: str


class NodeInfo(msgspec.Struct, frozen=True):
    spec: NodeSpec


class PrecheckInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    result: bool | None = None
    process: str | None = None
    total_passed_rate: str | None = None
    job_direction: str | None = None
    precheck_results: list[PrecheckItemAnswer] | None = None


class ProgressInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The record of batch-progress; two of its members are spelled otherwise here."""

    progress: str | None
    incr_trans_delay: str | None
    incr_trans_delay_millis: str | None
    task_mode: str | None
    transfer_status: str | None
    process_time: str | None
    remaining_time: str | None
    progress_map: ProgressMap | None = None


class LogEntry(msgspec.Struct, frozen=True):
    level: str
    message: str
    create_time: str


class JobDetail(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One job; which members are there depends on the wanted `type`."""

    id: str
    status: str
    create_time: str
    total_count: int | None = None
    base_info: BaseInfo | None = None
    source_endpoint: list[EndpointInfo] | None = None
    target_endpoint: list[EndpointInfo] | None = None
    alarm_notify: dict[str, Any] | None = None
    speed_limit: list[SpeedLimit] | None = None
    policy_config: PolicyConfig | None = None
    node_info: NodeInfo | None = None
    logs: list[LogEntry] | None = None
    precheck_result: PrecheckInfo | None = None
    progress_info: ProgressInfo | None = None


class JobDetailAnswer(msgspec.Struct, frozen=True):
    job: JobDetail


# --- reading -----------------------------------------------------------------------------------------

_STAGED_TYPES: Final = frozenset({"re_create", "all", "network", "policy", "precheck"})
_UPDATES: Final = frozenset({"name", "description", "expired_days", "notify", "db_object"})


def read_update(request: UpdateJobRequest) -> tuple[str, UpdateParams]:
    """The kind of the update and its members. Raises: ApiError; parts that cannot be changed this way are not built."""
    if request.job is None:
        raise empty("job")
    kind = require_word(request.job.type, _STAGED_TYPES | _UPDATES, "type")
    if kind in _STAGED_TYPES:
        raise not_built(f"an update of type {kind}")
    return kind, request.job.params or UpdateParams()


def read_base_change(kind: str, params: UpdateParams, *, job_id: str) -> JobChange:
    """A new name or description, or new days of patience. Raises: ApiError."""
    base = params.base_info or BaseInfoRequest()
    if kind == "name":
        return JobChange(job_id=job_id, name=check_name(base.name))
    if kind == "description":
        if base.description is None:
            raise empty("description")
        return JobChange(job_id=job_id, description=check_description(base.description))
    if not base.expired_days:
        raise empty("expired_days")
    check_expired_days(base.expired_days)
    return JobChange(job_id=job_id, attributes={"expired_days": str(base.expired_days)})


ACTIONS: Final = frozenset({"precheck", "start", "stop", "restart", "terminate"})
_OTHER_ACTIONS: Final = frozenset(
    {
        *("network", "reset", "skip_precheck", "create_compare", "cancel_compare", "column_limit", "bind_eip"),
        *("reload_parameters", "unbind_eip", "set_writable", "set_readonly", "cloud_connection", "diagnosis"),
        *("start_repair", "stop_repair"),
    }
)


def read_action(request: ActionRequest) -> tuple[str, ActionParams]:
    """One of `ACTIONS` and its parameters. Raises: ApiError."""
    if request.job is None:
        raise empty("job")
    name = require_word(request.job.action_name, ACTIONS | _OTHER_ACTIONS, "action_name")
    if name == "reset":
        # A job that goes on is no job that starts over, so `restart` does not stand for it.
        raise not_built("copying anew (restart goes on where the job stopped)")
    if name in _OTHER_ACTIONS:
        raise not_built(f"the action {name}")
    params = request.job.action_params or ActionParams()
    # An option of another action would be believed and do nothing.
    for option, its_action in (("is_sync_re_edit", "restart"), ("is_only_init_task", "start")):
        if getattr(params, option) and name != its_action:
            raise invalid(option)
    return name, params


def read_pause_mode(word: str | None) -> PauseMode:
    """Left out, only the target's side stops."""
    return PAUSE_MODE_OF_WORD[require_word(word, PAUSE_MODE_OF_WORD, "pause_mode")] if word else PauseMode.TARGET


def read_resource_type(word: str | None) -> str:
    return require_word(word, _RESOURCE_TYPES, "resource_type")


def read_tag_change(request: TagsRequest) -> Callable[[Tags], Tags]:
    """What becomes of a job's tags. Raises: ApiError; the returned function too, when they become too many."""
    action = require_word(request.action, {"create", "delete"}, "action")
    if not request.tags:
        raise empty("tags")
    if len(request.tags) > _MAX_TAGS:
        raise ApiError("DRS.M00271")
    changed = {_read_key(tag): _read_value(tag) for tag in request.tags}
    if len(changed) != len(request.tags):
        raise ApiError("DRS.M00269")

    def change(tags: Tags) -> Tags:
        rest = [tag for tag in tags if tag["key"] not in changed]
        if action == "delete":
            return rest
        if len(rest) + len(changed) > _MAX_TAGS:
            raise ApiError("DRS.M00271")
        return [*rest, *({"key": key, "value": value} for key, value in changed.items())]

    return change


def _read_key(tag: TagRequest) -> str:
    if not tag.key:
        raise empty("tags.key")
    if len(tag.key) > _MAX_KEY:
        raise ApiError("DRS.M00270")
    if not _TAG_TEXT.fullmatch(tag.key) or tag.key != tag.key.strip() or tag.key.startswith("_sys_"):
        raise invalid("tags.key")
    return str(tag.key)


def _read_value(tag: TagRequest) -> str:
    value = tag.value or ""
    if len(value) > _MAX_VALUE:
        raise ApiError("DRS.M00270")
    if not _TAG_TEXT.fullmatch(value):
        raise invalid("tags.value")
    return str(value)


_DETAIL_TYPES: Final = frozenset({"overview", "detail", "progress", "precheck", "log"})
_OTHER_DETAIL_TYPES: Final = frozenset(
    {
        *("network", "compare", "file", "is_writable", "cloud_connection", "diagnosis", "diagnosis_history"),
        *("repair_progress", "repair_detail", "repair_export_status", "db_table_details"),
    }
)
_LOG_LEVELS: Final = frozenset({"Info", "Warn", "Error"})


def read_detail_query(query: DetailQuery, *, job_id: str) -> str:
    """The part of the job to show. Raises: ApiError."""
    kind = require_word(query.type, _DETAIL_TYPES | _OTHER_DETAIL_TYPES, "type")
    if kind in _OTHER_DETAIL_TYPES:
        raise not_built(f"details of type {kind}")
    if query.query_id and check_text(query.query_id, "query_id") != job_id:
        raise invalid("query_id")
    if query.limit is not None and not 1 <= query.limit <= _MAX_LOGS:
        raise invalid("limit")
    if query.offset is not None and not 0 <= query.offset <= 2**31:
        raise invalid("offset")
    if query.log_level:
        require_word(query.log_level, _LOG_LEVELS, "log_level")
    return kind


# --- rendering ---------------------------------------------------------------------------------------


def render_done(job_id: str, *, name: str | None = None, query_id: str | None = None) -> JobAnswer:
    return JobAnswer(id=job_id, status=ITEM_SUCCESS, name=name, query_id=query_id)


def render_tags(job: Job) -> TagsAnswer:
    return TagsAnswer(_tags(job))


def render_job(job: Job) -> JobDetail:
    """How the job is set up."""
    kept = job.attributes
    return JobDetail(
        id=job.job_id,
        status=STATUS_WORD[job.status],
        create_time=_ms(job.created_us),
        base_info=BaseInfo(
            name=job.name,
            job_type=kept.get("db_use_type", ""),
            engine_type=kept.get("engine_type", ""),
            job_direction=kept.get("job_direction", ""),
            task_type=TASK_MODE_WORD[job.mode],
            net_type=kept.get("net_type", ""),
            charging_mode=kept.get("charging_mode", "on_demand"),
            description=job.description,
            multi_write=bool(kept.get("multi_write")),
            start_time=None if job.scheduled_us is None else _ms(job.scheduled_us),
            expired_days=kept.get("expired_days"),
            tags=_tags(job),
            is_open_fast_clean=bool(kept.get("is_open_fast_clean")),
        ),
        source_endpoint=[_render_endpoint(job.source, job.source_attributes, EndPointType.SOURCE)],
        target_endpoint=[_render_endpoint(job.target, job.target_attributes, EndPointType.TARGET)],
        alarm_notify=kept.get("alarm_notify"),
        speed_limit=render_windows(job.speed_windows),
        policy_config=PolicyConfig(
            CONFLICT_POLICY_WORD[job.conflict_policy], index_trans=True, ddl_trans=carries_ddl(job.source)
        ),
        node_info=NodeInfo(NodeSpec(kept.get("node_type", "high"))),
    )


def render_progress(job: Job, progress: JobLine, *, now_us: int) -> JobDetail:
    record = render_record(job.job_id, progress, now_us=now_us)
    return JobDetail(
        id=job.job_id,
        status=STATUS_WORD[progress.status],
        create_time=_ms(job.created_us),
        progress_info=ProgressInfo(
            progress=record.progress,
            incr_trans_delay=record.incre_trans_delay,
            incr_trans_delay_millis=record.incre_trans_delay_millis,
            task_mode=record.task_mode,
            transfer_status=record.transfer_status,
            process_time=record.process_time,
            remaining_time=record.remaining_time,
            progress_map=record.progress_map,
        ),
    )


def render_precheck(job: Job, run: PrecheckRun) -> JobDetail:
    shown = render_run(job.job_id, run)
    return JobDetail(
        id=job.job_id,
        status=STATUS_WORD[job.status],
        create_time=_ms(job.created_us),
        precheck_result=PrecheckInfo(
            result=shown.result,
            process=shown.process,
            total_passed_rate=shown.total_passed_rate,
            job_direction=job.attributes.get("job_direction"),
            precheck_results=shown.precheck_result,
        ),
    )


def render_log(job: Job, events: Sequence[JobEvent], query: DetailQuery) -> JobDetail:
    """One page of the job's history, the newest first; `total_count` counts all pages."""
    entries = [
        LogEntry(level=_level(event), message=event.message, create_time=_ms(event.at_us)) for event in reversed(events)
    ]
    if query.log_level:
        entries = [entry for entry in entries if entry.level == query.log_level]
    offset = query.offset or 0
    return JobDetail(
        id=job.job_id,
        status=STATUS_WORD[job.status],
        create_time=_ms(job.created_us),
        total_count=len(entries),
        logs=entries[offset : offset + (query.limit or 10)],
    )


def _level(event: JobEvent) -> str:
    if event.kind == "status":
        return "Error" if "_failed" in event.message.partition(":")[0].partition("->")[2] else "Info"
    return "Info" if event.kind == "settings" else "Warn"


def _tags(job: Job) -> list[TagAnswer]:
    return [TagAnswer(tag["key"], tag["value"]) for tag in job.attributes.get("tags") or ()]


def _render_endpoint(endpoint: Endpoint, attributes: Any, side: EndPointType) -> EndpointInfo:
    return EndpointInfo(
        db_type=endpoint.family,
        endpoint_role=side.value,
        endpoint=EndpointBase(
            ip=endpoint.host or None,
            db_port=str(endpoint.port) if endpoint.port else None,
            db_user=endpoint.user or None,
            db_name=endpoint.database or None,
            instance_id=attributes.get("inst_id"),
            instance_name=attributes.get("inst_name"),
        ),
    )


def _ms(time_us: int) -> str:
    return str(time_us // 1000)

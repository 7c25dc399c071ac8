"""batch-creation and batch-modification: field rules, and the draft or change that they describe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from towline.api.wire.attributes import (
    AlarmRequest,
    PeriodOrderRequest,
    PublicIpRequest,
    TagRequest,
    check_expired_days,
    read_alarm,
    read_period_order,
    read_public_ips,
    read_short,
    read_system_tags,
    read_tags,
)
from towline.api.wire.endpoints import EndpointRequest, overlay, read_endpoint, require_complete
from towline.api.wire.errors import ApiError, empty, invalid, not_built
from towline.api.wire.fields import (
    MAX_TEXT,
    Request,
    Text,
    check_range,
    check_text,
    convert,
    require_id,
    require_text,
    require_word,
)
from towline.api.wire.words import (
    BUILT_ENGINE_TYPES,
    CHARGING_MODES,
    DB_USE_TYPES,
    JOB_DIRECTIONS,
    NET_TYPES,
    NODE_TYPES,
    TASK_MODE_OF_WORD,
)
from towline.domain.jobs import Endpoint, TaskMode
from towline.service.ports import Job, JobChange, JobDraft

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{3,49}")


class CreateJobRequest(Request):
    """`CreateJobReq`."""

    name: Text | None = None
    db_use_type: Text | None = None
    engine_type: Text | None = None
    job_direction: Text | None = None
    net_type: Text | None = None
    node_type: Text | None = None
    task_type: Text | None = None
    source_endpoint: EndpointRequest | None = None
    target_endpoint: EndpointRequest | None = None
    customize_sutnet_id: Text | None = None
    description: Text | None = None
    bind_eip: bool | None = None
    is_target_readonly: bool | None = None
    multi_write: bool | None = None
    node_num: int | None = None
    expired_days: Text | None = None
    tags: list[TagRequest] | None = None
    sys_tags: list[TagRequest] | None = None
    master_az: Text | None = None
    slave_az: Text | None = None
    charging_mode: Text | None = None
    period_order: PeriodOrderRequest | None = None
    product_id: Text | None = None
    public_ip_list: list[PublicIpRequest] | None = None
    is_open_fast_clean: bool | None = None


class ModifyJobRequest(Request):
    """`ModifyJobReq`. Absent members leave what is stored unchanged."""

    job_id: Text | None = None
    name: Text | None = None
    description: Text | None = None
    task_type: Text | None = None
    source_endpoint: EndpointRequest | None = None
    target_endpoint: EndpointRequest | None = None
    node_type: Text | None = None
    engine_type: Text | None = None
    net_type: Text | None = None
    store_db_info: bool | None = None
    is_recreate: bool | None = None
    job_direction: Text | None = None
    is_target_readonly: bool | None = None
    replace_definer: bool | None = None
    tags: list[TagRequest] | None = None
    db_use_type: Text | None = None
    product_id: Text | None = None
    alarm_notify: AlarmRequest | None = None


class CreateJobAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One result of batch-creation; a refused item has only its name and the error members."""

    id: str | None = None
    name: str | None = None
    status: str | None = None
    create_time: str | None = None
    error_code: str | None = None
    error_msg: str | None = None


class CreateJobsAnswer(msgspec.Struct, frozen=True):
    count: int
    results: list[CreateJobAnswer]


def read_draft(item: Mapping[str, Any]) -> JobDraft:
    """The job that one item of batch-creation describes. Raises: ApiError, nothing having been changed."""
    # One published sample spells a member `source_Endpoint`; the case of member names carries no meaning
    # here.
    request = convert({name.lower(): value for name, value in item.items()}, CreateJobRequest)
    name = check_name(request.name)
    mode = _require_kind(request)
    attributes = _read_attributes(request)
    families = _require_engine(request.engine_type, request.db_use_type)
    if request.source_endpoint is None:
        raise empty("source_endpoint")
    if request.target_endpoint is None:
        raise empty("target_endpoint")
    source = read_endpoint(request.source_endpoint, family=families[0])
    target = read_endpoint(request.target_endpoint, family=families[1])
    return JobDraft(
        name=name,
        mode=mode,
        source=source.endpoint,
        target=target.endpoint,
        description=check_description(request.description),
        attributes=attributes,
        source_attributes=source.attributes,
        target_attributes=target.attributes,
    )


def read_change(request: ModifyJobRequest, known: Job | None) -> JobChange:
    """What one item of batch-modification changes. Raises: ApiError.

    `known` is the job as it is, None when there is none; endpoint members that were not sent come from it.
    """
    job_id = require_id(request.job_id)
    stores = bool(request.store_db_info)
    families = (known.source.family, known.target.family) if known else ("postgresql", "postgresql")
    if request.engine_type:
        families = _require_engine(request.engine_type, request.db_use_type)
    if stores:
        require_complete(request.source_endpoint, "source_endpoint")
        require_complete(request.target_endpoint, "target_endpoint")
    source, source_attributes = _read_side(request.source_endpoint, known.source if known else None, families[0])
    target, target_attributes = _read_side(request.target_endpoint, known.target if known else None, families[1])
    attributes = _read_changed_attributes(request)
    return JobChange(
        job_id=job_id,
        name=None if request.name is None else check_name(request.name),
        description=None if request.description is None else check_description(request.description),
        mode=_read_mode(request.task_type) if request.task_type else None,
        source=source,
        target=target,
        attributes=attributes or None,
        source_attributes=source_attributes,
        target_attributes=target_attributes,
        store_endpoints=stores,
    )


def _read_side(
    request: EndpointRequest | None, known: Endpoint | None, family: str
) -> tuple[Endpoint | None, Mapping[str, Any] | None]:
    if request is None:
        return None, None
    read = read_endpoint(request, family=family)
    return (overlay(known, read, request) if known else read.endpoint), read.attributes


def check_name(value: str | None) -> str:
    name = require_text(value, "name", max_length=MAX_TEXT)
    if not _NAME.fullmatch(name):
        raise invalid("name")
    return name


def check_description(value: str | None) -> str:
    return check_text(value or "", "description", max_length=256, forbidden=True)


def _read_mode(word: str | None) -> TaskMode:
    mode = TASK_MODE_OF_WORD[require_word(word, TASK_MODE_OF_WORD, "task_type")]
    if mode is TaskMode.STREAM:
        raise not_built("a job that follows changes without having copied the rows (INCR_TRANS)")
    return mode


def _require_kind(request: CreateJobRequest) -> TaskMode:
    require_word(request.db_use_type, DB_USE_TYPES, "db_use_type")
    require_text(request.engine_type, "engine_type")
    require_word(request.job_direction, JOB_DIRECTIONS, "job_direction")
    net_type = require_word(request.net_type, NET_TYPES, "net_type")
    require_word(request.node_type, NODE_TYPES, "node_type")
    mode = _read_mode(request.task_type)
    if request.customize_sutnet_id is None:
        raise empty("customize_sutnet_id")
    if net_type == "eip" and request.bind_eip is not True:
        raise empty("bind_eip") if request.bind_eip is None else invalid("bind_eip")
    if request.db_use_type == "cloudDataGuard":
        if net_type == "vpc":
            raise invalid("net_type")
        if request.multi_write is None:
            raise empty("multi_write")
    return mode


def _require_engine(engine_type: str | None, db_use_type: str | None) -> tuple[str, str]:
    """The database families of source and target. Disaster recovery and other engines are not built."""
    families = BUILT_ENGINE_TYPES.get(engine_type or "")
    if families is None or db_use_type == "cloudDataGuard":
        raise ApiError("DRS.M00302")
    return families


def _read_attributes(request: CreateJobRequest) -> dict[str, Any]:
    """The members that we keep and give back, checked; members that were not sent are left out."""
    if bool(request.master_az) != bool(request.slave_az):
        raise empty("slave_az" if request.master_az else "master_az")
    if request.charging_mode:
        require_word(request.charging_mode, CHARGING_MODES, "charging_mode")
    if request.node_num is not None:
        check_range(request.node_num, "node_num", low=1, high=32)
    if request.expired_days:
        check_expired_days(request.expired_days)
    kept = {
        "db_use_type": request.db_use_type,
        "engine_type": request.engine_type,
        "job_direction": request.job_direction,
        "net_type": request.net_type,
        "node_type": request.node_type,
        "customize_sutnet_id": read_short(request.customize_sutnet_id, "customize_sutnet_id"),
        "bind_eip": request.bind_eip,
        "is_target_readonly": request.is_target_readonly,
        "multi_write": request.multi_write,
        "node_num": request.node_num,
        "expired_days": read_short(request.expired_days, "expired_days"),
        "tags": read_tags(request.tags),
        "sys_tags": read_system_tags(request.sys_tags),
        "master_az": read_short(request.master_az, "master_az"),
        "slave_az": read_short(request.slave_az, "slave_az"),
        "charging_mode": request.charging_mode or None,
        "period_order": read_period_order(request.period_order),
        "product_id": read_short(request.product_id, "product_id"),
        "public_ip_list": read_public_ips(request.public_ip_list),
        "is_open_fast_clean": request.is_open_fast_clean,
    }
    return _plain(kept)


def _read_changed_attributes(request: ModifyJobRequest) -> dict[str, Any]:
    words = {
        "db_use_type": DB_USE_TYPES,
        "job_direction": JOB_DIRECTIONS,
        "net_type": NET_TYPES,
        "node_type": NODE_TYPES,
    }
    for name, allowed in words.items():
        if value := getattr(request, name):
            require_word(value, allowed, name)
    kept = {name: getattr(request, name) or None for name in (*words, "engine_type")}
    kept |= {
        "is_target_readonly": request.is_target_readonly,
        "replace_definer": request.replace_definer,
        "tags": read_tags(request.tags),
        "product_id": read_short(request.product_id, "product_id"),
        "alarm_notify": read_alarm(request.alarm_notify),
    }
    return _plain(kept)


def _plain(kept: dict[str, Any]) -> dict[str, Any]:
    # Plain `str` rather than our `Text`, so that what is stored and compared is what it looks like.
    return {name: str(value) if isinstance(value, str) else value for name, value in kept.items() if value is not None}

"""Messages about jobs, and where their histories go: batch-set-smn and lts-log-switch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from towline.api.wire.attributes import AlarmRequest, read_alarm
from towline.api.wire.errors import ApiError, empty, invalid, not_built
from towline.api.wire.fields import Request, Text, check_text, convert, require_text
from towline.service.duties import topic_name
from towline.service.ports import Outlets

# Becomes the name of a file.
_STREAM: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


class AlarmJobRequest(Request):
    """`SelectedSetAlarmTaskReq`. Status and engine are the caller's view of the job; what counts is ours."""

    job_id: Text | None = None
    status: Text | None = None
    engine_type: Text | None = None


class AlarmInfoRequest(AlarmRequest):
    topic_urn: Text | None = None


class SetAlarmsRequest(Request):
    jobs: list[AlarmJobRequest]
    alarm_notify_info: AlarmInfoRequest | None = None


class LogSwitchInfo(Request):
    log_group_id: Text | None = None
    log_stream_id: Text | None = None
    lts_enabled: bool | None = None


class LogSwitchRequest(Request):
    job: LogSwitchInfo | None = None


class LogSwitchJob(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    lts_enabled: bool
    log_group_id: str | None = None
    log_stream_id: str | None = None


class LogSwitchAnswer(msgspec.Struct, frozen=True):
    job: LogSwitchJob


class NoMembers(msgspec.Struct, frozen=True):
    """An answer that says nothing but that it was done."""


def read_alarm_info(body: Mapping[str, Any], outlets: Outlets) -> dict[str, Any]:
    """What shall be told to whom. Raises: ApiError."""
    info = convert(body, SetAlarmsRequest, where="request").alarm_notify_info
    if info is None:
        raise empty("alarm_notify_info")
    return read_receivers(info, outlets)


def read_receivers(info: AlarmInfoRequest, outlets: Outlets) -> dict[str, Any]:
    """Limits and receivers. Raises: ApiError, also for a receiver that this server cannot reach."""
    wish = read_alarm(info) or {}
    for subscription in wish["subscriptions"]:
        if subscription["protocol"] == "sms":
            raise not_built("sms")
        if not outlets.has_mail:
            raise ApiError("DRS.M00305", "the server has no mail server in its configuration")
    if info.topic_urn:
        name = topic_name(check_text(info.topic_urn, "topic_urn"))
        if name not in outlets.topics:
            raise invalid("topic_urn")
        wish |= {"topic_urn": str(info.topic_urn), "topic_name": name}
    return wish


def check_alarm_job(request: AlarmJobRequest) -> None:
    require_text(request.status, "status")
    require_text(request.engine_type, "engine_type")


def read_log_switch(body: Mapping[str, Any], outlets: Outlets) -> dict[str, Any]:
    """Where a history goes. Raises: ApiError."""
    info = convert(body, LogSwitchRequest, where="request").job
    if info is None:
        raise empty("job")
    if info.lts_enabled is None:
        raise empty("lts_enabled")
    if not info.lts_enabled:
        return {"lts_enabled": False}
    group = require_text(info.log_group_id, "log_group_id")
    stream = require_text(info.log_stream_id, "log_stream_id")
    if group not in outlets.log_groups:
        raise invalid("log_group_id")
    if not _STREAM.fullmatch(stream):
        raise invalid("log_stream_id")
    return {"lts_enabled": True, "log_group_id": group, "log_stream_id": stream}


def render_log_switch(attributes: Mapping[str, Any]) -> LogSwitchAnswer:
    kept = attributes.get("lts") or {}
    return LogSwitchAnswer(
        LogSwitchJob(
            lts_enabled=bool(kept.get("lts_enabled")),
            log_group_id=kept.get("log_group_id"),
            log_stream_id=kept.get("log_stream_id"),
        )
    )

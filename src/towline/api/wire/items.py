"""Requests and answers of the calls that do one small thing to each job of a list."""

from __future__ import annotations

from typing import Any

import msgspec

from towline.api.wire.endpoints import EndpointRequest
from towline.api.wire.errors import as_api_error
from towline.api.wire.fields import Request, Text
from towline.api.wire.texts import Language
from towline.api.wire.words import ITEM_FAILED, ITEM_SUCCESS


class ConnectionRequest(EndpointRequest):
    """`TestEndPoint`: an endpoint, and what it is for."""

    id: Text | None = None
    net_type: Text | None = None
    end_point_type: Text | None = None


class PrecheckRequest(Request):
    job_id: Text | None = None
    precheck_mode: Text | None = None


class StartRequest(Request):
    job_id: Text | None = None
    start_time: Text | None = None
    is_only_init_task: bool | None = None
    is_auto_create_compare: bool | None = None  # accepted; compares are created on request only


class PauseRequest(Request):
    job_id: Text | None = None
    pause_mode: Text | None = None


class RetryRequest(Request):
    job_id: Text | None = None
    is_sync_re_edit: bool | None = None


class DeleteRequest(Request):
    job_id: Text | None = None
    delete_type: Text | None = None
    is_show_breakpoint_position: bool | None = None


class PasswordRequest(Request):
    job_id: Text | None = None
    db_password: Text | None = None
    end_point_type: Text | None = None
    kerberos: dict[str, Any] | None = None


class PolicyRequest(Request):
    """`SyncPolicyReq`; members that only other engines know are refused, see `routes/objects.py`."""

    job_id: Text | None = None
    conflict_policy: Text | None = None
    filter_ddl_policy: Text | None = None
    ddl_trans: bool | None = None
    index_trans: bool | None = None
    topic_policy: Text | None = None
    topic: Text | None = None
    partition_policy: Text | None = None
    kafka_data_format: Text | None = None
    topic_name_format: Text | None = None
    partitions_num: Text | None = None
    replication_factor: Text | None = None
    is_fill_materialized_view: bool | None = None
    export_snapshot: bool | None = None
    slot_name: Text | None = None
    file_and_position: Text | None = None
    gtid_set: Text | None = None
    ddl_topic: Text | None = None


class ItemAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One result of a batch call. Members that a call does not have stay away."""

    id: str
    status: str
    precheck_id: str | None = None
    success: bool | None = None
    end_point_type: str | None = None
    error_code: str | None = None
    error_msg: str | None = None


class ItemsAnswer(msgspec.Struct, frozen=True):
    count: int
    results: list[ItemAnswer]


def render_item(
    job_id: str,
    error: BaseException | None,
    language: Language,
    *,
    precheck_id: str | None = None,
    end_point_type: str | None = None,
    shows_success: bool = False,
) -> ItemAnswer:
    """The result of one item: `success`, or `failed` with the reason."""
    success = (error is None) if shows_success else None
    if error is None:
        return ItemAnswer(
            id=job_id,
            status=ITEM_SUCCESS,
            success=success,
            precheck_id=precheck_id,
            end_point_type=end_point_type,
        )
    refusal = as_api_error(error)
    return ItemAnswer(
        id=job_id,
        status=ITEM_FAILED,
        success=success,
        end_point_type=end_point_type,
        error_code=refusal.code,
        error_msg=refusal.text(language),
    )

"""Requests of the calls for compares and for swapping roles: their rules hold although the work is not built.

Each reader raises ApiError for what could never be served, and returns the ids of the jobs that the body names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from towline.api.wire.errors import empty, invalid
from towline.api.wire.fields import Request, Text, check_range, check_text, convert, read_ids, require_id, require_word

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_PAGE: Final = 1_000_000
_MAX_LIMIT: Final = 1000
_OBJECT_KINDS: Final = frozenset(
    {
        *("DB", "TABLE", "VIEW", "EVENT", "ROUTINE", "INDEX", "TRIGGER", "SYNONYM", "FUNCTION", "PROCEDURE"),
        *("TYPE", "RULE", "DEFAULT_TYPE", "PLAN_GUIDE", "CONSTRAINT"),
        *("FILE_GROUP", "PARTITION_FUNCTION", "PARTITION_SCHEME", "TABLE_COLLATION"),
    }
)
_REPORTS: Final = frozenset({"contents", "lines", "random", "objects_comparison", "repair_data"})


class CompareObjectRequest(Request):
    db_name: Text | None = None
    table_name: list[Text] | None = None


class DataCompareRequest(Request):
    conflict_policy: Text | None = None
    compare_type: Text | None = None
    compare_mode: Text | None = None
    start_time: Text | None = None
    compare_object_infos: list[CompareObjectRequest] | None = None


class CompareTaskRequest(Request):
    """`create-compare-task`. Without either level it only lists."""

    job_id: Text | None = None
    object_level_compare_type: Text | None = None
    data_level_compare_info: DataCompareRequest | None = None


class CompareResultRequest(Request):
    """`query-compare-result`."""

    job_id: Text | None = None
    current_page: int | None = None
    per_page: int | None = None
    object_level_compare_id: Text | None = None
    line_compare_id: Text | None = None
    content_compare_id: Text | None = None


class ObjectCompareRequest(Request):
    compare_task_num: int | None = None


class TableCompareRequest(Request):
    type: Text | None = None
    start_time: Text | None = None
    compare_mode: Text | None = None
    compare_object: list[CompareObjectRequest] | None = None
    compare_task_num: int | None = None


class CompareFileRequest(Request):
    compare_type: Text | None = None
    compare_job_id: Text | None = None
    time_zone: Text | None = None


class SwitchoverRequest(Request):
    jobs: list[str]
    is_pause_job: bool | None = None


class CompareQuery(Request):
    """What the lists can be cut and filtered by."""

    limit: int | None = None
    offset: int | None = None
    status: int | None = None
    type: Text | None = None
    db_name: Text | None = None
    target_db_name: Text | None = None
    query_tb_name: Text | None = None
    table_name: Text | None = None
    compare_job_id: Text | None = None


def read_compare_task(body: dict[str, Any]) -> list[str]:
    request = convert(body, CompareTaskRequest, where="request")
    job_id = require_id(request.job_id)
    if request.object_level_compare_type:
        require_word(request.object_level_compare_type, {"objects"}, "object_level_compare_type")
    data = request.data_level_compare_info
    if data is not None:
        require_word(data.conflict_policy, {"cancel", "keep"}, "conflict_policy")
        require_word(data.compare_type, {"lines", "contents"}, "compare_type")
        _check_start(data.start_time)
        _check_objects(data.compare_object_infos)
    return [job_id]


def read_compare_result(body: dict[str, Any]) -> list[str]:
    request = convert(body, CompareResultRequest, where="request")
    job_id = require_id(request.job_id)
    for name in ("current_page", "per_page"):
        value = getattr(request, name)
        if value is None:
            raise empty(name)
        check_range(value, name, low=0, high=_MAX_PAGE)
    for name in ("object_level_compare_id", "line_compare_id", "content_compare_id"):
        if value := getattr(request, name):
            _check_uuid(value, name)
    return [job_id]


def read_object_compare(body: dict[str, Any]) -> list[str]:
    request = convert(body, ObjectCompareRequest, where="request")
    if request.compare_task_num is not None:
        check_range(request.compare_task_num, "compare_task_num", low=1, high=_MAX_PAGE)
    return []


def read_table_compare(body: dict[str, Any]) -> list[str]:
    request = convert(body, TableCompareRequest, where="request")
    require_word(request.type, {"lines", "contents", "random"}, "type")
    _check_start(request.start_time)
    _check_objects(request.compare_object)
    return []


def read_compare_file(body: dict[str, Any]) -> list[str]:
    request = convert(body, CompareFileRequest, where="request")
    require_word(request.compare_type, _REPORTS, "compare_type")
    if not request.compare_job_id:
        raise empty("compare_job_id")
    _check_uuid(request.compare_job_id, "compare_job_id")
    return []


def read_switchover(body: dict[str, Any]) -> list[str]:
    ids = read_ids(body.get("jobs"))
    convert(body, SwitchoverRequest, where="request")
    return [job_id.lower() for job_id in ids]


def check_compare_query(query: Mapping[str, str]) -> None:
    request = convert(query, CompareQuery, where="request")
    if request.limit is not None:
        check_range(request.limit, "limit", low=1, high=_MAX_LIMIT)
    if request.offset is not None:
        check_range(request.offset, "offset", low=0, high=2**31)
    if request.type:
        require_word(request.type, {"compare", "unCompare"}, "type")
    if request.compare_job_id:
        _check_uuid(request.compare_job_id, "compare_job_id")


def check_compare_path(path: Mapping[str, str]) -> None:
    if "compare_job_id" in path:
        _check_uuid(path["compare_job_id"], "compare_job_id")
    if "compare_type" in path:
        require_word(path["compare_type"], _OBJECT_KINDS, "compare_type")


def _check_uuid(value: str, parameter: str) -> None:
    if not _UUID.fullmatch(value.lower()):
        raise invalid(parameter)


def _check_start(value: str | None) -> None:
    if value and not (value.isascii() and value.isdigit() and len(value) <= 14):
        raise invalid("start_time")


def _check_objects(objects: list[CompareObjectRequest] | None) -> None:
    for item in objects or ():
        check_text(item.db_name or "", "db_name")
        for table in item.table_name or ():
            check_text(table, "table_name")

"""Calls about the databases of jobs: row filters, owners, accounts, parameters, and the cluster form of a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from towline.api.wire.errors import ApiError, as_api_error, empty, invalid, not_built
from towline.api.wire.fields import (
    MAX_TEXT,
    Request,
    Text,
    check_text,
    convert,
    require_id,
    require_text,
    require_word,
)
from towline.api.wire.items import ConnectionRequest
from towline.api.wire.selection import read_table_id
from towline.api.wire.texts import Language
from towline.domain.accounts import Account, Parameter
from towline.domain.jobs import Endpoint
from towline.domain.tables import RowFilter

MAX_JOBS: Final = 10
_MAX_OBJECTS: Final = 10_000
_MAX_PARAMETERS: Final = 100
_MAX_PASSWORD: Final = 128
_GROUPS: Final = frozenset({"common", "performance"})
_CONDITION: Final = "contentConditionalFilter"
_CONFIGURED: Final = "configConditionalFilter"
_CLUSTER_ACTION: Final = "testConnection"


# --- row filters ------------------------------------------------------------------------------------


class FilteredObject(Request):
    id: Text | None = None
    select: str | bool | None = None


class TransformationInfo(Request):
    transformation_type: Text | None = None
    value: Text | None = None


class TransformationRequest(Request):
    """`CheckDataTransformationReq`: one condition for the tables that are named."""

    job_id: Text | None = None
    object_info: list[FilteredObject] | None = None
    transformation_info: TransformationInfo | None = None
    config_transformation: dict[str, Any] | None = None


def read_condition(request: TransformationRequest) -> str:
    """The condition of an item. Raises: ApiError."""
    info = request.transformation_info
    if info is None:
        raise empty("transformation_info")
    kind = require_word(info.transformation_type, {_CONDITION, _CONFIGURED}, "transformation_type")
    if kind == _CONFIGURED or request.config_transformation:
        raise not_built(_CONFIGURED)
    return require_text(info.value, "value", max_length=MAX_TEXT)


def read_filters(request: TransformationRequest, condition: str, *, source: Endpoint) -> list[RowFilter]:
    """The condition for each table that is selected. Raises: ApiError."""
    objects = request.object_info or []
    if len(objects) > _MAX_OBJECTS:
        raise invalid("object_info")
    chosen = [each for each in objects if str(each.select or "true").lower() == "true"]
    if not chosen:
        raise empty("object_info")
    return [RowFilter(read_table_id(str(each.id or ""), source=source), condition) for each in chosen]


# --- owners -----------------------------------------------------------------------------------------


class DefinerRequest(Request):
    job_id: Text | None = None
    replace_definer: bool | None = None


# --- accounts ---------------------------------------------------------------------------------------


class UserRequest(Request):
    """`UserAccountVO`. What else is sent of an account is the source's own, and read there."""

    account: Text | None = None
    password: Text | None = None
    is_set_password: bool | None = None
    selected: bool | None = None


class RoleRequest(Request):
    role: Text | None = None
    selected: bool | None = None


class UpdateUsersRequest(Request, rename={"users": "list"}):
    """`UpdateUserReq`."""

    job_id: Text | None = None
    is_set_password: bool | None = None
    is_migrate_user: bool | None = None
    password: Text | None = None
    users: list[UserRequest] | None = None
    user_roles: list[RoleRequest] | None = None
    is_sync_object_privilege: bool | None = None


class UserAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    account: str
    comment: str
    is_transfer: bool
    privileges: str
    roles: list[str]
    selected: bool
    no_privileges: str | None = None


class RoleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    comment: str
    is_transfer: bool
    privileges: str
    inherits_roles: list[str]
    selected: bool


class UsersAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The accounts of a job's source. There is no member for a password."""

    job_id: str
    is_success: bool
    message: str
    is_global_password: str | None = None
    user_list: list[UserAnswer] | None = None
    roles_list: list[RoleAnswer] | None = None
    error_code: str | None = None
    error_msg: str | None = None


class UsersAnswers(msgspec.Struct, frozen=True):
    all_counts: int
    results: list[UsersAnswer]


def read_account_choice(request: UpdateUsersRequest) -> tuple[list[str], dict[str, str]]:
    """The names that are chosen, and passwords for some of them. Raises: ApiError."""
    for name in ("is_set_password", "is_migrate_user"):
        if getattr(request, name) is None:
            raise empty(name)
    if request.is_sync_object_privilege is False:
        raise not_built("leaving privileges on objects out")
    users = [user for user in request.users or () if user.selected]
    roles = [role for role in request.user_roles or () if role.selected]
    if len(users) + len(roles) > _MAX_OBJECTS:
        raise invalid("list")
    names = [require_text(user.account, "account") for user in users]
    names += [require_text(role.role, "role") for role in roles]
    if not request.is_migrate_user:
        return [], {}
    if not names:
        raise empty("list")
    passwords: dict[str, str] = {}
    for user, name in zip(users, names, strict=False):
        if user.is_set_password:
            passwords[name] = _read_password(user.password)
        elif request.is_set_password:
            passwords[name] = _read_password(request.password)
    return list(dict.fromkeys(names)), passwords


def _read_password(value: str | None) -> str:
    password = require_text(value, "password", max_length=_MAX_PASSWORD)
    # Other letters would have to be prepared as RFC 4013 says before they are hashed.
    if not (password.isascii() and password.isprintable()):
        raise invalid("password")
    return password


def render_accounts(requested_id: str, accounts: Sequence[Account], chosen: Sequence[str]) -> UsersAnswer:
    picked = frozenset(chosen)
    return UsersAnswer(
        job_id=requested_id,
        is_success=True,
        message="SUCCESS",
        is_global_password="false",
        user_list=[
            UserAnswer(
                id=account.name,
                account=account.name,
                comment=account.comment,
                is_transfer=not account.reason,
                privileges=", ".join(account.privileges),
                roles=list(account.member_of),
                selected=account.name in picked,
                no_privileges=account.reason or None,
            )
            for account in accounts
            if account.can_login
        ],
        roles_list=[
            RoleAnswer(
                role=account.name,
                comment=account.comment,
                is_transfer=not account.reason,
                privileges=", ".join(account.privileges),
                inherits_roles=list(account.member_of),
                selected=account.name in picked,
            )
            for account in accounts
            if not account.can_login
        ],
    )


def render_no_accounts(requested_id: str, error: BaseException, language: Language) -> UsersAnswer:
    refusal = as_api_error(error)
    text = refusal.text(language)
    return UsersAnswer(job_id=requested_id, is_success=False, message=text, error_code=refusal.code, error_msg=text)


# --- parameters -------------------------------------------------------------------------------------


class ParametersRequest(Request):
    """`refresh` is accepted: both servers are always read anew."""

    jobs: list[str]
    refresh: Text | None = None


class ParameterAnswer(msgspec.Struct, frozen=True, kw_only=True):
    group: str
    key: str
    source_value: str
    target_value: str
    compare_result: str
    data_type: str
    value_range: str
    need_restart: str


class JobParameters(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    job_id: str
    params: list[ParameterAnswer] | None = None
    error_code: str | None = None
    error_message: str | None = None


class ParametersAnswer(msgspec.Struct, frozen=True):
    params_list: list[JobParameters]
    count: int


class ParameterRequest(Request):
    key: Text | None = None
    target_value: Text | None = None


class ChangeParametersRequest(Request):
    group: Text | None = None
    params: list[ParameterRequest] | None = None


class ChangeParametersAnswer(msgspec.Struct, frozen=True):
    success: bool
    should_restart: str


def check_refresh(value: object) -> None:
    if value is not None and value not in ("0", "1", 0, 1):
        raise invalid("refresh")


def read_parameter_change(body: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The group, and values by name. Raises: ApiError."""
    request = convert(body, ChangeParametersRequest, where="request")
    group = require_word(request.group, _GROUPS, "group")
    if not request.params:
        raise empty("params")
    if len(request.params) > _MAX_PARAMETERS:
        raise invalid("params")
    values: dict[str, str] = {}
    for each in request.params:
        key = require_text(each.key, "key")
        if each.target_value is None:
            raise empty("target_value")
        if key in values:
            raise ApiError("DRS.M00301", "key")
        values[key] = check_text(each.target_value, "target_value")
    return group, values


def render_parameters(requested_id: str, parameters: Sequence[Parameter]) -> JobParameters:
    return JobParameters(
        job_id=requested_id,
        params=[
            ParameterAnswer(
                group=each.group,
                key=each.name,
                source_value=each.source_value,
                target_value=each.target_value,
                compare_result=_word(each.source_value == each.target_value),
                data_type="figure" if each.is_number else "string",
                value_range=each.allowed,
                need_restart=_word(each.needs_restart),
            )
            for each in parameters
        ],
    )


def render_no_parameters(requested_id: str, error: BaseException, language: Language) -> JobParameters:
    refusal = as_api_error(error)
    return JobParameters(job_id=requested_id, error_code=refusal.code, error_message=refusal.text(language))


def render_parameter_change(*, needs_restart: bool) -> ChangeParametersAnswer:
    return ChangeParametersAnswer(success=True, should_restart=_word(needs_restart))


def _word(value: bool) -> str:
    return "true" if value else "false"


# --- the cluster form of a connection test ------------------------------------------------------------


class ClusterTestRequest(Request):
    """`BatchJobActionReq`; `property` is JSON text that holds a list of endpoints in other spellings."""

    action: Text | None = None
    job_id: Text | None = None
    property: Text | None = None


_PLAIN_NAMES: Final = {
    "dbtype": "db_type",
    "dbport": "db_port",
    "ssllink": "ssl_link",
    "nettype": "net_type",
    "endpointtype": "end_point_type",
    "ip": "ip",
    "dbname": "db_name",
    "dbuser": "db_user",
    "dbpassword": "db_password",
    "sslcertkey": "ssl_cert_key",
    "sslcertname": "ssl_cert_name",
    "sslcertchecksum": "ssl_cert_check_sum",
    "instid": "inst_id",
    "region": "region",
    "projectid": "project_id",
    "vpcid": "vpc_id",
    "subnetid": "subnet_id",
}


def read_cluster_tests(request: ClusterTestRequest) -> list[dict[str, Any]]:
    """The endpoints of an item as the plain call has them. Raises: ApiError."""
    job_id = require_id(request.job_id)
    require_word(request.action, {_CLUSTER_ACTION}, "action")
    text = require_text(request.property, "property", max_length=1 << 20)
    try:
        entries = msgspec.json.decode(text.encode())
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise invalid("property") from None
    if not isinstance(entries, list) or not entries or len(entries) > MAX_JOBS:
        raise invalid("property")
    return [_plain_endpoint(entry, job_id) for entry in entries]


def _plain_endpoint(entry: Any, job_id: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise invalid("property")
    plain = {_PLAIN_NAMES[name.lower()]: value for name, value in entry.items() if name.lower() in _PLAIN_NAMES}
    address = plain.get("ip")
    # `host:port`; a list of them is of an engine with shards.
    if isinstance(address, str) and address.count(":") == 1 and "," not in address:
        host, _, port = address.partition(":")
        plain["ip"] = host
        plain["db_port"] = plain.get("db_port") or port
    convert(plain, ConnectionRequest, where="property")
    return {**plain, "id": job_id}

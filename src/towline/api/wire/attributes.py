"""Members of a job that we only keep and give back: tags, order, public addresses, notification.

Each reader checks the documented limits and returns plain values fit for JSON. Nothing here changes what a
job does.
"""

from __future__ import annotations

import re
from typing import Any, Final

from towline.api.wire.errors import ApiError, empty, invalid
from towline.api.wire.fields import Request, Text, check_range, check_text, require_text, require_word

_TAG: Final = re.compile(r"[A-Za-z0-9_\-\u4e00-\u9fff]*")
# An address as it is sent (RFC 5321, "Mailbox"), without quoted local parts; a foreign domain in its ASCII form.
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MAIL: Final = re.compile(rf"(?=[^@]{{1,64}}@)(?=.{{3,254}}\Z){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_MAX_TAGS: Final = 20
_SYSTEM_TAG: Final = "_sys_enterprise_project_id"


class TagRequest(Request):
    key: Text | None = None
    value: Text | None = None


class PeriodOrderRequest(Request):
    period_type: int | None = None
    period_num: int | None = None
    is_auto_renew: int | None = None


class PublicIpRequest(Request):
    id: Text | None = None
    public_ip: Text | None = None
    type: Text | None = None


class SubscriptionRequest(Request):
    protocol: Text | None = None
    endpoints: list[Text] | None = None


class AlarmRequest(Request):
    delay_time: int | None = None
    rto_delay: int | None = None
    rpo_delay: int | None = None
    alarm_to_user: bool | None = None
    subscriptions: list[SubscriptionRequest] | None = None


def read_tags(tags: list[TagRequest] | None) -> list[dict[str, str]] | None:
    """Tags with their documented limits. Raises: ApiError DRS.M00269, M00270, M00271, M00202."""
    if tags is None:
        return None
    if len(tags) > _MAX_TAGS:
        raise ApiError("DRS.M00271")
    read = [{"key": str(tag.key or ""), "value": str(tag.value or "")} for tag in tags]
    for tag in read:
        if not tag["key"]:
            raise empty("tags.key")
        if len(tag["key"]) > 36 or len(tag["value"]) > 43:
            raise ApiError("DRS.M00270")
        if not _TAG.fullmatch(tag["key"]) or not _TAG.fullmatch(tag["value"]):
            raise invalid("tags")
    if len({tag["key"] for tag in read}) != len(read):
        raise ApiError("DRS.M00269")
    return read


def read_system_tags(tags: list[TagRequest] | None) -> list[dict[str, str]] | None:
    if not tags:
        return None
    if len(tags) > 1 or tags[0].key != _SYSTEM_TAG:
        raise invalid("sys_tags")
    return [{"key": _SYSTEM_TAG, "value": check_text(tags[0].value or "", "sys_tags")}]


def check_expired_days(value: str) -> None:
    if not value.isascii() or not value.isdigit() or len(value) > 3 or not 14 <= int(value) <= 100:
        raise invalid("expired_days")


def read_period_order(order: PeriodOrderRequest | None) -> dict[str, int] | None:
    if order is None:
        return None
    if order.period_type not in (2, 3):
        raise invalid("period_type")
    if order.period_num is None or not 1 <= order.period_num <= (9 if order.period_type == 2 else 3):
        raise invalid("period_num")
    if order.is_auto_renew not in (None, 0, 1):
        raise invalid("is_auto_renew")
    return {
        "period_type": order.period_type,
        "period_num": order.period_num,
        "is_auto_renew": order.is_auto_renew or 0,
    }


def read_public_ips(addresses: list[PublicIpRequest] | None) -> list[dict[str, str]] | None:
    if not addresses:
        return None
    if len(addresses) > 10:
        raise invalid("public_ip_list")
    return [
        {
            "id": require_text(address.id, "id"),
            "public_ip": require_text(address.public_ip, "public_ip"),
            "type": require_word(address.type, {"master", "slave"}, "type"),
        }
        for address in addresses
    ]


def read_alarm(alarm: AlarmRequest | None) -> dict[str, Any] | None:
    """Limits in seconds, and receivers; mail is sent when the server has a mail server, messages to phones never."""
    if alarm is None:
        return None
    delays = {name: getattr(alarm, name) for name in ("delay_time", "rto_delay", "rpo_delay")}
    for name, value in delays.items():
        if value is not None:
            check_range(value, name, low=0, high=3600)
    subscriptions = alarm.subscriptions or []
    if len(subscriptions) > 2:
        raise invalid("subscriptions")
    return {
        **{name: value for name, value in delays.items() if value is not None},
        "alarm_to_user": bool(alarm.alarm_to_user),
        "subscriptions": [_read_subscription(subscription) for subscription in subscriptions],
    }


def _read_subscription(subscription: SubscriptionRequest) -> dict[str, Any]:
    endpoints = subscription.endpoints or []
    if len(endpoints) > 10:
        raise invalid("endpoints")
    protocol = require_word(subscription.protocol, {"sms", "email"}, "protocol")
    if protocol == "email" and not all(_MAIL.fullmatch(endpoint) for endpoint in endpoints):
        raise invalid("endpoints")
    return {"protocol": protocol, "endpoints": [check_text(endpoint, "endpoints") for endpoint in endpoints]}


def read_short(value: str | None, parameter: str) -> str | None:
    return None if value is None else check_text(value, parameter)

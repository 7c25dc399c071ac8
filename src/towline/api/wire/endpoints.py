"""Database endpoints: what a request says about one, and how an answer shows it (never with a secret)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from towline.api.wire.errors import ApiError, empty, invalid
from towline.api.wire.fields import Request, Text, check_range, check_text, require_text
from towline.api.wire.words import DB_TYPES
from towline.domain.jobs import Endpoint

_MAX_CERTIFICATE: Final = 1 << 20
_KEPT: Final = (
    "inst_id",
    "inst_name",
    "region",
    "project_id",
    "az_code",
    "vpc_id",
    "subnet_id",
    "security_group_id",
    "ssl_cert_name",
    "ssl_cert_key",
    "ssl_cert_check_sum",
)
"""Members that we only keep and give back. The certificate is public; no password is among them."""


class EndpointRequest(Request):
    """An endpoint in a request. Members for other database families are accepted and ignored."""

    db_type: Text | None = None
    ip: Text | None = None
    db_port: int | None = None
    db_user: Text | None = None
    db_password: Text | None = None
    db_name: Text | None = None
    inst_id: Text | None = None
    inst_name: Text | None = None
    region: Text | None = None
    project_id: Text | None = None
    az_code: Text | None = None
    vpc_id: Text | None = None
    subnet_id: Text | None = None
    security_group_id: Text | None = None
    ssl_link: bool | None = None
    ssl_cert_name: Text | None = None
    ssl_cert_key: Text | None = None
    ssl_cert_check_sum: Text | None = None


class EndpointAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An endpoint in an answer. There is no member for a password."""

    db_type: str | None = None
    ip: str | None = None
    db_port: int | None = None
    db_user: str | None = None
    db_name: str | None = None
    inst_id: str | None = None
    inst_name: str | None = None
    region: str | None = None
    project_id: str | None = None
    az_code: str | None = None
    vpc_id: str | None = None
    subnet_id: str | None = None
    security_group_id: str | None = None
    ssl_link: bool | None = None
    ssl_cert_name: str | None = None
    ssl_cert_key: str | None = None
    ssl_cert_check_sum: str | None = None


@dataclass(frozen=True, slots=True)
class ReadEndpoint:
    """What a request said: the part that we use, and the part that we keep for the answer."""

    endpoint: Endpoint
    attributes: Mapping[str, Any]


def read_endpoint(request: EndpointRequest, *, family: str) -> ReadEndpoint:
    """Check every member that is there. Raises: ApiError."""
    check_family(request.db_type, family=family)
    attributes: dict[str, Any] = {
        name: check_text(value, name, max_length=_MAX_CERTIFICATE if name == "ssl_cert_key" else 256)
        for name in _KEPT
        if (value := getattr(request, name)) is not None
    }
    if request.ssl_link is not None:
        attributes["ssl_link"] = request.ssl_link
    endpoint = Endpoint(
        family=family,
        host=check_text(request.ip or "", "ip").strip(),
        port=0 if request.db_port is None else check_range(request.db_port, "db_port", low=1, high=65535),
        user=check_text(request.db_user or "", "db_user"),
        password=check_text(request.db_password or "", "db_password", max_length=1024),
        database=check_text(request.db_name or "", "db_name", max_length=128, forbidden=True),
        tls=bool(request.ssl_link),
        tls_root_certificate=_read_certificate(request) if request.ssl_link else "",
    )
    return ReadEndpoint(endpoint=endpoint, attributes=attributes)


def overlay(known: Endpoint, read: ReadEndpoint, request: EndpointRequest) -> Endpoint:
    """`known` with the members that were sent. The store decides about a password that was not."""
    new = read.endpoint
    return Endpoint(
        family=new.family,
        host=new.host or known.host,
        port=new.port or known.port,
        user=new.user or known.user,
        password=new.password,
        database=new.database or known.database,
        tls=known.tls if request.ssl_link is None else new.tls,
        tls_root_certificate=known.tls_root_certificate if request.ssl_link is None else new.tls_root_certificate,
    )


def require_complete(request: EndpointRequest | None, side: str) -> EndpointRequest:
    """The endpoint, with all members that the API wants for storing it."""
    if request is None:
        raise empty(side)
    for name in ("db_type", "ip", "db_user", "db_password"):
        require_text(getattr(request, name), name, max_length=1024)
    if request.db_port is None:
        raise empty("db_port")
    return request


def check_family(db_type: str | None, *, family: str) -> None:
    """A documented word for another database family is a schema we do not have; any other word is invalid."""
    if not db_type or db_type == family:
        return
    raise ApiError("DRS.M00302") if db_type in DB_TYPES else invalid("db_type")


def render_endpoint(endpoint: Endpoint, attributes: Mapping[str, Any]) -> EndpointAnswer:
    """The endpoint as an answer shows it: what was sent, without the password (I7)."""
    kept = {name: value for name in (*_KEPT, "ssl_link") if (value := attributes.get(name)) is not None}
    if endpoint.tls:
        kept.setdefault("ssl_link", True)
    return EndpointAnswer(
        db_type=endpoint.family,
        ip=endpoint.host or None,
        db_port=endpoint.port or None,
        db_user=endpoint.user or None,
        db_name=endpoint.database or None,
        **kept,
    )


def _read_certificate(request: EndpointRequest) -> str:
    """The root certificate as PEM text; empty when the client gave none (encrypt without verifying)."""
    if not request.ssl_cert_key:
        return ""
    sent = request.ssl_cert_key.strip()
    try:
        pem = sent.encode() if sent.startswith("-----BEGIN ") else base64.b64decode(sent, validate=False)
        text = pem.decode("ascii")
    except (binascii.Error, UnicodeError, ValueError):
        raise invalid("ssl_cert_key") from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise invalid("ssl_cert_key")
    checksum = (request.ssl_cert_check_sum or "").lower()
    # The API says SHA-256 without saying of which form; both are accepted.
    if checksum and checksum not in (
        hashlib.sha256(pem).hexdigest(),
        hashlib.sha256(sent.encode()).hexdigest(),
    ):
        raise invalid("ssl_cert_check_sum")
    return text

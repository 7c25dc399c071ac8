"""SDK-HMAC-SHA256 request signatures: parse, rebuild, compare. Pure.

The signer decides which headers it signs; the only one that must be among them is the date, because without
it a request could be sent again for ever. The body's hash is compared with the raw bytes even when the signer
sent the hash itself, so that a recorded signature does not fit another body.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote_to_bytes

ALGORITHM: Final = "SDK-HMAC-SHA256"
CLOCK_WINDOW_S: Final = 15 * 60
DATE_HEADER: Final = "x-sdk-date"
CONTENT_HEADER: Final = "x-sdk-content-sha256"
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"

_HEADER: Final = re.compile(
    r"SDK-HMAC-SHA256\s+Access=(?P<access>[^,\s]{1,128}),\s*SignedHeaders=(?P<headers>[^,\s]{1,4096}),\s*"
    r"Signature=(?P<signature>[0-9a-fA-F]{64})"
)
_DATE: Final = re.compile(r"\d{8}T\d{6}Z")
_HEX_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class SignatureRefused(Exception):
    """The request is not signed as it should be; the text is safe to show to the caller."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """What an `Authorization` header says."""

    access_key: str
    signed_headers: tuple[str, ...]
    signature: str


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What was received, untouched. `headers` has lower-case names; `path` and `query` are as on the wire."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def parse_authorization(header: str) -> Authorization:
    """Raises: SignatureRefused."""
    match = _HEADER.fullmatch(header.strip())
    if match is None:
        raise SignatureRefused("the Authorization header is malformed or its algorithm is not supported")
    names = tuple(name.lower() for name in match["headers"].split(";"))
    if DATE_HEADER not in names:
        raise SignatureRefused("SignedHeaders must contain x-sdk-date")
    return Authorization(access_key=match["access"], signed_headers=names, signature=match["signature"].lower())


def verify(request: SignedRequest, authorization: Authorization, *, secret_key: str, now_us: int) -> None:
    """Return when the signature is the one that `secret_key` makes for this request.

    Raises: SignatureRefused.
    """
    date = request.headers.get(DATE_HEADER, "")
    _check_date(date, now_us=now_us)
    canonical = render_canonical_request(request, authorization.signed_headers)
    expected = sign(canonical, date=date, secret_key=secret_key)
    if not hmac.compare_digest(expected.encode(), authorization.signature.encode()):
        shown = canonical.replace("\n", "|")
        raise SignatureRefused(f"verify aksk signature fail, canonicalRequest:{shown}")


def sign(canonical_request: str, *, date: str, secret_key: str) -> str:
    """The lower-case hex signature of a canonical request."""
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    text = f"{ALGORITHM}\n{date}\n{digest}"
    return hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).hexdigest()


def render_canonical_request(request: SignedRequest, signed_headers: tuple[str, ...]) -> str:
    """The text that both sides hash. Raises: SignatureRefused when a signed header is missing."""
    missing = [name for name in signed_headers if name not in request.headers]
    if missing:
        raise SignatureRefused(f"signed header {missing[0]} is missing")
    names = sorted(signed_headers)
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in names)
    return "\n".join(
        (
            request.method.upper(),
            canonical_uri(request.path),
            canonical_query(request.query),
            headers,
            ";".join(names),
            _payload_hash(request),
        )
    )


def canonical_uri(path: str) -> str:
    """The path decoded once, then each segment encoded, with a slash at the end."""
    encoded = "/".join(quote(segment, safe="~") for segment in unquote_to_bytes(path).split(b"/"))
    return encoded if encoded.endswith("/") else encoded + "/"


def canonical_query(query: str) -> str:
    """`name=value` pairs, encoded, sorted by name then value."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    return "&".join(
        f"{name}={value}"
        for name, value in sorted((_encode_query(name), _encode_query(value)) for name, _, value in pairs)
    )


def _encode(text: str) -> str:
    return quote(unquote_to_bytes(text), safe="~")


def _encode_query(text: str) -> str:
    # In a query a plus sign means a space; both spellings are signed as %20.
    return _encode(text.replace("+", "%20"))


def _payload_hash(request: SignedRequest) -> str:
    actual = hashlib.sha256(request.body).hexdigest()
    declared = request.headers.get(CONTENT_HEADER)
    if declared is None or not request.body:
        return actual
    if declared == UNSIGNED_PAYLOAD:
        return declared
    if not _HEX_SHA256.fullmatch(declared) or not hmac.compare_digest(declared, actual):
        raise SignatureRefused("x-sdk-content-sha256 does not fit the body")
    return declared


def _check_date(date: str, *, now_us: int) -> None:
    if not _DATE.fullmatch(date):
        raise SignatureRefused("x-sdk-date is missing or malformed")
    try:
        signed_at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise SignatureRefused("x-sdk-date is missing or malformed") from None
    if abs(now_us / 1_000_000 - signed_at.timestamp()) > CLOCK_WINDOW_S:
        raise SignatureRefused("x-sdk-date is more than 15 minutes away from the server's clock")

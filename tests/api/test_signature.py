"""SDK-HMAC-SHA256: the published vector, and everything that must not pass."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.api.harness import BASE_URL, UNKNOWN_ID, Api, sign_request
from towline.api.signature import (
    SignatureRefused,
    SignedRequest,
    canonical_query,
    canonical_uri,
    parse_authorization,
    render_canonical_request,
    sign,
    verify,
)

# The published example of the algorithm; key pair and result are public.
ACCESS_KEY = "QTWAOYTTINDUT2QVKYUC"
SECRET_KEY = "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc"
SIGNATURE = "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe"
EXAMPLE = SignedRequest(
    method="GET",
    path="/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs",
    query="limit=2&marker=13551d6b-755d-4757-b956-536f674975c0",
    headers={
        "content-type": "application/json",
        "host": "service.region.example.com",
        "x-sdk-date": "20191115T033655Z",
    },
    body=b"",
)
HEADER = f"SDK-HMAC-SHA256 Access={ACCESS_KEY}, SignedHeaders=content-type;host;x-sdk-date, Signature={SIGNATURE}"
SIGNED_AT_US = int(datetime(2019, 11, 15, 3, 36, 55, tzinfo=UTC).timestamp() * 1_000_000)


def test_published_vector() -> None:
    authorization = parse_authorization(HEADER)
    canonical = render_canonical_request(EXAMPLE, authorization.signed_headers)
    assert (
        hashlib.sha256(canonical.encode()).hexdigest()
        == "b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a"
    )
    assert sign(canonical, date="20191115T033655Z", secret_key=SECRET_KEY) == SIGNATURE
    verify(EXAMPLE, authorization, secret_key=SECRET_KEY, now_us=SIGNED_AT_US)


@pytest.mark.parametrize("seconds", [-900, -899, 0, 899, 900])
def test_clock_may_differ_by_15_minutes(seconds: int) -> None:
    verify(
        EXAMPLE,
        parse_authorization(HEADER),
        secret_key=SECRET_KEY,
        now_us=SIGNED_AT_US + seconds * 1_000_000,
    )


@pytest.mark.parametrize("seconds", [-901, 901, 86_400])
def test_old_and_early_requests_are_refused(seconds: int) -> None:
    with pytest.raises(SignatureRefused, match="15 minutes"):
        verify(
            EXAMPLE,
            parse_authorization(HEADER),
            secret_key=SECRET_KEY,
            now_us=SIGNED_AT_US + seconds * 1_000_000,
        )


CHANGES: list[dict[str, Any]] = [
    {"method": "POST"},
    {"path": "/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpc"},
    {"query": "limit=3&marker=13551d6b-755d-4757-b956-536f674975c0"},
    {"query": ""},
    {"body": b"{}"},
    {"headers": {**EXAMPLE.headers, "host": "other.example.com"}},
    {"headers": {**EXAMPLE.headers, "content-type": "text/plain"}},
    {"headers": {**EXAMPLE.headers, "x-sdk-date": "20191115T033656Z"}},
    {"headers": {"x-sdk-date": "20191115T033655Z"}},
    {"headers": {**EXAMPLE.headers, "x-sdk-date": "yesterday"}},
    {"headers": {**EXAMPLE.headers, "x-sdk-date": "20191399T033655Z"}},
    {"headers": {**EXAMPLE.headers, "x-sdk-content-sha256": "UNSIGNED-PAYLOAD"}, "body": b"{}"},
]


@pytest.mark.parametrize("changed", CHANGES)
def test_any_change_breaks_the_signature(changed: dict[str, Any]) -> None:
    with pytest.raises(SignatureRefused):
        verify(
            replace(EXAMPLE, **changed),
            parse_authorization(HEADER),
            secret_key=SECRET_KEY,
            now_us=SIGNED_AT_US,
        )


def test_unsigned_headers_may_be_added_on_the_way() -> None:
    request = replace(EXAMPLE, headers={**EXAMPLE.headers, "x-project-id": "abc", "via": "proxy"})
    verify(request, parse_authorization(HEADER), secret_key=SECRET_KEY, now_us=SIGNED_AT_US)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic abc",
        HEADER.replace("HMAC", "HMACX"),
        HEADER.replace("x-sdk-date", "date"),
        HEADER.replace(SIGNATURE, SIGNATURE[:-1]),
        HEADER.replace(SIGNATURE, "z" * 64),
        HEADER.replace("Access=", "Credential="),
        HEADER + ", More=1",
    ],
)
def test_malformed_header_is_refused(header: str) -> None:
    with pytest.raises(SignatureRefused):
        parse_authorization(header)


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("/", "/"),
        ("/a", "/a/"),
        ("/a/", "/a/"),
        ("/v3/%7Bproject_id%7D/jobs", "/v3/%7Bproject_id%7D/jobs/"),
        ("/v3/{project_id}/jobs", "/v3/%7Bproject_id%7D/jobs/"),
        ("/a b/~x-_.y", "/a%20b/~x-_.y/"),
        ("/%e4%bd%a0", "/%E4%BD%A0/"),
    ],
)
def test_path_is_encoded_once_and_ends_in_a_slash(path: str, canonical: str) -> None:
    assert canonical_uri(path) == canonical


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=1", "a=1&a=2"),
        ("a", "a="),
        ("name=eu%2Dde&x=a+b", "name=eu-de&x=a%20b"),
        ("k=%2F&k=~", "k=%2F&k=~"),
    ],
)
def test_query_is_sorted_and_encoded(query: str, canonical: str) -> None:
    assert canonical_query(query) == canonical


def test_recorded_signature_does_not_fit_another_body() -> None:
    """The hash that a client declares is compared with the body, or a captured request could carry any body."""
    body = b'{"jobs": []}'
    headers = {**EXAMPLE.headers, "x-sdk-content-sha256": hashlib.sha256(body).hexdigest()}
    request = replace(EXAMPLE, method="POST", headers=headers, body=body)
    names = ("content-type", "host", "x-sdk-content-sha256", "x-sdk-date")
    signature = sign(render_canonical_request(request, names), date="20191115T033655Z", secret_key=SECRET_KEY)
    authorization = parse_authorization(
        f"SDK-HMAC-SHA256 Access={ACCESS_KEY}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    verify(request, authorization, secret_key=SECRET_KEY, now_us=SIGNED_AT_US)
    with pytest.raises(SignatureRefused, match="does not fit"):
        verify(
            replace(request, body=b'{"jobs": ["x"]}'),
            authorization,
            secret_key=SECRET_KEY,
            now_us=SIGNED_AT_US,
        )


# --- through the application -----------------------------------------------------------------------

BODY = b'{"jobs": ["%b"]}\n' % UNKNOWN_ID.encode()


def _date(api: Api) -> str:
    return datetime.fromtimestamp(api.clock.us / 1_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")


async def _send_signed(api: Api, *, body: bytes = BODY, path: str | None = None, **options: object) -> int:
    path = path or api.project + "jobs/batch-progress"
    headers = sign_request(api.account, method="POST", path=path, body=BODY, date=_date(api), **options)  # type: ignore[arg-type]
    answer = await api.client.post(path, content=body, headers={"Content-Type": "application/json", **headers})
    if answer.status_code == 401:
        assert answer.json()["error_code"] == "APIGW.0301"
    return answer.status_code


async def test_signed_request_needs_no_token(api: Api) -> None:
    assert await _send_signed(api) == 200


async def test_host_need_not_be_signed_but_the_date_must(api: Api) -> None:
    assert await _send_signed(api, signed=("x-sdk-date",)) == 200
    assert await _send_signed(api, signed=("host",)) == 401


async def test_host_counts_with_its_port(api: Api) -> None:
    assert await _send_signed(api, headers={"host": BASE_URL.removeprefix("http://")}) == 200
    path = api.project + "jobs/batch-progress"
    headers = sign_request(
        api.account, method="POST", path=path, body=BODY, date=_date(api), headers={"host": "towline.test"}
    )
    headers["host"] = "towline.test:8811"
    answer = await api.client.post(path, content=BODY, headers=headers)
    assert answer.status_code == 401


async def test_signature_of_another_body_is_refused(api: Api) -> None:
    assert await _send_signed(api, body=BODY + b" ") == 401


async def test_wrong_key_and_wrong_secret_are_refused(api: Api) -> None:
    for account in (replace(api.account, secret_key="x" * 40), replace(api.account, access_key="NOBODY")):
        path = api.project + "jobs/batch-progress"
        headers = sign_request(account, method="POST", path=path, body=BODY, date=_date(api))
        answer = await api.client.post(path, content=BODY, headers=headers)
        assert answer.status_code == 401
        body = answer.json()
        assert body["error_code"] == "APIGW.0301"
        assert body["error_msg"].startswith("Incorrect IAM authentication information: ")
        assert body["request_id"] == answer.headers["X-Request-Id"]
        assert api.account.secret_key not in answer.text


async def test_token_decides_when_both_are_there(api: Api) -> None:
    path = api.project + "jobs/batch-progress"
    good = sign_request(api.account, method="POST", path=path, body=BODY, date=_date(api))
    bad = {**good, "Authorization": good["Authorization"][:-4] + "0000"}
    answer = await api.client.post(path, content=BODY, headers={**bad, "X-Auth-Token": api.token})
    assert answer.status_code == 200
    answer = await api.client.post(path, content=BODY, headers={**good, "X-Auth-Token": "nonsense"})
    assert answer.status_code == 401


async def test_prefixed_path_is_signed_as_it_was_sent(api: Api) -> None:
    assert await _send_signed(api, path="/drs" + api.project + "jobs/batch-progress") == 200


async def test_signed_query_is_part_of_the_signature(api: Api) -> None:
    headers = sign_request(api.account, method="GET", path="/v3/projects", query="name=eu-de", date=_date(api))
    answer = await api.client.get("/v3/projects", params={"name": "eu-de"}, headers=headers)
    assert answer.status_code == 200
    answer = await api.client.get("/v3/projects", params={"name": "eu-nl"}, headers=headers)
    assert answer.status_code == 401

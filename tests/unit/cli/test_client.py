"""The client's signatures are what the server asks for, and its readings are what the server says."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from towline.api.signature import SignedRequest, parse_authorization, verify
from towline.cli.client import ApiClient, ApiKey, ApiRefused
from towline.cli.demo_watch import Moment, view_of_record
from towline.domain.errors import ServerUnreachable

KEY = ApiKey(project_id="a" * 32, access_key="AK", secret_key="SK")
STREAMING: dict[str, Any] = {
    "job_id": "x",
    "progress": "100",
    "transfer_status": "INCRE_TRANSFER_STARTED",
    "incre_trans_delay": "1",
    "incre_trans_delay_millis": "1500",
    "remaining_time": "0",
    "apply_rows_rate": 700,
    "apply_bytes_rate": -1,
}


def test_signature_is_accepted_by_the_server() -> None:
    client = ApiClient("http://127.0.0.1:8080", KEY)
    path, body = f"/v3/{KEY.project_id}/jobs/batch-progress", json.dumps({"jobs": ["x"]}).encode()
    headers = {name.lower(): value for name, value in client._headers("POST", path, body).items()}
    request = SignedRequest(method="POST", path=path, query="", headers=headers, body=body)
    authorization = parse_authorization(headers["authorization"])
    assert authorization.access_key == "AK"
    verify(request, authorization, secret_key="SK", now_us=time.time_ns() // 1000)


def test_i7_key_does_not_show_its_secret() -> None:
    assert "SK" not in repr(ApiKey("p", "access", "SK"))


async def test_server_that_is_not_there_is_named() -> None:
    client = ApiClient("http://127.0.0.1:9", KEY)
    assert not await client.is_healthy()
    with pytest.raises(ServerUnreachable, match=r"127\.0\.0\.1:9"):
        await client.read_progress(["x"])


async def test_refused_item_is_an_error_with_the_servers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"results": [{"id": "x", "status": "failed", "error_code": "DRS.M05003", "error_msg": "not found"}]}
    client = ApiClient("http://127.0.0.1:9", KEY)
    monkeypatch.setattr(client, "_exchange", lambda *_: (202, answer))
    with pytest.raises(ApiRefused, match=r"DRS\.M05003: not found"):
        await client.start("x")


def test_proof_is_never_later_than_the_question_minus_the_delay() -> None:
    moment = Moment(asked_us=10_000_000, record=STREAMING)
    assert moment.proven_us == 8_500_000
    assert Moment(10_000_000, {**STREAMING, "incre_trans_delay_millis": "-1"}).proven_us is None


def test_record_is_shown_with_dashes_for_minus_one() -> None:
    view = view_of_record("demo", STREAMING, None)
    assert (view.percent, view.delay_ms, view.rows_per_s, view.bytes_per_s) == (100, 1500, 700, None)
    assert view.is_streaming


def test_unknown_remaining_time_is_not_a_number() -> None:
    record = {"transfer_status": "FULL_TRANSFER_STARTED", "progress": "3", "remaining_time": "-1"}
    view = view_of_record("demo", record, None)
    assert (view.remaining_s, view.delay_ms) == (None, None)

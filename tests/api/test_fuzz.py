"""Bodies that no client means: never a server error, never a change when the call is refused."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.harness import UNKNOWN_ID, Api, endpoint_body, job_body, running_api
from tests.api.test_access import PROJECT_CALLS
from towline.api.wire.errors import ApiError
from towline.api.wire.fields import decode_json
from towline.service.ports import Credentials

MEMBERS = sorted(
    {
        *job_body(),
        *endpoint_body(),
        *("jobs", "req", "page_req", "cur_page", "per_page", "job_id", "id", "job", "speed_limits", "speed_limit"),
        *("begin", "end", "speed", "precheck_mode", "pause_mode", "delete_type", "end_point_type", "start_time"),
        *("selected", "object_type", "object_name", "parent_id", "select", "conflict_policy", "status", "key"),
        *("object_info", "transformation_info", "replace_definer", "is_migrate_user", "list", "user_roles", "property"),
        *("alarm_notify_info", "topic_urn", "engine_type", "refresh", "action", "selected", "is_set_password"),
        *("value", "store_db_info", "alarm_notify", "subscriptions", "sys_tags", "period_order", "kerberos"),
    }
)
WORDS = [
    *("sync", "postgresql", "up", "eip", "high", "FULL_TRANS", "so", "ta", "all", "delete", "terminate", "stop"),
    *("forStartJob", "true", "table", "database", "10:00", "11:59", "db-*-*-s-*-*-t", "", "\x00", "\ud800", "x" * 300),
    *("9" * 30, "-1", "0", "14", "１２", UNKNOWN_ID, UNKNOWN_ID.upper()),
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**25, -(10**25), 2**31, 2**63, 2**64, 0, 1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS),
    st.text(max_size=20),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=8)),
    max_leaves=30,
)
# Near misses: bodies that are right but for a few members, where rules meet.
ITEMS = st.builds(
    lambda base, changes: {**base, **changes},
    st.sampled_from(
        [
            job_body(name="fuzz-job"),
            {"job_id": UNKNOWN_ID, "id": UNKNOWN_ID, "net_type": "eip", **endpoint_body()},
            {"job_id": UNKNOWN_ID, "precheck_mode": "forStartJob", "pause_mode": "all", "delete_type": "delete"},
            {"job_id": UNKNOWN_ID, "db_password": "x", "end_point_type": "so", "conflict_policy": "stop"},
            {"job_id": UNKNOWN_ID, "speed_limit": [{"begin": "10:00", "end": "11:59", "speed": "1"}]},
            {"job_id": UNKNOWN_ID, "is_set_password": True, "is_migrate_user": True, "list": [{"account": "app"}]},
            {
                "job_id": UNKNOWN_ID,
                "object_info": [{"id": "a-*-*-b-*-*-c"}],
                "transformation_info": {"value": "id > 1"},
            },
            {"job_id": UNKNOWN_ID, "action": "testConnection", "property": "[{}]", "replace_definer": True},
            {"job_id": UNKNOWN_ID, "selected": True, "job": [{"id": "a-*-*-b-*-*-c", "object_type": "table"}]},
        ]
    ),
    st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=3),
)
BODIES = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=6),
    st.builds(
        lambda items, extra: {**extra, "jobs": items, "speed_limits": items, "db_use_type": "sync"},
        st.lists(ITEMS, min_size=1, max_size=3),
        st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=2),
    ),
)


class Session:
    """One application for all examples, with a loop of its own: the examples are run by a plain function."""

    def __init__(self, folder: Path, account: Credentials) -> None:
        self.loop = asyncio.new_event_loop()
        self._context: AbstractAsyncContextManager[Api] = running_api(folder, account)
        self.api = self.run(self._context.__aenter__())
        self.names: list[str] = []
        self.unchanged: Any = None  # the last snapshot, while nothing can have changed since

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self._context.__aexit__(None, None, None))
        self.loop.close()

    async def snapshot(self) -> Any:
        """Everything about all jobs that a refused call could have changed."""
        answer = await self.api.post("jobs", {"db_use_type": "sync", "per_page": 0})
        ids = [job["id"] for job in answer.json()["jobs"]]
        outcomes = await self.api.jobs.jobs(self.api.caller, ids)
        return [outcome.value for outcome in outcomes]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, prepared_store: tuple[Path, Credentials]) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("fuzz") / "store"
    shutil.copytree(prepared_store[0], folder)
    session = Session(folder, prepared_store[1])
    yield session
    session.close()


@pytest.mark.parametrize(("method", "path"), [*PROJECT_CALLS, ("POST", "/v3/auth/tokens")])
def test_no_body_breaks_the_server_or_changes_anything_when_refused(session: Session, method: str, path: str) -> None:
    known_id = session.run(session.api.create_job(name=f"known-{len(session.names)}"))
    session.names.append(known_id)
    session.unchanged = None

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(BODIES, st.booleans())
    def examples(body: Any, means_known_job: bool) -> None:
        text = json.dumps(body)
        session.run(check(text.replace(UNKNOWN_ID, known_id) if means_known_job else text))

    async def check(text: str) -> None:
        before = session.unchanged or await session.snapshot()
        session.unchanged = None
        answer = await session.api.call(method, path, text.encode())
        assert answer.status_code < 500, answer.text
        assert len(answer.headers["X-Request-Id"]) == 32
        if answer.status_code >= 400:
            error = answer.json()
            assert "error_code" in error or "error" in error
            assert "Traceback" not in answer.text
            session.unchanged = await session.snapshot()
            assert session.unchanged == before

    examples()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_decoder(body: bytes) -> None:
    try:
        decoded = decode_json(body)
    except ApiError as error:
        refused = error.code
    else:
        assert isinstance(decoded, dict)
        return
    assert refused == "DRS.M00007"


HEADERS = st.dictionaries(
    st.sampled_from(["Authorization", "X-Auth-Token", "X-Language", "Content-Type", "X-Sdk-Date"]),
    st.one_of(
        st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
        st.sampled_from(
            [
                "SDK-HMAC-SHA256 Access=a, SignedHeaders=x-sdk-date, Signature=" + "0" * 64,
                "20250301T120000Z",
                "x" * 9000,
                "application/json",
            ]
        ),
    ),
    max_size=4,
)


def test_no_header_breaks_the_server(session: Session) -> None:
    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(HEADERS)
    def examples(headers: dict[str, str]) -> None:
        answer = session.run(session.api.call("POST", "jobs/batch-progress", {"jobs": [UNKNOWN_ID]}, **headers))
        assert answer.status_code in (200, 401, 415, 429), answer.text

    examples()

"""What each role may do, failed signatures, and tokens of another identity service."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.api.harness import CHEAP_HASHER, UNKNOWN_ID, Api, sign_in, sign_request
from towline.api.app import create_app
from towline.api.routing import Route
from towline.domain.access import Role
from towline.domain.errors import IdentityUnavailable, RequestError
from towline.outbound.keystone import KeystoneValidator
from towline.outside_config import KeystoneConfig
from towline.service.accounts import AccountService
from towline.service.foreign_tokens import ForeignTokens
from towline.service.identity import IdentityService
from towline.service.ports import Caller, Credentials


def routes_of(api: Api) -> list[Route]:
    from towline.api.app import all_routes

    return [route for route in all_routes(api.jobs, api.identity) if "{project_id}" in route.path]


def accounts_of(api: Api) -> AccountService:
    return AccountService(api.store.accounts, api.store.identities, clock=api.clock, hasher=CHEAP_HASHER)


async def token_of(api: Api, role: Role | None) -> str:
    """A token of a new user with this role in the project."""
    name = f"with-{role.value if role else 'no-role'}"
    accounts = accounts_of(api)
    _, password = await accounts.add_user(
        name, domain="acme", password=None, role=role or Role.READER, project=api.account.project_name
    )
    account = Credentials(
        project_id=api.account.project_id,
        project_name=api.account.project_name,
        domain_name="acme",
        user_name=name,
        password=password,
        access_key="",
        secret_key="",
    )
    token = await sign_in(api.client, account)
    if role is None:
        await accounts.set_role(name, None, project=api.account.project_name)
    return token


@pytest.mark.parametrize("role", [*Role, None])
async def test_every_call_wants_its_role(api: Api, role: Role | None) -> None:
    job_id = await api.create_job()
    before = await api.stored_job(job_id)
    api.token = await token_of(api, role)
    for route in routes_of(api):
        path = route.path.replace("{project_id}", api.account.project_id)
        for name in ("job_id", "type", "compare_type", "compare_job_id", "db_use_type", "resource_type"):
            path = path.replace(f"{{{name}}}", job_id if name == "job_id" else "table")
        answer = await api.call(route.method, path, {"jobs": [{"job_id": job_id}]} if route.method != "GET" else None)
        if role is not None and role.includes(route.needed_role):
            assert answer.status_code not in (401, 403), (route, answer.text)
        else:
            assert (answer.status_code, answer.json()["error_code"]) == (403, "APIGW.0302"), (route, answer.text)
            assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    if role in (Role.READER, None):
        assert await api.stored_job(job_id) == before


async def test_a_reader_reads_and_a_disabled_user_does_not(api: Api) -> None:
    token = await token_of(api, Role.READER)
    read = ("POST", "jobs/batch-progress", {"jobs": [UNKNOWN_ID]})
    assert (await api.call(*read, **{"X-Auth-Token": token})).status_code == 200
    refused = await api.call("POST", "jobs/batch-creation", {"jobs": []}, language="zh-cn", **{"X-Auth-Token": token})
    assert refused.status_code == 403
    assert "operator" in refused.json()["error_msg"]
    await accounts_of(api).set_enabled("with-reader", is_enabled=False)
    assert (await api.call(*read, **{"X-Auth-Token": token})).status_code == 401


async def test_a_key_may_do_what_its_user_may_and_ends_when_deleted(api: Api) -> None:
    accounts = accounts_of(api)
    await token_of(api, Role.READER)
    made = await accounts.add_key("with-reader", project=api.account.project_name)
    date = datetime.fromtimestamp(api.clock.us / 1_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")

    async def send(path: str) -> int:
        headers = sign_request(made, method="POST", path=api.project + path, body=b"{}", date=date)
        answer = await api.client.post(api.project + path, content=b"{}", headers=headers)
        return answer.status_code

    assert await send("jobs/batch-progress") == 400
    assert await send("jobs/batch-starting") == 403
    await accounts.set_role("with-reader", Role.OPERATOR, project=api.account.project_name)
    assert await send("jobs/batch-starting") == 400
    await accounts.delete_key(made.access_key)
    assert await send("jobs/batch-progress") == 401
    with pytest.raises(RequestError):
        await accounts.delete_key(made.access_key)


async def test_projects_of_a_user_are_those_with_a_role(api: Api) -> None:
    accounts = accounts_of(api)
    await accounts.add_project("eu-nl", domain="acme", max_jobs=1)
    api.token = await token_of(api, Role.OPERATOR)
    listed = (await api.call("GET", "/v3/auth/projects")).json()["projects"]
    assert [project["name"] for project in listed] == ["eu-de"]
    await accounts.set_role("with-operator", Role.READER, project="eu-nl")
    assert len((await api.call("GET", "/v3/projects")).json()["projects"]) == 2


async def test_a_project_has_its_own_limit_of_jobs(api: Api) -> None:
    await accounts_of(api).limit_project("eu-de", 1)
    quota = (await api.call("GET", "quotas")).json()["quotas"]["resource"]
    assert (quota["quota"], quota["used"]) == (1, 0)
    await api.create_job()
    with pytest.raises(AssertionError, match="quota"):
        await api.create_job(name="one-too-many")


async def test_failed_signatures_block_the_key_for_this_address_only(api: Api) -> None:
    path = api.project + "jobs/batch-progress"
    date = datetime.fromtimestamp(api.clock.us / 1_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")
    good = sign_request(api.account, method="POST", path=path, body=b"{}", date=date)
    bad = {**good, "Authorization": good["Authorization"][:-4] + "0000"}
    for _ in range(10):
        assert (await api.client.post(path, content=b"{}", headers=bad)).status_code == 401
    blocked = await api.client.post(path, content=b"{}", headers=good)
    assert (blocked.status_code, blocked.json()["error_code"]) == (429, "APIGW.0308")
    assert (await api.post("jobs/batch-progress", {"jobs": [UNKNOWN_ID]})).status_code == 200
    api.clock.advance(61)
    assert (await api.client.post(path, content=b"{}", headers=good)).status_code == 400


# --- a Keystone --------------------------------------------------------------------------------------

KEYSTONE_TOKEN = "gAAAAAB-of-the-keystone"
FOREIGN_PROJECT = "a" * 32


class Keystone(ThreadingHTTPServer):
    """Validates one token, in Keystone's own manner."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.status = 200
        self.roles = ["member"]
        super().__init__(("127.0.0.1", 0), _KeystoneCalls)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _KeystoneCalls(BaseHTTPRequestHandler):
    server: Keystone

    def do_GET(self) -> None:
        self.server.asked += 1
        self.server.may_answer.wait(30)
        status, body = self.server.status, b"{}"
        if self.path.partition("?")[0] != "/v3/auth/tokens":
            status = 404
        elif status == 200 and self.headers["X-Auth-Token"] != KEYSTONE_TOKEN:
            status = 401
        elif status == 200 and self.headers["X-Subject-Token"] != KEYSTONE_TOKEN:
            status = 404
        elif status == 200:
            domain = {"id": "default", "name": "Default"}
            token: dict[str, Any] = {
                "methods": ["password"],
                "expires_at": "2025-03-01T12:00:40.000000Z",
                "issued_at": "2025-03-01T11:00:00.000000Z",
                "user": {"id": "u1", "name": "ada", "domain": domain},
                "project": {"id": FOREIGN_PROJECT, "name": "shop", "domain": domain},
                "roles": [{"id": name, "name": name} for name in self.server.roles],
            }
            body = json.dumps({"token": token}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def keystone() -> Iterator[Keystone]:
    server = Keystone()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def with_keystone(api: Api, url: str, *, timeout_s: float = 20) -> IdentityService:
    validator = KeystoneValidator(KeystoneConfig(url=url, timeout_s=timeout_s))
    foreign = ForeignTokens(validator, api.store.accounts, clock=api.clock)
    return IdentityService(api.store.identities, clock=api.clock, hasher=CHEAP_HASHER, foreign=foreign)


async def test_a_token_of_the_keystone_lets_into_its_project(api: Api, keystone: Keystone) -> None:
    import httpx

    identity = with_keystone(api, keystone.url)
    app = create_app(api.jobs, identity, clock=api.clock, version="0")
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://towline.test") as client:
        headers = {"X-Auth-Token": KEYSTONE_TOKEN}
        own, other = f"/v3/{FOREIGN_PROJECT}/jobs", f"/v3/{api.account.project_id}/jobs"
        answer = await client.post(own, json={"db_use_type": "sync"}, headers=headers)
        assert (answer.status_code, answer.json()["total_record"]) == (200, 0)
        assert (await client.post(other, json={"db_use_type": "sync"}, headers=headers)).status_code == 403
        listed = (await client.get("/v3/projects", headers=headers)).json()["projects"]
        assert [(project["id"], project["name"]) for project in listed] == [(FOREIGN_PROJECT, "shop")]
        assert keystone.asked == 1, "a token in use is asked about once a minute"
        # Never believed for longer than it is valid.
        api.clock.advance(41)
        assert (await client.post(own, json={"db_use_type": "sync"}, headers=headers)).status_code == 401
        assert keystone.asked == 2
        # What it does not know is not asked for again with each call.
        for _ in range(3):
            assert (await client.get("/v3/projects", headers={"X-Auth-Token": "stale"})).status_code == 401
        assert keystone.asked == 3
        # An outage is not a wrong token: the client may try again.
        keystone.status = 503
        api.clock.advance(11)
        answer = await client.get("/v3/projects", headers={"X-Auth-Token": "stale"})
        assert (answer.status_code, answer.json()["error_code"]) == (503, "DRS.M01501")


async def test_validations_are_shared_and_bounded(api: Api, keystone: Keystone) -> None:
    identity = with_keystone(api, keystone.url)
    keystone.may_answer.clear()
    calls = [asyncio.create_task(identity.caller_for_token(KEYSTONE_TOKEN)) for _ in range(5)]
    calls += [asyncio.create_task(identity.caller_for_token(f"invented-{number}")) for number in range(300)]
    turned_away: set[asyncio.Task[Caller]] = set()
    async with asyncio.timeout(20):
        while keystone.asked < 8 or len(turned_away) < 93:
            await asyncio.sleep(0.01)
            turned_away = {call for call in calls if call.done()}
    assert keystone.asked == 8
    assert {type(call.exception()) for call in turned_away} == {IdentityUnavailable}
    # Whoever hangs up takes the answer from nobody else.
    calls[0].cancel()
    keystone.may_answer.set()
    await asyncio.wait(calls)
    assert {call.result().project_id for call in calls[1:5]} == {FOREIGN_PROJECT}
    assert keystone.asked == 208, "each token once"


async def test_an_outage_of_the_keystone_is_not_asked_for_with_each_call(api: Api) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        identity = with_keystone(api, f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.05)
        for number in range(20):
            with pytest.raises(IdentityUnavailable):
                await identity.caller_for_token(f"token-{number}")
        silent.settimeout(0.05)
        silent.accept()[0].close()
        with pytest.raises(TimeoutError):
            silent.accept()
        api.clock.advance(6)
        with pytest.raises(IdentityUnavailable):
            await identity.caller_for_token("token-0")
        silent.accept()[0].close()


@pytest.mark.parametrize(
    ("names", "role"), [(["admin", "reader"], Role.ADMIN), (["READER"], Role.READER), (["cleaner"], None), ([], None)]
)
async def test_roles_of_the_keystone_are_mapped(keystone: Keystone, names: list[str], role: Role | None) -> None:
    keystone.roles = names
    found = await KeystoneValidator(KeystoneConfig(url=keystone.url)).validate(KEYSTONE_TOKEN)
    assert found is not None
    assert (found.role, found.user_name) == (role, "ada")


async def test_what_is_no_keystone_is_an_outage(keystone: Keystone) -> None:
    validator = KeystoneValidator(KeystoneConfig(url=keystone.url))
    for status in (302, 500):
        keystone.status = status
        with pytest.raises(IdentityUnavailable):
            await validator.validate(KEYSTONE_TOKEN)
    keystone.status = 200
    assert await validator.validate("wrong") is None
    assert await validator.validate("not\r\nforwarded") is None
    with pytest.raises(RequestError):
        KeystoneValidator(KeystoneConfig(url=keystone.url, roles={"member": "emperor"}))

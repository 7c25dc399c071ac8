"""Drives the application without a network: real routes, real services, a real SQLite store.

Only the databases of jobs are played: no test here runs a job. What a worker would write is written into the store
through the store's own interface for workers.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from sqlalchemy import insert, select

from towline.api.app import create_app
from towline.api.signature import Authorization, SignedRequest, render_canonical_request, sign
from towline.api.wire.creation import read_draft
from towline.domain.accounts import Account, Parameter
from towline.domain.errors import ConnectionRefused, Side, TowlineError
from towline.domain.forecast import TrackRecord
from towline.domain.jobs import NEXT, Endpoint, Failure, JobSpec, JobStatus
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.progress import Progress
from towline.domain.structure import StructureEntry
from towline.domain.tables import ObjectSelection, RowFilter
from towline.engine.ports import Reporter
from towline.service.identity import IdentityService
from towline.service.jobs import JobService
from towline.service.ports import Caller, Clock, Credentials, Job, JobEdit
from towline.store import tables
from towline.store.opening import Store, opened_store

BASE_URL = "http://towline.test:8811"
UNKNOWN_ID = "00000000-0000-0000-0000-00000000jb00"


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.us = int(datetime(2025, 3, 1, 12, tzinfo=UTC).timestamp() * 1_000_000)

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return self.us / 1_000_000

    def advance(self, seconds: float) -> None:
        self.us += int(seconds * 1_000_000)


@dataclass
class PlayedDatabases:
    """Answers for the databases of jobs."""

    error: TowlineError | None = None
    items: list[PrecheckItem] = field(
        default_factory=lambda: [
            PrecheckItem("srcDbConnection", "network", Verdict.PASSED),
            PrecheckItem("srcDbPrivilegesIsEnough", "db_user_privilege", Verdict.WARNING, "SRC_NO_SUPERUSER", "m", "r"),
        ]
    )
    seen: list[Endpoint] = field(default_factory=list)
    entries: list[StructureEntry] = field(default_factory=list)
    joining: list[ObjectSelection] = field(default_factory=list)

    async def check_connection(self, endpoint: Endpoint, *, is_source: bool) -> None:
        self.seen.append(endpoint)
        if self.error is not None:
            raise self.error

    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]:
        if self.error is not None:
            raise self.error
        return self.items

    async def check_joining(self, spec: JobSpec) -> list[PrecheckItem]:
        self.joining.append(spec.selection)
        return self.items

    async def read_accounts(self, source: Endpoint) -> list[Account]:
        return [Account("app", can_login=True, member_of=("staff",)), Account("staff", can_login=False)]

    async def read_parameters(self, source: Endpoint, target: Endpoint) -> list[Parameter]:
        return [
            Parameter("work_mem", "performance", "8MB", "4MB", is_number=True, allowed="64-2", needs_restart=False),
            Parameter("max_connections", "common", "50", "50", is_number=True, allowed="1-9", needs_restart=True),
        ]

    async def write_parameters(self, target: Endpoint, values: Mapping[str, str]) -> bool:
        return "max_connections" in values

    async def read_structure(self, target: Endpoint, job_id: str) -> list[StructureEntry]:
        if self.error is not None:
            raise self.error
        return self.entries

    async def check_row_filter(self, source: Endpoint, wish: RowFilter, *, follow: bool) -> None: ...

    async def remove_traces(self, spec: JobSpec, *, reporter: Reporter, by_force: bool = False) -> None: ...


@dataclass
class Api:
    """The application and everything behind it."""

    client: httpx.AsyncClient
    store: Store
    jobs: JobService
    identity: IdentityService
    databases: PlayedDatabases
    clock: ManualClock
    account: Credentials
    token: str
    caller: Caller

    @property
    def project(self) -> str:
        return f"/v3/{self.account.project_id}/"

    async def call(
        self, method: str, path: str, body: Any = None, *, language: str | None = None, **headers: str
    ) -> httpx.Response:
        """One authenticated request; `path` is below the caller's project unless it begins with a slash."""
        sent = {"X-Auth-Token": self.token, "Content-Type": "application/json", **headers}
        if language:
            sent["X-Language"] = language
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        url = path if path.startswith("/") else self.project + path
        return await self.client.request(method, url, content=content, headers=sent)

    async def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return await self.call("POST", path, body, **options)

    async def put(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return await self.call("PUT", path, body, **options)

    async def create_job(self, **members: Any) -> str:
        """The id of a new job."""
        answer = await self.post("jobs/batch-creation", {"jobs": [job_body(**members)]})
        assert answer.status_code == 202, answer.text
        return answer.json()["results"][0]["id"]

    async def bring_to(self, job_id: str, status: JobStatus, **changes: Any) -> None:
        """Put a job where a worker would have brought it."""

        now = (await self.store.work.load_job(job_id)).status
        for step in _road(now, status)[:-1]:
            await self.store.jobs.edit(job_id, _to(step), project_id=None)
        await self.store.jobs.edit(job_id, _to(status, **changes), project_id=None)

    async def report(self, job_id: str, progress: Progress, *, track: TrackRecord | None = None) -> None:
        """Write a job's figures, and its estimates if given, as its worker would, with a lease taken for it."""
        lease = await self.store.work.take_lease(job_id, "a test", ttl_s=10)
        assert lease is not None
        await self.store.work.save_progress(lease, progress, track=track)
        await self.store.work.release_lease(lease)

    async def progress_of(self, job_id: str, **options: Any) -> dict[str, Any]:
        answer = await self.post("jobs/batch-progress", {"jobs": [job_id]}, **options)
        assert answer.status_code == 200, answer.text
        (record,) = answer.json()["results"]
        return record

    async def stored_job(self, job_id: str) -> Job:
        (outcome,) = await self.jobs.jobs(self.caller, [job_id])
        assert outcome.value is not None, outcome.error
        return outcome.value


def _road(start: JobStatus, end: JobStatus) -> list[JobStatus]:
    """The shortest way through the legal steps, `start` left out."""
    roads: list[list[JobStatus]] = [[start]]
    for road in roads:
        if road[-1] is end:
            return road[1:]
        roads += [[*road, step] for step in NEXT[road[-1]] if step not in road]
    raise AssertionError(f"no way from {start} to {end}")


def _to(status: JobStatus, **changes: Any) -> Callable[[Job], JobEdit]:
    return lambda job: JobEdit(replace(job, status=status, **changes))


def failure(code: str = "WAL_LEVEL_NOT_LOGICAL") -> Failure:
    return Failure(code=code, message="wal_level is replica", remedy="Set it to logical.", side="source")


def refused() -> ConnectionRefused:
    return ConnectionRefused("cannot reach 127.0.0.1:1", side=Side.SOURCE)


def endpoint_body(**members: Any) -> dict[str, Any]:
    return {
        "db_type": "postgresql",
        "ip": "10.1.2.3",
        "db_port": 5432,
        "db_user": "mover",
        "db_password": "Secret-1-of-the-test",
        "db_name": "shop",
        **members,
    }


def job_body(**members: Any) -> dict[str, Any]:
    """A complete job as a typed client sends it at creation."""
    body: dict[str, Any] = {
        "name": "move-shop",
        "description": "the shop",
        "db_use_type": "sync",
        "engine_type": "postgresql",
        "job_direction": "up",
        "net_type": "eip",
        "bind_eip": True,
        "node_type": "high",
        "task_type": "FULL_INCR_TRANS",
        "customize_sutnet_id": "",
        "expired_days": "14",
        "is_target_readonly": True,
        "multi_write": False,
        "tags": [{"key": "team", "value": "shop"}],
        "source_endpoint": endpoint_body(),
        "target_endpoint": endpoint_body(ip="10.1.2.4"),
        **members,
    }
    return {name: value for name, value in body.items() if value is not ABSENT}


ABSENT = object()


async def create_foreign_job(api: Api) -> str:
    """A job of another project."""
    async with api.store.database.writing() as connection:
        domain_id = await connection.scalar(select(tables.domain.c.domain_id))
        row = {"project_id": "f" * 32, "domain_id": domain_id, "name": "eu-nl"}
        await connection.execute(insert(tables.project), row)
    stranger = Caller(project_id="f" * 32, user_id="f" * 32, user_name="stranger")
    (outcome,) = await api.jobs.create(stranger, [read_draft(job_body(name="foreign-job"))])
    assert outcome.value is not None
    return outcome.value.job_id


def sign_request(
    account: Credentials,
    *,
    method: str,
    path: str,
    body: bytes = b"",
    query: str = "",
    headers: dict[str, str] | None = None,
    date: str,
    signed: tuple[str, ...] = ("host", "x-sdk-date"),
) -> dict[str, str]:
    """The headers of a signed request."""
    known = {"host": BASE_URL.removeprefix("http://"), "x-sdk-date": date, **(headers or {})}
    request = SignedRequest(method=method, path=path, query=query, headers=known, body=body)
    authorization = Authorization(account.access_key, signed, "")
    signature = sign(
        render_canonical_request(request, authorization.signed_headers), date=date, secret_key=account.secret_key
    )
    return {
        **known,
        "Authorization": f"SDK-HMAC-SHA256 Access={account.access_key}, "
        f"SignedHeaders={';'.join(sorted(signed))}, Signature={signature}",
    }


# The cheapest hash there is: what costs time in argon2 is not under test here.
CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def store_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'store.db'}"


async def prepare_store(folder: Path) -> Credentials:
    """A store with one account; copies of the folder are stores of their own."""
    return await make_store(store_url(folder), folder / "keys", clock=ManualClock(), hasher=CHEAP_HASHER)


async def make_store(
    url: str, data_dir: Path, *, clock: Clock, project: str = "eu-de", hasher: PasswordHasher | None = None
) -> Credentials:
    """As `towline init` makes it, in this process: the command takes a second to import what is here."""
    async with opened_store(url, data_dir, clock=clock, may_create=True) as store:
        identity = IdentityService(store.identities, clock=clock, hasher=hasher)
        account = await identity.create_project_user_key(project_name=project, domain_name="acme", user_name="operator")
    assert account is not None
    return account


@asynccontextmanager
async def running_api(folder: Path, account: Credentials) -> AsyncIterator[Api]:
    """The application on the prepared store in `folder`."""
    clock = ManualClock()
    async with opened_store(store_url(folder), folder / "keys", clock=clock, checks_schema=False) as store:
        databases = PlayedDatabases()
        jobs = JobService(store.jobs, databases, clock=clock)
        identity = IdentityService(store.identities, clock=clock, hasher=CHEAP_HASHER)
        app = create_app(jobs, identity, clock=clock, version="0.0.0")
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
            token = await sign_in(client, account)
            caller = await identity.caller_for_token(token)
            try:
                yield Api(client, store, jobs, identity, databases, clock, account, token, caller)
            finally:
                await jobs.close()


def token_body(account: Credentials, **changes: Any) -> dict[str, Any]:
    user = {"name": account.user_name, "password": account.password, "domain": {"name": account.domain_name}}
    return {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": {**user, **changes}}},
            "scope": {"project": {"name": account.project_name}},
        }
    }


async def sign_in(client: httpx.AsyncClient, account: Credentials) -> str:
    answer = await client.post("/v3/auth/tokens", json=token_body(account))
    assert answer.status_code == 201, answer.text
    return answer.headers["X-Subject-Token"]

"""Every test of this folder that asks for `store` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tests.servers.fixtures import DatabaseFactory
from towline.clock import SystemClock
from towline.domain.accounts import Account, Parameter
from towline.domain.errors import TowlineError
from towline.domain.jobs import Endpoint, JobSpec, TaskMode
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.structure import StructureEntry, StructureReport
from towline.domain.tables import RowFilter
from towline.engine.ports import Reporter
from towline.service.identity import IdentityService
from towline.service.jobs import JobService
from towline.service.ports import Caller, Credentials, Job, JobDraft
from towline.store.opening import Store, opened_store

SOURCE_PASSWORD = "s0urce-Geheim-77"
TARGET_PASSWORD = "t4rget-Geheim-88"
SOURCE = Endpoint("postgresql", "source.example", 5432, "mover", SOURCE_PASSWORD, "shop")
TARGET = Endpoint("postgresql", "target.example", 5432, "mover", TARGET_PASSWORD, "shop")
# The real parameters cost half a second and 64 MB for each test.
CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
STRANGER = Caller("0" * 32, "nobody", "nobody")


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that does not exist yet, or an empty database for one."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    fresh_database: DatabaseFactory = request.getfixturevalue("fresh_database")
    return fresh_database(request.getfixturevalue("pg18"), "store").url


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def store(store_url: str, data_dir: Path) -> AsyncIterator[Store]:
    async with opened_store(store_url, data_dir, clock=SystemClock(), may_create=True) as opened:
        yield opened


@dataclass
class ScriptedProbes:
    """Databases that answer as the test says."""

    error: TowlineError | None = None
    removed: list[str] = field(default_factory=list)
    told: list[StructureReport] = field(default_factory=list)  # by the end
    forced: list[bool] = field(default_factory=list)
    checked: list[Endpoint] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    is_held: bool = False

    async def check_connection(self, endpoint: Endpoint, *, is_source: bool) -> None:
        self.checked.append(endpoint)
        if self.error is not None:
            raise self.error

    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]:
        if self.is_held:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        return [PrecheckItem("srcDbConnection", "network", Verdict.PASSED)]

    async def check_joining(self, spec: JobSpec) -> list[PrecheckItem]:
        return []

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
        return []

    async def check_row_filter(self, source: Endpoint, wish: RowFilter, *, follow: bool) -> None: ...

    async def remove_traces(self, spec: JobSpec, *, reporter: Reporter, by_force: bool = False) -> None:
        self.forced.append(by_force)
        await reporter.restate(self.told)
        await reporter.deliver()
        if self.error is not None:
            raise self.error
        self.removed.append(spec.job_id)


@pytest.fixture
def probes() -> ScriptedProbes:
    return ScriptedProbes()


@pytest.fixture
async def credentials(store: Store) -> Credentials:
    identity = IdentityService(store.identities, clock=SystemClock(), hasher=CHEAP_HASHER)
    made = await identity.create_project_user_key(project_name="shop", domain_name="acme", user_name="ada")
    assert made is not None
    return made


@pytest.fixture
def caller(credentials: Credentials) -> Caller:
    return Caller(credentials.project_id, "ada", credentials.user_name)


@pytest.fixture
async def service(store: Store, probes: ScriptedProbes) -> AsyncIterator[JobService]:
    jobs = JobService(store.jobs, probes, clock=SystemClock())
    yield jobs
    await jobs.close()


def draft(name: str = "shop-move", *, mode: TaskMode = TaskMode.FULL_AND_STREAM) -> JobDraft:
    return JobDraft(name=name, mode=mode, source=SOURCE, target=TARGET)


async def create_job(
    service: JobService, caller: Caller, name: str = "shop-move", *, mode: TaskMode = TaskMode.FULL_AND_STREAM
) -> Job:
    (outcome,) = await service.create(caller, [draft(name, mode=mode)])
    assert outcome.error is None
    assert outcome.value is not None
    return outcome.value


async def read_job(service: JobService, caller: Caller, job_id: str) -> Job:
    (outcome,) = await service.jobs(caller, [job_id])
    assert outcome.error is None
    assert outcome.value is not None
    return outcome.value

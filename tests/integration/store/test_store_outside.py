"""What is remembered of accounts, messages, histories and zones, on both kinds of store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from tests.integration.store.conftest import CHEAP_HASHER, create_job
from towline.clock import SystemClock
from towline.domain.access import Role
from towline.domain.accounts import AccountWish
from towline.domain.errors import RequestError
from towline.domain.jobs import JobStatus
from towline.service.accounts import AccountService
from towline.service.jobs import JobService
from towline.service.ports import Caller, Credentials, Domain, JobEdit, Project
from towline.store.opening import Store


async def test_one_server_at_a_time_has_a_duty(store: Store) -> None:
    assert await store.outside.take_duty("outside", "one", ttl_s=60)
    assert not await store.outside.take_duty("outside", "two", ttl_s=60)
    assert await store.outside.take_duty("outside", "one", ttl_s=-1)
    assert await store.outside.take_duty("outside", "two", ttl_s=60)
    assert await store.outside.take_duty("another", "one", ttl_s=60)


async def test_lines_are_sent_once_and_in_order(store: Store, service: JobService, caller: Caller) -> None:
    shipped, other = await create_job(service, caller), await create_job(service, caller, "other")
    wish = {"lts_enabled": True, "log_group_id": "files", "log_stream_id": "s"}
    await service.set_attributes(caller, shipped.job_id, {"lts": wish}, "history goes to files")
    assert await store.outside.load_groups() == ["files"]
    assert await store.outside.load_lines("another", limit=10) == []
    lines = await store.outside.load_lines("files", limit=10)
    assert [(line.job_id, line.message) for line in lines] == [
        (shipped.job_id, "created as shop-move"),
        (shipped.job_id, "history goes to files"),
    ]
    assert await store.outside.load_lines("files", limit=1) == lines[:1]
    await store.outside.mark_sent([lines[0].event_id])
    assert await store.outside.load_lines("files", limit=10) == lines[1:]
    assert other.job_id not in {line.job_id for line in lines}
    await store.outside.mark_sent([line.event_id for line in lines])
    assert await store.outside.load_groups() == []


async def test_alarms_last_as_long_as_their_condition(store: Store, service: JobService, caller: Caller) -> None:
    job = await create_job(service, caller)
    assert await store.outside.load_watched() == []
    await service.set_attributes(caller, job.job_id, {"alarm_notify": {"delay_time": 5}}, "notification set")
    ((watched, figures),) = await store.outside.load_watched()
    assert (watched.job_id, figures.status) == (job.job_id, JobStatus.CONFIGURING)
    await store.outside.raise_alarm(job.job_id, "delay", at_us=1)
    assert await store.outside.load_alarms() == {(job.job_id, "delay"): False}
    await store.outside.mark_told(job.job_id, "delay", at_us=2)
    assert await store.outside.load_alarms() == {(job.job_id, "delay"): True}
    await store.outside.drop_alarm(job.job_id, "delay")
    assert await store.outside.load_alarms() == {}


async def test_i7_passwords_of_accounts_are_sealed(store: Store, service: JobService, caller: Caller) -> None:
    job = await create_job(service, caller)
    outcome = await service.choose_accounts(caller, job.job_id, ["app"], {"app": "Secret-of-app"})
    assert outcome.error is None
    spec = await store.jobs.load_spec(job.job_id)
    assert spec.accounts == AccountWish(("app",), {"app": "Secret-of-app"})
    assert "Secret-of-app" not in repr(spec)
    rows = await store.database.fetch(text("SELECT * FROM job"))
    assert "Secret-of-app" not in repr(rows)
    refused = await service.choose_accounts(caller, job.job_id, ["nobody"], {})
    assert isinstance(refused.error, RequestError)
    await store.jobs.edit(job.job_id, lambda job: JobEdit(replace(job, status=JobStatus.ENDING)), project_id=None)
    await store.jobs.edit(job.job_id, lambda job: JobEdit(replace(job, status=JobStatus.ENDED)), project_id=None)
    await service.delete(caller, job.job_id)
    (row,) = await store.database.fetch(text("SELECT accounts_secret FROM job"))
    assert row[0] is None


async def test_accounts_are_managed_by_name(store: Store, credentials: Credentials) -> None:
    accounts = AccountService(store.accounts, store.identities, clock=SystemClock(), hasher=CHEAP_HASHER)
    await accounts.add_project("second", domain="acme", max_jobs=3)
    await accounts.add_user("bob", domain="acme", password="given", role=Role.OPERATOR, project="second")
    with pytest.raises(RequestError):
        await accounts.add_user("bob", domain="acme", password=None, role=None, project=None)
    with pytest.raises(RequestError):
        await accounts.add_key("bob", project="shop")
    key = await accounts.add_key("bob", project="second")
    found = await store.identities.load_access_key(key.access_key)
    assert found is not None
    secret, caller = found
    assert (secret, caller.role, caller.max_jobs) == (key.secret_key, Role.OPERATOR, 3)
    await accounts.set_enabled("bob", is_enabled=False)
    assert await store.identities.load_access_key(key.access_key) is None
    assert await store.identities.load_user("bob", domain_name="acme") is None
    listed = {record.user.name: (record.is_enabled, dict(record.roles)) for record in await accounts.users()}
    assert listed == {"ada": (True, {"shop": Role.ADMIN}), "bob": (False, {"second": Role.OPERATOR})}
    assert [record.user_name for record in await accounts.keys()] == ["ada", "bob"]


async def test_projects_of_another_identity_service_are_made_once(store: Store) -> None:
    for domain in ("d1", "d2"):
        project = Project(f"p-{domain}", "shop", Domain(domain, "Default"))
        for _ in range(2):
            assert await store.accounts.ensure_project(project) is None
    names = [record.project.name for record in await store.accounts.load_all_projects()]
    assert names == ["shop", "shop (p-d2)"]

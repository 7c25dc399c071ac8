"""I7: what is secret is found nowhere in the clear, on SQLite and on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from tests.integration.store.conftest import (
    CHEAP_HASHER,
    SOURCE_PASSWORD,
    TARGET_PASSWORD,
    create_job,
)
from towline.clock import SystemClock
from towline.domain.errors import KeyMissing, StoreUnavailable
from towline.service.identity import IdentityService
from towline.service.jobs import JobService
from towline.service.ports import Caller, Credentials, TokenScope
from towline.store import tables
from towline.store.keyring import add_key, load_keyring
from towline.store.opening import Store, opened_store


async def dump(store: Store, store_url: str, tmp_path: Path) -> bytes:
    """Everything that the store keeps: all cells as text, and on SQLite the bytes of its files too."""
    content = b""
    async with store.database.reading() as connection:
        names = await connection.run_sync(lambda plain: inspect(plain).get_table_names())
        assert set(names) >= {"job", "event", "token"}
        for name in names:
            for row in await connection.execute(text(f"SELECT * FROM {name}")):
                content += b"".join(cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)
    if store.database.is_sqlite:
        content += read_all(tmp_path)
    return content


def read_all(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("store.db*"))


async def test_i7_no_secret_is_in_the_store(
    store: Store,
    service: JobService,
    caller: Caller,
    credentials: Credentials,
    store_url: str,
    tmp_path: Path,
):
    job = await create_job(service, caller)
    await service.change_password(caller, job.job_id, is_source=True, password="another-Geheim-99")
    identity = IdentityService(store.identities, clock=SystemClock(), hasher=CHEAP_HASHER)
    user = await identity.login("ada", credentials.password, domain="acme")
    token = (await identity.issue_token(user, TokenScope(project_name="shop"))).token

    content = await dump(store, store_url, tmp_path)

    assert job.job_id.encode() in content
    for secret in (
        SOURCE_PASSWORD, TARGET_PASSWORD, "another-Geheim-99", token, credentials.password, credentials.secret_key
    ):  # fmt: skip
        assert secret.encode() not in content


async def test_i7_a_deleted_job_keeps_no_password_at_all(store: Store, service: JobService, caller: Caller):
    job = await create_job(service, caller)
    await store.jobs.forget(job.job_id)
    spec = await store.jobs.load_spec(job.job_id)
    assert (spec.source.password, spec.target.password) == ("", "")


async def test_i7_errors_of_the_store_show_no_values(store: Store):
    with pytest.raises(StoreUnavailable) as refusal:
        async with store.database.writing() as connection:
            await connection.execute(text("SELECT :value FROM no_such_table"), {"value": SOURCE_PASSWORD})
    cause = refusal.value.__cause__
    assert isinstance(cause, DBAPIError)
    assert SOURCE_PASSWORD not in str(refusal.value) + str(cause)


async def test_i7_values_do_not_show_in_repr(service: JobService, caller: Caller, store: Store):
    job = await create_job(service, caller)
    spec = await store.work.load_spec(job.job_id)
    assert SOURCE_PASSWORD in (spec.source.password,)
    assert "Geheim" not in repr(spec) + repr(job)


async def test_a_password_opens_only_in_its_own_row(store: Store, service: JobService, caller: Caller):
    first, second = await create_job(service, caller, "first"), await create_job(service, caller, "second")
    async with store.database.writing() as connection:
        job = tables.job
        sealed = await connection.scalar(job.select().with_only_columns(job.c.source_secret).limit(1))
        await connection.execute(job.update().values(source_secret=sealed))
    opened, refused = 0, 0
    for job_id in (first.job_id, second.job_id):
        try:
            await store.work.load_spec(job_id)
            opened += 1
        except KeyMissing:
            refused += 1
    assert (opened, refused) == (1, 1)


async def test_old_secrets_open_after_the_key_was_changed(
    store: Store, service: JobService, caller: Caller, store_url: str, data_dir: Path
):
    before = await create_job(service, caller, "before")
    add_key(data_dir)
    async with opened_store(store_url, data_dir, clock=SystemClock()) as reopened:
        later = JobService(reopened.jobs, service._probes, clock=SystemClock())
        after = await create_job(later, caller, "after")
        await later.close()
        for job_id in (before.job_id, after.job_id):
            assert (await reopened.work.load_spec(job_id)).target.password == TARGET_PASSWORD
    assert len(load_keyring(data_dir)._ciphers) == 2

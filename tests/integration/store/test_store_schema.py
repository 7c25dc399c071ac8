"""Making, upgrading and refusing a store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from tests.integration.store.conftest import CHEAP_HASHER, SOURCE_PASSWORD, ScriptedProbes, create_job
from towline.clock import SystemClock
from towline.domain.access import Role
from towline.domain.diagnosis import Diagnosis
from towline.domain.errors import KeyMissing, RequestError, StoreNotReady, StoreTooNew, StoreUnavailable
from towline.domain.jobs import JobStatus
from towline.domain.progress import Phase, Progress
from towline.service.identity import IdentityService
from towline.service.jobs import JobService
from towline.service.ports import Caller
from towline.store.database import open_database
from towline.store.keyring import KEY_FILE
from towline.store.opening import Store, opened_store
from towline.store.schema import newest_version, read_schema_version
from towline.store.tables import metadata

CLOCK = SystemClock()
ONLY_ON_POSTGRESQL = {"ix_job_hash", "ix_progress_hash"}
ONLY_ON_SQLITE = {"progress_change"}


async def test_the_migrations_make_exactly_the_tables_of_the_code(store: Store):
    missing = ONLY_ON_POSTGRESQL if store.database.is_sqlite else ONLY_ON_SQLITE
    options = {"include_object": lambda _item, name, *_: name not in missing}
    async with store.database.reading() as connection:
        differences = await connection.run_sync(
            lambda plain: compare_metadata(MigrationContext.configure(plain, opts=options), metadata)
        )
    assert differences == []
    assert await read_schema_version(store.database) == newest_version()


async def test_a_store_of_the_first_version_is_brought_up_with_its_data(store_url: str, data_dir: Path):
    """Made by the code of 0001, with a job that runs; the new code reads it and writes what is new."""
    async with opened_store(store_url, data_dir, clock=CLOCK, may_create=True) as store:
        service = JobService(store.jobs, ScriptedProbes(), clock=CLOCK)
        identity = IdentityService(store.identities, clock=CLOCK, hasher=CHEAP_HASHER)
        account = await identity.create_project_user_key(project_name="shop", domain_name="acme", user_name="ada")
        assert account is not None
        caller = Caller(account.project_id, "ada", "ada")
        job_id = (await create_job(service, caller)).job_id
        await service.start(caller, job_id)
        asks = (await create_job(service, caller, "asks-for-messages")).job_id
        await service.set_attributes(caller, asks, {"alarm_notify": {"delay_time": 5}}, "notification set")
        await service.close()
        # 0001 had neither the table nor the newer members of a progress row.
        body = '{"at_us": 5, "phase": "copy", "percent": 42, "remaining_s": 7}'
        async with store.database.writing() as connection:
            if store.database.is_sqlite:
                for trigger in ("progress_made", "progress_changed", "progress_gone"):
                    await connection.execute(text(f"DROP TRIGGER {trigger}"))
                await connection.execute(text("DROP TABLE progress_change"))
            for trigger in ("job_made", "job_changed"):
                kind = "TRIGGER {}" if store.database.is_sqlite else "FUNCTION {} CASCADE"
                await connection.execute(text("DROP " + kind.format(trigger)))
            await connection.execute(text("DELETE FROM progress"))
            await connection.execute(
                text("INSERT INTO progress (job_id, epoch, at_us, body) VALUES (:job, 1, 5, :body)"),
                {"job": job_id, "body": body},
            )
            for newer in (
                *("DROP TABLE diagnosis", "DROP TABLE forecast", "DROP INDEX ix_lease_held"),
                *(f"DROP INDEX IF EXISTS {name}" for name in ONLY_ON_POSTGRESQL),
                *(f"DROP TABLE {name}" for name in ("node_sample", "alarm", "duty", "zone")),
                *(
                    f"ALTER TABLE job DROP COLUMN {name}"
                    for name in ("accounts_secret", "is_watched", "is_shipped", "zone", "standby_zone")
                ),
                *(f"ALTER TABLE progress DROP COLUMN {name}" for name in ("project_id", "mode", "status", "failure")),
                "ALTER TABLE event DROP COLUMN shipped_us",
                "DROP TABLE membership",
                "ALTER TABLE user_account DROP COLUMN is_enabled",
                "ALTER TABLE project DROP COLUMN max_jobs",
            ):
                await connection.execute(text(newer))
            await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))

    async with opened_store(store_url, data_dir, clock=CLOCK, may_create=True) as store:
        assert await read_schema_version(store.database) == newest_version()
        known = (await store.jobs.load_health([job_id], project_id=caller.project_id))[job_id]
        assert known.progress == Progress(at_us=5, phase=Phase.COPY, percent=42, remaining_s=7)
        lines = await store.jobs.load_progress([asks, job_id], project_id=caller.project_id)
        assert {line.job_id: (line.status, line.progress is None) for line in lines.values()} == {
            job_id: (JobStatus.STARTING, False),
            asks: (JobStatus.CONFIGURING, True),
        }
        assert (await store.work.load_spec(job_id)).source.password == SOURCE_PASSWORD
        assert [job.job_id for job, _ in await store.outside.load_watched()] == [asks]
        # Whoever could sign in before may do everything, as before.
        signed = await store.identities.load_access_key(account.access_key)
        assert signed is not None
        assert signed[1].role is Role.ADMIN
        lease = await store.work.take_lease(job_id, "worker", ttl_s=30)
        assert lease is not None
        seen = Diagnosis(at_us=6, cpu_share=0.5)
        await store.work.save_progress(lease, Progress(at_us=6, phase=Phase.COPY, diagnosis=seen))
        # Told again without it, as a worker does that has not looked since.
        await store.work.save_progress(lease, Progress(at_us=7, phase=Phase.COPY))
        known = (await store.jobs.load_health([job_id], project_id=caller.project_id))[job_id]
        assert known.progress is not None
        assert (known.progress.at_us, known.progress.percent, known.progress.diagnosis) == (7, 42, seen)
        (line,) = (await store.jobs.load_progress([job_id], project_id=caller.project_id)).values()
        assert line.progress is not None
        assert line.progress.at_us == 7
        plain, _ = sorted(await store.jobs.load_all_progress(), key=lambda job: job.job_id != job_id)
        assert plain.progress is not None
        assert plain.progress.diagnosis is None


async def test_a_store_that_was_never_made_is_refused(store_url: str, data_dir: Path):
    with pytest.raises(StoreNotReady):
        async with opened_store(store_url, data_dir, clock=CLOCK):
            pass


async def test_a_newer_store_is_refused_and_left_alone(store_url: str, data_dir: Path):
    async with opened_store(store_url, data_dir, clock=CLOCK, may_create=True) as store:
        async with store.database.writing() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for may_create in (False, True):
        with pytest.raises(StoreTooNew, match="9999"):
            async with opened_store(store_url, data_dir, clock=CLOCK, may_create=may_create):
                pass
    database = open_database(store_url)
    assert await read_schema_version(database) == "9999"
    await database.close()


async def test_two_processes_may_make_the_store_at_once(store_url: str, data_dir: Path):
    async def make() -> None:
        async with opened_store(store_url, data_dir, clock=CLOCK, may_create=True) as store:
            assert await read_schema_version(store.database) == newest_version()

    await asyncio.gather(*(make() for _ in range(3)))


async def test_a_lost_key_file_is_said(store_url: str, data_dir: Path):
    async with opened_store(store_url, data_dir, clock=CLOCK, may_create=True):
        pass
    (data_dir / KEY_FILE).unlink()
    with pytest.raises(KeyMissing):
        async with opened_store(store_url, data_dir, clock=CLOCK):
            pass


@pytest.mark.parametrize("url", ["mysql://user:hush@host/db", "sqlite://", "nonsense", "sqlite:///:memory:"])
def test_a_store_url_that_cannot_be_meant_is_refused_without_its_password(url: str):
    with pytest.raises(RequestError) as refusal:
        open_database(url)
    assert "hush" not in str(refusal.value)


async def test_an_unreachable_store_is_said_without_its_password(data_dir: Path):
    url = "postgresql://user:hush@127.0.0.1:1/db"
    with pytest.raises(StoreUnavailable) as refusal:
        async with opened_store(url, data_dir, clock=CLOCK, may_create=True):
            pass
    assert "hush" not in str(refusal.value)
    assert not _is_there(data_dir)


async def test_a_mistyped_path_leaves_no_empty_store_behind(tmp_path: Path):
    path = tmp_path / "typo.db"
    with pytest.raises(StoreNotReady):
        async with opened_store(f"sqlite:///{path}", tmp_path, clock=CLOCK):
            pass
    assert not path.exists()


async def test_store_and_key_files_are_for_their_owner_only(tmp_path: Path):
    path = tmp_path / "stores" / "towline.db"
    async with opened_store(f"sqlite:///{path}", tmp_path / "data", clock=CLOCK, may_create=True):
        assert path.stat().st_mode & 0o077 == 0
        assert (tmp_path / "data" / KEY_FILE).stat().st_mode & 0o077 == 0


def _is_there(path: Path) -> bool:
    return path.exists()

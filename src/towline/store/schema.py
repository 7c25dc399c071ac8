"""Brings a store to the version that this code knows."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import Connection

from towline.domain.errors import StoreNotReady, StoreTooNew
from towline.store.database import Database

# Any number, the same for all: two processes that migrate one PostgreSQL store wait for each other.
_MIGRATION_LOCK = 0x70_77_6C_6E


async def ensure_schema(database: Database, *, may_create: bool) -> None:
    """Create or upgrade the tables, in one transaction; safe to repeat and from two processes at once.

    Raises:
        StoreNotReady: there are no tables and `may_create` is False.
        StoreTooNew: a newer Towline has written the store; nothing was changed.
    """
    async with database.writing() as connection:
        if not database.is_sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        await connection.run_sync(_upgrade, may_create)


async def read_schema_version(database: Database) -> str | None:
    """The version of the store's tables, None when there are none."""
    async with database.reading() as connection:
        return await connection.run_sync(_current_version)


def newest_version() -> str:
    """The version that this code makes."""
    head = _scripts().get_current_head()
    assert head is not None
    return head


def _upgrade(connection: Connection, may_create: bool) -> None:
    current = _current_version(connection)
    if current is None and not may_create:
        raise StoreNotReady("the store has no tables yet")
    if current is not None and current not in _known_versions():
        raise StoreTooNew(f"the store has version {current}; this Towline knows versions up to {newest_version()}")
    if current != newest_version():
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _current_version(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _known_versions() -> frozenset[str]:
    return frozenset(script.revision for script in _scripts().walk_revisions())


@cache
def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config

"""A source with every kind of object, and roles that exist on both servers or on one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.integration.structure.helpers import RICH_SCHEMA
from tests.servers.databases import Database
from tests.servers.fixtures import DatabaseFactory
from towline.embedded import EmbeddedPostgres


@dataclass(frozen=True)
class Roles:
    """Names of roles; `missing` is not on the target."""

    owner: str
    reader: str
    missing: str


@pytest.fixture
def roles(source_server: EmbeddedPostgres, target_server: EmbeddedPostgres) -> Iterator[Roles]:
    """Roles for this test alone; they go after the databases that use them."""
    mark = secrets.token_hex(4)
    names = Roles(f"owner_{mark}", f"Reader {mark}", f"missing_{mark}")
    on_source, on_target = Database(source_server, "postgres"), Database(target_server, "postgres")
    for name in (names.owner, names.reader):
        on_source.execute(f'CREATE ROLE "{name}"')
        on_target.execute(f'CREATE ROLE "{name}"')
    on_source.execute(f'CREATE ROLE "{names.missing}"')
    yield names
    for database in (on_source, on_target):
        for name in (names.owner, names.reader, names.missing):
            database.execute(f'DROP ROLE IF EXISTS "{name}"')


@pytest.fixture
def rich_source(roles: Roles, source_server: EmbeddedPostgres, fresh_database: DatabaseFactory) -> Database:
    """A database with `rich_schema.sql`."""
    database = fresh_database(source_server, "rich")
    text = RICH_SCHEMA.read_text().replace("@event@", "watch")
    for name in ("owner", "reader", "missing"):
        text = text.replace(f"@{name}@", f'"{getattr(roles, name)}"')
    database.execute(text)
    return database


@pytest.fixture
def rich_target(roles: Roles, target_server: EmbeddedPostgres, fresh_database: DatabaseFactory) -> Database:
    """An empty database beside the roles."""
    return fresh_database(target_server, "target")

"""The fixtures; `tests/conftest.py` makes them known to every test.

A server is started when the first test asks for it and lives for the session. A test that kills or
pauses one leaves it so: the next test that asks gets it running again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Protocol

import pytest

from tests.servers.databases import Database, create_database, drop_database
from tests.servers.proxy import TcpProxy
from towline.embedded import EmbeddedPostgres, find_postgres

# A crash of the machine is not what these tests are about, so nothing needs to reach the disk.
TEST_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "max_prepared_transactions": "10",
    "wal_sender_timeout": "10s",
}


class ServerFactory(Protocol):
    def __call__(self, version: int, *, settings: Mapping[str, str] | None = None) -> EmbeddedPostgres: ...


class DatabaseFactory(Protocol):
    def __call__(self, server: EmbeddedPostgres, prefix: str = "test") -> Database: ...


def describe(version: int, settings: Mapping[str, str] | None = None) -> EmbeddedPostgres:
    """A server with the tests' settings, not started; skips the test, or fails it in CI, if not installed."""
    installation = find_postgres(version)
    if installation is None:
        message = f"PostgreSQL {version} is not installed (`make test` installs what is missing)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return EmbeddedPostgres(installation, settings={**TEST_SETTINGS, **(settings or {})})


@pytest.fixture(scope="session")
def session_servers() -> Iterator[Callable[[int, str], EmbeddedPostgres]]:
    """A function (version, role) -> running server, the same one whenever asked with the same words."""
    servers: dict[tuple[int, str], EmbeddedPostgres] = {}
    with ExitStack() as stack:

        def server(version: int, role: str = "first") -> EmbeddedPostgres:
            if (version, role) not in servers:
                servers[version, role] = stack.enter_context(describe(version))
            found = servers[version, role]
            found.start()
            found.resume()
            return found

        yield server


@pytest.fixture
def pg15(session_servers: Callable[[int, str], EmbeddedPostgres]) -> EmbeddedPostgres:
    """PostgreSQL 15, shared by the session."""
    return session_servers(15, "first")


@pytest.fixture
def pg16(session_servers: Callable[[int, str], EmbeddedPostgres]) -> EmbeddedPostgres:
    """PostgreSQL 16, shared by the session."""
    return session_servers(16, "first")


@pytest.fixture
def pg18(session_servers: Callable[[int, str], EmbeddedPostgres]) -> EmbeddedPostgres:
    """PostgreSQL 18, shared by the session."""
    return session_servers(18, "first")


@pytest.fixture
def pg15_second(session_servers: Callable[[int, str], EmbeddedPostgres]) -> EmbeddedPostgres:
    """Another PostgreSQL 15, where source and target must be different servers."""
    return session_servers(15, "second")


@pytest.fixture
def pg16_second(session_servers: Callable[[int, str], EmbeddedPostgres]) -> EmbeddedPostgres:
    """Another PostgreSQL 16, where source and target must be different servers."""
    return session_servers(16, "second")


@pytest.fixture
def pg18_second(session_servers: Callable[[int, str], EmbeddedPostgres]) -> EmbeddedPostgres:
    """Another PostgreSQL 18, where source and target must be different servers."""
    return session_servers(18, "second")


@pytest.fixture
def source_server(
    request: pytest.FixtureRequest, session_servers: Callable[[int, str], EmbeddedPostgres]
) -> EmbeddedPostgres:
    """The source of the mark `postgres(source=15, target=18)`; 18 without the mark."""
    return session_servers(_marked_version(request, "source"), "first")


@pytest.fixture
def target_server(
    request: pytest.FixtureRequest, session_servers: Callable[[int, str], EmbeddedPostgres]
) -> EmbeddedPostgres:
    """The target of the mark `postgres(source=15, target=18)`; 18 without the mark. Never the source."""
    return session_servers(_marked_version(request, "target"), "second")


def _marked_version(request: pytest.FixtureRequest, side: str) -> int:
    mark = request.node.get_closest_marker("postgres")
    return int(mark.kwargs[side]) if mark is not None else 18


@pytest.fixture
def source_database(source_server: EmbeddedPostgres, fresh_database: DatabaseFactory) -> Database:
    """An empty database on the source server."""
    return fresh_database(source_server, "source")


@pytest.fixture
def target_database(target_server: EmbeddedPostgres, fresh_database: DatabaseFactory) -> Database:
    """An empty database on the target server."""
    return fresh_database(target_server, "target")


@pytest.fixture
def private_server() -> Iterator[ServerFactory]:
    """A function that starts a server for this test alone, with settings of its own if given."""
    with ExitStack() as stack:

        def server(version: int, *, settings: Mapping[str, str] | None = None) -> EmbeddedPostgres:
            return stack.enter_context(describe(version, settings))

        yield server


@pytest.fixture
def fresh_database() -> Iterator[DatabaseFactory]:
    """A function that makes an empty database; dropped after the test with its slots and sessions."""
    made: list[Database] = []

    def database(server: EmbeddedPostgres, prefix: str = "test") -> Database:
        made.append(create_database(server, f"{prefix}_{secrets.token_hex(6)}"))
        return made[-1]

    yield database
    for leftover in reversed(made):
        # The test may have killed or paused the server; one that is gone for good took its data along.
        if leftover.server.exists():
            leftover.server.start()
            leftover.server.resume()
            drop_database(leftover)


@pytest.fixture
def proxy_to() -> Iterator[Callable[[EmbeddedPostgres], TcpProxy]]:
    """A function that makes a line to a server which the test can cut, stall and resume."""
    with ExitStack() as stack:

        def proxy(server: EmbeddedPostgres) -> TcpProxy:
            return stack.enter_context(TcpProxy(server.port, server.host))

        yield proxy

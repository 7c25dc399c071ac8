"""Fixtures for MySQL and MariaDB, made known by `tests/conftest.py`.

As in `fixtures.py`: a server is started when the first test asks for it and lives for the session; one that a
test killed or paused gets running again when the next test asks.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Protocol

import pytest

from tests.servers.mysql import MYSQL_FAILED, MysqlDatabase, MysqlServer, Product, find_installation

_SKIPPED_FOR = pytest.StashKey[str]()

GetServer = Callable[[Product, str], MysqlServer]


class MysqlServerFactory(Protocol):
    def __call__(self, product: Product, *, settings: Mapping[str, str] | None = None) -> MysqlServer: ...


class MysqlDatabaseFactory(Protocol):
    def __call__(self, server: MysqlServer, prefix: str = "test") -> MysqlDatabase: ...


def describe_mysql(config: pytest.Config, product: Product, settings: Mapping[str, str] | None = None) -> MysqlServer:
    """A server, not started; skips the test if it is not installed, which in CI is a failure.

    One exception: Debian unstable, where MySQL comes from, cannot be unpacked every day.
    """
    installation = find_installation(product)
    if installation is None:
        reason = f"{product.value} is not installed (`make test` as root on Debian installs what is missing)"
        if product is Product.MYSQL and MYSQL_FAILED.exists():
            said = MYSQL_FAILED.read_text().strip()
            reason = f"MySQL 9 is not tested: Debian unstable could not be unpacked today ({said})"
            config.stash[_SKIPPED_FOR] = reason
        elif os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return MysqlServer(installation, settings=settings)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Print last why MySQL was left out; a summary further up is too easily overlooked."""
    reason = config.stash.get(_SKIPPED_FOR, None)
    if reason is not None:
        print(f"\n{reason}")


@pytest.fixture(scope="session")
def mysql_servers(pytestconfig: pytest.Config) -> Iterator[GetServer]:
    """A function (product, role) -> running server, the same one whenever asked with the same words."""
    servers: dict[tuple[Product, str], MysqlServer] = {}
    with ExitStack() as stack:

        def server(product: Product, role: str = "first") -> MysqlServer:
            if (product, role) not in servers:
                servers[product, role] = stack.enter_context(describe_mysql(pytestconfig, product))
            found = servers[product, role]
            found.start()
            found.resume()
            return found

        yield server


@pytest.fixture
def mysql9(mysql_servers: GetServer) -> MysqlServer:
    """MySQL 9, shared by the session."""
    return mysql_servers(Product.MYSQL, "first")


@pytest.fixture
def mysql9_second(mysql_servers: GetServer) -> MysqlServer:
    """Another MySQL 9, where source and target must be different servers."""
    return mysql_servers(Product.MYSQL, "second")


@pytest.fixture
def mariadb10(mysql_servers: GetServer) -> MysqlServer:
    """MariaDB 10.11, shared by the session."""
    return mysql_servers(Product.MARIADB, "first")


@pytest.fixture
def mariadb10_second(mysql_servers: GetServer) -> MysqlServer:
    """Another MariaDB 10.11, where source and target must be different servers."""
    return mysql_servers(Product.MARIADB, "second")


@pytest.fixture(params=list(Product), ids=lambda product: product.value)
def mysql_product(request: pytest.FixtureRequest) -> Product:
    """Runs the test once per product."""
    product: Product = request.param
    return product


@pytest.fixture
def mysql_server(mysql_servers: GetServer, mysql_product: Product) -> MysqlServer:
    """The server of each product in turn."""
    return mysql_servers(mysql_product, "first")


@pytest.fixture
def mysql_server_second(mysql_servers: GetServer, mysql_product: Product) -> MysqlServer:
    """Another server of the same product as `mysql_server`."""
    return mysql_servers(mysql_product, "second")


@pytest.fixture
def mysql_database(mysql_server: MysqlServer, fresh_mysql_database: MysqlDatabaseFactory) -> MysqlDatabase:
    """An empty database on the server of each product in turn."""
    return fresh_mysql_database(mysql_server)


@pytest.fixture
def private_mysql(pytestconfig: pytest.Config) -> Iterator[MysqlServerFactory]:
    """A function that starts a server for this test alone, with settings of its own if given."""
    with ExitStack() as stack:

        def server(product: Product, *, settings: Mapping[str, str] | None = None) -> MysqlServer:
            return stack.enter_context(describe_mysql(pytestconfig, product, settings))

        yield server


@pytest.fixture
def fresh_mysql_database() -> Iterator[MysqlDatabaseFactory]:
    """A function that makes an empty database; dropped after the test with its sessions."""
    made: list[MysqlDatabase] = []

    def database(server: MysqlServer, prefix: str = "test") -> MysqlDatabase:
        made.append(MysqlDatabase(server, f"{prefix}_{secrets.token_hex(6)}"))
        server.execute(f"CREATE DATABASE `{made[-1].name}`")
        return made[-1]

    yield database
    for leftover in reversed(made):
        # The test may have killed or paused the server; one that is gone for good took its data along.
        if leftover.server.exists():
            leftover.server.start()
            leftover.server.resume()
            leftover.drop()

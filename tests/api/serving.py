"""A real server process, and the vendor's own Python client for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.harness import make_store
from tests.integration.commands import Command
from towline.clock import SystemClock


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running server and the account that `towline init` made."""

    url: str
    project_id: str
    project_name: str
    domain_name: str
    user_name: str
    password: str = field(repr=False)
    access_key: str
    secret_key: str = field(repr=False)
    command: Command = field(repr=False)


@contextmanager
def served(
    folder: Path, *, store_url: str | None = None, project: str = "eu-de", config: Path | None = None
) -> Iterator[Served]:
    """A store as `towline init` makes it, and `towline serve` in `folder`, stopped at the end as Ctrl-C does."""
    store = store_url or f"sqlite:///{folder / 'store.db'}"
    options = ("--store", store, "--data-dir", str(folder / "data"))
    with ThreadPoolExecutor(1) as thread:  # the caller may have a loop that runs
        making = make_store(store, folder / "data", clock=SystemClock(), project=project)
        account = thread.submit(asyncio.run, making).result()
    configured = () if config is None else ("--config", str(config))
    with Command("serve", "--listen", "127.0.0.1:0", *options, *configured) as command:
        line = command.wait_for(lambda line: line.startswith("towline serves "))
        yield Served(url=line.split()[-1], command=command, **asdict(account))
        command.interrupt()
        assert command.finish() == 0, command.told()


@pytest.fixture
def vendor_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendor's client writes a file under the home directory and reads variables of its own."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))


def vendor_client(
    served: Served,
    *,
    access_key: str | None = None,
    secret_key: str | None = None,
    project_id: str | None = None,
    version: str = "v3",
) -> Any:
    """The unmodified client with an access key; `version` is that of the API."""
    from huaweicloudsdkcore.auth.credentials import BasicCredentials

    credentials = BasicCredentials(
        access_key or served.access_key, secret_key or served.secret_key, project_id or served.project_id
    )
    return (
        import_module(f"huaweicloudsdkdrs.{version}")
        .DrsClient.new_builder()
        .with_credentials(credentials)
        .with_endpoint(served.url)
        .build()
    )


def vendor_client_with_token(served: Served) -> Any:
    """The client with a token from a password; the key that it cannot do without means nothing."""
    user = {"name": served.user_name, "password": served.password, "domain": {"name": served.domain_name}}
    scope = {"project": {"name": served.project_name}}
    identity = {"methods": ["password"], "password": {"user": user}}
    answer = httpx.post(f"{served.url}/v3/auth/tokens", json={"auth": {"identity": identity, "scope": scope}})
    assert answer.status_code == 201
    client = vendor_client(served, access_key="NOBODY", secret_key="nothing")
    client.preset_headers = {"X-Auth-Token": answer.headers["X-Subject-Token"]}
    return client


def vendor_client_in_region(served: Served) -> Any:
    """The client with a key and a region; it has to find its project by itself."""
    from huaweicloudsdkcore.auth.credentials import BasicCredentials
    from huaweicloudsdkcore.region.region import Region

    credentials = BasicCredentials(served.access_key, served.secret_key).with_iam_endpoint(served.url)
    region = Region(served.project_name, served.url)
    builder = import_module("huaweicloudsdkdrs.v3").DrsClient.new_builder()
    client = builder.with_credentials(credentials).with_region(region).build()
    assert credentials.project_id == served.project_id
    return client


def wait_until(read: Callable[[], Any], is_wanted: Callable[[Any], bool], *, timeout_s: float, what: str) -> Any:
    """The first value that is wanted, asked for ten times a second."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = read()
        if is_wanted(value):
            return value
        assert time.monotonic() < deadline_s, f"{what}: still {value} after {timeout_s} s"
        time.sleep(0.1)

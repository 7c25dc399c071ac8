"""The API in this process, on a real store in a temporary folder, with a clock that tests move."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.harness import Api, prepare_store, running_api
from towline.service.ports import Credentials


@pytest.fixture(scope="session")
def prepared_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Credentials]:
    """A store with one account, made once; each test gets a copy."""
    folder = tmp_path_factory.mktemp("prepared")
    return folder, asyncio.run(prepare_store(folder))


@pytest.fixture
async def api(tmp_path: Path, prepared_store: tuple[Path, Credentials]) -> AsyncIterator[Api]:
    prepared, account = prepared_store
    shutil.copytree(prepared, tmp_path / "store")
    async with running_api(tmp_path / "store", account) as api:
        yield api

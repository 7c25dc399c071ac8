"""What every test may use."""

from __future__ import annotations

import gc

import pytest

pytest_plugins = ["tests.servers.fixtures", "tests.servers.mysql_fixtures"]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests and modules stay until the end: no search for garbage need look at them again."""
    gc.collect()
    gc.freeze()

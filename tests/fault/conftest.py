"""Runs of one job, and the stream that runs without a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.jobs import JobRuns
from tests.integration.stream.conftest import make_stream
from tests.servers import Database

__all__ = ["make_stream", "runs"]


@pytest.fixture
def runs(
    request: pytest.FixtureRequest, source_database: Database, target_database: Database, tmp_path: Path
) -> JobRuns:
    """A job between two fresh databases; the source holds what the test's module names SCHEMA, if it does."""
    if schema := getattr(request.module, "SCHEMA", None):
        source_database.execute(schema)
    return JobRuns(source=source_database, target=target_database, work_dir=tmp_path)

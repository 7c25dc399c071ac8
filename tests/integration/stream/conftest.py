"""A stream between two databases without the rest of a job."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stream.harness import StreamJob
from tests.servers import Database

MakeStream = Callable[..., Awaitable[StreamJob]]


@pytest.fixture
async def make_stream(
    source_database: Database, target_database: Database, tmp_path: Path
) -> AsyncIterator[MakeStream]:
    """A function that runs the same DDL on both sides, makes the slot and returns a stream, not yet running."""
    made: list[StreamJob] = []

    async def make(ddl: str, *, target_ddl: str | None = None, **options: Any) -> StreamJob:
        source_database.execute(ddl)
        target_database.execute(ddl if target_ddl is None else target_ddl)
        job = StreamJob(source_database, target_database, tmp_path / "spill", **options)
        made.append(job)
        await job.prepare()
        return job

    yield make
    for job in made:
        await job.stop()

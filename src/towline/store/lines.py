"""What batch-progress says of each job as it stands now, without reading or decoding all that is as it was.

PostgreSQL has its tables in memory that all sessions share, so the rows that are asked for are read each time, and
those that are word for word as they were are not decoded anew.

In SQLite every connection has a cache of its own, and gives all of it up as soon as another connection has written
(`pagerBeginReadTransaction` in its pager.c).  A thousand rows of a large store are then two thousand pages to be read
from the file, for every call.  But there is one writer at a time, so changes can be numbered in the order in which they
are committed.  The table `progress_change` has the number of every job's last change; triggers keep it, whoever writes.
What was read is kept, and only what has a later number is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from sqlalchemy import bindparam, func, select, text

from towline.service.ports import JobIds, JobLine
from towline.store import tables
from towline.store.codec import JobLines, decode_job_line
from towline.store.database import Database

# A line with its row takes about 2 kB.
_MAX_LINES: Final = 20_000

# Python's driver of SQLite gives the interpreter's lock away for every row and then waits to have it again, which takes
# up to 5 ms while another thread computes.  So all rows come as one, a text for each column.  None may be NULL,
# which would be left out, nor hold the character between them, as no JSON does.
_SEPARATOR: Final = "\x1e"
_TEXTS: Final = ("job_id", "mode", "status", "failure", "body", "project_id")
_ROW: Final = ", ".join(f"coalesce(progress.{name}, '') AS {name}" for name in _TEXTS[1:])
_CHANGED: Final = text(
    f"""
    SELECT {", ".join(f"group_concat({name}, '{_SEPARATOR}')" for name in _TEXTS)}, coalesce(max(number), 0),
        (SELECT coalesce(max(number), 0) FROM progress_change)
    FROM (
        SELECT * FROM (
            SELECT number, changed.job_id, {_ROW}
            FROM progress_change AS changed LEFT JOIN progress ON progress.job_id = changed.job_id
            WHERE number > :seen ORDER BY number LIMIT :most
        )
        UNION ALL
        SELECT 0, job_id, {_ROW} FROM progress WHERE job_id IN (SELECT value FROM json_each(:ids))
    )
    """
)
# So many changes beside those of the jobs that are asked for are rather read than forgotten with all that is known.
_FEW_CHANGES: Final = 100
_NEVER: Final = 2**62


class Lines(Protocol):
    """Lines of jobs as they stand at one moment, not before the call."""

    async def load(self, job_ids: JobIds, *, project_id: str) -> dict[str, JobLine]:
        """Of those jobs that are the project's."""
        ...


def open_lines(database: Database, *, max_lines: int = _MAX_LINES) -> Lines:
    """`max_lines`: how many are kept, beside those of one call."""
    return ChangedLines(database, max_lines) if database.is_sqlite else ReadLines(database, max_lines)


class ReadLines:
    """Reads every row that is asked for."""

    def __init__(self, database: Database, max_lines: int) -> None:
        self._database = database
        self._lines = JobLines(max_lines=max_lines)
        progress = tables.progress.c
        self._query = select(
            progress.job_id,
            progress.mode,
            progress.status,
            func.coalesce(progress.failure, ""),
            func.coalesce(progress.body, ""),
        ).where(
            database.is_one_of_given(progress.job_id, "ids"),
            database.is_in_project(progress.project_id, bindparam("project_id")),
        )

    async def load(self, job_ids: JobIds, *, project_id: str) -> dict[str, JobLine]:
        """See `Lines`."""
        given = {"ids": self._database.ids_value(job_ids), "project_id": project_id}
        return self._lines.decode(map(tuple, await self._database.fetch(self._query, given)))


class ChangedLines:
    """Keeps what it has read up to a number, and reads what was changed after it or is not kept."""

    def __init__(self, database: Database, max_lines: int) -> None:
        self._database = database
        self._max_lines = max_lines
        self._known: dict[str, tuple[str, JobLine]] = {}  # with their projects
        self._read_to: int | None = None  # all that is known is as it was at this number
        self._turn = asyncio.Lock()

    async def load(self, job_ids: JobIds, *, project_id: str) -> dict[str, JobLine]:
        """See `Lines`."""
        async with self._turn:
            if len(self._known) > self._max_lines:
                self._known = {}
            if not await self._bring_up(job_ids):
                self._known, self._read_to = {}, None
                await self._bring_up(job_ids)
            known = self._known
            return {
                job_id: found[1]
                for job_id in job_ids
                if (found := known.get(job_id)) is not None and found[0] == project_id
            }

    async def _bring_up(self, job_ids: JobIds) -> bool:
        """Know all that is asked for as it is now; False if so much has changed that it was not read to the end."""
        missing = [job_id for job_id in job_ids if job_id not in self._known]
        given = {
            "seen": _NEVER if self._read_to is None else self._read_to,
            "most": len(job_ids) + _FEW_CHANGES,
            "ids": self._database.ids_value(missing),
        }
        ((*joined, read_to, newest),) = await self._database.fetch(_CHANGED, given)
        if self._read_to is not None and (read_to or self._read_to) != newest:
            return False
        rows, asked = _split(joined), set(job_ids)
        # All or nothing: a row that cannot be decoded, or a caller who is gone, leaves what is known as it was.
        decoded = {row[0]: (row[-1], decode_job_line(*row[:-1])) for row in rows if row[-1] and row[0] in asked}
        for row in rows:
            self._known.pop(row[0], None)
        self._known.update(decoded)
        self._read_to = newest
        return True


def _split(joined: Sequence[str | None]) -> list[tuple[str, ...]]:
    """Rows of `_TEXTS`; a job that is no more has empty ones."""
    columns = [texts.split(_SEPARATOR) for texts in joined if texts is not None]
    return list(zip(*columns, strict=True))

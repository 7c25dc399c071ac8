"""Where the source stands, and what time it is there."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.lsn import Lsn
from towline.domain.errors import Side, TowlineError
from towline.domain.jobs import Endpoint
from towline.engine.ports import SourceSample

# The time is taken first: whatever was committed up to then lies before the position.
_SAMPLE = """
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS time_us,
       pg_catalog.pg_current_wal_insert_lsn()::text AS position
"""
_SIZES = """
SELECT name, setting::bigint * CASE unit WHEN '8kB' THEN 8192 WHEN 'kB' THEN 1024 WHEN 'MB' THEN 1048576
                               ELSE 1 END AS bytes
FROM pg_catalog.pg_settings WHERE name IN ('wal_block_size', 'wal_segment_size')
"""
# Flushes the log and commits, so that the sender moves past whatever was written last; no table is touched.
_NUDGE = "SELECT pg_catalog.pg_logical_emit_message(true, 'towline', '')"
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class LogForm:
    """How the source's log is cut, which its current position has to be read with."""

    page_bytes: int
    segment_bytes: int

    @classmethod
    async def read(cls, connection: asyncpg.Connection) -> LogForm:
        sizes = {row["name"]: row["bytes"] for row in await connection.fetch(_SIZES)}
        return cls(sizes["wal_block_size"], sizes["wal_segment_size"])

    def parse_current(self, text: str) -> Lsn:
        """The end of the last record, which is what a reader of the log will come to."""
        return Lsn.parse(text).before_page_header(page_bytes=self.page_bytes, segment_bytes=self.segment_bytes)


async def read_current_position(connection: asyncpg.Connection) -> Lsn:
    """Where the source stands: all that was committed before lies at or before it."""
    form = await LogForm.read(connection)
    return form.parse_current(await connection.fetchval("SELECT pg_catalog.pg_current_wal_insert_lsn()::text"))


class PgProbe:
    """Implements `engine.ports.SourceProbe`; connects when first asked, and anew after a failure."""

    def __init__(self, endpoint: Endpoint, *, job_id: str, writes_heartbeat: bool = True) -> None:
        self._endpoint = endpoint
        self._writes_heartbeat = writes_heartbeat
        self._purpose = f"{job_id}:probe"
        self._connection: asyncpg.Connection | None = None

    async def sample(self) -> SourceSample:
        connection = await self._open()
        try:
            with translated(Side.SOURCE, what="reading the source's position"):
                row = await connection.fetchrow(_SAMPLE, timeout=_TIMEOUT_S)
        except BaseException:
            await self.close()
            raise
        assert row is not None
        return SourceSample(row["time_us"], self._form.parse_current(row["position"]))

    async def nudge(self) -> None:
        if not self._writes_heartbeat:
            return
        connection = await self._open()
        # Not allowed everywhere; an idle source then moves on by its own housekeeping, some seconds later.
        with suppress(TowlineError), translated(Side.SOURCE, what="writing a heartbeat"):
            await connection.execute(_NUDGE, timeout=_TIMEOUT_S)

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _open(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(
                self._endpoint, purpose=self._purpose, side=Side.SOURCE, prepare=self._read_form
            )
        return self._connection

    async def _read_form(self, connection: asyncpg.Connection) -> None:
        self._form = await LogForm.read(connection)

"""What both servers say about why a job takes long: sessions, locks, transactions, and the slot's share of the log.

Each side is read on a connection of its own, from system views only, which no lock of a user's table blocks.  A server
that does not answer in time is an error, and the connection is made anew.
Sources: PostgreSQL manual, 28.2 (pg_stat_activity), 9.27 (pg_blocking_pids), 54.20 (pg_replication_slots),
54.17 (pg_prepared_xacts), 28.2.17 (pg_stat_database).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import asyncpg

from towline.adapters.postgres.connection import application_name, connect
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.quoting import quote_literal
from towline.adapters.postgres.statements import mask_statement
from towline.domain.diagnosis import KeptLog, LockWait, OpenTransaction, Session, SourceFacts, TargetFacts
from towline.domain.errors import Side
from towline.domain.jobs import Endpoint

_TIMEOUT_S: Final = 5.0
_FIRST_WITH_WAL_STATUS: Final = 13
_FIRST_WITH_UNUSED_LIMIT: Final = 18
_MANY: Final = 5
_OWN_STATEMENT_LENGTH: Final = 80

_SLOT: Final = """
SELECT active, restart_lsn IS NULL AS is_empty, {status} AS wal_status, {safe}::bigint AS left_bytes,
       {unused} AS unused_s,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)::bigint AS held_bytes
FROM pg_catalog.pg_replication_slots WHERE slot_name = $1
"""
# In MB (manual 20.6), -1 = no limit; versions before 13 do not have it, and have no limit.
_LIMIT: Final = """
SELECT setting::bigint * 1048576 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size' AND setting <> '-1'
"""
# In seconds (manual 19.6), 0 = no limit. The server compares at a checkpoint, so a slot may live on until the next one.
_UNUSED_LIMIT: Final = """
SELECT setting::float8 FROM pg_catalog.pg_settings WHERE name = 'idle_replication_slot_timeout' AND setting <> '0'
"""
# NULL while a session uses the slot.
_UNUSED: Final = "extract(epoch FROM clock_timestamp() - inactive_since)::float8"
_LOG_END: Final = "SELECT pg_catalog.pg_current_wal_lsn()::text"
_CHANGED_ROWS: Final = """
SELECT tup_inserted + tup_updated + tup_deleted FROM pg_catalog.pg_stat_database WHERE datname = current_database()
"""
# A transaction that has written holds the log's restart point whatever its database is. Sessions of Towline are the
# job's own or a sister's, and none of them writes on a source for long.
_TRANSACTIONS: Final = """
SELECT pid, usename::text AS "user", application_name AS application, datname::text AS database, state,
       query AS statement, extract(epoch FROM clock_timestamp() - xact_start)::float8 AS age_s,
       backend_xid IS NOT NULL AS has_written, datname = current_database() AS is_in_database
FROM pg_catalog.pg_stat_activity
WHERE (backend_xid IS NOT NULL OR (xact_start IS NOT NULL AND datname = current_database()))
  AND pid <> pg_backend_pid() AND NOT (usename = current_user AND starts_with(application_name, 'towline:'))
  AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'walsender', 'parallel worker')
ORDER BY datname = current_database() DESC, xact_start NULLS FIRST LIMIT {many}
"""
_PREPARED: Final = """
SELECT gid, owner::text AS "user", database::text AS database, database = current_database() AS is_in_database,
       extract(epoch FROM clock_timestamp() - prepared)::float8 AS age_s
FROM pg_catalog.pg_prepared_xacts ORDER BY database = current_database() DESC, prepared LIMIT {many}
"""
# A session whose columns are hidden shows this text instead of its statement, and no begin of its transaction.
_HIDDEN: Final = """
SELECT count(*) FROM pg_catalog.pg_stat_activity
WHERE datname = current_database() AND query = '<insufficient privilege>'
"""
_OWN_WAITS: Final = """
SELECT w.pid AS waiting_pid, w.application_name AS purpose, w.wait_event_type, w.wait_event, w.query AS wanted_for,
       extract(epoch FROM clock_timestamp() - w.query_start)::float8 AS waited_s,
       h.pid AS holder_pid, b.usename = current_user AND starts_with(b.application_name, $1) AS is_own,
       b.pid, b.usename::text AS "user", b.application_name AS application,
       b.datname::text AS database, b.state, b.query AS statement,
       extract(epoch FROM clock_timestamp() - b.xact_start)::float8 AS age_s
FROM pg_catalog.pg_stat_activity w
LEFT JOIN LATERAL (SELECT DISTINCT pid FROM unnest(pg_catalog.pg_blocking_pids(w.pid)) AS pids(pid)
                   LIMIT {many}) h ON w.wait_event_type = 'Lock'
LEFT JOIN pg_catalog.pg_stat_activity b ON b.pid = h.pid
WHERE w.datname = current_database() AND w.usename = current_user AND starts_with(w.application_name, $1)
  AND w.state = 'active' AND w.pid <> pg_backend_pid()
ORDER BY w.query_start, w.pid, h.pid
"""
_WORK: Final = frozenset({"IO", "IPC", "LWLock", "BufferPin", "Timeout"})


class _Look:
    """A connection for looking, made when first needed and anew after a failure."""

    def __init__(self, endpoint: Endpoint, *, job_id: str, side: Side) -> None:
        self._endpoint = endpoint
        self._purpose = f"{job_id}:diagnosis"
        self._side = side
        self._connection: asyncpg.Connection | None = None

    async def open(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(
                self._endpoint, purpose=self._purpose, timeout_s=_TIMEOUT_S, side=self._side
            )
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


class PgSourceDiagnosis:
    """Implements `engine.ports.SourceDiagnosis`."""

    def __init__(self, endpoint: Endpoint, *, job_id: str, slot: str) -> None:
        self._look = _Look(endpoint, job_id=job_id, side=Side.SOURCE)
        self._slot = slot
        self._prefix = application_name(f"{job_id}:")

    async def read(self, *, at_us: int) -> SourceFacts:
        try:
            connection = await self._look.open()
            with translated(Side.SOURCE, what="looking at the source"):
                return await self._read(connection, at_us)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._look.close()

    async def _read(self, connection: asyncpg.Connection, at_us: int) -> SourceFacts:
        version = connection.get_server_version().major
        has_status, has_unused = version >= _FIRST_WITH_WAL_STATUS, version >= _FIRST_WITH_UNUSED_LIMIT
        # Words of this module only: no outside text is formatted into a statement.
        slot_query = _SLOT.format(
            status="wal_status" if has_status else "NULL::text",
            safe="safe_wal_size" if has_status else "NULL",
            unused=_UNUSED if has_unused else "NULL::float8",
        )
        slot = await connection.fetchrow(slot_query, self._slot, timeout=_TIMEOUT_S)
        limit_bytes = await connection.fetchval(_LIMIT, timeout=_TIMEOUT_S)
        unused_limit_s = await connection.fetchval(_UNUSED_LIMIT, timeout=_TIMEOUT_S)
        end = await connection.fetchval(_LOG_END, timeout=_TIMEOUT_S)
        changed_rows = await connection.fetchval(_CHANGED_ROWS, timeout=_TIMEOUT_S)
        running = await connection.fetch(_TRANSACTIONS.format(many=_MANY), timeout=_TIMEOUT_S)
        prepared = await connection.fetch(_PREPARED.format(many=_MANY), timeout=_TIMEOUT_S)
        hidden = await connection.fetchval(_HIDDEN, timeout=_TIMEOUT_S)
        waits = await connection.fetch(_OWN_WAITS.format(many=_MANY), self._prefix, timeout=_TIMEOUT_S)
        return SourceFacts(
            at_us=at_us,
            log_end_bytes=int(Lsn.parse(end)),
            log=_kept_log(self._slot, slot, limit_bytes, unused_limit_s),
            transactions=_oldest_first(running, prepared),
            hidden_sessions=hidden,
            lock_waits=_lock_waits(waits, self._prefix),
            changed_rows=changed_rows,
        )


class PgTargetDiagnosis:
    """Implements `engine.ports.TargetDiagnosis`."""

    def __init__(self, endpoint: Endpoint, *, job_id: str) -> None:
        self._look = _Look(endpoint, job_id=job_id, side=Side.TARGET)
        self._prefix = application_name(f"{job_id}:")

    async def read(self, *, at_us: int) -> TargetFacts:
        try:
            connection = await self._look.open()
            with translated(Side.TARGET, what="looking at the target"):
                rows = await connection.fetch(_OWN_WAITS.format(many=_MANY), self._prefix, timeout=_TIMEOUT_S)
        except BaseException:
            await self.close()
            raise
        return TargetFacts(at_us, _lock_waits(rows, self._prefix), _server_wait(rows))

    async def close(self) -> None:
        self._look.close()


# --- rows into facts ------------------------------------------------------------------------------


def _kept_log(name: str, slot: asyncpg.Record | None, limit_bytes: int | None, unused_limit_s: float | None) -> KeptLog:
    shown = f"replication slot {name}"
    if slot is None:
        return KeptLog(shown, is_there=False)
    state: str | None = slot["wal_status"]
    return KeptLog(
        name=shown,
        is_there=True,
        is_read=slot["active"],
        is_lost=state == "lost" or slot["is_empty"],
        is_doomed=state == "unreserved",
        state=state,
        held_bytes=slot["held_bytes"],
        is_limited=limit_bytes is not None,
        limit_bytes=limit_bytes,
        left_bytes=slot["left_bytes"],
        unused_limit_s=unused_limit_s,
        unused_s=slot["unused_s"],
    )


def _oldest_first(running: Sequence[asyncpg.Record], prepared: Sequence[asyncpg.Record]) -> tuple[OpenTransaction, ...]:
    open_ones = [OpenTransaction(_session(row), row["has_written"], row["is_in_database"]) for row in running]
    open_ones += [OpenTransaction(_prepared(row), True, row["is_in_database"]) for row in prepared]
    unknown_is_oldest = float("inf")
    return tuple(
        sorted(open_ones, key=lambda entry: -_or(entry.session.transaction_age_s, unknown_is_oldest)),
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _session(row: asyncpg.Record) -> Session:
    return Session(
        pid=row["pid"],
        user=row["user"] or "",
        application=row["application"] or "",
        database=row["database"] or "",
        state=row["state"] or "",
        statement=mask_statement(row["statement"]),
        transaction_age_s=row["age_s"],
        end_with=f"SELECT pg_terminate_backend({row['pid']})",
    )


def _prepared(row: asyncpg.Record) -> Session:
    return Session(
        pid=None,
        user=row["user"] or "",
        database=row["database"] or "",
        state="prepared",
        transaction_age_s=row["age_s"],
        prepared_as=row["gid"],
        end_with=f"ROLLBACK PREPARED {quote_literal(row['gid'])}",
    )


def _lock_waits(rows: Sequence[asyncpg.Record], prefix: str) -> tuple[LockWait, ...]:
    """One for each of our sessions that waits for a lock of somebody else, the longest first."""
    waits: dict[int, LockWait] = {}
    for row in rows:
        # Sessions of one job wait for each other for moments; a lock that nobody holds any more has just been got.
        if row["wait_event_type"] != "Lock" or row["holder_pid"] is None or row["is_own"]:
            continue
        pid = row["waiting_pid"]
        wanted_for = mask_statement(row["wanted_for"], max_length=_OWN_STATEMENT_LENGTH)
        known = waits.get(pid) or LockWait(
            row["purpose"].removeprefix(prefix), pid, row["waited_s"], (), statement=wanted_for
        )
        waits[pid] = replace(known, blockers=(*known.blockers, _blocker(row)))
    return tuple(waits.values())


def _blocker(row: asyncpg.Record) -> Session:
    if row["holder_pid"] == 0:
        # pg_blocking_pids names a prepared transaction so.
        return Session(pid=None, state="prepared", prepared_as="(see pg_prepared_xacts)", end_with="ROLLBACK PREPARED")
    if row["pid"] is None:
        return Session(pid=row["holder_pid"], end_with=f"SELECT pg_terminate_backend({row['holder_pid']})")
    return _session(row)


def _server_wait(rows: Sequence[asyncpg.Record]) -> str | None:
    for row in rows:
        if row["wait_event_type"] in _WORK:
            return f"{row['wait_event_type']} {row['wait_event']}"
    return None

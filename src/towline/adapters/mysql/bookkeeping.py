"""What Towline remembers on the target: the database `towline`, in InnoDB.

Rows and the memory of having written them commit in one target transaction; that is what makes every path
crash-safe.  Each writing transaction starts with `require_epoch`, which takes a shared lock on the job's row; a new
owner raises the epoch under an exclusive lock.  So a worker that lost its lease either commits before the new
owner reads, or not at all (I6).

A new owner ends the sessions of an earlier one first, so that it does not wait for a dead worker's transaction.  The
servers show no session's purpose to others, so each writing session holds a user lock named after the job while it
lives (`hold_name`), and a lock's holder can be asked for.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Final

from towline.adapters.mysql.session import Session
from towline.domain.errors import LeaseLost, SetupError, Side, TargetBusy, TowlineError
from towline.domain.failover import FindObstacle, Followed, no_other_server, require_follower

_OPTIONS: Final = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin"
_NAMES: Final = 256  # sessions of one job that hold a name; more than its chunk writers and builders together
_DDL_WAIT_S: Final = 30
_DDL: Final = (
    "CREATE DATABASE IF NOT EXISTS towline DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    f"""CREATE TABLE IF NOT EXISTS towline.job (
        job_id varchar(64) NOT NULL PRIMARY KEY,
        epoch bigint NOT NULL,
        source_identity varchar(255) NOT NULL,
        created_at timestamp(6) NOT NULL DEFAULT current_timestamp(6),
        planned_at timestamp(6) NULL,
        copied_at timestamp(6) NULL,
        completed_at timestamp(6) NULL) {_OPTIONS}""",
    f"""CREATE TABLE IF NOT EXISTS towline.snapshot (
        job_id varchar(64) NOT NULL,
        number int NOT NULL,
        epoch bigint NOT NULL,
        position longtext NOT NULL,
        snapshot_text longtext NOT NULL,
        taken_at timestamp(6) NOT NULL DEFAULT current_timestamp(6),
        PRIMARY KEY (job_id, number)) {_OPTIONS}""",
    f"""CREATE TABLE IF NOT EXISTS towline.table_plan (
        job_id varchar(64) NOT NULL,
        schema_name varchar(64) NOT NULL,
        table_name varchar(64) NOT NULL,
        pages bigint NOT NULL,
        chunk_pages bigint NOT NULL,
        size_bytes bigint NOT NULL,
        estimated_rows bigint NOT NULL,
        storage_id varchar(64) NOT NULL,
        bounds longtext NOT NULL,
        PRIMARY KEY (job_id, schema_name, table_name)) {_OPTIONS}""",
    f"""CREATE TABLE IF NOT EXISTS towline.chunk (
        job_id varchar(64) NOT NULL,
        schema_name varchar(64) NOT NULL,
        table_name varchar(64) NOT NULL,
        kind varchar(16) NOT NULL,
        number int NOT NULL,
        first_page bigint NOT NULL,
        end_page bigint,
        snapshot_number int NOT NULL,
        row_count bigint NOT NULL,
        size_bytes bigint NOT NULL,
        done_at timestamp(6) NOT NULL DEFAULT current_timestamp(6),
        PRIMARY KEY (job_id, schema_name, table_name, kind, number)) {_OPTIONS}""",
    f"""CREATE TABLE IF NOT EXISTS towline.structure_item (
        job_id varchar(64) NOT NULL,
        number int NOT NULL,
        section varchar(32) NOT NULL,
        kind varchar(64) NOT NULL,
        name text NOT NULL,
        schema_name varchar(64),
        table_schema varchar(64),
        table_name varchar(64),
        statements longtext NOT NULL,
        depends_on longtext NOT NULL,
        weight_bytes bigint NOT NULL,
        is_optional tinyint NOT NULL,
        begun_at timestamp(6) NULL,
        done_at timestamp(6) NULL,
        failed_reason text,
        PRIMARY KEY (job_id, number)) {_OPTIONS}""",
    f"""CREATE TABLE IF NOT EXISTS towline.structure_report (
        number bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
        job_id varchar(64) NOT NULL,
        kind varchar(64) NOT NULL,
        name text NOT NULL,
        reason text NOT NULL,
        KEY (job_id)) {_OPTIONS}""",
    f"""CREATE TABLE IF NOT EXISTS towline.checkpoint (
        job_id varchar(64) NOT NULL PRIMARY KEY,
        epoch bigint NOT NULL,
        position longtext NOT NULL,
        source_time_us bigint,
        transactions bigint NOT NULL,
        changes bigint NOT NULL,
        moves bigint NOT NULL DEFAULT 0,
        updated_at timestamp(6) NOT NULL DEFAULT current_timestamp(6)) {_OPTIONS}""",
    f"""CREATE TABLE IF NOT EXISTS towline.job_edit (
        job_id varchar(64) NOT NULL PRIMARY KEY,
        edit int NOT NULL,
        keys_to_drop longtext NOT NULL) {_OPTIONS}""",
    f"""CREATE TABLE IF NOT EXISTS towline.joining (
        job_id varchar(64) NOT NULL,
        schema_name varchar(64) NOT NULL,
        table_name varchar(64) NOT NULL,
        since longtext NOT NULL,
        PRIMARY KEY (job_id, schema_name, table_name)) {_OPTIONS}""",
    f"""CREATE TABLE IF NOT EXISTS towline.departure (
        job_id varchar(64) NOT NULL,
        number int NOT NULL,
        kind varchar(64) NOT NULL,
        name text NOT NULL,
        reason text NOT NULL,
        PRIMARY KEY (job_id, number)) {_OPTIONS}""",
    f"""CREATE TABLE IF NOT EXISTS towline.ddl_intent (
        job_id varchar(64) NOT NULL PRIMARY KEY,
        position longtext NOT NULL,
        source_time_us bigint,
        statement_hash char(64) NOT NULL,
        order_text longtext NOT NULL,
        step int NOT NULL,
        fingerprint char(64)) {_OPTIONS}""",
    f"""CREATE TABLE IF NOT EXISTS towline.reject (
        id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
        job_id varchar(64) NOT NULL,
        rejected_at timestamp(6) NOT NULL DEFAULT current_timestamp(6),
        position longtext,
        table_schema varchar(64) NOT NULL,
        table_name varchar(64) NOT NULL,
        kind varchar(16) NOT NULL,
        reason text NOT NULL,
        key_values text) {_OPTIONS}""",
)
_JOB_TABLES: Final = (
    "checkpoint",
    "ddl_intent",
    "reject",
    "structure_item",
    "structure_report",
    "chunk",
    "table_plan",
    "snapshot",
    "departure",
    "joining",
    "job_edit",
    "job",
)
BEGIN: Final = "START TRANSACTION READ WRITE"


async def ensure_bookkeeping(session: Session) -> None:
    """Create the database and its tables; safe to repeat, also from two workers at once."""
    if await session.query_value("SELECT @@GLOBAL.read_only"):
        # An account with SUPER could write all the same; whoever set it did not mean that.
        raise SetupError(
            "the target is read-only",
            side=Side.TARGET,
            remedy="Use the address of the primary server, or switch its read-only setting off.",
        )
    for statement in _DDL:
        await session.execute(statement, what="creating the bookkeeping")


async def take_over(
    session: Session,
    job_id: str,
    *,
    epoch: int | None,
    source_identity: str,
    find_obstacle: FindObstacle = no_other_server,
) -> int:
    """Make this worker the only writer of the job and return its epoch.

    `epoch` None means "whatever comes next" (one-shot use without a lease).  `find_obstacle` is asked when the source
    is another server than the one that the job was copied from.

    Raises:
        LeaseLost: somebody with a higher epoch owns the job already.
        SetupError: the job's rows on this target belong to another source, which this one does not follow.
    """
    await end_sessions(session, job_id)
    await session.execute(BEGIN)
    row = await session.query_one("SELECT epoch, source_identity FROM towline.job WHERE job_id = %s FOR UPDATE", job_id)
    if row is None:
        mine = epoch if epoch is not None else 1
        await session.execute(
            "INSERT INTO towline.job (job_id, epoch, source_identity) VALUES (%s, %s, %s)",
            job_id,
            mine,
            source_identity,
        )
        await session.execute("COMMIT")
        return mine
    before, identity = row
    mine = epoch if epoch is not None else before + 1
    if before > mine:
        raise LeaseLost(f"job {job_id} is owned with epoch {before}, this worker has {mine}")
    if identity != source_identity:
        require_follower(await _read_followed(session, job_id), job_id, find_obstacle)
    await session.execute(
        "UPDATE towline.job SET epoch = %s, source_identity = %s WHERE job_id = %s", mine, source_identity, job_id
    )
    await session.execute("UPDATE towline.checkpoint SET epoch = %s WHERE job_id = %s", mine, job_id)
    await session.execute("COMMIT")
    return mine


async def _read_followed(session: Session, job_id: str) -> Followed:
    row = await session.query_one(
        "SELECT completed_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM towline.joining g WHERE g.job_id = j.job_id),"
        " (SELECT position FROM towline.checkpoint c WHERE c.job_id = j.job_id) FROM towline.job j WHERE job_id = %s",
        job_id,
    )
    assert row is not None
    snapshots = await session.query("SELECT position FROM towline.snapshot WHERE job_id = %s", job_id)
    return Followed(row[1], tuple(str(position) for (position,) in snapshots), is_complete=bool(row[0]))


async def require_epoch(session: Session, job_id: str, epoch: int) -> None:
    """Call first in every writing transaction. Raises LeaseLost when another worker owns the job."""
    # I6: the shared lock is held to the end of the transaction; `take_over` waits for it.
    row = await session.query_one(
        "SELECT 1 FROM towline.job WHERE job_id = %s AND epoch = %s LOCK IN SHARE MODE", job_id, epoch
    )
    if row is None:
        raise LeaseLost(f"job {job_id}: epoch {epoch} no longer owns it", side=Side.TARGET)


async def read_feed_epoch(session: Session, job_id: str) -> int | None:
    """The epoch of the worker that took the job's first snapshot; None when none is remembered."""
    row = await session.query_one("SELECT epoch FROM towline.snapshot WHERE job_id = %s AND number = 1", job_id)
    return int(row[0]) if row else None


async def hold_name(session: Session, job_id: str) -> None:
    """Let a later owner of the job find this session and end it.

    Raises: TargetBusy, all names are taken: a session that nobody finds could outlive its worker unseen.
    """
    # The first free one is taken; what comes after a true part of an OR is not looked at.
    wanted = " OR ".join(f"GET_LOCK('{_name(job_id, number)}', 0)" for number in range(_NAMES))
    if not await session.query_value(f"SELECT {wanted}"):
        raise TargetBusy(f"the job has {_NAMES} sessions on the target already", side=session.side)


async def require_alone(session: Session, job_id: str) -> None:
    """Until this session ends, no other one of the job runs DDL; an earlier one that still does is waited for.

    A statement goes on when its client is gone, and the lock goes with the session, thus after the statement.

    Raises: TargetBusy, the other one has not come to its end within some time.
    """
    if await session.query_value("SELECT GET_LOCK(%s, %s)", _ddl_name(job_id), _DDL_WAIT_S) != 1:
        raise TargetBusy("an earlier statement of the job that changes tables still runs", side=Side.TARGET)


async def end_sessions(session: Session, job_id: str) -> None:
    """End all sessions of the job that hold a name. They may belong to a worker that does not know yet."""
    row = await session.query_one(job_sessions_query(job_id))
    for connection_id in {number for number in row or () if number} - {session.connection_id}:
        with suppress(TowlineError):  # ended meanwhile, or another account's: then its lock is waited for
            await session.execute(f"KILL {int(connection_id)}")


def job_sessions_query(job_id: str) -> str:
    """One row with the connection ids of the job's sessions and NULLs."""
    asked = ", ".join(f"IS_USED_LOCK('{_name(job_id, number)}')" for number in range(_NAMES))
    return f"SELECT {asked}"


async def has_bookkeeping(session: Session) -> bool:
    found = await session.query_value(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'towline' AND table_name = 'reject'"
    )
    return bool(found)


async def fence_off(session: Session, job_id: str) -> int | None:
    """Keep whatever worker is left from writing (I6). Safe to repeat.

    The epoch that the caller has from now on, if the job's copy was complete.
    """
    if not await has_bookkeeping(session):
        return None
    await end_sessions(session, job_id)
    await session.execute(BEGIN)
    await session.execute("UPDATE towline.job SET epoch = epoch + 1 WHERE job_id = %s", job_id)
    await session.execute("UPDATE towline.checkpoint SET epoch = epoch + 1 WHERE job_id = %s", job_id)
    found = "SELECT epoch FROM towline.job WHERE job_id = %s AND completed_at IS NOT NULL"
    epoch = await session.query_value(found, job_id)
    await session.execute("COMMIT")
    return None if epoch is None else int(epoch)


async def remove_bookkeeping(session: Session, job_id: str) -> None:
    """Forget the job; the database goes with the last one. Safe to repeat."""
    if not await has_bookkeeping(session):
        return
    await end_sessions(session, job_id)
    await session.execute(BEGIN)
    # An older version, which the job was last run by, had fewer.
    there = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'towline'"
    present = {name for (name,) in await session.query(there)}
    for table in _JOB_TABLES:
        if table in present:
            await session.execute(f"DELETE FROM towline.{table} WHERE job_id = %s", job_id)
    await session.execute("COMMIT")
    if not await session.query_value("SELECT COUNT(*) FROM towline.job"):
        await session.execute("DROP DATABASE IF EXISTS towline")


def _ddl_name(job_id: str) -> str:
    return f"towline:{hashlib.sha256(job_id.encode()).hexdigest()[:32]}:ddl"


def _name(job_id: str, number: int) -> str:
    return f"towline:{hashlib.sha256(job_id.encode()).hexdigest()[:32]}:{number}"

"""What Towline remembers on the target: the schema `towline`.

Rows and the memory of having written them commit in one target transaction; that is what makes every path
crash-safe.  Each writing transaction starts with `require_epoch`, which takes a shared lock on the job's row; a new
owner raises the epoch under an exclusive lock.  So a worker that lost its lease either commits before the new
owner reads, or not at all (I6).
"""

from __future__ import annotations

import asyncpg

from towline.adapters.postgres.applier import STREAM_DDL
from towline.adapters.postgres.replaced import REPLACED_DDL
from towline.adapters.postgres.structure_plan import STRUCTURE_DDL
from towline.domain.errors import LeaseLost, Side
from towline.domain.failover import FindObstacle, Followed, no_other_server, require_follower

SCHEMA = "towline"

JOB_DDL = (
    "CREATE SCHEMA IF NOT EXISTS towline",
    """CREATE TABLE IF NOT EXISTS towline.job (
        job_id text PRIMARY KEY,
        epoch bigint NOT NULL,
        source_identity text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        planned_at timestamptz,
        copied_at timestamptz,
        completed_at timestamptz)""",
    """CREATE TABLE IF NOT EXISTS towline.snapshot (
        job_id text NOT NULL,
        number int NOT NULL,
        epoch bigint NOT NULL,
        position text NOT NULL,
        snapshot_text text NOT NULL,
        taken_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (job_id, number))""",
    """CREATE TABLE IF NOT EXISTS towline.table_plan (
        job_id text NOT NULL,
        schema_name text NOT NULL,
        table_name text NOT NULL,
        pages bigint NOT NULL,
        chunk_pages bigint NOT NULL,
        size_bytes bigint NOT NULL,
        estimated_rows bigint NOT NULL,
        storage_id text NOT NULL,
        PRIMARY KEY (job_id, schema_name, table_name))""",
    # Of a table that is cut by its key; jobs begun before it came go on.
    "ALTER TABLE towline.table_plan ADD COLUMN IF NOT EXISTS bounds text[] NOT NULL DEFAULT '{}'",
    """CREATE TABLE IF NOT EXISTS towline.chunk (
        job_id text NOT NULL,
        schema_name text NOT NULL,
        table_name text NOT NULL,
        kind text NOT NULL,
        number int NOT NULL,
        first_page bigint NOT NULL,
        end_page bigint,
        snapshot_number int NOT NULL,
        rows bigint NOT NULL,
        size_bytes bigint NOT NULL,
        done_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (job_id, schema_name, table_name, kind, number))""",
    # Apart from `job`: a new column would lock that table against all running jobs.
    """CREATE TABLE IF NOT EXISTS towline.job_edit (
        job_id text PRIMARY KEY,
        edit int NOT NULL)""",
    # What the job's history is still to be told of tables that left.
    """CREATE TABLE IF NOT EXISTS towline.departure (
        job_id text NOT NULL,
        number int NOT NULL,
        kind text NOT NULL,
        name text NOT NULL,
        reason text NOT NULL,
        PRIMARY KEY (job_id, number))""",
    # Of a source whose log does not name the columns: what its tables are like at the checkpoint.
    """CREATE TABLE IF NOT EXISTS towline.source_form (
        job_id text NOT NULL,
        schema_name text NOT NULL,
        table_name text NOT NULL,
        form text NOT NULL,
        since text NOT NULL,
        PRIMARY KEY (job_id, schema_name, table_name))""",
    # Of a source that rewrites tables without a word in its log: the last files whose rows are known to be followed.
    """CREATE TABLE IF NOT EXISTS towline.source_file (
        job_id text NOT NULL,
        schema_name text NOT NULL,
        table_name text NOT NULL,
        storage_id text NOT NULL,
        columns_id text NOT NULL,
        PRIMARY KEY (job_id, schema_name, table_name))""",
)

_JOB_TABLES = (
    "checkpoint",
    "reject",
    "replaced_value",
    "structure_item",
    "structure_report",
    "chunk",
    "table_plan",
    "snapshot",
    "departure",
    "job_edit",
    "source_form",
    "source_file",
    "job",
)


# I7: `reject` has values of rows. Default privileges of the database may be more generous than that.
_CLOSE_SCHEMA = """
DO $$
DECLARE other oid;
BEGIN
    FOR other IN SELECT DISTINCT g.grantee FROM pg_catalog.pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) AS g
                 WHERE n.nspname = 'towline' AND g.grantee <> n.nspowner
    LOOP
        EXECUTE 'REVOKE ALL ON SCHEMA towline FROM ' || CASE WHEN other = 0 THEN 'PUBLIC' ELSE other::regrole::text END;
    END LOOP;
END $$
"""


async def ensure_bookkeeping(connection: asyncpg.Connection) -> None:
    """Create the schema and its tables; safe to repeat, also from two workers at once.

    In the beginning nobody but the connection's user can look into the schema.
    """
    async with connection.transaction():
        # IF NOT EXISTS alone still races between sessions; the lock makes the second one wait.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('towline.bookkeeping'))")
        is_new = await connection.fetchval("SELECT to_regnamespace('towline') IS NULL")
        for statement in (*JOB_DDL, *STRUCTURE_DDL, *STREAM_DDL, REPLACED_DDL):
            await connection.execute(statement)
        if is_new:
            await connection.execute(_CLOSE_SCHEMA)


async def take_over(
    connection: asyncpg.Connection,
    job_id: str,
    *,
    epoch: int | None,
    source_identity: str,
    find_obstacle: FindObstacle = no_other_server,
) -> int:
    """Make this worker the only writer of the job and return its epoch.

    `epoch` None means "whatever comes next" (one-shot use without a lease).  Sessions of an earlier owner
    are ended first, so that an index build of a dead worker holds nobody up.  `find_obstacle` is asked when the source
    is another server or database than the one that the job was copied from.

    Raises:
        LeaseLost: somebody with a higher epoch owns the job already.
        SetupError: the job's rows on this target belong to another source, which this one does not follow.
    """
    await _end_sessions(connection, job_id)
    async with connection.transaction():
        row = await connection.fetchrow(
            "SELECT epoch, source_identity FROM towline.job WHERE job_id = $1 FOR UPDATE", job_id
        )
        if row is None:
            mine = epoch if epoch is not None else 1
            await connection.execute(
                "INSERT INTO towline.job (job_id, epoch, source_identity) VALUES ($1, $2, $3)",
                job_id,
                mine,
                source_identity,
            )
            return mine
        mine = epoch if epoch is not None else row["epoch"] + 1
        if row["epoch"] > mine:
            raise LeaseLost(f"job {job_id} is owned with epoch {row['epoch']}, this worker has {mine}")
        if row["source_identity"] != source_identity:
            require_follower(await _read_followed(connection, job_id), job_id, find_obstacle)
        await connection.execute(
            "UPDATE towline.job SET epoch = $2, source_identity = $3 WHERE job_id = $1", job_id, mine, source_identity
        )
        await connection.execute("UPDATE towline.checkpoint SET epoch = $2 WHERE job_id = $1", job_id, mine)
        return mine


async def _read_followed(connection: asyncpg.Connection, job_id: str) -> Followed:
    row = await connection.fetchrow(
        """SELECT completed_at IS NOT NULL AS is_complete,
                  (SELECT position FROM towline.checkpoint c WHERE c.job_id = j.job_id) AS checkpoint
           FROM towline.job j WHERE job_id = $1""",
        job_id,
    )
    assert row is not None
    snapshots = await connection.fetch("SELECT position FROM towline.snapshot WHERE job_id = $1", job_id)
    return Followed(
        row["checkpoint"], tuple(snapshot["position"] for snapshot in snapshots), is_complete=row["is_complete"]
    )


async def _end_sessions(connection: asyncpg.Connection, job_id: str) -> None:
    await connection.execute(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE application_name LIKE $1 AND pid <> pg_backend_pid() AND usename = current_user""",
        f"towline:{job_id}:%",
    )


async def require_epoch(connection: asyncpg.Connection, job_id: str, epoch: int) -> None:
    """Call first in every writing transaction. Raises LeaseLost when another worker owns the job."""
    # I6: the key-share lock is held to the end of the transaction; `take_over` waits for it.
    row = await connection.fetchval(
        "SELECT 1 FROM towline.job WHERE job_id = $1 AND epoch = $2 FOR KEY SHARE", job_id, epoch
    )
    if row is None:
        raise LeaseLost(f"job {job_id}: epoch {epoch} no longer owns it", side=Side.TARGET)


async def read_feed_epoch(connection: asyncpg.Connection, job_id: str) -> int | None:
    """The epoch of the worker that made the job's slot; None when no slot is remembered."""
    epoch: int | None = await connection.fetchval(
        "SELECT epoch FROM towline.snapshot WHERE job_id = $1 AND number = 1", job_id
    )
    return epoch


async def has_bookkeeping(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval("SELECT to_regclass('towline.job') IS NOT NULL"))


async def remove_bookkeeping(connection: asyncpg.Connection, job_id: str) -> None:
    """Forget the job; the schema goes with the last one. Safe to repeat."""
    if not await has_bookkeeping(connection):
        return
    await _end_sessions(connection, job_id)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('towline.bookkeeping'))")
        for table in _JOB_TABLES:
            # An older Towline has not made all of them.
            if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"towline.{table}"):
                await connection.execute(f"DELETE FROM towline.{table} WHERE job_id = $1", job_id)
        if not await connection.fetchval("SELECT EXISTS (SELECT 1 FROM towline.job)"):
            await connection.execute("DROP SCHEMA towline CASCADE")

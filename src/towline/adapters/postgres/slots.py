"""Logical replication slots and publications: made, looked at and removed.

A slot and its publication, both of one name, are a job's *feed*.  The name ends in the epoch of the worker that made
it.  The source cannot check who owns a job (I6), but a worker only ever makes a feed of its own epoch and only removes
older ones, so one that was frozen and wakes up late cannot touch the feed of its successor.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import asyncpg
from psycopg import AsyncConnection

from towline.adapters.postgres.connection import connect, libpq_conninfo
from towline.adapters.postgres.errors import translated, translated_connecting
from towline.adapters.postgres.lsn import Lsn
from towline.adapters.postgres.quoting import qualified, quote_ident
from towline.domain.errors import PositionLost, RowFilterRefused, Side, TargetBusy
from towline.domain.jobs import Endpoint
from towline.domain.tables import TableName

OUR_SESSIONS: Final = "towline:"
_RELEASE_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05
_FIRST_WITH_PARTITION_ROOT: Final = 13
_FIRST_WITH_WAL_STATUS: Final = 13
FIRST_WITH_ROW_FILTERS: Final = 15
# Columns of the condition that the source's log does not carry for the old row of an update or a delete.
FILTER_COLUMNS_OUTSIDE_IDENTITY = """
SELECT a.attname FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_publication_rel'::regclass AND d.objid = r.oid
     AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = r.prrelid AND d.refobjsubid > 0
JOIN pg_catalog.pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = d.refobjsubid
JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
WHERE p.pubname = $1 AND c.relreplident <> 'f' AND NOT EXISTS (
    SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
    AND CASE c.relreplident WHEN 'i' THEN i.indisreplident WHEN 'd' THEN i.indisprimary ELSE false END
    AND a.attnum = ANY (i.indkey::int2[]))
ORDER BY a.attnum
"""
_PUBLISHED: Final = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_publication p
LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
LEFT JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE p.pubname = $1
"""
# The comment of a publication that tables were added to.
_EDIT_MARK: Final = "towline edit "
# While a lock is waited for, writers of the table queue up behind it.
_WRITERS_TIMEOUT_S: Final = 5
# The source's own may be shorter than the pauses between our answers; without one a dead session keeps the slot.
_REPLICATION_SETTINGS: Final = {"wal_sender_timeout": "60s"}

Replication = AsyncConnection[tuple[Any, ...]]


@dataclass(slots=True, eq=False)
class SlotSnapshot:
    """A new slot, and the snapshot that holds exactly what was committed before its position.

    The snapshot can be adopted until `close`, which also ends a temporary slot.
    """

    position: Lsn
    snapshot_name: str
    _connection: Replication = field(repr=False)

    async def close(self) -> None:
        await self._connection.close()


async def create_slot(endpoint: Endpoint, *, slot_name: str, temporary: bool) -> SlotSnapshot:
    """A new slot for pgoutput with its exported snapshot. The caller closes what it gets.

    Returns only when all transactions that ran at its begin have ended.

    Raises:
        NoFreeReplicationSlot: the source has no slot or no sender left.
        MissingPrivilege: the user may not replicate.
    """
    connection = await connect_replication(endpoint, purpose="slot")
    try:
        with translated(Side.SOURCE, what=f"creating the replication slot {slot_name}"):
            kind = "TEMPORARY LOGICAL" if temporary else "LOGICAL"
            command = f"CREATE_REPLICATION_SLOT {quote_ident(slot_name)} {kind} pgoutput EXPORT_SNAPSHOT"
            row = await (await connection.execute(command.encode())).fetchone()
        assert row is not None
        return SlotSnapshot(Lsn.parse(row[1]), row[2], connection)
    except BaseException:
        await connection.close()
        raise


async def connect_replication(endpoint: Endpoint, *, purpose: str) -> Replication:
    """A connection that speaks the replication protocol for the endpoint's database."""
    conninfo = libpq_conninfo(endpoint, purpose=purpose, replication=True, options=_REPLICATION_SETTINGS)
    what = f"connecting to {endpoint.host}:{endpoint.port} for replication"
    with translated_connecting(Side.SOURCE, what=what):
        return await AsyncConnection.connect(conninfo, autocommit=True)


def feed_prefix(job_id: str) -> str:
    """What the names of the job's feeds begin with: letters, digits and underscores only."""
    return f"towline_{re.sub(r'[^a-z0-9]', '_', job_id.lower())}_"


def feed_name(job_id: str, epoch: int) -> str:
    """The feed that the worker with this epoch makes."""
    return f"{feed_prefix(job_id)}{epoch}"


async def drop_feeds(endpoint: Endpoint, job_id: str, *, keep: str | None = None, below: int | None = None) -> None:
    """Remove the job's feeds, or those of epochs below `below`, but not `keep`. Safe to repeat.

    Raises:
        TargetBusy: the reader of a slot does not go away.
    """
    prefix = feed_prefix(job_id)
    connection = await connect(endpoint, purpose="feeds", side=Side.SOURCE)
    try:
        with translated(Side.SOURCE, what="looking for the job's slots"):
            found = await connection.fetch(
                """SELECT slot_name::text AS name, true AS is_slot FROM pg_catalog.pg_replication_slots
                   WHERE starts_with(slot_name::text, $1) AND NOT temporary
                   UNION ALL
                   SELECT pubname::text, false FROM pg_catalog.pg_publication WHERE starts_with(pubname::text, $1)""",
                prefix,
            )
        for name, is_slot in found:
            epoch = name.removeprefix(prefix)
            if name == keep or not epoch.isdecimal() or (below is not None and int(epoch) >= below):
                continue
            if is_slot:
                await drop_slot(endpoint, name)
            else:
                await drop_publication(connection, name)
    finally:
        connection.terminate()


async def drop_slot(endpoint: Endpoint, slot_name: str) -> None:
    """Remove the slot; whoever reads it is ended first. Safe to repeat.

    Raises:
        TargetBusy: the slot's reader does not go away.
    """
    connection = await connect(endpoint, purpose="slot", side=Side.SOURCE)
    try:
        with translated(Side.SOURCE, what=f"dropping the replication slot {slot_name}"):
            deadline_s = _now_s() + _RELEASE_TIMEOUT_S
            while not await _try_drop(connection, slot_name):
                if _now_s() > deadline_s:
                    raise TargetBusy(f"the replication slot {slot_name} stays in use", side=Side.SOURCE)
                await asyncio.sleep(_POLL_S)
    finally:
        connection.terminate()


async def _try_drop(connection: asyncpg.Connection, slot_name: str) -> bool:
    row = await connection.fetchrow(
        "SELECT active_pid FROM pg_catalog.pg_replication_slots WHERE slot_name = $1", slot_name
    )
    if row is None:
        return True
    if row["active_pid"] is not None:
        await connection.execute("SELECT pg_catalog.pg_terminate_backend($1)", row["active_pid"])
    try:
        await connection.execute("SELECT pg_catalog.pg_drop_replication_slot($1)", slot_name)
    except asyncpg.ObjectInUseError:
        return False
    except asyncpg.UndefinedObjectError:
        pass  # a temporary slot went with its session
    return True


async def release_slot(connection: asyncpg.Connection, slot_name: str, start: Lsn) -> None:
    """Make sure that the slot can be read from `start`; an orphaned reader of ours is ended.

    Raises:
        PositionLost: the slot is gone, invalid, or has moved past `start`.
        TargetBusy: somebody else reads the slot.
    """
    deadline_s = _now_s() + _RELEASE_TIMEOUT_S
    while (pid := await _require_slot(connection, slot_name, start)) is not None:
        name = await connection.fetchval("SELECT application_name FROM pg_catalog.pg_stat_activity WHERE pid = $1", pid)
        if name is not None and not name.startswith(OUR_SESSIONS):
            raise TargetBusy(f"the replication slot {slot_name} is read by process {pid}", side=Side.SOURCE)
        if _now_s() > deadline_s:
            raise TargetBusy(f"the replication slot {slot_name} stays in use by {pid}", side=Side.SOURCE)
        await connection.execute("SELECT pg_catalog.pg_terminate_backend($1)", pid)
        await asyncio.sleep(_POLL_S)


async def _require_slot(connection: asyncpg.Connection, slot_name: str, start: Lsn) -> int | None:
    """The process that reads the slot, None when it is free."""
    has_status = connection.get_server_version().major >= _FIRST_WITH_WAL_STATUS
    row = await connection.fetchrow(
        f"""SELECT active_pid, confirmed_flush_lsn::text AS confirmed,
                   {"wal_status = 'lost'" if has_status else "false"} AS is_lost
            FROM pg_catalog.pg_replication_slots WHERE slot_name = $1""",
        slot_name,
    )
    if row is None:
        raise PositionLost(f"the replication slot {slot_name} is gone", side=Side.SOURCE)
    if row["is_lost"]:
        raise PositionLost(f"the source has dropped the log that slot {slot_name} kept", side=Side.SOURCE)
    # I1: only what the target's checkpoint holds is ever confirmed; a slot ahead of it means a lost checkpoint.
    if row["confirmed"] is not None and not start.covers(Lsn.parse(row["confirmed"])):
        raise PositionLost(
            f"slot {slot_name} stands at {row['confirmed']}, past the target's checkpoint {start}",
            side=Side.SOURCE,
        )
    pid: int | None = row["active_pid"]
    return pid


async def ensure_publication(
    connection: asyncpg.Connection,
    name: str,
    tables: Sequence[TableName],
    *,
    filters: Mapping[TableName, str] = MappingProxyType({}),
) -> None:
    """A publication of exactly these tables, leaf partitions under their own names. Safe to repeat.

    All four kinds of change are published. Generated columns are not: the target computes them. With a filter an
    update that brings a row in or out arrives as an insert or a delete (CREATE PUBLICATION, "Notes"). The filters of
    a job do not change while it has a feed, so an existing publication has them.

    Raises:
        RowFilterRefused: the source is too old for filters.
    """
    _require_filters(connection, filters)
    with translated(Side.SOURCE, what=f"creating the publication {name}"):
        async with connection.transaction():
            rows = await connection.fetch(_PUBLISHED, name)
            published = {TableName(row[0], row[1]) for row in rows if row[0] is not None}
            if rows and published == set(tables):
                return
            if rows:
                await connection.execute(f"DROP PUBLICATION {quote_ident(name)}")
            await connection.execute(_render_publication(connection, name, tables, filters))
            await _require_updates(connection, name, filters)


async def extend_publication(
    connection: asyncpg.Connection,
    name: str,
    tables: Sequence[TableName],
    *,
    edit: int = 0,
    filters: Mapping[TableName, str] = MappingProxyType({}),
) -> bool:
    """Add those of the tables to the publication that it does not have; False when there are none.

    `edit` is written down with it, see `narrow_publication`.

    Writers of the new tables are kept out for the moment of the commit, and those at work are waited for.  Otherwise
    the source's decoder, which remembers what is published, could go on leaving out changes of a table that a
    transaction had written to before, and wrote to again after, the table was added.

    Raises:
        TargetBusy: a writer did not end in time; nothing was changed.
        RowFilterRefused: the source cannot filter the changes of a table.
    """
    _require_filters(connection, filters)
    with translated(Side.SOURCE, what=f"adding to the publication {name}"):
        async with connection.transaction():
            newest = await _hold_publication(connection, name)
            published = await read_published(connection, name)
            missing = [table for table in tables if table not in published]
            if not missing:
                return False
            listed = ", ".join(f"ONLY {qualified(table)}" for table in missing)
            if edit > newest:
                await connection.execute(f"COMMENT ON PUBLICATION {quote_ident(name)} IS '{_EDIT_MARK}{int(edit)}'")
            await connection.execute(f"LOCK TABLE {listed} IN SHARE MODE")
            added = _render_tables(missing, filters)
            await connection.execute(f"ALTER PUBLICATION {quote_ident(name)} ADD TABLE {added}")
            await _require_updates(connection, name, filters)
            return True


async def narrow_publication(
    connection: asyncpg.Connection, name: str, tables: Sequence[TableName], *, edit: int
) -> bool:
    """Take all but these tables out of the publication; False when it has no others. Safe to repeat.

    `edit` is the one that the list of tables is of.  The source does not know who owns the job (I6).  So a worker that
    was frozen and wakes up late must see for itself that tables of a later edit may be in the publication, which it
    knows nothing of; then it changes nothing.

    Raises:
        TargetBusy: somebody holds one of the tables; nothing was changed.
    """
    with translated(Side.SOURCE, what=f"taking tables out of the publication {name}"):
        async with connection.transaction():
            if await _hold_publication(connection, name) > edit:
                return False
            surplus = sorted(await read_published(connection, name) - set(tables))
            if not surplus:
                return False
            # ONLY: a parent in an inheritance tree does not take children with it that stay.
            listed = ", ".join(f"ONLY {qualified(table)}" for table in surplus)
            await connection.execute(f"ALTER PUBLICATION {quote_ident(name)} DROP TABLE {listed}")
            return True


async def _hold_publication(connection: asyncpg.Connection, name: str) -> int:
    """Keep other workers of the job from changing it until the transaction ends; the newest edit that added to it."""
    await connection.execute(f"SET LOCAL lock_timeout = '{_WRITERS_TIMEOUT_S}s'")
    await connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext($1))", name)
    mark = await connection.fetchval(
        """SELECT pg_catalog.obj_description(oid, 'pg_publication') FROM pg_catalog.pg_publication
           WHERE pubname = $1""",
        name,
    )
    digits = (mark or "").removeprefix(_EDIT_MARK)
    return int(digits) if digits.isdecimal() else 0


async def read_published(connection: asyncpg.Connection, name: str) -> set[TableName]:
    """What the tables of the publication are called now; it knows them by their ids."""
    rows = await connection.fetch(_PUBLISHED, name)
    return {TableName(row[0], row[1]) for row in rows if row[0] is not None}


def _require_filters(connection: asyncpg.Connection, filters: Mapping[TableName, str]) -> None:
    if filters and connection.get_server_version().major < FIRST_WITH_ROW_FILTERS:
        raise RowFilterRefused(
            f"the source cannot filter the changes of {min(filters)}: it is older than PostgreSQL "
            f"{FIRST_WITH_ROW_FILTERS}",
            side=Side.SOURCE,
        )


async def _require_updates(connection: asyncpg.Connection, name: str, filters: Mapping[TableName, str]) -> None:
    outside = await connection.fetch(FILTER_COLUMNS_OUTSIDE_IDENTITY, name) if filters else []
    if outside:
        # From the commit on the source would refuse its applications' UPDATE and DELETE.
        raise RowFilterRefused(
            f"column {outside[0]['attname']} of a condition is not part of the table's key", side=Side.SOURCE
        )


def _render_tables(tables: Sequence[TableName], filters: Mapping[TableName, str]) -> str:
    # ONLY: a parent in an inheritance tree does not bring children that the job does not move.
    return ", ".join(
        f"ONLY {qualified(table)}" + (f" WHERE ({filters[table]})" if table in filters else "") for table in tables
    )


def _render_publication(
    connection: asyncpg.Connection, name: str, tables: Sequence[TableName], filters: Mapping[TableName, str]
) -> str:
    target = f" FOR TABLE {_render_tables(tables, filters)}" if tables else ""
    has_root = connection.get_server_version().major >= _FIRST_WITH_PARTITION_ROOT
    options = " WITH (publish_via_partition_root = false)" if has_root else ""
    return f"CREATE PUBLICATION {quote_ident(name)}{target}{options}"


async def drop_publication(connection: asyncpg.Connection, name: str) -> None:
    """Remove the publication; safe to repeat."""
    with translated(Side.SOURCE, what=f"dropping the publication {name}"):
        await connection.execute(f"DROP PUBLICATION IF EXISTS {quote_ident(name)}")


def _now_s() -> float:
    return asyncio.get_running_loop().time()

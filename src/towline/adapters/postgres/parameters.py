"""Settings of both servers side by side, and changing those of the target."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import asyncpg

from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.quoting import quote_ident, quote_literal
from towline.domain.accounts import Parameter
from towline.domain.errors import MissingPrivilege, ParameterRefused, Side
from towline.domain.jobs import Endpoint

# Those by which an application may notice that it has moved.
_COMMON: Final = (
    *("default_text_search_config", "default_transaction_isolation", "lc_messages", "lc_monetary"),
    *("lc_numeric", "lc_time", "max_connections", "max_locks_per_transaction", "max_prepared_transactions"),
    *("password_encryption", "row_security", "server_encoding", "xmloption"),
    *("array_nulls", "backslash_quote", "escape_string_warning", "quote_all_identifiers", "transform_null_equals"),
)
# Those by which it may notice how fast it is.
_PERFORMANCE: Final = (
    *("autovacuum", "autovacuum_max_workers", "autovacuum_naptime", "checkpoint_completion_target"),
    *("checkpoint_timeout", "default_statistics_target", "effective_cache_size", "effective_io_concurrency"),
    *("hash_mem_multiplier", "huge_pages", "maintenance_work_mem", "max_parallel_workers", "random_page_cost"),
    *("max_parallel_workers_per_gather", "max_wal_size", "max_worker_processes", "min_wal_size", "seq_page_cost"),
    *("shared_buffers", "synchronous_commit", "temp_buffers", "wal_buffers", "wal_compression", "work_mem"),
)
GROUPS: Final = {**dict.fromkeys(_COMMON, "common"), **dict.fromkeys(_PERFORMANCE, "performance")}

# None of those that our sessions set for themselves is among the names.
_SETTINGS = """
SELECT name, pg_catalog.current_setting(name) AS shown,
       vartype IN ('integer', 'real') AS is_number, context,
       CASE WHEN enumvals IS NOT NULL THEN array_to_string(enumvals, '|')
            WHEN min_val IS NOT NULL THEN min_val || '-' || max_val ELSE '' END AS allowed
FROM pg_catalog.pg_settings WHERE name = ANY($1::text[])
"""
# How long one who is cancelled waits for the change to end.
_END_GRACE_S: Final = 30.0

# What stands in the file that ALTER SYSTEM writes; `pg_settings` shows what holds now, which may be something else.
_WRITTEN = """
SELECT name, setting FROM pg_catalog.pg_file_settings
WHERE name = ANY($1::text[]) AND sourcefile LIKE '%postgresql.auto.conf'
"""
_MAY_READ_WRITTEN = """
SELECT has_table_privilege('pg_catalog.pg_file_settings', 'SELECT')
   AND has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE')
"""


async def read_parameters(source: Endpoint, target: Endpoint) -> list[Parameter]:
    """By group and name; a setting that neither server has is left out."""
    here, there = await asyncio.gather(_read(source, Side.SOURCE), _read(target, Side.TARGET))
    found = []
    for name, group in GROUPS.items():
        old, new = here.get(name), there.get(name)
        known = new or old
        if known is None:
            continue
        found.append(
            Parameter(
                name=name,
                group=group,
                source_value=old["shown"] or "" if old else "",
                target_value=new["shown"] or "" if new else "",
                is_number=known["is_number"],
                allowed=known["allowed"],
                needs_restart=known["context"] == "postmaster",
            )
        )
    return found


async def write_parameters(target: Endpoint, values: Mapping[str, str]) -> bool:
    """Change settings of the target's server and have it read them; True when some wait for its restart.

    Either all are changed or none, also when the caller is cancelled: when one is refused the others are put back.
    ALTER SYSTEM knows no transaction, so only the end of this process or of the server in between can leave some.

    Raises:
        ParameterRefused: names the setting.
        MissingPrivilege: the job's user may not change it, or may not see what would have to be put back.
    """
    # A task of its own: whoever waits may be cancelled, the change goes on to its end.
    change = asyncio.create_task(_change(target, dict(values)), name="parameters")
    try:
        return await asyncio.shield(change)
    except asyncio.CancelledError:
        done, _ = await asyncio.wait({change}, timeout=_END_GRACE_S)
        for task in done:
            task.exception()  # looked at: nobody else will
        raise


async def _change(target: Endpoint, values: Mapping[str, str]) -> bool:
    connection = await connect(target, purpose="parameters", side=Side.TARGET)
    undo: list[str] = []
    try:
        with translated(Side.TARGET, what="changing parameters of the server"):
            contexts = {row["name"]: row["context"] for row in await connection.fetch(_SETTINGS, list(values))}
            for name in values:
                if name not in contexts or contexts[name] == "internal":
                    raise ParameterRefused(f"the target cannot change {name}", side=Side.TARGET)
            ways_back = await _ways_back(connection, values)
            for name, value in values.items():
                # Noted before it is done: of a change whose answer is lost nobody knows.
                undo += ways_back[name]
                try:
                    await _set(connection, name, value)
                except (asyncpg.InsufficientPrivilegeError, ParameterRefused):
                    del undo[-1:]  # the server says that it did nothing
                    raise
            undo.clear()
            await connection.execute("SELECT pg_catalog.pg_reload_conf()")
    finally:
        try:
            if undo:
                await _put_back(target, connection, undo)
        finally:
            connection.terminate()
    return "postmaster" in contexts.values()


async def _put_back(target: Endpoint, connection: asyncpg.Connection, undo: list[str]) -> None:
    """On a new connection if the first one was lost."""
    fresh = await connect(target, purpose="parameters", side=Side.TARGET) if connection.is_closed() else connection
    try:
        for statement in undo:
            await fresh.execute(statement)
    finally:
        fresh.terminate()


async def _set(connection: asyncpg.Connection, name: str, value: str) -> None:
    try:
        await connection.execute(f"ALTER SYSTEM SET {quote_ident(name)} = {quote_literal(value)}")
    except asyncpg.InsufficientPrivilegeError:
        raise
    except (asyncpg.SyntaxOrAccessError, asyncpg.DataError, asyncpg.ObjectNotInPrerequisiteStateError) as error:
        raise ParameterRefused(f"the target refuses {name}: {error}", side=Side.TARGET) from None


async def _ways_back(connection: asyncpg.Connection, values: Mapping[str, str]) -> dict[str, list[str]]:
    """What undoes the change of each setting. Raises: MissingPrivilege."""
    if len(values) == 1:
        return {name: [] for name in values}  # one statement is done or not done
    if not await connection.fetchval(_MAY_READ_WRITTEN):
        raise MissingPrivilege(
            "the job's user may not see which settings of the target's server were changed before",
            side=Side.TARGET,
            remedy="Change one setting at a time, or GRANT SELECT ON pg_file_settings and EXECUTE ON FUNCTION "
            "pg_show_all_file_settings() to the user.",
        )
    written = {row["name"]: row["setting"] for row in await connection.fetch(_WRITTEN, list(values))}
    return {
        name: [
            f"ALTER SYSTEM SET {quote_ident(name)} = {quote_literal(written[name])}"
            if written.get(name) is not None
            else f"ALTER SYSTEM RESET {quote_ident(name)}"
        ]
        for name in values
    }


async def _read(endpoint: Endpoint, side: Side) -> dict[str, asyncpg.Record]:
    connection = await connect(endpoint, purpose="parameters", side=side)
    try:
        with translated(side, what="reading the server's parameters"):
            return {row["name"]: row for row in await connection.fetch(_SETTINGS, list(GROUPS))}
    finally:
        connection.terminate()

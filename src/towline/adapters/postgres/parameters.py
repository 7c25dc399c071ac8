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
from towline.domain.errors import ParameterRefused, Side
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
_BEFORE = """
SELECT name, setting, unit FROM pg_catalog.pg_settings
WHERE name = $1 AND sourcefile LIKE '%postgresql.auto.conf'
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

    Either all are changed or none: when one is refused the others are put back.

    Raises:
        ParameterRefused: names the setting.
        MissingPrivilege: the job's user may not change it.
    """
    connection = await connect(target, purpose="parameters", side=Side.TARGET)
    undo: list[str] = []
    try:
        with translated(Side.TARGET, what="changing parameters of the server"):
            contexts = {row["name"]: row["context"] for row in await connection.fetch(_SETTINGS, list(values))}
            for name, value in values.items():
                if name not in contexts or contexts[name] == "internal":
                    raise ParameterRefused(f"the target cannot change {name}", side=Side.TARGET)
                back = await _way_back(connection, name)
                await _set(connection, name, value)
                undo.append(back)
            undo.clear()
            await connection.execute("SELECT pg_catalog.pg_reload_conf()")
    finally:
        try:
            for statement in undo:
                await connection.execute(statement)
        finally:
            connection.terminate()
    return "postmaster" in contexts.values()


async def _set(connection: asyncpg.Connection, name: str, value: str) -> None:
    try:
        await connection.execute(f"ALTER SYSTEM SET {quote_ident(name)} = {quote_literal(value)}")
    except asyncpg.InsufficientPrivilegeError:
        raise
    except (asyncpg.SyntaxOrAccessError, asyncpg.DataError, asyncpg.ObjectNotInPrerequisiteStateError) as error:
        raise ParameterRefused(f"the target refuses {name}: {error}", side=Side.TARGET) from None


async def _way_back(connection: asyncpg.Connection, name: str) -> str:
    row = await connection.fetchrow(_BEFORE, name)
    if row is None:
        return f"ALTER SYSTEM RESET {quote_ident(name)}"
    return f"ALTER SYSTEM SET {quote_ident(name)} = {quote_literal(row['setting'])}"


async def _read(endpoint: Endpoint, side: Side) -> dict[str, asyncpg.Record]:
    connection = await connect(endpoint, purpose="parameters", side=side)
    try:
        with translated(side, what="reading the server's parameters"):
            return {row["name"]: row for row in await connection.fetch(_SETTINGS, list(GROUPS))}
    finally:
        connection.terminate()

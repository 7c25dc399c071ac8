"""Settings of both servers side by side, and changing those of the target.

MySQL from 8.0 on keeps a changed setting over its restart (SET PERSIST); MariaDB and older ones forget it then, and
need it in their configuration as well.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.errors import number_of
from towline.adapters.mysql.quoting import quote_ident, quote_literal
from towline.adapters.mysql.session import Session
from towline.domain.accounts import Parameter
from towline.domain.errors import MissingPrivilege, ParameterRefused, Side, TowlineError, TransientError
from towline.domain.jobs import Endpoint

# Those by which an application may notice that it has moved.
_COMMON: Final = (
    *("auto_increment_increment", "auto_increment_offset", "character_set_server", "collation_server"),
    *("default_storage_engine", "div_precision_increment", "event_scheduler", "explicit_defaults_for_timestamp"),
    *("group_concat_max_len", "innodb_lock_wait_timeout", "innodb_strict_mode", "interactive_timeout"),
    *("log_bin_trust_function_creators", "lower_case_table_names", "max_allowed_packet", "max_connections"),
    *("net_read_timeout", "net_write_timeout", "sql_mode", "time_zone", "transaction_isolation", "tx_isolation"),
    *("wait_timeout",),
)
# Those by which it may notice how fast it is.
_PERFORMANCE: Final = (
    *("innodb_buffer_pool_size", "innodb_flush_log_at_trx_commit", "innodb_flush_method", "innodb_io_capacity"),
    *("innodb_log_file_size", "innodb_redo_log_capacity", "innodb_log_buffer_size", "innodb_read_io_threads"),
    *("innodb_write_io_threads", "join_buffer_size", "long_query_time", "max_heap_table_size"),
    *("query_cache_size", "query_cache_type", "read_buffer_size", "sort_buffer_size", "sync_binlog"),
    *("table_open_cache", "thread_cache_size", "tmp_table_size"),
)
GROUPS: Final = {**dict.fromkeys(_COMMON, "common"), **dict.fromkeys(_PERFORMANCE, "performance")}

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_READ_ONLY: Final = 1238  # it takes a restart, or cannot be changed at all


async def read_parameters(source: Endpoint, target: Endpoint) -> list[Parameter]:
    """By group and name; a setting that neither server has is left out."""
    here, there = await asyncio.gather(_read(source, Side.SOURCE), _read(target, Side.TARGET))
    return [
        Parameter(
            name=name,
            group=group,
            source_value=here.get(name, ""),
            target_value=there.get(name, ""),
            is_number=bool(_NUMBER.fullmatch(there.get(name, here.get(name, "")))),
            allowed="",
            needs_restart=False,
        )
        for name, group in GROUPS.items()
        if name in here or name in there
    ]


async def write_parameters(target: Endpoint, values: Mapping[str, str]) -> bool:
    """Change settings of the target's server; False, none waits for its restart: one that would is refused.

    Either all are changed or none: when one is refused the others are put back.

    Raises:
        ParameterRefused: names the setting.
        MissingPrivilege: the job's user may not change it.
    """
    session = await connect(target, purpose="parameters", side=Side.TARGET)
    before: dict[str, str] = {}
    try:
        known = await _read_values(session)
        for name, value in values.items():
            if name not in known:
                raise ParameterRefused(f"the target has no parameter {name}", side=Side.TARGET)
            await _set(session, name, value)
            before[name] = known[name]
        before.clear()
    finally:
        try:
            for name, value in before.items():
                await _set(session, name, value)
        finally:
            session.terminate()
    return False


async def _set(session: Session, name: str, value: str) -> None:
    scope = "PERSIST" if session.flavor.is_mysql_from(8, 0) else "GLOBAL"
    rendered = value if _NUMBER.fullmatch(value) else quote_literal(value)
    try:
        await session.execute(f"SET {scope} {quote_ident(name)} = {rendered}", what=f"setting {name}")
    except (MissingPrivilege, TransientError):
        raise
    except TowlineError as error:
        reason = "it takes a restart" if number_of(error) == _READ_ONLY else error.message
        raise ParameterRefused(f"the target refuses {name}: {reason}", side=Side.TARGET) from None


async def _read(endpoint: Endpoint, side: Side) -> dict[str, str]:
    session = await connect(endpoint, purpose="parameters", side=side)
    try:
        return await _read_values(session)
    finally:
        session.terminate()


async def _read_values(session: Session) -> dict[str, str]:
    names = ", ".join(quote_literal(name) for name in GROUPS)
    rows = await session.query(
        f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({names})", what="reading the server's parameters"
    )
    return {str(name).lower(): str(value) for name, value in rows}

"""Lets a session write a smaller log on the target.

After a checkpoint, the first change of a page puts the whole page into the log, and so does every page of a new index.
Pages shrink to a third and less.  The setting holds for the session alone, and only the log's size depends on it.

It is left as it is where the operator has chosen something, where the server or its version cannot do it cheaply (the
method before PostgreSQL 15 costs more time than it saves), where the user may not set it, and where a standby replays
the log: that could be of a build without LZ4 (manual: "Write Ahead Log", wal_compression).
"""

from __future__ import annotations

from typing import Final

import asyncpg

_FIRST_VERSION_WITH_LZ4: Final = 15
_COMPRESS: Final = """
SELECT pg_catalog.set_config('wal_compression', 'lz4', false) FROM pg_catalog.pg_settings
WHERE name = 'wal_compression' AND setting = 'off' AND 'lz4' = ANY (enumvals)
  AND pg_catalog.has_parameter_privilege('wal_compression', 'SET')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_type = 'physical')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_replication r WHERE NOT EXISTS (
      SELECT FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = r.pid))
"""


async def ensure_compressed_log(connection: asyncpg.Connection) -> None:
    """Compress full pages in the log that this session writes, where that is possible and harms nobody."""
    if connection.get_server_version().major >= _FIRST_VERSION_WITH_LZ4:
        await connection.execute(_COMPRESS)

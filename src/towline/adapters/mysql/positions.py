"""Where a source stands, read from its status statements."""

from __future__ import annotations

from towline.adapters.mysql.gtid import BinlogOffset, BinlogPosition, GtidSet, MariadbGtids
from towline.adapters.mysql.session import Session


async def read_position(session: Session) -> BinlogPosition | None:
    """Everything committed so far lies at or before it; None when the server writes no binlog.

    GTIDs where the server has them, else file and offset.

    Raises: MissingPrivilege, when the account may not see the binlog's state.
    """
    row = await session.query_one(session.flavor.source_status_statement, what="reading the binlog's position")
    if row is None:
        return None
    return await choose_position(session, str(row[0]), int(row[1]), str(row[4]) if len(row) > 4 else "")


async def choose_position(session: Session, file: str, offset: int, executed: str) -> BinlogPosition:
    """The position that names this place of the binlog; `executed` is MySQL's set, "" for MariaDB."""
    if session.flavor.is_mariadb:
        gtids = await session.query_value("SELECT BINLOG_GTID_POS(%s, %s)", file, offset)
        return MariadbGtids.parse(gtids or "")
    if executed.strip():
        return GtidSet.parse(executed.replace("\n", ""))
    if await session.query_value("SELECT @@GLOBAL.gtid_mode") == "ON":
        return GtidSet()
    return BinlogOffset(file, offset)

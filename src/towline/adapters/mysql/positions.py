"""Where a source stands, read from its status statements."""

from __future__ import annotations

from towline.adapters.mysql.catalog import SYSTEM_SCHEMAS
from towline.adapters.mysql.gtid import BinlogOffset, BinlogPosition, GtidSet, MariadbGtids
from towline.adapters.mysql.session import Row, Session
from towline.domain.errors import SetupError, Side


async def read_position(session: Session) -> BinlogPosition | None:
    """Everything committed so far lies at or before it; None when the server writes no binlog.

    GTIDs where the server has them, else file and offset.

    Raises: MissingPrivilege, when the account may not see the binlog's state.
    """
    row = await _read_status(session)
    if row is None:
        return None
    return await choose_position(session, str(row[0]), int(row[1]), str(row[4]) if len(row) > 4 else "")


async def require_whole_binlog(session: Session) -> None:
    """Raises SetupError when the binlog leaves out databases; MissingPrivilege when the account may not see that."""
    await _read_status(session)


async def _read_status(session: Session) -> Row | None:
    """What the server says of its binlog, of which nothing is left out; None when it writes none."""
    row = await session.query_one(session.flavor.source_status_statement, what="reading the binlog's position")
    if row is not None:
        _require_unfiltered(str(row[2] or ""), str(row[3] or ""))
    return row


async def choose_position(session: Session, file: str, offset: int, executed: str) -> BinlogPosition:
    """The position that names this place of the binlog; `executed` is MySQL's set, "" for MariaDB."""
    if session.flavor.is_mariadb:
        gtids = await session.query_value("SELECT BINLOG_GTID_POS(%s, %s)", file, offset)
        if gtids is None:
            # No position is not the empty one: the stream would begin with the oldest binlog.
            raise SetupError(f"the source does not know the GTIDs of {file}:{offset}", side=Side.SOURCE)
        return MariadbGtids.parse(gtids)
    # A set that was left over from before GTIDs were switched off names nothing that comes later.
    if await session.query_value("SELECT @@GLOBAL.gtid_mode") == "ON":
        return GtidSet.parse(executed.replace("\n", ""))
    return BinlogOffset(file, offset)


def _require_unfiltered(wanted: str, ignored: str) -> None:
    """Raises SetupError when the binlog leaves out databases that a job could have."""
    left_out = {name for name in ignored.lower().split(",") if name} - SYSTEM_SCHEMAS
    if wanted or left_out:
        raise SetupError(
            "the source's binlog leaves out databases",
            side=Side.SOURCE,
            remedy="Start the source without binlog_do_db and binlog_ignore_db, then start a new job.",
        )

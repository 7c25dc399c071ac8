"""Where the source stands, and what time it is there."""

from __future__ import annotations

import asyncio
from typing import Final

from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.gtid import BinlogOffset, BinlogPosition, GtidSet, MariadbGtids
from towline.adapters.mysql.session import Session
from towline.domain.errors import ConnectionLost, MissingPrivilege, SetupError, Side
from towline.domain.jobs import Endpoint
from towline.engine.ports import SourceSample

# The time of a statement is taken when it begins, so whatever was committed up to then lies before the position.
_TIME_US: Final = "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)"
_TIMEOUT_S: Final = 10.0


async def read_current_position(session: Session) -> BinlogPosition:
    """Everything that was committed so far lies at or before it; by GTID where the source has them.

    Raises: SetupError, MissingPrivilege.
    """
    return (await _read_sample(session))[1]


async def _read_sample(session: Session) -> tuple[int, BinlogPosition]:
    what = "reading the source's position"
    if session.flavor.is_mariadb:
        row = await session.query_one(f"SELECT {_TIME_US}, @@global.gtid_binlog_pos", what=what)
        assert row is not None
        return int(row[0]), MariadbGtids.parse(row[1])
    row = await session.query_one(f"SELECT {_TIME_US}, @@global.gtid_mode, @@global.gtid_executed", what=what)
    assert row is not None
    time_us, mode, executed = row
    if str(mode).upper() == "ON":
        return int(time_us), GtidSet.parse(executed)
    status = await session.query_one(session.flavor.source_status_statement, what=what)
    if status is None:
        raise SetupError(
            "the source writes no binlog",
            side=Side.SOURCE,
            remedy="Set log_bin on the source and restart it, then retry the job.",
        )
    return int(time_us), BinlogOffset(str(status[0]), int(status[1]))


class MysqlProbe:
    """Implements `engine.ports.SourceProbe`; connects when first asked, and anew after a failure."""

    def __init__(self, endpoint: Endpoint, *, job_id: str) -> None:
        self._endpoint = endpoint
        self._purpose = f"{job_id}:probe"
        self._session: Session | None = None

    async def sample(self) -> SourceSample:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                if self._session is None or self._session.is_closed:
                    self._session = await connect(self._endpoint, purpose=self._purpose, side=Side.SOURCE)
                # Others write whole seconds, of when the statement began, and what a client has set as the time.
                has_exact_commits = self._session.flavor.is_mysql_from(8, 0)
                return SourceSample(*await _read_sample(self._session), has_exact_commits)
        except TimeoutError as error:
            await self.close()
            raise ConnectionLost("the source did not tell its position in time", side=Side.SOURCE) from error
        except MissingPrivilege:
            raise
        except BaseException:
            await self.close()
            raise

    async def nudge(self) -> None:
        """Nothing to do: an idle source's position is that of its last transaction, which the stream has come to."""

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.terminate()

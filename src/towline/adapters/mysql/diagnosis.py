"""What both servers look like while a job runs: old transactions of the source, whom the target's sessions wait for.

Both products show every session with `information_schema.processlist` and InnoDB's transactions with `innodb_trx`.
Who waits for whom is in different places, see `lock_waits.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from towline.adapters.mysql.connection import connect, own_sessions
from towline.adapters.mysql.errors import number_of
from towline.adapters.mysql.lock_waits import describe_sessions, read_lock_waits
from towline.adapters.mysql.session import Session
from towline.domain.diagnosis import KeptLog, OpenTransaction, SourceFacts, TargetFacts
from towline.domain.errors import MissingPrivilege, Side, TowlineError
from towline.domain.jobs import Endpoint

_BINLOG_DISABLED: Final = 1381
_DAY_S: Final = 86_400.0
_OPEN_TRANSACTIONS: Final = """
SELECT trx_mysql_thread_id FROM information_schema.innodb_trx
WHERE trx_mysql_thread_id <> 0 AND trx_rows_modified > 0 ORDER BY trx_started LIMIT 5
"""
_RETENTION: Final = """
SHOW GLOBAL VARIABLES WHERE variable_name IN ('log_bin', 'binlog_expire_logs_seconds', 'expire_logs_days',
    'binlog_expire_logs_auto_purge', 'max_binlog_total_size', 'binlog_space_limit', 'log_bin_basename')
"""
# MariaDB's plugin DISKS; in KiB, and nothing for an account without FILE.
_DISKS: Final = "SELECT path, available FROM information_schema.disks"
_UNKNOWN_TABLE: Final = 1109


class _Looking:
    """A connection of its own, made when first needed and anew after a failure."""

    def __init__(self, endpoint: Endpoint, job_id: str, side: Side) -> None:
        self._endpoint = endpoint
        self._job_id = job_id
        self._side = side
        self._session: Session | None = None

    async def _open(self) -> Session:
        if self._session is None or self._session.is_closed:
            self._session = await connect(
                self._endpoint,
                purpose=f"{self._job_id}:look",
                settings={"lock_wait_timeout": "2", "innodb_lock_wait_timeout": "2"},
                side=self._side,
                timeout_s=5,
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            self._session.terminate()
            self._session = None


class MySourceDiagnosis(_Looking):
    """Implements `engine.ports.SourceDiagnosis`."""

    def __init__(self, endpoint: Endpoint, *, job_id: str) -> None:
        super().__init__(endpoint, job_id, Side.SOURCE)
        self._sizes: dict[str, int] = {}

    async def read(self, *, at_us: int) -> SourceFacts:
        session = await self._open()
        try:
            log = await self._read_log(session)
            transactions = await _read_transactions(session)
            waits = await read_lock_waits(session, own_sessions(self._side, self._job_id))
        except BaseException:
            await self.close()
            raise
        return SourceFacts(
            at_us=at_us,
            # Of files that are gone too, so it only grows.
            log_end_bytes=sum(self._sizes.values()) if log.held_bytes is not None else None,
            log=log,
            transactions=transactions or (),
            are_transactions_shown=transactions is not None,
            lock_waits=waits,
        )

    async def _read_log(self, session: Session) -> KeptLog:
        settings = {str(name).lower(): str(value) for name, value in await session.query(_RETENTION)}
        limits = [int(settings[name]) for name in ("max_binlog_total_size", "binlog_space_limit") if name in settings]
        log = KeptLog(
            "the binlog",
            is_there=settings.get("log_bin") == "ON",
            is_read=True,
            keeps_for_s=_read_keep_time_s(settings),
            limit_bytes=max(limits, default=0) or None,
        )
        try:
            sizes = {str(row[0]): int(row[1]) for row in await session.query("SHOW BINARY LOGS")}
        except MissingPrivilege:
            return log
        except TowlineError as error:
            if number_of(error) == _BINLOG_DISABLED:
                return replace(log, is_there=False)
            raise
        self._sizes.update(sizes)
        room = await _read_disk_room(session, settings.get("log_bin_basename", ""))
        return replace(log, held_bytes=sum(sizes.values()), disk_left_bytes=room)


class MyTargetDiagnosis(_Looking):
    """Implements `engine.ports.TargetDiagnosis`."""

    def __init__(self, endpoint: Endpoint, *, job_id: str) -> None:
        super().__init__(endpoint, job_id, Side.TARGET)

    async def read(self, *, at_us: int) -> TargetFacts:
        session = await self._open()
        try:
            waits = await read_lock_waits(session, own_sessions(self._side, self._job_id))
        except BaseException:
            await self.close()
            raise
        return TargetFacts(at_us=at_us, lock_waits=waits)


async def _read_disk_room(session: Session, log_place: str) -> int | None:
    """What is free on the disk with the binlog; None where the server does not say, as MySQL never does."""
    if not session.flavor.is_mariadb:
        return None
    try:
        disks = {str(path): int(available) * 1024 for path, available in await session.query(_DISKS)}
    except MissingPrivilege:
        return None
    except TowlineError as error:
        if number_of(error) == _UNKNOWN_TABLE:
            return None
        raise
    return choose_disk_room(disks, log_place)


def choose_disk_room(room_bytes: Mapping[str, int], place: str) -> int | None:
    """That of the disk which is mounted nearest above the place. Pure."""
    above = [path for path in room_bytes if path == "/" or place.startswith(path.rstrip("/") + "/")]
    return room_bytes[max(above, key=len)] if above and place.startswith("/") else None


async def _read_transactions(session: Session) -> tuple[OpenTransaction, ...] | None:
    """The oldest that have written; None when the account may not see those of others."""
    try:
        pids = [int(row[0]) for row in await session.query(_OPEN_TRANSACTIONS)]
    except MissingPrivilege:
        return None
    described = await describe_sessions(session, pids)
    return tuple(OpenTransaction(described[pid], has_written=True, is_in_database=True) for pid in pids)


def _read_keep_time_s(settings: Mapping[str, str]) -> float:
    """After how long the server removes a binlog; 0 if it never does by age."""
    if settings.get("binlog_expire_logs_auto_purge") == "OFF":
        return 0.0
    seconds = float(settings.get("binlog_expire_logs_seconds", 0))
    return seconds or float(settings.get("expire_logs_days", 0)) * _DAY_S

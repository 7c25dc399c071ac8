"""What both servers look like while a job runs: old transactions of the source, whom the target's sessions wait for.

Both products show every session with `information_schema.processlist` and InnoDB's transactions with `innodb_trx`.
Who waits for whom is in different places, see `lock_waits.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from towline.adapters.mysql.binlog_events import render_xa_name
from towline.adapters.mysql.connection import connect, own_sessions
from towline.adapters.mysql.errors import number_of
from towline.adapters.mysql.lock_waits import describe_sessions, read_lock_waits
from towline.adapters.mysql.session import Row, Session
from towline.domain.diagnosis import KeptLog, OpenTransaction, SourceFacts, TargetFacts
from towline.domain.diagnosis import Session as SeenSession
from towline.domain.errors import MissingPrivilege, Side, TowlineError
from towline.domain.jobs import Endpoint

_BINLOG_DISABLED: Final = 1381
_DAY_S: Final = 86_400.0
_OPEN_TRANSACTIONS: Final = """
SELECT trx_mysql_thread_id, timestampdiff(microsecond, trx_started, now(6)) / 1000000 FROM information_schema.innodb_trx
WHERE trx_rows_modified > 0 AND (trx_mysql_thread_id <> 0) = %s ORDER BY trx_started LIMIT 5
"""
_XA_REFUSED: Final = 1401  # what MySQL 8 says to an account without XA_RECOVER_ADMIN
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
    """The oldest that have written, and all that are prepared; None when the account may not see those of others."""
    try:
        pids = [int(row[0]) for row in await session.query(_OPEN_TRANSACTIONS % 1)]
        prepared = await _read_prepared(session)
    except MissingPrivilege:
        return None
    described = await describe_sessions(session, pids)
    seen = (*prepared, *(described[pid] for pid in pids))
    return tuple(OpenTransaction(one, has_written=True, is_in_database=True) for one in seen)


async def _read_prepared(session: Session) -> list[SeenSession]:
    """Prepared transactions, which outlive their session and the server, by name where the account may see that.

    Where not, those of InnoDB without a session, which may also be the server's own work for a moment or a rollback
    after a crash: their age decides.
    """
    try:
        # MySQL declares a name as text in the session's character set, which it need not be.
        rows = await session.query("XA RECOVER" if session.flavor.is_mariadb else "XA RECOVER CONVERT XID")
    except TowlineError as error:
        if number_of(error) != _XA_REFUSED:
            raise
        ages_s = [float(row[1]) for row in await session.query(_OPEN_TRANSACTIONS % 0)]
        return [SeenSession(None, state="prepared", transaction_age_s=age_s, end_with=_NAMELESS) for age_s in ages_s]
    names = [render_xa_recovered(row) for row in rows]
    return [SeenSession(None, state="prepared", prepared_as=name, end_with=f"XA ROLLBACK {name}") for name in names]


_NAMELESS: Final = "XA COMMIT or XA ROLLBACK with the name that XA RECOVER shows to an account with XA_RECOVER_ADMIN"


def render_xa_recovered(row: Row) -> str:
    """The name as it is written in XA COMMIT, of a row of XA RECOVER: formatID, two lengths, both parts as one. Pure.

    The parts are bytes, or `0x` and digits.
    MySQL manual, 15.3.8.1 (XA Transaction SQL Statements).
    """
    form, global_size, branch_size, data = row
    whole = data if isinstance(data, bytes) else bytes.fromhex(str(data).removeprefix("0x"))
    parts = whole[: int(global_size)], whole[int(global_size) : int(global_size) + int(branch_size)]
    if not all(_PLAIN_NAME.fullmatch(part) for part in parts):
        return render_xa_name(*parts, int(form))
    return ",".join((*(f"'{part.decode()}'" for part in parts), str(int(form))))


_PLAIN_NAME: Final = re.compile(rb"[0-9A-Za-z_.:@/ -]*")


def _read_keep_time_s(settings: Mapping[str, str]) -> float:
    """After how long the server removes a binlog; 0 if it never does by age."""
    if settings.get("binlog_expire_logs_auto_purge") == "OFF":
        return 0.0
    seconds = float(settings.get("binlog_expire_logs_seconds", 0))
    return seconds or float(settings.get("expire_logs_days", 0)) * _DAY_S

"""What both servers look like while a job runs: old transactions of the source, whom the target's sessions wait for.

Both products show every session with `information_schema.processlist` and InnoDB's transactions with `innodb_trx`.
Who waits for whom is in different places: `performance_schema.data_lock_waits` (MySQL 8 and later) and
`information_schema.innodb_lock_waits` (MariaDB, MySQL 5.7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from towline.adapters.mysql.bookkeeping import job_sessions_query
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.errors import number_of
from towline.adapters.mysql.session import Row, Session
from towline.domain.diagnosis import KeptLog, LockWait, OpenTransaction, SourceFacts, TargetFacts
from towline.domain.diagnosis import Session as SeenSession
from towline.domain.errors import MissingPrivilege, Side, TowlineError
from towline.domain.jobs import Endpoint

_SHOWN: Final = 5
_BINLOG_DISABLED: Final = 1381
_DAY_S: Final = 86_400.0
_OPEN_TRANSACTIONS: Final = """
SELECT t.trx_mysql_thread_id, coalesce(p.user, ''), coalesce(p.db, ''), coalesce(p.command, ''),
       timestampdiff(microsecond, t.trx_started, now(6)) / 1000000, t.trx_rows_modified
FROM information_schema.innodb_trx t LEFT JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
WHERE t.trx_mysql_thread_id <> 0 AND t.trx_rows_modified > 0 ORDER BY t.trx_started LIMIT 5
"""
_RETENTION: Final = """
SHOW GLOBAL VARIABLES WHERE variable_name IN ('log_bin', 'binlog_expire_logs_seconds', 'expire_logs_days',
    'binlog_expire_logs_auto_purge', 'max_binlog_total_size', 'binlog_space_limit')
"""
_WAITS_MYSQL: Final = """
SELECT r.trx_mysql_thread_id, b.trx_mysql_thread_id, timestampdiff(second, r.trx_wait_started, now())
FROM performance_schema.data_lock_waits w
JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_engine_transaction_id
JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_engine_transaction_id
"""
_WAITS_MARIADB: Final = """
SELECT r.trx_mysql_thread_id, b.trx_mysql_thread_id, timestampdiff(second, r.trx_wait_started, now())
FROM information_schema.innodb_lock_waits w
JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_trx_id
JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id
"""


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
            rows = await _read_or_nothing(session, _OPEN_TRANSACTIONS)
        except BaseException:
            await self.close()
            raise
        return SourceFacts(
            at_us=at_us,
            # Of files that are gone too, so it only grows.
            log_end_bytes=sum(self._sizes.values()) if log.held_bytes is not None else None,
            log=log,
            transactions=tuple(
                OpenTransaction(
                    _describe(row[0], row[1], row[2], row[3], row[4]), has_written=True, is_in_database=True
                )
                for row in rows
            ),
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
        return replace(log, held_bytes=sum(sizes.values()))


class MyTargetDiagnosis(_Looking):
    """Implements `engine.ports.TargetDiagnosis`."""

    def __init__(self, endpoint: Endpoint, *, job_id: str) -> None:
        super().__init__(endpoint, job_id, Side.TARGET)

    async def read(self, *, at_us: int) -> TargetFacts:
        session = await self._open()
        try:
            own = {
                int(number) for number in (await session.query_one(job_sessions_query(self._job_id))) or () if number
            }
            waits = await _read_or_nothing(session, _waits_query(session)) if own else []
            listed = await session.query("SELECT id, user FROM information_schema.processlist") if waits else []
            users = {row[0]: row[1] for row in listed}
        except BaseException:
            await self.close()
            raise
        found: dict[int, tuple[float | None, list[SeenSession]]] = {}
        for waiting, blocking, waited_s in waits:
            if int(waiting) in own and int(blocking) not in own:
                entry = found.setdefault(int(waiting), (None if waited_s is None else float(waited_s), []))
                entry[1].append(_describe(blocking, users.get(blocking, ""), "", "", None))
        return TargetFacts(
            at_us=at_us,
            lock_waits=tuple(
                LockWait("write", pid, waited_s, tuple(blockers[:_SHOWN]))
                for pid, (waited_s, blockers) in found.items()
            ),
        )


async def read_blocker(session: Session, connection_id: int) -> int | None:
    """The session that holds what this one waits for; None when it waits for no lock."""
    for waiting, blocking, _ in await _read_or_nothing(session, _waits_query(session)):
        if int(waiting) == connection_id:
            return int(blocking)
    return None


def _waits_query(session: Session) -> str:
    return _WAITS_MYSQL if session.flavor.is_mysql_from(8, 0) else _WAITS_MARIADB


def _read_keep_time_s(settings: Mapping[str, str]) -> float:
    """After how long the server removes a binlog; 0 if it never does by age."""
    if settings.get("binlog_expire_logs_auto_purge") == "OFF":
        return 0.0
    seconds = float(settings.get("binlog_expire_logs_seconds", 0))
    return seconds or float(settings.get("expire_logs_days", 0)) * _DAY_S


async def _read_or_nothing(session: Session, query: str) -> list[Row]:
    try:
        return await session.query(query)
    except MissingPrivilege:
        return []


def _describe(pid: Any, user: Any, database: Any, state: Any, age_s: Any) -> SeenSession:
    return SeenSession(
        pid=int(pid),
        user=str(user or ""),
        database=str(database or ""),
        state=str(state or "").lower(),
        transaction_age_s=None if age_s is None else float(age_s),
        end_with=f"KILL {int(pid)}",
    )

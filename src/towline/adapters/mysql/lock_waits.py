"""Which of the job's sessions wait for a lock on a server, and who holds it.

Three kinds of places tell: InnoDB's tables of row locks, `performance_schema.metadata_locks` (on by default in MySQL 8
and later, off in MySQL 5.7 and MariaDB), and MariaDB's plugin METADATA_LOCK_INFO, which lists granted locks only.
Where none of them is to be had, the process list still says that a session waits; then the wait is told
without a holder, and with what to switch on.  System views only, which no lock of a user's table blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from towline.adapters.mysql.errors import number_of
from towline.adapters.mysql.masking import mask_statement
from towline.adapters.mysql.metadata_locks import MetadataLock, find_blockers, guess_wanted, is_lock_wait
from towline.adapters.mysql.session import Row, Session
from towline.domain.diagnosis import LockWait
from towline.domain.diagnosis import Session as SeenSession
from towline.domain.errors import MissingPrivilege, TowlineError

_SHOWN: Final = 5
_OWN_STATEMENT_LENGTH: Final = 80
_UNKNOWN_TABLE: Final = 1109
_ROW_WAITS_MYSQL: Final = """
SELECT r.trx_mysql_thread_id, b.trx_mysql_thread_id, timestampdiff(second, r.trx_wait_started, now())
FROM performance_schema.data_lock_waits w
JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_engine_transaction_id
JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_engine_transaction_id
"""
_ROW_WAITS_MARIADB: Final = """
SELECT r.trx_mysql_thread_id, b.trx_mysql_thread_id, timestampdiff(second, r.trx_wait_started, now())
FROM information_schema.innodb_lock_waits w
JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_trx_id
JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id
"""
_SESSIONS: Final = """
SELECT id, user, host, db, command, time, state, left(info, 1000) FROM information_schema.processlist
"""
_TRANSACTIONS: Final = """
SELECT trx_mysql_thread_id, timestampdiff(microsecond, trx_started, now(6)) / 1000000 FROM information_schema.innodb_trx
WHERE trx_mysql_thread_id IN ({ids})
"""
_STATEMENTS: Final = """
SELECT t.processlist_id, left(e.sql_text, 1000) FROM performance_schema.threads t
JOIN performance_schema.events_statements_current e ON e.thread_id = t.thread_id
WHERE t.processlist_id IN ({ids}) ORDER BY e.event_id
"""
_RECORDS_LOCKS: Final = """
SELECT count(*) FROM performance_schema.setup_instruments i JOIN performance_schema.setup_consumers c
WHERE i.name = 'wait/lock/metadata/sql/mdl' AND i.enabled = 'YES' AND c.name = 'global_instrumentation'
  AND c.enabled = 'YES' AND @@performance_schema
"""
_METADATA_LOCKS: Final = """
SELECT coalesce(t.processlist_id, 0), l.object_type, coalesce(l.object_schema, ''), coalesce(l.object_name, ''),
       l.lock_type, l.lock_status = 'GRANTED'
FROM (SELECT DISTINCT object_type, object_schema, object_name FROM performance_schema.metadata_locks
      WHERE lock_status = 'PENDING') w
JOIN performance_schema.metadata_locks l
  ON l.object_type = w.object_type AND l.object_schema <=> w.object_schema AND l.object_name <=> w.object_name
LEFT JOIN performance_schema.threads t ON t.thread_id = l.owner_thread_id
WHERE l.lock_status IN ('GRANTED', 'PENDING')
LIMIT 5000
"""
_PLUGIN_LOCKS: Final = """
SELECT thread_id, lock_type, table_schema, table_name, lock_mode FROM information_schema.metadata_lock_info LIMIT 5000
"""
_SEE_SESSIONS: Final = "GRANT PROCESS ON *.* to the job's user on this server."
_SEE_LOCKS: Final = "GRANT SELECT ON performance_schema.* and PROCESS ON *.* to the job's user on this server."
_SWITCH_ON: Final = (
    "UPDATE performance_schema.setup_instruments SET enabled = 'YES' WHERE name = 'wait/lock/metadata/sql/mdl' lets the"
    " server record who holds such locks from then on."
)
_INSTALL: Final = "INSTALL SONAME 'metadata_lock_info' lets the server say who holds such locks."


@dataclass(frozen=True, slots=True)
class _Known:
    """What a server says of metadata locks. `how_to_see`: what is missing where it says nothing."""

    locks: Sequence[MetadataLock] = field(default=())
    how_to_see: str = ""


async def read_lock_waits(session: Session, own: Mapping[int, str]) -> tuple[LockWait, ...]:
    """The waits of these sessions, each with its purpose, for locks that others hold; the longest first."""
    if not own:
        return ()
    listed = await session.query(f"{_SESSIONS} WHERE id IN ({_ids(own)})")
    waiting = {int(row[0]): row for row in listed if is_lock_wait(str(row[6] or ""))}
    row_waits = await _read_row_waits(session, own)
    if not waiting and not row_waits:
        return ()
    sessions = await _read_sessions(session)
    known = await _read_metadata_locks(session, sessions) if waiting else _Known()
    blockers = {pid: find_blockers(pid, known.locks, own=own) for pid in waiting}
    named = {pid: holders[:_SHOWN] for pid, (_, holders) in row_waits.items()}
    named |= {pid: holders[:_SHOWN] for pid, holders in blockers.items() if holders}
    described = await _describe(session, sessions, sorted({pid for holders in named.values() for pid in holders}))
    waits = [
        LockWait(
            own[pid],
            pid,
            row_waits[pid][0] if pid in row_waits else _float(waiting[pid][5]),
            tuple(described[holder] for holder in holders),
            statement=_wanted_for(sessions.get(pid, _NOBODY)),
        )
        for pid, holders in named.items()
    ]
    for pid, row in waiting.items():
        # A request that the server lists without a holder but us waits for one of our own, or no longer.
        if pid not in named and not any(lock.session == pid for lock in known.locks):
            waits.append(_without_holder(own[pid], row, known.how_to_see))
    return tuple(sorted(waits, key=lambda wait: -(wait.waited_s or 0.0)))


async def describe_sessions(session: Session, pids: Collection[int]) -> dict[int, SeenSession]:
    """Who these are and what they run, as far as the account may see."""
    return await _describe(session, await _read_sessions(session), pids) if pids else {}


async def read_blocker(session: Session, connection_id: int) -> int | None:
    """The session that holds a row that this one waits for; None when it waits for none."""
    for _, holders in (await _read_row_waits(session, {connection_id: ""})).values():
        return holders[0]
    return None


# --- reading --------------------------------------------------------------------------------------


async def _read_row_waits(session: Session, own: Mapping[int, str]) -> dict[int, tuple[float | None, list[int]]]:
    """Waits for rows: since when, and who holds them."""
    query = _ROW_WAITS_MYSQL if session.flavor.is_mysql_from(8, 0) else _ROW_WAITS_MARIADB
    found: dict[int, tuple[float | None, list[int]]] = {}
    for waiting, blocking, waited_s in await read_or_nothing(session, query):
        if int(waiting) in own and int(blocking) not in own:
            _, holders = found.setdefault(int(waiting), (_float(waited_s), []))
            if int(blocking) not in holders:
                holders.append(int(blocking))
    return found


async def _read_metadata_locks(session: Session, sessions: Mapping[int, Row]) -> _Known:
    try:
        if await session.query_value(_RECORDS_LOCKS):
            rows = await session.query(_METADATA_LOCKS)
            return _Known([_recorded_lock(row) for row in rows])
    except MissingPrivilege:
        if not session.flavor.is_mariadb:
            return _Known(how_to_see=_SEE_LOCKS)
    if not session.flavor.is_mariadb:
        return _Known(how_to_see=_SWITCH_ON)
    try:
        rows = await session.query(_PLUGIN_LOCKS)
    except MissingPrivilege:
        return _Known(how_to_see=_SEE_SESSIONS)
    except TowlineError as error:
        if number_of(error) == _UNKNOWN_TABLE:
            return _Known(how_to_see=_INSTALL)
        raise
    granted = [_plugin_lock(row) for row in rows]
    wanted = [
        lock
        for pid, row in sessions.items()
        if is_lock_wait(_text(row[6]))
        for lock in guess_wanted(pid, _text(row[6]), _text(row[7]), granted)
    ]
    return _Known([*granted, *wanted], how_to_see=_SEE_SESSIONS)


def _recorded_lock(row: Row) -> MetadataLock:
    pid, kind, schema, name, mode, is_granted = row
    return MetadataLock(int(pid), _text(kind), _text(schema), _text(name), _text(mode), bool(is_granted))


def _plugin_lock(row: Row) -> MetadataLock:
    """`Table metadata lock` -> TABLE, `Global read lock` -> GLOBAL; `MDL_SHARED_READ` -> SHARED_READ."""
    pid, kind, schema, name, mode = row
    return MetadataLock(
        int(pid), _text(kind).split(" ")[0].upper(), _text(schema), _text(name), _text(mode).removeprefix("MDL_")
    )


async def _read_sessions(session: Session) -> dict[int, Row]:
    return {int(row[0]): row for row in await session.query(_SESSIONS)}


async def read_or_nothing(session: Session, query: str) -> list[Row]:
    """No rows where the account may not look."""
    try:
        return await session.query(query)
    except MissingPrivilege:
        return []


# --- in words -------------------------------------------------------------------------------------

_NOBODY: Final[Row] = (0, "", "", "", "", None, "", "")


async def _describe(session: Session, sessions: Mapping[int, Row], pids: Collection[int]) -> dict[int, SeenSession]:
    if not pids:
        return {}
    ages = await read_or_nothing(session, _TRANSACTIONS.format(ids=_ids(pids)))
    ages_s = {int(pid): float(age_s) for pid, age_s in ages if age_s is not None}
    # An idle session has no statement in the process list, but may still be known for its last one.
    statements = await read_or_nothing(session, _STATEMENTS.format(ids=_ids(pids)))
    last = {int(pid): _text(text) for pid, text in statements}
    return {pid: _describe_one(pid, sessions.get(pid, _NOBODY), ages_s.get(pid), last.get(pid, "")) for pid in pids}


def _describe_one(pid: int, row: Row, age_s: float | None, last_statement: str) -> SeenSession:
    if not pid:
        return SeenSession(pid=None, state="prepared", prepared_as="(see XA RECOVER)", end_with="XA ROLLBACK")
    _, user, host, database, command, time_s, state, statement = row
    is_idle = _text(command) == "Sleep"
    words = ("idle in transaction" if age_s is not None else f"idle for {int(time_s or 0)} s") if is_idle else "active"
    if not is_idle and is_lock_wait(_text(state)):
        words = f"itself {_text(state)[0].lower()}{_text(state)[1:]}"
    return SeenSession(
        pid=pid,
        user=_user(_text(user), _text(host)),
        database=_text(database),
        state=words if _text(command) else "",
        statement=mask_statement(_text(statement) or last_statement),
        transaction_age_s=age_s,
        end_with=f"KILL {pid}",
    )


def _user(user: str, host: str) -> str:
    """user@host; the port says nothing."""
    name, colon, port = host.rpartition(":")
    host = name if colon and port.isdigit() else host
    return f"{user}@{host}" if user and host else user


def _without_holder(purpose: str, row: Row, how_to_see: str) -> LockWait:
    pid, *_, time_s, state, _ = row
    return LockWait(
        purpose,
        int(pid),
        _float(time_s),
        (),
        statement=_wanted_for(row),
        state=_text(state),
        how_to_see=how_to_see or "Look for sessions with an open transaction, LOCK TABLES or a backup.",
    )


def _wanted_for(row: Row) -> str:
    return mask_statement(_text(row[7]), max_length=_OWN_STATEMENT_LENGTH)


def _ids(pids: Collection[int]) -> str:
    return ", ".join(str(int(pid)) for pid in pids)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else str(value)


def _float(value: Any) -> float | None:
    return None if value is None else float(value)

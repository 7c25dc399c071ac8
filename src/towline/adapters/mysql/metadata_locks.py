"""Who holds the metadata lock, or the lock of the whole server, that a session waits for. Pure.

A statement locks the definition of each table that it touches until its transaction is over, and DDL wants it for
itself.  FLUSH TABLES WITH READ LOCK, LOCK INSTANCE FOR BACKUP and BACKUP STAGE lock the whole server in the same way.
Which modes exclude each other: MySQL's comment on `enum_mdl_type`.  A strong request that itself waits keeps weaker
ones that come after it waiting, so who it waits for is to be named as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

# What is requested -> the granted modes that it has to wait for.
_STRONG: Final = frozenset({"SHARED_NO_READ_WRITE", "EXCLUSIVE"})
_WRITES_WAIT_FOR: Final = _STRONG | {"SHARED_READ_ONLY", "SHARED_NO_WRITE"}
_WRITES: Final = frozenset({"SHARED_WRITE", "SHARED_WRITE_LOW_PRIO"})
_WAITS_FOR: Final = {
    "SHARED": frozenset({"EXCLUSIVE"}),
    "SHARED_HIGH_PRIO": frozenset({"EXCLUSIVE"}),
    "SHARED_READ": _STRONG,
    **dict.fromkeys(_WRITES, _WRITES_WAIT_FOR),
    "SHARED_UPGRADABLE": _STRONG | {"SHARED_UPGRADABLE", "SHARED_NO_WRITE"},
    "SHARED_READ_ONLY": _STRONG | _WRITES,
    "SHARED_NO_WRITE": _STRONG | _WRITES | {"SHARED_UPGRADABLE", "SHARED_NO_WRITE"},
}
# Locks of the whole server or a database: statements that change something take this one.
_INTENTION: Final = "INTENTION_EXCLUSIVE"
# MariaDB's backup lock: what ordinary statements take. All its other modes belong to somebody who keeps those out.
_ORDINARY_BACKUP_MODES: Final = frozenset(
    {"BACKUP_DML", "BACKUP_TRANS_DML", "BACKUP_SYS_DML", "BACKUP_DDL", "BACKUP_ALTER_COPY", "BACKUP_COMMIT"}
)
_TABLE_KINDS: Final = frozenset({"TABLE", "FUNCTION", "PROCEDURE", "TRIGGER", "EVENT"})
_STATE: Final = re.compile(r"waiting for .*(?:\block\b|\bflush\b)", re.IGNORECASE)
_CHANGES_ROWS: Final = re.compile(r"\s*(?:INSERT|UPDATE|DELETE|REPLACE|LOAD|SELECT|WITH)\b", re.IGNORECASE)
_READS: Final = re.compile(r"\s*(?:SELECT|WITH)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MetadataLock:
    """A lock that a session has, or (not `is_granted`) waits for. `session` 0: no session, such as of a prepared XA."""

    session: int
    kind: str  # TABLE, SCHEMA, GLOBAL, COMMIT, BACKUP, ...
    schema: str
    name: str
    mode: str
    is_granted: bool = True

    @property
    def thing(self) -> tuple[str, str, str]:
        return self.kind, self.schema, self.name


def is_lock_wait(state: str) -> bool:
    """Whether a session in this state (of the process list) waits for a lock that is none of a row."""
    return bool(_STATE.match(state))


def find_blockers(waiting: int, locks: Sequence[MetadataLock], *, own: Collection[int] = ()) -> list[int]:
    """The sessions that must let go before this one gets on, those that wait for nobody themselves first.

    `own`: sessions that are not named, though what they wait for is followed.
    """
    found: list[int] = []
    queue = [waiting]
    seen = {waiting}
    while queue:
        for session in _direct_blockers(queue.pop(0), locks):
            if session not in seen:
                seen.add(session)
                queue.append(session)
                found.append(session)
    waiters = {lock.session for lock in locks if not lock.is_granted}
    return sorted((session for session in found if session not in own), key=lambda session: session in waiters)


def _direct_blockers(session: int, locks: Sequence[MetadataLock]) -> Iterator[int]:
    for wanted in (lock for lock in locks if lock.session == session and not lock.is_granted):
        for lock in locks:
            if lock.session != session and lock.thing == wanted.thing and _keeps_waiting(lock, wanted):
                yield lock.session


def _keeps_waiting(lock: MetadataLock, wanted: MetadataLock) -> bool:
    if not lock.is_granted and lock.mode not in _STRONG:
        return False
    if wanted.kind == "BACKUP" and wanted.mode.startswith("BACKUP"):
        return lock.mode not in _ORDINARY_BACKUP_MODES or wanted.mode not in _ORDINARY_BACKUP_MODES
    if wanted.kind not in _TABLE_KINDS:
        return not (lock.mode == wanted.mode == _INTENTION)
    # An exclusive one waits for whatever is granted; of two that wait, neither keeps the other.
    conflicts = _WAITS_FOR.get(wanted.mode)
    return lock.is_granted if conflicts is None else lock.mode in conflicts


def guess_wanted(waiting: int, state: str, statement: str, granted: Sequence[MetadataLock]) -> list[MetadataLock]:
    """What a session waits for, where the server lists granted locks only: things that its statement names.

    Towline's own statements name tables in full; those of the source's DDL may leave the database out.
    """
    kind = _kind_of(state)
    mode = "EXCLUSIVE"
    if kind in ("GLOBAL", "COMMIT", "SCHEMA"):
        mode = _INTENTION
    elif kind == "BACKUP":
        mode = "BACKUP_DML"
    elif _READS.match(statement):
        mode = "SHARED_READ"
    elif _CHANGES_ROWS.match(statement):
        mode = "SHARED_WRITE"
    things = {lock.thing for lock in granted if lock.kind == kind}
    if kind in (*_TABLE_KINDS, "SCHEMA"):
        things = {thing for thing in things if _names(statement, thing[2] or thing[1])}
        things = {thing for thing in things if _names(statement, thing[1])} or things
    return [MetadataLock(waiting, *thing, mode, is_granted=False) for thing in sorted(things)]


def _kind_of(state: str) -> str:
    """Waiting for table metadata lock -> TABLE, Waiting for global read lock -> GLOBAL, ..."""
    words = state.upper().removeprefix("WAITING FOR ").split()
    return "TABLE" if not words or words[0] not in ("GLOBAL", "COMMIT", "SCHEMA", "BACKUP") else words[0]


def _names(statement: str, name: str) -> bool:
    return bool(re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", statement.replace("``", "`"), re.IGNORECASE))

"""What a worker saw on both sides of a job when it looked why things take long: facts only, no judgement.

`towline.domain.health` draws the conclusions.  A `None` is a fact that could not be had, and is treated so.  Statements
come with their literals masked, because a literal may be a row's value or a password (I7).  Ages are seconds at the
moment of looking; moments are microseconds since the epoch, UTC, on the worker's clock.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody's session of a database, or (without `pid`) a prepared transaction.

    `statement` is "" when the worker's user may not see it.  `transaction_age_s`: since its transaction began.
    `end_with`: the command that ends it, for the operator to give.
    """

    pid: int | None
    user: str = ""
    application: str = ""
    database: str = ""
    state: str = ""
    statement: str = ""
    transaction_age_s: float | None = None
    prepared_as: str | None = None
    end_with: str = ""


@dataclass(frozen=True, slots=True)
class LockWait:
    """One of the job's own sessions waits for locks that others hold. `purpose`: what the session is for.

    `statement`: what it wants the lock for.  No `blockers`: the server does not say who they are; `state` is then its
    own word for the wait, and `how_to_see` what would make it say so.
    """

    purpose: str
    pid: int
    waited_s: float | None
    blockers: tuple[Session, ...]
    statement: str = ""
    state: str = ""
    how_to_see: str = ""


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction of the source that has begun and not ended.

    `has_written`: it has changes that come with its commit, and the source keeps its log from there on.
    `is_in_database`: of the database that the job moves; others only hold the log.
    """

    session: Session
    has_written: bool
    is_in_database: bool


@dataclass(frozen=True, slots=True)
class KeptLog:
    """The part of the source's log that is kept for the job (PostgreSQL: of its replication slot).

    Where the source keeps nothing for a job (MySQL, MariaDB), it is all of the log that the source has now, and
    `keeps_for_s` is set: what is older is removed, needed or not; 0 is never.  `limit_bytes` is then how much the
    source keeps in all.

    `disk_left_bytes`: free room on the disk that the log is on, None where the source does not say.

    `unused_limit_s`: the source gives up on the job when nobody has read the log for so long, None where it does not;
    `unused_s`: for how long nobody has, None while it is read.

    `state`: the source's own word for it.  `held_bytes`: from the oldest byte that is kept until now.  `is_limited`:
    whether the source gives up on the job at some size; `limit_bytes` is that size and `left_bytes` what may still be
    written until then.
    """

    name: str
    is_there: bool
    is_read: bool = False
    is_lost: bool = False
    is_doomed: bool = False  # over the limit: gone at the source's next checkpoint
    state: str | None = None
    held_bytes: int | None = None
    is_limited: bool | None = None
    limit_bytes: int | None = None
    left_bytes: int | None = None
    keeps_for_s: float | None = None
    disk_left_bytes: int | None = None
    unused_limit_s: float | None = None
    unused_s: float | None = None


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """One look at the source.

    `log_end_bytes`: grows by what the source writes into its log, None if that is not shown.  `changed_rows`: a running
    total of the job's database, a second late and without transactions that are open; None if it is not shown.
    `transactions`: the oldest ones, oldest first, the job's own left out.  `hidden_sessions`: those whose transactions
    the worker's user may not see; not `are_transactions_shown`: it may see none.  `lock_waits`: of the job's own
    sessions there.
    """

    at_us: int
    log_end_bytes: int | None
    log: KeptLog
    transactions: tuple[OpenTransaction, ...] = ()
    hidden_sessions: int = 0
    are_transactions_shown: bool = True
    lock_waits: tuple[LockWait, ...] = ()
    changed_rows: int | None = None


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """One look at the target. `server_wait`: what its own work for the job waits for, such as `IO DataFileRead`."""

    at_us: int
    lock_waits: tuple[LockWait, ...] = ()
    server_wait: str | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """A side has not answered since `since_us`."""

    since_us: int
    error: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was seen of a running job at `at_us`; each side's facts carry their own, older moment.

    `held_growth_bytes_per_s` and `log_bytes_per_s`: of the last minutes, None without enough evidence.  `cpu_share`:
    of one core, 0..1, used by the worker itself.  `limit_bytes_per_s`: the speed limit that held.  `moved_at_us`: when
    the target last acknowledged anything; `usual_gap_s`: how long that usually takes.  `sequences_at_us`: when the
    sequences' values were last brought over, None if this worker has not yet.  `log_needed_since_us`: from which
    moment on the copy will need the source's log, None if that is not known.
    """

    at_us: int
    source: SourceFacts | None = None
    target: TargetFacts | None = None
    source_outage: Outage | None = None
    target_outage: Outage | None = None
    held_growth_bytes_per_s: float | None = None
    log_bytes_per_s: float | None = None
    cpu_share: float | None = None
    limit_bytes_per_s: int | None = None
    moved_at_us: int | None = None
    usual_gap_s: float | None = None
    sequences_at_us: int | None = None
    log_needed_since_us: int | None = None

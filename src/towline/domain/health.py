"""What a job waits for, whether it stands still, how long the source keeps its log, and if it is safe to switch over.

Pure: facts in, conclusions out.  The facts are a job's status and its last `Progress` with the `Diagnosis` in it; the
time is that of the question.  So a worker that has died cannot keep a conclusion fresh, and a fact that is unknown or
old never counts as a good one: the verdict is `ready` only when every condition is known to hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from towline.domain.diagnosis import Diagnosis, KeptLog, LockWait, OpenTransaction, Session, SourceFacts, TargetFacts
from towline.domain.errors import Side
from towline.domain.jobs import JobStatus
from towline.domain.progress import (
    WAITING_FOR_PAUSE,
    WAITING_FOR_SPEED,
    DelaySplit,
    Phase,
    Progress,
    delay_ms,
    proven_here_us,
    split_delay,
)

SILENT_AFTER_US: Final = 10_000_000
"""A worker reports every second; after so long without a word what it said is no longer taken for true."""
FACTS_OLD_AFTER_US: Final = 12_000_000
"""Each side is looked at every two seconds, or is known not to answer after five."""
READY_DELAY_MS: Final = 5_000
LONG_TRANSACTION_S: Final = 10.0
_CLOCKS_DIFFER_US: Final = 5_000_000
_STALLED_AFTER_US: Final = 10_000_000
_USUAL_GAPS: Final = 5
_BUSY_CPU: Final = 0.9
_NEAR_LIMIT: Final = 0.7
_SLOW_US: Final = 1_000_000
_WARNING_HOURS, _CRITICAL_HOURS = 24.0, 1.0
_WARNING_SHARE: Final = 0.2
_MUCH_LOG_BYTES: Final = 1 << 30
_LIVE: Final = frozenset({JobStatus.STARTING, JobStatus.COPYING, JobStatus.STREAMING})
_STREAMING: Final = (Phase.CATCH_UP, Phase.STREAM)
# Whether these take long by themselves cannot be told from outside: only a known cause makes them a standstill.
_QUIET_PHASES: Final = (Phase.PRECHECK, Phase.STRUCTURE, Phase.INDEXES)


class Part(Enum):
    """Which part of the delay a wait belongs to."""

    READ = "read"
    QUEUE = "queue"
    APPLY = "apply"


class WaitKind(Enum):
    """What is waited for."""

    WORKER_SILENT = "worker_silent"
    SOURCE_UNREACHABLE = "source_unreachable"
    TARGET_UNREACHABLE = "target_unreachable"
    TARGET_LOCK = "target_lock"
    SOURCE_LOCK = "source_lock"
    PAUSE = "pause"
    SPEED_LIMIT = "speed_limit"
    TARGET_WORK = "target_work"
    OWN_CPU = "own_cpu"
    OTHER = "other"
    OPEN_TRANSACTION = "open_transaction"


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing that a job waits for, in words, and what the operator can do about it.

    `session`: who holds it up.  `since_us`: worker's clock, None when not known.
    """

    kind: WaitKind
    part: Part
    side: Side
    text: str
    remedy: str
    session: Session | None = None
    since_us: int | None = None


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing has been acknowledged for several times the usual time."""

    since_us: int
    reason: str
    remedy: str


class Level(Enum):
    """How the log that the source keeps for the job will do."""

    NONE = "none"  # none is kept
    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    LOST = "lost"
    UNKNOWN = "unknown"


BY_BADNESS: Final = (Level.NONE, Level.OK, Level.UNKNOWN, Level.WARNING, Level.CRITICAL, Level.LOST)
"""The worst last. What is not known is no good news, and no alarm."""


@dataclass(frozen=True, slots=True)
class Retention:
    """When the source will give up on the job, or run out of room for it.

    `hours_left`: at the present growth; `hours_left_if_stopped`: if the job stood still from now on.  None is not
    known, or that no end is in sight; the text says which.
    """

    level: Level
    text: str
    remedy: str = ""
    held_bytes: int | None = None
    limit_bytes: int | None = None
    left_bytes: int | None = None
    is_limited: bool | None = None
    growth_bytes_per_s: float | None = None
    hours_left: float | None = None
    hours_left_if_stopped: float | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a switch-over must wait, or what to mind at it. `code` is stable."""

    code: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Safe to switch over: `is_ready` exactly when there is no blocking reason."""

    reasons: tuple[Reason, ...]
    advisories: tuple[Reason, ...]

    @property
    def is_ready(self) -> bool:
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Health:
    """All conclusions about a job at one moment."""

    delay: DelaySplit | None
    waits: tuple[Wait, ...]
    stall: Stall | None
    retention: Retention
    verdict: Verdict


def judge(status: JobStatus, progress: Progress | None, *, now_us: int) -> Health:
    """The health of a job with this status whose worker last said `progress`."""
    waits = tuple(_find_waits(status, progress, now_us))
    stall = _find_stall(status, progress, waits, now_us)
    retention = judge_retention(status, progress, now_us=now_us)
    reasons = tuple(_find_reasons(status, progress, waits, stall, now_us))
    return Health(
        delay=None if progress is None or status not in _WITH_DELAY else split_delay(progress, now_us=now_us),
        waits=waits,
        stall=stall,
        retention=retention,
        verdict=Verdict(reasons, tuple(_find_advisories(progress, retention, now_us))),
    )


# In the others nothing is followed: the full phase is not over, or there is nothing more to come.
_WITH_DELAY: Final = frozenset(
    {
        JobStatus.SCHEDULED,
        JobStatus.STARTING,
        JobStatus.START_FAILED,
        JobStatus.STREAMING,
        JobStatus.STREAM_FAILED,
        JobStatus.PAUSED,
    }
)


def is_silent(status: JobStatus, progress: Progress | None, *, now_us: int) -> bool:
    """A worker should be on the job, and has not reported for too long."""
    return status in _LIVE and progress is not None and now_us - progress.at_us > SILENT_AFTER_US


# --- waits ----------------------------------------------------------------------------------------


def _find_waits(status: JobStatus, progress: Progress | None, now_us: int) -> Iterator[Wait]:
    """What the job waits for, what explains most first."""
    if status is JobStatus.PAUSED:
        yield _PAUSED
    if progress is None or status not in _LIVE:
        return
    if is_silent(status, progress, now_us=now_us):
        yield _silence(progress, now_us)
        return
    seen = progress.diagnosis or Diagnosis(progress.at_us)
    causes = [
        *_outages(seen, now_us),
        *_locks(seen, now_us),
        *_own_limits(progress, seen, now_us),
        *_work(progress, seen, now_us),
    ]
    yield from causes
    if not causes and progress.waiting_for:
        yield Wait(WaitKind.OTHER, Part.QUEUE, Side.TOWLINE, progress.waiting_for, "")
    source = _fresh_source(seen, now_us)
    for transaction in source.transactions if source else ():
        if transaction.has_written and _is_long(transaction):
            yield _open_transaction(transaction)


_PAUSED: Final = Wait(
    WaitKind.PAUSE, Part.APPLY, Side.TOWLINE, "the pause to end, which the operator asked for", "Resume the job."
)


def _silence(progress: Progress, now_us: int) -> Wait:
    return Wait(
        WaitKind.WORKER_SILENT,
        Part.READ,
        Side.TOWLINE,
        f"no worker has reported for {render_age((now_us - progress.at_us) / 1e6)}",
        "Look at the server's log and the machine's memory; another worker takes the job over by itself when a server"
        " runs.",
        since_us=progress.at_us,
    )


def _outages(seen: Diagnosis, now_us: int) -> Iterator[Wait]:
    sides = (
        (WaitKind.SOURCE_UNREACHABLE, Part.READ, Side.SOURCE, seen.source_outage),
        (WaitKind.TARGET_UNREACHABLE, Part.APPLY, Side.TARGET, seen.target_outage),
    )
    for kind, part, side, outage in sides:
        if outage is not None:
            age = render_age((now_us - outage.since_us) / 1e6)
            text = f"the {side.value} does not answer, since {age}: {outage.error}"
            remedy = f"Bring the {side.value} or the way to it back; the job goes on by itself."
            yield Wait(kind, part, side, text, remedy, since_us=outage.since_us)


def _locks(seen: Diagnosis, now_us: int) -> Iterator[Wait]:
    target, source = _fresh_target(seen, now_us), _fresh_source(seen, now_us)
    for lock_wait in target.lock_waits if target else ():
        yield from _lock_waits(lock_wait, Wait(WaitKind.TARGET_LOCK, Part.APPLY, Side.TARGET, "", ""), target)
    for lock_wait in source.lock_waits if source else ():
        yield from _lock_waits(lock_wait, Wait(WaitKind.SOURCE_LOCK, Part.READ, Side.SOURCE, "", ""), source)


def _lock_waits(lock_wait: LockWait, wait: Wait, facts: SourceFacts | TargetFacts | None) -> Iterator[Wait]:
    """One for each holder, or one that says that the holder is not known."""
    side = wait.side.value
    since_us = _since(lock_wait, facts)
    wanted = f" for {lock_wait.statement}" if lock_wait.statement else ""
    needs = f"session {lock_wait.purpose} needs it{wanted}"
    for blocker in lock_wait.blockers:
        text = f"a lock on the {side} that {render_session(blocker)} holds; {needs}"
        yield replace(wait, text=text, remedy=_end_remedy(blocker, side), session=blocker, since_us=since_us)
    if not lock_wait.blockers:
        word = f" ({lock_wait.state})" if lock_wait.state else ""
        text = f"a lock on the {side}{word}; who holds it is not known; {needs}"
        yield replace(wait, text=text, remedy=lock_wait.how_to_see, since_us=since_us)


def _since(wait: LockWait, facts: SourceFacts | TargetFacts | None) -> int | None:
    if wait.waited_s is None or facts is None:
        return None
    return facts.at_us - int(wait.waited_s * 1e6)


def _own_limits(progress: Progress, seen: Diagnosis, now_us: int) -> Iterator[Wait]:
    if progress.waiting_for == WAITING_FOR_PAUSE:
        yield _PAUSED
    limit = seen.limit_bytes_per_s
    if limit is None:
        return
    rate = progress.copy_bytes_per_s if progress.phase is Phase.COPY else None
    if progress.phase in _STREAMING and (delay_ms(progress, now_us=now_us) or 0) * 1000 > _SLOW_US * 2:
        rate = progress.apply_bytes_per_s  # a stream in step waits for nothing, however much it moves
    if progress.waiting_for == WAITING_FOR_SPEED or (rate is not None and rate >= limit * _NEAR_LIMIT):
        text = f"the speed limit of {limit / 1e6:,.3g} MB/s"
        yield Wait(WaitKind.SPEED_LIMIT, Part.QUEUE, Side.TOWLINE, text, "Raise or remove the job's speed limit.")


def _work(progress: Progress, seen: Diagnosis, now_us: int) -> Iterator[Wait]:
    """Nobody is in the way: what the work itself takes."""
    target = _fresh_target(seen, now_us)
    since_us = progress.applying_since_us
    is_slow = progress.phase not in _STREAMING or (since_us is not None and progress.at_us - since_us > _SLOW_US)
    if target is not None and target.server_wait is not None and is_slow:
        text = f"the target's own work: {target.server_wait}"
        yield Wait(WaitKind.TARGET_WORK, Part.APPLY, Side.TARGET, text, "Give the target more of what it waits for.")
    if seen.cpu_share is not None and seen.cpu_share >= _BUSY_CPU:
        text = f"this worker's own processor: {seen.cpu_share * 100:.0f} % of one core is used"
        remedy = "Fewer busy jobs on this machine, or a faster one."
        yield Wait(WaitKind.OWN_CPU, Part.QUEUE, Side.TOWLINE, text, remedy)


def _open_transaction(transaction: OpenTransaction) -> Wait:
    what = "its changes come with its commit" if transaction.is_in_database else "the source keeps its log for it"
    return Wait(
        WaitKind.OPEN_TRANSACTION,
        Part.READ,
        Side.SOURCE,
        f"an open transaction on the source of {render_session(transaction.session)}; {what}",
        _end_remedy(transaction.session, "source"),
        session=transaction.session,
    )


def _end_remedy(session: Session, side: str) -> str:
    if session.prepared_as is not None:
        commit = "XA COMMIT" if session.end_with.startswith("XA") else "COMMIT PREPARED"
        return f"Finish it on the {side}: {commit}, or {session.end_with}."
    return f"Let it commit or roll back, or end it on the {side}: {session.end_with}."


# --- standing still -------------------------------------------------------------------------------


def _find_stall(status: JobStatus, progress: Progress | None, waits: tuple[Wait, ...], now_us: int) -> Stall | None:
    if progress is None or status not in _LIVE or progress.phase is Phase.DONE:
        return None
    causes = [wait for wait in waits if wait.kind is not WaitKind.OPEN_TRANSACTION]
    if causes and causes[0].kind is WaitKind.WORKER_SILENT:
        return Stall(progress.at_us, causes[0].text, causes[0].remedy)
    moved_at_us = _moved_at_us(progress)
    if moved_at_us is None:
        return None
    usual_s = progress.diagnosis.usual_gap_s if progress.diagnosis is not None else None
    if now_us - moved_at_us <= max(_STALLED_AFTER_US, _USUAL_GAPS * int((usual_s or 0.0) * 1e6)):
        return None
    if any(wait.kind in (WaitKind.PAUSE, WaitKind.SPEED_LIMIT) for wait in causes):
        return None  # as the operator wished
    if causes:
        return Stall(moved_at_us, causes[0].text, causes[0].remedy)
    if progress.phase in _QUIET_PHASES:
        return None
    age = render_age((now_us - moved_at_us) / 1e6)
    return Stall(
        moved_at_us,
        f"the target has acknowledged nothing for {age}, and no lock, limit or outage is known that would explain it",
        "Look at the load of both servers and at the worker's log.",
    )


def _moved_at_us(progress: Progress) -> int | None:
    """When the target last acknowledged anything. What is proven was acknowledged later, whatever was seen before."""
    seen_us = progress.diagnosis.moved_at_us if progress.diagnosis is not None else None
    proven_us = proven_here_us(progress)
    if seen_us is None or progress.phase not in _STREAMING or proven_us is None:
        return seen_us
    return max(seen_us, proven_us)


# --- the source's log -----------------------------------------------------------------------------


def judge_retention(status: JobStatus, progress: Progress | None, *, now_us: int) -> Retention:
    """What becomes of the log that the source keeps for the job."""
    source = progress.diagnosis.source if progress is not None and progress.diagnosis is not None else None
    if progress is None or progress.diagnosis is None or source is None:
        return Retention(Level.UNKNOWN, "nothing is known yet of the log that the source keeps for the job")
    if status in (JobStatus.ENDING, JobStatus.ENDED, JobStatus.DELETED):
        return Retention(Level.NONE, "the job is over: the source keeps nothing for it")
    log = source.log
    if not log.is_there:
        if progress.phase in _STREAMING:
            return Retention(Level.LOST, f"the source no longer has {log.name}", _START_OVER)
        return Retention(Level.NONE, "the source keeps no log for the job")
    if log.is_lost:
        return Retention(Level.LOST, f"the source has given up {log.name}; changes are lost to the job", _START_OVER)
    is_running = _is_running(status, progress, source, now_us)
    if log.keeps_for_s is not None:
        return _outlook_by_age(log, progress, progress.diagnosis, is_running=is_running, now_us=now_us)
    if log.held_bytes is None:
        facts = Retention(Level.UNKNOWN, f"the source does not say how much it keeps for {log.name}")
    else:
        facts = _outlook(log, progress.diagnosis, source, is_running=is_running, now_us=now_us)
    return _until_given_up_unread(facts, progress, source, is_running=is_running, now_us=now_us)


_START_OVER: Final = "End the job and start a new one."
_MAKE_ROOM: Final = (
    "Remove what holds the job up, or raise the limit on the source (max_slot_wal_keep_size) while there is room on its"
    " disk."
)


def _is_running(status: JobStatus, progress: Progress, source: SourceFacts, now_us: int) -> bool:
    is_live = status in _LIVE and not is_silent(status, progress, now_us=now_us)
    return is_live and now_us - source.at_us <= FACTS_OLD_AFTER_US


def _outlook(log: KeptLog, seen: Diagnosis, source: SourceFacts, *, is_running: bool, now_us: int) -> Retention:
    assert log.held_bytes is not None
    # Once nobody reads, all that the source writes is kept.
    growth = seen.held_growth_bytes_per_s if is_running else seen.log_bytes_per_s
    since = 0 if is_running else int(max(0, now_us - source.at_us) / 1e6 * (growth or 0.0))
    held_bytes = log.held_bytes + since
    left_bytes = None if log.left_bytes is None else max(0, log.left_bytes - since)
    hours_left = _hours(left_bytes, growth)
    level, text, remedy = _grade(log, held_bytes, left_bytes, growth, hours_left)
    return Retention(
        level,
        text,
        remedy,
        held_bytes=held_bytes,
        limit_bytes=log.limit_bytes,
        left_bytes=left_bytes,
        is_limited=log.is_limited,
        growth_bytes_per_s=growth,
        hours_left=hours_left,
        hours_left_if_stopped=_hours(left_bytes, seen.log_bytes_per_s),
    )


def _grade(
    log: KeptLog, held_bytes: int, left_bytes: int | None, growth: float | None, hours_left: float | None
) -> tuple[Level, str, str]:
    """Level, text and remedy."""
    held = f"the source keeps {render_bytes(held_bytes)} of its log for the job"
    if log.is_doomed:
        return Level.CRITICAL, f"{held}, more than its limit: it gives up at its next checkpoint", _MAKE_ROOM
    if not log.is_limited:
        bound = "without a limit" if log.is_limited is False else "and does not say up to which limit"
        text = f"{held}, {bound}; {_DISK_UNKNOWN}"
        is_much = held_bytes >= _MUCH_LOG_BYTES and growth is not None and growth > 0 and log.is_limited is False
        remedy = "" if log.is_limited is None else _WATCH_DISK_OR_LIMIT
        return (Level.WARNING if is_much else Level.UNKNOWN), text, remedy
    if left_bytes is None:
        return Level.UNKNOWN, f"{held}; how much more it will keep is not known", ""
    text = f"{held} and has room for {render_bytes(left_bytes)} more"
    is_short = log.limit_bytes is not None and left_bytes < log.limit_bytes * _WARNING_SHARE
    if hours_left is not None:
        text += f", full in {render_age(hours_left * 3600)} at the present growth"
    elif growth is None:
        text += "; how fast that fills is not known yet"
    else:
        text += "; it does not grow"
    if left_bytes == 0 or (hours_left is not None and hours_left <= _CRITICAL_HOURS):
        return Level.CRITICAL, text, _MAKE_ROOM
    if is_short or (hours_left is not None and hours_left <= _WARNING_HOURS):
        return Level.WARNING, text, _MAKE_ROOM
    return Level.OK, text, ""


def _until_given_up_unread(
    facts: Retention, progress: Progress, source: SourceFacts, *, is_running: bool, now_us: int
) -> Retention:
    """The same, but no longer than the source keeps a log that nobody reads, as during a copy or a pause."""
    log, limit_s = source.log, source.log.unused_limit_s
    if limit_s is None:
        return facts
    if is_running and log.is_read:
        return replace(facts, hours_left_if_stopped=_sooner(facts.hours_left_if_stopped, limit_s / 3600))
    unused_s = (log.unused_s or 0.0) + max(0, now_us - source.at_us) / 1e6
    left_s = max(0.0, limit_s - unused_s)
    # A copy that ends in time is followed by the stream, which reads the log.
    is_arriving = is_running and progress.remaining_s is not None and progress.remaining_s < left_s
    hours_left = None if is_arriving else left_s / 3600
    level = _grade_hours(hours_left)
    text = f"nobody has read it for {render_age(unused_s)}, and after {render_age(limit_s)} the source gives it up"
    return replace(
        facts,
        level=_worse(facts.level, level),
        text=f"{facts.text}; {text}" + ("" if is_arriving else f": {render_age(left_s)} are left"),
        remedy=facts.remedy if level is Level.OK else f"{_READ_IT} {facts.remedy}".rstrip(),
        hours_left=_sooner(facts.hours_left, hours_left),
        hours_left_if_stopped=_sooner(facts.hours_left_if_stopped, left_s / 3600),
    )


_READ_IT: Final = "Let the job run, or raise idle_replication_slot_timeout on the source (0: no limit)."
_DISK_UNKNOWN: Final = "how long its disk has room for that is not known"
_WATCH_DISK: Final = "Watch the free space of its disk: the source does not show it."
_WATCH_DISK_OR_LIMIT: Final = "Watch the free space of its disk, or set max_slot_wal_keep_size on the source."
_KEEP_LONGER: Final = (
    "Remove what holds the job up, or raise binlog_expire_logs_seconds on the source (older servers: expire_logs_days)"
    " while there is room on its disk."
)


def _outlook_by_age(log: KeptLog, progress: Progress, seen: Diagnosis, *, is_running: bool, now_us: int) -> Retention:
    """Of a log that is removed when it is old, whether the job still needs it or not; and its disk may fill before."""
    facts = Retention(
        Level.OK,
        "the source does not remove its log by age",
        held_bytes=log.held_bytes,
        limit_bytes=log.limit_bytes,
        left_bytes=log.disk_left_bytes,
        is_limited=bool(log.keeps_for_s or log.limit_bytes),
        growth_bytes_per_s=seen.log_bytes_per_s,
    )
    keeps_for_s = _keeps_for_s(log, seen.log_bytes_per_s)
    if keeps_for_s is not None:
        facts = _until_removed(facts, keeps_for_s, progress, seen, is_running=is_running, now_us=now_us)
    elif log.limit_bytes:
        kept = f"the source keeps {render_bytes(log.limit_bytes)} of its log"
        facts = replace(facts, level=Level.UNKNOWN, text=f"{kept}; how soon that is over is not known yet")
    return _until_disk_is_full(facts, log)


def _until_removed(
    facts: Retention, keeps_for_s: float, progress: Progress, seen: Diagnosis, *, is_running: bool, now_us: int
) -> Retention:
    """A file goes when its last change is too old, so what the job needs is safe until its oldest change is."""
    kept = f"the source keeps its log for {render_age(keeps_for_s)}"
    proven_us = proven_here_us(progress)
    needed_us = seen.log_needed_since_us if proven_us is None else proven_us
    if needed_us is None:
        return replace(facts, level=Level.UNKNOWN, text=f"{kept}; since when the job needs it is not known")
    age_s = max(0.0, (now_us - needed_us) / 1e6)
    left_s = max(0.0, keeps_for_s - age_s)
    # While the job gets there, what it needs does not grow old.
    is_arriving = is_running and proven_us is not None and progress.remaining_s is not None
    hours_left = None if is_arriving and (progress.remaining_s or 0) < left_s else left_s / 3600
    text = f"{kept}, and the job needs the last {render_age(age_s)} of it"
    if hours_left is not None:
        text += f": {render_age(left_s)} are left"
    is_too_slow = progress.remaining_s is not None and progress.remaining_s >= left_s
    level = _grade_hours(0.0 if is_too_slow else hours_left)
    return replace(
        facts,
        level=level,
        text=text,
        remedy="" if level is Level.OK else _KEEP_LONGER,
        hours_left=hours_left,
        hours_left_if_stopped=left_s / 3600,
    )


def _until_disk_is_full(facts: Retention, log: KeptLog) -> Retention:
    """The same, but no longer than the source's disk has room: what is not known of it is not good news."""
    if log.limit_bytes and log.limit_bytes - (log.held_bytes or 0) <= (log.disk_left_bytes or log.limit_bytes):
        return facts  # it does not grow beyond what there is room for; unless shown, the operator has made that
    if log.disk_left_bytes is None:
        return replace(
            facts,
            level=_worse(facts.level, Level.UNKNOWN),
            text=f"{facts.text}; {_DISK_UNKNOWN}",
            remedy=facts.remedy or _WATCH_DISK,
        )
    hours = _hours(log.disk_left_bytes, facts.growth_bytes_per_s)
    text = f"{facts.text}; its disk has room for {render_bytes(log.disk_left_bytes)} more"
    if hours is not None:
        text += f", full in {render_age(hours * 3600)} at the present growth"
    level = Level.UNKNOWN if facts.growth_bytes_per_s is None else _grade_hours(hours)
    if level is Level.UNKNOWN:
        text += "; how fast that fills is not known yet"
    return replace(
        facts,
        level=_worse(facts.level, level),
        text=text,
        remedy=facts.remedy or ("" if level is Level.OK else _WATCH_DISK),
        hours_left=_sooner(facts.hours_left, hours),
        hours_left_if_stopped=_sooner(facts.hours_left_if_stopped, hours),
    )


def _worse(one: Level, other: Level) -> Level:
    return max(one, other, key=BY_BADNESS.index)


def _sooner(*hours: float | None) -> float | None:
    return min((entry for entry in hours if entry is not None), default=None)


def _keeps_for_s(log: KeptLog, log_bytes_per_s: float | None) -> float | None:
    """By age or, at the present growth, by size; None when neither is known to come."""
    by_age = [log.keeps_for_s] if log.keeps_for_s else []
    by_size = [log.limit_bytes / log_bytes_per_s] if log.limit_bytes and log_bytes_per_s else []
    return min([*by_age, *by_size], default=None)


def _grade_hours(hours_left: float | None) -> Level:
    if hours_left is None or hours_left > _WARNING_HOURS:
        return Level.OK
    return Level.CRITICAL if hours_left <= _CRITICAL_HOURS else Level.WARNING


def _hours(left_bytes: int | None, per_s: float | None) -> float | None:
    if left_bytes is None or per_s is None or per_s <= 0:
        return None
    return left_bytes / per_s / 3600


# --- the verdict ----------------------------------------------------------------------------------


def _find_reasons(
    status: JobStatus, progress: Progress | None, waits: tuple[Wait, ...], stall: Stall | None, now_us: int
) -> Iterator[Reason]:
    """Everything that speaks against switching over now."""
    if progress is None:
        yield Reason("NOTHING_REPORTED", "no worker has reported on this job yet", "Start the job.")
        return
    if status is not JobStatus.STREAMING:
        text = f"the job is not in its incremental phase; its status is {status.value.replace('_', ' ')}"
        yield Reason("NOT_STREAMING", text, "Start, resume or retry it, and wait until it is in step.")
    elif progress.phase is not Phase.STREAM:
        yield Reason("NOT_IN_STEP", "the target has not caught up with the source yet", "Wait until it is in step.")
    if is_silent(status, progress, now_us=now_us):
        silence = _silence(progress, now_us)
        yield Reason("WORKER_SILENT", silence.text, silence.remedy)
    if progress.at_us > now_us + _CLOCKS_DIFFER_US:
        text = "the worker's clock is ahead of this server's, so no age is certain"
        yield Reason("CLOCKS_DIFFER", text, "Let both machines keep the same time.")
    yield from _delay_reasons(progress, now_us)
    for wait in waits:
        if wait.kind in _BLOCKING_WAITS:
            yield Reason(wait.kind.name, f"it waits for {wait.text}", wait.remedy)
    told = [wait.text for wait in waits if wait.kind in (*_BLOCKING_WAITS, WaitKind.WORKER_SILENT)]
    if stall is not None and stall.reason not in told:
        yield Reason("STALLED", stall.reason, stall.remedy)
    yield from _source_reasons(progress.diagnosis, now_us, is_following=progress.phase in _STREAMING)
    if _fresh_target(progress.diagnosis, now_us) is None:
        yield Reason("TARGET_UNKNOWN", "the worker has not been able to look at the target lately", _WAIT_FOR_LOOK)
    if progress.diagnosis is None or progress.diagnosis.sequences_at_us is None:
        text = "it is not known that the sequences have been brought over"
        yield Reason("SEQUENCES_UNKNOWN", text, "Wait half a minute: a worker in the incremental phase does that.")


_BLOCKING_WAITS: Final = (
    WaitKind.SOURCE_UNREACHABLE,
    WaitKind.TARGET_UNREACHABLE,
    WaitKind.TARGET_LOCK,
    WaitKind.SOURCE_LOCK,
    WaitKind.PAUSE,
)
_WAIT_FOR_LOOK: Final = "Wait some seconds; if it stays so, look at the job's waits and at the worker's log."


def _delay_reasons(progress: Progress, now_us: int) -> Iterator[Reason]:
    delay = delay_ms(progress, now_us=now_us)
    if delay is None or progress.source_clock_offset_us is None:
        yield Reason("DELAY_UNKNOWN", "nothing is proven yet about how far the target is behind", _WAIT_FOR_LOOK)
    elif delay > READY_DELAY_MS:
        limit = render_age(READY_DELAY_MS / 1000)
        text = f"the target is {render_age(delay / 1000)} behind; a switch-over wants at most {limit}"
        yield Reason("DELAY_LARGE", text, "Wait until it has caught up; the waits say what holds it up.")


def _source_reasons(seen: Diagnosis | None, now_us: int, *, is_following: bool) -> Iterator[Reason]:
    source = _fresh_source(seen, now_us)
    if source is None:
        yield Reason("SOURCE_UNKNOWN", "the worker has not been able to look at the source lately", _WAIT_FOR_LOOK)
        return
    log = source.log
    if not log.is_there and not is_following:
        pass  # none was asked for, or not yet
    elif not log.is_there or log.is_lost:
        yield Reason("LOG_LOST", f"the source has given up {log.name}: changes are lost to the job", _START_OVER)
    elif log.is_doomed:
        yield Reason("LOG_DOOMED", f"the source is about to give up {log.name}", _MAKE_ROOM)
    elif not log.is_read:
        yield Reason("LOG_NOT_READ", f"nobody reads {log.name} at the moment", _WAIT_FOR_LOOK)
    if source.hidden_sessions:
        text = f"the transactions of {source.hidden_sessions} sessions of the source cannot be seen"
        yield Reason("TRANSACTIONS_UNKNOWN", text, "GRANT pg_read_all_stats to the job's user on the source.")
    if not source.are_transactions_shown:
        text = "open transactions of other sessions of the source cannot be seen"
        yield Reason("TRANSACTIONS_UNKNOWN", text, "GRANT PROCESS ON *.* to the job's user on the source.")
    for transaction in source.transactions:
        is_prepared = transaction.session.prepared_as is not None
        if transaction.is_in_database and (is_prepared or _is_long(transaction)):
            text = f"a transaction on the source is open, of {render_session(transaction.session)}"
            code = "PREPARED_TRANSACTION" if is_prepared else "OPEN_TRANSACTION"
            yield Reason(code, text, _end_remedy(transaction.session, "source"))


def _find_advisories(progress: Progress | None, retention: Retention, now_us: int) -> Iterator[Reason]:
    """What to mind; none of it blocks."""
    seen = progress.diagnosis if progress is not None else None
    if seen is not None and seen.sequences_at_us is not None:
        age = render_age((now_us - seen.sequences_at_us) / 1e6)
        text = f"the sequences were last brought over {age} ago; ending the job does so once more"
        yield Reason("SEQUENCES", text, "Stop the applications, then end the job, then let them use the target.")
    yield Reason("COMPARE", "whether source and target hold the same rows has not been compared: not built yet")
    yield Reason("TRIGGERS", "whether triggers and scheduled jobs of the target are as wanted has not been checked")
    if retention.level in (Level.UNKNOWN, Level.WARNING, Level.CRITICAL):
        yield Reason("LOG_RETENTION", retention.text, retention.remedy)


# --- odds and ends --------------------------------------------------------------------------------


def _fresh_source(seen: Diagnosis | None, now_us: int) -> SourceFacts | None:
    if seen is None or seen.source is None or seen.source_outage is not None:
        return None
    return seen.source if now_us - seen.source.at_us <= FACTS_OLD_AFTER_US else None


def _fresh_target(seen: Diagnosis | None, now_us: int) -> TargetFacts | None:
    if seen is None or seen.target is None or seen.target_outage is not None:
        return None
    return seen.target if now_us - seen.target.at_us <= FACTS_OLD_AFTER_US else None


def _is_long(transaction: OpenTransaction) -> bool:
    age_s = transaction.session.transaction_age_s
    return age_s is None or age_s >= LONG_TRANSACTION_S


def render_session(session: Session) -> str:
    """Who it is: `process 4711 (user ada, psql, idle in transaction for 40 s: UPDATE t SET n = ?)`."""
    if session.prepared_as is not None:
        name = f"the prepared transaction {session.prepared_as}"
    else:
        name = "a process that is gone" if session.pid is None else f"process {session.pid}"
    told = [f"user {session.user}"] if session.user else []
    told += [session.application] if session.application else []
    what = session.state
    if session.transaction_age_s is not None:
        what = f"{what or 'open'}, transaction {render_age(session.transaction_age_s)} old"
    told += [what] if what else []
    if session.statement:
        told = [*told[:-1], f"{told[-1]}: {session.statement}"] if told else [session.statement]
    return f"{name} ({', '.join(told)})" if told else name


def render_age(seconds: float) -> str:
    """`12 s`, `3 min`, `2.5 h`, `4 days`."""
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def render_bytes(size_bytes: int) -> str:
    """Decimal units: `1.5 GB`."""
    if size_bytes >= 1_000_000_000:
        return f"{size_bytes / 1e9:,.1f} GB"
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"

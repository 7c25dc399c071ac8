"""Jobs: what they are asked to do, which statuses they pass, and which way.

The words of the outside API live in `towline.api.wire`; a table there maps each to these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from towline.domain.accounts import AccountWish
from towline.domain.conversion import PLAIN, Conversion
from towline.domain.errors import IllegalTransition
from towline.domain.tables import ObjectSelection

DEFAULT_MAX_JOBS: Final = 9_999
"""How many jobs a project may have, deleted ones not counted."""


class JobStatus(Enum):
    """What users see. Values are stored; do not rename."""

    __hash__ = object.__hash__  # members are single objects; Enum's own is Python code, and called by the thousand

    CREATING = "creating"
    CREATE_FAILED = "create_failed"
    CONFIGURING = "configuring"
    SCHEDULED = "scheduled"  # start time lies ahead
    STARTING = "starting"
    START_FAILED = "start_failed"
    COPYING = "copying"
    COPY_FAILED = "copy_failed"
    COPIED = "copied"  # a full-only job rests here
    STREAMING = "streaming"
    STREAM_FAILED = "stream_failed"
    PAUSED = "paused"
    ENDING = "ending"
    END_FAILED = "end_failed"
    ENDED = "ended"
    DELETED = "deleted"


_ENDABLE = frozenset({JobStatus.ENDING})
NEXT: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.CREATING: frozenset({JobStatus.CONFIGURING, JobStatus.CREATE_FAILED}) | _ENDABLE,
    JobStatus.CREATE_FAILED: frozenset({JobStatus.DELETED}) | _ENDABLE,
    JobStatus.CONFIGURING: frozenset({JobStatus.SCHEDULED, JobStatus.STARTING}) | _ENDABLE,
    JobStatus.SCHEDULED: frozenset({JobStatus.STARTING, JobStatus.CONFIGURING}) | _ENDABLE,
    # A job that goes on after a pause may fail before its worker has reported: in the phase that it had reached.
    JobStatus.STARTING: frozenset(
        {
            JobStatus.COPYING,
            JobStatus.COPIED,
            JobStatus.STREAMING,
            JobStatus.START_FAILED,
            JobStatus.COPY_FAILED,
            JobStatus.STREAM_FAILED,
            JobStatus.PAUSED,
        }
    )
    | _ENDABLE,
    JobStatus.START_FAILED: frozenset({JobStatus.STARTING, JobStatus.SCHEDULED}) | _ENDABLE,
    JobStatus.COPYING: frozenset({JobStatus.COPIED, JobStatus.STREAMING, JobStatus.COPY_FAILED, JobStatus.PAUSED})
    | _ENDABLE,
    JobStatus.COPY_FAILED: frozenset({JobStatus.STARTING, JobStatus.PAUSED}) | _ENDABLE,
    JobStatus.COPIED: frozenset({JobStatus.STREAMING, JobStatus.STARTING, JobStatus.PAUSED}) | _ENDABLE,
    JobStatus.STREAMING: frozenset({JobStatus.STREAM_FAILED, JobStatus.PAUSED}) | _ENDABLE,
    JobStatus.STREAM_FAILED: frozenset({JobStatus.STARTING, JobStatus.PAUSED}) | _ENDABLE,
    JobStatus.PAUSED: frozenset({JobStatus.STARTING}) | _ENDABLE,
    JobStatus.ENDING: frozenset({JobStatus.ENDED, JobStatus.END_FAILED}),
    JobStatus.END_FAILED: frozenset({JobStatus.ENDING}),
    JobStatus.ENDED: frozenset({JobStatus.DELETED}),
    JobStatus.DELETED: frozenset(),
}
"""Every legal step. A status may always stay as it is."""

RUNNABLE = frozenset({JobStatus.STARTING, JobStatus.COPYING, JobStatus.COPIED, JobStatus.STREAMING, JobStatus.ENDING})
"""Statuses in which a job may need a worker (a full-only job that is COPIED needs none)."""


def require_transition(job_id: str, status: JobStatus, wanted: JobStatus) -> None:
    """Raises IllegalTransition unless `wanted` may follow `status`."""
    if wanted is not status and wanted not in NEXT[status]:
        raise IllegalTransition(f"job {job_id}: {status.value} -> {wanted.value} is not possible", job_id=job_id)


class TaskMode(Enum):
    """Which phases a job has."""

    __hash__ = object.__hash__  # members are single objects; Enum's own is Python code, and called by the thousand

    FULL = "full"
    FULL_AND_STREAM = "full_and_stream"
    STREAM = "stream"


class ConflictPolicy(Enum):
    """What happens to a change or row that does not fit the target's rows."""

    IGNORE = "ignore"
    OVERWRITE = "overwrite"
    STOP = "stop"


class PauseMode(Enum):
    """TARGET stops applying and goes on reading; ALL stops both."""

    TARGET = "target"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to reach one database. The password never shows in `repr` (I7)."""

    family: str  # "postgresql"
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    tls: bool = False
    tls_root_certificate: str = field(default="", repr=False)  # PEM text; "" = encrypt without verifying

    @property
    def is_complete(self) -> bool:
        return bool(self.host and self.port and self.user)


@dataclass(frozen=True, slots=True)
class SpeedWindow:
    """A throttle between two hours of the day, UTC. `end_minute` is inclusive, minutes since midnight."""

    begin_minute: int
    end_minute: int
    limit_bytes_per_s: int

    def holds_at(self, minute_of_day: int) -> bool:
        if self.begin_minute <= self.end_minute:
            return self.begin_minute <= minute_of_day <= self.end_minute
        return minute_of_day >= self.begin_minute or minute_of_day <= self.end_minute


_TAKE_OBJECTS_IN: Final = frozenset({("postgresql", "postgresql")})


def takes_objects_in(source: Endpoint, target: Endpoint) -> bool:
    """Whether objects can join a job between the two after it has run; out of it they can go everywhere."""
    return (source.family, target.family) in _TAKE_OBJECTS_IN


def carries_ddl(source: Endpoint) -> bool:
    """Whether DDL of a source reaches the target while a job follows it. PostgreSQL tells nobody about its own."""
    return source.family == "mysql"


_STREAM_SHARE: Final = 4
_SMALLEST_STREAM_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class JobSpec:
    """All that a worker needs to run a job, with passwords in the clear; lives in memory only."""

    job_id: str
    mode: TaskMode
    source: Endpoint
    target: Endpoint
    selection: ObjectSelection = ObjectSelection()
    conflict_policy: ConflictPolicy = ConflictPolicy.OVERWRITE
    speed_windows: tuple[SpeedWindow, ...] = ()
    copy_workers: int = 2
    index_workers: int = 2
    memory_limit_bytes: int = 384 * 1024 * 1024
    only_structure: bool = False  # rest when what rows need is on the target; the next run goes on from there
    replaces_owners: bool = False  # all objects belong to the target's user
    accounts: AccountWish | None = None
    writes_heartbeat: bool = True  # into the source's log, when nothing else moves an idle one on
    edit: int = 0  # grows with each change of the selection after the job has run
    conversion: Conversion = PLAIN

    @property
    def takes_objects_in(self) -> bool:
        return takes_objects_in(self.source, self.target)

    @property
    def stream_memory_bytes(self) -> int:
        """What changes may take between source and target.

        The rest of the limit is for the interpreter, the drivers' buffers and large rows.
        """
        return max(_SMALLEST_STREAM_BYTES, self.memory_limit_bytes // _STREAM_SHARE)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job stands where it stands; taken from a TowlineError, without secrets or row values."""

    code: str
    message: str
    remedy: str
    side: str
    context: dict[str, Any] = field(default_factory=dict)

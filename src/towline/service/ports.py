"""What the service layer remembers and asks for, and the values that cross it.

`towline.store` implements `Store` on SQLite and on PostgreSQL; the API and the CLI see only
`towline.service.jobs.JobService` and `towline.service.identity.IdentityService`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from towline.domain.access import Role
from towline.domain.accounts import Account, Parameter
from towline.domain.errors import TowlineError
from towline.domain.forecast import Score, TrackRecord
from towline.domain.health import Health
from towline.domain.jobs import (
    ConflictPolicy,
    Endpoint,
    Failure,
    JobSpec,
    JobStatus,
    PauseMode,
    SpeedWindow,
    TaskMode,
)
from towline.domain.nodes import NodeSample
from towline.domain.prechecks import PrecheckItem
from towline.domain.progress import Figures, Progress
from towline.domain.structure import StructureEntry
from towline.domain.tables import ObjectSelection, RowFilter
from towline.engine.ports import Clock as Clock
from towline.engine.ports import Reporter

T = TypeVar("T")


class Wanted(Enum):
    """What the operator wants of a job; its worker says when it has come true. Values are stored."""

    RUN = "run"
    PAUSE_TARGET = "pause_target"
    PAUSE_ALL = "pause_all"
    END = "end"
    FORCE_END = "force_end"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `project_id` is the only project that this caller can see."""

    project_id: str
    user_id: str
    user_name: str
    role: Role | None = None  # None: the caller may do nothing in the project
    max_jobs: int | None = None  # of the project; None: the server's own limit


@dataclass(frozen=True, slots=True)
class JobDraft:
    """A job as a caller wants it. `attributes` holds outside members that we only keep and give back
    (node type, network type, subnet, tags, ...), keyed as the API names them; never a secret."""

    name: str
    mode: TaskMode
    source: Endpoint
    target: Endpoint
    description: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    source_attributes: Mapping[str, Any] = field(default_factory=dict)
    target_attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """A stored job as callers see it. Endpoints come without passwords. Times are microseconds, UTC."""

    job_id: str
    project_id: str
    name: str
    description: str
    mode: TaskMode
    status: JobStatus
    source: Endpoint
    target: Endpoint
    selection: ObjectSelection
    conflict_policy: ConflictPolicy
    speed_windows: tuple[SpeedWindow, ...]
    created_us: int
    updated_us: int
    started_us: int | None = None
    full_complete_us: int | None = None
    scheduled_us: int | None = None
    is_configured: bool = False  # both endpoints were stored after a connection test
    pause_mode: PauseMode | None = None
    failure: Failure | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    source_attributes: Mapping[str, Any] = field(default_factory=dict)
    target_attributes: Mapping[str, Any] = field(default_factory=dict)
    selection_items: tuple[Mapping[str, Any], ...] = ()  # as the caller sent them
    wanted: Wanted = Wanted.RUN
    secrets_version: int = 0  # grows when an endpoint or a password changes


@dataclass(frozen=True, slots=True)
class JobEdit:
    """What a decision makes of a job: the job as it shall be, and what to write into its history.

    An endpoint with a password replaces the stored one; without a password the stored password stays if host,
    port and user stay, else it is forgotten (a password is never sent to a place it was not given for).
    """

    job: Job
    events: tuple[str, ...] = ()
    # Of accounts that the job carries over; replaces all that are stored. None: they stay.
    account_passwords: Mapping[str, str] | None = field(default=None, repr=False)


DecideJob = Callable[[Job], JobEdit]
"""A pure decision; raises RequestError to leave the job as it is."""


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One line of a job's history. `kind`: status, warning, structure, settings."""

    at_us: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class JobChange:
    """Members of a job to change; None leaves a member as it is."""

    job_id: str
    name: str | None = None
    description: str | None = None
    mode: TaskMode | None = None
    source: Endpoint | None = None
    target: Endpoint | None = None
    attributes: Mapping[str, Any] | None = None  # merged over the stored ones
    source_attributes: Mapping[str, Any] | None = None
    target_attributes: Mapping[str, Any] | None = None
    store_endpoints: bool = False


@dataclass(frozen=True, slots=True)
class JobFilter:
    """`names_or_ids` matches a part of the name, or whole ids; empty members do not filter."""

    names_or_ids: tuple[str, ...] = ()
    statuses: frozenset[JobStatus] = frozenset()
    attributes: Mapping[str, str] = field(default_factory=dict)  # exact match, e.g. engine_type, net_type
    tags: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    instance_ids: tuple[str, ...] = ()  # of the source or the target, as the API names them
    enterprise_project: str = ""  # "0": the default one, which is that of a job that was given none


class JobLine(NamedTuple):
    """What batch-progress needs of one job, read in one query together with its neighbours; there may be thousands.

    `progress` is None before any worker has reported.
    """

    job_id: str
    mode: TaskMode
    status: JobStatus
    progress: Figures | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job's status and figures, read in one query together with its neighbours.

    `progress` is None before any worker has reported. Its `tables` are left out here, and its `diagnosis` unless
    the health was asked for.
    """

    job_id: str
    mode: TaskMode
    status: JobStatus
    progress: Progress | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class JobHealth:
    """A job's figures with their diagnosis, and what they mean at `at_us`, when they had been read."""

    job: JobProgress
    health: Health
    at_us: int
    track: TrackRecord = field(default_factory=TrackRecord)  # for a single job only


@dataclass(frozen=True, slots=True)
class JobTables:
    """A job, and its figures with those of each table; None before any worker has reported."""

    job: Job
    progress: Progress | None
    entries: tuple[StructureEntry, ...] = ()
    entries_error: TowlineError | None = None  # why the target could not be asked


@dataclass(frozen=True, slots=True)
class PrecheckRun:
    """A precheck's state. `percent` is 100 when all items are there."""

    job_id: str
    percent: int
    items: tuple[PrecheckItem, ...]
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class ConnectionTest:
    """One database to reach. `is_source` tells the side."""

    job_id: str
    is_source: bool
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """One item of a batch call: a value or an error, never both."""

    job_id: str
    value: T | None = None
    error: Exception | None = None


class Probes(Protocol):
    """What the service asks of databases; `bootstrap` gives it the adapters."""

    async def check_connection(self, endpoint: Endpoint, *, is_source: bool) -> None:
        """Raises: ConnectionRefused, MissingPrivilege, ConnectionLost."""
        ...

    async def run_prechecks(self, spec: JobSpec) -> list[PrecheckItem]: ...
    async def check_joining(self, spec: JobSpec) -> list[PrecheckItem]:
        """The prechecks about those objects of the selection that the job, which has run, does not have yet."""
        ...

    async def read_accounts(self, source: Endpoint) -> list[Account]:
        """Users and roles of the server, by name."""
        ...

    async def read_parameters(self, source: Endpoint, target: Endpoint) -> list[Parameter]: ...
    async def write_parameters(self, target: Endpoint, values: Mapping[str, str]) -> bool:
        """All or none; True when some wait for a restart of the target. Raises: ParameterRefused."""
        ...

    async def read_structure(self, target: Endpoint, job_id: str) -> list[StructureEntry]:
        """The job's objects as the target remembers them; empty before they are known and after the job's end."""
        ...

    async def check_row_filter(self, source: Endpoint, wish: RowFilter, *, follow: bool) -> None:
        """Raises: RowFilterRefused."""
        ...

    async def remove_traces(self, spec: JobSpec, *, reporter: Reporter, by_force: bool = False) -> None:
        """Drop the job's slot, publication and bookkeeping on both sides; safe to repeat.

        The reporter has what the end does not leave as on the source before anything is forgotten. `by_force`: what
        only the source could tell is done without.
        """
        ...


JobIds = Sequence[str]


class JobStore(Protocol):
    """Where jobs are remembered. Every method is one transaction; a project sees only its own jobs."""

    async def insert(self, job: Job) -> None:
        """Raises JobNameTaken when another job of the project has the name, without regard to case."""
        ...

    async def edit(self, job_id: str, decide: DecideJob, *, project_id: str | None) -> Job:
        """Read the job, let `decide` change it, write it back; nobody else can change it in between.

        `decide` may run more than once.

        Raises: JobNotFound, JobDeleted, JobNameTaken, and what `decide` raises.
        """
        ...

    async def load(self, job_ids: JobIds, *, project_id: str) -> dict[str, Job]:
        """The jobs of the project among `job_ids`, deleted ones included."""
        ...

    async def load_spec(self, job_id: str, *, project_id: str | None = None) -> JobSpec:
        """With passwords in the clear. Raises JobNotFound, JobDeleted."""
        ...

    async def find(
        self, job_filter: JobFilter, *, project_id: str | None, limit: int | None, offset: int
    ) -> tuple[int, list[Job]]:
        """How many match, and one page of them, newest first. `project_id` None: of all projects."""
        ...

    async def load_progress(self, job_ids: JobIds, *, project_id: str) -> dict[str, JobLine]:
        """One indexed query, one moment, any number of ids."""
        ...

    async def load_all_progress(self) -> list[JobProgress]: ...
    async def load_health(self, job_ids: JobIds, *, project_id: str) -> dict[str, JobProgress]:
        """As `load_progress`, with the diagnosis in each progress."""
        ...

    async def load_all_health(self) -> list[JobProgress]: ...
    async def load_samples(self, job_ids: JobIds, *, project_id: str) -> dict[str, NodeSample]:
        """What the workers of the jobs used last, for jobs that ever had one."""
        ...

    async def load_zones(self) -> dict[str, int]:
        """When a server of each zone was last there."""
        ...

    async def load_table_progress(self, job_id: str, *, project_id: str) -> Progress | None: ...
    async def load_track_record(self, job_id: str, *, project_id: str) -> TrackRecord:
        """What was said of the time that the job needs; an empty one when there is nothing."""
        ...

    async def load_scores(self) -> dict[str, Score]:
        """The scores of the jobs that were done last; some thousands at most."""
        ...

    async def load_events(self, job_id: str, *, project_id: str) -> list[JobEvent]: ...
    async def forget(self, job_id: str) -> None:
        """Erase secrets, figures and prechecks of a deleted job; its id and history stay."""
        ...

    async def save_precheck(self, run: PrecheckRun) -> None: ...
    async def load_prechecks(self, job_ids: JobIds, *, project_id: str) -> dict[str, tuple[int, PrecheckRun]]:
        """Each with the time of its last write."""
        ...


# --- identity -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Domain:
    domain_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Project:
    project_id: str
    name: str
    domain: Domain


@dataclass(frozen=True, slots=True)
class User:
    user_id: str
    name: str
    domain: Domain


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user as an administrator sees it; `roles` by the projects' names."""

    user: User
    is_enabled: bool
    created_us: int
    roles: Mapping[str, Role]


@dataclass(frozen=True, slots=True)
class ProjectRecord:
    """A project with its limit; None: the server's own."""

    project: Project
    max_jobs: int | None


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An access key without its secret, and whose it is."""

    access_key: str
    user_name: str
    project_name: str
    domain_name: str
    created_us: int


@dataclass(frozen=True, slots=True)
class TokenScope:
    """What a token is asked for: a project by id or name, or the user's domain when all are empty."""

    project_id: str = ""
    project_name: str = ""
    domain_id: str = ""
    domain_name: str = ""

    @property
    def wants_project(self) -> bool:
        return bool(self.project_id or self.project_name)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """`token` is shown once and never stored. `project` is None for a domain scope."""

    token: str = field(repr=False)
    user: User
    project: Project | None
    issued_us: int
    expires_us: int
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What `towline init` hands out, once."""

    project_id: str
    project_name: str
    domain_name: str
    user_name: str
    password: str = field(repr=False)
    access_key: str
    secret_key: str = field(repr=False)


# --- work ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's time-limited right to run a job. `epoch` grows with every owner and never repeats."""

    job_id: str
    owner: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that needs somebody to act for it and has no owner. `epoch` 0: no worker has ever run it."""

    job: Job
    epoch: int
    crashes: int  # in a row


class WorkStore(Protocol):
    """Leases, and what their owners write. Whoever has lost the lease can no longer write (I6)."""

    async def start_due(self) -> list[str]:
        """Move jobs whose scheduled time has come to STARTING; their ids."""
        ...

    async def see_zone(self, name: str) -> None:
        """A server of this zone is there."""
        ...

    async def find_waiting(self, *, limit: int, zone: str | None = None) -> list[Waiting]:
        """`zone`: leave out jobs that belong to other zones."""
        ...

    async def take_lease(self, job_id: str, owner: str, *, ttl_s: float) -> Lease | None:
        """None when somebody else has it."""
        ...

    async def renew_lease(self, lease: Lease, *, ttl_s: float) -> None:
        """Raises LeaseLost, also when the lease had run out and nobody has taken it yet."""
        ...

    async def release_lease(self, lease: Lease, *, crash_delay_s: float | None = None) -> bool:
        """Give the job back; with `crash_delay_s` count a crash and keep everybody off for so long.

        False when the lease was somebody else's already.
        """
        ...

    async def count_running(self, *, at_most: int) -> int:
        """How many jobs have a worker, as far as that is fewer than `at_most`."""
        ...

    async def forgive_crashes(self, lease: Lease) -> None:
        """The job runs well again: start counting anew."""
        ...

    async def load_job(self, job_id: str) -> Job: ...
    async def load_spec(self, job_id: str) -> JobSpec: ...
    async def load_last_progress(self, job_id: str) -> Progress | None: ...
    async def edit(self, lease: Lease, decide: DecideJob) -> Job:
        """Raises LeaseLost, and what `JobStore.edit` raises."""
        ...

    async def load_track_record(self, job_id: str) -> TrackRecord:
        """An empty one before anything was estimated."""
        ...

    async def save_progress(
        self,
        lease: Lease,
        progress: Progress,
        *,
        decide: DecideJob | None = None,
        track: TrackRecord | None = None,
    ) -> Job:
        """Write a job's figures, all from one moment, and what they make of its status, in one transaction.

        `track` replaces the job's estimates; None leaves them.

        Raises: LeaseLost.
        """
        ...

    async def add_events(self, lease: Lease, kind: str, messages: Sequence[str]) -> None: ...
    async def load_messages(self, job_id: str, kind: str) -> list[str]:
        """Of the job's history, oldest first."""
        ...

    async def save_sample(self, lease: Lease, sample: NodeSample) -> None: ...


class IdentityStore(Protocol):
    """Who may call. Secret keys are encrypted, passwords and tokens are hashed before they come here."""

    async def insert_account(
        self, *, domain: Domain, project: Project, user: User, password_hash: str, created_us: int
    ) -> bool:
        """False, with nothing changed, when the store has an account already."""
        ...

    async def load_first_account(self) -> tuple[User, Project] | None: ...
    async def insert_access_key(
        self, *, access_key: str, secret_key: str, user_id: str, project_id: str, created_us: int
    ) -> None: ...

    async def load_user(self, name: str, *, domain_name: str) -> tuple[User, str] | None:
        """The user and the hash of the password."""
        ...

    async def load_projects(self, user_id: str, *, name: str | None = None) -> list[Project]:
        """Those in which the user has a role, by name."""
        ...

    async def load_project(self, project_id: str) -> Project | None: ...
    async def load_role(self, user_id: str, project_id: str) -> Role | None: ...
    async def insert_token(
        self, token_hash: str, *, user_id: str, project_id: str, created_us: int, expires_us: int
    ) -> None: ...

    async def delete_token(self, token_hash: str, *, user_id: str, now_us: int) -> bool:
        """False when the user has no such token that is still valid."""
        ...

    async def load_caller_of_token(self, token_hash: str, *, now_us: int) -> Caller | None: ...
    async def load_access_key(self, access_key: str) -> tuple[str, Caller] | None: ...
    async def load_domain_of(self, user_id: str) -> Domain | None: ...


class AccountStore(Protocol):
    """Accounts as an administrator manages them."""

    async def insert_project(self, project: Project, *, max_jobs: int | None) -> bool:
        """False when the domain has a project of this name; the domain is made if there is none of its name."""
        ...

    async def set_max_jobs(self, project_id: str, max_jobs: int | None) -> None: ...
    async def load_all_projects(self) -> list[ProjectRecord]: ...
    async def insert_user(self, user: User, *, password_hash: str, created_us: int) -> bool:
        """False when the domain has a user of this name."""
        ...

    async def load_users(self) -> list[UserRecord]: ...
    async def set_enabled(self, user_id: str, *, is_enabled: bool) -> None:
        """A user that is out of use loses its tokens; its keys let nobody in until it is enabled again."""
        ...

    async def set_password(self, user_id: str, password_hash: str) -> None:
        """The user's tokens end."""
        ...

    async def set_role(self, user_id: str, project_id: str, role: Role | None) -> None:
        """None takes the role away."""
        ...

    async def load_keys(self) -> list[KeyRecord]: ...
    async def delete_key(self, access_key: str) -> bool: ...
    async def ensure_project(self, project: Project) -> int | None:
        """Make a project that another identity service knows under this id, if it is new; its limit of jobs."""
        ...


@dataclass(frozen=True, slots=True)
class ForeignToken:
    """What another identity service says of a token that it has issued. `role` is the highest that we know."""

    user_id: str
    user_name: str
    project: Project | None
    role: Role | None
    expires_us: int


class TokenValidator(Protocol):
    """Another identity service whose tokens let in."""

    async def validate(self, token: str) -> ForeignToken | None:
        """None: the service does not know the token.

        Raises: IdentityUnavailable; its context says `is_reached` when the service did answer, but not as it should.
        """
        ...


# --- messages and histories that leave the server -------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outlets:
    """What the server's configuration has: names of topics and of log groups, and whether it can send mail."""

    topics: frozenset[str] = frozenset()
    log_groups: frozenset[str] = frozenset()
    has_mail: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One message about a job. `is_over`: what an earlier message told has passed."""

    job_id: str
    job_name: str
    project_id: str
    kind: str  # failed, delay, rpo, rto
    is_over: bool
    at_us: int
    text: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a job's history, and where it goes."""

    event_id: int
    job_id: str
    job_name: str
    project_id: str
    group: str
    stream: str
    at_us: int
    kind: str
    message: str


class Courier(Protocol):
    """Sends messages. Each method raises NotDelivered; what was sent before may arrive twice."""

    async def send_mail(self, recipients: Sequence[str], message: Message) -> None: ...
    async def publish(self, topic: str, message: Message) -> None: ...


class LogSink(Protocol):
    """Where histories go."""

    async def write(self, group: str, lines: Sequence[LogLine]) -> None:
        """All lines are safe where they shall be. Raises: NotDelivered; some of them may be there."""
        ...


class OutsideStore(Protocol):
    """What is to be told outside, and what has been."""

    async def take_duty(self, name: str, owner: str, *, ttl_s: float) -> bool:
        """True when this owner does it for the next `ttl_s`; nobody else does then."""
        ...

    async def load_groups(self) -> list[str]:
        """The log groups for which there are lines that have not been sent."""
        ...

    async def load_lines(self, group: str, *, limit: int) -> list[LogLine]:
        """Lines for the group that have not been sent, oldest first."""
        ...

    async def mark_sent(self, event_ids: Sequence[int]) -> None: ...
    async def load_watched(self) -> list[tuple[Job, JobProgress]]:
        """The jobs about which somebody wants messages; deleted ones are left out."""
        ...

    async def load_alarms(self) -> dict[tuple[str, str], bool]:
        """By job and kind: whether the message is out."""
        ...

    async def raise_alarm(self, job_id: str, kind: str, *, at_us: int) -> None: ...
    async def mark_told(self, job_id: str, kind: str, *, at_us: int) -> None: ...
    async def drop_alarm(self, job_id: str, kind: str) -> None: ...

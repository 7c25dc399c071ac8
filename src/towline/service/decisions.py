"""What a call makes of a job: pure decisions, one per call. The store runs them under the job's lock.

Each takes the job as it is and returns the job as it shall be, or raises the RequestError that the caller
gets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from towline.domain.conversion import CHANGEABLE, read_conversion, render_conversion, require_possible
from towline.domain.errors import (
    EndpointIncomplete,
    IllegalTransition,
    NotBuilt,
    RequestError,
    RowFilterExists,
    TowlineError,
)
from towline.domain.jobs import (
    ConflictPolicy,
    Endpoint,
    Failure,
    JobStatus,
    PauseMode,
    SpeedWindow,
    TaskMode,
    takes_objects_in,
)
from towline.domain.renames import keep_names, require_kept, require_sound
from towline.domain.tables import ObjectSelection, RowFilter
from towline.service.ports import DecideJob, Job, JobChange, JobEdit, Wanted

MAX_ROW_FILTERS = 10_000
Tags = Sequence[Mapping[str, str]]  # each with `key` and `value`

# A job that never ran may be configured; one that could not even start must be, or it never will.
CONFIGURABLE = frozenset({JobStatus.CONFIGURING, JobStatus.START_FAILED})
FAILED = frozenset({JobStatus.START_FAILED, JobStatus.COPY_FAILED, JobStatus.STREAM_FAILED})
# No worker runs in these, so there is nobody who would have to agree to a pause.
_AT_REST = frozenset({JobStatus.COPY_FAILED, JobStatus.STREAM_FAILED})
STARTABLE = CONFIGURABLE | {JobStatus.SCHEDULED}
PAUSABLE = _AT_REST | {JobStatus.COPYING, JobStatus.COPIED, JobStatus.STREAMING}
RESUMABLE = FAILED | {JobStatus.PAUSED}
DELETABLE = frozenset({JobStatus.CREATE_FAILED, JobStatus.ENDED})
ENDABLE = frozenset(JobStatus) - {JobStatus.ENDED, JobStatus.DELETED}
_OVER = frozenset({JobStatus.ENDING, JobStatus.END_FAILED, JobStatus.ENDED, JobStatus.DELETED})
PASSWORD_CHANGEABLE = frozenset(
    {
        JobStatus.STARTING,
        JobStatus.START_FAILED,
        JobStatus.COPYING,
        JobStatus.COPY_FAILED,
        JobStatus.COPIED,
        JobStatus.STREAMING,
        JobStatus.STREAM_FAILED,
        JobStatus.PAUSED,
    }
)
EDITABLE = frozenset({JobStatus.STREAMING, JobStatus.STREAM_FAILED, JobStatus.PAUSED})
_PAUSES = frozenset({Wanted.PAUSE_TARGET, Wanted.PAUSE_ALL})


def find_missing_parts(source: Endpoint, target: Endpoint) -> list[str]:
    """What must still be stored before a worker can connect, in words; empty when nothing."""
    missing = []
    for side, endpoint in (("source", source), ("target", target)):
        for part in ("host", "port", "user"):
            if not getattr(endpoint, part):
                missing.append(f"{side} {part}")
    return missing


def as_failure(error: BaseException) -> Failure:
    """What is kept of an error; of a defect only its class, as its text may hold anything (I7)."""
    if isinstance(error, TowlineError):
        context = {key: value for key, value in error.context.items() if isinstance(value, (str, int, float))}
        return Failure(error.code, error.message, error.advice, error.side.value, context)
    return Failure(
        code="INVARIANT_BROKEN",
        message=f"an unexpected {type(error).__name__} stopped the work",
        remedy="Look into the server's log and report what it says.",
        side="towline",
    )


# --- settings -----------------------------------------------------------------------------------


def change(wish: JobChange) -> DecideJob:
    def decide(job: Job) -> JobEdit:
        if job.status in _OVER:
            raise _not_now(job, "changed")
        touches_endpoints = wish.source is not None or wish.target is not None or wish.store_endpoints
        if (touches_endpoints or wish.mode is not None) and job.status not in CONFIGURABLE:
            raise _not_now(job, "configured")
        source, target = wish.source or job.source, wish.target or job.target
        is_stored = wish.store_endpoints and not find_missing_parts(source, target)
        return JobEdit(
            replace(
                job,
                name=wish.name if wish.name is not None else job.name,
                description=wish.description if wish.description is not None else job.description,
                mode=wish.mode or job.mode,
                source=source,
                target=target,
                attributes=_merged(job.attributes, wish.attributes),
                source_attributes=_merged(job.source_attributes, wish.source_attributes),
                target_attributes=_merged(job.target_attributes, wish.target_attributes),
                is_configured=job.is_configured or is_stored,
            ),
            events=("databases stored",) if touches_endpoints else (),
        )

    return decide


def change_tags(decide_tags: Callable[[Tags], Tags]) -> DecideJob:
    """`decide_tags` makes the new tags of the old ones; it raises to leave the job as it is."""

    def decide(job: Job) -> JobEdit:
        if job.status in _OVER:
            raise _not_now(job, "tagged")
        tags = decide_tags(job.attributes.get("tags") or [])
        return JobEdit(replace(job, attributes=_merged(job.attributes, {"tags": tags})))

    return decide


def select_objects(selection: ObjectSelection, items: Sequence[Mapping[str, Any]]) -> DecideJob:
    """Of a job that follows its source the objects are only edited: `retry_edited` makes it so."""

    def decide(job: Job) -> JobEdit:
        require_sound(selection, source_family=job.source.family, target_family=job.target.family)
        if job.status in CONFIGURABLE:
            return JobEdit(replace(job, selection=selection, selection_items=tuple(items)), ("objects selected",))
        if job.status not in EDITABLE or job.full_complete_us is None or job.mode is TaskMode.FULL:
            raise _not_now(job, "given other objects")
        _require_editable(job, selection)
        edited = {"selection": msgspec.to_builtins(selection), "items": [dict(item) for item in items]}
        attributes = _merged(job.attributes, {"edited": edited})
        return JobEdit(
            replace(job, attributes=attributes), ("objects edited; they join and leave with a retry that says so",)
        )

    return decide


def choose_edited(job: Job) -> tuple[Mapping[str, Any], ObjectSelection]:
    """The edit that waits for a retry, as it is stored, and the selection that it makes.

    Raises: IllegalTransition, and RequestError without an edit.
    """
    if job.status not in EDITABLE or is_pausing(job):
        raise _not_now(job, "retried with other objects")
    edited: Mapping[str, Any] | None = job.attributes.get("edited")
    if edited is None:
        raise RequestError(f"the objects of job {job.job_id} have not been edited", remedy="Select objects first.")
    return edited, _edited_selection(job, edited)


def find_edited(job: Job) -> ObjectSelection | None:
    """The selection of an edit that waits for a retry, if there is one."""
    edited: Mapping[str, Any] | None = job.attributes.get("edited")
    return None if edited is None or job.status not in EDITABLE else _edited_selection(job, edited)


def _edited_selection(job: Job, edited: Mapping[str, Any]) -> ObjectSelection:
    wanted = msgspec.convert(edited["selection"], ObjectSelection)
    # Also of what leaves: the condition of a partitioned table holds for a partition that is selected by itself, and
    # the name of a table is still the one that it has on the target.
    names = keep_names(job.selection.names, wanted)
    return replace(wanted, names=names, row_filters=job.selection.row_filters)


def retry_edited(checked: Mapping[str, Any], notes: Sequence[str] = ()) -> DecideJob:
    """Let objects join and leave the job as it was edited, and go on if it does not run.

    `checked` is the edit that was looked at before; `notes` is what was found that does not stand in its way.
    """

    def decide(job: Job) -> JobEdit:
        edited, selection = choose_edited(job)
        if edited != checked:
            raise RequestError(
                f"the objects of job {job.job_id} were edited again in the meantime",
                remedy="Look at the job's objects and retry again; nothing was changed.",
            )
        attributes = {name: value for name, value in job.attributes.items() if name != "edited"}
        attributes["edit"] = int(job.attributes.get("edit") or 0) + 1
        changed = replace(job, selection=selection, selection_items=tuple(edited["items"]), attributes=attributes)
        if job.status is not JobStatus.STREAMING:
            changed = replace(changed, status=JobStatus.STARTING, wanted=Wanted.RUN, failure=None, pause_mode=None)
        return JobEdit(changed, ("objects join and leave the job as they were edited", *notes))

    return decide


def _require_editable(job: Job, wanted: ObjectSelection) -> None:
    """Raises NotBuilt when objects would join between two servers that cannot take them in."""
    require_kept(job.selection, wanted)
    if not takes_objects_in(job.source, job.target) and not job.selection.holds(wanted):
        raise NotBuilt(
            "only jobs from PostgreSQL to PostgreSQL take objects in after they have run; others can only do without"
        )


def add_row_filters(wishes: Sequence[RowFilter]) -> DecideJob:
    """One condition per table. The same one again changes nothing; selecting objects anew drops all of them."""

    def decide(job: Job) -> JobEdit:
        if job.status not in CONFIGURABLE:
            raise _not_now(job, "given other conditions")
        known = {each.table: each for each in job.selection.row_filters}
        for wish in wishes:
            if not job.selection.covers(wish.table):
                raise RequestError(f"{wish.table} is not among the objects of the job")
            if wish.table in known and known[wish.table] != wish:
                raise RowFilterExists(f"{wish.table} has another condition already")
            known[wish.table] = wish
        if len(known) > MAX_ROW_FILTERS:
            raise RequestError(f"a job may have conditions for {MAX_ROW_FILTERS} tables")
        selection = replace(job.selection, row_filters=tuple(known.values()))
        return JobEdit(replace(job, selection=selection), (f"conditions for rows of {len(wishes)} tables",))

    return decide


def choose_accounts(names: Sequence[str], passwords: Mapping[str, str]) -> DecideJob:
    """Accounts to make on the target when the job starts, in place of all that were chosen before."""

    def decide(job: Job) -> JobEdit:
        if job.status not in CONFIGURABLE:
            raise _not_now(job, "given other accounts")
        attributes = _merged(job.attributes, {"accounts": sorted(names)})
        return JobEdit(replace(job, attributes=attributes), (f"accounts chosen: {len(names)}",), passwords)

    return decide


def set_owners(*, replaces: bool) -> DecideJob:
    def decide(job: Job) -> JobEdit:
        if job.status not in CONFIGURABLE:
            raise _not_now(job, "given other owners")
        word = "the target's user" if replaces else "as on the source"
        return JobEdit(
            replace(job, attributes=_merged(job.attributes, {"replace_definer": replaces})),
            (f"owners of objects: {word}",),
        )

    return decide


def tune(values: Mapping[str, int] | None, wishes: Mapping[str, str]) -> DecideJob:
    """Merge sizes of the job's worker, and wishes for how values cross; None for sizes puts all back.

    They hold from the next start of a worker on.
    """

    def decide(job: Job) -> JobEdit:
        if job.status in _OVER:
            raise _not_now(job, "tuned")
        tuning = {} if values is None else {**(job.attributes.get("tuning") or {}), **values}
        before: Mapping[str, str] = job.attributes.get("conversion") or {}
        is_made = job.status not in STARTABLE  # the target has the tables already
        put_back = {name: text for name, text in before.items() if is_made and name not in CHANGEABLE}
        kept = put_back if values is None else {**before, **wishes}
        conversion = read_conversion(kept)
        require_possible(conversion, source_family=job.source.family, target_family=job.target.family)
        if is_made and conversion.structure != read_conversion(before).structure:
            raise _not_now(job, "given other types or another collation")
        said = ", ".join(f"{name} {value}" for name, value in tuning.items()) or "as its node type says"
        events = [f"worker: {said}"]
        if kept != before:
            told = ", ".join(f"{name} {value}" for name, value in render_conversion(conversion).items())
            events.append(f"values: {told}")
        attributes = _merged(job.attributes, {"tuning": tuning, "conversion": kept})
        return JobEdit(replace(job, attributes=attributes), tuple(events))

    return decide


def note(event: str) -> DecideJob:
    """Only a line in the history."""
    return lambda job: JobEdit(job, (event,))


def set_attributes(changes: Mapping[str, Any], event: str) -> DecideJob:
    """For what may be set while a job exists and is not over."""

    def decide(job: Job) -> JobEdit:
        if job.status in _OVER:
            raise _not_now(job, "changed")
        return JobEdit(replace(job, attributes=_merged(job.attributes, changes)), (event,))

    return decide


def set_policy(policy: ConflictPolicy | None) -> DecideJob:
    """None leaves the policy as it is; the job must still be one that could be given another."""

    def decide(job: Job) -> JobEdit:
        # A running worker has its policy already; a failed or paused job takes the new one when it goes on.
        if job.status not in CONFIGURABLE | FAILED | {JobStatus.SCHEDULED, JobStatus.PAUSED}:
            raise _not_now(job, "given another policy")
        if policy is None:
            return JobEdit(job)
        return JobEdit(replace(job, conflict_policy=policy), (f"conflict policy: {policy.value}",))

    return decide


def set_speed(windows: Sequence[SpeedWindow]) -> DecideJob:
    def decide(job: Job) -> JobEdit:
        if job.status in _OVER:
            raise _not_now(job, "throttled")
        return JobEdit(replace(job, speed_windows=tuple(windows)), (f"speed windows: {len(windows)}",))

    return decide


def change_password(password: str, *, is_source: bool) -> DecideJob:
    def decide(job: Job) -> JobEdit:
        if job.status not in PASSWORD_CHANGEABLE:
            raise _not_now(job, "given another password")
        if not password:
            raise RequestError("the password is empty", job_id=job.job_id)
        if is_source:
            edited = replace(job, source=replace(job.source, password=password))
        else:
            edited = replace(job, target=replace(job.target, password=password))
        return JobEdit(edited, (f"{'source' if is_source else 'target'} password changed",))

    return decide


# --- run control --------------------------------------------------------------------------------


def start(*, at_us: int | None, now_us: int, only_structure: bool = False) -> DecideJob:
    """Missing settings are no reason to refuse: the job starts, and fails saying what is missing.

    With `only_structure` it rests, paused, when what rows need is on the target; a retry goes on with the rows.
    """

    def decide(job: Job) -> JobEdit:
        if job.status not in STARTABLE:
            raise _not_now(job, "started")
        attributes = _merged(job.attributes, {"is_only_init_task": only_structure})
        fresh = replace(job, wanted=Wanted.RUN, failure=None, pause_mode=None, attributes=attributes)
        if at_us is not None and at_us > now_us:
            return JobEdit(replace(fresh, status=JobStatus.SCHEDULED, scheduled_us=at_us))
        return JobEdit(
            replace(fresh, status=JobStatus.STARTING, scheduled_us=None, started_us=job.started_us or now_us)
        )

    return decide


def fail_incomplete(job: Job) -> JobEdit:
    """START_FAILED with a failure that names what is missing."""
    missing = find_missing_parts(job.source, job.target)
    error = EndpointIncomplete(f"job {job.job_id} cannot start without: {', '.join(missing)}")
    return JobEdit(replace(job, status=JobStatus.START_FAILED, failure=as_failure(error)))


def pause(mode: PauseMode) -> DecideJob:
    """Ask for a pause. The status changes when the worker has stopped, or at once when there is none."""

    def decide(job: Job) -> JobEdit:
        if job.status not in PAUSABLE:
            raise _not_now(job, "paused")
        wanted = Wanted.PAUSE_TARGET if mode is PauseMode.TARGET else Wanted.PAUSE_ALL
        if job.status in _AT_REST or is_resting_copy(job):
            return JobEdit(replace(job, wanted=wanted, status=JobStatus.PAUSED, pause_mode=mode))
        return JobEdit(replace(job, wanted=wanted), (f"pause asked for: {mode.value}",))

    return decide


def retry(job: Job) -> JobEdit:
    """Go on after a failure or a pause; takes back a pause that has not come true yet."""
    if job.status in RESUMABLE:
        return JobEdit(replace(job, status=JobStatus.STARTING, wanted=Wanted.RUN, failure=None, pause_mode=None))
    if is_pausing(job):
        return JobEdit(replace(job, wanted=Wanted.RUN), ("pause taken back",))
    raise _not_now(job, "retried")


def end(*, force: bool) -> DecideJob:
    """Ask for the end. A second call may add force; repeating changes nothing."""

    def decide(job: Job) -> JobEdit:
        if job.status not in ENDABLE:
            raise _not_now(job, "ended")
        wanted = Wanted.FORCE_END if force or job.wanted is Wanted.FORCE_END else Wanted.END
        return JobEdit(replace(job, status=JobStatus.ENDING, wanted=wanted, failure=None))

    return decide


def delete(job: Job) -> JobEdit:
    if job.status not in DELETABLE:
        raise _not_now(job, "deleted")
    return JobEdit(replace(job, status=JobStatus.DELETED))


def require_precheckable(job: Job, *, for_retry: bool) -> None:
    """Raises IllegalTransition in a status in which a precheck says nothing."""
    allowed = STARTABLE
    if for_retry:
        allowed = allowed | FAILED | {JobStatus.PAUSED, JobStatus.COPIED, JobStatus.STREAMING}
    if job.status not in allowed:
        raise _not_now(job, "prechecked")


def require_testable(job: Job) -> None:
    """Raises IllegalTransition unless databases may still be chosen."""
    if job.status not in CONFIGURABLE:
        raise _not_now(job, "tested")


def is_pausing(job: Job) -> bool:
    """True while a pause has been asked for and has not come true."""
    return job.wanted in _PAUSES and job.status not in _OVER | {JobStatus.PAUSED}


def is_resting_copy(job: Job) -> bool:
    """True for a job that only copies and has done so: it needs no worker any more."""
    return job.status is JobStatus.COPIED and job.mode is TaskMode.FULL


def _merged(known: Mapping[str, Any], changes: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return known if changes is None else {**known, **changes}


def _not_now(job: Job, what: str) -> IllegalTransition:
    return IllegalTransition(
        f"job {job.job_id} cannot be {what} while it is {job.status.value}",
        job_id=job.job_id,
        status=job.status.value,
    )

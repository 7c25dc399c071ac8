"""Turns domain values into what a row holds, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import RowMapping

from towline.domain.accounts import AccountWish
from towline.domain.conversion import read_conversion
from towline.domain.diagnosis import Diagnosis
from towline.domain.forecast import Score, TrackRecord
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
from towline.domain.nodes import tuned_size
from towline.domain.progress import PartProgress, Phase, Progress
from towline.domain.tables import ObjectSelection
from towline.service.ports import Job, JobLine, JobProgress, PrecheckRun, Wanted
from towline.store.keyring import Keyring

V = TypeVar("V")

_NO_PART: Final = msgspec.Raw(b"{}")


class ProgressLine(msgspec.Struct, frozen=True, gc=False):
    """`domain.progress.Figures` of a stored `Progress`; the parts stay JSON until somebody asks for them."""

    at_us: int
    phase: Phase
    percent: int = 0
    remaining_s: int | None = None
    proven_source_time_us: int | None = None
    source_clock_offset_us: int | None = None
    apply_rows_per_s: float | None = None
    apply_bytes_per_s: float | None = None
    structure_json: msgspec.Raw = msgspec.field(name="structure", default=_NO_PART)
    data_json: msgspec.Raw = msgspec.field(name="data", default=_NO_PART)
    index_json: msgspec.Raw = msgspec.field(name="index", default=_NO_PART)

    @property
    def structure(self) -> PartProgress:
        return _part.decode(self.structure_json)

    @property
    def data(self) -> PartProgress:
        return _part.decode(self.data_json)

    @property
    def index(self) -> PartProgress:
        return _part.decode(self.index_json)


_part = msgspec.json.Decoder(PartProgress)
_line = msgspec.json.Decoder(ProgressLine)
_progress = msgspec.json.Decoder(Progress)
_diagnosis = msgspec.json.Decoder(Diagnosis)
_failure = msgspec.json.Decoder(Failure)
_score = msgspec.json.Decoder(Score)


def encode_text(value: Any) -> str:
    """JSON text. What JSON does not know (a stray value in an error's context) becomes its `str`."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def decode_text(text: str, kind: type[V]) -> V:
    return msgspec.json.decode(text, type=kind)


def encode_job(job: Job) -> dict[str, Any]:
    """All columns of the job's row but its secrets."""
    return {
        "job_id": job.job_id,
        "project_id": job.project_id,
        "name": job.name,
        "name_key": job.name.lower(),
        "description": job.description,
        "mode": job.mode.value,
        "status": job.status.value,
        "wanted": job.wanted.value,
        "source": _encode_endpoint(job.source),
        "target": _encode_endpoint(job.target),
        "secrets_version": job.secrets_version,
        "selection": encode_text(job.selection),
        "selection_items": encode_text(job.selection_items),
        "conflict_policy": job.conflict_policy.value,
        "speed_windows": encode_text(job.speed_windows),
        "attributes": dict(job.attributes),
        "source_attributes": dict(job.source_attributes),
        "target_attributes": dict(job.target_attributes),
        "is_configured": job.is_configured,
        "pause_mode": job.pause_mode.value if job.pause_mode else None,
        "failure": encode_text(job.failure) if job.failure else None,
        "created_us": job.created_us,
        "updated_us": job.updated_us,
        "started_us": job.started_us,
        "full_complete_us": job.full_complete_us,
        "scheduled_us": job.scheduled_us,
        "is_watched": bool(job.attributes.get("alarm_notify")),
        "is_shipped": bool((job.attributes.get("lts") or {}).get("lts_enabled")),
    }


def decode_job(row: RowMapping) -> Job:
    """The job without passwords."""
    return Job(
        job_id=row["job_id"],
        project_id=row["project_id"],
        name=row["name"],
        description=row["description"],
        mode=TaskMode(row["mode"]),
        status=JobStatus(row["status"]),
        wanted=Wanted(row["wanted"]),
        source=msgspec.convert(row["source"], Endpoint),
        target=msgspec.convert(row["target"], Endpoint),
        secrets_version=row["secrets_version"],
        selection=decode_text(row["selection"], ObjectSelection),
        selection_items=decode_text(row["selection_items"], tuple[Mapping[str, Any], ...]),
        conflict_policy=ConflictPolicy(row["conflict_policy"]),
        speed_windows=decode_text(row["speed_windows"], tuple[SpeedWindow, ...]),
        attributes=row["attributes"],
        source_attributes=row["source_attributes"],
        target_attributes=row["target_attributes"],
        is_configured=row["is_configured"],
        pause_mode=PauseMode(row["pause_mode"]) if row["pause_mode"] else None,
        failure=decode_failure(row["failure"]),
        created_us=row["created_us"],
        updated_us=row["updated_us"],
        started_us=row["started_us"],
        full_complete_us=row["full_complete_us"],
        scheduled_us=row["scheduled_us"],
    )


def decode_spec(row: RowMapping, keyring: Keyring) -> JobSpec:
    """What a worker needs, with passwords in the clear."""
    job = decode_job(row)
    size = tuned_size(job.attributes.get("node_type"), job.attributes.get("tuning") or {})
    return JobSpec(
        job_id=job.job_id,
        mode=job.mode,
        source=replace(job.source, password=_open(row, "source", keyring)),
        target=replace(job.target, password=_open(row, "target", keyring)),
        selection=job.selection,
        conflict_policy=job.conflict_policy,
        speed_windows=job.speed_windows,
        copy_workers=size.copy_workers,
        index_workers=size.index_workers,
        memory_limit_bytes=size.memory_mb * 1024 * 1024,
        only_structure=bool(job.attributes.get("is_only_init_task")),
        replaces_owners=bool(job.attributes.get("replace_definer")),
        accounts=_open_accounts(row, job, keyring),
        edit=int(job.attributes.get("edit") or 0),
        conversion=read_conversion(job.attributes.get("conversion") or {}),
    )


def seal_password(endpoint: Endpoint, keyring: Keyring, *, job_id: str, side: str) -> bytes | None:
    """None for an endpoint without a password."""
    if not endpoint.password:
        return None
    return keyring.seal(endpoint.password, place=_place(job_id, side))


def seal_accounts(passwords: Mapping[str, str], keyring: Keyring, *, job_id: str) -> bytes | None:
    if not passwords:
        return None
    return keyring.seal(encode_text(dict(passwords)), place=_place(job_id, "accounts"))


def encode_progress(progress: Progress) -> str:
    return encode_text(replace(progress, tables=(), diagnosis=None))


# Looking a value up costs a third of making the member from it, and there are two for every line.
_MODES = {mode.value: mode for mode in TaskMode}
_STATUSES = {status.value: status for status in JobStatus}


class JobLines:
    """Decodes what is read for batch-progress, and anew only what is not word for word as it was read last.

    A line is kept beside the row that it was decoded from and given for nothing but this same row, so it cannot be
    older than what was read, whoever wrote that.
    """

    def __init__(self, *, max_lines: int) -> None:
        self._max_lines = max_lines
        self._known: dict[str, tuple[tuple[str, ...], JobLine]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def decode(self, rows: Iterable[tuple[str, ...]]) -> dict[str, JobLine]:
        """By job, from job_id, mode, status, failure and body, in this order; the last two may be empty."""
        if len(self._known) > self._max_lines:
            self._known = {}
        known = self._known
        lines = {}
        for row in rows:
            job_id = row[0]
            seen = known.get(job_id)
            if seen is None or seen[0] != row:
                seen = known[job_id] = row, decode_job_line(*row)
            lines[job_id] = seen[1]
        return lines


def decode_job_line(job_id: str, mode: str, status: str, failure: str, body: str) -> JobLine:
    """The last two may be empty."""
    return JobLine(
        job_id,
        _MODES[mode],
        _STATUSES[status],
        _line.decode(body) if body else None,
        _failure.decode(failure) if failure else None,
    )


def decode_job_progress(row: Sequence[Any]) -> JobProgress:
    """From the columns job_id, mode, status, failure, body, in this order."""
    job_id, mode, status, failure, body = row
    return JobProgress(
        job_id=job_id,
        mode=TaskMode(mode),
        status=JobStatus(status),
        progress=None if body is None else _progress.decode(body),
        failure=decode_failure(failure),
    )


def decode_job_health(row: Sequence[Any]) -> JobProgress:
    """From the same columns and the diagnosis."""
    *columns, diagnosis = row
    known = decode_job_progress(columns)
    if known.progress is None or diagnosis is None:
        return known
    return replace(known, progress=replace(known.progress, diagnosis=_diagnosis.decode(diagnosis)))


def decode_progress(body: str) -> Progress:
    return _progress.decode(body)


def encode_track(track: TrackRecord, *, at_us: int) -> dict[str, Any]:
    """All columns of the row but the job's id."""
    return {
        "at_us": at_us,
        "finished_us": track.finished_us,
        "score": encode_text(track.score) if track.score else None,
        "body": encode_text(track),
    }


def decode_track(body: str) -> TrackRecord:
    return decode_text(body, TrackRecord)


def decode_score(body: str) -> Score:
    return _score.decode(body)


def decode_precheck(body: str) -> PrecheckRun:
    return decode_text(body, PrecheckRun)


def decode_failure(body: str | None) -> Failure | None:
    return _failure.decode(body) if body is not None else None


def _encode_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(endpoint)
    del plain["password"]  # I7: passwords go into their own column, sealed
    return plain


def _open(row: RowMapping, side: str, keyring: Keyring) -> str:
    sealed = row[f"{side}_secret"]
    return "" if sealed is None else keyring.open(bytes(sealed), place=_place(row["job_id"], side))


def _open_accounts(row: RowMapping, job: Job, keyring: Keyring) -> AccountWish | None:
    names = job.attributes.get("accounts") or []
    if not names:
        return None
    sealed = row["accounts_secret"]
    opened = "{}" if sealed is None else keyring.open(bytes(sealed), place=_place(job.job_id, "accounts"))
    return AccountWish(tuple(names), decode_text(opened, dict[str, str]))


def _place(job_id: str, side: str) -> str:
    return f"job/{job_id}/{side}"

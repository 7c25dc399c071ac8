"""What a job waits for and whether it is safe to switch over, in outside words.

`batch-rpo-and-rto` has its published shape (API facts, section 1.12).  The first half goes from the source to Towline,
the second from there to the target; their delays add up to that of batch-progress.  The other answers are Towline's
own.  Times are ms since the epoch, UTC; null is not known.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from towline.api.wire.errors import as_api_error
from towline.api.wire.texts import Language
from towline.api.wire.words import STATUS_WORD
from towline.domain.diagnosis import Session
from towline.domain.forecast import TrackRecord
from towline.domain.health import Health, Reason, Retention, Stall, Verdict, Wait
from towline.domain.progress import CONFIDENCE, DelaySplit, PartProgress, Progress
from towline.service.ports import JobHealth

UNKNOWN: Final = "-1"
NOT_AVAILABLE: Final = "NA"
_LOG_PLACE: Final = re.compile(r"[0-9A-F]+/[0-9A-F]+|[^,]+\.\d{6,}:\d+")


class RpoAndRtoInfo(msgspec.Struct, frozen=True):
    """One half of the way: how far it is, and how many ms it is behind. Unknown: "NA", "-1" and an empty time."""

    check_point: str
    delay: str
    gtid_set: str
    time: str


class RpoAndRtoRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    job_id: str
    rpo_info: RpoAndRtoInfo | None = None
    rto_info: RpoAndRtoInfo | None = None
    error_code: str | None = None
    error_msg: str | None = None


class RpoAndRtoAnswer(msgspec.Struct, frozen=True):
    count: int
    results: list[RpoAndRtoRecord]


class DelayBody(msgspec.Struct, frozen=True):
    """The parts add up to the total."""

    total_ms: int
    read_ms: int
    queue_ms: int
    apply_ms: int


class SessionBody(msgspec.Struct, frozen=True):
    pid: int | None
    user: str
    application: str
    database: str
    state: str
    statement: str
    transaction_age_s: float | None
    prepared_as: str | None
    end_with: str


class WaitBody(msgspec.Struct, frozen=True):
    kind: str
    part: str
    side: str
    text: str
    remedy: str
    since: int | None
    session: SessionBody | None


class StallBody(msgspec.Struct, frozen=True):
    is_stalled: bool
    since: int | None = None
    reason: str = ""
    remedy: str = ""


class RetentionBody(msgspec.Struct, frozen=True):
    level: str
    text: str
    remedy: str
    held_bytes: int | None
    is_limited: bool | None
    limit_bytes: int | None
    left_bytes: int | None
    growth_bytes_per_s: int | None
    hours_left: float | None
    hours_left_if_stopped: float | None


class ReasonBody(msgspec.Struct, frozen=True):
    code: str
    text: str
    remedy: str


class VerdictBody(msgspec.Struct, frozen=True):
    ready: bool
    reasons: list[ReasonBody]
    advisories: list[ReasonBody]


class ScoreBody(msgspec.Struct, frozen=True):
    """What the estimates of a job were worth, once its work was over; see `domain.forecast.Score`."""

    estimates: int
    median_error: float
    tenth_error: float | None
    within: float
    confidence: float
    took_s: float


class RemainingBody(msgspec.Struct, frozen=True):
    """Seconds until the job is done or in step, and the range that holds the truth with `confidence`.

    `estimated`: when. `estimates_kept`: how many are kept to be scored; `score`: null until the work is over.
    """

    seconds: int | None
    low_s: int | None
    high_s: int | None
    confidence: float
    estimated: int | None
    estimates_kept: int
    score: ScoreBody | None


class PartBody(msgspec.Struct, frozen=True):
    """Of one kind of work: bytes on the source for data and index, objects for structure.

    `origin`: what the total is known from, `statistics`, `counted` or `exact`.
    """

    done: int
    total: int
    percent: int
    origin: str
    is_finished: bool
    remaining_s: int | None


class ProgressBody(msgspec.Struct, frozen=True):
    """Of the full phase."""

    percent: int
    structure: PartBody
    data: PartBody
    index: PartBody


class HealthAnswer(msgspec.Struct, frozen=True):
    """`source_position` is the source's own, `received_position` what was read, `applied_position` what is durable."""

    job_id: str
    transfer_status: str
    process_time: int | None
    progress: ProgressBody | None
    delay: DelayBody | None
    remaining: RemainingBody
    source_position: str | None
    received_position: str | None
    applied_position: str | None
    queued_bytes: int | None
    cpu_share: float | None
    waits: list[WaitBody]
    stall: StallBody
    retention: RetentionBody
    switchover: VerdictBody


class VerdictRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    job_id: str
    ready: bool
    reasons: list[ReasonBody] | None = None
    advisories: list[ReasonBody] | None = None
    error_code: str | None = None
    error_msg: str | None = None


class VerdictAnswer(msgspec.Struct, frozen=True):
    """`ready_count`: how many of them are ready."""

    count: int
    ready_count: int
    results: list[VerdictRecord]


# --- the two halves of the delay ------------------------------------------------------------------


def render_rpo_and_rto(requested_id: str, job: JobHealth) -> RpoAndRtoRecord:
    """The record of a known job. Outside the incremental phase there is no delay, so both halves are unknown."""
    progress, delay = job.job.progress, job.health.delay
    if progress is None or delay is None:
        unknown = RpoAndRtoInfo(NOT_AVAILABLE, UNKNOWN, NOT_AVAILABLE, "")
        return RpoAndRtoRecord(requested_id, unknown, unknown)
    proven_us = progress.proven_source_time_us
    received_us = max(proven_us or 0, progress.received_source_time_us or 0)
    read = _half(progress.received_position or progress.applied_position, delay.read_ms, received_us)
    written = _half(progress.applied_position, delay.queue_ms + delay.apply_ms, proven_us)
    return RpoAndRtoRecord(requested_id, read, written)


def render_missing_rpo(requested_id: str, error: BaseException, language: Language) -> RpoAndRtoRecord:
    refusal = as_api_error(error)
    return RpoAndRtoRecord(requested_id, error_code=refusal.code, error_msg=refusal.text(language))


def _half(position: str | None, delay_ms: int, time_us: int | None) -> RpoAndRtoInfo:
    # A place in a log (0/27F84408, binlog.000003:1234) or else a set of transactions; a source gives one of the two.
    is_place = position is not None and _LOG_PLACE.fullmatch(position) is not None
    return RpoAndRtoInfo(
        check_point=position if position and is_place else NOT_AVAILABLE,
        delay=str(delay_ms),
        gtid_set=position if position and not is_place else NOT_AVAILABLE,
        time=datetime.fromtimestamp(time_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S") if time_us else "",
    )


# --- health ---------------------------------------------------------------------------------------


def render_health(job: JobHealth) -> HealthAnswer:
    """Everything that is known of one job's health."""
    progress, health = job.job.progress, job.health
    seen = progress.diagnosis if progress else None
    return HealthAnswer(
        job_id=job.job.job_id,
        transfer_status=STATUS_WORD[job.job.status],
        process_time=None if progress is None else progress.at_us // 1000,
        progress=None if progress is None else _render_progress(progress),
        delay=_render_delay(health.delay),
        remaining=_render_remaining(progress, job.track),
        source_position=_of(progress, "source_position"),
        received_position=_of(progress, "received_position"),
        applied_position=_of(progress, "applied_position"),
        queued_bytes=None if progress is None else progress.queued_bytes,
        cpu_share=None if seen is None or seen.cpu_share is None else round(seen.cpu_share, 2),
        waits=[_render_wait(wait) for wait in health.waits],
        stall=_render_stall(health.stall),
        retention=_render_retention(health.retention),
        switchover=_render_verdict(health.verdict),
    )


def render_verdict_record(requested_id: str, health: Health) -> VerdictRecord:
    body = _render_verdict(health.verdict)
    return VerdictRecord(requested_id, body.ready, body.reasons, body.advisories)


def render_missing_verdict(requested_id: str, error: BaseException, language: Language) -> VerdictRecord:
    refusal = as_api_error(error)
    return VerdictRecord(requested_id, False, error_code=refusal.code, error_msg=refusal.text(language))


def _of(progress: Progress | None, member: str) -> str | None:
    return None if progress is None else getattr(progress, member)


def _render_progress(progress: Progress) -> ProgressBody:
    return ProgressBody(
        progress.percent, _render_part(progress.structure), _render_part(progress.data), _render_part(progress.index)
    )


def _render_part(part: PartProgress) -> PartBody:
    return PartBody(part.done, part.total, part.percent, part.origin.value, part.is_finished, part.remaining_s)


def _render_delay(delay: DelaySplit | None) -> DelayBody | None:
    return None if delay is None else DelayBody(delay.total_ms, delay.read_ms, delay.queue_ms, delay.apply_ms)


def _render_remaining(progress: Progress | None, track: TrackRecord) -> RemainingBody:
    score = track.score
    at_us = None if progress is None else progress.remaining_at_us
    return RemainingBody(
        seconds=None if progress is None else progress.remaining_s,
        low_s=None if progress is None else progress.remaining_low_s,
        high_s=None if progress is None else progress.remaining_high_s,
        confidence=CONFIDENCE,
        estimated=None if at_us is None else at_us // 1000,
        estimates_kept=len(track.estimates),
        score=None
        if score is None
        else ScoreBody(
            score.estimates, score.median_error, score.tenth_error, score.within, score.confidence, score.took_s
        ),
    )


def _render_wait(wait: Wait) -> WaitBody:
    return WaitBody(
        kind=wait.kind.value,
        part=wait.part.value,
        side=wait.side.value,
        text=wait.text,
        remedy=wait.remedy,
        since=None if wait.since_us is None else wait.since_us // 1000,
        session=None if wait.session is None else _render_session(wait.session),
    )


def _render_session(session: Session) -> SessionBody:
    return SessionBody(
        pid=session.pid,
        user=session.user,
        application=session.application,
        database=session.database,
        state=session.state,
        statement=session.statement,
        transaction_age_s=None if session.transaction_age_s is None else round(session.transaction_age_s, 1),
        prepared_as=session.prepared_as,
        end_with=session.end_with,
    )


def _render_stall(stall: Stall | None) -> StallBody:
    return StallBody(False) if stall is None else StallBody(True, stall.since_us // 1000, stall.reason, stall.remedy)


def _render_retention(retention: Retention) -> RetentionBody:
    growth = retention.growth_bytes_per_s
    return RetentionBody(
        level=retention.level.value,
        text=retention.text,
        remedy=retention.remedy,
        held_bytes=retention.held_bytes,
        is_limited=retention.is_limited,
        limit_bytes=retention.limit_bytes,
        left_bytes=retention.left_bytes,
        growth_bytes_per_s=None if growth is None else round(growth),
        hours_left=_hours(retention.hours_left),
        hours_left_if_stopped=_hours(retention.hours_left_if_stopped),
    )


def _hours(hours: float | None) -> float | None:
    return None if hours is None else round(hours, 2)


def _render_verdict(verdict: Verdict) -> VerdictBody:
    return VerdictBody(
        verdict.is_ready, [_render_reason(r) for r in verdict.reasons], [_render_reason(r) for r in verdict.advisories]
    )


def _render_reason(reason: Reason) -> ReasonBody:
    return ReasonBody(reason.code, reason.text, reason.remedy)

"""One record of batch-progress, derived from a stored moment and the time of asking.

The status decides which figures a record may show, so that it never contradicts itself even when the status
and the figures were written in different transactions:

- before the full phase is over: percent at most 99, no delay;
- after it: percent "100" whatever the last row says;
- a delay only while the job streams, or stands still in the middle of the stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import msgspec

from towline.api.wire.errors import as_api_error, render_failure
from towline.api.wire.texts import Language
from towline.api.wire.words import STATUS_WORD, TASK_MODE_WORD
from towline.domain.jobs import Failure, JobStatus
from towline.domain.progress import Figures, PartProgress, Phase, delay_ms, delay_since_us, grown_ms
from towline.service.ports import JobLine, JobProgress

UNKNOWN: Final = "-1"
STALE_AFTER_US: Final = 30 * 1_000_000
"""A worker writes about once a second; after this long without a word its estimates are no longer shown."""
_NEVER_US: Final = 1 << 62


class ProgressInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One kind of work in `progress_map`."""

    completed: str
    remaining_time: str | None = None


class ProgressMap(msgspec.Struct, frozen=True):
    """Always an object with these three members in this order; clients crash on a list."""

    struct: ProgressInfo
    data: ProgressInfo
    index: ProgressInfo


class ProgressRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`QueryProgressResp`. An id that is not known has only `job_id` and the error members."""

    job_id: str
    progress: str | None = None
    incre_trans_delay: str | None = None
    incre_trans_delay_millis: str | None = None
    task_mode: str | None = None
    transfer_status: str | None = None
    process_time: str | None = None
    remaining_time: str | None = None
    progress_map: ProgressMap | None = None
    apply_rows_rate: int | None = None
    apply_bytes_rate: int | None = None
    error_code: str | None = None
    error_msg: str | None = None


class ProgressAnswer(msgspec.Struct, frozen=True):
    count: int
    results: list[ProgressRecord]


class Stage(Enum):
    """Where a job stands for the purpose of its figures."""

    NOT_BEGUN = "not_begun"
    FULL = "full"
    FULL_OVER = "full_over"
    STREAM = "stream"


@dataclass(frozen=True, slots=True)
class _Shown:
    """How one status shows its figures."""

    stage: Stage | None  # None: as the last reported phase says
    is_live: bool = False  # a worker is on it, so an old row means a dead worker
    is_over: bool = False  # nothing will ever be done again


_SHOWN: Final[dict[JobStatus, _Shown]] = {
    JobStatus.CREATING: _Shown(Stage.NOT_BEGUN),
    JobStatus.CREATE_FAILED: _Shown(Stage.NOT_BEGUN),
    JobStatus.CONFIGURING: _Shown(Stage.NOT_BEGUN),
    JobStatus.SCHEDULED: _Shown(None),
    JobStatus.STARTING: _Shown(None),
    JobStatus.START_FAILED: _Shown(None),
    JobStatus.COPYING: _Shown(Stage.FULL, is_live=True),
    JobStatus.COPY_FAILED: _Shown(Stage.FULL),
    JobStatus.COPIED: _Shown(Stage.FULL_OVER),
    JobStatus.STREAMING: _Shown(Stage.STREAM, is_live=True),
    JobStatus.STREAM_FAILED: _Shown(Stage.STREAM),
    JobStatus.PAUSED: _Shown(None),
    JobStatus.ENDING: _Shown(None, is_over=True),
    JobStatus.END_FAILED: _Shown(None, is_over=True),
    JobStatus.ENDED: _Shown(None, is_over=True),
    JobStatus.DELETED: _Shown(None, is_over=True),
}
_STAGE_OF_PHASE: Final[dict[Phase, Stage]] = {
    Phase.PRECHECK: Stage.FULL,
    Phase.STRUCTURE: Stage.FULL,
    Phase.COPY: Stage.FULL,
    Phase.INDEXES: Stage.FULL,
    Phase.CATCH_UP: Stage.STREAM,
    Phase.STREAM: Stage.STREAM,
    Phase.DONE: Stage.FULL_OVER,
}


def render_record(requested_id: str, job: JobLine | JobProgress, *, now_us: int) -> ProgressRecord:
    """The record of a known job. `requested_id` is echoed as the client spelled it."""
    shown = _SHOWN[job.status]
    progress = job.progress
    stage = _stage(shown, progress)
    delay = _delay_ms(shown, stage, progress, now_us)
    rows_rate, bytes_rate = _choose_rates(shown, stage, progress, now_us)
    error_code, error_msg = render_failure(job.failure) if job.failure else (None, None)
    return ProgressRecord(
        job_id=requested_id,
        progress=str(choose_percent(stage, progress)),
        incre_trans_delay=UNKNOWN if delay is None else str(delay // 1000),
        incre_trans_delay_millis=UNKNOWN if delay is None else str(delay),
        task_mode=TASK_MODE_WORD[job.mode],
        transfer_status=STATUS_WORD[job.status],
        process_time="0" if progress is None else str(progress.at_us // 1000),
        remaining_time=_choose_remaining(shown, stage, progress, now_us=now_us),
        progress_map=_render_map(stage, progress),
        apply_rows_rate=rows_rate,
        apply_bytes_rate=bytes_rate,
        error_code=error_code,
        error_msg=error_msg,
    )


class SplicedRecord(msgspec.Struct, frozen=True, gc=False):
    """The JSON of a job's record at any moment from `from_us` to `until_us`: nothing in it but the delay moves there.

    Between `head` and `tail` stands the delay, counted from `since_us`; None: `head` is all.
    """

    head: str
    since_us: int | None
    tail: str
    from_us: int
    until_us: int

    def text(self, now_us: int) -> str:
        if self.since_us is None:
            return self.head
        delay = grown_ms(self.since_us, now_us)
        return f'{self.head}{delay // 1000}","incre_trans_delay_millis":"{delay}{self.tail}'


class SplicedRecords:
    """Records of many jobs as JSON, put together anew only where the line is another object than the last time."""

    def __init__(self, *, max_records: int) -> None:
        self._max_records = max_records
        self._known: dict[str, tuple[JobLine, SplicedRecord]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def texts(self, lines: Iterable[JobLine], *, now_us: int) -> dict[str, str]:
        """By job. Each is the JSON of `render_record` at that moment."""
        if len(self._known) > self._max_records:
            self._known = {}
        known = self._known
        texts = {}
        for line in lines:
            job_id = line.job_id
            seen = known.get(job_id)
            if seen is None or seen[0] is not line or not seen[1].from_us <= now_us <= seen[1].until_us:
                seen = known[job_id] = line, splice_record(line, now_us=now_us)
            texts[job_id] = seen[1].text(now_us)
        return texts


def splice_record(job: JobLine, *, now_us: int) -> SplicedRecord:
    """The JSON of `render_record` at this and other moments, put together without the record.

    For a thousand jobs the record would be most of the answer.
    """
    job_id, mode, status, progress, failure = job
    shown = _SHOWN[status]
    stage = _stage(shown, progress)
    at_ms, since_us, work, from_us, until_us = 0, None, "", 0, _NEVER_US
    if progress is not None:
        at_ms = progress.at_us // 1000
        if stage is Stage.STREAM:
            since_us = None if shown.is_over else delay_since_us(progress)
        elif stage is Stage.FULL:
            work = _splice_map(progress.structure, progress.data, progress.index)
        if _is_stale(shown, progress, now_us):
            from_us = progress.at_us + STALE_AFTER_US + 1
        elif shown.is_live:
            until_us = progress.at_us + STALE_AFTER_US
    if stage is Stage.FULL_OVER:
        work = _splice_map(_DONE_PART, _DONE_PART, _DONE_PART)
    rows_rate, bytes_rate = _choose_rates(shown, stage, progress, now_us)
    # Every member but those of a failure is a number or a word of ours, and no id of a job holds a character to escape.
    head = f'{{"job_id":"{job_id}","progress":"{choose_percent(stage, progress)}","incre_trans_delay":"'
    tail = (
        f'","task_mode":"{TASK_MODE_WORD[mode]}","transfer_status":"{STATUS_WORD[status]}","process_time":"{at_ms}",'
        f'"remaining_time":"{_choose_remaining(shown, stage, progress, now_us=now_us)}",{work}'
        f'"apply_rows_rate":{rows_rate},"apply_bytes_rate":{bytes_rate}{_splice_failure(failure) if failure else ""}}}'
    )
    if since_us is None:
        head, tail = f"{head}{_NO_DELAY}{tail}", ""
    return SplicedRecord(head, since_us, tail, from_us, until_us)


def _splice_failure(failure: Failure) -> str:
    code, message = (msgspec.json.encode(text).decode() for text in render_failure(failure))
    return f',"error_code":{code},"error_msg":{message}'


def respell(record: str, requested_id: str) -> str:
    """The record of a known job with its id as the client spelled it."""
    return f'{{"job_id":"{requested_id}{record[_ID_ENDS:]}'


_ID_ENDS: Final = len('{"job_id":"') + 36
_NO_DELAY: Final = f'{UNKNOWN}","incre_trans_delay_millis":"{UNKNOWN}'


def splice_answer(records: Sequence[str]) -> msgspec.Raw:
    """A `ProgressAnswer` of records that are JSON already."""
    return msgspec.Raw(f'{{"count":{len(records)},"results":[{",".join(records)}]}}'.encode())


def render_missing(requested_id: str, error: BaseException, language: Language) -> ProgressRecord:
    """The record of an id that has no job, in its place, so that results stay in request order."""
    refusal = as_api_error(error)
    return ProgressRecord(job_id=requested_id, error_code=refusal.code, error_msg=refusal.text(language))


def choose_stage(job: JobLine | JobProgress) -> Stage:
    """Where the job stands: by its status, or where that says nothing by the last reported phase."""
    return _stage(_SHOWN[job.status], job.progress)


def _stage(shown: _Shown, progress: Figures | None) -> Stage:
    if shown.stage is not None:
        return shown.stage
    return Stage.NOT_BEGUN if progress is None else _STAGE_OF_PHASE[progress.phase]


def choose_percent(stage: Stage, progress: Figures | None) -> int:
    """Percent of the full phase; 100 exactly when it is over."""
    if stage is Stage.STREAM or stage is Stage.FULL_OVER:
        return 100
    if stage is Stage.NOT_BEGUN or progress is None:
        return 0
    return max(0, min(99, progress.percent))


def choose_delay_ms(job: JobLine | JobProgress, *, now_us: int) -> int | None:
    """How far the target is behind; None outside the incremental phase or when nothing has been proven.

    The proof stands still when nothing is applied, so a stopped or dead worker's delay grows by itself.
    """
    shown = _SHOWN[job.status]
    return _delay_ms(shown, _stage(shown, job.progress), job.progress, now_us)


def _delay_ms(shown: _Shown, stage: Stage, progress: Figures | None, now_us: int) -> int | None:
    if shown.is_over or progress is None or stage is not Stage.STREAM:
        return None
    return delay_ms(progress, now_us=now_us)


def _choose_remaining(shown: _Shown, stage: Stage, progress: Figures | None, *, now_us: int) -> str:
    if stage is Stage.FULL_OVER:
        return "0"
    if shown.is_over:
        # An ended stream leaves nothing to do; an ended copy leaves work that nobody will do.
        return "0" if stage is Stage.STREAM else UNKNOWN
    if stage is Stage.NOT_BEGUN or progress is None or progress.remaining_s is None:
        return UNKNOWN
    if _STAGE_OF_PHASE[progress.phase] is not stage or _is_stale(shown, progress, now_us):
        return UNKNOWN  # the estimate belongs to another phase, or to a worker that has fallen silent
    if stage is Stage.FULL:
        return str(max(1, progress.remaining_s))  # something remains until the phase is over
    return str(max(0, progress.remaining_s))


def _is_stale(shown: _Shown, progress: Figures, now_us: int) -> bool:
    return shown.is_live and now_us - progress.at_us > STALE_AFTER_US


def _choose_rates(shown: _Shown, stage: Stage, progress: Figures | None, now_us: int) -> tuple[int, int]:
    """Rows and bytes a second."""
    if stage is not Stage.STREAM or shown.is_over or progress is None:
        return -1, -1
    if not shown.is_live:
        return 0, 0  # paused or failed in the stream: nothing is being applied
    if _is_stale(shown, progress, now_us):
        return -1, -1
    rows, size = progress.apply_rows_per_s, progress.apply_bytes_per_s
    return -1 if rows is None else round(rows), -1 if size is None else round(size)


def _render_map(stage: Stage, progress: Figures | None) -> ProgressMap | None:
    if stage is Stage.FULL_OVER:
        return _DONE_MAP
    if stage is not Stage.FULL or progress is None:
        return None
    return ProgressMap(
        struct=_render_part(progress.structure),
        data=_render_part(progress.data),
        index=_render_part(progress.index),
    )


_DONE = ProgressInfo(completed="100%", remaining_time="0")
_DONE_MAP: Final = ProgressMap(struct=_DONE, data=_DONE, index=_DONE)
_DONE_PART: Final = PartProgress(is_finished=True)


def _splice_map(structure: PartProgress, data: PartProgress, index: PartProgress) -> str:
    return (
        f'"progress_map":{{"struct":{_splice_part(structure)},"data":{_splice_part(data)},'
        f'"index":{_splice_part(index)}}},'
    )


def _splice_part(part: PartProgress) -> str:
    if part.is_finished:
        return '{"completed":"100%","remaining_time":"0"}'
    if part.remaining_s is None:
        return f'{{"completed":"{part.percent}%"}}'
    return f'{{"completed":"{part.percent}%","remaining_time":"{part.remaining_s}"}}'


def _render_part(part: PartProgress) -> ProgressInfo:
    if part.is_finished:
        return ProgressInfo(completed="100%", remaining_time="0")
    return ProgressInfo(
        completed=f"{part.percent}%",
        remaining_time=None if part.remaining_s is None else str(part.remaining_s),
    )

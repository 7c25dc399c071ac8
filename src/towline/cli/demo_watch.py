"""Watches the demo's job: every figure from batch-progress, and the tables' bars from the store beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from towline.cli.client import ApiClient
from towline.cli.display import Display
from towline.cli.view import PHASE_WORDS, JobView
from towline.domain.errors import SetupError, TowlineError
from towline.domain.progress import Phase, Progress
from towline.store.jobs import SqlJobStore

POLL_INTERVAL_S = 0.5
STREAMING = "INCRE_TRANSFER_STARTED"
ENDED = "RELEASE_RESOURCE_COMPLETE"
PAUSED = "PAUSING"
_UNKNOWN = "-1"


class JobFailed(TowlineError):
    """The job of the demo stopped; the message is the job's own."""

    code = "JOB_FAILED"
    remedy = "Read the message and the end of the server's log."


@dataclass(frozen=True, slots=True)
class Moment:
    """One answer of batch-progress, and the time just before it was asked for."""

    asked_us: int
    record: Mapping[str, Any]

    @property
    def status(self) -> str:
        return str(self.record.get("transfer_status", ""))

    @property
    def delay_ms(self) -> int | None:
        """None outside the incremental phase and when nothing is proven."""
        return _number(self.record.get("incre_trans_delay_millis"))

    @property
    def proven_us(self) -> int | None:
        """The target has everything that was committed up to here.

        The server subtracts the proof's time from a "now" that is not before the question, so this is never late.
        """
        return None if self.delay_ms is None else self.asked_us - self.delay_ms * 1000


class JobWatch:
    """Polls one job and shows it."""

    def __init__(
        self, client: ApiClient, store: SqlJobStore, display: Display, *, job_id: str, project_id: str
    ) -> None:
        self._client = client
        self._store = store
        self._display = display
        self._job_id = job_id
        self._project_id = project_id
        self.max_delay_ms: int | None = None
        self.max_delay_in_step_ms: int | None = None
        self.progress: Progress | None = None

    async def wait(
        self,
        is_there: Callable[[Moment], bool],
        *,
        what: str,
        timeout_s: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Moment:
        """The first moment that `is_there`; calls `meanwhile` at every poll.

        Raises:
            JobFailed: the job stopped with an error.
            SetupError: it did not come about in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            moment = await self.look()
            meanwhile()
            if is_there(moment):
                return moment
            if moment.status.endswith("_FAILED"):
                raise JobFailed(
                    f"{moment.record.get('error_code', '-')}: {moment.record.get('error_msg', 'no reason given')}"
                )
            if time.monotonic() > deadline_s:
                raise SetupError(f"{what} took longer than {timeout_s:.0f} s (status {moment.status})")
            await asyncio.sleep(POLL_INTERVAL_S)

    async def look(self) -> Moment:
        """Ask once, show it, and keep the worst delay."""
        was_in_step = self.progress is not None and self.progress.phase is Phase.STREAM
        asked_us = time.time_ns() // 1000
        (record,) = await self._client.read_progress([self._job_id])
        moment = Moment(asked_us, record)
        self.progress = await self._store.load_table_progress(self._job_id, project_id=self._project_id)
        if moment.status == STREAMING and moment.delay_ms is not None:
            self.max_delay_ms = max(self.max_delay_ms or 0, moment.delay_ms)
            if was_in_step:
                self.max_delay_in_step_ms = max(self.max_delay_in_step_ms or 0, moment.delay_ms)
        self._display.show([view_of_record("demo", record, self.progress)])
        return moment


def view_of_record(label: str, record: Mapping[str, Any], progress: Progress | None) -> JobView:
    """One record of batch-progress as the screen shows it; `progress` adds what is not in the API. Pure."""
    status = str(record.get("transfer_status", ""))
    is_streaming = status == STREAMING
    view = JobView(
        label=label,
        state=_STATUS_WORDS.get(status, status.lower()),
        percent=_number(record.get("progress")),
        is_failed=status.endswith("_FAILED"),
        is_streaming=is_streaming,
        rows_per_s=_number(record.get("apply_rows_rate")) if is_streaming else None,
        bytes_per_s=_number(record.get("apply_bytes_rate")) if is_streaming else None,
        remaining_s=_number(record.get("remaining_time")),
        delay_ms=_number(record.get("incre_trans_delay_millis")),
        note=str(record.get("error_msg") or ""),
    )
    if progress is None:
        return view
    if is_streaming:
        state = PHASE_WORDS[progress.phase] if progress.phase in (Phase.CATCH_UP, Phase.STREAM) else view.state
        return replace(view, state=state, rows=progress.changes_applied)
    is_copying = status == "FULL_TRANSFER_STARTED"
    return replace(
        view,
        state=PHASE_WORDS[progress.phase] if is_copying else view.state,
        rows=progress.rows_copied,
        size_bytes=progress.bytes_copied,
        rows_per_s=progress.copy_rows_per_s if is_copying else None,
        bytes_per_s=progress.copy_bytes_per_s if is_copying else None,
        structure=progress.structure,
        index=progress.index,
        tables=progress.tables if is_copying and progress.phase is Phase.COPY else (),
    )


_STATUS_WORDS = {
    "CREATING": "creating",
    "CONFIGURATION": "configured",
    "STARTJOBING": "starting",
    "FULL_TRANSFER_STARTED": "full phase",
    STREAMING: "in step",
    PAUSED: "paused",
    "RELEASE_RESOURCE_STARTED": "ending",
    ENDED: "ended",
}


def _number(text: Any) -> int | None:
    """The API's numbers are text, and -1 stands for not known."""
    if text is None or str(text) == _UNKNOWN:
        return None
    return int(text)

"""Sends messages about jobs and their histories to where operators want them.

Theory of operation.  Each server of a store runs one of these, and one at a time does the work: the duty is taken for
half a minute and taken again before that is over.  A message or a line is marked as sent after it was; so a server that
dies in between has its successor send it once more, and none is lost.  What is not delivered is tried again after a
pause, which does not grow: a collector that is back shall not wait.

An alarm is a row while its condition holds: raised when the condition is first seen, told once, gone when it has
passed, which is told too (that message is sent once, and not again if it fails).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

import structlog

from towline.domain.errors import NotDelivered, TowlineError
from towline.domain.jobs import JobStatus
from towline.domain.progress import split_delay
from towline.service.ports import Clock, Courier, Job, JobProgress, LogLine, LogSink, Message, OutsideStore

log = structlog.get_logger(__name__)

ROUND_S = 2.0
_DUTY_S = 30.0
_RETRY_S = 15.0
_MAX_LINES = 500
_FAILED = frozenset(
    {
        JobStatus.CREATE_FAILED,
        JobStatus.START_FAILED,
        JobStatus.COPY_FAILED,
        JobStatus.STREAM_FAILED,
        JobStatus.END_FAILED,
    }
)


class Duties:
    """Call `run` once."""

    def __init__(self, store: OutsideStore, courier: Courier, sink: LogSink, *, clock: Clock, owner: str) -> None:
        self._store = store
        self._courier = courier
        self._sink = sink
        self._clock = clock
        self._owner = owner
        self._duty_until_s = 0.0
        self._not_before_s: dict[str, float] = {}  # of what was not delivered

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. An outage of the store or of a receiver ends nothing."""
        while not stop.is_set():
            try:
                await self.do_round()
            except TowlineError as error:
                log.warning("duties_interrupted", error=error.code)
            except Exception as error:
                # A defect here must not end the server. I7: its text may hold what was to be sent.
                log.error("duties_defect", error=type(error).__name__)
            try:
                await asyncio.wait_for(stop.wait(), ROUND_S)
            except TimeoutError:
                pass

    async def do_round(self) -> None:
        """Send what is due, if this server has the duty."""
        if await self._has_duty():
            await self._ship()
            await self._alarm()

    async def _has_duty(self) -> bool:
        """Asked for anew in good time, not every round: each asking is a write."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._duty_until_s - _DUTY_S / 2:
            has_it = await self._store.take_duty("outside", self._owner, ttl_s=_DUTY_S)
            self._duty_until_s = now_s + _DUTY_S if has_it else 0.0
        return now_s < self._duty_until_s

    # --- histories ------------------------------------------------------------------------------

    async def _ship(self) -> None:
        lines = await self._store.load_lines(limit=_MAX_LINES)
        for group, of_group in groupby(sorted(lines, key=lambda line: line.group), key=lambda line: line.group):
            if self._is_waiting(f"group {group}"):
                continue
            batch = sorted(of_group, key=lambda line: line.event_id)
            try:
                await self._sink.write(group, batch)
            except NotDelivered as error:
                self._put_off(f"group {group}", error)
                continue
            await self._store.mark_sent([line.event_id for line in batch])

    # --- alarms ---------------------------------------------------------------------------------

    async def _alarm(self) -> None:
        raised = await self._store.load_alarms()
        watched = await self._store.load_watched()
        now_us = self._clock.now_us()
        seen = set()
        for job, figures in watched:
            for kind, text in find_alarms(job, figures, now_us=now_us):
                seen.add((job.job_id, kind))
                if (job.job_id, kind) not in raised:
                    await self._store.raise_alarm(job.job_id, kind, at_us=now_us)
                if not raised.get((job.job_id, kind)):
                    await self._tell(job, kind, text, now_us=now_us)
        jobs = {job.job_id: job for job, _ in watched}
        for (job_id, kind), was_told in raised.items():
            if (job_id, kind) in seen:
                continue
            await self._store.drop_alarm(job_id, kind)
            if was_told and job_id in jobs:
                await self._tell(jobs[job_id], kind, "It has passed.", now_us=now_us, is_over=True)

    async def _tell(self, job: Job, kind: str, text: str, *, now_us: int, is_over: bool = False) -> None:
        what = f"{kind} {job.job_id}"
        if self._is_waiting(what) and not is_over:
            return
        message = Message(job.job_id, job.name, job.project_id, kind, is_over, now_us, text)
        try:
            await self._send(job.attributes.get("alarm_notify") or {}, message)
        except NotDelivered as error:
            self._put_off(what, error)
            return
        if not is_over:
            await self._store.mark_told(job.job_id, kind, at_us=now_us)

    async def _send(self, wish: Mapping[str, Any], message: Message) -> None:
        recipients = [
            address
            for subscription in wish.get("subscriptions") or ()
            if subscription.get("protocol") == "email"
            for address in subscription.get("endpoints") or ()
        ]
        if recipients:
            await self._courier.send_mail(recipients, message)
        if topic := topic_name(wish.get("topic_urn")):
            await self._courier.publish(topic, message)

    # --- what was not delivered -----------------------------------------------------------------

    def _is_waiting(self, what: str) -> bool:
        until_s = self._not_before_s.get(what)
        if until_s is None or self._clock.monotonic_s() >= until_s:
            self._not_before_s.pop(what, None)
            return False
        return True

    def _put_off(self, what: str, error: NotDelivered) -> None:
        log.warning("not_delivered", what=what, error=error.message)
        self._not_before_s[what] = self._clock.monotonic_s() + _RETRY_S


def find_alarms(job: Job, figures: JobProgress, *, now_us: int) -> Iterator[tuple[str, str]]:
    """What holds now of the job, by kind, with words for it. Pure. A limit of 0 seconds is none."""
    if job.status in _FAILED and job.failure is not None:
        yield "failed", f"{job.failure.code}: {job.failure.message} {job.failure.remedy}"
    wish = job.attributes.get("alarm_notify") or {}
    running = (JobStatus.STREAMING, JobStatus.STREAM_FAILED)
    if figures.progress is None or job.status not in running:
        return
    split = split_delay(figures.progress, now_us=now_us)
    if split is None:
        return
    parts = (
        ("delay", "delay_time", split.total_ms, "The target is"),
        ("rpo", "rpo_delay", split.read_ms, "Reading from the source is"),
        ("rto", "rto_delay", split.queue_ms + split.apply_ms, "Applying on the target is"),
    )
    for kind, member, ms, words in parts:
        limit_s = int(wish.get(member) or 0)
        if limit_s and ms > limit_s * 1000:
            yield kind, f"{words} {ms / 1000:.0f} s behind; the limit is {limit_s} s."


def topic_name(urn: str | None) -> str:
    """The last part of `urn:smn:region:project:name`, or a plain name."""
    return (urn or "").rpartition(":")[2]


def by_stream(lines: list[LogLine]) -> Iterator[tuple[str, list[LogLine]]]:
    """The lines of each stream, in order."""
    for stream, of_stream in groupby(sorted(lines, key=lambda line: line.stream), key=lambda line: line.stream):
        yield stream, sorted(of_stream, key=lambda line: line.event_id)

"""Sends messages about jobs and their histories to where operators want them.

Theory of operation.  Each server of a store runs one of these, and one at a time does the work: the duty is taken for
half a minute and taken again before that is over, also while something is being sent.  Every two seconds a round looks
what is due and hands it to the lane of its receiver (see `lanes`); it waits for none of them, so a dead receiver keeps
neither the others nor the duty waiting.  A lane asks for the duty before each sending.

A message or a line is marked as sent after it was; so a server that dies in between has its successor send it once
more, and none is lost.  A message that goes to several receivers is marked when the last of them has it; which have it
already is remembered in memory only.

An alarm is a row while its condition holds: raised when the condition is first seen, told once, gone when it has
passed, which is told too to whom it was told (that message is tried once, and not again if it fails).
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
from towline.service.lanes import Alarm, Lane, Lanes, Letter, Receiver
from towline.service.ports import Clock, Courier, Job, JobProgress, LogLine, LogSink, Message, OutsideStore

log = structlog.get_logger(__name__)

ROUND_S = 2.0
_DUTY_S = 30.0
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
        self._asking = asyncio.Lock()
        self._lanes = Lanes(clock=clock)
        self._told: dict[Alarm, set[Receiver]] = {}  # who knows of an alarm that is raised

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. An outage of the store or of a receiver ends nothing."""
        try:
            while not stop.is_set():
                try:
                    await self._begin_round()
                except TowlineError as error:
                    log.warning("duties_interrupted", error=error.code)
                except Exception as error:
                    # A defect here must not end the server. I7: its text may hold what was to be sent.
                    log.error("duties_defect", error=type(error).__name__)
                try:
                    await asyncio.wait_for(stop.wait(), ROUND_S)
                except TimeoutError:
                    pass
        finally:
            await self._lanes.close()

    async def do_round(self) -> None:
        """Send what is due, if this server has the duty, and wait until it is sent or put off."""
        await self._begin_round()
        await self._lanes.wait()

    async def _begin_round(self) -> None:
        if not await self._has_duty():
            return
        for group in await self._store.load_groups():
            self._lanes.start(self._lanes.lane(Receiver("group", group)), self._ship)
        await self._watch()
        for lane in self._lanes:
            if lane.letters:
                self._lanes.start(lane, self._deliver)
        self._lanes.forget_idle()

    async def _has_duty(self) -> bool:
        """Asked for anew in good time, not every round: each asking is a write."""
        async with self._asking:
            now_s = self._clock.monotonic_s()
            if now_s >= self._duty_until_s - _DUTY_S / 2:
                has_it = await self._store.take_duty("outside", self._owner, ttl_s=_DUTY_S)
                self._duty_until_s = now_s + _DUTY_S if has_it else 0.0
            return self._clock.monotonic_s() < self._duty_until_s

    # --- histories ------------------------------------------------------------------------------

    async def _ship(self, lane: Lane) -> None:
        """Send the lines of one group, oldest first, until there are no more."""
        while await self._has_duty():
            lines = await self._store.load_lines(lane.receiver.name, limit=_MAX_LINES)
            if not lines:
                return
            await self._sink.write(lane.receiver.name, lines)
            await self._store.mark_sent([line.event_id for line in lines])

    # --- alarms ---------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """See which alarms are new and which have passed, and put the messages about them into lanes."""
        raised = await self._store.load_alarms()
        watched = await self._store.load_watched()
        now_us = self._clock.now_us()
        jobs = {job.job_id: job for job, _ in watched}
        seen = {
            Alarm(job.job_id, kind): text
            for job, figures in watched
            for kind, text in find_alarms(job, figures, now_us=now_us)
        }
        missing: dict[Receiver, set[Alarm]] = {}
        for alarm, text in seen.items():
            if alarm not in raised:
                await self._store.raise_alarm(*alarm, at_us=now_us)
            if raised.get(alarm):
                continue
            message = _message(jobs[alarm.job_id], alarm, text, now_us=now_us)
            for receiver in await self._tell(jobs[alarm.job_id], message):
                missing.setdefault(receiver, set()).add(alarm)
        for lane in self._lanes:
            lane.keep(missing.get(lane.receiver, ()))
        for (job_id, kind), was_told in raised.items():
            if (job_id, kind) not in seen:
                await self._end(Alarm(job_id, kind), jobs.get(job_id), was_told=was_told, now_us=now_us)
        self._told = {alarm: told for alarm, told in self._told.items() if alarm in seen}

    async def _tell(self, job: Job, message: Message) -> set[Receiver]:
        """Put the message into the lanes of those who do not have it yet; who they are."""
        alarm = Alarm(message.job_id, message.kind)
        receivers = _receivers(job.attributes.get("alarm_notify") or {})
        missing = receivers.keys() - self._told.setdefault(alarm, set())
        if not missing:
            await self._store.mark_told(*alarm, at_us=message.at_us)
        for receiver in missing:
            self._lanes.lane(receiver).put(Letter(message, receivers[receiver]))
        return set(missing)

    async def _end(self, alarm: Alarm, job: Job | None, *, was_told: bool, now_us: int) -> None:
        told = self._told.get(alarm, set())
        await self._store.drop_alarm(*alarm)
        if job is None:
            return
        message = _message(job, alarm, "It has passed.", now_us=now_us, is_over=True)
        for receiver, addresses in _receivers(job.attributes.get("alarm_notify") or {}).items():
            lane = self._lanes.lane(receiver)
            if was_told or receiver in told or lane.sending == alarm:
                lane.put(Letter(message, addresses))

    async def _deliver(self, lane: Lane) -> None:
        """Send the lane's letters."""
        while (letter := lane.next_letter()) is not None and await self._has_duty():
            if not any(other is letter for other in lane.letters):
                continue  # it has passed while the duty was asked for
            letter.tries += 1
            message = letter.message
            lane.sending = None if message.is_over else letter.alarm
            try:
                if lane.receiver.kind == "mail":
                    await self._courier.send_mail(letter.addresses, message)
                else:
                    await self._courier.publish(lane.receiver.name, message)
            except NotDelivered:
                if message.is_over:
                    _drop(lane, letter)
                raise
            finally:
                lane.sending = None
            _drop(lane, letter)
            if not message.is_over:
                self._told.setdefault(letter.alarm, set()).add(lane.receiver)
                if not any(lane.holds(letter.alarm) for lane in self._lanes):
                    await self._store.mark_told(*letter.alarm, at_us=message.at_us)


def _drop(lane: Lane, letter: Letter) -> None:
    """By identity: another one like it may have come meanwhile."""
    lane.letters[:] = [other for other in lane.letters if other is not letter]


def _message(job: Job, alarm: Alarm, text: str, *, now_us: int, is_over: bool = False) -> Message:
    return Message(job.job_id, job.name, job.project_id, alarm.kind, is_over, now_us, text)


def _receivers(wish: Mapping[str, Any]) -> dict[Receiver, tuple[str, ...]]:
    """Who wants messages of a job; mail with its addresses."""
    addresses = tuple(
        address
        for subscription in wish.get("subscriptions") or ()
        if subscription.get("protocol") == "email"
        for address in subscription.get("endpoints") or ()
    )
    receivers: dict[Receiver, tuple[str, ...]] = {Receiver("mail"): addresses} if addresses else {}
    if topic := topic_name(wish.get("topic_urn")):
        receivers[Receiver("topic", topic)] = ()
    return receivers


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

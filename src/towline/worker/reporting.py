"""Carries the engine's figures and notes to the store, see `pace` for how often."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from towline.domain.forecast import TrackRecord
from towline.domain.progress import Phase, Progress, TableProgress
from towline.domain.structure import StructureReport
from towline.service.ports import Job, Lease, WorkStore
from towline.worker.outcomes import follow_progress
from towline.worker.pace import JOBS_THAT_MATTER, choose_interval_s

# A schema of a hundred thousand objects with one missing role must not fill the store.
_MAX_NOTES = 2_000
_TABLES_INTERVAL_US = 1_000_000
_KIND = "structure"
_AND_MORE = "more objects could not be made as they are; the rest is left out here"


class StoreReporter:
    """`engine.ports.Reporter`: `flush` writes the figures of its very moment, or the last ones that there were."""

    def __init__(self, store: WorkStore, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._newest: Progress | None = None
        self._notes: list[str] = []
        self._notes_taken = 0
        self._flushing = asyncio.Lock()
        self._diagnosis_at_us: int | None = None
        self._tables: tuple[TableProgress, ...] = ()
        self._tables_at_us = 0
        self._take: Callable[[], Progress] | None = None
        self._running_jobs: int | None = None
        self._track: TrackRecord | None = None
        self._is_track_written = True
        self.last_phase: Phase | None = None

    @property
    def interval_s(self) -> float:
        return choose_interval_s(self._running_jobs)

    def report(self, progress: Progress) -> None:
        self._newest = progress

    def attach(self, take: Callable[[], Progress] | None) -> None:
        self._take = take

    async def count_jobs(self) -> None:
        """Learn how many jobs write into the store."""
        self._running_jobs = await self._store.count_running(at_most=JOBS_THAT_MATTER)

    def note(self, report: StructureReport) -> None:
        self._notes_taken += 1
        if self._notes_taken < _MAX_NOTES:
            self._notes.append(_render(report))
        elif self._notes_taken == _MAX_NOTES:
            self._notes.append(_AND_MORE)

    async def restate(self, reports: Sequence[StructureReport]) -> None:
        if not reports:
            return
        messages = [_render(report) for report in reports[: _MAX_NOTES - 1]]
        messages += [_AND_MORE] if len(reports) >= _MAX_NOTES else []
        async with self._flushing:  # nothing is on its way to the store
            told = Counter(await self._store.load_messages(self._lease.job_id, _KIND)) + Counter(self._notes)
            missing = Counter(messages) - told
            self._notes += missing.elements()

    async def deliver(self) -> None:
        async with self._flushing:
            await self._write_notes()

    async def pause(self, now_us: int) -> None:
        """The operator wants a pause: what follows is no time that the job takes. Written with the last figures."""
        if self._track is None:
            self._track = await self._store.load_track_record(self._lease.job_id)
        self._track = self._track.paused(now_us)
        self._is_track_written = False

    async def flush(self) -> Job | None:
        """Write what is new; the job as it is after that, None when there was nothing to write.

        Raises:
            LeaseLost: nothing was written.
        """
        async with self._flushing:  # the last flush of a run may meet one of the follower
            await self._write_notes()
            newest = self._newest if self._take is None else self._take()
            if newest is None:
                return None
            job = await self._write_figures(newest)
            if self._newest is newest or self._take is not None:
                self._newest = None  # not before: what could not be written is tried again
            return job

    async def _write_notes(self) -> None:
        """Kept until they are in the store; there are never more than `_MAX_NOTES`."""
        notes = tuple(self._notes)
        if notes:
            await self._store.add_events(self._lease, _KIND, notes)
            del self._notes[: len(notes)]

    async def _write_figures(self, newest: Progress) -> Job:
        seen, tables = newest.diagnosis, newest.tables
        if seen is not None and seen.at_us == self._diagnosis_at_us:
            newest = replace(newest, diagnosis=None)  # it is in the store already
        if tables == self._tables or not self._are_tables_due(newest):
            newest, tables = replace(newest, tables=()), self._tables
        track = await self._follow_estimates(newest)
        job = await self._store.save_progress(self._lease, newest, decide=follow_progress(newest), track=track)
        self._is_track_written = True
        self._diagnosis_at_us = seen.at_us if seen is not None else None
        if newest.tables:
            self._tables, self._tables_at_us = tables, newest.at_us
        self.last_phase = newest.phase
        return job

    def _are_tables_due(self, newest: Progress) -> bool:
        """There may be thousands: once a second will do, but the last word on them is always written."""
        passed_us = abs(newest.at_us - self._tables_at_us)  # the clock may be set back
        return passed_us >= _TABLES_INTERVAL_US or newest.phase is not self.last_phase

    async def _follow_estimates(self, newest: Progress) -> TrackRecord | None:
        """The job's estimates with the newest one, if it is to be written."""
        if self._track is None:
            self._track = await self._store.load_track_record(self._lease.job_id)
        if self._track.paused_at_us is not None and not self._is_track_written:
            return self._track  # these figures are the last before the pause
        track = self._track.after(newest)
        self._is_track_written = self._is_track_written and track is self._track
        self._track = track
        return None if self._is_track_written else track


def _render(report: StructureReport) -> str:
    return f"{report.kind} {report.name}: {report.reason}"

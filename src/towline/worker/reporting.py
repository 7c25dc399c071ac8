"""Carries the engine's figures and notes to the store, at most once a second."""

from __future__ import annotations

from dataclasses import replace

from towline.domain.progress import Phase, Progress
from towline.domain.structure import StructureReport
from towline.service.ports import Job, Lease, WorkStore
from towline.worker.outcomes import follow_progress

# A schema of a hundred thousand objects with one missing role must not fill the store.
_MAX_NOTES = 2_000


class StoreReporter:
    """`engine.ports.Reporter`: keeps the newest figures until `flush` writes them."""

    def __init__(self, store: WorkStore, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._newest: Progress | None = None
        self._notes: list[str] = []
        self._notes_taken = 0
        self._diagnosis_at_us: int | None = None
        self.last_phase: Phase | None = None

    def report(self, progress: Progress) -> None:
        self._newest = progress

    def note(self, report: StructureReport) -> None:
        self._notes_taken += 1
        if self._notes_taken < _MAX_NOTES:
            self._notes.append(f"{report.kind} {report.name}: {report.reason}")
        elif self._notes_taken == _MAX_NOTES:
            self._notes.append("more objects could not be made as they are; the rest is left out here")

    async def flush(self) -> Job | None:
        """Write what is new; the job as it is after that, None when there was nothing to write.

        Raises:
            LeaseLost: nothing was written.
        """
        notes, self._notes = self._notes, []
        if notes:
            await self._store.add_events(self._lease, "structure", notes)
        newest, self._newest = self._newest, None
        if newest is None:
            return None
        seen = newest.diagnosis
        if seen is not None and seen.at_us == self._diagnosis_at_us:
            newest = replace(newest, diagnosis=None)  # it is in the store already
        job = await self._store.save_progress(self._lease, newest, decide=follow_progress(newest))
        self._diagnosis_at_us = seen.at_us if seen is not None else None
        self.last_phase = newest.phase
        return job

"""What every activity of a running job shares."""

from __future__ import annotations

from dataclasses import dataclass

from towline.domain.jobs import JobSpec, TaskMode
from towline.engine.figures import JobFigures
from towline.engine.ports import Clock, Control, Reporter, Sides


class StopWanted(Exception):
    """The operator wants the job to stop; known to the engine only."""


class StructureReady(Exception):
    """Everything that was asked of a run that only makes the structure is done; known to the engine only."""


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at a job: both sides opened and taken over, and those who watch and steer it."""

    spec: JobSpec
    sides: Sides
    control: Control
    reporter: Reporter
    clock: Clock
    figures: JobFigures

    @property
    def follows(self) -> bool:
        return self.spec.mode is not TaskMode.FULL

    def is_stop_wanted(self) -> bool:
        return self.control.is_stop_wanted

    def require_no_stop(self) -> None:
        """Raises StopWanted."""
        if self.control.is_stop_wanted:
            raise StopWanted

    async def write_sequences(self, *, is_final: bool) -> None:
        """See `engine.ports.StructureTarget`."""
        values = await self.sides.structure_source.read_sequences(self.spec.selection)
        await self.sides.structure_target.write_sequences(values, is_final=is_final)
        self.figures.board.sequences_written()

"""What a target remembers of the source that its job was copied from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from towline.domain.errors import SetupError, Side


@dataclass(frozen=True, slots=True)
class Followed:
    """How far a job is. Positions are the source's, as text.

    `checkpoint`: None before the stream began.  `snapshots`: of all that rows were copied from.  `is_complete`: every
    table that the job has is copied, and built.
    """

    checkpoint: str | None
    snapshots: tuple[str, ...]
    is_complete: bool


FindObstacle = Callable[[Followed], str | None]
"""Why the job cannot go on at another source server than its own; None when nothing is known against it."""


def no_other_server(_: Followed) -> str | None:
    """Of sources that keep their log for a job at one server."""
    return "the source keeps its log for the job at that server"


def require_follower(followed: Followed, job_id: str, find_obstacle: FindObstacle) -> None:
    """Raises SetupError: the source is another server now, and the job cannot go on there."""
    obstacle = find_obstacle(followed)
    if obstacle is not None:
        raise SetupError(
            f"job {job_id} on this target was copied from another source server or database: {obstacle}",
            side=Side.TARGET,
            remedy="Point the job at its first source again, or end it and start a new one.",
        )

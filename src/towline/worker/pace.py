"""How often a worker writes its job's figures. Pure.

The delay that a caller is told is as old as the last figures, so while few jobs share a store they are written more
often than once a second. All jobs together write no more often than a small store takes with ease.
"""

from __future__ import annotations

from typing import Final

SLOWEST_S: Final = 1.0
QUICKEST_S: Final = 0.25
WRITES_PER_S: Final = 100
"""Of all jobs of a store together, until each of them is down to one a second."""
JOBS_THAT_MATTER: Final = int(WRITES_PER_S * SLOWEST_S)
"""From so many running jobs on each writes once a second; how many more there are changes nothing."""


def choose_interval_s(running_jobs: int | None) -> float:
    """Seconds between two writes of one job. `running_jobs` of the whole store; None when not known."""
    if running_jobs is None:
        return SLOWEST_S
    return min(SLOWEST_S, max(QUICKEST_S, running_jobs / WRITES_PER_S))

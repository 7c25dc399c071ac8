"""What is asked of a case of `bench/api.py`, and whether it was met. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MANY_IDS = 1_000
MAX_RATIO = 2.5
"""Our median of a call for `MANY_IDS` jobs, by the limit's."""
MAX_GROWTH = 1.2
"""Our median with many jobs in the store, by that with few."""
MIN_FLEET_SHARE = 0.9
"""Of the writes that the fleet is to make; with fewer the store had an easier time than it is said to have had."""


@dataclass(frozen=True, slots=True)
class Case:
    """Medians in milliseconds. `with_few_jobs`: ours of the same case, None if this is the store with few.

    `fleet_writes_per_s`: counted in the store while the case ran; `fleet_per_s`: what they were to be.
    """

    ids: int
    ours: float
    limit: float
    with_few_jobs: float | None
    fleet_writes_per_s: float
    fleet_per_s: int

    @property
    def ratio(self) -> float:
        return self.ours / self.limit

    @property
    def growth(self) -> float | None:
        return None if self.with_few_jobs is None else self.ours / self.with_few_jobs


def find_asked(case: Case) -> dict[str, float]:
    """The bounds that hold for the case, by the names of the line's fields."""
    asked: dict[str, float] = {"fleet_writes_per_s": case.fleet_per_s * MIN_FLEET_SHARE}
    if case.ids == MANY_IDS:
        asked["ratio"] = MAX_RATIO
    if case.growth is not None:
        asked["vs_1000_jobs"] = MAX_GROWTH
    return asked


def find_missed(case: Case) -> list[str]:
    """The names of the bounds that the case does not keep."""
    asked = find_asked(case)
    missed = []
    if case.fleet_writes_per_s < asked["fleet_writes_per_s"]:
        missed.append("fleet_writes_per_s")
    if case.ratio > asked.get("ratio", case.ratio):
        missed.append("ratio")
    if case.growth is not None and case.growth > asked["vs_1000_jobs"]:
        missed.append("vs_1000_jobs")
    return missed


def count_recent(written_us: Sequence[int], *, now_us: int, seconds: float) -> float:
    """Writes a second, from when each row was last written; right while no row is written twice in the time."""
    since_us = now_us - seconds * 1e6
    return sum(since_us < at_us <= now_us for at_us in written_us) / seconds

"""`towline progress --score`: what the estimates of remaining time were worth, per job and in all."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from towline.cli.tables import print_table
from towline.clock import SystemClock
from towline.domain.errors import JobNotFound
from towline.domain.forecast import Overall, Score, combine
from towline.service.ports import JobFilter
from towline.settings import Settings
from towline.store.opening import opened_store

UNKNOWN = "-"


async def show_scores(settings: Settings, ids: Sequence[str], *, is_json: bool) -> None:
    """Print the scores of the jobs with these ids, or of all.

    Raises:
        JobNotFound: names the first id that has no score and no job.
    """
    async with opened_store(settings.store_url, settings.data_dir, clock=SystemClock()) as store:
        scores = await store.jobs.load_scores()
        _, jobs = await store.jobs.find(JobFilter(), project_id=None, limit=None, offset=0)
    names = {job.job_id: job.name for job in jobs}
    for job_id in ids:
        if job_id not in names and job_id not in scores:
            raise JobNotFound(f"there is no job {job_id}")
    chosen = {job_id: score for job_id, score in scores.items() if not ids or job_id in ids}
    if is_json:
        sys.stdout.write(msgspec.json.encode(score_record(chosen, names)).decode() + "\n")
        return
    if chosen:
        print_table(("job", "took", "estimates", "error", "after a tenth", "in range"), _rows(chosen, names))
    sys.stdout.write(render_overall(combine(list(chosen.values()))) + "\n")


def score_record(scores: Mapping[str, Score], names: Mapping[str, str]) -> dict[str, Any]:
    """The scores as one JSON object, the job that was done last first. Pure."""
    return {
        "event": "score",
        "overall": msgspec.to_builtins(combine(list(scores.values()))),
        "jobs": [
            {"job_id": job_id, "name": names.get(job_id), **msgspec.to_builtins(score)}
            for job_id, score in scores.items()
        ],
    }


def render_overall(overall: Overall) -> str:
    """One sentence. Pure."""
    if not overall.jobs:
        return (
            "No job has been scored yet. A job is scored when it has copied everything and is in step, by what it said"
            " two seconds before and earlier."
        )
    return (
        f"{overall.jobs} jobs: remaining time wrong by {format_share(overall.median_error)} (median), by"
        f" {format_share(overall.tenth_error)} after a tenth; {format_share(overall.within)} of the ranges held the"
        f" truth ({format_share(overall.confidence)} are meant to)."
    )


def format_share(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share * 100:.0f} %"


def _rows(scores: Mapping[str, Score], names: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for job_id, score in scores.items():
        yield (
            names.get(job_id) or job_id,
            f"{score.took_s:.0f} s",
            str(score.estimates),
            format_share(score.median_error),
            format_share(score.tenth_error),
            format_share(score.within),
        )

"""What machines ask: is the server alive, and what do its figures say. No authentication, and no secrets."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from towline.api.wire.progress import choose_delay_ms, choose_percent, choose_stage
from towline.api.wire.words import STATUS_WORD
from towline.domain.forecast import Score, combine
from towline.domain.jobs import JobStatus
from towline.service.jobs import JobService
from towline.service.ports import JobHealth

METRICS_TYPE: Final = CONTENT_TYPE_LATEST
_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})


class RequestMeter:
    """Counts requests by route, not by path: a path holds ids, and there is no end to those."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count = Counter(
            "towline_http_requests_total",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._took = Histogram("towline_http_request_seconds", "Time to answer.", ("route",), registry=self.registry)

    def count(self, *, method: str, route: str, status: int, began_s: float) -> None:
        known = method if method in _METHODS else "OTHER"  # a client may invent methods without end
        self._count.labels(known, route, str(status)).inc()
        self._took.labels(route).observe(max(0.0, time.perf_counter() - began_s))


@dataclass(frozen=True, eq=False)  # the registry keeps collectors by identity
class JobFigures(Collector):
    """One moment of all jobs, for one scrape. Names, hosts and users stay out of it."""

    jobs: Sequence[JobHealth]
    scores: Mapping[str, Score]

    def collect(self) -> Iterable[Metric]:
        statuses = GaugeMetricFamily("towline_jobs", "Jobs by status.", labels=("status",))
        tally = Tally(entry.job.status for entry in self.jobs)
        for status in JobStatus:
            if status is not JobStatus.DELETED:
                statuses.add_metric((STATUS_WORD[status],), tally.get(status, 0))
        percent = GaugeMetricFamily("towline_job_percent", "Percent of the full phase.", labels=("job_id",))
        delay = GaugeMetricFamily(
            "towline_job_delay_seconds",
            "How far the target is behind; absent outside the incremental phase or while nothing is proven.",
            labels=("job_id",),
        )
        for entry in self.jobs:
            job = entry.job
            stage = choose_stage(job)
            percent.add_metric((job.job_id,), choose_percent(stage, job.progress))
            delay_ms = choose_delay_ms(job, now_us=entry.at_us)
            if delay_ms is not None:
                delay.add_metric((job.job_id,), delay_ms / 1000)
        return (statuses, percent, delay, *_health_metrics(self.jobs), *_forecast_metrics(self.jobs, self.scores))


def _health_metrics(jobs: Sequence[JobHealth]) -> Iterable[Metric]:
    """What holds jobs up. A figure that is not known has no sample."""
    parts = _per_job("towline_job_delay_part_seconds", "The parts of the delay; they add up to it.", "part")
    waits = _per_job("towline_job_waiting", "1 for each kind of thing that the job waits for.", "kind")
    stalled = _per_job("towline_job_stalled", "1 if nothing has been acknowledged for several times the usual time.")
    ready = _per_job("towline_job_switchover_ready", "1 if it is safe to switch over.")
    held = _per_job("towline_job_log_held_bytes", "What the source keeps of its log for the job.")
    left = _per_job("towline_job_log_hours_left", "Until the source gives up on the job, at the present growth.")
    levels = _per_job("towline_job_log_level", "1 for how the log that the source keeps for the job will do.", "level")
    for entry in jobs:
        job_id, health = entry.job.job_id, entry.health
        if health.delay is not None:
            for part in ("read", "queue", "apply"):
                parts.add_metric((job_id, part), getattr(health.delay, f"{part}_ms") / 1000)
        for kind in sorted({wait.kind.value for wait in health.waits}):
            waits.add_metric((job_id, kind), 1)
        if entry.job.progress is not None:
            stalled.add_metric((job_id,), 0 if health.stall is None else 1)
            ready.add_metric((job_id,), 1 if health.verdict.is_ready else 0)
        levels.add_metric((job_id, health.retention.level.value), 1)
        if health.retention.held_bytes is not None:
            held.add_metric((job_id,), health.retention.held_bytes)
        if health.retention.hours_left is not None:
            left.add_metric((job_id,), health.retention.hours_left)
    return (parts, waits, stalled, ready, held, left, levels)


def _forecast_metrics(jobs: Sequence[JobHealth], scores: Mapping[str, Score]) -> Iterable[Metric]:
    """The time that jobs still need, and what such estimates were worth."""
    left = _per_job("towline_job_remaining_seconds", "Estimated time left; absent while it is not known.")
    errors = _per_job("towline_job_remaining_error_ratio", "Median error of the job's estimates, when it was done.")
    for entry in jobs:
        job_id, progress = entry.job.job_id, entry.job.progress
        if progress is not None and progress.remaining_s is not None:
            left.add_metric((job_id,), progress.remaining_s)
        if job_id in scores:
            errors.add_metric((job_id,), scores[job_id].median_error)
    overall = combine(list(scores.values()))
    whole = GaugeMetricFamily(
        "towline_remaining_error_ratio", "Median over the jobs that were done last.", labels=("estimates",)
    )
    for name, error in (("all", overall.median_error), ("after_a_tenth", overall.tenth_error)):
        if error is not None:
            whole.add_metric((name,), error)
    within = GaugeMetricFamily(
        "towline_remaining_within_ratio", f"Share of ranges that held the truth; meant to be {overall.confidence}."
    )
    if overall.within is not None:
        within.add_metric((), overall.within)
    scored = GaugeMetricFamily("towline_remaining_scored_jobs", "Jobs whose estimates were scored.", overall.jobs)
    return (left, errors, whole, within, scored)


def _per_job(name: str, documentation: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, labels=("job_id", *labels))


class HealthPages:
    """`/healthz` and `/metrics`."""

    def __init__(self, jobs: JobService, meter: RequestMeter, *, version: str) -> None:
        self._jobs = jobs
        self._meter = meter
        self._version = version

    def health(self) -> dict[str, str]:
        """Says that the server answers; whether the store does is for the calls that need it to say."""
        return {"status": "ok", "version": self._version}

    async def metrics(self) -> bytes:
        figures = CollectorRegistry()
        scores = await self._jobs.scores()
        figures.register(JobFigures(await self._jobs.health_of_all(), scores))
        return generate_latest(self._meter.registry) + generate_latest(figures)

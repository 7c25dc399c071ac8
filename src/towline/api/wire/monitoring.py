"""disaster-recovery-monitoring-data: what a job's worker measured last. Names are the API's, misspellings included.

A figure that nobody has measured is left out, rather than shown as 0.
"""

from __future__ import annotations

import msgspec

from towline.api.wire.errors import as_api_error
from towline.api.wire.texts import Language
from towline.domain.health import SILENT_AFTER_US
from towline.domain.jobs import JobStatus
from towline.domain.nodes import NodeSample
from towline.domain.progress import Phase, Progress
from towline.service.ports import JobHealth

_MB = 1024 * 1024
_RUNNING = frozenset({JobStatus.STARTING, JobStatus.COPYING, JobStatus.COPIED, JobStatus.STREAMING})


class MonitoringData(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, rename={
    "cpu_used_percent": "cpuUsed_percent",
    "mem_used_in_mb": "mem_used_inMB",
    "node_mem_in_mb": "node_mem_inMB",
    "node_volume_in_gb": "node_volume_inGB",
    "trans_in_mb": "trans_inMB",
    "volume_used_in_gb": "volume_used_inGB",
}):  # fmt: skip
    bandwidth: str | None = None
    cpu_used_percent: str | None = None
    dst_delay: int | None = None
    dst_io: str | None = None
    dst_normal: bool | None = None
    dst_offset: str | None = None
    dst_rps: str | None = None
    mem_used_in_mb: str | None = None
    node_mem_in_mb: int | None = None
    node_offset: str | None = None
    node_volume_in_gb: int | None = None
    sr_delay: int | None = None
    sr_offset: str | None = None
    src_io: str | None = None
    src_normal: bool | None = None
    src_rps: str | None = None
    trans_in_mb: str | None = None
    trans_lines: str | None = None
    volume_used_in_gb: str | None = None
    migration_bytes_per_second: int | None = None


class MonitoringRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    data_guard_minitor: MonitoringData | None = None
    error_code: str | None = None
    error_msg: str | None = None


class MonitoringAnswer(msgspec.Struct, frozen=True):
    count: int
    results: list[MonitoringRecord]


def render_monitoring(requested_id: str, job: JobHealth, sample: NodeSample | None) -> MonitoringRecord:
    return MonitoringRecord(id=requested_id, data_guard_minitor=_render(job, sample))


def render_no_monitoring(requested_id: str, error: BaseException, language: Language) -> MonitoringRecord:
    refusal = as_api_error(error)
    return MonitoringRecord(id=requested_id, error_code=refusal.code, error_msg=refusal.text(language))


def _render(job: JobHealth, sample: NodeSample | None) -> MonitoringData:
    progress, split, now_us = job.job.progress, job.health.delay, job.at_us
    fresh = sample if sample is not None and now_us - sample.at_us <= SILENT_AFTER_US else None
    is_fed = progress is not None and now_us - progress.at_us <= SILENT_AFTER_US and job.job.status in _RUNNING
    rows, size = _rates(progress) if is_fed and progress is not None else (None, None)
    speed = None if size is None else f"{size / _MB:.2f}"
    return MonitoringData(
        bandwidth=speed,
        cpu_used_percent=None if fresh is None else str(fresh.cpu_percent),
        dst_delay=None if split is None else (split.queue_ms + split.apply_ms) // 1000,
        dst_io=speed,
        dst_normal=_is_normal(progress, "target") if is_fed else None,
        dst_offset=None if progress is None else progress.applied_position,
        dst_rps=None if rows is None else f"{rows:.0f}",
        mem_used_in_mb=None if fresh is None else str(fresh.memory_mb),
        node_mem_in_mb=None if sample is None else sample.memory_limit_mb,
        node_offset=None if progress is None else progress.received_position,
        node_volume_in_gb=None if sample is None else sample.volume_gb,
        sr_delay=None if split is None else split.read_ms // 1000,
        sr_offset=None if progress is None else progress.source_position,
        src_io=speed,
        src_normal=_is_normal(progress, "source") if is_fed else None,
        src_rps=None if rows is None else f"{rows:.0f}",
        trans_in_mb=None if progress is None else f"{progress.bytes_copied / _MB:.2f}",
        trans_lines=None if progress is None else str(progress.rows_copied + progress.changes_applied),
        volume_used_in_gb=None if fresh is None else str(fresh.volume_used_gb),
        migration_bytes_per_second=None if size is None else int(size),
    )


def _rates(progress: Progress) -> tuple[float | None, float | None]:
    if progress.phase in (Phase.CATCH_UP, Phase.STREAM):
        return progress.apply_rows_per_s, progress.apply_bytes_per_s
    return progress.copy_rows_per_s, progress.copy_bytes_per_s


def _is_normal(progress: Progress | None, side: str) -> bool | None:
    """False while the worker cannot look at the side; None when it has not tried."""
    diagnosis = None if progress is None else progress.diagnosis
    if diagnosis is None:
        return None
    return getattr(diagnosis, f"{side}_outage") is None

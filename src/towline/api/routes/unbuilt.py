"""Documented calls that Towline does not have yet: they answer that they are not built, rather than 404.

A client then knows that the path was right, and a reader of this table what is left to do.
"""

from __future__ import annotations

from typing import Final

from towline.api.routing import Answer, Call, Route
from towline.api.wire.errors import not_built

UNBUILT: Final[tuple[tuple[str, str], ...]] = (
    ("POST", "jobs/cluster/batch-connection"),
    ("POST", "jobs/batch-transformation"),
    ("POST", "jobs/batch-replace-definer"),
    ("POST", "jobs/batch-set-smn"),
    ("POST", "jobs/batch-get-params"),
    ("POST", "jobs/{job_id}/params"),
    ("GET", "jobs/{job_id}/get-src-user"),
    ("PUT", "jobs/batch-update-user"),
    ("POST", "jobs/batch-switchover"),
    ("POST", "jobs/disaster-recovery-monitoring-data"),
    ("POST", "jobs/create-compare-task"),
    ("POST", "jobs/query-compare-result"),
    ("POST", "jobs/{job_id}/object/compare"),
    ("GET", "jobs/{job_id}/object/compare"),
    ("GET", "jobs/{job_id}/object/compare/{compare_type}"),
    ("POST", "jobs/{job_id}/table/compare"),
    ("GET", "jobs/{job_id}/table/compare"),
    ("POST", "jobs/{job_id}/table/compare/{compare_job_id}"),
    ("DELETE", "jobs/{job_id}/compare/{compare_job_id}"),
    ("GET", "jobs/{job_id}/compare/{compare_job_id}/line-overview"),
    ("GET", "jobs/{job_id}/compare/{compare_job_id}/line-detail"),
    ("GET", "jobs/{job_id}/compare/{compare_job_id}/content-overview"),
    ("GET", "jobs/{job_id}/compare/{compare_job_id}/content-detail"),
    ("GET", "jobs/{job_id}/compare/{compare_job_id}/content-difference"),
    ("POST", "jobs/{job_id}/compare/result/file"),
    ("GET", "jobs/{job_id}/compare/result/file"),
    ("GET", "job/{job_id}/tuning-params/query-params"),
    ("PUT", "job/{job_id}/tuning-params/modify-params"),
    ("GET", "jobs/{job_id}/lts-log-switch"),
    ("PUT", "jobs/{job_id}/lts-log-switch"),
    ("POST", "jobs/{job_id}/switch-vip"),
    ("GET", "jobs/{job_id}/get-switch-vip-status"),
)


def unbuilt_table() -> list[Route]:
    return [Route(method, path, _refuse) for method, path in UNBUILT]


async def _refuse(call: Call) -> Answer:
    raise not_built("this call")

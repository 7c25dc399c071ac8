"""Documented calls that Towline does not have yet: they answer that they are not built, rather than 404.

A client then knows that the path was right, and a reader of this table what is left to do.
"""

from __future__ import annotations

from typing import Final

from towline.api.routing import Answer, Call, Route
from towline.api.wire.errors import not_built

UNBUILT: Final[tuple[tuple[str, str], ...]] = (
    ("POST", "jobs/batch-rpo-and-rto"),
    ("POST", "jobs/cluster/batch-connection"),
    ("POST", "jobs/batch-transformation"),
    ("POST", "jobs/batch-replace-definer"),
    ("POST", "jobs/batch-set-smn"),
    ("POST", "jobs/batch-get-params"),
    ("POST", "jobs/{a}/params"),
    ("GET", "jobs/{a}/get-src-user"),
    ("PUT", "jobs/batch-update-user"),
    ("POST", "jobs/batch-switchover"),
    ("POST", "jobs/batch-struct-process"),
    ("POST", "jobs/{a}/batch-struct-detail"),
    ("POST", "jobs/disaster-recovery-monitoring-data"),
    ("POST", "jobs/create-compare-task"),
    ("POST", "jobs/query-compare-result"),
    ("POST", "jobs/{a}/object/compare"),
    ("GET", "jobs/{a}/object/compare"),
    ("GET", "jobs/{a}/object/compare/{b}"),
    ("POST", "jobs/{a}/table/compare"),
    ("GET", "jobs/{a}/table/compare"),
    ("POST", "jobs/{a}/table/compare/{b}"),
    ("DELETE", "jobs/{a}/compare/{b}"),
    ("GET", "jobs/{a}/compare/{b}/line-overview"),
    ("GET", "jobs/{a}/compare/{b}/line-detail"),
    ("GET", "jobs/{a}/compare/{b}/content-overview"),
    ("GET", "jobs/{a}/compare/{b}/content-detail"),
    ("GET", "jobs/{a}/compare/{b}/content-difference"),
    ("POST", "jobs/{a}/compare/result/file"),
    ("GET", "jobs/{a}/compare/result/file"),
    ("GET", "node-type"),
    ("POST", "available-zone"),
    ("GET", "quotas"),
    ("GET", "job/{a}/tuning-params/query-params"),
    ("PUT", "job/{a}/tuning-params/modify-params"),
    ("GET", "jobs/{a}/lts-log-switch"),
    ("PUT", "jobs/{a}/lts-log-switch"),
    ("POST", "jobs/{a}/switch-vip"),
    ("GET", "jobs/{a}/get-switch-vip-status"),
)


def unbuilt_table() -> list[Route]:
    return [Route(method, path, _refuse) for method, path in UNBUILT]


async def _refuse(call: Call) -> Answer:
    raise not_built("this call")

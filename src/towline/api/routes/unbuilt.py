"""Documented calls that Towline does not have yet: they answer that they are not built, rather than 404.

A client then knows that the path was right, and a reader of this table what is left to do. What could never be served
is refused as it will be: a malformed id, a job that is not there, a word that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from towline.api.routing import Answer, Call, Route
from towline.api.wire import compare
from towline.api.wire.errors import ApiError, not_built
from towline.api.wire.fields import require_id
from towline.service.jobs import JobService

ReadJobs = Callable[[dict[str, Any]], list[str]]

UNBUILT: Final[tuple[tuple[str, str], ...]] = (
    ("POST", "jobs/batch-switchover"),
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
    ("POST", "jobs/{job_id}/switch-vip"),
    ("GET", "jobs/{job_id}/get-switch-vip-status"),
)

# Calls whose body has rules: its description, and what reads it.
_BODIES: Final[dict[tuple[str, str], tuple[Any, ReadJobs]]] = {
    ("POST", "jobs/batch-switchover"): (compare.SwitchoverRequest, compare.read_switchover),
    ("POST", "jobs/create-compare-task"): (compare.CompareTaskRequest, compare.read_compare_task),
    ("POST", "jobs/query-compare-result"): (compare.CompareResultRequest, compare.read_compare_result),
    ("POST", "jobs/{job_id}/object/compare"): (compare.ObjectCompareRequest, compare.read_object_compare),
    ("POST", "jobs/{job_id}/table/compare"): (compare.TableCompareRequest, compare.read_table_compare),
    ("POST", "jobs/{job_id}/compare/result/file"): (compare.CompareFileRequest, compare.read_compare_file),
}
_NO_ADDRESS: Final = ApiError("DRS.M00300", "a server of one's own has no virtual IP address to move")
_REASONS: Final = {"jobs/{job_id}/switch-vip": _NO_ADDRESS, "jobs/{job_id}/get-switch-vip-status": _NO_ADDRESS}
_QUERIES: Final = tuple(compare.CompareQuery.__struct_fields__)


class UnbuiltRoutes:
    """Checks what a call asks for as far as that is known, and refuses."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def table(self) -> list[Route]:
        return [self._route(method, path) for method, path in UNBUILT]

    def _route(self, method: str, path: str) -> Route:
        request, read = _BODIES.get((method, path), (None, None))

        async def refuse(call: Call) -> Answer:
            ids = [require_id(call.path["job_id"])] if "job_id" in call.path else []
            compare.check_compare_path(call.path)
            if method == "GET":
                compare.check_compare_query(call.query)
            if read is not None:
                ids += read(call.json())
            await self._require_known(call, ids)
            raise _REASONS.get(path) or not_built("this call")

        queries = _QUERIES if method == "GET" and "/compare" in path else ()
        return Route(method, path, refuse, request=request, queries=queries)

    async def _require_known(self, call: Call, ids: list[str]) -> None:
        for outcome in await self._jobs.jobs(call.caller, ids):
            if outcome.error is not None:
                raise outcome.error

"""Tests of database connections."""

from __future__ import annotations

from towline.api.routing import Answer, Call, Route
from towline.api.wire.databases import ClusterTestRequest, read_cluster_tests
from towline.api.wire.endpoints import read_endpoint
from towline.api.wire.errors import ApiError, empty
from towline.api.wire.fields import (
    Jobs,
    convert,
    read_items,
    read_raw_items,
    require_id,
    require_member,
    require_text,
    require_word,
)
from towline.api.wire.items import ConnectionRequest, ItemsAnswer, render_item
from towline.api.wire.words import BUILT_FAMILIES, DB_TYPES, NET_TYPES, EndPointType
from towline.service.jobs import JobService
from towline.service.ports import ConnectionTest


class ConnectionRoutes:
    """One result per entry, in order; a connection that fails is still an answered call."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def table(self) -> list[Route]:
        return [
            Route(
                "POST",
                "jobs/batch-connection",
                self.test_connections,
                request=Jobs[ConnectionRequest],
                answer=ItemsAnswer,
            ),
            Route(
                "POST",
                "jobs/cluster/batch-connection",
                self.test_clusters,
                request=Jobs[ClusterTestRequest],
                answer=ItemsAnswer,
            ),
        ]

    async def test_connections(self, call: Call) -> Answer:
        return await self._test([_read_test(item) for item in read_raw_items(call.json())], call)

    async def test_clusters(self, call: Call) -> Answer:
        """The same with each endpoint in text; one result per endpoint, in order."""
        requests = read_items(call.json(), ClusterTestRequest)
        entries = [entry for request in requests for entry in read_cluster_tests(request)]
        return await self._test([_read_test(entry) for entry in entries], call)

    async def _test(self, tests: list[ConnectionTest | tuple[str, ApiError]], call: Call) -> ItemsAnswer:
        possible = [test for test in tests if isinstance(test, ConnectionTest)]
        outcomes = iter(await self._jobs.test_connections(call.caller, possible))
        results = []
        for test in tests:
            error: BaseException | None
            if isinstance(test, ConnectionTest):
                job_id, error = test.job_id, next(outcomes).error
            else:
                job_id, error = test
            results.append(render_item(job_id, error, call.language, shows_success=True))
        return ItemsAnswer(count=len(results), results=results)


def _read_test(item: dict[str, object]) -> ConnectionTest | tuple[str, ApiError]:
    """The test that an entry describes, or the job and the refusal for a family that we do not have.

    Raises: ApiError for an entry that is not valid.
    """
    request = convert(item, ConnectionRequest)
    job_id = require_id(request.id, "id")
    require_word(request.net_type, NET_TYPES, "net_type")
    side = require_member(request.end_point_type or EndPointType.SOURCE.value, EndPointType, "end_point_type")
    family = require_text(request.db_type, "db_type")
    require_text(request.ip, "ip")
    require_text(request.db_user, "db_user")
    require_text(request.db_password, "db_password", max_length=1024)
    if family in DB_TYPES and family not in BUILT_FAMILIES:
        return job_id, ApiError("DRS.M00302")
    if request.db_port is None:
        raise empty("db_port")
    read = read_endpoint(request, family=family if family in DB_TYPES else "postgresql")
    return ConnectionTest(job_id=job_id, is_source=side is EndPointType.SOURCE, endpoint=read.endpoint)

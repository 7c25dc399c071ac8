"""What one can order: sizes of workers, which every server has, and groups of servers that run them."""

from __future__ import annotations

from towline.api.routing import Answer, Call, Route
from towline.api.wire.catalogue import (
    NodeTypeAnswer,
    NodeTypesAnswer,
    QuotaResource,
    Quotas,
    QuotasAnswer,
    ZoneAnswer,
    ZonesAnswer,
    ZonesRequest,
    check_kind,
    check_zones,
)
from towline.api.wire.fields import convert
from towline.domain.access import Role
from towline.domain.nodes import NODE_SIZES
from towline.service.jobs import JobService


class CatalogueRoutes:
    """Answers from settings and the store."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def table(self) -> list[Route]:
        kind = ("engine_type", "db_use_type", "job_direction")
        return [
            Route("GET", "node-type", self.list_node_types, answer=NodeTypesAnswer, queries=kind),
            Route(
                "POST", "available-zone", self.list_zones, request=ZonesRequest, answer=ZonesAnswer, role=Role.READER
            ),
            Route("GET", "quotas", self.read_quotas, answer=QuotasAnswer),
        ]

    async def list_node_types(self, call: Call) -> Answer:
        """Sizes of nodes; each stands for the sessions and the memory that a job may use."""
        check_kind(call.query)
        return NodeTypesAnswer([NodeTypeAnswer(name, is_sellout=False) for name in NODE_SIZES])

    async def list_zones(self, call: Call) -> Answer:
        """Where workers run: the groups of servers that share the store."""
        check_zones(convert(call.json(), ZonesRequest, where="request"))
        zones = sorted((await self._jobs.zones()).items())
        return ZonesAnswer([ZoneAnswer(name, name, "ENABLED" if is_there else "DISABLED") for name, is_there in zones])

    async def read_quotas(self, call: Call) -> Answer:
        """How many jobs the project has and may have."""
        used, limit = await self._jobs.count_of_quota(call.caller)
        return QuotasAnswer(Quotas(QuotaResource(type="instances", min=0, max=limit, quota=limit, used=used)))

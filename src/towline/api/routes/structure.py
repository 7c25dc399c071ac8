"""How far the structure and the tables of jobs are."""

from __future__ import annotations

from towline.api.routing import Answer, Call, Route
from towline.api.wire.fields import JobIds, read_ids
from towline.api.wire.listing import read_status_page
from towline.api.wire.structure import (
    MAX_JOBS,
    STRUCTURE_KINDS,
    StructDetailAnswer,
    StructDetailRequest,
    StructProcessAnswer,
    read_kind,
    render_missing_process,
    render_missing_struct_detail,
    render_process,
    render_struct_detail,
)
from towline.domain.access import Role
from towline.service.jobs import JobService
from towline.service.ports import JobTables, Outcome


class StructureRoutes:
    """One result per id, in request order."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def table(self) -> list[Route]:
        return [
            Route(
                "POST",
                "jobs/batch-struct-process",
                self.count_objects,
                request=JobIds,
                answer=StructProcessAnswer,
                role=Role.READER,
            ),
            Route(
                "POST",
                "jobs/{type}/batch-struct-detail",
                self.list_objects,
                request=StructDetailRequest,
                answer=StructDetailAnswer,
                role=Role.READER,
            ),
        ]

    async def count_objects(self, call: Call) -> Answer:
        """How many objects there are and how many are on the target, by kind."""
        results = [
            render_missing_process(job_id, outcome.error or LookupError(), call.language)
            if outcome.value is None
            else render_process(job_id, outcome.value)
            for job_id, outcome in await self._find(call, asks_targets=True)
        ]
        return StructProcessAnswer(count=len(results), results=results)

    async def list_objects(self, call: Call) -> Answer:
        """Objects of one kind, each with how much of it is on the target."""
        kind = read_kind(call.path.get("type"))
        page = read_status_page(call.json().get("page_req"))
        results = []
        for job_id, outcome in await self._find(call, asks_targets=kind in STRUCTURE_KINDS):
            known = outcome.value
            error = outcome.error if known is None else known.entries_error
            results.append(
                render_missing_struct_detail(job_id, error or LookupError(), call.language)
                if known is None or error is not None
                else render_struct_detail(job_id, known, kind=kind, page=page)
            )
        return StructDetailAnswer(count=len(results), results=results)

    async def _find(self, call: Call, *, asks_targets: bool) -> list[tuple[str, Outcome[JobTables]]]:
        """The jobs of the body with their tables, each with its id as the client spelled it."""
        requested = read_ids(call.json().get("jobs"), max_ids=MAX_JOBS)
        read = self._jobs.structure if asks_targets else self._jobs.tables
        outcomes = await read(call.caller, [job_id.lower() for job_id in requested])
        return list(zip(requested, outcomes, strict=True))

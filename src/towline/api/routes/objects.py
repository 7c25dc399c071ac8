"""What a job moves, and what it does when rows collide."""

from __future__ import annotations

from typing import Final

from towline.api.routing import Answer, Call, Route
from towline.api.wire.errors import ApiError, as_api_error, empty, invalid, not_built
from towline.api.wire.fields import Jobs, read_items, require_id, require_word
from towline.api.wire.items import ItemsAnswer, PolicyRequest, render_item
from towline.api.wire.selection import (
    SelectObjectsAnswer,
    SelectObjectsAnswers,
    SelectObjectsRequest,
    read_selection,
)
from towline.api.wire.words import CONFLICT_POLICY_OF_WORD
from towline.domain.jobs import carries_ddl
from towline.service.jobs import JobService
from towline.service.ports import Job, Outcome

# Members of a sync policy that mean another engine, or something that is not built: they are refused when
# they ask for anything, so that nobody believes they hold.
_UNBUILT_POLICY_MEMBERS: Final = (
    "topic_policy",
    "topic",
    "partition_policy",
    "kafka_data_format",
    "topic_name_format",
    "partitions_num",
    "replication_factor",
    "is_fill_materialized_view",
    "export_snapshot",
    "slot_name",
    "file_and_position",
    "gtid_set",
    "ddl_topic",
)


_KEPT_POLICIES: Final = ("filter_ddl_policy", "index_trans", "ddl_trans")


class ObjectRoutes:
    """Selection and policy; both belong to a job that has not run yet."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def table(self) -> list[Route]:
        return [
            Route(
                "PUT",
                "jobs/batch-select-objects",
                self.select_objects,
                status=202,
                request=Jobs[SelectObjectsRequest],
                answer=SelectObjectsAnswers,
            ),
            Route(
                "POST",
                "jobs/batch-sync-policy",
                self.set_policies,
                request=Jobs[PolicyRequest],
                answer=ItemsAnswer,
            ),
        ]

    async def select_objects(self, call: Call) -> Answer:
        requests = read_items(call.json(), SelectObjectsRequest)
        ids = [require_id(request.job_id) for request in requests]
        known = await self._jobs.jobs(call.caller, ids)
        results = []
        for request, job in zip(requests, known, strict=True):
            error = await self._select(call, request, job)
            refusal = as_api_error(error) if error else None
            results.append(
                SelectObjectsAnswer(
                    job_id=job.job_id,
                    status=error is None,
                    error_code=refusal.code if refusal else None,
                    error_msg=refusal.text(call.language) if refusal else None,
                )
            )
        return SelectObjectsAnswers(all_counts=len(results), results=results)

    async def _select(self, call: Call, request: SelectObjectsRequest, job: Outcome[Job]) -> BaseException | None:
        if job.value is None:
            return job.error or LookupError()
        try:
            selection, items = read_selection(request, source=job.value.source, target=job.value.target)
        except ApiError as error:
            return error  # the tree belongs to one job, so its faults are that job's only
        return (await self._jobs.select_objects(call.caller, job.job_id, selection, items)).error

    async def set_policies(self, call: Call) -> Answer:
        requests = [(require_id(r.job_id), r) for r in read_items(call.json(), PolicyRequest)]
        for _, request in requests:
            if request.conflict_policy:
                require_word(request.conflict_policy, CONFLICT_POLICY_OF_WORD, "conflict_policy")
            if request.filter_ddl_policy and request.filter_ddl_policy != "drop_database":
                raise invalid("filter_ddl_policy")
        results = [
            render_item(job_id, await self._set_policy(call, job_id, request), call.language)
            for job_id, request in requests
        ]
        return ItemsAnswer(count=len(results), results=results)

    async def _set_policy(self, call: Call, job_id: str, request: PolicyRequest) -> BaseException | None:
        unbuilt = [name for name in _UNBUILT_POLICY_MEMBERS if getattr(request, name)]
        if request.index_trans is False:
            unbuilt.append("index_trans")
        if unbuilt:
            return not_built(unbuilt[0])
        if request.ddl_trans is not None and (error := await self._check_ddl(call, job_id, request.ddl_trans)):
            return error
        # What is left holds for every job anyway: DROP DATABASE is never carried, indexes always are.
        if not request.conflict_policy and all(getattr(request, name) is None for name in _KEPT_POLICIES):
            return empty("conflict_policy")
        policy = CONFLICT_POLICY_OF_WORD[request.conflict_policy] if request.conflict_policy else None
        return (await self._jobs.set_policy(call.caller, job_id, policy)).error

    async def _check_ddl(self, call: Call, job_id: str, wish: bool) -> BaseException | None:
        """Whether DDL is carried follows from the source; a wish for the other would be believed."""
        (outcome,) = await self._jobs.jobs(call.caller, [job_id])
        if outcome.value is None:
            return outcome.error or LookupError()
        if wish == carries_ddl(outcome.value.source):
            return None
        return not_built("carrying DDL of this source" if wish else "leaving out DDL of this source")

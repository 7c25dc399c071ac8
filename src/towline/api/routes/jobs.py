"""Jobs themselves: create, list, status, detail, modify."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from towline.api.routing import Answer, Call, Route, WholeAnswer
from towline.api.wire.creation import (
    CreateJobAnswer,
    CreateJobRequest,
    CreateJobsAnswer,
    ModifyJobRequest,
    read_change,
    read_draft,
)
from towline.api.wire.details import (
    DetailAnswer,
    DetailsAnswer,
    DetailsRefusal,
    JobListAnswer,
    StatusesAnswer,
    render_detail,
    render_list_entry,
    render_missing_detail,
    render_missing_status,
    render_status,
)
from towline.api.wire.errors import ApiError, as_api_error
from towline.api.wire.fields import JOB_ID, Jobs, convert, read_ids, read_items, read_raw_items, require_id
from towline.api.wire.items import ItemsAnswer, render_item
from towline.api.wire.listing import JobIdsPage, ListJobsRequest, read_filter, read_list_page, read_status_page
from towline.api.wire.texts import Language
from towline.api.wire.words import STATUS_WORD
from towline.domain.access import Role
from towline.domain.jobs import JobStatus
from towline.service.jobs import JobService
from towline.service.ports import Job, JobDraft, Outcome


class JobRoutes:
    """What is known about jobs, and the calls that change what is known."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def table(self) -> list[Route]:
        return [
            Route(
                "POST",
                "jobs/batch-creation",
                self.create,
                status=202,
                request=Jobs[CreateJobRequest],
                answer=CreateJobsAnswer,
            ),
            Route("POST", "jobs", self.list_jobs, request=ListJobsRequest, answer=JobListAnswer, role=Role.READER),
            Route(
                "POST",
                "jobs/batch-status",
                self.read_statuses,
                request=JobIdsPage,
                answer=StatusesAnswer,
                role=Role.READER,
            ),
            Route(
                "POST",
                "jobs/batch-detail",
                self.read_details,
                request=JobIdsPage,
                answer=DetailsAnswer,
                role=Role.READER,
            ),
            Route(
                "PUT",
                "jobs/batch-modification",
                self.modify,
                request=Jobs[ModifyJobRequest],
                answer=ItemsAnswer,
            ),
        ]

    async def create(self, call: Call) -> Answer:
        """Every item stands for itself; when none becomes a job, the call fails with the first reason."""
        items = read_raw_items(call.json())
        drafts: list[JobDraft | ApiError] = [_read_draft(item) for item in items]
        outcomes = iter(await self._jobs.create(call.caller, [d for d in drafts if isinstance(d, JobDraft)]))
        results: list[Job | BaseException] = []
        for draft in drafts:
            if isinstance(draft, JobDraft):
                outcome = next(outcomes)
                results.append(outcome.value or outcome.error or LookupError())
            else:
                results.append(draft)
        first = results[0]
        if isinstance(first, BaseException) and not any(isinstance(result, Job) for result in results):
            raise first
        answers = [_render_created(item, result, call.language) for item, result in zip(items, results, strict=True)]
        return CreateJobsAnswer(count=len(answers), results=answers)

    async def list_jobs(self, call: Call) -> Answer:
        request = convert(call.json(), ListJobsRequest, where="request")
        job_filter = read_filter(request)
        page = read_list_page(request)
        if job_filter is None:
            return JobListAnswer(total_record=0, jobs=[])
        total, jobs = await self._jobs.list_jobs(call.caller, job_filter, limit=page.limit, offset=page.offset)
        return JobListAnswer(total_record=total, jobs=[render_list_entry(job) for job in jobs])

    async def read_statuses(self, call: Call) -> Answer:
        body = call.json()
        requested = read_ids(body.get("jobs"))
        page = read_status_page(body.get("page_req"))
        shown = page.cut(requested) if page else requested
        results = [
            render_status(job_id, outcome.value)
            if outcome.value
            else render_missing_status(job_id, outcome.error or LookupError(), call.language)
            for job_id, outcome in await self._read(call, shown)
        ]
        return StatusesAnswer(count=len(results), results=results)

    async def read_details(self, call: Call) -> Answer:
        """A refusal carries a result for each id that could be read: one client indexes the list blindly."""
        body = call.json()
        try:
            requested = read_ids(body.get("jobs"))
            page = read_status_page(body.get("page_req"))
            shown = page.cut(requested) if page else requested
        except ApiError as refusal:
            raise _refuse_details(refusal, body.get("jobs"), call.language) from None
        outcomes = await self._read(call, shown)
        results = [
            render_detail(job_id, outcome.value)
            if outcome.value
            else render_missing_detail(job_id, outcome.error or LookupError(), call.language)
            for job_id, outcome in outcomes
        ]
        if results and not any(outcome.value for _, outcome in outcomes):
            raise _refuse_all(results)
        return DetailsAnswer(count=len(results), results=results)

    async def modify(self, call: Call) -> Answer:
        requests = read_items(call.json(), ModifyJobRequest)
        ids = [require_id(request.job_id) for request in requests]
        known = await self._jobs.jobs(call.caller, ids)
        changes = [read_change(request, job.value) for request, job in zip(requests, known, strict=True)]
        outcomes = await self._jobs.modify(call.caller, changes)
        results = [render_item(outcome.job_id, outcome.error, call.language) for outcome in outcomes]
        return ItemsAnswer(count=len(results), results=results)

    async def _read(self, call: Call, requested: list[str]) -> list[tuple[str, Outcome[Job]]]:
        outcomes = await self._jobs.jobs(call.caller, [job_id.lower() for job_id in requested])
        return list(zip(requested, outcomes, strict=True))


def _read_draft(item: Mapping[str, Any]) -> JobDraft | ApiError:
    try:
        return read_draft(item)
    except ApiError as error:
        return error


def _render_created(item: Mapping[str, Any], result: Job | BaseException, language: Language) -> CreateJobAnswer:
    if isinstance(result, Job):
        return CreateJobAnswer(
            id=result.job_id,
            name=result.name,
            # Clients expect to see a job being created and poll until it can be configured.
            status=STATUS_WORD[JobStatus.CREATING],
            create_time=str(result.created_us // 1000),
        )
    refusal = as_api_error(result)
    name = item.get("name")
    return CreateJobAnswer(
        name=name if isinstance(name, str) else None,
        error_code=refusal.code,
        error_msg=refusal.text(language),
    )


def _refuse_all(results: list[DetailAnswer]) -> WholeAnswer:
    first = results[0]
    return WholeAnswer(
        DetailsRefusal(
            error_code=first.error_code or "",
            error_msg=first.error_message or "",
            count=len(results),
            results=results,
        ),
        400,
    )


def _refuse_details(refusal: ApiError, sent: Any, language: Language) -> ApiError | WholeAnswer:
    """The refusal with one result for each id in the request; without them when none could be read."""
    ids = [job_id for job_id in sent if isinstance(job_id, str)][:100] if isinstance(sent, list) else []
    ids = [job_id for job_id in ids if JOB_ID.fullmatch(job_id.lower())] or [job_id[:64] for job_id in ids if job_id]
    if not ids:
        return refusal
    text = refusal.text(language)
    results = [DetailAnswer(id=job_id, error_code=refusal.code, error_message=text) for job_id in ids]
    return WholeAnswer(
        DetailsRefusal(error_code=refusal.code, error_msg=text, count=len(results), results=results), 400
    )

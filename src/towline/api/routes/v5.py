"""The calls of version 5 that change or show one job; clients of version 3 make some of them for updates."""

from __future__ import annotations

from typing import Final, TypeVar

from towline.api.routing import Answer, Call, Route
from towline.api.wire.creation import check_name
from towline.api.wire.details import render_actions
from towline.api.wire.errors import ApiError, empty
from towline.api.wire.fields import convert, read_start_time, require_id, require_member, require_word
from towline.api.wire.outside import read_receivers
from towline.api.wire.selection import read_selection
from towline.api.wire.v5 import (
    ActionParams,
    ActionRequest,
    ActionsAnswer,
    DetailQuery,
    JobAnswer,
    JobDetailAnswer,
    JobNameAnswer,
    JobNameRequest,
    NoMembers,
    TagsAnswer,
    TagsRequest,
    UpdateJobRequest,
    read_action,
    read_base_change,
    read_detail_query,
    read_pause_mode,
    read_resource_type,
    read_tag_change,
    read_update,
    render_done,
    render_job,
    render_log,
    render_precheck,
    render_progress,
    render_tags,
)
from towline.api.wire.v5_objects import DbObjectRequest, read_db_object
from towline.api.wire.words import PrecheckMode
from towline.domain.access import Role
from towline.domain.errors import JobDeleted, JobNotFound
from towline.service.jobs import JobService
from towline.service.ports import Job, JobFilter, Outcome, Outlets

T = TypeVar("T")
_PROJECT: Final = "/v5/{project_id}/"


class V5Routes:
    """A refusal fails the call, as there is only one job in it."""

    def __init__(self, jobs: JobService, outlets: Outlets) -> None:
        self._jobs = jobs
        self._outlets = outlets

    def table(self) -> list[Route]:
        """Paths from the root, as they are of another version."""
        query = tuple(DetailQuery.__struct_fields__)
        tags = "jobs/{resource_type}/{job_id}/tags"
        return [
            Route("GET", f"{_PROJECT}jobs/{{job_id}}", self.read, answer=JobDetailAnswer, queries=query),
            Route("PUT", f"{_PROJECT}jobs/{{job_id}}", self.update, request=UpdateJobRequest, answer=JobAnswer),
            Route(
                "POST",
                f"{_PROJECT}jobs/{{job_id}}/action",
                self.act,
                status=202,
                request=ActionRequest,
                answer=JobAnswer,
            ),
            Route("GET", f"{_PROJECT}jobs/{{job_id}}/actions", self.read_actions, answer=ActionsAnswer),
            Route("POST", f"{_PROJECT}{tags}/action", self.change_tags, request=TagsRequest, answer=NoMembers),
            Route("GET", f"{_PROJECT}{tags}", self.read_tags, answer=TagsAnswer),
            Route(
                "POST",
                f"{_PROJECT}jobs/name-validation",
                self.validate_name,
                request=JobNameRequest,
                answer=JobNameAnswer,
                role=Role.READER,
            ),
        ]

    async def read(self, call: Call) -> Answer:
        """One part of what is known of a job: overview, detail, progress, precheck or log."""
        job_id = _job_id(call)
        query = convert(call.query, DetailQuery, where="request")
        kind = read_detail_query(query, job_id=job_id)
        job = await self._find(call, job_id)
        if kind == "progress":
            (figures,) = await self._jobs.progress(call.caller, [job_id])
            return JobDetailAnswer(render_progress(job, _value(figures), now_us=call.now_us))
        if kind == "precheck":
            (run,) = await self._jobs.precheck_results(call.caller, [job_id])
            return JobDetailAnswer(render_precheck(job, _value(run)))
        if kind == "log":
            return JobDetailAnswer(render_log(job, await self._jobs.events(call.caller, job_id), query))
        return JobDetailAnswer(render_job(job))

    async def update(self, call: Call) -> Answer:
        """Change a job's name, description, days of patience, notification or objects."""
        job_id = _job_id(call)
        kind, params = read_update(convert(call.json(), UpdateJobRequest, where="request"))
        if kind == "db_object":
            outcome = await self._select(call, job_id, params.db_object)
        elif kind == "notify":
            if params.alarm_notify is None:
                raise empty("alarm_notify")
            wish = {"alarm_notify": read_receivers(params.alarm_notify, self._outlets)}
            outcome = await self._jobs.set_attributes(call.caller, job_id, wish, "notification set")
        else:
            (outcome,) = await self._jobs.modify(call.caller, [read_base_change(kind, params, job_id=job_id)])
        return render_done(job_id, name=_value(outcome).name)

    async def act(self, call: Call) -> Answer:
        """Precheck, start, stop (pause), restart (go on) or terminate a job."""
        job_id = _job_id(call)
        name, params = read_action(convert(call.json(), ActionRequest, where="request"))
        outcome = await self._act(call, job_id, name, params)
        if outcome.error is not None:
            raise _refusal(outcome.error)
        return render_done(job_id, query_id=job_id)

    async def read_actions(self, call: Call) -> Answer:
        """What can be done to a job now."""
        return ActionsAnswer(render_actions(await self._find(call, _job_id(call))))

    async def change_tags(self, call: Call) -> Answer:
        """Put tags on a job, or remove them."""
        kind, job_id = read_resource_type(call.path.get("resource_type")), _job_id(call)
        change = read_tag_change(convert(call.json(), TagsRequest, where="request"))
        await self._find_of_kind(call, job_id, kind)
        _value(await self._jobs.change_tags(call.caller, job_id, change))
        return NoMembers()

    async def read_tags(self, call: Call) -> Answer:
        """The tags of a job."""
        kind, job_id = read_resource_type(call.path.get("resource_type")), _job_id(call)
        return render_tags(await self._find_of_kind(call, job_id, kind))

    async def validate_name(self, call: Call) -> Answer:
        """Whether a job of this name could be created."""
        request = convert(call.json(), JobNameRequest, where="request")
        if not request.name:
            raise empty("name")
        require_word(request.type, {"trans", "subscription", "offline"}, "type")
        try:
            name = check_name(request.name).lower()
            _, like_it = await self._jobs.list_jobs(call.caller, JobFilter(names_or_ids=(name,)), limit=None, offset=0)
            if any(job.name.lower() == name for job in like_it):
                raise ApiError("DRS.M00277")
        except ApiError as refusal:
            return JobNameAnswer(is_valid=False, error_code=refusal.code, error_msg=refusal.text(call.language))
        return JobNameAnswer(is_valid=True)

    async def _act(self, call: Call, job_id: str, name: str, params: ActionParams) -> Outcome[Job] | Outcome[None]:
        jobs = self._jobs
        if name == "precheck":
            mode = require_member(params.precheck_mode or PrecheckMode.START.value, PrecheckMode, "precheck_mode")
            (begun,) = await jobs.precheck(call.caller, [job_id], for_retry=mode is PrecheckMode.RETRY)
            return begun
        if name == "start":
            only = bool(params.is_only_init_task)
            return await jobs.start(call.caller, job_id, at_us=read_start_time(params.start_time), only_structure=only)
        if name == "stop":
            return await jobs.pause(call.caller, job_id, read_pause_mode(params.pause_mode))
        if name == "restart":
            retry = jobs.retry_edited if params.is_sync_re_edit else jobs.retry
            return await retry(call.caller, job_id)
        return await jobs.end(call.caller, job_id, force=bool(params.force_delete))

    async def _select(self, call: Call, job_id: str, wish: DbObjectRequest | None) -> Outcome[Job]:
        job = await self._find(call, job_id)
        request = read_db_object(wish, target=job.target)
        selection, items = read_selection(request, source=job.source, target=job.target)
        return await self._jobs.select_objects(call.caller, job_id, selection, items)

    async def _find(self, call: Call, job_id: str) -> Job:
        (outcome,) = await self._jobs.jobs(call.caller, [job_id])
        return _value(outcome)

    async def _find_of_kind(self, call: Call, job_id: str, kind: str) -> Job:
        job = await self._find(call, job_id)
        if job.attributes.get("db_use_type") != kind:
            raise ApiError("DRS.10000010")
        return job


def _job_id(call: Call) -> str:
    return require_id(call.path.get("job_id"))


def _value(outcome: Outcome[T]) -> T:
    if outcome.value is None:
        raise _refusal(outcome.error or LookupError())
    return outcome.value


def _refusal(error: BaseException) -> BaseException:
    """Version 5 has a code of its own for a job that is not there."""
    return ApiError("DRS.10000010") if isinstance(error, (JobNotFound, JobDeleted)) else error

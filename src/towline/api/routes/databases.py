"""What a job takes along besides rows, and how the servers on both sides are set."""

from __future__ import annotations

import asyncio
from typing import Any

from towline.api.routing import Answer, Call, Route
from towline.api.wire.databases import (
    MAX_JOBS,
    ChangeParametersAnswer,
    ChangeParametersRequest,
    DefinerRequest,
    ParametersAnswer,
    ParametersRequest,
    TransformationRequest,
    UpdateUsersRequest,
    UsersAnswer,
    UsersAnswers,
    check_refresh,
    read_account_choice,
    read_condition,
    read_filters,
    read_parameter_change,
    render_accounts,
    render_no_accounts,
    render_no_parameters,
    render_parameter_change,
    render_parameters,
)
from towline.api.wire.errors import ApiError, empty
from towline.api.wire.fields import Jobs, read_ids, read_items, require_id
from towline.api.wire.items import ItemsAnswer, render_item
from towline.domain.access import Role
from towline.domain.accounts import Account
from towline.service.jobs import JobService


class DatabaseRoutes:
    """Each item succeeds or fails by itself; a malformed item fails the call before anything is done."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def table(self) -> list[Route]:
        return [
            Route(
                "POST",
                "jobs/batch-transformation",
                self.filter_rows,
                request=Jobs[TransformationRequest],
                answer=ItemsAnswer,
            ),
            Route(
                "POST",
                "jobs/batch-replace-definer",
                self.set_owners,
                request=Jobs[DefinerRequest],
                answer=ItemsAnswer,
            ),
            Route("GET", "jobs/{job_id}/get-src-user", self.list_accounts, answer=UsersAnswer),
            Route(
                "PUT",
                "jobs/batch-update-user",
                self.choose_accounts,
                request=Jobs[UpdateUsersRequest],
                answer=UsersAnswers,
                role=Role.ADMIN,
            ),
            Route(
                "POST",
                "jobs/batch-get-params",
                self.compare_parameters,
                status=202,
                request=ParametersRequest,
                answer=ParametersAnswer,
                role=Role.READER,
            ),
            Route(
                "POST",
                "jobs/{job_id}/params",
                self.change_parameters,
                status=202,
                request=ChangeParametersRequest,
                answer=ChangeParametersAnswer,
                role=Role.ADMIN,
            ),
        ]

    async def filter_rows(self, call: Call) -> Answer:
        """Move only rows that meet a condition, which is held against the real table first."""
        requests = [(require_id(r.job_id), r) for r in read_items(call.json(), TransformationRequest)]
        conditions = [_try_condition(request) for _, request in requests]
        known = await self._jobs.jobs(call.caller, [job_id for job_id, _ in requests])
        results = []
        for (job_id, request), condition, job in zip(requests, conditions, known, strict=True):
            error: BaseException | None = condition if isinstance(condition, ApiError) else job.error
            if error is None and isinstance(condition, str) and job.value is not None:
                try:
                    filters = read_filters(request, condition, source=job.value.source)
                    error = (await self._jobs.filter_rows(call.caller, job_id, filters)).error
                except ApiError as refusal:
                    error = refusal  # the tree belongs to one job, so its faults are that job's only
            results.append(render_item(job_id, error, call.language))
        return ItemsAnswer(count=len(results), results=results)

    async def set_owners(self, call: Call) -> Answer:
        """Whether objects on the target belong to the job's user there, or to their owners on the source."""
        wishes = []
        for request in read_items(call.json(), DefinerRequest):
            job_id = require_id(request.job_id)
            if request.replace_definer is None:
                raise empty("replace_definer")
            wishes.append((job_id, request.replace_definer))
        results = [
            render_item(
                job_id, (await self._jobs.set_owners(call.caller, job_id, replaces=replaces)).error, call.language
            )
            for job_id, replaces in wishes
        ]
        return ItemsAnswer(count=len(results), results=results)

    async def list_accounts(self, call: Call) -> Answer:
        """Users and roles of the source, and which of them the job carries over."""
        job_id = require_id(call.path["job_id"])
        outcome = await self._jobs.accounts(call.caller, job_id)
        if outcome.value is None:
            raise outcome.error or LookupError()
        return await self._render_accounts(call, job_id, outcome.value)

    async def choose_accounts(self, call: Call) -> Answer:
        """Choose accounts that the job makes on the target."""
        wishes = [(require_id(r.job_id), read_account_choice(r)) for r in read_items(call.json(), UpdateUsersRequest)]
        results = []
        for job_id, (names, passwords) in wishes:
            outcome = await self._jobs.choose_accounts(call.caller, job_id, names, passwords)
            if outcome.value is None:
                results.append(render_no_accounts(job_id, outcome.error or LookupError(), call.language))
            else:
                results.append(await self._render_accounts(call, job_id, outcome.value))
        return UsersAnswers(all_counts=len(results), results=results)

    async def _render_accounts(self, call: Call, job_id: str, accounts: list[Account]) -> UsersAnswer:
        (job,) = await self._jobs.jobs(call.caller, [job_id])
        chosen: Any = job.value.attributes.get("accounts") if job.value else None
        return render_accounts(job_id, accounts, chosen or [])

    async def compare_parameters(self, call: Call) -> Answer:
        """Settings of both servers, side by side."""
        body = call.json()
        requested = read_ids(body.get("jobs"), max_ids=MAX_JOBS)
        check_refresh(body.get("refresh"))
        outcomes = await asyncio.gather(*(self._jobs.parameters(call.caller, job_id.lower()) for job_id in requested))
        results = [
            render_no_parameters(job_id, outcome.error or LookupError(), call.language)
            if outcome.value is None
            else render_parameters(job_id, outcome.value)
            for job_id, outcome in zip(requested, outcomes, strict=True)
        ]
        return ParametersAnswer(params_list=results, count=len(results))

    async def change_parameters(self, call: Call) -> Answer:
        """Change settings of the target's server; all of them or none."""
        job_id = require_id(call.path["job_id"])
        group, values = read_parameter_change(call.json())
        outcome = await self._jobs.change_parameters(call.caller, job_id, group, values)
        if outcome.error is not None:
            raise outcome.error
        return render_parameter_change(needs_restart=bool(outcome.value))


def _try_condition(request: TransformationRequest) -> str | ApiError:
    try:
        return read_condition(request)
    except ApiError as error:
        if error.code != "DRS.M00300":
            raise
        return error

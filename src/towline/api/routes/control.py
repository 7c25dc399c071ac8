"""Run control: precheck, start, pause, retry, speed, passwords, end and delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from towline.api.routing import Answer, Call, Route
from towline.api.wire.errors import ApiError, not_built
from towline.api.wire.fields import (
    JobIds,
    Jobs,
    has_duplicates,
    read_ids,
    read_items,
    read_start_time,
    require_id,
    require_member,
    require_text,
    require_word,
)
from towline.api.wire.items import (
    DeleteRequest,
    ItemAnswer,
    ItemsAnswer,
    PasswordRequest,
    PauseRequest,
    PrecheckRequest,
    RetryRequest,
    StartRequest,
    render_item,
)
from towline.api.wire.prechecks import PrecheckResultsAnswer, render_missing_run, render_run
from towline.api.wire.speed import LimitSpeedRequest, SpeedLimits, read_windows
from towline.api.wire.words import PAUSE_MODE_OF_WORD, DeleteType, EndPointType, PrecheckMode
from towline.domain.access import Role
from towline.domain.errors import IllegalTransition
from towline.service.jobs import JobService
from towline.service.ports import Outcome

Act = Callable[[], Awaitable[Outcome[Any]]]
Item = tuple[str, Act | ApiError]  # a job, and what to do to it or why not


class ControlRoutes:
    """Each item succeeds or fails by itself; a malformed item fails the call before anything is done."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def table(self) -> list[Route]:
        return [
            Route(
                "POST",
                "jobs/batch-precheck",
                self.precheck,
                request=Jobs[PrecheckRequest],
                answer=ItemsAnswer,
            ),
            Route(
                "POST",
                "jobs/batch-precheck-result",
                self.read_precheck_results,
                request=JobIds,
                answer=PrecheckResultsAnswer,
                role=Role.READER,
            ),
            Route(
                "POST", "jobs/batch-starting", self.start, status=202, request=Jobs[StartRequest], answer=ItemsAnswer
            ),
            Route("POST", "jobs/batch-pause-task", self.pause, request=Jobs[PauseRequest], answer=ItemsAnswer),
            Route("POST", "jobs/batch-retry-task", self.retry, request=Jobs[RetryRequest], answer=ItemsAnswer),
            Route("PUT", "jobs/batch-limit-speed", self.limit_speed, request=SpeedLimits, answer=ItemsAnswer),
            Route(
                "DELETE", "jobs/batch-jobs", self.delete, status=202, request=Jobs[DeleteRequest], answer=ItemsAnswer
            ),
            Route(
                "PUT", "jobs/batch-modify-pwd", self.change_passwords, request=Jobs[PasswordRequest], answer=ItemsAnswer
            ),
        ]

    async def precheck(self, call: Call) -> Answer:
        requests = read_items(call.json(), PrecheckRequest)
        modes = [
            (require_id(request.job_id), require_member(request.precheck_mode, PrecheckMode, "precheck_mode"))
            for request in requests
        ]
        errors: dict[int, BaseException | None] = {}
        for mode in PrecheckMode:
            places = [place for place, (_, asked) in enumerate(modes) if asked is mode]
            if places:
                outcomes = await self._jobs.precheck(
                    call.caller, [modes[place][0] for place in places], for_retry=mode is PrecheckMode.RETRY
                )
                errors |= {place: outcome.error for place, outcome in zip(places, outcomes, strict=True)}
        results = [
            render_item(job_id, errors[place], call.language, precheck_id=job_id)
            for place, (job_id, _) in enumerate(modes)
        ]
        return ItemsAnswer(count=len(results), results=results)

    async def read_precheck_results(self, call: Call) -> Answer:
        requested = read_ids(call.json().get("jobs"))
        ids = [job_id.lower() for job_id in requested]
        if has_duplicates(ids):
            raise ApiError("DRS.M00301", "jobs")
        outcomes = await self._jobs.precheck_results(call.caller, ids)
        results = [
            render_run(job_id, outcome.value)
            if outcome.value
            else render_missing_run(job_id, outcome.error or LookupError(), call.language)
            for job_id, outcome in zip(requested, outcomes, strict=True)
        ]
        return PrecheckResultsAnswer(count=len(results), results=results)

    async def start(self, call: Call) -> Answer:
        items: list[Item] = []
        for request in read_items(call.json(), StartRequest):
            job_id, at_us = require_id(request.job_id), read_start_time(request.start_time)
            only = bool(request.is_only_init_task)
            items.append((job_id, partial(self._jobs.start, call.caller, job_id, at_us=at_us, only_structure=only)))
        return await _run_all(items, call)

    async def pause(self, call: Call) -> Answer:
        items: list[Item] = []
        for request in read_items(call.json(), PauseRequest):
            job_id = require_id(request.job_id)
            mode = PAUSE_MODE_OF_WORD[require_word(request.pause_mode, PAUSE_MODE_OF_WORD, "pause_mode")]
            items.append((job_id, partial(self._jobs.pause, call.caller, job_id, mode)))
        return await _run_all(items, call)

    async def retry(self, call: Call) -> Answer:
        items: list[Item] = []
        for request in read_items(call.json(), RetryRequest):
            job_id = require_id(request.job_id)
            retry = self._jobs.retry_edited if request.is_sync_re_edit else self._jobs.retry
            items.append((job_id, partial(retry, call.caller, job_id)))
        return await _run_all(items, call)

    async def limit_speed(self, call: Call) -> Answer:
        requests = read_items(call.json(), LimitSpeedRequest, member="speed_limits")
        wishes = [(require_id(request.job_id), read_windows(request.speed_limit)) for request in requests]
        items: list[Item] = [
            (job_id, partial(self._jobs.set_speed, call.caller, job_id, windows)) for job_id, windows in wishes
        ]
        return await _run_all(items, call)

    async def delete(self, call: Call) -> Answer:
        items: list[Item] = []
        for request in read_items(call.json(), DeleteRequest):
            job_id = require_id(request.job_id)
            kind = require_member(request.delete_type, DeleteType, "delete_type")
            items.append((job_id, self._delete_act(call, job_id, kind)))
        return await _run_all(items, call, busy_code="DRS.M01504")

    async def change_passwords(self, call: Call) -> Answer:
        wishes = []
        for request in read_items(call.json(), PasswordRequest):
            job_id = require_id(request.job_id)
            password = require_text(request.db_password, "db_password", max_length=1024)
            side = require_member(request.end_point_type, EndPointType, "end_point_type")
            act: Act | ApiError = partial(
                self._jobs.change_password,
                call.caller,
                job_id,
                is_source=side is EndPointType.SOURCE,
                password=password,
            )
            wishes.append((job_id, side, not_built("kerberos") if request.kerberos else act))
        results = [
            render_item(job_id, await _run(act), call.language, end_point_type=side.value)
            for job_id, side, act in wishes
        ]
        return ItemsAnswer(count=len(results), results=results)

    def _delete_act(self, call: Call, job_id: str, kind: DeleteType) -> Act | ApiError:
        if kind is DeleteType.DELETE:
            return partial(self._jobs.delete, call.caller, job_id)
        if kind is DeleteType.ROLL_BACK_UPGRADE:
            return not_built(kind.value)
        return partial(self._jobs.end, call.caller, job_id, force=kind is DeleteType.FORCE_TERMINATE)


async def _run_all(items: Sequence[Item], call: Call, *, busy_code: str | None = None) -> ItemsAnswer:
    """Do every item in request order. `busy_code` replaces the usual code of a refusal by status."""
    results: list[ItemAnswer] = []
    for job_id, act in items:
        error = await _run(act)
        if busy_code and isinstance(error, IllegalTransition):
            error = ApiError(busy_code)
        results.append(render_item(job_id, error, call.language))
    return ItemsAnswer(count=len(results), results=results)


async def _run(act: Act | ApiError) -> BaseException | None:
    return act if isinstance(act, ApiError) else (await act()).error

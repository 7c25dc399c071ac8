"""What a caller asks of the databases of a job, through the probes, with the job's own credentials.

A job is loaded within the caller's project before anything is reached, and a database has a bounded time to answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from towline.domain.accounts import Account, Parameter
from towline.domain.errors import (
    EndpointIncomplete,
    ObjectsRefused,
    RequestError,
    TransientError,
    UnknownParameter,
)
from towline.domain.jobs import JobSpec, JobStatus, TaskMode
from towline.domain.prechecks import Verdict
from towline.domain.structure import StructureEntry
from towline.domain.tables import ObjectSelection, RowFilter
from towline.service import decisions
from towline.service.ports import Caller, Job, JobStore, Probes

T = TypeVar("T")
_TIMEOUT_S = 60.0


class JobDatabases:
    """Reads and changes on the servers of jobs."""

    def __init__(self, store: JobStore, probes: Probes, *, on_change: Callable[[], None]) -> None:
        self._store = store
        self._probes = probes
        self._on_change = on_change

    async def filter_rows(self, caller: Caller, job_id: str, wishes: Sequence[RowFilter]) -> Job:
        """Raises: RowFilterRefused, RowFilterExists, IllegalTransition, and why the source cannot be reached."""
        job = await self._load(caller, job_id)
        decide = decisions.add_row_filters(wishes)
        decide(job)  # what would be refused anyway needs no look at the source
        spec = await self._spec(caller, job_id, needs_target=False)
        for wish in wishes:
            check = self._probes.check_row_filter(spec.source, wish, follow=spec.mode is not TaskMode.FULL)
            await _bounded(check, "the source")
        return await self._store.edit(job_id, decide, project_id=caller.project_id)

    async def accounts(self, caller: Caller, job_id: str) -> list[Account]:
        """Raises: JobNotFound, JobDeleted, EndpointIncomplete, and why the source cannot be reached."""
        spec = await self._spec(caller, job_id, needs_target=False)
        return await _bounded(self._probes.read_accounts(spec.source), "the source")

    async def choose_accounts(
        self, caller: Caller, job_id: str, names: Sequence[str], passwords: Mapping[str, str]
    ) -> list[Account]:
        """Raises: RequestError for an account that is not there or cannot be carried over."""
        known = {account.name: account for account in await self.accounts(caller, job_id)}
        for name in names:
            if name not in known:
                raise RequestError(f"the source has no account {name}")
            if known[name].reason:
                raise RequestError(f"{name} cannot be carried over: {known[name].reason}")
        decide = decisions.choose_accounts(names, passwords)
        await self._store.edit(job_id, decide, project_id=caller.project_id)
        return list(known.values())

    async def check_joining(self, caller: Caller, job_id: str, selection: ObjectSelection) -> list[str]:
        """The warnings of the prechecks about objects that would join with this selection, as lines for the history.

        Raises: ObjectsRefused, EndpointIncomplete.
        """
        spec = await self._spec(caller, job_id, needs_target=True)
        if not spec.takes_objects_in:
            return []
        items = await _bounded(self._probes.check_joining(replace(spec, selection=selection)), "a server")
        failed = [item for item in items if item.verdict is Verdict.FAILED]
        if failed:
            raise ObjectsRefused(
                "the objects cannot join: " + " ".join(f"{item.item}: {item.message}" for item in failed),
                remedy=" ".join(dict.fromkeys(item.remedy for item in failed)) + " Nothing was changed.",
                check=failed[0].item,
            )
        return [f"{item.item}: {item.message}" for item in items if item.verdict is Verdict.WARNING]

    async def structure(self, caller: Caller, job_id: str) -> list[StructureEntry]:
        spec = await self._spec(caller, job_id, needs_target=True)
        return await _bounded(self._probes.read_structure(spec.target, job_id), "the target")

    async def parameters(self, caller: Caller, job_id: str) -> list[Parameter]:
        spec = await self._spec(caller, job_id, needs_target=True)
        return await _bounded(self._probes.read_parameters(spec.source, spec.target), "a server")

    async def change_parameters(self, caller: Caller, job_id: str, group: str, values: Mapping[str, str]) -> bool:
        """Raises: UnknownParameter, ParameterRefused, MissingPrivilege."""
        job = await self._load(caller, job_id)
        if job.status in (JobStatus.ENDING, JobStatus.END_FAILED, JobStatus.ENDED):
            decisions.require_testable(job)
        known = {each.name: each.group for each in await self.parameters(caller, job_id)}
        for name in values:
            if known.get(name) != group:
                raise UnknownParameter(f"the group {group} has no parameter {name}")
        spec = await self._spec(caller, job_id, needs_target=True)
        needs_restart = await _bounded(self._probes.write_parameters(spec.target, values), "the target")
        decide = decisions.note(f"parameters of the target changed: {', '.join(sorted(values))}")
        await self._store.edit(job_id, decide, project_id=caller.project_id)
        return needs_restart

    async def _load(self, caller: Caller, job_id: str) -> Job:
        await self._store.load_spec(job_id, project_id=caller.project_id)  # says why when it is not there
        return (await self._store.load([job_id], project_id=caller.project_id))[job_id]

    async def _spec(self, caller: Caller, job_id: str, *, needs_target: bool) -> JobSpec:
        spec = await self._store.load_spec(job_id, project_id=caller.project_id)
        missing = decisions.find_missing_parts(spec.source, spec.target if needs_target else spec.source)
        if missing:
            raise EndpointIncomplete(f"job {job_id} has no {', '.join(dict.fromkeys(missing))}")
        return spec


async def _bounded(work: Awaitable[T], who: str) -> T:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            return await work
    except TimeoutError:
        raise TransientError(f"{who} did not answer within {_TIMEOUT_S:.0f} s") from None

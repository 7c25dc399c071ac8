"""batch-progress, and what stands behind its figures: the two halves of the delay, health, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from towline.api.routing import Answer, Call, Route
from towline.api.wire.fields import JobIds, read_ids, require_id
from towline.api.wire.health import (
    HealthAnswer,
    RpoAndRtoAnswer,
    VerdictAnswer,
    render_health,
    render_missing_rpo,
    render_missing_verdict,
    render_rpo_and_rto,
    render_verdict_record,
)
from towline.api.wire.progress import ProgressAnswer, SplicedRecords, render_missing, respell, splice_answer
from towline.domain.access import Role
from towline.service.jobs import JobService
from towline.service.ports import Caller, JobHealth, JobLine, Outcome
from towline.service.shared_reads import SharedReads

# A record takes about 500 bytes.
_MAX_RECORDS: Final = 20_000


class ProgressRoutes:
    """One service call, one store query, for any number of ids."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs
        self._records = SharedReads(self._read_records)
        self._spliced = SplicedRecords(max_records=_MAX_RECORDS)

    def table(self) -> list[Route]:
        return [
            Route(
                "POST",
                "jobs/batch-progress",
                self.read_progress,
                request=JobIds,
                answer=ProgressAnswer,
                role=Role.READER,
            ),
            Route(
                "POST",
                "jobs/batch-rpo-and-rto",
                self.read_rpo_and_rto,
                status=202,
                request=JobIds,
                answer=RpoAndRtoAnswer,
                role=Role.READER,
            ),
            Route("GET", "jobs/{job_id}/towline/health", self.read_health, answer=HealthAnswer),
            Route(
                "POST",
                "jobs/towline/switchover-verdict",
                self.read_verdicts,
                request=JobIds,
                answer=VerdictAnswer,
                role=Role.READER,
            ),
        ]

    async def read_progress(self, call: Call) -> Answer:
        body = call.json()
        # The oldest description calls the list `req` in its table and `jobs` in its example.
        asked = body.get("jobs")
        requested = read_ids(body.get("req") if asked is None else asked)
        job_ids = [job_id.lower() for job_id in requested]
        records = await self._records.read(call.caller, job_ids)
        found = map(records.__getitem__, job_ids)
        return splice_answer(
            [
                record if asked_id == job_id and isinstance(record, str) else _spell(asked_id, record, call)
                for asked_id, job_id, record in zip(requested, job_ids, found, strict=True)
            ]
        )

    async def _read_records(self, caller: Caller, job_ids: Sequence[str]) -> dict[str, str | Exception]:
        """The records by id, each put together once for all who ask for it."""
        now_us, lines = await self._jobs.progress(caller, job_ids)
        texts = self._spliced.texts([line for line in lines if isinstance(line, JobLine)], now_us=now_us)
        refusals = {job_id: line for job_id, line in zip(job_ids, lines, strict=True) if not isinstance(line, JobLine)}
        return texts | refusals

    async def read_rpo_and_rto(self, call: Call) -> Answer:
        found = await self._find(call)
        records = [
            render_missing_rpo(job_id, outcome.error or LookupError(), call.language)
            if outcome.value is None
            else render_rpo_and_rto(job_id, outcome.value)
            for job_id, outcome in found
        ]
        return RpoAndRtoAnswer(count=len(records), results=records)

    async def read_health(self, call: Call) -> Answer:
        return render_health(await self._jobs.health_of_one(call.caller, require_id(call.path.get("job_id"))))

    async def read_verdicts(self, call: Call) -> Answer:
        found = await self._find(call)
        records = [
            render_missing_verdict(job_id, outcome.error or LookupError(), call.language)
            if outcome.value is None
            else render_verdict_record(job_id, outcome.value.health)
            for job_id, outcome in found
        ]
        ready = sum(1 for record in records if record.ready)
        return VerdictAnswer(count=len(records), ready_count=ready, results=records)

    async def _find(self, call: Call) -> list[tuple[str, Outcome[JobHealth]]]:
        """The health of each job of the body, with its id as the client spelled it."""
        requested = read_ids(call.json().get("jobs"))
        outcomes = await self._jobs.health(call.caller, [job_id.lower() for job_id in requested])
        return list(zip(requested, outcomes, strict=True))


def _spell(requested_id: str, record: str | Exception, call: Call) -> str:
    """The record with its id as the client spelled it, or what is said of an id that has none."""
    if isinstance(record, str):
        return respell(record, requested_id)
    return msgspec.json.encode(render_missing(requested_id, record, call.language)).decode()

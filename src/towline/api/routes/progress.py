"""batch-progress: the answer that must always be true."""

from __future__ import annotations

from towline.api.routing import Answer, Call, Route
from towline.api.wire.fields import JobIds, read_ids
from towline.api.wire.progress import ProgressAnswer, ProgressRecord, render_missing, render_record
from towline.service.jobs import JobService
from towline.service.ports import JobProgress, Outcome


class ProgressRoutes:
    """One service call, one store query, for any number of ids."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def table(self) -> list[Route]:
        return [Route("POST", "jobs/batch-progress", self.read_progress, request=JobIds, answer=ProgressAnswer)]

    async def read_progress(self, call: Call) -> Answer:
        body = call.json()
        # The oldest description calls the list `req` in its table and `jobs` in its example.
        asked = body.get("jobs")
        requested = read_ids(body.get("req") if asked is None else asked)
        outcomes = await self._jobs.progress(call.caller, [job_id.lower() for job_id in requested])
        records = [_render(job_id, outcome, call) for job_id, outcome in zip(requested, outcomes, strict=True)]
        return ProgressAnswer(count=len(records), results=records)


def _render(requested_id: str, outcome: Outcome[JobProgress], call: Call) -> ProgressRecord:
    if outcome.value is None:
        return render_missing(requested_id, outcome.error or LookupError(), call.language)
    return render_record(requested_id, outcome.value, now_us=call.now_us)

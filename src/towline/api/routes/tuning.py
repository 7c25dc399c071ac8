"""Sizes of a job's worker, and how values cross from one family to the other, read and set."""

from __future__ import annotations

from towline.api.routing import Answer, Call, Route
from towline.api.wire.fields import require_id
from towline.api.wire.tuning import TuningAnswer, TuningRequest, read_tuning, render_tuning
from towline.domain.conversion import possible_wishes, read_conversion, render_conversion
from towline.service.jobs import JobService
from towline.service.ports import Job, Outcome


class TuningRoutes:
    """The paths say `job`, not `jobs`, as published."""

    def __init__(self, jobs: JobService) -> None:
        self._jobs = jobs

    def table(self) -> list[Route]:
        return [
            Route("GET", "job/{job_id}/tuning-params/query-params", self.read, answer=TuningAnswer),
            Route(
                "PUT",
                "job/{job_id}/tuning-params/modify-params",
                self.change,
                request=TuningRequest,
                answer=TuningAnswer,
            ),
        ]

    async def read(self, call: Call) -> Answer:
        """The sizes that hold, of the node type or set for the job."""
        (outcome,) = await self._jobs.jobs(call.caller, [require_id(call.path["job_id"])])
        return _render(outcome)

    async def change(self, call: Call) -> Answer:
        """Set sizes of the job's worker, and wishes for its values; they hold from its next start on."""
        job_id = require_id(call.path["job_id"])
        values, wishes = read_tuning(call.json())
        outcome = await self._jobs.tune(call.caller, job_id, values, wishes)
        return _render(outcome, modify_result="success")


def _render(outcome: Outcome[Job], *, modify_result: str | None = None) -> TuningAnswer:
    job = outcome.value
    if job is None:
        raise outcome.error or LookupError()
    tuning = job.attributes.get("tuning") or {}
    possible = possible_wishes(job.source.family, job.target.family)
    texts = render_conversion(read_conversion(job.attributes.get("conversion") or {}))
    wishes = {name: text for name, text in texts.items() if name in possible}
    return render_tuning(job.attributes.get("node_type"), tuning, wishes, modify_result=modify_result)

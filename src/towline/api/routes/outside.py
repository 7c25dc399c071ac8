"""What leaves the server about jobs: messages, histories; and what their workers measure."""

from __future__ import annotations

from towline.api.routing import Answer, Call, Route
from towline.api.wire.fields import JobIds, read_ids, read_items, require_id
from towline.api.wire.items import ItemsAnswer, render_item
from towline.api.wire.monitoring import MonitoringAnswer, render_monitoring, render_no_monitoring
from towline.api.wire.outside import (
    AlarmJobRequest,
    LogSwitchAnswer,
    LogSwitchRequest,
    NoMembers,
    SetAlarmsRequest,
    check_alarm_job,
    read_alarm_info,
    read_log_switch,
    render_log_switch,
)
from towline.domain.access import Role
from towline.service.jobs import JobService
from towline.service.ports import Outlets


class OutsideRoutes:
    """Receivers are named by the server's configuration; a client only chooses among them."""

    def __init__(self, jobs: JobService, outlets: Outlets) -> None:
        self._jobs = jobs
        self._outlets = outlets

    def table(self) -> list[Route]:
        return [
            Route("POST", "jobs/batch-set-smn", self.set_alarms, request=SetAlarmsRequest, answer=ItemsAnswer),
            Route("GET", "jobs/{job_id}/lts-log-switch", self.read_log_switch, answer=LogSwitchAnswer),
            Route(
                "PUT",
                "jobs/{job_id}/lts-log-switch",
                self.set_log_switch,
                request=LogSwitchRequest,
                answer=NoMembers,
                role=Role.ADMIN,
            ),
            Route(
                "POST",
                "jobs/disaster-recovery-monitoring-data",
                self.read_monitoring,
                request=JobIds,
                answer=MonitoringAnswer,
                role=Role.READER,
            ),
        ]

    async def set_alarms(self, call: Call) -> Answer:
        """Who is told when a job fails or falls behind, and how far behind is too far."""
        body = call.json()
        requests = [(require_id(r.job_id), r) for r in read_items(body, AlarmJobRequest)]
        for _, request in requests:
            check_alarm_job(request)
        wish = {"alarm_notify": read_alarm_info(body, self._outlets)}
        results = []
        for job_id, _ in requests:
            outcome = await self._jobs.set_attributes(call.caller, job_id, wish, "notification set")
            results.append(render_item(job_id, outcome.error, call.language))
        return ItemsAnswer(count=len(results), results=results)

    async def read_log_switch(self, call: Call) -> Answer:
        """Where the history of a job goes."""
        (outcome,) = await self._jobs.jobs(call.caller, [require_id(call.path["job_id"])])
        if outcome.value is None:
            raise outcome.error or LookupError()
        return render_log_switch(outcome.value.attributes)

    async def set_log_switch(self, call: Call) -> Answer:
        """Send the history of a job, from its beginning on, to a log group; or no longer."""
        job_id = require_id(call.path["job_id"])
        wish = read_log_switch(call.json(), self._outlets)
        event = f"history goes to {wish['log_group_id']}" if wish["lts_enabled"] else "history stays here"
        outcome = await self._jobs.set_attributes(call.caller, job_id, {"lts": wish}, event)
        if outcome.error is not None:
            raise outcome.error
        return NoMembers()

    async def read_monitoring(self, call: Call) -> Answer:
        """What the workers of jobs measured last; a figure that is not known is left out."""
        requested = read_ids(call.json().get("jobs"))
        ids = [job_id.lower() for job_id in requested]
        outcomes = await self._jobs.health(call.caller, ids)
        samples = await self._jobs.samples(call.caller, ids)
        results = [
            render_no_monitoring(job_id, outcome.error or LookupError(), call.language)
            if outcome.value is None
            else render_monitoring(job_id, outcome.value, samples.get(outcome.job_id))
            for job_id, outcome in zip(requested, outcomes, strict=True)
        ]
        return MonitoringAnswer(count=len(results), results=results)

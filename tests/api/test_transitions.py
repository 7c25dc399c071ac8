"""Which call is allowed in which status: every pair, with its exact HTTP status, code and what becomes of the job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.api.harness import Api, failure
from towline.api.wire.words import STATUS_OF_WORD

CONFIGURE = frozenset({"CONFIGURATION", "START_JOB_FAILED"})
FAILED = frozenset({"START_JOB_FAILED", "FULL_TRANSFER_FAILED", "INCRE_TRANSFER_FAILED"})
RUNS = frozenset({"FULL_TRANSFER_STARTED", "FULL_TRANSFER_COMPLETE", "INCRE_TRANSFER_STARTED"})
OVER = frozenset({"RELEASE_RESOURCE_STARTED", "RELEASE_RESOURCE_FAILED", "RELEASE_RESOURCE_COMPLETE"})
# CREATING and CREATE_FAILED are documented; no job of a self-hosted server is ever in them.
WORDS = (
    *("CONFIGURATION", "WAITING_FOR_START", "STARTJOBING", "START_JOB_FAILED", "FULL_TRANSFER_STARTED"),
    *("FULL_TRANSFER_FAILED", "FULL_TRANSFER_COMPLETE", "INCRE_TRANSFER_STARTED", "INCRE_TRANSFER_FAILED", "PAUSING"),
    *("RELEASE_RESOURCE_STARTED", "RELEASE_RESOURCE_FAILED", "RELEASE_RESOURCE_COMPLETE"),
)
LIVE = frozenset(WORDS) - OVER
RULE = {"transformation_type": "contentConditionalFilter", "value": "id > 1"}


@dataclass(frozen=True)
class Action:
    """A call, where it is allowed, and the status that it leads to, None for the same."""

    method: str
    path: str
    members: dict[str, Any]
    allowed: frozenset[str]
    leads_to: str | None = None
    http: int = 200
    refusal: str = "DRS.M00304"


ACTIONS = {
    "precheck": Action(
        "POST", "jobs/batch-precheck", {"precheck_mode": "forStartJob"}, CONFIGURE | {"WAITING_FOR_START"}
    ),
    "start": Action("POST", "jobs/batch-starting", {}, CONFIGURE | {"WAITING_FOR_START"}, "STARTJOBING", 202),
    "schedule": Action(
        "POST",
        "jobs/batch-starting",
        {"start_time": "99999999999999"},
        CONFIGURE | {"WAITING_FOR_START"},
        "WAITING_FOR_START",
        202,
    ),
    "pause": Action(
        "POST",
        "jobs/batch-pause-task",
        {"pause_mode": "all"},
        RUNS | {"FULL_TRANSFER_FAILED", "INCRE_TRANSFER_FAILED"},
    ),
    "retry": Action("POST", "jobs/batch-retry-task", {}, FAILED | {"PAUSING"}, "STARTJOBING"),
    "end": Action(
        "DELETE",
        "jobs/batch-jobs",
        {"delete_type": "terminate"},
        frozenset(WORDS) - {"RELEASE_RESOURCE_COMPLETE"},
        "RELEASE_RESOURCE_STARTED",
        202,
        "DRS.M01504",
    ),
    "delete": Action(
        "DELETE",
        "jobs/batch-jobs",
        {"delete_type": "delete"},
        frozenset({"RELEASE_RESOURCE_COMPLETE"}),
        "DELETED",
        202,
        "DRS.M01504",
    ),
    "rename": Action("PUT", "jobs/batch-modification", {"name": "renamed-job"}, LIVE),
    "select": Action("PUT", "jobs/batch-select-objects", {"selected": False}, CONFIGURE, None, 202),
    "filter": Action(
        "POST",
        "jobs/batch-transformation",
        {"object_info": [{"id": "shop-*-*-public-*-*-t"}], "transformation_info": RULE},
        CONFIGURE,
    ),
    "owners": Action("POST", "jobs/batch-replace-definer", {"replace_definer": True}, CONFIGURE),
    "accounts": Action(
        "PUT",
        "jobs/batch-update-user",
        {"is_set_password": False, "is_migrate_user": True, "list": [{"account": "app", "selected": True}]},
        CONFIGURE,
    ),
    "password": Action(
        "PUT",
        "jobs/batch-modify-pwd",
        {"db_password": "new", "end_point_type": "so"},
        LIVE - {"CONFIGURATION", "WAITING_FOR_START"},
    ),
}


@pytest.mark.parametrize("word", WORDS)
async def test_calls_in_this_status(api: Api, word: str) -> None:
    for number, (name, action) in enumerate(ACTIONS.items()):
        job_id = await api.create_job(name=f"job-{number}")
        if word != "CONFIGURATION":
            await api.bring_to(job_id, STATUS_OF_WORD[word], failure=failure())
        before = await api.stored_job(job_id)
        answer = await api.call(action.method, action.path, {"jobs": [{"job_id": job_id, **action.members}]})
        assert answer.status_code == action.http, (name, answer.text)
        (result,) = answer.json()["results"]
        if word in action.allowed:
            assert "error_code" not in result, (name, result)
            expected = action.leads_to or word
            if name == "pause" and word.endswith("_FAILED"):
                expected = "PAUSING"  # no worker runs that would have to agree
            (status,) = (await api.post("jobs/batch-status", {"jobs": [job_id]})).json()["results"]
            seen = status.get("status") or {"DRS.M05004": "DELETED"}[status["error_code"]]
            assert seen == expected, name
        else:
            assert result["error_code"] == action.refusal, (name, result)
            assert await api.stored_job(job_id) == before, name

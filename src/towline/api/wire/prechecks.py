"""batch-precheck-result: a stored run in the API's words."""

from __future__ import annotations

import msgspec

from towline.api.wire.errors import as_api_error, render_failure
from towline.api.wire.texts import Language
from towline.api.wire.words import VERDICT_WORD
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.service.ports import PrecheckRun


class PrecheckItemAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    item: str
    result: str
    group: str
    failed_reason: str | None = None
    raw_error_msg: str | None = None


class PrecheckResultAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One result. A client waits for `process` "100%" and then wants `total_passed_rate` "100%"."""

    precheck_id: str
    result: bool | None = None
    process: str | None = None
    total_passed_rate: str | None = None
    rds_instance_id: str | None = None
    job_direction: str | None = None
    precheck_result: list[PrecheckItemAnswer] | None = None
    error_code: str | None = None
    error_msg: str | None = None


class PrecheckResultsAnswer(msgspec.Struct, frozen=True):
    count: int
    results: list[PrecheckResultAnswer]


def render_run(requested_id: str, run: PrecheckRun) -> PrecheckResultAnswer:
    """The run's state. Warnings count as passed: the job may start."""
    passed = sum(item.verdict is not Verdict.FAILED for item in run.items)
    is_done = run.percent >= 100
    rate = passed * 100 // len(run.items) if run.items else 0
    error_code, error_msg = render_failure(run.failure) if run.failure else (None, None)
    return PrecheckResultAnswer(
        precheck_id=requested_id,
        result=is_done and run.failure is None and rate == 100,
        process=f"{run.percent}%",
        total_passed_rate=f"{0 if run.failure else rate}%",
        precheck_result=[_render_item(item) for item in run.items],
        error_code=error_code,
        error_msg=error_msg,
    )


def render_missing_run(requested_id: str, error: BaseException, language: Language) -> PrecheckResultAnswer:
    refusal = as_api_error(error)
    return PrecheckResultAnswer(precheck_id=requested_id, error_code=refusal.code, error_msg=refusal.text(language))


def _render_item(item: PrecheckItem) -> PrecheckItemAnswer:
    message = " ".join(part for part in (item.message, item.remedy) if part)
    return PrecheckItemAnswer(
        item=item.item,
        result=VERDICT_WORD[item.verdict],
        group=item.group,
        failed_reason=item.reason or None,
        raw_error_msg=None if item.verdict is Verdict.PASSED else message or None,
    )

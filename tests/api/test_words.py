"""The tables between outside words and ours leave nothing out."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from towline.api.routes.unbuilt import UNBUILT
from towline.api.wire import words
from towline.api.wire.errors import as_api_error
from towline.api.wire.progress import _SHOWN, STALE_AFTER_US, SplicedRecords, render_record, splice_record
from towline.api.wire.texts import TEXTS, Language, parse_language, render_text
from towline.domain import errors
from towline.domain.errors import TowlineError
from towline.domain.jobs import ConflictPolicy, Failure, JobStatus, PauseMode, TaskMode
from towline.domain.prechecks import Verdict
from towline.domain.progress import PartProgress, Phase, Progress
from towline.service.ports import JobLine


def test_every_status_has_one_word_and_back() -> None:
    assert set(words.STATUS_WORD) == set(JobStatus) == set(_SHOWN)
    assert len(words.STATUS_OF_WORD) == len(JobStatus)
    assert not words.UNUSED_STATUS_WORDS & set(words.STATUS_OF_WORD)


def test_every_closed_set_is_covered() -> None:
    assert set(words.TASK_MODE_WORD) == set(TaskMode)
    assert set(words.CONFLICT_POLICY_WORD) == set(ConflictPolicy)
    assert set(words.PAUSE_MODE_OF_WORD.values()) == set(PauseMode)
    assert set(words.VERDICT_WORD) == set(Verdict)


def test_every_error_of_ours_has_a_code_and_a_text() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TowlineError)]
    assert len(kinds) > 20
    for kind in kinds:
        refusal = as_api_error(kind("something"))
        assert refusal.code in TEXTS
        for language in Language:
            assert "%s" not in refusal.text(language)
        assert (refusal.code == "DRS.M00004") == issubclass(kind, errors.InvariantBroken), kind


def test_i7_text_of_an_unknown_exception_stays_inside() -> None:
    refusal = as_api_error(ValueError("row value"))
    assert refusal.code == "DRS.M00004"
    assert "row value" not in refusal.text(Language.EN) + refusal.text(Language.ZH) + str(refusal)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, Language.EN),
        ("", Language.EN),
        ("en-us", Language.EN),
        ("ZH-CN", Language.ZH),
        ("zh_cn", Language.ZH),
        (" zh-cn ", Language.ZH),
        ("de-de", Language.EN),
    ],
)
def test_language_header(header: str | None, language: Language) -> None:
    assert parse_language(header) is language


def test_detail_goes_into_the_gap_or_nowhere() -> None:
    assert render_text("DRS.M00201", "name", Language.EN) == "The parameter name is empty."
    assert render_text("DRS.M00201", "name", Language.ZH) == "name参数为空。"
    assert render_text("DRS.M05003", "there is no job x", Language.EN) == "Task information not found."


def test_no_call_is_in_the_table_of_missing_calls_twice() -> None:
    assert len(set(UNBUILT)) == len(UNBUILT)


@pytest.mark.parametrize("status", list(JobStatus))
@pytest.mark.parametrize("phase", list(Phase))
def test_text_of_a_record_is_the_record_at_every_moment(status: JobStatus, phase: Phase) -> None:
    """What is kept of one moment never shows in another: delays grow, and estimates end with their worker."""
    at_us = 2_000_000_000_000_000
    figures = Progress(
        at_us=at_us,
        phase=phase,
        percent=40,
        remaining_s=9,
        proven_source_time_us=at_us - 1_500_000,
        apply_rows_per_s=10.0,
        structure=PartProgress(3, 3, is_finished=True),
        data=PartProgress(3, 10, remaining_s=7),
    )
    failure = Failure("TL1", 'a "message"\x1e\n', "remedy", "source")
    jobs = [
        JobLine(f"{number:036}", TaskMode.FULL_AND_STREAM, status, progress, why)
        for number, (progress, why) in enumerate(
            (progress, why)
            for progress in (figures, replace(figures, proven_source_time_us=None), None)
            for why in (None, failure)
        )
    ]
    spliced = SplicedRecords(max_records=100)
    ages_us = [0, 999, 1_000, 5_000_000, STALE_AFTER_US, STALE_AFTER_US + 1, 3_600_000_000]
    # In order, backwards as a clock may be set, and over the border again and again.
    for now_us in [at_us + age_us for age_us in (*ages_us, *reversed(ages_us), -2_000_000, *ages_us[4:6] * 2)]:
        assert spliced.texts(jobs, now_us=now_us) == {
            job.job_id: msgspec.json.encode(render_record(job.job_id, job, now_us=now_us)).decode() for job in jobs
        }


def test_text_of_a_record_is_that_of_the_newest_line() -> None:
    spliced = SplicedRecords(max_records=2)
    for number in range(20):
        job_id, percent = f"{number % 5:036}", number % 3
        figures = Progress(at_us=1, phase=Phase.COPY, percent=percent)
        line = JobLine(job_id, TaskMode.FULL, JobStatus.COPYING, figures, None)
        assert f'"progress":"{percent}"' in spliced.texts([line], now_us=1)[job_id]
        assert len(spliced) <= 3


@pytest.mark.parametrize("status", list(JobStatus))
@pytest.mark.parametrize("phase", [None, *Phase])
@pytest.mark.parametrize("mode", list(TaskMode))
def test_record_never_contradicts_itself(status: JobStatus, phase: Phase | None, mode: TaskMode) -> None:
    """Whatever status meets whatever figures: they may come from different transactions."""
    now_us = 2_000_000_000_000_000
    figures = Progress(
        at_us=now_us,
        phase=phase or Phase.COPY,
        percent=100,
        remaining_s=0,
        proven_source_time_us=now_us - 1_500_000,
        apply_rows_per_s=10.0,
        structure=PartProgress(3, 3, is_finished=True),
        data=PartProgress(3, 10, remaining_s=7),
        index=PartProgress(0, 10),
    )
    for progress in (None, figures, replace(figures, percent=0, remaining_s=None)):
        job = JobLine("id", mode, status, progress if phase else None, None)
        record = render_record("id", job, now_us=now_us)
        assert splice_record(job, now_us=now_us).text(now_us).encode() == msgspec.json.encode(record)
        word = record.transfer_status
        percent = int(record.progress or "x")
        assert 0 <= percent <= 100
        assert record.remaining_time == "-1" or int(record.remaining_time or "x") >= 0
        assert (record.incre_trans_delay == "-1") == (record.incre_trans_delay_millis == "-1")
        if word in ("FULL_TRANSFER_COMPLETE", "INCRE_TRANSFER_STARTED", "INCRE_TRANSFER_FAILED"):
            assert percent == 100
        if word in ("FULL_TRANSFER_STARTED", "FULL_TRANSFER_FAILED"):
            assert percent < 100
            assert record.remaining_time != "0"
        if word not in ("INCRE_TRANSFER_STARTED", "INCRE_TRANSFER_FAILED", "PAUSING", "STARTJOBING") and (
            word not in ("START_JOB_FAILED", "WAITING_FOR_START")
        ):
            assert record.incre_trans_delay == "-1"
        if record.incre_trans_delay != "-1":
            assert percent == 100
            assert record.progress_map is None
        if record.progress_map is not None and percent == 100:
            parts = (record.progress_map.struct, record.progress_map.data, record.progress_map.index)
            assert {part.completed for part in parts} == {"100%"}

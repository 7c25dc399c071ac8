"""What is shown of a job's figures: nothing that is not known, and nothing wider than the screen."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from towline.cli.view import (
    STALE_AFTER_US,
    WIDTH,
    JobView,
    choose_shown,
    format_bytes,
    format_delay,
    format_seconds,
    render_job,
    render_jobs,
    render_line,
    render_record,
    view_of,
)
from towline.domain.diagnosis import Diagnosis, KeptLog, SourceFacts, TargetFacts
from towline.domain.progress import PartProgress, Phase, Progress, TableProgress
from towline.domain.tables import TotalOrigin

NOW_US = 1_700_000_000_000_000


def drawn(what: RenderableType, *, width: int = WIDTH) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(what)
    return out.getvalue()


def table(name: str, *, done: int, total: int = 1000, finished: bool = False) -> TableProgress:
    return TableProgress("public", name, done, total, done, total, TotalOrigin.STATISTICS, finished)


def copying(**changes: object) -> Progress:
    values: dict[str, object] = {
        "at_us": NOW_US,
        "phase": Phase.COPY,
        "percent": 42,
        "structure": PartProgress(31, 31, TotalOrigin.EXACT, True),
        "data": PartProgress(420, 1000),
        "index": PartProgress(0, 500),
        "remaining_s": 34,
        "rows_copied": 123_456,
        "bytes_copied": 45_600_000,
        "copy_rows_per_s": 99_000.0,
        "copy_bytes_per_s": 12_300_000.0,
    }
    return Progress(**{**values, **changes})  # type: ignore[arg-type]


def test_copying_job_shows_percent_rows_speed_and_time_left() -> None:
    text = drawn(render_job(view_of("migrate", copying(), now_us=NOW_US)))
    for expected in ("42 %", "123,456 rows", "99,000 rows/s", "12.3 MB/s", "left 0:34", "31/31 objects"):
        assert expected in text
    assert "delay" not in text


def test_unknown_figures_are_dashes() -> None:
    progress = copying(remaining_s=None, copy_rows_per_s=None, copy_bytes_per_s=None)
    line = render_line(view_of("migrate", progress, now_us=NOW_US))
    assert "- rows/s, - MB/s" in line
    assert "left -" in line


def test_delay_is_shown_only_while_streaming_and_grows_by_itself() -> None:
    proven = {"proven_source_time_us": NOW_US - 400_000, "percent": 100}
    assert view_of("x", copying(**proven), now_us=NOW_US).delay_ms is None
    streaming = copying(phase=Phase.STREAM, **proven)
    assert "delay 0.4 s" in render_line(view_of("x", streaming, now_us=NOW_US))
    assert "delay 10.4 s" in render_line(view_of("x", streaming, now_us=NOW_US + 10_000_000))


def test_stream_without_a_proof_has_no_delay() -> None:
    line = render_line(view_of("x", copying(phase=Phase.CATCH_UP), now_us=NOW_US))
    assert "delay -" in line


def test_rates_of_a_silent_worker_are_not_shown() -> None:
    view = view_of("x", copying(), now_us=NOW_US + STALE_AFTER_US + 1)
    assert (view.rows_per_s, view.bytes_per_s, view.remaining_s) == (None, None, None)
    assert "no word from the worker for 0:15" in render_line(view)


def test_biggest_active_tables_have_bars_and_the_rest_is_counted() -> None:
    active = [table(f"t{number}", done=10, total=1000 + number) for number in range(9)]
    tables = (*active, table("waits", done=0), table("over", done=5, total=5, finished=True))
    text = drawn(render_job(view_of("x", copying(tables=tables), now_us=NOW_US)))
    assert "public.t8" in text
    assert "public.t3" in text
    assert "public.t2" not in text
    assert "3 more in the work, 1 waiting, 1 of 11 tables done" in text


def test_table_that_outgrew_its_statistics_claims_no_total() -> None:
    tables = (TableProgress("public", "t", 700, 700, 90, 100, TotalOrigin.STATISTICS, False),)
    text = drawn(render_job(view_of("x", copying(tables=tables), now_us=NOW_US)))
    assert "700 rows" in text
    assert "of about" not in text


def test_many_jobs_are_one_line_each_and_the_rest_is_counted() -> None:
    views = [JobView(label=f"job-{number}", state="copying", percent=number) for number in range(30)]
    text = drawn(render_jobs(views, max_lines=13))
    assert "job-9" in text
    assert "job-10" not in text
    assert "and 20 more" in text
    whole = drawn(render_jobs(views))
    assert "job-29" in whole
    assert "more" not in whole


@pytest.mark.parametrize(("height", "width"), [(24, 80), (50, 100), (12, 60), (8, 80)])
def test_a_thousand_jobs_in_all_states_fit_the_screen(height: int, width: int) -> None:
    note = "the target refuses a row, and says so in a sentence that is longer than any screen is wide " * 3
    trouble = [JobView(f"failed-{number}-{'x' * 60}", "stream failed", 100, is_failed=True, note=note)
               for number in range(300)]  # fmt: skip
    states = ("in step", "building indexes", "catching up", "copying rows", "creating tables", "paused", "configuring")
    others = [
        JobView(f"job-{number}", states[number % 7], 99, rows_per_s=1e6, bytes_per_s=1e9, remaining_s=90_000,
                delay_ms=187_200_000, is_ready=number % 7 == 0)
        for number in range(700)
    ]  # fmt: skip
    for views in (trouble + others, others):
        lines = drawn(render_jobs(views, max_lines=height - 1, width=width), width=width).splitlines()
        assert len(lines) < height
        assert max(map(len, lines)) <= width
        assert lines[0].startswith(
            "1,000 jobs, 100 ready to switch over: 300 fail" if views[0].is_failed else "700 jobs, 100 "
        )
        shown = sum("99 %" in line or "100 %" in line for line in lines)
        assert lines[-1].strip() == f"and {len(views) - shown:,} more"
        assert all("…" not in line for line in lines if "99 %" in line)
        assert any("in step, ready" in line for line in lines) or views[0].is_failed


@given(
    troubled=st.integers(0, 40), healthy=st.integers(0, 40), max_lines=st.integers(4, 60), is_worst_first=st.booleans()
)
def test_what_is_shown_fits_and_leaves_out_only_what_does_not(
    troubled: int, healthy: int, max_lines: int, is_worst_first: bool
) -> None:
    views = [JobView("t", "x", is_failed=True, note="n")] * troubled
    views = views + [JobView("h", "x")] * healthy if is_worst_first else [JobView("h", "x")] * healthy + views
    shown, told = choose_shown(views, max_lines=max_lines)
    assert shown + told + 3 <= max_lines
    assert told <= sum(view.is_failed for view in views[:shown])
    assert choose_shown(views, max_lines=None) == (len(views), troubled)
    left_out = len(views) - shown + sum(view.is_failed for view in views[:shown]) - told
    assert not left_out or shown + told == max_lines - 3 or told == sum(view.is_failed for view in views[:shown])
    assert shown == len(views) or shown >= max_lines - 3 - (max_lines - 3) // 3


def test_one_job_says_whether_it_is_ready_what_to_do_and_how_long_its_log_lasts() -> None:
    log = KeptLog("slot", is_there=True, is_read=True, held_bytes=5000, is_limited=False)
    seen = Diagnosis(
        NOW_US,
        source=SourceFacts(NOW_US, 1, log),
        target=TargetFacts(NOW_US),
        moved_at_us=NOW_US,
        sequences_at_us=NOW_US,
    )
    proven = {"proven_source_time_us": NOW_US - 400_000, "source_clock_offset_us": 0, "percent": 100}
    streaming = copying(phase=Phase.STREAM, diagnosis=seen, **proven)
    text = drawn(render_job(view_of("x", streaming, now_us=NOW_US)))
    assert "switch-over: ready" in text
    words = " ".join(text.split())
    assert (
        "the source's log: the source keeps 5.0 kB of its log for the job, without a limit; how long its disk" in words
    )
    assert "not known" in words
    lost = replace(seen, source=SourceFacts(NOW_US, 1, replace(log, is_lost=True)), moved_at_us=NOW_US - 30_000_000)
    old = {**proven, "proven_source_time_us": NOW_US - 30_000_000}
    view = view_of("x", copying(phase=Phase.STREAM, diagnosis=lost, **old), now_us=NOW_US)
    text = drawn(render_job(view))
    assert "switch-over: not yet: the target is 30 s behind" in text
    assert "and 2 more" in text
    assert "to do: Look at the load of both servers" in text
    assert "changes are lost to the job" in text
    assert view.is_log_short


def test_failure_is_told_under_the_table_of_jobs() -> None:
    view = JobView(label="nightly", state="copy failed", is_failed=True, note="permission denied")
    assert "nightly: permission denied" in drawn(render_jobs([view, view]))


def test_json_record_has_null_for_unknown() -> None:
    record = render_record("id", copying(remaining_s=None), now_us=NOW_US)
    assert record["remaining_s"] is None
    assert record["delay_ms"] is None
    assert record["phase"] == "copy"
    assert record["at_ms"] == NOW_US // 1000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0:00"), (7.9, "0:07"), (125, "2:05"), (10_800, "3:00:00"), (187_200, "2d 04:00")],
)
def test_seconds_as_text(seconds: float | None, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "-"),
        (0, "0.0 kB"),
        (5_250_000, "5.2 MB"),
        (2_000_000_000, "2,000.0 MB"),
        (12_340_000_000, "12.3 GB"),
    ],
)
def test_bytes_as_text(size: int | None, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(("delay", "text"), [(None, "-"), (0, "0.0 s"), (61_000, "1:01")])
def test_delay_as_text(delay: int | None, text: str) -> None:
    assert format_delay(delay) == text


tables_strategy = st.lists(
    st.builds(
        TableProgress,
        schema=st.text("abc é", min_size=1, max_size=70),
        name=st.text("xyz", min_size=1, max_size=70),
        rows_done=st.integers(0, 10**15),
        rows_total=st.integers(0, 10**15),
        bytes_done=st.integers(0, 10**15),
        bytes_total=st.integers(10**15, 10**16),
        origin=st.sampled_from(TotalOrigin),
        is_finished=st.booleans(),
    ),
    max_size=12,
)


@given(
    phase=st.sampled_from(Phase),
    tables=tables_strategy,
    rows=st.integers(0, 10**15),
    rate=st.none() | st.floats(0, 1e9),
    waiting=st.none() | st.text("w ", min_size=1, max_size=60),  # a longer sentence takes several lines
)
def test_nothing_is_wider_than_the_screen(
    phase: Phase, tables: list[TableProgress], rows: int, rate: float | None, waiting: str | None
) -> None:
    progress = copying(
        phase=phase,
        tables=tuple(tables),
        rows_copied=rows,
        copy_rows_per_s=rate,
        copy_bytes_per_s=rate,
        waiting_for=waiting,
    )
    view = view_of("a-name-of-a-job", progress, now_us=NOW_US)
    lines = drawn(render_job(view)).splitlines()
    # A line too long would have been broken, and the count of lines would say so: three of the job, six tables and
    # how many there are besides, what it waits for, and the source's log.
    assert len(lines) <= 3 + 6 + 1 + 1 + 1
    assert all(len(line) <= WIDTH for line in lines)

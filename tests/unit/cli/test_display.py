"""The three ways of showing a long command."""

from __future__ import annotations

import io
import json

from towline.cli.display import JsonDisplay, PlainDisplay, TerminalDisplay, open_display
from towline.cli.summary import RunLog, render_result, render_summary
from towline.cli.view import JobView, render_record
from towline.domain.errors import MissingPrivilege, Side
from towline.domain.progress import Phase, Progress, TableProgress
from towline.domain.structure import StructureReport
from towline.domain.tables import TotalOrigin
from towline.engine.pipeline import RunResult


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def monotonic_s(self) -> float:
        return self.seconds

    def now_us(self) -> int:
        return int(self.seconds * 1_000_000)


def test_plain_lines_come_every_few_seconds_and_at_each_change_of_state() -> None:
    out, clock = io.StringIO(), Clock()
    display = PlainDisplay(out, monotonic_s=clock.monotonic_s)
    for second in range(12):
        clock.seconds = 100.0 + second
        state = "copying rows" if second < 7 else "building indexes"
        display.show([JobView(label="migrate", state=state, percent=second)])
    states = [line.split("  ")[2:4] for line in out.getvalue().splitlines()]
    assert states == [
        ["copying rows", "0 %"],
        ["copying rows", "5 %"],
        ["building indexes", "7 %"],
    ]


def test_json_lines_are_a_second_apart_but_a_new_phase_comes_at_once() -> None:
    out, clock = io.StringIO(), Clock()
    display = JsonDisplay(out, monotonic_s=clock.monotonic_s)
    for tenth, phase in (
        (0, Phase.STRUCTURE),
        (5, Phase.STRUCTURE),
        (6, Phase.COPY),
        (8, Phase.COPY),
        (20, Phase.COPY),
    ):
        clock.seconds = 100.0 + tenth / 10
        display.show([], [render_record("id", Progress(at_us=clock.now_us(), phase=phase), now_us=clock.now_us())])
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(record["at_ms"] - 100_000, record["phase"]) for record in records] == [
        (0, "structure"),
        (600, "copy"),
        (2000, "copy"),
    ]


def test_stream_that_is_no_terminal_gets_plain_lines() -> None:
    assert isinstance(open_display(is_json=False, stream=io.StringIO()), PlainDisplay)
    assert isinstance(open_display(is_json=True, stream=io.StringIO()), JsonDisplay)


def test_terminal_is_left_with_the_last_figures() -> None:
    out = io.StringIO()
    display = TerminalDisplay(out)
    display.show([JobView(label="migrate", state="copying rows", percent=1)])
    display.show([JobView(label="migrate", state="copying rows", percent=77)])
    display.close()
    display.say("over")
    assert "77 %" in out.getvalue()
    assert out.getvalue().endswith("over\n")


def test_no_jobs_are_said_once() -> None:
    out = io.StringIO()
    display = PlainDisplay(out)
    display.show([])
    display.show([])
    assert out.getvalue() == "no jobs\n"


def test_one_look_at_a_terminal_shows_all_jobs_and_watching_only_as_many_as_fit() -> None:
    views = [JobView(label=f"job-{number}", state="paused") for number in range(100)]
    for is_live in (False, True):
        out = io.StringIO()
        display = TerminalDisplay(out, is_live=is_live)
        display.show(views)
        display.close()
        assert ("job-99 " in out.getvalue()) != is_live
        assert (" more" in out.getvalue()) == is_live


def test_jobs_of_one_name_each_have_their_plain_line() -> None:
    out = io.StringIO()
    PlainDisplay(out).show([JobView(label="shop", state="paused", job_id=job_id) for job_id in "ab"])
    assert len(out.getvalue().splitlines()) == 2


def test_closed_pipe_does_not_end_the_work() -> None:
    class Closed(io.StringIO):
        def write(self, _text: str, /) -> int:
            raise BrokenPipeError

    PlainDisplay(Closed()).show([JobView(label="migrate", state="copying rows")])


def run_log(clock: Clock) -> RunLog:
    log = RunLog(clock)
    table = TableProgress("public", "t", 10, 10, 100, 100, TotalOrigin.EXACT, True)
    for phase in (Phase.STRUCTURE, Phase.COPY, Phase.COPY, Phase.DONE):
        log.report(Progress(at_us=0, phase=phase, rows_copied=10, bytes_copied=200, tables=(table,)))
        clock.seconds += 1.5
    return log


def test_summary_has_seconds_per_phase_and_what_could_not_be_made() -> None:
    log = run_log(Clock())
    log.note(StructureReport("EXTENSION", "postgis", "not available on the target"))
    log.note(StructureReport("EXTENSION", "postgis", "not available on the target"))
    lines = render_summary(log, RunResult.COPIED)
    assert any("structure 1.5 s, copy 3.0 s" in line for line in lines)
    assert any("tables 1, rows 10" in line for line in lines)
    assert lines[-2:] == ["Not as on the source (1):", "  extension postgis: not available on the target"]


def test_what_could_not_be_made_is_said_at_once_and_once() -> None:
    told: list[StructureReport] = []
    log = RunLog(Clock(), on_report=told.append)
    report = StructureReport("OWNER", "ALTER TABLE t OWNER TO x", "role x does not exist on the target")
    log.note(report)
    log.note(report)
    assert told == [report]


def test_run_that_copied_nothing_itself_claims_no_rows() -> None:
    log = RunLog(Clock())
    log.report(Progress(at_us=0, phase=Phase.CATCH_UP, percent=100))
    assert any("rows -" in line for line in render_summary(log, RunResult.CAUGHT_UP))
    assert render_result(log, outcome="caught_up")["rows"] is None


def test_result_of_a_failure_names_code_side_and_remedy() -> None:
    error = MissingPrivilege("no SELECT on shop.orders", side=Side.SOURCE)
    record = render_result(run_log(Clock()), outcome="failed", error=error)
    assert record["event"] == "result"
    assert record["error"]["code"] == "MISSING_PRIVILEGE"
    assert record["error"]["side"] == "source"
    assert record["error"]["remedy"]

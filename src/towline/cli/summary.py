"""What a one-shot run did, gathered while it runs and told at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from towline.cli.view import UNKNOWN, format_bytes, format_delay, format_seconds, render_report
from towline.domain.errors import TowlineError
from towline.domain.progress import Phase, Progress, delay_ms
from towline.domain.structure import StructureReport
from towline.domain.tables import TableName
from towline.engine.pipeline import RunResult
from towline.engine.ports import Clock

_SHOWN_REPORTS = 20
_INTERVAL_S = 1.0


class RunLog:
    """The `Reporter` of a one-shot run: the latest figures, seconds per phase, and what could not be made.

    `on_report` hears of the last at once: a run that is killed has no end, and the next one does not know of it.
    """

    def __init__(self, clock: Clock, *, on_report: Callable[[StructureReport], None] = lambda _: None) -> None:
        self._clock = clock
        self._on_report = on_report
        self._began_s = clock.monotonic_s()
        self._phase_began_s = self._began_s
        self.job_id = ""
        self.latest: Progress | None = None
        self.tables: set[TableName] = set()
        self.phase_seconds: dict[Phase, float] = {}
        self.reports: list[StructureReport] = []

    @property
    def interval_s(self) -> float:
        return _INTERVAL_S

    def attach(self, take: Callable[[], Progress] | None) -> None:
        """Nothing is passed on from here, so what is reported is enough."""

    def report(self, progress: Progress) -> None:
        now_s = self._clock.monotonic_s()
        # The time since the last report belongs to the phase that it was in: exact to about half a second.
        before = self.latest.phase if self.latest else progress.phase
        self.phase_seconds[before] = self.phase_seconds.get(before, 0.0) + now_s - self._phase_began_s
        self._phase_began_s = now_s
        self.latest = progress
        if len(progress.tables) != len(self.tables):
            self.tables = {TableName(table.schema, table.name) for table in progress.tables}

    def note(self, report: StructureReport) -> None:
        if report not in self.reports:  # an attempt that starts over says the same again
            self.reports.append(report)
            self._on_report(report)

    async def restate(self, reports: Sequence[StructureReport]) -> None:
        for report in reports:
            self.note(report)

    async def deliver(self) -> None:
        pass  # what is noted is there

    @property
    def seconds(self) -> float:
        """Since the run began, prechecks included."""
        return self._clock.monotonic_s() - self._began_s

    def delay_ms(self) -> int | None:
        return delay_ms(self.latest, now_us=self.latest.at_us) if self.latest else None

    @property
    def has_copied(self) -> bool:
        """False when an earlier run had copied everything, so that this one does not know how much it was."""
        return bool(self.tables)


_OPENING = {
    RunResult.COPIED: "Done: the target has everything that the source had when the copy began.",
    RunResult.CAUGHT_UP: "Done: the target has everything that the source had a moment ago.",
    RunResult.STOPPED: "Not finished.",
}


def render_summary(log: RunLog, result: RunResult) -> list[str]:
    """The end of a run in a few lines of text."""
    latest = log.latest
    lines = [_OPENING[result]]
    if latest is not None:
        tables = f"{len(log.tables):,}" if log.has_copied else UNKNOWN
        rows = f"{latest.rows_copied:,}" if log.has_copied else UNKNOWN
        size = format_bytes(latest.bytes_copied if log.has_copied else None)
        lines.append(f"  tables {tables}, rows {rows}, bytes {size}, time {format_seconds(log.seconds)}")
        seconds = ", ".join(f"{phase.value} {took:.1f} s" for phase, took in log.phase_seconds.items() if took >= 0.05)
        lines.append(f"  {seconds}" if seconds else "  nothing to do")
        if latest.phase in (Phase.CATCH_UP, Phase.STREAM):
            lines.append(
                f"  transactions applied {latest.transactions_applied:,}, changes {latest.changes_applied:,},"
                f" delay {format_delay(log.delay_ms())}"
            )
    if log.reports:
        lines.append(f"Not as on the source ({len(log.reports):,}):")
        lines += [f"  {render_report(report)}" for report in log.reports[:_SHOWN_REPORTS]]
        if len(log.reports) > _SHOWN_REPORTS:
            lines.append(f"  and {len(log.reports) - _SHOWN_REPORTS:,} more, each said above when it came up")
    return lines


def record_of_report(report: StructureReport) -> dict[str, str]:
    """What is not as on the source, as a JSON object."""
    return {"kind": report.kind, "name": report.name, "reason": report.reason}


def render_result(log: RunLog, *, outcome: str, error: TowlineError | None = None) -> dict[str, Any]:
    """The last JSON object of a run. `outcome` is copied, caught_up, stopped or failed."""
    latest = log.latest
    record: dict[str, Any] = {
        "event": "result",
        "outcome": outcome,
        "job_id": log.job_id or None,
        "tables": len(log.tables) if log.has_copied else None,
        "rows": latest.rows_copied if latest and log.has_copied else None,
        "bytes": latest.bytes_copied if latest and log.has_copied else None,
        "transactions_applied": latest.transactions_applied if latest else None,
        "changes_applied": latest.changes_applied if latest else None,
        "delay_ms": log.delay_ms(),
        "seconds": round(log.seconds, 3),
        "phase_seconds": {phase.value: round(took, 3) for phase, took in log.phase_seconds.items()},
        "reports": [record_of_report(report) for report in log.reports],
    }
    if error is not None:
        record["error"] = {
            "code": error.code,
            "side": error.side.value,
            "message": error.message,
            "remedy": error.advice,
        }
    return record

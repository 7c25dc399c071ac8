"""What a person sees of a job: one view of its figures, drawn in three ways. Pure.

A `JobView` is one moment of one job in the words of the screen.  `render_job` draws it with bars,
`render_jobs` draws many jobs as a table, `render_line` writes it as one plain line, and `render_record` as
one JSON object.  A figure that is not known is "-" on the screen and null in JSON; it is never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from towline.domain.health import Health, Level, Retention, judge
from towline.domain.jobs import JobStatus
from towline.domain.progress import DelaySplit, PartProgress, Phase, Progress, TableProgress, delay_ms, split_delay
from towline.domain.structure import StructureReport
from towline.domain.tables import TotalOrigin

WIDTH = 100
UNKNOWN = "-"
# A worker reports at least once a second; rates of one that has been silent for longer than this say nothing.
STALE_AFTER_US = 15_000_000
_SHOWN_TABLES = 6
_SENTENCE_CHARS = 400
_BAR_WIDTH = 28
_SMALL_BAR_WIDTH = 12
_LABEL_WIDTH = 26
_STATE_WIDTH = 16
_WIDTH_WITH_BARS = 96
_WIDTH_WITH_SPEEDS = 66

PHASE_WORDS = {
    Phase.PRECHECK: "checking",
    Phase.STRUCTURE: "creating tables",
    Phase.COPY: "copying rows",
    Phase.INDEXES: "building indexes",
    Phase.CATCH_UP: "catching up",
    Phase.STREAM: "in step",
    Phase.DONE: "done",
}
_STREAMING = (Phase.CATCH_UP, Phase.STREAM)


@dataclass(frozen=True, slots=True)
class JobView:
    """One moment of one job. None means not known."""

    label: str
    state: str
    percent: int | None = None
    is_failed: bool = False
    is_streaming: bool = False
    rows: int | None = None  # copied rows, or applied changes while streaming
    size_bytes: int | None = None
    rows_per_s: float | None = None
    bytes_per_s: float | None = None
    remaining_s: int | None = None
    remaining_range_s: tuple[int, int] | None = None
    is_stalled: bool = False
    delay_ms: int | None = None
    split: DelaySplit | None = None
    structure: PartProgress | None = None
    index: PartProgress | None = None
    tables: tuple[TableProgress, ...] = ()
    note: str = ""
    remedy: str = ""
    log_level: Level = Level.NONE
    log_note: str = ""
    is_ready: bool | None = None
    not_ready_because: tuple[str, ...] = ()
    job_id: str = ""

    @property
    def is_log_short(self) -> bool:
        """The source will soon no longer have what the job needs, or has given up on it."""
        return self.log_level in (Level.WARNING, Level.CRITICAL, Level.LOST)

    @property
    def alarm(self) -> str:
        """What somebody should read of it among many jobs."""
        if self.note and (self.is_failed or self.is_stalled):
            return self.note
        return self.log_note if self.is_log_short else ""


def view_of(label: str, progress: Progress, *, now_us: int, status: JobStatus | None = None) -> JobView:
    """The view of a job whose worker said `progress`, looked at now. `status` None: of a job that runs."""
    health = judge(status or _status_of(progress), progress, now_us=now_us)
    is_streaming = progress.phase in _STREAMING
    is_stale = now_us - progress.at_us > STALE_AFTER_US
    rows_per_s = progress.apply_rows_per_s if is_streaming else progress.copy_rows_per_s
    bytes_per_s = progress.apply_bytes_per_s if is_streaming else progress.copy_bytes_per_s
    return JobView(
        label=label,
        state=PHASE_WORDS[progress.phase],
        percent=progress.percent,
        is_streaming=is_streaming,
        rows=progress.changes_applied if is_streaming else progress.rows_copied,
        size_bytes=None if is_streaming else progress.bytes_copied,
        rows_per_s=None if is_stale else rows_per_s,
        bytes_per_s=None if is_stale else bytes_per_s,
        remaining_s=None if is_stale or is_streaming else progress.remaining_s,
        remaining_range_s=None if is_stale or is_streaming else _range_s(progress),
        is_stalled=health.stall is not None,
        delay_ms=delay_ms(progress, now_us=now_us),
        split=split_delay(progress, now_us=now_us),
        structure=progress.structure,
        index=progress.index,
        tables=progress.tables if progress.phase is Phase.COPY else (),
        note=_render_note(progress, health, is_stale=is_stale, now_us=now_us),
        remedy=health.stall.remedy if health.stall else health.waits[0].remedy if health.waits else "",
        log_level=health.retention.level,
        log_note=_render_log(health.retention),
        is_ready=health.verdict.is_ready if is_streaming else None,
        not_ready_because=tuple(reason.text for reason in health.verdict.reasons) if is_streaming else (),
    )


def _range_s(progress: Progress) -> tuple[int, int] | None:
    low_s, high_s = progress.remaining_low_s, progress.remaining_high_s
    return None if low_s is None or high_s is None or not progress.remaining_s else (low_s, high_s)


def _render_log(retention: Retention) -> str:
    if retention.level in (Level.NONE, Level.OK):
        return ""
    return f"the source's log: {retention.text}"


def _render_note(progress: Progress, health: Health, *, is_stale: bool, now_us: int) -> str:
    if is_stale and progress.phase is not Phase.DONE:
        return f"no word from the worker for {format_seconds((now_us - progress.at_us) // 1_000_000)}"
    waits = health.waits
    return f"waiting: {waits[0].text}" if waits and progress.phase is not Phase.DONE else ""


def _status_of(progress: Progress) -> JobStatus:
    """The status of a job that runs and of which only the figures are known."""
    return JobStatus.STREAMING if progress.phase in _STREAMING else JobStatus.COPYING


# --- drawn with bars ------------------------------------------------------------------------------


def render_job(view: JobView) -> RenderableType:
    """One job in full: its bar, its figures, its parts, and the tables that are being copied."""
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(view.label, style="bold"),
        Text(view.state, style=_style(view)),
        _bar(view.percent, width=_BAR_WIDTH),
        Text(format_percent(view.percent)),
        Text(f"delay {format_delay(view.delay_ms)}" if view.is_streaming else _remaining(view)),
    )
    lines: list[RenderableType] = [head, Text("  " + render_figures(view))]
    if view.is_streaming and view.split is not None:
        lines.append(Text("  " + render_split(view.split), style="dim"))
    if not view.is_streaming:
        lines.append(_render_parts(view))
        lines.extend(_render_tables(view.tables))
    if view.note:
        lines.append(_line(view.note, style="red" if view.is_failed else "yellow"))
    if view.remedy and (view.is_stalled or view.is_failed):
        lines.append(_line(f"to do: {view.remedy}"))
    if view.log_note:
        lines.append(_line(view.log_note, style="yellow" if view.is_log_short else "dim"))
    if view.is_ready is not None:
        lines.append(_line(f"switch-over: {_render_ready(view)}", style="green" if view.is_ready else "dim"))
    return Group(*lines)


def _line(text: str, *, style: str = "") -> RenderableType:
    """A sentence, on as many lines as it takes, within reason."""
    return Padding(Text(_clip(text, _SENTENCE_CHARS), style=style), (0, 0, 0, 2))


def _render_ready(view: JobView) -> str:
    if view.is_ready:
        return "ready"
    first, *others = view.not_ready_because or (UNKNOWN,)
    return f"not yet: {first}" + (f", and {len(others)} more" if others else "")


def render_jobs(views: Sequence[JobView], *, max_lines: int | None = None, width: int = WIDTH) -> RenderableType:
    """Many jobs in the order given, as many as fit into the lines, and how many others there are.

    One line each; what is wrong with those that are in trouble stands below.
    """
    shown, told = choose_shown(views, max_lines=max_lines)
    table = _table_of_jobs(views[:shown], width)
    notes = [
        Text(_clip(f"  {_clip(view.label, _LABEL_WIDTH)}: {view.alarm}", width), style=_style(view))
        for view in _in_trouble(views)[:told]
    ]
    rest = len(views) - shown
    ends = [Text(f"and {rest:,} more", style="dim")] if rest else []
    return Group(Text(_clip(summarize(views), width), style="dim"), table, *notes, *ends)


def _table_of_jobs(views: Sequence[JobView], width: int) -> Table:
    """On a narrow screen bars go first, then speeds, then ends of names; no figure does from 60 columns on."""
    has_bar, has_speed = width >= _WIDTH_WITH_BARS, width >= _WIDTH_WITH_SPEEDS
    others = _STATE_WIDTH + 25 + (_SMALL_BAR_WIDTH + 1 if has_bar else 0) + (17 if has_speed else 0)
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for name, longest in (("job", max(8, min(_LABEL_WIDTH, width - others))), ("state", _STATE_WIDTH)):
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=longest)
    if has_bar:
        table.add_column("", no_wrap=True)
    for name in ("", "left", "delay", *(("rows/s", "MB/s") if has_speed else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for view in views:
        cells: list[RenderableType] = [
            Text(view.label),
            Text(f"{view.state}, ready" if view.is_ready else view.state, style=_style(view)),
        ]
        cells += [_bar(view.percent, width=_SMALL_BAR_WIDTH)] if has_bar else []
        cells += [format_percent(view.percent), format_seconds(view.remaining_s), format_delay(view.delay_ms)]
        cells += [_rate(view.rows_per_s, 1, 0), _rate(view.bytes_per_s, 1_000_000, 1)] if has_speed else []
        table.add_row(*cells)
    return table


def choose_shown(views: Sequence[JobView], *, max_lines: int | None) -> tuple[int, int]:
    """How many of the first jobs are listed, and of how many in trouble it is told what is wrong. Pure.

    The table comes with three lines that are no jobs.  A third of the lines, and what jobs leave, tells what is wrong.
    """
    troubled = len(_in_trouble(views))
    if max_lines is None:
        return len(views), troubled
    room = max(1, max_lines - 3)
    shown = min(len(views), room - min(troubled, room // 3))
    return shown, min(room - shown, len(_in_trouble(views[:shown])))


def _in_trouble(views: Sequence[JobView]) -> list[JobView]:
    return [view for view in views if view.alarm]


def summarize(views: Sequence[JobView]) -> str:
    """How many jobs there are in which state, the states that want somebody's eyes first."""
    short = sum(view.is_log_short for view in views)
    ready = sum(bool(view.is_ready) for view in views)
    counted = [f"{len(views):,} jobs"]
    counted += [f"{short:,} short of log"] if short else []
    counted += [f"{ready:,} ready to switch over"] if ready else []
    return f"{', '.join(counted)}: {_count_states(views)}"


def _count_states(views: Sequence[JobView]) -> str:
    states = Counter("failed" if view.is_failed else "stalled" if view.is_stalled else view.state for view in views)
    worst = {state: states.pop(state) for state in ("failed", "stalled") if state in states}
    counted = [f"{count:,} {state}" for state, count in (*worst.items(), *states.most_common())]
    return ", ".join(counted)


def _render_parts(view: JobView) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    cells: list[RenderableType] = [Text("  structure")]
    cells += _part_cells(view.structure, unit="objects")
    cells.append(Text("indexes"))
    cells += _part_cells(view.index, unit="")
    grid.add_row(*cells)
    return grid


def _part_cells(part: PartProgress | None, *, unit: str) -> list[RenderableType]:
    if part is None or (part.total == 0 and not part.is_finished):
        return [_bar(None, width=12), Text(UNKNOWN)]
    count = f"{part.done:,}/{part.total:,} {unit}" if unit else format_percent(part.percent)
    return [_bar(part.percent, width=12), Text(count)]


def _render_tables(tables: Sequence[TableProgress]) -> list[RenderableType]:
    """The biggest tables in the work, with a bar each, and how many there are besides."""
    active = sorted((t for t in tables if _is_active(t)), key=lambda t: (-t.bytes_total, t.schema, t.name))
    shown, more = active[:_SHOWN_TABLES], len(active) - _SHOWN_TABLES
    lines: list[RenderableType] = []
    if shown:
        grid = Table.grid(padding=(0, 2))
        grid.add_column()  # names lose their ends before a figure is broken
        for _ in range(3):
            grid.add_column(no_wrap=True)
        for table in shown:
            percent = _table_percent(table)
            grid.add_row(
                Text("  " + _clip(f"{table.schema}.{table.name}", 34), no_wrap=True, overflow="ellipsis"),
                _bar(percent, width=18),
                Text(format_percent(percent), justify="right"),
                Text(_table_rows(table)),
            )
        lines.append(grid)
    if tables:
        done = sum(1 for table in tables if table.is_finished)
        waiting = len(tables) - done - len(active)
        parts = [f"{more:,} more in the work"] if more > 0 else []
        parts += [f"{waiting:,} waiting", f"{done:,} of {len(tables):,} tables done"]
        lines.append(Text("  " + ", ".join(parts), style="dim"))
    return lines


def _is_active(table: TableProgress) -> bool:
    return not table.is_finished and (table.bytes_done > 0 or table.rows_done > 0)


def _table_percent(table: TableProgress) -> int | None:
    if table.is_finished:
        return 100
    return min(99, table.bytes_done * 100 // table.bytes_total) if table.bytes_total else None


def _table_rows(table: TableProgress) -> str:
    if table.origin is not TotalOrigin.STATISTICS:
        return f"{table.rows_done:,} of {table.rows_total:,} rows"
    if table.rows_done == 0:
        # Rows are counted when their chunk is on the target, bytes as they pass.
        return f"{UNKNOWN} of about {table.rows_total:,} rows" if table.rows_total else ""
    # Statistics of a table that nobody has analysed say 0 or less than what was copied: no total then.
    if table.rows_total <= table.rows_done:
        return f"{table.rows_done:,} rows"
    return f"{table.rows_done:,} of about {table.rows_total:,} rows"


def _bar(percent: int | None, *, width: int) -> ProgressBar:
    return ProgressBar(total=100, completed=percent or 0, width=width, complete_style="cyan", finished_style="green")


def _style(view: JobView) -> str:
    if (view.is_stalled or view.is_log_short) and not view.is_failed:
        return "yellow"
    return "red" if view.is_failed else "green" if view.is_streaming else "cyan"


def _remaining(view: JobView) -> str:
    if view.remaining_range_s is None:
        return f"left {format_seconds(view.remaining_s)}"
    low_s, high_s = map(format_seconds, view.remaining_range_s)
    return f"left {format_seconds(view.remaining_s)} ({low_s} to {high_s})"


# --- plain text -----------------------------------------------------------------------------------


def render_line(view: JobView) -> str:
    """The job in one line without colours, for logs and pipes."""
    parts = [
        view.label,
        view.state,
        format_percent(view.percent),
        render_figures(view),
        f"delay {format_delay(view.delay_ms)}" if view.is_streaming else _remaining(view),
        view.note,
        view.log_note if view.is_log_short else "",
    ]
    return "  ".join(part for part in parts if part)


def render_figures(view: JobView) -> str:
    """Amounts and rates in one phrase."""
    unit = "changes" if view.is_streaming else "rows"
    amount = f"{UNKNOWN if view.rows is None else format(view.rows, ',')} {unit}"
    rows = f"{_rate(view.rows_per_s, 1, 0)} {unit}/s"
    speed = f"{_rate(view.bytes_per_s, 1_000_000, 1)} MB/s"
    if view.size_bytes is None:
        return f"{amount}, {rows}, {speed}"
    return f"{amount}, {format_bytes(view.size_bytes)}, {rows}, {speed}"


def render_split(split: DelaySplit) -> str:
    """Where the delay arises."""
    read, queue, apply = map(format_delay, (split.read_ms, split.queue_ms, split.apply_ms))
    return f"delay: {read} reading, {queue} in the queue, {apply} applying"


def render_report(report: StructureReport) -> str:
    """One object that could not be made as it is on the source."""
    return f"{report.kind.lower()} {report.name}: {report.reason}"


# --- JSON -----------------------------------------------------------------------------------------


def render_record(job_id: str, progress: Progress, *, now_us: int, status: JobStatus | None = None) -> dict[str, Any]:
    """The job as a JSON object; null is not known. Of the tables, those in the work and how many others.

    `status` None: of a job that runs.
    """
    health = judge(status or _status_of(progress), progress, now_us=now_us)
    active = [table for table in progress.tables if _is_active(table)]
    return {
        "event": "progress",
        "job_id": job_id,
        "at_ms": progress.at_us // 1000,
        "phase": progress.phase.value,
        "percent": progress.percent,
        "remaining_s": progress.remaining_s,
        "remaining_low_s": progress.remaining_low_s,
        "remaining_high_s": progress.remaining_high_s,
        "delay_ms": delay_ms(progress, now_us=now_us),
        "rows_copied": progress.rows_copied,
        "bytes_copied": progress.bytes_copied,
        "copy_rows_per_s": _whole(progress.copy_rows_per_s),
        "copy_bytes_per_s": _whole(progress.copy_bytes_per_s),
        "transactions_applied": progress.transactions_applied,
        "changes_applied": progress.changes_applied,
        "apply_rows_per_s": _whole(progress.apply_rows_per_s),
        "apply_bytes_per_s": _whole(progress.apply_bytes_per_s),
        "structure": _part_record(progress.structure),
        "data": _part_record(progress.data),
        "index": _part_record(progress.index),
        "tables": [_table_record(table) for table in active],
        "tables_done": sum(1 for table in progress.tables if table.is_finished),
        "tables_total": len(progress.tables),
        "waiting_for": progress.waiting_for,
        "delay_parts_ms": _split_record(health.delay),
        "stalled": health.stall.reason if health.stall else None,
        "remedy": health.stall.remedy if health.stall else None,
        "waits": [{"kind": wait.kind.value, "text": wait.text, "remedy": wait.remedy} for wait in health.waits],
        "log": _log_record(health.retention),
        "ready": health.verdict.is_ready,
        "not_ready_because": [reason.text for reason in health.verdict.reasons],
    }


def _log_record(retention: Retention) -> dict[str, Any]:
    return {
        "level": retention.level.value,
        "text": retention.text,
        "remedy": retention.remedy,
        "hours_left": retention.hours_left,
    }


def _split_record(split: DelaySplit | None) -> dict[str, int] | None:
    return None if split is None else {"read": split.read_ms, "queue": split.queue_ms, "apply": split.apply_ms}


def _part_record(part: PartProgress) -> dict[str, Any]:
    return {
        "done": part.done,
        "total": part.total,
        "percent": part.percent,
        "origin": part.origin.value,
        "remaining_s": part.remaining_s,
    }


def _table_record(table: TableProgress) -> dict[str, Any]:
    return {
        "schema": table.schema,
        "name": table.name,
        "rows_done": table.rows_done,
        "rows_total": table.rows_total,
        "bytes_done": table.bytes_done,
        "bytes_total": table.bytes_total,
        "origin": table.origin.value,
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


# --- figures as text ------------------------------------------------------------------------------


def format_percent(percent: int | None) -> str:
    return UNKNOWN if percent is None else f"{percent} %"


def format_bytes(size_bytes: int | None) -> str:
    """Decimal units, as speed limits are given: 1 MB = 1,000,000 bytes."""
    if size_bytes is None:
        return UNKNOWN
    if size_bytes >= 10_000_000_000:
        return f"{size_bytes / 1e9:,.1f} GB"
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"


def format_seconds(seconds: float | None) -> str:
    """`0:07`, `2:05`, `3:00:00`, `2d 04:00`."""
    if seconds is None:
        return UNKNOWN
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24}d {hours % 24:02d}:{minute:02d}"
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def format_delay(milliseconds: int | None) -> str:
    if milliseconds is None:
        return UNKNOWN
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    return format_seconds(milliseconds // 1000)


def _rate(per_s: float | None, unit: int, digits: int) -> str:
    return UNKNOWN if per_s is None else f"{per_s / unit:,.{digits}f}"


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"

"""Where a long command shows what it does: a terminal, a plain stream, or JSON lines.

All three take the same calls.  The terminal is redrawn on every `show`; the plain form writes a line at
each change of state and every few seconds; JSON writes a record a second and at each change of phase.
`say` is for sentences in between. A reader that went away (a closed pipe) ends the showing and nothing
else: the work goes on.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from towline.cli.view import WIDTH, JobView, render_job, render_jobs, render_line

LINE_INTERVAL_S = 5.0
RECORD_INTERVAL_S = 0.9  # a little under the second at which a worker reports, so that none is left out


class Display(Protocol):
    """Close it before anything else writes to the terminal."""

    def show(self, views: Sequence[JobView], records: Sequence[dict[str, Any]] = ()) -> None: ...
    def say(self, text: str, *, style: str = "") -> None: ...
    def close(self) -> None: ...


def open_display(*, is_json: bool, stream: TextIO | None = None) -> Display:
    """The display that fits the stream (standard output)."""
    out = stream or sys.stdout
    if is_json:
        return JsonDisplay(out)
    return TerminalDisplay(out) if out.isatty() else PlainDisplay(out)


class TerminalDisplay:
    """Redraws one block of lines at the bottom of the terminal."""

    def __init__(self, out: TextIO) -> None:
        console = Console(file=out, highlight=False)
        if console.width > WIDTH:
            console.width = WIDTH
        self._console = console
        self._live: Live | None = None

    def show(self, views: Sequence[JobView], records: Sequence[dict[str, Any]] = ()) -> None:
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.start()
        self._live.update(self._draw(views), refresh=True)

    def say(self, text: str, *, style: str = "") -> None:
        self._console.print(Text(text, style=style))

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, views: Sequence[JobView]) -> RenderableType:
        if not views:
            return Text("no jobs", style="dim")
        if len(views) == 1:
            return render_job(views[0])
        return Group(render_jobs(views, max_rows=max(3, self._console.height - 6)))


class PlainDisplay:
    """One line a job, at each change of its state and every few seconds."""

    def __init__(self, out: TextIO, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._monotonic_s = monotonic_s
        self._states: dict[str, str] = {}
        self._written_s: dict[str, float] = {}
        self._was_empty = False

    def show(self, views: Sequence[JobView], records: Sequence[dict[str, Any]] = ()) -> None:
        now_s = self._monotonic_s()
        if not views and not self._was_empty:
            _write_line(self._out, "no jobs")
        self._was_empty = not views
        for view in views:
            is_due = now_s - self._written_s.get(view.label, -LINE_INTERVAL_S) >= LINE_INTERVAL_S
            if is_due or self._states.get(view.label) != view.state:
                self._states[view.label] = view.state
                self._written_s[view.label] = now_s
                _write_line(self._out, f"{time.strftime('%H:%M:%S')}  {render_line(view)}")

    def say(self, text: str, *, style: str = "") -> None:
        _write_line(self._out, text)

    def close(self) -> None:
        pass


class JsonDisplay:
    """One JSON object a line on the stream; sentences go to standard error."""

    def __init__(self, out: TextIO, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._monotonic_s = monotonic_s
        self._last: dict[str, tuple[float, str]] = {}

    def show(self, views: Sequence[JobView], records: Sequence[dict[str, Any]] = ()) -> None:
        now_s = self._monotonic_s()
        for record in records:
            job_id, phase = str(record["job_id"]), str(record.get("phase"))
            last_s, last_phase = self._last.get(job_id, (-RECORD_INTERVAL_S, ""))
            if now_s - last_s >= RECORD_INTERVAL_S or phase != last_phase:
                self._last[job_id] = (now_s, phase)
                self.write(record)

    def write(self, record: dict[str, Any]) -> None:
        _write_line(self._out, json.dumps(record, ensure_ascii=False))

    def say(self, text: str, *, style: str = "") -> None:
        _write_line(sys.stderr, text)

    def close(self) -> None:
        pass


def _write_line(out: TextIO, text: str) -> None:
    with suppress(BrokenPipeError, ValueError):
        out.write(text + "\n")
        out.flush()

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

from rich.console import Console, RenderableType
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


def open_display(*, is_json: bool, stream: TextIO | None = None, is_live: bool = True) -> Display:
    """The display that fits the stream (standard output). Not `is_live`: for one look, which is shown whole."""
    out = stream or sys.stdout
    if is_json:
        return JsonDisplay(out)
    return TerminalDisplay(out, is_live=is_live) if out.isatty() else PlainDisplay(out)


class TerminalDisplay:
    """Redraws one block of lines at the bottom of the terminal; it is never higher than the terminal.

    Not `is_live`: writes it once, however high it is.
    """

    def __init__(self, out: TextIO, *, is_live: bool = True) -> None:
        self._is_live = is_live
        console = Console(file=out, highlight=False)
        if console.width > WIDTH:
            console.width = WIDTH
        self._console = console
        self._live: Live | None = None

    def show(self, views: Sequence[JobView], records: Sequence[dict[str, Any]] = ()) -> None:
        if not self._is_live:
            self._console.print(self._draw(views))
            return
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
        # One line stays free, as the cursor stands below the block.
        max_lines = self._console.height - 1 if self._is_live else None
        return render_jobs(views, max_lines=max_lines, width=self._console.width)


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
            job = view.job_id or view.label  # jobs of two projects may share a name
            is_due = now_s - self._written_s.get(job, -LINE_INTERVAL_S) >= LINE_INTERVAL_S
            if is_due or self._states.get(job) != view.state:
                self._states[job] = view.state
                self._written_s[job] = now_s
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

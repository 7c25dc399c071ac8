"""Processes that begin with everything imported: a run that is killed is over sooner than it takes to import.

One process, made at the first use, imports what all need and never does more; the others are forked from it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.fault.run_job"])


class Forked:
    """One process that calls `main(order)`; used as `subprocess.Popen` with texts as output."""

    def __init__(self, main: Callable[[dict[str, Any]], None], order: dict[str, Any]) -> None:
        self._name = main.__qualname__
        self._paths = [_make_file(), _make_file()]
        self._texts = ["", ""]
        self._process = _CONTEXT.Process(target=_call, args=(main, order, self._paths), daemon=False)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; minus the number of the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def wait_until_stopped(self) -> None:
        """Until SIGSTOP has reached it; it must not end before."""
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.01)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        """Raises: TimeoutExpired; the process runs on."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutExpired(self._name, timeout or 0.0)
        if self._paths:
            self._texts = [path.read_text() for path in self._paths]
            for path in self._paths:
                path.unlink()
            self._paths = []
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote. Raises: as `wait`."""
        self.wait(timeout)
        return self._texts[0], self._texts[1]


def _make_file() -> Path:
    descriptor, path = tempfile.mkstemp(prefix="towline-run-")
    os.close(descriptor)
    return Path(path)


def _call(main: Callable[[dict[str, Any]], None], order: dict[str, Any], paths: list[Path]) -> None:
    for number, path in zip((1, 2), paths, strict=True):
        descriptor = os.open(path, os.O_WRONLY)
        os.dup2(descriptor, number)
        os.close(descriptor)
    main(order)
    sys.stdout.flush()

"""Runs `towline` as its users do: a child process, its output read line by line."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

SOURCE_PATH = Path(__file__).parents[2] / "src"


class Command:
    """A running command; use as a context manager, so that it never outlives its test."""

    def __init__(self, *words: str, environment: Mapping[str, str] | None = None) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TOWLINE_", "PG"))}
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "towline", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**kept, "PYTHONPATH": _search_path(), "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines, True), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors, False), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=30)
        for reader in self._readers:
            reader.join(timeout=30)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _read(self, stream: IO[str], lines: list[str], is_queued: bool) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))
            if is_queued:
                self._queue.put(lines[-1])
        if is_queued:
            self._queue.put(None)

    def wait_for(self, is_wanted: Callable[[str], bool], *, timeout_s: float = 60) -> str:
        """The next line of standard output that is wanted."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                line = self._queue.get(timeout=left_s)
            except queue.Empty:
                break
            if line is None:
                raise AssertionError(f"the command ended before: {self.told()}")
            if is_wanted(line):
                return line
        raise AssertionError(f"the command did not say it in {timeout_s} s: {self.told()}")

    def wait_for_record(self, is_wanted: Callable[[dict[str, Any]], bool], *, timeout_s: float = 60) -> dict[str, Any]:
        """The next JSON object that is wanted."""
        record: dict[str, Any] = json.loads(
            self.wait_for(lambda line: is_wanted(json.loads(line)), timeout_s=timeout_s)
        )
        return record

    def wait_for_error(self, text: str, *, timeout_s: float = 30) -> None:
        """Until a line of standard error holds the text."""
        deadline_s = time.monotonic() + timeout_s
        while not any(text in line for line in self.errors):
            assert time.monotonic() < deadline_s, self.told()
            time.sleep(0.02)

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def finish(self, *, timeout_s: float = 90) -> int:
        """The exit code, once all output is read."""
        try:
            code = self.process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the command did not end in {timeout_s} s: {self.told()}") from None
        for reader in self._readers:
            reader.join(timeout=30)
        return code

    def records(self) -> list[dict[str, Any]]:
        """All of standard output as JSON objects."""
        return [json.loads(line) for line in self.lines]

    def told(self) -> str:
        """Everything that was written, for a test's message."""
        return "\n".join(["--- stdout", *self.lines[-20:], "--- stderr", *self.errors[-40:]])


def _search_path() -> str:
    """This tree's code first, then whatever the tests themselves were started with."""
    return os.pathsep.join(filter(None, [str(SOURCE_PATH), os.environ.get("PYTHONPATH")]))


def run(*words: str, environment: Mapping[str, str] | None = None, timeout_s: float = 90) -> tuple[int, Command]:
    """Run a command to its end."""
    with Command(*words, environment=environment) as command:
        return command.finish(timeout_s=timeout_s), command

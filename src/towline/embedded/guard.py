"""Ends embedded servers and removes what they leave, also after this program was killed.

Theory of operation: the first server started by a process starts one guard, this module run as a
process of its own. The guard reads lines from a pipe whose other end only its owner holds: `watch`
and `forget` with a folder. When the pipe ends, for whatever reason the owner died, SIGKILL included,
the guard ends every server process in the watched folders and removes the folders that were temporary.
An orderly stop forgets the folder first, so the guard has nothing to do.

A server's processes are found by their working folder, which PostgreSQL keeps in its data folder.
So nothing foreign is ever signalled: no process id from a file is trusted, and a process id that
was given to somebody else meanwhile does not match. Linux only, as it reads /proc.

The module imports nothing but the standard library, so that the guard starts in a few milliseconds.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

# The last is how a MySQL server of the tests appears, which is started through its own dynamic loader.
SERVER_PROGRAMS = {"postgres", "postmaster", "initdb", "mariadbd", "mysqld", "ld-linux-x86-64"}
SHARED_MEMORY_LINE = 6  # of postmaster.pid: key and id of the segment that marks the folder as in use
POLL_S = 0.01


def server_processes(folder: Path) -> list[int]:
    """The ids of all live server processes that work in `folder` or below it."""
    root = os.path.realpath(folder)
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and _works_in(entry, root)]


def _works_in(pid: str, root: str) -> bool:
    try:
        place = os.readlink(f"/proc/{pid}/cwd")
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False  # ended meanwhile, or another user's
    return (place == root or place.startswith(root + "/")) and name in SERVER_PROGRAMS


def signal_all(folder: Path, signal_number: int) -> None:
    """Send the signal to every server process of the folder."""
    for pid in server_processes(folder):
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            pass


def kill_all(folder: Path, *, timeout_s: float = 30.0) -> bool:
    """SIGKILL every server process of the folder; True once none is left."""
    deadline_s = time.monotonic() + timeout_s
    while server_processes(folder):
        # Again and again: the postmaster may just have started another child.
        signal_all(folder, signal.SIGKILL)
        if time.monotonic() > deadline_s:
            return False
        time.sleep(POLL_S)
    return True


def remove_shared_memory(data_dir: Path) -> None:
    """Remove the System V segment that a killed server left; safe to repeat."""
    try:
        line = (data_dir / "postmaster.pid").read_text().splitlines()[SHARED_MEMORY_LINE]
        segment_id = int(line.split()[1])
    except (OSError, IndexError, ValueError):
        return  # stopped in order, or never started
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmctl(segment_id, 0, None)  # 0 = IPC_RMID


def end_server(folder: Path, data_dir: Path) -> None:
    """Leave no process and no shared memory of the server in `data_dir`."""
    if kill_all(folder):
        remove_shared_memory(data_dir)


class Guard:
    """The owner's end of the pipe; the guard process starts with the first watched folder."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner_pid = 0

    def watch(self, folder: Path, *, temporary: bool) -> None:
        """See to it that no server in `folder` outlives this process, nor the folder if temporary."""
        self._tell({"watch": str(folder), "temporary": temporary})

    def forget(self, folder: Path) -> None:
        """The server was stopped, or is meant to outlive this process."""
        self._tell({"forget": str(folder)})

    def close(self) -> None:
        """Let the guard do its work and wait for it; runs by itself when this process exits."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None and self._owner_pid == os.getpid():
            process.communicate(timeout=60)

    def _tell(self, order: dict[str, object]) -> None:
        with self._lock:
            # A forked child must not share its parent's pipe; a guard that was killed is replaced.
            if self._process is None or self._owner_pid != os.getpid() or self._process.poll() is not None:
                self._process = self._start()
                self._owner_pid = os.getpid()
                atexit.register(self.close)
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()

    @staticmethod
    def _start() -> subprocess.Popen[str]:
        # Its own session: Ctrl-C on the terminal reaches the owner, who may then stop servers in order.
        return subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            text=True,
        )


GUARD = Guard()


def main() -> None:
    """Keep the list of watched folders until the owner is gone, then clean up."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)  # only the owner's end ends the guard
    watched: dict[str, bool] = {}
    for line in sys.stdin:
        order = json.loads(line)
        if "watch" in order:
            watched[order["watch"]] = order["temporary"]
        else:
            watched.pop(order["forget"], None)
    for name, temporary in watched.items():
        folder = Path(name)
        end_server(folder, folder / "data")
        if temporary:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

"""`towline demo` as a whole: the proof at its end, and nothing left on any way out."""

from __future__ import annotations

import json
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.commands import Command, run
from towline.embedded import find_postgres
from towline.embedded.guard import server_processes

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_postgres(18) is None, reason="the extra `demo` is not installed"),
]
SMALL = ("--rows=100000", "--tx-per-s=120", "--limit-mb-s=0")


def ports_of(lines: list[str]) -> list[int]:
    """Source, target and API, as the demo says them."""
    return [int(port) for line in lines for port in re.findall(r"127\.0\.0\.1:(\d+)", line)]


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until_closed(ports: list[int], *, timeout_s: float = 60) -> None:
    deadline_s = time.monotonic() + timeout_s
    while any(map(is_open, ports)):
        assert time.monotonic() < deadline_s, f"still listening: {list(filter(is_open, ports))}"
        time.sleep(0.1)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files that every user may enter: the servers are not root's."""
    path = Path(tempfile.mkdtemp(prefix="towline-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def assert_nothing_left(folder: Path) -> None:
    """Neither a process that works there nor a file."""
    assert server_processes(folder) == []
    assert list(folder.iterdir()) == []


def test_demo_moves_a_live_database_and_proves_it(folder: Path) -> None:
    code, command = run("demo", *SMALL, "--follow-s=4", environment={"TMPDIR": str(folder)}, timeout_s=200)
    assert code == 0, command.told()
    outcome = json.loads(command.lines[-1])
    assert outcome["equal"] is True
    assert outcome["rows"] > 100_000
    assert outcome["seconds_full"] > 0
    assert outcome["changes_applied"] > 100
    assert outcome["max_delay_ms"] >= 0
    assert outcome["tables_compared"] >= 17
    assert outcome["statements_compared"] > 100
    assert outcome["left_behind"] == []
    ports = ports_of(command.lines)
    assert len(ports) >= 3
    assert not any(map(is_open, ports))
    assert_nothing_left(folder)


def test_interrupted_demo_leaves_nothing_running(folder: Path) -> None:
    with Command("demo", *SMALL, "--follow-s=60", environment={"TMPDIR": str(folder)}) as command:
        command.wait_for(lambda line: "An application writes" in line, timeout_s=90)
        ports = ports_of(command.lines)
        command.interrupt()
        assert command.finish() == 130, command.told()
    assert len(ports) == 3
    assert not any(map(is_open, ports))
    assert "nothing is left running" in "\n".join(command.errors)
    assert_nothing_left(folder)


def test_demo_that_is_interrupted_while_its_servers_start_leaves_nothing(folder: Path) -> None:
    with Command("demo", *SMALL, environment={"TMPDIR": str(folder)}) as command:
        deadline_s = time.monotonic() + 60
        while not server_processes(folder):
            assert time.monotonic() < deadline_s, command.told()
            time.sleep(0.01)
        command.interrupt()
        assert command.finish() == 130, command.told()
    assert_nothing_left(folder)


def test_killed_demo_takes_its_servers_along(folder: Path) -> None:
    with Command("demo", *SMALL, "--follow-s=60", environment={"TMPDIR": str(folder)}) as command:
        command.wait_for(lambda line: "An application writes" in line, timeout_s=90)
        ports = ports_of(command.lines)
        command.process.kill()
    wait_until_closed(ports)
    deadline_s = time.monotonic() + 60
    while list(folder.glob("towline-pg-*")):  # the guard removes the data as well
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_kept_demo_goes_on_following_until_it_is_stopped(folder: Path) -> None:
    kept = folder / "kept"
    try:
        code, command = run("demo", *SMALL, "--follow-s=1", "--keep", f"--dir={kept}", timeout_s=200)
        assert code == 0, command.told()
        assert json.loads(command.lines[-1])["equal"] is True
        ports = ports_of(command.lines)
        assert all(map(is_open, ports))
        record = json.loads((kept / "demo.json").read_text())
        assert record["source_url"] not in command.told()  # I7: it holds a password
        assert (kept / "demo.json").stat().st_mode & 0o077 == 0
    finally:
        stopped, stopping = run("demo", f"--stop={kept}")
    assert stopped == 0, stopping.told()
    wait_until_closed(ports)
    assert_nothing_left(folder)


def test_stop_of_a_folder_without_a_demo_is_refused(tmp_path: Path) -> None:
    code, command = run("demo", f"--stop={tmp_path}")
    assert code == 1
    assert "there is no demo" in "\n".join(command.errors)
    assert tmp_path.exists()

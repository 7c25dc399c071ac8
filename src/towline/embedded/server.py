"""A PostgreSQL server of our own on 127.0.0.1, for the demo and the tests.

Theory of operation: `start` runs initdb once and then the server as a child of this process, under the
account that `account` chooses. The server listens on TCP only, asks for a password, and counts as started
when it accepted a connection. `stop` ends it and removes a temporary folder. If this process dies first, the
guard does both (see `guard`). All methods block; from a coroutine use `async with` or `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg

from towline.embedded.account import choose_account
from towline.embedded.errors import EmbeddedServerError
from towline.embedded.guard import GUARD, end_server, server_processes, signal_all
from towline.embedded.installation import PostgresInstallation

HOST = "127.0.0.1"
SUPERUSER = "postgres"
# Below the range that Linux gives to outgoing connections, so that a port stays ours over a restart.
PORTS = range(20_000, 32_000)
START_ATTEMPTS = 5
POLL_S = 0.02
_IN_ORDER = (signal.SIGINT, signal.SIGQUIT)  # fast, then at once
LOG_TAIL_CHARS = 2_000

DEFAULT_SETTINGS = {
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "max_connections": "100",
    "shared_buffers": "128MB",
    # Shared memory as files of the data folder: small /dev/shm of containers, nothing left after SIGKILL.
    "dynamic_shared_memory_type": "mmap",
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres:
    """One server; a context manager that starts it and stops it."""

    def __init__(
        self,
        installation: PostgresInstallation,
        *,
        folder: Path | None = None,
        port: int | None = None,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """Describe a server; nothing is started yet.

        A server in a given `folder` keeps its data when it is stopped, and needs the same `password`
        to be started again. Without one the folder is temporary and removed by `stop`.
        """
        self.version = installation.version
        self.host = HOST
        self.port = port or 0
        self.user = SUPERUSER
        self.password = password or secrets.token_urlsafe(24)
        self.settings = {**DEFAULT_SETTINGS, **(settings or {})}
        self._installation = installation
        self._given_folder = folder
        self._has_fixed_port = port is not None
        self._timeout_s = timeout_s
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._account = choose_account()

    def __repr__(self) -> str:
        return f"EmbeddedPostgres(version={self.version}, port={self.port})"

    def url(self, database: str = "postgres") -> str:
        """How to reach a database as the superuser, password included: never log it."""
        return (
            f"postgresql://{self.user}:{quote(self.password, safe='')}"
            f"@{self.host}:{self.port}/{quote(database, safe='')}"
        )

    @property
    def folder(self) -> Path:
        """Where data and log are; only while the server exists."""
        if self._folder is None:
            raise EmbeddedServerError("the server was not started or is stopped for good")
        return self._folder

    @property
    def data_dir(self) -> Path:
        """The server's data folder."""
        return self.folder / "data"

    def read_log(self) -> str:
        """What the server has written to its log so far."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def is_running(self) -> bool:
        """Whether the server's main process lives; a paused one does."""
        return self._process is not None and self._process.poll() is None

    def exists(self) -> bool:
        """Whether the server has its folder: from `start` to `stop`, killed in between or not."""
        return self._folder is not None

    # --- start and stop ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server, make its data folder first if need be, and return once it accepts connections.

        After `kill` this starts the same server on the same port. Starting a running server does nothing.

        Raises:
            EmbeddedServerError: nothing of the server is running; a temporary folder is removed.
        """
        if self.is_running():
            return
        try:
            self._prepare()
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and remove its folder if temporary; such a one stops at once. Safe to repeat."""
        if self._folder is None:
            return
        is_temporary = self._given_folder is None
        # A fast stop writes a checkpoint of what is thrown away, and waits for replicas that still read.
        self._end_process((signal.SIGQUIT,) if is_temporary else _IN_ORDER)
        if is_temporary:
            shutil.rmtree(self._folder, ignore_errors=True)
        GUARD.forget(self._folder)
        self._folder = None

    def restart(self, *, settings: Mapping[str, str] | None = None) -> None:
        """Stop in order and start again with the same data and port, with changed settings if given."""
        self._end_process()
        self.settings.update(settings or {})
        self.start()

    def detach(self) -> None:
        """Let the server outlive this process; from now on ending it is the caller's affair."""
        GUARD.forget(self.folder)

    # --- interruptions ----------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL every process of the server at once; `start` brings it back with its data."""
        # The main process first, so that it starts no more children.
        if self._process is not None:
            self._process.kill()
        self._kill_rest()

    def pause(self) -> None:
        """Stop every process of the server in its tracks; its connections stay open and silent."""
        # Twice: a child that was being started during the first round is met by the second.
        for _ in range(2):
            signal_all(self.data_dir, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        signal_all(self.data_dir, signal.SIGCONT)

    # --- context manager --------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    # --- how --------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self._folder is None:
            self._folder = self._make_folder()
            GUARD.watch(self._folder, temporary=self._given_folder is None)
            if not self._can_run(self._installation):
                self._installation = self._installation.copy_to(self._folder / "installation")
        if not (self.data_dir / "PG_VERSION").exists():
            self._run_initdb()

    def _make_folder(self) -> Path:
        if self._given_folder is not None:
            folder = self._given_folder.resolve()
            folder.mkdir(parents=True, exist_ok=True)
            if server_processes(folder):
                raise EmbeddedServerError(
                    f"a server already runs in {folder}", remedy="Stop it first, or choose another folder."
                )
        else:
            folder = Path(tempfile.mkdtemp(prefix="towline-pg-")).resolve()
        self._account.own(folder)
        if not self._account.can("-w", folder):
            if self._given_folder is None:
                folder.rmdir()
            raise EmbeddedServerError(
                f"{self._account.name} cannot enter {folder}",
                remedy="Choose a data folder whose parent folders every user may enter.",
            )
        return folder

    def _can_run(self, installation: PostgresInstallation) -> bool:
        # Programs in a home folder that is closed to others are copied to where the account can reach them.
        return self._account.can("-x", installation.program("postgres"))

    def _run_initdb(self) -> None:
        password_file = self.folder / "password"
        password_file.touch(mode=0o600)
        self._account.own(password_file)
        password_file.write_text(self.password)
        try:
            done = self._account.run(
                self._installation.program("initdb"),
                "--pgdata=data",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                cwd=self.folder,
            )
        finally:
            password_file.unlink()
        if done.returncode != 0:
            shutil.rmtree(self.data_dir, ignore_errors=True)
            raise EmbeddedServerError(f"initdb failed: {(done.stdout + done.stderr)[-LOG_TAIL_CHARS:]}")
        with (self.data_dir / "postgresql.conf").open("a") as config:
            config.write("\ninclude = 'embedded.conf'\n")

    def _launch(self) -> None:
        for attempt in range(START_ATTEMPTS):
            if not self.port:
                self.port = choose_free_port()
            self._write_settings()
            self._start_process()
            if self._wait_until_ready():
                return
            # Somebody else took the port between the choice and the start.
            is_port_taken = "Address already in use" in self.read_log()[-LOG_TAIL_CHARS:]
            if not is_port_taken or self._has_fixed_port or attempt == START_ATTEMPTS - 1:
                break
            self.port = 0
        raise EmbeddedServerError(f"PostgreSQL {self.version} did not start: {self.read_log()[-LOG_TAIL_CHARS:]}")

    def _write_settings(self) -> None:
        lines = [f"{name} = '{_escape(value)}'" for name, value in self.settings.items()]
        (self.data_dir / "embedded.conf").write_text("\n".join([*lines, f"port = {self.port}", ""]))
        (self.data_dir / "embedded.conf").chmod(0o644)

    def _start_process(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._installation.program("postgres"), "-D", self.data_dir],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C on the terminal is for this process, not for the server
                cwd=self.data_dir,
                **self._account.popen_arguments(),
            )

    def _wait_until_ready(self) -> bool:
        deadline_s = time.monotonic() + self._timeout_s
        while self.is_running() and time.monotonic() < deadline_s:
            try:
                with psycopg.connect(self.url(), connect_timeout=5):
                    return True
            except psycopg.OperationalError:
                time.sleep(POLL_S)
        self._end_process()
        return False

    def _end_process(self, signals: Sequence[signal.Signals] = _IN_ORDER) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            self.resume()  # a paused server cannot obey
            for signal_number in signals:
                process.send_signal(signal_number)
                try:
                    process.wait(timeout=15)
                    break
                except subprocess.TimeoutExpired:
                    continue
        self._kill_rest()

    def _kill_rest(self) -> None:
        end_server(self.folder, self.data_dir)
        if self._process is not None:
            self._process.wait(timeout=self._timeout_s)
            self._process = None


def choose_free_port() -> int:
    for port in SystemRandom().sample(PORTS, k=200):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise EmbeddedServerError("no free port on 127.0.0.1 between 20000 and 32000")


def _escape(value: str) -> str:
    return value.replace("'", "''")

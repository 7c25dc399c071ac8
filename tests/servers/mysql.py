"""A MySQL or MariaDB server for the tests, on 127.0.0.1 and in a temporary folder.

The manner is that of `towline.embedded.server`: `start` fills the data folder once and starts the server as a child
of this process, under an unprivileged account; `stop` ends it and removes the folder; if this process dies first,
the guard does both.  MariaDB is the system's own, or the one in the root folder that `TOWLINE_MARIADB_ROOT` names.
MySQL 9 lies in a root folder of its own (see `scripts/system-packages`), or another one in that of
`TOWLINE_MYSQL_ROOT`, with the C library of its distribution, so it is started through that root's dynamic loader;
nothing needs chroot, and any account that can read the folder can run it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pymysql
from pymysql.connections import Connection

from towline.embedded.account import choose_account
from towline.embedded.guard import GUARD, end_server, signal_all
from towline.embedded.server import HOST, LOG_TAIL_CHARS, POLL_S, START_ATTEMPTS, choose_free_port

CACHE_DIR = Path("/var/cache/towline")
MYSQL_ROOT = CACHE_DIR / "mysql-sid"
MYSQL_FAILED = CACHE_DIR / "mysql-sid.failed"
# Servers of other versions than usual, unpacked in the same way; see `make test-mysql-versions`.
ROOT_VARIABLES = ("TOWLINE_MYSQL_ROOT", "TOWLINE_MARIADB_ROOT")
LOADER = "ld-linux-*.so.*"
ADMIN = "admin"
DROP_TIMEOUT_S = 30.0

# A crash of the machine is not what these tests are about, so nothing needs to reach the disk.
COMMON_SETTINGS = {
    "log_bin": "binlog",
    "binlog_format": "ROW",
    "binlog_row_image": "FULL",
    "sync_binlog": "0",
    "local_infile": "ON",
    "bind_address": HOST,
    "max_connections": "200",
    "max_allowed_packet": "67108864",
    "character_set_server": "utf8mb4",
    "log_bin_trust_function_creators": "ON",
    "innodb_flush_method": "nosync",
    "innodb_flush_log_at_trx_commit": "2",  # a commit survives the server's own end
    "innodb_buffer_pool_size": "67108864",
    "secure_file_priv": "",
    "skip_name_resolve": "ON",
}
MYSQL_SETTINGS = {
    "gtid_mode": "ON",
    "enforce_gtid_consistency": "ON",
    "loose_log_slave_updates": "ON",  # the default of newer ones, which do not all know this name
    "loose_mysqlx": "OFF",
    "innodb_doublewrite": "OFF",
    "loose_innodb_redo_log_capacity": "67108864",
}
MARIADB_SETTINGS = {
    "log_slave_updates": "ON",
    "innodb_log_file_size": "33554432",
    "innodb_doublewrite": "OFF",
}

_server_ids = count(1001)


class Product(Enum):
    """What kind of server; the value is the fixtures' word for it."""

    MYSQL = "mysql9"
    MARIADB = "mariadb10"


@dataclass(frozen=True)
class MysqlInstallation:
    """How to start the server program, and the folder above its own files."""

    product: Product
    program: tuple[str, ...]
    base_dir: Path

    @property
    def messages_dir(self) -> Path:
        """Texts of errors, and with MariaDB the statements that make the system's tables."""
        mariadb = self.base_dir / "share/mariadb"
        return mariadb if self.product is Product.MARIADB and mariadb.exists() else self.base_dir / "share/mysql"

    def is_at_least(self, *version: int) -> bool:
        done = subprocess.run([*self.program, "--version"], capture_output=True, text=True, check=True)
        found = re.search(r"Ver (\d+)\.(\d+)", done.stdout)
        assert found is not None, done.stdout
        return tuple(map(int, found.groups())) >= version

    @property
    def reset_binlog(self) -> str:
        """The statement that begins the binlog anew."""
        is_new = self.product is Product.MYSQL and self.is_at_least(8, 2)
        return "RESET BINARY LOGS AND GTIDS" if is_new else "RESET MASTER"

    @property
    def settings(self) -> Mapping[str, str]:
        return {"basedir": str(self.base_dir), "lc_messages_dir": str(self.messages_dir)}


def find_installation(product: Product) -> MysqlInstallation | None:
    """The installation on this machine; None if there is none."""
    mysql_root, mariadb_root = (os.environ.get(name) for name in ROOT_VARIABLES)
    if product is Product.MYSQL:
        return _find_in_root(product, Path(mysql_root or MYSQL_ROOT), "mysqld")
    if mariadb_root:
        return _find_in_root(product, Path(mariadb_root), "mariadbd")
    program = Path("/usr/sbin/mariadbd")
    return MysqlInstallation(product, (str(program),), Path("/usr")) if program.exists() else None


def _find_in_root(product: Product, root: Path, name: str) -> MysqlInstallation | None:
    if not (root / "usr/sbin" / name).exists():
        return None
    folders = [*sorted(root.glob("lib/*-linux-gnu*")), *sorted(root.glob("usr/lib/*-linux-gnu*")), root / "usr/lib"]
    # Some roots have absolute links, which lead out of them.
    loaders = [path.resolve() for folder in (*folders, root / "usr/lib64") for path in folder.glob(LOADER)]
    loader = next(path for path in loaders if path.is_relative_to(root.resolve()) and path.exists())
    libraries = ":".join(str(path) for path in folders)
    program = (str(loader), "--library-path", libraries, str(root / "usr/sbin" / name))
    return MysqlInstallation(product, program, root / "usr")


class MysqlServer:
    """One server; a context manager that starts it and stops it."""

    def __init__(
        self,
        installation: MysqlInstallation,
        *,
        settings: Mapping[str, str] | None = None,
        timeout_s: float = 90.0,
    ) -> None:
        self.product = installation.product
        self.host = HOST
        self.port = 0
        self.user = ADMIN
        self.password = secrets.token_urlsafe(24)
        own = MYSQL_SETTINGS if self.product is Product.MYSQL else MARIADB_SETTINGS
        self.settings = {**COMMON_SETTINGS, **own, "server_id": str(next(_server_ids)), **(settings or {})}
        self._installation = installation
        self._timeout_s = timeout_s
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._account = choose_account()

    def __repr__(self) -> str:
        return f"MysqlServer({self.product.value}, port={self.port})"

    @property
    def is_mariadb(self) -> bool:
        return self.product is Product.MARIADB

    @property
    def folder(self) -> Path:
        """Where data and log are; only while the server exists."""
        assert self._folder is not None, "the server was not started or is stopped for good"
        return self._folder

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def temporary_dir(self) -> Path:
        return self.folder / "tmp"

    def is_at_least(self, *version: int) -> bool:
        """Of its product's own numbers."""
        return self._installation.is_at_least(*version)

    def read_log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def is_running(self) -> bool:
        """Whether the server's process lives; a paused one does."""
        return self._process is not None and self._process.poll() is None

    def exists(self) -> bool:
        """Whether the server has its folder: from `start` to `stop`, killed in between or not."""
        return self._folder is not None

    # --- SQL --------------------------------------------------------------------------------------

    @contextmanager
    def connect(self, database: str | None = None, **options: Any) -> Iterator[Connection[Any]]:
        """A connection in autocommit mode as an account with all privileges."""
        connection = pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            **{"autocommit": True, "charset": "utf8mb4", "connect_timeout": 10, "local_infile": True, **options},
        )
        try:
            yield connection
        finally:
            connection.close()

    def read_binlog_end(self) -> tuple[Any, ...]:
        """File, offset and more of the end of the binlog, as the server shows them."""
        is_new = not self.is_mariadb and self._installation.is_at_least(8, 2)
        return self.fetch_all("SHOW BINARY LOG STATUS" if is_new else "SHOW MASTER STATUS")[0]

    def execute(self, *statements: str, database: str | None = None) -> None:
        """Run the statements one after the other on one connection in autocommit mode."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def fetch_all(
        self, query: str, parameters: Sequence[Any] | None = None, *, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        with self.connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return list(cursor.fetchall())

    def fetch_value(self, query: str, parameters: Sequence[Any] | None = None, *, database: str | None = None) -> Any:
        """The first column of the first row; None if there is no row."""
        rows = self.fetch_all(query, parameters, database=database)
        return rows[0][0] if rows else None

    # --- start and stop ---------------------------------------------------------------------------

    def start(self) -> None:
        """Return once the server accepts connections; after `kill` it is the same one on the same port."""
        if self.is_running():
            return
        try:
            self._prepare()
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server at once, as its data goes with it, and remove its folder. Safe to repeat."""
        if self._folder is None:
            return
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        GUARD.forget(self._folder)
        self._folder = None

    def restart(self, *, settings: Mapping[str, str] | None = None) -> None:
        """Stop in order and start again with the same data and port, with changed settings if given."""
        self._end_process()
        self.settings.update(settings or {})
        self.start()

    def kill(self) -> None:
        """SIGKILL the server; `start` brings it back with its data."""
        if self._process is not None:
            self._process.kill()
        self._kill_rest()

    def pause(self) -> None:
        """Stop the server in its tracks; its connections stay open and silent."""
        signal_all(self.data_dir, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        signal_all(self.data_dir, signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- how --------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="towline-my-")).resolve()
            GUARD.watch(self._folder, temporary=True)
            self._account.own(self._folder)
            # Temporary tables of servers that share a folder for them get in each other's way.
            self.temporary_dir.mkdir()
            self._account.own(self.temporary_dir)
        if not self.data_dir.exists():
            self._fill_data_dir()

    def _fill_data_dir(self) -> None:
        command = [*self._installation.program, "--no-defaults"]
        command += [f"--{name}={value}" for name, value in self._installation.settings.items()]
        command += [f"--datadir={self.data_dir}", f"--tmpdir={self.temporary_dir}", "--innodb-flush-method=nosync"]
        if self.is_mariadb:
            self.data_dir.mkdir()
            self._account.own(self.data_dir)
            statements = self.folder / "system.sql"
            statements.write_bytes(_system_statements(self._installation.messages_dir))
            command = ["sh", "-c", 'exec "$@" <system.sql', "sh", *command, "--bootstrap", "--max-allowed-packet=8M"]
        else:
            command.append("--initialize-insecure")
        done = self._account.run(*command, cwd=self.folder)
        if done.returncode != 0:
            shutil.rmtree(self.data_dir, ignore_errors=True)
            raise RuntimeError(f"{self.product.value}: no data folder: {(done.stdout + done.stderr)[-LOG_TAIL_CHARS:]}")
        accounts = self.folder / "accounts.sql"
        accounts.touch(mode=0o600)
        self._account.own(accounts)
        accounts.write_text(
            f"CREATE USER IF NOT EXISTS '{ADMIN}'@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{ADMIN}'@'%' WITH GRANT OPTION;\n"
            # Else the set of executed transactions would not begin with the tests.
            f"{self._installation.reset_binlog};\n"
        )

    def _launch(self) -> None:
        has_port = self.port != 0
        for attempt in range(START_ATTEMPTS):
            self.port = self.port or choose_free_port()
            self._start_process()
            if self._wait_until_ready():
                (self.folder / "accounts.sql").write_text("")
                return
            # Somebody else took the port between the choice and the start.
            is_port_taken = "ddress already in use" in self.read_log()[-LOG_TAIL_CHARS:]
            if not is_port_taken or has_port or attempt == START_ATTEMPTS - 1:
                break
            self.port = 0
        raise RuntimeError(f"{self.product.value} did not start: {self.read_log()[-LOG_TAIL_CHARS:]}")

    def _start_process(self) -> None:
        settings = {
            **self._installation.settings,
            **self.settings,
            "port": str(self.port),
            "datadir": str(self.data_dir),
            "tmpdir": str(self.temporary_dir),
            "socket": str(self.folder / "socket"),
            "pid_file": str(self.folder / "pid"),
            "init_file": str(self.folder / "accounts.sql"),
        }
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._installation.program,
                    "--no-defaults",
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
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
                with self.connect():
                    return True
            except pymysql.err.OperationalError:
                time.sleep(POLL_S)
        self._end_process()
        return False

    def _end_process(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            self.resume()  # a paused server cannot obey
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                pass  # killed below
        self._kill_rest()

    def _kill_rest(self) -> None:
        end_server(self.folder, self.data_dir)
        if self._process is not None:
            self._process.wait(timeout=self._timeout_s)
            self._process = None


@dataclass(frozen=True)
class MysqlDatabase:
    """One database of one server, with a few blocking calls for setting it up and looking at it."""

    server: MysqlServer
    name: str

    def connect(self, **options: Any) -> Any:
        """A context manager of a new connection in autocommit mode."""
        return self.server.connect(self.name, **options)

    def execute(self, *statements: str) -> None:
        """Run the statements one after the other on one connection in autocommit mode."""
        self.server.execute(*statements, database=self.name)

    def fetch_all(self, query: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        return self.server.fetch_all(query, parameters, database=self.name)

    def fetch_value(self, query: str, parameters: Sequence[Any] | None = None) -> Any:
        """The first column of the first row; None if there is no row."""
        return self.server.fetch_value(query, parameters, database=self.name)

    def drop(self) -> None:
        """Remove the database, with the prepared XA transactions and the sessions that would hold it."""
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (self.name,))
            for (session_id,) in cursor.fetchall():
                try:
                    cursor.execute(f"KILL {session_id}")
                except pymysql.err.Error:
                    pass  # ended meanwhile
            _roll_back_prepared(cursor)
            cursor.execute(f"DROP DATABASE IF EXISTS `{self.name}`")


def _roll_back_prepared(cursor: Any) -> None:
    deadline_s = time.monotonic() + DROP_TIMEOUT_S
    cursor.execute(
        "XA RECOVER FORMAT='SQL'" if "MariaDB" in cursor.connection.server_version else "XA RECOVER CONVERT XID"
    )
    for _, global_length, branch_length, data in cursor.fetchall():
        while True:
            try:
                cursor.execute(f"XA ROLLBACK {_render_xid(data, global_length, branch_length)}")
                break
            except pymysql.err.OperationalError:
                # Its session, killed a moment ago, has not let go of it yet.
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(POLL_S)


def _render_xid(data: str, global_length: int, branch_length: int) -> str:
    if data.startswith("0x"):  # MySQL: both parts in one hexadecimal number
        end = 2 + 2 * global_length
        return f"{data[:end]}, 0x{data[end:]}" if branch_length else data
    return data


def _system_statements(folder: Path) -> bytes:
    """What `mariadb-install-db` sends to a server in its first moments; without the texts of HELP."""
    head = b"CREATE DATABASE IF NOT EXISTS mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n"
    (prefix,) = {path.name.split("_system_tables")[0] for path in folder.glob("*_system_tables.sql")}
    names = [f"{prefix}_{name}" for name in ("system_tables", "performance_tables", "system_tables_data", "sys_schema")]
    names.insert(3, "maria_add_gis_sp_bootstrap")
    return head + b"".join((folder / f"{name}.sql").read_bytes() for name in names)

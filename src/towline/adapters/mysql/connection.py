"""Sessions whose settings Towline relies on.

Every session speaks utf8mb4, thinks in UTC, commits each statement unless told otherwise, has no limits of time or rows
of the account or server, and an sql_mode that changes no value: see `SQL_MODE`.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from weakref import WeakSet

import pymysql
from pymysql.constants import CLIENT

from towline.adapters.database_url import read_certificate, split_url
from towline.adapters.mysql.errors import translated_connecting
from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.session import Session
from towline.domain.errors import ConnectionRefused, RequestError, Side
from towline.domain.jobs import Endpoint

DEFAULT_PORT: Final = 3306

# No mode that makes a value invalid which the source already holds (NO_ZERO_DATE and its kin), none that changes the
# meaning of statements (ANSI_QUOTES, NO_BACKSLASH_ESCAPES, PIPES_AS_CONCAT); strict, so that a value which does
# not fit is an error rather than another value; 0 stays 0 in an AUTO_INCREMENT column.
SQL_MODE: Final = "STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"

_LONG_S = 86_400
_NO_LIMIT = 2**64 - 1
SESSION_SETTINGS: Final[Mapping[str, str]] = {
    "time_zone": "'+00:00'",
    "sql_mode": f"'{SQL_MODE}'",
    "wait_timeout": str(_LONG_S),
    "net_read_timeout": str(_LONG_S),
    "net_write_timeout": str(_LONG_S),
    "sql_quote_show_create": "1",
    "sql_safe_updates": "0",
    # Numbers, as DEFAULT means what the server has for all its sessions.
    "sql_select_limit": str(_NO_LIMIT),
    "max_join_size": str(_NO_LIMIT),
    "sql_big_selects": "1",  # behind the size, which changes it
    "autocommit": "1",
    "completion_type": "'NO_CHAIN'",
    "unique_checks": "1",
    "sql_auto_is_null": "0",
    "group_concat_max_len": "1048576",
}

_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_COUNT = 15, 5, 3
_SOCKET_BUFFER_BYTES = 1024 * 1024
# All that this process has made. The servers show no session's purpose to others, and not every session may hold a name
# as those that write on a target do, so this is how a look at a server tells the job's own sessions from others.
_OPENED: Final[WeakSet[Session]] = WeakSet()
# `mysql`'s own words.
_TLS_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")


async def connect(
    endpoint: Endpoint,
    *,
    purpose: str,
    settings: Mapping[str, str] | None = None,
    with_database: bool = False,
    timeout_s: float = 10,
    side: Side = Side.TOWLINE,
    prepare: Callable[[Session], Awaitable[None]] | None = None,
) -> Session:
    """A new session, with `towline:<purpose>` as its program name where the server keeps that. The caller ends it.

    `settings` are session variables with their values as SQL.  The session has a default database only
    `with_database`; names are written in full everywhere.  `prepare` makes it ready for its purpose; where that fails
    or is cancelled, nobody is left with an open session.

    Raises:
        ConnectionRefused: the server answered, but not with a session.
        ServerUnreachable: nothing answered; trying again may work.
    """
    session = Session(side=side, name=purpose)
    what = f"connecting to {endpoint.host}:{endpoint.port or DEFAULT_PORT}"
    driver = _new_driver(endpoint, purpose, with_database=with_database, timeout_s=timeout_s)

    def open_driver() -> None:
        address = (endpoint.host, endpoint.port or DEFAULT_PORT)
        line = socket.create_connection(address, timeout_s)
        try:
            _tune(line)
            driver._sock = line
            session.adopt(driver)
            _hand_shake(driver, line, timeout_s)
            session.adopt(driver)  # TLS has put another object in the socket's place
            session.flavor = Flavor.parse(driver.get_server_info())
            _set_session(driver, session.flavor, settings or {})
        except BaseException:
            line.close()
            raise

    try:
        with translated_connecting(side, what=what):
            await session.call_untranslated(open_driver)
    except ValueError as error:
        session.terminate()
        raise ConnectionRefused(f"{what}: not a MySQL or MariaDB server", side=side) from error
    except BaseException:
        session.terminate()
        raise
    if prepare is not None:
        try:
            await prepare(session)
        except BaseException:
            session.terminate()
            raise
    _OPENED.add(session)
    return session


def own_sessions(side: Side, job_id: str) -> dict[int, str]:
    """The connection ids of this process's sessions for the job on that side, each with its purpose."""
    prefix = f"{job_id}:"
    return {
        session.connection_id: session.name.removeprefix(prefix)
        for session in _OPENED
        if session.side is side and session.name.startswith(prefix) and not session.is_closed
    }


def parse_url(url: str) -> Endpoint:
    """An endpoint from `mysql://user:password@host:port/database?ssl-mode=...&ssl-ca=FILE`; `mariadb://` is the same.

    `ssl-mode` as in the mysql program: DISABLED and PREFERRED (the default) mean no TLS; REQUIRED encrypts, and
    verifies if a certificate is given; VERIFY_CA and VERIFY_IDENTITY need one.

    Raises:
        RequestError: says which part is wrong, without repeating the URL (it holds a password).
    """
    parts = split_url(url, schemes=("mysql", "mariadb"), options=("ssl-mode", "ssl-ca"))
    mode = parts.options.get("ssl-mode", "PREFERRED").upper()
    certificate = read_certificate(parts.options.get("ssl-ca", ""))
    parts.require_place("mysql://USER:PASSWORD@HOST:PORT/DATABASE")
    if mode not in _TLS_MODES:
        raise RequestError("the database URL has an unknown ssl-mode")
    if mode.startswith("VERIFY") and not certificate:
        raise RequestError(f"ssl-mode={mode} needs ssl-ca=FILE in the database URL")
    return Endpoint(
        family="mysql",
        host=parts.host,
        port=parts.port or DEFAULT_PORT,
        user=parts.user,
        password=parts.password,
        database=parts.database,
        tls=mode in ("REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"),
        tls_root_certificate=certificate,
    )


def _new_driver(endpoint: Endpoint, purpose: str, *, with_database: bool, timeout_s: float) -> Any:
    context = _tls_context(endpoint)
    return pymysql.Connection(
        host=endpoint.host,
        port=endpoint.port or DEFAULT_PORT,
        user=endpoint.user,
        password=endpoint.password.encode(),
        database=endpoint.database if with_database and endpoint.database else None,
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=max(1, round(timeout_s)),
        program_name=f"towline:{purpose}"[:63],
        ssl=context,
        ssl_disabled=context is None,
        # LOAD DATA LOCAL is spoken by `load_data.py` itself.  The driver is told that it is off, so that a hostile
        # server which asks for a file in answer to some other statement gets none.
        local_infile=False,
        client_flag=CLIENT.LOCAL_FILES | CLIENT.FOUND_ROWS,
        auth_plugin_map={} if context is not None else {"mysql_clear_password": _NoClearPassword},
        defer_connect=True,
    )


class _NoClearPassword:
    """The driver would send the password in the clear to whoever asks for it."""

    def __init__(self, _driver: Any) -> None:
        pass

    def authenticate(self, _packet: Any) -> Any:
        raise pymysql.err.OperationalError(2059, "the server wants the password in the clear; use TLS")


def _hand_shake(driver: Any, line: socket.socket, timeout_s: float) -> None:
    driver._read_timeout = driver._write_timeout = timeout_s
    driver.connect(line)
    # From here on a statement may take as long as it takes; keepalive notices a peer that is gone.
    driver._read_timeout = driver._write_timeout = driver._current_timeout = None
    driver._sock.settimeout(None)


def _set_session(driver: Any, flavor: Flavor, settings: Mapping[str, str]) -> None:
    given = {**SESSION_SETTINGS, flavor.statement_time_limit: "0", **settings}
    if flavor.is_mysql_from(8, 0, 30):
        # A key that the server made by itself is in the binlog whether the catalog shows it or not.
        given["show_gipk_in_create_table_and_information_schema"] = "ON"
    assignments = ", ".join(f"SESSION {name} = {value}" for name, value in given.items())
    driver.query(f"SET {assignments}")


def _tls_context(endpoint: Endpoint) -> ssl.SSLContext | None:
    """None for a plain connection; always our own context, so that no file of the environment is looked up."""
    if not endpoint.tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificates that MySQL makes for itself lack fields that Python's strict check asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if endpoint.tls_root_certificate:
        context.load_verify_locations(cadata=endpoint.tls_root_certificate)
        context.check_hostname = not _is_address(endpoint.host)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _tune(line: socket.socket) -> None:
    """No delay for small packets; a peer that vanished is noticed in half a minute; room for blocks of rows."""
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
    if hasattr(socket, "TCP_KEEPIDLE"):
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_S)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_COUNT)

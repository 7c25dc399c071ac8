"""Sessions whose settings Towline relies on, and the same endpoint in libpq's words.

Every session starts with an empty `search_path` (names are written in full), lossless text output and
without the time limits of its role or database, on every server version from 12 on.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from psycopg.conninfo import make_conninfo

from towline.adapters.database_url import read_certificate, split_url
from towline.adapters.postgres.errors import translated, translated_connecting
from towline.domain.errors import RequestError, Side
from towline.domain.jobs import Endpoint

DEFAULT_PORT = 5432
DEFAULT_DATABASE = "postgres"

# Known to every version from 12 on: an unknown setting in the startup packet is a fatal error.
SESSION_SETTINGS: Mapping[str, str] = {
    "search_path": "",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
    # What text means: amounts of money, NULL in an array, pieces of XML, `= NULL` in an expression.
    "lc_monetary": "C",
    "array_nulls": "on",
    "xmloption": "content",
    "transform_null_equals": "off",
    # A policy that hides rows is an error, rather than rows that are not there.
    "row_security": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    # Compiling costs more than it saves on catalog queries and on single statements over many rows.
    "jit": "off",
}
# Settings that came later, with the version they came with.
_LATER_SETTINGS = ((14, "idle_session_timeout"), (17, "transaction_timeout"))

_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_COUNT = 15, 5, 3


async def connect(
    endpoint: Endpoint,
    *,
    purpose: str,
    settings: Mapping[str, str] | None = None,
    timeout_s: float = 10,
    side: Side = Side.TOWLINE,
    prepare: Callable[[asyncpg.Connection], Awaitable[None]] | None = None,
) -> asyncpg.Connection:
    """A new session, named `towline:<purpose>` on the server. The caller closes it.

    `prepare` makes it ready for its purpose; where that fails or is cancelled, nobody is left with an open session.

    Raises:
        ConnectionRefused: the server answered, but not with a session.
        ServerUnreachable: nothing answered; trying again may work.
    """
    what = f"connecting to {endpoint.host}:{endpoint.port or DEFAULT_PORT}"
    with translated_connecting(side, what=what):
        connection: asyncpg.Connection = await asyncpg.connect(
            host=endpoint.host,
            port=endpoint.port or DEFAULT_PORT,
            user=endpoint.user,
            password=endpoint.password,
            database=endpoint.database or DEFAULT_DATABASE,
            timeout=timeout_s,
            ssl=_tls_context(endpoint) or False,
            target_session_attrs=SessionAttribute.any,  # said, so that the environment is not asked
            server_settings={
                **SESSION_SETTINGS,
                "application_name": application_name(purpose),
                **(settings or {}),
            },
        )
        try:
            _keep_alive(connection)
            later = _later_settings(connection.get_server_version().major, settings or {})
            if later:
                await connection.execute(later)
        except BaseException:
            connection.terminate()
            raise
    if prepare is not None:
        try:
            with translated(side, what="preparing a session"):
                await prepare(connection)
        except BaseException:
            connection.terminate()
            raise
    return connection


def application_name(purpose: str) -> str:
    """What the server shows for a session; bookkeeping finds a job's sessions by it."""
    return f"towline:{purpose}"[:63]


def libpq_conninfo(
    endpoint: Endpoint, *, purpose: str, replication: bool = False, options: Mapping[str, str] | None = None
) -> str:
    """A connection string for psycopg, password included: hand it over in memory, never log or print it.

    `options` are settings of the session. With `replication` the connection speaks the replication protocol
    for the endpoint's database.
    """
    given = {**SESSION_SETTINGS, **(options or {})}
    return make_conninfo(
        "",
        host=endpoint.host,
        port=endpoint.port or DEFAULT_PORT,
        user=endpoint.user,
        password=endpoint.password,
        dbname=endpoint.database or DEFAULT_DATABASE,
        application_name=application_name(purpose),
        client_encoding="UTF8",
        connect_timeout=10,
        keepalives_idle=_KEEPALIVE_IDLE_S,
        keepalives_interval=_KEEPALIVE_INTERVAL_S,
        keepalives_count=_KEEPALIVE_COUNT,
        target_session_attrs="any",
        options=_render_options(given),
        **({"replication": "database"} if replication else {}),
        **_libpq_tls(endpoint),
    )


def libpq_environment(endpoint: Endpoint, *, purpose: str) -> dict[str, str]:
    """The endpoint for a libpq program such as pg_dump; its arguments then hold nothing secret (I7).

    Only the process's owner and root can read another process's environment; arguments everybody can.
    """
    tls = _libpq_tls(endpoint)
    return {
        "PGHOST": endpoint.host,
        "PGPORT": str(endpoint.port or DEFAULT_PORT),
        "PGUSER": endpoint.user,
        "PGPASSWORD": endpoint.password,
        "PGDATABASE": endpoint.database or DEFAULT_DATABASE,
        "PGAPPNAME": application_name(purpose),
        "PGCONNECT_TIMEOUT": "10",
        "PGCLIENTENCODING": "UTF8",
        # pg_dump sees to the rest itself.
        "PGOPTIONS": _render_options({"lc_monetary": SESSION_SETTINGS["lc_monetary"]}),
        "PGSSLMODE": tls["sslmode"],
        **({"PGSSLROOTCERT": tls["sslrootcert"]} if "sslrootcert" in tls else {}),
    }


def parse_url(url: str) -> Endpoint:
    """An endpoint from `postgresql://user:password@host:port/database?sslmode=...&sslrootcert=FILE`.

    `sslmode` disable, allow and prefer mean no TLS; require encrypts, and verifies if a root certificate is
    given; verify-ca and verify-full need one.

    Raises:
        RequestError: says which part is wrong, without repeating the URL (it holds a password).
    """
    parts = split_url(url, schemes=("postgresql", "postgres"), options=("host", "sslmode", "sslrootcert"))
    parts = replace(parts, host=parts.options.get("host") or parts.host)
    mode = parts.options.get("sslmode", "prefer")
    certificate = read_certificate(parts.options.get("sslrootcert", ""))
    parts.require_place("postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    if mode not in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"):
        raise RequestError("the database URL has an unknown sslmode")
    if mode.startswith("verify") and not certificate:
        raise RequestError(f"sslmode={mode} needs sslrootcert=FILE in the database URL")
    return Endpoint(
        family="postgresql",
        host=parts.host,
        port=parts.port or DEFAULT_PORT,
        user=parts.user,
        password=parts.password,
        database=parts.database or parts.user,
        tls=mode.startswith(("require", "verify")),
        tls_root_certificate=certificate,
    )


def _tls_context(endpoint: Endpoint) -> ssl.SSLContext | None:
    """None for a plain connection; always our own context, so that none of ~/.postgresql is looked up."""
    if not endpoint.tls or endpoint.host.startswith("/"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if endpoint.tls_root_certificate:
        context.load_verify_locations(cadata=endpoint.tls_root_certificate)
        context.check_hostname = not _is_address(endpoint.host)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _libpq_tls(endpoint: Endpoint) -> dict[str, str]:
    if not endpoint.tls or endpoint.host.startswith("/"):
        return {"sslmode": "disable"}
    if not endpoint.tls_root_certificate:
        # A file that is not there keeps libpq from picking up ~/.postgresql/root.crt and verifying after all.
        return {"sslmode": "require", "sslrootcert": str(_certificate_folder() / "none")}
    mode = "verify-ca" if _is_address(endpoint.host) else "verify-full"
    return {"sslmode": mode, "sslrootcert": _certificate_file(endpoint.tls_root_certificate)}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1)
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    # Kept by the cache, so it lives as long as the process and is removed at its end.
    return tempfile.TemporaryDirectory(prefix="towline-tls-")


def _certificate_folder() -> Path:
    return Path(_temporary_folder().name)


def _certificate_file(pem: str) -> str:
    """libpq reads root certificates from files only."""
    path = _certificate_folder() / f"{sha256(pem.encode()).hexdigest()}.pem"
    if not path.exists():
        path.write_text(pem)
    return str(path)


def _render_options(settings: Mapping[str, str]) -> str:
    # In the startup options a space separates, unless a backslash precedes it.
    def escape(value: str) -> str:
        return value.replace("\\", "\\\\").replace(" ", "\\ ")

    return " ".join(f"-c {name}={escape(value)}" for name, value in settings.items())


def _later_settings(major: int, asked: Mapping[str, str]) -> str:
    missing = [name for since, name in _LATER_SETTINGS if major >= since and name not in asked]
    return ";".join(f"SET {name} = 0" for name in missing)


def _keep_alive(connection: asyncpg.Connection) -> None:
    """A peer that vanished without a word is noticed in half a minute instead of never."""
    transport = getattr(connection, "_transport", None)
    line = transport.get_extra_info("socket") if transport is not None else None
    if line is None or line.family == socket.AF_UNIX:
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_S)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_COUNT)

"""Driver errors become domain errors here, by SQLSTATE, and nowhere else.

The server's primary message is kept, because it names the object.  Its DETAIL is not: it shows rows.
For errors about values (class 22) the message itself quotes the value, so quoted parts go as well (I7).
The driver's own error stays as `__cause__`, cleaned in the same way, because tracebacks print it.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import psycopg

from towline.domain.errors import (
    ConnectionLost,
    ConnectionRefused,
    Deadlock,
    InvariantBroken,
    MissingPrivilege,
    NoFreeReplicationSlot,
    RowConflict,
    ServerUnreachable,
    SetupError,
    Side,
    SnapshotLost,
    TargetBusy,
    TowlineError,
    TransientError,
    UnclassifiedError,
    UnrepresentableValue,
)

_BY_STATE: dict[str, type[TowlineError]] = {
    "22023": UnclassifiedError,  # a wrong parameter of a command, hardly ever a row
    "23503": RowConflict,
    "23505": RowConflict,
    "23P01": RowConflict,
    "25006": SetupError,  # a standby, or default_transaction_read_only
    "3D000": ConnectionRefused,
    "40001": Deadlock,
    "40P01": Deadlock,
    "42501": MissingPrivilege,
    "53100": SetupError,
    "53200": TransientError,
    "53300": TargetBusy,
    "53400": NoFreeReplicationSlot,
    "55006": TargetBusy,
    "55P03": TargetBusy,
    "57014": TransientError,
    "57P01": ConnectionLost,
    "57P02": ConnectionLost,
    "57P03": ConnectionLost,
    "57P05": ConnectionLost,
    "72000": SnapshotLost,
}
_BY_CLASS: dict[str, type[TowlineError]] = {
    "08": ConnectionLost,
    "22": UnrepresentableValue,
    "23": UnrepresentableValue,
    "28": ConnectionRefused,
}
_REMEDY_BY_STATE = {
    "25006": "Use the address of the primary server, or switch its read-only setting off.",
    "53100": "Free disk space on the server, then retry the job.",
}
# Servers quote in the manner of their language; bytes that are no text are shown in hexadecimal.
_QUOTED = re.compile(r'["«»„“”‹›「」『』].*["«»„“”‹›「」『』]|0x[0-9a-f]{2}(?: 0x[0-9a-f]{2})*', re.DOTALL)


@contextmanager
def translated(side: Side, *, what: str) -> Iterator[None]:
    """Inside, every driver error becomes a TowlineError of that side whose message starts with `what`.

    Errors that are not the driver's pass unchanged, cancellation and TowlineError among them.
    """
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, psycopg.Error, OSError) as error:
        raise translate(error, side, what=what) from error
    except asyncpg.InternalClientError as error:
        raise _from_disorder(error, side, what=what) from error


@contextmanager
def translated_connecting(side: Side, *, what: str) -> Iterator[None]:
    """The same while a connection is being made, where a network error says more."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, psycopg.Error, OSError) as error:
        raise _translate_connecting(error, side, what=what) from error
    except asyncpg.InternalClientError as error:
        # A new session may be ended, by the job's next owner for one, before it has its settings.
        raise _from_disorder(error, side, what=what) from error


def translate(error: Exception, side: Side, *, what: str) -> TowlineError:
    """The domain error for a driver error; also cleans the driver's error of row values."""
    if isinstance(error, (asyncpg.PostgresError, psycopg.Error)) and error.sqlstate:
        return _from_server(error, side, what=what)
    if isinstance(error, asyncpg.InterfaceError):
        if _is_closed(error):
            return ConnectionLost(f"{what}: the connection was closed", side=side)
        return InvariantBroken(f"{what}: {error}", side=side)
    if isinstance(error, psycopg.InterfaceError | psycopg.ProgrammingError):
        return InvariantBroken(f"{what}: {_first_line(error)}", side=side)
    # What is left comes from the socket: OSError and its timeouts, libpq without a server's answer.
    return ConnectionLost(f"{what}: {_first_line(error) or type(error).__name__}", side=side)


def _from_disorder(error: asyncpg.InternalClientError, side: Side, *, what: str) -> TowlineError:
    """The driver's state is left in disorder when the server ends an idle session with a last word."""
    if "cannot switch to state" in str(error):
        return ConnectionLost(f"{what}: the server ended the session", side=side)
    return InvariantBroken(f"{what}: {error}", side=side)


def sqlstate_of(error: BaseException) -> str:
    """The SQLSTATE behind a translated error, "" if the server did not send one."""
    if isinstance(error, TowlineError):
        return str(error.context.get("sqlstate", ""))
    return str(getattr(error, "sqlstate", None) or "")


def server_message(error: TowlineError) -> str:
    """The server's own words behind a translated error, cleaned of row values; "" if it did not speak."""
    cause = error.__cause__
    if isinstance(cause, (asyncpg.PostgresError, psycopg.Error)) and cause.args:
        return str(cause.args[0])
    return ""


def _translate_connecting(error: Exception, side: Side, *, what: str) -> TowlineError:
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "verify_message", "") or error.reason or "failed"
        return ConnectionRefused(f"{what}: TLS: {reason}", side=side)
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        return ConnectionRefused(f"{what}: the host name cannot be resolved", side=side)
    if type(error) is ConnectionError:
        # The driver raises the bare class in one case only: the server answered "no" to the request for TLS.
        return ConnectionRefused(f"{what}: the server does not offer TLS", side=side)
    if isinstance(error, asyncpg.InterfaceError) and not _is_closed(error):
        return ConnectionRefused(f"{what}: {_first_line(error)}", side=side)
    if isinstance(error, TimeoutError):
        return ServerUnreachable(f"{what}: no answer in time", side=side)
    if isinstance(error, OSError):
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else _first_line(error)
        return ServerUnreachable(f"{what}: {reason}", side=side)
    translated_error = translate(error, side, what=what)
    if sqlstate_of(translated_error):
        return translated_error
    return ServerUnreachable(translated_error.message, side=side)


def _from_server(error: asyncpg.PostgresError | psycopg.Error, side: Side, *, what: str) -> TowlineError:
    state = str(error.sqlstate)
    kind = _BY_STATE.get(state) or _BY_CLASS.get(state[:2]) or UnclassifiedError
    message = _clean_message(error, state)
    return kind(
        f"{what}: {message} (SQLSTATE {state})",
        side=side,
        remedy=_REMEDY_BY_STATE.get(state),
        sqlstate=state,
        **_fields(error),
    )


def _clean_message(error: asyncpg.PostgresError | psycopg.Error, state: str) -> str:
    """The primary message without row values; the driver's error is left with nothing more than that (I7)."""
    if isinstance(error, psycopg.Error):
        message = error.diag.message_primary or _first_line(error)
    else:
        message = str(error.args[0]) if error.args else type(error).__name__
        error.detail = None
    if state.startswith("22"):
        message = _QUOTED.sub('"…"', message)
    error.args = (message, *error.args[1:])
    return message


def _fields(error: asyncpg.PostgresError | psycopg.Error) -> dict[str, Any]:
    """Names of the objects that the server says it is about."""
    holder: Any = error.diag if isinstance(error, psycopg.Error) else error
    kinds = ("schema", "table", "column", "constraint")
    names = {kind: getattr(holder, f"{kind}_name", None) for kind in kinds}
    return {kind: name for kind, name in names.items() if name}


def _is_closed(error: asyncpg.InterfaceError) -> bool:
    return "closed" in str(error) or "connection lost" in str(error)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]

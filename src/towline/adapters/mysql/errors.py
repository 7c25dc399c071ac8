"""Driver errors become domain errors here, by error number, and nowhere else.

The numbers are those of the servers' error lists; below 4000 both products share them.  The server's message is
kept, because it names the object.  Where it quotes a value or a piece of the statement, the quoted parts go (I7).
The driver's own error stays as `__cause__`, cleaned in the same way, because tracebacks print it.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pymysql
from pymysql.err import InterfaceError

from towline.domain.errors import (
    ConnectionLost,
    ConnectionRefused,
    DataError,
    Deadlock,
    InvariantBroken,
    MissingPrivilege,
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

ACCESS_DENIED: Final = 1045
DUPLICATE_ENTRY: Final = 1062
NO_SUCH_TABLE: Final = 1146
LOST_CONNECTION: Final = 2013
LOCAL_INFILE_DISABLED: Final = frozenset({1148, 3948, 4166})

_NUMBERS_BY_CLASS: Final[dict[type[TowlineError], tuple[int, ...]]] = {
    ConnectionRefused: (
        1045,  # wrong user or password
        1049,  # unknown database
        1129,  # host blocked after many errors
        1130,  # host not allowed
        1251,
        1275,
        1524,  # authentication that client or server does not have
        1698,
        1820,
        1862,  # password expired
        2026,  # TLS
        2059,
        3118,
        4151,  # account locked
    ),
    MissingPrivilege: (1044, 1142, 1143, 1227, 1370, 1410, 1419, 1698, 3879),
    SetupError: (
        1021,  # disk full
        1114,  # table or temporary space full
        1148,
        1153,  # packet larger than max_allowed_packet
        1206,
        1290,  # --read-only, --super-read-only and other options
        1792,
        1836,
        3948,
        4166,
    ),
    TargetBusy: (1040, 1203, 1205, 1226, 3572),
    Deadlock: (1213, 1614, 3101),
    ConnectionLost: (1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2014, 2055, 3169, 4031),
    TransientError: (1037, 1038, 1041, 1135, 1180, 1181, 1317, 1637, 1969, 3024),
    ServerUnreachable: (2001, 2002, 2003, 2005),
    # The table was altered after the snapshot was taken, which cannot read it any more.
    SnapshotLost: (1412,),
    RowConflict: (DUPLICATE_ENTRY, 1022, 1169, 1216, 1217, 1451, 1452, 1557, 1586, 1761, 1762),
    UnrepresentableValue: (
        1048,  # NULL in a NOT NULL column
        1118,  # row too large
        1263,
        1264,  # out of range
        1265,  # truncated
        1292,
        1300,  # not in the character set
        1364,
        1365,
        1366,
        1367,
        1406,  # too long
        1411,
        1416,
        1425,
        1441,
        1526,  # no partition for the value
        1690,
        1748,
        1859,
        3140,  # not JSON
        3141,
        3516,
        3616,
        3617,
        3643,  # wrong SRID
        3819,  # CHECK, MySQL
        3820,
        4025,  # CHECK, MariaDB
        4078,
        4079,
    ),
}
_BY_NUMBER: Final = {number: kind for kind, numbers in _NUMBERS_BY_CLASS.items() for number in numbers}
_REMEDY_BY_NUMBER: Final = {
    1021: "Free disk space on the server, then retry the job.",
    1114: "Free disk space on the server, or let its table space grow, then retry the job.",
    1153: "Raise max_allowed_packet on the server that refused, then retry the job.",
    1290: "Use the address of the primary server, or switch its read-only setting off.",
    1836: "Use the address of the primary server, or switch its read-only setting off.",
    **dict.fromkeys(LOCAL_INFILE_DISABLED, "Set local_infile = ON on the target, then retry the job."),
}
# Here the quoted parts are names of objects, users or options.
_QUOTES_NO_VALUES: Final = frozenset(
    number
    for kind in (ConnectionRefused, MissingPrivilege, SetupError, TargetBusy, ConnectionLost)
    for number in _NUMBERS_BY_CLASS[kind]
) | {1046, 1051, 1054, 1061, 1072, 1091, 1146, 1236, 1264, 1265, 1305, 1356, 1359, 1360, 1364, 1406, 1048, 1449}
# 1526 "Table has no partition for value 4711", 1367 "Illegal DOUBLE '1e400' value found during parsing"
_QUOTES_VALUES_BARE = frozenset({1367, 1526})
_VALUE_AND_REST = re.compile(r"(?:'.*' )?value .*", re.DOTALL)
# Column and key names follow these words; all other quoted parts may be values.
_NAMED = re.compile(r"(?:for column|for key|Column|Field|constraint) '[^']*'", re.IGNORECASE)
# MariaDB names some columns in full, at the end, where no value can be taken for it.
_NAMED_IN_FULL = re.compile(r"for column (?:`[^`]*`\.){2}(`[^`]*`) at row \d+\Z")
_QUOTED = re.compile(r"(?<![A-Za-z])'.*'(?![A-Za-z])|`[^`]*`|\"[^\"]*\"", re.DOTALL)


@contextmanager
def translated(side: Side, *, what: str) -> Iterator[None]:
    """Inside, every driver error becomes a TowlineError of that side whose message starts with `what`.

    Errors that are not the driver's pass unchanged, cancellation and TowlineError among them.
    """
    try:
        yield
    except (pymysql.Error, OSError) as error:
        raise translate(error, side, what=what) from error


@contextmanager
def translated_connecting(side: Side, *, what: str) -> Iterator[None]:
    """The same while a connection is being made, where a network error says more."""
    try:
        yield
    except (pymysql.Error, OSError) as error:
        raise _translate_connecting(error, side, what=what) from error


def translate(error: Exception, side: Side, *, what: str, is_login: bool = False) -> TowlineError:
    """The domain error for a driver error; also cleans the driver's error of row values.

    To a statement the number of a refused login says that the account may not do this: a server does so with the
    binlog, managed services with FLUSH TABLES WITH READ LOCK.
    """
    if isinstance(error, InterfaceError):
        return ConnectionLost(f"{what}: the connection was closed", side=side)
    number = number_of(error)
    if isinstance(error, pymysql.Error) and number:
        kind = _BY_NUMBER.get(number, UnclassifiedError)
        if number == ACCESS_DENIED and not is_login:
            kind = MissingPrivilege
        message = _clean_message(error, number)
        return kind(
            f"{what}: {message} (error {number})", side=side, remedy=_REMEDY_BY_NUMBER.get(number), number=number
        )
    if isinstance(error, pymysql.Error):
        return InvariantBroken(f"{what}: {_first_line(error)}", side=side)
    return ConnectionLost(f"{what}: {_first_line(error) or type(error).__name__}", side=side)


def number_of(error: BaseException) -> int:
    """The error number behind an error, translated or not; 0 if there is none."""
    if isinstance(error, TowlineError):
        return int(error.context.get("number", 0))
    if isinstance(error, pymysql.Error) and error.args and isinstance(error.args[0], int):
        return error.args[0]
    return 0


def is_data_error(number: int) -> bool:
    """Whether this number, also of a warning, says that a value or row did not fit."""
    return issubclass(_BY_NUMBER.get(number, TowlineError), DataError)


def server_message(error: TowlineError) -> str:
    """The server's own words behind a translated error, cleaned of row values; "" if it did not speak."""
    cause = error.__cause__
    if isinstance(cause, pymysql.Error) and len(cause.args) > 1:
        return str(cause.args[1])
    return ""


def clean_message(message: str, number: int) -> str:
    """The server's message without row values and pieces of statements (I7). Pure."""
    message = message.partition("\n")[0]
    if number in _QUOTES_VALUES_BARE:
        return _VALUE_AND_REST.sub("value …", message)
    if number in _QUOTES_NO_VALUES:
        return message
    full = _NAMED_IN_FULL.search(message)
    names = [f"for column {full[1]}"] if full else _NAMED.findall(message)
    # Values may hold quotes themselves, so everything between the first and the last one goes.
    return _QUOTED.sub("'…'", message) + (f" [{', '.join(names)}]" if names else "")


def _translate_connecting(error: Exception, side: Side, *, what: str) -> TowlineError:
    cause = getattr(error, "original_exception", error)
    if isinstance(cause, ssl.SSLError):
        reason = getattr(cause, "verify_message", "") or cause.reason or "failed"
        return ConnectionRefused(f"{what}: TLS: {reason}", side=side)
    if isinstance(cause, socket.gaierror) and cause.errno != socket.EAI_AGAIN:
        return ConnectionRefused(f"{what}: the host name cannot be resolved", side=side)
    if isinstance(cause, TimeoutError):
        return ServerUnreachable(f"{what}: no answer in time", side=side)
    if isinstance(cause, OSError):
        reason = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else _first_line(cause)
        return ServerUnreachable(f"{what}: {reason}", side=side)
    number = number_of(error)
    if number == LOST_CONNECTION:
        return ServerUnreachable(f"{what}: the server closed the connection", side=side)
    if isinstance(error, pymysql.Error) and not number:
        return ConnectionRefused(f"{what}: {_first_line(error)}", side=side)
    return translate(error, side, what=what, is_login=True)


def _clean_message(error: pymysql.Error, number: int) -> str:
    message = str(error.args[1]) if len(error.args) > 1 else type(error).__name__
    message = clean_message(message, number)
    error.args = (number, message)
    return message


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]

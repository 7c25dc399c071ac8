"""The session in which a statement of the binlog ran, as far as it changes what the statement means. Pure.

A QUERY event has these as status variables: a code of one byte each, then a value whose size follows from the code.
The size of an unknown one is not known either, so what stands behind it cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.quoting import quote_literal

# Not every account may set these two, so they are set only where the session does not have the value already.
EXPLICIT_TIMESTAMPS: Final = "explicit_defaults_for_timestamp"
DEFAULT_COLLATION: Final = "default_collation_for_utf8mb4"
PRIVILEGED_SETTINGS: Final = (EXPLICIT_TIMESTAMPS, DEFAULT_COLLATION)
# For `fit_settings` only.
_MARIADB_FLAGS: Final = "flags"
_MARIADB_COLLATIONS: Final = "collations"

_HEAD: Final = Struct("<IIBHH")  # thread, seconds it took, size of the schema's name, error, size of the variables
_FLAGS, _SQL_MODE, _CATALOG, _AUTO_INCREMENT, _CHARSETS, _TIME_ZONE, _CATALOG_NZ, _TIME_NAMES = range(8)
_DATABASE_CHARSET, _TABLE_MAP, _WRITTEN, _INVOKER, _DATABASES, _MICROSECONDS = range(8, 14)
_EXPLICIT_TIMESTAMPS, _XID, _UTF8MB4_COLLATION, _NEEDS_KEY, _ENCRYPTION = range(16, 21)
_MARIADB_MICROSECONDS, _MARIADB_XID, _MARIADB_PHASE, _MARIADB_SET_COLLATIONS = range(128, 132)

_SIZES: Final = {
    _FLAGS: 4,
    _SQL_MODE: 8,
    _AUTO_INCREMENT: 4,
    _CHARSETS: 6,
    _TIME_NAMES: 2,
    _DATABASE_CHARSET: 2,
    _TABLE_MAP: 8,
    _WRITTEN: 4,
    _MICROSECONDS: 3,
    _EXPLICIT_TIMESTAMPS: 1,
    _XID: 8,
    _UTF8MB4_COLLATION: 2,
    _NEEDS_KEY: 1,
    _ENCRYPTION: 1,
    _MARIADB_MICROSECONDS: 3,
    _MARIADB_XID: 8,
}
_NO_FOREIGN_KEYS, _NO_UNIQUE_KEYS = 1 << 26, 1 << 27
_MARIADB_EXPLICIT_TIMESTAMPS: Final = 1 << 24
# The two that utf8mb4 may have by default in MySQL; before 8.0 there was only the first, and it was not logged.
_UTF8MB4_COLLATIONS: Final = {45: "utf8mb4_general_ci", 255: "utf8mb4_0900_ai_ci"}
_OLD_UTF8MB4_COLLATION: Final = 45
_MANY_DATABASES: Final = 254
# Modes that MySQL 8 no longer knows, and refuses.
_GONE_MODES: Final = 0x3FF00 | 0x10000000

# Numbers of collations by character set, as a session of that set has them.
_LATIN1: Final = frozenset({5, 8, 15, 31, 47, 48, 49, 94})
_UTF8: Final = frozenset({11, 33, 45, 46, 63, 65, 76, 83, 223, *range(192, 248), *range(255, 324)})
# MariaDB's numbers of UCA 14.0.0 begin here: those of utf8mb3, then those of utf8mb4. As a client's character set the
# server takes only the number of the set's first collation.
_NEW_UTF8, _NEW_UTF8MB4 = 2048, 2304
_UTF8MB3_GENERAL, _UTF8MB4_GENERAL = 33, 45
_PAIR: Final = Struct("<HH")
# The binlog has numbers, the variable takes names.
_NAME_COLLATIONS: Final = """(SELECT GROUP_CONCAT(CONCAT(character_set_name, '=', full_collation_name))
FROM information_schema.collation_character_set_applicability WHERE id IN ({numbers}))"""


@dataclass(frozen=True, slots=True)
class StatementContext:
    """`is_phased`: MariaDB logs an ALTER twice when asked (`binlog_alter_two_phase`), as its begin and its end."""

    database: str
    error: int = 0
    timestamp: str = "0"  # seconds, with a fraction
    flags: int | None = None
    sql_mode: int | None = None
    charsets: tuple[int, int, int] | None = None  # of the client, the connection, the server; numbers of collations
    time_zone: str = ""
    has_explicit_timestamps: bool | None = None
    utf8mb4_collation: int | None = None
    set_collations: tuple[int, ...] = ()  # MariaDB: what sets have by default instead of the usual
    is_phased: bool = False
    unknown_code: int | None = None  # of the variable that could not be read, and after it nothing

    def decode_text(self, raw: bytes) -> str | None:
        """The statement as text; None when its character set is not one that is read here."""
        if raw.isascii():
            return raw.decode("ascii")
        client = self.charsets[0] if self.charsets is not None else 45
        if client in _LATIN1:
            return raw.decode("cp1252", "replace")
        if client in _UTF8 or client >= _NEW_UTF8:
            # A constant may hold any bytes; names are UTF-8.
            return raw.decode("utf-8", "replace")
        return None


def decode_context(body: bytes, *, header_seconds: int) -> StatementContext:
    """Of a QUERY event's body; `header_seconds` is the event's own time."""
    _, _, schema_size, error, size = _HEAD.unpack_from(body)
    end = _HEAD.size + size
    found, is_phased, unknown = _split(body[_HEAD.size : end])
    micros = found.get(_MICROSECONDS) or found.get(_MARIADB_MICROSECONDS) or b"\0"
    charsets = found.get(_CHARSETS)
    explicit = found.get(_EXPLICIT_TIMESTAMPS)
    return StatementContext(
        database=body[end : end + schema_size].decode(errors="replace"),
        error=error,
        timestamp=f"{header_seconds}.{int.from_bytes(micros, 'little'):06}",
        flags=_number(found.get(_FLAGS)),
        sql_mode=_number(found.get(_SQL_MODE)),
        charsets=None
        if charsets is None
        else (
            int.from_bytes(charsets[:2], "little"),
            int.from_bytes(charsets[2:4], "little"),
            int.from_bytes(charsets[4:], "little"),
        ),
        time_zone=found.get(_TIME_ZONE, b"").decode(errors="replace"),
        has_explicit_timestamps=None if explicit is None else explicit != b"\0",
        utf8mb4_collation=_number(found.get(_UTF8MB4_COLLATION)),
        set_collations=tuple(number for _, number in _PAIR.iter_unpack(found.get(_MARIADB_SET_COLLATIONS, b""))),
        is_phased=is_phased,
        unknown_code=unknown,
    )


def render_settings(context: StatementContext) -> dict[str, str]:
    """Session variables with their values as SQL, under which a target reads the statement as the source did."""
    settings = {"timestamp": context.timestamp}
    if context.flags is not None:
        settings["foreign_key_checks"] = "0" if context.flags & _NO_FOREIGN_KEYS else "1"
        settings["unique_checks"] = "0" if context.flags & _NO_UNIQUE_KEYS else "1"
    if context.sql_mode is not None:
        settings["sql_mode"] = str(context.sql_mode)
    if context.time_zone:
        settings["time_zone"] = quote_literal(context.time_zone)
    if context.charsets is not None:
        client, connection, server = context.charsets
        settings["character_set_client"] = str(_first_collation(client))
        settings["collation_connection"] = str(connection)
        settings["collation_server"] = str(server)
    if context.has_explicit_timestamps is not None:
        settings[EXPLICIT_TIMESTAMPS] = str(int(context.has_explicit_timestamps))
    settings[DEFAULT_COLLATION] = str(context.utf8mb4_collation or _OLD_UTF8MB4_COLLATION)
    settings[_MARIADB_FLAGS] = str(context.flags or 0)
    settings[_MARIADB_COLLATIONS] = ", ".join(map(str, context.set_collations))
    return settings


def fit_settings(settings: Mapping[str, str], target: Flavor) -> dict[str, str]:
    """The same for this target, which may not have all that the source has."""
    fitting = dict(settings)
    flags, collation = int(fitting.pop(_MARIADB_FLAGS, "0")), int(fitting.pop(DEFAULT_COLLATION, "0"))
    collations = fitting.pop(_MARIADB_COLLATIONS, "")
    if target.is_mariadb_from(10, 10):
        fitting[EXPLICIT_TIMESTAMPS] = str(int(bool(flags & _MARIADB_EXPLICIT_TIMESTAMPS)))
    if target.is_mariadb_from(11, 2):
        fitting["character_set_collations"] = _NAME_COLLATIONS.format(numbers=collations) if collations else "''"
    if target.is_mysql_from(8) and collation in _UTF8MB4_COLLATIONS:
        fitting[DEFAULT_COLLATION] = quote_literal(_UTF8MB4_COLLATIONS[collation])
    if target.is_mysql_from(8) and "sql_mode" in fitting:
        fitting["sql_mode"] = str(int(fitting["sql_mode"]) & ~_GONE_MODES)
    return fitting


def _split(data: bytes) -> tuple[dict[int, bytes], bool, int | None]:
    """The variables by code, whether the statement is one of two phases, and the code at which the reading ended."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        code = data[at]
        at += 1
        if code in (_TIME_ZONE, _CATALOG_NZ):
            size, at = data[at], at + 1
        elif code == _CATALOG:
            size, at = data[at] + 1, at + 1
        elif code == _MARIADB_SET_COLLATIONS:
            size, at = data[at] * _PAIR.size, at + 1
        elif code == _INVOKER:
            for _ in range(2):
                at += 1 + data[at]
            continue
        elif code == _DATABASES:
            count, at = data[at], at + 1
            if count != _MANY_DATABASES:
                for _ in range(count):
                    at = data.index(b"\0", at) + 1
            continue
        elif code == _MARIADB_PHASE:
            return found, True, None
        elif code in _SIZES:
            size = _SIZES[code]
        else:
            return found, False, code
        found[code] = data[at : at + size]
        at += size
    return found, False, None


def _first_collation(client: int) -> int:
    if client < _NEW_UTF8:
        return client
    return _UTF8MB3_GENERAL if client < _NEW_UTF8MB4 else _UTF8MB4_GENERAL


def _number(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "little")

"""The session's variables beside a statement in the binlog."""

from __future__ import annotations

from struct import pack

from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.statement_context import decode_context, fit_settings, render_settings

VARIABLES = (
    b"\0" + pack("<I", 1 << 26)  # without foreign keys
    + b"\1" + pack("<Q", 0x10000000 | 4)  # a mode that is gone since, and ANSI_QUOTES
    + b"\6\3std"
    + b"\4" + pack("<HHH", 8, 8, 255)
    + b"\5\6+02:00"
    + b"\x0c\1d\0"
    + b"\x0b\2me\1h"
    + b"\x0d" + (654321).to_bytes(3, "little")
    + b"\x10\1"
    + b"\xf0rest of a newer server"
)  # fmt: skip


def event_body(variables: bytes, statement: bytes = b"", error: int = 0) -> bytes:
    return pack("<IIBHH", 1, 0, 1, error, len(variables)) + variables + b"d\0" + statement


def test_variables_become_those_of_the_targets_session() -> None:
    context = decode_context(event_body(VARIABLES, error=1051), header_seconds=1700000000)
    assert (context.database, context.error, context.has_explicit_timestamps) == ("d", 1051, True)
    settings = fit_settings(render_settings(context), Flavor.parse("9.7.0"))
    assert settings == {
        "timestamp": "1700000000.654321",
        "foreign_key_checks": "0",
        "unique_checks": "1",
        "sql_mode": "4",
        "time_zone": "'+02:00'",
        "character_set_client": "8",
        "collation_connection": "8",
        "collation_server": "255",
        "explicit_defaults_for_timestamp": "1",
        "default_collation_for_utf8mb4": "'utf8mb4_general_ci'",
    }


def test_text_is_read_in_the_clients_character_set() -> None:
    context = decode_context(event_body(VARIABLES), header_seconds=0)
    assert context.decode_text("ALTER TABLE tär ADD c int".encode("latin1")) == "ALTER TABLE tär ADD c int"
    greek = decode_context(event_body(b"\4" + pack("<HHH", 25, 25, 255)), header_seconds=0)
    assert greek.decode_text("ALTER TABLE λ ADD c int".encode("iso8859-7")) is None
    assert greek.decode_text(b"ALTER TABLE l ADD c int") == "ALTER TABLE l ADD c int"


def test_statement_of_two_phases_is_known_as_such() -> None:
    assert decode_context(event_body(b"\x82\2"), header_seconds=0).is_phased


def test_collations_of_newer_mariadb_stand_before_the_character_sets() -> None:
    variables = b"\x83\2" + pack("<HHHH", 33, 2048, 45, 2304) + b"\4" + pack("<HHH", 2304, 5, 2304)
    context = decode_context(event_body(variables), header_seconds=0)
    assert (context.set_collations, context.charsets) == ((2048, 2304), (2304, 5, 2304))
    settings = fit_settings(render_settings(context), Flavor.parse("11.8.3-MariaDB"))
    assert settings["character_set_client"] == "45"
    assert "id IN (2048, 2304)" in settings["character_set_collations"]
    assert "character_set_collations" not in fit_settings(render_settings(context), Flavor.parse("10.11.2-MariaDB"))


def test_what_stands_behind_an_unknown_variable_is_not_taken_for_known() -> None:
    assert decode_context(event_body(VARIABLES), header_seconds=0).unknown_code == 0xF0
    assert decode_context(event_body(VARIABLES[: VARIABLES.index(b"\xf0")]), header_seconds=0).unknown_code is None

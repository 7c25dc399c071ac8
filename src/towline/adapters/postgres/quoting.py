"""Names and literals as PostgreSQL reads them back, whatever characters they hold."""

from __future__ import annotations

from towline.domain.tables import TableName


def quote_ident(name: str) -> str:
    """The name in double quotes; always quoted, so that no list of reserved words is needed."""
    _require_no_zero_byte(name)
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """The text as a string constant, independent of `standard_conforming_strings`."""
    _require_no_zero_byte(text)
    quoted = "'" + text.replace("'", "''") + "'"
    if "\\" in text:
        return "E" + quoted.replace("\\", "\\\\")
    return quoted


def qualified(table: TableName) -> str:
    """Schema and name, both quoted, joined by a dot."""
    return f"{quote_ident(table.schema)}.{quote_ident(table.name)}"


def _require_no_zero_byte(text: str) -> None:
    # The protocol ends strings at a zero byte: what follows would silently be cut off.
    if "\0" in text:
        raise ValueError("a name or literal for PostgreSQL cannot hold a zero byte")

"""Names and literals as MySQL and MariaDB read them back, whatever characters they hold. Pure."""

from __future__ import annotations

from towline.domain.tables import TableName


def quote_ident(name: str) -> str:
    """The name in backticks; always quoted, so that no list of reserved words is needed."""
    if "\0" in name:
        raise ValueError("a name for MySQL cannot hold a zero byte")
    return "`" + name.replace("`", "``") + "`"


def quote_literal(text: str) -> str:
    """The text as a string constant of a session without NO_BACKSLASH_ESCAPES, as Towline's sessions are."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''").replace("\0", "\\0") + "'"


def quote_bytes(value: bytes) -> str:
    """The bytes as a constant that no character set touches."""
    return f"X'{value.hex()}'"


def qualified(table: TableName) -> str:
    """Database and table, both quoted, joined by a dot."""
    return f"{quote_ident(table.schema)}.{quote_ident(table.name)}"

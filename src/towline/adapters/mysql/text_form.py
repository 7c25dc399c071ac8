"""How a column is read by SELECT so that its bytes are those of the stream. Pure.

A cell of a row, from the snapshot or the stream, holds what the server's text protocol returns in a session with
`character_set_results = NULL` and `time_zone = '+00:00'`: text in the column's own character set, BIT and binary types
as they are, spatial values in the server's form (SRID and WKB), VECTOR as its floats, ENUM and SET as labels.

The exception is FLOAT, and DOUBLE with a display scale, which the text protocol rounds.  They are read as a plain
DOUBLE: its text reads back as the same value, and it is what the stream makes of the binlog's exact bits.
"""

from __future__ import annotations

import re

_ROUNDED = re.compile(r"float|double\s*\(|real\s*\(")


def select_expression(column: str, type_sql: str) -> str:
    """What to write in the select list for a column (quoted already) of this type."""
    if _ROUNDED.match(type_sql.lower()):
        # CAST AS DOUBLE is in MySQL since 8.0.17 only, and an addition would lose the sign of -0.
        return f"{column} * 1e0"
    return column

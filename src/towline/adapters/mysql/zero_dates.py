"""Dates with a zero in them, which PostgreSQL does not have: 0000-00-00, and a year, month or day of zero. Pure.

A day that its month does not have, such as 2021-02-31, nearly says what was meant, and is refused instead.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from towline.adapters.mysql.shapes import ColumnShape

_TYPES: Final = frozenset({"date", "datetime", "timestamp"})
_ZERO: Final = ord("0")
# Where year, month and day stand in the text of a date, or of a date and time.
_PARTS: Final = (slice(0, 4), slice(5, 7), slice(8, 10))

Numbers = Any  # numpy's arrays; their types are heavier than they help here


def holds_dates(shape: ColumnShape) -> bool:
    """Whether the column holds dates, also on PostgreSQL: as a text nothing is wrong with any."""
    return shape.type_name in _TYPES and shape.wish != "text"


def has_zero(date: bytes) -> bool:
    return date[:4] == b"0000" or date[5:7] == b"00" or date[8:10] == b"00"


def find_zero_dates(data: Numbers, rows: Numbers, begins: Numbers) -> Numbers:
    """Those of the rows whose date, which begins in `data` at the place in `begins`, has a zero in it."""
    found = np.zeros(len(rows), bool)
    for part in _PARTS:
        found |= np.logical_and.reduce([data[begins + place] == _ZERO for place in range(part.start, part.stop)])
    return rows[found]

"""Packed rows for property tests."""

from __future__ import annotations

from towline.domain.changes import NULL_CELL, join_cells


def make_row(*values: str | None) -> bytes:
    cells = []
    for value in values:
        data = b"" if value is None else value.encode()
        cells.append(NULL_CELL if value is None else b"t" + len(data).to_bytes(4, "big") + data)
    return join_cells(cells)

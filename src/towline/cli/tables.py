"""Tables of the commands that list things: nothing in them is cut off, as ids are there to be copied."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table

# Where nobody looks, a row is a line, whatever it is as long as.
_ENDLESS_COLUMNS = 10_000


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, out: TextIO | None = None) -> None:
    """On a terminal long words go on in the next line; elsewhere each row is one line."""
    stream = out or sys.stdout
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if stream.isatty() else _ENDLESS_COLUMNS
    Console(file=stream, width=width, markup=False, highlight=False).print(table)

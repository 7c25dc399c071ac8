"""Rows as large as a good part of the memory, taken out of the frame they came in.

The connection keeps a buffer as large as the largest message until it is closed, and hands out a copy of each message.
A row copied out of that would be in memory a third time.  So it goes through a file: the frame is let go in
between.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from towline.engine.spill import named_failures

LARGE_FRAME_BYTES: Final = 8 * 1024 * 1024

TakeRows = Callable[[memoryview, Sequence[slice]], list[bytes]]
"""(frame, places of the rows) -> rows; the frame is released and must be the only one that holds its bytes."""


def take_rows_through(folder: Path) -> TakeRows:
    """By way of a nameless file in this folder; raises SpillFailed when that cannot be written."""

    def take_rows(frame: memoryview, places: Sequence[slice]) -> list[bytes]:
        with named_failures(folder), tempfile.TemporaryFile(dir=folder) as file:
            sizes = []
            for place in places:
                with frame[place] as row:
                    sizes.append(file.write(row))
            frame.release()
            file.seek(0)
            return [file.read(size) for size in sizes]

    return take_rows

"""A server whose clock can be set while it runs, by Debian's libfaketime, which is loaded into the real program.

The library reads the offset from a file again every second, in every process of the server.  Clocks for waiting
(CLOCK_MONOTONIC) stay true.
"""

from __future__ import annotations

from pathlib import Path

_PLACES = "*/faketime/{name}"


def find_library(*, is_threaded: bool = False) -> Path | None:
    """`is_threaded`: the form for a server that is one process with many threads."""
    name = "libfaketimeMT.so.1" if is_threaded else "libfaketime.so.1"
    return next(iter(sorted(Path("/usr/lib").glob(_PLACES.format(name=name)))), None)


class FakeClock:
    """The clock of servers that run with its `variables` and its library; `folder` is for its file."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self._offset = folder / "offset"
        self.set_offset(0)

    @property
    def variables(self) -> tuple[str, ...]:
        """NAME=VALUE for the environment of the server."""
        return f"FAKETIME_TIMESTAMP_FILE={self._offset}", "FAKETIME_CACHE_DURATION=1", "DONT_FAKE_MONOTONIC=1"

    def set_offset(self, seconds: int) -> None:
        """The server's clock is ahead of the machine's by so much; all its processes know a second later."""
        self._offset.write_text(f"{seconds:+d}s\n")
        self._offset.chmod(0o644)

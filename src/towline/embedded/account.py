"""Under which account the server runs: this process's own, or an unprivileged one if that is root."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from towline.embedded.errors import EmbeddedServerError

# The first of these that exists runs the server when this process is root.
UNPRIVILEGED_USERS = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """The user that owns a server's files and processes; `entry` is None for this process's own user."""

    entry: pwd.struct_passwd | None

    @property
    def name(self) -> str:
        """For messages."""
        return self.entry.pw_name if self.entry else "this user"

    def own(self, path: Path) -> None:
        """Give the file or folder to the account."""
        if self.entry is not None:
            os.chown(path, self.entry.pw_uid, self.entry.pw_gid)

    def popen_arguments(self) -> dict[str, Any]:
        """What `subprocess` needs to start a program as this account, without the caller's PG* variables."""
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        if self.entry is None:
            return {"env": environment}
        return {
            "env": environment,
            "user": self.entry.pw_uid,
            "group": self.entry.pw_gid,
            "extra_groups": [],
        }

    def run(self, *command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run the program as this account to its end and return what it printed."""
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            **self.popen_arguments(),
        )

    def can(self, flag: str, path: Path) -> bool:
        """Whether the account may read (`-r`), write (`-w`) or execute (`-x`) the path."""
        return self.run("test", flag, path, cwd=Path("/")).returncode == 0


def choose_account() -> Account:
    """This process's user, or an unprivileged one if that is root: PostgreSQL refuses to run as root.

    Raises:
        EmbeddedServerError: this is root and the machine has no other user to run a server.
    """
    if os.geteuid() != 0:
        return Account(None)
    for name in UNPRIVILEGED_USERS:
        try:
            return Account(pwd.getpwnam(name))
        except KeyError:
            continue
    raise EmbeddedServerError(
        "PostgreSQL refuses to run as root and there is no other user to run it",
        remedy="Start Towline as an ordinary user.",
    )

"""How a worker's process ends."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Every other code is a crash."""

    DONE = 0  # the outcome is in the store and the lease is free
    LEASE_LOST = 3

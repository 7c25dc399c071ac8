"""What a user may do in a project."""

from __future__ import annotations

from enum import Enum


class Role(Enum):
    """Each role may do what the ones before it may. Values are stored; do not rename."""

    READER = "reader"  # sees everything of the project, changes nothing
    OPERATOR = "operator"  # makes jobs and runs them
    ADMIN = "admin"  # also changes what is not the job's alone: accounts and parameters of the target, where logs go

    def includes(self, needed: Role) -> bool:
        return _RANK[self] >= _RANK[needed]


_RANK = {role: rank for rank, role in enumerate(Role)}

"""Accounts of a database server, and what a job shall carry over of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Account:
    """A user (`can_login`) or a role that others are members of.

    `privileges` are attributes of the account itself; those on objects come with the objects. `reason` says why an
    account cannot be carried over, "" when it can.
    """

    name: str
    can_login: bool
    privileges: tuple[str, ...] = ()
    member_of: tuple[str, ...] = ()
    comment: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AccountWish:
    """Accounts that the job makes on the target before its structure, where they are missing.

    `passwords`: in the clear, for accounts that shall have another one than on the source.
    """

    names: tuple[str, ...]
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One setting of both servers, as each of them shows it; "" where a server does not have it."""

    name: str
    group: str  # "common" or "performance"
    source_value: str
    target_value: str
    is_number: bool
    allowed: str  # range or words of the target
    needs_restart: bool

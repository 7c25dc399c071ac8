"""Accounts of the source, and making those that a job was told to carry over.

An account is named `user@host`, a role of MariaDB by its name alone.  Between servers of one product it is made with
the hash of its password, as the source's SHOW CREATE USER has it.  The products do not share hashes: from one to the
other an account without a password of the job's own is made locked, because it would be open to anybody else.

Accounts come before the structure, which may belong to them; grants on tables and routines come after it, as part of
the structure (`read_grants`).
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.errors import number_of
from towline.adapters.mysql.grants import Grant, choose_grants
from towline.adapters.mysql.quoting import quote_ident, quote_literal
from towline.adapters.mysql.session import Session
from towline.domain.accounts import Account, AccountWish
from towline.domain.errors import Side, TowlineError, TransientError
from towline.domain.jobs import Endpoint, JobSpec
from towline.domain.structure import StructureReport
from towline.domain.tables import ObjectSelection

Report = Callable[[StructureReport], None]

_BUILT_IN: Final = frozenset({"mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys", "PUBLIC", ""})
_ADMINISTRATORS: Final = frozenset({"root@localhost", "mysql@localhost", "debian-sys-maint@localhost"})
_USERS_MARIADB: Final = "SELECT user, host, is_role = 'Y' FROM mysql.user ORDER BY user, host"
# A role of MySQL is an account that is locked and was granted to another.
_USERS_MYSQL: Final = """
SELECT u.user, u.host, u.account_locked = 'Y' AND EXISTS (
    SELECT 1 FROM mysql.role_edges e WHERE e.from_user = u.user AND e.from_host = u.host)
FROM mysql.user u ORDER BY u.user, u.host
"""
_USERS_OLD_MYSQL: Final = "SELECT user, host, 0 FROM mysql.user ORDER BY user, host"
_EDGES_MARIADB: Final = "SELECT user, host, role, '' FROM mysql.roles_mapping"
_EDGES_MYSQL: Final = "SELECT to_user, to_host, from_user, from_host FROM mysql.role_edges"
_PRIVILEGES: Final = (
    "SELECT grantee, privilege_type FROM information_schema.user_privileges WHERE privilege_type <> 'USAGE'"
)
_DEFAULT_ROLE: Final = re.compile(r" DEFAULT ROLE (.+?)(?= REQUIRE |\Z)", re.DOTALL)
_IDENTIFIED: Final = re.compile(
    r" IDENTIFIED (?:WITH '[^']*'(?: AS (?:0x[0-9A-Fa-f]+|'(?:[^'\\]|''|\\.)*'))?"
    r"|BY PASSWORD '[^']*'|VIA .+?(?= REQUIRE | WITH | ACCOUNT | PASSWORD |\Z))",
    re.DOTALL,
)
_EXISTS_ALREADY: Final = 1396


async def read_accounts(endpoint: Endpoint) -> list[Account]:
    """Users and roles of the server, by name. Raises: MissingPrivilege, it takes SELECT on the database mysql."""
    session = await connect(endpoint, purpose="accounts", side=Side.SOURCE)
    try:
        return await _read(session)
    finally:
        session.terminate()


async def ensure_accounts(spec: JobSpec, wish: AccountWish, *, on_report: Report) -> None:
    """Make the accounts that the target does not have. One that exists stays as it is; safe to repeat.

    What an account cannot be given is reported and left out, as is one that the source no longer has.
    """
    reading = await connect(spec.source, purpose="accounts", side=Side.SOURCE)
    writing = None
    try:
        writing = await connect(spec.target, purpose="accounts", side=Side.TARGET)
        await _Maker(reading, writing, wish, on_report).make_all()
    finally:
        reading.terminate()
        if writing is not None:
            writing.terminate()


async def read_grants(
    session: Session, names: Sequence[str], selection: ObjectSelection, *, on_report: Report
) -> list[Grant]:
    """What these accounts may do with the selected databases, tables and routines; the rest is reported."""
    known = {account.name for account in await _read(session)}
    found: list[Grant] = []
    for name in names:
        if name not in known:
            continue  # `ensure_accounts` has said so
        lines = [str(row[0]) for row in await session.query(f"SHOW GRANTS FOR {quote_account(name)}")]
        grants, left_out = choose_grants(lines, name, quote_account(name), selection)
        found += grants
        for reason in left_out:
            on_report(StructureReport("ACCOUNT", name, reason))
    return found


def quote_account(name: str) -> str:
    """As a statement names it. Pure."""
    user, at, host = name.rpartition("@")
    return f"{quote_literal(user)}@{quote_literal(host)}" if at else quote_ident(name)


async def _read(session: Session) -> list[Account]:
    what = "reading the accounts"
    is_mariadb = session.flavor.is_mariadb
    has_roles = is_mariadb or session.flavor.is_mysql_from(8, 0)
    users = _USERS_MARIADB if is_mariadb else _USERS_MYSQL if has_roles else _USERS_OLD_MYSQL
    members: dict[str, list[str]] = defaultdict(list)
    if has_roles:
        for user, host, role, role_host in await session.query(
            _EDGES_MARIADB if is_mariadb else _EDGES_MYSQL, what=what
        ):
            members[_name(user, host)].append(_name(role, role_host))
    privileges: dict[str, list[str]] = defaultdict(list)
    for grantee, privilege in await session.query(_PRIVILEGES, what=what):
        privileges[str(grantee).replace("'", "").removesuffix("@")].append(str(privilege))
    return [
        Account(
            name=(name := _name(user, host)),
            can_login=not is_role,
            privileges=tuple(sorted(privileges[name])),
            member_of=tuple(sorted(members[name])),
            reason=_reason_to_stay(str(user), name),
        )
        for user, host, is_role in await session.query(users, what=what)
    ]


def _name(user: str, host: str) -> str:
    return f"{user}@{host}" if host else str(user)


def _reason_to_stay(user: str, name: str) -> str:
    if user in _BUILT_IN:
        return "an account of the server itself"
    return "the server's administrator" if name in _ADMINISTRATORS else ""


class _Maker:
    def __init__(self, reading: Session, writing: Session, wish: AccountWish, on_report: Report) -> None:
        self._reading = reading
        self._writing = writing
        self._wish = wish
        self._on_report = on_report
        self._is_same_product = reading.flavor.is_mariadb == writing.flavor.is_mariadb

    async def make_all(self) -> None:
        if self._reading.flavor.is_mysql_from(8, 0, 17):
            # Hashes may hold bytes that are no text.
            await self._reading.execute("SET SESSION print_identified_with_as_hex = ON")
        known = {account.name: account for account in await _read(self._reading)}
        present = {account.name for account in await _read(self._writing)}
        defaults: dict[str, str] = {}
        made = []
        for name in self._wish.names:
            if name not in known:
                self._report(name, "the source has no such account any more")
            elif name not in present and await self._make(known[name], defaults):
                made.append(name)
        # After all of them, as they are members of each other.
        for name in made:
            await self._give_roles(known[name], defaults.get(name, ""))

    async def _make(self, account: Account, defaults: dict[str, str]) -> bool:
        quoted = quote_account(account.name)
        if self._writing.flavor.is_mariadb and not account.can_login:
            role = quote_ident(account.name.partition("@")[0])
            return await self._try(account.name, f"CREATE ROLE {role}")
        password = self._wish.passwords.get(account.name)
        if not self._is_same_product or "@" not in account.name:
            if account.can_login and not password:
                self._report(account.name, "it is locked: its password's hash means nothing to the other product")
            secret = self._identified(password) if password else ""
            return await self._try(account.name, f"CREATE USER {quoted}{secret}{'' if password else ' ACCOUNT LOCK'}")
        row = await self._reading.query_one(f"SHOW CREATE USER {quoted}", what="reading an account")
        text = str(row[0]) if row else ""
        if match := _DEFAULT_ROLE.search(text):
            defaults[account.name] = match[1]
            text = text.replace(match[0], "", 1)
        if password:
            text = _IDENTIFIED.sub("", text, count=1)
            head, _, options = text.partition("CREATE USER ")
            end = _end_of_account(options)
            text = f"{head}CREATE USER {options[:end]}{self._identified(password)}{options[end:]}"
        return await self._try(account.name, text)

    def _identified(self, password: str) -> str:
        if self._writing.flavor.is_mariadb:
            # Hashed here, so that the server writes it into no log.
            return f" IDENTIFIED BY PASSWORD '{native_hash(password)}'"
        return f" IDENTIFIED BY {quote_literal(password)}"  # MySQL keeps it out of its logs

    async def _give_roles(self, account: Account, default: str) -> None:
        quoted = quote_account(account.name)
        for role in account.member_of:
            await self._try(account.name, f"GRANT {quote_account(role)} TO {quoted}", f"it is no member of {role}: ")
        if default and account.member_of:
            await self._try(account.name, f"SET DEFAULT ROLE {default} TO {quoted}", "its roles are not active: ")

    async def _try(self, name: str, statement: str, consequence: str = "") -> bool:
        """Whether the server did it; a statement is not repeated in a report, it may hold a hash (I7)."""
        try:
            await self._writing.execute(statement, what="making an account")
        except TransientError:
            raise
        except TowlineError as error:
            number = number_of(error)
            if number == _EXISTS_ALREADY and not consequence:
                return False  # another job was first
            self._report(name, f"{consequence}the target refuses it (error {number})")
            return False
        return True

    def _report(self, name: str, reason: str) -> None:
        self._on_report(StructureReport("ACCOUNT", name, reason))


def native_hash(password: str) -> str:
    """What mysql_native_password stores. Pure."""
    inner = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()


def _end_of_account(text: str) -> int:
    match = re.match(r"(`(?:[^`]|``)*`|'(?:[^']|'')*')@(`(?:[^`]|``)*`|'(?:[^']|'')*')", text)
    return match.end() if match else 0

"""Roles of the source, and making those that a job was told to carry over.

A password is taken over as the hash that the source keeps, when its user may read hashes; a password of the job's own
is hashed here (SCRAM-SHA-256), so that no server writes it into its log.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping

import asyncpg

from towline.adapters.postgres.connection import connect
from towline.adapters.postgres.errors import translated
from towline.adapters.postgres.quoting import quote_ident, quote_literal
from towline.domain.accounts import Account, AccountWish
from towline.domain.errors import Side
from towline.domain.jobs import Endpoint
from towline.domain.structure import StructureReport

_SCRAM_ROUNDS = 4096
_BOOTSTRAP_USER = 10

_ROLES = """
SELECT r.oid::bigint AS id, r.rolname AS name, r.rolcanlogin AS can_login, r.rolsuper, r.rolcreatedb, r.rolcreaterole,
       r.rolreplication, r.rolbypassrls, r.rolinherit, r.rolconnlimit AS connection_limit,
       CASE WHEN isfinite(r.rolvaliduntil) THEN r.rolvaliduntil::text END AS valid_until,
       coalesce(pg_catalog.shobj_description(r.oid, 'pg_authid'), '') AS comment,
       ARRAY(SELECT g.rolname::text FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
             WHERE m.member = r.oid GROUP BY g.rolname ORDER BY g.rolname) AS member_of
FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname
"""
_MAY_READ_HASHES = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')"
_HASHES = "SELECT rolname AS name, rolpassword AS hash FROM pg_catalog.pg_authid WHERE rolpassword IS NOT NULL"

_ATTRIBUTES = (
    ("rolsuper", "SUPERUSER"),
    ("rolcreatedb", "CREATEDB"),
    ("rolcreaterole", "CREATEROLE"),
    ("rolreplication", "REPLICATION"),
    ("rolbypassrls", "BYPASSRLS"),
    ("can_login", "LOGIN"),
    ("rolinherit", "INHERIT"),
)
# Only a superuser may give them away.
_OF_SUPERUSERS = frozenset({"SUPERUSER", "REPLICATION", "BYPASSRLS"})


async def read_accounts(endpoint: Endpoint) -> list[Account]:
    """Users and roles of the server, by name; built-in ones are left out."""
    connection = await connect(endpoint, purpose="accounts", side=Side.SOURCE)
    try:
        with translated(Side.SOURCE, what="reading the accounts"):
            rows = await connection.fetch(_ROLES)
    finally:
        connection.terminate()
    return [
        Account(
            name=row["name"],
            can_login=row["can_login"],
            privileges=_attributes(row),
            member_of=tuple(row["member_of"]),
            comment=row["comment"],
            reason="the server's first superuser" if row["id"] == _BOOTSTRAP_USER else "",
        )
        for row in rows
    ]


async def ensure_accounts(
    source: Endpoint, target: Endpoint, wish: AccountWish, *, on_report: Callable[[StructureReport], None]
) -> None:
    """Make the accounts that the target does not have. One that exists stays as it is; safe to repeat.

    What an account cannot be given is reported and left out, as is one that the source no longer has.
    """
    reading = await connect(source, purpose="accounts", side=Side.SOURCE)
    try:
        with translated(Side.SOURCE, what="reading the accounts"):
            known = {row["name"]: row for row in await reading.fetch(_ROLES)}
            may_read = await reading.fetchval(_MAY_READ_HASHES)
            hashes = {row["name"]: row["hash"] for row in await reading.fetch(_HASHES)} if may_read else {}
    finally:
        reading.terminate()
    writing = await connect(target, purpose="accounts", side=Side.TARGET)
    try:
        maker = _Maker(writing, known, hashes, wish, on_report)
        await maker.make_all()
    finally:
        writing.terminate()


class _Maker:
    def __init__(
        self,
        connection: asyncpg.Connection,
        known: Mapping[str, asyncpg.Record],
        hashes: Mapping[str, str],
        wish: AccountWish,
        on_report: Callable[[StructureReport], None],
    ) -> None:
        self._connection = connection
        self._known = known
        self._hashes = hashes
        self._wish = wish
        self._on_report = on_report

    async def make_all(self) -> None:
        with translated(Side.TARGET, what="reading the accounts"):
            present = {row["rolname"] for row in await self._connection.fetch("SELECT rolname FROM pg_roles")}
            is_super = await self._connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        # As a whole: who is there after an interruption is there with the roles that he is a member of.
        async with self._connection.transaction():
            await self._make_missing(present, is_super=bool(is_super))

    async def _make_missing(self, present: set[str], *, is_super: bool) -> None:
        made = []
        for name in self._wish.names:
            if name not in self._known:
                self._report(name, "the source has no such account any more")
            elif name not in present and await self._make(self._known[name], is_super=is_super):
                made.append(name)
        # After all of them, as they are members of each other.
        for name in made:
            for group in self._known[name]["member_of"]:
                statement = f"GRANT {quote_ident(group)} TO {quote_ident(name)}"
                if (reason := await self._try([statement])) is not None:
                    self._report(name, f"it is no member of {group}: {reason}")

    async def _make(self, row: asyncpg.Record, *, is_super: bool) -> bool:
        name = row["name"]
        attributes = _attributes(row)
        if not is_super and (kept_back := sorted(_OF_SUPERUSERS & set(attributes))):
            self._report(name, f"the target's user may not give it {', '.join(kept_back)}")
            attributes = tuple(word for word in attributes if word not in _OF_SUPERUSERS)
        options = [*attributes, f"CONNECTION LIMIT {row['connection_limit']}"]
        if "INHERIT" not in attributes:
            options.append("NOINHERIT")
        if row["valid_until"]:
            options.append(f"VALID UNTIL {quote_literal(row['valid_until'])}")
        password = self._password_of(name)
        if password:
            options.append(f"PASSWORD {quote_literal(password)}")
        elif row["can_login"]:
            self._report(name, "it has no password: the source's hash cannot be read, and none was given")
        statements = [f"CREATE ROLE {quote_ident(name)} {' '.join(options)}"]
        if row["comment"]:
            statements.append(f"COMMENT ON ROLE {quote_ident(name)} IS {quote_literal(row['comment'])}")
        reason = await self._try(statements)
        if reason is not None:
            self._report(name, reason)
        return reason is None

    def _password_of(self, name: str) -> str | None:
        given = self._wish.passwords.get(name)
        return scram_verifier(given) if given else self._hashes.get(name)

    async def _try(self, statements: list[str]) -> str | None:
        """None, or why the server refuses; a statement is not repeated, it may hold a hash (I7)."""
        with translated(Side.TARGET, what="making an account"):
            try:
                async with self._connection.transaction():
                    for statement in statements:
                        await self._connection.execute(statement)
            except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
                return None  # another job was first
            except (asyncpg.SyntaxOrAccessError, asyncpg.FeatureNotSupportedError, asyncpg.DataError) as error:
                return f"the target refuses it ({type(error).__name__.removesuffix('Error')})"
        return None

    def _report(self, name: str, reason: str) -> None:
        self._on_report(StructureReport("ROLE", name, reason))


def scram_verifier(password: str) -> str:
    """What a server stores for an ASCII password; format: RFC 5803, as PostgreSQL writes it."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ROUNDS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    stored = hashlib.sha256(client).digest()
    parts = (b64encode(part).decode() for part in (salt, stored, server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_SCRAM_ROUNDS, *parts)


def _attributes(row: asyncpg.Record) -> tuple[str, ...]:
    return tuple(word for column, word in _ATTRIBUTES if row[column])

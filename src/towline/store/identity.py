"""Domains, projects, users, access keys and tokens."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, Table, and_, bindparam, delete, insert, select
from sqlalchemy.exc import IntegrityError

from towline.domain.access import Role
from towline.domain.errors import RequestError
from towline.service.ports import Caller, Domain, Project, User
from towline.store import tables
from towline.store.database import Database
from towline.store.keyring import Keyring

_USER_IN_DOMAIN = tables.user_account.join(tables.domain, tables.domain.c.domain_id == tables.user_account.c.domain_id)
_USER_COLUMNS = (
    tables.user_account.c.user_id,
    tables.user_account.c.name,
    tables.user_account.c.password_hash,
    tables.domain.c.domain_id,
    tables.domain.c.name.label("domain_name"),
)


_PROJECTS = select(
    tables.project.c.project_id,
    tables.project.c.name,
    tables.domain.c.domain_id,
    tables.domain.c.name.label("domain_name"),
).join(tables.domain, tables.domain.c.domain_id == tables.project.c.domain_id)


class SqlIdentityStore:
    """`service.ports.IdentityStore` on SQLite and PostgreSQL."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def insert_account(
        self, *, domain: Domain, project: Project, user: User, password_hash: str, created_us: int
    ) -> bool:
        try:
            async with self._database.writing() as connection:
                if (await connection.execute(select(tables.user_account.c.user_id).limit(1))).first():
                    return False
                await connection.execute(insert(tables.domain), {"domain_id": domain.domain_id, "name": domain.name})
                await connection.execute(
                    insert(tables.project),
                    {"project_id": project.project_id, "domain_id": domain.domain_id, "name": project.name},
                )
                await connection.execute(
                    insert(tables.user_account),
                    {
                        "user_id": user.user_id,
                        "domain_id": domain.domain_id,
                        "name": user.name,
                        "password_hash": password_hash,
                        "created_us": created_us,
                    },
                )
                await connection.execute(
                    insert(tables.membership),
                    {"user_id": user.user_id, "project_id": project.project_id, "role": Role.ADMIN.value},
                )
                return True
        except IntegrityError:
            return False  # another process was first

    async def load_first_account(self) -> tuple[User, Project] | None:
        query = (
            select(*_USER_COLUMNS, tables.project.c.project_id, tables.project.c.name.label("project_name"))
            .select_from(_USER_IN_DOMAIN.join(tables.project, tables.project.c.domain_id == tables.domain.c.domain_id))
            .order_by(tables.user_account.c.created_us, tables.user_account.c.user_id)
            .limit(1)
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        user = _user(row)
        return user, Project(row.project_id, row.project_name, user.domain)

    async def insert_access_key(
        self, *, access_key: str, secret_key: str, user_id: str, project_id: str, created_us: int
    ) -> None:
        row = {
            "access_key": access_key,
            # I7: only the sealed form reaches the store.
            "secret": self._keyring.seal(secret_key, place=_place(access_key)),
            "user_id": user_id,
            "project_id": project_id,
            "created_us": created_us,
        }
        try:
            async with self._database.writing() as connection:
                await connection.execute(insert(tables.access_key), row)
        except IntegrityError:
            raise RequestError("the user or the project of the access key does not exist") from None

    async def load_user(self, name: str, *, domain_name: str) -> tuple[User, str] | None:
        query = (
            select(*_USER_COLUMNS)
            .select_from(_USER_IN_DOMAIN)
            .where(
                tables.user_account.c.name == name,
                tables.domain.c.name == domain_name,
                tables.user_account.c.is_enabled,
            )
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else (_user(row), row.password_hash)

    async def load_projects(self, user_id: str, *, name: str | None = None) -> list[Project]:
        query = (
            _PROJECTS.join(tables.membership, tables.membership.c.project_id == tables.project.c.project_id)
            .where(tables.membership.c.user_id == user_id)
            .order_by(tables.project.c.name)
        )
        if name is not None:
            query = query.where(tables.project.c.name == name)
        return [_project(row) for row in await self._database.fetch(query)]

    async def load_project(self, project_id: str) -> Project | None:
        rows = await self._database.fetch(_PROJECTS.where(tables.project.c.project_id == project_id))
        return _project(rows[0]) if rows else None

    async def load_role(self, user_id: str, project_id: str) -> Role | None:
        member = tables.membership.c
        query = select(member.role).where(member.user_id == user_id, member.project_id == project_id)
        rows = await self._database.fetch(query)
        return Role(rows[0].role) if rows else None

    async def insert_token(
        self, token_hash: str, *, user_id: str, project_id: str, created_us: int, expires_us: int
    ) -> None:
        row = {
            "token_hash": token_hash,
            "user_id": user_id,
            "project_id": project_id,
            "created_us": created_us,
            "expires_us": expires_us,
        }
        async with self._database.writing() as connection:
            await connection.execute(insert(tables.token), row)
            # The table stays as small as a day's sign-ins.
            await connection.execute(delete(tables.token).where(tables.token.c.expires_us <= created_us))

    async def delete_token(self, token_hash: str, *, user_id: str, now_us: int) -> bool:
        token = tables.token.c
        statement = delete(tables.token).where(
            token.token_hash == token_hash, token.user_id == user_id, token.expires_us > now_us
        )
        async with self._database.writing() as connection:
            return (await connection.execute(statement)).rowcount == 1

    async def load_caller_of_token(self, token_hash: str, *, now_us: int) -> Caller | None:
        for row in await self._database.fetch(_CALLER_OF_TOKEN, {"token": token_hash, "now": now_us}):
            return _caller(row)
        return None

    async def load_access_key(self, access_key: str) -> tuple[str, Caller] | None:
        query = (
            _callers(tables.access_key)
            .add_columns(tables.access_key.c.secret)
            .where(tables.access_key.c.access_key == access_key)
        )
        for row in await self._database.fetch(query):
            secret = self._keyring.open(bytes(row.secret), place=_place(access_key))
            return secret, _caller(row)
        return None

    async def load_domain_of(self, user_id: str) -> Domain | None:
        query = (
            select(tables.domain.c.domain_id, tables.domain.c.name)
            .select_from(_USER_IN_DOMAIN)
            .where(tables.user_account.c.user_id == user_id)
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Domain(row.domain_id, row.name)


def _callers(holder: Table) -> Select[Any]:
    """Who holds a token or a key, with the role of now: taking a role away works at once, as does disabling a user."""
    member, project, user = tables.membership, tables.project, tables.user_account
    return (
        select(holder.c.project_id, holder.c.user_id, user.c.name, member.c.role, project.c.max_jobs)
        .join(user, user.c.user_id == holder.c.user_id)
        .outerjoin(member, and_(member.c.user_id == holder.c.user_id, member.c.project_id == holder.c.project_id))
        .outerjoin(project, project.c.project_id == holder.c.project_id)
        .where(user.c.is_enabled)
    )


_CALLER_OF_TOKEN: Final = _callers(tables.token).where(
    tables.token.c.token_hash == bindparam("token"), tables.token.c.expires_us > bindparam("now")
)


def _caller(row: Any) -> Caller:
    role = None if row.role is None else Role(row.role)
    return Caller(row.project_id, row.user_id, row.name, role, row.max_jobs)


def _project(row: Any) -> Project:
    return Project(row.project_id, row.name, Domain(row.domain_id, row.domain_name))


def _user(row: Any) -> User:
    return User(row.user_id, row.name, Domain(row.domain_id, row.domain_name))


def _place(access_key: str) -> str:
    return f"access_key/{access_key}"

"""What an administrator does on the server's machine: users, projects, roles, access keys."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from typing import TypeVar

from argon2 import PasswordHasher

from towline.domain.access import Role
from towline.domain.errors import RequestError
from towline.service.identity import mint_key, random_text
from towline.service.ports import (
    AccountStore,
    Clock,
    Credentials,
    Domain,
    IdentityStore,
    KeyRecord,
    Project,
    ProjectRecord,
    User,
    UserRecord,
)

V = TypeVar("V")
_MAX_NAME = 64


class AccountService:
    """Every method names what it is about by name; `domain` may be left out while there is only one that fits."""

    def __init__(
        self, store: AccountStore, identities: IdentityStore, *, clock: Clock, hasher: PasswordHasher | None = None
    ) -> None:
        self._store = store
        self._identities = identities
        self._clock = clock
        self._hasher = hasher or PasswordHasher()

    # --- projects -------------------------------------------------------------------------------

    async def add_project(self, name: str, *, domain: str, max_jobs: int | None) -> Project:
        """Raises: RequestError."""
        project = Project(secrets.token_hex(16), _check_name(name), Domain(secrets.token_hex(16), _check_name(domain)))
        if not await self._store.insert_project(project, max_jobs=max_jobs):
            raise RequestError(f"the domain {domain} has a project {name} already")
        return project

    async def limit_project(self, name: str, max_jobs: int | None, *, domain: str | None = None) -> None:
        """None: the server's own limit holds again. Raises: RequestError."""
        project = await self._find_project(name, domain)
        await self._store.set_max_jobs(project.project_id, max_jobs)

    async def projects(self) -> list[ProjectRecord]:
        return await self._store.load_all_projects()

    # --- users ----------------------------------------------------------------------------------

    async def add_user(
        self, name: str, *, domain: str, password: str | None, role: Role | None, project: str | None
    ) -> tuple[User, str]:
        """The user and its password, made up when none is given; with `project` it has the role there.

        Raises: RequestError.
        """
        place = await self._find_project(project, domain) if project else None
        password = password or random_text(24)
        user = User(secrets.token_hex(16), _check_name(name), Domain(secrets.token_hex(16), _check_name(domain)))
        password_hash = await self._hash(password)
        if not await self._store.insert_user(user, password_hash=password_hash, created_us=self._clock.now_us()):
            raise RequestError(f"the domain {domain} has a user {name} already")
        if place is not None:
            await self._store.set_role(user.user_id, place.project_id, role or Role.READER)
        return user, password

    async def users(self) -> list[UserRecord]:
        return await self._store.load_users()

    async def set_enabled(self, name: str, *, is_enabled: bool, domain: str | None = None) -> None:
        """Raises: RequestError."""
        user = await self._find_user(name, domain)
        await self._store.set_enabled(user.user_id, is_enabled=is_enabled)

    async def change_password(self, name: str, password: str | None, *, domain: str | None = None) -> str:
        """The new password, made up when none is given. Raises: RequestError."""
        user = await self._find_user(name, domain)
        password = password or random_text(24)
        await self._store.set_password(user.user_id, await self._hash(password))
        return password

    async def set_role(self, name: str, role: Role | None, *, project: str, domain: str | None = None) -> None:
        """None takes the role away. Raises: RequestError, also for a project of another domain."""
        user = await self._find_user(name, domain)
        place = await self._find_project(project, user.domain.name)
        await self._store.set_role(user.user_id, place.project_id, role)

    # --- keys -----------------------------------------------------------------------------------

    async def add_key(self, user_name: str, *, project: str, domain: str | None = None) -> Credentials:
        """A new key with which the user signs requests for the project. Raises: RequestError."""
        user = await self._find_user(user_name, domain)
        place = await self._find_project(project, user.domain.name)
        if await self._identities.load_role(user.user_id, place.project_id) is None:
            raise RequestError(
                f"{user_name} has no role in {project}", remedy="Give one with `towline user grant` first."
            )
        access_key, secret_key = mint_key()
        await self._identities.insert_access_key(
            access_key=access_key,
            secret_key=secret_key,
            user_id=user.user_id,
            project_id=place.project_id,
            created_us=self._clock.now_us(),
        )
        return Credentials(
            project_id=place.project_id,
            project_name=place.name,
            domain_name=user.domain.name,
            user_name=user.name,
            password="",
            access_key=access_key,
            secret_key=secret_key,
        )

    async def keys(self) -> list[KeyRecord]:
        return await self._store.load_keys()

    async def delete_key(self, access_key: str) -> None:
        """Raises: RequestError."""
        if not await self._store.delete_key(access_key):
            raise RequestError(f"there is no access key {access_key}")

    # --- inside ---------------------------------------------------------------------------------

    async def _find_user(self, name: str, domain: str | None) -> User:
        users = (record.user for record in await self._store.load_users())
        return _only((user for user in users if user.name == name and domain in (None, user.domain.name)), name)

    async def _find_project(self, name: str, domain: str | None) -> Project:
        projects = (record.project for record in await self._store.load_all_projects())
        return _only((each for each in projects if each.name == name and domain in (None, each.domain.name)), name)

    async def _hash(self, password: str) -> str:
        return await asyncio.to_thread(self._hasher.hash, password)


def _only(found: Iterable[V], name: str) -> V:
    several = list(found)
    if len(several) == 1:
        return several[0]
    if several:
        raise RequestError(f"{name} exists in {len(several)} domains", remedy="Say which with --domain.")
    raise RequestError(f"there is no {name}")


def _check_name(name: str) -> str:
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise RequestError(f"a name has 1 to {_MAX_NAME} characters that can be shown")
    return name

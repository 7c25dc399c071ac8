"""Users, projects, roles and keys, as an administrator manages them."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from towline.domain.access import Role
from towline.service.ports import Domain, KeyRecord, Project, ProjectRecord, User, UserRecord
from towline.store import tables
from towline.store.database import Database


class SqlAccountStore:
    """`service.ports.AccountStore` on SQLite and PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- projects -------------------------------------------------------------------------------

    async def insert_project(self, project: Project, *, max_jobs: int | None) -> bool:
        try:
            async with self._database.writing() as connection:
                domain_id = await _ensure_domain(connection, project.domain)
                row = {"project_id": project.project_id, "domain_id": domain_id, "name": project.name}
                await connection.execute(insert(tables.project), {**row, "max_jobs": max_jobs})
                return True
        except IntegrityError:
            return False

    async def ensure_project(self, project: Project) -> int | None:
        query = select(tables.project.c.max_jobs).where(tables.project.c.project_id == project.project_id)
        rows = await self._database.fetch(query)
        if rows:
            return rows[0].max_jobs  # type: ignore[no-any-return]
        # Another server may have been first; or a local project has the name, and then the id tells them apart.
        if not await self.insert_project(project, max_jobs=None) and not await self._database.fetch(query):
            named = Project(project.project_id, f"{project.name} ({project.project_id})", project.domain)
            await self.insert_project(named, max_jobs=None)
        return None

    async def set_max_jobs(self, project_id: str, max_jobs: int | None) -> None:
        async with self._database.writing() as connection:
            await connection.execute(
                update(tables.project).where(tables.project.c.project_id == project_id).values(max_jobs=max_jobs)
            )

    async def load_all_projects(self) -> list[ProjectRecord]:
        query = (
            select(
                tables.project.c.project_id,
                tables.project.c.name,
                tables.project.c.max_jobs,
                tables.domain.c.domain_id,
                tables.domain.c.name.label("domain_name"),
            )
            .join(tables.domain, tables.domain.c.domain_id == tables.project.c.domain_id)
            .order_by(tables.domain.c.name, tables.project.c.name)
        )
        return [
            ProjectRecord(Project(row.project_id, row.name, Domain(row.domain_id, row.domain_name)), row.max_jobs)
            for row in await self._database.fetch(query)
        ]

    # --- users ----------------------------------------------------------------------------------

    async def insert_user(self, user: User, *, password_hash: str, created_us: int) -> bool:
        try:
            async with self._database.writing() as connection:
                row = {
                    "user_id": user.user_id,
                    "domain_id": await _ensure_domain(connection, user.domain),
                    "name": user.name,
                    "password_hash": password_hash,
                    "created_us": created_us,
                    "is_enabled": True,
                }
                await connection.execute(insert(tables.user_account), row)
                return True
        except IntegrityError:
            return False

    async def load_users(self) -> list[UserRecord]:
        account, domain, member, project = tables.user_account, tables.domain, tables.membership, tables.project
        users = (
            select(account, domain.c.name.label("domain_name"))
            .join(domain, domain.c.domain_id == account.c.domain_id)
            .order_by(domain.c.name, account.c.name)
        )
        members = select(member.c.user_id, member.c.role, project.c.name).join(
            project, project.c.project_id == member.c.project_id
        )
        async with self._database.reading() as connection:
            roles: defaultdict[str, dict[str, Role]] = defaultdict(dict)
            for row in await connection.execute(members):
                roles[row.user_id][row.name] = Role(row.role)
            return [
                UserRecord(
                    User(row.user_id, row.name, Domain(row.domain_id, row.domain_name)),
                    is_enabled=row.is_enabled,
                    created_us=row.created_us,
                    roles=roles[row.user_id],
                )
                for row in await connection.execute(users)
            ]

    async def set_enabled(self, user_id: str, *, is_enabled: bool) -> None:
        async with self._database.writing() as connection:
            await connection.execute(
                update(tables.user_account)
                .where(tables.user_account.c.user_id == user_id)
                .values(is_enabled=is_enabled)
            )
            if not is_enabled:
                await connection.execute(delete(tables.token).where(tables.token.c.user_id == user_id))

    async def set_password(self, user_id: str, password_hash: str) -> None:
        async with self._database.writing() as connection:
            await connection.execute(
                update(tables.user_account)
                .where(tables.user_account.c.user_id == user_id)
                .values(password_hash=password_hash)
            )
            await connection.execute(delete(tables.token).where(tables.token.c.user_id == user_id))

    async def set_role(self, user_id: str, project_id: str, role: Role | None) -> None:
        member = tables.membership
        async with self._database.writing() as connection:
            await connection.execute(
                delete(member).where(member.c.user_id == user_id, member.c.project_id == project_id)
            )
            if role is not None:
                row = {"user_id": user_id, "project_id": project_id, "role": role.value}
                await connection.execute(insert(member), row)

    # --- keys -----------------------------------------------------------------------------------

    async def load_keys(self) -> list[KeyRecord]:
        key, account, project, domain = tables.access_key, tables.user_account, tables.project, tables.domain
        query = (
            select(
                key.c.access_key,
                key.c.created_us,
                account.c.name,
                project.c.name.label("project_name"),
                domain.c.name.label("domain_name"),
            )
            .join(account, account.c.user_id == key.c.user_id)
            .join(project, project.c.project_id == key.c.project_id)
            .join(domain, domain.c.domain_id == account.c.domain_id)
            .order_by(key.c.created_us, key.c.access_key)
        )
        return [
            KeyRecord(row.access_key, row.name, row.project_name, row.domain_name, row.created_us)
            for row in await self._database.fetch(query)
        ]

    async def delete_key(self, access_key: str) -> bool:
        async with self._database.writing() as connection:
            statement = delete(tables.access_key).where(tables.access_key.c.access_key == access_key)
            return (await connection.execute(statement)).rowcount == 1


async def _ensure_domain(connection: AsyncConnection, domain: Domain) -> str:
    """The id of the domain with this name, made if there is none."""
    query = select(tables.domain.c.domain_id).where(tables.domain.c.name == domain.name)
    known = await connection.scalar(query)
    if known is None:
        await connection.execute(insert(tables.domain), {"domain_id": domain.domain_id, "name": domain.name})
        return domain.domain_id
    return str(known)

"""Tokens, projects and domains, in the shape of the identity service."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from towline.api.wire.fields import Request, Text
from towline.domain.access import Role
from towline.service.ports import Domain, IssuedToken, Project, TokenScope, User


class NamedRequest(Request):
    id: Text | None = None
    name: Text | None = None


class UserRequest(Request):
    id: Text | None = None
    name: Text | None = None
    password: Text | None = None
    domain: NamedRequest | None = None


class PasswordIdentity(Request):
    user: UserRequest | None = None


class IdentityRequest(Request):
    methods: list[Text] | None = None
    password: PasswordIdentity | None = None


class ProjectScope(Request):
    id: Text | None = None
    name: Text | None = None
    domain: NamedRequest | None = None


class ScopeRequest(Request):
    project: ProjectScope | None = None
    domain: NamedRequest | None = None


class AuthRequest(Request):
    identity: IdentityRequest | None = None
    scope: ScopeRequest | None = None


class AuthEnvelope(Request):
    """The body of a sign-in."""

    auth: AuthRequest


class Named(msgspec.Struct, frozen=True):
    id: str
    name: str


class NamedInDomain(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str
    name: str
    domain: Named
    password_expires_at: str | None = None


class TokenAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    expires_at: str
    issued_at: str
    methods: tuple[str, ...]
    catalog: tuple[Any, ...]
    roles: tuple[Named, ...]
    user: NamedInDomain
    project: NamedInDomain | None = None
    domain: Named | None = None


class TokenEnvelope(msgspec.Struct, frozen=True):
    token: TokenAnswer


class Links(msgspec.Struct, frozen=True):
    self: str
    next: str | None = None
    previous: str | None = None


class SelfLink(msgspec.Struct, frozen=True):
    self: str


class ProjectAnswer(msgspec.Struct, frozen=True):
    id: str
    name: str
    domain_id: str
    parent_id: str
    is_domain: bool
    enabled: bool
    description: str
    links: SelfLink


class ProjectsAnswer(msgspec.Struct, frozen=True):
    projects: list[ProjectAnswer]
    links: Links


class DomainAnswer(msgspec.Struct, frozen=True):
    id: str
    name: str
    enabled: bool
    description: str
    links: SelfLink


class DomainsAnswer(msgspec.Struct, frozen=True):
    domains: list[DomainAnswer]
    links: Links


def read_scope(scope: ScopeRequest | None) -> TokenScope:
    """What the token is for. A project wins over a domain; nothing at all means the user's domain."""
    if scope is not None and scope.project is not None:
        domain = scope.project.domain or NamedRequest()
        return TokenScope(
            project_id=str(scope.project.id or ""),
            project_name=str(scope.project.name or ""),
            domain_id=str(domain.id or ""),
            domain_name=str(domain.name or ""),
        )
    domain = (scope.domain if scope else None) or NamedRequest()
    return TokenScope(domain_id=str(domain.id or ""), domain_name=str(domain.name or ""))


def render_token(issued: IssuedToken) -> TokenEnvelope:
    """The answer's body; the token itself goes into a header."""
    return TokenEnvelope(
        token=TokenAnswer(
            expires_at=_render_time(issued.expires_us),
            issued_at=_render_time(issued.issued_us),
            methods=("password",),
            catalog=(),
            roles=_render_roles(issued.role),
            user=_render_user(issued.user),
            project=_render_scope(issued.project) if issued.project else None,
            domain=None if issued.project else _render_domain(issued.user.domain),
        )
    )


def render_projects(projects: Sequence[Project], *, path: str) -> ProjectsAnswer:
    return ProjectsAnswer(
        projects=[
            ProjectAnswer(
                id=project.project_id,
                name=project.name,
                domain_id=project.domain.domain_id,
                parent_id=project.domain.domain_id,
                is_domain=False,
                enabled=True,
                description="",
                links=SelfLink(f"/v3/projects/{project.project_id}"),
            )
            for project in projects
        ],
        links=Links(path),
    )


def render_domains(domains: Sequence[Domain], *, path: str) -> DomainsAnswer:
    return DomainsAnswer(
        domains=[
            DomainAnswer(
                id=domain.domain_id,
                name=domain.name,
                enabled=True,
                description="",
                links=SelfLink(f"/v3/domains/{domain.domain_id}"),
            )
            for domain in domains
        ],
        links=Links(path),
    )


def _render_roles(role: Role | None) -> tuple[Named, ...]:
    return () if role is None else (Named(id=role.value, name=role.value),)


def _render_user(user: User) -> NamedInDomain:
    return NamedInDomain(id=user.user_id, name=user.name, domain=_render_domain(user.domain), password_expires_at="")


def _render_scope(project: Project) -> NamedInDomain:
    return NamedInDomain(id=project.project_id, name=project.name, domain=_render_domain(project.domain))


def _render_domain(domain: Domain) -> Named:
    return Named(id=domain.domain_id, name=domain.name)


def _render_time(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

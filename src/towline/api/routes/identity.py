"""Tokens, and the look-ups with which a client finds its project."""

from __future__ import annotations

from towline.api.routing import Answer, Call, Reply, Route, WholeAnswer, identity_refusal
from towline.api.wire.errors import ApiError
from towline.api.wire.fields import convert
from towline.api.wire.identity import (
    AuthEnvelope,
    AuthRequest,
    DomainsAnswer,
    ProjectsAnswer,
    TokenEnvelope,
    read_scope,
    render_domains,
    render_projects,
    render_token,
)
from towline.domain.errors import AuthenticationFailed, TooManyAttempts
from towline.service.identity import IdentityService

_MAX_NAME = 256
_MAX_PASSWORD = 1024
_MAX_TOKEN = 8192


class IdentityRoutes:
    """The few calls of the identity service that clients of the job API make."""

    def __init__(self, identity: IdentityService) -> None:
        self._identity = identity

    def table(self) -> list[Route]:
        """Paths from the root: they carry no project."""
        return [
            Route(
                "POST",
                "/v3/auth/tokens",
                self.issue_token,
                status=201,
                is_open=True,
                request=AuthEnvelope,
                answer=TokenEnvelope,
            ),
            Route("DELETE", "/v3/auth/tokens", self.revoke_token, status=204, headers=("X-Subject-Token",)),
            Route("GET", "/v3/projects", self.list_projects, answer=ProjectsAnswer, queries=("name",)),
            Route("GET", "/v3/auth/projects", self.list_own_projects, answer=ProjectsAnswer),
            Route("GET", "/v3/auth/domains", self.list_domains, answer=DomainsAnswer),
        ]

    async def issue_token(self, call: Call) -> Answer:
        request = _read_request(call)
        name, password, domain = _require_user(request)
        try:
            user = await self._identity.login(name, password, domain=domain)
            issued = await self._identity.issue_token(user, read_scope(request.scope))
        except AuthenticationFailed:
            raise identity_refusal(
                401, "Unauthorized", "The username or password is wrong, or the scope is not yours."
            ) from None
        except TooManyAttempts as error:
            raise identity_refusal(429, "Too Many Requests", f"{error.message}. {error.advice}") from None
        return Reply(render_token(issued), 201, {"X-Subject-Token": issued.token})

    async def revoke_token(self, call: Call) -> Answer:
        """End a token of one's own before its time."""
        if not 0 < len(call.subject_token) <= _MAX_TOKEN:
            raise identity_refusal(400, "Bad Request", "X-Subject-Token must name the token to revoke.")
        try:
            await self._identity.revoke_token(call.caller, call.subject_token)
        except AuthenticationFailed as error:
            raise identity_refusal(404, "Not Found", f"{error.message}.") from None
        return Reply(None, 204)

    async def list_projects(self, call: Call) -> Answer:
        name = call.query.get("name") or None
        projects = await self._identity.projects(call.caller, name=name)
        return render_projects(projects, path="/v3/projects")

    async def list_own_projects(self, call: Call) -> Answer:
        return render_projects(await self._identity.projects(call.caller), path="/v3/auth/projects")

    async def list_domains(self, call: Call) -> Answer:
        domain = await self._identity.domain(call.caller)
        return render_domains([domain] if domain else [], path="/v3/auth/domains")


def _read_request(call: Call) -> AuthRequest:
    try:
        return convert(call.json().get("auth"), AuthRequest, where="auth")
    except ApiError:
        raise _bad_request() from None


def _require_user(request: AuthRequest) -> tuple[str, str, str]:
    """Name, password and domain of a password sign-in, all there and of bearable size."""
    identity = request.identity
    user = identity.password.user if identity and identity.password else None
    if identity is None or "password" not in (identity.methods or []) or user is None:
        raise _bad_request()
    if not user.name or not user.password or user.domain is None or not user.domain.name:
        raise _bad_request()
    if len(user.name) > _MAX_NAME or len(user.password) > _MAX_PASSWORD or len(user.domain.name) > _MAX_NAME:
        raise _bad_request()
    return str(user.name), str(user.password), str(user.domain.name)


def _bad_request() -> WholeAnswer:
    return identity_refusal(
        400,
        "Bad Request",
        "A password sign-in needs auth.identity with methods, user name, password and domain name.",
    )

"""Tokens of an OpenStack Keystone, validated by asking it.

Format: Identity API v3, `GET /v3/auth/tokens`.  The token asks about itself, which Keystone allows to every token; so
no account of Towline's own is needed there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from towline.domain.access import Role
from towline.domain.errors import IdentityUnavailable, RequestError
from towline.outbound.http import HttpFailed, send
from towline.outbound.threads import IDENTITY
from towline.outside_config import KeystoneConfig
from towline.service.ports import Domain, ForeignToken, Project

_UNKNOWN: Final = frozenset({401, 403, 404})


class _Domain(msgspec.Struct):
    id: str
    name: str


class _Named(msgspec.Struct):
    id: str
    name: str
    domain: _Domain | None = None


class _Role(msgspec.Struct):
    name: str


class _Token(msgspec.Struct):
    expires_at: str
    user: _Named
    project: _Named | None = None
    roles: list[_Role] = []


class _Envelope(msgspec.Struct):
    token: _Token


class KeystoneValidator:
    """`service.ports.TokenValidator` by a Keystone."""

    def __init__(self, config: KeystoneConfig) -> None:
        """Raises: RequestError when the configuration names a role that does not exist."""
        self._config = config
        self._roles = _read_roles(config.roles)

    async def validate(self, token: str) -> ForeignToken | None:
        if not token.isascii() or not token.isprintable():
            return None  # no header could carry it
        try:
            answer = await send(
                "GET",
                f"{self._config.url.rstrip('/')}/v3/auth/tokens?nocatalog",
                headers={"X-Auth-Token": token, "X-Subject-Token": token, "Accept": "application/json"},
                timeout_s=self._config.timeout_s,
                ca_file=self._config.ca_file,
                pool=IDENTITY,
            )
        except HttpFailed as error:
            raise IdentityUnavailable(f"the identity service does not answer ({error})") from None
        if answer.status in _UNKNOWN:
            return None
        if answer.status != 200:
            raise IdentityUnavailable(f"the identity service answers with status {answer.status}", is_reached=True)
        try:
            return self._read(msgspec.json.decode(answer.body, type=_Envelope).token)
        except (msgspec.MsgspecError, ValueError):
            raise IdentityUnavailable(
                "the identity service answers with something else than a token", is_reached=True
            ) from None

    def _read(self, token: _Token) -> ForeignToken:
        project = None
        if token.project is not None:
            domain = token.project.domain or _Domain("", "keystone")
            project = Project(token.project.id, token.project.name, Domain(domain.id, domain.name))
        roles = [role for named in token.roles if (role := self._roles.get(named.name.lower())) is not None]
        highest = max(roles, key=list(Role).index, default=None)
        expires = datetime.fromisoformat(token.expires_at)
        return ForeignToken(token.user.id, token.user.name, project, highest, int(expires.timestamp() * 1_000_000))


def _read_roles(names: Mapping[str, str]) -> dict[str, Role]:
    try:
        return {name.lower(): Role(word) for name, word in names.items()}
    except ValueError:
        raise RequestError(
            f"roles of the identity service must mean one of: {', '.join(role.value for role in Role)}"
        ) from None

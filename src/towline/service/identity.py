"""Who calls: accounts, passwords, tokens and access keys.

Passwords are hashed with argon2, tokens with SHA-256 (they are random, so there is nothing to guess); secret
keys are kept encrypted by the store, as a signature can only be checked with the key itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import string
from collections import OrderedDict
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from towline.domain.errors import AuthenticationFailed, RequestError, TooManyAttempts
from towline.service.foreign_tokens import ForeignTokens
from towline.service.ports import (
    Caller,
    Clock,
    Credentials,
    Domain,
    IdentityStore,
    IssuedToken,
    Project,
    TokenScope,
    User,
)

TOKEN_TTL_S = 24 * 3600
_MAX_FAILURES = 5
_BLOCK_S = 60.0
_MAX_NAMES = 10_000
_LETTERS = string.ascii_letters + string.digits


class IdentityService:
    """Signs callers in and tells who they are. One per server process."""

    def __init__(
        self,
        store: IdentityStore,
        *,
        clock: Clock,
        hasher: PasswordHasher | None = None,
        foreign: ForeignTokens | None = None,
    ) -> None:
        """`foreign`: tokens of another identity service, if they let in too."""
        self._foreign = foreign
        self._store = store
        self._clock = clock
        self._hasher = hasher or PasswordHasher()
        self._throttle = AttemptThrottle()
        # A hash costs 64 MB and a core for a moment: a burst of sign-ins queues instead of filling the
        # machine.
        self._hashing = asyncio.Semaphore(2)
        self._decoy_hash: str | None = None

    # --- accounts ---------------------------------------------------------------------------------

    async def create_project_user_key(
        self, *, project_name: str, domain_name: str, user_name: str
    ) -> Credentials | None:
        """Make the first account and its key; None, with nothing changed, when there is one already."""
        password = random_text(24)
        domain = Domain(secrets.token_hex(16), domain_name)
        project = Project(secrets.token_hex(16), project_name, domain)
        user = User(secrets.token_hex(16), user_name, domain)
        is_new = await self._store.insert_account(
            domain=domain,
            project=project,
            user=user,
            password_hash=await self._hash(password),
            created_us=self._clock.now_us(),
        )
        if not is_new:
            return None
        return await self._with_new_key(user, project, password)

    async def first_account(self) -> tuple[User, Project] | None:
        return await self._store.load_first_account()

    async def create_key(self) -> Credentials:
        """Another access key for the first account; its password stays as it is and is not shown.

        Raises:
            RequestError: there is no account yet.
        """
        account = await self._store.load_first_account()
        if account is None:
            raise RequestError("there is no account yet", remedy="Run `towline init` first.")
        user, project = account
        return await self._with_new_key(user, project, "")

    async def projects(self, caller: Caller, *, name: str | None = None) -> list[Project]:
        """The projects in which the caller has a role, by name."""
        found = await self._store.load_projects(caller.user_id, name=name)
        if not found and caller.role is not None:
            # A caller of another identity service is nobody's member here; its token is for one project.
            own = await self._store.load_project(caller.project_id)
            found = [own] if own is not None and name in (None, own.name) else []
        return found

    async def domain(self, caller: Caller) -> Domain | None:
        own = await self._store.load_domain_of(caller.user_id)
        if own is None and (project := await self._store.load_project(caller.project_id)) is not None:
            return project.domain
        return own

    # --- passwords and tokens -----------------------------------------------------------------------

    async def login(self, name: str, password: str, *, domain: str) -> User:
        """The user. Takes as long for an unknown name as for a wrong password.

        Raises:
            AuthenticationFailed: without saying which of the three was wrong.
            TooManyAttempts: too many failures with this name; nothing was compared.
        """
        who = f"{domain}/{name}".lower()
        now_s = self._clock.monotonic_s()
        if self._throttle.is_blocked(who, now_s):
            raise TooManyAttempts("too many failed attempts with this user name")
        found = await self._store.load_user(name, domain_name=domain)
        is_right = await self._verify(found[1] if found else None, password)
        if found is None or not is_right:
            self._throttle.add_failure(who, self._clock.monotonic_s())
            raise AuthenticationFailed("the user name, the password or the domain is wrong")
        self._throttle.forget(who)
        return found[0]

    async def issue_token(self, user: User, scope: TokenScope) -> IssuedToken:
        """A token for 24 hours; `project` None is a domain scope, with which no job can be reached.

        Raises:
            AuthenticationFailed: the scope is not the user's.
        """
        project = await self._project_of(user, scope)
        role = await self._store.load_role(user.user_id, project.project_id) if project else None
        token = secrets.token_urlsafe(48)
        now_us = self._clock.now_us()
        expires_us = now_us + TOKEN_TTL_S * 1_000_000
        await self._store.insert_token(
            _token_hash(token),
            user_id=user.user_id,
            project_id=project.project_id if project else "",
            created_us=now_us,
            expires_us=expires_us,
        )
        return IssuedToken(token, user, project, now_us, expires_us, role)

    async def caller_for_token(self, token: str) -> Caller:
        """Who holds the token; `project_id` is "" for a domain scope.

        Raises:
            AuthenticationFailed: the token is unknown or has expired.
            IdentityUnavailable: it may be one of the other identity service, which does not answer.
        """
        token_hash = _token_hash(token)
        caller = await self._store.load_caller_of_token(token_hash, now_us=self._clock.now_us())
        if caller is None and self._foreign is not None:
            caller = await self._foreign.caller(token, token_hash)
        if caller is None:
            raise AuthenticationFailed("the token is unknown or has expired")
        return caller

    async def revoke_token(self, caller: Caller, token: str) -> None:
        """From now on nobody gets in with `token`; a user can revoke own tokens only.

        Raises:
            AuthenticationFailed: the caller has no such token.
        """
        is_gone = await self._store.delete_token(
            _token_hash(token), user_id=caller.user_id, now_us=self._clock.now_us()
        )
        if not is_gone:
            raise AuthenticationFailed("the token is unknown, has expired, or is another user's")

    async def secret_for_access_key(self, access_key: str) -> tuple[str, Caller] | None:
        """The secret key to check a signature with, and who signs with it; None for an unknown key."""
        return await self._store.load_access_key(access_key)

    # --- inside -----------------------------------------------------------------------------------

    async def _with_new_key(self, user: User, project: Project, password: str) -> Credentials:
        access_key, secret_key = mint_key()
        await self._store.insert_access_key(
            access_key=access_key,
            secret_key=secret_key,
            user_id=user.user_id,
            project_id=project.project_id,
            created_us=self._clock.now_us(),
        )
        return Credentials(
            project_id=project.project_id,
            project_name=project.name,
            domain_name=project.domain.name,
            user_name=user.name,
            password=password,
            access_key=access_key,
            secret_key=secret_key,
        )

    async def _project_of(self, user: User, scope: TokenScope) -> Project | None:
        domain = user.domain
        if (scope.domain_id and scope.domain_id != domain.domain_id) or (
            scope.domain_name and scope.domain_name != domain.name
        ):
            raise AuthenticationFailed("the scope names another domain")
        if not scope.wants_project:
            return None
        for project in await self._store.load_projects(user.user_id, name=scope.project_name or None):
            if not scope.project_id or project.project_id == scope.project_id:
                return project
        raise AuthenticationFailed("the scope names a project that the user does not have")

    async def _hash(self, password: str) -> str:
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _verify(self, password_hash: str | None, password: str) -> bool:
        if password_hash is None:
            # The work is done for an unknown name too, so that time does not tell which names exist.
            if self._decoy_hash is None:
                self._decoy_hash = await self._hash(secrets.token_hex(16))
            password_hash, is_known = self._decoy_hash, False
        else:
            is_known = True
        async with self._hashing:
            try:
                return await asyncio.to_thread(self._hasher.verify, password_hash, password) and is_known
            except (VerificationError, InvalidHashError):
                return False


@dataclass(slots=True)
class _Failures:
    count: int
    last_s: float


class AttemptThrottle:
    """Blocks a name for a minute after some failures in a row. Remembers a bounded number of names. Pure."""

    def __init__(self, *, max_names: int = _MAX_NAMES, max_failures: int = _MAX_FAILURES) -> None:
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._max_names = max_names
        self._max_failures = max_failures

    def is_blocked(self, name: str, now_s: float) -> bool:
        failures = self._failures.get(name)
        if failures is None:
            return False
        if now_s - failures.last_s >= _BLOCK_S:
            del self._failures[name]
            return False
        return failures.count >= self._max_failures

    def add_failure(self, name: str, now_s: float) -> None:
        failures = self._failures.pop(name, None) or _Failures(0, now_s)
        self._failures[name] = _Failures(failures.count + 1, now_s)
        while len(self._failures) > self._max_names:
            self._failures.popitem(last=False)

    def forget(self, name: str) -> None:
        self._failures.pop(name, None)

    def __len__(self) -> int:
        return len(self._failures)


def mint_key() -> tuple[str, str]:
    """A new access key and its secret key."""
    return random_text(20, string.ascii_uppercase + string.digits), random_text(40)


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def random_text(length: int, letters: str = _LETTERS) -> str:
    return "".join(secrets.choice(letters) for _ in range(length))

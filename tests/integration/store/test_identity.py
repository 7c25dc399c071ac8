"""Signing in, tokens and access keys, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from tests.integration.store.conftest import CHEAP_HASHER
from towline.clock import SystemClock
from towline.domain.errors import AuthenticationFailed, TooManyAttempts
from towline.service.identity import TOKEN_TTL_S, AttemptThrottle, IdentityService
from towline.service.ports import Credentials, TokenScope
from towline.store.opening import Store


class MovedClock(SystemClock):
    """The machine's clock, moved by the test."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now_us(self) -> int:
        return super().now_us() + int(self.ahead_s * 1_000_000)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def identity(store: Store, clock: MovedClock) -> IdentityService:
    return IdentityService(store.identities, clock=clock, hasher=CHEAP_HASHER)


async def test_password_token_and_key_name_the_same_caller(identity: IdentityService, credentials: Credentials):
    user = await identity.login("ada", credentials.password, domain="acme")
    issued = await identity.issue_token(user, TokenScope(project_name="shop"))
    by_token = await identity.caller_for_token(issued.token)
    by_key = await identity.secret_for_access_key(credentials.access_key)

    assert by_key == (credentials.secret_key, by_token)
    assert by_token.project_id == credentials.project_id
    assert issued.project is not None
    assert issued.expires_us - issued.issued_us == TOKEN_TTL_S * 1_000_000


@pytest.mark.parametrize(
    ("name", "domain", "password"), [("eve", "acme", None), ("ada", "other", None), ("ada", "acme", "wrong")]
)
async def test_a_refusal_does_not_say_what_was_wrong(
    identity: IdentityService, credentials: Credentials, name: str, domain: str, password: str | None
):
    with pytest.raises(AuthenticationFailed) as refusal:
        await identity.login(name, password or credentials.password, domain=domain)
    assert str(refusal.value) == "the user name, the password or the domain is wrong"


async def test_a_name_is_blocked_after_five_failures_for_a_minute(
    identity: IdentityService, credentials: Credentials, clock: MovedClock
):
    for _ in range(5):
        with pytest.raises(AuthenticationFailed):
            await identity.login("ada", "wrong", domain="acme")
    with pytest.raises(TooManyAttempts):
        await identity.login("ada", credentials.password, domain="acme")
    clock.ahead_s = 61
    assert (await identity.login("ada", credentials.password, domain="acme")).name == "ada"


async def test_a_token_ends_after_a_day(identity: IdentityService, credentials: Credentials, clock: MovedClock):
    user = await identity.login("ada", credentials.password, domain="acme")
    issued = await identity.issue_token(user, TokenScope(project_id=credentials.project_id))
    clock.ahead_s = TOKEN_TTL_S - 60
    assert (await identity.caller_for_token(issued.token)).user_name == "ada"
    clock.ahead_s = TOKEN_TTL_S + 1
    with pytest.raises(AuthenticationFailed):
        await identity.caller_for_token(issued.token)


async def test_scopes_of_others_are_refused_and_a_domain_has_no_project(
    identity: IdentityService, credentials: Credentials
):
    user = await identity.login("ada", credentials.password, domain="acme")
    for scope in (
        TokenScope(project_name="other"),
        TokenScope(project_id="0" * 32),
        TokenScope(project_name="shop", domain_name="other"),
        TokenScope(domain_id="0" * 32),
    ):
        with pytest.raises(AuthenticationFailed):
            await identity.issue_token(user, scope)
    issued = await identity.issue_token(user, TokenScope(domain_name="acme"))
    assert issued.project is None
    assert (await identity.caller_for_token(issued.token)).project_id == ""


async def test_an_unknown_key_or_token_is_nobody(identity: IdentityService, credentials: Credentials):
    assert await identity.secret_for_access_key("UNKNOWN") is None
    with pytest.raises(AuthenticationFailed):
        await identity.caller_for_token("unknown")


async def test_a_second_account_is_not_made_but_a_second_key_is(identity: IdentityService, credentials: Credentials):
    again = await identity.create_project_user_key(project_name="x", domain_name="y", user_name="z")
    assert again is None
    more = await identity.create_key()
    assert (more.project_id, more.password) == (credentials.project_id, "")
    for key in (credentials, more):
        assert await identity.secret_for_access_key(key.access_key) is not None


async def test_projects_of_the_domain_can_be_listed_by_name(identity: IdentityService, credentials: Credentials):
    found = await identity.secret_for_access_key(credentials.access_key)
    assert found is not None
    caller = found[1]
    assert [project.name for project in await identity.projects(caller)] == ["shop"]
    assert [project.name for project in await identity.projects(caller, name="shop")] == ["shop"]
    assert await identity.projects(caller, name="eu-de") == []


def test_the_throttle_remembers_a_bounded_number_of_names():
    throttle = AttemptThrottle(max_names=100)
    for number in range(1000):
        throttle.add_failure(f"name-{number}", float(number))
    assert len(throttle) == 100

"""Tokens that another identity service has issued.

The service is asked once a minute for each token in use; a token that it does not know is remembered for a few
seconds, so that a client with a stale token does not pass each of its calls on. Only hashes of tokens are kept.

Theory of operation.  Calls come at the same time.  Those with the same token wait for one validation.  A few
validations run at once and a bounded number wait; more are turned away at once, for whoever sends invented tokens
must neither press on the identity service nor fill this server.  When the service cannot be reached, nobody asks it
for some seconds: calls that can only fail shall not each take as long as its time limit.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from towline.domain.errors import IdentityUnavailable
from towline.service.ports import AccountStore, Caller, Clock, TokenValidator

_KNOWN_S: Final = 60.0
_UNKNOWN_S: Final = 10.0
_OUTAGE_S: Final = 5.0
_MAX_TOKENS: Final = 10_000
_MAX_AT_ONCE: Final = 8
_MAX_WAITING: Final = 200

_Verdict = tuple[Caller | None, IdentityUnavailable | None]


class ForeignTokens:
    """Who holds such a token; projects become known to the store when they are first seen."""

    def __init__(self, validator: TokenValidator, store: AccountStore, *, clock: Clock) -> None:
        self._validator = validator
        self._store = store
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, _Verdict]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[_Verdict]] = {}
        self._turns = asyncio.Semaphore(_MAX_AT_ONCE)
        self._out_until_s = 0.0

    async def caller(self, token: str, token_hash: str) -> Caller | None:
        """None for a token that nobody knows. Raises: IdentityUnavailable."""
        known = self._seen.get(token_hash)
        if known is not None and self._clock.monotonic_s() < known[0]:
            verdict = known[1]
        else:
            # Shielded: a client that hangs up takes the answer from nobody else.
            verdict = await asyncio.shield(self._validation(token, token_hash))
        caller, outage = verdict
        if outage is not None:
            raise IdentityUnavailable(outage.message)
        return caller

    def _validation(self, token: str, token_hash: str) -> asyncio.Task[_Verdict]:
        """The one validation of the token that is under way. Raises: IdentityUnavailable."""
        if task := self._asking.get(token_hash):
            return task
        if self._is_out():
            raise _out()
        if len(self._asking) >= _MAX_AT_ONCE + _MAX_WAITING:
            raise IdentityUnavailable("too many tokens wait for the identity service")
        task = asyncio.create_task(self._validate(token, token_hash), name="foreign token")
        self._asking[token_hash] = task
        task.add_done_callback(lambda task: self._forget_task(task, token_hash))
        return task

    def _forget_task(self, task: asyncio.Task[_Verdict], token_hash: str) -> None:
        del self._asking[token_hash]
        if not task.cancelled():
            task.exception()  # looked at, should all who asked have gone

    async def _validate(self, token: str, token_hash: str) -> _Verdict:
        async with self._turns:
            if self._is_out():
                return None, _out()  # since this one began to wait
            try:
                caller, until_s = await self._ask(token)
                verdict: _Verdict = (caller, None)
            except IdentityUnavailable as error:
                verdict, until_s = (None, error), self._clock.monotonic_s() + _OUTAGE_S
                if not error.context.get("is_reached"):
                    self._out_until_s = until_s
                    return verdict
        self._seen[token_hash] = (until_s, verdict)
        self._seen.move_to_end(token_hash)
        while len(self._seen) > _MAX_TOKENS:
            self._seen.popitem(last=False)
        return verdict

    def _is_out(self) -> bool:
        return self._clock.monotonic_s() < self._out_until_s

    async def _ask(self, token: str) -> tuple[Caller | None, float]:
        """Who holds it, and until when that is believed."""
        found = await self._validator.validate(token)
        now_s = self._clock.monotonic_s()
        left_s = 0.0 if found is None else (found.expires_us - self._clock.now_us()) / 1_000_000
        if found is None or left_s <= 0:
            return None, now_s + _UNKNOWN_S
        max_jobs = None if found.project is None else await self._store.ensure_project(found.project)
        project_id = "" if found.project is None else found.project.project_id
        caller = Caller(project_id, found.user_id, found.user_name, found.role, max_jobs)
        return caller, now_s + min(_KNOWN_S, left_s)


def _out() -> IdentityUnavailable:
    return IdentityUnavailable("the identity service did not answer a moment ago")

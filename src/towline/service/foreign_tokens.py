"""Tokens that another identity service has issued.

The service is asked once a minute for each token in use; a token that it does not know is remembered for a few
seconds, so that a client with a stale token does not pass each of its calls on. Only hashes of tokens are kept.
"""

from __future__ import annotations

from collections import OrderedDict

from towline.service.ports import AccountStore, Caller, Clock, TokenValidator

_KNOWN_S = 60.0
_UNKNOWN_S = 10.0
_MAX_TOKENS = 10_000


class ForeignTokens:
    """Who holds such a token; projects become known to the store when they are first seen."""

    def __init__(self, validator: TokenValidator, store: AccountStore, *, clock: Clock) -> None:
        self._validator = validator
        self._store = store
        self._clock = clock
        self._seen: OrderedDict[str, tuple[float, Caller | None]] = OrderedDict()

    async def caller(self, token: str, token_hash: str) -> Caller | None:
        """None for a token that nobody knows. Raises: IdentityUnavailable."""
        now_s = self._clock.monotonic_s()
        known = self._seen.get(token_hash)
        if known is not None and now_s < known[0]:
            return known[1]
        caller, for_s = await self._ask(token)
        self._seen[token_hash] = (now_s + for_s, caller)
        self._seen.move_to_end(token_hash)
        while len(self._seen) > _MAX_TOKENS:
            self._seen.popitem(last=False)
        return caller

    async def _ask(self, token: str) -> tuple[Caller | None, float]:
        found = await self._validator.validate(token)
        left_s = 0.0 if found is None else (found.expires_us - self._clock.now_us()) / 1_000_000
        if found is None or left_s <= 0:
            return None, _UNKNOWN_S
        max_jobs = None if found.project is None else await self._store.ensure_project(found.project)
        project_id = "" if found.project is None else found.project.project_id
        return Caller(project_id, found.user_id, found.user_name, found.role, max_jobs), min(_KNOWN_S, left_s)

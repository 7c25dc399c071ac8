"""Who sent a request: a token, or a signature made with a secret key. With both, the token decides."""

from __future__ import annotations

from typing import Final

from towline.api.routing import AnyRequest
from towline.api.signature import (
    SignatureRefused,
    SignedRequest,
    parse_authorization,
    verify,
)
from towline.api.wire.errors import ApiError
from towline.domain.errors import AuthenticationFailed
from towline.service.identity import AttemptThrottle, IdentityService
from towline.service.ports import Caller

TOKEN_HEADER: Final = "x-auth-token"
_MAX_TOKEN: Final = 8192
_MAX_FAILURES: Final = 10


class Authenticator:
    """Finds the caller of a request through the identity service."""

    def __init__(self, identity: IdentityService) -> None:
        self._identity = identity
        # By address and key, so that nobody can lock the owner of a key out from elsewhere.
        self._throttle = AttemptThrottle(max_failures=_MAX_FAILURES)

    async def caller_of(self, request: AnyRequest, body: bytes, *, now_us: int) -> Caller:
        """Raises: ApiError APIGW.0301, or APIGW.0308 after too many failures."""
        token = request.headers.get(TOKEN_HEADER)
        if token:
            return await self._caller_of_token(token)
        authorization = request.headers.get("authorization")
        if authorization:
            address = request.client.host if request.client else ""
            signed = signed_request(request, body)
            return await self._caller_of_signature(signed, authorization, address=address, now_us=now_us)
        raise _refused("neither X-Auth-Token nor Authorization is present")

    async def _caller_of_token(self, token: str) -> Caller:
        if len(token) > _MAX_TOKEN:
            raise _refused("decrypt token fail")
        try:
            return await self._identity.caller_for_token(token)
        except AuthenticationFailed:
            raise _refused("decrypt token fail") from None

    async def _caller_of_signature(self, request: SignedRequest, header: str, *, address: str, now_us: int) -> Caller:
        try:
            authorization = parse_authorization(header)
        except SignatureRefused as error:
            raise _refused(str(error)) from None
        who, now_s = f"{address} {authorization.access_key}", now_us / 1_000_000
        if self._throttle.is_blocked(who, now_s):
            raise ApiError("APIGW.0308", "too many failed signatures with this access key; wait a minute")
        try:
            found = await self._identity.secret_for_access_key(authorization.access_key)
            if found is None:
                raise SignatureRefused(f"ak {authorization.access_key} not exist")
            secret_key, caller = found
            verify(request, authorization, secret_key=secret_key, now_us=now_us)
        except SignatureRefused as error:
            self._throttle.add_failure(who, now_s)
            raise _refused(str(error)) from None
        self._throttle.forget(who)
        return caller


def signed_request(request: AnyRequest, body: bytes) -> SignedRequest:
    """The request as it was on the wire, for the signature."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in request.scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), _decode_header(raw_value)
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return SignedRequest(
        method=request.method,
        path=request.scope["raw_path"].decode("latin-1"),
        query=request.scope["query_string"].decode("latin-1"),
        headers=headers,
        body=body,
    )


def _decode_header(value: bytes) -> str:
    # The SDK signs header values as UTF-8 text; bytes that are not UTF-8 can only be Latin-1.
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _refused(detail: str) -> ApiError:
    return ApiError("APIGW.0301", detail)

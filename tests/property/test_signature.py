"""Signatures by other hands: the vendor's own signing code, and a signer written from the description alone."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from hypothesis import given, settings
from hypothesis import strategies as st

from towline.api.signature import SignatureRefused, SignedRequest, parse_authorization, verify

ACCESS_KEY, SECRET_KEY = "ACCESSKEY0EXAMPLE000", "secret/+key=of the test"
DATE = "20250301T120000Z"
NOW_US = int(datetime(2025, 3, 1, 12, tzinfo=UTC).timestamp() * 1_000_000)

UNRESERVED = "abcXYZ019-_.~"


@st.composite
def encoded(draw: st.DrawFn, *, min_size: int = 0) -> str:
    """Text as a client may put it on the wire: some letters encoded that need not be, hexadecimal in either case."""
    parts = []
    for letter in draw(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=min_size, max_size=8)):
        hexadecimal = "".join(f"%{byte:02{draw(st.sampled_from('xX'))}}" for byte in letter.encode())
        parts.append(letter if letter in UNRESERVED and draw(st.booleans()) else hexadecimal)
    return "".join(parts)


NAMES = st.text("abcdefghijklmnop-", min_size=1, max_size=8).map(lambda name: f"x-{name}")
VALUES = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u0085\u2028\u2029"), max_size=12)
HEADERS = st.dictionaries(NAMES, VALUES, max_size=5)
BODIES = st.one_of(
    st.just(b""),
    st.sampled_from([b'{"jobs": ["a", "b"]}', b'{"jobs":["a"]}\n', b"{}", b" ", b"\x00\xff"]),
    st.binary(max_size=40),
)
PATHS = st.lists(encoded(), min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "post"])


@settings(max_examples=150, deadline=None)
@given(
    METHODS,
    PATHS,
    st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.text(max_size=8).filter(str.isprintable), max_size=3),
    HEADERS,
    st.sampled_from([None, "application/json", "application/json;charset=UTF-8", "text/plain"]),
    BODIES,
    st.randoms(use_true_random=False),
)
def test_what_the_vendors_code_signs_is_accepted(
    method: str, path: str, query: dict[str, str], headers: dict[str, str], kind: str | None, body: bytes, order: object
) -> None:
    sent = {**headers, "Host": "towline.test:8811", "X-Sdk-Date": DATE}
    if kind:
        sent["Content-Type"] = kind
    names = list(sent)
    order.shuffle(names)  # type: ignore[attr-defined]
    request = SdkRequest(
        method=method,
        schema="http",
        host="towline.test:8811",
        resource_path=path,
        query_params=list(query.items()),
        header_params={name: sent[name] for name in names},
        body=body,
    )
    signed = Signer(BasicCredentials(ACCESS_KEY, SECRET_KEY, "p")).sign(request)
    received = SignedRequest(
        method=method.upper(),
        path=path,
        query=signed.uri.partition("?")[2],
        # On the wire they are bytes; the server reads them as UTF-8.
        headers={name.lower(): str(value).encode("latin-1").decode() for name, value in signed.header_params.items()},
        body=body,
    )
    authorization = parse_authorization(signed.header_params["Authorization"])
    verify(received, authorization, secret_key=SECRET_KEY, now_us=NOW_US)
    with pytest.raises(SignatureRefused):
        verify(received, authorization, secret_key=SECRET_KEY + "x", now_us=NOW_US)


def sign_as_described(request: SignedRequest, names: list[str], path_parts: list[str]) -> str:
    """Written from the public description, with other means than the server's."""
    lines = [request.method, "/" + "/".join(quote(part, safe="~") for part in path_parts) + "/", ""]
    lines += [f"{name}:{request.headers[name].strip()}" for name in sorted(names)]
    lines += ["", ";".join(sorted(names)), hashlib.sha256(request.body).hexdigest()]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return hmac.new(SECRET_KEY.encode(), f"SDK-HMAC-SHA256\n{DATE}\n{digest}".encode(), hashlib.sha256).hexdigest()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text(UNRESERVED + " é/%", min_size=1, max_size=6).filter(lambda part: "/" not in part), max_size=4),
    HEADERS,
    BODIES,
    st.data(),
)
def test_any_choice_and_order_of_signed_headers_is_accepted_and_no_change_is(
    parts: list[str], headers: dict[str, str], body: bytes, data: st.DataObject
) -> None:
    known = {**headers, "host": "towline.test", "x-sdk-date": DATE}
    path = "".join(f"/{quote(part, safe='')}" for part in parts) or "/"
    request = SignedRequest("POST", path, "", known, body)
    chosen = [name for name in known if name == "x-sdk-date" or data.draw(st.booleans(), label=name)]
    listed = data.draw(st.permutations(chosen))
    described = sign_as_described(request, chosen, parts) if parts else None
    if described is None:
        return
    header = f"SDK-HMAC-SHA256 Access={ACCESS_KEY}, SignedHeaders={';'.join(listed)}, Signature={described}"
    authorization = parse_authorization(header)
    verify(request, authorization, secret_key=SECRET_KEY, now_us=NOW_US)
    name = data.draw(st.sampled_from(listed))
    changes = [
        replace(request, body=body + b"x"),
        replace(request, method="PUT"),
        replace(request, path=path + "x"),
        replace(request, query="a=1"),
        replace(request, headers={**known, name: known[name].strip() + "x"}),
        replace(request, headers={other: value for other, value in known.items() if other != name}),
    ]
    with pytest.raises(SignatureRefused):
        verify(data.draw(st.sampled_from(changes)), authorization, secret_key=SECRET_KEY, now_us=NOW_US)

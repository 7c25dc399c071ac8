"""One HTTP request to another service, in a thread, with a time limit and a bound on the answer.

These requests are few, so there is no pool of connections. Redirects are not followed: a token or a signature is meant
for one address only.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from towline.outbound.threads import RECEIVERS, run_in

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024


class HttpFailed(Exception):
    """No answer came, or none that is HTTP. The text names neither address nor headers (I7)."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    body: bytes


async def send(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    timeout_s: float,
    ca_file: str | None = None,
    pool: ThreadPoolExecutor = RECEIVERS,
) -> HttpAnswer:
    """The answer, whatever its status. Raises: HttpFailed."""
    request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)
    return await run_in(pool, _send, request, timeout_s, ca_file)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _send(request: urllib.request.Request, timeout_s: float, ca_file: str | None) -> HttpAnswer:
    try:
        # No proxy of the environment: what a server talks to stands in its configuration file.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _NoRedirects()]
        if request.type == "https":
            # Reading the certificates of all authorities takes longer than many a request.
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file)))
        opener = urllib.request.build_opener(*handlers)
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                return HttpAnswer(answer.status, answer.read(MAX_ANSWER_BYTES))
        except urllib.error.HTTPError as refusal:
            with refusal:
                return HttpAnswer(refusal.code, refusal.read(MAX_ANSWER_BYTES))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise HttpFailed(type(error).__name__) from None

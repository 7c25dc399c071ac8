"""A small client of the HTTP API: signed requests, batch answers, and the steps of a job's life.

One connection a call, made in a thread, so that an event loop can go on.  It knows the outside words that
it sends; what comes back stays a plain dictionary.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from towline.api.signature import ALGORITHM, SignedRequest, render_canonical_request, sign
from towline.domain.errors import ServerUnreachable, TowlineError
from towline.domain.jobs import Endpoint

_TIMEOUT_S = 60.0


class ApiRefused(TowlineError):
    """The server answered, but not as wished; the message is the server's own."""

    code = "API_REFUSED"
    remedy = "Read the server's message; its log has the request id."


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who calls, and for which project."""

    project_id: str
    access_key: str
    secret_key: str = field(repr=False)


class ApiClient:
    """Calls `http://host:port/v3/{project_id}/...` with SDK-HMAC-SHA256 signatures."""

    def __init__(self, base_url: str, key: ApiKey) -> None:
        parts = urlsplit(base_url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._key = key

    async def call(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of one call; `path` follows the project id.

        Raises:
            ServerUnreachable: nothing answered; the call may or may not have been done.
            ApiRefused: the whole call was refused.
        """
        status, answer = await asyncio.to_thread(self._exchange, method, path, json.dumps(body).encode())
        if status >= 400:
            text = f"{answer.get('error_code', status)}: {answer.get('error_msg', '')}"
            raise ApiRefused(f"{method} {path} was refused: {text}", status=status)
        return answer

    async def is_healthy(self) -> bool:
        """Whether the server answers at all."""
        try:
            return await asyncio.to_thread(self._probe) == 200
        except (OSError, http.client.HTTPException):
            return False

    def _exchange(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        full_path = f"/v3/{self._key.project_id}/{path}"
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, full_path, body, self._headers(method, full_path, body))
            response = connection.getresponse()
            answer = json.loads(response.read() or b"{}")
            return response.status, answer if isinstance(answer, dict) else {}
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServerUnreachable(
                f"no answer from http://{self._host}:{self._port} ({type(error).__name__})"
            ) from error
        finally:
            connection.close()

    def _headers(self, method: str, path: str, body: bytes) -> dict[str, str]:
        date = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        signed = {
            "content-type": "application/json",
            "host": f"{self._host}:{self._port}",
            "x-sdk-date": date,
        }
        request = SignedRequest(method=method, path=path, query="", headers=signed, body=body)
        canonical = render_canonical_request(request, tuple(sorted(signed)))
        signature = sign(canonical, date=date, secret_key=self._key.secret_key)
        names = ";".join(sorted(signed))
        authorization = f"{ALGORITHM} Access={self._key.access_key}, SignedHeaders={names}, Signature={signature}"
        return {**signed, "Authorization": authorization}

    def _probe(self) -> int:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status
        finally:
            connection.close()

    # --- the life of a job ------------------------------------------------------------------------

    async def create_job(self, name: str) -> str:
        """Create a PostgreSQL job with a full and an incremental phase, databases still unknown; its id."""
        answer = await self.call(
            "POST",
            "jobs/batch-creation",
            {
                "jobs": [
                    {
                        "name": name,
                        "db_use_type": "sync",
                        "engine_type": "postgresql",
                        "job_direction": "up",
                        "net_type": "vpc",
                        "node_type": "high",
                        "task_type": "FULL_INCR_TRANS",
                        "customize_sutnet_id": "",
                        "source_endpoint": {"db_type": "postgresql"},
                        "target_endpoint": {"db_type": "postgresql"},
                    }
                ]
            },
        )
        return str(_only_result(answer)["id"])

    async def test_connections(self, job_id: str, source: Endpoint, target: Endpoint) -> None:
        """Raises ApiRefused, with the reason, when one of the databases cannot be reached."""
        common = {"id": job_id, "net_type": "vpc"}
        sides = (("so", source), ("ta", target))
        items = [{**common, "end_point_type": side, **_render(endpoint)} for side, endpoint in sides]
        answer = await self.call("POST", "jobs/batch-connection", {"jobs": items})
        for result in answer["results"]:
            if not result.get("success"):
                raise ApiRefused(f"connection test failed: {_reason(result)}")

    async def store_databases(self, job_id: str, source: Endpoint, target: Endpoint) -> None:
        change = {
            "job_id": job_id,
            "store_db_info": True,
            "engine_type": "postgresql",
            "net_type": "vpc",
            "node_type": "high",
            "source_endpoint": _render(source),
            "target_endpoint": _render(target),
        }
        _only_result(await self.call("PUT", "jobs/batch-modification", {"jobs": [change]}))

    async def select_everything(self, job_id: str) -> None:
        body = {"jobs": [{"job_id": job_id, "selected": False}]}
        _only_result(await self.call("PUT", "jobs/batch-select-objects", body))

    async def limit_speed(self, job_id: str, mb_per_s: int) -> None:
        """A limit for the whole day."""
        window = {"begin": "16:00", "end": "15:59", "speed": str(mb_per_s), "is_utc": True}
        body = {"speed_limits": [{"job_id": job_id, "speed_limit": [window]}]}
        _only_result(await self.call("PUT", "jobs/batch-limit-speed", body))

    async def start_precheck(self, job_id: str) -> None:
        body = {"jobs": [{"job_id": job_id, "precheck_mode": "forStartJob"}]}
        _only_result(await self.call("POST", "jobs/batch-precheck", body))

    async def read_precheck(self, job_id: str) -> dict[str, Any]:
        return _only_result(await self.call("POST", "jobs/batch-precheck-result", {"jobs": [job_id]}))

    async def start(self, job_id: str) -> None:
        _only_result(await self.call("POST", "jobs/batch-starting", {"jobs": [{"job_id": job_id}]}))

    async def pause(self, job_id: str) -> None:
        body = {"jobs": [{"job_id": job_id, "pause_mode": "all"}]}
        _only_result(await self.call("POST", "jobs/batch-pause-task", body))

    async def resume(self, job_id: str) -> None:
        _only_result(await self.call("POST", "jobs/batch-retry-task", {"jobs": [{"job_id": job_id}]}))

    async def end(self, job_id: str) -> None:
        body = {"jobs": [{"job_id": job_id, "delete_type": "terminate"}]}
        _only_result(await self.call("DELETE", "jobs/batch-jobs", body))

    async def read_progress(self, job_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The records of batch-progress, in the order of the ids."""
        answer = await self.call("POST", "jobs/batch-progress", {"jobs": list(job_ids)})
        return list(answer["results"])

    async def read_detail(self, job_id: str) -> dict[str, Any]:
        return _only_result(await self.call("POST", "jobs/batch-detail", {"jobs": [job_id]}))


def _only_result(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The one item of a batch answer. Raises ApiRefused when the item itself was refused."""
    result = dict(answer["results"][0])
    if result.get("status") in ("failed", False) or ("status" not in result and result.get("error_code")):
        raise ApiRefused(_reason(result))
    return result


def _reason(result: Mapping[str, Any]) -> str:
    text = result.get("error_msg") or result.get("error_message") or "no reason given"
    return f"{result.get('error_code', '-')}: {text}"


def _render(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "db_type": "postgresql",
        "ip": endpoint.host,
        "db_port": endpoint.port,
        "db_user": endpoint.user,
        "db_password": endpoint.password,
        "db_name": endpoint.database,
    }

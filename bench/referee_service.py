"""A `towline serve` of its own, driven as any client would: HTTP with a token, nothing imported."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from servers import COMPILED, towline

_WHOLE_DAY = {"begin": "16:00", "end": "15:59", "is_utc": True}


@asynccontextmanager
async def serving(log_path: Path | None) -> AsyncIterator[Service]:
    """A server with an empty store, and its workers; all of it ends with the context."""
    with _server_process(log_path) as (address, account, pid, place):
        async with httpx.AsyncClient(base_url=address, timeout=30) as http:
            service = Service(http, account, pid, place)
            await service.log_in()
            yield service


@contextmanager
def _server_process(log_path: Path | None) -> Iterator[tuple[str, dict[str, str], int, list[str]]]:
    """Where it listens, who may call, its process id, and where it keeps things.

    Blocks until it listens, and until it has ended.
    """
    with tempfile.TemporaryDirectory() as folder, (log_path or Path(os.devnull)).open("ab") as log:
        place = ["--store", f"sqlite:///{folder}/store.db", "--data-dir", f"{folder}/data"]
        told = subprocess.run(towline("init", "--json", *place), check=True, capture_output=True)
        level = "info" if log_path else "error"
        process = subprocess.Popen(
            towline("serve", "--listen", "127.0.0.1:0", *place, "--log-level", level),
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **COMPILED},
            text=True,
        )
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1], json.loads(told.stdout), process.pid, place
        finally:
            process.terminate()
            process.wait(60)


class Service:
    """The calls that a referee needs."""

    def __init__(self, http: httpx.AsyncClient, account: Mapping[str, str], pid: int, place: list[str]) -> None:
        self._http = http
        self._account = account
        self._pid = pid
        self._place = place

    async def log_in(self) -> None:
        account = self._account
        user = {
            "name": account["user_name"],
            "password": account["password"],
            "domain": {"name": account["domain_name"]},
        }
        order = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"id": account["project_id"]}},
            }
        }
        response = await self._http.post("/v3/auth/tokens", json=order)
        response.raise_for_status()
        self._http.headers["X-Auth-Token"] = response.headers["X-Subject-Token"]

    async def start_job(self, name: str, source: str, target: str) -> str:
        """Create, configure and start a full and incremental job of everything; its id."""
        engine = urlsplit(source).scheme
        kind = {"db_use_type": "sync", "engine_type": engine, "job_direction": "up"}
        place = {"net_type": "vpc", "node_type": "high", "customize_sutnet_id": ""}
        ends = {
            "source_endpoint": {"db_type": engine},
            "target_endpoint": {"db_type": engine},
        }
        order = {"name": name, "task_type": "FULL_INCR_TRANS", **kind, **place, **ends}
        job_id = str((await self._one("POST", "batch-creation", order))["id"])
        databases = {"source_endpoint": _endpoint(source), "target_endpoint": _endpoint(target)}
        change = {"job_id": job_id, "store_db_info": True, "engine_type": engine, **databases}
        await self._one("PUT", "batch-modification", {**change, "net_type": "vpc", "node_type": "high"})
        await self._one("PUT", "batch-select-objects", {"job_id": job_id, "selected": False})
        await self._one("POST", "batch-starting", {"job_id": job_id})
        return job_id

    async def limit_speed(self, job_id: str, mb_per_s: int | None) -> None:
        """For the whole day; None lifts the limit."""
        windows = [] if mb_per_s is None else [{**_WHOLE_DAY, "speed": str(mb_per_s)}]
        body = {"speed_limits": [{"job_id": job_id, "speed_limit": windows}]}
        _only(await self._call("PUT", "batch-limit-speed", body))

    async def end_job(self, job_id: str) -> None:
        await self._one("DELETE", "batch-jobs", {"job_id": job_id, "delete_type": "terminate"})

    async def read_progress(self, job_id: str) -> dict[str, Any]:
        return _only(await self._call("POST", "batch-progress", {"jobs": [job_id]}))

    async def read_delay_ms(self, job_id: str) -> int | None:
        """What is claimed; None for "-1", and when nothing answers."""
        try:
            claimed = int((await self.read_progress(job_id)).get("incre_trans_delay_millis", "-1"))
        except httpx.HTTPError:
            return None
        return claimed if claimed >= 0 else None

    def read_scores(self) -> dict[str, Any]:
        """What Towline says of its own estimates."""
        told = subprocess.run(towline("progress", "--score", "--json", *self._place), check=True, capture_output=True)
        return dict(json.loads(told.stdout))

    def signal_workers(self, number: signal.Signals) -> int:
        """Send the signal to the server's children; how many there were."""
        children = [int(entry.name) for entry in Path("/proc").iterdir() if _is_child(entry, self._pid)]
        for pid in children:
            os.kill(pid, number)
        return len(children)

    async def _one(self, method: str, path: str, item: Mapping[str, Any]) -> dict[str, Any]:
        return _only(await self._call(method, path, {"jobs": [item]}))

    async def _call(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        response = await self._http.request(method, f"/v3/{self._account['project_id']}/jobs/{path}", json=body)
        if response.status_code >= 400:
            raise SystemExit(f"referee: {method} {path}: {response.status_code} {response.text}")
        return dict(response.json())


def _only(answer: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(answer["results"][0])
    if result.get("status") in ("failed", False):
        raise SystemExit(f"referee: refused: {result}")
    return result


def _endpoint(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    endpoint = {
        "db_type": parts.scheme,
        "ip": parts.hostname,
        "db_port": parts.port,
        "db_user": unquote(parts.username or ""),
        "db_password": unquote(parts.password or ""),
    }
    # A job of MySQL is one of all databases of its server.
    return endpoint if parts.scheme == "mysql" else {**endpoint, "db_name": unquote(parts.path.removeprefix("/"))}


def _is_child(entry: Path, parent: int) -> bool:
    try:
        status = (entry / "status").read_text() if entry.name.isdigit() else ""
    except OSError:
        return False
    return re.search(rf"^PPid:\s+{parent}$", status, re.MULTILINE) is not None

"""batch-progress with many jobs in the store, while the jobs write their progress.

Prints one JSON line per case: `case` (store/jobs in it/ids asked/callers at a time, who ask for the same ids, or each
for its own where the store has enough), `ours` and `limit` (median milliseconds of a call), `ratio` (ours/limit),
`p99_ms`, `calls_per_s`, `vs_1000_jobs` and `limit_vs_1000_jobs` where the store holds more, `fleet_writes_per_s`
(progress rows written while the case ran, counted in the store), `asked` (bounds: the fleet's is a lower one), `missed`
(those that were not kept) and `met` (none was missed).  The exit code is 1 if a bound was missed.
`limit` is a bare SELECT of the same rows through the same driver with the answer encoded by msgspec: no HTTP, no
authentication, nothing derived.  The two take turns, and so do the stores with few and many jobs.  The server runs as
`towline serve`, in a process of its own.
Usage: python bench/api.py [--stores sqlite,postgresql] [--jobs 1000,100000] [--seconds 4]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiosqlite
import asyncpg
import httpx
import msgspec
from api_judge import Case, count_recent, find_asked, find_missed
from fleet import fill, job_id
from servers import COMPILED, fresh_database, local_pair, towline
from turns import Turns

from towline.clock import SystemClock
from towline.store.opening import opened_store

ID_COUNTS = (1, 100, 1_000)
CALLERS = ((1, False), (16, False), (16, True))
"""How many call at a time, and whether each asks for ids of its own; else all ask for the same."""
MOVING_JOBS = {"postgresql": 1_000, "sqlite": 100}  # each writes once a second
_FLEET_START_S = 10
_COUNTED_S = 1.0
POOL_SIZE = 5  # what the server has
_SELECT = "SELECT job_id, mode, status, failure, body FROM progress WHERE {project} AND job_id {is_one_of}"

Call = Callable[[int], Awaitable[None]]
"""The number of the caller."""


async def measure(call: Call, *, seconds: float, concurrency: int) -> list[float]:
    """Milliseconds of each call, `concurrency` of them at a time."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        while (began := time.perf_counter()) < end:
            await call(number)
            took.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(caller(number) for number in range(concurrency)))
    return took


class Line:
    """One connection to the server, asked the same thing again and again.

    A client that does more takes longer for an answer of 300 kB than the server does, on the same cores.
    """

    def __init__(self, base_url: str, path: str, token: str) -> None:
        self._place = urlsplit(base_url)
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._place.netloc}\r\nContent-Type: application/json\r\n"
            f"X-Auth-Token: {token}\r\n"
        )

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._place.hostname, self._place.port)

    async def ask(self, body: bytes) -> bytes:
        self._writer.write(f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise SystemExit(f"bench: {head!r}")
        _, _, rest = head.partition(b"content-length:")
        return await self._reader.readexactly(int(rest.split(b"\r\n", 1)[0]))

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class Limit:
    """The rows of one project through the bare driver."""

    def __init__(self, url: str, project_id: str) -> None:
        self._url = url
        self._project_id = project_id
        self._is_sqlite = url.startswith("sqlite")

    async def open(self) -> None:
        self._connections = Turns([await self._connect() for _ in range(POOL_SIZE)])

    async def _connect(self) -> Any:
        if not self._is_sqlite:
            return await asyncpg.connect(self._url)
        connection = await aiosqlite.connect(self._url.removeprefix("sqlite:///"))
        connection.row_factory = aiosqlite.Row
        return connection

    async def read(self, ids: list[str]) -> bytes:
        async with self._connections.one() as connection:
            if self._is_sqlite:
                query = _SELECT.format(project="+project_id = ?", is_one_of="IN (SELECT value FROM json_each(?))")
                rows = await connection.execute_fetchall(query, (self._project_id, json.dumps(ids)))
            else:
                rows = await connection.fetch(
                    _SELECT.format(project="project_id || '' = $1", is_one_of="IN (SELECT unnest($2::text[]))"),
                    self._project_id,
                    ids,
                )
            return msgspec.json.encode({"count": len(rows), "results": [dict(row) for row in rows]})

    async def count_writes_per_s(self, jobs: int) -> float:
        """Of the first `jobs` jobs of the fleet in the last second, from their rows; each writes about once in it."""
        ids = [job_id(number) for number in range(jobs)]
        async with self._connections.one() as connection:
            if self._is_sqlite:
                query = "SELECT at_us FROM progress WHERE job_id IN (SELECT value FROM json_each(?))"
                rows = await connection.execute_fetchall(query, (json.dumps(ids),))
            else:
                query = "SELECT at_us FROM progress WHERE job_id IN (SELECT unnest($1::text[]))"
                rows = await connection.fetch(query, ids)
        return count_recent([row[0] for row in rows], now_us=time.time_ns() // 1000, seconds=_COUNTED_S)

    async def close(self) -> None:
        for connection in self._connections.take_all():
            await connection.close()


class Site:
    """A server with its store, and everything that asks them; use as an async context manager."""

    def __init__(self, store_url: str, base_url: str, account: dict[str, str], jobs: int) -> None:
        self.jobs = jobs
        self.store_url = store_url
        self.limit = Limit(store_url, account["project_id"])
        self._account = account
        self._base_url = base_url
        self._client = httpx.AsyncClient(base_url=base_url, timeout=60)
        self._path = f"/v3/{account['project_id']}/jobs/batch-progress"

    async def __aenter__(self) -> Site:
        token = await _read_token(self._client, self._account)
        self._client.headers["X-Auth-Token"] = token
        self._lines = [Line(self._base_url, self._path, token) for _ in range(max(CALLERS)[0])]
        await self.limit.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.limit.close()
        await self._client.aclose()

    def choose_ids(self, count: int, concurrency: int, *, is_own: bool) -> list[list[str]] | None:
        """For each caller, from all over the store; None when it has too few jobs for each to have its own."""
        apart = self.jobs // max(ID_COUNTS)
        if is_own and apart < concurrency:
            return None
        return [
            [job_id(number * apart + (caller if is_own else 0)) for number in range(count)]
            for caller in range(concurrency)
        ]

    async def run_case(
        self, asked: list[list[str]], *, seconds: float, moving_jobs: int, with_few_jobs: float | None
    ) -> tuple[Case, list[float]]:
        """The case, and milliseconds of each of our calls. `asked`: the ids of each caller."""
        bodies = [msgspec.json.encode({"jobs": ids}) for ids in asked]
        used = self._lines[: len(asked)]

        async def ours(number: int) -> None:
            await used[number].ask(bodies[number])

        async def bare(number: int) -> None:
            await self.limit.read(asked[number])

        await _require_true(self._client, self._path, bodies[-1], asked[-1])
        our_times: list[float] = []
        bare_times: list[float] = []
        fleet_writes: list[float] = []
        for _ in range(3):
            # The server ends connections on which nothing comes for some seconds.
            await asyncio.gather(*(line.open() for line in used))
            our_times += await measure(ours, seconds=seconds / 3, concurrency=len(asked))
            fleet_writes.append(await self.limit.count_writes_per_s(moving_jobs))
            await asyncio.gather(*(line.close() for line in used))
            bare_times += await measure(bare, seconds=seconds / 3, concurrency=len(asked))
            fleet_writes.append(await self.limit.count_writes_per_s(moving_jobs))
        case = Case(
            ids=len(asked[0]),
            ours=statistics.median(our_times),
            limit=statistics.median(bare_times),
            with_few_jobs=with_few_jobs,
            fleet_writes_per_s=statistics.mean(fleet_writes),
            fleet_per_s=moving_jobs,
        )
        return case, our_times


async def bench_cases(store_name: str, sites: list[Site], seconds: float) -> bool:
    """All cases of one kind of store, and whether all were met; `sites` in the order of their jobs.

    The stores take turns with each case: what minutes lie between cannot be compared.
    """
    moving_jobs = MOVING_JOBS[store_name]
    all_met = True
    async with AsyncExitStack() as stack:
        for site in sites:
            await stack.enter_async_context(site)
        for count, (concurrency, is_own) in itertools.product(ID_COUNTS, CALLERS):
            few: Case | None = None
            for site in sites:
                asked = site.choose_ids(count, concurrency, is_own=is_own)
                if asked is None:
                    continue
                with moving(site.store_url, moving_jobs):
                    await _until_moving(site.limit, moving_jobs)
                    case, our_times = await site.run_case(
                        asked, seconds=seconds, moving_jobs=moving_jobs, with_few_jobs=few and few.ours
                    )
                name = f"{store_name}/{site.jobs} jobs/{count} ids/{concurrency} at a time{', each its own' * is_own}"
                print(json.dumps({"case": name, **_told(case, few, our_times, seconds)}), flush=True)
                few = few or case
                all_met = all_met and not find_missed(case)
    return all_met


def _told(case: Case, few: Case | None, our_times: list[float], seconds: float) -> dict[str, Any]:
    growth = {}
    if few is not None:
        growth = {
            "vs_1000_jobs": round(case.ours / few.ours, 2),
            "limit_vs_1000_jobs": round(case.limit / few.limit, 2),
        }
    missed = find_missed(case)
    return {
        "ours": round(case.ours, 2),
        "limit": round(case.limit, 2),
        "ratio": round(case.ratio, 2),
        "p99_ms": round(statistics.quantiles(our_times, n=100)[98], 2) if len(our_times) > 1 else None,
        "calls_per_s": round(len(our_times) / seconds, 1),
        **growth,
        "fleet_writes_per_s": round(case.fleet_writes_per_s),
        "asked": find_asked(case),
        "missed": missed,
        "met": not missed,
    }


async def _until_moving(limit: Limit, jobs: int) -> None:
    """The fleet has written; how fast it goes on is judged with each case."""
    deadline_s = time.monotonic() + _FLEET_START_S
    while await limit.count_writes_per_s(jobs) == 0:
        if time.monotonic() > deadline_s:
            raise SystemExit("bench: the simulated fleet writes nothing")
        await asyncio.sleep(0.1)
    await asyncio.sleep(_COUNTED_S)  # a whole second of writes can be counted


async def _require_true(client: httpx.AsyncClient, path: str, body: bytes, ids: list[str]) -> None:
    answer = (await client.post(path, content=body, headers={"Content-Type": "application/json"})).json()
    if [record["job_id"] for record in answer["results"]] != ids or any(
        "error_code" in record for record in answer["results"]
    ):
        raise SystemExit("bench: the answer is not in request order, or a job is missing")


async def _read_token(client: httpx.AsyncClient, account: dict[str, str]) -> str:
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
    response = await client.post("/v3/auth/tokens", json=order)
    response.raise_for_status()
    return response.headers["X-Subject-Token"]


@contextmanager
def serving(store_url: str, data_dir: Path) -> Iterator[str]:
    command = towline("serve", "--listen", "127.0.0.1:0", "--store", store_url, "--data-dir", str(data_dir))
    environment = {**os.environ, **COMPILED}
    with subprocess.Popen(
        [*command, "--log-level", "error"], env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()
            server.wait(30)


@contextmanager
def moving(store_url: str, jobs: int) -> Iterator[None]:
    """Another process rewrites the progress rows of the first `jobs` jobs, each once a second."""
    command = [sys.executable, str(Path(__file__).with_name("fleet.py")), "--store", store_url]
    with subprocess.Popen([*command, "--jobs", str(jobs), "--per-second", str(jobs)]) as process:
        try:
            yield
            if process.poll() is not None:
                raise SystemExit("bench: the simulated fleet has stopped")
        finally:
            process.kill()


async def _fill(store_url: str, data_dir: Path, project_id: str, jobs: int) -> None:
    async with opened_store(store_url, data_dir, clock=SystemClock()) as store:
        await fill(store, project_id, first=0, end=jobs)


@contextmanager
def serving_jobs(store_url: str, data_dir: Path, jobs: int) -> Iterator[Site]:
    """A new store with so many jobs, and a server."""
    made = subprocess.run(
        towline("init", "--json", "--store", store_url, "--data-dir", str(data_dir)),
        check=True,
        capture_output=True,
        text=True,
    )
    account = json.loads(made.stdout)
    asyncio.run(_fill(store_url, data_dir, account["project_id"], jobs))
    with serving(store_url, data_dir) as base_url:
        yield Site(store_url, base_url, account, jobs)


def bench_store(store_name: str, sizes: list[int], seconds: float) -> bool:
    """Whether all that is asked was met."""
    with ExitStack() as stack:
        server = None if store_name == "sqlite" else stack.enter_context(local_pair(18)).target
        sites = []
        for jobs in sizes:
            data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            file = f"sqlite:///{data_dir / 'towline.db'}"
            url = file if server is None else fresh_database(server, f"store_{jobs}")
            sites.append(stack.enter_context(serving_jobs(url, data_dir, jobs)))
        return asyncio.run(bench_cases(store_name, sites, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", default="sqlite,postgresql")
    parser.add_argument("--jobs", default="1000,100000")
    parser.add_argument("--seconds", type=float, default=4.0)
    order = parser.parse_args()
    sizes = sorted(int(size) for size in order.jobs.split(","))
    met = [bench_store(name, sizes, order.seconds) for name in order.stores.split(",")]
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()

"""Steady load: what batch-progress claims beside what a referee sees.

A referee row is written on the source with the source's clock every 50 ms and read on the target.  The true delay at
a moment is the age of the oldest referee write that is committed on the source and not yet visible on the target, 0
if there is none.  Nothing of Towline's own figures is used for it.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from servers import Pair, execute, fresh_database, towline

from towline.adapters.postgres.connection import parse_url
from towline.cli.client import ApiClient, ApiKey

RATE = 500
SECONDS = 60
SCALE = 10
WRITE_EVERY_S = 0.05
LOOK_EVERY_S = 0.02
ASK_EVERY_S = 0.2


@dataclass
class Referee:
    """Writes made, and what was seen of them; times in seconds of this machine's clock, which the servers share."""

    written: list[float] = field(default_factory=list)
    seen: float = 0.0
    truths: list[float] = field(default_factory=list)
    claims: list[float] = field(default_factory=list)
    understatements: list[float] = field(default_factory=list)

    def true_delay_s(self, now_s: float) -> float:
        missing = [at for at in self.written if at > self.seen]
        return now_s - min(missing) if missing else 0.0

    async def write(self, connection: asyncpg.Connection) -> None:
        while True:
            at = await connection.fetchval(
                "UPDATE referee SET at = clock_timestamp() RETURNING extract(epoch FROM at)::float8"
            )
            self.written = [*self.written[-400:], at]
            await asyncio.sleep(WRITE_EVERY_S)

    async def look(self, connection: asyncpg.Connection) -> None:
        while True:
            seen = await connection.fetchval("SELECT extract(epoch FROM at)::float8 FROM referee")
            self.seen = seen or 0.0
            self.truths.append(self.true_delay_s(time.time()))
            await asyncio.sleep(LOOK_EVERY_S)

    async def ask(self, client: ApiClient, job_id: str) -> None:
        while True:
            truth_before = self.true_delay_s(time.time())
            (record,) = await client.read_progress([job_id])
            claim_ms = int(record.get("incre_trans_delay_millis", "-1"))
            truth = min(truth_before, self.true_delay_s(time.time()))
            if claim_ms >= 0:
                self.claims.append(claim_ms / 1000)
                self.understatements.append(truth - claim_ms / 1000)
            await asyncio.sleep(ASK_EVERY_S)


def run(pair: Pair) -> dict[str, Any]:
    source = fresh_database(pair.source, "steady")
    target = fresh_database(pair.target, "steady")
    pgbench = pair.bin_dir / "pgbench"
    subprocess.run([pgbench, "-i", "-q", "-s", str(SCALE), source], check=True, capture_output=True)
    execute(
        source,
        "CREATE TABLE referee (id int PRIMARY KEY, at timestamptz)",
        "INSERT INTO referee VALUES (1, now())",
    )
    with tempfile.TemporaryDirectory() as folder:
        store, data_dir = f"sqlite:///{folder}/store.db", f"{folder}/data"
        told = subprocess.run(
            towline("init", "--store", store, "--data-dir", data_dir, "--json"),
            check=True,
            capture_output=True,
        )
        key = json.loads(told.stdout)
        server = subprocess.Popen(
            towline("serve", "--listen", "127.0.0.1:0", "--store", store, "--data-dir", data_dir),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            client = ApiClient(_read_address(server), ApiKey(key["project_id"], key["access_key"], key["secret_key"]))
            return asyncio.run(_measure(client, pgbench, source, target, server.pid))
        finally:
            server.terminate()
            server.wait(30)


def _read_address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        if found:
            # Keep the pipe drained, so that the server never waits for us.
            subprocess.Popen(["cat"], stdin=server.stdout, stdout=subprocess.DEVNULL)
            return found[0]
    raise SystemExit("bench: towline serve did not say where it listens")


async def _measure(client: ApiClient, pgbench: Path, source: str, target: str, server_pid: int) -> dict[str, Any]:
    job_id = await client.create_job("steady")
    ends = parse_url(source), parse_url(target)
    await client.test_connections(job_id, *ends)
    await client.store_databases(job_id, *ends)
    await client.select_everything(job_id)
    await client.start(job_id)
    while (await client.read_progress([job_id]))[0].get("incre_trans_delay", "-1") == "-1":
        await asyncio.sleep(0.5)
    referee = Referee()
    writer, looker = await asyncpg.connect(source), await asyncpg.connect(target)
    load = await asyncio.create_subprocess_exec(
        pgbench, "-n", "-c", "4", "-R", str(RATE), "-T", str(SECONDS), source,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    tasks = [
        asyncio.create_task(work) for work in (referee.write(writer), referee.look(looker), referee.ask(client, job_id))
    ]
    await load.wait()
    peak = _worker_peak_mb(server_pid)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await writer.close()
    await looker.close()
    await client.end(job_id)
    truths = sorted(referee.truths)
    return {
        "case": "steady",
        "transactions_per_s": RATE,
        "seconds": SECONDS,
        "true_p50_ms": _ms(truths[len(truths) // 2]),
        "true_p99_ms": _ms(truths[len(truths) * 99 // 100]),
        "true_max_ms": _ms(truths[-1]),
        "claimed_p50_ms": _ms(statistics.median(referee.claims)),
        "claimed_max_ms": _ms(max(referee.claims)),
        "worst_understatement_ms": _ms(max(referee.understatements)),
        "limit": 250,
        "samples": len(referee.claims),
        "peak_rss_mb": peak,
    }


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _worker_peak_mb(server_pid: int) -> int:
    """The largest peak among the server's children: the job's worker."""
    peaks = [0]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "status").read_text()
        except OSError:
            continue
        if re.search(rf"^PPid:\s+{server_pid}$", status, re.MULTILINE):
            found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
            peaks.append(int(found[1]) // 1024 if found else 0)
    return max(peaks)

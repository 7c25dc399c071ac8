"""Is the claimed delay true? A referee with eyes of its own beside `POST /v3/{project_id}/jobs/batch-progress`.

A row is written on the source every 50 ms and looked for on the target every 20 ms; that gives the true delay (see
`referee_judge`), next to `incre_trans_delay_millis` of a real `towline serve` with its workers.  Of Towline's code
only the starter of local PostgreSQL servers is used.

Prints one JSON line per situation: `situation`, `database`, `worst_understatement_ms` (how far a claim was ever below
the truth), `median_error_ms` (of |claim - truth|), `unknown_ms` (for how long the claim was "-1" or nothing answered),
`samples` (claims), `max_true_ms`, `max_claimed_ms`, `in_step_s` (from the end of the disturbance until the job was in
step again; null: it did not come back), `is_good`.

A situation is bad when a claim was below the truth by more than the probe interval + 250 ms, when the median error of
steady load is 250 ms or more, or when the job did not come back.  The exit code is then 1.
Usage: python bench/referee.py [--only NAME,...] [--scale] [--source-version 16] [--log FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
from referee_clock import FakeClock, find_library
from referee_judge import Verdict, judge
from referee_proxy import Proxy
from referee_service import Service, serving
from referee_situations import SITUATIONS, Needs, Situation, Stage
from referee_watch import CREATE, Watcher
from servers import SETTINGS

from towline.embedded.installation import PostgresInstallation, find_postgres
from towline.embedded.server import EmbeddedPostgres

PROBE_INTERVAL_MS = 1000
SLACK_MS = 250
STEADY_MEDIAN_MS = 250
IN_STEP_S = 1.8
START_LIMIT_S = 60
COME_BACK_LIMIT_S = 120


class Servers:
    """The servers of a run; the one with a clock of its own starts when it is first needed."""

    def __init__(self, stack: ExitStack, *, source_version: int, target_version: int) -> None:
        self._stack = stack
        self._source_installation = _find(source_version)
        self.bin_dir = _find(18).bin_dir
        self.source = stack.enter_context(EmbeddedPostgres(self._source_installation, settings=SETTINGS))
        self.target = stack.enter_context(EmbeddedPostgres(_find(target_version), settings=SETTINGS))
        self._with_clock: tuple[EmbeddedPostgres, FakeClock] | None = None

    def with_clock(self) -> tuple[EmbeddedPostgres, FakeClock] | None:
        """A source whose clock can be set; None when libfaketime is not installed."""
        library = find_library()
        if self._with_clock is None and library is not None:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            clock = FakeClock(self._source_installation, folder, library)
            server = self._stack.enter_context(EmbeddedPostgres(clock.installation, settings=SETTINGS))
            self._with_clock = server, clock
        return self._with_clock


def _find(version: int) -> PostgresInstallation:
    installation = find_postgres(version)
    if installation is None:
        raise SystemExit(f"referee: PostgreSQL {version} is not installed")
    return installation


@contextmanager
def _prepared(servers: Servers, situation: Situation) -> Iterator[tuple[EmbeddedPostgres, FakeClock | None] | None]:
    """The source for a situation, as it needs it; None when that cannot be had here."""
    if situation.needs is Needs.CLOCK:
        prepared = servers.with_clock()
        if prepared is None:
            print(f"referee: {situation.name} is left out: libfaketime is not installed", file=sys.stderr)
            yield None
            return
        prepared[1].set_offset(situation.clock_offset_s)
        yield prepared
        prepared[1].set_offset(0)
    elif situation.needs is Needs.ZONES:
        # 25 hours apart.
        servers.source.restart(settings={"timezone": "Pacific/Kiritimati", "log_timezone": "Pacific/Kiritimati"})
        servers.target.restart(settings={"timezone": "Pacific/Pago_Pago", "log_timezone": "Pacific/Pago_Pago"})
        yield servers.source, None
        for server in (servers.source, servers.target):
            server.restart(settings={"timezone": "UTC", "log_timezone": "UTC"})
    else:
        yield servers.source, None


async def run_situation(
    situation: Situation, servers: Servers, service: Service, prepared: tuple[EmbeddedPostgres, FakeClock | None], *,
    is_full_scale: bool,
) -> dict[str, Any]:  # fmt: skip
    """A fresh pair of databases and a new job; the line to print."""
    source, clock = prepared
    name = situation.name.replace("-", "_")
    source_url = await _fresh_database(source, name)
    target_url = await _fresh_database(servers.target, name)
    await asyncio.to_thread(_fill, servers.bin_dir, source_url)
    await _execute(source_url, *CREATE, "CREATE TABLE big (id int PRIMARY KEY, body text)")
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(Proxy(url)) for url in (source_url, target_url)]
        through = [line.url() for line in lines] if situation.needs is Needs.PROXY else [source_url, target_url]
        job_id = await service.start_job(situation.name, *through)
        try:
            await _until_following(service, job_id)
            watcher = Watcher(source_url, target_url, lambda: service.read_delay_ms(job_id))
            stage = Stage(
                source=source,
                target=servers.target,
                source_url=source_url,
                target_url=target_url,
                source_line=lines[0],
                target_line=lines[1],
                clock=clock,
                service=service,
                job_id=job_id,
                watcher=watcher,
                bin_dir=servers.bin_dir,
                is_full_scale=is_full_scale,
            )
            async with watcher.watching() as record:
                await watcher.until_in_step(claimed_below_s=IN_STEP_S, timeout_s=START_LIMIT_S)
                first_claim = len(record.claims)
                await situation.play(stage)
                last_claim = len(record.claims)
                in_step_s = await watcher.until_in_step(claimed_below_s=IN_STEP_S, timeout_s=COME_BACK_LIMIT_S)
                await asyncio.sleep(1)
            # The way back has errors of its own; steady load is judged alone.
            is_steady = situation.name == "steady"
            record.claims = record.claims[first_claim : last_claim if is_steady else None]
            if in_step_s is None:
                print(f"referee: {await service.read_progress(job_id)}", file=sys.stderr)
            verdict = judge(record)
        finally:
            await service.end_job(job_id)
            await _until_ended(service, job_id)
    return {
        "situation": situation.name,
        "database": f"postgresql {source.version} -> {servers.target.version}",
        **dataclasses.asdict(verdict),
        "in_step_s": None if in_step_s is None else round(in_step_s, 1),
        "is_good": in_step_s is not None and is_good(verdict, is_steady=is_steady),
    }


def is_good(verdict: Verdict, *, is_steady: bool) -> bool:
    if verdict.median_error_ms is None or verdict.worst_understatement_ms > PROBE_INTERVAL_MS + SLACK_MS:
        return False
    return not is_steady or verdict.median_error_ms < STEADY_MEDIAN_MS


async def _until_following(service: Service, job_id: str) -> None:
    deadline_s = time.monotonic() + START_LIMIT_S
    while await service.read_delay_ms(job_id) is None:
        if time.monotonic() > deadline_s:
            raise SystemExit(f"referee: the job does not follow: {await service.read_progress(job_id)}")
        await asyncio.sleep(0.2)


async def _until_ended(service: Service, job_id: str) -> None:
    """Or a minute has passed: the next situation has a job of its own."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        status = (await service.read_progress(job_id))["transfer_status"]
        if status not in ("RELEASE_RESOURCE_STARTED", "INCRE_TRANSFER_STARTED"):
            return
        await asyncio.sleep(0.2)


async def _fresh_database(server: EmbeddedPostgres, name: str) -> str:
    await _execute(server.url(), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')
    return server.url(name)


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _fill(bin_dir: Path, url: str) -> None:
    subprocess.run([bin_dir / "pgbench", "-i", "-q", "-s", "1", url], check=True, capture_output=True)


async def run(order: argparse.Namespace, chosen: list[Situation]) -> bool:
    """Whether all was good."""
    all_good = True
    with ExitStack() as stack:
        servers = Servers(stack, source_version=order.source_version, target_version=order.target_version)
        async with serving(order.log) as service:
            for situation in chosen:
                with _prepared(servers, situation) as prepared:
                    if prepared is None:
                        continue
                    line = await run_situation(situation, servers, service, prepared, is_full_scale=order.scale)
                print(json.dumps(line), flush=True)
                all_good = all_good and line["is_good"]
    return all_good


def main() -> None:
    names = [situation.name for situation in SITUATIONS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(names), help="of " + ",".join(names))
    parser.add_argument("--scale", action="store_true", help="longer disturbances, and 500 MB in one transaction")
    parser.add_argument("--source-version", type=int, default=18)
    parser.add_argument("--target-version", type=int, default=18)
    parser.add_argument("--log", type=Path, help="where the server's log goes; left out: nowhere")
    order = parser.parse_args()
    wanted = order.only.split(",")
    unknown = set(wanted) - set(names)
    if unknown:
        parser.error(f"no such situation: {', '.join(sorted(unknown))}")
    chosen = [situation for situation in SITUATIONS if situation.name in wanted]
    sys.exit(0 if asyncio.run(run(order, chosen)) else 1)


if __name__ == "__main__":
    main()

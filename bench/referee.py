"""Is the claimed delay true? A referee with eyes of its own beside `POST /v3/{project_id}/jobs/batch-progress`.

A row is written on the source every 50 ms and looked for on the target every 20 ms; that gives the true delay (see
`referee_judge`), next to `incre_trans_delay_millis` of a real `towline serve` with its workers.  Of Towline's code
only the starter of local PostgreSQL servers is used.

Prints one JSON line per situation: `situation`, `database`, `worst_understatement_ms` (how far a claim was ever below
the truth), `median_error_ms` (of |claim - truth|), `unknown_ms` and `unknown_share` (for how long the claim was "-1" or
nothing answered), `samples` (claims), `max_true_ms`, `max_claimed_ms`, `max_idle_claim_ms`, `growth_short_ms`,
`growth_over_ms`, `blocked_share` (see `referee_judge.Comparison`), `in_step_s` (from the end of the disturbance until
the job was in step again; null: it did not come back), `faults` (what is wrong, in words), `is_good` (nothing is).

A situation is bad when a claim was below the truth by more than the probe interval (250 ms, as one job runs at a time)
+ 250 ms, when the median error of steady load is 250 ms or more, when there was no claim for more than 5 % of the time,
when an idle source let the claim grow, when a stopped source did not, when a blockade held nothing up, when the job did
not come back, or when the situation was left out.  The exit code is then 1.
Usage: python bench/referee.py [--database postgresql,mysql,mariadb] [--only NAME,...] [--short]
[--source-version 16] [--log FILE]; about half an hour for each database, with --short ten minutes
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from referee_clock import FakeClock
from referee_database import Database, Server
from referee_judge import compare_claims_with_truth, find_faults
from referee_mysql import MysqlPair, Product
from referee_postgres import PostgresPair
from referee_proxy import Proxy
from referee_service import Service, serving
from referee_situations import SITUATIONS, Needs, Situation, Stage
from referee_watch import Watcher

IN_STEP_S = 1.8
START_LIMIT_S = 60
COME_BACK_LIMIT_S = 120


DATABASES = ("postgresql", "mysql", "mariadb")


def open_database(kind: str, stack: ExitStack, order: argparse.Namespace) -> Database:
    """Two servers, which end with the stack."""
    if kind == "postgresql":
        return PostgresPair(stack, source_version=order.source_version, target_version=order.target_version)
    return MysqlPair(stack, Product.MARIADB if kind == "mariadb" else Product.MYSQL)


@contextmanager
def _prepared(database: Database, situation: Situation) -> Iterator[tuple[Server, FakeClock | None] | None]:
    """The source for a situation, as it needs it; None when that cannot be had here."""
    if situation.needs is Needs.CLOCK:
        prepared = database.with_clock()
        if prepared is None:
            yield None
            return
        prepared[1].set_offset(situation.clock_offset_s)
        try:
            yield prepared
        finally:
            prepared[1].set_offset(0)
    elif situation.needs is Needs.ZONES:
        with database.apart_zones():
            yield database.source, None
    else:
        yield database.source, None


async def run_situation(
    situation: Situation, database: Database, service: Service, prepared: tuple[Server, FakeClock | None], *,
    is_short: bool,
) -> dict[str, Any]:  # fmt: skip
    """A fresh pair of databases and a new job; the line to print."""
    source, clock = prepared
    name = situation.name.replace("-", "_")
    source_url, target_url = await database.make_fresh(name, source)
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(Proxy(url)) for url in (source_url, target_url)]
        through = [line.url() for line in lines] if situation.needs is Needs.PROXY else [source_url, target_url]
        job_id = await service.start_job(situation.name, *through)
        try:
            await _until_following(service, job_id)
            watcher = Watcher(database, source_url, target_url, lambda: service.read_delay_ms(job_id))
            stage = Stage(
                database=database,
                source=source,
                target=database.target,
                source_url=source_url,
                target_url=target_url,
                source_line=lines[0],
                target_line=lines[1],
                clock=clock,
                service=service,
                job_id=job_id,
                watcher=watcher,
                is_short=is_short,
            )
            async with watcher.watching() as record:
                await watcher.until_in_step(claimed_below_s=IN_STEP_S, timeout_s=START_LIMIT_S)
                first_claim = len(record.claims)
                await situation.play(stage)
                last_claim = len(record.claims)
                in_step_s = await watcher.until_in_step(claimed_below_s=IN_STEP_S, timeout_s=COME_BACK_LIMIT_S)
                # A frozen worker must do no harm when it wakes, and must not keep what the job's end needs.
                service.signal_workers(signal.SIGCONT)
                await asyncio.sleep(1)
            # The way back has errors of its own; steady load is judged alone.
            is_steady = situation.name == "steady"
            record.claims = record.claims[first_claim : last_claim if is_steady else None]
            if in_step_s is None:
                print(f"referee: {await service.read_progress(job_id)}", file=sys.stderr)
            compared = compare_claims_with_truth(record)
        finally:
            await service.end_job(job_id)
            await _until_ended(service, job_id)
    courses = [stretch.course for stretch in record.stretches]
    faults = find_faults(compared, courses, is_steady=is_steady, has_come_back=in_step_s is not None)
    return {
        "situation": situation.name,
        "database": database.label,
        **dataclasses.asdict(compared),
        "in_step_s": None if in_step_s is None else round(in_step_s, 1),
        **_verdict(faults),
    }


def _verdict(faults: list[str]) -> dict[str, Any]:
    return {"faults": faults, "is_good": not faults}


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


async def _line_of(situation: Situation, database: Database, service: Service, *, is_short: bool) -> dict[str, Any]:
    """What cannot be told is bad, and no reason to leave out the situations that follow."""
    try:
        with _prepared(database, situation) as prepared:
            if prepared is not None:
                return await run_situation(situation, database, service, prepared, is_short=is_short)
            fault = "left out: libfaketime is not installed"
    except SystemExit as error:
        fault = str(error)
    return {"situation": situation.name, "database": database.label, **_verdict([fault])}


async def run(order: argparse.Namespace, kinds: list[str], chosen: list[Situation]) -> bool:
    """Whether all was good."""
    all_good = True
    for kind in kinds:
        with ExitStack() as stack:
            database = open_database(kind, stack, order)
            async with serving(order.log) as service:
                for situation in chosen:
                    line = await _line_of(situation, database, service, is_short=order.short)
                    print(json.dumps(line), flush=True)
                    all_good = all_good and line["is_good"]
    return all_good


def main() -> None:
    names = [situation.name for situation in SITUATIONS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(names), help="of " + ",".join(names))
    parser.add_argument("--database", default=",".join(DATABASES), help="of " + ",".join(DATABASES))
    parser.add_argument("--short", action="store_true", help="not 3 minutes idle, 60 s locked, 500 MB at once")
    parser.add_argument("--source-version", type=int, default=18)
    parser.add_argument("--target-version", type=int, default=18)
    parser.add_argument("--log", type=Path, help="where the server's log goes; left out: nowhere")
    order = parser.parse_args()
    wanted = order.only.split(",")
    kinds = order.database.split(",")
    unknown = (set(wanted) - set(names)) | (set(kinds) - set(DATABASES))
    if unknown:
        parser.error(f"no such situation or database: {', '.join(sorted(unknown))}")
    chosen = [situation for situation in SITUATIONS if situation.name in wanted]
    sys.exit(0 if asyncio.run(run(order, kinds, chosen)) else 1)


if __name__ == "__main__":
    main()

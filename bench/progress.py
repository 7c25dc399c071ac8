"""Are progress and remaining time true? Jobs between real servers whose tables deceive, watched through the API.

Prints one JSON line per situation: `situation`, `database`, `went_backwards`, `max_percent`, `final_jump` (points from
the last percent below 100 to 100), `remaining_error_after_a_tenth` (median over all answers after a tenth of the work
of |said - true| / true), `first_error_after_a_tenth` (of the first of them), `unknown_share` (of the answers after a
tenth that were "-1"), `took_s` (until all was copied and in step), `is_good`.  The last line of each database is what
Towline says of itself (`towline progress --score`).

Bad is: backwards, above 100, 100 before the full phase was over, a final jump of 10 points or more, or a median error
of 30 % or more.  The exit code is then 1.  Of Towline's code only the starter of local PostgreSQL servers is used.
Usage: python bench/progress.py [--database postgresql,mysql,mariadb] [--only NAME,...] [--scale 1.0] [--trace FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from progress_databases import Database, Mysql, Postgres, Product
from progress_situations import SITUATIONS, Situation
from referee_service import Service, serving

ASK_EVERY_S = 0.1
LIMIT_S = 600
MIN_LEFT_S = 2.0
MAX_JUMP, MAX_ERROR = 10, 0.30

Answer = tuple[float, int, int]  # seconds since the start, percent, remaining seconds or -1


DATABASES = ("postgresql", "mysql", "mariadb")


def open_database(kind: str, stack: ExitStack, version: int) -> Database:
    """Two servers, which end with the stack."""
    if kind == "postgresql":
        return Postgres(stack, version)
    return Mysql(stack, Product.MARIADB if kind == "mariadb" else Product.MYSQL)


async def run_situation(
    situation: Situation, database: Database, service: Service, scale: float
) -> tuple[dict[str, Any], list[Answer]]:
    """A fresh pair of databases and a new job; the line to print, and all answers."""
    name = situation.name.replace("-", "_")
    scale *= database.share
    source, target = await database.make_fresh(name, situation.prepare(database, scale))
    disturb = situation.disturb
    with database.run_again_and_again(source, disturb(database, scale)) if disturb else nullcontext():
        job_id = await service.start_job(situation.name, source, target)
        try:
            answers, ended_s = await _watch(service, job_id)
        finally:
            await service.end_job(job_id)
    await _until_over(service, job_id)
    await database.drop(name)
    return {"situation": situation.name, "database": database.label, **judge(answers, ended_s)}, answers


def judge(answers: list[Answer], ended_s: float) -> dict[str, Any]:
    """What the answers were worth. Pure."""
    percents = [percent for _, percent, _ in answers]
    below = [percent for percent in percents if percent < 100]
    after = [(at_s, left_s) for at_s, percent, left_s in answers if percent >= 10 and ended_s - at_s >= MIN_LEFT_S]
    errors = [abs(left_s - (ended_s - at_s)) / (ended_s - at_s) for at_s, left_s in after if left_s >= 0]
    line = {
        "went_backwards": any(later < earlier for earlier, later in itertools.pairwise(percents)),
        "max_percent": max(percents),
        "final_jump": 100 - below[-1] if below else 100,
        "remaining_error_after_a_tenth": round(statistics.median(errors), 3) if errors else None,
        "first_error_after_a_tenth": round(errors[0], 3) if errors else None,
        "unknown_share": round(1 - len(errors) / len(after), 3) if after else None,
        "took_s": round(ended_s, 1),
    }
    error = line["remaining_error_after_a_tenth"]
    is_good = not line["went_backwards"] and line["max_percent"] == 100 and line["final_jump"] < MAX_JUMP
    return {**line, "is_good": is_good and error is not None and error < MAX_ERROR}


async def _watch(service: Service, job_id: str) -> tuple[list[Answer], float]:
    """All answers until nothing remains, and when that was."""
    began_s = time.monotonic()
    answers: list[Answer] = []
    while True:
        record = await service.read_progress(job_id)
        now_s = time.monotonic() - began_s
        answers.append((now_s, int(record["progress"]), int(record["remaining_time"])))
        if record["transfer_status"] == "INCRE_TRANSFER_STARTED" and record["remaining_time"] == "0":
            return answers, now_s
        if now_s > LIMIT_S or record["transfer_status"].endswith("FAILED"):
            raise SystemExit(f"progress: the job does not get there: {record}")
        await asyncio.sleep(ASK_EVERY_S)


async def _until_over(service: Service, job_id: str) -> None:
    """Or a minute has passed: its sessions would keep the databases."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        status = (await service.read_progress(job_id))["transfer_status"]
        if status not in ("RELEASE_RESOURCE_STARTED", "INCRE_TRANSFER_STARTED"):
            return
        await asyncio.sleep(0.2)


async def run(order: argparse.Namespace, kinds: list[str], chosen: list[Situation]) -> bool:
    """Whether all was good."""
    all_good = True
    for kind in kinds:
        with ExitStack() as stack:
            database = open_database(kind, stack, order.version)
            async with serving(order.log) as service:
                for situation in chosen:
                    line, answers = await run_situation(situation, database, service, order.scale)
                    print(json.dumps(line), flush=True)
                    if order.trace:
                        with order.trace.open("a") as out:
                            out.writelines(json.dumps([situation.name, *answer]) + "\n" for answer in answers)
                    all_good = all_good and line["is_good"]
                says = {"database": database.label, "towline_says": service.read_scores()["overall"]}
                print(json.dumps(says), flush=True)
    return all_good


def main() -> None:
    names = [situation.name for situation in SITUATIONS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(names), help="of " + ",".join(names))
    parser.add_argument("--database", default=",".join(DATABASES), help="of " + ",".join(DATABASES))
    parser.add_argument("--scale", type=float, default=1.0, help="of the amount of rows")
    parser.add_argument("--version", type=int, default=18)
    parser.add_argument("--trace", type=Path, help="where every answer goes")
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

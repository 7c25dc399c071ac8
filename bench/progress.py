"""Are progress and remaining time true? Jobs between real servers whose tables deceive, watched through the API.

Prints one JSON line per situation: `situation`, `database`, `went_backwards`, `max_percent`, `final_jump`,
`done_at_100`, `percent_at_a_tenth`, `remaining_error_after_a_tenth`, `first_error_after_a_tenth`, `unknown_share`,
`tenth_s`, `took_s`, `said_over_after_s` (see `progress_judge.Comparison`), `faults` (what is wrong, in words),
`is_good` (nothing is).  The last line of each database is what Towline says of itself (`towline progress --score`).

The end and the first tenth of the work come from the outside: a marker row that is written on the source and looked for
on the target, and the bytes that lie there.

Bad is: backwards, above 100, 100 before all was on the target, more than 35 with a tenth of it there, a final jump of
10 points or more, a median error of 30 % or more, more than 10 % of the answers unknown after a tenth of the work, or
nothing left to do said before the end or long after it.  The exit code is then 1.  Of Towline's code only the starter
of local PostgreSQL servers is used.
Usage: python bench/progress.py [--database postgresql,mysql,mariadb] [--only NAME,...] [--scale 3] [--trace FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from progress_databases import Database, Mysql, Postgres, Product
from progress_judge import Answer, Outside, compare_answers_with_truth, find_faults
from progress_situations import SITUATIONS, Situation
from progress_watch import watching
from referee_service import Service, serving

ASK_EVERY_S = 0.1
LIMIT_S = 600
# How long after the end is waited for the word that nothing remains.
PATIENCE_S = 15

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
        async with watching(database, source, target) as (outside, began_s):
            job_id = await service.start_job(situation.name, source, target)
            try:
                answers = await _ask(service, job_id, outside, began_s)
            finally:
                await service.end_job(job_id)
    await _until_over(service, job_id)
    await database.drop(name)
    compared = compare_answers_with_truth(answers, outside)
    faults = find_faults(compared)
    verdict = {"faults": faults, "is_good": not faults}
    line = {"situation": situation.name, "database": database.label, **dataclasses.asdict(compared), **verdict}
    return line, answers


async def _ask(service: Service, job_id: str, outside: Outside, began_s: float) -> list[Answer]:
    """All answers until the end was seen from the outside and nothing is said to remain, or should be."""
    answers: list[Answer] = []
    while True:
        record = await service.read_progress(job_id)
        left_s = int(record["remaining_time"])
        answers.append(Answer(time.monotonic() - began_s, int(record["progress"]), None if left_s < 0 else left_s))
        now_s, ended_s = answers[-1].at_s, outside.ended_s()
        if ended_s is not None and (left_s == 0 or now_s > ended_s + PATIENCE_S):
            return answers
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
                            out.writelines(
                                json.dumps([situation.name, *dataclasses.astuple(answer)]) + "\n" for answer in answers
                            )
                    all_good = all_good and line["is_good"]
                says = {"database": database.label, "towline_says": service.read_scores()["overall"]}
                print(json.dumps(says), flush=True)
    return all_good


def main() -> None:
    names = [situation.name for situation in SITUATIONS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(names), help="of " + ",".join(names))
    parser.add_argument("--database", default=",".join(DATABASES), help="of " + ",".join(DATABASES))
    parser.add_argument(
        "--scale",
        type=float,
        default=3.0,
        help="of the amount of rows; with 3 a job takes up to a minute or two, most situations another two to fill",
    )
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

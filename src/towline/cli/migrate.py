"""`towline migrate`: one database to another, without a server and without a store.

The target's own schema `towline` is the memory, so the same command run again goes on where the last one
ended. A run that reaches its goal removes that memory, and its slot and publication on the source; a run
that was stopped keeps them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from towline import bootstrap
from towline.cli.display import Display, JsonDisplay, open_display
from towline.cli.endpoints import choose_endpoint, choose_selection, derive_job_id, parse_renames, parse_selection
from towline.cli.options import print_error
from towline.cli.stopping import INTERRUPTED, StopWish, stopped_by_signals
from towline.cli.summary import RunLog, record_of_report, render_result, render_summary
from towline.cli.view import render_record, render_report, view_of
from towline.clock import SystemClock
from towline.domain.conversion import PLAIN, Collation, Conversion, ZeroDates, parse_column_types, require_possible
from towline.domain.errors import RequestError, SetupError, Side, TowlineError
from towline.domain.jobs import Endpoint, JobSpec, TaskMode
from towline.domain.prechecks import PrecheckItem, Verdict
from towline.domain.renames import require_sound
from towline.domain.structure import StructureReport
from towline.domain.tables import ObjectSelection
from towline.engine.pipeline import RunResult, run_pipeline
from towline.engine.tasks import end_tasks
from towline.settings import read_heartbeat

SOURCE_VARIABLE = "TOWLINE_SOURCE_URL"
TARGET_VARIABLE = "TOWLINE_TARGET_URL"
FAILED = 1
_SHOW_INTERVAL_S = 0.25
_HOW_TO_RESUME = (
    "Run the same command again to go on from here; with --end it removes what it left on both servers instead."
)


@dataclass(frozen=True, slots=True)
class Order:
    """What the command line asks for. Passwords are inside the endpoints, which do not show them."""

    source: Endpoint
    target: Endpoint
    selection: ObjectSelection
    is_followed: bool
    until_caught_up: bool
    is_end: bool
    copy_workers: int
    index_workers: int
    limit_bytes_per_s: int | None
    memory_limit_bytes: int
    conversion: Conversion = PLAIN
    writes_heartbeat: bool = True


def migrate(
    source_url: Annotated[
        str | None,
        typer.Argument(
            help=f"postgresql:// or mysql://USER@HOST:PORT/DATABASE; left out: ${SOURCE_VARIABLE}.", show_default=False
        ),
    ] = None,
    target_url: Annotated[
        str | None,
        typer.Argument(help=f"The same for the target; left out: ${TARGET_VARIABLE}.", show_default=False),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Keep the target in step until Ctrl-C.")] = False,
    until_caught_up: Annotated[
        bool,
        typer.Option("--until-caught-up", help="Follow, and end once the target provably has everything."),
    ] = False,
    tables: Annotated[
        list[str] | None,
        typer.Option("--tables", help="SCHEMA.TABLE or SCHEMA.*, separated by commas; may be repeated."),
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--rename",
            help="SCHEMA.TABLE=SCHEMA.TABLE or SCHEMA.*=SCHEMA.*, the source's name to the left; may be repeated.",
        ),
    ] = None,
    zero_dates: Annotated[
        ZeroDates,
        typer.Option(
            "--zero-dates",
            help="From MySQL to PostgreSQL, dates such as 0000-00-00: refuse them, or write NULL where a column may be"
            " NULL.",
        ),
    ] = ZeroDates.REFUSE,
    collation: Annotated[
        Collation,
        typer.Option(
            "--collation",
            help="From MySQL to PostgreSQL, texts that ignore case on the source: compare with regard to case, or not.",
        ),
    ] = Collation.DETERMINISTIC,
    column_type: Annotated[
        list[str] | None,
        typer.Option(
            "--column-type",
            help="Between PostgreSQL and MySQL, another type on the target: SCHEMA.TABLE.COLUMN=TYPE or"
            " SOURCETYPE=TYPE, such as 'tinyint(1)=boolean'; docs/types.md has the list. May be repeated.",
        ),
    ] = None,
    copy_workers: Annotated[int, typer.Option(min=1, max=64, help="Chunks copied at the same time.")] = 2,
    index_workers: Annotated[int, typer.Option(min=1, max=64, help="Indexes built at the same time.")] = 2,
    limit_mb_s: Annotated[
        float | None, typer.Option("--limit-mb-s", min=0.1, max=1e6, help="Speed limit, 1 MB = 1,000,000 bytes.")
    ] = None,
    memory_mb: Annotated[int, typer.Option("--memory-mb", min=64, help="Bound of this process's buffers.")] = 384,
    end: Annotated[bool, typer.Option("--end", help="Remove what an unfinished run left on both servers.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; the last one is the result.")
    ] = False,
) -> None:
    """Move a database to another server: structure, rows, indexes, with --follow later changes.

    PostgreSQL, MySQL and MariaDB, each to each.  A mysql:// URL without a DATABASE
    means all of them.

    URLs in the command line are visible to other users of this machine: leave the password out (it is then
    read from the password file, PGPASSFILE or ~/.pgpass) or give the URLs in the environment.
    """
    try:
        source = choose_endpoint(source_url, variable=SOURCE_VARIABLE, environment=os.environ)
        target = choose_endpoint(target_url, variable=TARGET_VARIABLE, environment=os.environ)
        asked = replace(parse_selection(tables or []), names=parse_renames(rename or []))
        selection = choose_selection(asked, source)
        require_sound(selection, source_family=source.family, target_family=target.family)
        conversion = Conversion(zero_dates, parse_column_types(column_type or []), collation)
        require_possible(conversion, source_family=source.family, target_family=target.family)
        order = Order(
            source=source,
            target=target,
            selection=selection,
            is_followed=follow or until_caught_up,
            until_caught_up=until_caught_up,
            is_end=end,
            copy_workers=copy_workers,
            index_workers=index_workers,
            limit_bytes_per_s=None if limit_mb_s is None else int(limit_mb_s * 1_000_000),
            memory_limit_bytes=memory_mb * 1024 * 1024,
            conversion=conversion,
            writes_heartbeat=read_heartbeat(os.environ),
        )
    except RequestError as error:
        print_error(error)
        raise typer.Exit(2) from None
    display = open_display(is_json=as_json)
    bootstrap.relax_garbage_collection()
    try:
        code = uvloop.run(run_order(order, display))
    except (asyncio.CancelledError, KeyboardInterrupt):
        code = INTERRUPTED
    finally:
        display.close()
    raise typer.Exit(code)


async def run_order(order: Order, display: Display) -> int:
    """Do what the order says and return the exit code; every TowlineError is shown, none is raised."""
    wish = StopWish(limit_bytes_per_s=order.limit_bytes_per_s)
    log = RunLog(SystemClock(), on_report=lambda report: _tell_report(report, display))

    def on_first() -> None:
        display.say("Stopping: finishing what is in flight. Ctrl-C again ends at once, which is safe too.")

    try:
        with stopped_by_signals(wish, on_first=on_first):
            spec = await _identify(order, TaskMode.FULL_AND_STREAM if order.is_followed else TaskMode.FULL)
            log.job_id = spec.job_id
            if order.is_end:
                for mode in (TaskMode.FULL, TaskMode.FULL_AND_STREAM):
                    # Without caring whether the unfinished run had --follow.
                    await bootstrap.remove_traces(await _identify(order, mode), reporter=log)
                display.say("Nothing of this migration is left on either server but the copied objects themselves.")
                return 0
            _require_passed(await bootstrap.DatabaseProbes().run_prechecks(spec), display)
            result = await _run(spec, order, wish, log, display)
            if result is not RunResult.STOPPED:
                await bootstrap.remove_traces(spec, reporter=log)
    except TowlineError as error:
        display.close()
        if isinstance(display, JsonDisplay):
            display.write(render_result(log, outcome="failed", error=error))
        print_error(error)
        return FAILED
    except asyncio.CancelledError:
        display.close()
        display.say(f"Ended at once. {_HOW_TO_RESUME}")
        return INTERRUPTED
    display.close()
    if isinstance(display, JsonDisplay):
        display.write(render_result(log, outcome=result.value))
    else:
        for line in render_summary(log, result):
            display.say(line)
    if result is RunResult.STOPPED:
        display.say(f"Stopped. {_HOW_TO_RESUME}")
        return INTERRUPTED
    return 0


async def _identify(order: Order, mode: TaskMode) -> JobSpec:
    """The job that the order means. Raises RequestError when both sides are the same database."""
    source = await bootstrap.read_identity(order.source, side=Side.SOURCE)
    target = await bootstrap.read_identity(order.target, side=Side.TARGET)
    if source == target:
        raise RequestError("source and target are the same database")
    return JobSpec(
        job_id=derive_job_id(source, target, mode=mode, selection=order.selection, conversion=order.conversion),
        mode=mode,
        source=order.source,
        target=order.target,
        selection=order.selection,
        copy_workers=order.copy_workers,
        index_workers=order.index_workers,
        memory_limit_bytes=order.memory_limit_bytes,
        conversion=order.conversion,
        writes_heartbeat=order.writes_heartbeat,
    )


def _require_passed(items: Sequence[PrecheckItem], display: Display) -> None:
    """Show warnings. Raises SetupError with all that failed and what to do about it."""
    failed = [item for item in items if item.verdict is Verdict.FAILED]
    for item in items:
        if item.verdict is Verdict.WARNING:
            display.say(f"warning: {item.message} {item.remedy}".rstrip(), style="yellow")
    if failed:
        for item in failed[1:]:
            display.say(f"failed: {item.message} {item.remedy}".rstrip(), style="red")
        raise SetupError(failed[0].message, remedy=failed[0].remedy or None, reason=failed[0].reason)


async def _run(spec: JobSpec, order: Order, wish: StopWish, log: RunLog, display: Display) -> RunResult:
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="towline-") as folder:
        showing = asyncio.create_task(_show(spec.job_id, log, display))
        try:
            return await run_pipeline(
                spec,
                bootstrap.opening_without_lease(spec, Path(folder)),
                control=wish,
                reporter=log,
                clock=clock,
                until_caught_up=order.until_caught_up,
            )
        finally:
            await end_tasks(showing)
            _show_once(spec.job_id, log, display)


def _tell_report(report: StructureReport, display: Display) -> None:
    if isinstance(display, JsonDisplay):
        display.write({"event": "report", **record_of_report(report)})
    else:
        display.say(f"not as on the source: {render_report(report)}", style="yellow")


async def _show(job_id: str, log: RunLog, display: Display) -> None:
    while True:
        _show_once(job_id, log, display)
        await asyncio.sleep(_SHOW_INTERVAL_S)


def _show_once(job_id: str, log: RunLog, display: Display) -> None:
    if log.latest is not None:
        now_us = SystemClock().now_us()
        display.show(
            [view_of("migrate", log.latest, now_us=now_us)],
            [render_record(job_id, log.latest, now_us=now_us)],
        )

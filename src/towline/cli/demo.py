"""`towline demo`: a live database moves to another server, and the proof that nothing was lost.

    two servers -> a shop that is written to all the time -> a job through the HTTP API -> in step -> the writer stops
    -> the target provably has everything -> the job ends -> every table compared

Everything that it starts ends with it, on whatever way out; `--keep` leaves it up and a file that says what runs.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer
import uvloop

from towline.cli.client import ApiClient
from towline.cli.demo_compare import Comparison, compare_databases
from towline.cli.demo_data import choose_size
from towline.cli.demo_stage import DATABASE, Stage, require_postgres, stop_stage
from towline.cli.demo_watch import ENDED, PAUSED, STREAMING, JobFailed, JobWatch, Moment
from towline.cli.demo_writer import TASKS, Shop, Writer
from towline.cli.display import Display, open_display
from towline.cli.options import ending_on_error, print_error
from towline.cli.stopping import INTERRUPTED
from towline.cli.view import format_bytes, format_delay, format_seconds
from towline.clock import SystemClock
from towline.domain.errors import TowlineError
from towline.store.opening import opened_store

ROWS_PER_SCALE = 100_000  # of pgbench
_FULL_TIMEOUT_S = 900.0
_STEP_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class DemoOrder:
    """What the command line asks for."""

    scale: int
    tx_per_s: float
    follow_s: float
    limit_mb_s: int
    keep: bool
    folder: Path | None


@dataclass
class DemoResult:
    """What the demo found out."""

    comparison: Comparison | None = None
    rows_copied: int = 0
    seconds_full: float = 0.0
    changes_applied: int = 0
    transactions_applied: int = 0
    transactions_written: int = 0
    max_delay_ms: int | None = None  # while following, catching up included
    max_delay_in_step_ms: int | None = None
    seconds_to_proof: float = 0.0
    left_behind: list[str] | None = None  # None: not looked for, as the job goes on

    @property
    def is_equal(self) -> bool:
        return self.comparison is not None and self.comparison.is_equal


def demo(
    rows: Annotated[
        int, typer.Option(min=1, help="Rows of the biggest table, rounded up to a multiple of 100,000.")
    ] = 1_000_000,
    tx_per_s: Annotated[float, typer.Option(min=1, max=2000, help="Transactions that are written a second.")] = 250,
    follow_s: Annotated[float, typer.Option(min=0, help="Seconds to go on writing once in step.")] = 10,
    limit_mb_s: Annotated[
        int, typer.Option("--limit-mb-s", min=0, max=9999, help="Speed limit, to see the copy; 0: none.")
    ] = 16,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything up and say how to reach it.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Folder for --keep; left out: a new temporary one.")
    ] = None,
    stop: Annotated[
        Path | None, typer.Option("--stop", metavar="DIR", help="End what --keep left running, and nothing else.")
    ] = None,
) -> None:
    """Move a live PostgreSQL database between two servers of its own, and prove that nothing was lost."""
    with ending_on_error():
        if stop is not None:
            stop_stage(stop.absolute())
            sys.stdout.write("Stopped; nothing of the demo is left.\n")
            return
        require_postgres()
    order = DemoOrder(
        scale=-(-rows // ROWS_PER_SCALE),
        tx_per_s=tx_per_s,
        follow_s=follow_s,
        limit_mb_s=limit_mb_s,
        keep=keep,
        folder=folder.absolute() if folder else None,
    )
    display = open_display(is_json=False)
    try:
        code = uvloop.run(run_demo(order, display))
    except (KeyboardInterrupt, asyncio.CancelledError):
        display.close()
        sys.stderr.write("Interrupted; nothing is left running.\n")
        code = INTERRUPTED
    raise typer.Exit(code)


async def run_demo(order: DemoOrder, display: Display) -> int:
    """Play the whole demo; returns the exit code: 0 only if source and target are equal."""
    result = DemoResult()
    began_s = time.monotonic()
    stage = Stage(require_postgres(), folder=order.folder, keep=order.keep)
    is_left_running = False
    try:
        with _cancelled_by_signals():
            job_id = await _play(stage, order, result, display)
            if order.keep:
                stage.leave_running(job_id)
                is_left_running = True
    except TowlineError as error:
        display.close()
        print_error(error)
        if isinstance(error, JobFailed):
            sys.stderr.write(f"The end of the server's log:\n{stage.log_tail()}\n")
        return 1
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        display.close()
        sys.stderr.write(f"Error: a database of the demo failed ({type(error).__name__}): {error}\n")
        return 1
    finally:
        display.close()
        if not is_left_running:
            await stage.close()
    _tell(stage if is_left_running else None, result, display, seconds=time.monotonic() - began_s)
    return 0 if result.is_equal and not result.left_behind else 1


async def _play(stage: Stage, order: DemoOrder, result: DemoResult, display: Display) -> str:
    await _say_while(display, "Two PostgreSQL 18 servers", stage.open_databases())
    size = choose_size(order.scale * ROWS_PER_SCALE)
    size_bytes = await _say_while(display, "A shop with data in it", stage.fill(size, scale=order.scale))
    client = await _say_while(display, "Towline's server", stage.serve())
    assert stage.served is not None
    display.say(
        f"  source {stage.source.host}:{stage.source.port} with {format_bytes(size_bytes)},"
        f" target {stage.target.host}:{stage.target.port}, API {stage.served.url}"
    )
    shop = Shop(size, order.scale * ROWS_PER_SCALE)
    clock = SystemClock()
    async with (
        _writing(stage, shop, order) as writer,
        opened_store(stage.store_url, stage.data_dir, clock=clock, checks_schema=False) as store,
    ):
        display.say(f"An application writes {order.tx_per_s:.0f} transactions a second from now on.")
        job_id = await _create_job(client, stage, order, display)
        project_id = stage.served.key.project_id
        watch = JobWatch(client, store.jobs, display, job_id=job_id, project_id=project_id)
        await _run_job(client, watch, writer, order, result, job_id, display)
        await _prove(stage, watch, writer, result, display)
        await _finish(client, watch, order, job_id)
        result.max_delay_ms = watch.max_delay_ms
        result.max_delay_in_step_ms = watch.max_delay_in_step_ms
        if watch.progress is not None:
            result.changes_applied = watch.progress.changes_applied
            result.transactions_applied = watch.progress.transactions_applied
    if not order.keep:
        result.left_behind = await _find_traces(stage)
    display.close()
    display.say("Comparing the structure, and every table row by row.")
    result.comparison = await compare_databases(
        stage.source.url(DATABASE), stage.target.url(DATABASE), pg_dump=stage.program("pg_dump")
    )
    if order.keep:
        await client.resume(job_id)
    return job_id


async def _say_while(display: Display, what: str, work: Any) -> Any:
    began_s = time.monotonic()
    outcome = await work
    display.say(f"{what}: up after {time.monotonic() - began_s:.1f} s.")
    return outcome


@asynccontextmanager
async def _writing(stage: Stage, shop: Shop, order: DemoOrder) -> AsyncIterator[Writer]:
    pool = await asyncpg.create_pool(stage.source.url(DATABASE), min_size=TASKS, max_size=TASKS)
    writer = Writer(pool, shop, per_s=order.tx_per_s)
    writer.start()
    try:
        yield writer
    finally:
        await writer.cancel()
        pool.terminate()


async def _create_job(client: ApiClient, stage: Stage, order: DemoOrder, display: Display) -> str:
    """All the steps that the API documents, up to a passed precheck."""
    source, target = stage.endpoint(stage.source), stage.endpoint(stage.target)
    job_id = await client.create_job("towline-demo")
    await client.test_connections(job_id, source, target)
    await client.store_databases(job_id, source, target)
    await client.select_everything(job_id)
    if order.limit_mb_s:
        await client.limit_speed(job_id, order.limit_mb_s)
    await client.start_precheck(job_id)
    deadline_s = time.monotonic() + _STEP_TIMEOUT_S
    while (answer := await client.read_precheck(job_id)).get("process") != "100%":
        if time.monotonic() > deadline_s:
            raise JobFailed(f"the precheck stands at {answer.get('process')}")
        await asyncio.sleep(0.1)
    items = answer.get("precheck_result") or []
    failed = [item for item in items if item["result"] == "FAILED"]
    if failed or answer.get("error_code"):
        reasons = "; ".join(str(item.get("raw_error_msg") or item.get("failed_reason")) for item in failed)
        raise JobFailed(f"the precheck failed: {reasons or answer.get('error_msg')}")
    display.say(f"Job {job_id}: created, configured, {len(items)} tests passed before its start.")
    if order.limit_mb_s:
        display.say(f"  It may copy {order.limit_mb_s} MB/s, so that there is something to see.")
    for item in items:
        if item["result"] == "ALARM":
            display.say(f"  warning: {item.get('raw_error_msg') or item.get('failed_reason')}", style="yellow")
    return job_id


async def _run_job(
    client: ApiClient,
    watch: JobWatch,
    writer: Writer,
    order: DemoOrder,
    result: DemoResult,
    job_id: str,
    display: Display,
) -> None:
    """Start it, see it through the full phase, and let it follow for some seconds."""
    began_s = time.monotonic()
    await client.start(job_id)
    await watch.wait(
        lambda moment: moment.status == STREAMING,
        what="the full phase",
        timeout_s=_FULL_TIMEOUT_S,
        meanwhile=writer.raise_if_failed,
    )
    result.seconds_full = await _read_seconds_full(client, job_id, measured_s=time.monotonic() - began_s)
    if watch.progress is not None:
        result.rows_copied = watch.progress.rows_copied
    display.say(f"Full phase over after {result.seconds_full:.1f} s; the job follows the source.")
    follow_until_s = time.monotonic() + order.follow_s
    await watch.wait(
        lambda moment: time.monotonic() >= follow_until_s and moment.delay_ms is not None,
        what="the first proof of the delay",
        timeout_s=order.follow_s + _STEP_TIMEOUT_S,
        meanwhile=writer.raise_if_failed,
    )


async def _read_seconds_full(client: ApiClient, job_id: str, *, measured_s: float) -> float:
    """By the job's own times if the server gives them, else as seen from here."""
    detail = await client.read_detail(job_id)
    began, ended = detail.get("actual_start_time"), detail.get("full_transfer_complete_time")
    return (int(ended) - int(began)) / 1000 if began and ended else measured_s


async def _prove(stage: Stage, watch: JobWatch, writer: Writer, result: DemoResult, display: Display) -> None:
    """Stop writing and wait until the target provably has the last transaction."""
    stopped_us = await writer.stop()
    result.transactions_written = writer.transactions
    # The last act of the application: its report of the day, which the end of the job brings over.
    connection = await asyncpg.connect(stage.source.url(DATABASE))
    await connection.execute("REFRESH MATERIALIZED VIEW shop.sales_by_day")
    await connection.close()

    def is_proven(moment: Moment) -> bool:
        return moment.proven_us is not None and moment.proven_us > stopped_us

    moment = await watch.wait(is_proven, what="the proof", timeout_s=_STEP_TIMEOUT_S)
    result.seconds_to_proof = (moment.asked_us - stopped_us) / 1_000_000
    display.say(
        f"The application stops after {writer.transactions:,} transactions;"
        f" {result.seconds_to_proof:.1f} s later the target provably has them."
    )


async def _finish(client: ApiClient, watch: JobWatch, order: DemoOrder, job_id: str) -> None:
    """End the job; with `keep` pause it instead: both bring sequences and materialised views over."""
    if order.keep:
        await client.pause(job_id)
    else:
        await client.end(job_id)
    goal = PAUSED if order.keep else ENDED
    await watch.wait(lambda moment: moment.status == goal, what="the end of the job", timeout_s=_STEP_TIMEOUT_S)


async def _find_traces(stage: Stage) -> list[str]:
    """What the ended job left on either server; nothing, if all is well."""
    source = await asyncpg.connect(stage.source.url(DATABASE))
    target = await asyncpg.connect(stage.target.url(DATABASE))
    try:
        slots = await source.fetch("SELECT 'slot ' || slot_name FROM pg_replication_slots")
        publications = await source.fetch("SELECT 'publication ' || pubname FROM pg_publication")
        own = "SELECT 'schema towline on the ' || $1::text FROM pg_namespace WHERE nspname = 'towline'"
        schemas = await source.fetch(own, "source") + await target.fetch(own, "target")
        return [str(row[0]) for row in (*slots, *publications, *schemas)]
    finally:
        await asyncio.gather(source.close(), target.close())


@contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    numbers = (signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


# --- the end of the story -------------------------------------------------------------------------


def _tell(kept: Stage | None, result: DemoResult, display: Display, *, seconds: float) -> None:
    comparison = result.comparison
    assert comparison is not None
    for line in render_story(result, comparison, seconds=seconds):
        display.say(line)
    if kept is not None:
        for line in _render_how_to_reach(kept):
            display.say(line)
    display.close()
    sys.stdout.write(json.dumps(render_outcome(result, comparison, seconds=seconds)) + "\n")
    sys.stdout.flush()


def render_story(result: DemoResult, comparison: Comparison, *, seconds: float) -> list[str]:
    """The summary. Pure."""
    delay = f"{format_delay(result.max_delay_ms)}, once in step {format_delay(result.max_delay_in_step_ms)}"
    rows = [
        ("rows copied", f"{result.rows_copied:,} in {result.seconds_full:.1f} s"),
        ("transactions written", f"{result.transactions_written:,} by the application"),
        ("transactions followed", f"{result.transactions_applied:,}; the copy had the others already"),
        ("changes applied", f"{result.changes_applied:,}"),
        ("longest delay", delay),
        ("proof after the last write", f"{result.seconds_to_proof:.1f} s"),
        ("rows compared", f"{comparison.rows:,}"),
        ("tables compared", f"{comparison.tables}"),
        ("views and sequences", f"{comparison.views} and {comparison.sequences}"),
        ("statements of structure", f"{comparison.statements}"),
        ("left on the servers", _render_left_behind(result.left_behind)),
        ("whole demo", format_seconds(seconds)),
        ("source and target", "equal" if comparison.is_equal else "DIFFERENT"),
    ]
    lines = ["", *(f"  {name:<28} {value}" for name, value in rows)]
    return [*lines, *(f"  ! {problem}" for problem in comparison.problems[:20]), ""]


def _render_left_behind(left_behind: list[str] | None) -> str:
    if left_behind is None:
        return "what the job needs, as it goes on"
    return ", ".join(left_behind) or "nothing"


def render_outcome(result: DemoResult, comparison: Comparison, *, seconds: float) -> dict[str, Any]:
    """The last line. Pure."""
    return {
        "rows": result.rows_copied,
        "seconds_full": round(result.seconds_full, 3),
        "changes_applied": result.changes_applied,
        "transactions_applied": result.transactions_applied,
        "transactions_written": result.transactions_written,
        "max_delay_ms": result.max_delay_ms,
        "max_delay_in_step_ms": result.max_delay_in_step_ms,
        "seconds_to_proof": round(result.seconds_to_proof, 3),
        "rows_compared": comparison.rows,
        "tables_compared": comparison.tables,
        "views_compared": comparison.views,
        "sequences_compared": comparison.sequences,
        "statements_compared": comparison.statements,
        "differences": list(comparison.problems),
        "left_behind": result.left_behind,
        "seconds": round(seconds, 1),
        "equal": comparison.is_equal,
    }


def _render_how_to_reach(stage: Stage) -> list[str]:
    assert stage.served is not None
    return [
        "Everything is still up, and the job goes on following the source.",
        f"  API                 {stage.served.url}/v3/{stage.served.key.project_id}/jobs/...",
        f'  passwords and keys  . {stage.folder}/environment   (then: psql "$TOWLINE_SOURCE_URL")',
        "  jobs                towline progress --watch       (after that file)",
        f"  stop it all         towline demo --stop {stage.folder}",
    ]

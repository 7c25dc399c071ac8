"""One job from its first object to the stream: the only module that knows the order of phases.

    tables -> snapshot (and slot) -> structure -> copy -> keys -> [replay] -> indexes -> the rest -> stream

The phase is never remembered as such.  Each attempt reads the facts that the target holds (structure items done,
chunks done, marks, checkpoint) and goes on with the first thing that is missing, so a restart after SIGKILL
needs no path of its own.  A transient failure starts a new attempt after a growing pause; everything else ends
the run and is told to the caller.

Replay happens only when chunks come from more than one snapshot (see `engine/snapshot.py`): the stream is applied
tolerantly until it covers the newest snapshot, before any further unique index or foreign key exists.

Objects that were added to a job which has run join it here, which makes its full phase incomplete again (see
`engine/joining.py`); those that were taken from it leave it before anything else (`engine/leaving.py`).

Tasks of a run: the activity at hand, the ticker that reports figures, between attempts as well, and a watcher that
cancels the activity when the operator wants the job to stop.  Cancelling is safe anywhere: what is not committed is
done again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from towline.domain.errors import (
    ConnectionLost,
    LeaseLost,
    NotBuilt,
    ServerUnreachable,
    SnapshotLost,
    TableMustStartOver,
    TowlineError,
)
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.positions import Position
from towline.domain.progress import Phase, Progress
from towline.domain.tables import Table, TableName
from towline.engine.diagnose import run_diagnosis
from towline.engine.figures import JobFigures
from towline.engine.full_phase import choose_planned, run_full_phase, show_copied, start_over
from towline.engine.joining import is_edited, join_objects
from towline.engine.leaving import choose_followed, let_objects_leave, narrow_feed
from towline.engine.points import HANDOFF_BEFORE_STREAM, reach
from towline.engine.ports import Clock, Control, CopyFacts, Reporter, Sides, StreamFigures, StreamGoal
from towline.engine.replaced import ReplacedNotes, Told
from towline.engine.retry import choose_failure, is_worth_retrying, retry_delays_s
from towline.engine.run import Run, StopWanted, StructureReady
from towline.engine.snapshot import choose_floors, choose_mixed, choose_replay
from towline.engine.stream import run_stream
from towline.engine.tasks import end_tasks
from towline.engine.watch import Watch

_REPORT_INTERVAL_S = 0.5
_STOP_PATIENCE_S = 8.0
# A database that never answered is more likely misspelt than restarting: 15 seconds of trying, then the job fails.
_MAX_FIRST_CONTACTS = 5


class RunResult(Enum):
    """Why a run ended without an error."""

    COPIED = "copied"  # the full phase is over and no stream was asked for
    CAUGHT_UP = "caught_up"  # `until_caught_up` was asked for and is proven
    STRUCTURED = "structured"  # only the structure was asked for, and it is there
    STOPPED = "stopped"  # the operator asked


async def run_pipeline(
    spec: JobSpec,
    open_sides: Callable[[], Awaitable[Sides]],
    *,
    control: Control,
    reporter: Reporter,
    clock: Clock,
    until_caught_up: bool = False,
) -> RunResult:
    """Run the job until its goal, a wish to stop, or a failure that time does not heal.

    `open_sides` connects to both databases and takes the job over; it is called again after a transient failure.

    Raises:
        TowlineError: time does not heal it, or a database never answered at all; what is on the target
            stays there, with its ledger.
    """
    if spec.mode is TaskMode.STREAM:
        raise NotBuilt(
            "a job that follows changes without having copied the rows", remedy="Create a job of both phases."
        )
    figures = JobFigures(clock, follows=spec.mode is not TaskMode.FULL)

    def take() -> Progress:
        figures.tick(limit_bytes_per_s=control.limit_bytes_per_s())
        return figures.progress()

    # Between attempts as well: a worker that waits for a database is not silent.
    reporter.attach(take)
    ticker = asyncio.create_task(_tick(reporter, take))
    try:
        return await _run_attempts(
            spec,
            open_sides,
            control=control,
            reporter=reporter,
            clock=clock,
            figures=figures,
            until_caught_up=until_caught_up,
        )
    finally:
        await end_tasks(ticker)
        if not ticker.cancelled():
            ticker.result()
        reporter.attach(None)
        reporter.report(take())


async def _run_attempts(
    spec: JobSpec,
    open_sides: Callable[[], Awaitable[Sides]],
    *,
    control: Control,
    reporter: Reporter,
    clock: Clock,
    figures: JobFigures,
    until_caught_up: bool,
) -> RunResult:
    delays_s = retry_delays_s()
    failures = 0
    was_open = False
    told: Told = {}
    while not control.is_stop_wanted:
        done_before = _amount_done(figures)
        try:
            figures.waiting_for = "both databases to answer"
            sides = await open_sides()
            figures.waiting_for = None
            was_open = True
            figures.know_target(sides.target_pace)
            try:
                run = Run(spec, sides, control, reporter, clock, figures)
                return await _Attempt(run, until_caught_up, ReplacedNotes(run, told)).to_the_goal()
            finally:
                await sides.close()
        except (TowlineError, BaseExceptionGroup) as failure:
            error = first_failure(failure)
            if _amount_done(figures) != done_before:
                delays_s, failures = retry_delays_s(), 0
            failures += 1
            is_hopeless = not was_open and failures >= _MAX_FIRST_CONTACTS
            if is_hopeless or not is_worth_retrying(error, failures_in_a_row=failures):
                raise error from None
            pause_s = next(delays_s)
            figures.waiting_for = f"retry in {pause_s:.0f} s: {error}"
            if isinstance(error, ConnectionLost | ServerUnreachable):
                figures.board.fail(error.side, error.message)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await control.wait_stop()
    return RunResult.STOPPED


async def _tick(reporter: Reporter, take: Callable[[], Progress]) -> None:
    while True:
        reporter.report(take())
        await asyncio.sleep(_REPORT_INTERVAL_S)


def first_failure(failure: BaseException) -> BaseException:
    """What to tell of failures that came together: a lost lease before all, then what says most."""
    leaves = _leaves(failure)
    lost = [leaf for leaf in leaves if isinstance(leaf, LeaseLost)]
    return lost[0] if lost else choose_failure(leaves)


def _leaves(failure: BaseException) -> list[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        return [leaf for part in failure.exceptions for leaf in _leaves(part)]
    return [failure]


def _amount_done(figures: JobFigures) -> tuple[int, int, int]:
    full = figures.full_phase()
    return full.structure_done, figures.copy.wire_bytes_done, full.index_done_bytes


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One way through the phases."""

    run: Run
    until_caught_up: bool
    notes: ReplacedNotes

    async def to_the_goal(self) -> RunResult:
        looking = asyncio.create_task(run_diagnosis(self.run.sides, self.run.figures.board))
        try:
            return await self._stoppable(self._phases())
        except StopWanted:
            return RunResult.STOPPED
        except StructureReady:
            return RunResult.STRUCTURED
        finally:
            # Looking never fails a job, not even by a defect.
            await end_tasks(looking)

    async def _phases(self) -> RunResult:
        run = self.run
        await run.reporter.restate(await run.sides.structure_target.load_reports())
        tables = await run.sides.copy_source.read_tables(run.spec.selection)
        facts = await run.sides.copy_target.load_facts()
        # First: what is gone from the selection is not read any more, so it can be neither copied nor followed.
        facts = await let_objects_leave(run, tables, facts)
        run.figures.board.take_copy(facts)
        facts = await self._full_phase(tables, facts)
        if is_edited(run, facts):
            if facts.renews_tables:
                await self._catch_up(tables, facts)
            tables = await join_objects(run)
            facts = await self._full_phase(tables, await run.sides.copy_target.load_facts())
        if run.spec.edit:
            show_copied(run, choose_planned(tables, facts), facts)
        for part in ("structure", "data", "index"):
            run.figures.finish(part)
        await self.notes.look()
        if not run.follows:
            run.figures.phase = Phase.DONE
            return RunResult.COPIED
        await narrow_feed(run, facts)
        return await self._stream_phase(choose_planned(tables, facts), facts)

    async def _full_phase(self, tables: Sequence[Table], facts: CopyFacts) -> CopyFacts:
        """What the target knows when the full phase is over."""
        if facts.is_complete:
            return facts
        await run_full_phase(self.run, tables, facts, replay=lambda facts: self._replay(tables, facts))
        return await self.run.sides.copy_target.load_facts()

    # --- stream -------------------------------------------------------------------------------------

    async def _catch_up(self, tables: Sequence[Table], facts: CopyFacts) -> None:
        """Bring the job to where its source is now, so that little DDL of the time before is left; see `joining`."""
        self.run.figures.begin_catch_up()
        for _ in range(2):  # the second round is short
            now = await self.run.sides.read_source_position()
            await self._run_stream(choose_planned(tables, facts), facts, until=now)
            self.run.require_no_stop()

    async def _replay(self, tables: Sequence[Table], facts: CopyFacts) -> None:
        """Bring chunks of several snapshots to one moment; tolerant of rows that are ahead of the stream."""
        newest = self.run.sides.parse_position(choose_replay(facts)[1])
        try:
            await self._run_stream(choose_planned(tables, facts), facts, until=newest)
        finally:
            self.run.figures.stream = None
        self.run.require_no_stop()

    async def _stream_phase(self, tables: Sequence[Table], facts: CopyFacts) -> RunResult:
        reach(HANDOFF_BEFORE_STREAM)
        self.run.figures.begin_catch_up()
        planned = [table.name for table in tables]
        watch = Watch(self.run, planned, self.notes, expects_tables=facts.renews_tables)
        await watch.look()
        if self.until_caught_up:
            # Two rounds: the second one is short, so the proof is fresh when the run ends.
            for _ in range(2):
                goal = await self.run.sides.read_source_position()
                await self._run_stream(tables, facts, until=goal)
                self.run.require_no_stop()
            await watch.look()
            await self._finish_stream()
            return RunResult.CAUGHT_UP
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch.run_forever())
            await self._run_stream(tables, facts, until=None)
            await end_tasks(watching)
        await self._finish_stream()
        return RunResult.STOPPED

    async def _run_stream(self, tables: Sequence[Table], facts: CopyFacts, *, until: Position | None) -> None:
        parse = self.run.sides.parse_position
        first, newest = choose_replay(facts)
        mixed = choose_mixed(facts)
        # What was in step before other objects joined stays under the strict rules, unless theirs are needed.
        is_tolerant = newest != first and (bool(mixed) or facts.edit == 0)
        goal = StreamGoal(
            start=parse(first),
            until=until,
            tolerant_until=parse(newest) if is_tolerant else None,
            table_floors={name: parse(text) for name, text in choose_floors(facts).items()},
            only=choose_followed(self.run.spec, facts),
        )
        try:
            await run_stream(
                self.run.sides.open_stream(tables, mixed=mixed),
                goal,
                control=self.run.control,
                clock=self.run.clock,
                on_figures=self._take_stream_figures,
                probe_interval_s=lambda: self.run.reporter.interval_s,
            )
        except TableMustStartOver as error:
            await start_over(self.run, TableName(error.context["schema"], error.context["name"]), tables)
            raise SnapshotLost(str(error)) from error

    def _take_stream_figures(self, figures: StreamFigures) -> None:
        self.run.figures.stream = figures

    async def _finish_stream(self) -> None:
        """What the stream does not carry: sequences and the rows of materialised views."""
        await self.run.write_sequences(is_final=True)
        await self.run.sides.structure_target.refresh_views(on_report=self.run.reporter.note)
        await self.notes.look(is_final=True)

    # --- odds and ends ------------------------------------------------------------------------------

    async def _stoppable(self, work: Coroutine[object, object, RunResult]) -> RunResult:
        """Run `work`; when the operator wants a stop, give it a moment to end by itself, then cancel it."""
        working = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self.run.control.wait_stop())
        try:
            await asyncio.wait({working, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await asyncio.wait({working}, timeout=_STOP_PATIENCE_S)
            await end_tasks(working)
            if working.cancelled():
                raise StopWanted
            return working.result()
        finally:
            await end_tasks(working, stop)

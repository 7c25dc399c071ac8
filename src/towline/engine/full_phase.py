"""The full phase: structure, rows, keys, indexes and the rest, each part resumed where the target says it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence

from towline.domain.errors import LeaseLost, Side, SourceChanged, SourceDdl
from towline.domain.progress import Phase
from towline.domain.structure import Section, StructureItem, StructureReport
from towline.domain.tables import Table, TableName
from towline.engine.chunking import choose_chunk_pages, choose_parts
from towline.engine.figures import weigh
from towline.engine.following import require_same_values, require_sent
from towline.engine.ports import CopyFacts, RemembersFiles, Snapshot, SnapshotFact, TablePlan
from towline.engine.run import Run, StructureReady
from towline.engine.snapshot import CopyPlan, as_planned, plan_copy, run_copy, used_snapshots, with_siblings
from towline.engine.structure import run_structure, with_secrets, without_owners
from towline.engine.throttle import Throttle


async def run_full_phase(
    run: Run,
    tables: Sequence[Table],
    facts: CopyFacts,
    *,
    replay: Callable[[CopyFacts], Awaitable[None]],
) -> None:
    """Bring everything that the source holds to the target, and mark the job complete there.

    `replay` brings chunks of several snapshots to one moment; called at most once, with the keys in place.

    Raises:
        StopWanted: what is finished stays finished.
        StructureReady: no more was asked for.
    """
    figures, target = run.figures, run.sides.copy_target
    figures.begin_full_phase()
    if run.follows and run.sides.copy_source.cuts_by_key and not facts.is_copied:
        require_same_form(tables, facts)
    # Before the structure's: what is done of it would be a share of nothing else.
    planned = {plan.table for plan in facts.plans} if facts.is_planned else {table.name for table in tables}
    known = [table for table in tables if table.name in planned]
    _begin_figures(run, known, facts, unfinished=() if facts.is_copied else planned)
    snapshot = None if facts.is_copied else await _open_snapshot(run, tables, facts)
    try:
        items = await _plan_structure(run)
        await _create(run, Section.BEFORE_DATA, items)
        figures.finish("structure")
        if run.spec.only_structure:
            raise StructureReady
        if snapshot is not None:
            # I4: the stream begins after the last chunk; it has a floor or a window for what is newer than it.
            await _copy(run, tables, snapshot)
            await target.mark_copied()
    finally:
        if snapshot is not None:
            await snapshot.close()
    figures.finish("data")
    figures.phase = Phase.INDEXES
    await _create(run, Section.KEYS, items)
    facts = await target.load_facts()
    if run.follows and (used_snapshots(facts) > 1 or facts.edit):
        await replay(facts)
    await _create(run, Section.INDEXES, items)
    await _create(run, Section.AFTER_DATA, items)
    await run.write_sequences(is_final=True)
    await target.mark_complete()


async def _open_snapshot(run: Run, tables: Sequence[Table], facts: CopyFacts) -> Snapshot:
    """The snapshot for this attempt, remembered on the target before anything is read under it."""
    source, target = run.sides.copy_source, run.sides.copy_target
    if not facts.snapshots:
        await target.require_lease()
        snapshot = await source.open_base_snapshot(tables, follow=run.follows)
    else:
        if run.follows:
            copied = {entry.chunk.table for entry in facts.done}
            await require_sent(run, [table for table in tables if table.name in copied])
        snapshot = await source.open_later_snapshot(_of_the_job(tables, facts), follow=run.follows)
        if not run.follows and snapshot.shows_same_rows_as(facts.snapshots[-1].snapshot_text):
            return snapshot  # nothing was written since: it stands for the last one
    try:
        position = "" if snapshot.position is None else str(snapshot.position)
        await target.save_snapshot(SnapshotFact(len(facts.snapshots) + 1, position, snapshot.text))
    except BaseException as error:
        await snapshot.close()
        if isinstance(error, LeaseLost) and run.follows and not facts.snapshots:
            # Frozen since the look at the lease: the successor made a feed of its own.
            await source.drop_feed()
        raise
    return snapshot


# --- structure --------------------------------------------------------------------------------------


async def _plan_structure(run: Run) -> list[StructureItem]:
    target = run.sides.structure_target
    items, done = await target.load_structure()
    if not items:
        reports: list[StructureReport] = []
        items = await _read_structure(run, reports)
        await target.save_structure(items, reports)
        for report in reports:
            run.reporter.note(report)
    elif any(item.is_secret and item.number not in done for item in items):
        items = with_secrets(items, await _read_structure(run, []))
        for item in items:
            if item.is_secret and item.number not in done and not item.statements:
                run.reporter.note(StructureReport(item.kind, item.name, "left out: the source no longer has it"))
    run.figures.plan_structure(items, done)
    return items


async def _read_structure(run: Run, reports: list[StructureReport]) -> list[StructureItem]:
    items = await run.sides.structure_source.read_structure(run.spec.selection, on_report=reports.append)
    return without_owners(items) if run.spec.replaces_owners else items


async def _create(run: Run, section: Section, items: Sequence[StructureItem]) -> None:
    mine = [item for item in items if item.section is section]
    if not mine:
        return

    def on_progress(done_weight: int, _total_weight: int, done_items: int, _total_items: int) -> None:
        run.figures.set_section_done(section, done_items=done_items, done_weight=done_weight)

    await run_structure(
        run.sides.structure_target,
        section=section,
        secrets={item.number: item for item in mine if item.is_secret},
        workers=run.spec.index_workers,
        on_progress=on_progress,
        on_items=run.figures.note_items,
        on_report=run.reporter.note,
        should_stop=run.is_stop_wanted,
    )
    run.require_no_stop()
    run.figures.set_section_done(section, done_items=len(mine), done_weight=sum(weigh(item) for item in mine))


# --- rows -------------------------------------------------------------------------------------------


async def _copy(run: Run, tables: Sequence[Table], snapshot: Snapshot) -> None:
    """Copy what is missing under `snapshot`, tables that must start over included."""
    target = run.sides.copy_target
    facts = await target.load_facts()
    if not facts.is_planned:
        await target.save_plan(await cut(run, tables))
        facts = await target.load_facts()
    present = choose_planned(tables, facts)
    plan = _plan(run, present, facts)
    if plan.start_over:
        fresh = [table for table in present if table.name in set(plan.start_over)]
        await target.start_over(plan.start_over, await cut(run, fresh))
        for name in plan.start_over:
            _note_start_over(run, name)
        facts = await target.load_facts()
        plan = _plan(run, present, facts)
    if run.follows and isinstance(target, RemembersFiles):
        # The snapshot keeps DDL out, and its tables were found to be those that were read before it.
        copied = {entry.chunk.table for entry in facts.done}
        untouched = {table.name for table in present} - copied
        await require_same_values(target, present, fresh=untouched, note=run.reporter.note)
    run.figures.board.take_copy(facts)
    left = Counter(chunk.table for _, chunk in plan.work)
    _begin_figures(run, present, facts, unfinished=left)

    def count_down(name: TableName) -> None:
        left[name] -= 1
        if left[name] == 0:
            run.figures.copy.finish_table(name)

    run.figures.phase = Phase.COPY
    await run_copy(
        plan,
        snapshot,
        target,
        snapshot_number=facts.snapshots[-1].number,
        workers=run.spec.copy_workers,
        figures=run.figures.copy,
        take_bytes=Throttle(run.control.limit_bytes_per_s).take,
        on_done=lambda entry: count_down(entry.chunk.table),
        should_stop=run.is_stop_wanted,
    )
    run.require_no_stop()


def show_copied(run: Run, tables: Sequence[Table], facts: CopyFacts) -> None:
    """Let the figures be about these tables, all copied, whatever the job had when its last figures were written."""
    _begin_figures(run, tables, facts, unfinished=())


async def start_over(run: Run, name: TableName, tables: Sequence[Table]) -> None:
    """Empty the table on the target, with all that share its place; the next attempt copies them under one snapshot."""
    again = with_siblings([name], tables)
    fresh = [table for table in tables if table.name in again]
    await run.sides.copy_target.start_over([table.name for table in fresh], await cut(run, fresh))
    for table in fresh:
        _note_start_over(run, table.name)


def _note_start_over(run: Run, name: TableName) -> None:
    run.reporter.note(StructureReport("TABLE", str(name), "its copy starts over under a new snapshot"))


def _of_the_job(tables: Sequence[Table], facts: CopyFacts) -> list[Table]:
    return choose_planned(tables, facts) if facts.is_planned else list(tables)


def choose_planned(tables: Sequence[Table], facts: CopyFacts) -> list[Table]:
    """The tables of the plan that are on the source; one created there since is not part of it.

    Where the stream carries DDL, it tells in its course what became of those in step that are gone.

    Raises:
        SourceChanged: a table of the job is gone; leaving it out silently would be a loss.
    """
    planned = {plan.table for plan in facts.plans}
    missing = planned - {table.name for table in tables}
    if facts.renews_tables and (facts.is_complete or facts.edit):
        missing &= facts.joining
    if missing:
        named = ", ".join(map(str, sorted(missing)[:5]))
        raise SourceChanged(f"the source no longer has {named}", side=Side.SOURCE, tables=len(missing))
    return [table for table in tables if table.name in planned]


def require_same_form(tables: Sequence[Table], facts: CopyFacts) -> None:
    """Where `storage_id` tells the columns: no table that is not all copied may have others than when it was cut.

    The target's table is as old as that.  Values of one form would be taken for those of another without an error, such
    as labels of an ENUM in another order.  Of tables that were in step before others join the stream tells the changes.

    Raises: SourceDdl, one has.
    """
    wanted = facts.joining if facts.edit else {plan.table for plan in facts.plans}
    forms = {plan.table: plan.storage_id for plan in facts.plans if plan.table in wanted}
    for table in tables:
        if forms.get(table.name, table.storage_id) != table.storage_id:
            remedy = (
                f"Select the objects without {table.name} and retry with them; when the job follows again, drop the"
                " table on the target, and select it anew."
            )
            raise SourceDdl(
                f"the columns of {table.name} were changed before it was copied",
                side=Side.SOURCE,
                remedy=remedy if table.name in facts.joining else None,
            )


def _plan(run: Run, tables: Sequence[Table], facts: CopyFacts) -> CopyPlan:
    return plan_copy(
        tables,
        {plan.table: plan for plan in facts.plans},
        facts.done,
        facts.snapshots,
        current=facts.snapshots[-1].number,
        can_replay=run.follows,
    )


async def cut(run: Run, tables: Sequence[Table]) -> list[TablePlan]:
    """How each table is cut into chunks."""
    total = sum(table.size_bytes for table in tables)
    source, workers = run.sides.copy_source, run.spec.copy_workers
    plans = []
    for table in tables:
        bounds: tuple[str, ...] = ()
        if source.cuts_by_key:
            bounds = await source.read_bounds(table, parts=choose_parts(table, total_bytes=total, workers=workers))
            pages, chunk_pages = len(bounds) + 1, 1
        else:
            pages = table.pages
            chunk_pages = choose_chunk_pages(
                table, total_bytes=total, workers=workers, can_seek_pages=source.can_seek_pages
            )
        plans.append(
            TablePlan(table.name, pages, chunk_pages, table.size_bytes, table.estimated_rows, table.storage_id, bounds)
        )
    return plans


def _begin_figures(run: Run, tables: Sequence[Table], facts: CopyFacts, *, unfinished: Collection[TableName]) -> None:
    """Set the figures to what earlier runs did; a table that has not been cut yet has the size that it has now."""
    by_name = {entry.table: entry for entry in facts.plans}
    as_cut = {
        table.name: as_planned(table, by_name[table.name]) if table.name in by_name else table for table in tables
    }
    run.figures.plan_copy([(table, table.size_bytes) for table in as_cut.values()])
    run.figures.restore_copy(as_cut, facts.done)
    for name in as_cut:
        if name not in unfinished:
            run.figures.copy.finish_table(name)

"""Objects that leave a job which follows its source.

Theory of operation
-------------------
The stream is at its checkpoint C and stands still while objects leave.  One target transaction (`EditTarget.leave`)
removes their plans, chunks and items of structure.  Every change up to C is in the rows of the tables that leave, and
no later one will be: from then on the stream passes on changes of planned tables only (`choose_followed`).  The tables
stay on the target as they are, but for foreign keys that nobody would keep true any more, or that stood in the way of
tables that stay; a target whose DDL commits by itself remembers in that transaction which ones it has still to drop.
What the job's history is to say of all this is remembered there as well, until it has arrived.

What the source sends is narrowed after that, and looked at again by every later attempt: published tables of which
nothing is wanted cost the source some work, and no more.  The other order could lose rows: killed in between, with
the edit taken back by another one, the job would follow a table of which the source sends nothing.

Killed before the transaction, the job is as it was and the edit is still to be done; killed after it, the same edit
finds nothing that is to leave.  What joins with the same edit does so afterwards (see `joining`), and notes the edit as
taken in; where nothing can join, `leave` notes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

from towline.domain.errors import InvariantBroken, TransientError
from towline.domain.jobs import JobSpec
from towline.domain.structure import StructureItem, StructureReport
from towline.domain.tables import ObjectSelection, Table, TableName
from towline.engine.chunking import count_chunks
from towline.engine.joining import is_edited
from towline.engine.points import LEAVE_NARROWED, LEAVE_REMEMBERED, reach
from towline.engine.ports import CopyFacts, EditTarget, NarrowingSource
from towline.engine.run import Run
from towline.engine.structure import without_owners

# One item for many objects, of those that stay as well.
_GROUPED: Final = frozenset({"OWNER", "ACL"})
_VIEWS: Final = frozenset({"VIEW", "MATERIALIZED VIEW"})


async def let_objects_leave(run: Run, tables: Sequence[Table], facts: CopyFacts) -> CopyFacts:
    """What the job still knows when nothing is left of what its selection no longer holds. `tables`: as it holds now.

    Raises:
        LeaseLost: nothing was written.
    """
    if not (run.follows and run.spec.edit):
        return facts
    target = run.sides.copy_target
    if not isinstance(target, EditTarget):
        raise InvariantBroken("objects were edited of a job whose target cannot let them go")
    await _finish(run, target)
    if not is_edited(run, facts):
        return facts
    known, done = await run.sides.structure_target.load_structure()
    leaving = choose_leaving(tables, facts, run.spec.selection, find_parents(known))
    takes_in = run.spec.takes_objects_in
    staying = {plan.table for plan in facts.plans} - set(leaving)
    items = await _choose_items(run, known, done, staying) if leaving or not run.spec.selection.is_everything else []
    if takes_in and not leaving and not items:
        return facts
    await target.leave(
        leaving,
        [item.number for item in items],
        edit=None if takes_in else run.spec.edit,  # what may still join has the last word
        describe=lambda position: describe_left(leaving, items, facts, position),
    )
    reach(LEAVE_REMEMBERED)
    await _finish(run, target)
    return await run.sides.copy_target.load_facts()


async def narrow_feed(run: Run, facts: CopyFacts) -> None:
    """Let the source send changes of the job's tables only, if any may have left it.

    A table that is held up on the source is left for the next attempt: it costs some work there, and no more.
    """
    source = run.sides.copy_source
    if run.spec.edit and isinstance(source, NarrowingSource):
        with suppress(TransientError):
            if await source.narrow_feed([plan.table for plan in facts.plans]):
                reach(LEAVE_NARROWED)


def choose_leaving(
    tables: Sequence[Table],
    facts: CopyFacts,
    selection: ObjectSelection,
    parents: Mapping[TableName, Collection[TableName]],
) -> list[TableName]:
    """The job's tables that are not selected any more. Pure.

    One that is selected, itself or by what it is a partition of (`parents`), and gone from the source does not leave:
    it stops the job, as always.
    """
    present = {table.name for table in tables}

    def is_selected(table: TableName) -> bool:
        return selection.covers(table) or any(map(selection.covers, parents.get(table, ())))

    return [plan.table for plan in facts.plans if plan.table not in present and not is_selected(plan.table)]


def choose_followed(spec: JobSpec, facts: CopyFacts) -> frozenset[TableName] | None:
    """The only tables whose changes are wanted; None where the source's side passes on no others. Pure.

    Where the stream carries DDL, tables come in its course, and whoever reads it knows them from the target.
    """
    return frozenset(plan.table for plan in facts.plans) if spec.edit and not facts.renews_tables else None


def find_parents(items: Sequence[StructureItem]) -> dict[TableName, set[TableName]]:
    """What each partition is a partition of, near and far, by the items that attach them. Pure."""
    by_number = {item.number: item for item in items}
    direct: dict[TableName, set[TableName]] = {}
    for item in items:
        if item.kind == "TABLE ATTACH" and item.table is not None:
            others = (by_number.get(number) for number in item.depends_on)
            tables = {other.table for other in others if other is not None and other.kind == "TABLE" and other.table}
            direct.setdefault(item.table, set()).update(tables - {item.table})
    found: dict[TableName, set[TableName]] = {}
    for table in direct:
        waiting, seen = [table], set[TableName]()
        while waiting:
            new = direct.get(waiting.pop(), set()) - seen
            seen |= new
            waiting.extend(new)
        found[table] = seen
    return found


def plan_removed(
    known: Sequence[StructureItem],
    wanted: Sequence[StructureItem],
    staying: Collection[TableName],
    *,
    pending: Collection[int] = (),
) -> list[StructureItem]:
    """Those of the items that go with what leaves: what the selection would not bring any more. Pure.

    What the source dropped of a table that is `staying` is not forgotten here, but for foreign keys: they may lead to a
    table that leaves.  Owners and grants that are `pending` are forgotten as well; they come again with what joins.
    """
    still = {(item.kind, item.schema, item.name, item.table) for item in wanted}

    def goes(item: StructureItem) -> bool:
        if item.kind in _GROUPED:
            return item.number in pending
        if (item.kind, item.schema, item.name, item.table) in still:
            return False
        return item.kind == "FK CONSTRAINT" or item.table is None or item.table not in staying

    return [item for item in known if goes(item)]


def describe_left(
    tables: Sequence[TableName], items: Sequence[StructureItem], facts: CopyFacts, position: str
) -> list[StructureReport]:
    """What the job's history says of what left it; `position`: where tables that are in step stand. Pure."""
    copied = Counter(entry.chunk.table for entry in facts.done if entry.chunk.kind == "pages")
    reports = []
    for plan in facts.plans:
        if plan.table not in tables:
            continue
        said = f"left the job; on the target its rows are as of {position}, and no longer the job's"
        if not facts.is_copied and copied[plan.table] < count_chunks(plan):
            said = "left the job before its copy was over; the target does not have all of it"
        elif not facts.is_complete:
            said = "left the job before it was in step; on the target it stays as it is"
        reports.append(StructureReport("TABLE", str(plan.table), said))
    for item in items:
        if item.kind in _VIEWS:
            reason = "left the job; on the target it stays as it is"
            reports.append(StructureReport(item.kind, f"{item.schema}.{item.name}", reason))
    return reports


async def _choose_items(
    run: Run, known: Sequence[StructureItem], done: Collection[int], staying: Collection[TableName]
) -> list[StructureItem]:
    # What it has to report, it says when the objects that join are read.
    wanted = await run.sides.structure_source.read_structure(run.spec.selection, on_report=lambda _: None)
    if run.spec.replaces_owners:
        wanted = without_owners(wanted)
    pending = {item.number for item in known if item.number not in done} if run.spec.takes_objects_in else set()
    return plan_removed(known, wanted, staying, pending=pending)


async def _finish(run: Run, target: EditTarget) -> None:
    """Nothing that is to be told is forgotten before it has arrived; killed in between, it is told twice."""
    reports = await target.finish_leaving()
    if reports:
        for report in reports:
            run.reporter.note(report)
        await run.reporter.deliver()
        await target.forget_told()

"""Objects that join a job which follows its source already.

Theory of operation
-------------------
The stream is at its checkpoint C and stands still while new objects join.  One target transaction (`JoinTarget.join`)
adds the new tables to the plan of the copy and the new items to that of the structure, takes back the marks "copied"
and "complete", and notes the number of the edit.  From then on the job is one that was interrupted in its full
phase, and goes the way of all such jobs (see `full_phase` and `snapshot`):

* the later snapshot Sk, at Lk, that the missing chunks are read under, is opened after the new tables are in the
  publication; that locks them against writers for a moment, so no transaction has changes on both sides of it;
* the tables that were there before have all their chunks and are left alone, the new ones are copied under Sk;
* the replay brings the stream from C to Lk; changes of a new table up to Lk are below its floor and skipped.

Where the stream carries DDL (MySQL and MariaDB), C is first brought to where the source is now, so that tables which
come, go or change their names by the stream have done so before it is chosen what is new.  A little of the log still
lies between C and Lk.  DDL on the tables that were there before is carried there as ever: they are whole, with all
their indexes.  On a new table it is left out up to the position P at which nothing of the structure had been read, and
refused from there to Lk, since the copy may be of either form; the operator then lets the table leave.

Killed before that transaction, the job is as it was, and the edit is still to be done; killed after it, nothing of the
edit is needed any more.  Nothing is written to the source before it.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Final

from towline.domain.errors import InvariantBroken
from towline.domain.structure import StructureItem, StructureReport
from towline.domain.tables import Table, TableName
from towline.engine.full_phase import cut
from towline.engine.points import JOIN_BEFORE_LEDGER, JOIN_REMEMBERED, reach
from towline.engine.ports import CopyFacts, JoinTarget
from towline.engine.run import Run
from towline.engine.structure import without_owners

_RELATIONS: Final = frozenset({"TABLE", "FOREIGN TABLE", "MATERIALIZED VIEW", "VIEW"})
# One item for many objects; what it said before need not be said again.
_GROUPED: Final = frozenset({"OWNER", "ACL"})
_Identity = tuple[str, str | None, str, TableName | None]


def is_edited(run: Run, facts: CopyFacts) -> bool:
    return run.follows and run.spec.edit > facts.edit


async def join_objects(run: Run) -> list[Table]:
    """Make what is newly selected part of the job; it is still to be made and copied then.

    Returns the tables that the source has of the selection.

    Raises:
        LeaseLost: nothing was written.
    """
    target = run.sides.copy_target
    if not isinstance(target, JoinTarget):
        raise InvariantBroken("objects were edited of a job whose target cannot take them in")
    since = await run.sides.read_source_position()
    tables = await run.sides.copy_source.read_tables(run.spec.selection)
    facts = await target.load_facts()
    planned = frozenset(plan.table for plan in facts.plans)
    new = [table for table in tables if table.name not in planned]
    known, _ = await run.sides.structure_target.load_structure()
    reports: list[StructureReport] = []
    items = await run.sides.structure_source.read_structure(run.spec.selection, on_report=reports.append)
    if run.spec.replaces_owners:
        items = without_owners(items)
    plans = await cut(run, new)
    reach(JOIN_BEFORE_LEDGER)
    before = set(await run.sides.structure_target.load_reports())
    reports = [report for report in reports if report not in before]
    reports += [StructureReport("TABLE", str(table.name), "joins the job") for table in new]
    added = plan_added(known, items, in_step=planned if facts.renews_tables else None)
    await target.join(plans, added, edit=run.spec.edit, since=since, reports=reports)
    reach(JOIN_REMEMBERED)
    for report in reports:
        run.reporter.note(report)
    return tables


def plan_added(
    known: Sequence[StructureItem], items: Sequence[StructureItem], *, in_step: Set[TableName] | None = None
) -> list[StructureItem]:
    """Those of `items` that the job does not know yet, numbered after the known ones. Pure.

    What changed of objects that the job has already is left out: such changes are made on the target by hand. A foreign
    key between an old table and a new one is new.

    `in_step`: the job's tables, where the stream carries DDL.  What is `known` is then of the begin: tables have come
    and gone since, and what the others have, the stream has brought, keys to tables outside of the job included.
    """
    last = max((item.number for item in known), default=0)
    if in_step is not None:
        known = [item for item in known if item.table is None or item.table in in_step]
    old_tables = in_step or frozenset()
    before = {_identity(item): item for item in known}
    fresh = {
        _relation(item) for item in items if item.kind in _RELATIONS and _identity(item) not in before
    } - old_tables
    of_fresh = {item.number for item in items if item.table in fresh}
    numbers: dict[int, int] = {}
    added: list[tuple[StructureItem, int]] = []
    for item in sorted(items, key=lambda item: item.number):
        old = before.get(_identity(item))
        statements = item.statements
        if old is not None:
            numbers[item.number] = old.number
            statements = tuple(text for text in statements if text not in old.statements)
            if item.kind not in _GROUPED or not statements:
                continue
        elif item.table is not None and item.table not in fresh:
            is_new_key = in_step is None and _leads_to(of_fresh, item)
            if not is_new_key:
                continue
        last += 1
        numbers[item.number] = last
        added.append((replace(item, statements=statements), last))
    return [
        replace(item, number=number, depends_on=frozenset(numbers[n] for n in item.depends_on if n in numbers))
        for item, number in added
    ]


def _leads_to(fresh: Set[int], item: StructureItem) -> bool:
    return item.kind == "FK CONSTRAINT" and not item.depends_on.isdisjoint(fresh)


def _identity(item: StructureItem) -> _Identity:
    return item.kind, item.schema, item.name, item.table


def _relation(item: StructureItem) -> TableName:
    return item.table or TableName(item.schema or "", item.name)

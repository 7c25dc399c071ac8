"""What leaves a job, and what of its structure goes with it."""

from __future__ import annotations

from tests.unit.engine.test_joining import item
from towline.domain.structure import StructureItem
from towline.domain.tables import Column, ObjectSelection, Table, TableName
from towline.engine.leaving import choose_leaving, describe_left, find_parents, plan_removed
from towline.engine.ports import Chunk, ChunkDone, CopyFacts, TablePlan

STAYS, GOES, PARENT, LEAF = (TableName("public", name) for name in ("stays", "goes", "parent", "leaf"))
KNOWN = [
    item(1, "SCHEMA", "app"),
    item(2, "TABLE", "stays", STAYS, 1),
    item(3, "TABLE", "goes", GOES, 1),
    item(4, "SEQUENCE", "goes_id_seq"),
    item(5, "CONSTRAINT", "stays_pkey", STAYS, 2),
    item(6, "CONSTRAINT", "goes_pkey", GOES, 3),
    item(7, "INDEX", "stays_dropped_since", STAYS, 2),
    item(8, "FK CONSTRAINT", "stays_goes", STAYS, 5, 6),
    item(9, "FK CONSTRAINT", "stays_stays", STAYS, 5),
    item(10, "OWNER", "ada"),
]
WANTED = [entry for entry in KNOWN if entry.number in (1, 2, 5, 9, 10)]


def table(name: TableName) -> Table:
    return Table(name, 1, (Column("a", "int", True),), ("a",), "d", 1, 8192, 1, "1")


def facts(*tables: TableName) -> CopyFacts:
    plans = tuple(TablePlan(name, 1, 1, 8192, 1, "1") for name in tables)
    return CopyFacts((), plans, (), is_planned=True, is_copied=True, is_complete=True)


def numbers(items: list[StructureItem]) -> list[int]:
    return [entry.number for entry in items]


def test_structure_goes_with_its_table_and_so_do_foreign_keys_to_it() -> None:
    assert numbers(plan_removed(KNOWN, WANTED, [STAYS])) == [3, 4, 6, 8]
    assert plan_removed(KNOWN, KNOWN, [STAYS, GOES]) == []


def test_owners_that_are_pending_go_and_come_again_for_what_stays() -> None:
    assert numbers(plan_removed(KNOWN, WANTED, [STAYS], pending={10})) == [3, 4, 6, 8, 10]


def test_a_table_that_only_a_view_reads_keeps_its_structure_but_for_its_keys() -> None:
    wanted = [entry for entry in KNOWN if entry.number in (1, 2, 3, 5, 9, 10)]
    assert numbers(plan_removed(KNOWN, wanted, [STAYS])) == [4, 6, 8]


def test_the_history_says_what_the_target_has_of_a_table_that_left() -> None:
    whole, part, view = STAYS, GOES, item(9, "VIEW", "seen")
    done = (ChunkDone(Chunk(whole, 0, 0, None), 1, 1, 1), ChunkDone(Chunk(part, 0, 0, 1), 1, 1, 1))
    plans = (TablePlan(whole, 1, 1, 8192, 1, "1"), TablePlan(part, 2, 1, 8192, 1, "1"))
    known = CopyFacts((), plans, done, is_planned=True, is_copied=False, is_complete=False)
    told = [report.reason for report in describe_left([whole, part], [view], known, "0/1")]
    assert [reason.split(";")[0] for reason in told] == [
        "left the job before it was in step",
        "left the job before its copy was over",
        "left the job",
    ]
    (report,) = describe_left([GOES], [], facts(STAYS, GOES), "0/1")
    assert report.name == "public.goes"
    assert "as of 0/1" in report.reason


def test_what_is_selected_and_gone_from_the_source_does_not_leave() -> None:
    chosen = ObjectSelection(tables=frozenset({STAYS, PARENT}))
    attached = [*KNOWN, item(11, "TABLE", "parent", PARENT), item(12, "TABLE", "leaf", LEAF)]
    attached.append(item(13, "TABLE ATTACH", "leaf", LEAF, 11, 12))
    parents = find_parents(attached)
    assert parents == {LEAF: {PARENT}}
    assert choose_leaving([table(STAYS)], facts(STAYS, GOES, LEAF), chosen, parents) == [GOES]
    assert choose_leaving([], facts(STAYS, LEAF), chosen, parents) == []
    # A partition that is there comes with the tables, whatever is known of it.
    assert choose_leaving([table(LEAF)], facts(LEAF), chosen, {}) == []

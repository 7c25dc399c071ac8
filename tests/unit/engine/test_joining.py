"""Which items of a structure are new to a job."""

from __future__ import annotations

from dataclasses import replace

from towline.domain.structure import Section, StructureItem
from towline.domain.tables import TableName
from towline.engine.joining import plan_added

OLD, NEW = TableName("public", "old"), TableName("public", "new")


def item(number: int, kind: str, name: str, table: TableName | None = None, *needs: int) -> StructureItem:
    section = Section.AFTER_DATA if kind in ("FK CONSTRAINT", "OWNER") else Section.BEFORE_DATA
    text = f"{kind} {name} on {table}"
    return StructureItem(number, section, kind, name, "public", table, (text,), frozenset(needs))


KNOWN = [
    item(1, "SCHEMA", "app"),
    item(2, "TABLE", "old", OLD, 1),
    item(3, "CONSTRAINT", "old_pkey", OLD, 2),
    replace(item(4, "OWNER", "ada"), statements=("ALTER TABLE old OWNER TO ada",)),
]


def test_what_is_new_is_numbered_after_what_is_known_and_depends_on_it() -> None:
    read = [
        item(1, "SCHEMA", "app"),
        item(2, "TYPE", "mood"),
        item(3, "TABLE", "old", OLD, 1),
        item(4, "TABLE", "new", NEW, 1, 2),
        item(5, "CONSTRAINT", "old_pkey", OLD, 3),
        item(6, "CONSTRAINT", "new_pkey", NEW, 4),
        item(7, "INDEX", "old_later", OLD, 3),
        item(8, "FK CONSTRAINT", "old_new", OLD, 3, 6),
        item(9, "FK CONSTRAINT", "new_old", NEW, 4, 5),
        item(10, "FK CONSTRAINT", "old_old", OLD, 5),
        item(11, "COMMENT", "INDEX old_later", OLD, 7),
        replace(item(12, "OWNER", "ada"), statements=("ALTER TABLE old OWNER TO ada", "ALTER TABLE new OWNER TO ada")),
    ]
    added = plan_added(KNOWN, read)
    assert [(entry.number, entry.kind, entry.name, set(entry.depends_on)) for entry in added] == [
        (5, "TYPE", "mood", set()),
        (6, "TABLE", "new", {1, 5}),
        (7, "CONSTRAINT", "new_pkey", {6}),
        (8, "FK CONSTRAINT", "old_new", {2, 7}),
        (9, "FK CONSTRAINT", "new_old", {6, 3}),
        (10, "OWNER", "ada", set()),
    ]
    assert added[-1].statements == ("ALTER TABLE new OWNER TO ada",)


def test_nothing_is_new_of_what_is_known() -> None:
    assert plan_added(KNOWN, KNOWN) == []


def test_where_ddl_is_carried_the_jobs_tables_are_as_the_stream_made_them() -> None:
    """Of tables that have come and gone since the begin, the remembered structure says nothing."""
    streamed = TableName("public", "streamed")
    read = [
        item(1, "TABLE", "old", OLD),
        item(2, "TABLE", "streamed", streamed),
        item(3, "TABLE", "new", NEW),
        item(4, "FK CONSTRAINT", "old_new", OLD, 1, 3),
        item(5, "FK CONSTRAINT", "new_old", NEW, 3, 1),
    ]
    gone = item(5, "TABLE", "new", NEW)
    added = plan_added([*KNOWN, gone], read, in_step={OLD, streamed})
    numbered = [(entry.number, entry.name, set(entry.depends_on)) for entry in added]
    assert numbered == [(6, "new", set()), (7, "new_old", {6, 2})]

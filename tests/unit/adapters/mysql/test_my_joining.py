"""What a statement in the binlog means for tables that join a job."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.gtid import BinlogOffset
from towline.adapters.mysql.joining import Joining, JoiningTable
from towline.adapters.mysql.statements import read_statement
from towline.domain.errors import SourceDdl
from towline.domain.tables import TableName

OLD, NEW, FUTURE = (TableName("d", name) for name in ("old", "new", "future"))
JOINING = Joining({NEW: JoiningTable(since=BinlogOffset("b.1", 100), floor=BinlogOffset("b.1", 200))})


def passes_over(text: str, offset: int, joining: Joining = JOINING) -> bool:
    return joining.passes_over(
        read_statement(text, "d"),
        text,
        BinlogOffset("b.1", offset),
        database="d",
        has={OLD, NEW}.__contains__ if joining.tables else {OLD}.__contains__,
        covers={OLD, NEW, FUTURE}.__contains__,
    )


@pytest.mark.parametrize(
    "text",
    ["ALTER TABLE new ADD c int", "CREATE TABLE new (id int)", "DROP TABLE new", "RENAME TABLE other TO new"],
)
def test_what_was_done_before_the_structure_was_read_is_in_it(text: str) -> None:
    assert passes_over(text, 100)
    with pytest.raises(SourceDdl, match=r"d\.new, which joins the job") as refused:
        passes_over(text, 101)
    assert "without d.new" in refused.value.advice
    assert not passes_over(text, 201), "from the copy on it is a table as any other"


def test_statements_about_other_tables_are_followed() -> None:
    for offset in (50, 150, 250):
        assert not passes_over("ALTER TABLE old ADD c int", offset)
        assert not passes_over("CREATE TABLE future (id int)", offset)


@pytest.mark.parametrize("text", ["RENAME TABLE old TO new", "RENAME TABLE new TO future"])
def test_a_name_that_goes_between_old_and_new_tables_is_refused(text: str) -> None:
    with pytest.raises(SourceDdl):
        passes_over(text, 100)


def test_of_a_drop_only_what_the_target_has_from_the_stream_is_dropped() -> None:
    assert not passes_over("DROP TABLE old, new", 100)
    has = {OLD, NEW}.__contains__
    assert [t for t in (OLD, NEW, FUTURE) if JOINING.drops(t, BinlogOffset("b.1", 100), has=has)] == [OLD]


def test_a_table_that_is_there_is_not_made_again() -> None:
    assert passes_over("CREATE TABLE IF NOT EXISTS new (id int)", 150)


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE old ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES `d`.`new` (id)",
        "ALTER TABLE old ADD FOREIGN KEY (a) REFERENCES NEW (id)",
        "CREATE TABLE future LIKE new",
    ],
)
def test_what_refers_to_a_table_that_is_not_whole_is_refused(text: str) -> None:
    for offset in (100, 200):
        with pytest.raises(SourceDdl, match=r"d\.new"):
            passes_over(text, offset)
    assert not passes_over(text, 201)


def test_before_tables_join_those_that_the_job_does_not_have_are_passed_over() -> None:
    awaited = Joining(is_awaited=True)
    assert passes_over("ALTER TABLE new ADD c int", 10, awaited)
    assert passes_over("DROP TABLE new", 10, awaited)
    assert not passes_over("ALTER TABLE old ADD c int", 10, awaited)
    assert not passes_over("CREATE TABLE future (id int)", 10, awaited)
    # It may have been there, with rows that only a copy brings.
    assert passes_over("CREATE TABLE IF NOT EXISTS new (id int)", 10, awaited)
    assert not passes_over("CREATE TABLE IF NOT EXISTS old (id int)", 10, awaited)
    # The target could not make it: it lacks what it is made like, or refers to.  It is copied with that.
    assert passes_over("CREATE TABLE future LIKE new", 10, awaited)
    assert passes_over("CREATE TABLE future (id int, FOREIGN KEY (id) REFERENCES d.new (id))", 10, awaited)
    assert not passes_over("CREATE TABLE future LIKE old", 10, awaited)
    assert not passes_over("CREATE TABLE future LIKE stranger", 10, awaited), "which is refused, as ever"


def test_while_tables_join_and_others_are_still_to_join_both_rules_hold() -> None:
    both = Joining(JOINING.tables, is_awaited=True)
    assert passes_over("ALTER TABLE new ADD c int", 100, both)
    assert passes_over("ALTER TABLE future ADD c int", 150, both)
    assert not passes_over("ALTER TABLE new ADD c int", 201, both)

"""What becomes of each sequence of changes to one key."""

from __future__ import annotations

import pytest

from towline.domain.changes import (
    DELETE,
    INSERT,
    NULL_CELL,
    TRUNCATE,
    TRUNCATE_RESTART_IDENTITY,
    UNCHANGED_CELL,
    UPDATE,
    Relation,
    RowChange,
    join_cells,
)
from towline.domain.errors import RowFilterRefused, SourceChanged
from towline.domain.tables import TableName
from towline.engine.fold import (
    Fold,
    InsertStep,
    KeyedStep,
    MoveStep,
    TableFold,
    TruncateStep,
    WholeRowStep,
)

KEYED = Relation(TableName("s", "keyed"), ("id", "a", "b"), (23, 25, 25), (0,))
OTHER = Relation(TableName("s", "other"), ("id", "a", "b"), (23, 25, 25), (0,))
KEYLESS = Relation(TableName("s", "keyless"), ("id", "a", "b"), (23, 25, 25), ())


def cell(value: str | None) -> bytes:
    if value is None:
        return NULL_CELL
    if value == "?":
        return UNCHANGED_CELL
    data = value.encode()
    return b"t" + len(data).to_bytes(4, "big") + data


def row(*values: str | None) -> bytes:
    return join_cells([cell(value) for value in values])


def insert(*values: str | None, relation: Relation = KEYED) -> RowChange:
    return (INSERT, relation, row(*values), None)


def update(*values: str | None, old: bytes | None = None, relation: Relation = KEYED) -> RowChange:
    return (UPDATE, relation, row(*values), old)


def delete(key: str, relation: Relation = KEYED) -> RowChange:
    return (DELETE, relation, None, row(key, None, None))


def key_row(key: str) -> bytes:
    return row(key, None, None)


def fold(*changes: RowChange, tolerant: bool = False) -> Fold:
    folded = Fold(tolerant=tolerant)
    folded.add(changes)
    return folded


def only_step(folded: Fold) -> KeyedStep:
    (table,) = folded.parts
    assert isinstance(table, TableFold)
    (step,) = table.steps
    assert isinstance(step, KeyedStep)
    return step


def test_updates_of_one_key_keep_only_the_last_state():
    step = only_step(fold(update("1", "x", "y"), update("1", "z", "y")))
    assert list(step.updates.values()) == [row("1", "z", "y")]
    assert not step.inserts
    assert not step.deletes


def test_insert_then_update_is_an_insert_of_the_last_state():
    step = only_step(fold(insert("1", "x", "y"), update("1", "z", "w")))
    assert list(step.inserts.values()) == [row("1", "z", "w")]
    assert not step.updates


def test_insert_then_delete_leaves_nothing_to_do():
    assert not only_step(fold(insert("1", "x", "y"), delete("1")))


def test_i5_tolerant_insert_then_delete_still_deletes():
    step = only_step(fold(insert("1", "x", "y"), delete("1"), tolerant=True))
    assert list(step.deletes.values()) == [key_row("1")]


def test_update_then_delete_is_a_delete():
    step = only_step(fold(update("1", "x", "y"), delete("1")))
    assert list(step.deletes.values()) == [key_row("1")]
    assert not step.updates


def test_delete_then_insert_is_an_update_of_the_whole_row():
    step = only_step(fold(delete("1"), insert("1", "x", "y")))
    assert list(step.updates.values()) == [row("1", "x", "y")]
    assert not step.deletes
    assert not step.inserts


def test_unchanged_column_is_filled_from_an_earlier_change_of_the_batch():
    step = only_step(fold(insert("1", "x", "large"), update("1", "z", "?")))
    assert list(step.inserts.values()) == [row("1", "z", "large")]
    step = only_step(fold(update("1", "x", "large"), update("1", "z", "?")))
    assert list(step.updates.values()) == [row("1", "z", "large")]


def test_unchanged_column_without_an_earlier_change_stays_partial():
    step = only_step(fold(update("1", "x", "?"), update("1", "?", "?")))
    assert list(step.partials.values()) == [row("1", "x", "?")]
    assert not step.updates


def test_partial_update_followed_by_a_whole_one_is_whole():
    step = only_step(fold(update("1", "x", "?"), update("1", "z", "y")))
    assert list(step.updates.values()) == [row("1", "z", "y")]
    assert not step.partials


def test_values_that_hold_the_letter_of_unchanged_are_not_mistaken():
    step = only_step(fold(update("1", "unusual", "u")))
    assert list(step.updates.values()) == [row("1", "unusual", "u")]


def test_key_change_is_delete_and_insert():
    step = only_step(fold(update("2", "x", "y", old=key_row("1"))))
    assert list(step.deletes.values()) == [key_row("1")]
    assert list(step.inserts.values()) == [row("2", "x", "y")]


def test_chain_of_key_changes_updates_the_keys_in_the_middle():
    step = only_step(
        fold(
            update("4", "c", "y", old=key_row("3")),
            update("3", "b", "y", old=key_row("2")),
            update("2", "a", "y", old=key_row("1")),
        )
    )
    assert list(step.deletes.values()) == [key_row("1")]
    assert sorted(step.updates.values()) == [row("2", "a", "y"), row("3", "b", "y")]
    assert list(step.inserts.values()) == [row("4", "c", "y")]


def test_key_change_with_an_unknown_unchanged_column_is_a_move_in_its_place():
    folded = fold(update("1", "x", "y"), update("2", "z", "?", old=key_row("1")), insert("1", "n", "n"))
    # The column is known from the first change, so nothing needs to be moved.
    assert list(only_step(folded).inserts.values()) == [row("2", "z", "y")]
    (table,) = fold(update("2", "z", "?", old=key_row("1")), insert("1", "n", "n")).parts
    assert isinstance(table, TableFold)
    before, move, after = table.steps
    assert isinstance(before, KeyedStep)
    assert not before
    assert isinstance(move, MoveStep)
    assert (move.old, move.new) == (key_row("1"), row("2", "z", "?"))
    assert isinstance(after, KeyedStep)
    assert list(after.inserts.values()) == [row("1", "n", "n")]


def test_whole_old_row_fills_unchanged_columns():
    step = only_step(fold(update("1", "z", "?", old=row("1", "x", "large"))))
    assert list(step.updates.values()) == [row("1", "z", "large")]


def test_table_without_key_keeps_every_change_in_order():
    (table,) = fold(
        insert("1", "x", "y", relation=KEYLESS),
        insert("1", "x", "y", relation=KEYLESS),
        (UPDATE, KEYLESS, row("1", "z", "y"), row("1", "x", "y")),
        (DELETE, KEYLESS, None, row("1", "z", "y")),
        insert("2", "x", "y", relation=KEYLESS),
    ).parts
    assert isinstance(table, TableFold)
    first, changed, removed, last = table.steps
    assert isinstance(first, InsertStep)
    assert len(first.rows) == 2
    assert isinstance(changed, WholeRowStep)
    assert changed.new == row("1", "z", "y")
    assert isinstance(removed, WholeRowStep)
    assert removed.new is None
    assert isinstance(last, InsertStep)


def test_truncate_is_a_barrier_for_all_tables():
    parts = fold(
        insert("1", "x", "y"),
        insert("1", "x", "y", relation=OTHER),
        (TRUNCATE, KEYED, bytes([TRUNCATE_RESTART_IDENTITY]), None),
        (TRUNCATE, OTHER, bytes([TRUNCATE_RESTART_IDENTITY]), None),
        insert("2", "x", "y"),
    ).parts
    kinds = [type(part) for part in parts]
    assert kinds == [TableFold, TableFold, TruncateStep, TableFold]
    truncate = parts[2]
    assert isinstance(truncate, TruncateStep)
    assert truncate.relations == [KEYED, OTHER]
    assert truncate.flags == TRUNCATE_RESTART_IDENTITY


def test_i3_a_new_form_of_a_table_is_applied_after_the_old_form():
    altered = Relation(KEYED.table, ("id", "a", "b", "c"), (23, 25, 25, 25), (0,))
    parts = fold(
        update("1", "x", "y"),
        (UPDATE, altered, row("1", "x", "y", "z"), None),
        update("1", "late", "y"),
    ).parts
    assert [part.relation for part in parts if isinstance(part, TableFold)] == [KEYED, altered, KEYED]


def test_an_insert_without_all_values_is_refused():
    """A source that filters rows sends such an insert for an update that brings a row in; NULL would be a lie."""
    row = join_cells([cell("1"), cell("?"), cell("3")])
    for relation in (KEYED, KEYLESS):
        with pytest.raises(RowFilterRefused, match=str(relation.table)):
            Fold().add([(INSERT, relation, row, None)])


@pytest.mark.parametrize(
    "before",
    [
        insert("1", "a", "b"),
        update("1", "a", "b"),
        update("1", "a", "?"),
        update("1", "a", "b", old=row("2", None, None)),
    ],
    ids=["inserted", "updated", "partly", "moved"],
)
@pytest.mark.parametrize("second", [insert("1", "c", "d"), update("1", "c", "d", old=row("3", None, None))])
def test_a_second_row_of_one_key_is_never_folded_away(before: RowChange, second: RowChange) -> None:
    with pytest.raises(SourceChanged, match="one key"):
        Fold().add([before, second])
    # A replay may begin in the middle.
    Fold(tolerant=True).add([before, second])

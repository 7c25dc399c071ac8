"""A fold, applied, gives the rows that the changes give one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.rows import make_row
from towline.domain.changes import (
    DELETE,
    INSERT,
    TRUNCATE,
    UNCHANGED_CELL,
    UPDATE,
    Relation,
    RowChange,
    fill_unchanged,
    has_unchanged,
    join_cells,
    key_reader,
    split_row,
)
from towline.domain.tables import TableName
from towline.engine.fold import Fold, InsertStep, KeyedStep, MoveStep, TruncateStep, WholeRowStep

RELATIONS = [
    Relation(TableName("s", "first"), ("id", "a", "b"), (23, 25, 25), (0,)),
    Relation(TableName("s", "pair"), ("id", "a", "b"), (23, 25, 25), (0, 1)),
    Relation(TableName("s", "last"), ("id", "a", "b"), (23, 25, 25), (2,)),
    Relation(TableName("s", "none"), ("id", "a", "b"), (23, 25, 25), ()),
]


@dataclass
class Source:
    """Makes a history that a real source could have, and keeps its tables."""

    tables: dict[Relation, list[bytes]] = field(default_factory=lambda: {r: [] for r in RELATIONS})
    history: list[RowChange] = field(default_factory=list)

    def find(self, relation: Relation, row: bytes) -> int | None:
        read_key = key_reader(relation.key)
        for number, each in enumerate(self.tables[relation]):
            if relation.key and read_key(each) == read_key(row):
                return number
        return None

    def insert(self, relation: Relation, row: bytes) -> None:
        if self.find(relation, row) is None:
            self.tables[relation].append(row)
            self.history.append((INSERT, relation, row, None))

    def update(self, relation: Relation, which: int, new: bytes, hidden: frozenset[int]) -> None:
        rows = self.tables[relation]
        if not rows:
            return
        number = which % len(rows)
        old = rows[number]
        # A column can only be left out when its value stays as it was.
        cells = [o if n in hidden else c for n, (o, c) in enumerate(zip(split_row(old), split_row(new), strict=True))]
        whole = join_cells(cells)
        found = self.find(relation, whole)
        if found not in (None, number):
            return
        rows[number] = whole
        sent = join_cells([UNCHANGED_CELL if n in hidden and n not in relation.key else c for n, c in enumerate(cells)])
        if not relation.key:
            self.history.append((UPDATE, relation, sent, old))
        elif found is None:
            self.history.append((UPDATE, relation, sent, self.key_only(relation, old)))
        else:
            self.history.append((UPDATE, relation, sent, None))

    def delete(self, relation: Relation, which: int) -> None:
        rows = self.tables[relation]
        if rows:
            old = rows.pop(which % len(rows))
            self.history.append((DELETE, relation, None, self.key_only(relation, old)))

    def truncate(self, relation: Relation) -> None:
        self.tables[relation].clear()
        self.history.append((TRUNCATE, relation, b"\0", None))

    def key_only(self, relation: Relation, row: bytes) -> bytes:
        if not relation.key:
            return row
        return join_cells([c if n in relation.key else b"n" for n, c in enumerate(split_row(row))])


class Target:
    """Applies folds with the rules of bulk statements, and insists on what they expect."""

    def __init__(self, *, tolerant: bool) -> None:
        self.tables: dict[Relation, list[bytes]] = {r: [] for r in RELATIONS}
        self.tolerant = tolerant

    def apply(self, fold: Fold) -> None:
        for part in fold.parts:
            if isinstance(part, TruncateStep):
                for relation in part.relations:
                    self.tables[relation].clear()
                continue
            for step in part.steps:
                if isinstance(step, KeyedStep):
                    self.keyed(part.relation, step)
                elif isinstance(step, MoveStep):
                    self.move(part.relation, step)
                elif isinstance(step, InsertStep):
                    self.tables[part.relation] += step.rows
                else:
                    assert isinstance(step, WholeRowStep)
                    self.tables[part.relation].remove(step.old)
                    if step.new is not None:
                        self.tables[part.relation].append(step.new)

    def find(self, relation: Relation, row: bytes) -> int | None:
        read_key = key_reader(relation.key)
        keys = [read_key(each) for each in self.tables[relation]]
        return keys.index(read_key(row)) if read_key(row) in keys else None

    def keyed(self, relation: Relation, step: KeyedStep) -> None:
        rows = self.tables[relation]
        sets = [set(each) for each in (step.deletes, step.updates, step.partials, step.inserts)]
        assert sum(map(len, sets)) == len(set().union(*sets)), "a key in two places"
        for row in step.deletes.values():
            number = self.find(relation, row)
            assert number is not None or self.tolerant
            if number is not None:
                rows.pop(number)
        for row in step.updates.values():
            assert not has_unchanged(row)
            number = self.find(relation, row)
            assert number is not None or self.tolerant
            if number is None:
                rows.append(row)
            else:
                rows[number] = row
        for row in step.partials.values():
            number = self.find(relation, row)
            assert number is not None or self.tolerant
            if number is not None:
                rows[number] = fill_unchanged(row, rows[number])
        for row in step.inserts.values():
            assert not has_unchanged(row)
            number = self.find(relation, row)
            assert number is None or self.tolerant
            if number is None:
                rows.append(row)
            else:
                rows[number] = row

    def move(self, relation: Relation, step: MoveStep) -> None:
        number = self.find(relation, step.old)
        assert number is not None or self.tolerant
        if number is None:
            return
        old = self.tables[relation].pop(number)
        # In a replay the row may be there under its new key as well, from a later moment: that one stays.
        assert self.find(relation, step.new) is None or self.tolerant
        if self.find(relation, step.new) is None:
            self.tables[relation].append(fill_unchanged(step.new, old))


RELATION = st.sampled_from(RELATIONS)
VALUE = st.one_of(st.none(), st.sampled_from(["1", "2", "3", "u", "unusual"]))
ROW = st.builds(
    make_row, st.sampled_from(["1", "2", "3"]), st.sampled_from(["1", "2", "u"]), st.sampled_from(["1", "2", "3"])
)
HIDDEN = st.frozensets(st.integers(0, 2), max_size=2)
ACTION = st.one_of(
    st.tuples(st.just("insert"), RELATION, ROW),
    st.tuples(st.just("update"), RELATION, st.integers(0, 9), ROW, HIDDEN),
    st.tuples(st.just("delete"), RELATION, st.integers(0, 9)),
    st.tuples(st.just("truncate"), st.sampled_from(RELATIONS[:2])),
)


def make_history(actions: list[tuple]) -> Source:
    source = Source()
    for name, *arguments in actions:
        getattr(source, name)(*arguments)
    return source


@settings(max_examples=400)
@given(st.lists(ACTION, max_size=40), st.lists(st.integers(1, 8), max_size=10))
def test_i3_folded_batches_give_the_source_rows(actions, sizes):
    source = make_history(actions)
    target = Target(tolerant=False)
    left = source.history
    for size in [*sizes, len(left) + 1]:
        fold = Fold()
        # In several portions, as transactions come.
        for change in left[:size]:
            fold.add([change])
        target.apply(fold)
        left = left[size:]
    assert {r: sorted(rows) for r, rows in target.tables.items()} == {
        r: sorted(rows) for r, rows in source.tables.items()
    }


KEYED_ACTION = ACTION.filter(lambda action: bool(action[1].key))


@settings(max_examples=400)
@given(st.lists(KEYED_ACTION, max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_i5_applying_a_stretch_again_tolerantly_changes_nothing(actions, begin, length):
    """The target has everything already; a stretch up to the end is replayed on top of it."""
    source = make_history(actions)
    target = Target(tolerant=True)
    target.tables = {relation: list(rows) for relation, rows in source.tables.items()}
    replayed = source.history[begin:] if length else source.history
    fold = Fold(tolerant=True)
    fold.add(replayed)
    target.apply(fold)
    assert {r: sorted(rows) for r, rows in target.tables.items()} == {
        r: sorted(rows) for r, rows in source.tables.items()
    }

"""Folding: many changes in source order become few, with the same rows at the end. Pure.

Tables are independent of each other, because foreign keys and triggers do not fire in the applier's session.
Within a table only the last state of each key matters, so changes to one key collapse into one; the
steps of a table are applied in order, and within a step deletes, then updates, then inserts.

Strict folding (the rule) trusts the source's history: an insert means that the key was free, and if the history itself
says otherwise, the key is none any more.  Tolerant
folding is for changes that the target may already have (a replay, I5): it never concludes from a change
what was on the target before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from towline.domain.changes import (
    DELETE,
    INSERT,
    NULL_CELL,
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
from towline.domain.errors import InvariantBroken, RowFilterRefused, Side, SourceChanged
from towline.domain.tables import TableName


@dataclass(slots=True, eq=False)
class KeyedStep:
    """Last states by key. No key is in two of the four; together they take any order."""

    deletes: dict[bytes, bytes] = field(default_factory=dict)  # old rows; only the key's columns count
    updates: dict[bytes, bytes] = field(default_factory=dict)  # whole new rows
    partials: dict[bytes, bytes] = field(default_factory=dict)  # new rows with unchanged columns
    inserts: dict[bytes, bytes] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.deletes or self.updates or self.partials or self.inserts)


@dataclass(slots=True, eq=False)
class MoveStep:
    """One row takes another key while some of its columns, not sent, keep their values."""

    old: bytes
    new: bytes


@dataclass(slots=True, eq=False)
class InsertStep:
    """New rows of a table without a key, in source order."""

    rows: list[bytes] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class WholeRowStep:
    """One row, found by all its old values, is updated (or deleted if `new` is None)."""

    old: bytes
    new: bytes | None


@dataclass(slots=True, eq=False)
class TruncateStep:
    """These tables are emptied together."""

    relations: list[Relation]
    flags: int


Step = KeyedStep | MoveStep | InsertStep | WholeRowStep


@dataclass(slots=True, eq=False)
class TableFold:
    """What happens to one table between two barriers. The last step is the open one."""

    relation: Relation
    steps: list[Step]
    keyed: KeyedStep | None  # the open step of a table with a key
    read_key: Callable[[bytes], bytes]
    tail: list[bytes] | None = None  # rows of the open InsertStep


class Fold:
    """Folds changes as they come; `parts` is the result, in the order in which it must be applied."""

    __slots__ = ("_is_tolerant", "_names", "_tables", "parts")

    def __init__(self, *, tolerant: bool = False) -> None:
        self._is_tolerant = tolerant
        self._tables: dict[Relation, TableFold] = {}
        self._names: set[TableName] = set()
        self.parts: list[TableFold | TruncateStep] = []

    def add(self, changes: Iterable[RowChange]) -> None:
        """Take changes in source order (I3)."""
        tables = self._tables
        for kind, relation, new, old in changes:
            if kind >= TRUNCATE:
                self._truncate(kind, relation, new)
                continue
            table = tables.get(relation) or self._open_table(relation)
            # The commonest kinds are decided here; a call per change would cost as much as the rest.
            if old is None and new is not None:
                if kind == INSERT and has_unchanged(new):
                    raise _incomplete(relation)
                if table.tail is not None and kind == INSERT:
                    table.tail.append(new)
                    continue
                keyed = table.keyed
                if kind == UPDATE and keyed is not None and b"u" not in new:
                    key = table.read_key(new)
                    if key in keyed.inserts:
                        keyed.inserts[key] = new
                    else:
                        keyed.updates[key] = new
                        if keyed.partials:
                            keyed.partials.pop(key, None)
                        if keyed.deletes:
                            keyed.deletes.pop(key, None)
                    continue
                if kind == INSERT and keyed is not None:
                    self._insert(table, keyed, table.read_key(new), new)
                    continue
            self._add_rare(table, kind, new, old)

    def _open_table(self, relation: Relation) -> TableFold:
        # A table that changed its form closes its earlier self: rows of two forms never mix (I3).
        if relation.table in self._names:
            self._close_tables()
        self._names.add(relation.table)
        keyed = KeyedStep() if relation.key else None
        table = TableFold(relation, [keyed] if keyed is not None else [], keyed, key_reader(relation.key))
        self._tables[relation] = table
        self.parts.append(table)
        return table

    def _truncate(self, kind: int, relation: Relation, flags: bytes | None) -> None:
        if kind != TRUNCATE:
            raise InvariantBroken(f"a statement about {relation.table} among row changes", side=Side.SOURCE)
        wanted = flags[0] if flags else 0
        last = self.parts[-1] if self.parts else None
        if isinstance(last, TruncateStep) and last.flags == wanted and relation not in last.relations:
            last.relations.append(relation)
        else:
            self.parts.append(TruncateStep([relation], wanted))
        # A barrier for every table: what came before must be applied before.
        self._close_tables()

    def _close_tables(self) -> None:
        self._tables.clear()
        self._names.clear()

    def _add_rare(self, table: TableFold, kind: int, new: bytes | None, old: bytes | None) -> None:
        if old is not None and new is not None and has_unchanged(new):
            # The old row knows key columns that are too large to be sent twice, and all of them under FULL.
            new = _fill_from_old(new, old)
        keyed = table.keyed
        if keyed is None:
            self._add_without_key(table, kind, new, old)
        elif kind == DELETE and old is not None:
            self._delete(keyed, table.read_key(old), old)
        elif kind == UPDATE and new is not None:
            self._update(table, keyed, new, old)
        elif kind == INSERT and new is not None:
            self._insert(table, keyed, table.read_key(new), new)

    def _add_without_key(self, table: TableFold, kind: int, new: bytes | None, old: bytes | None) -> None:
        if old is not None:
            table.steps.append(WholeRowStep(old, new))
            table.tail = None
        elif kind == INSERT and new is not None:
            step = InsertStep([new])
            table.steps.append(step)
            table.tail = step.rows
        else:
            raise InvariantBroken(f"a change of {table.relation.table} names no row", side=Side.SOURCE)

    def _delete(self, keyed: KeyedStep, key: bytes, old: bytes) -> None:
        was_inserted = keyed.inserts.pop(key, None) is not None
        keyed.updates.pop(key, None)
        keyed.partials.pop(key, None)
        if not was_inserted or self._is_tolerant:
            keyed.deletes[key] = old

    def _insert(self, table: TableFold, keyed: KeyedStep, key: bytes, new: bytes) -> None:
        if keyed.deletes.pop(key, None) is not None:
            keyed.updates[key] = new
        elif key in keyed.updates or key in keyed.partials:
            self._require_replay(table)
            _replace(keyed, key, new)
        else:
            if key in keyed.inserts:
                self._require_replay(table)
            keyed.inserts[key] = new

    def _update(self, table: TableFold, keyed: KeyedStep, new: bytes, old: bytes | None) -> None:
        key = table.read_key(new)
        old_key = key if old is None else table.read_key(old)
        if has_unchanged(new):
            base = keyed.inserts.get(old_key) or keyed.updates.get(old_key) or keyed.partials.get(old_key)
            new = fill_unchanged(new, base) if base is not None else new
        is_whole = not has_unchanged(new)
        if old is not None and old_key != key:
            if is_whole:
                self._delete(keyed, old_key, old)
                self._insert(table, keyed, key, new)
            else:
                self._move(table, old, new)
        elif old_key in keyed.inserts:
            keyed.inserts[key] = new
        elif is_whole:
            keyed.deletes.pop(key, None)
            _replace(keyed, key, new)
        else:
            keyed.partials[key] = new

    def _require_replay(self, table: TableFold) -> None:
        """A row came under the key of one that is there: only a replay knows rows before they are inserted.

        Raises: SourceChanged, the key identifies rows no more, and one of the two would be lost.
        """
        if not self._is_tolerant:
            relation = table.relation
            key = ", ".join(relation.columns[number] for number in relation.key)
            raise SourceChanged(
                f"two rows of {relation.table} have one key ({key}): it was changed on the source while the job ran",
                side=Side.SOURCE,
                table=str(relation.table),
            )

    def _move(self, table: TableFold, old: bytes, new: bytes) -> None:
        table.keyed = KeyedStep()
        table.steps += [MoveStep(old, new), table.keyed]


def _replace(keyed: KeyedStep, key: bytes, new: bytes) -> None:
    keyed.partials.pop(key, None)
    keyed.updates[key] = new


def _fill_from_old(new: bytes, old: bytes) -> bytes:
    # NULL in an old row may also mean "not sent"; a value that was NULL is never left out of the new row.
    pairs = zip(split_row(new), split_row(old), strict=True)
    return join_cells([before if cell == UNCHANGED_CELL and before != NULL_CELL else cell for cell, before in pairs])


def _incomplete(relation: Relation) -> RowFilterRefused:
    """An update that brings a row into the filter comes as an insert, without values that it left as they were."""
    return RowFilterRefused(
        f"an update brought a row of {relation.table} in, and the source did not send its large values",
        side=Side.SOURCE,
        remedy="Set REPLICA IDENTITY FULL for the table on the source, then end the job and start a new one.",
        table=str(relation.table),
    )

"""What an ALTER TABLE does to the columns of a table: the form that it leaves, and the same on PostgreSQL. Pure.

A change of a type is carried when every value of the old type is the same value of the new one.  Then no row of the
target can differ from the source's, whatever is in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from towline.adapters.mysql.column_words import ColumnWords, integer_range, is_integer
from towline.adapters.mysql.postgres_ddl import ident, render_check
from towline.adapters.mysql.postgres_wishes import choose_postgres_column
from towline.adapters.mysql.shapes import ColumnShape, codec_name
from towline.adapters.mysql.source_form import SourceForm
from towline.domain.errors import SourceDdl
from towline.domain.tables import TableName

_TEXT_SIZES: Final = {"tinytext": 2**8, "text": 2**16, "mediumtext": 2**24, "longtext": 2**32}
_BLOB_SIZES: Final = {"tinyblob": 2**8, "blob": 2**16, "mediumblob": 2**24, "longblob": 2**32}
_LONGEST_CHARACTER: Final = 4

Refused = Callable[[str], SourceDdl]


@dataclass(frozen=True, slots=True)
class ColumnAction:
    """One column on the target. `kind`: add, drop, rename, alter, or default.

    `clauses` are parts of an ALTER TABLE.  `must_be_empty`: why rows of the table would not be as on the source; "" if
    they are.  `check` replaces what holds an ENUM or SET to its labels; None leaves it.  `is_counted`: it has
    AUTO_INCREMENT.
    """

    kind: str
    name: str
    new_name: str = ""
    clauses: tuple[str, ...] = ()
    must_be_empty: str = ""
    check: str | None = None
    comment: str | None = None
    is_counted: bool = False


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """A clause of the statement. `name` is the column's until now, "" of a new one; `words` None drops it.

    `after`: the column behind which it goes, "" for the first place, None for where it is, or the end.
    `default`: its new one as SQL, "" for none, where nothing else of it changes.
    """

    name: str
    words: ColumnWords | None = None
    new_name: str = ""
    after: str | None = None
    default: str | None = None

    @property
    def is_drop(self) -> bool:
        return self.words is None and not self.new_name and self.default is None


def change_columns(
    table: TableName, form: SourceForm, changes: Sequence[ColumnChange], refused: Refused
) -> tuple[SourceForm, list[ColumnAction]]:
    """The form afterwards, and what is to be done on the target, in order.

    Raises: what `refused` makes, something is not certain to be the same there.
    """
    _require_plain(form, changes, refused)
    actions: list[ColumnAction] = []
    for change in changes:
        old = form.find(change.name) if change.name else None
        if old is None and change.name:
            raise refused(f"its column {change.name} is not one of those that the job knows")
        if old is None:
            assert change.words is not None
            actions.append(_add(table, change.words, refused))
        elif change.default is not None:
            clause = _default_clause(old.name, change.default)
            actions.append(ColumnAction("default", old.name, clauses=(clause,)))
        elif change.is_drop:
            if old.name in form.key:
                raise refused("it changes the table's key")
            actions.append(ColumnAction("drop", old.name))
        else:
            actions += _alter(form, old, change, refused)
    actions.sort(key=lambda action: ("drop", "default", "rename", "alter", "add").index(action.kind))
    return _changed_form(form, changes, refused), actions


def _require_plain(form: SourceForm, changes: Sequence[ColumnChange], refused: Refused) -> None:
    """Each column once, no new name that some column had, and no place next to one that gets another name.

    The server finds the columns of an index by name, so the index of a column that goes passes to one that comes with
    its name in the same statement.
    """
    names = [change.name.lower() for change in changes if change.name]
    renamed = {change.name.lower(): _name_after(change) for change in changes if _is_renaming(change)}
    fresh = [_name_after(change) for change in changes if not change.name or _is_renaming(change)]
    known = {column.name.lower() for column in form.columns}
    places = {change.after.lower() for change in changes if change.after}
    if len(set(names)) < len(names) or len(set(fresh)) < len(fresh) or known.intersection(fresh):
        raise refused("its columns take each other's names")
    if places & (renamed.keys() | set(renamed.values())):
        raise refused("which place a column gets is up to the server")


def _is_renaming(change: ColumnChange) -> bool:
    return bool(change.name) and _name_after(change) not in ("", change.name.lower())


def _name_after(change: ColumnChange) -> str:
    return (change.words.shape.name if change.words is not None else change.new_name).lower()


def _add(table: TableName, words: ColumnWords, refused: Refused) -> ColumnAction:
    name = words.shape.name
    if words.is_counted or words.is_primary or words.is_unique:
        raise refused(f"its column {name} comes with a key")
    why = "" if words.fill is not None else f"what rows have in {name} that are there already is not certain"
    clauses = [f"ADD COLUMN {words.render(table, default=words.fill or '')}"]
    if words.fill != words.default:
        clauses.append(_default_clause(name, words.default))
    return ColumnAction("add", name, clauses=tuple(clauses), must_be_empty=why, comment=words.comment or None)


def _default_clause(name: str, default: str) -> str:
    return f"ALTER COLUMN {ident(name)} " + (f"SET DEFAULT {default}" if default else "DROP DEFAULT")


def _alter(form: SourceForm, old: ColumnShape, change: ColumnChange, refused: Refused) -> list[ColumnAction]:
    new_name = change.words.shape.name if change.words is not None else change.new_name
    actions = [ColumnAction("rename", old.name, new_name)] if new_name != old.name else []
    words = change.words
    if words is None:
        return actions
    if words.is_primary or words.is_unique or (words.is_nullable and old.name in form.key):
        raise refused("it changes the table's key")
    if not is_widening(old, words.shape):
        types = " to ".join(f"{shape.type_sql} {shape.charset or ''}".strip() for shape in (old, words.shape))
        raise refused(f"not every value of {old.name} is certain to stay as it is, from {types}")
    clauses = []
    before = choose_postgres_column(old)
    if before is None or before.type_sql != _uncounted_type(words):
        # Its default is of the old type, and may not be one of the new type.
        clauses += [f"ALTER COLUMN {ident(new_name)} TYPE {words.type_sql}"]
    clauses.append(f"ALTER COLUMN {ident(new_name)} {'DROP' if words.is_nullable else 'SET'} NOT NULL")
    if not words.is_counted:
        clauses.append(_default_clause(new_name, words.default))
    check = render_check(words.shape)
    is_new_check = check != render_check(replace(old, name=new_name))
    actions.append(
        ColumnAction(
            "alter",
            new_name,
            clauses=tuple(clauses),
            check=check.strip() if is_new_check else None,
            comment=words.comment,
            is_counted=words.is_counted,
        )
    )
    return actions


def _uncounted_type(words: ColumnWords) -> str:
    chosen = choose_postgres_column(words.shape)
    assert chosen is not None
    return chosen.type_sql


def _changed_form(form: SourceForm, changes: Sequence[ColumnChange], refused: Refused) -> SourceForm:
    """The columns in the order in which the server has them afterwards."""
    by_name = {change.name.lower(): change for change in changes if change.name}
    columns: list[ColumnShape] = []
    key = list(form.key)
    for column in form.columns:
        change = by_name.get(column.name.lower())
        if change is None or change.default is not None:
            columns.append(column)
            continue
        if change.is_drop:
            continue
        new = change.words.shape if change.words is not None else replace(column, name=change.new_name)
        key = [new.name if name == column.name else name for name in key]
        if change.after is None:
            columns.append(new)
    for change in changes:
        if change.words is None or (change.name and change.after is None):
            continue
        columns.insert(_place(columns, change.after, refused), change.words.shape)
    return replace(form, columns=tuple(columns), key=tuple(key))


def _place(columns: Sequence[ColumnShape], after: str | None, refused: Refused) -> int:
    if after is None:
        return len(columns)
    if not after:
        return 0
    for number, column in enumerate(columns):
        if column.name.lower() == after.lower():
            return number + 1
    raise refused(f"its column {after} is not one of those that the job knows")


# --- types ------------------------------------------------------------------------------------------


def is_widening(old: ColumnShape, new: ColumnShape) -> bool:
    """Whether every value of the old type is the same value of the new one, on both servers."""
    if is_integer(old) and is_integer(new):
        was, will = integer_range(old), integer_range(new)
        return will[0] <= was[0] and was[-1] <= will[-1]
    kinds = (old.type_name, new.type_name)
    if old.charset is not None and new.charset is not None and not _is_wider_charset(old.charset, new.charset):
        return False
    if (old.charset is None) != (new.charset is None):
        return False
    if "enum" in kinds or "set" in kinds:
        return _are_more_labels(old, new)
    if kinds[0] in ("char", "varchar") or kinds[0] in _TEXT_SIZES:
        return _is_longer_text(old, new)
    if kinds[0] == "varbinary" or kinds[0] in _BLOB_SIZES:
        return _is_longer_blob(old, new)
    if kinds[0] != kinds[1] or old.is_unsigned != new.is_unsigned:
        return False
    if kinds[0] == "decimal":
        (size, digits), (new_size, new_digits) = old.parameters[:2], new.parameters[:2]
        return new_digits >= digits and new_size - new_digits >= size - digits
    if kinds[0] in ("time", "datetime", "timestamp"):
        return (new.parameters or (0,))[0] >= (old.parameters or (0,))[0]
    return kinds[0] == "year" or old.parameters == new.parameters


def _is_wider_charset(old: str, new: str) -> bool:
    """utf8mb4 has all characters; of others only the same set is certain to have them."""
    utf8 = ("utf8", "utf8mb3", "utf8mb4")
    return old == new or new == "utf8mb4" or (old in utf8[:2] and new in utf8) or codec_name(old) == "ascii" == new


def _are_more_labels(old: ColumnShape, new: ColumnShape) -> bool:
    if old.type_name != new.type_name:
        return False
    was, will = (replace(shape, charset="utf8mb4").labels() for shape in (old, new))
    # A SET is written in the order of its labels, so those that are there must stay in front.
    return set(was) <= set(will) if old.type_name == "enum" else will[: len(was)] == was


def _is_longer_text(old: ColumnShape, new: ColumnShape) -> bool:
    if new.type_name in _TEXT_SIZES:
        size = _TEXT_SIZES.get(old.type_name) or (old.parameters or (1,))[0] * _LONGEST_CHARACTER + 1
        # Of another character set, the same text may take more bytes.
        room = _TEXT_SIZES[new.type_name] // (1 if old.charset == new.charset else _LONGEST_CHARACTER)
        return size <= room or (new.type_name == "longtext")
    # Blanks at its end are no part of a CHAR, so nothing else becomes one.
    is_kind = new.type_name == "varchar" or (old.type_name == new.type_name == "char")
    return is_kind and old.type_name not in _TEXT_SIZES and new.parameters[0] >= old.parameters[0]


def _is_longer_blob(old: ColumnShape, new: ColumnShape) -> bool:
    if new.type_name in _BLOB_SIZES:
        return (_BLOB_SIZES.get(old.type_name) or old.parameters[0] + 1) <= _BLOB_SIZES[new.type_name]
    return old.type_name == new.type_name == "varbinary" and new.parameters[0] >= old.parameters[0]

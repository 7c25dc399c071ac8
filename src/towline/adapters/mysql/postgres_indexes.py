"""What a statement of the source says about indexes, word by word. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from towline.adapters.mysql.word_reader import WordReader

INDEX_OPTIONS: Final = frozenset({"COMMENT", "KEY_BLOCK_SIZE", "ALGORITHM", "LOCK"})


@dataclass(frozen=True, slots=True)
class IndexAction:
    """`kind`: create, drop or rename. `columns` with whether they are descending; `new_name` of a renaming."""

    kind: str
    name: str
    columns: tuple[tuple[str, bool], ...] = ()
    is_unique: bool = False
    new_name: str = ""


def read_index_kind(words: WordReader) -> str:
    return next((kind for kind in ("UNIQUE", "FULLTEXT", "SPATIAL") if words.take(kind)), "")


def read_using(words: WordReader) -> None:
    if words.take("USING"):
        words.require("BTREE", "HASH")


def read_options(words: WordReader, known: frozenset[str], *, separator: bool = False) -> bool:
    """Pass over options of these names; whether there were any. With `separator` up to the comma."""
    at = words.at
    while words.take(*known):
        words.take("=")
        words.next()
        if separator and words.next_is(","):
            break
    return words.at > at


def read_named(words: WordReader) -> tuple[str, str] | None:
    """The kind and name of the index that a clause of a table defines; None when it defines none.

    What stands next are the columns.  A name that is left to the source is "".
    """
    at = words.at
    is_constraint = words.take("CONSTRAINT")
    name = words.name() if is_constraint and not words.next_is("UNIQUE") else ""
    kind = read_index_kind(words)
    if is_constraint and kind != "UNIQUE":
        words.at = at
        return None
    is_index = words.take("INDEX") or words.take("KEY")
    if not is_index and kind == "":
        words.at = at
        return None
    if not words.next_is("(", "USING"):
        name = words.name()
    read_using(words)
    return kind, name


def read_index(
    words: WordReader, kind: str, name: str, *, taken: Collection[str] = ()
) -> tuple[str, list[IndexAction]]:
    """What follows the name, as what the target has of it; and the name.

    Without a name it gets that of its first column, unless some index has it: `taken`, in lower letters.
    """
    columns, is_whole = read_parts(words)
    read_using(words)
    read_options(words, INDEX_OPTIONS - {"ALGORITHM", "LOCK"})
    if not name:
        name = columns[0][0]
        if not name or name.lower() in taken or name.upper() == "PRIMARY":
            raise words.refused("its index has no name, so which one it gets is up to the source")
    if kind in ("FULLTEXT", "SPATIAL") or not is_whole:
        if kind == "UNIQUE":
            raise words.refused()
        return name, []  # as the copy leaves them out
    return name, [IndexAction("create", name, tuple(columns), is_unique=kind == "UNIQUE")]


def read_parts(words: WordReader) -> tuple[list[tuple[str, bool]], bool]:
    """The columns, and whether all parts are whole columns."""
    words.require("(")
    columns, is_whole = [], True
    while True:
        if words.next_is("("):
            words.skip_parentheses()
            is_whole = False
            name = ""
        else:
            name = words.name()
            if words.next_is("("):
                words.skip_parentheses()
                is_whole = False
        is_descending = words.take("DESC")
        if not is_descending:
            words.take("ASC")
        columns.append((name, is_descending))
        if words.take(")"):
            return columns, is_whole
        words.require(",")

"""Foreign keys and primary keys in a statement of the source, for a PostgreSQL target. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from towline.adapters.mysql.known_tables import KnownTables
from towline.adapters.mysql.postgres_ddl import shorten
from towline.adapters.mysql.postgres_indexes import read_parts, read_using
from towline.adapters.mysql.word_reader import WordReader
from towline.domain.tables import TableName

_CHANGES_ROWS: Final = ("CASCADE", "SET NULL")


@dataclass(frozen=True, slots=True)
class KeyAction:
    """`kind`: add or drop, a foreign key; or primary, the table gets this primary key instead of the one it has.

    `columns` and `parent_columns` may be in other letters than the target's.  `index`: what the source calls the index
    that it makes for a foreign key if it has none.
    """

    kind: str
    name: str = ""
    columns: tuple[str, ...] = ()
    parent: TableName | None = None
    parent_columns: tuple[str, ...] = ()
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    index: str = ""


@dataclass(frozen=True, slots=True)
class KeyWords:
    """What a clause says: a primary key's columns, or a foreign key, which is None if the copy would leave it out."""

    primary: tuple[str, ...] = ()
    foreign: KeyAction | None = None


def read_key(words: WordReader, known: KnownTables, *, database: str) -> KeyWords | None:
    """The key that a clause defines; None, and nothing is read, when it defines none. `database`: the session's.

    Raises: SourceDdl, it is not certain to mean the same on the target.
    """
    at = words.at
    name = ""
    if words.take("CONSTRAINT") and not words.next_is("PRIMARY", "FOREIGN"):
        name = words.name()
    if words.take_all("PRIMARY", "KEY"):
        return KeyWords(primary=_read_primary(words))
    if words.take_all("FOREIGN", "KEY"):
        return KeyWords(foreign=_read_foreign(words, name, known, database))
    words.at = at
    return None


def _read_primary(words: WordReader) -> tuple[str, ...]:
    read_using(words)
    parts, is_whole = read_parts(words)
    read_using(words)
    if not is_whole:
        raise words.refused("its key is of parts of columns")
    return tuple(name for name, _ in parts)


def _read_foreign(words: WordReader, name: str, known: KnownTables, database: str) -> KeyAction | None:
    if words.next_is("IF"):
        raise words.refused()
    index = name if words.next_is("(") else words.name()
    columns = _read_columns(words)
    words.require("REFERENCES")
    first, schema = words.name(), ""
    if words.take("."):
        first, schema = words.name(), first
    parent = known.as_stored(TableName(schema or database, first))
    parent_columns = _read_columns(words)
    if not name:
        raise words.refused("its foreign key has no name, so which one it gets is up to the source")
    actions = {"DELETE": "NO ACTION", "UPDATE": "NO ACTION"}
    while words.take("ON"):
        event = words.next().text.upper()
        if event not in actions:
            raise words.refused()
        actions[event] = _read_action(words)
    if not known.cascades_are_logged and any(action in _CHANGES_ROWS for action in actions.values()):
        raise words.refused("its foreign key changes rows without a word in the binlog")
    if parent not in known.forms and parent != words.statement.tables[0]:
        if known.takes(parent):
            raise words.refused(f"its foreign key refers to {parent}, which the job does not have yet")
        return None  # as the copy leaves it out
    return KeyAction(
        "add",
        shorten(name),
        columns,
        parent,
        parent_columns,
        on_delete=actions["DELETE"],
        on_update=actions["UPDATE"],
        index=index,
    )


def _read_columns(words: WordReader) -> tuple[str, ...]:
    parts, is_whole = read_parts(words)
    if not is_whole or any(is_descending for _, is_descending in parts):
        raise words.refused()
    return tuple(name for name, _ in parts)


def _read_action(words: WordReader) -> str:
    for action in ("RESTRICT", "CASCADE"):
        if words.take(action):
            return action
    for first, second in (("SET", "NULL"), ("NO", "ACTION")):
        if words.take_all(first, second):
            return f"{first} {second}"
    raise words.refused()

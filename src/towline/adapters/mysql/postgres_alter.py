"""DDL on a table of a job to PostgreSQL: what it does, from its words. Pure.

Nothing is rendered from a parser's tree: the words are read one by one, and one that is not known here makes the whole
statement one that stops the job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from towline.adapters.mysql.column_changes import ColumnAction, ColumnChange, change_columns
from towline.adapters.mysql.column_words import ColumnReader
from towline.adapters.mysql.known_tables import KnownTables
from towline.adapters.mysql.postgres_ddl import MAX_NAME_BYTES, shorten
from towline.adapters.mysql.postgres_indexes import (
    INDEX_OPTIONS,
    IndexAction,
    read_index,
    read_index_kind,
    read_named,
    read_options,
    read_using,
)
from towline.adapters.mysql.postgres_keys import KeyAction, read_key
from towline.adapters.mysql.source_form import PRIMARY, SourceForm
from towline.adapters.mysql.statement_context import StatementContext
from towline.adapters.mysql.statements import Statement, read_words
from towline.adapters.mysql.table_order import KeptForm, TableOrder
from towline.adapters.mysql.word_reader import WordReader

REMEDY: Final = (
    "End the job and start a new one; run such a statement before a job or after the switch-over. The guide to"
    " operation lists the statements that are carried."
)
_WHY: Final = "it has a word that is not carried"
# Options of a table that are about its storage on the source only.
STORAGE: Final = frozenset(
    {"COMMENT", "AUTO_INCREMENT", "ROW_FORMAT", "KEY_BLOCK_SIZE", "STATS_PERSISTENT", "STATS_AUTO_RECALC"}
    | {"STATS_SAMPLE_PAGES", "ALGORITHM", "LOCK", "AVG_ROW_LENGTH", "MAX_ROWS", "MIN_ROWS"}
)


def read_ddl(text: str, statement: Statement) -> WordReader:
    """The words of a statement whose unknown words stop the job."""
    return WordReader(read_words(text), statement, why=_WHY, remedy=REMEDY)


def plan_alter(
    words: WordReader, form: SourceForm, context: StatementContext, known: KnownTables, *, is_mariadb: bool
) -> TableOrder | None:
    """What ALTER TABLE, CREATE INDEX or DROP INDEX does to its table; None when nothing that the target has.

    Raises: SourceDdl, it is not certain to be the same on PostgreSQL.
    """
    statement = words.statement
    definitions = ColumnReader(words, context, charset=form.charset, is_mariadb=is_mariadb, is_plain=known.is_plain)
    reader = _Reader(words, form, definitions, known, database=context.database)
    reader.read()
    table = statement.tables[0]
    after, columns = form, list[ColumnAction]()
    if reader.changes:
        after, columns = change_columns(table, form, reader.changes, words.refused)
        require_names(after, words)
    after = _with_indexes(_with_primary(after, reader, words), reader)
    order = TableOrder(
        statement.summary,
        table,
        form.key,
        tuple(reader.indexes),
        tuple(columns),
        forms=(KeptForm(table, after),) if after != form else (),
        keys=tuple(reader.keys),
    )
    return None if order.is_empty else order


def require_names(form: SourceForm, words: WordReader) -> None:
    """Raises SourceDdl for the name of a column that PostgreSQL would cut off."""
    for column in form.columns:
        if len(column.name.encode()) > MAX_NAME_BYTES:
            raise words.refused(f"the name {column.name} is longer than PostgreSQL allows")


def _with_primary(form: SourceForm, reader: _Reader, words: WordReader) -> SourceForm:
    """With the primary key that the statement gives to the table, by the columns that it has afterwards."""
    primary = next((action for action in reader.keys if action.kind == "primary"), None)
    if primary is None:
        if reader.drops_primary:
            raise words.refused("it changes the table's key")
        return form
    columns = [form.find(name) for name in primary.columns]
    key = tuple(column.name for column in columns if column is not None)
    if len(key) < len(columns) or (PRIMARY in form.indexes and not reader.drops_primary):
        raise words.refused()
    return replace(form.with_indexes(added=(PRIMARY,)), key=key)


def _with_indexes(form: SourceForm, reader: _Reader) -> SourceForm:
    gone = frozenset(action.name.lower() for action in reader.indexes if action.kind != "create")
    added = [action.new_name or action.name for action in reader.indexes if action.kind != "drop"]
    return form.with_indexes(dropped=gone, added=(*added, *reader.unplaced))


class _Reader:
    """Gathers what the statement does to indexes and to columns."""

    def __init__(
        self, words: WordReader, form: SourceForm, definitions: ColumnReader, known: KnownTables, *, database: str
    ) -> None:
        self._words = words
        self._known = known
        self._database = database
        self._form = form
        self._definitions = definitions
        self.indexes: list[IndexAction] = []
        self.changes: list[ColumnChange] = []
        self.unplaced: list[str] = []  # indexes that the target does not have
        self.keys: list[KeyAction] = []
        self.drops_primary = False

    def read(self) -> None:
        words = self._words
        if words.take("ALTER"):
            self._alter()
        elif words.take("CREATE"):
            self._create_index()
        else:
            words.require("DROP")
            words.require("INDEX")
            self._drop_index()
            words.require("ON")
            words.table()
            read_options(words, INDEX_OPTIONS)
        words.require_end()

    def _create_index(self) -> None:
        words = self._words
        kind = read_index_kind(words)
        words.require("INDEX")
        name = words.name()
        read_using(words)
        words.require("ON")
        words.table()
        self._take_index(*read_index(words, kind, name))
        read_options(words, INDEX_OPTIONS)

    def _take_index(self, name: str, actions: list[IndexAction]) -> None:
        self.indexes += actions
        if not actions:
            self.unplaced.append(name)

    def _alter(self) -> None:
        words = self._words
        words.take("ONLINE")
        words.require("TABLE")
        words.table()
        self._clause()
        while words.take(","):
            self._clause()
        if sum(action.kind == "rename" for action in self.indexes) > 1:
            raise words.refused("its indexes may take each other's names")

    def _clause(self) -> None:
        words = self._words
        handler = next((_CLAUSES[word] for word in _CLAUSES if words.take(word)), None)
        if handler is not None:
            handler(self)
        elif words.take("FORCE"):
            pass
        elif words.take("ENGINE"):
            words.take("=")
            if words.name().upper() != "INNODB":
                raise words.refused()
        elif not read_options(words, STORAGE, separator=True):
            raise words.refused()

    # --- clauses of ALTER TABLE ---------------------------------------------------------------------

    def _add(self) -> None:
        words = self._words
        named = read_named(words)
        if named is not None:
            taken = {each.lower() for each in self._form.indexes}
            taken |= {action.new_name.lower() or action.name.lower() for action in self.indexes}
            self._take_index(*read_index(words, *named, taken=taken))
            return
        defined = read_key(words, self._known, database=self._database)
        if defined is not None:
            if defined.primary:
                self.keys.append(KeyAction("primary", columns=defined.primary))
            if defined.foreign is not None:
                self.keys.append(defined.foreign)
            return
        if words.next_is("CONSTRAINT", "CHECK", "PARTITION", "PERIOD", "SYSTEM"):
            raise words.refused()
        self._take_column_word()
        self._definitions.require_known_mode()
        if not words.take("("):
            self.changes.append(ColumnChange("", self._definitions.read(), after=self._place()))
            return
        self.changes.append(ColumnChange("", self._definitions.read()))
        while words.take(","):
            self.changes.append(ColumnChange("", self._definitions.read()))
        words.require(")")

    def _drop(self) -> None:
        words = self._words
        if words.take("INDEX", "KEY"):
            self._drop_index()
            return
        if words.take_all("PRIMARY", "KEY"):
            self.drops_primary = True
            return
        if words.take_all("FOREIGN", "KEY") and not words.next_is("IF"):
            self.keys.append(KeyAction("drop", shorten(words.name())))
            return
        if words.take("CHECK") and not words.next_is("IF"):
            words.name()  # the copy has left it out
            return
        if words.next_is("IF", "CONSTRAINT", "PARTITION", "SYSTEM", "PERIOD"):
            raise words.refused()
        self._take_column_word()
        name = words.name()
        words.take("RESTRICT", "CASCADE")
        self.changes.append(ColumnChange(name))

    def _rename(self) -> None:
        words = self._words
        if words.take("COLUMN"):
            name = words.name()
            words.require("TO")
            self.changes.append(ColumnChange(name, new_name=words.name()))
            return
        words.require("INDEX", "KEY")
        name = words.name()
        words.require("TO")
        self.indexes.append(IndexAction("rename", name, new_name=words.name()))

    def _change(self) -> None:
        words = self._words
        self._take_column_word()
        self._definitions.require_known_mode()
        name = words.name()
        self.changes.append(ColumnChange(name, self._definitions.read(), after=self._place()))

    def _modify(self) -> None:
        self._take_column_word()
        self._definitions.require_known_mode()
        definition = self._definitions.read()
        # The name may be in other letters than before, which it has from then on.
        self.changes.append(ColumnChange(definition.shape.name, definition, after=self._place()))

    def _take_column_word(self) -> None:
        """It may be left out; what follows must be a name and no condition."""
        self._words.take("COLUMN")
        if self._words.next_is("IF"):
            raise self._words.refused()

    def _place(self) -> str | None:
        if self._words.take("FIRST"):
            return ""
        return self._words.name() if self._words.take("AFTER") else None

    def _drop_index(self) -> None:
        name = self._words.name()
        if name.upper() == "PRIMARY":
            raise self._words.refused("it changes the table's key")
        self.indexes.append(IndexAction("drop", name))

    def _alter_column(self) -> None:
        words = self._words
        if words.next_is("INDEX", "CHECK", "CONSTRAINT"):
            raise words.refused()
        words.take("COLUMN")
        column = self._form.find(words.name())
        if column is None:
            raise words.refused("it has a column that the job does not know")
        if words.take_all("DROP", "DEFAULT"):
            self.changes.append(ColumnChange(column.name, default=""))
            return
        if not words.take_all("SET", "DEFAULT"):
            raise words.refused()
        self._definitions.require_known_mode()
        self.changes.append(ColumnChange(column.name, default=self._definitions.read_default(column)))


_CLAUSES: Final[dict[str, Callable[[_Reader], None]]] = {
    "ADD": _Reader._add,
    "ALTER": _Reader._alter_column,
    "DROP": _Reader._drop,
    "RENAME": _Reader._rename,
    "CHANGE": _Reader._change,
    "MODIFY": _Reader._modify,
}

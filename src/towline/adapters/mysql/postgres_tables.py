"""Tables that come, go and change names while a job to PostgreSQL follows its source. Pure.

A table that comes is known from its words alone, so nothing has to be copied: its rows follow in the binlog.  One that
is renamed must be of the job before and after; else rows would be missing, or left behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from towline.adapters.mysql.column_words import ColumnReader, ColumnWords
from towline.adapters.mysql.ddl_plan import LEAVES_REMEDY, say_outside
from towline.adapters.mysql.known_tables import KnownTables
from towline.adapters.mysql.postgres_alter import STORAGE, require_names
from towline.adapters.mysql.postgres_ddl import MAX_NAME_BYTES
from towline.adapters.mysql.postgres_indexes import (
    IndexAction,
    read_index,
    read_named,
    read_options,
)
from towline.adapters.mysql.postgres_keys import KeyAction, read_key
from towline.adapters.mysql.source_form import PRIMARY, SourceForm
from towline.adapters.mysql.statement_context import StatementContext
from towline.adapters.mysql.table_order import KeptForm, TableAction, TableOrder
from towline.adapters.mysql.word_reader import WordReader
from towline.domain.errors import SourceDdl
from towline.domain.tables import TableName


def plan_drop(words: WordReader, known: KnownTables) -> TableOrder | None:
    """None when it is about no table of the job."""
    words.require("DROP")
    words.require("TABLE", "TABLES")
    words.take_all("IF", "EXISTS")
    count = _read_list(words)
    words.take("RESTRICT", "CASCADE")
    words.require_end()
    if count != len(words.statement.tables):
        raise words.refused()
    gone = [table for table in dict.fromkeys(words.statement.tables) if table in known.forms]
    if not gone:
        return None
    return TableOrder(
        words.statement.summary,
        gone[0],
        tables=tuple(TableAction("drop", table) for table in gone),
        forms=tuple(KeptForm(table, None) for table in gone),
    )


def plan_rename(words: WordReader, known: KnownTables) -> TableOrder | None:
    """RENAME TABLE, and ALTER TABLE with nothing but a new name."""
    tables = words.statement.tables
    if words.take("ALTER"):
        words.require("TABLE")
        words.table()
        words.require("RENAME")
        words.take("TO", "AS")
        words.table()
        count = 2
    else:
        words.require("RENAME")
        words.require("TABLE", "TABLES")
        count = _read_list(words, separator="TO")
    words.require_end()
    if count != len(tables) or count % 2:
        raise words.refused()
    forms: dict[TableName, SourceForm | None] = dict(known.forms)
    changed: dict[TableName, SourceForm | None] = {}
    actions = []
    for old, new in zip(tables[::2], tables[1::2], strict=True):
        form = forms.get(old)
        if form is None and not known.takes(new):
            continue
        if form is None or not known.takes(new):
            outside = old if form is None else new
            raise _outside(words, outside, known)
        if old.schema != new.schema:
            raise words.refused("it moves a table to another database")
        if forms.get(new) is not None or len(new.name.encode()) > MAX_NAME_BYTES:
            raise words.refused(f"the name {new.name} is not free, or longer than PostgreSQL allows")
        forms[old], forms[new] = None, form
        changed[old], changed[new] = None, form
        actions.append(TableAction("rename", old, other=new, indexes=form.indexes))
    if not actions:
        return None
    kept = tuple(KeptForm(table, form) for table, form in changed.items())
    return TableOrder(words.statement.summary, actions[0].table, tables=tuple(actions), forms=kept)


def plan_create(
    words: WordReader, known: KnownTables, context: StatementContext, *, is_mariadb: bool
) -> TableOrder | None:
    """None for a table that is there already, and is not to be made then."""
    table = words.statement.tables[0]
    words.require("CREATE")
    words.require("TABLE")
    is_free = not words.take_all("IF", "NOT", "EXISTS")
    words.table()
    if table in known.forms:
        if is_free:
            raise words.refused("the job has a table of that name")
        return None
    if len(table.name.encode()) > MAX_NAME_BYTES:
        raise words.refused(f"the name {table.name} is longer than PostgreSQL allows")
    is_in_parentheses = words.take_all("(", "LIKE")
    if is_in_parentheses or words.take("LIKE"):
        return _plan_likeness(words, table, known, context, is_in_parentheses=is_in_parentheses)
    return _TableReader(words, table, known, context, is_mariadb=is_mariadb).read()


def _plan_likeness(
    words: WordReader, table: TableName, known: KnownTables, context: StatementContext, *, is_in_parentheses: bool
) -> TableOrder:
    first, schema = words.name(), ""
    if words.take("."):
        first, schema = words.name(), first
    if is_in_parentheses:
        words.require(")")
    words.require_end()
    model = known.as_stored(TableName(schema or context.database, first))
    form = known.forms.get(model)
    if form is None:
        raise _outside(words, model, known)
    if model.schema != table.schema:
        raise words.refused("it is made like a table of another database")
    action = TableAction("copy", table, other=model, indexes=form.indexes)
    return TableOrder(
        words.statement.summary,
        table,
        tables=(action,),
        forms=(KeptForm(table, replace(form, is_made=True)),),
    )


def _outside(words: WordReader, table: TableName, known: KnownTables) -> SourceDdl:
    return words.refused(say_outside(table, is_taken=known.takes(table)), remedy=LEAVES_REMEDY)


def _read_list(words: WordReader, *, separator: str = ",") -> int:
    """How many names a list has, separated by commas, or by `separator` and commas in turn."""
    count = 0
    while True:
        words.table()
        count += 1
        if not words.take(separator if count % 2 else ","):
            return count


class _TableReader:
    """Reads what stands in the parentheses of CREATE TABLE, and behind them."""

    def __init__(
        self,
        words: WordReader,
        table: TableName,
        known: KnownTables,
        context: StatementContext,
        *,
        is_mariadb: bool,
    ) -> None:
        self._words = words
        self._table = table
        self._known = known
        self._charset = known.charsets.get(table.schema, "")
        self._context = context
        self._is_mariadb = is_mariadb
        self._comment = ""
        self._columns: list[ColumnWords] = []
        self._key: tuple[str, ...] = ()
        self._indexes: list[IndexAction] = []
        self._unplaced: list[str] = []  # indexes that the target does not have
        self._foreign: list[KeyAction] = []

    def read(self) -> TableOrder:
        words = self._words
        begin = words.at
        if not words.next_is("("):
            raise words.refused()
        # What columns have by default stands behind them.
        words.skip_parentheses()
        self._read_options()
        end = words.at
        words.at = begin + 1
        self._read_elements()
        words.at = end
        words.require_end()
        return self._order()

    # --- words --------------------------------------------------------------------------------------

    def _read_options(self) -> None:
        words = self._words
        definitions = self._definitions()
        while words.word() is not None:
            if words.take(","):
                continue
            is_default = words.take("DEFAULT")
            if words.take_all("CHARACTER", "SET") or words.take("CHARSET"):
                words.take("=")
                self._charset = words.name().lower()
            elif words.take("COLLATE"):
                words.take("=")
                self._charset = definitions.charset_of(words.name())
            elif is_default:
                raise words.refused()
            elif words.take("ENGINE"):
                words.take("=")
                if words.name().upper() != "INNODB":
                    raise words.refused()
            elif words.take("COMMENT"):
                words.take("=")
                self._comment = definitions.text_of(words.next())
            elif words.next_is("AS", "SELECT", "IGNORE", "REPLACE"):
                raise words.refused("the table comes with rows")
            elif not read_options(words, STORAGE - {"COMMENT"}, separator=True):
                raise words.refused()

    def _definitions(self) -> ColumnReader:
        definitions = ColumnReader(
            self._words,
            self._context,
            charset=self._charset,
            is_mariadb=self._is_mariadb,
            is_plain=self._known.is_plain,
        )
        definitions.require_known_mode()
        return definitions

    def _read_elements(self) -> None:
        words = self._words
        definitions = self._definitions()
        while True:
            self._read_element(definitions)
            if words.take(")"):
                return
            words.require(",")

    def _read_element(self, definitions: ColumnReader) -> None:
        words = self._words
        defined = read_key(words, self._known, database=self._context.database)
        if defined is not None:
            if defined.primary:
                self._set_key(defined.primary)
            if defined.foreign is not None:
                self._foreign.append(defined.foreign)
            return
        named = read_named(words)
        if named is not None:
            name, actions = read_index(words, *named, taken=self._taken())
            self._indexes += actions
            if not actions:
                self._unplaced.append(name)
            return
        if words.next_is("CONSTRAINT", "FOREIGN", "CHECK", "PERIOD", "LIKE"):
            raise words.refused()
        column = definitions.read()
        self._columns.append(column)
        if column.is_primary:
            self._set_key((column.shape.name,))
        if column.is_unique:
            self._indexes.append(
                IndexAction("create", column.shape.name, ((column.shape.name, False),), is_unique=True)
            )

    def _set_key(self, key: tuple[str, ...]) -> None:
        if self._key:
            raise self._words.refused("it has two keys")
        self._key = key

    def _taken(self) -> set[str]:
        return {action.name.lower() for action in self._indexes} | {name.lower() for name in self._unplaced}

    # --- what it makes ------------------------------------------------------------------------------

    def _order(self) -> TableOrder:
        words, table = self._words, self._table
        names = {column.shape.name.lower(): column.shape.name for column in self._columns}
        mentioned = [*self._key, *(name for action in self._indexes for name, _ in action.columns)]
        mentioned += [name for action in self._foreign for name in action.columns]
        indexes = [*self._indexes_in_form()]
        if len(names) < len(self._columns) or any(name.lower() not in names for name in mentioned):
            raise words.refused()
        if len({name.lower() for name in indexes}) < len(indexes):
            raise words.refused("which names its indexes get is up to the source")
        key = tuple(names[name.lower()] for name in self._key)
        columns = [replace(each, is_nullable=each.is_nullable and each.shape.name not in key) for each in self._columns]
        comments = [(column.shape.name, column.comment) for column in columns if column.comment]
        form = SourceForm(
            tuple(column.shape for column in columns),
            key=key or self._other_key(columns, names),
            charset=self._charset,
            indexes=tuple(indexes),
            is_made=True,
        )
        require_names(form, words)
        action = TableAction(
            "create",
            table,
            columns=tuple(column.render(table) for column in columns),
            key=key,
            comments=(("", self._comment), *comments) if self._comment else tuple(comments),
        )
        return TableOrder(
            words.statement.summary,
            table,
            form.key,
            tuple(self._indexes),
            tables=(action,),
            forms=(KeptForm(table, form),),
            keys=tuple(self._foreign),
        )

    def _indexes_in_form(self) -> Iterator[str]:
        if self._key:
            yield PRIMARY
        yield from (action.name for action in self._indexes)
        yield from self._unplaced

    def _other_key(self, columns: list[ColumnWords], names: Mapping[str, str]) -> tuple[str, ...]:
        """The columns of a unique index that are never NULL, as the catalog would have been asked for them."""
        nullable = {column.shape.name for column in columns if column.is_nullable}
        for action in sorted(self._indexes, key=lambda action: action.name):
            key = tuple(names[name.lower()] for name, _ in action.columns)
            if action.is_unique and not nullable.intersection(key):
                return key
        return ()

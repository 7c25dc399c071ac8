"""DDL that leaves the columns of a table as they are, for a PostgreSQL target: what it does, from its words. Pure.

Rows of a job to PostgreSQL are decoded by the source's catalog, which is of now.  Statements about indexes change
nothing there, so they can be carried whenever they come; others stop the job.  Nothing is rendered from a parser's
tree: the words are read one by one, and one that is not known here makes the whole statement one that stops the job.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from towline.adapters.mysql.ddl_plan import refuse
from towline.adapters.mysql.statements import Statement, Token, read_words
from towline.domain.errors import SourceDdl
from towline.domain.tables import TableName

_REMEDY: Final = (
    "End the job and start a new one; run such a statement before a job or after the switch-over. Statements about"
    " named indexes of whole columns are carried."
)
# Options of a table that are about its storage on the source only.
_STORAGE: Final = frozenset(
    {"COMMENT", "AUTO_INCREMENT", "ROW_FORMAT", "KEY_BLOCK_SIZE", "STATS_PERSISTENT", "STATS_AUTO_RECALC"}
    | {"STATS_SAMPLE_PAGES", "ALGORITHM", "LOCK", "AVG_ROW_LENGTH", "MAX_ROWS", "MIN_ROWS"}
)
_INDEX_OPTIONS: Final = frozenset({"COMMENT", "KEY_BLOCK_SIZE", "ALGORITHM", "LOCK"})


@dataclass(frozen=True, slots=True)
class IndexAction:
    """`kind`: create, drop or rename. `columns` with whether they are descending; `new_name` of a renaming."""

    kind: str
    name: str
    columns: tuple[tuple[str, bool], ...] = ()
    is_unique: bool = False
    new_name: str = ""


@dataclass(frozen=True, slots=True)
class IndexOrder:
    """The actions of one statement on one table; `key` names the columns by which the stream finds its rows."""

    summary: str
    table: TableName
    key: tuple[str, ...]
    actions: tuple[IndexAction, ...]

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> IndexOrder:
        known = json.loads(data)
        actions = tuple(
            IndexAction(
                each["kind"],
                each["name"],
                tuple((name, is_descending) for name, is_descending in each["columns"]),
                each["is_unique"],
                each["new_name"],
            )
            for each in known["actions"]
        )
        return cls(known["summary"], TableName(**known["table"]), tuple(known["key"]), actions)


def plan_index_ddl(text: str, statement: Statement, *, key: Sequence[str]) -> IndexOrder | None:
    """What the statement does to the indexes of its table; None when nothing that the target has.

    Raises: SourceDdl, it does something else, or is not certain to be the same on PostgreSQL.
    """
    reader = _Reader(read_words(text), statement)
    if len(statement.tables) != 1:
        raise reader.refused()
    actions = reader.read()
    return IndexOrder(statement.summary, statement.tables[0], tuple(key), tuple(actions)) if actions else None


class _Reader:
    def __init__(self, words: Sequence[Token], statement: Statement) -> None:
        self._words = [word for word in words if word.is_quoted or word.text != ";"]
        self._statement = statement
        self._at = 0

    def refused(self, why: str = "it is not only about indexes of whole columns") -> SourceDdl:
        return refuse(self._statement, why, _REMEDY)

    def read(self) -> list[IndexAction]:
        if self._take("ALTER"):
            return self._alter()
        if self._take("CREATE"):
            if self._take("OR"):
                raise self.refused()
            return self._create_index()
        if self._take("DROP"):
            self._require("INDEX")
            action = self._drop()
            self._require("ON")
            self._table()
            self._options(_INDEX_OPTIONS, separator=False)
            return [action]
        raise self.refused()

    # --- statements ---------------------------------------------------------------------------------

    def _create_index(self) -> list[IndexAction]:
        kind = self._index_kind()
        self._require("INDEX")
        name = self._name()
        self._using()
        self._require("ON")
        self._table()
        actions = self._index(kind, name)
        self._options(_INDEX_OPTIONS, separator=False)
        return actions

    def _alter(self) -> list[IndexAction]:
        self._take("ONLINE")
        self._require("TABLE")
        self._table()
        actions = self._action()
        while self._take(","):
            actions += self._action()
        if self._word() is not None:
            raise self.refused()
        if sum(action.kind == "rename" for action in actions) > 1:
            raise self.refused("its indexes may take each other's names")
        return actions

    def _action(self) -> list[IndexAction]:
        if self._take("ADD"):
            return self._add()
        if self._take("DROP"):
            self._require("INDEX", "KEY")
            return [self._drop()]
        if self._take("RENAME"):
            self._require("INDEX", "KEY")
            name = self._name()
            self._require("TO")
            return [IndexAction("rename", name, new_name=self._name())]
        if self._take("FORCE"):
            return []
        if self._take("ENGINE"):
            self._take("=")
            if self._name().upper() != "INNODB":
                raise self.refused()
            return []
        if not self._options(_STORAGE, separator=True):
            raise self.refused()
        return []

    def _drop(self) -> IndexAction:
        name = self._name()
        if name.upper() == "PRIMARY":
            raise self.refused("it changes the table's key")
        return IndexAction("drop", name)

    def _add(self) -> list[IndexAction]:
        is_constraint = self._take("CONSTRAINT")
        name = self._name() if is_constraint and not self._next_is("UNIQUE") else ""
        kind = self._index_kind()
        if is_constraint and kind != "UNIQUE":
            raise self.refused()
        is_named_index = self._take("INDEX") or self._take("KEY")
        if not is_named_index and kind == "":
            raise self.refused()
        if not self._next_is("(", "USING"):
            name = self._name()
        if not name:
            raise self.refused("its index has no name, so which one it gets is up to the source")
        self._using()
        return self._index(kind, name)

    def _index(self, kind: str, name: str) -> list[IndexAction]:
        columns, is_whole = self._columns()
        self._using()
        self._options(_INDEX_OPTIONS - {"ALGORITHM", "LOCK"}, separator=False)
        if kind in ("FULLTEXT", "SPATIAL") or not is_whole:
            if kind == "UNIQUE":
                raise self.refused()
            return []  # as the copy leaves them out
        return [IndexAction("create", name, tuple(columns), is_unique=kind == "UNIQUE")]

    # --- words --------------------------------------------------------------------------------------

    def _columns(self) -> tuple[list[tuple[str, bool]], bool]:
        """The columns, and whether all parts are whole columns."""
        self._require("(")
        columns, is_whole = [], True
        while True:
            if self._next_is("("):
                self._skip_parentheses()
                is_whole = False
                name = ""
            else:
                name = self._name()
                if self._next_is("("):
                    self._skip_parentheses()
                    is_whole = False
            is_descending = self._take("DESC")
            if not is_descending:
                self._take("ASC")
            columns.append((name, is_descending))
            if self._take(")"):
                return columns, is_whole
            self._require(",")

    def _skip_parentheses(self) -> None:
        depth = 0
        while True:
            word = self._next()
            if not word.is_quoted:
                depth += {"(": 1, ")": -1}.get(word.text, 0)
            if depth == 0:
                return

    def _index_kind(self) -> str:
        return next((kind for kind in ("UNIQUE", "FULLTEXT", "SPATIAL") if self._take(kind)), "")

    def _using(self) -> None:
        if self._take("USING"):
            self._require("BTREE", "HASH")

    def _options(self, known: frozenset[str], *, separator: bool) -> bool:
        """Pass over options of these names; whether there were any."""
        at = self._at
        while self._take(*known):
            self._take("=")
            self._next()
            if separator and self._next_is(","):
                break
        is_about_index = self._statement.summary.split()[1] == "INDEX"
        if is_about_index and self._word() is not None and not self._next_is(*_INDEX_OPTIONS):
            # What is left of CREATE INDEX and DROP INDEX are their own options only.
            raise self.refused()
        return self._at > at

    def _table(self) -> None:
        self._name()
        if self._take("."):
            self._name()

    def _name(self) -> str:
        word = self._next()
        if not word.is_quoted and not (word.text[0].isalnum() or word.text[0] in "_$" or ord(word.text[0]) > 0x7F):
            raise self.refused()
        return word.text

    def _word(self) -> Token | None:
        return self._words[self._at] if self._at < len(self._words) else None

    def _next(self) -> Token:
        word = self._word()
        if word is None:
            raise self.refused()
        self._at += 1
        return word

    def _next_is(self, *words: str) -> bool:
        word = self._word()
        return word is not None and word.is_word(*words)

    def _take(self, *words: str) -> bool:
        if not self._next_is(*words):
            return False
        self._at += 1
        return True

    def _require(self, *words: str) -> None:
        if not self._take(*words):
            raise self.refused()

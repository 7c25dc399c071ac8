"""What the target does for one DDL statement of the source. Pure.

The statement itself is what runs on the target; here it is only judged, from its words, whether that is certain to do
the same there, and cut into steps where a crash in the middle could not be told from its begin or its end:

- RENAME TABLE of several tables is one step per table: two tables of one form that swap their names look the same
  before and after, but each single renaming makes a name come and another one go;
- DROP TABLE of several tables is one step per table, as MariaDB drops them one by one.

Whatever is not certain stops the job: rows that would be numbered or filled in by each server in its own way, tables
or rows that come from outside of the job or leave it, engines without transactions, foreign keys that change rows
below the binlog.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from towline.adapters.mysql.quoting import qualified
from towline.adapters.mysql.renamed_sql import find_mentioned
from towline.adapters.mysql.statements import Statement, Token, read_words
from towline.domain.errors import Side, SourceDdl
from towline.domain.tables import NameMap, TableName

Covers = Callable[[TableName], bool]

LEAVES_REMEDY: Final = (
    "End the job and start a new one that has all the tables concerned; a job on a whole database follows tables that"
    " take each other's place, one on single tables those that gh-ost and pt-online-schema-change make while it runs."
)
_NEW_JOB_REMEDY: Final = "End the job and start a new one; run such a statement before a job or after the switch-over."
# What each server computes for itself; with rows in the table the two would differ.
_OF_THE_SERVER: Final = frozenset(
    {"UUID", "UUID_SHORT", "UUID_V4", "UUID_V7", "SYS_GUID", "RAND", "RANDOM_BYTES", "NEXTVAL", "LASTVAL", "SETVAL"}
    | {"USER", "CURRENT_USER", "SESSION_USER", "SYSTEM_USER", "CURRENT_ROLE", "CONNECTION_ID", "LAST_INSERT_ID"}
    | {"VERSION", "DATABASE", "SCHEMA", "SYSDATE", "ROW_COUNT", "FOUND_ROWS", "LOAD_FILE", "BENCHMARK", "SLEEP"}
)
_OTHER_ENGINES: Final = frozenset(
    {"MYISAM", "ARIA", "MEMORY", "HEAP", "CSV", "ARCHIVE", "MERGE", "MRG_MYISAM", "FEDERATED", "FEDERATEDX"}
    | {"BLACKHOLE", "NDB", "NDBCLUSTER", "CONNECT", "SPIDER", "S3", "COLUMNSTORE", "OQGRAPH", "SPHINX", "MROONGA"}
)
_ROW_MOVERS: Final = (("EXCHANGE", "PARTITION"), ("CONVERT", "PARTITION"), ("CONVERT", "TABLE"))


@dataclass(frozen=True, slots=True)
class DdlStep:
    """`sql` None: the source's own statement.  `tables` and `schema` are what tells whether the step was taken."""

    sql: str | None
    tables: tuple[TableName, ...]
    schema: str = ""


@dataclass(frozen=True, slots=True)
class DdlOrder:
    """A statement for the target: its steps, the session for it, and all tables that may come, go or change by it."""

    summary: str
    steps: tuple[DdlStep, ...]
    tables: tuple[TableName, ...]
    database: str = ""
    settings: Mapping[str, str] | None = None
    must_be_empty: bool = False  # the table; else rows would get values that differ from the source's

    def encode(self) -> bytes:
        return json.dumps(
            {
                "summary": self.summary,
                "steps": [[step.sql, _pairs(step.tables), step.schema] for step in self.steps],
                "tables": _pairs(self.tables),
                "database": self.database,
                "settings": dict(self.settings or {}),
                "must_be_empty": self.must_be_empty,
            }
        ).encode()

    @classmethod
    def decode(cls, data: bytes | str) -> DdlOrder:
        known = json.loads(data)
        return cls(
            summary=known["summary"],
            steps=tuple(DdlStep(sql, _names(tables), schema) for sql, tables, schema in known["steps"]),
            tables=_names(known["tables"]),
            database=known["database"],
            settings=known["settings"],
            must_be_empty=known["must_be_empty"],
        )


def plan_ddl(
    text: str, statement: Statement, *, database: str, covers: Covers, takes: Covers, cascades_are_logged: bool
) -> DdlOrder | None:
    """The order for a DDL statement; None when it is about nothing of the job.

    `statement` is what `read_statement` made of `text`, with the names as the catalog has them;
    `database` is the session's.  `covers` says whether
    the job has, or would have, a table; a database is asked for by an empty table name.  `takes`: whether it goes on
    with a table that comes to be, or that one of its own is renamed to; all that it covers, and shadows of it.

    Raises: SourceDdl, the job cannot go on past it.
    """
    judge = _Judge(read_words(text), statement, database, covers, takes, cascades_are_logged)
    verb, kind = statement.summary.split(" ", 2)[:2]
    if kind == "DATABASE":
        return judge.database(verb)
    if not any(map(covers, statement.tables)) and not (verb == "CREATE" and any(map(takes, statement.tables))):
        return None
    if kind == "INDEX":
        return judge.whole()
    return {"ALTER": judge.alter, "CREATE": judge.create, "DROP": judge.drop, "RENAME": judge.rename}[verb]()


@dataclass(frozen=True, slots=True)
class _Judge:
    words: Sequence[Token]
    statement: Statement
    default_schema: str
    covers: Covers
    takes: Covers
    cascades_are_logged: bool

    def database(self, verb: str) -> DdlOrder | None:
        (schema,) = self.statement.schemas
        if not self.covers(TableName(schema, "")):
            return None
        if verb == "DROP":
            raise self._refused("it drops what the job is about", "End the job, or restore the database on the source.")
        return DdlOrder(self.statement.summary, (DdlStep(None, (), schema),), ())

    def whole(self, *, must_be_empty: bool = False) -> DdlOrder:
        tables = tuple(dict.fromkeys(self.statement.tables))
        return DdlOrder(self.statement.summary, (DdlStep(None, tables),), tables, must_be_empty=must_be_empty)

    def alter(self) -> DdlOrder:
        if any(self._has(*pair) for pair in _ROW_MOVERS):
            raise self._refused("it moves rows between tables")
        if self._has("DISCARD") or self._has("IMPORT"):
            raise self._refused("it takes the table's rows from a file")
        if any(token.is_word("IGNORE") for token in self.words[1:3]):
            raise self._refused("which rows it keeps is up to each server")
        self._require_inside(*self.statement.tables)
        self._require_followable()
        # Each server numbers and fills in the rows that are there in its own way.
        adds = self._has("ADD") or self._has("MODIFY") or self._has("CHANGE")
        return self.whole(must_be_empty=adds and (self._numbers_rows() or self._has_own_values()))

    def create(self) -> DdlOrder:
        if self._has("SELECT") or self._has("START", "TRANSACTION"):
            raise self._refused("the table comes with rows", "Create tables and fill them in two statements.")
        if self._has("VERSIONING"):
            raise self._refused("rows of a table with system versioning cannot be followed")
        model = self._model()
        if model is not None and not self.covers(model):
            raise self._refused(f"it is made like {model}, which the job does not have", LEAVES_REMEDY)
        self._require_followable()
        return self.whole()

    def drop(self) -> DdlOrder:
        names, rest = self._listed(separators=(",",))
        if rest not in ([], ["RESTRICT"], ["CASCADE"]) or names != len(self.statement.tables):
            raise self._unreadable()
        tables = tuple(dict.fromkeys(table for table in self.statement.tables if self.covers(table)))
        steps = tuple(DdlStep(f"DROP TABLE IF EXISTS {qualified(table)}", (table,)) for table in tables)
        return DdlOrder(self.statement.summary, steps, tables)

    def rename(self) -> DdlOrder:
        names, rest = self._listed(separators=("TO", ","))
        tables = self.statement.tables
        if rest or names != len(tables) or len(tables) % 2 or self._has("IF", "EXISTS"):
            raise self._unreadable()
        pairs = list(zip(tables[::2], tables[1::2], strict=True))
        for number, pair in enumerate(pairs):
            self._require_inside(*pair, made={new for _, new in pairs[:number]})
        steps = tuple(DdlStep(f"RENAME TABLE {qualified(old)} TO {qualified(new)}", (old, new)) for old, new in pairs)
        return DdlOrder(self.statement.summary, steps, tuple(dict.fromkeys(tables)))

    # --- what is asked of the words ----------------------------------------------------------------

    def _require_inside(self, old: TableName, *new: TableName, made: Collection[TableName] = ()) -> None:
        """A table that takes part is of the job, or the statement `made` it so, and goes on under a name that is."""
        is_known = self.covers(old) or old in made
        outside = [each for each in new if not self.takes(each)] if is_known else [old]
        if outside:
            raise self._refused(say_outside(outside[0], is_taken=self.takes(outside[0])), LEAVES_REMEDY)

    def _require_followable(self) -> None:
        if not self.cascades_are_logged and any(self._cascades()):
            raise self._refused("its foreign key changes rows without a word in the binlog")
        for number, token in enumerate(self.words[:-1]):
            if token.is_word("ENGINE", "TYPE"):
                after = [each for each in self.words[number + 1 : number + 3] if each.text != "="]
                if after and after[0].text.strip("'").upper() in _OTHER_ENGINES:
                    raise self._refused(f"tables of {after[0].text} have no transactions, so a crash would lose rows")

    def _cascades(self) -> Iterator[bool]:
        for number, token in enumerate(self.words[:-2]):
            if token.is_word("ON") and self.words[number + 1].is_word("DELETE", "UPDATE"):
                yield self.words[number + 2].is_word("CASCADE", "SET")

    def _numbers_rows(self) -> bool:
        for number, token in enumerate(self.words):
            following = self.words[number + 1].text if number + 1 < len(self.words) else ""
            is_option = following == "=" or following.isdecimal()
            if token.is_word("AUTO_INCREMENT", "SERIAL") and not is_option:
                return True
        return False

    def _has_own_values(self) -> bool:
        if not self._has("DEFAULT"):
            return False
        calls = zip(self.words, self.words[1:], self.words[2:], strict=False)
        return self._has("NEXT", "VALUE") or any(
            (before.text in ("(", ",", "+") or before.is_word("DEFAULT"))
            and token.is_word(*_OF_THE_SERVER)
            and (after.text == "(" or token.is_word("CURRENT_USER", "CURRENT_ROLE"))
            for before, token, after in calls
        )

    def _model(self) -> TableName | None:
        """The table that another one is made like."""
        for number, token in enumerate(self.words[:-1]):
            if token.is_word("LIKE") and not self._is_inside_definitions(number):
                rest = self.words[number + 1 :]
                if len(rest) > 2 and rest[1].text == ".":
                    return TableName(rest[0].text, rest[2].text)
                return TableName(self.default_schema, rest[0].text)
        return None

    def _is_inside_definitions(self, number: int) -> bool:
        """LIKE of a CHECK or DEFAULT stands in parentheses, behind other words than the first."""
        opened = [each.text for each in self.words[:number]]
        return opened.count("(") > opened.count(")") and opened[-1] != "("

    def _listed(self, *, separators: Sequence[str]) -> tuple[int, list[str]]:
        """How many names the list of a DROP or RENAME has, and the words behind it."""
        words = list(self.words[1:])
        while words and words[0].is_word("TABLE", "TABLES", "IF", "EXISTS"):
            words.pop(0)
        count = 0
        while words:
            words = words[3:] if len(words) > 2 and words[1].text == "." and not words[1].is_quoted else words[1:]
            count += 1
            wanted = separators[(count - 1) % len(separators)]
            if not words or words[0].text.upper() != wanted or words[0].is_quoted:
                break
            words.pop(0)
        return count, [word.text.upper() for word in words if word.text != ";"]

    def _has(self, *sequence: str) -> bool:
        size = len(sequence)
        return any(
            all(token.is_word(word) for token, word in zip(self.words[at : at + size], sequence, strict=True))
            for at in range(len(self.words) - size + 1)
        )

    def _refused(self, why: str, remedy: str = _NEW_JOB_REMEDY) -> SourceDdl:
        return refuse(self.statement, why, remedy)

    def _unreadable(self) -> SourceDdl:
        return self._refused("its form is not known here")


def require_same_names(text: str, statement: Statement, *, database: str, names: NameMap) -> None:
    """Raises SourceDdl when the statement has to do with what is called otherwise on the target.

    Its text names the source's tables and may leave their database to the session, so it would not do the same there.
    """
    taken = {each.target for each in names.tables}
    renamed = [str(table) for table in statement.tables if names.target_name(table) != table or table in taken]
    renamed += [schema for schema in (*statement.schemas, database) if names.target_schema(schema) != schema]
    renamed += [mentioned] if (mentioned := find_mentioned(text, names)) else []
    if renamed:
        raise refuse(statement, f"{renamed[0]} has, or is, another name on the target")


def say_outside(table: TableName, *, is_taken: bool) -> str:
    """Why the job does not have a table that takes part in a statement. `is_taken`: it could have had it."""
    if is_taken:
        return f"the job has not followed {table} since it was made, so its rows are not all on the target"
    return f"{table} does not belong to the job"


def refuse(statement: Statement, why: str, remedy: str = _NEW_JOB_REMEDY) -> SourceDdl:
    """The error for a statement that the job cannot go on past."""
    return SourceDdl(
        f"the source ran {statement.summary}, which is not carried: {why}", side=Side.SOURCE, remedy=remedy
    )


def _pairs(tables: Sequence[TableName]) -> list[tuple[str, str]]:
    return [(table.schema, table.name) for table in tables]


def _names(pairs: Sequence[Sequence[str]]) -> tuple[TableName, ...]:
    return tuple(TableName(schema, name) for schema, name in pairs)

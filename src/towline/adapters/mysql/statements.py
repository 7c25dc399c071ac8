"""What a statement in the binlog does, as far as the stream has to know. Pure.

With row events for all changes of rows, statements are DDL, limits of transactions, and housekeeping.  Only the head
of a statement is read: its verb and the names of the tables and databases that it is about.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from towline.domain.tables import TableName


class Verb(Enum):
    """What a statement means for the stream."""

    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SAVEPOINT = "savepoint"
    ROLLBACK_TO = "rollback to"
    XA_START = "xa start"
    XA_END = "xa end"
    XA_PREPARE = "xa prepare"
    XA_COMMIT = "xa commit"
    XA_ROLLBACK = "xa rollback"
    EMPTY_TABLE = "empty table"  # TRUNCATE, and DELETE as the server writes it for MEMORY tables
    CHANGE_ROWS = "change rows"  # would have been row events with binlog_format = ROW
    DDL = "ddl"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Statement:
    """`tables` and `schemas` are those that DDL is about; `name` is a savepoint's, or an XA transaction's."""

    verb: Verb
    summary: str = ""
    tables: tuple[TableName, ...] = ()
    schemas: tuple[str, ...] = ()
    name: str = ""


_TOKEN = re.compile(
    r"""\s+
    | --[ \t][^\n]*\n? | \#[^\n]*\n? | /\*(?![!M]).*?\*/        # comments
    | /\*M?!\d*|\*/                                             # the marks around conditional parts, whose text counts
    | (?P<quoted>`(?:[^`]|``)*`|"(?:[^"\\]|""|\\.)*")
    | (?P<text>'(?:[^'\\]|''|\\.)*')
    | (?P<word>[\w$\u0080-\uffff@]+)
    | (?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_MAX_HEAD_CHARS: Final = 100_000
_TRANSACTION_VERBS: Final = {"BEGIN": Verb.BEGIN, "COMMIT": Verb.COMMIT, "SAVEPOINT": Verb.SAVEPOINT}
_XA_VERBS: Final = {
    "START": Verb.XA_START,
    "BEGIN": Verb.XA_START,
    "END": Verb.XA_END,
    "PREPARE": Verb.XA_PREPARE,
    "COMMIT": Verb.XA_COMMIT,
    "ROLLBACK": Verb.XA_ROLLBACK,
}
# A function that changes rows is logged as the SELECT of its call, whatever called it.
_ROW_VERBS: Final = frozenset({"INSERT", "UPDATE", "REPLACE", "LOAD", "WITH", "CALL", "SELECT", "DO"})
# Behind ANALYZE; any other word begins a statement that MariaDB carries out to see what it does.
_ANALYZED: Final = frozenset({"TABLE", "TABLES", "LOCAL", "NO_WRITE_TO_BINLOG"})
_DDL_VERBS: Final = frozenset({"CREATE", "ALTER", "DROP", "RENAME"})
# Words that may stand between the verb and the kind of object, or between the kind and the name.
_NOISE: Final = frozenset(
    {"OR", "REPLACE", "UNIQUE", "FULLTEXT", "SPATIAL", "ONLINE", "OFFLINE", "IGNORE", "IF", "NOT", "EXISTS", "WAIT"}
    | {"NOWAIT", "VECTOR"}
)
_SCHEMA_WORDS: Final = frozenset({"DATABASE", "SCHEMA"})


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a statement; a quoted name without its quotes, a text in single quotes with them.

    `quote`: the character that it is quoted with, "" without.
    """

    text: str
    quote: str = ""

    @property
    def is_quoted(self) -> bool:
        return bool(self.quote)

    def is_word(self, *words: str) -> bool:
        return not self.is_quoted and self.text.upper() in words


def read_statement(text: str, default_schema: str) -> Statement:
    """What the statement does when `default_schema` is the session's database."""
    tokens = read_words(text[:_MAX_HEAD_CHARS])
    if not tokens:
        return Statement(Verb.OTHER)
    word = tokens[0].text.upper()
    if word == "XA" and len(tokens) > 1:
        return Statement(_XA_VERBS.get(tokens[1].text.upper(), Verb.OTHER), name=_xa_name(tokens[2:]))
    if word in _TRANSACTION_VERBS:
        return Statement(_TRANSACTION_VERBS[word], name=tokens[1].text if len(tokens) > 1 else "")
    if word == "ROLLBACK":
        is_to = any(token.is_word("TO") for token in tokens[1:])
        return Statement(Verb.ROLLBACK_TO if is_to else Verb.ROLLBACK, name=tokens[-1].text)
    if word == "TRUNCATE":
        rest = tokens[2:] if tokens[1:] and tokens[1].is_word("TABLE") else tokens[1:]
        return _about(Verb.EMPTY_TABLE, "TRUNCATE TABLE", _read_names(rest, default_schema)[:1])
    if word == "DELETE":
        return _read_delete(tokens, default_schema)
    if word in _ROW_VERBS or (word == "ANALYZE" and tokens[1:] and not tokens[1].is_word(*_ANALYZED)):
        return Statement(Verb.CHANGE_ROWS, word)
    if word in _DDL_VERBS:
        return _read_ddl(tokens, default_schema)
    return Statement(Verb.OTHER, word)


def _read_delete(tokens: list[Token], default_schema: str) -> Statement:
    """The server empties a MEMORY table by its full name, quoted, and with nothing behind it.

    Everything else is a client's: it may be about a partition only, and its triggers' changes are not logged.
    """
    quotes = [token.quote for token in tokens[2:]]
    if tokens[1:] and tokens[1].is_word("FROM") and quotes in (["`", "", "`"], ['"', "", '"']):
        return _about(Verb.EMPTY_TABLE, "DELETE FROM", _read_names(tokens[2:], default_schema))
    return Statement(Verb.CHANGE_ROWS, "DELETE")


def _read_ddl(tokens: list[Token], default_schema: str) -> Statement:
    verb = tokens[0].text.upper()
    rest = [token for token in tokens[1:] if not token.is_word(*_NOISE) or token.is_quoted]
    if not rest:
        return Statement(Verb.OTHER, verb)
    kind, rest = rest[0].text.upper(), rest[1:]
    if kind in _SCHEMA_WORDS:
        schema = rest[0].text if rest and not rest[0].is_word("DEFAULT", "CHARACTER", "COLLATE") else default_schema
        return Statement(Verb.DDL, f"{verb} DATABASE {schema}", schemas=(schema,))
    if kind == "TEMPORARY":
        # Not in the binlog with row events, except for the drop at a session's end, which is without effect.
        return Statement(Verb.OTHER, f"{verb} TEMPORARY")
    if kind == "INDEX":
        behind_on = next((number for number, token in enumerate(rest) if token.is_word("ON")), len(rest)) + 1
        return _about(Verb.DDL, f"{verb} INDEX", _read_names(rest[behind_on:], default_schema)[:1])
    if kind in ("TABLE", "TABLES"):
        tables = _read_names(rest, default_schema)
        if verb in ("CREATE", "ALTER"):
            # What follows are columns and options; only an ALTER may name another table, to rename it or to take rows.
            tables = tables[:1] + (_named_by_alter(rest, default_schema) if verb == "ALTER" else [])
        return _about(Verb.DDL, f"{verb} TABLE", tables)
    # Views, routines, triggers, events, users, roles, servers, tablespaces, sequences: no rows of a table change.
    return Statement(Verb.OTHER, f"{verb} {kind}")


def _named_by_alter(tokens: list[Token], default_schema: str) -> list[TableName]:
    """The new name of the table, and those with which a partition is exchanged or into which it is converted."""
    found = []
    for number, token in enumerate(tokens[:-1]):
        rest = tokens[number + 1 :]
        if token.is_word("TABLE"):
            found += _read_names(rest, default_schema)[:1]
        elif token.is_word("RENAME") and not rest[0].is_word("COLUMN", "INDEX", "KEY"):
            found += _read_names(rest[1:] if rest[0].is_word("TO", "AS") else rest, default_schema)[:1]
    return found


def _about(verb: Verb, what: str, tables: list[TableName]) -> Statement:
    return Statement(verb, f"{what} {', '.join(map(str, tables))}", tables=tuple(tables))


def _read_names(tokens: list[Token], default_schema: str) -> list[TableName]:
    """Names of tables, separated by commas or by TO, up to the first token that is neither."""
    names = []
    at = 0
    while at < len(tokens):
        if at + 2 < len(tokens) and tokens[at + 1].text == "." and not tokens[at + 1].is_quoted:
            names.append(TableName(tokens[at].text, tokens[at + 2].text))
            at += 3
        else:
            names.append(TableName(default_schema, tokens[at].text))
            at += 1
        if at >= len(tokens) or not (tokens[at].text == "," or tokens[at].is_word("TO")):
            break
        at += 1
    return names


def _xa_name(tokens: list[Token]) -> str:
    """The transaction's parts as they are written: X'6869',X'',1."""
    return "".join(token.text for token in tokens if not token.is_word("ONE", "PHASE", "JOIN", "RESUME", "SUSPEND"))


def read_words(text: str) -> list[Token]:
    """The words, names, texts and marks of a statement, without comments and white space."""
    tokens = _tokenize(text)
    if len(tokens) > 1 and tokens[0].is_word("SET") and tokens[1].is_word("STATEMENT"):
        # MariaDB: SET STATEMENT variable = value, ... FOR the statement itself.
        begins = next((number for number, token in enumerate(tokens) if token.is_word("FOR")), len(tokens))
        return tokens[begins + 1 :]
    return tokens


def _tokenize(text: str) -> list[Token]:
    tokens = []
    for match in _TOKEN.finditer(text):
        if match["quoted"] is not None:
            quote = match["quoted"][0]
            tokens.append(Token(match["quoted"][1:-1].replace(quote * 2, quote), quote))
        elif match["text"] is not None:
            tokens.append(Token(match["text"], "'"))
        elif match["word"] is not None:
            tokens.append(Token(match["word"]))
        elif match["mark"] is not None:
            tokens.append(Token(match["mark"]))
    return tokens

"""Other names in the statements of a dump. Pure.

pg_dump reads with an empty search path, so in what it writes every table, type, function and operator stands with its
schema, quoted as `quote_ident` does; a bare name is a column, an alias or a keyword.  That makes most statements safe
to rewrite word by word.  Not all of them:

- What stands in quotes is text, and text is left alone: the body of a function, a comment, a default.  The exceptions
  are constants of the `reg...` types (`'public.orders_id_seq'::regclass`), whose text is a name, and a function's
  `SET search_path`.
- In a query `orders.id` may be a column of what is called `orders` there.  So no alias may be called like a schema that
  is looked for, and a table that gets another name must keep the old one as its alias: `FROM sales.orders_2026 orders`.
  Where that cannot be known for certain, `rewrite` says so instead of guessing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from towline.adapters.postgres.quoting import quote_ident, quote_literal
from towline.domain.tables import NameMap, TableName

_TOKENS: Final = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      | (?P<dollar>\$(?P<tag>[^\W\d]\w*|)\$.*?\$(?P=tag)\$)
      | (?P<escaped>[eE]'(?:[^'\\]|''|\\.)*')
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*")
      | (?P<word>[^\W\d][\w$]*)
      | (?P<number>\d[\w.]*)
      | (?P<sign>[-+*/<>=~!@\#%^&|`?]+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_REG_TYPES: Final = frozenset(
    {"regclass", "regtype", "regproc", "regprocedure", "regoper", "regoperator", "regconfig", "regdictionary"}
)
# Words that follow a table of a FROM list when it has no alias; an alias of such a name stands in quotes.
_AFTER_TABLE: Final = frozenset(
    {"join", "inner", "left", "right", "full", "cross", "natural", "on", "using", "where", "group", "having", "window"}
    | {"order", "limit", "offset", "fetch", "for", "union", "intersect", "except", "tablesample", "with", "returning"}
)
_BEFORE_TABLE: Final = frozenset({"from", "join", "only", ","})


class Uncertain(Exception):
    """It cannot be told from the words what a query means by a name; `str` says which."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int

    @property
    def is_name(self) -> bool:
        return self.kind in ("word", "quoted")

    @property
    def name(self) -> str:
        return self.text[1:-1].replace('""', '"') if self.kind == "quoted" else self.text

    @property
    def word(self) -> str:
        """For comparison with keywords and signs."""
        return self.text.lower() if self.kind != "quoted" else ""


@dataclass(frozen=True, slots=True)
class Renaming:
    """`kept`: what stays where it is although its schema is renamed, such as members of extensions."""

    names: NameMap
    kept: Collection[TableName] = ()

    def target_name(self, name: TableName) -> TableName:
        return name if name in self.kept else self.names.target_name(name)


def rewrite(sql: str, renaming: Renaming, *, is_query: bool = False) -> str:
    """The statement with the target's names.

    Raises:
        Uncertain: only of a query.
    """
    return _Rewriting(sql, renaming, is_query).run()


def find_mentioned(sql: str, names: NameMap, *, is_code: bool) -> str:
    """What of the renamed objects the texts in a statement name; "" if nothing. Code may name them without schema."""
    texts = "\n".join(token.text for token in _read_tokens(sql) if token.kind in ("dollar", "text", "escaped"))
    for schema in names.schemas:
        if re.search(rf"(?i)\b{re.escape(schema.source)}\W{{0,2}}\.", texts):
            return schema.source
    for table in names.tables:
        before = "" if is_code else rf"\b{re.escape(table.source.schema)}\W{{0,2}}\.\W{{0,2}}"
        if re.search(rf"(?i){before}\b{re.escape(table.source.name)}\b", texts):
            return str(table.source)
    return ""


class _Rewriting:
    def __init__(self, sql: str, renaming: Renaming, is_query: bool) -> None:
        self._sql = sql
        self._renaming = renaming
        self._is_query = is_query
        self._tokens = [token for token in _read_tokens(sql) if token.kind != "space"]
        names = renaming.names
        self._schemas = {each.source for each in names.schemas} | {each.source.schema for each in names.tables}
        self._edits: list[tuple[int, int, str]] = []

    def run(self) -> str:
        at = 0
        while at < len(self._tokens):
            token = self._tokens[at]
            if token.kind in ("text", "escaped"):
                self._constant(at)
            elif token.is_name:
                length = self._chain_length(at)
                self._name(at, length)
                at += 2 * (length - 1)
            at += 1
        pieces, end = [], 0
        for start, stop, text in self._edits:
            pieces += [self._sql[end:start], text]
            end = stop
        return "".join([*pieces, self._sql[end:]])

    def _chain_length(self, at: int) -> int:
        """How many names are joined by dots from here on."""
        length = 1
        while self._word(at + 2 * length - 1) == "." and at + 2 * length < len(self._tokens):
            if not self._tokens[at + 2 * length].is_name:
                break
            length += 1
        return length

    def _word(self, at: int) -> str:
        return self._tokens[at].word if 0 <= at < len(self._tokens) else ""

    def _name(self, at: int, length: int) -> None:
        token = self._tokens[at]
        if self._word(at - 1) == ".":
            return  # a field of a value in parentheses
        if length == 1:
            self._single(at, token)
            return
        second = self._tokens[at + 2]
        if self._is_query and second.name in self._schemas:
            # Nothing but its own name is needed to make it an alias.
            raise Uncertain(f"{second.name} is a schema and may be a table")
        source = TableName(token.name, second.name)
        target = self._renaming.target_name(source)
        if target == source:
            return
        text = f"{quote_ident(target.schema)}.{quote_ident(target.name)}"
        if self._is_query and target.name != source.name:
            text += self._alias(at, source)
        self._edits.append((token.start, second.end, text))

    def _single(self, at: int, token: _Token) -> None:
        if token.name not in self._schemas:
            return
        target = quote_ident(self._renaming.names.target_schema(token.name))
        if self._word(at + 1) == "." and self._tokens[at + 2].kind == "sign":
            operator = TableName(token.name, self._tokens[at + 2].text)
            moves = self._renaming.target_name(operator) != operator
            if moves and (not self._is_query or self._word(at - 2) == "operator"):
                self._edits.append((token.start, token.end, target))
        elif not self._is_query and self._is_schema(at):
            self._edits.append((token.start, token.end, target))
        elif self._is_query:
            raise Uncertain(f"{token.name} is a schema and may be a column or an alias")
        elif self._is_in_search_path(at):
            self._edits.append((token.start, token.end, target))

    def _is_schema(self, at: int) -> bool:
        before = at - 1
        if self._word(before) == "exists":
            before -= 3  # IF NOT EXISTS
        return self._word(before) == "schema"

    def _alias(self, at: int, source: TableName) -> str:
        """What must follow the table's new name, so that its columns are found under the old one."""
        before = self._word(at - 1)
        if before == "::":
            return ""
        if before in ("view", "on", "to") and not self._queries(0, at):
            # The object itself, or the table that it belongs to, whose columns go by its name alone in a query.
            if before != "view" and self._queries(at, len(self._tokens)):
                raise Uncertain(f"whether {source.name} is this table")
            return ""
        opened = at - 1
        while self._word(opened) == "(":
            opened -= 1
        if self._word(opened) not in _BEFORE_TABLE:
            raise Uncertain(f"what {source} is there")
        after = self._tokens[at + 3] if at + 3 < len(self._tokens) else None
        if after is not None and after.is_name and after.word not in _AFTER_TABLE:
            return ""
        return f" {quote_ident(source.name)}"

    def _queries(self, start: int, end: int) -> bool:
        """Whether a query begins there; FOR SELECT and ON SELECT say what a policy or rule is about."""
        return any(self._word(at) == "select" and self._word(at - 1) not in ("for", "on") for at in range(start, end))

    def _constant(self, at: int) -> None:
        token = self._tokens[at]
        if self._word(at + 1) == "::" and self._word(at + 2) in _REG_TYPES and token.kind == "text":
            inside = token.text[1:-1].replace("''", "'")
            renamed = rewrite(inside, self._renaming)
            if renamed != inside:
                self._edits.append((token.start, token.end, quote_literal(renamed)))
        elif self._is_in_search_path(at) and token.text[1:-1] in self._schemas:
            target = self._renaming.names.target_schema(token.text[1:-1])
            self._edits.append((token.start, token.end, quote_literal(target)))

    def _is_in_search_path(self, at: int) -> bool:
        """Whether only names and commas stand between here and `SET search_path TO`."""
        before = at - 1
        while self._word(before) == ",":
            before -= 2
        return self._word(before) in ("to", "=") and self._word(before - 1) == "search_path"


def _read_tokens(sql: str) -> Iterator[_Token]:
    at = 0
    while at < len(sql):
        if sql.startswith("::", at):
            yield _Token("other", "::", at, at + 2)
            at += 2
            continue
        match = _TOKENS.match(sql, at)
        assert match is not None
        kind = "dollar" if match["dollar"] is not None else str(match.lastgroup)
        yield _Token(kind, match[0], at, match.end())
        at = match.end()

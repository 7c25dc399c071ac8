"""Other names in statements that the servers write of themselves, and in code that people wrote. Pure.

SHOW CREATE names tables in backticks; of a view in full, database included, and the columns of a table without an alias
as well (`shop`.`orders`.`id`).  That can be rewritten word by word, unless an alias or a column is called like a
database that is looked for.  Code is text as somebody wrote it: only its head, which says what it belongs to, is made
anew; what its body names is told.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import pairwise
from typing import Final

from towline.adapters.mysql.quoting import qualified, quote_ident
from towline.adapters.mysql.statements import read_words
from towline.domain.tables import NameMap, TableName

_PART: Final = r"`(?:[^`]|``)*`"
_CHAIN: Final = re.compile(rf"(?P<text>'(?:[^'\\]|''|\\.)*')|(?P<chain>{_PART}(?:\.{_PART})*)", re.DOTALL)
_ANY_NAME: Final = rf"(?:{_PART}|\"(?:[^\"]|\"\")*\"|[\w$\u0080-\uffff]+)"
_TRIGGER_HEAD: Final = re.compile(
    rf"(?P<verb>.*?\bTRIGGER)\s.*?\bON\s+(?:{_ANY_NAME}\s*\.\s*)?{_ANY_NAME}\s+(?P<rest>FOR\s+EACH\s+ROW\b.*)",
    re.DOTALL | re.IGNORECASE,
)
_CREATE_TABLE: Final = re.compile(rf"CREATE TABLE (?:{_PART}\.)?{_PART}")
_REFERENCES: Final = re.compile(rf"(?<=\) REFERENCES )(?:{_PART}\.)?{_PART}")


class Uncertain(Exception):
    """It cannot be told from the words what a view means by a name; `str` says which."""


def rename_created_table(create: str, there: TableName) -> str:
    """SHOW CREATE TABLE's text with the name in full."""
    return _CREATE_TABLE.sub(lambda _: f"CREATE TABLE {qualified(there)}", create, count=1)


def rename_parent(definition: str, parent: TableName) -> str:
    """A foreign key's definition with the name of its parent in full."""
    return _REFERENCES.sub(lambda _: qualified(parent), definition, count=1)


def rename_trigger(text: str, *, name: TableName, when: str, there: TableName) -> str | None:
    """The trigger for another table; None when its head is not of the known form. `when`: such as BEFORE INSERT."""
    match = _TRIGGER_HEAD.fullmatch(text)
    if match is None:
        return None
    return f"{match['verb']} {qualified(name)} {when} ON {qualified(there)} {match['rest']}"


def rename_view(text: str, names: NameMap) -> str:
    """SHOW CREATE VIEW's text with the target's names.

    Raises:
        Uncertain: an alias or a column may be meant.
    """
    schemas = {each.source for each in names.schemas} | {each.source.schema for each in names.tables}

    def rename(match: re.Match[str]) -> str:
        chain = match["chain"]
        if chain is None:
            return match[0]
        parts = [part[1:-1].replace("``", "`") for part in re.findall(_PART, chain)]
        around = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        if "@" in around:
            return match[0]  # the account that it belongs to
        return _rename_chain(parts, names, schemas, is_call=around[1] == "(")

    return _CHAIN.sub(rename, text)


def _rename_chain(parts: list[str], names: NameMap, schemas: Collection[str], *, is_call: bool) -> str:
    doubtful = parts[0] if len(parts) == 1 else parts[1]
    if doubtful in schemas:
        raise Uncertain(f"{doubtful} is a database and may be something else")
    if len(parts) > 1:
        source = TableName(parts[0], parts[1])
        target = TableName(names.target_schema(source.schema), source.name) if is_call else names.target_name(source)
        parts = [target.schema, target.name, *parts[2:]]
    return ".".join(map(quote_ident, parts))


def find_mentioned(code: str, names: NameMap) -> str:
    """What of the renamed objects a text names, with or without its database; "" if nothing."""
    words = [token.text.lower() for token in read_words(code)]
    for table in names.tables:
        if table.source.name.lower() in words:
            return str(table.source)
    for schema in names.schemas:
        if any(word == schema.source.lower() and after == "." for word, after in pairwise(words)):
            return schema.source
    return ""

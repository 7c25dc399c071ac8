"""SHOW CREATE TABLE, taken apart into what is needed before the rows and what is quicker after them. Pure.

Both products render one definition a line, with line breaks inside of texts escaped.  Everything else stays as the
server wrote it: engine, row format, partitions, comments, generated and invisible columns, CHECKs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from towline.adapters.mysql.flavor import Flavor

QUOTED_NAME: Final = r"`(?:[^`]|``)*`"
NAME: Final = r"`((?:[^`]|``)*)`"
# A text or a name, as the servers write them; there is one way to read it, so that a search never tries others.
QUOTED: Final = r"'(?:[^'\\]|''|\\.)*+'|`(?:[^`]|``)*+`"
KEY: Final = re.compile(rf"(UNIQUE |FULLTEXT |SPATIAL |VECTOR )?KEY {NAME}")
# In code that people wrote there are comments and other quotes, too; a collation may be quoted.
_TOLD_APART = re.compile(
    rf"""(?P<collation>\bCOLLATE\s+['"`]\w+['"`])
    | {QUOTED} | "(?:[^"\\]|""|\\.)*" | --[\s][^\n]* | \#[^\n]* | /\*(?!M?!).*?\*/""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_FOREIGN_KEY = re.compile(
    rf"CONSTRAINT {NAME} FOREIGN KEY .*? REFERENCES (?:{NAME}\.)?{NAME} \(((?:{QUOTED_NAME}(?:, ?)?)+)\)"
)
_NAMES = re.compile(NAME)
_PARSER = re.compile(rf"{QUOTED}| WITH PARSER {NAME}")
_FIRST_COLUMN = re.compile(rf"\(\s*{NAME}")
_AUTO_INCREMENT = re.compile(rf"\s*{NAME} .* AUTO_INCREMENT\b")

# Collations that only one of the products has, by pattern, with the nearest one of the other.  In those that MySQL
# calls 0900 a space at the end counts, so that values differ which a padding collation would take for the same key.
_TO_ANY_MARIADB = ((re.compile(r"\butf8mb4_0900_bin\b"), "utf8mb4_nopad_bin"),)
_TO_MARIADB = (
    (re.compile(r"\butf8mb4_0900_ai_ci\b"), "utf8mb4_uca1400_nopad_ai_ci"),
    (re.compile(r"\butf8mb4_0900_as_ci\b"), "utf8mb4_uca1400_nopad_as_ci"),
    (re.compile(r"\butf8mb4_0900_as_cs\b"), "utf8mb4_uca1400_nopad_as_cs"),
    *_TO_ANY_MARIADB,
)
# Before 10.10 there is nothing near to those that tell accents apart: the target refuses them by name.
_TO_OLD_MARIADB = (
    (re.compile(r"\butf8mb4_0900_ai_ci\b"), "utf8mb4_unicode_520_nopad_ci"),
    *_TO_ANY_MARIADB,
)
_TO_MYSQL = (
    (re.compile(r"\b(?:utf8mb4_)?uca1400_(?:nopad_)?ai_ci\b"), "utf8mb4_0900_ai_ci"),
    (re.compile(r"\b(?:utf8mb4_)?uca1400_(?:nopad_)?as_ci\b"), "utf8mb4_0900_as_ci"),
    (re.compile(r"\b(?:utf8mb4_)?uca1400_(?:nopad_)?as_cs\b"), "utf8mb4_0900_as_cs"),
    (re.compile(r"\butf8mb4_nopad_bin\b"), "utf8mb4_0900_bin"),
)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One foreign key; `parent_schema` is None when it is the table's own."""

    name: str
    definition: str
    parent_schema: str | None
    parent_table: str
    parent_columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class TableParts:
    """`create`: the table with its primary key and what cannot wait. `indexes`: definitions that can."""

    create: str
    indexes: tuple[str, ...]
    slow_indexes: tuple[str, ...]  # FULLTEXT, SPATIAL, VECTOR: each needs a statement of its own
    foreign_keys: tuple[ForeignKey, ...]


def split_table(text: str, *, key: Sequence[str]) -> TableParts:
    """`key`: the columns that the stream identifies rows by; their index stays with the table."""
    head, body, tail = split_definitions(text)
    has_primary = any(line.lstrip().startswith("PRIMARY KEY") for line in body)
    counted = next((match[1] for line in body if (match := _AUTO_INCREMENT.match(line))), None)
    kept: list[str] = []
    indexes: list[str] = []
    slow: list[str] = []
    foreign_keys: list[ForeignKey] = []
    for line in body:
        definition = line.strip()
        if match := _FOREIGN_KEY.match(definition):
            name, schema, parent, columns = match.groups()
            referred = frozenset(unquote(column) for column in _NAMES.findall(columns))
            foreign_keys.append(
                ForeignKey(unquote(name), definition, schema and unquote(schema), unquote(parent), referred)
            )
        elif match := KEY.match(definition):
            part = _FIRST_COLUMN.search(definition, match.end())
            first = part[1] if part else ""
            is_needed = (counted is not None and first == counted) or (
                not has_primary and match[1] == "UNIQUE " and bool(key) and unquote(first) == key[0]
            )
            if is_needed:
                kept.append(line)
            elif match[1] in (None, "UNIQUE "):
                indexes.append(definition)
            else:
                slow.append(definition)
        else:
            kept.append(line)
    create = "\n".join([head, ",\n".join(kept), tail])
    return TableParts(create, tuple(indexes), tuple(slow), tuple(foreign_keys))


def split_definitions(text: str) -> tuple[str, list[str], str]:
    """The first line, the lines of columns, indexes and constraints without commas, and all that follows them."""
    lines = text.split("\n")
    end = next(number for number, line in enumerate(lines) if line.startswith(")"))
    return lines[0], [line.rstrip(",") for line in lines[1:end]], "\n".join(lines[end:])


def find_parsers(text: str) -> list[tuple[str, str]]:
    """The FULLTEXT indexes of SHOW CREATE TABLE's text that have a parser of their own, each with its name."""
    found = []
    for line in split_definitions(text)[1] if text else []:
        if (index := KEY.match(line.strip())) is not None:
            found += [(unquote(index[2]), unquote(name)) for name in _PARSER.findall(line) if name]
    return found


def adapt(text: str, source: Flavor, target: Flavor) -> tuple[str, tuple[str, ...]]:
    """The statement with the other product's collations, outside of texts and names, and what was changed."""
    if source.is_mariadb == target.is_mariadb:
        return text, ()
    changes = []
    for pattern, replacement in _replacements(source, target):
        found = ""

        def replace(match: re.Match[str], to: str = replacement) -> str:
            nonlocal found
            found = found or match[0]
            return to

        text = "".join(part if is_kept else pattern.sub(replace, part) for part, is_kept in _tell_apart(text))
        if found:
            changes.append(f"{found} is {replacement} on the target")
    return text, tuple(changes)


def _tell_apart(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is a text, a name or a comment, and so stays what it is."""
    end = 0
    for match in _TOLD_APART.finditer(text):
        if match["collation"] is None:
            yield text[end : match.start()], False
            yield match[0], True
            end = match.end()
    yield text[end:], False


def _replacements(source: Flavor, target: Flavor) -> Sequence[tuple[re.Pattern[str], str]]:
    if source.is_mariadb:
        return _TO_MYSQL
    return _TO_MARIADB if target.is_mariadb_from(10, 10) else _TO_OLD_MARIADB


def unquote(name: str) -> str:
    return name.replace("``", "`")

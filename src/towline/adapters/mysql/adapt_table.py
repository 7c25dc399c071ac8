"""A table's definition for a server of the other product, or for an older one of the same. Pure.

SHOW CREATE TABLE hides what other servers may not know in version comments: `/*!80016 NOT ENFORCED */`.  A server for
which the number is too high passes over it without a word, and makes a table that is another one.  So each of these is
said in the target's own words, or taken out and told.  The same goes for what the target would refuse only when the
rows are there, since indexes come last.  What it refuses in the statement that creates the table is left to it: it says
what is wrong before there is any row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from towline.adapters.mysql.create_table import KEY, NAME, QUOTED, split_definitions, unquote
from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.regexps import say_regexps

# Kind of the object, its name behind that of the table ("" is the table itself), what is different on the target.
Finding = tuple[str, str, str]

_COMMENT: Final = re.compile(
    rf"{QUOTED}|\s*/\*(?P<mark>M?)!(?P<number>\d{{5,6}})\s*(?P<words>(?:{QUOTED}|(?!\*/)[^'`])*?)\s*\*/", re.DOTALL
)
# Without an M, MariaDB reads no comments with numbers that only MySQL had.
_FOREIGN_TO_MARIADB: Final = range(50_700, 100_000)
# MariaDB reads these, and does nothing or refuses: they are for engines that it does not have.
_NOT_OF_MARIADB: Final = ("STORAGE ", "COLUMN_FORMAT ", "TABLESPACE ")

_COLUMN: Final = re.compile(rf"\s*{NAME} (?P<type>\w+)(?:\((?P<length>\d+)\))?")
_CHECK: Final = re.compile(rf"\s*CONSTRAINT {NAME} CHECK ")
_CHARSET: Final = re.compile(r" CHARACTER SET (\w+)")
_TABLE_CHARSET: Final = re.compile(r" DEFAULT CHARSET=(\w+)")
_COLLATION: Final = re.compile(r"\bCOLLATE[ =](\w+)")
_ESCAPED_TEXT: Final = re.compile(rf"_utf8mb4(?P<text>'(?=[^'\\]*+(?:\\|''))(?:[^'\\]|''|\\.)*+')|{QUOTED}", re.DOTALL)
_WITHOUT_COLLATION: Final = re.compile(
    rf"{QUOTED}|(?P<words> (?:DEFAULT CHARSET=|CHARACTER SET )(?P<charset>utf8mb4|utf8|ucs2|utf16|utf32)\b)(?! COLLATE)"
)
_QUOTED: Final = re.compile(QUOTED)
_PARENTHESIS: Final = re.compile(rf"{QUOTED}|[()]")
_EXPRESSION_PART: Final = re.compile(r"[(,]\s*\(")
_PART: Final = re.compile(rf"{NAME}(?:\((\d+)\))?")
_MAY_BE_NO_NULL: Final = re.compile(rf"{QUOTED}|(?P<words>(?:(?<=\) STORED)|(?<=\) VIRTUAL)) NOT NULL\b)")
_NOT_SECONDARY: Final = re.compile(rf"{QUOTED}|(?P<words> NOT SECONDARY\b)")
_OPTION_OF_MYSQL: Final = re.compile(rf"(?P<words> (?:COMPRESSION|SECONDARY_ENGINE)=(?:'[^']*'|\w+))|{QUOTED}")
# Engines of MariaDB have options of their own: `page_compressed`='1'.
_OPTION_OF_MARIADB: Final = re.compile(rf"(?P<words> `[^`]+`='(?:[^'\\]|''|\\.)*')|{QUOTED}")
_IGNORED: Final = re.compile(rf"{QUOTED}|(?P<words> IGNORED\b)")
_NUMBERED: Final = re.compile(r"CONSTRAINT_\d+")
_DEFAULT: Final = re.compile(rf"{QUOTED}|(?P<mark>[()])|(?P<default> DEFAULT )")
_CALL: Final = re.compile(r"(?!current_timestamp\b)[a-z]\w*(?=\()", re.IGNORECASE)
_CONSTANT: Final = re.compile(r"'(?:[^'\\]|''|\\.)*'|-?[\d.]+")

_LARGE: Final = frozenset(
    {"tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob", "json"}
)
_SPATIAL: Final = frozenset(
    {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"}
    | {"geometrycollection"}
)
_TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_MAX_KEY_BYTES: Final = 3072
_NUMBER_BYTES: Final = 8
_BYTES_PER_CHARACTER: Final = {"latin1": 1, "ascii": 1, "utf8": 3, "utf8mb3": 3, "ucs2": 2}


def adapt_table(text: str, source: Flavor, target: Flavor) -> tuple[str, tuple[Finding, ...]]:
    """SHOW CREATE TABLE's text as the target can hold it, and what is different there."""
    head, body, tail = split_definitions(text)
    if not source.is_mariadb and not source.is_mysql_from(8):
        body, tail = [_say_collations(line) for line in body], _say_collations(tail)
    if target.is_mariadb and not source.is_mariadb:
        texts, exact = _find_texts(body, tail)
        body = [_say_escapes_once(say_regexps(line, texts, exact)) for line in body]
    adapting = _Adapting(source, target, _TABLE_CHARSET.search(_QUOTED.sub("", tail)))
    kept = [line for each in body if (line := adapting.definition(each)) is not None]
    tail = adapting.options(tail)
    return "\n".join([head, ",\n".join(kept), tail]), tuple(adapting.findings)


@dataclass
class _Adapting:
    source: Flavor
    target: Flavor
    charset: re.Match[str] | None
    findings: list[Finding] = field(default_factory=list)
    character_bytes: dict[str, int | None] = field(default_factory=dict)  # of columns; None: no key takes all of it

    def definition(self, line: str) -> str | None:
        """The line of a column, index or constraint; None when the target goes without it."""
        if match := _COLUMN.match(line):
            return self._column(line, match)
        if match := _CHECK.match(line):
            return self._check(line, unquote(match[1]))
        if match := KEY.match(line.strip()):
            return self._index(line, match[1] or "", unquote(match[2]))
        return line

    def options(self, tail: str) -> str:
        """What stands behind the definitions, partitions included."""
        tail = self._say_comments(tail, "TABLE", "")
        if self.source.is_mariadb and self.target.is_mariadb:
            if " WITH SYSTEM VERSIONING" in _QUOTED.sub("", tail):
                self._tell("TABLE", "", "has no history on the target: only the rows of now are moved")
            return tail
        if self.source.is_mariadb:
            return self._without(_OPTION_OF_MARIADB, tail, "TABLE", "")
        return self._without(_OPTION_OF_MYSQL, tail, "TABLE", "") if self.target.is_mariadb else tail

    # --- definitions --------------------------------------------------------------------------------

    def _column(self, line: str, match: re.Match[str]) -> str:
        part, kind = f".{unquote(match[1])}", match["type"].lower()
        self.character_bytes[unquote(match[1])] = self._measure(line, kind, match["length"])
        said = {"INVISIBLE": "INVISIBLE"} if self.target.is_mariadb else {}
        line = self._say_comments(line, "COLUMN", part, said)
        if self.target.is_mariadb and not self.source.is_mariadb:
            line = self._without(_NOT_SECONDARY, line, "COLUMN", part)
            why = f"may be NULL on the target: {self.target} has no generated columns that are NOT NULL"
            return self._without(_MAY_BE_NO_NULL, line, "COLUMN", part, why)
        if self.source.is_mariadb and not self.target.is_mariadb:
            return _enclose_default(line, takes_constants=kind not in _LARGE | _SPATIAL)
        return line

    def _check(self, line: str, name: str) -> str | None:
        is_loose = "NOT ENFORCED" in [match["words"] for match in _COMMENT.finditer(line)]
        if is_loose and not self.target.is_mysql_from(8, 0, 16):
            why = f"left out: it is not enforced, and {self.target} has no such checks"
            self._tell("CHECK CONSTRAINT", f".{name}", why)
            return None
        if not self.target.is_mariadb and not self.target.is_mysql_from(8, 0, 16):
            why = f"is without effect: {self.target} reads checks and forgets them"
            self._tell("CHECK CONSTRAINT", f".{name}", why)
            return line
        if self.source.is_mariadb and not self.target.is_mariadb and _NUMBERED.fullmatch(name):
            why = "has a name that the target chooses: in MySQL such a name is there once in a database"
            self._tell("CHECK CONSTRAINT", f".{name}", why)
            return _CHECK.sub("  CHECK ", line, count=1)
        return line

    def _index(self, line: str, kind: str, name: str) -> str | None:
        if why := self._find_obstacle(line, kind):
            more = "; equal values are not refused there" if kind == "UNIQUE " else ""
            self._tell("INDEX", f".{name}", f"left out: {why}{more}")
            return None
        if self.source.is_mariadb and self.target.is_mysql_from(8):
            if kind == "SPATIAL ":
                why = f"helps no query on the target: {self.target} asks for an SRID of its column"
                self._tell("INDEX", f".{name}", why)
            return _IGNORED.sub(lambda match: " INVISIBLE" if match["words"] else match[0], line)
        if self.source.is_mariadb and not self.target.is_mariadb:
            return self._without(_IGNORED, line, "INDEX", f".{name}")
        said = {"INVISIBLE": "IGNORED"} if self.target.is_mariadb else {}
        return self._say_comments(line, "INDEX", f".{name}", said)

    def _find_obstacle(self, line: str, kind: str) -> str:
        """Why the target cannot have the index, "" if it can."""
        bare = _QUOTED.sub("`", line)
        if _EXPRESSION_PART.search(bare) and not self.target.is_mysql_from(8, 0, 13):
            return f"{self.target} has no indexes of expressions"
        if kind == "FULLTEXT " and " WITH PARSER " in bare and self.source.is_mariadb != self.target.is_mariadb:
            return f"{self.target} does not have its parser"
        if kind == "VECTOR " and not self.target.is_mariadb_from(11, 7):
            return f"{self.target} has no VECTOR indexes"
        if kind == "UNIQUE " and " USING HASH" in bare and not self.target.is_mariadb and self._is_too_long(line):
            return f"its values are longer than a key of {self.target}"
        return ""

    # --- keys of hash values, which MariaDB has for what is too long ----------------------------------

    def _measure(self, line: str, kind: str, length: str | None) -> int | None:
        if kind in _LARGE | _SPATIAL:
            return None
        if length is None or ("char" not in kind and "binary" not in kind):
            return _NUMBER_BYTES
        found = _CHARSET.search(_QUOTED.sub("", line)) or self.charset
        per_character = 1 if "binary" in kind else _BYTES_PER_CHARACTER.get(found[1] if found else "", 4)
        return int(length) * per_character

    def _is_too_long(self, line: str) -> bool:
        total = 0
        first = line.index("(")
        for name, prefix in _PART.findall(line[first : _find_end(line, first)]):
            size = self.character_bytes.get(unquote(name), _NUMBER_BYTES)
            if size is None and not prefix:
                return True
            total += int(prefix) * 4 if prefix else size or 0
        return total > _MAX_KEY_BYTES

    # --- words --------------------------------------------------------------------------------------

    def _say_comments(self, text: str, kind: str, part: str, said: Mapping[str, str] | None = None) -> str:
        """The text with what the target would pass over `said` in its own words, or taken out and told."""

        def say(match: re.Match[str]) -> str:
            words = match["words"]
            if words is None or self._reads(match["mark"], int(match["number"]), words):
                return match[0]
            if said is not None and words in said:
                return f" {said[words]}"
            self._tell(kind, part, f"is without {words}, which {self.target} does not know")
            return ""

        return _COMMENT.sub(say, text)

    def _reads(self, mark: str, number: int, words: str) -> bool:
        major, minor, patch = self.target.version
        if number > major * 10_000 + minor * 100 + patch:
            return False
        if not self.target.is_mariadb:
            return not mark
        return bool(mark) or not (number in _FOREIGN_TO_MARIADB or words.startswith(_NOT_OF_MARIADB))

    def _without(self, pattern: re.Pattern[str], text: str, kind: str, part: str, why: str = "") -> str:
        def drop(match: re.Match[str]) -> str:
            words = match["words"]
            if words is None:
                return match[0]
            self._tell(kind, part, why or f"is without {words.strip()}, which {self.target} does not know")
            return ""

        return pattern.sub(drop, text)

    def _tell(self, kind: str, part: str, why: str) -> None:
        self.findings.append((kind, part, why))


def _say_escapes_once(line: str) -> str:
    """MariaDB reads the escapes of a text with its character set twice, when it opens the table again.

    The session's character set is the same one.
    """
    return _ESCAPED_TEXT.sub(lambda match: match["text"] or match[0], line)


def _find_texts(body: Sequence[str], tail: str) -> tuple[frozenset[str], frozenset[str]]:
    """See `say_regexps`."""
    own = _COLLATION.search(_QUOTED.sub("", tail))
    texts: dict[str, str] = {}
    for line in body:
        match = _COLUMN.match(line)
        if match is not None and match["type"].lower() in _TEXTS:
            said = _QUOTED.sub("", line)
            # A character set alone stands for its own collation rather than the table's.
            found = _COLLATION.search(said) or (None if _CHARSET.search(said) else own)
            texts[unquote(match[1])] = found[1] if found else ""
    alike = frozenset(name for name, said in texts.items() if not said.endswith("_cs"))
    return alike, frozenset(name for name in alike if texts[name].endswith("_bin"))


def _say_collations(text: str) -> str:
    """MySQL before 8.0 leaves out the collation that its character set has by default; newer servers have others."""

    def say(match: re.Match[str]) -> str:
        if match["words"] is None:
            return match[0]
        sign = "=" if "=" in match["words"] else " "
        return f"{match[0]} COLLATE{sign}{match['charset']}_general_ci"

    return _WITHOUT_COLLATION.sub(say, text)


def _enclose_default(line: str, *, takes_constants: bool) -> str:
    """The column with a default that MySQL reads: an expression stands in parentheses, and texts have no other."""
    depth = 0
    for match in _DEFAULT.finditer(line):
        depth += {"(": 1, ")": -1}.get(match["mark"] or "", 0)
        if match["default"] is None or depth:
            continue
        begin = match.end()
        if call := _CALL.match(line, begin):
            end = _find_end(line, call.end())
        elif not takes_constants and (constant := _CONSTANT.match(line, begin)):
            end = constant.end()
        else:
            break
        return f"{line[:begin]}({line[begin:end]}){line[end:]}"
    return line


def _find_end(text: str, begin: int) -> int:
    """The place behind the parenthesis that closes the one at `begin`."""
    depth = 0
    for match in _PARENTHESIS.finditer(text, begin):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    return len(text)

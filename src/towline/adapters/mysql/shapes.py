"""The columns of a source table as the stream needs them: what the binlog leaves out. Pure, but for the query's text.

The binlog has a row's bytes in the table's own order and, unless the server logs more, no names, no labels and no
signs.  Those come from the catalog.  The two must agree; `row_columns` says when they do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from towline.domain.conversion import PLAIN, ColumnType, Conversion
from towline.domain.tables import TableName

# One row per column, in the order of the binlog; generated columns are there as well.
READ_COLUMNS: Final = """
SELECT table_schema, table_name, column_name, column_type, character_set_name, extra, generation_expression,
       is_nullable
FROM information_schema.columns
WHERE (table_schema, table_name) IN ({tables})
ORDER BY table_schema, table_name, ordinal_position
"""

_PARAMETERS = re.compile(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
_LABEL = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)
_ESCAPED = re.compile(r"''|\\(.)", re.DOTALL)
_ESCAPES: Final = {"0": "\0", "n": "\n", "r": "\r", "t": "\t", "b": "\b", "Z": "\x1a"}

# Python's names of the server's character sets, for labels that the binlog does not bring.
_CODECS: Final = {
    "utf8": "utf-8",
    "utf8mb3": "utf-8",
    "utf8mb4": "utf-8",
    "binary": "utf-8",
    "ascii": "ascii",
    "latin1": "cp1252",
    "latin2": "iso8859-2",
    "latin5": "iso8859-9",
    "latin7": "iso8859-13",
    "greek": "iso8859-7",
    "hebrew": "iso8859-8",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1256": "cp1256",
    "cp1257": "cp1257",
    "cp850": "cp850",
    "cp852": "cp852",
    "cp866": "cp866",
    "koi8r": "koi8-r",
    "koi8u": "koi8-u",
    "macroman": "mac-roman",
    "macce": "mac-latin2",
    "tis620": "tis-620",
    "ucs2": "utf-16-be",
    "utf16": "utf-16-be",
    "utf16le": "utf-16-le",
    "utf32": "utf-32-be",
    "big5": "big5",
    "gb2312": "gb2312",
    "gbk": "gbk",
    "gb18030": "gb18030",
    "sjis": "shift_jis",
    "cp932": "cp932",
    "ujis": "euc_jp",
    "eucjpms": "euc_jp",
    "euckr": "euc_kr",
}


def codec_name(charset: str | None) -> str:
    """Python's name of a character set; ASCII for one that Python lacks, which then refuses what goes beyond it."""
    return _CODECS.get(charset or "utf8mb4", "ascii")


def is_known_charset(charset: str) -> bool:
    """Whether it is a character set of the server that is read here in full."""
    return charset in _CODECS


@dataclass(frozen=True, slots=True)
class ColumnShape:
    """One column; `type_sql` is the full type as `information_schema.columns.column_type` has it.

    `wish`: the type that the job wants it to have on PostgreSQL, "" for the usual one.
    """

    name: str
    type_sql: str
    charset: str | None = None
    is_generated: bool = False
    is_nullable: bool = True
    wish: str = ""

    def with_wish(self, wish: ColumnType | None) -> ColumnShape:
        if wish is None:
            return self
        return replace(self, wish=wish.type_sql, is_nullable=self.is_nullable or wish.is_nullable)

    @property
    def type_name(self) -> str:
        """The first word: `int`, `varchar`, `enum`, ..."""
        match = re.match(r"[a-z0-9_]+", self.type_sql.lower())
        return match[0] if match else ""

    @property
    def parameters(self) -> tuple[int, ...]:
        """The numbers in parentheses after the type's name."""
        match = _PARAMETERS.search(self.type_sql)
        return tuple(int(text) for text in match.groups() if text is not None) if match else ()

    @property
    def is_unsigned(self) -> bool:
        return " unsigned" in self._attributes

    @property
    def fill_width(self) -> int:
        """How many characters a ZEROFILL column has at least; 0 without."""
        if " zerofill" not in self._attributes or not self.parameters:
            return 0
        precision, *scale = self.parameters
        return precision + (1 if scale and scale[0] else 0)

    @property
    def _attributes(self) -> str:
        # Behind the labels of an ENUM, which may say anything.
        return self.type_sql.lower().rpartition(")")[2] if "(" in self.type_sql else self.type_sql.lower()

    def labels(self) -> tuple[bytes, ...]:
        """The labels of an ENUM or SET in the column's own character set.

        Raises: ValueError, a label cannot be written in it here.
        """
        texts = [unescape(text) for text in _LABEL.findall(self.type_sql)]
        codec = codec_name(self.charset)
        return tuple(text.encode(codec) for text in texts)


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table's columns in the binlog's order; MariaDB keeps the old rows of a versioned one in the table itself."""

    table: TableName
    columns: tuple[ColumnShape, ...]
    is_versioned: bool = False
    is_for_postgres: bool = False


def build_shapes(
    rows: Iterable[Sequence[Any]], *, is_for_postgres: bool = False, conversion: Conversion = PLAIN
) -> dict[TableName, TableShape]:
    """Shapes from the answer to `READ_COLUMNS`, whose values may come as text or as bytes.

    For PostgreSQL generated columns count as ordinary ones, because their values are moved, and columns have the types
    that the job wishes.
    """
    found: dict[TableName, list[ColumnShape]] = {}
    versioned = set()
    for row in rows:
        schema, table, name, type_sql, charset, extra, expression, nullable = (
            value.decode() if isinstance(value, bytes | bytearray) else value for value in row
        )
        # MySQL: VIRTUAL GENERATED, STORED GENERATED, and DEFAULT_GENERATED for an expression as default.
        words = (extra or "").upper().replace("DEFAULT_GENERATED", "").split()
        is_generated = "GENERATED" in words and not is_for_postgres
        column = ColumnShape(name, type_sql, charset, is_generated, is_nullable=nullable == "YES")
        column = column.with_wish(conversion.find_type(TableName(schema, table), name, type_sql))
        found.setdefault(TableName(schema, table), []).append(column)
        if (expression or "").upper() in ("ROW START", "ROW END"):
            versioned.add(TableName(schema, table))
    return {
        table: TableShape(table, tuple(columns), table in versioned, is_for_postgres)
        for table, columns in found.items()
    }


def unescape(text: str) -> str:
    """What stands between the quotes of a constant, as the server understands it."""
    return _ESCAPED.sub(_unescape, text)


def _unescape(match: re.Match[str]) -> str:
    if match[1] is None:
        return "'"
    return _ESCAPES.get(match[1], match[1])

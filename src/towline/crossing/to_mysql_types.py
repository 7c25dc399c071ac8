"""Which type of MySQL or MariaDB holds the values of a PostgreSQL column. Pure. `docs/types.md` has the table.

Texts take a collation that compares byte by byte and does not pad with spaces, so that keys mean what they mean on the
source.  A text without a length is LONGTEXT, except in a key, which needs a length: then as many characters as an
index can hold, and a longer value is refused when it comes.  A row of all VARCHARs has 65,535 bytes; columns that
would go beyond that become LONGTEXT.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.quoting import quote_literal
from towline.crossing.to_mysql_catalog import SourceColumn, SourceTable
from towline.crossing.to_mysql_values import UUID_AS_BYTES, Form, choose_form, numeric_size, parse_type

INDEX_BYTES: Final = 3072
_ROW_BYTES: Final = 60_000
_BYTES_PER_CHARACTER: Final = 4
_FIXED_KEY_BYTES: Final = 32
_SHORT_ASCII: Final = "VARCHAR({}) CHARACTER SET ascii COLLATE ascii_bin"
_LONGEST_CHAR: Final = 255

_FIXED: Final = {
    "smallint": "SMALLINT",
    "integer": "INT",
    "bigint": "BIGINT",
    "oid": "BIGINT",
    "real": "FLOAT",
    "double precision": "DOUBLE",
    "boolean": "TINYINT(1)",
    "date": "DATE",
    "uuid": "CHAR(36) CHARACTER SET ascii COLLATE ascii_bin",
    UUID_AS_BYTES: "BINARY(16)",
    "inet": _SHORT_ASCII.format(64),
    "cidr": _SHORT_ASCII.format(64),
    "macaddr": _SHORT_ASCII.format(32),
    "macaddr8": _SHORT_ASCII.format(32),
    "time with time zone": _SHORT_ASCII.format(32),
    "interval": _SHORT_ASCII.format(128),
    "pg_lsn": _SHORT_ASCII.format(32),
}
_TIMES: Final = {
    "timestamp without time zone": "DATETIME",
    "timestamp with time zone": "DATETIME",
    "time without time zone": "TIME",
}
_AS_TEXT: Final = frozenset({"text", "xml", "json", "jsonb"})
"""Types whose values are texts for MySQL, too; all others that become LONGTEXT are reported."""


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """`note` says what is different there, "" for nothing. `prefixed`: an index takes so many characters or bytes."""

    name: str
    type_sql: str
    note: str = ""
    prefix: int | None = None

    @property
    def needs_expression(self) -> bool:
        """Whether a default has to be written as an expression."""
        return self.type_sql.startswith(("LONGTEXT", "LONGBLOB"))


def collation(target: Flavor) -> str:
    """The one for all texts. MySQL before 8.0.17 has none that does not pad."""
    if target.is_mariadb:
        return "utf8mb4_nopad_bin"
    return "utf8mb4_0900_bin" if target.is_mysql_from(8, 0, 17) else "utf8mb4_bin"


def plan_columns(table: SourceTable, keys: Iterable[Sequence[str]]) -> dict[str, TargetColumn]:
    """The target's columns by name, generated ones left out. `keys`: column lists that need whole values."""
    columns = [column for column in table.columns if not column.is_generated]
    planner = _Planner({column.name: column for column in columns})
    for key in keys:
        planner.fit_key(key)
    return {column.name: planner.plan(column) for column in columns}


@dataclass
class _Planner:
    columns: dict[str, SourceColumn]
    shares: dict[str, int] = field(default_factory=dict)  # bytes of an index that a value may take
    row_bytes: int = 0

    def fit_key(self, key: Sequence[str]) -> None:
        """Share an index among the columns of a key that have no fixed size."""
        known = [name for name in key if name in self.columns]
        wide = [name for name in known if self._is_wide(name)]
        if not wide:
            return
        share = (INDEX_BYTES - _FIXED_KEY_BYTES * (len(known) - len(wide))) // len(wide)
        for name in wide:
            self.shares[name] = min(share, self.shares.get(name, INDEX_BYTES))

    def plan(self, column: SourceColumn) -> TargetColumn:
        if column.labels is not None:
            return self._enum(column)
        name, parameters = parse_type(column.type_sql)
        if name in _FIXED:
            note = "in UTC" if name == "timestamp with time zone" else ""
            return TargetColumn(column.name, _FIXED[name], note)
        if name in _TIMES:
            digits = (parameters or (6,))[0]
            return TargetColumn(column.name, f"{_TIMES[name]}({digits})")
        form = choose_form(column.type_sql)
        if form is Form.NUMERIC:
            return self._numeric(column, parameters)
        if form is Form.BITS:
            return TargetColumn(column.name, f"BIT({(parameters or (1,))[0]})")
        if form is Form.BYTES:
            return self._binary(column)
        return self._text(column, name, parameters)

    def _enum(self, column: SourceColumn) -> TargetColumn:
        labels = column.labels or ()
        # ENUM drops spaces at the end of its labels.
        if not labels or any(label.endswith(" ") for label in labels):
            return self._text(column, "enum", (64,))
        return TargetColumn(column.name, f"ENUM({', '.join(map(quote_literal, labels))})")

    def _numeric(self, column: SourceColumn, parameters: Sequence[int]) -> TargetColumn:
        precision, scale = numeric_size(column.type_sql)
        wanted = (*parameters, 0)[:2] if parameters else None
        is_whole = wanted is not None and 0 <= wanted[1] <= wanted[0] and (precision, scale) == wanted
        note = "" if is_whole else f"numbers of more digits than DECIMAL({precision},{scale}) has are refused"
        return TargetColumn(column.name, f"DECIMAL({precision},{scale})", note)

    def _binary(self, column: SourceColumn) -> TargetColumn:
        share = self.shares.get(column.name)
        if share is None:
            return TargetColumn(column.name, "LONGBLOB", prefix=INDEX_BYTES)
        self.row_bytes += share
        return TargetColumn(column.name, f"VARBINARY({share})", f"values of more than {share} bytes are refused")

    def _text(self, column: SourceColumn, name: str, parameters: Sequence[int]) -> TargetColumn:
        length = parameters[0] if parameters and name in ("character varying", "character", "enum") else None
        if name == "character" and length is None:
            length = 1
        if name == "name" or name == '"char"':
            length = 64
        note = ""
        share = self.shares.get(column.name)
        if share is not None:
            fits = share // _BYTES_PER_CHARACTER
            if length is None or length > fits:
                length, note = fits, f"values of more than {fits} characters are refused"
        elif length is not None and self.row_bytes + length * _BYTES_PER_CHARACTER > _ROW_BYTES:
            length, note = None, "is LONGTEXT: the columns of a table may not be longer together"
        elif length is None and name not in _AS_TEXT and name != "character varying":
            note = f"{column.type_sql} arrives as PostgreSQL's text"
        if length is None:
            return TargetColumn(column.name, "LONGTEXT", note, prefix=INDEX_BYTES // _BYTES_PER_CHARACTER)
        self.row_bytes += length * _BYTES_PER_CHARACTER
        kind = "CHAR" if name == "character" and length <= _LONGEST_CHAR else "VARCHAR"
        return TargetColumn(column.name, f"{kind}({length})", note, prefix=length)

    def _is_wide(self, name: str) -> bool:
        column = self.columns[name]
        kind, _ = parse_type(column.type_sql)
        if column.labels is not None or kind in _FIXED or kind in _TIMES:
            return False
        return choose_form(column.type_sql) in (Form.PLAIN, Form.PADDED, Form.BYTES)

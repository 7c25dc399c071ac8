"""Tables of MySQL and MariaDB as statements for PostgreSQL. Pure.

What is certain is written; what is not is reported, never guessed.  Names are kept and always quoted.  Indexes get the
table's name in front: PostgreSQL has one space of names for all tables and indexes of a schema.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Final

from towline.adapters.mysql.postgres_types import (
    Unrepresentable,
    render_bytea,
    require_date,
    text_converter,
)
from towline.adapters.mysql.postgres_wishes import choose_postgres_column, has_own_type
from towline.adapters.mysql.shapes import ColumnShape, unescape
from towline.domain.errors import Side, StructureFailed
from towline.domain.tables import TableName

MAX_NAME_BYTES: Final = 63
_DIGEST_LENGTH: Final = 8
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_BITS = re.compile(r"b'([01]*)'")
_HEX = re.compile(r"0x([0-9A-Fa-f]*)")
_NOW = re.compile(r"(?:current_timestamp|now|localtimestamp)(?:\((\d?)\))?", re.IGNORECASE)
IDENTITY_TYPES: Final = frozenset({"smallint", "integer", "bigint"})
_MOMENTS: Final = frozenset({"date", "datetime", "timestamp"})
_TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum"})
_BYTES: Final = frozenset({"binary", "varbinary"})
_QUOTED: Final = frozenset({"time", "uuid", "inet4", "inet6"})
_NUMBERS: Final = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "year"})
_MAX_BIGINT: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """`default` as the catalog writes it, `extra` in upper case; `is_generated` in any way."""

    shape: ColumnShape
    is_nullable: bool
    default: str | None
    extra: str
    comment: str
    collation: str
    is_generated: bool
    target_collation: str | None = None  # its name there, None for the target's own

    @property
    def name(self) -> str:
        return self.shape.name

    @property
    def is_counted(self) -> bool:
        return "AUTO_INCREMENT" in self.extra


@dataclass(frozen=True, slots=True)
class IndexPart:
    """A column of an index; None for an expression. `prefix`: how much of it is in the index, None for all."""

    column: str | None
    prefix: int | None
    is_descending: bool


@dataclass(frozen=True, slots=True)
class IndexFacts:
    name: str
    is_unique: bool
    kind: str  # BTREE, HASH, FULLTEXT, SPATIAL, ...
    parts: tuple[IndexPart, ...]

    @property
    def is_primary(self) -> bool:
        return self.name == "PRIMARY"

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that it is of, wholly or in part."""
        return tuple(part.column for part in self.parts if part.column is not None)

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns, if the index is of whole columns and of a kind that PostgreSQL has."""
        names = [part.column for part in self.parts if part.column is not None and part.prefix is None]
        is_plain = len(names) == len(self.parts) and self.kind in ("BTREE", "HASH", "RTREE", "")
        return tuple(names) if is_plain and self.kind != "RTREE" else None


@dataclass(frozen=True, slots=True)
class ForeignKeyFacts:
    name: str
    columns: tuple[str, ...]
    parent: TableName
    parent_columns: tuple[str, ...]
    on_delete: str
    on_update: str


@dataclass(frozen=True, slots=True)
class TableFacts:
    """`is_cut`: it has partitions. `checks`: names of its CHECK constraints."""

    name: TableName
    columns: tuple[ColumnFacts, ...]
    indexes: tuple[IndexFacts, ...] = ()
    foreign_keys: tuple[ForeignKeyFacts, ...] = ()
    comment: str = ""
    is_cut: bool = False
    checks: tuple[str, ...] = ()


Report = Callable[[str, str, str], None]  # kind, name, reason


def ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def full_name(table: TableName) -> str:
    return f"{ident(table.schema)}.{ident(table.name)}"


def literal(text: str) -> str:
    quoted = "'" + text.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


# --- names ------------------------------------------------------------------------------------------


def require_names(table: TableFacts) -> None:
    """Raises StructureFailed for a name that PostgreSQL would cut off."""
    for kind, name in (
        ("SCHEMA", table.name.schema),
        ("TABLE", table.name.name),
        *(("COLUMN", column.name) for column in table.columns),
    ):
        if len(name.encode()) > MAX_NAME_BYTES:
            raise StructureFailed(
                f"{table.name}: the name {name} has more than {MAX_NAME_BYTES} bytes, which PostgreSQL would cut off",
                side=Side.SOURCE,
                remedy="Rename it on the source, or leave the table out of the job.",
                kind=kind,
                object=name,
            )


def shorten(name: str, *, of: str = "") -> str:
    """The name itself, or what fits of it with a digest of `of` and all of it at its end."""
    if not of and len(name.encode()) <= MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(f"{of}\0{name}".encode()).hexdigest()[:_DIGEST_LENGTH]
    kept = name.encode()[: MAX_NAME_BYTES - _DIGEST_LENGTH - 1].decode(errors="ignore")
    return f"{kept}_{digest}"


def candidates(name: str) -> Iterator[str]:
    """The names that an object of this one may get, in the order in which they are tried."""
    yield shorten(name)
    for number in count(2):
        yield shorten(name, of=str(number))


def sequence_name(table: str, column: str) -> str:
    return shorten(f"{table}_{column}_seq")


@dataclass(slots=True)
class Names:
    """The names of one schema that are taken."""

    taken: set[str] = field(default_factory=set)

    def take(self, name: str) -> str:
        chosen = next(each for each in candidates(name) if each not in self.taken)
        self.taken.add(chosen)
        return chosen


# --- tables -----------------------------------------------------------------------------------------


def find_bigints(tables: Sequence[TableFacts]) -> frozenset[tuple[TableName, str]]:
    """Columns of BIGINT UNSIGNED that become bigint: those that count up, and whatever refers to them."""
    chosen = {
        (table.name, column.name)
        for table in tables
        for column in table.columns
        if column.is_counted and column.shape.type_name == "bigint" and column.shape.is_unsigned
    }
    links = [
        ((table.name, mine), (key.parent, other))
        for table in tables
        for key in table.foreign_keys
        for mine, other in zip(key.columns, key.parent_columns, strict=True)
    ]
    while True:
        more = {end for link in links for end in link if not chosen.isdisjoint(link)} - chosen
        if not more:
            return frozenset(chosen)
        chosen |= more


def render_table(
    table: TableFacts, *, bigints: frozenset[tuple[TableName, str]], is_mariadb: bool, report: Report
) -> str:
    """CREATE TABLE without keys. Raises StructureFailed: a column has no equal."""
    lines = []
    for column in table.columns:
        chosen = choose_postgres_column(column.shape)
        if chosen is None:
            raise StructureFailed(
                f"{table.name}: column {column.name} is of the type {column.shape.type_sql},"
                " for which nothing is known on PostgreSQL",
                side=Side.SOURCE,
                remedy="Leave the table out of the job.",
                kind="COLUMN",
                object=f"{table.name}.{column.name}",
            )
        is_bigint = (table.name, column.name) in bigints and not column.shape.wish
        type_sql = "bigint" if is_bigint else chosen.type_sql
        lines.append(_render_column(table, column, type_sql, is_mariadb=is_mariadb, report=report))
    _report_table(table, report)
    body = ",\n    ".join(lines)
    return f"CREATE TABLE {full_name(table.name)} (\n    {body})"


def _render_column(table: TableFacts, column: ColumnFacts, type_sql: str, *, is_mariadb: bool, report: Report) -> str:
    name = f"{table.name}.{column.name}"
    text = f"{ident(column.name)} {type_sql}"
    if column.target_collation is not None:
        text += f" COLLATE {ident(table.name.schema)}.{column.target_collation}"
    if not column.is_nullable:
        text += " NOT NULL"
    if column.is_counted and type_sql in IDENTITY_TYPES:
        sequence = f"{ident(table.name.schema)}.{ident(sequence_name(table.name.name, column.name))}"
        text += f" GENERATED BY DEFAULT AS IDENTITY (SEQUENCE NAME {sequence})"
    elif column.is_generated:
        report("COLUMN", name, "is generated on the source; here it is an ordinary column with the source's values")
    elif column.default is not None:
        default = render_default(column, is_mariadb=is_mariadb)
        if default is None:
            report("DEFAULT", name, f"the default {column.default} has no certain equal and is left out")
        elif default:
            text += f" DEFAULT {default}"
    if "ON UPDATE" in column.extra:
        report("COLUMN", name, "ON UPDATE CURRENT_TIMESTAMP is left out; a trigger can do it after the switch-over")
    return text + render_check(column.shape, is_lax=column.target_collation is not None)


def render_check(shape: ColumnShape, *, is_lax: bool = False) -> str:
    """What holds a column to the labels of its ENUM or SET; "" for other types."""
    if shape.type_name not in ("enum", "set") or (shape.type_name == "set" and shape.wish == "text"):
        return ""
    convert = text_converter(shape.charset)
    try:
        labels = [convert(label).decode() for label in shape.labels()]
    except ValueError:
        return ""  # a label that cannot be written: its values will be refused one by one
    if shape.type_name == "set":
        listed = ", ".join(map(literal, labels))
        return f" CHECK ({ident(shape.name)} <@ ARRAY[{listed}]::text[])"
    # The empty text is what an ENUM holds that was invalid when it was written.
    listed = ", ".join(map(literal, dict.fromkeys(["", *labels])))
    exactly = ' COLLATE "C"' if is_lax else ""
    return f" CHECK ({ident(shape.name)}{exactly} IN ({listed}))"


def _report_table(table: TableFacts, report: Report) -> None:
    if table.is_cut:
        report("TABLE", str(table.name), "its partitions become one table")
    for check in table.checks:
        report("CHECK CONSTRAINT", f"{table.name}.{check}", "left out: its expression is not translated")


# --- defaults ---------------------------------------------------------------------------------------


def render_default(column: ColumnFacts, *, is_mariadb: bool) -> str | None:
    """The default as SQL; "" for none, None when there is no certain equal."""
    text = column.default
    if text is None or (is_mariadb and text == "NULL"):
        return ""
    kind = column.shape.type_name
    now = _NOW.fullmatch(text)
    if now is not None and kind in ("datetime", "timestamp"):
        digits = f"({now[1] or 0})"
        return _render_now(column.shape, digits)
    is_quoted = is_mariadb and len(text) > 1 and text[0] == text[-1] == "'"
    if is_quoted:
        text = unescape(text[1:-1])
    elif "DEFAULT_GENERATED" in column.extra or (is_mariadb and not _is_bare_literal(text)):
        return None
    try:
        return _render_wished(column.shape, text) if has_own_type(column.shape) else render_literal(column.shape, text)
    except Unrepresentable:
        return None


def _render_now(shape: ColumnShape, digits: str) -> str | None:
    """The time of the session for DATETIME, as on the source; a moment for TIMESTAMP."""
    if shape.wish == "text":
        return None
    if shape.wish == "timestamp with time zone" or (shape.type_name == "timestamp" and not shape.wish):
        return f"CURRENT_TIMESTAMP{digits}"
    if shape.type_name == "timestamp" and shape.wish == "timestamp":
        return f"(CURRENT_TIMESTAMP{digits} AT TIME ZONE 'UTC')"  # as all values of the column
    return f"LOCALTIMESTAMP{digits}"


def _render_wished(shape: ColumnShape, text: str) -> str | None:
    """A constant for another type than the usual one: made as its values are made. The catalog has it in UTF-8."""
    kind = shape.type_name
    bits = _BITS.fullmatch(text)
    if kind in _BYTES or (kind == "bit" and bits is None) or (kind in _NUMBERS and _NUMBER.fullmatch(text) is None):
        return None
    column = choose_postgres_column(replace(shape, charset=shape.charset and "utf8mb4"))
    if column is None:
        return None
    value = bytes((int(bits[1] or "0", 2),)) if kind == "bit" and bits is not None else text.encode()
    return literal((value if column.convert is None else column.convert(value)).decode())


def _is_bare_literal(text: str) -> bool:
    return any(form.fullmatch(text) for form in (_NUMBER, _BITS, _HEX))


def render_literal(shape: ColumnShape, text: str) -> str | None:
    """A constant, in the catalog's words, as SQL; None when there is no certain equal. Raises Unrepresentable."""
    kind = shape.type_name
    if kind in _NUMBERS:
        return text if _NUMBER.fullmatch(text) else None
    if kind in _MOMENTS:
        require_date(text.encode())
        return literal(f"{text}+00" if kind == "timestamp" else text)
    if kind == "bit":
        bits = _BITS.fullmatch(text)
        return f"B'{bits[1].zfill((shape.parameters or (1,))[0])}'" if bits else None
    if kind in _TEXTS or kind in _QUOTED:
        return None if "\0" in text else literal(text)
    if kind == "set":
        column = choose_postgres_column(ColumnShape(shape.name, shape.type_sql, "utf8mb4"))
        assert column is not None
        assert column.convert is not None
        return literal(column.convert(text.encode()).decode())
    if kind in _BYTES:
        return _render_bytes(shape, text)
    return None


def _render_bytes(shape: ColumnShape, text: str) -> str | None:
    digits = _HEX.fullmatch(text)
    if digits is None and not text.isascii():
        return None
    value = bytes.fromhex(digits[1]) if digits else text.encode()
    if shape.type_name == "binary":
        value = value.ljust((shape.parameters or (1,))[0], b"\0")
    return literal(render_bytea(value).decode())


def cap_sequence(next_value: int, type_sql: str) -> tuple[int, bool]:
    """Where a sequence of this type stands when the source would give `next_value`: (value, was it given)."""
    limit = {"smallint": 2**15 - 1, "integer": 2**31 - 1}.get(type_sql, _MAX_BIGINT)
    return (next_value, False) if next_value <= limit else (limit, True)

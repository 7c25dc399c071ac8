"""MySQL's statements for tables, indexes and foreign keys of PostgreSQL. Pure.

What is not certain is left out and told: `Finding`s are kind, name and reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.quoting import qualified, quote_ident, quote_literal
from towline.crossing.to_mysql_catalog import SourceColumn, SourceForeignKey, SourceIndex, SourceTable
from towline.crossing.to_mysql_types import INDEX_BYTES, TargetColumn, collation, plan_columns
from towline.domain.tables import TableName

Finding = tuple[str, str, str]

_INTEGERS: Final = ("SMALLINT", "INT", "BIGINT")
_ACTIONS: Final = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL"}
_STRING = re.compile(r"'((?:[^']|'')*)'(?:::(?:[\w .\"\[\]]|\(\d+(?:,\d+)?\))+)?")
_NUMBER = re.compile(r"\(?(-?\d+(?:\.\d+)?)\)?(?:::[\w ]+(?:\(\d+(?:,\d+)?\))?)?")
_NOW = re.compile(
    r"(?:now\(\)|CURRENT_TIMESTAMP(?:\(\d\))?|LOCALTIMESTAMP(?:\(\d\))?|\(now\(\) AT TIME ZONE 'utc'::text\))",
    re.IGNORECASE,
)
_MAX_INDEXES: Final = 60
_MAX_COMMENT: Final = 1024


@dataclass(frozen=True, slots=True)
class TableDdl:
    """`uniques` and `indexes` are definitions for ALTER TABLE ADD; `foreign_keys` come with theirs."""

    create: str
    uniques: tuple[str, ...]
    indexes: tuple[str, ...]
    foreign_keys: tuple[tuple[SourceForeignKey, str], ...]
    findings: tuple[Finding, ...]
    counted: str | None  # the column that is AUTO_INCREMENT


def referenced_columns(tables: Iterable[SourceTable]) -> dict[TableName, list[tuple[str, ...]]]:
    """The keys that foreign keys of other tables point to."""
    found: dict[TableName, list[tuple[str, ...]]] = {}
    for table in tables:
        for key in table.foreign_keys:
            found.setdefault(key.parent, []).append(key.parent_columns)
    return found


def render_table(
    table: SourceTable, target: Flavor, *, referenced: Sequence[Sequence[str]] = (), taken: Counter[str]
) -> TableDdl:
    """`taken`: how often the name of a foreign key was given in this database; grows here."""
    return _Table(table, target, list(referenced), taken).render()


@dataclass
class _Table:
    table: SourceTable
    target: Flavor
    referenced: list[Sequence[str]]
    taken: Counter[str]
    findings: list[Finding] = field(default_factory=list)

    def render(self) -> TableDdl:
        table, name = self.table, self.table.table.name
        possible = [index for index in table.indexes if not self._report_obstacle(index)]
        primary = next((index for index in possible if index.is_primary), None)
        whole = [index.columns for index in possible if index.is_unique]
        whole += [key.columns for key in table.foreign_keys]
        columns = plan_columns(table, [*whole, *self.referenced])
        counted = self._choose_counted(primary, columns)
        moved = [column for column in table.columns if not column.is_generated]
        lines = [self._column(column, columns[column.name], counted) for column in moved]
        if primary is not None:
            lines.append(f"PRIMARY KEY ({self._parts(primary, columns)})")
        key = self._identity_index(possible, primary)
        if key is not None:
            lines.append(f"UNIQUE KEY {quote_ident(key.name)} ({self._parts(key, columns)})")
        self._report_columns(columns)
        self.findings += [("CHECK CONSTRAINT", f"{name}.{check}", f"left out: {text}") for check, text in table.checks]
        later = [index for index in possible if index is not primary and index is not key]
        plain = [index for index in later if not index.is_unique]
        return TableDdl(
            create=self._create(lines),
            uniques=tuple(
                f"UNIQUE KEY {quote_ident(index.name)} ({self._parts(index, columns)})"
                for index in later
                if index.is_unique
            ),
            indexes=tuple(
                f"KEY {quote_ident(index.name)} ({self._parts(index, columns)})" for index in plain[:_MAX_INDEXES]
            ),
            foreign_keys=tuple(self._foreign_keys()),
            findings=tuple(self.findings),
            counted=counted,
        )

    def _create(self, lines: Sequence[str]) -> str:
        options = f"ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE={collation(self.target)}"
        body = ",\n  ".join(lines)
        return f"CREATE TABLE {qualified(self.table.table.name)} (\n  {body}\n) {options}"

    # --- columns ------------------------------------------------------------------------------------

    def _column(self, column: SourceColumn, planned: TargetColumn, counted: str | None) -> str:
        parts = [quote_ident(column.name), planned.type_sql, "NULL" if column.is_nullable else "NOT NULL"]
        if column.name == counted:
            parts.append("AUTO_INCREMENT")
        elif column.default_sql is not None and not column.is_counted:
            default = render_default(column, planned)
            if default is None:
                reason = f"its default is left out: {column.default_sql}"
                self.findings.append(("DEFAULT", f"{self.table.table.name}.{column.name}", reason))
            else:
                parts.append(f"DEFAULT {default}")
        if column.comment and len(column.comment) <= _MAX_COMMENT:
            parts.append(f"COMMENT {quote_literal(column.comment)}")
        return " ".join(parts)

    def _choose_counted(self, primary: SourceIndex | None, columns: Mapping[str, TargetColumn]) -> str | None:
        """AUTO_INCREMENT is for one integer column, which must be the first one of a key."""
        chosen = None
        for column in self.table.columns:
            if not column.is_counted or column.name not in columns:
                continue
            is_first = primary is not None and primary.columns[0] == column.name
            if is_first and columns[column.name].type_sql in _INTEGERS:
                chosen = column.name
                continue
            reason = "is not AUTO_INCREMENT: it is not the first column of the primary key"
            self.findings.append(("DEFAULT", f"{self.table.table.name}.{column.name}", reason))
        return chosen

    def _report_columns(self, columns: Mapping[str, TargetColumn]) -> None:
        for column in self.table.columns:
            full = f"{self.table.table.name}.{column.name}"
            if column.is_generated:
                self.findings.append(("COLUMN", full, "left out: its values are generated on the source"))
            elif columns[column.name].note:
                self.findings.append(("COLUMN", full, columns[column.name].note))

    # --- indexes ------------------------------------------------------------------------------------

    def _report_obstacle(self, index: SourceIndex) -> bool:
        generated = {column.name for column in self.table.columns if column.is_generated}
        obstacle = index.obstacle or ("an index on a generated column" if generated & set(index.columns) else "")
        full = f"{self.table.table.name}.{index.name}"
        if obstacle:
            self.findings.append(("INDEX", full, f"left out: {obstacle}"))
        elif index.is_deferrable:
            self.findings.append(("INDEX", full, "is checked at each statement: nothing is deferred there"))
        elif index.has_included:
            self.findings.append(("INDEX", full, "is without its INCLUDE columns"))
        return bool(obstacle)

    def _identity_index(self, possible: Sequence[SourceIndex], primary: SourceIndex | None) -> SourceIndex | None:
        """The index by which changes find their rows, if that is not the primary key."""
        key = self.table.table.key
        if not key or (primary is not None and set(primary.columns) == set(key)):
            return None
        return next((index for index in possible if index.is_unique and index.columns == key), None)

    def _parts(self, index: SourceIndex, columns: Mapping[str, TargetColumn]) -> str:
        wide = [name for name in index.columns if columns[name].prefix is not None]
        parts = []
        for name, is_descending in zip(index.columns, index.descending, strict=True):
            part = quote_ident(name)
            planned = columns[name]
            if not index.is_unique and planned.prefix is not None:
                is_binary = planned.type_sql.startswith("LONGBLOB")
                room = (INDEX_BYTES - 32 * (len(index.columns) - len(wide))) // len(wide) // (1 if is_binary else 4)
                if planned.needs_expression or planned.prefix > room:
                    part += f"({min(room, planned.prefix)})"
            parts.append(part + (" DESC" if is_descending else ""))
        return ", ".join(parts)

    # --- foreign keys -------------------------------------------------------------------------------

    def _foreign_keys(self) -> Iterable[tuple[SourceForeignKey, str]]:
        for key in self.table.foreign_keys:
            full = f"{self.table.table.name}.{key.name}"
            actions = [_ACTIONS.get(letter) for letter in key.actions]
            if None in actions or (key.is_match_full and len(key.columns) > 1):
                self.findings.append(("FK CONSTRAINT", full, "left out: MATCH FULL or SET DEFAULT"))
                continue
            if key.is_deferrable:
                self.findings.append(("FK CONSTRAINT", full, "is checked at each statement: nothing is deferred there"))
            yield key, self._foreign_key(key, *(str(action) for action in actions))

    def _foreign_key(self, key: SourceForeignKey, on_update: str, on_delete: str) -> str:
        schema = self.table.table.name.schema
        place = f"{schema}.{key.name}".lower()
        self.taken[place] += 1
        # Names of foreign keys are those of the database there, of the table here.
        name = key.name if self.taken[place] == 1 else f"{key.name[:56]}_{self.taken[place]}"
        mine, other = (", ".join(map(quote_ident, names)) for names in (key.columns, key.parent_columns))
        return (
            f"CONSTRAINT {quote_ident(name)} FOREIGN KEY ({mine}) REFERENCES {qualified(key.parent)} ({other})"
            f" ON UPDATE {on_update} ON DELETE {on_delete}"
        )


def render_default(column: SourceColumn, planned: TargetColumn) -> str | None:
    """The default in MySQL's words; None when that is not certain."""
    text, kind = column.default_sql or "", planned.type_sql
    if text.upper().startswith("NULL"):
        return "NULL" if column.is_nullable else None
    if column.type_sql == "boolean":
        return {"true": "1", "false": "0"}.get(text)
    if kind.startswith("DATETIME"):
        return _render_moment(column, text, kind)
    if kind.startswith((*_INTEGERS, "DECIMAL", "DOUBLE", "FLOAT")):
        match = _STRING.fullmatch(text)
        match = _NUMBER.fullmatch(match[1] if match else text)
        return match[1] if match else None
    string = _STRING.fullmatch(text)
    if string is None or kind.startswith(("LONGBLOB", "VARBINARY", "BINARY", "BIT")):
        return None
    value = quote_literal(string[1].replace("''", "'"))
    return f"({value})" if planned.needs_expression else value


def _render_moment(column: SourceColumn, text: str, kind: str) -> str | None:
    if not _NOW.fullmatch(text):
        return None
    digits = kind.removeprefix("DATETIME(").removesuffix(")")
    suffix = f"({digits})" if digits != "0" else "()"
    if column.type_sql.endswith("with time zone") or "AT TIME ZONE" in text:
        return f"(UTC_TIMESTAMP{suffix})"
    return f"CURRENT_TIMESTAMP{suffix}"

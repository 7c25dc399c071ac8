"""The statements that bring folded changes to one target table. Pure.

Values are packed cells: the bytes that the text protocol returns (see `domain/changes.py`).  The applier's session says
that its statements are binary, so a quoted value reaches its column byte by byte, as with LOAD DATA.  Where a value is
compared, it carries the column's character set, so that the column's collation decides and its index is found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from towline.adapters.mysql.catalog import TEXT_ONLY, ColumnType
from towline.adapters.mysql.flavor import Flavor
from towline.adapters.mysql.foreign_rows import Convert
from towline.adapters.mysql.quoting import qualified, quote_ident
from towline.domain.changes import UNCHANGED_CELL, Relation, split_row, value_of
from towline.domain.errors import InvariantBroken, Side, SourceChanged
from towline.domain.tables import TableName

_NUMERIC: Final = frozenset(
    {"tinyint", "smallint", "mediumint", "int", "integer", "bigint", "decimal", "numeric", "float", "double", "year"}
)
_NUMBER = re.compile(rb"[-+0-9.eE]+")
_NEGATIVE_ZERO = re.compile(rb"-0(\.0+)?")
_SPECIAL = re.compile(rb"['\\]")
_STATEMENT_BYTES: Final = 1024 * 1024
# The servers look up each key of a list in the index; a longer list makes planning dearer than it saves.
_KEYS_PER_STATEMENT: Final = 1000
_ROWS_OF_SHORTENED: Final = 500
_SHORTENING: Final = 4


class TableSql:
    """Statements for rows of one form of a source table."""

    def __init__(
        self,
        relation: Relation,
        types: Mapping[str, ColumnType],
        *,
        name: TableName | None = None,
        flavor: Flavor,
        packet_bytes: int,
        unique_keys: Collection[frozenset[str]] = (),
        converters: Mapping[str, Convert] | None = None,
    ) -> None:
        """`name`: of the target's table, if it is another one. `types`: of its columns.

        `packet_bytes`: what the target takes in one statement, if need be.
        `unique_keys`: the columns of each of the target's unique indexes. `converters`: for columns whose values
        another family's source wrote.

        Raises:
            SourceChanged: the target's table lacks a column of the source's.
        """
        missing = [name for name in relation.columns if name not in types]
        if missing:
            raise SourceChanged(
                f"the target's {name or relation.table} has no column {missing[0]}",
                side=Side.TARGET,
                columns=len(missing),
            )
        self.relation = relation
        # A statement is closed when the next row would pass the size; heads and the last row come on top.
        self._statement_bytes = min(_STATEMENT_BYTES, packet_bytes // 2)
        self._max_rows: int | None = None  # of a statement; None: whatever its size allows
        is_mariadb = flavor.is_mariadb
        self._table = qualified(name or relation.table)
        kinds = [types[name] for name in relation.columns]
        self._converters = [(converters or {}).get(name) for name in relation.columns]
        self._renderers = [
            _converting(_choose_renderer(kind, is_mariadb=is_mariadb), convert)
            for kind, convert in zip(kinds, self._converters, strict=True)
        ]
        self._comparers = [
            _converting(_choose_comparer(name, kind, is_mariadb=is_mariadb), convert)
            for (name, kind), convert in zip(_named(relation, kinds), self._converters, strict=True)
        ]
        columns = ", ".join(map(quote_ident, relation.columns))
        self._insert = f"INSERT INTO {self._table} ({columns}) VALUES ".encode()
        self._replace = f"REPLACE INTO {self._table} ({columns}) VALUES ".encode()
        key = [relation.columns[number] for number in relation.key]
        others = [quote_ident(name) for name in relation.columns if name not in key]
        # A row that meets another under a second unique key would change that one, and say nothing.
        self.can_upsert = bool(others) and list(unique_keys) == [frozenset(key)]
        # The key's as well: one that is not assigned may be given the time by ON UPDATE CURRENT_TIMESTAMP.
        self._upsert_tail = _render_assignments([quote_ident(name) for name in relation.columns], flavor)
        self._key_kinds = [kinds[number] for number in relation.key]
        self._key_names = [quote_ident(relation.columns[number]) for number in relation.key]

    def shorten(self) -> bool:
        """Let statements have fewer rows from now on; False when they have one already."""
        if self._max_rows == 1:
            return False
        self._max_rows = _ROWS_OF_SHORTENED if self._max_rows is None else max(1, self._max_rows // _SHORTENING)
        return True

    def upserts(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        """Statements that give the rows with these keys their new values. Only where `can_upsert`.

        The server counts a row that it changed as two.
        """
        return self._with_rows(self._insert, rows, self._upsert_tail)

    def inserts(self, rows: Iterable[bytes], *, replaces: bool = False) -> Iterator[bytes]:
        """Statements that insert the rows, each of some size."""
        return self._with_rows(self._replace if replaces else self._insert, rows, b"")

    def _with_rows(self, head: bytes, rows: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
        parts: list[bytes] = []
        size = 0
        for row in rows:
            part = self._render_row(row)
            if parts and (size + len(part) > self._statement_bytes or len(parts) == self._max_rows):
                yield head + b",".join(parts) + tail
                parts, size = [], 0
            parts.append(part)
            size += len(part)
        if parts:
            yield head + b",".join(parts) + tail

    def deletes(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        """Statements that delete the rows with these rows' keys."""
        return self._with_keys(f"DELETE FROM {self._table} WHERE ".encode(), rows, b"")

    def counts(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        """Queries whose results together are the number of rows with these rows' keys; they are locked."""
        return self._with_keys(f"SELECT COUNT(*) FROM {self._table} WHERE ".encode(), rows, b" FOR UPDATE")

    def _with_keys(self, head: bytes, rows: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
        keys: list[tuple[bytes, ...]] = []
        size = 0
        max_keys = min(_KEYS_PER_STATEMENT, self._max_rows or _KEYS_PER_STATEMENT)
        for row in rows:
            key = self._key(row)
            size += sum(map(len, key))
            keys.append(key)
            if len(keys) >= max_keys or size > self._statement_bytes:
                yield head + self._render_keys(keys) + tail
                keys, size = [], 0
        if keys:
            yield head + self._render_keys(keys) + tail

    def update_whole(self, old: bytes, new: bytes) -> bytes:
        """Changes one row that is equal to `old` in every column."""
        return b"UPDATE %s SET %s WHERE %s LIMIT 1" % (
            self._table.encode(),
            self._render_assignments(new),
            self._render_equal(old),
        )

    def update_part(self, row: bytes, old: bytes | None = None) -> bytes:
        """Sets what was sent of a row that is found by its key, or by that of `old`."""
        return b"UPDATE %s SET %s WHERE %s" % (
            self._table.encode(),
            self._render_assignments(row),
            self._render_keys([self._key(old or row)]),
        )

    def delete_whole(self, old: bytes) -> bytes:
        return b"DELETE FROM %s WHERE %s LIMIT 1" % (self._table.encode(), self._render_equal(old))

    def describe_key(self, row: bytes) -> str:
        """The key for the job's own list of rows that did not fit (I7)."""
        cells = self._cells(row)  # as the source wrote them: one of them may be what does not fit
        pairs = ((self.relation.columns[number], cells[number]) for number in self.relation.key)
        return ", ".join(
            f"{name}={'NULL' if value is None else value.decode('utf-8', 'replace')}" for name, value in pairs
        )

    def _cells(self, row: bytes) -> list[bytes | None]:
        return [value_of(cell) for cell in split_row(row)]

    def _render_row(self, row: bytes) -> bytes:
        values = zip(split_row(row), self._renderers, strict=True)
        return b"(" + b",".join([render(cell[5:] if len(cell) > 1 else None) for cell, render in values]) + b")"

    def _render_assignments(self, row: bytes) -> bytes:
        values = zip(self.relation.columns, split_row(row), self._renderers, strict=True)
        return b", ".join(
            quote_ident(name).encode() + b" = " + render(value_of(cell))
            for name, cell, render in values
            if cell != UNCHANGED_CELL
        )

    def _render_equal(self, row: bytes) -> bytes:
        values = zip(self._cells(row), self._comparers, strict=True)
        return b" AND ".join([compare(value) for value, compare in values])

    def _key(self, row: bytes) -> tuple[bytes, ...]:
        cells = split_row(row)
        key = []
        for number, kind in zip(self.relation.key, self._key_kinds, strict=True):
            value = value_of(cells[number])
            if value is None:
                raise InvariantBroken(f"a key of {self.relation.table} holds NULL", side=Side.SOURCE)
            convert = self._converters[number]
            value = value if convert is None else convert(value)
            key.append(_render_compared(kind, value))
        return tuple(key)

    def _render_keys(self, keys: Sequence[tuple[bytes, ...]]) -> bytes:
        if len(self._key_names) == 1:
            return self._key_names[0].encode() + b" IN (" + b",".join([key[0] for key in keys]) + b")"
        names = [name.encode() for name in self._key_names]
        return b" OR ".join(
            [
                b"(" + b" AND ".join([n + b" = " + value for n, value in zip(names, key, strict=True)]) + b")"
                for key in keys
            ]
        )


def _render_assignments(columns: Sequence[str], flavor: Flavor) -> bytes:
    if flavor.is_mysql_from(8, 0, 19):
        # The older form is warned about.
        return (
            " AS towline_new ON DUPLICATE KEY UPDATE " + ", ".join(f"{name} = towline_new.{name}" for name in columns)
        ).encode()
    return (" ON DUPLICATE KEY UPDATE " + ", ".join(f"{name} = VALUES({name})" for name in columns)).encode()


def _named(relation: Relation, kinds: Sequence[ColumnType]) -> Iterator[tuple[str, ColumnType]]:
    return zip(relation.columns, kinds, strict=True)


def quote_value(value: bytes) -> bytes:
    """The bytes as a constant that no character set touches, of a session whose statements are binary."""
    if _SPECIAL.search(value):
        value = value.replace(b"\\", b"\\\\").replace(b"'", b"\\'")
    return b"_binary'" + value + b"'"


def _choose_renderer(kind: ColumnType, *, is_mariadb: bool) -> Callable[[bytes | None], bytes]:
    if kind.takes_only_text(is_mariadb=is_mariadb):
        return _render_text
    return _render_numeric if kind.base in _NUMERIC else _render_quoted


def _converting(render: Callable[[bytes | None], bytes], convert: Convert | None) -> Callable[[bytes | None], bytes]:
    if convert is None:
        return render
    return lambda value: render(None if value is None else convert(value))


def _render_numeric(value: bytes | None) -> bytes:
    if value is None:
        return b"NULL"
    if _NEGATIVE_ZERO.fullmatch(value):
        # Without an exponent it is an exact number, and those have one zero only.
        return value + b"e0"
    return value if _NUMBER.fullmatch(value) else quote_value(value)


def _render_quoted(value: bytes | None) -> bytes:
    return b"NULL" if value is None else quote_value(value)


def _render_text(value: bytes | None) -> bytes:
    return b"NULL" if value is None else b"CONVERT(%s USING utf8mb4)" % quote_value(value)


def _render_compared(kind: ColumnType, value: bytes) -> bytes:
    if kind.base in _NUMERIC:
        return _render_numeric(value)
    if kind.base == "bit":
        return b"0x" + (value.hex().encode() or b"00")
    if kind.charset and kind.charset != "binary":
        return b"_%s X'%s'" % (kind.charset.encode(), value.hex().encode())
    if kind.base in TEXT_ONLY:
        return _render_text(value)
    return quote_value(value)


def _choose_comparer(name: str, kind: ColumnType, *, is_mariadb: bool) -> Callable[[bytes | None], bytes]:
    """Equal byte by byte: two rows that a collation holds for equal are different rows all the same."""
    column = quote_ident(name).encode()

    def compare(value: bytes | None) -> bytes:
        if value is None:
            return column + b" IS NULL"
        if kind.base == "json" and not is_mariadb:
            return b"%s = CAST(CONVERT(%s USING utf8mb4) AS JSON)" % (column, quote_value(value))
        if kind.base == "float":
            return b"%s * 1e0 = %s" % (column, _render_numeric(value))
        if kind.charset and kind.charset != "binary":
            return b"CAST(%s AS BINARY) = X'%s'" % (column, value.hex().encode())
        return b"%s = %s" % (column, _render_compared(kind, value))

    return compare

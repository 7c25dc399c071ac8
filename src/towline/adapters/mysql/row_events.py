"""The rows of row events as row changes. Pure.

A `TableRows` belongs to one form of one table: the binlog's column types joined with the catalog's names.  The old row
of an update is given only where it says something: when the key changed, or when the table has none.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from towline.adapters.mysql import table_map as tm
from towline.adapters.mysql.column_codec import ColumnCodec, choose_codec
from towline.adapters.mysql.jsonb import (
    apply_json_changes,
    parse_json,
    read_packed_int,
    render_node,
)
from towline.adapters.mysql.postgres_codec import for_postgres
from towline.adapters.mysql.row_plan import RowPlan
from towline.adapters.mysql.shapes import TableShape
from towline.adapters.mysql.table_map import TableMap
from towline.domain.changes import (
    CHANGE_OVERHEAD_BYTES,
    DELETE,
    INSERT,
    UPDATE,
    Relation,
    RowChange,
    join_cells,
    split_row,
)
from towline.domain.errors import RowImageNotFull, SetupError, Side, SourceChanged

_PARTIAL_JSON: Final = 1
# The hidden columns of MariaDB's versioned tables: TIMESTAMP(6), twice.
_ROW_TIME: Final = (tm.TIMESTAMP2, 6)


class TableRows:
    """Decodes the rows of one table in one form."""

    def __init__(self, relation: Relation, codecs: Sequence[ColumnCodec], included: Sequence[int]) -> None:
        self.relation = relation
        self._codecs = codecs
        self._included = included
        self._count = len(codecs)
        self._bitmap_size = (self._count + 7) // 8
        # By the bits of the columns that an event has.
        self._all = (1 << self._count) - 1
        self._plans = {self._all: self._plan_for(self._all)}
        self._plan = self._plans[self._all]
        self._json = [number for number, codec in enumerate(codecs) if codec.kind == tm.JSON]

    def decode(self, kind: int, body: bytes, at: int, changes: list[RowChange], *, is_compressed: bool) -> int:
        """Append the changes of an event whose part behind the post-header begins at `at`; returns what they take.

        Raises:
            RowImageNotFull: the event leaves columns out.
        """
        plan, at = self._read_columns(body, at, images=2 if kind == UPDATE else 1)
        if is_compressed:
            body, at = decompress_event(body[at:]), 0
        if kind == UPDATE:
            return self._decode_updates(plan, body, at, changes)
        return self._decode_plain(plan, kind, body, at, changes)

    def _read_columns(self, body: bytes, at: int, *, images: int) -> tuple[RowPlan, int]:
        """How rows with the columns that the event names are read, and where what follows begins.

        MariaDB leaves hidden columns out from version 11 on. Unused bits of the last byte may be set.
        """
        count, at = read_packed_int(body, at)
        if count != self._count:
            raise self._changed(f"an event has {count} columns, the table {self._count}")
        end = at + images * self._bitmap_size
        bitmaps = {
            int.from_bytes(body[begin : begin + self._bitmap_size], "little") & self._all
            for begin in range(at, end, self._bitmap_size)
        }
        present = bitmaps.pop()
        if bitmaps or any(not present >> number & 1 for number in self._included):
            raise RowImageNotFull(f"the source logs only some columns of {self.relation.table}", side=Side.SOURCE)
        plan = self._plans.get(present)
        if plan is None:
            plan = self._plans[present] = self._plan_for(present)
        return plan, end

    def _plan_for(self, present: int) -> RowPlan:
        numbers = [number for number in range(self._count) if present >> number & 1]
        included = [numbers.index(number) for number in self._included]
        codecs = [self._codecs[number] for number in numbers]
        return RowPlan(codecs, included, [included[number] for number in self.relation.key])

    def _decode_plain(self, plan: RowPlan, kind: int, body: bytes, at: int, changes: list[RowChange]) -> int:
        relation, functions, null_size = self.relation, plan.functions, plan.null_size
        append = changes.append
        end = len(body)
        size = 0
        last_nulls, pack = b"", None
        while at < end:
            begin = at + null_size
            nulls = body[at:begin]
            if pack is None or nulls != last_nulls:
                last_nulls, pack = nulls, functions(nulls).pack
            row, at = pack(body, begin)
            size += len(row)
            append((INSERT, relation, row, None) if kind == INSERT else (DELETE, relation, None, row))
            # A statement may have millions of rows in one event's worth of bytes only if they are tiny.
            size += CHANGE_OVERHEAD_BYTES
        return size

    def _decode_updates(self, plan: RowPlan, body: bytes, at: int, changes: list[RowChange]) -> int:
        relation, functions, null_size = self.relation, plan.functions, plan.null_size
        is_keyed = bool(relation.key)
        append = changes.append
        end = len(body)
        size = 0
        last_nulls, last = b"", None
        while at < end:
            old_begin = at + null_size
            nulls = body[at:old_begin]
            if last is None or nulls != last_nulls:
                last_nulls, last = nulls, functions(nulls)
            before = last
            if is_keyed:
                old_key, at = before.scan(body, old_begin)
                old = None
            else:
                old, at = before.pack(body, old_begin)
            new_begin = at + null_size
            nulls = body[at:new_begin]
            if nulls != last_nulls:
                last_nulls, last = nulls, functions(nulls)
            new, at = last.pack(body, new_begin)
            if is_keyed and last.scan(body, new_begin)[0] != old_key:
                old = before.pack(body, old_begin)[0]
            if old is not None:
                size += len(old)
            size += len(new) + CHANGE_OVERHEAD_BYTES
            append((UPDATE, relation, new, old))
        return size

    # --- partial updates of JSON ------------------------------------------------------------------

    def decode_partial(self, body: bytes, at: int, changes: list[RowChange]) -> int:
        """As `decode`, for a PARTIAL_UPDATE_ROWS event: a JSON value may be what changed in the old one."""
        plan, at = self._read_columns(body, at, images=2)
        if plan is not self._plan:
            raise RowImageNotFull(f"the source logs only some columns of {self.relation.table}", side=Side.SOURCE)
        size = 0
        functions, null_size = self._plan.functions, self._plan.null_size
        while at < len(body):
            old_raws, _ = self._read_raws(body, at, frozenset())
            old, at = functions(body[at : at + null_size]).pack(body, at + null_size)
            partial: frozenset[int] = frozenset()
            options, at = read_packed_int(body, at)
            if options & _PARTIAL_JSON:
                bitmap_size = (len(self._json) + 7) // 8
                bits = int.from_bytes(body[at : at + bitmap_size], "little")
                partial = frozenset(number for place, number in enumerate(self._json) if bits >> place & 1)
                at += bitmap_size
            new_raws, at = self._read_raws(body, at, partial)
            new = self._pack_partial(old_raws, new_raws, partial)
            is_old_wanted = not self.relation.key or self._key_of(new) != self._key_of(old)
            changes.append((UPDATE, self.relation, new, old if is_old_wanted else None))
            size += len(new) + (len(old) if is_old_wanted else 0) + CHANGE_OVERHEAD_BYTES
        return size

    def _key_of(self, row: bytes) -> list[bytes]:
        cells = split_row(row)
        return [cells[number] for number in self.relation.key]

    def _read_raws(self, body: bytes, at: int, partial: frozenset[int]) -> tuple[list[bytes | None], int]:
        """Each column's own bytes, None for NULL; the row's NULL bits begin at `at`."""
        nulls = int.from_bytes(body[at : at + self._plan.null_size], "little")
        at += self._plan.null_size
        raws: list[bytes | None] = []
        for number, codec in enumerate(self._plan.codecs):
            if nulls >> number & 1:
                raws.append(None)
                continue
            if number in partial:
                # The length is that of the changes, always in four bytes.
                size = int.from_bytes(body[at : at + 4], "little")
                raws.append(body[at + 4 : at + 4 + size])
                at += 4 + size
            else:
                raw, at = codec.read_raw(body, at)
                raws.append(raw)
        return raws, at

    def _pack_partial(self, old: Sequence[bytes | None], new: Sequence[bytes | None], partial: frozenset[int]) -> bytes:
        cells = []
        for number in self._plan.included:
            raw = new[number]
            if raw is None:
                cells.append(b"n")
                continue
            if number in partial:
                base = old[number]
                if base is None:
                    raise ValueError("a change of a JSON value that was NULL")
                text = render_node(apply_json_changes(parse_json(base), raw))
            else:
                text = self._plan.codecs[number].text_of(raw)
            cells.append(b"t" + len(text).to_bytes(4, "big") + text)
        return join_cells(cells)

    def _changed(self, what: str) -> SourceChanged:
        return SourceChanged(f"table {self.relation.table}: {what}", side=Side.SOURCE)


def decompress_event(data: bytes) -> bytes:
    """The rows or the statement of a compressed event of MariaDB.

    The first byte has 1 in its highest bit and in the lowest three how many bytes, big-endian, the length takes.
    """
    if data[0] & 0xF0 != 0x80:
        raise ValueError("an event that is compressed in an unknown way")
    begin = 1 + (data[0] & 7)
    result = zlib.decompress(data[begin:])
    if len(result) != int.from_bytes(data[1:begin], "big"):
        raise ValueError("a compressed event of another size than it says")
    return result


def join_shape(table_map: TableMap, shape: TableShape, key: Sequence[str], *, is_mariadb: bool) -> TableRows | None:
    """The decoder of a table; None when the binlog and the catalog do not describe the same columns.

    `key` names the columns that identify a row, empty for none.

    Raises: SetupError, the table is one whose rows cannot be followed.
    """
    mapped_columns, hidden = table_map.columns, table_map.columns[len(shape.columns) :]
    if shape.is_versioned or [(column.kind, column.metadata) for column in hidden] == [_ROW_TIME, _ROW_TIME]:
        raise SetupError(
            f"table {shape.table} has system versioning, whose old rows cannot be told from new ones",
            side=Side.SOURCE,
            remedy="Leave the table out of the job, or drop its system versioning.",
        )
    if len(mapped_columns) < len(shape.columns):
        return None
    # MySQL hides none behind the others; one that the catalog does not show stands in front of them.
    if hidden and not (is_mariadb and all(map(_is_hash, hidden))):
        return None
    codecs = []
    included = []
    for number, (mapped, column) in enumerate(zip(mapped_columns, shape.columns, strict=False)):
        if mapped.name is not None and mapped.name != column.name:
            return None
        codec = choose_codec(mapped, column, is_mariadb=is_mariadb)
        if codec is None:
            return None
        codecs.append(for_postgres(codec, column) if shape.is_for_postgres else codec)
        if not column.is_generated:
            included.append(number)
    codecs += [ColumnCodec(column.kind, size=8) for column in hidden]
    names = tuple(shape.columns[number].name for number in included)
    if not set(key) <= set(names):
        return None
    relation = Relation(
        table_map.table,
        names,
        tuple(_type_id(table_map.columns[number], codecs[number]) for number in included),
        tuple(names.index(name) for name in key),
    )
    return TableRows(relation, codecs, included)


def _is_hash(column: tm.MappedColumn) -> bool:
    """MariaDB makes such a column, and hides it, for each unique key that is too long for an index."""
    return column.kind == tm.LONGLONG and (column.name is None or column.name.startswith("DB_ROW_HASH"))


def _type_id(mapped: tm.MappedColumn, codec: ColumnCodec) -> int:
    """A number that changes with the type; the source has none of its own."""
    is_unsigned = codec.integer is not None and codec.integer[1]
    return mapped.kind | is_unsigned << 8 | mapped.metadata << 9

"""Row changes on their way from a source to a target.

A row travels as the bytes in which the source sent it, a *packed row*: a 16-bit number of columns, then
each column as one byte of kind and, for `t` (text form) and `b` (binary form), a 32-bit length and the
value.  `n` is NULL; `u` says that the value was not sent because it did not change (a large value of an
UPDATE).  Nobody builds an object per column on the hot path; whoever needs columns splits a row into
*cells*, each the bytes of one column with its kind.  Numbers are big-endian.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final

from towline.domain.tables import TableName

INSERT: Final = 0
UPDATE: Final = 1
DELETE: Final = 2
TRUNCATE: Final = 3
DDL: Final = 4

TRUNCATE_CASCADE: Final = 1
TRUNCATE_RESTART_IDENTITY: Final = 2

# What a change costs in memory beside its bytes: a tuple, bytes objects, places in a list and a dict.
CHANGE_OVERHEAD_BYTES: Final = 250

NULL_CELL: Final = b"n"
UNCHANGED_CELL: Final = b"u"

_COUNT = Struct(">H")
_LENGTH = Struct(">I")
_NULL, _UNCHANGED = b"nu"
_VALUE_HEAD_BYTES = 5  # kind and length


@dataclass(frozen=True, slots=True, eq=False)
class Relation:
    """A source table in the form that it had when a change was made; compared by identity.

    `key` holds the numbers of the columns that identify a row, empty when nothing does; then updates and
    deletes carry the whole old row.  `type_ids` are the source's object ids of the column types.
    """

    table: TableName
    columns: tuple[str, ...]
    type_ids: tuple[int, ...]
    key: tuple[int, ...]

    def has_shape_of(self, other: Relation) -> bool:
        """True when rows of both can be mixed."""
        return (
            self.table == other.table
            and self.columns == other.columns
            and self.type_ids == other.type_ids
            and self.key == other.key
        )


RowChange = tuple[int, Relation, bytes | None, bytes | None]
"""What happened, to which table, the new row, the old row.

INSERT has a new row, DELETE an old one.  UPDATE has a new row and, when the key changed or the source sends
whole old rows, the old one; columns outside the key may be NULL in an old row.  TRUNCATE has one
byte of flags in the place of the new row; one command over several tables is several changes in sequence.
DDL has the statement in the place of the new row and in that of the old one what the target shall do for it, in a form
that only the adapters of the family read; its relation has only the name of the table that it is about, or of the
database with an empty table name.  It is alone in its transaction and in its batch.
"""


def split_row(row: bytes) -> list[bytes]:
    """The cells of a packed row."""
    cells = []
    position = 2
    for _ in range(_COUNT.unpack_from(row)[0]):
        kind = row[position]
        end = position + 1
        if kind != _NULL and kind != _UNCHANGED:
            end = position + _VALUE_HEAD_BYTES + _LENGTH.unpack_from(row, position + 1)[0]
        cells.append(row[position:end])
        position = end
    return cells


def column_kinds(row: bytes) -> bytes:
    """The byte of kind of each column; nothing is copied, however large the values are."""
    kinds = bytearray()
    position = 2
    for _ in range(_COUNT.unpack_from(row)[0]):
        kind = row[position]
        kinds.append(kind)
        position += 1
        if kind != _NULL and kind != _UNCHANGED:
            position += 4 + _LENGTH.unpack_from(row, position)[0]
    return bytes(kinds)


def join_cells(cells: Sequence[bytes]) -> bytes:
    """A packed row of these cells."""
    return _COUNT.pack(len(cells)) + b"".join(cells)


def value_of(cell: bytes) -> bytes | None:
    """The value inside a cell, None for NULL and for an unchanged value."""
    return cell[_VALUE_HEAD_BYTES:] if len(cell) > 1 else None


def has_unchanged(row: bytes) -> bool:
    """Whether some column of the row was not sent."""
    # Most rows hold no such byte anywhere, and asking that first is much cheaper than the walk.
    return b"u" in row and UNCHANGED_CELL in column_kinds(row)


def fill_unchanged(row: bytes, base: bytes) -> bytes:
    """The row with its unchanged columns taken from `base`, an earlier form of the same row."""
    pairs = zip(split_row(row), split_row(base), strict=True)
    return join_cells([old if cell == UNCHANGED_CELL else cell for cell, old in pairs])


def row_size(row: bytes | memoryview, offset: int) -> int:
    """How many bytes the packed row that begins at `offset` takes."""
    position = offset + 2
    for _ in range(_COUNT.unpack_from(row, offset)[0]):
        kind = row[position]
        position += 1
        if kind != _NULL and kind != _UNCHANGED:
            position += 4 + _LENGTH.unpack_from(row, position)[0]
    return position - offset


def key_reader(key: Sequence[int]) -> Callable[[bytes], bytes]:
    """A function that takes the key's cells out of a packed row, as one hashable value."""
    if tuple(key) == (0,):
        return _read_first_cell
    if tuple(key) == tuple(range(len(key))):
        return _leading_reader(len(key))
    numbers = tuple(key)

    def read_scattered(row: bytes) -> bytes:
        cells = split_row(row)
        return b"".join([cells[number] for number in numbers])

    return read_scattered


def _read_first_cell(row: bytes) -> bytes:
    if row[2] == _NULL or row[2] == _UNCHANGED:
        return row[2:3]
    return row[2 : 7 + _LENGTH.unpack_from(row, 3)[0]]


def _leading_reader(count: int) -> Callable[[bytes], bytes]:
    def read_leading(row: bytes) -> bytes:
        position = 2
        for _ in range(count):
            kind = row[position]
            position += 1
            if kind != _NULL and kind != _UNCHANGED:
                position += 4 + _LENGTH.unpack_from(row, position)[0]
        return row[2:position]

    return read_leading

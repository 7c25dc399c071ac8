"""The form of a source's table as a job to PostgreSQL keeps it on its target, and what DDL makes of it. Pure.

Rows in the binlog have no names, and the source's catalog is of now.  So the columns are kept as of the checkpoint, and
a statement that changes them replaces them in the same commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from towline.adapters.mysql.gtid import BinlogPosition
from towline.adapters.mysql.shapes import ColumnShape, TableShape
from towline.domain.tables import TableName

PRIMARY: Final = "PRIMARY"


@dataclass(frozen=True, slots=True)
class SourceForm:
    """`key` names the columns by which rows are found; `charset` is what a column has that says nothing about it.

    `indexes`: names of all indexes of the source's table, also of those that the target does not have.
    `is_made`: by a statement of the stream, so all of it is known from there.
    """

    columns: tuple[ColumnShape, ...]
    key: tuple[str, ...] = ()
    charset: str = ""
    indexes: tuple[str, ...] = ()
    is_versioned: bool = False
    is_made: bool = False

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str | bytes) -> SourceForm:
        return msgspec.json.decode(text, type=cls)

    def shape(self, table: TableName) -> TableShape:
        return TableShape(table, self.columns, self.is_versioned, is_for_postgres=True)

    def find(self, name: str) -> ColumnShape | None:
        """The column of this name, which the source writes in any letters."""
        return next((column for column in self.columns if column.name.lower() == name.lower()), None)

    def with_indexes(self, *, dropped: frozenset[str] = frozenset(), added: tuple[str, ...] = ()) -> SourceForm:
        """`dropped` in lower letters."""
        gone = dropped.union(name.lower() for name in added)
        kept = tuple(name for name in self.indexes if name.lower() not in gone)
        return replace(self, indexes=(*kept, *added))


@dataclass(frozen=True, slots=True)
class KeptForms:
    """The forms of a job's tables at its checkpoint.

    `since`: where the source was when they were first read; of what was altered before nothing is known.
    `charsets`: what a table has by default, by database.  `is_plain`: the job wishes no other types and collations than
    the usual ones.
    """

    tables: Mapping[TableName, SourceForm]
    charsets: Mapping[str, str]
    since: BinlogPosition
    is_plain: bool = True

"""What a PostgreSQL target does for one DDL statement of the source. Pure.

It is one commit there: the actions, the forms of the source's tables as they are afterwards, and the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from towline.adapters.mysql.column_changes import ColumnAction
from towline.adapters.mysql.postgres_indexes import IndexAction
from towline.adapters.mysql.postgres_keys import KeyAction
from towline.adapters.mysql.source_form import SourceForm
from towline.domain.tables import TableName


@dataclass(frozen=True, slots=True)
class TableAction:
    """One table on the target. `kind`: create, copy, rename or drop.

    `columns`: those of a new table, as SQL; `key`: of its primary key; `comments` by column, "" for the table's own.
    `other`: the new name of a renaming, or the table that a new one is made like.
    """

    kind: str
    table: TableName
    columns: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    comments: tuple[tuple[str, str], ...] = ()
    other: TableName | None = None
    indexes: tuple[str, ...] = ()  # what the source calls those of a table that is renamed, or made like another


@dataclass(frozen=True, slots=True)
class KeptForm:
    """A table and its form from now on; None: the job has it no more."""

    table: TableName
    form: SourceForm | None


@dataclass(frozen=True, slots=True)
class TableOrder:
    """The actions of one statement; `key` names the columns by which the stream finds rows of `table`."""

    summary: str
    table: TableName
    key: tuple[str, ...] = ()
    indexes: tuple[IndexAction, ...] = ()
    columns: tuple[ColumnAction, ...] = ()
    tables: tuple[TableAction, ...] = ()
    forms: tuple[KeptForm, ...] = ()
    keys: tuple[KeyAction, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.indexes or self.columns or self.tables or self.forms or self.keys)

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> TableOrder:
        return msgspec.json.decode(data, type=cls)

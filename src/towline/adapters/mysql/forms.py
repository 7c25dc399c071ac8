"""The form of the job's tables at the checkpoint, which is that of the target's own tables.

Rows in the binlog have no names, unless the source logs them, and what the source's catalog says is of now: a job that
is behind would decode old rows with new columns.  Where DDL reaches the target in its place among the rows, the
target's catalog says what the source's said at the checkpoint, so the columns and the key are read there.  The list
of the job's tables is the plan in the bookkeeping, which changes with the checkpoint as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from towline.adapters.mysql.catalog import read_keys
from towline.adapters.mysql.connection import connect
from towline.adapters.mysql.joining import Joining
from towline.adapters.mysql.joining_ledger import read_joining
from towline.adapters.mysql.quoting import quote_literal
from towline.adapters.mysql.session import Session
from towline.adapters.mysql.shapes import READ_COLUMNS, TableShape, build_shapes
from towline.adapters.mysql.source_form import KeptForms
from towline.domain.errors import Side, SourceDdl
from towline.domain.jobs import Endpoint
from towline.domain.tables import SAME_NAMES, NameMap, TableName

_TABLES_PER_QUERY: Final = 500
_PLANNED: Final = "SELECT schema_name, table_name FROM towline.table_plan WHERE job_id = %s"


@dataclass(frozen=True, slots=True)
class TableForm:
    """`shape` is None when the target has no such table; `key` names the columns that identify a row."""

    shape: TableShape | None
    key: tuple[str, ...] = ()


class CopiedColumns(Protocol):
    """Knows which columns the target's tables have, for jobs whose DDL is not carried."""

    async def read_names(self, tables: Iterable[TableName]) -> Mapping[TableName, Sequence[str]]:
        """In their order; tables that the target does not have, or not from the job, are left out."""
        ...


class FormKeeper(Protocol):
    """Keeps the forms of the source's tables on a target whose own tables do not say them."""

    async def read(self) -> KeptForms:
        """Those of the job's tables at its checkpoint; at the first time they are read on the source, and kept.

        Raises: SourceDdl, the source's columns are not those that the job copied.
        """
        ...


class TargetForms:
    """Reads forms on the job's target, on a session of its own each time. Implements `CopiedColumns`, too."""

    def __init__(self, endpoint: Endpoint, *, job_id: str, names: NameMap = SAME_NAMES) -> None:
        self._names = names
        self._endpoint = endpoint
        self._job_id = job_id

    async def read(self, tables: Iterable[TableName] | None = None) -> dict[TableName, TableForm]:
        """The forms of the job's tables, or of those of these tables that belong to the job."""
        session = await connect(self._endpoint, purpose=f"{self._job_id}:forms", side=Side.TARGET)
        try:
            planned = {TableName(*row) for row in await session.query(_PLANNED, self._job_id)}
            names = sorted(planned if tables is None else planned.intersection(tables))
            forms: dict[TableName, TableForm] = {}
            for first in range(0, len(names), _TABLES_PER_QUERY):
                part = {self._names.target_name(name): name for name in names[first : first + _TABLES_PER_QUERY]}
                found = await _read_part(session, list(part))
                forms |= {part[there]: form for there, form in found.items()}
        finally:
            session.terminate()
        return forms

    async def read_joining(self, *, edit: int) -> Joining:
        """What joins the job; `edit`: the last one that it is to take in."""
        session = await connect(self._endpoint, purpose=f"{self._job_id}:forms", side=Side.TARGET)
        try:
            return await read_joining(session, self._job_id, edit=edit)
        finally:
            session.terminate()

    async def read_names(self, tables: Iterable[TableName]) -> dict[TableName, tuple[str, ...]]:
        forms = await self.read(tables)
        return {
            table: tuple(column.name for column in form.shape.columns)
            for table, form in forms.items()
            if form.shape is not None
        }


async def _read_part(session: Session, names: Sequence[TableName]) -> dict[TableName, TableForm]:
    wanted = ", ".join(f"({quote_literal(name.schema)}, {quote_literal(name.name)})" for name in names)
    rows = await session.query(READ_COLUMNS.format(tables=wanted), what="reading the columns of the target's tables")
    # A target that keeps names in lower letters answers with those.
    shapes = {_lower(table): shape for table, shape in build_shapes(rows).items()}
    keys = {_lower(table): key for table, key in (await read_keys(session, names)).items()}
    forms = {}
    for name in names:
        shape = shapes.get(_lower(name))
        key = keys.get(_lower(name), ())
        moved = {column.name for column in shape.columns if not column.is_generated} if shape else set()
        forms[name] = TableForm(shape, key if moved.issuperset(key) else ())
    return forms


def require_same_columns(copied: Mapping[TableName, Sequence[str]], shapes: Mapping[TableName, TableShape]) -> None:
    """Raises SourceDdl when the source's tables no longer have the columns, in the order, that the job copied."""
    for table, shape in shapes.items():
        if table in copied and list(copied[table]) != [column.name for column in shape.columns]:
            raise SourceDdl(
                f"the columns of {table} on the source are no longer those that the job copied", side=Side.SOURCE
            )


def _lower(table: TableName) -> tuple[str, str]:
    return table.schema.lower(), table.name.lower()

"""What a job to PostgreSQL knows of its tables when a statement of the source is planned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from towline.adapters.mysql.source_form import SourceForm
from towline.domain.tables import TableName


@dataclass(frozen=True, slots=True)
class KnownTables:
    """`takes`: whether the job has a table, or goes on with one that comes by its name.

    `as_stored`: a name as the source's catalog has it.  `is_plain`: see `KeptForms`.  `cascades_are_logged`: the binlog
    has the rows that foreign keys change.
    """

    forms: Mapping[TableName, SourceForm]
    charsets: Mapping[str, str]
    takes: Callable[[TableName], bool]
    as_stored: Callable[[TableName], TableName]
    is_plain: bool = True
    cascades_are_logged: bool = False

"""The objects of a database, in the order in which a target can create them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from towline.domain.tables import TableName


class Section(Enum):
    """When an item is applied: before rows, after rows with the indexes, or at the very end."""

    BEFORE_DATA = "before_data"
    KEYS = "keys"  # primary keys and replica identity indexes: the applier needs them
    INDEXES = "indexes"  # other indexes, unique and exclusion constraints
    AFTER_DATA = "after_data"  # foreign keys, triggers, rules, materialised views' rows, publications of none


@dataclass(frozen=True, slots=True)
class StructureItem:
    """One object to create on the target.

    `number` orders items of a section (creation order on the source side); `depends_on` holds numbers that must be
    done first.  `kind` is upper case as PostgreSQL's dump names it (`TABLE`, `INDEX`, `CONSTRAINT`,
    `FK CONSTRAINT`, `TRIGGER`, `COMMENT`, `ACL`, ...).  `weight_bytes` is the size of the source's index, 0 if
    the object has none.  `is_optional` items (owner, grant, comment, extension) are reported when they fail; the
    others stop the job.
    """

    number: int
    section: Section
    kind: str
    name: str
    schema: str | None
    table: TableName | None
    statements: tuple[str, ...]
    depends_on: frozenset[int] = frozenset()
    weight_bytes: int = 0
    is_optional: bool = False

    @property
    def is_secret(self) -> bool:
        """Whether its statements may hold a password: a target does not remember those."""
        return self.kind == "USER MAPPING"


@dataclass(frozen=True, slots=True)
class StructureEntry:
    """One object of a job as the target remembers it. `is_done` and not `is_made`: the target could not have it."""

    kind: str
    schema: str | None
    name: str
    table: TableName | None
    is_done: bool
    is_made: bool


@dataclass(frozen=True, slots=True)
class SequenceValue:
    """Where a sequence of the source stands."""

    schema: str
    name: str
    last_value: int
    is_called: bool


@dataclass(frozen=True, slots=True)
class StructureReport:
    """An item that could not be made as it is on the source, with the reason in words."""

    kind: str
    name: str
    reason: str

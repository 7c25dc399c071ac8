"""What is different about rows that a source of another family sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from towline.domain.changes import Relation
from towline.domain.tables import TableName

Convert = Callable[[bytes], bytes]
"""A value as the source sent it -> as the text protocol of MySQL would return it.

Raises UnrepresentableValue, which does not hold the value (I7).
"""


def _take_as_it_is(_relation: Relation) -> Mapping[str, Convert]:
    return {}


@dataclass(frozen=True, slots=True)
class ForeignRows:
    """`converters`: for the columns of a relation whose values are written in another way, by name.

    `mixed`: tables whose rows come from several snapshots, see `engine/snapshot.py`.
    """

    converters: Callable[[Relation], Mapping[str, Convert]] = _take_as_it_is
    mixed: frozenset[TableName] = field(default=frozenset())


NO_FOREIGN_ROWS: Final = ForeignRows()

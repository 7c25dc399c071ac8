"""Whether the source's tables still have the columns that were copied."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.forms import require_same_columns
from towline.adapters.mysql.shapes import ColumnShape, TableShape
from towline.domain.errors import SourceDdl
from towline.domain.tables import TableName

TABLE = TableName("d", "t")


def shape(*names: str, type_sql: str = "int") -> TableShape:
    return TableShape(TABLE, tuple(ColumnShape(name, type_sql) for name in names))


def test_columns_that_changed_places_stop_the_job() -> None:
    with pytest.raises(SourceDdl, match=r"d\.t"):
        require_same_columns({TABLE: ("id", "b", "a")}, {TABLE: shape("id", "a", "b")})


def test_only_names_and_order_count() -> None:
    require_same_columns({TABLE: ("a",)}, {TABLE: shape("a", type_sql="json")})
    require_same_columns({}, {TABLE: shape("a")})

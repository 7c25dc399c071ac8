"""Which remarks of a server about what was written say that a value is another one."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.catalog import ColumnType
from towline.adapters.mysql.load_data import says_too_much
from towline.adapters.mysql.writing import is_about_computed
from towline.domain.tables import Column, Table, TableName

ROUNDED = "Data truncated for column 'share' at row 4"


@pytest.mark.parametrize(
    ("level", "number", "message", "written", "expected"),
    [
        ("Note", 1265, ROUNDED, ("id", "n"), True),
        ("Note", 1265, "Data truncated for column `d`.`t`.`share` at row 4", ("id",), True),
        ("Note", 1265, ROUNDED, ("id", "Share"), False),
        ("Warning", 1265, ROUNDED, ("id",), False),
        ("Note", 1264, "Out of range value for column 'share' at row 4", ("id",), False),
        ("Note", 1265, "Data truncated", ("id",), False),
    ],
)
def test_only_a_computed_column_may_be_rounded(
    level: str, number: int, message: str, written: tuple[str, ...], *, expected: bool
) -> None:
    assert is_about_computed(level, number, message, written) is expected


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ({"id": "int(11)", "n": "decimal(5,2)"}, {"id": "int", "n": "decimal(5,2)", "share": "decimal(9,2)"}, True),
        ({"id": "bigint unsigned", "d": "json"}, {"id": "bigint(20) unsigned", "d": "longtext", "s": "int"}, True),
        ({"id": "int", "n": "decimal(5,2)"}, {"id": "int", "n": "decimal(5,1)", "share": "decimal(9,2)"}, False),
        ({"id": "int", "t": "varchar(9)"}, {"id": "int", "t": "varchar(8)", "share": "decimal(9,2)"}, False),
        ({"id": "int", "n": "decimal(5,2)"}, {"id": "int", "n": "decimal(5,2)"}, False),
        ({"id": "int", "n": "int"}, {"id": "int", "share": "int", "more": "int"}, False),
    ],
)
def test_remarks_are_asked_for_unless_no_written_value_can_change(
    source: dict[str, str], target: dict[str, str], *, expected: bool
) -> None:
    columns = tuple(Column(name, kind, is_binary_safe=False) for name, kind in source.items())
    table = Table(TableName("d", "t"), 0, columns, ("id",), "f", 1, 0, 1, "")
    types = {name: ColumnType(name, kind, "") for name, kind in target.items()}
    assert says_too_much(table, types) is expected

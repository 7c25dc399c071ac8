"""Which tables are taken for the work of a tool that alters a selected one."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.shadow_tables import is_shadow
from towline.domain.tables import ObjectSelection, TableName

LONG = "l" * 63
SELECTED = ObjectSelection(tables=frozenset(TableName("d", name) for name in ("t", "_u", LONG, "v_20240229101112")))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "_t_gho",
            "_t_del",
            "_t_20240229101112_del",
            "_t_new",
            "___t_new",
            "_t_old",
            "__t_old",
            "__u_gho",
            "___u_new",
        ),
        *("__u_gho", "___u_new", "_v_20240229101112_gho", f"_{LONG[:59]}_gho", f"_{LONG[:59]}_old"),
    ],
)
def test_shadow_of_a_selected_table(name: str) -> None:
    assert is_shadow(TableName("d", name), SELECTED)
    assert not is_shadow(TableName("e", name), SELECTED)
    assert not is_shadow(TableName("d", name), ObjectSelection(tables=frozenset({TableName("d", "other")})))


@pytest.mark.parametrize("name", ["t_gho", "t", "_t", "_t_ghc", "_t_newer", "_x_new", "_t_2024_del", "__new", "_gho"])
def test_any_other_table_is_none(name: str) -> None:
    assert not is_shadow(TableName("d", name), SELECTED)


def test_a_cut_name_is_as_long_as_names_can_be() -> None:
    assert not is_shadow(TableName("d", f"_{LONG[:58]}_gho"), SELECTED)

"""Statements and code of MySQL and MariaDB with other names."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.ddl_plan import require_same_names
from towline.adapters.mysql.renamed_sql import (
    Uncertain,
    find_mentioned,
    rename_created_table,
    rename_parent,
    rename_trigger,
    rename_view,
)
from towline.adapters.mysql.statements import read_statement
from towline.domain.errors import SourceDdl
from towline.domain.tables import NameMap, SchemaRename, TableName, TableRename

NAMES = NameMap(
    schemas=(SchemaRename("shop", "sto`re"),),
    tables=(TableRename(TableName("shop", "orders"), TableName("archive", "orders_2026")),),
)


def test_a_table_and_a_parent_are_named_in_full() -> None:
    created = rename_created_table("CREATE TABLE `a``b` (\n  `CREATE TABLE` int\n)", TableName("x", "y`z"))
    assert created == "CREATE TABLE `x`.`y``z` (\n  `CREATE TABLE` int\n)"
    key = "CONSTRAINT `k` FOREIGN KEY (`p`) REFERENCES `orders` (`id`) ON DELETE CASCADE"
    assert "REFERENCES `a`.`b` (`id`) ON DELETE" in rename_parent(key, TableName("a", "b"))
    qualified = key.replace("`orders`", "`shop`.`orders`")
    assert rename_parent(qualified, TableName("a", "b")) == rename_parent(key, TableName("a", "b"))


def test_a_view_reads_the_tables_that_its_own_were_renamed_to() -> None:
    text = (
        "CREATE ALGORITHM=UNDEFINED DEFINER=`shop`@`%` SQL SECURITY DEFINER VIEW `shop`.`seen` AS select"
        " `shop`.`orders`.`id` AS `id`,`i`.`name` AS `name`,`shop`.`orders`(1) AS `f`,'`shop`.`o`' AS `t`"
        " from (`shop`.`orders` join `shop`.`item` `i`)"
    )
    assert rename_view(text, NAMES) == (
        "CREATE ALGORITHM=UNDEFINED DEFINER=`shop`@`%` SQL SECURITY DEFINER VIEW `sto``re`.`seen` AS select"
        " `archive`.`orders_2026`.`id` AS `id`,`i`.`name` AS `name`,"
        "`sto``re`.`orders`(1) AS `f`,'`shop`.`o`' AS `t`"
        " from (`archive`.`orders_2026` join `sto``re`.`item` `i`)"
    )


@pytest.mark.parametrize("text", ["select 1 AS `shop`", "select `o`.`shop` from `x`.`y` `o`"])
def test_a_view_whose_words_may_mean_two_things_is_not_guessed(text: str) -> None:
    with pytest.raises(Uncertain, match="shop"):
        rename_view(text, NAMES)


def test_a_trigger_gets_a_new_head_and_keeps_its_body() -> None:
    text = (
        "CREATE DEFINER=`a`@`b` TRIGGER `shop`.`t` before\n insert on shop . `orders` for each row FOLLOWS u SET @a = 1"
    )
    renamed = rename_trigger(
        text, name=TableName("archive", "t"), when="BEFORE INSERT", there=TableName("archive", "orders_2026")
    )
    assert renamed == (
        "CREATE DEFINER=`a`@`b` TRIGGER `archive`.`t` BEFORE INSERT ON `archive`.`orders_2026`"
        " for each row FOLLOWS u SET @a = 1"
    )
    assert rename_trigger("CREATE TRIGGER t", name=TableName("a", "t"), when="", there=TableName("a", "b")) is None


def test_code_that_names_what_is_renamed_is_found() -> None:
    assert find_mentioned("BEGIN INSERT INTO Orders VALUES (1); END", NAMES) == "shop.orders"
    assert find_mentioned("SELECT 1 FROM `Shop`.item", NAMES) == "shop"
    assert find_mentioned("SELECT shop FROM item /* shop.orders */", NAMES) == ""


@pytest.mark.parametrize(
    ("text", "database"),
    [
        ("ALTER TABLE other.orders ADD a int", "shop"),
        ("ALTER TABLE shop.item ADD a int", "other"),
        ("CREATE TABLE other.t (o int, FOREIGN KEY (o) REFERENCES orders (id))", "other"),
        ("CREATE TABLE archive.orders_2026 (a int)", "other"),
        ("ALTER DATABASE shop CHARACTER SET utf8mb4", ""),
    ],
)
def test_ddl_on_what_has_another_name_stops_the_job(text: str, database: str) -> None:
    with pytest.raises(SourceDdl, match="another name"):
        require_same_names(text, read_statement(text, database), database=database, names=NAMES)


def test_ddl_on_anything_else_goes_on() -> None:
    text = "ALTER TABLE item ADD shop int"
    require_same_names(text, read_statement(text, "other"), database="other", names=NAMES)

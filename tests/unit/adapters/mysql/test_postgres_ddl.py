"""Tables of MySQL and MariaDB as PostgreSQL's."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.postgres_ddl import (
    MAX_NAME_BYTES,
    ColumnFacts,
    ForeignKeyFacts,
    IndexFacts,
    IndexPart,
    Names,
    TableFacts,
    cap_sequence,
    find_bigints,
    render_default,
    sequence_name,
)
from towline.adapters.mysql.postgres_plan import plan_structure
from towline.adapters.mysql.shapes import ColumnShape
from towline.domain.errors import StructureFailed
from towline.domain.structure import Section, StructureItem
from towline.domain.tables import TableName


def column(name: str, type_sql: str, default: str | None = None, *, extra: str = "", charset: str = "") -> ColumnFacts:
    return ColumnFacts(
        ColumnShape(name, type_sql, charset or None),
        is_nullable=True,
        default=default,
        extra=extra,
        comment="",
        collation="",
        is_generated=False,
    )


def table(name: str, *columns: ColumnFacts, indexes: tuple[IndexFacts, ...] = ()) -> TableFacts:
    return TableFacts(TableName("shop", name), columns, indexes=indexes)


def index(name: str, *columns: str, is_unique: bool = False, kind: str = "BTREE") -> IndexFacts:
    return IndexFacts(name, is_unique, kind, tuple(IndexPart(name, None, is_descending=False) for name in columns))


def plan(
    *tables: TableFacts, keys: dict[TableName, tuple[str, ...]] | None = None
) -> tuple[list[StructureItem], list[tuple[str, str, str]]]:
    reports: list[tuple[str, str, str]] = []
    items = plan_structure(
        tables,
        keys or {},
        schemas=["shop"],
        is_mariadb=False,
        report=lambda kind, name, reason: reports.append((kind, name, reason)),
    )
    return items, reports


DEFAULTS = [
    # type, the catalog's words on MySQL and on MariaDB (None: as on MySQL), the default on PostgreSQL
    ("int", "5", None, "5"),
    ("int", None, "NULL", ""),
    ("decimal(5,2)", "-1.50", None, "-1.50"),
    ("varchar(9)", "it's", "'it\\'s'", "'it''s'"),
    ("varchar(9)", "a\\b", "'a\\\\b'", "E'a\\\\b'"),
    ("varchar(9)", "", "''", "''"),
    ("varchar(9)", "NULL", "'NULL'", "'NULL'"),
    ("enum('a','b')", "b", "'b'", "'b'"),
    ("set('a','b')", "a,b", "'a,b'", '\'{"a","b"}\''),
    ("date", "2024-02-29", "'2024-02-29'", "'2024-02-29'"),
    ("date", "0000-00-00", "'0000-00-00'", None),
    ("timestamp", "2024-01-01 00:00:00", "'2024-01-01 00:00:00'", "'2024-01-01 00:00:00+00'"),
    ("timestamp", "CURRENT_TIMESTAMP", "current_timestamp()", "CURRENT_TIMESTAMP(0)"),
    ("datetime(3)", "CURRENT_TIMESTAMP(3)", "current_timestamp(3)", "LOCALTIMESTAMP(3)"),
    ("bit(4)", "b'101'", None, "B'0101'"),
    ("binary(3)", "0x6100", None, "E'\\\\x610000'"),
    ("time", "-01:00:00", "'-01:00:00'", "'-01:00:00'"),
    ("year", "2024", None, "2024"),
]


@pytest.mark.parametrize(("type_sql", "on_mysql", "on_mariadb", "expected"), DEFAULTS)
def test_default_is_written_where_it_is_certain(
    type_sql: str, on_mysql: str | None, on_mariadb: str | None, expected: str | None
) -> None:
    assert render_default(column("c", type_sql, on_mysql), is_mariadb=False) == (
        expected if on_mysql is not None else ""
    )
    on_mariadb = on_mysql if on_mariadb is None else on_mariadb
    assert render_default(column("c", type_sql, on_mariadb), is_mariadb=True) == expected


@pytest.mark.parametrize("is_mariadb", [False, True])
def test_default_that_is_an_expression_is_left_out(is_mariadb: bool) -> None:
    made = column("c", "varchar(36)", "uuid()", extra="DEFAULT_GENERATED")
    assert render_default(made, is_mariadb=is_mariadb) is None


def test_names_are_kept_apart_and_short() -> None:
    names = Names({"orders"})
    assert names.take("orders_pkey") == "orders_pkey"
    again = names.take("orders_pkey")
    assert again != "orders_pkey"
    long = names.take("ü" * 60)
    assert len(long.encode()) <= MAX_NAME_BYTES
    assert names.take("ü" * 60) != long
    assert sequence_name("t" * 60, "id") != sequence_name("t" * 60, "ie")


def test_name_that_would_be_cut_off_is_refused() -> None:
    with pytest.raises(StructureFailed, match="63 bytes"):
        plan(table("é" * 40, column("id", "int")))


def test_counting_columns_and_what_refers_to_them_are_bigint() -> None:
    parent = table("parent", column("id", "bigint unsigned", extra="AUTO_INCREMENT"))
    key = ForeignKeyFacts("fk", ("parent_id",), TableName("shop", "parent"), ("id",), "CASCADE", "NO ACTION")
    child = TableFacts(TableName("shop", "child"), (column("parent_id", "bigint unsigned"),), foreign_keys=(key,))
    other = table("other", column("id", "bigint unsigned"))
    chosen = {f"{name.name}.{column}" for name, column in find_bigints([child, parent, other])}
    assert chosen == {"parent.id", "child.parent_id"}


def test_sequence_stays_inside_its_type() -> None:
    assert cap_sequence(7, "integer") == (7, False)
    assert cap_sequence(2**64 - 1, "numeric(20)") == (2**63 - 1, True)
    assert cap_sequence(2**15, "smallint") == (2**15 - 1, True)


def test_indexes_without_a_certain_equal_are_reported() -> None:
    prefix = IndexFacts("beginning", False, "BTREE", (IndexPart("note", 20, is_descending=False),))
    expression = IndexFacts("computed", False, "BTREE", (IndexPart(None, None, is_descending=False),))
    made = table(
        "t",
        column("note", "text"),
        indexes=(prefix, expression, index("words", "note", kind="FULLTEXT"), index("plain", "note")),
    )
    items, reports = plan(made)
    assert [item.name for item in items if item.kind == "INDEX"] == ["t_plain"]
    assert [name for kind, name, _ in reports if kind == "INDEX"] == [
        "shop.t.beginning",
        "shop.t.computed",
        "shop.t.words",
    ]


def test_index_that_finds_rows_is_made_before_the_stream() -> None:
    made = table("t", column("a", "int"), indexes=(index("u", "a", is_unique=True), index("v", "a", is_unique=True)))
    items, _ = plan(made, keys={made.name: ("a",)})
    assert {item.name: item.section for item in items if item.kind == "INDEX"} == {
        "t_u": Section.KEYS,
        "t_v": Section.KEYS,
    }


def test_foreign_keys_to_what_is_not_unique_or_not_moved_are_reported() -> None:
    parent = table("parent", column("a", "int"), indexes=(index("i", "a"),))
    keys = (
        ForeignKeyFacts("lax", ("a",), TableName("shop", "parent"), ("a",), "CASCADE", "CASCADE"),
        ForeignKeyFacts("out", ("a",), TableName("else", "t"), ("a",), "CASCADE", "CASCADE"),
    )
    items, reports = plan(parent, TableFacts(TableName("shop", "child"), (column("a", "int"),), foreign_keys=keys))
    assert not [item for item in items if item.kind == "FK CONSTRAINT"]
    assert [name for kind, name, _ in reports if kind == "FK CONSTRAINT"] == ["shop.child.lax", "shop.child.out"]

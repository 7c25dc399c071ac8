"""Which statements about indexes a job to PostgreSQL carries, and as what."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.known_tables import KnownTables
from towline.adapters.mysql.postgres_alter import plan_alter, read_ddl
from towline.adapters.mysql.postgres_indexes import IndexAction
from towline.adapters.mysql.shapes import ColumnShape
from towline.adapters.mysql.source_form import SourceForm
from towline.adapters.mysql.statement_context import StatementContext
from towline.adapters.mysql.statements import read_statement
from towline.adapters.mysql.table_order import TableOrder
from towline.domain.errors import SourceDdl
from towline.domain.tables import TableName

FORM = SourceForm(
    (
        ColumnShape("id", "int"),
        ColumnShape("a", "int"),
        ColumnShape("b", "int"),
        ColumnShape("v", "varchar(40)", "latin1"),
    ),
    key=("id",),
    charset="latin1",
    indexes=("PRIMARY", "k"),
)


KNOWN = KnownTables({}, {}, lambda table: table.schema == "d", lambda table: table)


def plan(text: str) -> TableOrder | None:
    context = StatementContext("d", sql_mode=0)
    return plan_alter(read_ddl(text, read_statement(text, "d")), FORM, context, KNOWN, is_mariadb=False)


def create(name: str, *columns: str, is_unique: bool = False) -> IndexAction:
    return IndexAction("create", name, tuple((column, False) for column in columns), is_unique=is_unique)


@pytest.mark.parametrize(
    ("text", "actions"),
    [
        ("CREATE INDEX i ON t (a)", [create("i", "a")]),
        ("create unique index `i i` using btree on `d`.`t` (`a`, `select` asc) COMMENT 'x, y' LOCK=NONE",
         [create("i i", "a", "select", is_unique=True)]),
        ("CREATE INDEX i ON t (a DESC) ALGORITHM INPLACE", [IndexAction("create", "i", (("a", True),))]),
        ("DROP INDEX i ON d.t ALGORITHM = INPLACE", [IndexAction("drop", "i")]),
        ("ALTER TABLE t ADD INDEX i (a), DROP KEY k, RENAME INDEX x TO y;",
         [create("i", "a"), IndexAction("drop", "k"), IndexAction("rename", "x", new_name="y")]),
        ("ALTER TABLE t ADD UNIQUE i (a), ALGORITHM=INPLACE, LOCK=NONE", [create("i", "a", is_unique=True)]),
        ("ALTER TABLE t ADD CONSTRAINT c UNIQUE (a)", [create("c", "a", is_unique=True)]),
        ("ALTER TABLE t ADD CONSTRAINT c UNIQUE KEY i (a)", [create("i", "a", is_unique=True)]),
        ("ALTER TABLE t ADD CONSTRAINT UNIQUE KEY i (a)", [create("i", "a", is_unique=True)]),
        ("ALTER TABLE t ADD FULLTEXT KEY f (v), ADD KEY i (a)", [create("i", "a")]),
        ("ALTER TABLE t ADD INDEX (a, b)", [create("a", "a", "b")]),
        ("SET STATEMENT lock_wait_timeout=1 FOR ALTER TABLE t DROP INDEX i", [IndexAction("drop", "i")]),
    ],
)  # fmt: skip
def test_indexes_of_whole_columns_are_carried(text: str, actions: list[IndexAction]) -> None:
    order = plan(text)
    assert order is not None
    assert (order.table, order.key, order.indexes) == (TableName("d", "t"), ("id",), tuple(actions))
    assert not order.columns
    assert TableOrder.decode(order.encode()) == order


def test_the_names_of_a_table_s_indexes_are_kept() -> None:
    order = plan("ALTER TABLE t ADD INDEX i (a), DROP KEY K, RENAME INDEX x TO y")
    assert order is not None
    assert [kept.form and kept.form.indexes for kept in order.forms] == [("PRIMARY", "i", "y")]


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE t COMMENT = 'a, ADD b int', AUTO_INCREMENT = 7 ROW_FORMAT=DYNAMIC",
        "ALTER TABLE t ENGINE = InnoDB",
        "ALTER TABLE t FORCE, LOCK=SHARED",
        "CREATE INDEX i ON t (v(10))",
        "CREATE FULLTEXT INDEX i ON t (v)",
        "CREATE INDEX i ON t ((lower(v)), a)",
    ],
)
def test_what_the_target_has_no_equal_of_is_passed_over(text: str) -> None:
    order = plan(text)
    assert order is None or not (order.indexes or order.columns or order.tables)


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE t ADD INDEX (k)",
        "ALTER TABLE t ADD INDEX (a), ADD KEY (a)",
        "ALTER TABLE t ADD PRIMARY KEY (a)",
        "ALTER TABLE t DROP PRIMARY KEY",
        "DROP INDEX `PRIMARY` ON t",
        "ALTER TABLE t DROP CONSTRAINT f",
        "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id)",
        "ALTER TABLE t ADD CONSTRAINT CHECK (a > 0)",
        "ALTER TABLE t RENAME u",
        "ALTER TABLE t RENAME INDEX a TO b, RENAME INDEX b TO a",
        "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4",
        "ALTER TABLE t ENGINE = MyISAM",
        "ALTER IGNORE TABLE t ADD UNIQUE i (a)",
        "ALTER TABLE t COMMENT = 'x' DROP COLUMN b",
        "ALTER TABLE t ALTER INDEX i INVISIBLE",
        "ALTER TABLE t ADD KEY i (a) INVISIBLE",
        "ALTER TABLE t",
        "CREATE UNIQUE INDEX i ON t (v(10))",
        "CREATE INDEX i ON t (a) INVISIBLE",
        "CREATE INDEX IF NOT EXISTS i ON t (a)",
        "CREATE OR REPLACE INDEX i ON t (a)",
        "DROP INDEX IF EXISTS i ON t",
        "CREATE INDEX i ON t (a",
        "DROP TABLE t",
        "CREATE TABLE t (id int)",
        "RENAME TABLE t TO u",
    ],
)
def test_anything_else_stops_the_job(text: str) -> None:
    with pytest.raises(SourceDdl, match="the source ran"):
        plan(text)

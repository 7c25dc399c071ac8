"""Which statements about indexes a job to PostgreSQL carries, and as what."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.postgres_indexes import IndexAction, IndexOrder, plan_index_ddl
from towline.adapters.mysql.statements import read_statement
from towline.domain.errors import SourceDdl
from towline.domain.tables import TableName


def plan(text: str) -> IndexOrder | None:
    return plan_index_ddl(text, read_statement(text, "d"), key=("id",))


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
        ("SET STATEMENT lock_wait_timeout=1 FOR ALTER TABLE t DROP INDEX i", [IndexAction("drop", "i")]),
    ],
)  # fmt: skip
def test_indexes_of_whole_columns_are_carried(text: str, actions: list[IndexAction]) -> None:
    order = plan(text)
    assert order == IndexOrder(read_statement(text, "d").summary, TableName("d", "t"), ("id",), tuple(actions))
    assert IndexOrder.decode(order.encode()) == order


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
    assert plan(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE t ADD COLUMN c int",
        "ALTER TABLE t ADD c int, ADD KEY i (c)",
        "ALTER TABLE t ADD INDEX i (a), DROP COLUMN b",
        "ALTER TABLE t ADD INDEX (a)",
        "ALTER TABLE t ADD PRIMARY KEY (a)",
        "ALTER TABLE t DROP PRIMARY KEY",
        "DROP INDEX `PRIMARY` ON t",
        "ALTER TABLE t DROP b",
        "ALTER TABLE t DROP FOREIGN KEY f",
        "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id)",
        "ALTER TABLE t ADD CONSTRAINT CHECK (a > 0)",
        "ALTER TABLE t RENAME u",
        "ALTER TABLE t RENAME COLUMN a TO b",
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

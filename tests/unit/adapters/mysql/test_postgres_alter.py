"""Which changes of columns a job to PostgreSQL carries, and as what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from towline.adapters.mysql.column_changes import is_widening
from towline.adapters.mysql.known_tables import KnownTables
from towline.adapters.mysql.postgres_alter import plan_alter, read_ddl
from towline.adapters.mysql.postgres_keys import KeyAction
from towline.adapters.mysql.shapes import ColumnShape
from towline.adapters.mysql.source_form import SourceForm
from towline.adapters.mysql.statement_context import StatementContext
from towline.adapters.mysql.statements import read_statement
from towline.adapters.mysql.table_order import TableOrder
from towline.domain.errors import SourceDdl
from towline.domain.tables import TableName

FORM = SourceForm(
    (
        ColumnShape("id", "int(11)"),
        ColumnShape("a", "int"),
        ColumnShape("b", "int"),
        ColumnShape("v", "varchar(40)", "latin1"),
        ColumnShape("e", "enum('x','y')", "utf8mb4"),
    ),
    key=("id",),
    charset="latin1",
    indexes=("PRIMARY",),
)
# 2024-02-29 23:59:59.25 in UTC
CONTEXT = StatementContext(
    "d", timestamp="1709251199.250000", sql_mode=0, time_zone="+02:00", has_explicit_timestamps=True
)


KNOWN = KnownTables(
    {TableName("d", name): FORM for name in ("t", "p")}, {}, lambda table: table.schema == "d", lambda table: table
)


def plan(text: str, *, context: StatementContext = CONTEXT, is_mariadb: bool = False) -> TableOrder:
    order = plan_alter(read_ddl(text, read_statement(text, "d")), FORM, context, KNOWN, is_mariadb=is_mariadb)
    assert order is not None
    assert TableOrder.decode(order.encode()) == order
    return order


def names(order: TableOrder) -> list[str]:
    (kept,) = order.forms
    assert kept.form is not None
    return [column.name for column in kept.form.columns]


ADDED = [
    # the definition; the catalog's type and character set; the clauses
    ("int", "int", None, ['ADD COLUMN "c" integer']),
    ("INTEGER(11) UNSIGNED NOT NULL", "int(11) unsigned", None,
     ['ADD COLUMN "c" bigint NOT NULL DEFAULT 0', 'ALTER COLUMN "c" DROP DEFAULT']),
    ("bigint unsigned not null default '7' COMMENT 'it''s'", "bigint unsigned", None,
     ['ADD COLUMN "c" numeric(20) NOT NULL DEFAULT 7']),
    ("BOOL DEFAULT TRUE", "tinyint(1)", None, ['ADD COLUMN "c" smallint DEFAULT 1']),
    ("decimal(5,2) DEFAULT -1.5", "decimal(5,2)", None, ['ADD COLUMN "c" numeric(5,2) DEFAULT -1.5']),
    ("NUMERIC(4)", "decimal(4,0)", None, ['ADD COLUMN "c" numeric(4,0)']),
    ("varchar(20) NOT NULL DEFAULT 'o\\\\k'", "varchar(20)", "latin1",
     ['ADD COLUMN "c" varchar(20) NOT NULL DEFAULT E\'o\\\\k\'']),
    ("char CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL DEFAULT NULL", "char(1)", "utf8mb4",
     ['ADD COLUMN "c" varchar(1)']),
    ("text COLLATE utf8mb4_general_ci", "text", "utf8mb4", ['ADD COLUMN "c" text']),
    ("longblob", "longblob", None, ['ADD COLUMN "c" bytea']),
    ("binary(2) NOT NULL", "binary(2)", None,
     ['ADD COLUMN "c" bytea NOT NULL DEFAULT E\'\\\\x0000\'', 'ALTER COLUMN "c" DROP DEFAULT']),
    ("bit(4) DEFAULT b'101'", "bit(4)", None, ['ADD COLUMN "c" bit(4) DEFAULT B\'0101\'']),
    ("date DEFAULT '2024-02-29'", "date", None, ['ADD COLUMN "c" date DEFAULT \'2024-02-29\'']),
    ("datetime(1) DEFAULT CURRENT_TIMESTAMP(1) ON UPDATE CURRENT_TIMESTAMP(1)", "datetime(1)", None,
     ['ADD COLUMN "c" timestamp(1) DEFAULT \'2024-03-01 01:59:59.2\'',
      'ALTER COLUMN "c" SET DEFAULT LOCALTIMESTAMP(1)']),
    ("timestamp NOT NULL DEFAULT now()", "timestamp", None,
     ['ADD COLUMN "c" timestamp(0) with time zone NOT NULL DEFAULT \'2024-02-29 23:59:59+00\'',
      'ALTER COLUMN "c" SET DEFAULT CURRENT_TIMESTAMP(0)']),
    ("enum('p','q''s') NOT NULL", "enum('p','q''s')", "latin1",
     ['ADD COLUMN "c" text NOT NULL DEFAULT \'p\' CHECK ("c" IN (\'\', \'p\', \'q\'\'s\'))',
      'ALTER COLUMN "c" DROP DEFAULT']),
    ("set('p','q') DEFAULT 'q,p'", "set('p','q')", "latin1",
     ['ADD COLUMN "c" text[] DEFAULT \'{"p","q"}\' CHECK ("c" <@ ARRAY[\'p\', \'q\']::text[])']),
    ("json", "json", None, ['ADD COLUMN "c" jsonb']),
]  # fmt: skip


@pytest.mark.parametrize(("words", "type_sql", "charset", "clauses"), ADDED)
def test_a_column_is_added_as_the_copy_would_have_made_it(
    words: str, type_sql: str, charset: str | None, clauses: list[str]
) -> None:
    order = plan(f"ALTER TABLE t ADD COLUMN c {words}")
    (action,) = order.columns
    assert (action.kind, action.name, list(action.clauses), action.must_be_empty) == ("add", "c", clauses, "")
    (kept,) = order.forms
    assert kept.form is not None
    assert kept.form.columns == (*FORM.columns, ColumnShape("c", type_sql, charset))


def test_what_each_server_fills_in_by_itself_needs_an_empty_table() -> None:
    for words in ("date NOT NULL", "json NOT NULL", "point NOT NULL"):
        assert plan(f"ALTER TABLE t ADD c {words}").columns[0].must_be_empty
    elsewhere = StatementContext("d", sql_mode=0, time_zone="SYSTEM", has_explicit_timestamps=True)
    moment = "ALTER TABLE t ADD c {} DEFAULT CURRENT_TIMESTAMP"
    assert plan(moment.format("datetime"), context=elsewhere).columns[0].must_be_empty
    assert not plan(moment.format("timestamp"), context=elsewhere).columns[0].must_be_empty


def test_json_of_mariadb_is_a_text() -> None:
    order = plan("ALTER TABLE t ADD c json", is_mariadb=True)
    assert order.columns[0].clauses == ('ADD COLUMN "c" text',)
    assert order.forms[0].form is not None
    assert order.forms[0].form.columns[-1] == ColumnShape("c", "longtext", "utf8mb4")


@pytest.mark.parametrize(
    ("clauses", "expected"),
    [
        ("ADD c int FIRST, ADD d int AFTER A", ["c", "id", "a", "d", "b", "v", "e"]),
        ("ADD (c int, d int), DROP b", ["id", "a", "v", "e", "c", "d"]),
        ("RENAME COLUMN a TO c, ADD COLUMN d int", ["id", "c", "b", "v", "e", "d"]),
        ("MODIFY a int AFTER b", ["id", "b", "a", "v", "e"]),
        ("MODIFY A int", ["id", "A", "b", "v", "e"]),
        ("MODIFY a int AFTER b, ADD c int AFTER b", ["id", "b", "c", "a", "v", "e"]),
        ("CHANGE A A2 bigint FIRST", ["A2", "id", "b", "v", "e"]),
    ],
)
def test_columns_stand_where_the_source_has_them(clauses: str, expected: list[str]) -> None:
    assert names(plan(f"ALTER TABLE t {clauses}")) == expected


def test_a_key_that_is_renamed_stays_the_key() -> None:
    order = plan("ALTER TABLE t CHANGE id number bigint NOT NULL AUTO_INCREMENT, ADD KEY i (number)")
    assert [action.kind for action in order.columns] == ["rename", "alter"]
    assert order.columns[1].clauses == ('ALTER COLUMN "number" TYPE bigint', 'ALTER COLUMN "number" SET NOT NULL')
    assert order.columns[1].is_counted
    assert order.key == ("id",)
    assert order.forms[0].form is not None
    assert order.forms[0].form.key == ("number",)
    assert order.forms[0].form.indexes == ("PRIMARY", "i")


def test_modify_says_all_of_a_column_anew() -> None:
    (action,) = plan("ALTER TABLE t MODIFY COLUMN a bigint DEFAULT 3 COMMENT 'x'").columns
    assert action.clauses == (
        'ALTER COLUMN "a" TYPE bigint', 'ALTER COLUMN "a" DROP NOT NULL', 'ALTER COLUMN "a" SET DEFAULT 3',
    )  # fmt: skip
    assert (action.check, action.comment) == (None, "x")
    (action,) = plan("ALTER TABLE t MODIFY e enum('x','y','z') CHARSET utf8mb4 NOT NULL").columns
    assert action.clauses == ('ALTER COLUMN "e" SET NOT NULL', 'ALTER COLUMN "e" DROP DEFAULT')
    assert action.check == "CHECK (\"e\" IN ('', 'x', 'y', 'z'))"


def test_keys_are_dropped_and_added() -> None:
    order = plan(
        "ALTER TABLE t DROP FOREIGN KEY old, DROP PRIMARY KEY, ADD CONSTRAINT pk PRIMARY KEY USING BTREE (V, a),"
        " ADD CONSTRAINT f FOREIGN KEY i (a) REFERENCES d.p (id) ON UPDATE RESTRICT, DROP CHECK c"
    )
    parent = TableName("d", "p")
    assert order.keys == (
        KeyAction("drop", "old"),
        KeyAction("primary", columns=("V", "a")),
        KeyAction("add", "f", ("a",), parent, ("id",), on_update="RESTRICT", index="i"),
    )
    (kept,) = order.forms
    assert kept.form is not None
    assert kept.form.key == ("v", "a")
    # What refers to a table that the job does not have is left out, as by the copy.
    text = "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES e.p (id)"
    words = read_ddl(text, read_statement(text, "d"))
    assert plan_alter(words, FORM, CONTEXT, KNOWN, is_mariadb=False) is None


def test_a_foreign_key_that_changes_rows_needs_a_binlog_that_says_so() -> None:
    text = "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id) ON DELETE SET NULL ON UPDATE CASCADE"
    words = read_ddl(text, read_statement(text, "d"))
    order = plan_alter(words, FORM, CONTEXT, replace(KNOWN, cascades_are_logged=True), is_mariadb=False)
    assert order is not None
    assert (order.keys[0].on_delete, order.keys[0].on_update) == ("SET NULL", "CASCADE")
    with pytest.raises(SourceDdl, match="without a word in the binlog"):
        plan(text)


def test_a_job_with_types_of_its_own_takes_no_new_definitions() -> None:
    known = replace(KNOWN, is_plain=False)

    def plan_wished(text: str) -> TableOrder | None:
        return plan_alter(read_ddl(text, read_statement(text, "d")), FORM, CONTEXT, known, is_mariadb=False)

    assert plan_wished("ALTER TABLE t DROP b, RENAME COLUMN a TO c, ADD KEY (v)") is not None
    for clause in ("ADD c int", "MODIFY a bigint", "CHANGE a c int", "ALTER a SET DEFAULT 3"):
        with pytest.raises(SourceDdl, match="types or collations of its own"):
            plan_wished(f"ALTER TABLE t {clause}")


def test_a_default_alone_is_set_and_dropped() -> None:
    order = plan("ALTER TABLE t ALTER COLUMN A SET DEFAULT 5, ALTER v DROP DEFAULT, RENAME COLUMN e TO f")
    assert [(action.kind, action.clauses) for action in order.columns[:2]] == [
        ("default", ('ALTER COLUMN "a" SET DEFAULT 5',)), ("default", ('ALTER COLUMN "v" DROP DEFAULT',)),
    ]  # fmt: skip
    assert names(order) == ["id", "a", "b", "v", "f"]


WIDER = [
    ("tinyint", "smallint"), ("int(11)", "int"), ("int unsigned", "bigint"), ("bigint", "bigint"),
    ("decimal(5,2)", "decimal(7,3)"), ("varchar(10)", "varchar(20)"), ("varchar(10)", "text"), ("text", "longtext"),
    ("char(4)", "varchar(4)"), ("varbinary(3)", "varbinary(4)"), ("varbinary(3)", "blob"), ("blob", "mediumblob"),
    ("enum('a','b')", "enum('c','b','a')"), ("set('a')", "set('a','b')"), ("datetime", "datetime(3)"),
    ("time(3)", "time(6)"), ("json", "json"), ("bit(3)", "bit(3)"), ("varchar(63)", "tinytext"),
]  # fmt: skip
NARROWER = [
    ("smallint", "tinyint"), ("int", "int unsigned"), ("bigint", "bigint unsigned"), ("bigint", "decimal(30,0)"),
    ("decimal(5,2)", "decimal(5,3)"), ("decimal(5,2)", "decimal(6,1)"), ("varchar(20)", "varchar(10)"),
    ("varchar(5)", "char(5)"), ("text", "varchar(70)"), ("longtext", "text"), ("binary(3)", "binary(4)"),
    ("blob", "varbinary(4)"), ("enum('a','b')", "enum('a')"), ("set('a','b')", "set('b','a')"),
    ("enum('a')", "varchar(4)"), ("datetime(3)", "datetime"), ("date", "datetime"), ("int", "varchar(20)"),
    ("float", "double"), ("bit(3)", "bit(4)"), ("varchar(64)", "tinytext"), ("varchar(9)", "varbinary(9)"),
]  # fmt: skip


def shape(type_sql: str, charset: str = "utf8mb4") -> ColumnShape:
    has_charset = type_sql.startswith(("char", "varchar", "enum", "set")) or type_sql.endswith("text")
    return ColumnShape("c", type_sql, charset if has_charset else None)


def test_only_what_keeps_every_value_is_a_widening() -> None:
    for old, new in WIDER:
        assert is_widening(shape(old), shape(new)), (old, new)
    for old, new in NARROWER:
        assert not is_widening(shape(old), shape(new)), (old, new)
    assert is_widening(shape("varchar(9)", "latin1"), shape("varchar(9)"))
    assert not is_widening(shape("varchar(9)"), shape("varchar(9)", "latin1"))
    assert not is_widening(shape("text", "latin1"), shape("text"))  # it may take more bytes


@pytest.mark.parametrize(
    "clause",
    [
        "ADD id int",
        "ADD c int AUTO_INCREMENT",
        "ADD c int UNIQUE",
        "ADD c int PRIMARY KEY",
        "ADD c int AS (a + 1)",
        "ADD c int GENERATED ALWAYS AS (a + 1) STORED",
        "ADD c int DEFAULT (a + 1)",
        "ADD c int DEFAULT 1.5",
        "ADD c int DEFAULT 3000000000",
        "ADD c tinyint unsigned DEFAULT -1",
        "ADD c datetime DEFAULT '0000-00-00 00:00:00'",
        "ADD c timestamp DEFAULT '2020-01-01 00:00:00'",
        "ADD c datetime(3) DEFAULT CURRENT_TIMESTAMP",
        "ADD c varchar(2) DEFAULT 'abc'",
        "ADD c varchar(70000)",
        "ADD c varchar(20) CHARACTER SET binary",
        "ADD c varchar(20) COLLATE uca1400_ai_ci",
        "ADD c enum('a') DEFAULT 'A'",
        "ADD c enum('a','A')",
        "ADD c text(70)",
        "ADD c text DEFAULT ''",
        "ADD c float(7,2)",
        "ADD c real",
        "ADD c nchar(3)",
        "ADD c vector(3)",
        "ADD c int ZEROFILL",
        "ADD c int INVISIBLE",
        "ADD c int CHECK (c > 0)",
        "ADD c int REFERENCES p (id)",
        "ADD c int AFTER nowhere",
        "ADD COLUMN IF NOT EXISTS c int",
        "ADD c int, ADD C int",
        f"ADD {'c' * 64} int",
        "DROP id",
        "DROP nowhere",
        "DROP COLUMN IF EXISTS b",
        "RENAME COLUMN a TO b",
        "RENAME COLUMN a TO b, RENAME COLUMN b TO a",
        "RENAME COLUMN a TO c, ADD COLUMN a int",
        "DROP COLUMN b, RENAME COLUMN a TO b",
        "DROP a, ADD a varchar(3)",
        "RENAME COLUMN a TO c, ADD d int AFTER c",
        "RENAME COLUMN nowhere TO c",
        "MODIFY a smallint",
        "MODIFY id int",  # the key may be NULL then
        "MODIFY id int NOT NULL PRIMARY KEY",
        "CHANGE a b int",
        "CHANGE a c varchar(20)",
        "ADD c int, COMMENT = 'x' DROP a",
        "ALTER COLUMN a SET INVISIBLE",
        "ALTER a SET DEFAULT 'x'",
        "ALTER a SET DEFAULT (1)",
        "ALTER nowhere DROP DEFAULT",
        "ALTER INDEX i INVISIBLE",
        "DEFAULT CHARACTER SET utf8mb4",
        "ORDER BY a",
        "ADD PARTITION (PARTITION p VALUES LESS THAN (3))",
        "ADD PRIMARY KEY (a)",  # with one there
        "DROP PRIMARY KEY",
        "DROP PRIMARY KEY, ADD PRIMARY KEY (v(3))",
        "DROP PRIMARY KEY, ADD PRIMARY KEY (nowhere)",
        "DROP PRIMARY KEY, DROP COLUMN id, ADD PRIMARY KEY (a)",
        "DROP FOREIGN KEY IF EXISTS f",
        "DROP CONSTRAINT f",
        "ADD FOREIGN KEY (a) REFERENCES p (id)",  # its name is up to the source
        "ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id) ON DELETE SET DEFAULT",
        "ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p (id) MATCH FULL",
        "ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES later (id)",
        "ADD CONSTRAINT c CHECK (a > 0)",
    ],
)
def test_what_is_not_certain_stops_the_job(clause: str) -> None:
    with pytest.raises(SourceDdl, match="which is not carried") as caught:
        plan(f"ALTER TABLE t {clause}")
    assert caught.value.remedy


def test_modes_that_change_the_meaning_of_words_stop_the_job() -> None:
    for mode in (None, 0x200, 0x1000):
        with pytest.raises(SourceDdl, match="sql_mode"):
            plan("ALTER TABLE t ADD c int", context=StatementContext("d", sql_mode=mode))
    with pytest.raises(SourceDdl, match="a text in it"):
        plan("ALTER TABLE t ADD c text DEFAULT 'a\\b'", context=StatementContext("d", sql_mode=0x100000))
    for words in ("timestamp", "timestamp DEFAULT CURRENT_TIMESTAMP"):
        with pytest.raises(SourceDdl, match="may be NULL"):
            plan(f"ALTER TABLE t ADD c {words}", context=StatementContext("d", sql_mode=0))
    assert plan("ALTER TABLE t ADD c timestamp NULL", context=StatementContext("d", sql_mode=0)).columns

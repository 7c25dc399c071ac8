"""DDL that a MySQL or MariaDB source runs while a job to PostgreSQL follows it, on real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.to_postgres_jobs import ToPostgresRuns
from tests.servers.fixtures import DatabaseFactory
from tests.servers.mysql import MysqlServer, Product
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from tests.servers.to_postgres_equality import assert_same_values
from towline.embedded import EmbeddedPostgres
from towline.engine import points

BEFORE = (
    "CREATE TABLE t (id int PRIMARY KEY, a int, b int, v varchar(40), KEY old (a), UNIQUE once (b), KEY part (v(5)))",
    "INSERT INTO t VALUES (1, 10, 100, 'x'), (2, 20, 200, 'y')",
)
AHEAD = (
    "INSERT INTO t VALUES (3, 30, 300, 'z')",
    "CREATE INDEX i_a ON t (A DESC, b) COMMENT 'it''s'",
    "ALTER TABLE t ADD UNIQUE KEY u_v (v), DROP INDEX old, COMMENT = 'no; more', ALGORITHM = INPLACE, LOCK = NONE",
    "INSERT INTO t VALUES (4, 40, 400, 'w')",
    "DROP INDEX ONCE ON t",
    "INSERT INTO t VALUES (5, 50, 400, 'q')",  # only when the index is gone
    "ALTER TABLE t RENAME INDEX u_v TO u2, ENGINE = InnoDB, ADD KEY i_b (b)",
    "ALTER TABLE t DROP KEY part, ADD FULLTEXT KEY f (v)",
    "ALTER TABLE t DROP KEY i_b, ADD KEY i_b (b, a)",
    "ANALYZE TABLE t",
    "UPDATE t SET a = 41 WHERE id = 4",
)
INDEXES = {
    "t_i_a": "(a DESC, b)",
    "t_u2": "(v)",
    "t_i_b": "(b, a)",
    "t_pkey": "(id)",
}


# Each lies ahead of the job when it begins: every row must be read with the columns of its time.
COLUMNS_BEFORE = (
    """CREATE TABLE c (id int AUTO_INCREMENT PRIMARY KEY, a int, b int, v varchar(10) CHARACTER SET latin1,
                       e enum('x','y') NOT NULL, KEY u (a, b), KEY i_v (v, a))""",
    "INSERT INTO c VALUES (1, 10, 11, 'é', 'x'), (2, 20, 21, 'b', 'y')",
    "CREATE TABLE w (id int PRIMARY KEY)",
    "INSERT INTO w VALUES (1)",
)
COLUMNS = (
    "INSERT INTO c VALUES (3, 30, 31, 'ü', 'x')",
    "ALTER TABLE c MODIFY a int AFTER b",  # of one type, and the binlog has no names: nothing but order tells
    "INSERT INTO c VALUES (4, 41, 40, 'd', 'y')",
    "ALTER TABLE c ADD COLUMN n varchar(20) NOT NULL DEFAULT 'it''s ö' FIRST, ADD KEY i_n (n)",
    "INSERT INTO c VALUES ('new', 5, 51, 50, NULL, 'x')",
    "UPDATE c SET n = 'changed' WHERE id = 1",
    "SET SESSION time_zone = '+05:00'",
    "ALTER TABLE c ADD made datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), ADD w timestamp NULL DEFAULT now()",
    "ALTER TABLE c ADD (r tinyint unsigned NOT NULL, s set('p','q') NOT NULL DEFAULT 'q', d decimal(5,2) DEFAULT 1.5)",
    "UPDATE c SET r = 255, s = 'p,q' WHERE id = 2",
    "ALTER TABLE c CHANGE a z int, DROP COLUMN b, ALGORITHM = INPLACE",
    "INSERT INTO c (id, z, e, r) VALUES (6, 60, 'x', 1)",
    "ALTER TABLE c CHANGE id number bigint NOT NULL AUTO_INCREMENT, MODIFY v varchar(200) CHARACTER SET utf8mb4"
    " DEFAULT 'no' COMMENT 'x', MODIFY e enum('x','m','y') NOT NULL, MODIFY d decimal(7,3)",
    "INSERT INTO c (number, z, v, e, r) VALUES (3000000000, 70, 'жизнь', 'm', 0)",
    "ALTER TABLE c DROP COLUMN n",
    "DELETE FROM c WHERE number = 3",
    # What rows get that are there already: the type's own zero, or the default.
    """ALTER TABLE w ADD a tinyint NOT NULL, ADD b decimal(5,2) NOT NULL, ADD c double NOT NULL, ADD d bit(3) NOT NULL,
       ADD e year NOT NULL, ADD f time(2) NOT NULL, ADD g char(3) NOT NULL, ADD h text NOT NULL,
       ADD i binary(2) NOT NULL, ADD j varbinary(3) NOT NULL, ADD k blob NOT NULL, ADD l enum('p','q') NOT NULL,
       ADD m set('p') NOT NULL""",
    """ALTER TABLE w ADD n float DEFAULT 1.1, ADD o bit(3) DEFAULT b'101', ADD p date DEFAULT '2024-02-29',
       ADD q datetime(2) DEFAULT '2024-02-29 01:02:03.45', ADD r time DEFAULT '-12:00:01', ADD s char(4) DEFAULT 'a ',
       ADD t varchar(9) DEFAULT 'a\\\\b ', ADD u set('x','y') DEFAULT 'y,x', ADD v binary(3) DEFAULT 'a',
       ADD x year DEFAULT 2024, ADD y bigint unsigned DEFAULT 18446744073709551615, ADD z char(2) DEFAULT '',
       ALTER id SET DEFAULT 7""",
)
COLUMN_INDEXES = {"c_pkey": "(number)", "c_u": "(z)", "c_i_v": "(v, z)"}

TABLES_BEFORE = (
    "CREATE TABLE s (id int AUTO_INCREMENT PRIMARY KEY, a int, b int, e enum('x') NOT NULL DEFAULT 'x', KEY i_a (a))",
    "INSERT INTO s (id, a, b) VALUES (1, 10, 11), (2, 20, 21)",
    "CREATE TABLE emptied (id int PRIMARY KEY)",
    "CREATE TABLE swap_a (id int PRIMARY KEY, v int)",
    "CREATE TABLE swap_b (id int PRIMARY KEY, v int)",
    "INSERT INTO swap_a VALUES (1, 1)",
    "INSERT INTO swap_b VALUES (2, 2)",
)
TABLES = (
    """CREATE TABLE IF NOT EXISTS fresh (id bigint unsigned NOT NULL AUTO_INCREMENT, v varchar(20) NOT NULL DEFAULT '-',
        t text COLLATE utf8mb4_bin, PRIMARY KEY (id), UNIQUE KEY u_v (v) USING BTREE, KEY (t(5)))
        ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=latin1 COMMENT='new; one'""",
    "INSERT INTO fresh (v, t) VALUES ('é', 'жизнь'), ('b', NULL)",
    "CREATE TABLE IF NOT EXISTS fresh (id int)",
    "CREATE TABLE likeness LIKE fresh",
    "INSERT INTO likeness (v) VALUES ('x')",
    "DROP TABLE IF EXISTS emptied, never",
    "CREATE TABLE gone (id int, v json)",
    "INSERT INTO gone VALUES (1, '[1]')",
    "RENAME TABLE fresh TO kept",
    "UPDATE kept SET v = 'c' WHERE v = 'b'",
    "ALTER TABLE kept DROP INDEX u_v, ADD n int",
    "ALTER TABLE gone RENAME TO gone2",
    "DROP TABLE IF EXISTS gone2",
    "RENAME TABLE swap_a TO swap_c, swap_b TO swap_a, swap_c TO swap_b",
    "UPDATE swap_a SET v = 3",
)
KEYS_BEFORE = (
    "CREATE TABLE kp (id int PRIMARY KEY, n int)",
    "INSERT INTO kp VALUES (1, 5), (2, 6)",
    "CREATE TABLE kc (id int PRIMARY KEY, p int, q int, CONSTRAINT kc_old FOREIGN KEY (q) REFERENCES kp (id))",
    "INSERT INTO kc VALUES (1, 1, 2)",
    "CREATE TABLE kr (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES kp (id))",
    "CREATE TABLE kk (a int, b int, v int, PRIMARY KEY (a))",
    "INSERT INTO kk VALUES (1, 1, 1), (2, 1, 1)",
)
KEYS = (
    "ALTER TABLE kc DROP FOREIGN KEY kc_old, ADD CONSTRAINT kc_p FOREIGN KEY (p) REFERENCES kp (id) ON DELETE RESTRICT",
    "INSERT INTO kc VALUES (2, 2, 9)",
    "ALTER TABLE kk DROP PRIMARY KEY, ADD PRIMARY KEY (A, b)",
    "INSERT INTO kk VALUES (1, 2, 3)",
    "UPDATE kk SET v = 9 WHERE a = 1 AND b = 2",
    "DELETE FROM kk WHERE a = 1 AND b = 1",
    "CREATE TABLE kn (id int PRIMARY KEY, p int, CONSTRAINT kn_p FOREIGN KEY (p) REFERENCES kp (id))",
    "INSERT INTO kn VALUES (1, 1)",
    "RENAME TABLE kr TO kr2",
    "ALTER TABLE kr2 DROP FOREIGN KEY kr2_ibfk_1",
    "SET SESSION foreign_key_checks = 0",
    "ALTER TABLE kc ADD CONSTRAINT kc_q FOREIGN KEY (q) REFERENCES kp (id)",  # one of its rows refers to nothing
    "SET SESSION foreign_key_checks = 1",
)
# The statements of gh-ost and pt-online-schema-change on their way, as their logs have them.
GH_OST = (
    "create /* gh-ost */ table _s_ghc (id bigint unsigned auto_increment, last_update timestamp not null default"
    " CURRENT_TIMESTAMP on update CURRENT_TIMESTAMP, hint varchar(64) charset ascii not null, value varchar(255)"
    " charset ascii not null, primary key (id), unique key hint_uidx (hint)) auto_increment=256",
    "insert /* gh-ost */ into _s_ghc (hint, value) values ('state', 'GhostTableMigrated')",
    "create /* gh-ost */ table _s_gho like s",
    "alter /* gh-ost */ table _s_gho ADD COLUMN c int DEFAULT 3, MODIFY e enum('x','y') NOT NULL",
    "insert /* gh-ost */ ignore into _s_gho (id, a, b) (select id, a, b from s where id <= 2)",
    "UPDATE s SET a = 12 WHERE id = 1",
    "replace /* gh-ost */ into _s_gho (id, a, b, e) values (1, 12, 11, 'y')",
    "create /* gh-ost */ table _s_del (id int auto_increment primary key) comment='ghost-cut-over-sentry'",
    "drop /* gh-ost */ table if exists _s_del",
    "rename /* gh-ost */ table s to _s_del, _s_gho to s",
    "INSERT INTO s VALUES (3, 30, 31, 'y', 32)",
    "drop /* gh-ost */ table if exists _s_ghc",
)
PT_OSC = (
    """CREATE TABLE _s_new (
      `id` int NOT NULL AUTO_INCREMENT, `a` int DEFAULT NULL, `b` int DEFAULT NULL, `e` enum('x','y') NOT NULL,
      `c` int DEFAULT '3', PRIMARY KEY (`id`), KEY `i_a` (`a`)
    ) ENGINE=InnoDB AUTO_INCREMENT=4 DEFAULT CHARSET=utf8mb4""",
    "ALTER TABLE _s_new ADD COLUMN d int, DROP COLUMN b, DROP KEY i_a, ADD KEY i_d (d)",
    "CREATE TRIGGER pt_osc_ins AFTER INSERT ON s FOR EACH ROW REPLACE INTO _s_new (id, a, e)"
    " VALUES (NEW.id, NEW.a, NEW.e)",
    "INSERT LOW_PRIORITY IGNORE INTO _s_new (id, a, e) SELECT id, a, e FROM s /*pt-online-schema-change copy nibble*/",
    "INSERT INTO s (id, a, e) VALUES (9, 90, 'x')",
    "ANALYZE TABLE _s_new /* pt-online-schema-change */",
    "RENAME TABLE s TO _s_old, _s_new TO s",
    "DROP TRIGGER IF EXISTS pt_osc_ins",
    "INSERT INTO s (id, e, d) VALUES (10, 'y', 100)",
    "DROP TABLE IF EXISTS _s_old",
    "ALTER TABLE s DROP KEY i_d, ADD KEY i_e (e)",
)


@pytest.fixture
def runs(
    pg18: EmbeddedPostgres,
    mysql_server: MysqlServer,
    fresh_mysql_database: MysqlDatabaseFactory,
    fresh_database: DatabaseFactory,
    tmp_path: Path,
) -> ToPostgresRuns:
    return ToPostgresRuns(source=fresh_mysql_database(mysql_server), target=fresh_database(pg18), work_dir=tmp_path)


def read_indexes(runs: ToPostgresRuns, table: str) -> dict[str, str]:
    rows = runs.target.fetch_all(
        f"SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = '{runs.source.name}' AND tablename = '{table}'"
    )
    return {name: definition[definition.rindex("(") :] for name, definition in rows}


def assert_arrived(runs: ToPostgresRuns) -> None:
    assert read_indexes(runs, "t") == INDEXES
    assert read_indexes(runs, "c") == COLUMN_INDEXES
    assert read_indexes(runs, "s") == {"s_pkey": "(id)", "s_i_e": "(e)"}
    assert read_indexes(runs, "kept") == {"kept_pkey": "(id)"}
    assert read_indexes(runs, "likeness") == {"likeness_pkey": "(id)", "likeness_u_v": "(v)"}
    assert read_indexes(runs, "kk") == {"kk_pkey": "(a, b)"}
    assert read_indexes(runs, "kc") == {"kc_pkey": "(id)", "kc_kc_old": "(q)", "kc_kc_p": "(p)"}
    keys = runs.target.fetch_all(
        f"""SELECT conname, convalidated FROM pg_constraint
            WHERE contype = 'f' AND connamespace = '{runs.source.name}'::regnamespace"""
    )
    assert dict(keys) == {"kc_p": True, "kc_q": False, "kn_p": True}
    assert_same_values(runs.source, runs.target)


def begin(runs: ToPostgresRuns) -> None:
    runs.source.execute(*BEFORE, *COLUMNS_BEFORE, *TABLES_BEFORE, *KEYS_BEFORE)
    runs.run_to_the_end(conflict_policy="stop")
    runs.source.execute(*AHEAD, *COLUMNS, *TABLES, *GH_OST, *PT_OSC, *KEYS)


@pytest.mark.parametrize("mysql_product", [Product.MARIADB], ids=["mariadb10"])
def test_ddl_takes_its_place_among_the_rows_until_one_is_not_certain(runs: ToPostgresRuns) -> None:
    begin(runs)
    runs.run_to_the_end(conflict_policy="stop")
    assert_arrived(runs)
    (column,) = runs.target.fetch_all(
        f"""SELECT data_type, is_nullable, column_default, pg_get_serial_sequence('{runs.source.name}.c', 'number')
            FROM information_schema.columns
            WHERE table_schema = '{runs.source.name}' AND table_name = 'c' AND column_name = 'number'"""
    )
    assert column == ("bigint", "NO", None, f"{runs.source.name}.c_number_seq")
    runs.source.execute("ALTER TABLE t DROP INDEX i_a, MODIFY a varchar(20)")
    outcome = runs.run(conflict_policy="stop")
    assert outcome["error"] == "SOURCE_DDL"
    assert f"ALTER TABLE {runs.source.name}.t" in outcome["message"]
    assert read_indexes(runs, "t") == INDEXES


@pytest.mark.parametrize("mysql_product", [Product.MYSQL], ids=["mysql9"])
def test_i1_i5_killed_around_a_statement_neither_loses_nor_repeats_it(runs: ToPostgresRuns) -> None:
    begin(runs)
    runs.run_until_killed(points.DDL_BEFORE_CHECKPOINT, times=2, conflict_policy="stop")
    runs.run_until_killed(points.APPLY_AFTER_COMMIT, times=2, conflict_policy="stop")
    runs.run_to_the_end(conflict_policy="stop")
    assert_arrived(runs)

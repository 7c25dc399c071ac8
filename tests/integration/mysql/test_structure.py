"""What a table has besides rows, and the code beside it, between servers of one product and of both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from tests.fault.mysql_jobs import MysqlRuns
from tests.integration.sample_schemas import MYSQL_SAMPLES
from tests.servers.mysql import MysqlDatabase, Product
from tests.servers.mysql_equality import assert_same_rows
from tests.servers.mysql_fixtures import GetServer, MysqlDatabaseFactory
from towline.adapters.mysql.ending import bring_code
from towline.adapters.mysql.source_side import look_at_source
from towline.adapters.mysql.structure_source import MyStructureSource
from towline.adapters.mysql.structure_target import MyStructureTarget
from towline.adapters.mysql.target_side import take_over_target
from towline.domain.errors import StructureFailed, TargetNotEmpty
from towline.domain.jobs import Endpoint, JobSpec, TaskMode
from towline.domain.structure import StructureReport
from towline.domain.tables import ObjectSelection

MYSQL, MARIADB = Product.MYSQL, Product.MARIADB

# Only MySQL knows it.
LATERAL = "SELECT l.m FROM (SELECT 1 AS n) u, LATERAL (SELECT u.n + 1 AS m) l"

# In the words of both products; rows are there so that what the target makes of them shows.
COMMON = (
    """CREATE TABLE plain (
        id int AUTO_INCREMENT PRIMARY KEY,
        code char(8) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL DEFAULT 'it''s \\\\' COMMENT 'one, `two` (''3'')',
        label varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci DEFAULT NULL,
        kind enum('a','/*!80016 NOT ENFORCED */','INVISIBLE') DEFAULT 'a',
        flags set('x','y') NOT NULL DEFAULT 'x,y',
        price decimal(8,2) unsigned DEFAULT 1.50,
        n int(6) unsigned zerofill DEFAULT 7,
        hidden int DEFAULT 5 INVISIBLE,
        bits bit(3) DEFAULT b'101',
        made timestamp(3) NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
        born year DEFAULT 2001,
        body text,
        place point NOT NULL,
        twice int GENERATED ALWAYS AS (id_of + 1) VIRTUAL,
        held varchar(60) GENERATED ALWAYS AS (concat(label, '#')) STORED COMMENT 'held',
        id_of int DEFAULT 3,
        UNIQUE KEY code (code, id_of), KEY mixed (label(10) DESC, id_of), KEY held (held),
        KEY `it``s (` (n, price DESC), FULLTEXT KEY words (body), SPATIAL KEY place (place),
        CONSTRAINT positive CHECK (price > 0 OR price IS NULL)
    ) AUTO_INCREMENT = 4711 ROW_FORMAT = DYNAMIC COMMENT = 'all of it, /*!80003 SRID 1 */'""",
    "CREATE TABLE tight (id int PRIMARY KEY, v varbinary(20)) ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 8",
    """CREATE TABLE german (t varchar(20) CHARACTER SET latin1 COLLATE latin1_german2_ci)
        DEFAULT CHARSET = latin1 COLLATE = latin1_german2_ci STATS_PERSISTENT = 0""",
    """CREATE TABLE ranges (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE COLUMNS (d)
        (PARTITION p0 VALUES LESS THAN ('2020-01-01') COMMENT = 'old', PARTITION p1 VALUES LESS THAN (MAXVALUE))""",
    """CREATE TABLE lists (id int PRIMARY KEY) PARTITION BY LIST (id) SUBPARTITION BY HASH (id) SUBPARTITIONS 2
        (PARTITION a VALUES IN (1, 2), PARTITION b VALUES IN (3))""",
    "CREATE TABLE hashes (id int PRIMARY KEY) PARTITION BY KEY (id) PARTITIONS 3",
    """CREATE TABLE child (id int PRIMARY KEY, plain_id int, parent int, KEY parent (parent),
        CONSTRAINT up FOREIGN KEY (parent) REFERENCES child (id) ON DELETE SET NULL ON UPDATE CASCADE,
        CONSTRAINT `to` FOREIGN KEY (plain_id) REFERENCES plain (id))""",
    "INSERT INTO plain (id, label, body, place, hidden) VALUES (1, 'x', 'ships', ST_GeomFromText('POINT(1 2)'), 9)",
    "INSERT INTO ranges VALUES (1, '2019-01-01'), (2, '2021-01-01')",
    "INSERT INTO lists VALUES (1), (3)",
    "INSERT INTO hashes VALUES (1), (2), (3)",
    "INSERT INTO child VALUES (1, 1, NULL), (2, 1, 1)",
    "CREATE VIEW names AS SELECT id, label AS `utf8mb4_0900_ai_ci`, 'uca1400_ai_ci' AS said FROM plain",
    "CREATE VIEW first AS SELECT id FROM names WHERE id < 3 WITH CASCADED CHECK OPTION",
    "CREATE FUNCTION plus (a int, b int) RETURNS int DETERMINISTIC COMMENT 'sum' RETURN a + b",
    "CREATE PROCEDURE look (IN a int) READS SQL DATA BEGIN SELECT a; /* it's */ SELECT 'utf8mb4_0900_ai_ci'; END",
    "CREATE TRIGGER lower_label BEFORE INSERT ON plain FOR EACH ROW SET NEW.label = LOWER(NEW.label)",
    "CREATE EVENT tidy ON SCHEDULE EVERY 1 DAY DO DELETE FROM child WHERE id < 0",
)
# MySQL makes it only where a variable is off.
LOOSE_KEYS = (
    "CREATE TABLE loose_parent (id int PRIMARY KEY, a int, b int, UNIQUE KEY (a, b))",
    """CREATE TABLE loose_child (id int PRIMARY KEY, a int,
        CONSTRAINT loose_up FOREIGN KEY (a) REFERENCES loose_parent (a))""",
)
# What only one product has: statements, and what is reported where the other product is the target.
OWN = {
    MYSQL: (
        "SET SESSION restrict_fk_on_non_standard_key = OFF",
        """CREATE TABLE own (
            id int PRIMARY KEY,
            name varchar(20) DEFAULT (concat('a', 'b')),
            doc json,
            place point NOT NULL SRID 4326,
            body text,
            twice int GENERATED ALWAYS AS (id * 2) STORED NOT NULL,
            KEY unseen (name) INVISIBLE, KEY lowered ((lower(name))), UNIQUE KEY whole (id, (id + 1)),
            KEY many ((CAST(doc->'$.n' AS UNSIGNED ARRAY))), FULLTEXT KEY grams (body) WITH PARSER ngram,
            CONSTRAINT loose CHECK (id > 100) NOT ENFORCED
        ) COMPRESSION = 'none'""",
        "INSERT INTO own (id, name, doc, place, body) VALUES (1, 'x', '{}', ST_GeomFromText('POINT(1 2)', 4326), 'b')",
        *LOOSE_KEYS,
        "CREATE VIEW binary_ids AS SELECT uuid_to_bin('123e4567-e89b-12d3-a456-426655440000') AS id",
    ),
    MARIADB: (
        """CREATE TABLE own (
            id int PRIMARY KEY,
            name varchar(20) DEFAULT concat('a', 'b'),
            doc json NOT NULL DEFAULT '{}',
            packed text COMPRESSED DEFAULT 'it''s',
            body text,
            ref varchar(36) DEFAULT uuid(),
            KEY unseen (name) IGNORED, UNIQUE KEY whole (body),
            CHECK (id > 0)
        ) PAGE_COMPRESSED = 1""",
        "CREATE TABLE other (id int PRIMARY KEY CHECK (id < 9), place point REF_SYSTEM_ID = 4326, CHECK (id > 0))",
        "INSERT INTO own (id, name) VALUES (1, 'x')",
        "CREATE SEQUENCE numbers",
        *LOOSE_KEYS,
        "CREATE VIEW details AS SELECT JSON_DETAILED(doc) AS doc FROM own",
    ),
}
TOLD = {
    (MYSQL, MARIADB): [
        "CHECK CONSTRAINT own.loose: left out: it is not enforced",
        "COLUMN own.place: is without SRID 4326",
        "COLUMN own.twice: may be NULL on the target",
        "INDEX own.grams: left out",
        "INDEX own.lowered: left out",
        "INDEX own.many: left out",
        "INDEX own.whole: left out",
        "TABLE own: is without COMPRESSION='none'",
        "VIEW view binary_ids: creating view",
    ],
    (MARIADB, MYSQL): [
        "CHECK CONSTRAINT other.CONSTRAINT_1: has a name that the target chooses",
        "CHECK CONSTRAINT own.CONSTRAINT_1: has a name that the target chooses",
        "COLUMN other.place: is without REF_SYSTEM_ID=4326",
        "COLUMN own.packed: is without COMPRESSED",
        "FK CONSTRAINT loose_child.loose_up: refers to columns that are no unique key",
        "INDEX own.whole: left out",
        "INDEX plain.place: helps no query on the target",
        "SEQUENCE numbers: not moved",
        "TABLE own: is without `PAGE_COMPRESSED`='1'",
        "VIEW view details: creating view",
    ],
    (MYSQL, MYSQL): ["FK CONSTRAINT loose_child.loose_up: refers to columns that are no unique key"],
    (MARIADB, MARIADB): ["COLUMN other.place: is without REF_SYSTEM_ID=4326", "SEQUENCE numbers: not moved"],
}
# What the other product's table is to have of it, in that product's words.
OWN_THERE = {
    (MYSQL, MARIADB): [
        "`name` varchar(20) DEFAULT concat(_utf8mb4'a',_utf8mb4'b')",
        "`twice` int(11) GENERATED ALWAYS AS (`id` * 2) STORED\n",
        "KEY `unseen` (`name`) IGNORED\n",
    ],
    (MARIADB, MYSQL): [
        "`name` varchar(20) COLLATE utf8mb4_general_ci DEFAULT (concat(_utf8mb4'a',_utf8mb4'b'))",
        "`packed` text COLLATE utf8mb4_general_ci DEFAULT (_utf8mb4'it\\'s')",
        "DEFAULT (uuid())",
        "KEY `unseen` (`name`) /*!80000 INVISIBLE */\n",
        "CHECK ((`id` > 0))",
        "CHECK (json_valid(`doc`))",
    ],
}


@pytest.fixture(params=list(TOLD), ids=lambda pair: f"{pair[0].value}-{pair[1].value}")
def runs(
    request: pytest.FixtureRequest,
    mysql_servers: GetServer,
    fresh_mysql_database: MysqlDatabaseFactory,
    tmp_path: Path,
) -> Iterator[MysqlRuns]:
    first, second = request.param
    source = fresh_mysql_database(mysql_servers(first, "first"))
    target = mysql_servers(second, "second")
    yield MysqlRuns(source=source, target=target, work_dir=tmp_path, follow=False)
    target.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


def test_structure_arrives_or_is_told(runs: MysqlRuns) -> None:
    source, target = runs.source, MysqlDatabase(runs.target, runs.source.name)
    pair = (source.server.product, target.server.product)
    source.execute(*COMMON, *OWN[pair[0]], *(MYSQL_SAMPLES if pair[0] is pair[1] else ()))
    outcome = runs.run_to_the_end()
    notes = sorted(note.replace(f"{source.name}.", "") for note in outcome["notes"])
    told = [note for note in notes if not re.search(r": created disabled|_ci is utf8mb4_\w+_ci on the target", note)]
    assert [note[: len(text)] for note, text in zip(told, TOLD[pair], strict=True)] == TOLD[pair]
    assert_same_rows(source.server, target.server, source.name)
    here, there = show_all(source), show_all(target)
    if pair[0] is pair[1]:
        assert there == here
        return
    for text in OWN_THERE[pair]:
        assert text in there["TABLE own"]
    refused = {f"VIEW {note.split()[2].rstrip(':')}" for note in told if note.startswith("VIEW ")}
    assert here.keys() - there.keys() == refused
    for name in there.keys() - {"TABLE own", "TABLE other"}:
        if name.startswith("VIEW "):
            query = f"SELECT * FROM `{name.removeprefix('VIEW ')}`"
            assert sorted(target.fetch_all(query)) == sorted(source.fetch_all(query)), name
        else:
            assert make_alike(there[name]) == make_alike(here[name]), name


PATTERNS = (
    *("^[a-z]+$", "a.c$", "^a|C$", "(?:b|k)+", "^[^a-c]{2,3}$", "s{2}", "^s", "i?f", "[a-z_.-]+", "^[0-9A-F]{4}$"),
    *(r"a\\.c", r"^\\(?[0-9]{3}\\)?-[0-9]+$", r"[\\]\\-]", "^$", "^.$", "x$|^.b", "=@%", "it''s", "^[^s]+.$"),
)
VALUES = (
    *("", "abc", "ABC", "aBc", "a.c", "ab\n", "ab\r", "ab\r\n", "ab\u2028", "a\nc", "a\rc", "a\u2028c", "ab\n\n"),
    *("k", "\u212a", "\u017f", "ss", "\u00df", "\ufb01", "if", "\u0131", "\u0130", "\u00e9", "E\u0301", "\U0001f600"),
    *(
        "(123)-45",
        "123-4",
        "]",
        "\\",
        "00fF",
        "00FG",
        "a_b.c-d",
        "\t",
        "\x0bc",
        "it's",
        "=@%",
        "s",
        "S",
        "\u0085",
        "xx\f",
    ),
)


def test_patterns_match_the_same_values_in_both_products(
    mysql_servers: GetServer, fresh_mysql_database: MysqlDatabaseFactory, tmp_path: Path
) -> None:
    """With and without regard to case; the numbers of the columns are those of the patterns."""
    source, target = fresh_mysql_database(mysql_servers(MYSQL, "first")), mysql_servers(MARIADB, "second")
    collations = {"ci": "utf8mb4_0900_ai_ci", "padded": "utf8mb4_unicode_ci", "exact": "utf8mb4_0900_bin"}
    for name, collation in collations.items():
        computed = ", ".join(f"g{at} int AS (regexp_like(v, '{each}'))" for at, each in enumerate(PATTERNS))
        source.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, v varchar(20) COLLATE {collation}, {computed})")
        with source.connect() as connection, connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {name} (id, v) VALUES (%s, %s)", list(enumerate(VALUES)))
    source.execute(
        "CREATE TABLE checked (v varchar(9) PRIMARY KEY, CONSTRAINT small CHECK (NOT regexp_like(v, '[A-C]$')))"
    )
    runs = MysqlRuns(source=source, target=target, work_dir=tmp_path, follow=False)
    try:
        runs.run_to_the_end()
        for name in collations:
            query = f"SELECT * FROM {name} ORDER BY id"
            assert target.fetch_all(query, database=source.name) == source.fetch_all(query), name
        with pytest.raises(pymysql.Error, match="small"):
            target.execute("INSERT INTO checked VALUES ('xa')", database=source.name)
    finally:
        target.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


def test_escapes_in_expressions_mean_the_same_in_both_products(
    mysql_servers: GetServer, fresh_mysql_database: MysqlDatabaseFactory, tmp_path: Path
) -> None:
    """MariaDB takes them for others as soon as it opens the table again."""
    source, target = fresh_mysql_database(mysql_servers(MYSQL, "first")), mysql_servers(MARIADB, "second")
    source.execute(
        r"""CREATE TABLE t (id int PRIMARY KEY, k varchar(20) DEFAULT (concat('\\', 'b')),
           p varchar(9) DEFAULT 'a\\b', g varchar(40) AS (concat(id, 'a\\b''c\n', '', '\'', 'é\\', '_utf8mb4''x\\')),
           CHECK (k <> 'c\\d'))""",
        "INSERT INTO t (id) VALUES (1)",
    )
    runs = MysqlRuns(source=source, target=target, work_dir=tmp_path, follow=False)
    try:
        runs.run_to_the_end()
        target.execute("FLUSH TABLES", f"INSERT INTO `{source.name}`.t (id) VALUES (2)")
        source.execute("INSERT INTO t (id) VALUES (2)")
        assert target.fetch_all("SELECT * FROM t", database=source.name) == source.fetch_all("SELECT * FROM t")
        with pytest.raises(pymysql.Error, match="t_chk_1"):
            target.execute(rf"INSERT INTO `{source.name}`.t (id, k) VALUES (3, 'c\\d')")
    finally:
        target.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


@pytest.mark.parametrize("uncertain", ["v, '^a', 'c'", "v, '[[:alpha:]]'", "v, 'fish'", "concat(v), 'a'", "told, 'a'"])
def test_pattern_that_may_mean_something_else_stops_the_job_before_the_rows(
    mysql_servers: GetServer, fresh_mysql_database: MysqlDatabaseFactory, tmp_path: Path, uncertain: str
) -> None:
    source, target = fresh_mysql_database(mysql_servers(MYSQL, "first")), mysql_servers(MARIADB, "second")
    columns = "v varchar(9) PRIMARY KEY, told varchar(9) CHARSET latin1 COLLATE latin1_general_cs"
    source.execute(f"CREATE TABLE t ({columns}, CHECK (regexp_like({uncertain})))")
    try:
        outcome = MysqlRuns(source=source, target=target, work_dir=tmp_path, follow=False).run()
        assert outcome["error"] == "STRUCTURE_FAILED"
        assert f"creating table {source.name}.t: Function or expression" in outcome["message"]
    finally:
        target.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


async def test_code_that_the_target_refuses_is_told_and_what_is_there_stops_the_job(
    mysql_servers: GetServer, fresh_mysql_database: MysqlDatabaseFactory
) -> None:
    source = fresh_mysql_database(mysql_servers(MYSQL, "first"))
    server = mysql_servers(MARIADB, "second")
    source.execute(
        "SET SESSION sql_mode = 'TIME_TRUNCATE_FRACTIONAL'",
        "CREATE PROCEDURE cut () SELECT 1",
        "CREATE VIEW good AS SELECT 1 AS one",
        f"CREATE VIEW odd AS {LATERAL}",
        "CREATE TABLE t (a int)",
        f"CREATE TRIGGER late BEFORE INSERT ON t FOR EACH ROW SET NEW.a = ({LATERAL})",
    )
    here, there = (
        Endpoint("mysql", each.host, each.port, each.user, each.password) for each in (source.server, server)
    )
    selection = ObjectSelection(schemas=frozenset({source.name}))
    spec = JobSpec("structure", TaskMode.FULL_AND_STREAM, here, there, selection)
    owned = await take_over_target(spec, epoch=None, source_identity=(await look_at_source(spec)).identity)
    target = MyStructureTarget(there, job_id=spec.job_id, epoch=owned.epoch, holds_triggers=True)
    reports: list[StructureReport] = []
    try:
        reading = MyStructureSource(here, job_id=spec.job_id, follows=True, target=owned.session.flavor)
        items = await reading.read_structure(selection, on_report=lambda _: None)
        await target.save_structure(items, [])
        await target.apply_items([item for item in items if item.name != "good"], on_report=reports.append)
        assert [report.name for report in reports] == [f"procedure {source.name}.cut", f"view {source.name}.odd"]
        server.execute(f"CREATE VIEW `{source.name}`.good AS SELECT 2 AS two")
        with pytest.raises(TargetNotEmpty, match="good"):
            await target.apply_items([item for item in items if item.name == "good"], on_report=reports.append)
        server.execute(
            f"""INSERT INTO towline.table_plan
                VALUES ('{spec.job_id}', '{source.name}', 't', 1, 1, 1, 1, '', '')"""
        )
        with pytest.raises(StructureFailed, match="late"):
            await bring_code(spec, owned.session, epoch=owned.epoch, by_force=False)
        by_hand = "CREATE TRIGGER late BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 2"
        server.execute(by_hand, database=source.name)
        told = await bring_code(spec, owned.session, epoch=owned.epoch, by_force=False)
        assert told[-1].reason == "exists on the target, and stays as it is there"
    finally:
        await target.close()
        owned.session.terminate()
        server.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE towline")


def show_all(database: MysqlDatabase) -> dict[str, str]:
    """What SHOW CREATE says of all objects, by kind and name; the job disables events."""
    objects = database.fetch_all(
        """SELECT 'TABLE', table_name FROM information_schema.tables
           WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'
           UNION SELECT 'VIEW', table_name FROM information_schema.views WHERE table_schema = DATABASE()
           UNION SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = DATABASE()
           UNION SELECT 'TRIGGER', trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()
           UNION SELECT 'EVENT', event_name FROM information_schema.events WHERE event_schema = DATABASE()"""
    )
    shown = {}
    for kind, name in objects:
        (row,) = database.fetch_all(f"SHOW CREATE {kind} `{name}`")
        text = next(value for value in row[1:] if isinstance(value, str) and value.startswith("CREATE "))
        shown[f"{kind} {name}"] = _sort(text) if kind == "TABLE" else text.replace(" ENABLE DO ", " DISABLE DO ")
    return shown


def _sort(create: str) -> str:
    """Indexes are shown in the order in which they came to be."""
    head, *lines = create.split("\n")
    end = next(number for number, line in enumerate(lines) if line.startswith(")"))
    return "\n".join([head, *sorted(line.rstrip(",") for line in lines[:end]), *lines[end:]])


# What the products show in different ways although it is the same, in the order in which it is made alike.
ALIKE = [
    (r"^  CONSTRAINT `\w+` CHECK \(json_valid\(`\w+`\)\)\n| CHECK \(json_valid\(`\w+`\)\)", ""),
    (r" json\b", " longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
    (r"\b(\w*int|year)\(\d+\)", r"\1"),
    (r" DEFAULT '(-?[\d.]+)'", r" DEFAULT \1"),
    (r" DEFAULT NULL", ""),
    (r"/\*!\d{5} (.*?) ?\*/", r"\1"),
    (r"_utf8mb4'", "'"),
    (r"utf8mb4_0900_ai_ci", "utf8mb4_uca1400_nopad_ai_ci"),
    (r"( CHARACTER SET latin1)? COLLATE (utf8mb4_uca1400_nopad_ai_ci|utf8mb4_general_ci|latin1_german2_ci)", ""),
    (r" INVISIBLE (.*)$", r" \1 INVISIBLE"),
    (r"[`()\s]+", " "),
]


def make_alike(text: str) -> str:
    for pattern, replacement in ALIKE:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE | (re.DOTALL if "!" in pattern else 0))
    return text.lower()

"""What becomes of a definition on a server that does not know all of it; the lines are as the servers show them."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.adapt_table import Finding, adapt_table
from towline.adapters.mysql.flavor import Flavor

MYSQL = Flavor.parse("9.7.4")
MYSQL_57 = Flavor.parse("5.7.44")
MARIADB = Flavor.parse("10.11.6-MariaDB")

COLUMNS = ("`id` int NOT NULL", "`t` text", "PRIMARY KEY (`id`)")
OPTIONS = ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"


def table(*lines: str, options: str = OPTIONS) -> str:
    return "\n".join(["CREATE TABLE `t` (", ",\n".join(f"  {line}" for line in lines), options])


def adapted(line: str, source: Flavor, target: Flavor) -> tuple[str | None, list[Finding]]:
    """What becomes of one line behind the columns; None if it is gone."""
    text, findings = adapt_table(table(*COLUMNS, line), source, target)
    rest = text.removeprefix(table(*COLUMNS).removesuffix(f"\n{OPTIONS}")).removesuffix(f"\n{OPTIONS}")
    return rest.removeprefix(",\n  ") or None, list(findings)


@pytest.mark.parametrize(
    ("line", "expected", "kind", "part", "reason"),
    [
        (
            "CONSTRAINT `c``1` CHECK ((`id` > 0)) /*!80016 NOT ENFORCED */",
            None,
            *("CHECK CONSTRAINT", ".c`1", "left out: it is not enforced"),
        ),
        (
            "`g` point NOT NULL /*!80003 SRID 4326 */ COMMENT 'x'",
            "`g` point NOT NULL COMMENT 'x'",
            *("COLUMN", ".g", "is without SRID 4326"),
        ),
        (
            """`a` int DEFAULT NULL /*!80021 ENGINE_ATTRIBUTE '{"a": "*/"}' */""",
            "`a` int DEFAULT NULL",
            *("COLUMN", ".a", """is without ENGINE_ATTRIBUTE '{"a": "*/"}', which"""),
        ),
        (
            "`a` int /*!50606 STORAGE DISK */ DEFAULT NULL",
            "`a` int DEFAULT NULL",
            *("COLUMN", ".a", "is without STORAGE DISK"),
        ),
        ("`b` int NOT SECONDARY", "`b` int", "COLUMN", ".b", "is without NOT SECONDARY"),
        (
            "`b` int GENERATED ALWAYS AS ((`id` + 1)) STORED NOT NULL COMMENT ') STORED NOT NULL'",
            "`b` int GENERATED ALWAYS AS ((`id` + 1)) STORED COMMENT ') STORED NOT NULL'",
            *("COLUMN", ".b", "may be NULL on the target"),
        ),
        ("KEY `k` ((lower(`t`)))", None, "INDEX", ".k", "left out: MariaDB 10.11.6 has no indexes of expressions"),
        (
            "UNIQUE KEY `k` (`id` DESC,(`id` + 1)) USING BTREE",
            None,
            *("INDEX", ".k", "expressions; equal values are not refused there"),
        ),
        ("FULLTEXT KEY `f` (`t`) /*!50100 WITH PARSER `ngram` */ ", None, "INDEX", ".f", "does not have its parser"),
    ],
)
def test_mysql_has_what_mariadb_does_not(line: str, expected: str | None, kind: str, part: str, reason: str) -> None:
    found, findings = adapted(line, MYSQL, MARIADB)
    assert found == expected
    assert [finding[:2] for finding in findings] == [(kind, part)]
    assert reason in findings[0][2]


@pytest.mark.parametrize(
    ("line", "expected", "kind", "part", "reason"),
    [
        ("`c` text /*M!100301 COMPRESSED*/", "`c` text", "COLUMN", ".c", "is without COMPRESSED"),
        ("`c` text /*!100301 COMPRESSED*/", "`c` text", "COLUMN", ".c", "is without COMPRESSED"),
        (
            "CONSTRAINT `CONSTRAINT_1` CHECK (`id` > 0)",
            "CHECK (`id` > 0)",
            *("CHECK CONSTRAINT", ".CONSTRAINT_1", "has a name that the target chooses"),
        ),
        ("UNIQUE KEY `u` (`id`,`t`) USING HASH", None, "INDEX", ".u", "left out: its values are longer"),
        ("SPATIAL KEY `s` (`g`)", "SPATIAL KEY `s` (`g`)", "INDEX", ".s", "asks for an SRID"),
        ("VECTOR KEY `v` (`t`)", None, "INDEX", ".v", "has no VECTOR indexes"),
    ],
)
def test_mariadb_has_what_mysql_does_not(line: str, expected: str | None, kind: str, part: str, reason: str) -> None:
    found, findings = adapted(line, MARIADB, MYSQL)
    assert found == expected
    assert [finding[:2] for finding in findings] == [(kind, part)]
    assert reason in findings[0][2]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("KEY `k` (`id`) /*!80000 INVISIBLE */", "KEY `k` (`id`) IGNORED"),
        ("`i` int DEFAULT '5' /*!80023 INVISIBLE */", "`i` int DEFAULT '5' INVISIBLE"),
        ("KEY `k` (`id` DESC,`t`(10)) COMMENT '((x) /*!80000 INVISIBLE */'", None),
        ("`e` enum('/*!80016 NOT ENFORCED */','it''s','\\\\') COMMENT 'a /*!80003 SRID 1 */'", None),
        ("CONSTRAINT `CONSTRAINT_1` CHECK ((`id` > 0))", None),
    ],
)
def test_what_mariadb_says_in_other_words_or_the_same(line: str, expected: str | None) -> None:
    assert adapted(line, MYSQL, MARIADB) == (expected or line, [])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("UNIQUE KEY `k` (`id`) IGNORED", "UNIQUE KEY `k` (`id`) INVISIBLE"),
        ("KEY ` IGNORED` (`id`) COMMENT 'an IGNORED one'", None),
        ("UNIQUE KEY `u` (`id`,`t`(700)) USING HASH", None),
        ("`d` text DEFAULT 'it\\'s' CHECK (`d` <> '')", "`d` text DEFAULT ('it\\'s') CHECK (`d` <> '')"),
        (
            "`d` varchar(9) DEFAULT concat('a)',\"b\") COMMENT 'x'",
            "`d` varchar(9) DEFAULT (concat('a)',\"b\")) COMMENT 'x'",
        ),
        ("`d` varchar(36) DEFAULT uuid()", "`d` varchar(36) DEFAULT (uuid())"),
        ("`d` datetime(3) DEFAULT current_timestamp(3) ON UPDATE current_timestamp(3)", None),
        ("`d` int(11) DEFAULT (`id` + 1)", None),
        ("`d` enum(' DEFAULT now()') DEFAULT ' DEFAULT now()'", None),
        ("`d` longblob DEFAULT NULL", None),
        ("`d` decimal(5,2) DEFAULT -1.50", None),
    ],
)
def test_what_mysql_says_in_other_words_or_the_same(line: str, expected: str | None) -> None:
    assert adapted(line, MARIADB, MYSQL) == (expected or line, [])


@pytest.mark.parametrize(
    ("column", "is_there"),
    [
        ("varchar(1000)", False),
        ("varchar(1000) CHARACTER SET latin1", True),
        ("varbinary(3000)", True),
        ("varchar(700)", True),
        ("bigint(20)", True),
    ],
)
def test_unique_keys_of_hash_values_stay_where_the_values_fit(column: str, *, is_there: bool) -> None:
    key = "UNIQUE KEY `u` (`c`) USING HASH"
    text, findings = adapt_table(table(f"`c` {column} DEFAULT NULL", key), MARIADB, MYSQL)
    assert (key in text) == is_there == (not findings)


@pytest.mark.parametrize(
    ("source", "target", "options", "expected", "told"),
    [
        (
            MYSQL,
            MARIADB,
            f"{OPTIONS} COMPRESSION='zlib' COMMENT=' COMPRESSION=''z'",
            None,
            ["is without COMPRESSION='zlib'"],
        ),
        (
            MYSQL,
            MARIADB,
            ") /*!50100 TABLESPACE `ts` */ /*!80016 ENCRYPTION='Y' */ ENGINE=InnoDB",
            ") ENGINE=InnoDB",
            ["is without TABLESPACE `ts`", "is without ENCRYPTION='Y'"],
        ),
        (
            MARIADB,
            MYSQL,
            f"{OPTIONS} `page_compressed`='1' `encrypted`='yes'\n PARTITION BY KEY (`id`)",
            f"{OPTIONS}\n PARTITION BY KEY (`id`)",
            ["is without `page_compressed`='1'", "is without `encrypted`='yes'"],
        ),
        (
            MARIADB,
            MARIADB,
            f"{OPTIONS} WITH SYSTEM VERSIONING",
            f"{OPTIONS} WITH SYSTEM VERSIONING",
            ["has no history"],
        ),
        (MARIADB, MARIADB, f"{OPTIONS} `page_compressed`='1'", f"{OPTIONS} `page_compressed`='1'", []),
    ],
)
def test_options_of_tables(source: Flavor, target: Flavor, options: str, expected: str | None, told: list[str]) -> None:
    text, findings = adapt_table(table(*COLUMNS, options=options), source, target)
    assert text == table(*COLUMNS, options=expected or f"{OPTIONS} COMMENT=' COMPRESSION=''z'")
    assert [finding[:2] for finding in findings] == [("TABLE", "")] * len(told)
    assert all(words in finding[2] for words, finding in zip(told, findings, strict=True))


PARTITIONED = table(
    "`id` int NOT NULL COMMENT 'a, b'",
    "KEY `k` ((lower(`t`))) /*!80000 INVISIBLE */",
    "CONSTRAINT `c` CHECK ((`id` > 0)) /*!80016 NOT ENFORCED */",
    options=f"{OPTIONS}\n/*!50100 PARTITION BY KEY */ /*!50611 ALGORITHM = 1 */ /*!50100 (id)\nPARTITIONS 3 */",
)


@pytest.mark.parametrize("target", [MYSQL, Flavor.parse("8.0.30")])
def test_between_servers_that_know_all_of_it_nothing_changes(target: Flavor) -> None:
    assert adapt_table(PARTITIONED, MYSQL, target) == (PARTITIONED, ())


def test_older_server_of_the_same_product() -> None:
    text, findings = adapt_table(PARTITIONED, MYSQL, MYSQL_57)
    assert text == table("`id` int NOT NULL COMMENT 'a, b'", options=PARTITIONED[PARTITIONED.index(OPTIONS) :])
    assert [finding[:2] for finding in findings] == [("INDEX", ".k"), ("CHECK CONSTRAINT", ".c")]
    check = "CONSTRAINT `c` CHECK ((`id` > 0))"
    assert adapted(check, MYSQL, MYSQL_57) == (
        check,
        [("CHECK CONSTRAINT", ".c", "is without effect: MySQL 5.7.44 reads checks and forgets them")],
    )


def test_partitions_that_mariadb_reads_in_comments_stay() -> None:
    text, _ = adapt_table(PARTITIONED, MYSQL, MARIADB)
    assert text.endswith(PARTITIONED[PARTITIONED.index(OPTIONS) :])


@pytest.mark.parametrize("target", [MYSQL, MARIADB])
def test_collations_that_an_old_source_leaves_out(target: Flavor) -> None:
    body = (
        "`a` varchar(9) DEFAULT 'x CHARACTER SET utf8mb4'",
        "`b` varchar(9) CHARACTER SET utf8{} NOT NULL COMMENT ' DEFAULT CHARSET=utf8mb4'",
        "`c` varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "`d` varchar(9) CHARACTER SET latin1",
    )
    shown = table(*(line.format("") for line in body), options=") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='x'")
    options = ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci COMMENT='x'"
    said = table(*(line.format(" COLLATE utf8_general_ci") for line in body), options=options)
    assert adapt_table(shown, MYSQL_57, target) == (said, ())
    assert adapt_table(shown, Flavor.parse("8.0.30"), MYSQL) == (shown, ())

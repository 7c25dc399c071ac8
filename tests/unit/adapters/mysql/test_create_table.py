"""Tables taken apart into what comes before the rows and what comes after them, and words of the other product."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.create_table import ForeignKey, adapt, split_table
from towline.adapters.mysql.flavor import Flavor

MYSQL = Flavor.parse("9.7.4")
MARIADB = Flavor.parse("10.11.6-MariaDB")
OLD_MARIADB = Flavor.parse("10.6.20-MariaDB")

TEXT = """\
CREATE TABLE `t` (
  `id` int NOT NULL,
  `n` int NOT NULL{counted},
  `x` text,
{primary}  UNIQUE KEY `u` (`id`),
  KEY `n` (`n`),
  KEY `x` (`x`(10) DESC) COMMENT 'a (`b`)',
  FULLTEXT KEY `ft` (`x`) /*!50100 WITH PARSER `ngram` */ ,
  SPATIAL KEY `sp` (`g`),
  CONSTRAINT `f``k` FOREIGN KEY (`n`) REFERENCES `other`.`p` (`id`) ON DELETE SET NULL,
  CONSTRAINT `c` CHECK ((`id` > 0))
) ENGINE=InnoDB COMMENT='x\\n) y'
/*!50100 PARTITION BY LIST (`id`)
(PARTITION p VALUES IN (1) COMMENT = 'a
) b' ENGINE = InnoDB) */"""
PRIMARY = "  PRIMARY KEY (`id`),\n"
PLAIN = ("UNIQUE KEY `u` (`id`)", "KEY `n` (`n`)", "KEY `x` (`x`(10) DESC) COMMENT 'a (`b`)'")


@pytest.mark.parametrize(
    ("counted", "primary", "key", "stays"),
    [
        ("", PRIMARY, ("id",), set()),
        (" AUTO_INCREMENT", PRIMARY, ("id",), {"KEY `n` (`n`)"}),
        ("", "", ("id",), {"UNIQUE KEY `u` (`id`)"}),
        ("", "", (), set()),
    ],
)
def test_indexes_wait_for_the_rows_unless_they_are_needed(
    counted: str, primary: str, key: tuple[str, ...], stays: set[str]
) -> None:
    parts = split_table(TEXT.format(counted=counted, primary=primary), key=key)
    assert set(parts.indexes) == set(PLAIN) - stays
    assert all(f"  {line}" in parts.create for line in stays)
    assert parts.slow_indexes == ("FULLTEXT KEY `ft` (`x`) /*!50100 WITH PARSER `ngram` */", "SPATIAL KEY `sp` (`g`)")
    definition = "CONSTRAINT `f``k` FOREIGN KEY (`n`) REFERENCES `other`.`p` (`id`) ON DELETE SET NULL"
    assert parts.foreign_keys == (ForeignKey("f`k", definition, "other", "p", frozenset({"id"})),)
    assert "\n  CONSTRAINT `c` CHECK ((`id` > 0))\n) ENGINE=InnoDB COMMENT='x\\n) y'\n/*!50100 PART" in parts.create
    assert parts.create.endswith("COMMENT = 'a\n) b' ENGINE = InnoDB) */")


@pytest.mark.parametrize(
    ("source", "target", "text", "expected"),
    [
        (MYSQL, MARIADB, "x COLLATE utf8mb4_0900_as_cs", "x COLLATE utf8mb4_uca1400_nopad_as_cs"),
        (MYSQL, MARIADB, "x COLLATE 'utf8mb4_0900_bin', '", "x COLLATE 'utf8mb4_nopad_bin', '"),
        (MYSQL, OLD_MARIADB, "COLLATE=utf8mb4_0900_ai_ci", "COLLATE=utf8mb4_unicode_520_nopad_ci"),
        (MARIADB, MYSQL, "COLLATE uca1400_ai_ci", "COLLATE utf8mb4_0900_ai_ci"),
        (MYSQL, MYSQL, "COLLATE utf8mb4_0900_ai_ci", "COLLATE utf8mb4_0900_ai_ci"),
        # Not a collation: texts, names, comments.
        (MYSQL, MARIADB, "select 'it\\'s utf8mb4_0900_ai_ci' AS `utf8mb4_0900_ai_ci`", None),
        (MYSQL, MARIADB, "begin -- don't utf8mb4_0900_bin\n select \"utf8mb4_0900_bin\" /* ' */; # '\n end", None),
        (
            *(MYSQL, MARIADB),
            "-- don't\nselect 'a' collate utf8mb4_0900_bin",
            "-- don't\nselect 'a' collate utf8mb4_nopad_bin",
        ),
        (MARIADB, MYSQL, "`c` int COMMENT 'utf8mb4_uca1400_ai_ci'", None),
    ],
)
def test_collations_are_those_of_the_other_product(
    source: Flavor, target: Flavor, text: str, expected: str | None
) -> None:
    adapted, changes = adapt(text, source, target)
    assert adapted == (expected or text)
    assert bool(changes) == (adapted != text)

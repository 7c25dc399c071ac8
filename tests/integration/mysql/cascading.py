"""Foreign keys that change rows, through two tables and within one, and statements that make them do so."""

from __future__ import annotations

CASCADING_TABLES = (
    "CREATE TABLE a (id int PRIMARY KEY)",
    """CREATE TABLE b (id int PRIMARY KEY, a int UNIQUE,
       FOREIGN KEY (a) REFERENCES a (id) ON DELETE CASCADE ON UPDATE CASCADE)""",
    """CREATE TABLE c (id int PRIMARY KEY, a int, n int AS (id + 1) VIRTUAL,
       FOREIGN KEY (a) REFERENCES b (a) ON DELETE SET NULL ON UPDATE CASCADE)""",
    "CREATE TABLE tree (id int PRIMARY KEY, up int, FOREIGN KEY (up) REFERENCES tree (id) ON DELETE CASCADE)",
    "INSERT INTO a VALUES (1), (2), (3)",
    "INSERT INTO b VALUES (10, 1), (20, 2), (30, 3)",
    "INSERT INTO c (id, a) VALUES (100, 1), (200, 2), (300, 3), (301, 3)",
    "INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, NULL), (5, 4)",
)
CASCADES = (
    "UPDATE a SET id = 11 WHERE id = 1",
    "DELETE FROM a WHERE id = 2",
    "DELETE FROM tree WHERE id = 1",
    "INSERT INTO tree VALUES (1, NULL), (3, 1)",
    "BEGIN",
    "UPDATE a SET id = id + 100 ORDER BY id DESC",
    "DELETE FROM a WHERE id = 103",
    "INSERT INTO a VALUES (103)",
    "COMMIT",
)

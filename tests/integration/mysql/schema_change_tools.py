"""What gh-ost and pt-online-schema-change send to a server, beside a writer, as their logs have it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from time import monotonic, sleep
from typing import Any

from pymysql.constants import ER
from pymysql.err import OperationalError

from tests.fault.jobs import repeating
from tests.servers.mysql import MysqlDatabase

ROWS = 400
_CHUNK = 100

TABLE = (
    "CREATE TABLE s (id int NOT NULL AUTO_INCREMENT, a int, v varchar(40), PRIMARY KEY (id), KEY i_a (a))",
    "INSERT INTO s (a, v) WITH RECURSIVE n (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < 400)"
    " SELECT k, concat('row ', k) FROM n",
)


class Writer:
    """Inserts, updates and deletes rows of `s` all the time, and tells of each what gh-ost would read in the binlog."""

    def __init__(self, source: MysqlDatabase) -> None:
        self._source = source
        self.changes: deque[tuple[int, tuple[Any, ...] | None]] = deque()

    @contextmanager
    def writing(self) -> Iterator[None]:
        with repeating(lambda: self._source.connect(autocommit=True), self._write, rounds=10_000):
            yield

    def _write(self, connection: Any, k: int) -> None:
        # Far from each other, so that they meet chunks that are copied already as well as later ones.
        new, changed, gone = 10_000 + k, k * 37 % ROWS + 1, k * 53 % ROWS + 1
        with connection.cursor() as cursor:
            _run_again(cursor, "REPLACE INTO s (id, a, v) VALUES (%s, %s, 'new')", (new, k))
            self.changes.append((new, (new, k, "new")))
            _run_again(cursor, "REPLACE INTO s (id, a, v) VALUES (%s, %s, 'changed')", (changed, -k))
            self.changes.append((changed, (changed, -k, "changed")))
            _run_again(cursor, "DELETE FROM s WHERE id = %s", (gone,))
            self.changes.append((gone, None))


def run_gh_ost(source: MysqlDatabase, writer: Writer, alter: str) -> None:
    """Alters `s` to the end; the old table stays as `_s_del`, which must not be there yet."""
    name = f"`{source.name}`"
    writer.changes.clear()
    with source.connect(autocommit=True) as applier, source.connect(autocommit=True) as locker:
        run, lock = applier.cursor(), locker.cursor()
        run.execute(f"drop /* gh-ost */ table if exists {name}.`_s_gho`")
        run.execute(f"drop /* gh-ost */ table if exists {name}.`_s_del`")
        run.execute(
            f"create /* gh-ost */ table {name}.`_s_ghc` (id bigint unsigned auto_increment,"
            " last_update timestamp not null DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,"
            " hint varchar(64) charset ascii not null, value varchar(4096) charset ascii not null,"
            " primary key(id), unique key hint_uidx(hint)) auto_increment=256 comment='gh-ost'"
        )
        run.execute(f"create /* gh-ost */ table {name}.`_s_gho` like {name}.`s`")
        run.execute(f"alter /* gh-ost */ table {name}.`_s_gho` {alter}")
        run.execute(f"insert /* gh-ost */ into {name}.`_s_ghc` (hint, value) values ('state', 'GhostTableMigrated')")
        for first in range(0, ROWS, _CHUNK):
            _run_again(
                run,
                f"insert /* gh-ost {name}.`s` */ ignore into {name}.`_s_gho` (`id`, `a`, `v`)"
                f" (select `id`, `a`, `v` from {name}.`s` force index (`PRIMARY`)"
                f" where ((`id` > {first})) and ((`id` <= {first + _CHUNK})) lock in share mode)",
            )
            _copy_changes(run, writer, name)
        run.execute(
            f"create /* gh-ost */ table {name}.`_s_del` (id int auto_increment primary key) engine=InnoDB"
            " comment='ghost-cut-over-sentry'"
        )
        lock.execute(f"lock /* gh-ost */ tables {name}.`s` write, {name}.`_s_del` write")
        _copy_changes(run, writer, name)  # the writer waits for the lock, so this is all
        swap = Thread(
            target=run.execute,
            args=(f"rename /* gh-ost */ table {name}.`s` to {name}.`_s_del`, {name}.`_s_gho` to {name}.`s`",),
        )
        swap.start()
        _wait_for_statement(source, "rename /* gh-ost */")
        lock.execute(f"drop /* gh-ost */ table if exists {name}.`_s_del`")
        lock.execute("unlock /* gh-ost */ tables")
        swap.join()
        run.execute(f"drop /* gh-ost */ table if exists {name}.`_s_ghc`")


def run_pt_osc(source: MysqlDatabase, alter: str) -> None:
    """Alters `s` to the end, while triggers keep the copy in step, and drops the old table."""
    name = f"`{source.name}`"
    with source.connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW TABLES LIKE %s", (r"\_s\_new",))
        new, old = ("__s_new", "__s_old") if cursor.fetchall() else ("_s_new", "_s_old")
        cursor.execute("SHOW CREATE TABLE s")
        (made,) = cursor.fetchall()
        cursor.execute(made[1].replace("CREATE TABLE `s`", f"CREATE TABLE {name}.`{new}`"))
        cursor.execute(f"ALTER TABLE {name}.`{new}` {alter}")
        values = "(`id`, `a`, `v`) VALUES (NEW.`id`, NEW.`a`, NEW.`v`)"
        forget = f"DELETE IGNORE FROM {name}.`{new}` WHERE {name}.`{new}`.`id` <=> OLD.`id`"
        for event, does in (
            ("DELETE", forget),
            ("UPDATE", f"BEGIN {forget} AND !(OLD.`id` <=> NEW.`id`); REPLACE INTO {name}.`{new}` {values}; END"),
            ("INSERT", f"REPLACE INTO {name}.`{new}` {values}"),
        ):
            cursor.execute(f"CREATE TRIGGER pt_osc_{event.lower()} AFTER {event} ON {name}.`s` FOR EACH ROW {does}")
        for first in range(0, ROWS, _CHUNK):
            last = first + _CHUNK if first + _CHUNK < ROWS else 1_000_000
            _run_again(
                cursor,
                f"INSERT LOW_PRIORITY IGNORE INTO {name}.`{new}` (`id`, `a`, `v`) SELECT `id`, `a`, `v`"
                f" FROM {name}.`s` FORCE INDEX(`PRIMARY`) WHERE ((`id` > {first})) AND ((`id` <= {last}))"
                " LOCK IN SHARE MODE /*pt-online-schema-change 4711 copy nibble*/",
            )
        cursor.execute(f"ANALYZE TABLE {name}.`{new}` /* pt-online-schema-change */")
        cursor.fetchall()
        cursor.execute(f"RENAME TABLE {name}.`s` TO {name}.`{old}`, {name}.`{new}` TO {name}.`s`")
        cursor.execute(f"DROP TABLE IF EXISTS {name}.`{old}`")
        for event in ("delete", "update", "insert"):
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}.`pt_osc_{event}`")


def _run_again(cursor: Any, statement: str, values: tuple[Any, ...] = ()) -> None:
    """Runs it until it is not the one that the server gave up for another, as these tools and their users do.

    A chunk locks the rows it reads and then the copy's, a change goes the other way round through the triggers.
    """
    while True:
        try:
            cursor.execute(statement, values)
            return
        except OperationalError as error:
            if error.args[0] != ER.LOCK_DEADLOCK:
                raise


def _copy_changes(cursor: Any, writer: Writer, name: str) -> None:
    while writer.changes:
        key, row = writer.changes.popleft()
        if row is None:
            cursor.execute(f"delete /* gh-ost {name}.`_s_gho` */ from {name}.`_s_gho` where ((`id` = {key}))")
        else:
            cursor.execute(
                f"replace /* gh-ost {name}.`_s_gho` */ into {name}.`_s_gho` (`id`, `a`, `v`) values (%s, %s, %s)", row
            )


def _wait_for_statement(source: MysqlDatabase, begins: str, *, timeout_s: float = 20.0) -> None:
    """Until a session waits with it for a lock."""
    deadline = monotonic() + timeout_s
    while monotonic() < deadline:
        for row in source.fetch_all("SHOW FULL PROCESSLIST"):
            if str(row[7]).startswith(begins) and "lock" in str(row[6]).lower():
                return
        sleep(0.02)
    raise AssertionError(f"no session runs {begins}")

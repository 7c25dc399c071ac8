"""How many row changes a second the binlog decoder takes, alone: events in memory, transactions thrown away.

The binlogs are written by real servers of both products. Prints one JSON line per case and product: `case`, `server`,
`rows`, `mb`, `rows_per_s`, `mb_per_s`, the best of three rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.integration.mysql.binlog import current_file, new_decoder, read_events
from tests.servers.mysql import MysqlDatabase, MysqlServer, Product, find_installation
from towline.adapters.mysql.binlog_decoder import Stop

PART_BYTES = 4 * 1024 * 1024
SETTINGS = {"max_binlog_size": "1073741824", "innodb_buffer_pool_size": "268435456"}
NUMBERS = """(SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n + 100000 * f.n AS n
    FROM ten a, ten b, ten c, ten d, ten e, ten f) numbers"""

NARROW = "CREATE TABLE narrow (id bigint PRIMARY KEY, k int NOT NULL, c varchar(40) NOT NULL, made datetime NOT NULL)"
FILL_NARROW = f"""INSERT INTO narrow SELECT n, n * 7 % 1000003, concat('name of number ', n),
    '2024-01-01' + INTERVAL n SECOND FROM {NUMBERS} WHERE n < {{rows}}"""

WIDE_COLUMNS = ["id bigint PRIMARY KEY"] + [
    f"{name}{number} {type_sql}"
    for number in range(3)
    for name, type_sql in {
        "i": "int",
        "b": "bigint unsigned",
        "t": "tinyint",
        "d": "decimal(12,2)",
        "f": "double",
        "v": "varchar(60)",
        "x": "text",
        "m": "timestamp(3) NULL",
        "a": "date",
        "e": "enum('new', 'paid', 'sent')",
    }.items()
]
WIDE_VALUES = ["n"] + [
    "n, n * 1000003, n % 100, n / 100, n / 7, concat('text ', n), NULLIF(repeat('y', n % 90), ''),"
    " '2024-01-01 00:00:00.5' + INTERVAL n SECOND, '2000-01-01' + INTERVAL n % 9000 DAY, 1 + n % 3"
] * 3


class Discard:
    """A sink with room for everything that keeps nothing."""

    is_full = False

    def __init__(self) -> None:
        self.rows = 0

    async def wait_room(self) -> None: ...

    def transaction(self, changes: list[Any], position: Any, time_us: int, size_bytes: int) -> None:
        self.rows += len(changes)

    def part(self, changes: list[Any], position: Any, size_bytes: int) -> None:
        self.rows += len(changes)

    def streamed(self, *_: Any) -> None: ...
    def abort_streamed(self, *_: Any) -> None: ...
    def commit_streamed(self, *_: Any) -> None: ...
    def marker(self, position: Any) -> None: ...


def measure(case: str, database: MysqlDatabase, table: str, write: Callable[[], None]) -> None:
    place = current_file(database.server)
    write()
    events = list(read_events(database.server, *place))
    best_s, rows = float("inf"), 0
    for _ in range(3):
        sink = Discard()
        decoder = new_decoder(sink, database, {table: ["id"]}, part_bytes=PART_BYTES)  # type: ignore[arg-type]
        begin_s = time.perf_counter()
        decoder.put(events)
        while decoder.advance() is not Stop.DONE:
            pass
        best_s = min(best_s, time.perf_counter() - begin_s)
        rows = sink.rows
    mb = sum(map(len, events)) / 1e6
    line = {"case": case, "server": database.server.product.value, "rows": rows, "mb": round(mb, 1)}
    print(json.dumps({**line, "rows_per_s": round(rows / best_s), "mb_per_s": round(mb / best_s, 1)}), flush=True)


def bench(server: MysqlServer, rows: int) -> None:
    server.execute("CREATE DATABASE bench")
    database = MysqlDatabase(server, "bench")
    database.execute("CREATE TABLE ten (n int)", f"INSERT INTO ten VALUES {', '.join(f'({n})' for n in range(10))}")
    database.execute(NARROW, f"CREATE TABLE wide ({', '.join(WIDE_COLUMNS)})")
    wide = f"INSERT INTO wide SELECT {', '.join(WIDE_VALUES)} FROM {NUMBERS} WHERE n < {rows // 5}"
    measure("insert", database, "narrow", lambda: database.execute(FILL_NARROW.format(rows=rows)))
    measure("update", database, "narrow", lambda: database.execute("UPDATE narrow SET k = k + 1, c = concat(c, '!')"))
    measure("delete", database, "narrow", lambda: database.execute("DELETE FROM narrow"))
    measure("wide-insert", database, "wide", lambda: database.execute(wide))
    measure("wide-update", database, "wide", lambda: database.execute("UPDATE wide SET i1 = i1 + 1"))
    measure("small-transactions", database, "narrow", lambda: write_small(database, rows // 10))


def write_small(database: MysqlDatabase, rows: int) -> None:
    """One row per transaction."""
    database.execute(
        "DROP PROCEDURE IF EXISTS small",
        f"""CREATE PROCEDURE small() BEGIN DECLARE n int DEFAULT 0;
        WHILE n < {rows} DO INSERT INTO narrow VALUES (n, n, 'a small one', now()); SET n = n + 1; END WHILE; END""",
        "CALL small()",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--server", choices=[product.value for product in Product])
    options = parser.parse_args()
    for product in Product:
        installation = find_installation(product)
        if options.server in (None, product.value):
            if installation is None:
                print(f"{product.value} is not installed: make system-packages", file=sys.stderr)
                continue
            with MysqlServer(installation, settings=SETTINGS) as server:
                bench(server, options.rows)


if __name__ == "__main__":
    main()

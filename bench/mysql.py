"""Towline against its peers, MariaDB to MariaDB, on two local servers.

Prints one JSON line per case, as `bench/pg.py` does: `case`, `ours`, `peer`, `peer_name`, `ratio` (ours/peer), `limit`
(what the source alone needs to hand the data out), `peak_rss_mb`, `pairs`.  Seconds are medians over the pairs; ours
and the peer take turns, and who begins alternates.  Usage: python bench/mysql.py [--pairs N] [--rows N] [case ...]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pg import report, run_migrate, take_turns
from servers import Run, run_timed

from tests.servers.mysql import MysqlServer, Product, find_installation

# Both servers share one small machine with the client; commits are flushed as on a server that matters.
SETTINGS = {
    "innodb_buffer_pool_size": "536870912",
    "innodb_log_file_size": "1073741824",
    "innodb_flush_log_at_trx_commit": "1",
    "innodb_flush_method": "O_DIRECT",
    "sync_binlog": "0",
}
TABLES = 3
INDEXES = {
    "full": "",
    "full-indexes": ", KEY (customer), KEY (placed_at), KEY (note(20)), KEY (price, customer)",
}


def url_of(server: MysqlServer, database: str = "") -> str:
    return f"mysql://{server.user}:{server.password}@{server.host}:{server.port}/{database}"


def fill(server: MysqlServer, rows: int, keys: str) -> None:
    """Tables of mixed columns, about 135 bytes a row."""
    server.execute("DROP DATABASE IF EXISTS bench", "CREATE DATABASE bench")
    for number in range(TABLES):
        server.execute(
            f"""CREATE TABLE bench.t{number} (id bigint AUTO_INCREMENT PRIMARY KEY, customer int NOT NULL,
                placed_at datetime NOT NULL, price decimal(12,2), note varchar(80), code char(12),
                ratio double{keys})""",
            f"""INSERT INTO bench.t{number} (customer, placed_at, price, note, code, ratio)
                SELECT seq * 7919 % 100003, DATE_ADD('2020-01-01', INTERVAL seq SECOND), seq % 100000 / 100,
                       IF(seq % 11 = 0, NULL, CONCAT('order number ', seq, ' ', MD5(seq))), LEFT(MD5(seq), 12), seq / 7
                FROM seq_1_to_{rows // TABLES}""",
            f"ANALYZE TABLE bench.t{number}",
            database="bench",  # the sequence tables are looked for in the session's own
        )


def empty(server: MysqlServer) -> None:
    server.execute("DROP DATABASE IF EXISTS bench", "RESET MASTER", "FLUSH TABLES")


def run_mydumper(source: MysqlServer, target: MysqlServer) -> Run:
    folder = Path(tempfile.mkdtemp())
    try:
        dump = run_timed(["mydumper", *_login(source), "-B", "bench", "-t", "2", "-r", "200000", "-o", folder / "dump"])
        load = run_timed(["myloader", *_login(target), "-t", "2", "-d", folder / "dump"])
    finally:
        shutil.rmtree(folder)
    return Run(dump.seconds + load.seconds, max(dump.peak_rss_mb, load.peak_rss_mb))


def bench_full(source: MysqlServer, target: MysqlServer, *, case: str, pairs: int, rows: int) -> None:
    fill(source, rows, INDEXES[case])

    def ours() -> Run:
        empty(target)
        return run_migrate(url_of(source, "bench"), url_of(target))

    def peer() -> Run:
        empty(target)
        return run_mydumper(source, target)

    our_runs, peer_runs = take_turns(pairs, ours, peer)
    _require_same(source, target)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run_timed(["mydumper", *_login(source), "-B", "bench", "-t", "2", "-r", "200000", "-o", f"{folder}/dump"])
    limit = time.perf_counter() - started
    report(case, our_runs, peer_runs, peer_name="mydumper + myloader", limit=limit, rows=rows)


def _login(server: MysqlServer) -> list[str]:
    return ["-h", server.host, "-P", str(server.port), "-u", server.user, "-p", server.password]


def _require_same(source: MysqlServer, target: MysqlServer) -> None:
    for number in range(TABLES):
        sums = {server.fetch_all(f"CHECKSUM TABLE bench.t{number}")[0][1] for server in (source, target)}
        if len(sums) != 1:
            raise SystemExit(f"bench: t{number} differs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("cases", nargs="*", choices=[[], *INDEXES], default=list(INDEXES))
    arguments = parser.parse_args()
    installation = find_installation(Product.MARIADB)
    if installation is None or shutil.which("mydumper") is None:
        raise SystemExit("bench: MariaDB or mydumper is missing; `make bench-mysql` as root on Debian installs them")
    with (
        MysqlServer(installation, settings=SETTINGS) as source,
        MysqlServer(installation, settings=SETTINGS) as target,
    ):
        for case in arguments.cases:
            bench_full(source, target, case=case, pairs=arguments.pairs, rows=arguments.rows)


if __name__ == "__main__":
    main()

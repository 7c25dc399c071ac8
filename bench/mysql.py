"""Towline against its peers, MariaDB to MariaDB, on two local servers.

Prints one JSON line per case, as `bench/pg.py` does: `case`, `ours`, `peer`, `peer_name`, `ratio` (ours/peer), `limit`
(what the source alone needs to hand the data out), `peak_rss_mb`, `pairs`.  Seconds are medians over the pairs; ours
and the peer take turns, and who begins alternates.  A replica commits each transaction of its source, we commit
batches; so `catch-up` depends on what a commit costs, and `catch-up-relaxed` does not: there nobody waits for the disk.
Usage: python bench/mysql.py [--pairs N] [--rows N] [--changes N] [case ...]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pg import report, run_migrate, take_turns
from servers import COMPILED, Run, run_timed, towline

from tests.servers.mysql import MysqlServer, Product, find_installation
from towline.adapters.mysql.connection import connect, parse_url
from towline.adapters.mysql.gtid import MariadbGtids
from towline.adapters.mysql.replication import choose_server_id, encode_dump, render_settings
from towline.adapters.mysql.session import Wire

# Both servers share one small machine with the client; commits are flushed as on a server that matters.
SETTINGS = {
    "innodb_buffer_pool_size": "536870912",
    "innodb_log_file_size": "1073741824",
    "innodb_flush_log_at_trx_commit": "1",
    "innodb_flush_method": "O_DIRECT",
    "sync_binlog": "0",
}
TABLES = 3
CATCH_UP_CHANGES = 240_000
CATCH_UP_ROWS = 200_000  # in the table that they change
_CHANGES_PER_TRANSACTION = 4
FLUSH_AT_COMMIT = {"catch-up": 1, "catch-up-relaxed": 2}
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


def _name_mydumper() -> str:
    """Whichever is first on the PATH: Debian's, or one built from its source."""
    said = subprocess.run(["mydumper", "--version"], check=True, capture_output=True, text=True).stdout
    version = re.search(r"\d[\w.-]*", said)
    return f"mydumper + myloader {version.group() if version else ''}".rstrip()


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
    report(case, our_runs, peer_runs, peer_name=_name_mydumper(), limit=limit, rows=rows)


def bench_catch_up(
    source: MysqlServer, target: MysqlServer, peer_server: MysqlServer, *, case: str, pairs: int, changes: int
) -> None:
    """Row changes wait in the binlog; timed is the way to the last one on the target, from the same place.

    The peer is a replica of its own, of the same settings, that reads the binlog over the network as we do.
    """
    our_runs: list[Run] = []
    peer_runs: list[Run] = []
    for number in range(pairs):
        for server in (source, target, peer_server):
            server.execute(
                "DROP DATABASE IF EXISTS bench",
                "DROP DATABASE IF EXISTS towline",
                f"SET GLOBAL innodb_flush_log_at_trx_commit = {FLUSH_AT_COMMIT[case]}",
            )
        _fill_busy(source)
        begin_following(source, target)
        position = source.fetch_value("SELECT @@gtid_binlog_pos")
        _begin_replica(source, peer_server, position)
        _write_changes(source, changes)
        for server in (source, target, peer_server):
            server.execute("FLUSH TABLES")
        for side in ("ours", "peer") if number % 2 == 0 else ("peer", "ours"):
            if side == "ours":
                our_runs.append(_catch_up_ours(source, target))
            else:
                peer_runs.append(_catch_up_peer(peer_server))
        _require_same_busy(source, target, peer_server)
        peer_server.execute("STOP REPLICA", "RESET REPLICA ALL")
        run_migrate(url_of(source, "bench"), url_of(target), "--end")
    report(
        case,
        our_runs,
        peer_runs,
        peer_name="START REPLICA",
        limit=_receive_only(source, position),
        changes=changes,
    )


def _fill_busy(server: MysqlServer) -> None:
    server.execute("CREATE DATABASE bench")
    server.execute(
        """CREATE TABLE account (id int PRIMARY KEY, branch int NOT NULL, balance int NOT NULL, filler char(84),
           KEY (branch))""",
        f"INSERT INTO account SELECT seq, seq % 97, 0, 'x' FROM seq_1_to_{CATCH_UP_ROWS}",
        "CREATE TABLE teller (id int PRIMARY KEY, balance int NOT NULL, filler char(84))",
        "INSERT INTO teller SELECT seq, 0, 'x' FROM seq_1_to_500",
        """CREATE TABLE history (id int AUTO_INCREMENT PRIMARY KEY, account int NOT NULL, teller int NOT NULL,
           delta int NOT NULL, at datetime NOT NULL)""",
        database="bench",
    )


def _write_changes(server: MysqlServer, changes: int) -> None:
    """Transactions like those of pgbench, four changes each, and one row that comes last."""
    server.execute(
        "SET sql_log_bin = 0",  # the procedure is none of the changes
        "CREATE DATABASE IF NOT EXISTS tools",
        f"""CREATE OR REPLACE PROCEDURE tools.write_changes()
            BEGIN
                DECLARE n int DEFAULT 0;
                WHILE n < {changes // _CHANGES_PER_TRANSACTION} DO
                    START TRANSACTION;
                    UPDATE bench.account SET balance = balance + n WHERE id = 1 + n * 7919 % {CATCH_UP_ROWS};
                    UPDATE bench.teller SET balance = balance + n WHERE id = 1 + n % 500;
                    INSERT INTO bench.history (account, teller, delta, at) VALUES (n, n % 500, n, '2024-01-01');
                    UPDATE bench.account SET balance = balance - 1 WHERE id = 1 + n * 104729 % {CATCH_UP_ROWS};
                    COMMIT;
                    SET n = n + 1;
                END WHILE;
            END""",
        "SET sql_log_bin = 1",
        "CALL tools.write_changes()",
        "INSERT INTO history (id, account, teller, delta, at) VALUES (100000000, 0, 0, 0, '2024-01-01')",
        database="bench",
    )


def _wait_for_last(server: MysqlServer) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT COUNT(*) FROM bench.history WHERE id = 100000000")
            if cursor.fetchone() == (1,):
                return
            time.sleep(0.05)


def begin_following(source: MysqlServer, target: MysqlServer) -> None:
    """Copy, enter the stream, and stop there: the checkpoint stays."""
    process = _follow(source, target)
    found = """SELECT COUNT(*) FROM information_schema.tables
               WHERE table_schema = 'towline' AND table_name = 'checkpoint'"""
    while not target.fetch_value(found) or not target.fetch_value("SELECT COUNT(*) FROM towline.checkpoint"):
        if process.poll() is not None:
            raise SystemExit("bench: towline migrate --follow ended early")
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.wait(60)


def _follow(source: MysqlServer, target: MysqlServer) -> subprocess.Popen[bytes]:
    urls = {"TOWLINE_SOURCE_URL": url_of(source, "bench"), "TOWLINE_TARGET_URL": url_of(target)}
    env = {**os.environ, **COMPILED, **urls}
    return subprocess.Popen(towline("migrate", "--json", "--follow"), env=env, stdout=subprocess.DEVNULL)


def _catch_up_ours(source: MysqlServer, target: MysqlServer) -> Run:
    started = time.perf_counter()
    process = _follow(source, target)
    _wait_for_last(target)
    seconds = time.perf_counter() - started
    process.send_signal(signal.SIGINT)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return Run(seconds, usage.ru_maxrss / 1024)


def _begin_replica(source: MysqlServer, replica: MysqlServer, position: str) -> None:
    """The same rows, and `position` right before the changes; not started."""
    _fill_busy(replica)
    replica.execute(
        f"""CHANGE MASTER TO master_host = '{source.host}', master_port = {source.port},
            master_user = '{source.user}', master_password = '{source.password}', master_use_gtid = slave_pos""",
        "RESET MASTER",
        f"SET GLOBAL gtid_slave_pos = '{position}'",
    )


def _catch_up_peer(replica: MysqlServer) -> Run:
    started = time.perf_counter()
    replica.execute("START REPLICA")
    _wait_for_last(replica)
    return Run(time.perf_counter() - started, 0.0)


def _receive_only(source: MysqlServer, position: str) -> float:
    """What handing out the binlog alone takes: it is read to its end and dropped."""

    end = int(source.fetch_all("SHOW MASTER STATUS")[0][1])

    async def drain() -> None:
        session = await connect(parse_url(url_of(source)), purpose="bench")
        start = MariadbGtids.parse(position)
        await session.execute(render_settings(start, job_id="limit", heartbeat_s=60))
        command, payload = encode_dump(start, choose_server_id("limit"))

        def read(wire: Wire) -> None:
            wire.send_command(command, payload)
            # Each event says where it ends; one byte of the packet comes before it.
            while int.from_bytes(wire.read_packet()[14:18], "little") < end:
                pass

        await session.run(read)
        session.terminate()

    started = time.perf_counter()
    asyncio.run(drain())
    return time.perf_counter() - started


def _require_same_busy(*servers: MysqlServer) -> None:
    for table in ("account", "teller", "history"):
        sums = {server.fetch_all(f"CHECKSUM TABLE bench.{table}")[0][1] for server in servers}
        if len(sums) != 1:
            raise SystemExit(f"bench: {table} differs after catching up")


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
    parser.add_argument("--changes", type=int, default=CATCH_UP_CHANGES, help="that wait in the case catch-up")
    cases = [*INDEXES, *FLUSH_AT_COMMIT]
    parser.add_argument("cases", nargs="*", metavar="case", choices=[*cases, []])
    arguments = parser.parse_args()
    installation = find_installation(Product.MARIADB)
    if installation is None or shutil.which("mydumper") is None:
        raise SystemExit("bench: MariaDB or mydumper is missing; `make bench-mysql` as root on Debian installs them")
    with (
        MysqlServer(installation, settings=SETTINGS) as source,
        MysqlServer(installation, settings=SETTINGS) as target,
    ):
        for case in arguments.cases or cases:
            if case in FLUSH_AT_COMMIT:
                with MysqlServer(installation, settings=SETTINGS) as replica:
                    bench_catch_up(source, target, replica, case=case, pairs=arguments.pairs, changes=arguments.changes)
            else:
                bench_full(source, target, case=case, pairs=arguments.pairs, rows=arguments.rows)


if __name__ == "__main__":
    main()

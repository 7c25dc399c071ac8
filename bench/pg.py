"""Towline against its peers, PostgreSQL to PostgreSQL, on two local servers.

Prints one JSON line per case: `case`, `ours`, `peer`, `peer_name`, `ratio` (ours/peer), `limit`, `peak_rss_mb`,
`pairs`.  Seconds are medians over the pairs; ours and the peer take turns, and who begins alternates.  `limit` is what
the source alone needs to hand the data out.  Usage: python bench/pg.py [--pairs N] [case ...]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import steady
from servers import COMPILED, Pair, Run, execute, fetch_value, fresh_database, local_pair, run_timed, towline

VERSION = 15  # the newest that the packaged pgcopydb supports
SCALE = 50
MANY_TABLES = 2_000
CATCH_UP_SCALE = 50
CATCH_UP_TRANSACTIONS = 60_000


def take_turns(pairs: int, ours: Callable[[], Run], peer: Callable[[], Run]) -> tuple[list[Run], list[Run]]:
    our_runs: list[Run] = []
    peer_runs: list[Run] = []
    for number in range(pairs):
        for side in ("ours", "peer") if number % 2 == 0 else ("peer", "ours"):
            (our_runs if side == "ours" else peer_runs).append(ours() if side == "ours" else peer())
    return our_runs, peer_runs


def report(
    case: str, our_runs: list[Run], peer_runs: list[Run], *, peer_name: str, limit: float, **more: object
) -> None:
    ours = statistics.median(run.seconds for run in our_runs)
    peer = statistics.median(run.seconds for run in peer_runs)
    print(
        json.dumps(
            {
                "case": case,
                "ours": round(ours, 2),
                "peer": round(peer, 2),
                "peer_name": peer_name,
                "ratio": round(ours / peer, 3),
                "limit": round(limit, 2),
                "peak_rss_mb": round(max(run.peak_rss_mb for run in our_runs)),
                "pairs": len(our_runs),
                "ours_all": [round(run.seconds, 2) for run in our_runs],
                "peer_all": [round(run.seconds, 2) for run in peer_runs],
                **more,
            }
        ),
        flush=True,
    )


def run_migrate(source: str, target: str, *options: str) -> Run:
    env = {"TOWLINE_SOURCE_URL": source, "TOWLINE_TARGET_URL": target}
    return run_timed(towline("migrate", "--json", *options), env=env)


def bench_full(pair: Pair, pairs: int) -> None:
    source = fresh_database(pair.source, "full")
    subprocess.run([pair.bin_dir / "pgbench", "-i", "-q", "-s", str(SCALE), source], check=True, capture_output=True)
    execute(source, "CHECKPOINT")

    def ours() -> Run:
        return run_migrate(source, fresh_database(pair.target, "full"))

    def peer() -> Run:
        target = fresh_database(pair.target, "full")
        with tempfile.TemporaryDirectory() as folder:
            return run_timed(
                ["pgcopydb", "clone", "--source", source, "--target", target, "--table-jobs", "2", "--index-jobs", "2",
                 "--dir", folder]
            )  # fmt: skip

    our_runs, peer_runs = take_turns(pairs, ours, peer)
    limit = run_timed(
        [
            pair.bin_dir / "psql",
            source,
            "-qc",
            "COPY pgbench_accounts TO PROGRAM 'cat >/dev/null' (FORMAT binary)",
        ]
    )
    report("full", our_runs, peer_runs, peer_name="pgcopydb clone", limit=limit.seconds)
    execute(pair.source.url(), 'DROP DATABASE "full" WITH (FORCE)')


def bench_many_tables(pair: Pair, pairs: int) -> None:
    source = fresh_database(pair.source, "many")
    for start in range(0, MANY_TABLES, 200):
        execute(
            source,
            *(
                f"CREATE TABLE t{n} (id int PRIMARY KEY, a int, b text);"
                f"INSERT INTO t{n} SELECT i, i % 7, md5(i::text) FROM generate_series(1, 100) i;"
                f"CREATE INDEX t{n}_a ON t{n} (a)"
                for n in range(start, start + 200)
            ),
        )
    execute(source, "ANALYZE", "CHECKPOINT")

    def ours() -> Run:
        return run_migrate(source, fresh_database(pair.target, "many"))

    def peer() -> Run:
        target = fresh_database(pair.target, "many")
        folder = Path(tempfile.mkdtemp())
        try:
            dump = run_timed([pair.bin_dir / "pg_dump", "-Fd", "-j2", "-f", folder / "dump", source])
            restore = run_timed([pair.bin_dir / "pg_restore", "-j2", "-d", target, folder / "dump"])
        finally:
            shutil.rmtree(folder)
        return Run(dump.seconds + restore.seconds, max(dump.peak_rss_mb, restore.peak_rss_mb))

    our_runs, peer_runs = take_turns(pairs, ours, peer)
    with tempfile.TemporaryDirectory() as folder:
        limit = run_timed([pair.bin_dir / "pg_dump", "-Fd", "-j2", "-f", f"{folder}/dump", source])
    report("many-tables", our_runs, peer_runs, peer_name="pg_dump | pg_restore", limit=limit.seconds)
    execute(pair.source.url(), 'DROP DATABASE "many" WITH (FORCE)')


def bench_catch_up(pair: Pair, pairs: int) -> None:
    """60,000 transactions wait in a slot for each side; timed is the way to the last row on the target."""
    our_runs: list[Run] = []
    peer_runs: list[Run] = []
    limits: list[float] = []
    for number in range(pairs):
        source = fresh_database(pair.source, "busy")
        ours, peer = fresh_database(pair.target, "busy_ours"), fresh_database(pair.target, "busy_peer")
        pgbench = pair.bin_dir / "pgbench"
        for url in (source, peer):
            subprocess.run([pgbench, "-i", "-q", "-s", str(CATCH_UP_SCALE), url], check=True, capture_output=True)
        execute(source, "CREATE PUBLICATION peer FOR ALL TABLES")
        execute(source, "SELECT pg_create_logical_replication_slot('peer', 'pgoutput')")
        execute(source, "SELECT pg_create_logical_replication_slot('limit', 'pgoutput')")
        execute(
            peer,
            f"CREATE SUBSCRIPTION peer CONNECTION '{_conninfo(source)}' PUBLICATION peer WITH "
            "(slot_name = 'peer', create_slot = false, copy_data = false, enabled = false, "
            "binary = true, streaming = on)",
        )
        begin_following(source, ours)
        subprocess.run(
            [pgbench, "-n", "-c", "4", "-t", str(CATCH_UP_TRANSACTIONS // 4), source],
            check=True,
            capture_output=True,
        )
        execute(pair.source.url(), "CHECKPOINT")
        execute(pair.target.url(), "CHECKPOINT")
        if number % 2 == 0:
            our_runs.append(_catch_up_ours(source, ours))
        peer_runs.append(_catch_up_peer(peer))
        if number % 2 == 1:
            our_runs.append(_catch_up_ours(source, ours))
        _require_same(source, ours, peer)
        limits.append(_receive_only(pair, source))
        run_migrate(source, ours, "--end")
        execute(peer, "ALTER SUBSCRIPTION peer DISABLE")
        execute(peer, "ALTER SUBSCRIPTION peer SET (slot_name = NONE)", "DROP SUBSCRIPTION peer")
        execute(source, "SELECT pg_drop_replication_slot(s) FROM unnest(ARRAY['peer', 'limit']) s")
    limit = statistics.median(limits)
    report(
        "catch-up",
        our_runs,
        peer_runs,
        peer_name="CREATE SUBSCRIPTION",
        limit=limit,
        share_of_limit=round(limit / statistics.median(run.seconds for run in our_runs), 3),
    )


def _conninfo(url: str) -> str:
    return url.replace("'", "''")


def _wait_for_history(url: str) -> None:
    while fetch_value(url, "SELECT count(*) FROM pgbench_history") != CATCH_UP_TRANSACTIONS:
        time.sleep(0.05)


def begin_following(source: str, target: str) -> None:
    """Copy, enter the stream, and stop there: slot and checkpoint stay."""
    env = {**os.environ, **COMPILED, "TOWLINE_SOURCE_URL": source, "TOWLINE_TARGET_URL": target}
    process = subprocess.Popen(towline("migrate", "--json", "--follow"), env=env, stdout=subprocess.DEVNULL)
    streaming = "SELECT CASE WHEN to_regclass('towline.checkpoint') IS NULL THEN 0 ELSE 1 END"
    while fetch_value(target, streaming) == 0 or fetch_value(target, "SELECT count(*) FROM towline.checkpoint") == 0:
        if process.poll() is not None:
            raise SystemExit("bench: towline migrate --follow ended early")
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.wait(60)


def _catch_up_ours(source: str, target: str) -> Run:
    env = {**os.environ, **COMPILED, "TOWLINE_SOURCE_URL": source, "TOWLINE_TARGET_URL": target}
    started = time.perf_counter()
    process = subprocess.Popen(towline("migrate", "--json", "--follow"), env=env, stdout=subprocess.DEVNULL)
    _wait_for_history(target)
    seconds = time.perf_counter() - started
    process.send_signal(signal.SIGINT)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return Run(seconds, usage.ru_maxrss / 1024)


def _catch_up_peer(target: str) -> Run:
    started = time.perf_counter()
    execute(target, "ALTER SUBSCRIPTION peer ENABLE")
    _wait_for_history(target)
    return Run(time.perf_counter() - started, 0.0)


def _require_same(*urls: str) -> None:
    query = """SELECT (SELECT sum(abalance::bigint * aid) FROM pgbench_accounts)::text
        || '/' || (SELECT sum(tbalance::bigint * tid) FROM pgbench_tellers)
        || '/' || (SELECT sum(delta::bigint * aid) FROM pgbench_history)"""
    if len({fetch_value(url, query) for url in urls}) != 1:
        raise SystemExit("bench: the databases differ after catching up")


def _receive_only(pair: Pair, source: str) -> float:
    end = fetch_value(source, "SELECT pg_current_wal_insert_lsn()::text")
    return run_timed(
        [pair.bin_dir / "pg_recvlogical", "-d", source, "-S", "limit", "--start", "-f", "/dev/null",
         "--endpos", str(end), "-o", "proto_version=1", "-o", "publication_names=peer", "-o", "binary=true"]
    ).seconds  # fmt: skip


def bench_steady(pair: Pair, pairs: int) -> None:
    print(json.dumps(steady.run(pair)), flush=True)


CASES = {
    "full": bench_full,
    "many-tables": bench_many_tables,
    "catch-up": bench_catch_up,
    "steady": bench_steady,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("cases", nargs="*", metavar="case", choices=[*CASES, []])
    arguments = parser.parse_args()
    with local_pair(VERSION) as pair:
        for case in arguments.cases or CASES:
            CASES[case](pair, arguments.pairs)


if __name__ == "__main__":
    main()

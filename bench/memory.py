"""Peak memory of the worker with a large table, rows of 64 MB and a large transaction.

Prints one JSON line per case: `case`, `size_mb`, `peak_rss_mb`, `limit` (512), `seconds`.  Sizes are what a small
machine holds; `--scale 10` makes a table of 10 GB and a transaction of 2 GB.
"""

from __future__ import annotations

import argparse
import json

from pg import begin_following, run_migrate
from servers import Pair, execute, fetch_value, fresh_database, local_pair

LIMIT_MB = 512
TABLE_MB = 1024
ROW_MB = 64
TRANSACTION_MB = 205


def report(case: str, size_mb: int, peak_rss_mb: float, seconds: float) -> None:
    line = {"case": case, "size_mb": size_mb, "peak_rss_mb": round(peak_rss_mb), "limit": LIMIT_MB}
    print(json.dumps({**line, "seconds": round(seconds, 1)}), flush=True)


def bench(pair: Pair, scale: int) -> None:
    table = fresh_database(pair.source, "memory")
    execute(
        table,
        "CREATE TABLE large (id int PRIMARY KEY, filler text)",
        f"INSERT INTO large SELECT i, repeat('x', 1000) FROM generate_series(1, {scale * TABLE_MB * 1000}) i",
    )
    run = run_migrate(table, fresh_database(pair.target, "memory"))
    report("table", scale * TABLE_MB, run.peak_rss_mb, run.seconds)

    wide = fresh_database(pair.source, "memory")
    execute(
        wide,
        "CREATE TABLE wide (id int PRIMARY KEY, doc bytea)",
        "ALTER TABLE wide ALTER doc SET STORAGE EXTERNAL",
        f"""INSERT INTO wide SELECT i, convert_to(repeat('abcdefgh', {ROW_MB * 1024 * 128}), 'UTF8')
            FROM generate_series(1, 4) i""",
    )
    target = fresh_database(pair.target, "memory")
    run = run_migrate(wide, target)
    report("row", ROW_MB, run.peak_rss_mb, run.seconds)
    if fetch_value(target, "SELECT count(*) FROM wide WHERE length(doc) = 67108864") != 4:
        raise SystemExit("bench: the wide rows are not on the target")

    stream(pair, scale)


def stream(pair: Pair, scale: int) -> None:
    """One transaction of many rows and one of a 64 MB row, waiting in the slot."""
    source, target = fresh_database(pair.source, "memory"), fresh_database(pair.target, "memory")
    execute(source, "CREATE TABLE t (id int PRIMARY KEY, doc text)")
    begin_following(source, target)
    rows = scale * TRANSACTION_MB * 1000
    execute(source, f"INSERT INTO t SELECT i, repeat('y', 1000) FROM generate_series(1, {rows}) i")
    execute(source, f"INSERT INTO t SELECT -1, repeat('abcdefgh', {ROW_MB * 1024 * 128})")
    run = run_migrate(source, target, "--until-caught-up")
    report("transaction", scale * TRANSACTION_MB, run.peak_rss_mb, run.seconds)
    if fetch_value(target, "SELECT count(*) FROM t") != rows + 1:
        raise SystemExit("bench: the transaction is not on the target")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=1)
    scale = parser.parse_args().scale
    with local_pair(15) as pair:
        bench(pair, scale)


if __name__ == "__main__":
    main()

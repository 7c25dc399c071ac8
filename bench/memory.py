"""Peak memory of the worker with a large table, rows of 64 MB and a large transaction.

Prints one JSON line per case: `case`, `size_mb`, `peak_rss_mb`, `limit` (512), `seconds`.  Sizes are what a small
machine holds; `--scale 10` makes a table of 10 GB and a transaction of 2 GB.
"""

from __future__ import annotations

import argparse
import json

from pg import begin_following, run_migrate
from servers import Pair, execute, fetch_value, fresh_database, local_pair

MB = 1024 * 1024
LIMIT_MB = 512
TABLE_MB = 1024
ROW_MB = 64
TRANSACTION_MB = 205


def report(case: str, size_mb: int, peak_rss_mb: float, seconds: float) -> None:
    line = {"case": case, "size_mb": size_mb, "peak_rss_mb": round(peak_rss_mb), "limit": LIMIT_MB}
    print(json.dumps({**line, "seconds": round(seconds, 1)}), flush=True)


def bench_table(pair: Pair, scale: int) -> None:
    source = fresh_database(pair.source, "memory")
    execute(
        source,
        "CREATE TABLE large (id int PRIMARY KEY, filler text)",
        f"INSERT INTO large SELECT i, repeat('x', 1000) FROM generate_series(1, {scale * TABLE_MB * 1000}) i",
    )
    run = run_migrate(source, fresh_database(pair.target, "memory"))
    report("table", scale * TABLE_MB, run.peak_rss_mb, run.seconds)


def bench_row(pair: Pair, scale: int) -> None:
    source, target = fresh_database(pair.source, "memory"), fresh_database(pair.target, "memory")
    execute(
        source,
        "CREATE TABLE wide (id int PRIMARY KEY, doc bytea)",
        "ALTER TABLE wide ALTER doc SET STORAGE EXTERNAL",
        f"INSERT INTO wide SELECT i, {_document(ROW_MB)} FROM generate_series(1, 4) i",
    )
    run = run_migrate(source, target)
    report("row", ROW_MB, run.peak_rss_mb, run.seconds)
    _require(target, f"SELECT count(*) = 4 FROM wide WHERE length(doc) = {ROW_MB * MB}")


def bench_transaction(pair: Pair, scale: int) -> None:
    """One transaction of many rows and one of a 64 MB row, waiting in the slot."""
    rows = scale * TRANSACTION_MB * 1000
    size_mb = scale * TRANSACTION_MB
    _bench_stream(
        pair,
        "transaction",
        size_mb,
        "CREATE TABLE t (id int PRIMARY KEY, doc text)",
        f"INSERT INTO t SELECT i, repeat('y', 1000) FROM generate_series(1, {rows}) i",
        f"INSERT INTO t SELECT -1, repeat('abcdefgh', {ROW_MB * MB // 8})",
        is_there=f"SELECT count(*) = {rows + 1} FROM t",
    )


def bench_streamed_rows(pair: Pair, scale: int) -> None:
    """Rows of 64 MB, waiting in the slot: inserted and updated, in both forms.

    A row of 64 MB is sent in the middle of its transaction, one a little smaller after the commit.  The type of `r`
    makes the source send text, in which a bytea is twice as large.
    """
    for form, column in (("binary", "r int"), ("text", "r regclass")):
        for size_mb in (ROW_MB, ROW_MB - 2):
            _bench_stream(
                pair,
                f"row streamed as {form}",
                size_mb,
                f"CREATE TABLE t (id int PRIMARY KEY, doc bytea, {column});"
                " ALTER TABLE t ALTER doc SET STORAGE EXTERNAL",
                *(f"INSERT INTO t VALUES ({number}, {_document(size_mb)})" for number in range(3)),
                f"UPDATE t SET doc = {_document(size_mb, 'hgfedcba')} WHERE id = 0",
                is_there=f"""SELECT count(*) = 3 AND count(*) FILTER (WHERE get_byte(doc, 0) = 104) = 1
                             FROM t WHERE length(doc) = {size_mb * MB}""",
            )


def _bench_stream(pair: Pair, case: str, size_mb: int, create: str, *changes: str, is_there: str) -> None:
    source, target = fresh_database(pair.source, "memory"), fresh_database(pair.target, "memory")
    execute(source, create)
    begin_following(source, target)
    execute(source, *changes)
    run = run_migrate(source, target, "--until-caught-up")
    report(case, size_mb, run.peak_rss_mb, run.seconds)
    _require(target, is_there)


def _document(size_mb: int, pattern: str = "abcdefgh") -> str:
    return f"convert_to(repeat('{pattern}', {size_mb * MB // 8}), 'UTF8')"


def _require(target: str, is_there: str) -> None:
    if fetch_value(target, is_there) is not True:
        raise SystemExit("bench: not everything is on the target")


CASES = {
    "table": bench_table,
    "row": bench_row,
    "transaction": bench_transaction,
    "streamed-rows": bench_streamed_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("cases", nargs="*", metavar="case", choices=[*CASES, []])
    arguments = parser.parse_args()
    with local_pair(15) as pair:
        for case in arguments.cases or CASES:
            CASES[case](pair, arguments.scale)


if __name__ == "__main__":
    main()

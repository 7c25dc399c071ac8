"""MariaDB to PostgreSQL: Towline against pgloader, on two local servers.

Prints one JSON line, as `bench/pg.py` does.  Both make the same tables with their indexes; the values are compared
afterwards.  Usage: python bench/to_pg.py [--pairs N] [--rows N]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from mysql import SETTINGS as SOURCE_SETTINGS
from mysql import TABLES, fill, url_of
from pg import report, run_migrate, take_turns
from servers import SETTINGS as TARGET_SETTINGS
from servers import Run, fetch_value, fresh_database, run_timed

from tests.servers.mysql import MysqlServer, Product, find_installation
from towline.embedded import EmbeddedPostgres, find_postgres

CASE = "to-pg"
VERSION = 15
PEER_MEMORY_MB = 2048
# Sums that both servers know; pgloader reads dates in a time zone of its own, so these are left out.
SUMS = ("count(*)", "sum(id)", "sum(customer)", "sum(price)", "sum(length(note))", "min(code)", "max(ratio)")


def run_pgloader(source: MysqlServer, target: str, folder: Path) -> Run:
    command = folder / "load"
    command.write_text(
        f"LOAD DATABASE FROM {url_of(source, 'bench')} INTO {target}"
        f" WITH workers = 4, concurrency = 2, include drop, create tables, create indexes, reset sequences;\n"
    )
    program = ["pgloader", "--dynamic-space-size", str(PEER_MEMORY_MB), "--root-dir", str(folder), str(command)]
    return run_timed(program)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=3_000_000)
    arguments = parser.parse_args()
    mariadb, postgres = find_installation(Product.MARIADB), find_postgres(VERSION)
    if mariadb is None or postgres is None or shutil.which("pgloader") is None:
        raise SystemExit("bench: MariaDB, PostgreSQL or pgloader is missing; `make bench-to-pg` installs them")
    with (
        MysqlServer(mariadb, settings=SOURCE_SETTINGS) as source,
        EmbeddedPostgres(postgres, settings=TARGET_SETTINGS) as target,
        tempfile.TemporaryDirectory() as folder,
    ):
        fill(source, arguments.rows, "")

        def ours() -> Run:
            return run_migrate(url_of(source, "bench"), fresh_database(target, "ours"))

        def peer() -> Run:
            return run_pgloader(source, fresh_database(target, "peer"), Path(folder))

        our_runs, peer_runs = take_turns(arguments.pairs, ours, peer)
        _require_same(source, target)
        started = time.perf_counter()
        for number in range(TABLES):
            source.fetch_all(f"SELECT max(concat_ws(',', t.id, t.note, t.code, t.ratio)) FROM bench.t{number} t")
        limit = time.perf_counter() - started
        report(CASE, our_runs, peer_runs, peer_name="pgloader", limit=limit, rows=arguments.rows)


def _require_same(source: MysqlServer, target: EmbeddedPostgres) -> None:
    for number in range(TABLES):
        for what in SUMS:
            query = f"SELECT {what} FROM bench.t{number}"
            expected = source.fetch_value(query)
            for database in ("ours", "peer"):
                found = fetch_value(target.url(database), query)
                if found != expected:
                    raise SystemExit(f"bench: {what} of t{number} is {found} in {database}, {expected} on the source")


if __name__ == "__main__":
    main()

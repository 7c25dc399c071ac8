"""Small transactions on a MySQL or MariaDB server, as pgbench makes them on PostgreSQL; a process of its own.

Four clients; each transaction changes three rows, reads one and adds one, sent as one text.  The URL comes on standard
input, so that its password is in no list of processes.  Usage: referee_load.py [--per-s N] [--seconds N]
[--transactions N]
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
from pymysql.constants import CLIENT

CLIENTS = 4
ACCOUNTS, TELLERS, BRANCHES = 100_000, 10, 1
_TRANSACTION = """BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + {delta} WHERE aid = {account};
SELECT abalance FROM pgbench_accounts WHERE aid = {account};
UPDATE pgbench_tellers SET tbalance = tbalance + {delta} WHERE tid = {teller};
UPDATE pgbench_branches SET bbalance = bbalance + {delta} WHERE bid = {branch};
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ({teller}, {branch}, {account}, {delta}, now(6));
COMMIT"""


def connect(url: str, **options: Any) -> pymysql.Connection[Any]:
    """The database of the URL, in autocommit mode and UTC."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.removeprefix("/")) or None,
        charset="utf8mb4",
        init_command="SET time_zone = '+00:00'",
        **{"autocommit": True, "connect_timeout": 2, **options},
    )


class _Schedule:
    """Hands out the moments at which transactions begin, to all clients together."""

    def __init__(self, per_s: float | None, seconds: float | None, transactions: int | None) -> None:
        self._per_s = per_s
        self._end_s = None if seconds is None else time.monotonic() + seconds
        self._left = transactions
        self._due_s = time.monotonic()
        self._lock = threading.Lock()

    def next_s(self) -> float | None:
        """None when all is done."""
        with self._lock:
            if self._left is not None:
                self._left -= 1
                if self._left < 0:
                    return None
            now_s = time.monotonic()
            if self._per_s is None:
                self._due_s = now_s
            else:
                # Late after a stop of the server: what was missed is made up for, as pgbench does.
                self._due_s += random.expovariate(self._per_s)
            return None if self._end_s is not None and max(now_s, self._due_s) > self._end_s else self._due_s


def _run_client(url: str, schedule: _Schedule) -> None:
    connection = connect(url, client_flag=CLIENT.MULTI_STATEMENTS)
    with connection.cursor() as cursor:
        while (due_s := schedule.next_s()) is not None:
            time.sleep(max(0.0, due_s - time.monotonic()))
            statement = _TRANSACTION.format(
                delta=random.randint(-5000, 5000),
                account=random.randint(1, ACCOUNTS),
                teller=random.randint(1, TELLERS),
                branch=random.randint(1, BRANCHES),
            )
            cursor.execute(statement)
            while cursor.nextset():
                pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-s", type=float)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--transactions", type=int)
    order = parser.parse_args()
    url = sys.stdin.readline().strip()
    schedule = _Schedule(order.per_s, order.seconds, order.transactions)
    clients = [threading.Thread(target=_run_client, args=(url, schedule), daemon=True) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


if __name__ == "__main__":
    main()

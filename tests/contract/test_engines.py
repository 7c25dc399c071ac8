"""What holds for a job between any two databases, whatever becomes of its workers."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import Any

import pytest

from tests.contract.engines import MARIADB, MYSQL, Engine
from tests.integration.commands import Command, run
from towline.engine import points

ROWS = 12_000
_NUMBERS = "WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < 99) SELECT n FROM s"
MANY_ROWS = (
    "CREATE TABLE numbers (n int PRIMARY KEY)",
    f"INSERT INTO numbers {_NUMBERS}",
    "CREATE TABLE keyed (id int PRIMARY KEY, code varchar(40) UNIQUE, n int, doc varchar(500))",
    f"""INSERT INTO keyed SELECT i, concat('c', i), 0, repeat('x', 400)
        FROM (SELECT a.n * 10000 + b.n * 100 + c.n AS i FROM numbers a, numbers b, numbers c WHERE a.n < 2) s
        WHERE i BETWEEN 1 AND {ROWS}""",
    "CREATE INDEX keyed_n ON keyed (n)",
    "CREATE TABLE texts (code varchar(40), part int, filler varchar(300), PRIMARY KEY (code, part))",
    "INSERT INTO texts SELECT concat('Code-', id % 100), id, repeat('ü', 200) FROM keyed",
    "CREATE TABLE keyless (n int, v varchar(300))",
    "INSERT INTO keyless SELECT n, repeat('y', 300) FROM numbers",
    "CREATE TABLE child (id int PRIMARY KEY, keyed_id int, FOREIGN KEY (keyed_id) REFERENCES keyed (id))",
    "INSERT INTO child SELECT n, n + 1001 FROM numbers",
)


def change_everything(k: int) -> Iterable[str]:
    """Changes of every kind: unique values are swapped, keys change and change hands."""
    return (
        f"UPDATE keyed SET n = n + 1 WHERE id % 97 = {k % 97}",
        f"DELETE FROM keyed WHERE id = {6000 + k}",
        f"INSERT INTO keyed VALUES ({1000000 + k}, 'new{k}', {k}, 'ins''erted')",
        f"UPDATE keyed SET code = 'swap' WHERE id = {7000 + k}",
        f"UPDATE keyed SET code = 'c{k}x' WHERE id = {7001 + k}",
        f"UPDATE keyed SET code = concat('s', id) WHERE id = {7000 + k}",
        f"UPDATE keyed SET id = id + 2000000, code = concat(code, 'm') WHERE id = {8001 + k * 10}",
        f"UPDATE keyed SET id = {8001 + k * 10} WHERE id = {8002 + k * 10}",
        f"UPDATE texts SET filler = 'short {k}' WHERE code = 'Code-0' AND part = {2000 + 100 * k}",
        f"UPDATE texts SET part = part + 1000000 WHERE code = 'Code-0' AND part = {4000 + 100 * k}",
        f"DELETE FROM texts WHERE code = 'Code-1' AND part = {5001 + 100 * k}",
        f"INSERT INTO keyless VALUES ({k}, 'late')",
    )


def test_i1_i4_i5_killed_wherever_it_is_the_job_ends_equal(engine: Engine) -> None:
    engine.change(*MANY_ROWS)
    with engine.changing(change_everything):
        engine.runs.run_until_killed(points.COPY_AFTER_COMMIT, times=2)
        finished: dict[Any, str] = {**engine.runs.ledger()}
        engine.runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
        engine.runs.run_until_killed(points.APPLY_IN_BATCH)
        engine.runs.run_until_killed(points.APPLY_BEFORE_COMMIT)
        engine.runs.run_until_killed(points.APPLY_AFTER_COMMIT)
    assert engine.runs.run_to_the_end()["result"] == "caught_up"
    after: dict[Any, str] = {**engine.runs.ledger()}
    for chunk, done_at in finished.items():
        if chunk[0] != "keyless":  # without a key a table is copied under one snapshot
            assert after[chunk] == done_at, f"{chunk} was copied again"
    engine.assert_same()


ACCOUNTS = (
    "CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL)",
    f"INSERT INTO account SELECT n, 0 FROM ({_NUMBERS}) s",
    "CREATE TABLE entry (account int, amount bigint)",
)
COUNT = "SELECT count(*) FROM {s}.entry"


def pay(k: int) -> Iterable[str]:
    """Entries have no key, so one that is applied twice shows."""
    return (
        f"UPDATE account SET balance = balance + {k} WHERE id = {k % 100}",
        f"INSERT INTO entry VALUES ({k % 100}, {-k})",
        f"UPDATE account SET balance = balance - 1 WHERE id = {k * 7 % 100}",
        f"INSERT INTO entry VALUES ({k * 7 % 100}, 1)",
    )


def test_i2_readers_of_the_target_see_whole_transactions(engine: Engine) -> None:
    engine.change(*ACCOUNTS)
    engine.runs.run_to_the_end()
    worker = engine.runs.begin()
    seen = 0
    try:
        with engine.changing(pay):
            while seen < 60:
                seen, balance = engine.ask(
                    "SELECT count(*), coalesce(sum(amount), 0) + (SELECT sum(balance) FROM {s}.account) FROM {s}.entry"
                )
                assert balance == 0
                assert seen % 2 == 0
        worker.send_signal(signal.SIGTERM)
        output, errors = worker.communicate(timeout=60)
        assert '"stopped"' in output, errors[-3000:]
    finally:
        worker.kill()
        worker.wait()
    engine.runs.run_to_the_end()
    engine.assert_same()


def test_i6_frozen_worker_writes_nothing_after_another_took_over(engine: Engine) -> None:
    """It wakes up later and still believes that it owns the job."""
    engine.change(*ACCOUNTS)
    engine.runs.run_to_the_end()
    frozen = engine.runs.begin()
    try:
        engine.change(*pay(1))
        engine.wait_until_target_has(COUNT, 2)
        frozen.send_signal(signal.SIGSTOP)
        frozen.wait_until_stopped()
        engine.change(*pay(2))
        engine.runs.run_to_the_end()
        assert engine.ask(COUNT)[0] == 4
        engine.change(*pay(3))
        frozen.send_signal(signal.SIGCONT)
        output, errors = frozen.communicate(timeout=60)
        assert '"LEASE_LOST"' in output, output + errors[-3000:]
        assert engine.ask(COUNT)[0] == 4
    finally:
        frozen.kill()
        frozen.wait()
    engine.runs.run_to_the_end()
    engine.assert_same()


@pytest.mark.parametrize("engine", [(MYSQL, MYSQL), (MARIADB, MARIADB)], indirect=True, ids="_to_".join)
def test_migrate_follows_until_it_has_caught_up(engine: Engine) -> None:
    """The others are driven on the command line by tests of their own."""
    engine.change(*ACCOUNTS)
    source, target = engine.runs.urls()
    environment = {"TOWLINE_SOURCE_URL": source, "TOWLINE_TARGET_URL": target}
    with Command("migrate", "--follow", "--json", environment=environment) as command:
        command.wait_for_record(lambda record: record.get("phase") == "stream" and record["delay_ms"] is not None)
        engine.change(*pay(1))
        engine.wait_until_target_has(COUNT, 2)
        command.interrupt()
        assert command.finish() == 130, command.told()
    engine.change(*pay(2))
    code, command = run("migrate", "--until-caught-up", "--json", environment=environment)
    assert code == 0, command.told()
    assert command.records()[-1]["outcome"] == "caught_up"
    engine.assert_same()

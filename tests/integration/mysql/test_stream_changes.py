"""Single kinds of changes through a whole job, on both products."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.fault.mysql_jobs import JOB_ID, MysqlRuns, url_of
from tests.integration.mysql.cascading import CASCADES, CASCADING_TABLES
from tests.servers.mysql import MysqlServer
from tests.servers.mysql_equality import assert_same_rows
from tests.servers.mysql_fixtures import MysqlDatabaseFactory
from towline.adapters.mysql.bookkeeping import fence_off
from towline.adapters.mysql.connection import connect, parse_url
from towline.adapters.mysql.ending import bring_code
from towline.adapters.mysql.session import Session
from towline.adapters.mysql.sides import remove_traces
from towline.cli.summary import RunLog
from towline.clock import SystemClock
from towline.domain.errors import ConnectionLost, SetupError, Side, TransientError
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.tables import ObjectSelection
from towline.engine import points


@pytest.fixture
def runs(
    mysql_server: MysqlServer,
    mysql_server_second: MysqlServer,
    fresh_mysql_database: MysqlDatabaseFactory,
    tmp_path: Path,
) -> Iterator[MysqlRuns]:
    source = fresh_mysql_database(mysql_server)
    source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE, v varchar(20))",
        "INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')",
        "CREATE TABLE loose (u int UNIQUE, v varchar(20))",
        "INSERT INTO loose VALUES (1, 'a'), (2, 'b')",
        "CREATE TABLE upserted (a int, b varchar(9), v varchar(20), at timestamp(3) NULL, PRIMARY KEY (b, a), KEY (v))",
        "INSERT INTO upserted (a, b, v) VALUES (1, 'x', 'a'), (2, 'y', 'b'), (3, 'z', 'c'), (4, 'z', 'd')",
        """CREATE TABLE stamped (id int, at timestamp DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, v int,
           PRIMARY KEY (id, at))""",
        "INSERT INTO stamped VALUES (1, '2020-01-01', 1), (2, '2020-01-01', 1)",
        """CREATE TABLE computed (id int PRIMARY KEY, n int, kept decimal(6,3) GENERATED ALWAYS AS (n / 7) STORED,
           shown decimal(6,3) GENERATED ALWAYS AS (n / 9) VIRTUAL, KEY (shown))""",
        "INSERT INTO computed (id, n) VALUES (1, 1), (2, 2)",
        "CREATE TABLE emptied (id int PRIMARY KEY)",
        "INSERT INTO emptied VALUES (1), (2)",
        "CREATE TABLE counted (id smallint AUTO_INCREMENT PRIMARY KEY, v int)",
        "INSERT INTO counted VALUES (41, 1)",
    )
    yield MysqlRuns(source=source, target=mysql_server_second, work_dir=tmp_path)
    mysql_server_second.execute(f"DROP DATABASE IF EXISTS `{source.name}`", "DROP DATABASE IF EXISTS towline")


def test_truncate_swapped_values_and_savepoints_arrive(runs: MysqlRuns) -> None:
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute(
        "TRUNCATE TABLE emptied",
        "INSERT INTO emptied VALUES (2), (7)",
        "BEGIN",
        "UPDATE t SET u = 99 WHERE id = 1",
        "UPDATE t SET u = 1 WHERE id = 2",
        "UPDATE t SET u = 2 WHERE id = 1",
        "SAVEPOINT s",
        "DELETE FROM t WHERE id = 3",
        "ROLLBACK TO SAVEPOINT s",
        "INSERT INTO t VALUES (4, 4, NULL)",
        "UPDATE upserted SET v = CONCAT(v, v)",
        "UPDATE upserted SET v = 'a', at = NULL WHERE a = 1",
        "UPDATE upserted SET at = '2024-01-01 00:00:00.5' WHERE a = 4",
        "UPDATE upserted SET b = 'Z' WHERE a = 3",
        "DELETE FROM upserted WHERE a = 2",
        # The source left the time as it was, and so must the target.
        "UPDATE stamped SET v = 2, at = at",
        # Rows that the target never sees, whose numbers nobody must get again.
        "INSERT INTO counted (v) VALUES (1), (2), (3)",
        "DELETE FROM counted WHERE id > 41",
        # Rounded by each server in the same way, of which it remarks.
        "UPDATE computed SET n = n + 1",
        "INSERT INTO computed (id, n) VALUES (3, 8)",
        "COMMIT",
    )
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_rows(runs.source.server, runs.target, runs.source.name)
    runs.target.execute(f"INSERT INTO `{runs.source.name}`.counted (v) VALUES (9)")
    assert runs.target.fetch_value(f"SELECT id FROM `{runs.source.name}`.counted WHERE v = 9") == 45


def test_what_foreign_keys_do_arrives_or_stops_the_job(runs: MysqlRuns) -> None:
    """The target's own keys must not do it again."""
    runs.source.execute(*CASCADING_TABLES)
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute(*CASCADES)
    if runs.source.server.is_mariadb or not runs.source.server.is_at_least(9, 6):
        outcome = runs.run()
        assert outcome["error"] == "SETUP"
        assert f"{runs.source.name}.b, {runs.source.name}.c, {runs.source.name}.tree" in outcome["message"]
        return
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_rows(runs.source.server, runs.target, runs.source.name)


def test_trigger_that_somebody_made_on_the_target_stops_the_stream(runs: MysqlRuns) -> None:
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    table = f"`{runs.source.name}`.t"
    runs.target.execute(
        f"CREATE TRIGGER `{runs.source.name}`.twice BEFORE UPDATE ON {table} FOR EACH ROW SET NEW.v = 'changed'"
    )
    runs.source.execute("UPDATE emptied SET id = 5 WHERE id = 1", "UPDATE t SET v = 'new' WHERE id = 2")
    outcome = runs.run()
    assert outcome["error"] == "SETUP"
    assert "twice" in outcome["message"]
    runs.target.execute(f"DROP TRIGGER `{runs.source.name}`.twice")
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_rows(runs.source.server, runs.target, runs.source.name)


def test_table_that_is_being_changed_on_the_target_is_waited_for(runs: MysqlRuns) -> None:
    """What the catalog says of it meanwhile is not that it has no columns, keys or triggers."""
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute("BEGIN", "UPDATE t SET v = 'new'", "UPDATE upserted SET v = 'new'", "COMMIT")
    following = runs.begin(
        point=points.APPLY_IN_BATCH, signal=signal.SIGSTOP, until_caught_up=True, conflict_policy="stop"
    )
    following.wait_until_stopped()  # with rows of the first table written
    runs.target.execute(f"CREATE TABLE `{runs.source.name}`.z (id int)")
    # To and fro: it has the first table for itself and waits for the second one.
    steps = (f"`{runs.source.name}`.{a} TO `{runs.source.name}`.{b}" for a, b in RENAMED)
    renaming = Thread(target=lambda: runs.target.execute(f"RENAME TABLE {', '.join(steps)}"))
    waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock%'"
    with runs.target.connect() as reader:
        reader.begin()
        reader.cursor().execute(f"SELECT * FROM `{runs.source.name}`.z")
        renaming.start()
        for sessions in (1, 2):
            while runs.target.fetch_all(waiting)[0][0] < sessions and following.poll() is None:
                time.sleep(0.02)
            following.send_signal(signal.SIGCONT)
        reader.commit()
    renaming.join()
    while following.poll() is None:  # the point is reached again and again
        following.send_signal(signal.SIGCONT)
        time.sleep(0.02)
    output, errors = following.communicate()
    assert '"caught_up"' in output, output + errors
    runs.target.execute(f"DROP TABLE `{runs.source.name}`.z")
    assert_same_rows(runs.source.server, runs.target, runs.source.name)


RENAMED = (("upserted", "u"), ("u", "upserted"), ("z", "y"), ("y", "z"))

# A key's type, two values, and others that the servers hold for equal to them.
ALIKE_KEYS = (
    ("varchar(20) COLLATE utf8mb4_general_ci", ("'a'", "'é'"), ("'A '", "'E'")),
    ("char(20) COLLATE utf8mb4_unicode_ci", ("'a'", "'ß'"), ("'A'", "'ss'")),
    ("varchar(20) CHARACTER SET latin1", ("'a'", "'b'"), ("'A'", "'B  '")),
    ("double", ("0", "0.1"), ("-0e0", "1e-1")),
    ("float", ("0", "1.5"), ("-0e0", "1.5e0")),
    ("decimal(20, 10)", ("1.1", "0"), ("1.10", "-0.0")),
    ("enum('b', 'a', '2')", ("'b'", "'2'"), ("1", "3")),
    ("bit(12)", ("b'1'", "0x227"), ("1", "551")),
    ("binary(5)", ("x'6100000000'", "x'6120000000'"), ("x'61'", "x'6120'")),
)


def test_i3_keys_that_are_written_differently_and_are_one_key(runs: MysqlRuns) -> None:
    """In one batch and in one transaction: what a key is must be what both servers hold it for."""
    for number, (kind, (first, second), _) in enumerate(ALIKE_KEYS):
        runs.source.execute(
            f"CREATE TABLE k{number} (id {kind} NOT NULL PRIMARY KEY, v int)",
            f"INSERT INTO k{number} VALUES ({first}, 1), ({second}, 2)",
        )
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    for number, (_, (first, second), (other_first, other_second)) in enumerate(ALIKE_KEYS):
        runs.source.execute(
            f"UPDATE k{number} SET id = {other_first}, v = 3 WHERE id = {first}",
            f"UPDATE k{number} SET v = v + 10",
            "BEGIN",
            f"DELETE FROM k{number} WHERE id = {second}",
            f"INSERT INTO k{number} VALUES ({other_second}, 4)",
            f"UPDATE k{number} SET v = 5 WHERE id = {second}",
            "COMMIT",
            f"UPDATE k{number} SET id = {first} WHERE id = {first}",
            f"UPDATE k{number} SET id = {other_first} WHERE id = {first}",
        )
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_rows(runs.source.server, runs.target, runs.source.name)


def test_rows_of_a_table_that_was_not_renamed_after_all_stop_the_job(runs: MysqlRuns) -> None:
    """MariaDB logs it without saying that the table is a temporary one, which hides the other of its name."""
    if not runs.source.server.is_mariadb:
        pytest.skip("MySQL does not rename temporary tables so")
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute("CREATE TEMPORARY TABLE t (id int)", "RENAME TABLE t TO other", "INSERT INTO t (id) VALUES (9)")
    outcome = runs.run()
    assert outcome["error"] == "SOURCE_CHANGED"
    assert f"{runs.source.name}.t" in outcome["message"]


@dataclass(kw_only=True)
class PlainRuns(MysqlRuns):
    """With an account on the target that has what `docs/operations.md` lists, and nothing else."""

    def urls(self) -> tuple[str, str]:
        source_url, target_url = super().urls()
        return source_url, target_url.replace(f"{self.target.user}:{self.target.password}@", "plain:plain-1@")


@pytest.fixture
def plain_runs(runs: MysqlRuns) -> Iterator[PlainRuns]:
    privileges = "CREATE, ALTER, DROP, INDEX, REFERENCES, SELECT, INSERT, UPDATE, DELETE"
    runs.target.execute(
        "CREATE USER plain IDENTIFIED BY 'plain-1'",
        f"GRANT {privileges} ON `{runs.source.name}`.* TO plain",
        f"GRANT {privileges} ON towline.* TO plain",
    )
    yield PlainRuns(source=runs.source, target=runs.target, work_dir=runs.work_dir)
    runs.target.execute("SET GLOBAL max_error_count = DEFAULT", "DROP USER plain")


def test_an_account_with_the_listed_privileges_is_enough(plain_runs: PlainRuns) -> None:
    runs = plain_runs
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute("UPDATE t SET v = 'new'", "DELETE FROM upserted WHERE a > 2")
    runs.run_to_the_end(conflict_policy="stop")
    assert_same_rows(runs.source.server, runs.target, runs.source.name)


def test_a_value_that_is_cut_is_seen_where_the_target_names_no_warnings(plain_runs: PlainRuns) -> None:
    """The account may not ask MySQL for their names; without a name any warning stops the job."""
    runs = plain_runs
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.target.execute(f"ALTER TABLE `{runs.source.name}`.t MODIFY v varchar(3)", "SET GLOBAL max_error_count = 0")
    runs.source.execute("UPDATE t SET v = 'ab   ' WHERE id = 1")
    outcome = runs.run()
    kept = runs.target.fetch_value(f"SELECT v FROM `{runs.source.name}`.t WHERE id = 1")
    assert kept == "a"
    if runs.target.is_mariadb or not runs.target.is_at_least(8, 0):
        assert outcome["error"] == "UNREPRESENTABLE_VALUE"
    else:
        assert outcome["error"] == "SETUP"
        assert "names 0 of 1 warnings" in outcome["message"]


def test_more_remarks_than_the_target_names_do_not_stop_the_job(plain_runs: PlainRuns) -> None:
    """A MySQL server names 1,024 of them, and the account may not ask for more."""
    runs = plain_runs
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    rows = ", ".join(f"({number}, {number})" for number in range(10, 4010))
    runs.source.execute(f"INSERT INTO computed (id, n) VALUES {rows}")
    runs.run_to_the_end()
    runs.source.execute("UPDATE computed SET n = n + 1", "DELETE FROM computed WHERE id > 3000")
    runs.run_to_the_end()
    assert_same_rows(runs.source.server, runs.target, runs.source.name)


def test_a_value_that_is_cut_is_seen_among_more_remarks_than_the_target_names(plain_runs: PlainRuns) -> None:
    runs = plain_runs
    runs.source.execute("ALTER TABLE computed ADD v varchar(20)")
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.target.execute(f"ALTER TABLE `{runs.source.name}`.computed MODIFY v varchar(3)")
    rows = ", ".join(f"({number}, {number}, '{'ab   ' if number == 3999 else 'ab'}')" for number in range(10, 4010))
    runs.source.execute(f"INSERT INTO computed (id, n, v) VALUES {rows}")
    outcome = runs.run(conflict_policy="stop")
    assert outcome["error"] == "UNREPRESENTABLE_VALUE"
    assert "for column 'v'" in outcome["message"] or "`v`" in outcome["message"]
    assert runs.target.fetch_all("SELECT table_name, key_values FROM towline.reject") == [("computed", "id=3999")]


def test_missing_row_stops_or_is_repaired_by_policy(runs: MysqlRuns) -> None:
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.target.execute(
        f"DELETE FROM `{runs.source.name}`.t WHERE id = 2", f"DELETE FROM `{runs.source.name}`.upserted WHERE a < 3"
    )
    runs.source.execute("UPDATE upserted SET v = 'new'", "UPDATE t SET v = 'new' WHERE id = 2")
    assert runs.run(conflict_policy="stop")["error"] == "ROW_CONFLICT"
    rejected = runs.target.fetch_all("SELECT table_name, kind, key_values FROM towline.reject")
    assert list(rejected) == [("upserted", "update", "b=x, a=1")]
    runs.run_to_the_end(conflict_policy="overwrite")
    assert_same_rows(runs.source.server, runs.target, runs.source.name)


def test_row_in_the_way_under_another_unique_key_is_removed_by_policy(runs: MysqlRuns) -> None:
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.target.execute(f"INSERT INTO `{runs.source.name}`.t VALUES (50, 50, 'foreign')")
    runs.target.execute(f"INSERT INTO `{runs.source.name}`.loose VALUES (50, 'foreign')")
    runs.source.execute("INSERT INTO t VALUES (9, 50, 'mine')", "UPDATE loose SET u = 50 WHERE u = 1")
    runs.run_to_the_end(conflict_policy="overwrite")
    assert_same_rows(runs.source.server, runs.target, runs.source.name)


def test_row_of_somebody_else_in_the_copy_stops_or_is_left_and_listed(runs: MysqlRuns) -> None:
    runs.run_until_killed(points.COPY_BEFORE_LEDGER)
    runs.target.execute(f"INSERT INTO `{runs.source.name}`.t VALUES (2, 200, 'foreign')")
    assert runs.run(conflict_policy="overwrite")["error"] == "ROW_CONFLICT"
    runs.run_to_the_end(conflict_policy="ignore")
    rows = runs.target.fetch_all(f"SELECT id, v FROM `{runs.source.name}`.t ORDER BY id")
    assert list(rows) == [(1, "a"), (2, "foreign"), (3, "c")]
    listed = runs.target.fetch_all("SELECT table_name, kind, key_values FROM towline.reject")
    assert list(listed) == [("t", "insert", "2")]


@pytest.fixture
def keeper(runs: MysqlRuns) -> Iterator[str]:
    """An account that both servers have."""
    servers = runs.source.server, runs.target
    for server in servers:
        server.execute("CREATE USER keeper@localhost IDENTIFIED BY 'x'")
    yield "keeper@localhost"
    for server in servers:
        server.execute("DROP USER keeper@localhost")


async def test_triggers_and_events_act_when_the_job_ends(runs: MysqlRuns, keeper: str) -> None:
    schema = runs.source.name
    runs.source.execute(
        "CREATE TABLE audit (n int AUTO_INCREMENT PRIMARY KEY, id int)",
        "SET sql_mode = 'ANSI_QUOTES'",
        "CREATE TRIGGER noted AFTER INSERT ON t FOR EACH ROW INSERT INTO audit (id) VALUES (NEW.id)",
        "SET time_zone = '+03:00'",
        f"""CREATE DEFINER = {keeper} EVENT "every `1 day" ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01'
           ON COMPLETION PRESERVE ENABLE COMMENT 'DISABLE' DO DELETE FROM audit""",
        "SET sql_mode = DEFAULT, time_zone = '+00:00'",
        "CREATE EVENT asleep ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DISABLE DO DELETE FROM audit",
        "CREATE EVENT later ON SCHEDULE AT '2037-01-01' DO DELETE FROM audit",
        "CREATE EVENT past ON SCHEDULE AT '2037-01-02' DO DELETE FROM audit",
        "CREATE EVENT dropped ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DO DELETE FROM audit",
    )
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute("INSERT INTO t VALUES (7, 7, 'g')")
    runs.run_to_the_end()
    # It fired once, on the source.
    assert_same_rows(runs.source.server, runs.target, runs.source.name)
    triggers = f"SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = '{runs.source.name}'"
    assert list(runs.target.fetch_all(triggers)) == []
    states = f"SELECT event_name, status FROM information_schema.events WHERE event_schema = '{schema}'"
    names = {"every `1 day", "asleep", "later", "past", "dropped"}
    assert set(runs.target.fetch_all(states)) == {(name, "DISABLED") for name in names}
    runs.target.execute(
        # As if the job had gone on beyond its time.
        "SET timestamp = unix_timestamp('2020-01-01')",
        f"ALTER EVENT `{schema}`.past ON SCHEDULE AT '2020-01-02'",
        f"DROP EVENT `{schema}`.dropped",
    )
    source, target = parse_url(url_of(runs.source.server)), parse_url(url_of(runs.target))
    spec = JobSpec(JOB_ID, TaskMode.FULL_AND_STREAM, source, target, ObjectSelection())
    log = RunLog(SystemClock())
    session = await connect(target, purpose="cut-short", side=Side.TARGET)
    epoch = await fence_off(session, JOB_ID)
    assert epoch is not None
    await bring_code(spec, session, epoch=epoch, by_force=False)
    session.terminate()
    for _ in range(2):
        await remove_traces(spec, reporter=log)
    assert list(runs.target.fetch_all(triggers)) == [("noted",)]
    assert not runs.target.fetch_all("SHOW DATABASES LIKE 'towline'")
    enabled = {"every `1 day", "later"}
    assert {name for name, status in runs.target.fetch_all(states) if status == "ENABLED"} == enabled
    whole = f"""SELECT event_name, definer, time_zone, event_definition, event_type, execute_at, interval_value, starts,
                sql_mode, status, on_completion, event_comment FROM information_schema.events
                WHERE event_schema = '{schema}' AND event_name IN ('every `1 day', 'asleep', 'later') ORDER BY 1"""
    assert runs.target.fetch_all(whole) == runs.source.server.fetch_all(whole)


def end_spec(runs: MysqlRuns) -> JobSpec:
    source, target = parse_url(url_of(runs.source.server)), parse_url(url_of(runs.target))
    selection = ObjectSelection(schemas=frozenset({runs.source.name}))
    return JobSpec(JOB_ID, TaskMode.FULL_AND_STREAM, source, target, selection)


def read_code(server: MysqlServer, schema: str) -> dict[tuple[str, str], tuple[Any, ...]]:
    """What views, routines, triggers and events are, by kind and name; of triggers of one table in their order."""
    rows = server.fetch_all(
        f"""SELECT 'view', table_name, view_definition, definer, '' FROM information_schema.views
            WHERE table_schema = '{schema}'
            UNION ALL SELECT 'routine', routine_name, routine_definition, definer, data_type
            FROM information_schema.routines WHERE routine_schema = '{schema}'
            UNION ALL SELECT 'trigger', trigger_name, action_statement, action_order, event_object_table
            FROM information_schema.triggers WHERE trigger_schema = '{schema}'
            UNION ALL SELECT 'event', event_name, event_definition, status, event_comment
            FROM information_schema.events WHERE event_schema = '{schema}'"""
    )
    return {(kind, name): tuple(rest) for kind, name, *rest in rows}


CODE = (
    "CREATE TABLE audit (n int AUTO_INCREMENT PRIMARY KEY, id int)",
    *(
        f"CREATE TRIGGER {name} AFTER INSERT ON t FOR EACH ROW INSERT INTO audit (id) VALUES ({value})"
        for name, value in (("kept", 1), ("gone", 2), ("replaced", 3))
    ),
    *(
        f"CREATE EVENT {name}_event ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' {state} DO SELECT 1"
        for name, state in (
            *(("kept", ""), ("gone", ""), ("replaced", "COMMENT 'old'"), ("stopped", ""), ("started", "DISABLE")),
            ("unseen", ""),
        )
    ),
    *(f"CREATE VIEW {name}_view AS SELECT id FROM t" for name in ("kept", "gone", "replaced")),
    *(f"CREATE FUNCTION {name}_code() RETURNS int DETERMINISTIC RETURN 1" for name in ("kept", "gone", "replaced")),
)
CODE_CHANGES = (
    "DROP TRIGGER gone",
    "DROP TRIGGER replaced",
    "CREATE TRIGGER replaced AFTER INSERT ON t FOR EACH ROW INSERT INTO audit (id) VALUES (33)",
    "CREATE TRIGGER made AFTER INSERT ON t FOR EACH ROW PRECEDES kept INSERT INTO audit (id) VALUES (4)",
    "DROP EVENT gone_event",
    "ALTER EVENT replaced_event COMMENT '' DO SELECT 2",
    "ALTER EVENT stopped_event DISABLE",
    "ALTER EVENT started_event ENABLE",
    "CREATE EVENT made_event ON SCHEDULE EVERY 1 DAY STARTS '2037-01-01' DO SELECT 3",
    "DROP VIEW gone_view",
    "CREATE FUNCTION made_code() RETURNS int DETERMINISTIC RETURN 3",
    "CREATE OR REPLACE VIEW replaced_view AS SELECT id, v, made_code() AS made FROM t",
    "CREATE VIEW made_view AS SELECT made_code() AS id",
    "CREATE VIEW broken_view AS SELECT id FROM emptied",
    "DROP TABLE emptied",
    "DROP FUNCTION gone_code",
    "DROP FUNCTION replaced_code",
    "CREATE FUNCTION replaced_code() RETURNS bigint DETERMINISTIC RETURN 2",
)


async def end_cut_short(spec: JobSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end, whose line breaks again and again, each time some statements later."""
    execute = Session.execute
    left = 0

    async def execute_some(session: Session, *arguments: Any, **options: Any) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConnectionLost("cut short", side=Side.TARGET)
        return await execute(session, *arguments, **options)

    for limit in count(1, 5):
        session = await connect(spec.target, purpose="cut-short", side=Side.TARGET)
        epoch = await fence_off(session, JOB_ID)
        assert epoch is not None
        left = limit
        with monkeypatch.context() as patched, suppress(ConnectionLost):
            patched.setattr(Session, "execute", execute_some)
            await bring_code(spec, session, epoch=epoch, by_force=False)
            break
        session.terminate()
    session.terminate()
    assert limit > 30


async def test_code_at_the_end_is_what_the_source_has_then(runs: MysqlRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = runs.source.name
    runs.source.execute(*CODE)
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.source.execute(*CODE_CHANGES)
    runs.run_to_the_end()
    runs.target.execute(f"DROP EVENT `{schema}`.unseen_event")
    log = RunLog(SystemClock())
    await end_cut_short(end_spec(runs), monkeypatch)
    await remove_traces(end_spec(runs), reporter=log)
    expected = read_code(runs.source.server, schema)
    found = read_code(runs.target, schema)
    del expected["event", "unseen_event"], expected["view", "broken_view"]
    left = {
        name: found.pop(name) for name in (("event", "gone_event"), ("view", "gone_view"), ("routine", "gone_code"))
    }
    assert found == expected
    assert left["event", "gone_event"][1] == "DISABLED"
    told = {report.name.rpartition(".")[2]: report.reason for report in log.reports}
    assert "does not have it any more" in told["gone"]
    assert "stays disabled" in told["gone_event"]
    assert told["gone_view"] == told["gone_code"] == "stays on the target: the source does not have it any more"
    assert "emptied" in told["broken_view"]
    assert not runs.target.fetch_all("SHOW DATABASES LIKE 'towline'")


async def test_end_without_the_source_takes_force(runs: MysqlRuns) -> None:
    schema = runs.source.name
    runs.source.execute(*CODE)
    runs.run_until_killed(points.HANDOFF_BEFORE_STREAM)
    runs.run_to_the_end()
    log = RunLog(SystemClock())
    # As after a switch-over, when the name of the source already leads to the target.
    spec = end_spec(runs)
    away = replace(spec, source=spec.target)
    with pytest.raises(SetupError, match="another server"):
        await remove_traces(away, reporter=log)
    assert not any(kind == "trigger" for kind, _ in read_code(runs.target, schema))
    with pytest.raises(TransientError):
        await remove_traces(replace(spec, source=replace(spec.source, port=1)), reporter=log)
    assert log.reports == []
    await remove_traces(away, reporter=log, by_force=True)
    assert read_code(runs.target, schema) == read_code(runs.source.server, schema)
    assert "could not be asked" in log.reports[-1].reason
    assert not runs.target.fetch_all("SHOW DATABASES LIKE 'towline'")

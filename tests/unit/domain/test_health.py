"""What is concluded from the facts: never `ready` when one of them is missing, and a wait is named with its remedy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.domain.diagnosis import (
    Diagnosis,
    KeptLog,
    LockWait,
    OpenTransaction,
    Outage,
    Session,
    SourceFacts,
    TargetFacts,
)
from towline.domain.errors import Side
from towline.domain.health import (
    FACTS_OLD_AFTER_US,
    SILENT_AFTER_US,
    Health,
    Level,
    Part,
    Retention,
    WaitKind,
    judge,
    render_age,
    render_bytes,
)
from towline.domain.jobs import JobStatus
from towline.domain.progress import WAITING_FOR_PAUSE, WAITING_FOR_SPEED, Phase, Progress, delay_ms, split_delay

NOW_US = 1_700_000_000_000_000
GB = 1_000_000_000
LOG = KeptLog(
    "replication slot towline_x",
    is_there=True,
    is_read=True,
    state="reserved",
    held_bytes=GB,
    is_limited=True,
    limit_bytes=10 * GB,
    left_bytes=9 * GB,
)
SOURCE = SourceFacts(at_us=NOW_US, log_end_bytes=77 * GB, log=LOG)
TARGET = TargetFacts(at_us=NOW_US)
SEEN = Diagnosis(
    at_us=NOW_US,
    source=SOURCE,
    target=TARGET,
    held_growth_bytes_per_s=0.0,
    log_bytes_per_s=1000.0,
    cpu_share=0.2,
    moved_at_us=NOW_US - 500_000,
    usual_gap_s=1.0,
    sequences_at_us=NOW_US - 20_000_000,
)
IN_STEP = Progress(
    at_us=NOW_US,
    phase=Phase.STREAM,
    percent=100,
    proven_source_time_us=NOW_US - 800_000,
    source_clock_offset_us=0,
    received_source_time_us=NOW_US - 300_000,
    diagnosis=SEEN,
)
BLOCKER = Session(
    4711,
    "ada",
    "psql",
    "shop",
    "idle in transaction",
    "LOCK TABLE t",
    40.0,
    end_with="SELECT pg_terminate_backend(4711)",
)


def health(
    progress: Progress | None = IN_STEP, *, status: JobStatus = JobStatus.STREAMING, at_us: int = NOW_US
) -> Health:
    return judge(status, progress, now_us=at_us)


def seen(**changes: object) -> Progress:
    return replace(IN_STEP, diagnosis=replace(SEEN, **changes))  # type: ignore[arg-type]


def source(**changes: object) -> Progress:
    return seen(source=replace(SOURCE, **changes))  # type: ignore[arg-type]


def log(**changes: object) -> Progress:
    return source(log=replace(LOG, **changes))  # type: ignore[arg-type]


def locked() -> Progress:
    wait = LockWait("apply", 99, 12.0, (BLOCKER,))
    return seen(target=replace(TARGET, lock_waits=(wait,)))


def codes(found: Health) -> list[str]:
    return [reason.code for reason in found.verdict.reasons]


def kinds(found: Health) -> list[WaitKind]:
    return [wait.kind for wait in found.waits]


# --- the verdict ----------------------------------------------------------------------------------


def test_a_job_in_step_with_every_fact_known_is_ready():
    found = health()
    assert found.verdict.is_ready
    assert (found.waits, found.stall) == ((), None)
    assert [advisory.code for advisory in found.verdict.advisories] == ["SEQUENCES", "COMPARE", "TRIGGERS"]


def transaction(**changes: object) -> Progress:
    session = replace(BLOCKER, **{key: value for key, value in changes.items() if hasattr(BLOCKER, key)})  # type: ignore[arg-type]
    return source(transactions=(OpenTransaction(session, True, bool(changes.get("is_here", True))),))


@pytest.mark.parametrize(
    ("progress", "code"),
    [
        (None, "NOTHING_REPORTED"),
        (replace(IN_STEP, phase=Phase.CATCH_UP), "NOT_IN_STEP"),
        (replace(IN_STEP, proven_source_time_us=None), "DELAY_UNKNOWN"),
        (replace(IN_STEP, source_clock_offset_us=None), "DELAY_UNKNOWN"),
        (replace(IN_STEP, proven_source_time_us=NOW_US - 5_001_000), "DELAY_LARGE"),
        (replace(IN_STEP, at_us=NOW_US + 60_000_000), "CLOCKS_DIFFER"),
        (replace(IN_STEP, waiting_for=WAITING_FOR_PAUSE), "PAUSE"),
        (replace(IN_STEP, diagnosis=None), "SOURCE_UNKNOWN"),
        (seen(source=None), "SOURCE_UNKNOWN"),
        (seen(target=None), "TARGET_UNKNOWN"),
        (source(at_us=NOW_US - FACTS_OLD_AFTER_US - 1), "SOURCE_UNKNOWN"),
        (seen(target=replace(TARGET, at_us=NOW_US - FACTS_OLD_AFTER_US - 1)), "TARGET_UNKNOWN"),
        (seen(source_outage=Outage(NOW_US, "refused")), "SOURCE_UNREACHABLE"),
        (seen(target_outage=Outage(NOW_US, "refused")), "TARGET_UNREACHABLE"),
        (seen(sequences_at_us=None), "SEQUENCES_UNKNOWN"),
        (replace(seen(moved_at_us=NOW_US - 20_000_000), proven_source_time_us=NOW_US - 20_000_000), "STALLED"),
        (source(hidden_sessions=1), "TRANSACTIONS_UNKNOWN"),
        (source(are_transactions_shown=False), "TRANSACTIONS_UNKNOWN"),
        (log(is_there=False), "LOG_LOST"),
        (log(is_lost=True), "LOG_LOST"),
        (log(is_doomed=True), "LOG_DOOMED"),
        (log(is_read=False), "LOG_NOT_READ"),
        (transaction(), "OPEN_TRANSACTION"),
        (transaction(transaction_age_s=None), "OPEN_TRANSACTION"),
        (transaction(pid=None, prepared_as="half", transaction_age_s=0.1), "PREPARED_TRANSACTION"),
        (locked(), "TARGET_LOCK"),
    ],
)
def test_one_missing_or_bad_fact_is_enough_to_say_no(progress: Progress | None, code: str):
    found = health(progress)
    assert not found.verdict.is_ready
    assert code in codes(found)
    assert all(reason.text and reason.remedy for reason in found.verdict.reasons)


@pytest.mark.parametrize("status", set(JobStatus) - {JobStatus.STREAMING})
def test_only_a_streaming_job_is_ready(status: JobStatus):
    assert "NOT_STREAMING" in codes(health(status=status))


def test_a_copy_alone_does_not_miss_a_log():
    found = health(replace(log(is_there=False), phase=Phase.COPY), status=JobStatus.COPYING)
    assert "NOT_STREAMING" in codes(found)
    assert not {"LOG_LOST", "LOG_NOT_READ"} & set(codes(found))


def test_a_short_transaction_and_one_of_another_database_do_not_stand_in_the_way():
    assert health(transaction(transaction_age_s=3.0)).verdict.is_ready
    assert health(transaction(is_here=False)).verdict.is_ready


@given(
    age_us=st.integers(-100_000_000, 100_000_000),
    offset_us=st.none() | st.integers(-(10**9), 10**9),
    proven_us=st.none() | st.integers(NOW_US - 10**9, NOW_US + 10**9),
    received_us=st.none() | st.integers(NOW_US - 10**9, NOW_US + 10**9),
    applying_us=st.none() | st.integers(NOW_US - 10**9, NOW_US + 10**9),
)
def test_the_parts_add_up_to_the_delay(
    age_us: int, offset_us: int | None, proven_us: int | None, received_us: int | None, applying_us: int | None
):
    progress = replace(
        IN_STEP,
        source_clock_offset_us=offset_us,
        proven_source_time_us=proven_us,
        received_source_time_us=received_us,
        applying_since_us=applying_us,
    )
    split = split_delay(progress, now_us=NOW_US + age_us)
    assert (split.total_ms if split else None) == delay_ms(progress, now_us=NOW_US + age_us)
    if split is not None:
        assert split.read_ms + split.queue_ms + split.apply_ms == split.total_ms
        assert min(split.read_ms, split.queue_ms, split.apply_ms) >= 0


@given(after_us=st.integers(SILENT_AFTER_US + 1, 10**12))
def test_a_dead_worker_keeps_nothing_fresh(after_us: int):
    found = health(at_us=NOW_US + after_us)
    assert kinds(found) == [WaitKind.WORKER_SILENT]
    assert "WORKER_SILENT" in codes(found)
    assert found.stall is not None
    assert found.delay is not None
    assert found.delay.total_ms == (after_us + 800_000) // 1000
    assert found.delay.read_ms >= after_us // 1000  # nobody reads


# --- where the delay arises -----------------------------------------------------------------------


def test_a_blocked_target_is_applying_a_slow_reader_is_reading_and_the_rest_waits():
    blocked = replace(
        IN_STEP,
        proven_source_time_us=NOW_US - 60_000_000,
        received_source_time_us=NOW_US - 1_000_000,
        applying_since_us=NOW_US - 50_000_000,
    )
    split = split_delay(blocked, now_us=NOW_US)
    assert split is not None
    assert (split.total_ms, split.read_ms, split.queue_ms, split.apply_ms) == (60_000, 1_000, 9_000, 50_000)
    unread = replace(blocked, received_source_time_us=None, applying_since_us=None)
    split = split_delay(unread, now_us=NOW_US)
    assert split is not None
    assert (split.read_ms, split.queue_ms) == (60_000, 0)


# --- waits and standstills ------------------------------------------------------------------------


def test_a_lock_is_named_with_its_holder_and_how_to_end_it():
    (wait,) = health(locked()).waits
    assert wait.text == (
        "a lock on the target that process 4711 (user ada, psql, idle in transaction, transaction 40 s old: "
        "LOCK TABLE t) holds; session apply needs it"
    )
    assert "pg_terminate_backend(4711)" in wait.remedy
    assert wait.since_us == NOW_US - 12_000_000


def test_a_wait_whose_holder_is_not_known_is_told_with_what_would_tell_it():
    wait = LockWait("ddl", 99, 12.0, (), "ALTER TABLE t", "Waiting for table metadata lock", "Install the plugin.")
    found = health(seen(target=replace(TARGET, lock_waits=(wait,))))
    (told,) = found.waits
    assert told.text == (
        "a lock on the target (Waiting for table metadata lock); who holds it is not known; session ddl needs it for "
        "ALTER TABLE t"
    )
    assert (told.kind, told.remedy, told.since_us) == (WaitKind.TARGET_LOCK, "Install the plugin.", NOW_US - 12_000_000)
    assert codes(found) == ["TARGET_LOCK"]


def test_a_lock_on_the_source_holds_up_reading():
    wait = LockWait("reader", 99, 12.0, (replace(BLOCKER, pid=None, prepared_as="x", end_with="XA ROLLBACK"),))
    found = health(source(lock_waits=(wait,)))
    (told,) = found.waits
    assert (told.kind, told.part, told.side) == (WaitKind.SOURCE_LOCK, Part.READ, Side.SOURCE)
    assert told.remedy == "Finish it on the source: XA COMMIT, or XA ROLLBACK."
    assert codes(found) == ["SOURCE_LOCK"]


def test_a_standstill_has_the_reason_of_its_first_wait():
    locked_seen = locked().diagnosis
    assert locked_seen is not None
    found = health(stalled(target=locked_seen.target))
    assert found.stall is not None
    assert found.stall.reason == found.waits[0].text
    assert codes(found) == ["DELAY_LARGE", "TARGET_LOCK"]  # the same cause is told once


def test_a_standstill_is_several_times_the_usual_time():
    assert health(stalled(usual_gap_s=8.0)).stall is None
    assert health(stalled(usual_gap_s=2.0)).stall is not None


def stalled(**changes: object) -> Progress:
    """Nothing was acknowledged for half a minute, neither seen nor proven."""
    long_ago_us = NOW_US - 30_000_000
    return replace(seen(moved_at_us=long_ago_us, **changes), proven_source_time_us=long_ago_us)


def test_what_is_proven_counts_as_acknowledged_even_if_nobody_has_looked_since():
    assert health(seen(moved_at_us=NOW_US - 30_000_000)).stall is None


def test_a_standstill_is_never_ready_whatever_it_waits_for():
    """A cause that does not block by itself must not hide the standstill."""
    found = health(replace(stalled(), waiting_for="something else"))
    assert "STALLED" in codes(found)
    assert "STALLED" in codes(health(stalled(cpu_share=1.0)))


def test_a_standstill_without_a_known_cause_says_so():
    stall = health(stalled()).stall
    assert stall is not None
    assert "no lock, limit or outage is known" in stall.reason
    building = replace(stalled(), phase=Phase.INDEXES)
    assert health(building, status=JobStatus.COPYING).stall is None


@pytest.mark.parametrize("waiting_for", [WAITING_FOR_PAUSE, WAITING_FOR_SPEED])
def test_what_the_operator_wished_is_named_and_is_no_standstill(waiting_for: str):
    wished = replace(stalled(limit_bytes_per_s=1_000_000), waiting_for=waiting_for)
    found = health(wished)
    assert found.stall is None
    assert found.waits[0].kind in (WaitKind.PAUSE, WaitKind.SPEED_LIMIT)


def test_a_copy_that_runs_at_its_limit_waits_for_the_limit():
    copying = replace(seen(limit_bytes_per_s=1_000_000), phase=Phase.COPY, copy_bytes_per_s=950_000.0)
    assert kinds(health(copying, status=JobStatus.COPYING)) == [WaitKind.SPEED_LIMIT]
    slow = replace(copying, copy_bytes_per_s=200_000.0)
    assert kinds(health(slow, status=JobStatus.COPYING)) == []
    streaming = replace(seen(limit_bytes_per_s=1_000_000), apply_bytes_per_s=950_000.0)
    assert kinds(health(streaming)) == []  # in step
    late = replace(streaming, proven_source_time_us=NOW_US - 4_000_000)
    assert kinds(health(late)) == [WaitKind.SPEED_LIMIT]


def test_own_processor_and_the_targets_own_work_are_named():
    busy = replace(
        seen(cpu_share=0.97, target=replace(TARGET, server_wait="IO DataFileRead")),
        applying_since_us=NOW_US - 3_000_000,
    )
    assert kinds(health(busy)) == [WaitKind.TARGET_WORK, WaitKind.OWN_CPU]


def test_what_else_the_engine_says_is_passed_on():
    assert [wait.text for wait in health(replace(IN_STEP, waiting_for="a retry in 3 s")).waits] == ["a retry in 3 s"]


def test_old_facts_name_nobody():
    wait = LockWait("apply", 99, 12.0, (BLOCKER,))
    old = seen(target=TargetFacts(NOW_US - FACTS_OLD_AFTER_US - 1, (wait,)))
    assert health(old).waits == ()


# --- the source's log -----------------------------------------------------------------------------


def growing(**changes: object) -> Progress:
    return seen(**{"held_growth_bytes_per_s": 250_000.0, **changes})


def test_the_hours_left_come_from_the_growth():
    retention = health(growing()).retention
    assert retention.level is Level.WARNING
    assert retention.hours_left == pytest.approx(10.0)
    assert retention.hours_left_if_stopped == pytest.approx(2500.0)
    assert "full in 10.0 h" in retention.text
    assert health(growing(held_growth_bytes_per_s=2_600_000.0)).retention.level is Level.CRITICAL
    assert health(growing(held_growth_bytes_per_s=1.0)).retention.level is Level.OK
    assert "LOG_RETENTION" in [advisory.code for advisory in health(growing()).verdict.advisories]


def test_what_does_not_grow_has_no_end_in_sight():
    retention = health().retention
    assert (retention.level, retention.hours_left) == (Level.OK, None)
    assert "does not grow" in retention.text


def test_an_unknown_growth_is_said_as_unknown():
    retention = health(seen(held_growth_bytes_per_s=None)).retention
    assert retention.hours_left is None
    assert "not known yet" in retention.text


@pytest.mark.parametrize("status", [JobStatus.PAUSED, JobStatus.STREAM_FAILED, JobStatus.STREAMING])
def test_once_nobody_reads_all_that_the_source_writes_is_kept(status: JobStatus):
    """Paused, failed, or its worker dead."""
    hour_later_us = NOW_US + 3_600_000_000
    retention = health(seen(log_bytes_per_s=1_250_000.0), status=status, at_us=hour_later_us).retention
    assert retention.held_bytes == LOG.held_bytes + 4_500_000_000  # type: ignore[operator]
    assert retention.left_bytes == 4_500_000_000
    assert retention.level is Level.CRITICAL
    assert retention.hours_left == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"is_limited": False, "limit_bytes": None, "left_bytes": None}, Level.UNKNOWN, "its disk has room for that"),
        ({"is_limited": None, "left_bytes": None}, Level.UNKNOWN, "does not say up to which limit"),
        ({"left_bytes": None}, Level.UNKNOWN, "not known"),
        ({"left_bytes": GB}, Level.WARNING, "room for 1.0 GB"),
        ({"left_bytes": 0}, Level.CRITICAL, "room for"),
        ({"held_bytes": None}, Level.UNKNOWN, "does not say"),
        ({"is_doomed": True}, Level.CRITICAL, "next checkpoint"),
        ({"is_lost": True}, Level.LOST, "lost to the job"),
        ({"is_there": False}, Level.LOST, "no longer has"),
    ],
)
def test_levels_of_retention(changes: dict[str, object], level: Level, words: str):
    retention = health(log(**changes)).retention
    assert retention.level is level
    assert words in retention.text


def test_without_a_limit_much_and_growing_is_a_warning():
    unlimited = replace(LOG, is_limited=False, limit_bytes=None, left_bytes=None, held_bytes=2 * GB)
    retention = health(growing(source=replace(SOURCE, log=unlimited))).retention
    assert (retention.level, retention.hours_left) == (Level.WARNING, None)
    assert "not known" in retention.text


IDLE_LIMIT: dict[str, object] = {"unused_limit_s": 12 * 3600.0}
UNREAD: dict[str, object] = {**IDLE_LIMIT, "is_read": False, "unused_s": 3600.0}


@pytest.mark.parametrize(
    ("progress", "status", "later_s", "level", "hours_left", "if_stopped"),
    [
        (log(**IDLE_LIMIT), JobStatus.STREAMING, 0, Level.OK, None, 12.0),
        (log(**UNREAD), JobStatus.STREAMING, 0, Level.WARNING, 11.0, 11.0),
        (log(**{**UNREAD, "unused_s": 11.5 * 3600}), JobStatus.STREAMING, 0, Level.CRITICAL, 0.5, 0.5),
        # A copy that will be over in time, one that will not, and one of which nothing is known.
        (replace(log(**UNREAD), phase=Phase.COPY, remaining_s=36_000), JobStatus.COPYING, 0, Level.OK, None, 11.0),
        (replace(log(**UNREAD), phase=Phase.COPY, remaining_s=40_000), JobStatus.COPYING, 0, Level.WARNING, 11.0, 11.0),
        (replace(log(**UNREAD), phase=Phase.COPY), JobStatus.COPYING, 0, Level.WARNING, 11.0, 11.0),
        # It was read when it was last looked at, and nobody has since: paused, failed, or its worker dead.
        (log(**IDLE_LIMIT), JobStatus.PAUSED, 7200, Level.WARNING, 10.0, 10.0),
        (log(**IDLE_LIMIT), JobStatus.STREAM_FAILED, 41_400, Level.CRITICAL, 0.5, 0.5),
        (log(**IDLE_LIMIT), JobStatus.STREAMING, 50_000, Level.CRITICAL, 0.0, 0.0),
        (log(unused_limit_s=7 * 86_400.0), JobStatus.PAUSED, 3600, Level.OK, 167.0, 167.0),
    ],
)
def test_log_that_nobody_reads_is_given_up_after_the_limit_for_it(
    progress: Progress, status: JobStatus, later_s: int, level: Level, hours_left: float | None, if_stopped: float
):
    retention = health(progress, status=status, at_us=NOW_US + later_s * 1_000_000).retention
    assert retention.level is level
    assert retention.hours_left == (None if hours_left is None else pytest.approx(hours_left, abs=0.01))
    assert retention.hours_left_if_stopped == pytest.approx(if_stopped, abs=0.01)
    assert ("idle_replication_slot_timeout" in retention.remedy) == (level is not Level.OK)


def test_whichever_limit_comes_first_counts():
    def after(unused_s: float) -> Retention:
        unread = replace(LOG, unused_limit_s=12 * 3600.0, is_read=False, unused_s=unused_s)
        return health(growing(source=replace(SOURCE, log=unread))).retention

    assert after(3600.0).hours_left == pytest.approx(10.0)
    assert after(4 * 3600.0).hours_left == pytest.approx(8.0)
    text = after(3600.0).text
    assert "full in 10.0 h" in text
    assert "nobody has read it for 60 min, and after 12.0 h the source gives it up: 11.0 h are left" in text


def test_a_copy_alone_keeps_no_log():
    copying = replace(log(is_there=False), phase=Phase.COPY)
    assert health(copying, status=JobStatus.COPYING).retention.level is Level.NONE
    assert health(None).retention.level is Level.UNKNOWN


def test_amounts_in_words():
    assert [render_age(s) for s in (-1, 119, 120, 7200, 200_000)] == ["0 s", "119 s", "2 min", "2.0 h", "2 days"]
    assert [render_bytes(n) for n in (56, 1_500_000, 2_500_000_000)] == ["0.1 kB", "1.5 MB", "2.5 GB"]


BINLOG = KeptLog("the binlog", is_there=True, is_read=True, held_bytes=5 * GB, keeps_for_s=48 * 3600.0)


def behind(hours: float, **changes: object) -> Progress:
    """A MySQL job whose oldest change that is not on the target is so old."""
    changes = {"proven_source_time_us": NOW_US - int(hours * 3.6e9), **changes}
    facts = replace(SEEN, source=replace(SOURCE, log=BINLOG))
    return replace(IN_STEP, **{"diagnosis": facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("progress", "level", "hours_left", "if_stopped"),
    [
        (behind(0.001, remaining_s=0), Level.UNKNOWN, None, 48.0),
        (behind(10, remaining_s=3600), Level.UNKNOWN, None, 38.0),
        (behind(30, remaining_s=None), Level.WARNING, 18.0, 18.0),
        (behind(47.5, remaining_s=None), Level.CRITICAL, 0.5, 0.5),
        (behind(40, remaining_s=9 * 3600), Level.CRITICAL, 8.0, 8.0),
        (behind(60, remaining_s=None), Level.CRITICAL, 0.0, 0.0),
    ],
)
def test_a_log_that_is_removed_by_age_is_left_for_as_long_as_the_job_is_not_that_far_behind(
    progress: Progress, level: Level, hours_left: float | None, if_stopped: float
):
    retention = health(progress).retention
    assert retention.level is level
    assert retention.hours_left == (None if hours_left is None else pytest.approx(hours_left, abs=0.01))
    assert retention.hours_left_if_stopped == pytest.approx(if_stopped, abs=0.01)
    assert retention.remedy
    # When it is removed by age is known; whether its disk is full before, is not, and no good news (UNKNOWN).
    assert "the source keeps its log for 2 days" in retention.text
    assert "how long its disk has room for that is not known" in retention.text


@pytest.mark.parametrize(
    ("left_bytes", "log_bytes_per_s", "level", "hours_left", "words"),
    [
        (900 * GB, 1000.0, Level.OK, None, "its disk has room for 900.0 GB more"),
        (36 * GB, 1_000_000.0, Level.WARNING, 10.0, "full in 10.0 h at the present growth"),
        (3 * GB, 1_000_000.0, Level.CRITICAL, 0.83, "full in 50 min at the present growth"),
        (900 * GB, 0.0, Level.OK, None, "its disk has room for 900.0 GB more"),
        (900 * GB, None, Level.UNKNOWN, None, "how fast that fills is not known yet"),
    ],
)
def test_where_the_source_shows_its_disk_the_log_ends_when_that_is_full(
    left_bytes: int, log_bytes_per_s: float | None, level: Level, hours_left: float | None, words: str
):
    log = replace(BINLOG, keeps_for_s=0.0, disk_left_bytes=left_bytes)
    facts = replace(SEEN, source=replace(SOURCE, log=log), log_bytes_per_s=log_bytes_per_s)
    retention = health(behind(0.001, remaining_s=0, diagnosis=facts)).retention
    assert (retention.level, retention.left_bytes) == (level, left_bytes)
    assert words in retention.text
    assert bool(retention.remedy) == (level is not Level.OK)
    if hours_left is not None:
        assert retention.hours_left == pytest.approx(hours_left, abs=0.01)


def test_a_log_whose_end_is_not_known_is_something_to_mind_and_no_obstacle():
    found = health(behind(0.001, remaining_s=0))
    assert found.verdict.is_ready
    assert "LOG_RETENTION" in [advisory.code for advisory in found.verdict.advisories]


def test_a_stopped_job_comes_nearer_to_the_purge_by_itself():
    retention = health(behind(0.001, remaining_s=0), status=JobStatus.PAUSED, at_us=NOW_US + int(30 * 3.6e9)).retention
    assert retention.level is Level.WARNING
    assert retention.hours_left == pytest.approx(18.0, abs=0.01)


def test_a_copy_needs_the_log_since_its_snapshot():
    facts = replace(SEEN, source=replace(SOURCE, log=BINLOG))
    copying = replace(IN_STEP, phase=Phase.COPY, proven_source_time_us=None, diagnosis=facts)
    assert health(copying, status=JobStatus.COPYING).retention.level is Level.UNKNOWN
    since = replace(facts, log_needed_since_us=NOW_US - int(46 * 3.6e9))
    retention = health(replace(copying, diagnosis=since, remaining_s=3600), status=JobStatus.COPYING).retention
    assert retention.level is Level.WARNING
    assert retention.hours_left == pytest.approx(2.0)
    retention = health(replace(copying, diagnosis=since, remaining_s=3 * 3600), status=JobStatus.COPYING).retention
    assert retention.level is Level.CRITICAL


@pytest.mark.parametrize(
    ("changes", "log_bytes_per_s", "level", "words"),
    [
        ({"keeps_for_s": 0.0}, 1000.0, Level.UNKNOWN, "disk has room for that is not known"),
        ({"keeps_for_s": 0.0, "limit_bytes": 10 * GB}, None, Level.UNKNOWN, "10.0 GB"),
        ({"keeps_for_s": 0.0, "limit_bytes": 10 * GB}, 500_000.0, Level.OK, "keeps its log for 5.6 h"),
        ({"limit_bytes": 10 * GB}, 1.0, Level.OK, "keeps its log for 2 days"),
        ({"limit_bytes": 10 * GB, "disk_left_bytes": 5 * GB}, 1.0, Level.OK, "keeps its log for 2 days"),
        ({"limit_bytes": 10 * GB, "disk_left_bytes": GB}, 1e6, Level.CRITICAL, "disk has room for 1.0 GB more"),
    ],
)
def test_a_log_without_an_age_or_with_a_size_too(
    changes: dict[str, object], log_bytes_per_s: float | None, level: Level, words: str
):
    log = replace(BINLOG, **changes)  # type: ignore[arg-type]
    facts = replace(SEEN, source=replace(SOURCE, log=log), log_bytes_per_s=log_bytes_per_s)
    retention = health(behind(0.001, remaining_s=0, diagnosis=facts)).retention
    assert retention.level is level
    assert words in retention.text

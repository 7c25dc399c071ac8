"""How long a job still takes, by the paces of its work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towline.domain.pace import USUAL_PACE, TargetPace
from towline.domain.structure import Section, StructureItem
from towline.engine.forecast import Forecaster, Left, Pace, SourceLog, index_cost


def left(data: float, index: float = 0.0, *, index_total: float = 0.0) -> Left:
    return Left(data, data == 0, index, index_total, index_total == 0)


def run(pace: Pace, *, begin_s: float, seconds: int, per_s: float, done: float = 0.0) -> float:
    for tenth in range(seconds * 10 + 1):
        pace.add(begin_s + tenth / 10, done + per_s * tenth / 10)
    return done + per_s * seconds


def keep_log(forecaster: Forecaster, seconds: float, size_bytes: int) -> None:
    """The source wrote so much into its log, all of which is still to be read."""
    forecaster.add_log(SourceLog(0.0, 0, 0))
    forecaster.add_log(SourceLog(seconds, size_bytes, size_bytes))


@given(
    begun=st.floats(0, 1e12),
    moved=st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e12, 1e12)), max_size=30),
    data=st.floats(0, 1e15),
    index=st.floats(0, 1),
    index_total=st.floats(0, 1e15),
    follows=st.booleans(),
)
def test_whatever_moves_gives_a_sound_range_or_none(
    begun: float,
    moved: list[tuple[float, float]],
    data: float,
    index: float,
    index_total: float,
    follows: bool,
) -> None:
    """Also what goes back, stands still or creeps."""
    forecaster = Forecaster()
    now_s, done = 0.0, begun
    for passed_s, more in moved:
        now_s, done = now_s + passed_s, done + more
        forecaster.data.add(now_s, done)
        forecaster.add_index(now_s, done)
        forecaster.add_log(SourceLog(now_s, int(done), int(abs(more)), changed_rows=int(more), row_bytes=10.0))
        forecaster.add_proven(now_s, int(done))
    for known in (
        forecaster.full_phase(left(data, index * index_total, index_total=index_total), follows=follows),
        forecaster.catch_up(data),
    ):
        assert known is None or 0 <= known.low_s <= known.seconds <= known.high_s < 2**31 - 1


def test_what_creeps_is_not_known():
    forecaster = Forecaster()
    run(forecaster.data, begin_s=0, seconds=10, per_s=1e-6)
    assert forecaster.full_phase(left(1e9), follows=False) is None


def test_nothing_is_known_without_evidence():
    forecaster = Forecaster()
    assert forecaster.full_phase(left(1000), follows=False) is None
    forecaster.data.add(0.0, 0.0)
    forecaster.data.add(0.5, 100.0)
    assert forecaster.full_phase(left(1000), follows=False) is None


def test_rows_and_unbuilt_indexes_are_counted_by_the_speed_of_the_copy():
    forecaster = Forecaster()
    run(forecaster.data, begin_s=0, seconds=10, per_s=100.0)
    known = forecaster.full_phase(left(1000, 2000, index_total=2000), follows=False)
    assert known is not None
    assert known.seconds == 30
    assert known.low_s < 30 < known.high_s


def test_the_speed_of_building_replaces_the_guess():
    forecaster = Forecaster()
    run(forecaster.data, begin_s=0, seconds=10, per_s=100.0)
    run(forecaster.index, begin_s=10, seconds=10, per_s=20.0)
    known = forecaster.full_phase(left(0, 300, index_total=500), follows=False)
    assert known is not None
    assert known.seconds == 15


def test_a_server_that_tells_little_of_an_index_at_first_is_not_believed_at_once():
    """A thirtieth is told to be built in a third of the time that all of it was thought to take."""
    forecaster = Forecaster()
    run(forecaster.data, begin_s=0, seconds=10, per_s=100.0)
    run(forecaster.index, begin_s=10, seconds=3, per_s=10.0)
    known = forecaster.full_phase(left(0, 870, index_total=900), follows=False)
    assert known is not None
    assert 9 <= known.seconds < 15


def test_a_standstill_is_not_known():
    pace = Pace()
    done = run(pace, begin_s=0, seconds=10, per_s=100.0)
    run(pace, begin_s=10, seconds=25, per_s=0.0, done=done)
    assert pace.per_s(1000) is None


def test_the_near_future_is_told_by_the_near_past():
    pace = Pace()
    done = run(pace, begin_s=0, seconds=100, per_s=10.0)
    run(pace, begin_s=100, seconds=30, per_s=100.0, done=done)
    soon, later = pace.per_s(500), pace.per_s(1_000_000)
    assert soon is not None
    assert later is not None
    assert 95 < soon <= 101
    assert 25 < later < 40


def test_the_catch_up_is_counted_by_what_the_source_writes_meanwhile():
    forecaster = Forecaster()
    run(forecaster.data, begin_s=0, seconds=10, per_s=75_000_000.0)
    keep_log(forecaster, 10.0, 50_000_000)
    known = forecaster.full_phase(left(750_000_000), follows=True)
    assert known is not None
    # 10 for the rows, 1 for the proof; 5 MB/s for 20 s, which the target catches up at 10 MB/s
    assert known.seconds == 21
    keep_log(forecaster, 10.0, 500_000_000)
    assert forecaster.full_phase(left(750_000_000), follows=True) is None  # it would never get there


def test_a_run_that_begins_late_does_not_take_what_has_come_together_for_what_comes_in_a_moment():
    """9 GB were held when the worker began; the source writes 5 MB/s."""
    forecaster = Forecaster()
    run(forecaster.data, begin_s=0, seconds=10, per_s=75_000_000.0)
    # Its 200,000 changes account for all of the log; of what was held before, that cannot be known.
    forecaster.add_log(SourceLog(0.0, 20_000_000_000, 8_900_000_000, changed_rows=700))
    forecaster.add_log(
        SourceLog(10.0, 20_050_000_000, 8_950_000_000, changed_rows=200_700, uncounted_bytes=8_900_000_000)
    )
    known = forecaster.full_phase(left(750_000_000), follows=True)
    assert known is not None
    assert known.seconds == 911  # 10 for the rows, 1 for the proof; 9 GB at 10 MB/s


def test_log_that_was_needed_before_the_run_began_is_told_by_its_time():
    """Half an hour of 5 MB/s before the worker was started anew, on a source that holds no log for a job."""
    forecaster = Forecaster()
    run(forecaster.data, begin_s=0, seconds=10, per_s=75_000_000.0)
    forecaster.add_log(SourceLog(0.0, 0, 0, unseen_s=1780))
    forecaster.add_log(SourceLog(10.0, 50_000_000, 50_000_000, unseen_s=1780))
    known = forecaster.full_phase(left(750_000_000), follows=True)
    assert known is not None
    assert known.seconds == 911


def test_log_that_no_changed_row_accounts_for_is_only_passed_over():
    """Pages that are written whole as the copy reads them first: 1 GB in ten seconds, and 1,000 changed rows."""
    forecaster = Forecaster()
    run(forecaster.data, begin_s=0, seconds=10, per_s=75_000_000.0)
    forecaster.add_log(SourceLog(0.0, 7_000_000, 90_000_000, changed_rows=5_000, row_bytes=100.0))
    forecaster.add_log(SourceLog(10.0, 1_007_000_000, 1_090_000_000, changed_rows=6_000, row_bytes=100.0))
    known = forecaster.full_phase(left(750_000_000), follows=True)
    assert known is not None
    assert known.seconds == 12  # 10 for the rows, 1 for the proof, 1 for 2.1 GB of log that the source passes over
    # The same log where the source does not tell what it has changed, or no more since its statistics were reset.
    for changed_rows in (None, 4_999):
        forecaster.add_log(SourceLog(10.0, 1_007_000_000, 1_000_000_000, changed_rows=changed_rows, row_bytes=100.0))
        assert forecaster.full_phase(left(750_000_000), follows=True) is None


def test_a_target_that_takes_rows_slowly_takes_as_long_to_catch_up():
    """Copied at 10 MB/s; of 0.4 MB/s that the source writes, 18 MB come together in 45 s, and take 11 s."""
    forecaster = Forecaster()
    run(forecaster.data, begin_s=0, seconds=40, per_s=10_000_000.0)
    keep_log(forecaster, 40.0, 16_000_000)
    known = forecaster.full_phase(left(50_000_000), follows=True)
    assert known is not None
    assert 15 <= known.seconds <= 19


@pytest.mark.parametrize(("cache_bytes", "seconds"), [(None, 17), (2_000_000_000, 17), (500_000_000, 36)])
def test_changes_of_tables_that_do_not_fit_into_memory_take_longer(cache_bytes: int | None, seconds: int):
    """As above; of tables and indexes of 1 GB, half are not in memory."""
    forecaster = Forecaster()
    forecaster.target = TargetPace(index_byte=2.2, log_byte=5.0, cache_bytes=cache_bytes)
    forecaster.target_bytes = 1_000_000_000
    run(forecaster.data, begin_s=0, seconds=40, per_s=10_000_000.0)
    keep_log(forecaster, 40.0, 16_000_000)
    known = forecaster.full_phase(left(50_000_000), follows=True)
    assert known is not None
    assert known.seconds == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize(
    ("statement", "weight_bytes", "seconds"),
    [
        ("CREATE INDEX i ON a USING btree (title)", 338_000_000, 8.0),
        ("CREATE INDEX i ON a USING btree (words)", 44_000_000, 6.5),
        ("CREATE INDEX i ON a USING gin (tags)", 30_000_000, 3.5),
        ("CREATE INDEX i ON a USING gin (to_tsvector('simple'::regconfig, words))", 67_000_000, 16.6),
    ],
)
def test_indexes_of_postgresql_take_about_as_long_as_they_were_seen_to(
    statement: str, weight_bytes: int, seconds: float
):
    """6,000,000 rows, copied at 100 MB/s."""
    item = StructureItem(1, Section.INDEXES, "INDEX", "i", "s", None, (statement,), weight_bytes=weight_bytes)
    guessed_s = index_cost(item, rows=6_000_000, live_share=1.0, pace=USUAL_PACE) / 100e6
    assert seconds / 2.2 < guessed_s < seconds * 2.2


def test_before_the_stream_shows_how_fast_it_is_the_catch_up_takes_what_was_thought():
    forecaster = Forecaster()
    run(forecaster.data, begin_s=0, seconds=10, per_s=75_000_000.0)
    keep_log(forecaster, 10.0, 50_000_000)
    seconds = []
    for waited_s in range(8):
        forecaster.add_proven(10.0 + waited_s, None)
        known = forecaster.catch_up(None)
        seconds.append(None if known is None else known.seconds)
    # 50 MB at 10 MB/s and 1 for the proof; once it takes longer, nobody knows how long.
    assert seconds == [6, 5, 4, 3, 2, 1, None, None]


def test_a_stream_that_comes_nearer_says_when_it_is_there():
    forecaster = Forecaster()
    for second in range(11):
        forecaster.add_proven(float(second), second * 5_000_000)
    known = forecaster.catch_up(40.0)
    assert known is not None
    assert known.seconds == 10
    assert forecaster.catch_up(None) is None
    slow = Forecaster()
    for second in range(11):
        slow.add_proven(float(second), second * 900_000)
    assert slow.catch_up(40.0) is None


def test_a_target_that_does_not_tell_how_far_an_index_is_gets_nearer_by_the_time_that_passes():
    forecaster = Forecaster()
    run(forecaster.data, begin_s=0, seconds=10, per_s=100.0)
    seconds = []
    for waited_s in range(41):
        forecaster.add_index(10.0 + waited_s, 0.0)
        known = forecaster.full_phase(left(0, 2000, index_total=2000), follows=False)
        assert known is not None
        seconds.append(known.seconds)
    assert (seconds[0], seconds[10]) == (20, 10)
    # Wrong by then, but not over.
    assert seconds[20] == 5
    assert seconds[40] == 10

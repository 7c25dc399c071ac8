from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from towline.domain.diagnosis import Diagnosis, KeptLog, Outage, SourceFacts, TargetFacts
from towline.domain.progress import PartProgress, Phase, Progress, delay_ms, proven_here_us
from towline.store import codec
from towline.store.progress import carry_facts, carry_forward

PARTS = st.builds(PartProgress, done=st.integers(0, 9), total=st.integers(0, 9), is_finished=st.booleans())
PROGRESS = st.builds(
    Progress,
    at_us=st.integers(0, 2**50),
    phase=st.sampled_from(Phase),
    percent=st.integers(0, 100),
    structure=PARTS,
    data=PARTS,
    index=PARTS,
    remaining_s=st.none() | st.integers(0, 10**6),
    proven_source_time_us=st.none() | st.integers(0, 2**50),
    source_clock_offset_us=st.none() | st.integers(-(10**9), 10**9),
    rows_copied=st.integers(0, 2**50),
    changes_applied=st.integers(0, 2**50),
    apply_rows_per_s=st.none() | st.floats(0, 1e9),
    waiting_for=st.none() | st.text(max_size=20),
)


@given(PROGRESS)
def test_figures_come_back_as_they_were_stored(progress: Progress):
    assert codec.decode_progress(codec.encode_progress(progress)) == progress


@given(PROGRESS, PROGRESS)
def test_what_was_reached_stays_reached(known: Progress, current: Progress):
    stored = carry_forward(known, current)
    order = list(Phase)
    assert stored.at_us == current.at_us
    assert stored.percent == max(known.percent, current.percent)
    assert order.index(stored.phase) == max(order.index(known.phase), order.index(current.phase))
    for part in ("structure", "data", "index"):
        percents = [getattr(progress, part).percent for progress in (known, current, stored)]
        assert percents[2] == max(percents[:2])
    assert stored.changes_applied >= known.changes_applied
    known_us, stored_us = proven_here_us(known), proven_here_us(stored)
    if known_us is not None and known_us <= current.at_us:
        assert stored_us is not None
        assert stored_us >= known_us


@given(PROGRESS)
def test_the_first_figures_are_taken_as_they_are(current: Progress):
    assert carry_forward(None, current) is current
    assert carry_forward(current, current) == current


def test_what_was_seen_of_a_side_stays_until_it_is_seen_again_and_an_outage_does_not():
    log = KeptLog("the slot", is_there=True, held_bytes=7)
    known = Diagnosis(
        9,
        source=SourceFacts(8, 77, log),
        target=TargetFacts(7),
        source_outage=Outage(6, "gone"),
        log_bytes_per_s=5.0,
        moved_at_us=4,
        sequences_at_us=3,
        log_needed_since_us=2,
    )
    stored = carry_facts(known, Diagnosis(20))
    assert stored == Diagnosis(20, source=known.source, target=known.target, log_bytes_per_s=5.0, log_needed_since_us=2)
    seen = Diagnosis(21, source=SourceFacts(21, 78, log), log_needed_since_us=11)
    assert carry_facts(known, seen) == replace(seen, target=known.target)
    assert carry_facts(None, seen) is seen


def test_clock_of_the_source_that_was_set_changes_no_delay():
    second = 1_000_000
    known = Progress(100 * second, Phase.STREAM, proven_source_time_us=99 * second, source_clock_offset_us=0)
    # Set back by 45 s: the new proof is a smaller number, and newer.
    back = Progress(101 * second, Phase.STREAM, proven_source_time_us=55 * second, source_clock_offset_us=-45 * second)
    assert delay_ms(carry_forward(known, back), now_us=101 * second) == 1_000
    # Set ahead by 45 s, and nothing new proven: the old proof, told by the old offset.
    ahead = Progress(101 * second, Phase.STREAM, proven_source_time_us=99 * second, source_clock_offset_us=45 * second)
    assert delay_ms(carry_forward(known, ahead), now_us=101 * second) == 2_000


def test_an_estimate_of_before_the_clock_was_set_back_does_not_stand():
    known = Progress(at_us=3600 * 10**6, phase=Phase.COPY, percent=5, remaining_s=9, remaining_at_us=3600 * 10**6)
    assert carry_forward(known, Progress(at_us=3601 * 10**6, phase=Phase.COPY)).remaining_s == 9
    assert carry_forward(known, Progress(at_us=0, phase=Phase.COPY)).remaining_s is None


def test_proof_from_the_future_is_no_proof():
    second = 1_000_000
    set_just_now = Progress(100 * second, Phase.STREAM, proven_source_time_us=145 * second, source_clock_offset_us=0)
    assert delay_ms(set_just_now, now_us=100 * second) is None
    known = Progress(99 * second, Phase.STREAM, proven_source_time_us=98 * second, source_clock_offset_us=0)
    assert delay_ms(carry_forward(known, set_just_now), now_us=100 * second) == 2_000
    later = Progress(101 * second, Phase.STREAM, proven_source_time_us=145 * second, source_clock_offset_us=45 * second)
    assert delay_ms(carry_forward(set_just_now, later), now_us=101 * second) == 1_000

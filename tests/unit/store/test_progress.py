from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from towline.domain.progress import PartProgress, Phase, Progress
from towline.store import codec
from towline.store.progress import carry_forward

PROGRESS = st.builds(
    Progress,
    at_us=st.integers(0, 2**50),
    phase=st.sampled_from(Phase),
    percent=st.integers(0, 100),
    structure=st.builds(PartProgress, done=st.integers(0, 9), total=st.integers(0, 9), is_finished=st.booleans()),
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
    assert stored.changes_applied >= known.changes_applied
    if known.proven_source_time_us is not None:
        assert stored.proven_source_time_us is not None
        assert stored.proven_source_time_us >= known.proven_source_time_us


@given(PROGRESS)
def test_the_first_figures_are_taken_as_they_are(current: Progress):
    assert carry_forward(None, current) is current
    assert carry_forward(current, current) == current

"""How far an index build is, by what the server tells of it, beside how long real builds took."""

from __future__ import annotations

import pytest

from towline.adapters.postgres.structure_target import estimate_build

READING, OLDER = "building index: scanning table", "building index"


@pytest.mark.parametrize(
    ("phase", "blocks", "tuples", "is_inverted", "share"),
    [
        # 6,000,000 rows: a text of 32 characters, in 8.0 s; words of a text by GIN, in 16.6 s on 18 and 27.6 s on 15.
        (READING, 0.0, 0.0, False, 0.0),
        (READING, 0.54, 0.0, False, 2.5 / 8.0),
        ("building index: sorting live tuples", 0.0, 0.0, False, 5.0 / 8.0),
        ("building index: loading tuples in tree", 0.0, 0.85, False, 7.0 / 8.0),
        (READING, 0.30, 0.0, True, 4.5 / 16.6),
        (READING, 0.81, 0.0, True, 12.6 / 16.6),
        ("building index: merging tuples (workers)", 1.0, 0.0, True, 15.6 / 16.6),
        (OLDER, 0.46, 0.0, True, 13.0 / 27.6),
        (OLDER, 0.93, 0.0, True, 25.6 / 27.6),
    ],
)
def test_a_build_is_as_far_as_its_time(phase: str, blocks: float, tuples: float, is_inverted: bool, share: float):
    assert estimate_build(phase, blocks, tuples, is_inverted=is_inverted) == pytest.approx(share, abs=0.13)


def test_what_waits_for_others_has_not_begun():
    assert estimate_build("waiting for writers before build", 0.5, 0.5, is_inverted=False) == 0

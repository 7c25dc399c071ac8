"""How far the building of indexes is in MySQL, from its stages and their units of work."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.build_progress import FulltextCourse, MysqlCourse

READ, MERGE, INSERT = "read PK and internal sort", "merge sort", "insert"

# Seen on servers: the share of the time that was over, the stage with its units of work and the server's estimate.
ONE_WIDE_INDEX = [
    (0.1, READ, 41_116, 91_948),
    (0.2, MERGE, 71_156, 149_104),
    (0.4, MERGE, 85_221, 149_104),
    (0.56, MERGE, 97_095, 149_104),
    (0.68, INSERT, 103_899, 149_104),
    (0.87, INSERT, 122_702, 149_104),
    (0.97, INSERT, 145_000, 149_104),
]


def test_share_of_a_build_is_near_what_was_seen() -> None:
    course = MysqlCourse(0.0)
    for over, stage, done, estimated in ONE_WIDE_INDEX:
        assert course.note([(f"stage/innodb/alter table ({stage})", done, estimated)], 10 * over) == pytest.approx(
            over, abs=0.2
        )


def test_threads_that_insert_count_by_the_one_that_is_furthest() -> None:
    course = MysqlCourse(0.0)
    course.note([("(merge sort)", 98_416, 149_104)], 1.0)
    behind = course.note([("(insert)", 103_000, 149_104), ("(merge sort)", 98_416, 149_104)], 2.0)
    further = course.note([("(insert)", 103_000, 149_104), ("(insert)", 140_000, 149_104)], 2.0)
    assert behind is not None
    assert further is not None
    assert behind < further < 1


def test_without_an_estimate_nothing_is_said() -> None:
    assert MysqlCourse(0.0).note([("(read PK)", 118_845, 118_845)], 1.0) is None
    assert MysqlCourse(0.0).note([], 1.0) is None


def test_indexes_of_which_no_end_is_foreseen_go_by_time() -> None:
    course = MysqlCourse(0.0)
    seen = [("merge sort", 2.0, 146_589), ("merge sort", 3.5, 195_185), ("log apply index", 3.8, 205_954)]
    seen += [("log apply index", 5.0, 222_157), ("log apply index", 60.0, 227_933)]
    shares = [course.note([(f"({stage})", units, units)], at_s) for stage, at_s, units in seen]
    assert shares == [pytest.approx(share, abs=0.01) for share in (0.15, 0.26, 0.6, 0.79, 0.97)]


# Seconds, units and estimate of one build, which took 8.96 s: sorting was over after 5.03 s.
ONE_FULLTEXT_INDEX = [
    (0.5, 5_730, 64_687),
    (2.02, 33_858, 64_687),
    (3.52, 60_768, 64_687),
    (4.53, 79_062, 79_062),
    (5.03, 86_424, 86_424),
    (6.04, 86_424, 86_424),
    (7.04, 86_424, 86_424),
    (8.55, 86_424, 86_424),
]


def test_share_of_a_fulltext_build_grows_on_when_its_units_are_over() -> None:
    course = FulltextCourse(0.0)
    for at_s, done, estimated in ONE_FULLTEXT_INDEX:
        assert course.note([(f"({READ})", done, estimated)], at_s) == pytest.approx(at_s / 8.96, abs=0.05)
    assert course.note([(f"({READ})", 86_424, 86_424)], 1_000.0) == pytest.approx(0.97)


def test_fulltext_build_that_pauses_before_its_units_are_over_says_nothing() -> None:
    course = FulltextCourse(0.0)
    course.note([(f"({READ})", 5_730, 64_687)], 0.5)
    assert course.note([(f"({READ})", 5_730, 64_687)], 60.0) is None
    assert course.note([], 60.0) is None

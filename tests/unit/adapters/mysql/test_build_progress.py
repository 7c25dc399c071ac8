"""How far the building of indexes is in MySQL, from its stages and their units of work."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.build_progress import FULLTEXT_SHARE_IN_MYSQL, MysqlCourse, estimate_fulltext_share
from towline.domain.structure import Section, StructureItem
from towline.domain.tables import TableName

PAGES = 8448
SIZE_BYTES = PAGES * 16_384
FULLTEXT = StructureItem(
    number=1,
    section=Section.INDEXES,
    kind="INDEX",
    name="f",
    schema="d",
    table=TableName("d", "t"),
    statements=("ALTER TABLE `d`.`t` ADD FULLTEXT KEY `f` (`a`)",),
    depends_on=frozenset(),
    weight_bytes=int(SIZE_BYTES * FULLTEXT_SHARE_IN_MYSQL),
    is_optional=False,
)
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
    course = MysqlCourse()
    for over, stage, done, estimated in ONE_WIDE_INDEX:
        assert course.note([(f"stage/innodb/alter table ({stage})", done, estimated)]) == pytest.approx(over, abs=0.2)


def test_threads_that_insert_count_by_the_one_that_is_furthest() -> None:
    course = MysqlCourse()
    course.note([("(merge sort)", 98_416, 149_104)])
    behind = course.note([("(insert)", 103_000, 149_104), ("(merge sort)", 98_416, 149_104)])
    further = course.note([("(insert)", 103_000, 149_104), ("(insert)", 140_000, 149_104)])
    assert behind is not None
    assert further is not None
    assert behind < further < 1


def test_without_an_estimate_nothing_is_said() -> None:
    assert MysqlCourse().note([("(merge sort)", 118_845, 118_845)]) is None
    assert MysqlCourse().note([]) is None


@pytest.mark.parametrize(("units", "share"), [(46_228, 0.17), (94_668, 0.6), (140_350, 0.97), (10**9, 0.97)])
def test_share_of_a_fulltext_build_is_near_what_was_seen(units: int, share: float) -> None:
    assert estimate_fulltext_share(FULLTEXT, units) == pytest.approx(share, abs=0.25)

"""How far the building of indexes is in MySQL, from units of work and the size of the table."""

from __future__ import annotations

import pytest

from towline.adapters.mysql.build_progress import estimate_share
from towline.domain.structure import Section, StructureItem
from towline.domain.tables import TableName

PAGES = 8448
SIZE_BYTES = PAGES * 16_384


def index(definition: str, *, indexes: int = 1) -> StructureItem:
    return StructureItem(
        number=1,
        section=Section.INDEXES,
        kind="INDEX",
        name="i",
        schema="d",
        table=TableName("d", "t"),
        statements=(f"ALTER TABLE `d`.`t` ADD {definition}",),
        depends_on=frozenset(),
        weight_bytes=SIZE_BYTES * indexes // 4,
        is_optional=False,
    )


# Seen on a server: units of work and the share of the time that was over.
@pytest.mark.parametrize(
    ("item", "units", "share"),
    [
        (index("KEY `a` (`a`)", indexes=4), 26_476, 0.07),
        (index("KEY `a` (`a`)", indexes=4), 67_360, 0.15),
        (index("KEY `a` (`a`)", indexes=4), 80_729, 0.43),
        (index("KEY `a` (`a`)", indexes=4), 96_700, 0.65),
        (index("KEY `a` (`a`)", indexes=4), 106_266, 0.95),
        (index("FULLTEXT KEY `f` (`a`)"), 46_228, 0.17),
        (index("FULLTEXT KEY `f` (`a`)"), 94_668, 0.6),
        (index("FULLTEXT KEY `f` (`a`)"), 140_350, 0.97),
    ],
)
def test_share_of_a_build_is_near_what_was_seen(item: StructureItem, units: int, share: float):
    assert estimate_share(item, units) == pytest.approx(share, abs=0.25)


def test_a_build_is_never_said_to_be_over_before_the_server_says_so():
    assert estimate_share(index("KEY `a` (`a`)"), 10**9) < 1

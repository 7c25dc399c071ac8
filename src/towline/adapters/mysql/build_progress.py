"""How far the building of an index is on the target, as far as the server tells.

MariaDB has a percentage, `Innodb_onlineddl_pct_progress`, but one for the whole server.  MySQL shows the stage and the
units of work of an ALTER TABLE in `performance_schema.events_stages_current`, by default in all its versions since 8.0;
its own estimate of all the work is far too low, so the units are held against the size of the table instead.  Both say
something of one build only when it is alone on the server; else nothing is said.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from towline.adapters.mysql.session import Session
from towline.domain.errors import TowlineError
from towline.domain.structure import StructureItem

BUILD_STATE: Final = "altering table"
_ALTERING: Final = f"SELECT id FROM information_schema.processlist WHERE state = '{BUILD_STATE}'"
_MARIADB_SHARE: Final = "SHOW GLOBAL STATUS LIKE 'Innodb_onlineddl_pct_progress'"
_MYSQL_UNITS: Final = """
SELECT max(work_completed) FROM performance_schema.events_stages_current
WHERE event_name LIKE 'stage/innodb/alter table%'
"""
_PAGE_BYTES: Final = 16_384
_WHOLE: Final = 10_000  # hundredths of a percent
_MOST: Final = 0.97
# Units of work for each page of the table and each index, and the share of the time that is over then.  Measured:
# reading and sorting, merging, inserting.  Words of a FULLTEXT index are many, and are read slowly.
_USUAL_COURSE: Final = ((0.0, 0.0), (2.0, 0.15), (2.6, 0.6), (3.2, _MOST))
_FULLTEXT_COURSE: Final = ((0.0, 0.0), (11.0, 0.65), (13.0, 0.78), (16.6, _MOST))
# `structure_source` gives an index a quarter of its table.
_INDEXES_PER_TABLE_BYTE: Final = 4


async def read_share(session: Session, item: StructureItem, connection_id: int) -> float | None:
    """0..1 of the build that runs on that connection; None when the server does not tell."""
    try:
        altering = [int(row[0]) for row in await session.query(_ALTERING)]
        if altering != [connection_id]:
            return None
        if session.flavor.is_mariadb:
            row = await session.query_one(_MARIADB_SHARE)
            return None if row is None else min(_MOST, int(row[1]) / _WHOLE)
        units = await session.query_value(_MYSQL_UNITS)
    except TowlineError:
        return None  # not shown to this account, or not by this version
    return None if units is None else estimate_share(item, int(units))


def estimate_share(item: StructureItem, units: int) -> float:
    """Of a build in MySQL that has done so many units of work. Pure."""
    pages = max(1.0, item.weight_bytes * _INDEXES_PER_TABLE_BYTE / _PAGE_BYTES)
    is_fulltext = any("ADD FULLTEXT " in statement for statement in item.statements)
    return _interpolate(_FULLTEXT_COURSE if is_fulltext else _USUAL_COURSE, units / pages)


def _interpolate(course: Sequence[tuple[float, float]], done: float) -> float:
    for (first, share), (last, next_share) in itertools.pairwise(course):
        if done <= last:
            return share + (next_share - share) * (done - first) / (last - first)
    return course[-1][1]

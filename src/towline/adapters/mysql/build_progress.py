"""How far the building of an index is on the target, as far as the server tells.

MariaDB has a percentage, `Innodb_onlineddl_pct_progress`, but one for the whole server.  MySQL shows the stage and the
units of work of an ALTER TABLE in `performance_schema.events_stages_current`, by default in all its versions since 8.0.
A unit takes ten times as long in one stage as in another, and the server's estimate of all units is right only from the
second stage on, and only with fresh statistics of the table; see `MysqlCourse`.  Both say something of one build only
when it is alone on the server; else nothing is said.
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
_MYSQL_STAGES: Final = """
SELECT event_name, work_completed, work_estimated FROM performance_schema.events_stages_current
WHERE event_name LIKE 'stage/innodb/alter table%'
"""
_PAGE_BYTES: Final = 16_384
_WHOLE: Final = 10_000  # hundredths of a percent
_MOST: Final = 0.97
# The words in the names of the stages, and the share of the time that is over when each begins and ends.  Measured.
_READ, _MERGE, _INSERT = "read PK", "merge sort", "insert"
_SPANS: Final = {_READ: (0.0, 0.15), _MERGE: (0.15, 0.6), _INSERT: (0.6, _MOST)}
# Of the server's first estimate, what reading takes; of the units after reading, what merging takes.  Measured.
_READING_UNITS, _MERGING_UNITS = 0.77, 0.42
# Words of a FULLTEXT index are many, and are read slowly: units of work for each page of the table, and the share of
# the time that is over then.
_FULLTEXT_COURSE: Final = ((0.0, 0.0), (11.0, 0.5), (11.2, 0.78), (13.0, 0.85), (16.6, _MOST))
# What a FULLTEXT index weighs in MySQL, as a share of its table: words take it longer than MariaDB.
FULLTEXT_SHARE_IN_MYSQL: Final = 0.4

Stage = tuple[str, int, int]
"""Name, units that are done, units in all as the server estimates them."""


class MysqlCourse:
    """How far the build of plain indexes is, from the stages that are seen one after the other. Pure."""

    def __init__(self) -> None:
        self._stage = ""
        self._first = 0  # units at the begin of the stage

    def note(self, stages: Sequence[Stage]) -> float | None:
        """0..1; None when the server has no stage, or no estimate."""
        for name in (_INSERT, _MERGE, _READ):
            mine = [(done, estimated) for event, done, estimated in stages if name in event]
            if mine:
                return self._share(name, *max(mine))
        return None

    def _share(self, name: str, done: int, estimated: int) -> float | None:
        if name != self._stage:
            self._stage, self._first = name, 0 if name == _READ else done
        if estimated <= done and name != _INSERT:
            return None
        whole = estimated * _READING_UNITS if name == _READ else float(estimated - self._first)
        if name == _MERGE:
            whole *= _MERGING_UNITS
        first, last = _SPANS[name]
        return first + (last - first) * min(1.0, (done - self._first) / max(1.0, whole))


async def read_share(session: Session, item: StructureItem, connection_id: int, course: MysqlCourse) -> float | None:
    """0..1 of the build that runs on that connection, whose `course` it is; None when the server does not tell."""
    try:
        altering = [int(row[0]) for row in await session.query(_ALTERING)]
        if altering != [connection_id]:
            return None
        if session.flavor.is_mariadb:
            row = await session.query_one(_MARIADB_SHARE)
            return None if row is None else min(_MOST, int(row[1]) / _WHOLE)
        rows = await session.query(_MYSQL_STAGES)
    except TowlineError:
        return None  # not shown to this account, or not by this version
    stages = [(str(name), int(done or 0), int(estimated or 0)) for name, done, estimated in rows]
    if is_fulltext(item):
        return estimate_fulltext_share(item, max(done for _, done, _ in stages)) if stages else None
    return course.note(stages)


def is_fulltext(item: StructureItem) -> bool:
    return any("ADD FULLTEXT " in statement for statement in item.statements)


def estimate_fulltext_share(item: StructureItem, units: int) -> float:
    """Of a build in MySQL that has done so many units of work. Pure."""
    pages = max(1.0, item.weight_bytes / FULLTEXT_SHARE_IN_MYSQL / _PAGE_BYTES)
    return _interpolate(_FULLTEXT_COURSE, units / pages)


def _interpolate(course: Sequence[tuple[float, float]], done: float) -> float:
    for (first, share), (last, next_share) in itertools.pairwise(course):
        if done <= last:
            return share + (next_share - share) * (done - first) / (last - first)
    return course[-1][1]

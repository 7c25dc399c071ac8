"""How far the building of an index is on the target, as far as the server tells.

MariaDB has a percentage, `Innodb_onlineddl_pct_progress`, but one for the whole server.  MySQL shows the stage and the
units of work of an ALTER TABLE in `performance_schema.events_stages_current`, by default in all its versions since 8.0.
A unit takes ten times as long in one stage as in another, and the server's estimate of all units is right only from the
second stage on, and only with fresh statistics of the table; see `MysqlCourse`.  Both say something of one build only
when it is alone on the server; else nothing is said.
"""

from __future__ import annotations

import time
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
_WHOLE: Final = 10_000  # hundredths of a percent
_MOST: Final = 0.97
# The words in the names of the stages, and the share of the time that is over when each begins and ends.  Measured.
_READ, _MERGE, _INSERT = "read PK", "merge sort", "insert"
_SPANS: Final = {_READ: (0.0, 0.15), _MERGE: (0.15, 0.6), _INSERT: (0.6, _MOST)}
# Threads that help name what they do, while the session that waits for them already has its next stage.
_STAGES: Final = ((_INSERT, _INSERT), ("log apply", _INSERT), (_MERGE, _MERGE), (_READ, _READ))
# Of the server's first estimate, what reading takes; of the units after reading, what merging takes.  Measured.
_READING_UNITS, _MERGING_UNITS = 0.77, 0.42
# Of a FULLTEXT index the server counts reading and sorting, of which it foresees three quarters, and nothing of writing
# the sorted words: the share of the time that is over then.  Measured, with tables of 100,000 to 600,000 rows.
_FULLTEXT_FORESEEN, _FULLTEXT_COUNTED = 0.75, 0.58
# What a FULLTEXT index weighs, as a share of its table: words take MySQL longer than MariaDB.
FULLTEXT_SHARE_IN_MYSQL: Final = 0.4
FULLTEXT_SHARE_IN_MARIADB: Final = 0.12

Stage = tuple[str, int, int]
"""Name, units that are done, units in all as the server estimates them."""


class MysqlCourse:
    """How far the build of plain indexes is, from the stages that are seen one after the other. Pure."""

    def __init__(self, begun_s: float) -> None:
        self._begun_s = begun_s
        self._stage = ""
        self._first = 0, begun_s  # units at the begin of the stage, and when that was

    def note(self, stages: Sequence[Stage], now_s: float) -> float | None:
        """0..1; None when the server has no stage, or no estimate."""
        for words, name in _STAGES:
            mine = [(done, estimated) for event, done, estimated in stages if words in event]
            if mine:
                return self._share(name, *max(mine), now_s)
        return None

    def _share(self, name: str, done: int, estimated: int, now_s: float) -> float | None:
        if name != self._stage:
            self._stage, self._first = name, (0 if name == _READ else done, now_s)
        first_units, first_s = self._first
        first, last = _SPANS[name]
        if estimated <= done:
            # Of several indexes it foresees no more than it has done: then by the time until this stage began.
            until_stage_s = max(first_s - self._begun_s, 0.1)
            return None if name == _READ else min(last, first * (now_s - self._begun_s) / until_stage_s)
        whole = estimated * _READING_UNITS if name == _READ else float(estimated - first_units)
        if name == _MERGE:
            whole *= _MERGING_UNITS
        return first + (last - first) * min(1.0, (done - first_units) / max(1.0, whole))


class FulltextCourse:
    """How far the build of a FULLTEXT index is: by its units of work, and when they are over by time. Pure."""

    def __init__(self, begun_s: float) -> None:
        self._begun_s = begun_s
        self._foreseen = 0
        self._counted = 0, begun_s  # units, and when there were so many

    def note(self, stages: Sequence[Stage], now_s: float) -> float | None:
        """0..1; None when the server has no stage, or no estimate."""
        if not stages:
            return None
        _, done, estimated = max(stages, key=lambda stage: stage[1])
        # Once there are more than it foresaw, the server's estimate is what has been done.
        self._foreseen = self._foreseen or estimated
        if not self._foreseen:
            return None
        counted, at_s = self._counted
        if done > counted or not done:
            self._counted = done, now_s
            return min(1.0, done / self._foreseen * _FULLTEXT_FORESEEN) * _FULLTEXT_COUNTED
        if done < self._foreseen:
            return None  # it has more to count: a longer moment than between two looks
        return min(_MOST, _FULLTEXT_COUNTED * (now_s - self._begun_s) / max(at_s - self._begun_s, 0.1))


Course = MysqlCourse | FulltextCourse


def begin_course(item: StructureItem) -> Course:
    now_s = time.monotonic()
    return FulltextCourse(now_s) if is_fulltext(item) else MysqlCourse(now_s)


async def read_share(session: Session, connection_id: int, course: Course) -> float | None:
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
    return course.note(stages, time.monotonic())


def is_fulltext(item: StructureItem) -> bool:
    return any("ADD FULLTEXT " in statement for statement in item.statements)

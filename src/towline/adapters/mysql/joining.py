"""What DDL in the binlog means for tables that join a job, or are still to join it. Pure.

The theory is in `engine/joining.py`.  Three stretches of the binlog concern a table that joins:

* up to `since` nothing of its structure had been read, so what statements did to it is in there already;
* from there to `floor`, the oldest snapshot that its rows come from, a statement would leave it unknown whether
  structure and rows have the form of before or after.  It is refused, as is one up to the newest snapshot of all;
* after that it is a table of the job as any other.

Before tables join, those that are selected and not of the job yet are passed over, as they will be copied as they are
by then.  A table that is made meanwhile is certain to be new, and comes with the stream; but not one that is made IF
NOT EXISTS, which may have been there with all its rows, nor one that is made like, or refers to, a table that the
target does not have yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from towline.adapters.mysql.ddl_plan import refuse
from towline.adapters.mysql.gtid import BinlogPosition
from towline.adapters.mysql.statements import Statement, Token, read_words
from towline.domain.errors import SourceDdl
from towline.domain.tables import TableName

Covers = Callable[[TableName], bool]

_REMEDY: Final = (
    "Select the objects without {table} and retry with them; when the job follows again, drop the table on the target,"
    " and select it anew."
)


@dataclass(frozen=True, slots=True)
class JoiningTable:
    since: BinlogPosition
    floor: BinlogPosition


@dataclass(frozen=True, slots=True)
class Joining:
    """`tables`: those that are not in step yet.  `is_awaited`: an edit is still to be taken in."""

    tables: Mapping[TableName, JoiningTable] = field(default_factory=dict)
    is_awaited: bool = False

    @property
    def is_of_use(self) -> bool:
        return bool(self.tables) or self.is_awaited

    def holds(self, table: TableName, position: BinlogPosition) -> bool:
        """Whether the rows that were copied have the changes of a transaction at this position already."""
        joins = self.tables.get(table)
        return joins is not None and joins.floor.covers(position)

    def passes_over(
        self,
        statement: Statement,
        text: str,
        position: BinlogPosition,
        *,
        database: str,
        has: Covers,
        covers: Covers,
    ) -> bool:
        """Whether a statement about tables at this position means nothing to the job now.

        `database` is the session's; `has`: the job's tables; `covers`: also those that would belong to it.

        Raises:
            SourceDdl: it is about tables that join, and came when it could not be followed.
        """
        if not statement.tables:
            return False
        words = read_words(text)
        joining = [table for table in statement.tables if table in self.tables]
        is_early = any(joins.floor.covers(position) for joins in self.tables.values())
        if is_early and joining:
            return self._passes_over_joining(statement, words, position, joining, covers)
        if is_early and (named := _lower_named(words, database) & set(map(_lower, self.tables))):
            raise _refused(statement, min(named), "names")
        if not self.is_awaited or any(map(has, statement.tables)):
            return False
        is_new = statement.summary.startswith("CREATE TABLE ") and not _has_if_not_exists(words)
        return not is_new or any(covers(table) and not has(table) for table in _named(words, database))

    def drops(self, table: TableName, position: BinlogPosition, *, has: Covers) -> bool:
        """Whether a DROP at this position is about a table that the target has from the job."""
        return has(table) and not self.holds(table, position)

    def _passes_over_joining(
        self,
        statement: Statement,
        words: Sequence[Token],
        position: BinlogPosition,
        joining: Sequence[TableName],
        covers: Covers,
    ) -> bool:
        others = [table for table in statement.tables if table not in self.tables and covers(table)]
        if all(self.tables[table].since.covers(position) for table in joining):
            if not others:
                return True
            if statement.summary.startswith("DROP "):
                return False  # those that join are left out of it, see `drops`
        elif statement.summary.startswith("CREATE TABLE ") and _has_if_not_exists(words):
            return True  # it was there
        raise _refused(statement, joining[0], "is about")


def _refused(statement: Statement, table: TableName, how: str) -> SourceDdl:
    why = f"it {how} {table}, which joins the job"
    return refuse(statement, why, _REMEDY.format(table=table))


def _has_if_not_exists(words: Sequence[Token]) -> bool:
    head = words[:8]
    return any(
        head[n].is_word("IF") and head[n + 1].is_word("NOT") and head[n + 2].is_word("EXISTS")
        for n in range(len(head) - 2)
    )


def _lower_named(words: Sequence[Token], database: str) -> set[TableName]:
    return {_lower(table) for table in _named(words, database)}


def _lower(table: TableName) -> TableName:
    return TableName(table.schema.lower(), table.name.lower())


def _named(words: Sequence[Token], database: str) -> Iterator[TableName]:
    """What stands behind REFERENCES and LIKE, the two that name a table which a statement is not about."""
    for number, token in enumerate(words[:-1]):
        if token.is_word("REFERENCES", "LIKE"):
            rest = words[number + 1 : number + 4]
            is_full = len(rest) == 3 and rest[1].text == "."
            yield TableName(rest[0].text, rest[2].text) if is_full else TableName(database, rest[0].text)

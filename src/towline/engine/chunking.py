"""How a table is cut into chunks, and which chunks share a transaction. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from towline.domain.tables import Table, TableName
from towline.engine.ports import Chunk, TablePlan

_MIN_CHUNK_BYTES = 8 * 1024 * 1024
_MAX_CHUNK_BYTES = 256 * 1024 * 1024
# A target that is loaded by key (InnoDB) slows down with the size of a transaction, and undoes a large one for long.
_MAX_RANGE_BYTES = 32 * 1024 * 1024
_CHUNKS_PER_WORKER = 8
_GROUP_BYTES = 8 * 1024 * 1024
_GROUP_TABLES = 100


@dataclass(frozen=True, slots=True)
class PlannedTable:
    """A table with its cut; `chunk_pages` is kept on the target so that a restart cuts the same way."""

    table: Table
    chunk_pages: int

    def chunks(self) -> list[Chunk]:
        return plan_chunks(self.table, self.chunk_pages)


def choose_chunk_pages(table: Table, *, total_bytes: int, workers: int, can_seek_pages: bool) -> int:
    """Pages per chunk: enough chunks to keep all workers busy to the end, none smaller than pays off.

    `can_seek_pages` is False where the source would scan the whole table for every range (PostgreSQL before
    14); such a table is one chunk.
    """
    if table.pages == 0 or not can_seek_pages:
        return max(1, table.pages)
    wanted = total_bytes // max(1, workers * _CHUNKS_PER_WORKER)
    chunk_bytes = min(_MAX_CHUNK_BYTES, max(_MIN_CHUNK_BYTES, wanted))
    bytes_per_page = max(1, table.size_bytes // table.pages)  # TOAST included
    return max(1, chunk_bytes // bytes_per_page)


def choose_parts(table: Table, *, total_bytes: int, workers: int) -> int:
    """Into how many parts a table is cut by its key; 1 without a key."""
    if not table.key:
        return 1
    wanted = total_bytes // max(1, workers * _CHUNKS_PER_WORKER)
    return max(1, table.size_bytes // min(_MAX_RANGE_BYTES, max(_MIN_CHUNK_BYTES, wanted)))


def plan_ranges(table: Table, bounds: Sequence[str]) -> list[Chunk]:
    """Chunks that cover every key once; both ends are open, whatever was added since."""
    limits = [None, *bounds, None]
    last = len(bounds)
    return [
        Chunk(table.name, n, n, None if n == last else n + 1, after=limits[n], upto=limits[n + 1])
        for n in range(last + 1)
    ]


def plan_chunks(table: Table, chunk_pages: int, bounds: Sequence[str] = ()) -> list[Chunk]:
    """Chunks that cover every page once. The last one is open: pages may have been added since.

    With `bounds` the chunks are ranges of keys.
    """
    if bounds:
        return plan_ranges(table, bounds)
    starts = range(0, max(1, table.pages), chunk_pages)
    last = len(starts) - 1
    return [
        Chunk(table.name, number, first, None if number == last else first + chunk_pages)
        for number, first in enumerate(starts)
    ]


def count_chunks(plan: TablePlan) -> int:
    """How many chunks a table was cut into."""
    return len(plan.bounds) + 1 if plan.bounds else len(range(0, max(1, plan.pages), plan.chunk_pages))


def spread(chunks: Sequence[Chunk]) -> list[Chunk]:
    """In an order in which any number of the first ones is a fair sample: first, middle, quarters, ...

    What ranges of keys weigh is not known before they are read, and often grows or falls along the key.
    """
    width = max(1, (len(chunks) - 1).bit_length())
    order = sorted(range(len(chunks)), key=lambda number: f"{number:0{width}b}"[::-1])
    return [chunks[number] for number in order]


def chunk_bytes(table: Table, chunk: Chunk) -> int:
    """The chunk's share of the table's size on the source, TOAST included."""
    if chunk.kind != "pages" or table.pages == 0:
        return 0
    end = table.pages if chunk.end_page is None else min(chunk.end_page, table.pages)
    return table.size_bytes * max(0, end - chunk.first_page) // table.pages


Work = tuple[Table, Chunk]


def plan_groups(work: Sequence[Work]) -> list[list[Work]]:
    """What is copied in one target transaction: one big chunk, or many small tables together.

    Big ones first, so that no worker is left with a giant at the end; small tables share commits.
    """
    sized = sorted(((chunk_bytes(table, chunk), table, chunk) for table, chunk in work), key=lambda w: -w[0])
    groups: list[list[Work]] = []
    small: list[Work] = []
    small_bytes = 0
    for size, table, chunk in sized:
        if size * 8 >= _GROUP_BYTES:
            groups.append([(table, chunk)])
            continue
        if small and (small_bytes + size > _GROUP_BYTES or len(small) >= _GROUP_TABLES):
            groups.append(small)
            small, small_bytes = [], 0
        small.append((table, chunk))
        small_bytes += size
    if small:
        groups.append(small)
    return groups


class WorkQueue:
    """Groups in the order in which workers take them: spread over the tables, within that as given.

    Writers of one table hinder each other. The worst case is LOAD DATA into a table with AUTO_INCREMENT under
    innodb_autoinc_lock_mode 1 (MariaDB's default): each statement locks the table against all others of its kind.
    So all tables are kept going to the end, and none is left for several workers at once.
    """

    def __init__(self, groups: Sequence[list[Work]]) -> None:
        self._waiting: dict[TableName, deque[list[Work]]] = {}
        self._writers: Counter[TableName] = Counter()
        self._left_bytes: Counter[TableName] = Counter()
        for group in groups:
            table = self._table(group)
            self._waiting.setdefault(table, deque()).append(group)
            self._left_bytes[table] += _group_bytes(group)

    def take(self) -> list[Work] | None:
        """Of the tables with the fewest writers, the first group of the one with most left; None at the end."""
        if not self._waiting:
            return None
        table = min(self._waiting, key=lambda name: (self._writers[name], -self._left_bytes[name]))
        group = self._waiting[table].popleft()
        if not self._waiting[table]:
            del self._waiting[table]
        self._writers[table] += 1
        self._left_bytes[table] -= _group_bytes(group)
        return group

    def finish(self, group: list[Work]) -> None:
        """The group is written."""
        self._writers[self._table(group)] -= 1

    def _table(self, group: list[Work]) -> TableName:
        """Large tables are alone in a group; small ones count by the first of them."""
        return group[0][0].name


def _group_bytes(group: list[Work]) -> int:
    return sum(chunk_bytes(table, chunk) for table, chunk in group)

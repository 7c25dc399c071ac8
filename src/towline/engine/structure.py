"""Creates one section of a job's structure on the target, in parallel where that is safe.

Theory of operation.  The plan, and what is done of it, lie on the target; this module only chooses what
to do next.  Up to `workers` tasks each take a batch, hand it to the target, and count it as done when the
target has committed it.  A batch is one big index, or many small items.  Batches that run at the same
time never want conflicting locks on the same table, so they cannot wait for each other in a circle:
building plain indexes on a table may share it, everything else wants it alone.  An item that belongs to
no table (an owner, a grant) runs while nothing else does.

One more task asks twice a second how far the index builds are, so that a long one shows.

A stop is obeyed between batches.  A failure cancels the other batches; what was committed stays done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType

from towline.domain.errors import InvariantBroken, TowlineError
from towline.domain.structure import Section, StructureItem, StructureReport
from towline.domain.tables import TableName
from towline.engine.figures import weigh
from towline.engine.ports import StructureTarget
from towline.engine.tasks import end_tasks

# From here on an index build is worth a worker and a transaction of its own.
BIG_BYTES = 16 * 1024 * 1024
# Of indexes that keep equal keys once, or many of them in a few pages: small ones take long, too.
BIG_DENSE_BYTES = 2 * 1024 * 1024
_DENSE = (" using gin ", " using gist ", " using spgist ")
MAX_BATCH_ITEMS = 100
MAX_BATCH_BYTES = 64 * 1024 * 1024
MAX_BATCH_ITEMS_BEFORE_DATA = 200
_FOLLOW_INTERVAL_S = 0.5

# Of what comes before the rows, these concern single tables; all else is created strictly in order.
_SIDE_BY_SIDE = frozenset({"COMMENT", "DEFAULT", "SEQUENCE", "SEQUENCE OWNED BY", "TABLE"})

OnProgress = Callable[[int, int, int, int], None]
OnItems = Callable[[Mapping[int, float]], None]


def without_owners(items: Sequence[StructureItem]) -> list[StructureItem]:
    """The plan in which everything belongs to who makes it. Pure."""
    dropped = {item.number for item in items if item.kind == "OWNER"}
    return [replace(item, depends_on=item.depends_on - dropped) for item in items if item.number not in dropped]


def with_secrets(items: Sequence[StructureItem], fresh: Sequence[StructureItem]) -> list[StructureItem]:
    """The remembered items with the statements that are not remembered; none where the source lost the object. Pure."""
    statements = {(item.kind, item.schema, item.name): item.statements for item in fresh if item.is_secret}
    return [
        replace(item, statements=statements.get((item.kind, item.schema, item.name), ())) if item.is_secret else item
        for item in items
    ]


async def run_structure(
    target: StructureTarget,
    *,
    section: Section,
    workers: int,
    on_progress: OnProgress,
    on_report: Callable[[StructureReport], None],
    should_stop: Callable[[], bool],
    on_items: OnItems = lambda _: None,
    secrets: Mapping[int, StructureItem] = MappingProxyType({}),
) -> None:
    """Create what is missing of the section; returns when all of it is done, or a stop is wanted.

    `secrets`: by their numbers, the items of which the target does not remember the statements.

    `on_progress(done_weight, total_weight, done_items, total_items)` counts what earlier runs did, too; an
    item's weight is `figures.weigh`.  `on_items` hears the same by the items' numbers, each 0..1.  The source is not
    asked again: the plan is on the target.

    Raises:
        StructureFailed, TargetNotEmpty, MissingPrivilege: name the object that stands in the way.
        TransientError: what was committed stays done; call again.
    """
    remembered, done = await target.load_structure()
    items = [secrets.get(item.number, item) for item in remembered]
    schedule = Schedule(items, done, section=section, workers=workers)

    def tell() -> None:
        schedule.tell(on_progress)
        on_items(schedule.fractions())

    tell()
    changed = asyncio.Event()

    async def work() -> None:
        while not schedule.is_finished and not should_stop():
            batch = schedule.take()
            if not batch:
                # What is left waits for a batch in another worker's hands.
                changed.clear()
                await changed.wait()
                continue
            await target.apply_items(batch, on_report=on_report)
            schedule.finish(batch)
            tell()
            changed.set()
        changed.set()

    async def follow() -> None:
        while True:
            await asyncio.sleep(_FOLLOW_INTERVAL_S)
            # Figures only: the builds themselves tell what goes wrong.
            with suppress(TowlineError):
                schedule.note_builds(await target.read_build_progress())
                tell()

    following = asyncio.ensure_future(follow())
    try:
        await _run_all(work() for _ in range(max(1, workers)))
    finally:
        await end_tasks(following)


async def _run_all(activities: Iterable[Coroutine[None, None, None]]) -> None:
    """Run them side by side; the first failure cancels the others and is raised as it is."""
    tasks = [asyncio.ensure_future(activity) for activity in activities]
    try:
        await asyncio.gather(*tasks)
    finally:
        await end_tasks(*tasks)


def plan_ready(items: Sequence[StructureItem], done: Collection[int]) -> list[StructureItem]:
    """The items that are not done and wait for nothing, in the order given."""
    return [item for item in items if item.number not in done and item.depends_on.issubset(done)]


def is_big(item: StructureItem) -> bool:
    """Whether the item is worth a transaction of its own, and can then be followed."""
    if item.weight_bytes >= BIG_BYTES:
        return True
    if item.kind != "INDEX" or item.weight_bytes < BIG_DENSE_BYTES:
        return False
    return any(method in statement.lower() for statement in item.statements[:1] for method in _DENSE)


@dataclass(frozen=True, slots=True)
class LockNeed:
    """What an item locks. `is_shared`: others that share may run at the same time."""

    tables: frozenset[TableName]
    is_shared: bool

    @property
    def is_alone(self) -> bool:
        """It belongs to no table: nothing is known about its locks, so nothing runs beside it."""
        return not self.tables

    def conflicts_with(self, other: LockNeed) -> bool:
        if self.is_alone or other.is_alone:
            return True
        return not (self.is_shared and other.is_shared) and not self.tables.isdisjoint(other.tables)


def plan_locks(items: Sequence[StructureItem], section: Section) -> dict[int, LockNeed]:
    """What each item of the section locks, judged by its kind, its table and the tables it depends on."""
    by_number = {item.number: item for item in items}
    roots = _plan_roots(items, by_number)
    is_early = section is Section.BEFORE_DATA

    def need(item: StructureItem) -> LockNeed:
        if is_early and item.kind not in _SIDE_BY_SIDE:
            return LockNeed(frozenset(), is_shared=False)
        tables = {item.table} if item.table else set()
        if is_early or (tables and item.kind in ("FK CONSTRAINT", "INDEX ATTACH", "TRIGGER")):
            others = (by_number.get(number) for number in item.depends_on)
            tables |= {other.table for other in others if other is not None and other.table is not None}
        if item.kind in ("FK CONSTRAINT", "TRIGGER"):
            # On a partitioned table these reach all its partitions.
            tables = {roots.get(table, table) for table in tables}
        is_plain_index = item.kind == "INDEX" and not any("ALTER TABLE" in s for s in item.statements)
        is_shared = is_plain_index or item.kind == "MATERIALIZED VIEW DATA"
        return LockNeed(frozenset(tables), is_shared)

    return {item.number: need(item) for item in items if item.section is section}


def _plan_roots(items: Sequence[StructureItem], by_number: Mapping[int, StructureItem]) -> dict[TableName, TableName]:
    """Each partition's topmost partitioned table."""
    parents: dict[TableName, TableName] = {}
    for item in items:
        if item.kind == "TABLE ATTACH" and item.table is not None:
            others = (by_number.get(number) for number in item.depends_on)
            for other in others:
                if other is None or other.kind != "TABLE" or other.table is None:
                    continue
                if other.table != item.table:
                    parents[item.table] = other.table
    roots = {}
    for table in parents:
        root = table
        while root in parents:
            root = parents[root]
        roots[table] = root
    return roots


class Schedule:
    """Which batch comes next. Pure: `take` hands one out, `finish` counts it as done."""

    def __init__(
        self, items: Sequence[StructureItem], done: Collection[int], *, section: Section, workers: int
    ) -> None:
        mine = [item for item in items if item.section is section]
        self._is_early = section is Section.BEFORE_DATA
        self._workers = max(1, workers)
        self._locks = plan_locks(items, section)
        self._done = set(done)
        self._waiting = {item.number: item for item in sorted(mine, key=lambda i: i.number) if item.number not in done}
        self._big = {number for number, item in self._waiting.items() if is_big(item)}
        self._running: dict[int, LockNeed] = {}  # by the number of the batch's first item
        self._partly: dict[int, float] = {}  # how far single builds in flight are, 0..1
        self._total_items = len(mine)
        self._weights = {item.number: weigh(item) for item in mine}
        self._total_weight = sum(self._weights.values())
        self._done_items = self._total_items - len(self._waiting)
        self._done_weight = self._total_weight - sum(weigh(item) for item in self._waiting.values())

    @property
    def is_finished(self) -> bool:
        return not self._waiting and not self._running

    def take(self) -> list[StructureItem]:
        """The next batch, in creation order; [] when everything left waits for a running batch."""
        batch = self._take_in_order() if self._is_early else self._take_big() or self._take_small()
        if not batch and not self._running and self._waiting:
            stuck = next(iter(self._waiting.values()))
            raise InvariantBroken(f"{stuck.kind} {stuck.name} depends on something that is never created")
        if batch:
            self._running[batch[0].number] = _together([self._locks[item.number] for item in batch])
        for item in batch:
            del self._waiting[item.number]
            self._big.discard(item.number)
        return batch

    def finish(self, batch: Sequence[StructureItem]) -> None:
        """Count a batch as done."""
        del self._running[batch[0].number]
        for item in batch:
            self._partly.pop(item.number, None)
        self._done.update(item.number for item in batch)
        self._done_items += len(batch)
        self._done_weight += sum(weigh(item) for item in batch)

    def note_builds(self, fractions: Mapping[int, float]) -> None:
        """Take what the target says of the builds in flight; a build never goes backwards."""
        for number, fraction in fractions.items():
            if number in self._running:
                self._partly[number] = max(self._partly.get(number, 0.0), min(fraction, 1.0))

    def tell(self, on_progress: OnProgress) -> None:
        partly = sum(self._weights[number] * fraction for number, fraction in self._partly.items())
        on_progress(self._done_weight + int(partly), self._total_weight, self._done_items, self._total_items)

    def fractions(self) -> dict[int, float]:
        """How far each item of the section is that has been begun, 0..1."""
        return {number: 1.0 for number in self._locks if number in self._done} | self._partly

    def _take_in_order(self) -> list[StructureItem]:
        """Items up to the next one that must run alone, or a row of such items."""
        batch: list[StructureItem] = []
        met = set(self._done)
        limit = min(MAX_BATCH_ITEMS_BEFORE_DATA, -(-len(self._waiting) // self._workers))
        for item in self._waiting.values():
            is_alone = self._locks[item.number].is_alone
            if len(batch) >= limit or (batch and is_alone != self._locks[batch[0].number].is_alone):
                break
            if self._is_blocked(item) or not item.depends_on.issubset(met):
                if is_alone:
                    break
                continue
            batch.append(item)
            met.add(item.number)
        return batch

    def _take_big(self) -> list[StructureItem]:
        """The biggest item that can start now, so that the longest work starts first."""
        big = [self._waiting[number] for number in self._big]
        ready = [item for item in plan_ready(big, self._done) if not self._is_blocked(item)]
        return [max(ready, key=lambda item: item.weight_bytes)] if ready else []

    def _take_small(self) -> list[StructureItem]:
        """Many items for one transaction; an item may depend on an earlier one of the same batch."""
        batch: list[StructureItem] = []
        met = set(self._done)
        size_bytes = 0
        limit = min(MAX_BATCH_ITEMS, -(-len(self._waiting) // self._workers))
        for item in self._waiting.values():
            if len(batch) >= limit or size_bytes >= MAX_BATCH_BYTES:
                break
            if is_big(item) or not item.depends_on.issubset(met):
                continue
            is_alone = self._locks[item.number].is_alone
            if (batch and is_alone != self._locks[batch[0].number].is_alone) or self._is_blocked(item):
                continue
            batch.append(item)
            met.add(item.number)
            size_bytes += item.weight_bytes
        return batch

    def _is_blocked(self, item: StructureItem) -> bool:
        need = self._locks[item.number]
        return any(need.conflicts_with(held) for held in self._running.values())


def _together(needs: Sequence[LockNeed]) -> LockNeed:
    """What a batch locks as a whole; it shares only if all of it does."""
    return LockNeed(frozenset[TableName]().union(*(n.tables for n in needs)), all(n.is_shared for n in needs))

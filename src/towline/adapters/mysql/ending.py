"""The end of a job between MySQL or MariaDB servers: code acts on the target as it does on the source at that moment.

While changes are followed triggers are held back, events sleep, and views, routines, triggers and events that are made,
altered or dropped on the source are passed over.  So the end reads them once more.

Theory of operation.  The caller has made sure that nobody applies changes any more, and that the epoch is his.

1. What the source has now is held against what the target remembers, by the statements; the difference goes into what
   is remembered, in one transaction.  What is changed or new is not done from then on.
2. That is made, triggers are made, and events are enabled, each marked as it is done.

A crash in between repeats both; the source may have changed by then, which is one more difference.  Only a trigger that
is on the target stays as it is: an operator may have made it there, since the server refused the source's.  All that is
to be told is remembered, so that the caller can tell it before he removes the bookkeeping.

A job that does not follow has all its code from the copy, and applications may work with it by now: only its events,
which sleep until the end, are looked at again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from towline.adapters.mysql.bookkeeping import BEGIN, require_epoch
from towline.adapters.mysql.code_text import disable_event, find_definer, is_enabled_event
from towline.adapters.mysql.errors import number_of
from towline.adapters.mysql.quoting import quote_ident
from towline.adapters.mysql.session import Session
from towline.adapters.mysql.source_side import look_at_source
from towline.adapters.mysql.structure_source import MyStructureSource
from towline.adapters.mysql.structure_target import HELD, RESET, MyStructureTarget, insert_items, insert_report
from towline.domain.errors import (
    LeaseLost,
    SetupError,
    Side,
    StructureFailed,
    TargetNotEmpty,
    TowlineError,
    TransientError,
)
from towline.domain.jobs import JobSpec, TaskMode
from towline.domain.structure import StructureItem, StructureReport
from towline.domain.tables import TableName

_CODE: Final = frozenset({"FUNCTION", "PROCEDURE", "VIEW", "TRIGGER", "EVENT"})
_GONE: Final = {
    "TRIGGER": "is not made: the source does not have it any more",
    "EVENT": "stays disabled: the source does not have it any more",
}
_STAYS: Final = "stays on the target: the source does not have it any more"
_NOT_ASKED: Final = (
    "could not be asked by the end, which was forced: triggers and events are as they were when the job began"
)
_NO_SUCH_EVENT: Final = frozenset({1049, 1539})
# In the database that the session is in.
_HAS_TRIGGER: Final = """
SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = DATABASE() AND trigger_name = %s
"""
# A zone that the server does not know any more makes this NULL, and the event no past one.
_IS_PAST: Final = """
SELECT CONVERT_TZ(execute_at, time_zone, '+00:00') <= UTC_TIMESTAMP() FROM information_schema.events
WHERE event_schema = DATABASE() AND event_name = %s AND event_type = 'ONE TIME'
"""

Name = tuple[str, str | None, str]
"""Kind, database of the source, name."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What the source has changed since the job read it.

    `switched`: events of which only the state is another one, so that there is nothing to make.
    """

    changed: tuple[StructureItem, ...]
    new: tuple[StructureItem, ...]
    switched: tuple[StructureItem, ...]
    gone: tuple[StructureItem, ...]


def find_difference(remembered: Sequence[StructureItem], now: Sequence[StructureItem]) -> Difference:
    """Items of the same objects have the number that is remembered. Pure."""
    before = {_name(item): item for item in remembered}
    there = {_name(item) for item in now}
    known = [replace(item, number=before[_name(item)].number) for item in now if _name(item) in before]
    other = [item for item in known if item.statements != before[_name(item)].statements]
    switched = [item for item in other if _asleep(item) == _asleep(before[_name(item)])]
    return Difference(
        changed=tuple(item for item in other if item not in switched),
        new=tuple(item for item in now if _name(item) not in before),
        switched=tuple(switched),
        gone=tuple(item for item in remembered if _name(item) not in there),
    )


async def bring_code(spec: JobSpec, session: Session, *, epoch: int, by_force: bool) -> list[StructureReport]:
    """What the job has to tell of its structure, from its begin on.

    `by_force`: a source that cannot be asked is no obstacle; then what the target remembers holds. Safe to repeat.

    Raises:
        TransientError, SetupError: the source cannot be asked.
        StructureFailed: the target refuses a trigger or an event; those before it are there.
    """
    target = MyStructureTarget(spec.target, job_id=spec.job_id, epoch=epoch, names=spec.selection.names)
    try:
        ending = _Ending(spec, session, target, epoch)
        await ending.follow_source(by_force=by_force)
        await ending.make_changed()
        await ending.make_triggers()
        await ending.enable_events()
        return await target.load_reports()
    finally:
        await target.close()


class _Ending:
    def __init__(self, spec: JobSpec, session: Session, target: MyStructureTarget, epoch: int) -> None:
        self._spec = spec
        self._session = session
        self._target = target
        self._epoch = epoch
        self._follows = spec.mode is TaskMode.FULL_AND_STREAM
        self._kinds = _CODE if self._follows else frozenset({"EVENT"})

    async def follow_source(self, *, by_force: bool) -> None:
        items, _ = await self._target.load_structure()
        remembered = [item for item in items if item.kind in self._kinds]
        if not items or not (remembered or self._follows):
            return
        await self._session.execute(
            """UPDATE towline.structure_item SET done_at = NULL, failed_reason = NULL
               WHERE job_id = %s AND failed_reason = %s""",
            self._spec.job_id,
            HELD,
        )
        try:
            now, reasons = await self._read_source()
        except (TransientError, SetupError):
            if not by_force:
                raise
            source = f"{self._spec.source.host}:{self._spec.source.port}"
            await self._target.remember_report(self._session, StructureReport("SOURCE", source, _NOT_ASKED))
            return
        await self._remember(remembered, now, reasons, last_number=max(item.number for item in items))

    async def _read_source(self) -> tuple[list[StructureItem], Mapping[tuple[str, str], str]]:
        """The code that is the job's, and why more is left out, by kind and name."""
        spec = self._spec
        await self._require_source((await look_at_source(spec)).identity)
        reader = MyStructureSource(
            spec.source,
            job_id=spec.job_id,
            follows=False,
            target=self._session.flavor,
            replaces_owners=spec.replaces_owners,
        )
        reports: list[StructureReport] = []
        items = await reader.read_code(spec.selection, on_report=reports.append)
        rows = await self._session.query(
            "SELECT schema_name, table_name FROM towline.table_plan WHERE job_id = %s", spec.job_id
        )
        tables = {TableName(*row) for row in rows}
        mine = [item for item in items if item.kind in self._kinds and (item.table is None or item.table in tables)]
        return mine, {(report.kind, report.name): report.reason for report in reports}

    async def _require_source(self, identity: str) -> None:
        """The address may lead to another server by now, such as the target itself, which has none of the triggers."""
        query = "SELECT source_identity FROM towline.job WHERE job_id = %s"
        if await self._session.query_value(query, self._spec.job_id) != identity:
            raise SetupError(
                "the source's address leads to another server than the one that the job was following",
                side=Side.SOURCE,
                remedy="Give the job the address of its source, or end it by force: then its triggers and events are"
                " those of its begin.",
            )

    async def _remember(
        self,
        remembered: Sequence[StructureItem],
        now: Sequence[StructureItem],
        reasons: Mapping[tuple[str, str], str],
        *,
        last_number: int,
    ) -> None:
        session, job_id = self._session, self._spec.job_id
        found = find_difference(remembered, now)
        # In the source's order: what is changed may need what is new, and triggers fire as they come.
        places = {_name(item): last_number + 1 + at for at, item in enumerate(now)}
        await session.execute(BEGIN)
        await require_epoch(session, job_id, self._epoch)  # I6
        for item in found.changed:
            if item.kind != "TRIGGER":
                await session.execute(
                    """UPDATE towline.structure_item SET number = %s, statements = %s, done_at = NULL
                       WHERE job_id = %s AND number = %s""",
                    places[_name(item)],
                    json.dumps(item.statements),
                    job_id,
                    item.number,
                )
        for item in found.switched:
            update = "UPDATE towline.structure_item SET statements = %s WHERE job_id = %s AND number = %s"
            await session.execute(update, json.dumps(item.statements), job_id, item.number)
        for item in found.gone:
            delete = "DELETE FROM towline.structure_item WHERE job_id = %s AND number = %s"
            await session.execute(delete, job_id, item.number)
            name = f"{item.schema}.{item.name}"
            reason = reasons.get((item.kind, name), _GONE.get(item.kind, _STAYS))
            await insert_report(session, job_id, StructureReport(item.kind, name, reason))
        if self._follows:
            await session.execute("DELETE FROM towline.structure_item WHERE job_id = %s AND kind = 'TRIGGER'", job_id)
            new = [item for item in now if item in found.new or item.kind == "TRIGGER"]
            await insert_items(session, job_id, [replace(item, number=places[_name(item)]) for item in new])
        await session.execute("COMMIT")

    async def make_changed(self) -> None:
        """Views, routines and events that the source has changed or made since, asleep.

        The rows are there whether the target takes one or not, so what it says is only told.
        """
        for item in await self._load_undone():
            if item.kind == "TRIGGER":
                continue
            was_begun = await self._target.mark_begun(self._session, item)
            making = _remake(item) if was_begun else item
            try:
                failure = await self._target.run_item(
                    self._session, replace(making, is_optional=True), was_begun=bool(was_begun)
                )
            except TargetNotEmpty:
                failure = "exists on the target, and stays as it is there"
                await self._target.remember_report(
                    self._session, StructureReport(item.kind, f"{item.schema}.{item.name}", failure)
                )
            await self._target.mark_done(self._session, item, failure)

    async def make_triggers(self) -> None:
        for item in await self._load_undone():
            # One that is there was made before a crash, or by hand.
            try:
                await self._target.run_item(self._session, replace(item, is_optional=False), was_begun=True)
            except StructureFailed:
                # The server reads the whole statement, and may refuse it, before it looks whether the trigger is there.
                if not await self._session.query_value(_HAS_TRIGGER, item.name):
                    raise
            await self._target.mark_done(self._session, item, None)

    async def _load_undone(self) -> list[StructureItem]:
        items, done = await self._target.load_structure()
        return [item for item in items if item.kind in self._kinds and item.number not in done]

    async def enable_events(self) -> None:
        """One that is gone from the target stays away.

        One whose only time has passed stays disabled: it acted on the source by then, and would act again here.
        """
        items, _ = await self._target.load_structure()
        await self._session.execute(RESET)  # after triggers, which have modes of their own, such as ANSI_QUOTES
        for item in items:
            if item.kind != "EVENT" or not is_enabled_event(item.statements[-1]):
                continue
            try:
                await self._session.execute(item.statements[0])  # USE, of the target's database
                await self._enable_event(item.name)
            except (TransientError, LeaseLost):
                raise
            except TowlineError as error:
                if number_of(error) not in _NO_SUCH_EVENT:
                    what = f"enabling event {item.schema}.{item.name}: {error.message}"
                    raise StructureFailed(what, side=Side.TARGET) from error

    async def _enable_event(self, name: str) -> None:
        event = quote_ident(name)
        shown = (await self._session.query_named(f"SHOW CREATE EVENT {event}"))[0]
        # Who alters an event becomes its definer unless another one is named.
        definer = find_definer(str(shown["Create Event"]))
        if not await self._session.query_value(_IS_PAST, name):
            await self._session.execute(f"ALTER {f'DEFINER={definer} ' if definer else ''}EVENT {event} ENABLE")


def _name(item: StructureItem) -> Name:
    return item.kind, item.schema, item.name


def _asleep(item: StructureItem) -> tuple[str, ...]:
    return (*item.statements[:-1], disable_event(item.statements[-1])) if item.kind == "EVENT" else item.statements


def _remake(item: StructureItem) -> StructureItem:
    """The item with statements that also replace an earlier form of it."""
    *before, create = item.statements
    if item.kind == "VIEW":
        return replace(item, statements=(*before, create.replace("CREATE", "CREATE OR REPLACE", 1)))
    return replace(item, statements=(*before, f"DROP {item.kind} IF EXISTS {quote_ident(item.name)}", create))

"""What goes on beside the stream: sequences, which it does not carry, and tables that it does not know."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress

from towline.domain.errors import Side, SourceChanged, TransientError
from towline.domain.structure import StructureReport
from towline.domain.tables import TableName
from towline.engine.following import InMemory, require_same_values, require_sent
from towline.engine.ports import RemembersFiles
from towline.engine.replaced import ReplacedNotes
from towline.engine.run import Run

_INTERVAL_S = 30.0


class Watch:
    """Looks at the source every half minute while a job streams."""

    def __init__(
        self, run: Run, planned: Collection[TableName], notes: ReplacedNotes, *, expects_tables: bool = False
    ) -> None:
        """`expects_tables`: tables that are created on the source come with the stream."""
        self._run = run
        self._notes = notes
        self._expects_tables = expects_tables
        self._planned = frozenset(planned)
        self._known = set(planned)
        target = run.sides.copy_target
        self._files: RemembersFiles = target if isinstance(target, RemembersFiles) else InMemory()

    async def run_forever(self) -> None:
        """Raises SourceChanged, see `look`."""
        while True:
            with suppress(TransientError):  # the stream meets the same failure, and retries
                await self._run.write_sequences(is_final=False)
            await asyncio.sleep(_INTERVAL_S)
            with suppress(TransientError):
                await self.look()
                await self._notes.look()

    async def look(self) -> None:
        """Report tables that were created on the source since the job began.

        Raises:
            SourceChanged: one of them is a partition, so rows of a table of the job may go there, unseen by the stream;
                or one has the name of a table of the job; or one of those is gone, or DDL gave it other values
                or another parent.
        """
        if self._expects_tables:
            return
        tables = await self._run.sides.copy_source.read_tables(self._run.spec.selection)
        planned = [table for table in tables if table.name in self._planned]
        missing = self._planned - {table.name for table in planned}
        if missing:
            raise SourceChanged(
                f"the source no longer has {min(missing)}; the target still has its rows",
                side=Side.SOURCE,
                tables=len(missing),
            )
        await require_sent(self._run, planned)
        await require_same_values(self._files, planned, note=self._run.reporter.note)
        for table in tables:
            if table.name in self._known:
                continue
            self._known.add(table.name)
            if table.is_partition:
                raise SourceChanged(
                    f"{table.name} became a partition on the source after the job began; its rows are not followed",
                    side=Side.SOURCE,
                    remedy="End the job and start a new one; create partitions ahead of a job.",
                )
            reason = "created on the source after the job began; not part of it"
            self._run.reporter.note(StructureReport("TABLE", str(table.name), reason))

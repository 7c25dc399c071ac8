"""Whether the changes of the job's tables are those that the source sends.

A stream knows tables by what they are, a job by their names.  A table that was created anew under the name of an old
one, or took it in an exchange of names, is one that nothing is sent of; its changes would be missed without a sign.

DDL can change the values of rows, and a source that only sends rows says nothing of it.  Such a table
gets a new file and a new form of a column in one transaction, see `docs/decisions/0019`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from towline.domain.errors import Side, SourceChanged
from towline.domain.structure import StructureReport
from towline.domain.tables import Table, TableName
from towline.engine.ports import NarrowingSource, RemembersFiles, TableFile
from towline.engine.run import Run


async def require_sent(run: Run, tables: Sequence[Table]) -> None:
    """Of all these tables, as the source has them now, changes must be sent.

    Raises: SourceChanged.
    """
    source = run.sides.copy_source
    unsent = await source.find_unsent(tables) if isinstance(source, NarrowingSource) and tables else []
    if unsent:
        raise SourceChanged(
            f"changes of {unsent[0]} are not followed: it was created anew, has taken the name of the table that was"
            " copied, or had no log then",
            side=Side.SOURCE,
            tables=len(unsent),
        )


class InMemory:
    """Implements `RemembersFiles` for as long as a worker runs, where the target does not."""

    def __init__(self) -> None:
        self._files: dict[TableName, TableFile] = {}

    async def load_files(self) -> Mapping[TableName, TableFile]:
        return self._files

    async def save_files(self, files: Mapping[TableName, TableFile]) -> None:
        self._files.update(files)


async def require_same_values(
    memory: RemembersFiles,
    tables: Sequence[Table],
    *,
    fresh: Collection[TableName] = (),
    note: Callable[[StructureReport], None],
) -> None:
    """No table may have got other values, or another parent, since it was last looked at; what is now is remembered.

    `fresh`: of these no row was taken yet, so what was remembered does not count.  `note` is told of columns
    that were added or dropped: the stream tells of those only when it meets a row.

    Raises: SourceChanged; also at every later look.
    """
    known = await memory.load_files()
    renewed: dict[TableName, TableFile] = {}
    for table in tables:
        now = TableFile(table.storage_id, table.columns_id)
        before = None if table.name in fresh else known.get(table.name)
        if before is not None and before.has_other_values(now):
            raise SourceChanged(
                f"DDL on {table.name} wrote its rows anew (ALTER COLUMN ... TYPE, or ADD COLUMN with a default that"
                " differs from row to row); their new values are not sent",
                side=Side.SOURCE,
                remedy=f"Take {table.name} out of the job, drop it on the target and select it anew; or end the job and"
                " start a new one.",
                table=str(table.name),
            )
        if before is not None and before.has_other_parent(now):
            raise SourceChanged(
                f"{table.name} was attached or detached as a partition on the source; its rows are, or are not, among"
                " those of its parent, and on the target it is the other way round",
                side=Side.SOURCE,
                table=str(table.name),
            )
        if before is not None and before.has_other_columns(now):
            reason = "columns were added or dropped on the source; bring the target's to the same form"
            note(StructureReport("TABLE", str(table.name), reason))
        if now != before and table.columns_id:
            renewed[table.name] = now
    if renewed:
        await memory.save_files(renewed)

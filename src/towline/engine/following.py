"""Whether the changes of the job's tables are those that the source sends.

A stream knows tables by what they are, a job by their names.  A table that was created anew under the name of an old
one, or took it in an exchange of names, is one that nothing is sent of; its changes would be missed without a sign.
"""

from __future__ import annotations

from collections.abc import Sequence

from towline.domain.errors import Side, SourceChanged
from towline.domain.tables import Table
from towline.engine.ports import NarrowingSource
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

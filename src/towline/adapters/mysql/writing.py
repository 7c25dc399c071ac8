"""Sessions that write rows on the target, and what the server says of values that it changed.

The server counts all its warnings about a statement and names the first `max_error_count` of them.  From 8.0 on, MySQL
lets only accounts with SESSION_VARIABLES_ADMIN choose that number, so what was not named may be anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from towline.adapters.mysql.bookkeeping import hold_name
from towline.adapters.mysql.session import Session
from towline.domain.errors import MissingPrivilege, SetupError, Side

MAX_COUNTED: Final = 0xFFFF
"""The protocol has no room for more; so many may be more."""
TRUNCATED: Final = 1265
COLUMN_IN_MESSAGE: Final = re.compile(r"for column (?:'([^']*)'|\S*`([^`]*)`)")


async def prepare_writer(session: Session, *, job_id: str) -> None:
    """See `hold_name`; and let the server name all warnings, if the account may ask for that."""
    await hold_name(session, job_id)
    with suppress(MissingPrivilege):
        await session.execute(f"SET SESSION max_error_count = {MAX_COUNTED}")


async def read_warnings(session: Session) -> list[tuple[str, int, str]]:
    """Level, error number and message of those about the last statement that the server names."""
    return [(str(level), int(number), str(text)) for level, number, text in await session.query("SHOW WARNINGS")]


def is_about_computed(level: str, number: int, message: str, written: Iterable[str]) -> bool:
    """Whether a remark is about a column that the statement does not write. Pure.

    The server computes it, and rounded it on the source, too.
    """
    found = COLUMN_IN_MESSAGE.findall(message)
    if level != "Note" or number != TRUNCATED or not found:
        return False
    return "".join(found[-1]).lower() not in {name.lower() for name in written}


def is_all_named(named: int, counted: int) -> bool:
    """Nothing was said of a value that was changed: that means something only if nothing is left unsaid. Pure."""
    return named >= counted and counted < MAX_COUNTED


def require_all_named(named: int, counted: int, *, what: str) -> None:
    """Raises: SetupError, the server has more warnings than it names."""
    if not is_all_named(named, counted):
        raise SetupError(
            f"{what}: the target names {named} of {counted} warnings; one of a changed value may be among the others",
            side=Side.TARGET,
            remedy="Grant the job's user SESSION_VARIABLES_ADMIN on the target, or raise max_error_count there for all"
            f" sessions (at most {MAX_COUNTED}), then retry the job.",
        )

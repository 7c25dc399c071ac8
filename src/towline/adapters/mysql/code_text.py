"""What SHOW CREATE says at the head of views, routines, triggers and events: definer, and state of an event. Pure."""

from __future__ import annotations

import re
from typing import Final

from towline.adapters.mysql.create_table import QUOTED_NAME

# MariaDB has roles as definers, too, which have no host.
_ACCOUNT: Final = rf"{QUOTED_NAME}(?:@{QUOTED_NAME})?"
_DEFINER: Final = re.compile(rf"\A(CREATE[A-Z= ]*) DEFINER=({_ACCOUNT})")
_ENABLED: Final = re.compile(
    rf"(\ACREATE(?: DEFINER={_ACCOUNT})? EVENT {QUOTED_NAME} ON SCHEDULE .*? ON COMPLETION (?:NOT )?PRESERVE) ENABLE\b",
    re.DOTALL,
)


def find_definer(statement: str) -> str | None:
    """The account as it is written there, quoted; None without a DEFINER clause."""
    found = _DEFINER.match(statement)
    return found[2] if found else None


def remove_definer(statement: str) -> str:
    """The statement without its DEFINER clause, so that the object belongs to whoever runs it."""
    return _DEFINER.sub(r"\1", statement, count=1)


def is_enabled_event(statement: str) -> bool:
    return bool(_ENABLED.match(statement))


def disable_event(statement: str) -> str:
    """The statement that creates an enabled event, so that it is created disabled; any other one as it is."""
    return _ENABLED.sub(r"\1 DISABLE", statement, count=1)

"""The names that gh-ost and pt-online-schema-change give to tables beside the one that they alter. Pure.

Such a tool makes an empty table, fills it beside the writers, and renames it over the table in the end.  A job on
single tables follows it from its creation, so all of its rows are on the target when it takes the table's place.
Nothing is taken for granted of a name: it only says which tables are worth following, and the binlog says what becomes
of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from towline.domain.tables import ObjectSelection, TableName

# gh-ost: _t_gho, _t_del, _t_20240229101112_del; pt-online-schema-change: _t_new, _t_old, with more underscores in front
# where a name is taken.  gh-ost's _t_ghc has notes of the tool only, and never takes the table's place.
_NAME: Final = re.compile(r"(?P<stem>_.+)_(?:gho|new|del|old)", re.DOTALL)
_TIME: Final = re.compile(r"_\d{14}$")
_MAX_UNDERSCORES: Final = 10
_MAX_LETTERS: Final = 64  # of a name; both tools cut the table's own to keep within


def is_shadow(table: TableName, selection: ObjectSelection) -> bool:
    """Whether a name is that of the copy which a tool makes of a selected table, or of what it leaves over."""
    parts = _NAME.fullmatch(table.name)
    if parts is None:
        return False
    is_cut = len(table.name) >= _MAX_LETTERS
    for name in _candidates(parts["stem"]):
        if TableName(table.schema, name) in selection.tables:
            return True
        if is_cut and any(each.schema == table.schema and each.name.startswith(name) for each in selection.tables):
            return True
    return False


def _candidates(stem: str) -> Iterator[str]:
    """What the altered table may be called."""
    for whole in dict.fromkeys((stem, _TIME.sub("", stem))):
        for count in range(1, _MAX_UNDERSCORES + 1):
            if whole[:count] != "_" * count or len(whole) == count:
                break
            yield whole[count:]

"""Statements of other people's sessions, fit to be shown: without literals and comments, on one line. Pure.

A literal may be a row's value, or a password (I7).  The server cuts `pg_stat_activity.query` off at
`track_activity_query_size`, so the last literal may have no end.  Lexical rules: PostgreSQL manual, 4.1.
"""

from __future__ import annotations

import re
from typing import Final

MAX_LENGTH: Final = 200
_HIDDEN: Final = "<insufficient privilege>"
_TOKENS: Final = re.compile(
    r"""
      (?P<text>   (?:\b[eEbBxXnN]|\b[uU]&)?'(?:[^']|'')*(?:'|\Z)
                | \$(?P<tag>[^\W\d]?\w*)\$.*?(?:\$(?P=tag)\$|\Z) )
    | (?P<name>   "(?:[^"]|"")*(?:"|\Z) | [^\W\d][\w$]* )
    | (?P<param>  \$\d+ )
    | (?P<number> (?:\d[\w.]*|\.\d[\w.]*)(?:(?<=[eE])[+-]\d+)? )
    | (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
    """,
    re.VERBOSE | re.DOTALL,
)


def mask_statement(text: str | None, *, max_length: int = MAX_LENGTH) -> str:
    """The statement with `?` for each literal; "" when the server does not show it."""
    if text is None or text == _HIDDEN:
        return ""
    end = text.find("\\'")
    if end >= 0:
        # Where a backslash may hide the end of a literal, depends on settings of that session: show nothing after it.
        begin = text.find("'")
        text = text[: min(begin, end)] + "'"
    masked = " ".join(_TOKENS.sub(_replace, text).split())
    return masked if len(masked) <= max_length else masked[: max_length - 1] + "…"


def _replace(match: re.Match[str]) -> str:
    if match["name"] is not None or match["param"] is not None:
        return match[0]
    return " " if match["comment"] is not None else "?"

"""Statements of other people's sessions, fit to be shown: without literals and comments, on one line. Pure.

A literal may be a row's value, or a password (I7).  What is asked of the server is cut off, so the last literal may
have no end.  Lexical rules: MySQL manual, 11.1.  Text in double quotes is a name only under ANSI_QUOTES, and so it is
masked.
"""

from __future__ import annotations

import re
from typing import Final

MAX_LENGTH: Final = 200
_TOKENS: Final = re.compile(
    r"""
      (?P<text>   (?:\b[xXbBnN]|\b_\w+\s*)?'(?:[^']|'')*(?:'|\Z)
                | (?:\b_\w+\s*)?"(?:[^"]|"")*(?:"|\Z) )
    | (?P<name>   `(?:[^`]|``)*(?:`|\Z) | @{0,2}[^\W\d][\w$]* )
    | (?P<number> (?:\d[\w.]*|\.\d[\w.]*)(?:(?<=[eE])[+-]\d+)? )
    | (?P<comment> \#[^\n]* | --(?:\s[^\n]*|\Z) | /\*.*?(?:\*/|\Z) )
    """,
    re.VERBOSE | re.DOTALL,
)


def mask_statement(text: str | None, *, max_length: int = MAX_LENGTH) -> str:
    """The statement with `?` for each literal; "" when the server does not show it."""
    if not text:
        return ""
    end = min((place for place in (text.find("\\'"), text.find('\\"')) if place >= 0), default=-1)
    if end >= 0:
        # Where a backslash may hide the end of a literal, depends on settings of that session: show nothing after it.
        begin = min((place for place in (text.find("'"), text.find('"')) if place >= 0), default=end)
        text = text[: min(begin, end)] + "'"
    masked = " ".join(_TOKENS.sub(_replace, text).split())
    return masked if len(masked) <= max_length else masked[: max_length - 1] + "…"


def _replace(match: re.Match[str]) -> str:
    if match["name"] is not None:
        return match[0]
    return " " if match["comment"] is not None else "?"

"""MySQL's `regexp_like` in checks and generated columns, in the words of MariaDB, which has only REGEXP. Pure.

MySQL matches with ICU, MariaDB with PCRE2.  Both look at the case if the column's collation tells it apart, but classes
of characters, word boundaries, sets and some escapes mean different things, or the same for ASCII alone.  So only
patterns are translated that are written in what both read alike; any other call stays as it is, and MariaDB refuses the
table before there is any row.

In a collation that is called `_cs` MariaDB ignores the case all the same, so nothing is certain there.

Two things are made alike: every line break that Unicode knows ends a line for ICU's `.` and `$`, which PCRE2 does when
it is told so.  And without regard to case ICU takes some letters for two, such as the German sharp s for "ss".
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from towline.adapters.mysql.create_table import NAME, QUOTED, unquote

_CALL: Final = re.compile(
    rf"{QUOTED}|(?P<call>\bregexp_like\({NAME},(?:_utf8mb4|_utf8mb3)?'(?P<text>(?:[^'\\]|''|\\.)*)'\))",
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(.)|''", re.DOTALL)
_ESCAPED: Final = r"\\[.\-+*?()\[\]{}^$|/\\@#:,;=!%&~'\" ]"
_PLAIN: Final = r"[A-Za-z0-9 _@%:;,=!<>/~'\"-]"
_RANGE: Final = rf"(?:[a-z]-[a-z]|[A-Z]-[A-Z]|[0-9]-[0-9]|[A-Za-z0-9 _.,:;@%+*?=!/()$|]|{_ESCAPED})"
_SET: Final = rf"\[\^?-?{_RANGE}+-?\]"
_REPEATED: Final = r"(?:[*+?]|\{\d+(?:,\d*)?\})?\??"
_KNOWN: Final = re.compile(rf"(?:\^|\$|\||\(\?:|\(|(?:\)|\.|{_PLAIN}|{_ESCAPED}|{_SET}){_REPEATED})+")
_ENDS_LINE: Final = re.compile(rf"{_ESCAPED}|{_SET}|(?P<mark>[.$])")
_ONE_LETTER: Final = re.compile(r"ss|st|ff|fi|fl", re.IGNORECASE)
_ANY_LINE_BREAK: Final = "(*ANY)"


def say_regexps(line: str, texts: Collection[str], exact: Collection[str]) -> str:
    """The line of a column or check with what is certain said by REGEXP.

    `texts`: columns with texts that both products match alike; `exact`: those that tell capitals from small letters.
    """

    def say(match: re.Match[str]) -> str:
        if match["call"] is None:
            return match[0]
        column, pattern = unquote(match[2]), _read_text(match["text"])
        if column not in texts or pattern is None or not _KNOWN.fullmatch(pattern):
            return match[0]
        if column not in exact and _ONE_LETTER.search(pattern):
            return match[0]
        breaks = any(found["mark"] for found in _ENDS_LINE.finditer(pattern))
        said = (_ANY_LINE_BREAK if breaks else "") + match["text"]
        # Without the character set, as the pattern is ASCII: with one, MariaDB reads the escapes twice.
        return f"(`{match[2]}` REGEXP '{said}')"

    return _CALL.sub(say, line)


def _read_text(written: str) -> str | None:
    """What the text is between its quotes; None with escapes that a pattern for both would not have."""
    known = {"\\\\": "\\", "\\'": "'", '\\"': '"', "''": "'"}
    if any(match[0] not in known for match in _ESCAPE.finditer(written)):
        return None
    return _ESCAPE.sub(lambda match: known[match[0]], written)

"""Collations on PostgreSQL that take upper and lower case for one, as most of MySQL's do. Pure.

They are ICU's, and not deterministic: two texts may be equal and differ in their bytes.  None may make more texts equal
than the source does, or rows that are good there would break a unique key here.  So accents are passed over only where
the source's collation is one for all languages; those for one language have letters of their own.
"""

from __future__ import annotations

import re
from typing import Final

from towline.adapters.mysql.postgres_wishes import bare_type, choose_postgres_column
from towline.adapters.mysql.shapes import ColumnShape

ACCENTS_COUNT: Final = "mysql_as_ci"
ACCENTS_PASS: Final = "mysql_ai_ci"
LOCALES: Final = {ACCENTS_COUNT: "und-u-ks-level2", ACCENTS_PASS: "und-u-ks-level1"}
"""ICU's name for each: at the first level letters differ, at the second accents, and only at the third the case."""

_OF_ALL_LANGUAGES = re.compile(
    r"(?:[a-z0-9]+_)?(?:(?:general|unicode|unicode_520)_(?:nopad_)?|0900_ai_|uca1400_(?:nopad_)?ai_)ci"
)
_COLLATED: Final = frozenset({"text", "varchar"})


def ignores_case(source_collation: str) -> bool:
    return bool(source_collation) and not source_collation.endswith(("_bin", "_cs", "binary"))


def choose_collation(shape: ColumnShape, source_collation: str) -> str | None:
    """The name of the collation for a column; None for the target's own."""
    column = choose_postgres_column(shape)
    if column is None or bare_type(column.type_sql) not in _COLLATED or shape.wish:
        # Whoever names a type means that one, with what belongs to it.
        return None
    if shape.charset is None or not ignores_case(source_collation):
        return None
    return ACCENTS_PASS if _OF_ALL_LANGUAGES.fullmatch(source_collation) else ACCENTS_COUNT


def render_collation(schema: str, name: str) -> str:
    """CREATE COLLATION; `schema` is quoted already."""
    return (
        f"CREATE COLLATION IF NOT EXISTS {schema}.{name}"
        f" (provider = icu, locale = '{LOCALES[name]}', deterministic = false)"
    )

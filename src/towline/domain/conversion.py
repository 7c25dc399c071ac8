"""How values go from one database family to another, where a job wants it otherwise than usual."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from towline.domain.errors import BadConversion, NotBuilt
from towline.domain.tables import TableName

MAX_COLUMN_TYPES: Final = 1_000
Word = TypeVar("Word", bound=Enum)
CHANGEABLE: Final = frozenset({"zero_dates"})
"""The names of wishes that a job may change after its tables were made."""
_POSSIBLE: Final = {
    ("mysql", "postgresql"): frozenset({"zero_dates", "collation", "column_types"}),
    ("postgresql", "mysql"): frozenset({"column_types"}),
}
_NULL_WORD: Final = "null"
_ALIASES: Final = {
    "bool": "boolean",
    "int2": "smallint",
    "int": "integer",
    "int4": "integer",
    "int8": "bigint",
    "decimal": "numeric",
    "float8": "double precision",
    "timestamptz": "timestamp with time zone",
    "timestamp without time zone": "timestamp",
}


class ZeroDates(Enum):
    """What becomes of a date with a zero in it, such as 0000-00-00, that the target cannot hold. Values are stored."""

    REFUSE = "refuse"  # as any value that does not fit
    NULL = "null"  # NULL where the column allows it, counted by column


class Collation(Enum):
    """How texts of collations that ignore case compare on the target. Values are stored."""

    DETERMINISTIC = "deterministic"  # by the target's own, for which 'a' and 'A' are two values
    CASE_INSENSITIVE = "case-insensitive"


@dataclass(frozen=True, slots=True)
class ColumnType:
    """Another type on the target: for one column, or for all columns of a type of the source.

    `place` is schema, table and column, or only the source's type as that is written.  `type_sql` is "" for the usual
    one; `is_nullable` lets the column be NULL on the target though it is not on the source.
    """

    place: tuple[str, ...]
    type_sql: str
    is_nullable: bool = False

    @property
    def is_for_column(self) -> bool:
        return len(self.place) > 1

    def __str__(self) -> str:
        return ".".join(self.place)


@dataclass(frozen=True, slots=True)
class Conversion:
    """The wishes of one job."""

    zero_dates: ZeroDates = ZeroDates.REFUSE
    column_types: tuple[ColumnType, ...] = ()
    collation: Collation = Collation.DETERMINISTIC

    @property
    def structure(self) -> list[str]:
        """What the target's tables are made by, and what therefore stays as it is; in one order, empty for nothing."""
        collation = [] if self.collation is Collation.DETERMINISTIC else [self.collation.value]
        return collation + sorted(map(render_column_type, self.column_types))

    def find_type(self, table: TableName, column: str, *source_types: str) -> ColumnType | None:
        """The wish for a column; one for itself counts more than one for its type, whose spellings are given.

        A type without its parentheses stands for all of the name; with the parentheses it counts more.
        """
        if not self.column_types:
            return None
        full = [normalize_type(text) for text in source_types]
        bare = [_PARENTHESES.sub("", text) for text in full]
        places = ((table.schema, table.name, column), *((text,) for text in full + bare))
        wishes = {wish.place: wish for wish in self.column_types}
        return next((wishes[place] for place in places if place in wishes), None)


PLAIN = Conversion()


@dataclass(frozen=True, slots=True)
class ReplacedValues:
    """How many values of a column became NULL, by the way in which they came."""

    schema: str
    table: str
    column: str
    copied: int
    streamed: int


def read_conversion(texts: Mapping[str, str]) -> Conversion:
    """The wishes by their names, as a job keeps them. Raises: BadConversion."""
    return Conversion(
        zero_dates=_read_word(texts, "zero_dates", ZeroDates, ZeroDates.REFUSE),
        column_types=parse_column_types(split_wishes(texts.get("column_types", ""))),
        collation=_read_word(texts, "collation", Collation, Collation.DETERMINISTIC),
    )


def _read_word(texts: Mapping[str, str], name: str, kind: type[Word], usual: Word) -> Word:
    word = texts.get(name, usual.value)
    try:
        return kind(word)
    except ValueError:
        words = " or ".join(each.value for each in kind)
        raise BadConversion(f"{name} cannot be {word!r}: {words}") from None


def render_conversion(conversion: Conversion) -> dict[str, str]:
    """All wishes by their names; the opposite of `read_conversion`."""
    return {
        "zero_dates": conversion.zero_dates.value,
        "collation": conversion.collation.value,
        "column_types": "; ".join(map(render_column_type, conversion.column_types)),
    }


def possible_wishes(source_family: str, target_family: str) -> frozenset[str]:
    """The names of the wishes that a job between these families may have."""
    return _POSSIBLE.get((source_family, target_family), frozenset())


def require_possible(conversion: Conversion, *, source_family: str, target_family: str) -> None:
    """Raises NotBuilt when the job's families have no use for a wish."""
    possible, usual = possible_wishes(source_family, target_family), render_conversion(PLAIN)
    for name, text in render_conversion(conversion).items():
        if text != usual[name] and name not in possible:
            raise NotBuilt(f"{name} cannot be chosen for jobs from {source_family} to {target_family}")


_PARENTHESES: Final = re.compile(r"\(.*\)", re.DOTALL)
_PART: Final = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')


def normalize_type(text: str) -> str:
    """A source's type in lower case, with one space between words, none before parentheses, and without ZEROFILL.

    The labels of an ENUM or SET stay as they are.
    """
    name, parenthesis, rest = text.partition("(")
    body, closing, attributes = rest.rpartition(")")
    words = " ".join(f"{name}{'' if parenthesis else rest}".lower().split()).replace(" zerofill", "")
    tail = " ".join(attributes.lower().split()).replace("zerofill", "").strip()
    inside = body if "'" in body else "".join(body.split())
    return f"{words}{parenthesis}{inside}{closing}{' ' if tail else ''}{tail}"


def parse_column_types(texts: Iterable[str]) -> tuple[ColumnType, ...]:
    """The wishes `DATABASE.TABLE.COLUMN=TYPE` and `SOURCETYPE=TYPE`; a TYPE may end with the word null, or be it.

    Names are taken as the catalog has them; one that holds a dot or an equals sign goes into double quotes.

    Raises: BadConversion, names the part that is neither, or that says two things of one place.
    """
    wishes: dict[tuple[str, ...], ColumnType] = {}
    for text in texts:
        wish = _parse_column_type(text)
        if wishes.setdefault(wish.place, wish) != wish:
            raise BadConversion(f"two types are asked for {wish}")
    if len(wishes) > MAX_COLUMN_TYPES:
        raise BadConversion(f"a job may have types for {MAX_COLUMN_TYPES} columns")
    return tuple(wishes.values())


def _parse_column_type(text: str) -> ColumnType:
    place, equals, wanted = text.strip().rpartition("=")
    words = wanted.lower().split()
    is_nullable = words[-1:] == [_NULL_WORD]
    type_sql = " ".join(words[:-1] if is_nullable else words)
    parts = _split_place(place.strip())
    if not equals or not words or len(parts) not in (1, 3):
        raise BadConversion(f"cannot read {text!r}: write DATABASE.TABLE.COLUMN=TYPE or SOURCETYPE=TYPE")
    if len(parts) == 1:
        parts = (normalize_type(parts[0]),)
    return ColumnType(parts, _ALIASES.get(type_sql, type_sql), is_nullable)


def _split_place(place: str) -> tuple[str, ...]:
    """Names between dots; () if that is not what it is."""
    if "." not in place or "(" in place.partition(".")[0]:
        return (place,) if place else ()
    parts, at = [], 0
    while at <= len(place):
        match = _PART.match(place, at)
        if match is None or place[match.end() : match.end() + 1] not in ("", "."):
            return ()
        parts.append(match[1].replace('""', '"') if match[1] else match[2])
        at = match.end() + 1
    return tuple(parts)


def split_wishes(text: str) -> list[str]:
    """The wishes between semicolons that stand outside of quotes."""
    parts, quote = [""], ""
    for letter in text:
        if letter in ("'", '"') and quote in ("", letter):
            quote = "" if quote else letter
        if letter == ";" and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


def render_column_type(wish: ColumnType) -> str:
    """The opposite of `parse_column_types`."""
    place = ".".join(map(_quote, wish.place)) if wish.is_for_column else wish.place[0]
    wanted = [*([wish.type_sql] if wish.type_sql else []), *([_NULL_WORD] if wish.is_nullable else [])]
    return f"{place}={' '.join(wanted)}"


def _quote(name: str) -> str:
    return name if re.fullmatch(r"[^\".=;'(\s]+", name) else '"' + name.replace('"', '""') + '"'

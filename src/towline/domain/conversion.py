"""How values go from one database family to another, where a job wants it otherwise than usual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from towline.domain.errors import BadConversion, NotBuilt


class ZeroDates(Enum):
    """What becomes of a date with a zero in it, such as 0000-00-00, that the target cannot hold. Values are stored."""

    REFUSE = "refuse"  # as any value that does not fit
    NULL = "null"  # NULL where the column allows it, counted by column


@dataclass(frozen=True, slots=True)
class Conversion:
    """The wishes of one job."""

    zero_dates: ZeroDates = ZeroDates.REFUSE


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
    word = texts.get("zero_dates", ZeroDates.REFUSE.value)
    if word not in {each.value for each in ZeroDates}:
        raise BadConversion(f"zero_dates cannot be {word!r}: refuse or null")
    return Conversion(ZeroDates(word))


def render_conversion(conversion: Conversion) -> dict[str, str]:
    """All wishes by their names; the opposite of `read_conversion`."""
    return {"zero_dates": conversion.zero_dates.value}


def has_wishes(source_family: str, target_family: str) -> bool:
    """Whether a job between these families may have any."""
    return (source_family, target_family) == ("mysql", "postgresql")


def require_possible(conversion: Conversion, *, source_family: str, target_family: str) -> None:
    """Raises NotBuilt when the job's families have no use for a wish."""
    if conversion != PLAIN and not has_wishes(source_family, target_family):
        raise NotBuilt("zero dates can be chosen for jobs from MySQL or MariaDB to PostgreSQL only")

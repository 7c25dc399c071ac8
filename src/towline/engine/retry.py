"""When to try again, and after which pause. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from towline.domain.errors import TowlineError, TransientError, UnclassifiedError

FIRST_DELAY_S: Final = 1.0
LAST_DELAY_S: Final = 30.0
# What nobody has classified may be of the moment; after so many failures in a row it is not.
MAX_UNCLASSIFIED: Final = 3


def retry_delays_s() -> Iterator[float]:
    """Pauses between attempts: 1, 2, 4, 8, 16, 30, 30, ... seconds. Take a new one after a success."""
    delay_s = FIRST_DELAY_S
    while True:
        yield delay_s
        delay_s = min(LAST_DELAY_S, delay_s * 2)


def is_worth_retrying(error: BaseException, *, failures_in_a_row: int) -> bool:
    """Decided by class: time heals a transient error, and the unknown is given a few chances."""
    if isinstance(error, UnclassifiedError):
        return failures_in_a_row < MAX_UNCLASSIFIED
    return isinstance(error, TransientError)


def choose_failure(errors: list[BaseException]) -> BaseException:
    """Of failures that came together the one that says most: a lasting one before a transient one."""
    lasting = [error for error in errors if not isinstance(error, TransientError)]
    known = [error for error in lasting if isinstance(error, TowlineError)]
    return (known or lasting or errors)[0]

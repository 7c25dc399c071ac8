"""Results of the tests that run before a job starts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    PASSED = "passed"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PrecheckItem:
    """One test. `item` and `group` are the API's documented names; `remedy` says what the operator does."""

    item: str
    group: str
    verdict: Verdict
    reason: str = ""  # an upper-case word, e.g. SRC_WAL_LEVEL_NOT_LOGICAL; "" when passed
    message: str = ""
    remedy: str = ""

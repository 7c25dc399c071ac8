"""What a precheck says of the types that a job wishes for columns, whichever the direction. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from towline.domain.errors import BadConversion
from towline.domain.prechecks import PrecheckItem, Verdict

_SHOWN: Final = 5


def judge_types(problems: Sequence[str]) -> PrecheckItem:
    """`problems`: what is wrong with the wishes, one sentence each."""
    item, group = "srcColumnTypeCheck", "db_params"
    if not problems:
        return PrecheckItem(item, group, Verdict.PASSED)
    message = f"Types that columns cannot have: {'; '.join(problems[:_SHOWN])}."
    return PrecheckItem(item, group, Verdict.FAILED, BadConversion.code, message, BadConversion.remedy)

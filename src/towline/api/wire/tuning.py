"""Tuning parameters: sizes of a job's worker and wishes for its values, in the groups that the API has for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from towline.api.wire.errors import ApiError, invalid
from towline.api.wire.fields import Request, Text, check_range, check_text, convert
from towline.domain.nodes import KNOBS, Knob, tuned_size

GROUPS: Final = ("full_sync", "incre_capture", "incre_apply", "incre_relay")
# What may be said, in words; only some jobs have these.
_WISHES: Final = {
    ("full_sync", "zero_dates"): "refuse,null",
    ("full_sync", "collation"): "deterministic,case-insensitive",
    ("full_sync", "column_types"): "DATABASE.TABLE.COLUMN=TYPE or SOURCETYPE=TYPE, with semicolons between",
}
_MAX_WISH: Final = 100_000


class TuningRequest(Request):
    """`ModifyTuningParamsReq`: values by name. `recovery` puts all of them back."""

    full_sync: dict[str, Text] | None = None
    incre_capture: dict[str, Text] | None = None
    incre_apply: dict[str, Text] | None = None
    incre_relay: dict[str, Text] | None = None
    recovery: bool | None = None


class TuningParameter(msgspec.Struct, frozen=True):
    param_name: str
    param_value: str
    availability: str
    range: str


class TuningAnswer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """All four groups are always there; two of them have nothing to set."""

    full_sync: list[TuningParameter]
    incre_capture: list[TuningParameter]
    incre_apply: list[TuningParameter]
    incre_relay: list[TuningParameter]
    modify_result: str | None = None


def read_tuning(body: Mapping[str, Any]) -> tuple[dict[str, int] | None, dict[str, str]]:
    """Sizes by name, None to put all back, and wishes by name. Raises: ApiError."""
    request = convert(body, TuningRequest, where="request")
    if request.recovery:
        return None, {}
    values, wishes = {}, {}
    for group in GROUPS:
        for name, text in (getattr(request, group) or {}).items():
            if (group, name) in _WISHES:
                wishes[name] = check_text(text, name, max_length=_MAX_WISH)
                continue
            knob = next((knob for knob in KNOBS if (knob.group, knob.name) == (group, name)), None)
            if knob is None:
                raise ApiError("DRS.M00303")
            values[name] = _read_value(text, knob)
    if not values and not wishes:
        raise ApiError("DRS.M00201", "full_sync")
    return values, wishes


def _read_value(text: str, knob: Knob) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise invalid(knob.name)
    return check_range(int(text), knob.name, low=knob.low, high=knob.high)


def render_tuning(
    node_type: object,
    tuning: Mapping[str, int],
    wishes: Mapping[str, str],
    *,
    modify_result: str | None = None,
) -> TuningAnswer:
    size = tuned_size(node_type, tuning)
    groups: dict[str, list[TuningParameter]] = {group: [] for group in GROUPS}
    for knob in KNOBS:
        value = str(getattr(size, knob.name))
        groups[knob.group].append(TuningParameter(knob.name, value, "true", f"{knob.low}-{knob.high}"))
    for (group, name), words in _WISHES.items():
        if name in wishes:
            groups[group].append(TuningParameter(name, wishes[name], "true", words))
    return TuningAnswer(
        full_sync=groups["full_sync"],
        incre_capture=groups["incre_capture"],
        incre_apply=groups["incre_apply"],
        incre_relay=groups["incre_relay"],
        modify_result=modify_result,
    )

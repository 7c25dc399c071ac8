"""What of a dump an older target can do without, so that the rest of it is created there. Pure.

Only what leaves the target's rows and queries the same: a constraint that nobody enforces, one that rows need not
fulfil, a privilege that the target has no word for.  `features` says from which version on the target knows it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from towline.adapters.postgres.dump_toc import TocEntry, TocSection
from towline.domain.structure import StructureReport

_NOT_ENFORCED_SINCE: Final = 18
_MAINTAIN_SINCE: Final = 17

_IDENTIFIER: Final = r'(?:"(?:[^"]|"")*"|[^\s"]+)'
_GRANT: Final = re.compile(
    rf"^(?P<start>(?:ALTER DEFAULT PRIVILEGES FOR ROLE {_IDENTIFIER} (?:IN SCHEMA {_IDENTIFIER} )?)?"
    r"(?:GRANT|REVOKE(?: GRANT OPTION FOR)?)) (?P<privileges>[A-Z]+(?:,[A-Z]+)*) (?P<end>ON TABLES? .*)$\n?",
    re.MULTILINE,
)


def fit_entries(entries: Sequence[TocEntry], *, target_major: int) -> tuple[list[TocEntry], list[StructureReport]]:
    """The entries as a server of this version can create them, and what they lost."""
    kept, reports = list(entries), list[StructureReport]()
    if target_major < _NOT_ENFORCED_SINCE:
        kept, reports = _leave_out_constraints(kept)
    if target_major < _MAINTAIN_SINCE:
        kept, lost = _remove_maintain(kept)
        reports += lost
    return kept, reports


def _leave_out_constraints(entries: Sequence[TocEntry]) -> tuple[list[TocEntry], list[StructureReport]]:
    reasons = {entry.dump_id: reason for entry in entries if (reason := _why_left_out(entry))}
    kept = []
    reports = []
    for entry in entries:
        if entry.dump_id in reasons:
            name = f"{entry.namespace}.{entry.tag.replace(' ', '.', 1)}"
            reports.append(StructureReport(entry.desc, name, reasons[entry.dump_id]))
        elif entry.section is not TocSection.NONE or reasons.keys().isdisjoint(entry.depends_on):
            kept.append(entry)  # comments go with what they are about
    return kept, reports


def _why_left_out(entry: TocEntry) -> str:
    text = entry.definition.rstrip()
    if entry.desc in ("CHECK CONSTRAINT", "FK CONSTRAINT") and text.endswith(" NOT ENFORCED;"):
        return "left out: it is NOT ENFORCED, which the target's version does not know"
    if entry.desc == "CONSTRAINT" and text.endswith(" NOT VALID;"):
        return "left out: the target's version does not know NOT NULL constraints that are NOT VALID"
    return ""


def _remove_maintain(entries: Sequence[TocEntry]) -> tuple[list[TocEntry], list[StructureReport]]:
    kept = []
    names = []
    for entry in entries:
        definition = entry.definition
        if entry.desc in ("ACL", "DEFAULT ACL"):
            definition = _GRANT.sub(_without_maintain, definition)
        if definition != entry.definition:
            names.append(f"{entry.namespace}.{entry.tag}" if entry.namespace else entry.tag)
        kept.append(replace(entry, definition=definition))
    if not names:
        return kept, []
    name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    reason = "the privilege MAINTAIN is left out: the target's version does not know it"
    return kept, [StructureReport("ACL", name, reason)]


def _without_maintain(match: re.Match[str]) -> str:
    privileges = [each for each in match["privileges"].split(",") if each != "MAINTAIN"]
    if not privileges:
        return ""
    return f"{match['start']} {','.join(privileges)} {match['end']}\n"

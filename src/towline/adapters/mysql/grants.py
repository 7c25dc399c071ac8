"""SHOW GRANTS, taken apart: what of it concerns a job's databases. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from towline.adapters.mysql.catalog import SYSTEM_SCHEMAS
from towline.adapters.mysql.quoting import qualified, quote_ident
from towline.domain.tables import ObjectSelection, TableName

_NAME: Final = r"`((?:[^`]|``)*)`"
_GRANT: Final = re.compile(
    rf"GRANT (?P<what>.+?) ON (?P<kind>PROCEDURE |FUNCTION |PACKAGE BODY |PACKAGE )?"
    rf"(?:{_NAME}|\*)\.(?:{_NAME}|\*) TO (?P<rest>.+)",
    re.DOTALL,
)
_ROLE: Final = re.compile(r"GRANT [`'].+ TO [`']", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Grant:
    """A statement for the target. `table` is what it is about, None for a whole database or a routine."""

    account: str
    schema: str
    table: TableName | None
    statement: str


def choose_grants(
    lines: Sequence[str], name: str, account: str, selection: ObjectSelection
) -> tuple[list[Grant], list[str]]:
    """Statements for what is selected, and in words what cannot be carried over.

    `account`: the name as a statement has it.  Grants on databases that are not selected are no concern of the job, and
    neither named nor given.
    """
    grants: list[Grant] = []
    left_out: list[str] = []
    for line in lines:
        match = _GRANT.fullmatch(line)
        if match is None:
            if not _ROLE.match(line) and not line.startswith("SET DEFAULT ROLE"):
                left_out.append("a grant of a kind that is not carried over (PROXY, or a partial revoke)")
            continue
        what, kind, schema, item = match["what"], (match["kind"] or "").strip(), match[3], match[4]
        tail = " WITH GRANT OPTION" if match["rest"].rstrip().endswith("WITH GRANT OPTION") else ""
        if schema is None:
            if what != "USAGE":
                left_out.append(f"it had for all databases, and gets nowhere: {what}")
            continue
        grant = _choose(what, kind, _unquoted(schema), item, selection)
        if grant is None:
            continue
        if isinstance(grant, str):
            left_out.append(grant)
            continue
        place, found, table = grant
        grants.append(Grant(name, found, table, f"GRANT {what} ON {place} TO {account}{tail}"))
    return grants, left_out


def _choose(
    what: str, kind: str, schema: str, item: str | None, selection: ObjectSelection
) -> tuple[str, str, TableName | None] | str | None:
    """Place, schema and table; words for what cannot be; None for what is not the job's."""
    if item is None:
        exact = schema.replace("\\_", "_").replace("\\%", "%")
        if _is_selected(exact, selection):
            # An exact name: a pattern could take in databases of the target that the job does not know.
            escaped = selection.names.target_schema(exact).replace("_", "\\_").replace("%", "\\%")
            return f"{quote_ident(escaped)}.*", exact, None
        if "%" in schema.replace("\\%", ""):
            return f"for databases like {schema}, a pattern, and gets nowhere: {what}"
        return None
    if kind:
        return (
            (f"{kind} {qualified(TableName(selection.names.target_schema(schema), _unquoted(item)))}", schema, None)
            if _is_selected(schema, selection)
            else None
        )
    table = TableName(schema, _unquoted(item))
    is_ours = selection.covers(table) and schema.lower() not in SYSTEM_SCHEMAS
    return (qualified(selection.names.target_name(table)), schema, table) if is_ours else None


def _is_selected(schema: str, selection: ObjectSelection) -> bool:
    if schema.lower() in SYSTEM_SCHEMAS:
        return False
    return selection.is_everything or schema in selection.schemas


def _unquoted(name: str) -> str:
    return name.replace("``", "`")

"""The entries of a dump for a target where some objects have other names. Pure.

The text of an entry becomes the target's, while its own name stays the source's: ledger, progress and figures speak of
the source.  What cannot be rewritten for certain is left out with all that needs it, and told; a job whose tables need
such an object is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from towline.adapters.postgres.dump_toc import TocEntry, TocSection
from towline.adapters.postgres.quoting import quote_ident
from towline.adapters.postgres.renamed_sql import Renaming, Uncertain, find_mentioned, rewrite
from towline.adapters.postgres.structure_selection import RELATION_KINDS, VIEW_KINDS, CatalogFacts, relation_of
from towline.domain.errors import BadRename, Side
from towline.domain.structure import StructureReport
from towline.domain.tables import NameMap, TableName, TableRename

_QUERIES = VIEW_KINDS | {"RULE", "POLICY"}
_CODE = frozenset({"FUNCTION", "PROCEDURE"})
_BODY_IN_QUOTES = re.compile(r"\bAS [$']")
_IN_PUBLIC = "WITH SCHEMA public;"
# Texts that say something to people; a name in them is not looked up.
_FOR_PEOPLE = frozenset({"COMMENT", "SECURITY LABEL"})
_REQUIRED = frozenset({"TABLE", "FOREIGN TABLE", "TYPE", "DOMAIN", "CONSTRAINT", "CHECK CONSTRAINT", "INDEX"})


def add_dependents(names: NameMap, dependents: Iterable[tuple[TableName, TableName]]) -> NameMap:
    """The map with what lies in the schema of its table, wherever that goes: pairs of a sequence or index and it."""
    targets = {each.source: each.target for each in names.tables}
    more = [
        TableRename(dependent, TableName(targets[table].schema, dependent.name))
        for dependent, table in dependents
        if table in targets and targets[table].schema != names.target_schema(dependent.schema)
    ]
    return names.with_tables(more)


def rename_entries(
    entries: Sequence[TocEntry], facts: CatalogFacts, renaming: Renaming
) -> tuple[list[TocEntry], list[StructureReport]]:
    """The entries with the target's names in their texts, and what is left out or needs a look.

    Raises:
        BadRename: tables need what cannot be rewritten, or a function has the name of a renamed table.
    """
    _require_no_namesake(entries, renaming.names)
    renamed: list[TocEntry] = []
    reports: list[StructureReport] = []
    left_out: dict[int, str] = {}
    for entry in entries:
        needed = next((left_out[i] for i in entry.depends_on if i in left_out), None)
        try:
            if needed is not None:
                raise Uncertain(f"{needed} is left out")
            renamed.append(_rename(entry, renaming))
        except Uncertain as doubt:
            left_out[entry.dump_id] = f"{entry.namespace}.{entry.tag}"
            if entry.desc in _REQUIRED:
                raise BadRename(
                    f"{entry.desc} {entry.namespace}.{entry.tag} cannot be renamed for certain: {doubt}",
                    side=Side.SOURCE,
                ) from None
            if entry.section is not TocSection.NONE:
                reports.append(_report(entry, f"left out: its text cannot be renamed for certain: {doubt}"))
            continue
        mentioned = find_mentioned(renamed[-1].definition, renaming.names, is_code=entry.desc in _CODE)
        if mentioned and entry.desc not in _FOR_PEOPLE:
            reports.append(_report(entry, f"made as it is: a text in it names {mentioned}; change it where needed"))
    return _move_between_schemas(renamed, facts, renaming.names), reports


def _rename(entry: TocEntry, renaming: Renaming) -> TocEntry:
    if entry.desc == "EXTENSION" and entry.definition.rstrip().endswith(_IN_PUBLIC):
        return entry  # its members are in `Renaming.kept`
    is_query = entry.desc in _QUERIES or (entry.desc in _CODE and not _BODY_IN_QUOTES.search(entry.definition))
    definition = rewrite(entry.definition, renaming, is_query=is_query)
    if entry.desc == "SCHEMA" and renaming.names.target_schema(entry.tag) != entry.tag:
        # The dump has no statement for `public`, which every database has.
        definition = f"CREATE SCHEMA {quote_ident(renaming.names.target_schema(entry.tag))};"
    return replace(entry, definition=definition, drop_statement=rewrite(entry.drop_statement, renaming))


def _require_no_namesake(entries: Sequence[TocEntry], names: NameMap) -> None:
    """In the text of a statement nothing but its name tells a function from a table."""
    renamed = {each.source for each in names.tables}
    for entry in entries:
        if entry.desc in _CODE | {"AGGREGATE"}:
            name = TableName(entry.namespace, entry.tag.partition("(")[0])
            if name in renamed:
                raise BadRename(f"{name} cannot be renamed: there is a function of that name", side=Side.SOURCE)


def _move_between_schemas(entries: Sequence[TocEntry], facts: CatalogFacts, names: NameMap) -> list[TocEntry]:
    """Schemas that tables go to are made first; those that nothing is left in are not made."""
    homes = {entry.dump_id: _home_of(entry, facts, names) for entry in entries}
    known = {names.target_schema(entry.tag): entry.dump_id for entry in entries if entry.desc == "SCHEMA"}
    first = max((entry.dump_id for entry in entries), default=0) + 1
    away = {entry.dump_id for entry in entries if homes[entry.dump_id] not in ("", entry.namespace)}
    missing = sorted({homes[dump_id] for dump_id in away} - set(known))
    made = [_schema_entry(first + number, schema) for number, schema in enumerate(missing)]
    known |= {entry.tag: entry.dump_id for entry in made}
    used = {home for entry in entries if (home := homes[entry.dump_id]) and entry.section is not TocSection.NONE}
    moved_off = {entry.namespace for entry in entries if entry.dump_id in away}
    empty = {
        entry.dump_id
        for entry in entries
        if entry.desc == "SCHEMA" and entry.tag in moved_off and names.target_schema(entry.tag) not in used
    }
    kept = [entry for entry in entries if entry.dump_id not in empty]
    kept = [entry for entry in kept if entry.section is not TocSection.NONE or empty.isdisjoint(entry.depends_on)]
    return made + [
        replace(entry, depends_on=(*entry.depends_on, known[homes[entry.dump_id]])) if entry.dump_id in away else entry
        for entry in kept
    ]


def _home_of(entry: TocEntry, facts: CatalogFacts, names: NameMap) -> str:
    """The schema of the target that the entry lies in; "" if in none."""
    if not entry.namespace:
        return ""
    relation = facts.relations.get(relation_of(entry, facts))
    if entry.desc in RELATION_KINDS:
        relation = TableName(entry.namespace, entry.tag)
    return names.target_schema(entry.namespace) if relation is None else names.target_name(relation).schema


def _schema_entry(dump_id: int, schema: str) -> TocEntry:
    create = f"CREATE SCHEMA {quote_ident(schema)};"
    return TocEntry(dump_id, 0, 0, schema, "SCHEMA", TocSection.PRE_DATA, create, "", "", "", "", "", "", ())


def _report(entry: TocEntry, reason: str) -> StructureReport:
    return StructureReport(entry.desc, f"{entry.namespace}.{entry.tag}" if entry.namespace else entry.tag, reason)

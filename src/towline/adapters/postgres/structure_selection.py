"""Which entries of a dump a job moves: what was selected, what that needs, and what belongs to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from towline.adapters.postgres.dump_toc import TocEntry, TocSection
from towline.domain.structure import StructureReport
from towline.domain.tables import ObjectSelection, TableName

TABLE_KINDS = frozenset({"TABLE", "FOREIGN TABLE"})
VIEW_KINDS = frozenset({"VIEW", "MATERIALIZED VIEW"})
RELATION_KINDS = TABLE_KINDS | VIEW_KINDS | {"SEQUENCE"}

# Settings of the dump itself, and objects that bind a database to other servers or to its own name.
_NEVER = frozenset(
    {
        "ENCODING",
        "STDSTRINGS",
        "SEARCHPATH",
        "DATABASE",
        "DATABASE PROPERTIES",
        "PUBLICATION",
        "PUBLICATION TABLE",
        "PUBLICATION TABLES IN SCHEMA",
        "SUBSCRIPTION",
        "SUBSCRIPTION TABLE",
        "BLOB",
        "BLOBS",
        "BLOB METADATA",
        "STATISTICS DATA",
    }
)


@dataclass(frozen=True, slots=True)
class Belonging:
    """What the catalog says of an index, constraint, trigger, ...: its relation, and sizes for weighing.

    `role` is 'p', 'u', 'x', 'f', 'c' or 'n' for constraints, 'i' for other indexes, '' for the rest.
    `is_key`: this index, or its constraint, is what identifies rows in the stream (`Table.key`).
    """

    relation_id: int
    role: str = ""
    size_bytes: int = 0
    is_key: bool = False
    referenced_id: int = 0


@dataclass(frozen=True, slots=True)
class CatalogFacts:
    """What the dump does not say. Keys of `belongings` are (class oid, oid) as in `TocEntry`."""

    relations: Mapping[int, TableName] = field(default_factory=dict)
    belongings: Mapping[tuple[int, int], Belonging] = field(default_factory=dict)
    partitioned: frozenset[int] = frozenset()
    parents: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # relation -> what it inherits from
    populated_views: Mapping[int, int] = field(default_factory=dict)  # materialised view -> size in bytes
    row_bytes: Mapping[int, int] = field(default_factory=dict)  # table -> size of its rows; only those that have any


def choose_entries(
    entries: Sequence[TocEntry], facts: CatalogFacts, selection: ObjectSelection
) -> tuple[list[TocEntry], list[StructureReport]]:
    """The entries to create, in the dump's order, and what is left out or added with the reason."""
    usable = _without_dependents([entry for entry in entries if entry.desc not in _NEVER], entries)
    if selection.is_everything:
        return usable, [_report_link(entry) for entry in entries if _is_users_link(entry)]
    return _Choice(usable, facts, selection).run()


def _is_users_link(entry: TocEntry) -> bool:
    """Whether the entry is a publication or subscription that is not a job's own."""
    return entry.desc in ("PUBLICATION", "SUBSCRIPTION") and not entry.tag.startswith("towline_")


def _report_link(entry: TocEntry) -> StructureReport:
    return StructureReport(entry.desc, entry.tag, "not created: it binds the source to other servers")


def relation_of(entry: TocEntry, facts: CatalogFacts) -> int:
    """The relation that the entry is, or belongs to, by its catalog address; 0 if it has none."""
    if entry.desc in RELATION_KINDS:
        return entry.oid
    belonging = facts.belongings.get((entry.class_oid, entry.oid))
    return belonging.relation_id if belonging else 0


def _without_dependents(usable: list[TocEntry], entries: Sequence[TocEntry]) -> list[TocEntry]:
    """Leave out comments and grants of entries that are left out."""
    left_out = {entry.dump_id for entry in entries if entry.desc in _NEVER}
    return [
        entry for entry in usable if entry.section is not TocSection.NONE or not left_out.intersection(entry.depends_on)
    ]


class _Choice:
    def __init__(self, entries: Sequence[TocEntry], facts: CatalogFacts, selection: ObjectSelection) -> None:
        self._entries = entries
        self._facts = facts
        self._selection = selection
        self._by_id = {entry.dump_id: entry for entry in entries}
        self._schemas = {entry.tag: entry.dump_id for entry in entries if entry.desc == "SCHEMA"}
        self._tables = {(entry.namespace, entry.tag): entry.oid for entry in entries if entry.desc in TABLE_KINDS}
        self._chosen: set[int] = set()
        self._relations: set[int] = set()
        self._left_out: set[int] = set()
        self._reports: list[StructureReport] = []

    def run(self) -> tuple[list[TocEntry], list[StructureReport]]:
        self._add(entry.dump_id for entry in self._entries if self._is_selected(entry))
        while self._add(self._belonging()):
            pass
        self._chosen.update(
            entry.dump_id
            for entry in self._entries
            if entry.section is TocSection.NONE and self._has_all(entry.depends_on)
        )
        self._report_tables_without_rows()
        self._report_missing()
        return [entry for entry in self._entries if entry.dump_id in self._chosen], self._reports

    def _is_selected(self, entry: TocEntry) -> bool:
        schemas = self._selection.schemas
        if entry.section is TocSection.NONE:
            return False
        if entry.desc == "SCHEMA":
            return entry.tag in schemas
        if entry.desc in TABLE_KINDS:
            return self._covers(entry.oid)
        if entry.desc in VIEW_KINDS and TableName(entry.namespace, entry.tag) in self._selection.views:
            return True
        if entry.section is TocSection.PRE_DATA or entry.desc == "DEFAULT ACL":
            return entry.namespace in schemas
        return False

    def _covers(self, relation_id: int) -> bool:
        """Selected itself, or a partition of a selected table."""
        name = self._facts.relations.get(relation_id)
        if name is None:
            return False
        return self._selection.covers(name) or any(
            parent in self._facts.partitioned and self._covers(parent)
            for parent in self._facts.parents.get(relation_id, ())
        )

    def _add(self, dump_ids: Iterable[int]) -> bool:
        """Choose the entries and all that they need; True if anything was new."""
        waiting = [dump_id for dump_id in dump_ids if dump_id not in self._chosen]
        has_added = bool(waiting)
        while waiting:
            entry = self._by_id.get(waiting.pop())
            if entry is None or entry.dump_id in self._chosen:
                continue
            self._chosen.add(entry.dump_id)
            if entry.desc in RELATION_KINDS:
                self._relations.add(entry.oid)
            waiting.extend(entry.depends_on)
            if entry.namespace in self._schemas:
                waiting.append(self._schemas[entry.namespace])
        return has_added

    def _belonging(self) -> list[int]:
        """Entries not chosen yet that belong to chosen relations."""
        return [
            entry.dump_id
            for entry in self._entries
            if entry.dump_id not in self._chosen
            and entry.dump_id not in self._left_out
            and entry.section is not TocSection.NONE
            and self._belongs(entry)
        ]

    def _belongs(self, entry: TocEntry) -> bool:
        if entry.desc == "INDEX ATTACH":
            return self._has_all(entry.depends_on)
        if entry.desc in ("SEQUENCE OWNED BY", "TABLE ATTACH"):
            return self._has_all(entry.depends_on)
        if entry.desc == "SEQUENCE":
            # A sequence that belongs to a column depends on the table, a free one does not.
            owners = [self._by_id[i] for i in entry.depends_on if i in self._by_id]
            return any(owner.desc in TABLE_KINDS and owner.dump_id in self._chosen for owner in owners)
        if entry.desc == "ROW SECURITY":
            return self._tables.get((entry.namespace, entry.tag)) in self._relations
        belonging = self._facts.belongings.get((entry.class_oid, entry.oid))
        if belonging is None or belonging.relation_id not in self._relations:
            return False
        if belonging.referenced_id and belonging.referenced_id not in self._relations:
            self._leave_out(entry, belonging)
            return False
        return True

    def _leave_out(self, entry: TocEntry, belonging: Belonging) -> None:
        self._left_out.add(entry.dump_id)
        referenced = self._facts.relations.get(belonging.referenced_id, "another table")
        self._reports.append(
            StructureReport(entry.desc, entry.tag, f"left out: it references {referenced}, which is not selected")
        )

    def _has_all(self, dump_ids: Sequence[int]) -> bool:
        return bool(dump_ids) and all(i in self._chosen for i in dump_ids if i in self._by_id)

    def _report_tables_without_rows(self) -> None:
        for entry in self._entries:
            if entry.dump_id not in self._chosen or entry.desc != "TABLE" or self._covers(entry.oid):
                continue
            if entry.oid not in self._facts.partitioned:
                name = f"{entry.namespace}.{entry.tag}"
                self._reports.append(
                    StructureReport("TABLE", name, "created without rows: not selected, but selected objects need it")
                )

    def _report_missing(self) -> None:
        """A selected object that the source does not have is no reason to move nothing, but is told."""
        schemas = {entry.tag if entry.desc == "SCHEMA" else entry.namespace for entry in self._entries}
        self._reports += [
            StructureReport("SCHEMA", name, "left out: the source has nothing in it")
            for name in sorted(self._selection.schemas - schemas)
        ]
        for kind, wanted, kinds in (
            ("TABLE", self._selection.tables, TABLE_KINDS),
            ("VIEW", self._selection.views, VIEW_KINDS),
        ):
            known = {TableName(entry.namespace, entry.tag) for entry in self._entries if entry.desc in kinds}
            self._reports += [
                StructureReport(kind, str(name), "left out: the source does not have it")
                for name in sorted(wanted - known)
            ]

"""Turns the entries of a dump into items in the order and sections in which a job creates them. Pure.

    BEFORE_DATA  everything that rows need, as pg_dump orders it
    KEYS         primary keys and replica identity indexes: the stream finds rows by them
    INDEXES      other indexes, unique and exclusion constraints, statistics objects; then ANALYZE of each table
    AFTER_DATA   foreign keys, triggers, rules, policies; then owners, grants, default grants; then the rows of
                 materialised views (refreshing runs as their owner, so it needs the grants) and their
                 indexes; event triggers last, because they would fire on everything before

An item never stands in an earlier section than something it depends on.  Owners become one item per role and
grants one per schema: on the target they mostly succeed or fail together, and thousands become a few.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from towline.adapters.postgres.dump_toc import TocEntry, TocSection
from towline.adapters.postgres.quoting import qualified, quote_ident
from towline.adapters.postgres.structure_selection import CatalogFacts, relation_of
from towline.domain.structure import Section, StructureItem, StructureReport
from towline.domain.tables import SAME_NAMES, NameMap, TableName

_SECTIONS = (Section.BEFORE_DATA, Section.KEYS, Section.INDEXES, Section.AFTER_DATA)
_OPTIONAL = frozenset(
    {
        "ACL",
        "COMMENT",
        "DEFAULT ACL",
        "EVENT TRIGGER",
        "EXTENSION",
        "MATERIALIZED VIEW DATA",
        "OWNER",
        "SECURITY LABEL",
        "STATISTICS DATA",
        "USER MAPPING",
    }
)
# The kinds that have an owner which ALTER can change (`_printTocEntry` in pg_backup_archiver.c), but for
# event triggers: they come last and bring their own.
_OWNED = frozenset(
    {
        "AGGREGATE",
        "COLLATION",
        "CONVERSION",
        "DOMAIN",
        "FOREIGN DATA WRAPPER",
        "FOREIGN TABLE",
        "FUNCTION",
        "MATERIALIZED VIEW",
        "OPERATOR",
        "OPERATOR CLASS",
        "OPERATOR FAMILY",
        "PROCEDURAL LANGUAGE",
        "PROCEDURE",
        "SCHEMA",
        "SEQUENCE",
        "SERVER",
        "STATISTICS",
        "TABLE",
        "TEXT SEARCH CONFIGURATION",
        "TEXT SEARCH DICTIONARY",
        "TYPE",
        "VIEW",
    }
)
# Places inside AFTER_DATA; an item is never placed before something it depends on.
_PLAIN, _OWNERS, _GRANTS, _ROWS, _ROWS_INDEXES, _EVENTS = range(6)
_PLACES = {
    "OWNER": _OWNERS,
    "ACL": _GRANTS,
    "DEFAULT ACL": _GRANTS,
    "MATERIALIZED VIEW DATA": _ROWS,
    "EVENT TRIGGER": _EVENTS,
}
_TAG_STARTS_WITH_TABLE = frozenset(
    {"CHECK CONSTRAINT", "CONSTRAINT", "DEFAULT", "FK CONSTRAINT", "POLICY", "RULE", "TRIGGER"}
)

# A column option that late minor versions of the server keep for themselves. A pg_dump that does not know of it
# writes it out, and a server that does not know of it refuses it.
_OWN_OPTION = "pg_attver="
_OWN_OPTIONS = re.compile(
    r"^(?P<start>ALTER (?:FOREIGN )?TABLE ONLY .+ ALTER COLUMN .+ SET )"
    r"\((?P<options>.*\bpg_attver=.*)\);$",
    re.MULTILINE,
)
# ANALYZE takes its sample from no more pages than this (300 times the default statistics target), and reads them
# several times as fast as an index of the size is built.
_SAMPLED_BYTES = 30_000 * 8192
_ANALYZE_SPEED = 8
_FEEDS_STATISTICS = frozenset({"CONSTRAINT", "INDEX", "INDEX ATTACH", "STATISTICS"})
_WITH_COLUMNS = frozenset({"FOREIGN TABLE", "MATERIALIZED VIEW", "TABLE", "VIEW"})


@dataclass(slots=True)
class _Draft:
    """An item without its number; `key` is a dump id, or negative for what the dump does not hold."""

    key: int
    section: int
    kind: str
    name: str
    schema: str | None
    table: TableName | None
    statements: tuple[str, ...]
    depends_on: set[int] = field(default_factory=set)
    weight_bytes: int = 0
    place: int = _PLAIN


def plan_items(
    entries: Sequence[TocEntry], facts: CatalogFacts, names: NameMap = SAME_NAMES
) -> tuple[list[StructureItem], list[StructureReport]]:
    """The items of the entries, numbered in creation order, and what becomes different on the target.

    The texts of the entries have the target's `names` already.
    """
    drafts = _Drafting(entries, facts, names).run()
    return _number(drafts), _report_storage(entries)


class _Drafting:
    def __init__(self, entries: Sequence[TocEntry], facts: CatalogFacts, names: NameMap) -> None:
        self._names = names
        self._entries = entries
        self._facts = facts
        self._by_id = {entry.dump_id: entry for entry in entries}
        self._schemas = {entry.tag: entry.dump_id for entry in entries if entry.desc == "SCHEMA"}
        self._views = [
            entry for entry in entries if entry.desc == "MATERIALIZED VIEW" and entry.oid in facts.populated_views
        ]
        self._drafts: dict[int, _Draft] = {}

    def run(self) -> list[_Draft]:
        for entry in self._entries:
            if entry.desc != "ACL":
                self._add(self._draft(entry))
        grants = [self._add(draft) for draft in self._grants()]
        owners = [self._add(draft) for draft in self._owners()]
        self._add_rows_of_views([*grants, *owners])
        _push_down(list(self._drafts.values()))
        self._add_statistics()
        drafts = list(self._drafts.values())
        _hold_back_event_triggers(drafts)
        return drafts

    def _add(self, draft: _Draft) -> int:
        self._drafts[draft.key] = draft
        return draft.key

    def _draft(self, entry: TocEntry) -> _Draft:
        relation_id = relation_of(entry, self._facts)
        table = self._facts.relations.get(relation_id)
        draft = _Draft(
            key=entry.dump_id,
            section=_SECTIONS.index(self._section(entry)),
            kind=entry.desc,
            name=_name(entry, table),
            schema=entry.namespace or None,
            table=table if entry.desc not in ("VIEW", "SEQUENCE") else None,
            statements=_statements(entry),
            depends_on=self._known(entry.depends_on) - {entry.dump_id},
            weight_bytes=self._weight(entry),
            place=_PLACES.get(entry.desc, _PLAIN),
        )
        if entry.namespace in self._schemas:
            draft.depends_on.add(self._schemas[entry.namespace])
        if draft.table is None and entry.desc in ("COMMENT", "ROW SECURITY", "INDEX ATTACH", "TABLE ATTACH"):
            draft.table = self._table_of_first(entry.depends_on)
        return draft

    def _section(self, entry: TocEntry) -> Section:
        if entry.section in (TocSection.PRE_DATA, TocSection.NONE):
            return Section.BEFORE_DATA  # comments follow what they belong to, see `_push_down`
        if entry.desc in ("INDEX", "CONSTRAINT"):
            belonging = self._facts.belongings.get((entry.class_oid, entry.oid))
            if belonging is None or belonging.role in ("c", "n"):
                return Section.AFTER_DATA  # not validated: it must not look at rows that are copied
            return Section.KEYS if belonging.is_key else Section.INDEXES
        if entry.desc == "INDEX ATTACH":
            return Section.KEYS  # its section is that of the indexes it joins
        return Section.INDEXES if entry.desc == "STATISTICS" else Section.AFTER_DATA

    def _weight(self, entry: TocEntry) -> int:
        belonging = self._facts.belongings.get((entry.class_oid, entry.oid))
        return belonging.size_bytes if belonging else 0

    def _known(self, dump_ids: Iterable[int]) -> set[int]:
        return {dump_id for dump_id in dump_ids if dump_id in self._by_id}

    def _table_of_first(self, dump_ids: Sequence[int]) -> TableName | None:
        for dump_id in dump_ids:
            entry = self._by_id.get(dump_id)
            table = self._facts.relations.get(relation_of(entry, self._facts)) if entry else None
            if table is not None:
                return table
        return None

    def _owners(self) -> list[_Draft]:
        """One item per role. An identity column's sequence has no DROP and goes with its table."""
        by_role: dict[str, list[TocEntry]] = {}
        for entry in self._entries:
            if entry.desc in _OWNED and _has_owner(entry):
                by_role.setdefault(entry.owner, []).append(entry)
        return [
            _Draft(
                key=-1 - number,
                section=_SECTIONS.index(Section.AFTER_DATA),
                kind="OWNER",
                name=role,
                schema=None,
                table=None,
                statements=tuple(_render_owner(entry) for entry in owned),
                depends_on=self._after_data(entry.dump_id for entry in owned),
                place=_OWNERS,
            )
            for number, (role, owned) in enumerate(by_role.items())
        ]

    def _grants(self) -> list[_Draft]:
        """One item per schema, in the dump's order."""
        by_schema: dict[str, list[TocEntry]] = {}
        for entry in self._entries:
            if entry.desc == "ACL":
                by_schema.setdefault(entry.namespace, []).append(entry)
        return [
            _Draft(
                key=-1_000_001 - number,
                section=_SECTIONS.index(Section.AFTER_DATA),
                kind="ACL",
                name=f"grants in {schema}" if schema else "grants",
                schema=schema or None,
                table=None,
                statements=tuple(s for entry in granted for s in split_statements(entry.definition)),
                depends_on=self._after_data(i for entry in granted for i in entry.depends_on),
                place=_GRANTS,
            )
            for number, (schema, granted) in enumerate(by_schema.items())
        ]

    def _after_data(self, dump_ids: Iterable[int]) -> set[int]:
        """Those that stand in AFTER_DATA; the others are done by then anyway."""
        after = _SECTIONS.index(Section.AFTER_DATA)
        return {i for i in dump_ids if i in self._drafts and self._drafts[i].section == after}

    def _add_rows_of_views(self, before: Sequence[int]) -> None:
        """Refresh populated materialised views in order of dependency, and build their indexes afterwards."""
        # A view in a circle of dependencies is an empty shell until its rule replaces it.
        shells = {e.dump_id for e in self._entries if e.desc == "RULE" and e.tag.endswith(" _RETURN")}
        keys = {view.dump_id: -2_000_001 - number for number, view in enumerate(self._views)}
        for view in self._views:
            name = TableName(view.namespace, view.tag)
            refresh = _Draft(
                key=keys[view.dump_id],
                section=_SECTIONS.index(Section.AFTER_DATA),
                kind="MATERIALIZED VIEW DATA",
                name=view.tag,
                schema=view.namespace,
                table=name,
                statements=(f"REFRESH MATERIALIZED VIEW {self._there(name)};", f"ANALYZE {self._there(name)};"),
                depends_on={view.dump_id, *before, *shells},
                weight_bytes=self._facts.populated_views[view.oid],
                place=_ROWS,
            )
            refresh.depends_on |= {keys[other] for other in self._views_under(view) if other in keys}
            self._add(refresh)
        refreshed = {TableName(view.namespace, view.tag): keys[view.dump_id] for view in self._views}
        for draft in self._drafts.values():
            if draft.kind == "INDEX" and draft.table in refreshed:
                draft.section = _SECTIONS.index(Section.AFTER_DATA)
                draft.place = _ROWS_INDEXES
                draft.depends_on.add(refreshed[draft.table])

    def _there(self, name: TableName) -> str:
        return qualified(self._names.target_name(name))

    def _views_under(self, view: TocEntry) -> set[int]:
        """The other materialised views that this one reads, also through ordinary views."""
        found: set[int] = set()
        seen: set[int] = set()
        waiting = list(view.depends_on)
        while waiting:
            entry = self._by_id.get(waiting.pop())
            if entry is None or entry.dump_id in seen or entry.dump_id == view.dump_id:
                continue
            seen.add(entry.dump_id)
            if entry.desc == "MATERIALIZED VIEW":
                found.add(entry.dump_id)
            if entry.desc in ("MATERIALIZED VIEW", "VIEW"):
                waiting.extend(entry.depends_on)
        return found

    def _add_statistics(self) -> None:
        """ANALYZE every table that has rows when its indexes are there, so that the first queries are planned well.

        Partitions go with the topmost partitioned table, which has statistics of its own that nothing else makes.
        """
        before = self._feeding_statistics()
        for number, (root, members) in enumerate(self._group_partitions().items()):
            name = self._facts.relations[root]
            size_bytes = sum(min(self._facts.row_bytes[member], _SAMPLED_BYTES) for member in members)
            self._add(
                _Draft(
                    key=-3_000_001 - number,
                    section=_SECTIONS.index(Section.INDEXES),
                    kind="STATISTICS DATA",
                    name=name.name,
                    schema=name.schema,
                    table=name,
                    statements=(f"ANALYZE {self._there(name)};",),
                    depends_on=before.get(root, set()),
                    weight_bytes=size_bytes // _ANALYZE_SPEED,
                )
            )

    def _feeding_statistics(self) -> dict[int, set[int]]:
        """Table -> what ANALYZE of it waits for: it reads the tables that inherit from it, too."""
        ids = {name: relation_id for relation_id, name in self._facts.relations.items()}
        feeding: dict[int, set[int]] = {}
        for draft in self._drafts.values():
            if draft.kind in _FEEDS_STATISTICS and draft.section <= _SECTIONS.index(Section.INDEXES) and draft.table:
                for relation_id in self._lineage(ids[draft.table]):
                    feeding.setdefault(relation_id, set()).add(draft.key)
        return feeding

    def _lineage(self, relation_id: int) -> set[int]:
        """The relation and all that it inherits from, near or far."""
        found: set[int] = set()
        waiting = [relation_id]
        while waiting:
            relation_id = waiting.pop()
            found.add(relation_id)
            waiting.extend(self._facts.parents.get(relation_id, ()))
        return found

    def _group_partitions(self) -> dict[int, list[int]]:
        """The tables with rows by the topmost of the job's tables that they are a partition of, or by themselves."""
        tables = {entry.oid for entry in self._entries if entry.desc == "TABLE"}
        # Sampling a foreign partition would ask another server.
        foreign = {self._root(entry.oid, tables) for entry in self._entries if entry.desc == "FOREIGN TABLE"}
        groups: dict[int, list[int]] = {}
        for relation_id in (entry.oid for entry in self._entries if entry.desc == "TABLE"):
            if relation_id in self._facts.row_bytes:
                root = self._root(relation_id, tables)
                groups.setdefault(relation_id if root in foreign else root, []).append(relation_id)
        return groups

    def _root(self, relation_id: int, tables: set[int]) -> int:
        for parent in self._facts.parents.get(relation_id, ()):
            if parent in self._facts.partitioned and parent in tables:
                return self._root(parent, tables)
        return relation_id


def _push_down(drafts: Sequence[_Draft]) -> None:
    """Move every draft to the section, and place, of the latest thing it depends on."""
    by_key = {draft.key: draft for draft in drafts}
    has_moved = True
    while has_moved:
        has_moved = False
        for draft in drafts:
            for key in draft.depends_on:
                other = by_key[key]
                if (other.section, other.place) > (draft.section, draft.place):
                    draft.section, draft.place = other.section, max(draft.place, other.place)
                    has_moved = True


def _hold_back_event_triggers(drafts: Sequence[_Draft]) -> None:
    after = _SECTIONS.index(Section.AFTER_DATA)
    earlier = {d.key for d in drafts if d.section == after and d.place < _EVENTS}
    for draft in drafts:
        if draft.kind == "EVENT TRIGGER":
            draft.depends_on |= earlier


def _number(drafts: Sequence[_Draft]) -> list[StructureItem]:
    # Sorting is stable: inside a section and place the dump's order stays.
    ordered = sorted(drafts, key=lambda draft: (draft.section, draft.place))
    ordered = [draft for draft in ordered if draft.statements]
    numbers = {draft.key: number for number, draft in enumerate(ordered, start=1)}
    return [
        StructureItem(
            number=numbers[draft.key],
            section=_SECTIONS[draft.section],
            kind=draft.kind,
            name=draft.name,
            schema=draft.schema,
            table=draft.table,
            statements=draft.statements,
            depends_on=frozenset(numbers[key] for key in draft.depends_on if key in numbers),
            weight_bytes=draft.weight_bytes,
            is_optional=draft.kind in _OPTIONAL,
        )
        for draft in ordered
    ]


def _statements(entry: TocEntry) -> tuple[str, ...]:
    definition = entry.definition.strip()
    if entry.desc == "SCHEMA":
        if not definition.startswith("CREATE SCHEMA "):
            return ()  # a comment in place of a statement: every database has the schema `public`
        return (definition.replace("CREATE SCHEMA ", "CREATE SCHEMA IF NOT EXISTS ", 1),)
    if entry.desc == "EVENT TRIGGER" and _has_owner(entry):
        return (definition, _render_owner(entry))
    if entry.desc in _WITH_COLUMNS:
        definition = _OWN_OPTIONS.sub(_drop_own_option, definition)
    return (definition,) if definition else ()


def _drop_own_option(match: re.Match[str]) -> str:
    kept = [option for option in match["options"].split(", ") if not option.startswith(_OWN_OPTION)]
    return f"{match['start']}({', '.join(kept)});" if kept else ""


def _name(entry: TocEntry, table: TableName | None) -> str:
    if table is not None and entry.desc in _TAG_STARTS_WITH_TABLE:
        return entry.tag.removeprefix(f"{table.name} ")
    return entry.tag


def _has_owner(entry: TocEntry) -> bool:
    return bool(entry.owner) and entry.drop_statement.startswith("DROP ")


def _render_owner(entry: TocEntry) -> str:
    # `DROP FUNCTION public.f(integer);` spells the object just as ALTER wants it.
    target = entry.drop_statement.strip().removesuffix(";").removeprefix("DROP ")
    return f"ALTER {target} OWNER TO {quote_ident(entry.owner)};"


def split_statements(text: str) -> list[str]:
    """The statements of a text of GRANT, REVOKE and SET: quotes are all there is to skip."""
    statements = []
    start = at = 0
    quote = ""
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == ";":
            statements.append(text[start : at + 1].strip())
            start = at + 1
    rest = text[start:].strip()
    return [*statements, rest] if rest else statements


def _report_storage(entries: Sequence[TocEntry]) -> list[StructureReport]:
    reports = []
    for entry in entries:
        name = f"{entry.namespace}.{entry.tag}" if entry.namespace else entry.tag
        if entry.tablespace:
            reports.append(
                StructureReport(entry.desc, name, f"tablespace {entry.tablespace} is not kept: created in the default")
            )
        if entry.access_method not in ("", "heap"):
            reports.append(
                StructureReport(entry.desc, name, f"access method {entry.access_method} is not kept: created as heap")
            )
    return reports

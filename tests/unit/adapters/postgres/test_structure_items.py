"""Entries of a dump become items in the right section, order and company."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from towline.adapters.postgres.dump_toc import TocEntry, TocSection
from towline.adapters.postgres.structure_items import plan_items, split_statements
from towline.adapters.postgres.structure_selection import Belonging, CatalogFacts, choose_entries
from towline.domain.structure import Section, StructureItem
from towline.domain.tables import ObjectSelection, TableName

PG_CLASS, PG_CONSTRAINT = 1259, 2606
T, U = TableName("s", "t"), TableName("s", "u")


def entry(dump_id: int, desc: str, tag: str, definition: str = "", **members: Any) -> TocEntry:
    """An entry of schema `s`; post-data if its kind says so."""
    post = desc in ("INDEX", "CONSTRAINT", "FK CONSTRAINT", "TRIGGER", "INDEX ATTACH", "EVENT TRIGGER", "RULE")
    none = desc in ("ACL", "COMMENT")
    section = TocSection.POST_DATA if post else TocSection.NONE if none else TocSection.PRE_DATA
    values: dict[str, Any] = {
        "class_oid": 0,
        "oid": 0,
        "section": section,
        "drop_statement": "",
        "namespace": "s",
        "tablespace": "",
        "access_method": "",
        "relkind": "",
        "owner": "",
        "depends_on": (),
        **members,
    }
    return TocEntry(dump_id=dump_id, tag=tag, desc=desc, definition=definition or f"CREATE {tag};", **values)


def table(dump_id: int, name: TableName, oid: int, **members: Any) -> TocEntry:
    return entry(dump_id, "TABLE", name.name, class_oid=PG_CLASS, oid=oid, **members)


FACTS = CatalogFacts(
    relations={100: T, 200: U},
    belongings={
        (PG_CLASS, 101): Belonging(100, "i", 5000),
        (PG_CLASS, 102): Belonging(100, "i", 7000, is_key=True),
        (PG_CONSTRAINT, 103): Belonging(100, "p", 9000, is_key=True),
        (PG_CONSTRAINT, 104): Belonging(100, "f", 1, referenced_id=200),
        (PG_CONSTRAINT, 105): Belonging(100, "u", 10),
        (PG_CONSTRAINT, 106): Belonging(100, "n"),
    },
)


def plan(*entries: TocEntry, facts: CatalogFacts = FACTS) -> dict[str, StructureItem]:
    items, _ = plan_items(entries, facts)
    assert [item.number for item in items] == list(range(1, len(items) + 1))
    for item in items:
        assert all(number < item.number for number in item.depends_on)
    return {f"{item.kind} {item.name}": item for item in items}


def test_constraints_and_indexes_are_told_apart() -> None:
    items = plan(
        table(1, T, 100),
        entry(2, "INDEX", "plain", class_oid=PG_CLASS, oid=101, depends_on=(1,)),
        entry(3, "INDEX", "ident", class_oid=PG_CLASS, oid=102, depends_on=(1,)),
        entry(4, "CONSTRAINT", "t pk", class_oid=PG_CONSTRAINT, oid=103, depends_on=(1,)),
        entry(5, "FK CONSTRAINT", "t fk", class_oid=PG_CONSTRAINT, oid=104, depends_on=(1,)),
        entry(6, "CONSTRAINT", "t uq", class_oid=PG_CONSTRAINT, oid=105, depends_on=(1,)),
        entry(7, "CONSTRAINT", "t nn", class_oid=PG_CONSTRAINT, oid=106, depends_on=(1,)),
    )
    sections = {name: item.section for name, item in items.items()}
    assert sections == {
        "TABLE t": Section.BEFORE_DATA,
        "INDEX plain": Section.INDEXES,
        "INDEX ident": Section.KEYS,
        "CONSTRAINT pk": Section.KEYS,
        "FK CONSTRAINT fk": Section.AFTER_DATA,
        "CONSTRAINT uq": Section.INDEXES,
        "CONSTRAINT nn": Section.AFTER_DATA,
    }
    assert items["CONSTRAINT pk"].weight_bytes == 9000
    assert items["CONSTRAINT pk"].table == T


def test_attached_index_follows_its_parts() -> None:
    items = plan(
        table(1, T, 100),
        entry(2, "INDEX", "plain", class_oid=PG_CLASS, oid=101, depends_on=(1,)),
        entry(3, "CONSTRAINT", "t pk", class_oid=PG_CONSTRAINT, oid=103, depends_on=(1,)),
        entry(4, "INDEX ATTACH", "a", depends_on=(2, 1)),
        entry(5, "INDEX ATTACH", "b", depends_on=(3, 1)),
    )
    assert items["INDEX ATTACH a"].section is Section.INDEXES
    assert items["INDEX ATTACH b"].section is Section.KEYS


def test_comment_goes_with_what_it_belongs_to() -> None:
    items = plan(
        table(1, T, 100),
        entry(2, "INDEX", "plain", class_oid=PG_CLASS, oid=101, depends_on=(1,)),
        entry(3, "COMMENT", "INDEX plain", depends_on=(2,)),
        entry(4, "COMMENT", "TABLE t", depends_on=(1,)),
    )
    assert items["COMMENT INDEX plain"].section is Section.INDEXES
    assert items["COMMENT TABLE t"].section is Section.BEFORE_DATA
    assert items["COMMENT TABLE t"].table == T
    assert items["COMMENT TABLE t"].is_optional


def test_owners_and_grants_are_few_items_at_the_end() -> None:
    items = plan(
        table(1, T, 100, owner="ann", drop_statement="DROP TABLE s.t;\n"),
        table(2, U, 200, owner="ann", drop_statement="DROP TABLE s.u;\n"),
        entry(3, "FUNCTION", "f(int)", owner='b"o', drop_statement="DROP FUNCTION s.f(int);\n"),
        entry(4, "SEQUENCE", "identity", owner="ann"),
        entry(5, "ACL", "TABLE t", 'GRANT SELECT ON s.t TO "x;y";\nREVOKE ALL ON s.t FROM z;\n', depends_on=(1,)),
        entry(6, "ACL", "TABLE u", "GRANT SELECT ON s.u TO z;\n", depends_on=(2,)),
    )
    assert items["OWNER ann"].statements == (
        'ALTER TABLE s.t OWNER TO "ann";',
        'ALTER TABLE s.u OWNER TO "ann";',
    )
    assert items['OWNER b"o'].statements == ('ALTER FUNCTION s.f(int) OWNER TO "b""o";',)
    assert items["ACL grants in s"].statements == (
        'GRANT SELECT ON s.t TO "x;y";',
        "REVOKE ALL ON s.t FROM z;",
        "GRANT SELECT ON s.u TO z;",
    )
    assert items["OWNER ann"].section is items["ACL grants in s"].section is Section.AFTER_DATA
    assert items["OWNER ann"].is_optional


def test_views_are_filled_in_order_and_indexed_afterwards() -> None:
    facts = CatalogFacts(
        relations={100: T, 300: TableName("s", "low"), 301: TableName("s", "high")},
        belongings={(PG_CLASS, 302): Belonging(301, "i", 3)},
        populated_views={300: 10, 301: 20},
    )
    items = plan(
        table(1, T, 100, owner="ann", drop_statement="DROP TABLE s.t;\n"),
        entry(3, "MATERIALIZED VIEW", "low", class_oid=PG_CLASS, oid=300, depends_on=(1,)),
        entry(4, "VIEW", "between", class_oid=PG_CLASS, oid=303, depends_on=(3,)),
        entry(2, "MATERIALIZED VIEW", "high", class_oid=PG_CLASS, oid=301, depends_on=(4,)),
        entry(5, "INDEX", "high_i", class_oid=PG_CLASS, oid=302, depends_on=(2,)),
        entry(6, "EVENT TRIGGER", "watch", namespace=""),
        facts=facts,
    )
    low, high = items["MATERIALIZED VIEW DATA low"], items["MATERIALIZED VIEW DATA high"]
    assert low.number in high.depends_on
    assert items["OWNER ann"].number in low.depends_on
    assert high.number in items["INDEX high_i"].depends_on
    assert high.statements == ('REFRESH MATERIALIZED VIEW "s"."high";', 'ANALYZE "s"."high";')
    assert items["EVENT TRIGGER watch"].number == len(items)
    assert items["INDEX high_i"].number in items["EVENT TRIGGER watch"].depends_on


P, P1 = TableName("s", "p"), TableName("s", "p1")
WITH_ROWS = CatalogFacts(
    relations={**FACTS.relations, 300: P, 301: P1},
    belongings={**FACTS.belongings, (PG_CLASS, 311): Belonging(301, "i", 5000)},
    partitioned=frozenset({300}),
    parents={301: (300,), 200: (100,)},
    row_bytes={100: 80_000, 301: 1 << 40},
)


def test_tables_with_rows_are_analyzed_after_their_indexes() -> None:
    """Those that inherit are read with their parent; an empty table keeps the planner's guess for new ones."""
    items = plan(
        table(1, T, 100),
        table(2, U, 200),
        entry(3, "INDEX", "plain", class_oid=PG_CLASS, oid=101, depends_on=(1,)),
        entry(4, "FK CONSTRAINT", "t fk", class_oid=PG_CONSTRAINT, oid=104, depends_on=(1, 2)),
        facts=WITH_ROWS,
    )
    assert [name for name in items if name.startswith("STATISTICS DATA")] == ["STATISTICS DATA t"]
    item = items["STATISTICS DATA t"]
    assert (item.section, item.statements, item.weight_bytes) == (Section.INDEXES, ('ANALYZE "s"."t";',), 10_000)
    assert item.depends_on == {items["INDEX plain"].number}
    assert item.is_optional


def test_partitions_are_analyzed_with_the_partitioned_table() -> None:
    leaf_index = entry(3, "INDEX", "p1_x", class_oid=PG_CLASS, oid=311, depends_on=(2,))
    items = plan(table(1, P, 300), table(2, P1, 301), leaf_index, facts=WITH_ROWS)
    assert "STATISTICS DATA p1" not in items
    item = items["STATISTICS DATA p"]
    assert item.table == P
    assert item.depends_on == {items["INDEX p1_x"].number}
    assert item.weight_bytes < 1 << 25, "no more than a sample is read"


def test_partition_without_its_parent_or_beside_a_foreign_one_is_analyzed_alone() -> None:
    assert "STATISTICS DATA p1" in plan(table(2, P1, 301), facts=WITH_ROWS)
    foreign = entry(3, "FOREIGN TABLE", "p2", class_oid=PG_CLASS, oid=302)
    facts = replace(WITH_ROWS, parents={301: (300,), 302: (300,)})
    items = plan(table(1, P, 300), table(2, P1, 301), foreign, facts=facts)
    assert [name for name in items if name.startswith("STATISTICS DATA")] == ["STATISTICS DATA p1"]


def test_schema_that_every_database_has_is_not_created() -> None:
    items = plan(
        entry(1, "SCHEMA", "public", "-- *not* creating schema, since initdb creates it\n", namespace=""),
        entry(2, "SCHEMA", "s", "CREATE SCHEMA s;\n", namespace=""),
        table(3, T, 100),
    )
    assert list(items) == ["SCHEMA s", "TABLE t"]
    assert items["SCHEMA s"].statements == ("CREATE SCHEMA IF NOT EXISTS s;",)
    assert items["TABLE t"].depends_on == {items["SCHEMA s"].number}


def test_option_that_a_server_keeps_for_itself_is_dropped() -> None:
    definition = (
        "CREATE TABLE s.t (\n    a int\n);\n"
        "ALTER TABLE ONLY s.t ALTER COLUMN a SET (pg_attver=1234);\n"
        'ALTER TABLE ONLY s.t ALTER COLUMN "b c" SET (n_distinct=-1, pg_attver=1234);\n'
        "ALTER TABLE ONLY s.t ALTER COLUMN d SET (n_distinct=5);\n"
    )
    (statement,) = plan(entry(1, "TABLE", "t", definition, class_oid=PG_CLASS, oid=100))["TABLE t"].statements
    assert [line for line in statement.splitlines() if line][3:] == [
        'ALTER TABLE ONLY s.t ALTER COLUMN "b c" SET (n_distinct=-1);',
        "ALTER TABLE ONLY s.t ALTER COLUMN d SET (n_distinct=5);",
    ]


def test_tablespace_is_reported() -> None:
    _, reports = plan_items([table(1, T, 100, tablespace="fast", access_method="columnar")], FACTS)
    assert [report.reason for report in reports] == [
        "tablespace fast is not kept: created in the default",
        "access method columnar is not kept: created as heap",
    ]


def test_foreign_key_out_of_the_selection_is_left_out() -> None:
    entries = [
        table(1, T, 100),
        table(2, U, 200),
        entry(3, "FK CONSTRAINT", "t fk", class_oid=PG_CONSTRAINT, oid=104, depends_on=(1, 2)),
    ]
    chosen, reports = choose_entries(entries, FACTS, ObjectSelection(tables=frozenset({T})))
    assert [e.dump_id for e in chosen] == [1]
    assert [report.reason for report in reports] == ["left out: it references s.u, which is not selected"]


def test_grants_of_what_is_left_out_are_left_out() -> None:
    entries = [
        entry(1, "DATABASE", "d", namespace=""),
        entry(2, "ACL", "DATABASE d", namespace="", depends_on=(1,)),
        entry(3, "PUBLICATION", "p", namespace=""),
    ]
    chosen, _ = choose_entries(entries, FACTS, ObjectSelection())
    assert chosen == []


def test_statements_are_split_outside_quotes() -> None:
    text = "GRANT a ON \"x;\"\"y\" TO b;\nSET SESSION AUTHORIZATION 'it''s;';\nRESET SESSION AUTHORIZATION"
    assert split_statements(text) == [
        'GRANT a ON "x;""y" TO b;',
        "SET SESSION AUTHORIZATION 'it''s;';",
        "RESET SESSION AUTHORIZATION",
    ]

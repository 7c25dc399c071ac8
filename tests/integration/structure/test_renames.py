"""Objects with other names on the target are as ALTER would have made them there."""

from __future__ import annotations

import re

import pytest

from tests.integration.structure.helpers import dump_structure, move_structure, restore_as_usual
from tests.servers.databases import Database
from tests.servers.fixtures import DatabaseFactory
from towline.domain.tables import NameMap, ObjectSelection, SchemaRename, TableName, TableRename

STANDING = """
CREATE SCHEMA app;
CREATE TABLE app.orders (id serial PRIMARY KEY, note text);
CREATE TABLE app.customers (id int);
INSERT INTO app.orders (note) VALUES ('mine');
"""


def of_tables(**targets: str) -> NameMap:
    pairs = ((TableName("app", name), TableName(*target.split("."))) for name, target in targets.items())
    return NameMap(tables=tuple(TableRename(source, target) for source, target in pairs))


@pytest.mark.postgres(source=15, target=18)
async def test_renamed_schema_is_what_alter_schema_makes(
    rich_source: Database, rich_target: Database, fresh_database: DatabaseFactory
) -> None:
    reference = fresh_database(rich_target.server, "reference")
    restore_as_usual(rich_source, reference)
    reference.execute('ALTER SCHEMA app RENAME TO "New ""App"""')
    names = NameMap(schemas=(SchemaRename("app", 'New "App"'),))
    move = await move_structure(rich_source, rich_target, selection=ObjectSelection(names=names))
    assert dump_structure(rich_target) == dump_structure(reference)
    told = {report.name.partition("(")[0] for report in move.reports if "a text in it names app" in report.reason}
    assert told == {"app.calls_later", "app.even", "app.odd"}
    assert rich_target.fetch_all('SELECT last_value FROM "New ""App""".free_numbers') == [(800,)]


@pytest.mark.postgres(source=18, target=16)
async def test_renamed_tables_are_what_alter_table_makes(
    rich_source: Database, rich_target: Database, fresh_database: DatabaseFactory
) -> None:
    reference = fresh_database(rich_target.server, "reference")
    restore_as_usual(rich_source, reference)
    reference.execute(
        "CREATE SCHEMA sales; ALTER TABLE app.orders SET SCHEMA sales; ALTER TABLE sales.orders RENAME TO orders_2026;"
        "ALTER TABLE app.customers SET SCHEMA sales; ALTER TABLE app.events RENAME TO happenings;"
        "ALTER VIEW app.happy SET SCHEMA sales; ALTER MATERIALIZED VIEW app.totals RENAME TO sums"
    )
    names = of_tables(
        orders="sales.orders_2026",
        customers="sales.customers",
        events="app.happenings",
        happy="sales.happy",
        totals="app.sums",
    )
    move = await move_structure(rich_source, rich_target, selection=ObjectSelection(names=names))
    assert without_aliases(dump_structure(rich_target)) == dump_structure(reference)
    assert [report for report in move.reports if "left out" in report.reason] == []


def without_aliases(lines: list[str]) -> list[str]:
    """In a query a table with a new name keeps the old one as its alias, where ALTER needs none."""
    text = re.sub(r"(sales\.orders_2026) orders\b|(app\.sums) totals\b", r"\1\2", "\n".join(lines))
    return re.sub(r"(?<![.\w])orders\.", "orders_2026.", re.sub(r"(?<![.\w])totals\.", "sums.", text)).split("\n")


@pytest.mark.postgres(source=16, target=16)
async def test_what_stands_under_the_old_name_is_not_touched(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute("CREATE SCHEMA app; CREATE TABLE app.orders (id serial PRIMARY KEY, note text)")
    source_database.execute("INSERT INTO app.orders (note) VALUES ('a'), ('b')")
    target_database.execute(STANDING)
    before = target_database.fetch_all("SELECT oid, relfilenode, relname FROM pg_class WHERE relname ~ '^orders'")
    selection = ObjectSelection(
        tables=frozenset({TableName("app", "orders")}), names=of_tables(orders="sales.orders_2026")
    )
    await move_structure(source_database, target_database, selection=selection)
    after = set(target_database.fetch_all("SELECT oid, relfilenode, relname FROM pg_class WHERE relname ~ '^orders'"))
    assert after >= set(before)
    assert target_database.fetch_all("SELECT * FROM app.orders") == [(1, "mine")]
    assert target_database.fetch_all("INSERT INTO sales.orders_2026 (note) VALUES ('x') RETURNING id") == [(3,)]
    assert target_database.fetch_all("SELECT last_value FROM app.orders_id_seq") == [(1,)]


@pytest.mark.postgres(source=18, target=18)
async def test_a_query_that_cannot_be_renamed_for_certain_is_left_out_with_what_needs_it(
    source_database: Database, target_database: Database
) -> None:
    source_database.execute(
        """CREATE TABLE orders (id int PRIMARY KEY, public int);
           CREATE VIEW by_alias AS SELECT public.id FROM orders public;
           CREATE VIEW on_top AS SELECT id + 1 AS next FROM by_alias;
           CREATE VIEW plain AS SELECT o.id, orders.id AS other FROM orders o, orders;
           CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM orders; END;
           CREATE FUNCTION named() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM orders';
           CREATE POLICY p ON orders USING (EXISTS (SELECT 1 FROM orders o WHERE o.id = orders.id));
           CREATE RULE r AS ON INSERT TO plain DO INSTEAD INSERT INTO orders VALUES (new.id)"""
    )
    names = NameMap(tables=(TableRename(TableName("public", "orders"), TableName("sales", "orders 2026")),))
    move = await move_structure(source_database, target_database, selection=ObjectSelection(names=names))
    left_out = {report.name for report in move.reports if report.reason.startswith("left out")}
    assert left_out == {"public.by_alias", "public.on_top", "public.orders p", "public.plain r"}
    as_it_is = [report.name for report in move.reports if report.reason.startswith("made as it is")]
    assert as_it_is == ["public.named()"]
    target_database.execute('INSERT INTO sales."orders 2026" VALUES (1, 2)')
    assert target_database.fetch_all("SELECT * FROM plain") == [(1, 1)]
    assert target_database.fetch_all("SELECT counted()") == [(1,)]

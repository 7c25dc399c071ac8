"""Statements of a dump with other names."""

from __future__ import annotations

import pytest

from towline.adapters.postgres.renamed_sql import Renaming, Uncertain, rewrite
from towline.domain.tables import NameMap, SchemaRename, TableName, TableRename

RENAMING = Renaming(
    NameMap(
        schemas=(SchemaRename("app", "App 2"),),
        tables=(TableRename(TableName("public", "orders"), TableName("sales", "orders_2026")),),
    ),
    kept=frozenset({TableName("app", "hstore")}),
)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("COMMENT ON COLUMN public.orders.id IS 'public.orders';", """"sales"."orders_2026".id IS 'public.orders';"""),
        ("DEFAULT nextval('app.\"it''s_seq\"'::regclass);", """nextval('"App 2"."it''s_seq"'::regclass);"""),
        ("DEFAULT 'app.x'::text;", "DEFAULT 'app.x'::text;"),
        ("a OPERATOR(app.~=~) b", 'a OPERATOR("App 2".~=~) b'),
        ("c app.hstore, d app.mood[]", 'c app.hstore, d "App 2"."mood"[]'),
        ("GRANT USAGE ON SCHEMA app TO app;", 'ON SCHEMA "App 2" TO app;'),
        ("SET search_path TO 'app', 'x' AS $_$ app.f $$ $_$", """TO 'App 2', 'x' AS $_$ app.f $$ $_$"""),
        ("CHECK (((home).app.orders > 0))", "CHECK (((home).app.orders > 0))"),
    ],
)
def test_names_are_rewritten_and_texts_are_not(sql: str, expected: str) -> None:
    assert expected in rewrite(sql, RENAMING)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT orders.id FROM public.orders;", 'SELECT orders.id FROM "sales"."orders_2026" "orders";'),
        ("SELECT 1 FROM (public.orders o JOIN app.t ON (true))", '("sales"."orders_2026" o JOIN "App 2"."t" ON'),
        ("SELECT 1 FROM app.t, ONLY public.orders WHERE true", ', ONLY "sales"."orders_2026" "orders" WHERE'),
        ("SELECT ROW(1)::public.orders AS r", 'ROW(1)::"sales"."orders_2026" AS r'),
    ],
)
def test_a_table_of_a_query_keeps_its_old_name_as_alias(sql: str, expected: str) -> None:
    assert expected in rewrite(sql, RENAMING, is_query=True)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT public.orders FROM x.y public",
        "SELECT public.orders FROM x.public",
        "INSERT INTO public.orders VALUES (1)",
        "SELECT f.a FROM f() f(a public.orders)",
    ],
)
def test_a_query_that_may_mean_two_things_is_not_guessed(sql: str) -> None:
    with pytest.raises(Uncertain):
        rewrite(sql, RENAMING, is_query=True)

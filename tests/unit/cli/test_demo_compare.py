"""The demo's comparison: what it reads, and what it says of differences."""

from __future__ import annotations

from collections import Counter

import pytest

from towline.cli.demo import DemoResult, render_outcome, render_story
from towline.cli.demo_compare import Comparison, Relation, describe_structures, parse_statements, render_query
from towline.cli.demo_data import choose_size, render_fill

EQUAL = Comparison(rows=10, tables=2, views=1, sequences=1, statements=5, problems=())


@pytest.mark.parametrize(
    ("relation", "query"),
    [
        (Relation("s", 't"x', "r", ("a", '"B"')), 'SELECT * FROM "s"."t""x" content ORDER BY a, "B"'),
        (Relation("s", "v", "v", ()), 'SELECT * FROM "s"."v" content ORDER BY content::text COLLATE "C"'),
        (Relation("s", "q", "S", ()), 'SELECT last_value, is_called FROM "s"."q"'),
    ],
)
def test_everything_is_read_in_an_order_of_its_own(relation: Relation, query: str) -> None:
    assert render_query(relation) == query


def test_statements_of_a_dump_are_compared_without_order_and_session() -> None:
    dump = "--\n-- head\n--\n\n\\restrict abc\n\nSET x = 1;\n\n\nCREATE TABLE a (\n    b int\n);\n\n\nCREATE VIEW v;\n"
    assert parse_statements(dump) == ["CREATE TABLE a (\n    b int\n);", "CREATE VIEW v;"]


def test_statement_of_one_side_is_a_difference() -> None:
    problems = describe_structures(Counter(["CREATE A", "CREATE B"]), Counter(["CREATE B", "CREATE C"]))
    assert problems == ["structure on the source only: CREATE A", "structure on the target only: CREATE C"]


def test_outcome_has_the_documented_keys() -> None:
    result = DemoResult(comparison=EQUAL, rows_copied=9, seconds_full=1.5, changes_applied=3, max_delay_ms=800)
    outcome = render_outcome(result, EQUAL, seconds=12)
    wanted = ("rows", "seconds_full", "changes_applied", "max_delay_ms", "tables_compared", "equal")
    assert [outcome[key] for key in wanted] == [9, 1.5, 3, 800, 2, True]


def test_difference_is_told_and_is_not_equal() -> None:
    comparison = Comparison(rows=1, tables=1, views=0, sequences=0, statements=0, problems=("shop.event: differs",))
    result = DemoResult(comparison=comparison)
    assert not result.is_equal
    story = render_story(result, comparison, seconds=1)
    assert any("DIFFERENT" in line for line in story)
    assert any("shop.event: differs" in line for line in story)


def test_shop_grows_with_the_accounts() -> None:
    assert choose_size(1_000_000).customers == 10_000
    assert "{" not in render_fill(choose_size(100_000)).replace("'{}'", "")

"""Databases whose size and shape mislead whoever trusts statistics, and what goes on in them during the copy.

All data is made by the server itself; none of it compresses well unless it says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from progress_databases import Database, Statements


@dataclass(frozen=True, slots=True)
class Situation:
    """`prepare(database, scale)` makes the tables; `disturb(database, scale)` is repeated while the job runs."""

    name: str
    prepare: Callable[[Database, float], Statements]
    disturb: Callable[[Database, float], Statements] | None = None


def _insert(table: str, values: str, rows: str) -> str:
    return f"INSERT INTO {table} SELECT {values} FROM {rows}"


def _statistics_low(of: Database, scale: float) -> Statements:
    """Analysed when it had a third of its rows."""
    third = int(4_000_000 * scale)
    values = f"g, g % 977, {of.filler()}"
    return (
        f"CREATE TABLE orders (id bigint PRIMARY KEY, customer int, note {of.text}){of.stale}",
        _insert("orders", values, of.series(1, third)),
        of.analyze("orders"),
        _insert("orders", values, of.series(third + 1, 3 * third)),
        "CREATE INDEX of_customer ON orders (customer)",
    )


def _statistics_high(of: Database, scale: float) -> Statements:
    """Two thirds of its rows are gone since it was analysed; their room is not."""
    rows = int(12_000_000 * scale)
    return (
        f"CREATE TABLE orders (id bigint PRIMARY KEY, customer int, note {of.text}){of.stale}",
        _insert("orders", f"g, g % 977, {of.filler()}", of.series(1, rows)),
        of.analyze("orders"),
        "DELETE FROM orders WHERE id % 3 <> 0",
        f"CREATE TABLE detail (id bigint PRIMARY KEY, note {of.text})",
        _insert("detail", f"g, {of.filler()}", of.series(1, rows // 2)),
    )


def _keys(of: Database, scale: float) -> Statements:
    """Keys with wide gaps, keys in no order, keys of two columns."""
    rows = int(5_000_000 * scale)
    return (
        f"CREATE TABLE sparse (id bigint PRIMARY KEY, note {of.text})",
        _insert("sparse", f"CAST(g AS {of.big}) * g, {of.filler()}", of.series(1, rows)),
        f"CREATE TABLE by_uuid (id {of.uuid_type} PRIMARY KEY, note {of.text})",
        _insert("by_uuid", f"{of.uuid}, {of.filler()}", of.series(1, rows)),
        f"CREATE TABLE by_two (shop int, number int, note {of.text}, PRIMARY KEY (shop, number))",
        _insert("by_two", f"g % 10, g, {of.filler()}", of.series(1, rows)),
    )


def _giant_and_small(of: Database, scale: float) -> Statements:
    small = (
        (
            f"CREATE TABLE small_{number} (id int PRIMARY KEY, note {of.text})",
            _insert(f"small_{number}", f"g, {of.filler(1)}", of.series(1, 200)),
        )
        for number in range(1, 501)
    )
    return (
        f"CREATE TABLE giant (id bigint PRIMARY KEY, note {of.text})",
        _insert("giant", f"g, {of.filler()}", of.series(1, int(12_000_000 * scale))),
        *(statement for pair in small for statement in pair),
    )


def _churn(of: Database, scale: float) -> Statements:
    return (*of.make_events(int(12_000_000 * scale)), "CREATE INDEX of_note ON events (note)")


def _churning(of: Database, scale: float) -> Statements:
    return of.churn_events(int(12_000_000 * scale))


def _huge_rows(of: Database, scale: float) -> Statements:
    """The second half's rows are a hundred times as large, and lie outside of the table's pages."""
    rows = int(60_000 * scale)
    return (
        f"CREATE TABLE documents (id bigint PRIMARY KEY, note {of.long_text})",
        *of.keep_outside("documents", "note"),
        _insert("documents", f"g, {of.filler(9)}", of.series(1, rows)),
        _insert("documents", f"g, {of.huge()}", of.series(rows + 1, 2 * rows)),
    )


def _indexes(of: Database, scale: float) -> Statements:
    """Building the indexes takes longer than copying the rows."""
    words = of.words
    return (
        f"CREATE TABLE articles (id bigint PRIMARY KEY, title {of.text}, words {of.text},"
        f" tags {of.tags[0]}, price numeric(12, 4), at timestamp)",
        _insert(
            "articles",
            f"g, {of.filler(1)}, {words}, {of.tags[1]}, (g % 100000) / 7.0, {of.some_time}",
            of.series(1, int(2_000_000 * scale)),
        ),
        "CREATE INDEX of_title ON articles (title)",
        "CREATE INDEX of_words ON articles (words)",
        "CREATE INDEX of_price ON articles (price, title)",
        "CREATE INDEX of_time ON articles (at)",
        of.tags[2],
        of.fulltext_index("articles", "words"),
    )


SITUATIONS = (
    Situation("statistics-low", _statistics_low),
    Situation("statistics-high", _statistics_high),
    Situation("keys", _keys),
    Situation("giant-and-small", _giant_and_small),
    Situation("churn", _churn, _churning),
    Situation("huge-rows", _huge_rows),
    Situation("indexes", _indexes),
)

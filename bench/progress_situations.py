"""Databases whose size and shape mislead whoever trusts statistics, and what goes on in them during the copy.

All data is made by the server itself; none of it compresses well unless it says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Statements = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Situation:
    """`prepare(scale)` makes the tables; `disturb(scale)` is repeated while the job runs."""

    name: str
    prepare: Callable[[float], Statements]
    disturb: Callable[[float], Statements] | None = None


def _filler(columns: int = 3) -> str:
    """About 32 bytes a column that no compression makes smaller."""
    return " || ".join(f"md5(g::text || '{number}')" for number in range(columns))


def _statistics_low(scale: float) -> Statements:
    """Analysed when it had a third of its rows."""
    third = int(4_000_000 * scale)
    insert = f"INSERT INTO orders SELECT g, g % 977, {_filler()} FROM generate_series({{}}, {{}}) AS g"
    return (
        "CREATE TABLE orders (id bigint PRIMARY KEY, customer int, note text)",
        insert.format(1, third),
        "ANALYZE orders",
        insert.format(third + 1, 3 * third),
        "CREATE INDEX ON orders (customer)",
    )


def _statistics_high(scale: float) -> Statements:
    """Two thirds of its rows are gone since it was analysed; their room is not."""
    rows = int(12_000_000 * scale)
    return (
        "CREATE TABLE orders (id bigint PRIMARY KEY, customer int, note text)",
        f"INSERT INTO orders SELECT g, g % 977, {_filler()} FROM generate_series(1, {rows}) AS g",
        "ANALYZE orders",
        "DELETE FROM orders WHERE id % 3 <> 0",
        "CREATE TABLE lines (id bigint PRIMARY KEY, note text)",
        f"INSERT INTO lines SELECT g, {_filler()} FROM generate_series(1, {rows // 2}) AS g",
    )


def _keys(scale: float) -> Statements:
    """Keys with wide gaps, keys in no order, keys of two columns."""
    rows = int(5_000_000 * scale)
    return (
        "CREATE TABLE sparse (id bigint PRIMARY KEY, note text)",
        f"INSERT INTO sparse SELECT g::bigint * g, {_filler()} FROM generate_series(1, {rows}) AS g",
        "CREATE TABLE by_uuid (id uuid PRIMARY KEY, note text)",
        f"INSERT INTO by_uuid SELECT md5(g::text)::uuid, {_filler()} FROM generate_series(1, {rows}) AS g",
        "CREATE TABLE by_two (shop int, number int, note text, PRIMARY KEY (shop, number))",
        f"INSERT INTO by_two SELECT g % 10, g, {_filler()} FROM generate_series(1, {rows}) AS g",
    )


def _giant_and_small(scale: float) -> Statements:
    rows = int(12_000_000 * scale)
    small = (
        "DO $$ BEGIN FOR n IN 1..500 LOOP EXECUTE format('CREATE TABLE small_%s (id int PRIMARY KEY, note text)', n);"
        " EXECUTE format('INSERT INTO small_%s SELECT g, md5(g::text) FROM generate_series(1, 200) AS g', n);"
        " END LOOP; END $$"
    )
    return (
        "CREATE TABLE giant (id bigint PRIMARY KEY, note text)",
        f"INSERT INTO giant SELECT g, {_filler()} FROM generate_series(1, {rows}) AS g",
        small,
    )


def _churn(scale: float) -> Statements:
    rows = int(12_000_000 * scale)
    return (
        "CREATE TABLE events (id bigint PRIMARY KEY, note text)",
        f"INSERT INTO events SELECT g, {_filler()} FROM generate_series(1, {rows}) AS g",
        f"CREATE SEQUENCE next_event START {rows + 1}",
        "CREATE INDEX ON events (note)",
    )


def _churning(scale: float) -> Statements:
    rows = int(12_000_000 * scale)
    return (
        f"INSERT INTO events SELECT nextval('next_event'), {_filler()} FROM generate_series(1, 1000) AS g",
        f"DELETE FROM events WHERE id IN (SELECT (random() * {rows})::bigint FROM generate_series(1, 500))",
    )


def _huge_rows(scale: float) -> Statements:
    """The second half's rows are a hundred times as large, and lie outside of the table's pages."""
    rows = int(60_000 * scale)
    huge = "(SELECT string_agg(md5(g::text || n::text), '') FROM generate_series(1, 1000) AS n)"
    return (
        "CREATE TABLE documents (id bigint PRIMARY KEY, note text)",
        "ALTER TABLE documents ALTER note SET STORAGE EXTERNAL",
        f"INSERT INTO documents SELECT g, {_filler(9)} FROM generate_series(1, {rows}) AS g",
        f"INSERT INTO documents SELECT g, {huge} FROM generate_series({rows + 1}, {2 * rows}) AS g",
    )


def _indexes(scale: float) -> Statements:
    """Building the indexes takes longer than copying the rows."""
    rows = int(2_000_000 * scale)
    return (
        "CREATE TABLE articles (id bigint PRIMARY KEY, title text, words text,"
        " tags int[], price numeric, at timestamptz)",
        "INSERT INTO articles SELECT g, md5(g::text), md5((g % 1000)::text) || ' ' || md5((g * 7 % 5000)::text),"
        f" ARRAY[g % 97, g % 89, g % 83], (g % 100000) / 7.0, now() - g * interval '1 s'"
        f" FROM generate_series(1, {rows}) AS g",
        "CREATE INDEX ON articles (title)",
        "CREATE INDEX ON articles (words)",
        "CREATE INDEX ON articles (price, title)",
        "CREATE INDEX ON articles (at)",
        "CREATE INDEX ON articles USING gin (tags)",
        "CREATE INDEX ON articles USING gin (to_tsvector('simple', words))",
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
